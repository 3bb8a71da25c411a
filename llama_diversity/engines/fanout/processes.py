"""Workers that are processes of this machine, at the other end of a pipe: a message behind its length.

A worker ends when its driver does, however that ends: the pipe is closed then. What it prints is kept, and its last
line says why it died.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO

from llama_diversity.engines import open_engine
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import WorkerLost
from llama_diversity.engines.fanout.secret import VARIABLE
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
    """A worker process that was started here; it answers so many messages at once."""

    def __init__(self, n_at_once: int = 1) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the line
        pairs = [socket.socketpair() for _ in range(n_at_once)]
        self._sockets = [ours for ours, _ in pairs]
        self._free: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        here = [path for path in sys.path if path]  # the child must find what we found
        numbers = [theirs.fileno() for _, theirs in pairs]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=numbers,
                env={name: value for name, value in os.environ.items() if name != VARIABLE}
                | {"PYTHONPATH": os.pathsep.join(here)},
            )
        except OSError as error:
            raise WorkerLost(f"could not be started: {error}") from error
        finally:
            for _, theirs in pairs:
                theirs.close()
        for ours in self._sockets:
            self._free.put(ours)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        """Its answer. Raises WorkerLost."""
        try:
            free = self._free.get(timeout=timeout_s)
        except queue.Empty:
            raise WorkerLost(f"has not answered for {timeout_s:.0f} s") from None
        try:
            free.settimeout(timeout_s)
            send(free, message)
            return receive(free)
        except TimeoutError:
            raise WorkerLost(f"has not answered for {timeout_s:.0f} s") from None
        except (OSError, EOFError):
            raise WorkerLost(self._death()) from None
        finally:
            self._free.put(free)

    def close(self) -> None:
        """End it."""
        for ours in self._sockets:
            ours.close()
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


def send(to: socket.socket, message: bytes) -> None:
    to.sendall(_LENGTH.pack(len(message)))
    to.sendall(message)


def receive(of: socket.socket) -> bytes:
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
    service = Service(lambda model, options, on_load: open_engine(model, options, on_load=on_load))
    first, *others = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    for driver in others:
        threading.Thread(target=_answer_all, args=(driver, service), daemon=True).start()
    _answer_all(first, service)


def _answer_all(driver: socket.socket, service: Service) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            send(driver, service.answer(receive(driver)))
    os._exit(0)  # whatever is being computed is nobody's any more
