"""A Ray cluster of two nodes on this machine: the store of a single run, whatever dies.

Needs ray, which the extra `[ray]` brings; test_ray_places.py tests the same code without it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PATIENCE_S = 180.0
N, LATE_N = 300, 3000  # a node takes some time until it is there
PROGRAM = Path(sys.executable).with_name("ray")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not PROGRAM.exists(), reason="ray is not installed: pip install '.[ray]'"),
]


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait for something that is about to happen."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if answer := found():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S:.0f} s: {what}")


class Cluster:
    """Nodes of one processor each, by `ray start`; each ends with its command."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.environment = {
            **os.environ, "HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._log = (folder / "ray.log").open("wb")
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names

    def start(self) -> subprocess.Popen[bytes]:
        """One more node, the first of them the head."""
        port = self.address.rpartition(":")[2]
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._temporary}"]
        where = [f"--address={self.address}"] if self.nodes else head
        command = [PROGRAM, "start", *where, "--num-cpus=1", "--block"]
        node = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        self.nodes.append(node)
        until(lambda: len(self.alive()) >= len([one for one in self.nodes if one.poll() is None]), "a node")
        return node

    def alive(self) -> list[str]:
        """The ids of its nodes, asked in a process of its own."""
        asked = subprocess.run([sys.executable, "-c", _ASK, self.address], env=self.environment, capture_output=True)
        return asked.stdout.decode().split()

    def actors(self) -> list[int]:
        """The processes of our workers."""
        asked = [["pgrep", "-s", str(node.pid), "-f", "^ray::Actor"] for node in self.nodes]
        return [int(pid) for one in asked for pid in subprocess.run(one, capture_output=True).stdout.split()]

    def close(self) -> None:
        for node in reversed(self.nodes):
            end(node)
        self._log.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


_ASK = """
import sys
from llama_diversity.engines.fanout.clusters import cluster_at
from llama_diversity.errors import LlamadivError
try:
    print(*[node.id for node in cluster_at(sys.argv[1]).nodes()])
except LlamadivError:
    pass
"""


def end(node: subprocess.Popen[bytes]) -> None:
    """Kill a node with all its processes."""
    for pid in subprocess.run(["pgrep", "-s", str(node.pid)], capture_output=True).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    node.wait()


class Sampling:
    """A `llamadiv sample` of its own process."""

    def __init__(self, store: Path, environment: dict[str, str], *more: str, n: int = N) -> None:
        self.store = store
        command = ["sample", "-m", "tiny-base", "-p", "She was", "-n", str(n), "--max-tokens", "24", "--exact"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llama_diversity", *command, "--store", store, *more],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def n_stored(self) -> int:
        with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as it:
            return int(it.execute("SELECT count(*) FROM samples").fetchone()[0])
        return 0

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out.decode(), err.decode()


def rows_of(store: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store)) as connection:
        return sorted(connection.execute("SELECT recipe, idx, n_tokens, finish_reason, text, statistics FROM samples"))


@pytest.fixture
def cluster(own_folders: Path) -> Iterator[Cluster]:
    made = Cluster(own_folders)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def alone(tmp_path: Path, cluster: Cluster) -> list[tuple[Any, ...]]:
    """What a single process draws."""
    sampling = Sampling(tmp_path / "alone.sqlite", cluster.environment)
    assert sampling.finish()[0] == 0
    return rows_of(sampling.store)


def test_two_nodes_draw_what_one_process_does_whatever_dies(
    cluster: Cluster, alone: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    """A worker killed, the driver killed, a node that joins late and one that is lost: byte for byte."""
    where = "--workers", f"ray:{cluster.address}"

    late = Sampling(tmp_path / "late.sqlite", cluster.environment, *where, n=LATE_N)
    until(lambda: late.n_stored() >= 20, "samples")
    node = cluster.start()
    code, out, err = late.finish()
    assert (code, "has joined." in err) == (0, True), err
    # What Ray prints is not seen.
    printed = re.compile(r"\(raylet\)|\bpid=\d|\bray[.:_]|\bray (?:in|st|wo)|Ray runtime|raylet")
    assert printed.search(out + err) is None, out + err
    found = rows_of(late.store)
    assert (len(found), [row for row in found if row[1] < N]) == (LATE_N, alone)

    killed = Sampling(tmp_path / "killed.sqlite", cluster.environment, *where)
    until(lambda: killed.n_stored() >= 20, "samples")
    os.kill(cluster.actors()[0], signal.SIGKILL)
    code, _, err = killed.finish()
    assert (code, "What it had in hand goes to the others." in err) == (0, True), err
    assert rows_of(killed.store) == alone

    driver = Sampling(tmp_path / "driver.sqlite", cluster.environment, *where)
    until(lambda: driver.n_stored() >= 20, "samples")
    driver.process.kill()
    driver.finish()
    assert 20 <= driver.n_stored() < len(alone)
    until(lambda: not cluster.actors(), "the end of the workers")
    assert Sampling(driver.store, cluster.environment, *where).finish()[0] == 0
    assert rows_of(driver.store) == alone

    left = Sampling(tmp_path / "left.sqlite", cluster.environment, *where)
    until(lambda: left.n_stored() >= 20, "samples")
    end(node)
    code, _, err = left.finish()
    assert (code, "What it had in hand goes to the others." in err) == (0, True), err
    assert rows_of(left.store) == alone
