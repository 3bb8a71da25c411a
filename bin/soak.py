"""Kill at random, go on, compare: the work behind bin/soak.

One command draws samples over workers, ever more of them, and is killed with SIGKILL at random moments: a worker, the
driver, or both. Then it runs to its end, and its store must hold what one undisturbed process draws, byte for byte: no
sample lost, none doubled. Under --exact on the tiny base, so that every bit is defined.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

ROOT = Path(__file__).resolve().parents[1]
LLAMADIV = [sys.executable, "-m", "llama_diversity"]
SAMPLE = ["sample", "-m", "tiny-base", "-p", "She was", "--max-tokens", "32", "--parallel", "4", "--exact", "-q"]
GROWTH = 80  # samples that each kill adds to the work, so that there is always some left
EARLY_S = 3.0  # a kill at the beginning comes within so much
LATE_S = 2.0  # another one within so much after the first new sample
PATIENCE_S = 180.0  # for that sample
FIRST_PORT = 8865


class Way(Protocol):
    """How the workers are run."""

    def words(self) -> list[str]:
        """What the command is given."""
        ...

    def workers(self, driver: int) -> list[int]:
        """The worker processes that can be killed now."""
        ...

    def mend(self) -> None:
        """Start again what was killed and does not start by itself."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Processes:
    """Worker processes, which end with their driver."""

    def words(self) -> list[str]:
        return ["--workers", "2"]

    def workers(self, driver: int) -> list[int]:
        found = subprocess.run(["pgrep", "-P", str(driver), "-f", "fanout.processes"], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def mend(self) -> None:
        """They are the driver's."""

    def close(self) -> None:
        """They are the driver's."""


class Servers:
    """Two `llamadiv worker`s, started again on their ports when they are killed."""

    def __init__(self) -> None:
        os.environ["LLAMADIV_WORKER_TOKEN"] = secrets.token_hex(16)
        self._ports = [FIRST_PORT, FIRST_PORT + 1]
        self._running = [self._start(port) for port in self._ports]

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        words = ["worker", "-m", "tiny-base", "--port", str(port), "--threads", "1", "-q"]
        return subprocess.Popen([*LLAMADIV, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def words(self) -> list[str]:
        return ["--workers", ",".join(f"http://127.0.0.1:{port}" for port in self._ports)]

    def workers(self, driver: int) -> list[int]:
        return [one.pid for one in self._running if one.poll() is None]

    def mend(self) -> None:
        for at, one in enumerate(self._running):
            if one.poll() is not None:
                self._running[at] = self._start(self._ports[at])

    def close(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()


class Cluster:
    """A Ray cluster of two nodes with a processor each. Actors end with their driver. Needs ray beside this Python."""

    def __init__(self) -> None:
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names
        self._head = f"127.0.0.1:{FIRST_PORT + 2}"
        begins = ["--head", f"--port={FIRST_PORT + 2}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        self._nodes = [self._start(*begins)]
        until_s = time.monotonic() + PATIENCE_S  # a node that finds no head ends at once
        while not is_listening(FIRST_PORT + 2) and time.monotonic() < until_s:
            time.sleep(0.5)
        self._nodes.append(self._start(f"--address={self._head}"))

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        program = Path(sys.executable).with_name("ray")
        return subprocess.Popen(
            [program, "start", *words, "--num-cpus=1", "--block"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def words(self) -> list[str]:
        return ["--workers", f"ray:{self._head}"]

    def workers(self, driver: int) -> list[int]:
        found = subprocess.run(["pgrep", "-f", "^ray::Actor"], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split() if self._is_ours(int(pid))]

    def _is_ours(self, pid: int) -> bool:
        """Whether a node of ours is among its parents."""
        nodes = {node.pid for node in self._nodes}
        while pid > 1 and pid not in nodes:
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                return False
        return pid in nodes

    def mend(self) -> None:
        """Actors are the driver's."""

    def close(self) -> None:
        for node in reversed(self._nodes):
            for pid in subprocess.run(["pgrep", "-s", str(node.pid)], capture_output=True, text=True).stdout.split():
                kill(int(pid))
            node.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def is_listening(port: int) -> bool:
    """Whether somebody is at this port."""
    with contextlib.closing(socket.socket()) as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


WAYS = {"processes": Processes, "servers": Servers, "ray": Cluster}


class Kill(NamedTuple):
    """What was killed, and what of it was really running."""

    wanted: str
    hit: str


def rows(store: Path) -> list[tuple[object, ...]]:
    """All samples of a store, every column but the run that drew them."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        wanted = "recipe, idx, n_tokens, finish_reason, text, statistics"
        return sorted(connection.execute(f"SELECT {wanted} FROM samples"))


def disturbed(way: Way, store: Path, kills: int, chance: random.Random) -> Iterator[Kill]:
    """Run and kill, so many times."""
    for number in range(1, kills + 1):
        way.mend()
        driver = subprocess.Popen(
            [*LLAMADIV, *SAMPLE, "-n", str(GROWTH * number), "--store", str(store), *way.words()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_moment(driver, store, chance)
        wanted = chance.choice(["worker", "driver", "both"])
        hit = []
        workers = way.workers(driver.pid)
        if wanted != "driver" and workers:
            kill(chance.choice(workers))
            hit.append("worker")
        if wanted == "worker":
            await_end(driver, chance.uniform(0, LATE_S))  # it goes on with the others
        elif driver.poll() is None:
            hit.append("driver")
        if driver.poll() is None:
            driver.kill()
        driver.wait()
        yield Kill(wanted, "+".join(hit) or "nothing")


def await_moment(driver: subprocess.Popen[bytes], store: Path, chance: random.Random) -> None:
    """One time in four while all begins, else while samples are being stored."""
    if chance.random() < 0.25:
        return await_end(driver, chance.uniform(0, EARLY_S))
    before, began_s = count(store), time.monotonic()
    while count(store) == before and driver.poll() is None and time.monotonic() - began_s < PATIENCE_S:
        time.sleep(0.02)
    await_end(driver, chance.uniform(0, LATE_S))


def await_end(driver: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait so long, or until it has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.wait(seconds)


def count(store: Path) -> int:
    """Samples in a store that another process writes; 0 while there is none."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM samples").fetchone()[0])
    except sqlite3.Error:
        return 0


def kill(pid: int) -> None:
    """At once."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def soak(name: str, kills: int, seed: int) -> dict[str, object]:
    """The account of one way."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(WAYS[name]()) as way:
        store, alone = Path(folder) / "soak.sqlite", Path(folder) / "alone.sqlite"
        hits: Counter[str] = Counter()
        for done, one in enumerate(disturbed(way, store, kills, random.Random(seed)), 1):
            hits[one.hit] += 1
            print(f"{name}: {done}/{kills} killed: {one.hit}", file=sys.stderr)
        way.mend()
        n = GROWTH * (kills + 1)
        for words, where in ((way.words(), store), ([], alone)):
            subprocess.run(
                [*LLAMADIV, *SAMPLE, "-n", str(n), "--store", str(where), *words], check=True, stdout=subprocess.DEVNULL
            )
        found, expected = rows(store), rows(alone)
    keys = Counter(row[:2] for row in found)
    return {
        "way": name,
        "kills": kills,
        "hit": dict(hits),
        "samples": n,
        "lost": n - len(keys),
        "doubled": sum(count - 1 for count in keys.values()),
        "equal": found == expected,
        "seconds": round(time.monotonic() - began_s, 1),
    }


def main() -> int:
    """Every way that was asked for; 1 where something was lost, doubled or changed."""
    parser = argparse.ArgumentParser(prog="bin/soak", description=__doc__.split("\n\n")[1])
    parser.add_argument("kills", nargs="?", type=int, default=30, help="of each way (default 30)")
    parser.add_argument("--only", default="processes,servers", help=f"ways, of {', '.join(WAYS)}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    accounts = [soak(name, given.kills, given.seed) for name in given.only.split(",")]
    print(json.dumps(accounts, indent=1))
    return 0 if all(one["equal"] and not one["lost"] and not one["doubled"] for one in accounts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
