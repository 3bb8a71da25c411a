"""`llamadiv worker` on the network: one POST a message, for whoever shows the token; GET /health tells that it is up.

Nothing of a request is read before its size is known to be allowed, nothing of a body before the token was shown, and
nothing for longer than a request may take. What there is to be said to a stranger is a number.
"""

from __future__ import annotations

import http.server
import io
import json
import socket
import socketserver
import threading
import time
from typing import Any

from llama_diversity import __version__
from llama_diversity.engines.fanout.hold import Hold
from llama_diversity.engines.fanout.http import MOST_ASKED_BYTES, PATH, HttpPlace
from llama_diversity.engines.fanout.secret import is_shown
from llama_diversity.errors import EngineError

_HEAD_SECONDS = 10.0  # for the first byte of a new connection, and for the lines before a body
_IDLE_SECONDS = 60.0  # between two messages of a driver
_BODY_SECONDS, _SLOWEST_BYTES_PER_SECOND = 10.0, 1 << 16  # for a body: this, and what it takes at least so fast
_WRONG_TOKEN_SECONDS = 1.0
_DRAIN_SECONDS, _MOST_DRAINED = 2.0, 1 << 20
_MOST_CONNECTIONS = 128
_TIDY_SECONDS = 5.0
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class WorkerServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Hands messages to `hold`. Raises EngineError where it cannot listen."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, *, token: str, hold: Hold) -> None:
        self.token, self.hold = token, hold
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._tidied_s = time.monotonic()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise EngineError(
                f"Nothing can listen at {host} port {port}: {why}. Choose another --host or --port."
            ) from None

    def server_bind(self) -> None:
        """As above, but nobody is asked for this machine's name."""
        socketserver.TCPServer.server_bind(self)

    def service_actions(self) -> None:
        """Called twice a second."""
        if time.monotonic() - self._tidied_s > _TIDY_SECONDS:
            self._tidied_s = time.monotonic()
            self.hold.tidy()

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, if there are not too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0)
        try:
            request.sendall(_BUSY)
        except OSError:
            pass
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """All requests of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nobody's business."""

    @property
    def url(self) -> str:
        """What a driver on this machine types."""
        host, port = self.server_address[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))
        return HttpPlace("http", shown, int(port)).name


class _Patient(io.RawIOBase):
    """What a connection says, until its time is up."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.until_s = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version, default_request_version = "HTTP/1.1", "HTTP/1.0"
    server_version, sys_version = "llamadiv", ""
    disable_nagle_algorithm = True
    server: WorkerServer

    def setup(self) -> None:
        super().setup()
        self._said = _Patient(self.connection)
        self.rfile: io.BufferedReader = io.BufferedReader(self._said)
        self._first_byte_s = _HEAD_SECONDS

    def handle_one_request(self) -> None:
        """The next one, if it begins soon and does not take its time."""
        try:
            self._allow(self._first_byte_s)
            if not self.rfile.peek(1):
                self.close_connection = True
                return
            self._allow(_HEAD_SECONDS)
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True
        self._first_byte_s = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Whether it is up, and of which version."""
        if self.path != "/health" or self._has_body():
            self._refuse(404)
            return
        self._answer(json.dumps({"llamadiv": __version__}).encode(), "application/json")

    def do_POST(self) -> None:
        """A message."""
        if not is_shown(self.headers.get("Authorization"), self.server.token):
            time.sleep(_WRONG_TOKEN_SECONDS)
            self._refuse(401)
            return
        if self.path != PATH:
            self._refuse(404)
            return
        length = self._length()
        if length is None:
            self._refuse(411)
            return
        if length > MOST_ASKED_BYTES:
            self._refuse(413)
            return
        self._allow(_BODY_SECONDS + length / _SLOWEST_BYTES_PER_SECOND)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self._answer(self.server.hold.answer(body, str(self.client_address[0])), "application/octet-stream")

    def _length(self) -> int | None:
        """The length of the body, where it is stated once and the body comes in one piece."""
        stated = self.headers.get_all("Content-Length", [])
        if len(stated) != 1 or "Transfer-Encoding" in self.headers:
            return None
        return int(stated[0]) if stated[0].isascii() and stated[0].isdecimal() and len(stated[0]) < 16 else None

    def _has_body(self) -> bool:
        return "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0"

    def _answer(self, content: bytes, kind: str) -> None:
        self._allow(_BODY_SECONDS + len(content) / _SLOWEST_BYTES_PER_SECOND)
        self.send_response_only(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int) -> None:
        """With a number. What else was sent is thrown away: a connection that is closed on it loses the answer."""
        self.close_connection = True
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.connection.shutdown(socket.SHUT_WR)
        self._allow(_DRAIN_SECONDS)
        for _ in range(_MOST_DRAINED >> 16):
            if not self.rfile.read1(1 << 16):
                return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library finds wrong itself is refused alike."""
        self._refuse(code)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing that was sent is printed."""

    def _allow(self, seconds: float) -> None:
        self._said.until_s = time.monotonic() + seconds
        self.connection.settimeout(seconds)
