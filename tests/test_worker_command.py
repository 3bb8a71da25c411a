"""`llamadiv worker` as a process: what it says, how it ends, and stores that are equal whatever ends in the middle."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_fanout import drawn, recipe_of, rows_of

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.fanout import crew as crews
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.http import HttpLine
from llama_diversity.engines.fanout.secret import VARIABLE
from llama_diversity.resolve import resolve_model

TOKEN = "a-token-of-the-tests"  # noqa: S105
EXACT = ("-m", "tiny-base", "-p", "She was", "-n", 90, "--max-tokens", 24, "--exact", "-q", "--store")


class Worker(NamedTuple):
    """A worker that runs."""

    process: subprocess.Popen[str]
    url: str

    def ended(self) -> tuple[int, str]:
        """Its exit code and all it said beside the answer."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Starts workers."""
    monkeypatch.setenv(VARIABLE, TOKEN)
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.05)
    begun: list[Worker] = []

    def start(*arguments: object, port: int = 0) -> Worker:
        command = [
            sys.executable,
            "-m",
            "llama_diversity",
            "worker",
            *map(str, arguments),
            "--json",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = process.stdout.readline()
        begun.append(Worker(process, json.loads(said)["url"] if said else ""))
        return begun[-1]

    yield start
    for worker in begun:
        worker.process.kill()
        worker.process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_does_and_ends_with_a_sentence(
    begin: Any, run: Any, tmp_path: Path, how: signal.Signals
) -> None:
    worker = begin("-m", "scripted:base", "-m", "scripted:aligned")
    store = tmp_path / "store.sqlite"
    code, _, err = run(
        "sample", "-m", "scripted:base", "-p", "A secret", "-n", 3, "--workers", worker.url, "--store", store
    )
    assert (code, TOKEN in err) == (0, False)
    arguments = Path(f"/proc/{worker.process.pid}/cmdline")
    if arguments.exists():
        assert TOKEN not in arguments.read_text()
    worker.process.send_signal(how)
    code, said = worker.ended()
    first, second, third, *came_and_went, last = said.splitlines()
    assert code == 0
    assert first.startswith(f"Serving scripted:base and scripted:aligned at {worker.url}; a model is loaded when")
    assert f"{VARIABLE}: llamadiv sample -m scripted:base -p 'She was' --workers {worker.url}" in second
    assert third.startswith("On another: ssh -N -L ")
    assert [line.partition(" ")[2] for line in came_and_went] == [
        "scripted:base: a driver at 127.0.0.1 is here for it.", "scripted:base: a driver at 127.0.0.1 has left it.",
    ]  # fmt: skip
    assert last == "The worker has ended. Drivers go on with their others, or try it again until it is back."
    assert TOKEN not in said
    assert "secret" not in said
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("store.sqlite*"))
    assert (TOKEN.encode() in kept, b"A secret" in kept) == (False, True)


def test_what_cannot_be_served_is_said(begin: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("worker", "-m", "scripted:base", "--port", port)
    assert (code, err) == (
        1,
        f"llamadiv: Nothing can listen at 127.0.0.1 port {port}: Address already in use. "
        "Choose another --host or --port.\n",
    )
    assert "are the same model" in run("worker", "-m", "scripted:base", "-m", "scripted:base")[2]
    assert "There is no model called" in run("worker", "-m", "nothing")[2]
    monkeypatch.delenv(VARIABLE)
    code, _, err = run("worker", "-m", "scripted:base")
    assert code == 2
    assert f"export {VARIABLE}=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')" in err


@pytest.mark.model
def test_workers_that_are_killed_added_late_and_started_again_change_nothing(
    begin: Any, run: Any, run_alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real model under --exact, and byte for byte."""
    assert run_alone("sample", *EXACT, tmp_path / "alone.sqlite") == 0
    ports = [free_port(), free_port()]
    first = begin("-m", "tiny-base", port=ports[0])
    others: list[Worker] = []
    posted = HttpLine.post

    def post(self: HttpLine, message: bytes, *, timeout_s: float) -> bytes:
        answer = posted(self, message, timeout_s=timeout_s)
        if not others and any("finished" in wire.unpack(frame) for frame in wire.unpack(answer).get("frames", ())):
            first.process.kill()
            first.process.wait()
            others.extend(begin("-m", "tiny-base", port=port) for port in ports)
        return answer

    monkeypatch.setattr(HttpLine, "post", post)
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    code, _, err = run("sample", *EXACT, tmp_path / "over.sqlite", "--workers", urls)
    assert (code, "Traceback" in err) == (0, False)
    assert len(others) == 2
    assert rows_of(tmp_path / "over.sqlite") == rows_of(tmp_path / "alone.sqlite")


def test_two_drivers_share_a_process(begin: Any) -> None:
    worker, model = begin("-m", "scripted:base"), resolve_model("scripted:base")
    options, found = EngineOptions(workers=worker.url), dict[int, Any]()

    def drive(number: int) -> None:
        with closing(open_engine(model, options)) as engine:
            found[number] = drawn(engine, [(recipe_of(engine, model, seed=number, max_tokens=30), range(200))])

    threads = [threading.Thread(target=drive, args=(number,)) for number in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(open_engine(model, EngineOptions())) as alone:
        for number in found:
            recipe = recipe_of(alone, model, seed=number, max_tokens=30)
            assert found[number] == drawn(alone, [(recipe, range(200))])
    assert len(found) == 3


KILLED = """
import os, signal, sys
from llama_diversity.cli import main
from llama_diversity.engines.fanout import jobs
heard = jobs.DrawingJob.heard
def last_words(self, frame, by):
    heard(self, frame, by)
    if self.drawing.deal.n_open < 60:
        os.kill(os.getpid(), signal.SIGKILL)
jobs.DrawingJob.heard = last_words
main(sys.argv[1:])
"""


@pytest.mark.model
def test_a_driver_that_is_killed_goes_on_where_it_was(begin: Any, run_alone: Any, tmp_path: Path) -> None:
    assert run_alone("sample", *EXACT, tmp_path / "alone.sqlite") == 0
    command = ("sample", *EXACT, tmp_path / "over.sqlite", "--workers", begin("-m", "tiny-base").url)
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, command)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert run_alone(*command) == 0
    assert rows_of(tmp_path / "over.sqlite") == rows_of(tmp_path / "alone.sqlite")


def test_a_study_over_workers_is_the_same_study(begin: Any, run: Any, tmp_path: Path) -> None:
    command = ("diff", "--pair", "scripted", "-p", "She was", "-n", 20, "--max-tokens", 8, "--json")
    alone = json.loads(run(*command, "--store", tmp_path / "a.sqlite")[1])
    worker = begin("-m", "scripted:base", "-m", "scripted:aligned")
    over = json.loads(run(*command, "--store", tmp_path / "b.sqlite", "--workers", worker.url)[1])
    assert {**over, "run": None, "command": None} == {**alone, "run": None, "command": None}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
