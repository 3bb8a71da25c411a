"""Workers that are processes of this machine, at the other end of a pipe: a message behind its length.

A worker ends when its driver does, however that ends: the pipe is closed then. What it prints is kept, and its last
line says why it died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO

from llama_diversity.engines import open_engine
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import WorkerLost
from llama_diversity.engines.fanout.service import Service

_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 20
_LAST_CHARACTERS = 2000
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessPlace:
    """The worker process of this number, from 1."""

    number: int

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"worker {self.number}"

    is_ours = True

    def connect(self) -> ProcessLine:
        """Start it."""
        return ProcessLine()


class ProcessLine:
    """A worker process that was started here."""

    def __init__(self) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the line
        self._socket, theirs = socket.socketpair()
        here = [path for path in sys.path if path]  # the child must find what we found
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _CHILD, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(here)},
                )
        except OSError as error:
            raise WorkerLost(f"could not be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        """Its answer. Raises WorkerLost."""
        try:
            self._socket.settimeout(timeout_s)
            _send(self._socket, message)
            return _receive(self._socket)
        except TimeoutError:
            raise WorkerLost(f"has not answered for {timeout_s:.0f} s") from None
        except (OSError, EOFError):
            raise WorkerLost(self._death()) from None

    def close(self) -> None:
        """End it."""
        self._socket.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        code = self._process.returncode
        how = f"ended with code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"was ended by {signal.Signals(-code).name}"
        self._said.seek(0)
        lines = self._said.read()[-_LAST_CHARACTERS:].decode("utf-8", "replace").split("\n")
        return ": ".join([how, *[line.strip() for line in lines if line.strip()][-1:]])


def _send(to: socket.socket, message: bytes) -> None:
    to.sendall(_LENGTH.pack(len(message)))
    to.sendall(message)


def _receive(of: socket.socket) -> bytes:
    """The next message. Raises EOFError where the other side is gone, TimeoutError, OSError."""
    (length,) = _LENGTH.unpack(_exactly(of, _LENGTH.size))
    if length > wire.MOST_BYTES:
        raise EOFError
    return _exactly(of, length)


def _exactly(of: socket.socket, n: int) -> bytes:
    found = bytearray()
    while len(found) < n:
        some = of.recv(min(_CHUNK, n - len(found)))
        if not some:
            raise EOFError
        found += some
    return bytes(found)


# ---- the child

_CHILD = f"from {__name__} import child; child()"


def child() -> None:
    """Answer messages until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    driver = socket.socket(fileno=int(sys.argv[1]))
    service = Service(lambda model, options, on_load: open_engine(model, options, on_load=on_load))
    with contextlib.suppress(OSError, EOFError):
        while True:
            _send(driver, service.answer(_receive(driver)))
    os._exit(0)  # whatever is being computed is nobody's any more
