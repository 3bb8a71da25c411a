"""The process between a driver and a Ray cluster: it alone imports ray, and whatever Ray prints stays here.

A driver hands it sockets. What comes over one of them is either a question about the cluster, or the messages for one
worker. An actor serves all engines of its driver, and ends when none has asked for it for a while.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.cores import physical_cores
from llama_diversity.engines.fanout.clusters import ANSWER, LOCAL, RAISED, SECONDS, Node
from llama_diversity.engines.fanout.complaints import about_actor, about_cluster, nothing_at
from llama_diversity.engines.fanout.finding import found_here
from llama_diversity.engines.fanout.lines import WorkerGone
from llama_diversity.engines.fanout.processes import receive, send
from llama_diversity.engines.fanout.service import OnLoad, Service
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.errors import EngineError
from llama_diversity.records import ModelRef

_IDLE_SECONDS = 20.0  # an actor that nobody talks to is ended then
_ACTOR_SECONDS = 60.0  # within which an actor must be there
_AT_ONCE = 32  # calls of an actor: one for each engine and one more, as it answers while it computes
_CONNECT_SECONDS = 10.0
_END_SECONDS = 8.0
CACHE_SHARE = 0.25  # of a node's memory, for the caches of its workers together


class Actor:
    """What Ray runs on a node: bytes in, bytes out; a service for each engine's line."""

    def __init__(self, n_threads: int | None, n_cpus: int, n_there: int) -> None:
        self._n_threads = n_threads or max(1, min(n_cpus or physical_cores(), physical_cores()))
        self._n_there = n_there
        self._services: dict[int, Service] = {}
        self._lock = threading.Lock()

    def ready(self) -> int:
        """Its process, as soon as it is there."""
        return os.getpid()

    def post(self, line: int, message: bytes) -> bytes:
        """The answer of the line's service."""
        with self._lock:
            service = self._services.setdefault(line, Service(self._open))
        return service.answer(message)

    def drop(self, line: int) -> None:
        """Nobody will ask that service any more."""
        with self._lock:
            service = self._services.pop(line, None)
        if service is not None:
            service.close()

    def _open(self, model: ModelRef, options: EngineOptions, on_load: OnLoad) -> Engine:
        here = dataclasses.replace(
            options,
            n_threads=self._n_threads,
            memory_budget_bytes=int(CACHE_SHARE * physical_memory_bytes()) // self._n_there,
        )
        return open_engine(found_here(model), here, on_load=on_load)


@dataclass
class Held:
    """An actor, and how many lines lead to it."""

    actor: Any
    pid: int
    n_lines: int = 0
    is_lost: bool = False
    numbers: Any = field(default_factory=lambda: itertools.count(1))


class Gateway:
    """Holds the connection to the cluster, and the actors."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.trouble: str | None = None  # why there is no cluster
        self._held: dict[str, Held] = {}
        self._starting: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._folder: str | None = None

    def connect(self) -> None:
        """Join the cluster, or start one."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else what is asked after the end would start a cluster
        if self.address == LOCAL and "RAY_AUTH_MODE" not in os.environ:
            # Before ray is imported. By itself it leaves a token in the home, which later clusters take up.
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
        try:
            import ray

            if self.address != LOCAL:
                if not is_open(self.address):  # Ray would try for minutes
                    self.trouble = nothing_at(self.address)
                    return
                ray.init(address=self.address, **quiet)
                return
            self._folder = tempfile.mkdtemp(prefix="llamadiv-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
            ray.init(address=LOCAL, include_dashboard=False, _temp_dir=self._folder, **quiet)
        except Exception as error:  # noqa: BLE001  whatever it is becomes a sentence
            self.trouble = about_cluster(error, self.address)

    def leave(self) -> None:
        """End the actors, and the cluster that was started here."""
        threading.Timer(_END_SECONDS, os._exit, (1,)).start()
        with contextlib.suppress(Exception):
            import ray

            ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def converse(self, talk: socket.socket) -> None:
        """Answer what comes over one socket until the driver closes it."""
        with talk, contextlib.suppress(OSError, EOFError):
            asked = json.loads(receive(talk))
            try:
                if self.trouble is not None:
                    raise EngineError(self.trouble)
                if asked["do"] == "nodes":
                    send(talk, ANSWER + json.dumps([dataclasses.asdict(node) for node in nodes()]).encode())
                else:
                    self._work(talk, asked["place"])
            except tuple(RAISED.values()) as error:
                kind = next(kind for kind, raised in RAISED.items() if type(error) is raised)
                send(talk, kind + str(error).encode())

    def _work(self, talk: socket.socket, place: Mapping[str, Any]) -> None:
        """Pass the messages for one worker on."""
        import ray

        name = place["name"]
        held = self._take(place)
        line = next(held.numbers)
        try:
            send(talk, ANSWER)
            while True:
                asked = receive(talk)
                (timeout_s,) = SECONDS.unpack_from(asked)
                answer = ray.get(held.actor.post.remote(line, asked[SECONDS.size :]), timeout=timeout_s)
                send(talk, ANSWER + answer)
        except (OSError, EOFError):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is becomes a sentence
            held.is_lost = True
            put_down(held.actor, held.pid, place["node_id"])
            raise about_actor(error, place, is_alive=is_alive(place["node_id"])) from error
        finally:
            self._release(name, held, line)

    def _take(self, place: Mapping[str, Any]) -> Held:
        """The actor of a place, started if there is none. Raises WorkerLost, EngineError."""
        name = place["name"]
        with self._lock:
            starting = self._starting.setdefault(name, threading.Lock())
        with starting:
            with self._lock:
                held = self._held.get(name)
                if held is not None and not held.is_lost:
                    held.n_lines += 1
                    return held
            if not is_alive(place["node_id"]):
                raise WorkerGone("has left the cluster")
            held = Held(*started(place), 1)
            with self._lock:
                self._held[name] = held
            return held

    def _release(self, name: str, held: Held, line: int) -> None:
        with self._lock:
            held.n_lines -= 1
        if held.is_lost:
            return
        with contextlib.suppress(Exception):
            held.actor.drop.remote(line)
        later = threading.Timer(_IDLE_SECONDS, self._end_if_idle, (name, held))
        later.daemon = True
        later.start()

    def _end_if_idle(self, name: str, held: Held) -> None:
        with self._lock:
            if held.n_lines or self._held.get(name) is not held:
                return
            del self._held[name]
        end(held.actor)


def is_open(address: str) -> bool:
    """Whether anything listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True


def nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    return [
        Node(
            id=one["NodeID"],
            host=one["NodeManagerHostname"],
            address=one["NodeManagerAddress"],
            n_cpus=one["Resources"].get("CPU", 0.0),
            n_gpus=one["Resources"].get("GPU", 0.0),
            memory_bytes=int(one["Resources"].get("memory", 0)),
        )
        for one in ray.nodes()
        if one["Alive"]
    ]


def is_alive(node_id: str) -> bool:
    """Whether the node still belongs to the cluster; so it is believed where nobody can say."""
    try:
        return any(node.id == node_id for node in nodes())
    except Exception:  # noqa: BLE001
        return True


def started(place: Mapping[str, Any]) -> tuple[Any, int]:
    """A new actor at a place, once it answers, and its process. Raises WorkerLost, WorkerGone, EngineError."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    kind = ray.remote(Actor).options(
        num_cpus=place["n_cpus"],
        num_gpus=place["n_gpus"],
        max_restarts=0,  # what was in hand is dealt anew, and the worker started anew, by the driver
        max_task_retries=0,
        max_concurrency=_AT_ONCE,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=place["node_id"], soft=False),
    )
    actor = kind.remote(place["n_threads"], place["n_cpus"], place["n_there"])
    try:
        return actor, ray.get(actor.ready.remote(), timeout=_ACTOR_SECONDS)
    except Exception as error:  # noqa: BLE001  whatever it is becomes a sentence
        end(actor)
        raise about_actor(error, place, is_alive=is_alive(place["node_id"]), is_starting=True) from error


def end(actor: Any) -> None:
    """Have an actor's process killed."""
    import ray

    with contextlib.suppress(Exception):
        ray.kill(actor, no_restart=True)


def put_down(actor: Any, pid: int, node_id: str) -> None:
    """Have an actor's process killed also where it hears nothing: it would keep its CPUs."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    end(actor)
    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    with contextlib.suppress(Exception):
        task = ray.remote(kill_process).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        ray.get(task.remote(pid), timeout=_CONNECT_SECONDS)


def kill_process(pid: int) -> None:
    """On its node: kill it if it is still an actor."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Actor"):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Serve the driver at the other end of the socket in argv[1] until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = socket.socket(fileno=int(sys.argv[1]))
    gateway = Gateway(sys.argv[2])
    gateway.connect()  # in the main thread: the processes of a cluster that starts here end with the thread
    with contextlib.suppress(OSError):
        while True:
            mark, handed, _, _ = socket.recv_fds(driver, 1, 1)
            if not mark:
                break
            talk = socket.socket(fileno=handed[0])
            threading.Thread(target=gateway.converse, args=(talk,), daemon=True).start()
    gateway.leave()
    sys.stdout.flush()
    os._exit(0)
