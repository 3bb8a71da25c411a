"""Progress: a live line on a terminal, a heartbeat elsewhere, nothing with -q; stdout stays the caller's own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

from llama_diversity.cli.output import Output
from llama_diversity.cli.progress import HEARTBEAT_S, progress_line, sampling_progress
from llama_diversity.runner import Progress


def output(*, quiet: bool = False) -> Output:
    return Output(json=False, quiet=quiet, color="auto")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


Report = Callable[[Progress], None]


def test_a_heartbeat_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with sampling_progress(output(), "base", clock=clock) as report:
        report(Progress(20, 100, n_resumed=20, n_tokens=0))
        clock.now_s += HEARTBEAT_S / 2
        report(Progress(25, 100, n_resumed=20, n_tokens=500))
        assert capsys.readouterr().err == ""
        clock.now_s += HEARTBEAT_S / 2
        report(Progress(30, 100, n_resumed=20, n_tokens=1000))
        # 10 samples and 1000 tokens in 10 s; 70 samples are left
        assert capsys.readouterr().err == "base: 30/100 samples, 100 tokens/s, 1:10 left\n"
        clock.now_s += HEARTBEAT_S / 2
        report(Progress(40, 100, n_resumed=20, n_tokens=2000))
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(0, 10, n_resumed=0, n_tokens=0), "0/10 samples"),
        (Progress(0, 10, n_resumed=0, n_tokens=50), "0/10 samples, 5 tokens/s"),  # no sample yet: no guess
        (Progress(4, 10, n_resumed=4, n_tokens=50), "4/10 samples, 5 tokens/s"),  # resumed ones took no time
        (Progress(10, 10, n_resumed=0, n_tokens=50), "10/10 samples, 5 tokens/s"),
        (Progress(1, 721, n_resumed=0, n_tokens=50), "1/721 samples, 5 tokens/s, 2:00:00 left"),
    ],
)
def test_what_is_said_after_ten_seconds(progress: Progress, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with sampling_progress(output(), "base", clock=clock) as report:
        clock.now_s += HEARTBEAT_S
        report(progress)
    assert capsys.readouterr().err == f"base: {words}\n"


def test_loading(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress_line(output(), "loading m", clock=clock) as report:
        report(0.1)
        clock.now_s += HEARTBEAT_S
        report(0.255)
    assert capsys.readouterr().err == "loading m: 26%\n"


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with sampling_progress(output(quiet=True), "base", clock=clock) as report:
        clock.now_s += 100
        report(Progress(1, 2, n_resumed=0, n_tokens=5))
    with progress_line(output(quiet=True), "base", clock=clock) as share:
        clock.now_s += 100
        share(0.5)
    assert capsys.readouterr() == ("", "")


def test_a_title_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress_line(output(), "\x1b[2J", clock=clock) as report:
        clock.now_s += 100
        report(1.0)
    assert capsys.readouterr().err == "⟨U+001B⟩[2J: 100%\n"


ON_A_TERMINAL = """
from llama_diversity.cli.output import Output
from llama_diversity.cli.progress import sampling_progress
from llama_diversity.runner import Progress
output = Output(json=False, quiet=False, color="auto")
with sampling_progress(output, "[b]base[/b]") as report:
    for n in range(1, 4):
        report(Progress(n, 3, n_resumed=0, n_tokens=n))
        print("sample", n, flush=True)
"""


def test_a_live_line_leaves_a_piped_stdout_alone() -> None:
    """With stderr on a terminal and stdout in a pipe, Rich would send what is printed to the terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL], stdout=subprocess.PIPE, stderr=follower, env=environment, check=True
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.stdout == b"sample 1\nsample 2\nsample 3\n"
    assert "[b]base[/b]" in shown  # markup in a title is text
    assert "3/3 samples" in shown
    assert "sample 1" not in shown
