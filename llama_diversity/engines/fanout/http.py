"""Workers elsewhere, asked over HTTP: one connection each that is kept, one POST a message.

The token goes to the address that was typed and nowhere else: no proxy of the environment is asked, and no redirection
followed. With https the certificate must be valid for the name.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import select
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import Refused, WorkerLost
from llama_diversity.engines.fanout.secret import VARIABLE, bearer, worker_token
from llama_diversity.errors import BadValue, EngineError

PATH = "/llamadiv"
PORT = 8765
MOST_ASKED_BYTES = 128 << 20  # of one message to a worker
_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 15.0  # a connection that was not used for so long is made anew: whatever is between may have ended it
_CHUNK = 1 << 20
_MEANT = (
    "an address of a worker is like http://host:8765 or https://host, without a path, a query, a name or a password"
)


@dataclass(frozen=True)
class HttpPlace:
    """The worker at this address."""

    scheme: str
    host: str
    port: int

    is_ours = False

    @classmethod
    def of(cls, typed: str) -> HttpPlace:
        """The place of a URL. Raises BadValue, which shows nothing of a password.

        >>> HttpPlace.of("https://gpu.lab").name, HttpPlace.of("http://[::1]:9/").name
        ('https://gpu.lab:443', 'http://[::1]:9')
        """
        try:
            parts = urlsplit(typed)
            port = parts.port
        except ValueError:
            raise BadValue("--workers", typed if "@" not in typed else "...", _MEANT) from None
        if "@" in parts.netloc:
            raise BadValue("--workers", f"{parts.scheme}://...@{parts.hostname}", _MEANT)
        is_meant = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.path in ("", "/")
            and not {"?", "#", "\\"} & set(typed)
            and port != 0
            and typed.isascii()
            and typed.isprintable()
            and " " not in typed
        )
        if not is_meant:
            raise BadValue("--workers", typed, _MEANT)
        return cls(parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else PORT))

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def caution(self) -> str | None:
        """What its user should know of the way there."""
        if self.scheme == "https" or _is_here(self.host):
            return None
        return (
            f"{self.name}: token and texts go there unencrypted. On a network that others use, name https, or go "
            f"through `ssh -L {self.port}:localhost:{self.port} {self.host}` to http://localhost:{self.port}."
        )

    def connect(self) -> HttpLine:
        """Reach it. Raises WorkerLost, Refused, BadUsage where there is no token."""
        return HttpLine(self, worker_token())


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class HttpLine:
    """A connection to a worker, made anew when it was not used for a while."""

    def __init__(self, place: HttpPlace, token: str) -> None:
        self._place = place
        self._headers = {"Authorization": bearer(token), "Content-Type": "application/octet-stream"}
        self._used_s: float | None = None
        self._connection = self._connected()

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        """Its answer. Raises WorkerLost, Refused, EngineError where the message is too long."""
        if len(message) > MOST_ASKED_BYTES:
            raise EngineError(
                f"A worker takes {MOST_ASKED_BYTES >> 20} MB at a time, and this would be {len(message) >> 20}. "
                "Ask for fewer texts at once."
            )
        if self._used_s is not None and (time.monotonic() - self._used_s > _IDLE_SECONDS or self._is_gone()):
            self._connection.close()
            self._connection = self._connected()
        self._used_s = time.monotonic()
        until_s = time.monotonic() + timeout_s
        try:
            self._wait_until(until_s)
            self._connection.request("POST", PATH, message, self._headers)
            self._wait_until(until_s)
            with contextlib.closing(self._connection.getresponse()) as answer:  # `read1` leaves it open at its end
                return self._content(answer, until_s)
        except TimeoutError:
            raise WorkerLost(f"has not answered for {timeout_s:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise WorkerLost(f"was lost: {_words(error)}") from error

    def close(self) -> None:
        """Leave it; whoever waits for an answer is woken."""
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        place = self._place
        if place.scheme == "https":
            context = ssl.create_default_context()
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.host, place.port, timeout=_CONNECT_SECONDS, context=context
            )
        else:
            made = http.client.HTTPConnection(place.host, place.port, timeout=_CONNECT_SECONDS)
        try:
            made.connect()
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"shows a certificate that is not valid: {error.verify_message}") from None
        except (OSError, UnicodeError) as error:  # a name that cannot be one
            raise WorkerLost(f"cannot be reached: {_words(error)}") from None
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _is_gone(self) -> bool:
        """Whether the other side ended the connection: it says something, though nothing was asked."""
        of = self._connection.sock
        return of is None or bool(select.select([of], [], [], 0)[0])

    def _wait_until(self, until_s: float) -> None:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if self._connection.sock is not None:
            self._connection.sock.settimeout(left_s)

    def _content(self, answer: http.client.HTTPResponse, until_s: float) -> bytes:
        if answer.status != 200:
            self._connection.close()
            raise _refusal(answer.status)
        found = bytearray()
        while some := answer.read1(_CHUNK):
            found += some
            if len(found) > wire.MOST_BYTES:
                raise WorkerLost("answers without an end")
            self._wait_until(until_s)
        if answer.length:
            raise WorkerLost("was lost in the middle of an answer")
        return bytes(found)


def _refusal(status: int) -> Exception:
    """What another answer than 200 means."""
    if status in (401, 403):
        return Refused(f"does not know the token; {VARIABLE} must be the same here and there")
    if status == 413:
        return EngineError("The worker, or what stands before it, takes no message that long. Ask for fewer texts.")
    if status in (408, 425, 429) or status >= 500:
        return WorkerLost(f"answers with HTTP status {status}")
    return Refused(f"is no `llamadiv worker`: it answers with HTTP status {status}")


def _words(error: BaseException) -> str:
    if isinstance(error, http.client.HTTPException):
        return f"it ended the connection ({type(error).__name__})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
