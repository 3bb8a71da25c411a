"""Progress: a live line on a terminal, a heartbeat elsewhere, nothing with -q; stdout stays the caller's own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from llama_diversity.cli.listening import TerminalListener
from llama_diversity.cli.output import Output
from llama_diversity.render.waiting import HEARTBEAT_S
from llama_diversity.studies.pace import Left, Standing


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def listener(clock: Clock, *, quiet: bool = False) -> TerminalListener:
    return TerminalListener(Output(json=False, quiet=quiet, color="auto"), clock=clock)


def standing(
    n_done: int, n_total: int, speed: float | None = None, left: Left | None = None, now: str = ""
) -> Standing:
    return Standing(n_done, n_total, speed, left, now)


def test_a_heartbeat_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with listener(clock).sampling("base") as report:
        report(standing(20, 100))
        clock.now_s += HEARTBEAT_S / 2
        report(standing(25, 100, 100, Left(75, False), "compare/warm, prompt 1"))
        assert capsys.readouterr().err == ""
        clock.now_s += HEARTBEAT_S / 2
        report(standing(30, 100, 100, Left(70, False), "compare/warm, prompt 2"))
        said = "base: 30/100 samples, 100 tokens/s, 1:10 left; compare/warm, prompt 2\n"
        assert capsys.readouterr().err == said
        clock.now_s += HEARTBEAT_S / 2
        report(standing(40, 100))
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (standing(0, 10), "0/10 samples"),
        (standing(0, 10, 5.0, Left(20, True)), "0/10 samples, 5 tokens/s, at most 0:20 left"),
        (standing(10, 10, 5.0), "10/10 samples, 5 tokens/s"),
        (standing(1, 7210, 5.0, Left(7200, False)), "1/7,210 samples, 5 tokens/s, 2:00:00 left"),
    ],
)
def test_what_is_said_after_ten_seconds(where: Standing, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with listener(clock).sampling("base") as report:
        clock.now_s += HEARTBEAT_S
        report(where)
    assert capsys.readouterr().err == f"base: {words}\n"


def test_other_work_stands_in_the_line_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    told = listener(clock)
    with told.sampling("2 models") as report:
        clock.now_s += HEARTBEAT_S
        with told.working("loading base"):
            pass
        report(standing(5, 10, 9.0))
        clock.now_s += HEARTBEAT_S
        with told.working("loading \x1b[2Jaligned") as show:
            clock.now_s += HEARTBEAT_S
            show(0.5)
    with told.working("comparing") as show:
        clock.now_s += HEARTBEAT_S
        show(0.5)
    said = ["loading base", "5/10 samples, 9 tokens/s; loading ⟨U+001B⟩[2Jaligned"]
    said += [f"{said[1]} 50%"]
    assert capsys.readouterr().err == "".join(f"2 models: {one}\n" for one in said) + "comparing: 50%\n"


def test_loading(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with listener(clock).working("loading m") as report:
        report(0.1)
        clock.now_s += HEARTBEAT_S
        report(0.255)
    assert capsys.readouterr().err == "loading m: 26%\n"


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with listener(clock, quiet=True).sampling("base") as report:
        clock.now_s += 100
        report(standing(1, 2, 5.0, Left(1, False), "now"))
    with listener(clock, quiet=True).working("base") as share:
        clock.now_s += 100
        share(0.5)
    assert capsys.readouterr() == ("", "")


def test_a_title_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with listener(clock).working("\x1b[2J") as report:
        clock.now_s += 100
        report(1.0)
    assert capsys.readouterr().err == "⟨U+001B⟩[2J: 100%\n"


ON_A_TERMINAL = """
from llama_diversity.cli.listening import TerminalListener
from llama_diversity.cli.output import Output
from llama_diversity.studies.pace import Left, Standing
output = Output(json=False, quiet=False, color="auto")
with TerminalListener(output).sampling("[b]base[/b]") as report:
    for n in range(1, 4):
        report(Standing(n, 3, 12.0, Left(3600, False), "compare/warm with a name that is too long, prompt 2"))
        print("sample", n, flush=True)
"""


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_live_line_is_one_line_and_leaves_a_piped_stdout_alone(columns: int) -> None:
    """With stderr on a terminal and stdout in a pipe, Rich would send what is printed to the terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
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
    assert "1:00:00 left" in shown
    assert ("prompt 2" in shown) == (columns == 140)  # what is in hand is cut off where there is no room
    assert "\x1b[1A" not in shown.partition("\x1b[?25h")[0]  # nothing is drawn above it before it is taken away
