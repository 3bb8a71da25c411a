"""Workers on a Ray cluster: an actor a place, reached through a gateway, a process of ours that alone knows Ray.

Ray prints to standard output, ends the process whose node dies, and can be connected once a process. So it lives in a
process of its own, which is started once for each cluster and ends when this one does, however that ends; with it go
the actors, and a cluster that was started here. Each conversation with the gateway has a socket of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.fanout.lines import Refused, WorkerGone, WorkerLost
from llama_diversity.engines.fanout.processes import receive, send
from llama_diversity.engines.fanout.secret import VARIABLE
from llama_diversity.errors import EngineError

ANSWER = b"+"  # what begins an answer of the gateway, or else one of these:
RAISED: dict[bytes, type[Exception]] = {b"L": WorkerLost, b"G": WorkerGone, b"R": Refused, b"E": EngineError}
SECONDS = struct.Struct("<d")  # what begins a message to it: how long an answer may take
_START_SECONDS = 180.0  # of a cluster, and of an actor on it
_BEYOND_SECONDS = 10.0  # the gateway says itself that a worker does not answer
_GRACE_SECONDS = 10.0
LOCAL = "local"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as Ray knows it."""

    id: str
    host: str
    address: str
    n_cpus: float
    n_gpus: float
    memory_bytes: int

    @property
    def name(self) -> str:
        """Two nodes may share an address, so a piece of the id is in it."""
        return f"node {self.address} ({self.id[:6]})"


@dataclass(frozen=True)
class RayPlaces:
    """The nodes of the cluster at `address`: HOST:PORT of its head, or `local` for one that is started here."""

    address: str

    n_here = 0
    are_all_here = False
    may_grow = True

    def now(self, options: EngineOptions) -> Sequence[RayPlace]:
        """A worker for each GPU; on a node without one a worker, or with --threads as many as fit."""
        nodes = cluster_at(self.address).nodes()
        found = [place for node in nodes for place in places_of(node, self.address, options.n_threads)]
        if not found:
            raise EngineError(
                f"{named(self.address)} has no node with a processor to compute on. Start one: "
                f"ray start --address={self.address} --num-cpus=4"
            )
        return found


def places_of(node: Node, address: str, n_threads: int | None) -> list[RayPlace]:
    """The places of a node, for workers of so many threads each.

    >>> node = Node("4f2a91", "h", "10.0.0.5", 8, 0, 0)
    >>> [(place.name, place.n_cpus) for place in places_of(node, "h:1", 3)]
    [('node 10.0.0.5 (4f2a91), worker 1', 3), ('node 10.0.0.5 (4f2a91), worker 2', 3)]
    """
    n_cpus, n_gpus = int(node.n_cpus), int(node.n_gpus)
    if n_gpus:
        n, each = n_gpus, n_cpus // n_gpus
        each = min(each, n_threads or each)
    else:
        each = min(n_cpus, n_threads or n_cpus)
        n = n_cpus // each if each else 0
    names = [node.name] if n == 1 else [f"{node.name}, worker {number}" for number in range(1, n + 1)]
    return [
        RayPlace(address, node.id, name, number, n, each, int(bool(n_gpus)), n_threads)
        for number, name in enumerate(names)
    ]


@dataclass(frozen=True)
class RayPlace:
    """Room for one worker on a node."""

    address: str
    node_id: str
    name: str
    number: int
    n_there: int  # workers on this node
    n_cpus: int
    n_gpus: int
    n_threads: int | None

    is_ours = True

    @property
    def room(self) -> str:
        """What of the node it has, in words."""
        cpus = f"{self.n_cpus} CPU{'s' if self.n_cpus != 1 else ''}"
        return f"{cpus} and a GPU" if self.n_gpus else cpus

    def connect(self) -> RayLine:
        """Have its actor started there, if it is not. Raises WorkerLost, EngineError."""
        talk = cluster_at(self.address).talk({"do": "work", "place": asdict(self)})
        try:
            answered(talk, _START_SECONDS)
        except BaseException:
            talk.close()
            raise
        return RayLine(talk)


class RayLine:
    """A worker on the cluster."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        """Its answer. Raises WorkerLost."""
        try:
            send(self._talk, SECONDS.pack(timeout_s) + message)
            return answered(self._talk, timeout_s + _BEYOND_SECONDS)
        except OSError:
            raise WorkerLost("has lost the connection to the cluster") from None

    def close(self) -> None:
        """Its actor ends when nobody has asked for it for a while."""
        self._talk.close()


def answered(talk: socket.socket, timeout_s: float) -> bytes:
    """What the gateway answers. Raises WorkerLost, EngineError."""
    talk.settimeout(timeout_s)
    try:
        found = receive(talk)
    except TimeoutError:
        raise WorkerLost(f"has not answered for {timeout_s:.0f} s") from None
    except (OSError, EOFError):
        raise WorkerLost("has lost the connection to the cluster") from None
    kind, answer = found[:1], found[1:]
    if kind == ANSWER:
        return answer
    raise RAISED[kind](answer.decode())


def named(address: str) -> str:
    """What a cluster is called in messages."""
    return "The Ray cluster on this machine" if address == LOCAL else f"The Ray cluster at {address}"


# ---- the gateway, as this process sees it


class Cluster:
    """The gateway to one cluster."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  kept as long as the process
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        here = [path for path in sys.path if path]  # the child must find what we found
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(theirs.fileno()), address],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                env={name: value for name, value in os.environ.items() if name != VARIABLE}
                | {"PYTHONPATH": os.pathsep.join(here)},
                start_new_session=True,  # Ctrl-C is for this process, which decides
            )

    @property
    def is_over(self) -> bool:
        """Whether the gateway has ended."""
        return self._process.poll() is not None

    def talk(self, asked: dict[str, Any]) -> socket.socket:
        """A conversation that begins with a question. Raises WorkerLost."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            send(ours, json.dumps(asked).encode())
        except OSError:
            ours.close()
            raise WorkerLost("has lost the connection to the cluster") from None
        return ours

    def nodes(self) -> list[Node]:
        """Those that are alive. Raises EngineError where there is no cluster."""
        try:
            with contextlib.closing(self.talk({"do": "nodes"})) as talk:
                found = json.loads(answered(talk, _START_SECONDS))
        except WorkerLost as lost:
            words = f"{lost}{self._last_words()}"
            self.close()
            raise EngineError(f"{named(self.address)} {words}. Run the command again") from None
        return [Node(**one) for one in found]

    def close(self) -> None:
        """Let the gateway end, and what it started."""
        self._control.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _last_words(self) -> str:
        try:
            self._said.seek(0)
            said = self._said.read()[-2000:].decode("utf-8", "replace")
        except ValueError:  # closed: it was started anew meanwhile
            return ""
        lines = [line.strip() for line in said.split("\n")]
        return "".join(f" ({line.rstrip('.')})" for line in [line for line in lines if line][-1:])


_clusters: dict[str, Cluster] = {}
_starting = threading.Lock()


def cluster_at(address: str) -> Cluster:
    """The gateway to it: one for this process, as a cluster that is started here takes seconds."""
    with _starting:
        found = _clusters.get(address)
        if found is not None and found.is_over:
            found.close()
        if found is None or found.is_over:
            found = _clusters[address] = Cluster(address)
        return found


@atexit.register
def _leave() -> None:
    for cluster in _clusters.values():
        cluster.close()


_CHILD = "from llama_diversity.engines.fanout.gateway import main; main()"
