"""HTTP to one server, and work shared among several: what is tried again, for how long, and where.

A server that does not answer, is overloaded or breaks off is tried again after 0.5 s, then twice as long each time, at
most 30 s, all with some jitter. One that has been silent for ten minutes is dropped, and its work goes to the others.
What a server refuses (any other 4xx) is an error at once, in its own words.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from llama_diversity.errors import EngineError

PATIENCE_S = 600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_SILENCE_S = 600.0  # of a connection: a long sample in a long queue says nothing for a while
_CONNECT_S = 10.0
_AGAIN = {408, 425, 429}  # beside all of 5xx
_MOST_WORDS = 300  # characters of a server's answer that are shown
_MOST_BYTES = 256 << 20  # of an answer

T = TypeVar("T")


class Busy(Exception):
    """What may be tried again: the server is not there, is overloaded, or its answer is not whole."""


class Server:
    """One URL. Every thread has a connection of its own; the key is sent and never shown."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self._key = key
        self._parts = urllib.parse.urlsplit(url)
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()  # of all threads

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that answers a GET, or with a `body` a POST. Raises Busy, EngineError."""
        data = self.fetch(path, body)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise Busy(f"an answer that is no JSON: {_words(data)}") from error
        if not isinstance(answer, dict):
            raise Busy(f"an answer that is no JSON object: {_words(data)}")
        if isinstance(answer.get("error"), (dict, str)):  # within a 200
            raise Busy(_words(data))
        return answer

    def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The same, as it is."""
        is_used = getattr(self._local, "connection", None) is not None
        try:
            status, data = self._exchange(path, body)
        except (OSError, http.client.HTTPException) as error:
            self.hang_up()
            if is_used and isinstance(error, ConnectionError):  # servers close what is silent for some seconds
                return self.fetch(path, body)
            raise Busy(_why(error)) from error
        if status == 200:
            return data
        if status >= 500 or status in _AGAIN:
            raise Busy(f"HTTP {status}: {_words(data)}")
        raise self._refusal(status, path, data)

    def hang_up(self) -> None:
        """Close this thread's connection; the server gives up what it asked for."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            self._open.discard(connection)
            connection.close()
            self._local.connection = None

    def hang_up_all(self) -> None:
        """Let every thread's exchange end now, as if the server had broken off."""
        for connection in list(self._open):
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what every thread left open; afterwards a thread begins anew."""
        self.hang_up_all()
        for connection in list(self._open):
            self._open.discard(connection)
            connection.close()

    def _exchange(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        connection = self._connection()
        headers = {"Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request("GET" if data is None else "POST", self._parts.path + path, data, headers)
        response = connection.getresponse()
        read = response.read(_MOST_BYTES + 1)
        if len(read) > _MOST_BYTES:
            raise OSError(f"an answer of more than {_MOST_BYTES >> 20} MB")
        if response.length:  # bytes that were promised and did not come
            raise http.client.IncompleteRead(read, response.length)
        return response.status, read

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None or connection.sock is None:
            host, port = self._parts.hostname or "", self._parts.port
            if self._parts.scheme == "https":
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(host, port, timeout=_CONNECT_S, context=context)
            else:
                connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_S)
            connection.connect()
            connection.sock.settimeout(_SILENCE_S)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._local.connection = connection
            self._open.add(connection)
        return connection

    def _refusal(self, status: int, path: str, data: bytes) -> EngineError:
        if status in (401, 403) and b"scale-out" not in data:
            return EngineError(
                f"{self.url} refuses the key (HTTP {status}). Put the server's --api-key into LLAMADIV_VLLM_KEY."
            )
        return Refused(f"{self.url} refuses {path} (HTTP {status}): {_words(data)}", status, _words(data))


class Refused(EngineError):
    """What a server will not do, in its words."""

    def __init__(self, sentence: str, status: int, words: str) -> None:
        super().__init__(sentence)
        self.status, self.words = status, words


class Cluster:
    """Servers of one model. Thread-safe: each job goes to the server with the fewest under way.

    `say` hears once of each server that falls silent, that answers again, and that is dropped.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        say: Callable[[str], None] | None = None,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.live = list(servers)
        self._all = tuple(servers)
        self._say = say or _nothing
        self._patience_s = patience_s
        self._clock, self._jitter = clock, jitter
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._standing = {server.url: _Standing() for server in servers}
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Let no job be tried again: those that wait end now."""
        self._stopped.set()
        for server in list(self.live):
            server.hang_up_all()

    def start(self) -> None:
        """The opposite."""
        self._stopped.clear()

    def close(self) -> None:
        """The same, once nobody asks any more."""
        self.stop()
        for server in self._all:
            server.close()

    def call(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """`Server.call` by whichever server; what `check` raises counts as the server's own failure."""

        def job(server: Server) -> dict[str, Any]:
            answer = server.call(path, body)
            if check is not None:
                check(answer)
            return answer

        return self.do(job)

    def do(self, job: Callable[[Server], T], *, only: Server | None = None) -> T:
        """What `job` makes with one of the servers, another or the same again as long as it raises Busy.

        With `only` it is that one.

        Raises EngineError where no server is left, and where this job has failed for as long as a server may be silent.
        """
        first_failure: float | None = None
        while True:
            server = self._taken(only)
            try:
                found = job(server)
            except Busy as busy:
                self._failed(server, busy)
                first_failure = self._clock() if first_failure is None else first_failure
                if self._clock() - first_failure > self._patience_s + 2 * _LONGEST_WAIT_S:  # not for their silence
                    raise EngineError(
                        f"{server.url} has given no usable answer for {self._patience_s / 60:g} minutes: {busy}. "
                        "See to the server, then run the same command again: it continues."
                    ) from busy
            except BaseException:
                self._let_go(server)
                raise
            else:
                self._succeeded(server)
                return found

    def _taken(self, only: Server | None) -> Server:
        """The server for the next try, waited for where all are to be left alone for a while."""
        while True:
            with self._lock:
                if self._stopped.is_set():
                    raise EngineError("The work was stopped.")
                if not self.live or only not in (None, *self.live):
                    raise self._all_gone()
                now = self._clock()
                best = only or min(self.live, key=lambda one: self._order(one, now))
                wait_s = self._standing[best.url].again_at - now
                if wait_s <= 0:
                    self._standing[best.url].n_under_way += 1
                    return best
            self._sleep(wait_s)

    def _order(self, server: Server, now: float) -> tuple[float, int]:
        standing = self._standing[server.url]
        return max(0.0, standing.again_at - now), standing.n_under_way

    def _failed(self, server: Server, busy: Busy) -> None:
        with self._lock:
            standing, now = self._standing[server.url], self._clock()
            standing.n_under_way -= 1
            standing.words = str(busy)
            if now < standing.again_at or server not in self.live:  # others failed beside it
                return
            if standing.silent_since is None:
                standing.silent_since = now
                self._say(f"{server.url}: {busy}; tried again for {self._patience_s / 60:g} minutes")
            if now - standing.silent_since > self._patience_s:
                self.live.remove(server)
                others = f"its samples go to the other {len(self.live)}" if self.live else "it was the last"
                self._say(f"{server.url} is dropped: {busy}; {others}")
                return
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**standing.n_failures)
            standing.again_at = now + wait_s * (0.75 + 0.5 * self._jitter())
            standing.n_failures += 1

    def _succeeded(self, server: Server) -> None:
        with self._lock:
            standing = self._standing[server.url]
            standing.n_under_way -= 1
            if standing.silent_since is not None:
                self._say(f"{server.url} answers again")
            standing.silent_since, standing.n_failures, standing.again_at = None, 0, 0.0

    def _let_go(self, server: Server) -> None:
        with self._lock:
            self._standing[server.url].n_under_way -= 1

    def _all_gone(self) -> EngineError:
        words = "; ".join(f"{url}: {one.words}" for url, one in self._standing.items())
        return EngineError(
            f"No vLLM server is left ({words}). Start one again, then run the same command: it continues."
        )


class _Standing:
    """How a server is doing."""

    def __init__(self) -> None:
        self.n_under_way = 0
        self.n_failures = 0
        self.silent_since: float | None = None
        self.again_at = 0.0
        self.words = ""


def _nothing(sentence: str) -> None:
    """Nobody listens."""


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        return "it broke off"
    return str(error) or type(error).__name__


def _words(data: bytes) -> str:
    """What a server said: the message in its JSON, or the beginning of its text."""
    text = data.decode("utf-8", "replace").strip()
    try:
        found: Any = json.loads(text)
        while isinstance(found, dict) and ("error" in found or "message" in found or "detail" in found):
            found = found.get("error") or found.get("message") or found.get("detail")
        text = found if isinstance(found, str) else text
    except ValueError:
        pass
    return text[:_MOST_WORDS] or "nothing"
