"""The console of the commands: when it colours, how wide it is, and that it prints text as it is."""

from __future__ import annotations

import io
import sys

import pytest
from rich.text import Text

from llama_diversity.render.terminal import console


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("color", "environment", "on_terminal", "on_pipe"),
    [
        ("auto", {"TERM": "xterm-256color"}, "256", None),
        ("auto", {"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor", None),
        ("auto", {"TERM": "xterm"}, "standard", None),
        ("auto", {"TERM": "dumb"}, None, None),
        ("auto", {"TERM": "xterm-256color", "FORCE_COLOR": "1"}, "256", "256"),
        ("auto", {"TERM": "xterm-256color", "FORCE_COLOR": ""}, "256", None),
        ("auto", {"TERM": "xterm-256color", "FORCE_COLOR": "1", "NO_COLOR": "1"}, "bold only", None),
        ("auto", {"TERM": "xterm-256color", "NO_COLOR": "1"}, "bold only", None),
        ("auto", {"TERM": "xterm-256color", "NO_COLOR": ""}, "256", None),
        ("always", {"TERM": "xterm-256color"}, "256", "256"),
        ("always", {"TERM": "xterm-256color", "NO_COLOR": "1"}, "256", "256"),
        ("always", {"TERM": "dumb"}, "standard", "standard"),
        ("never", {"TERM": "xterm-256color", "FORCE_COLOR": "1"}, None, None),
    ],
)
@pytest.mark.parametrize("stream", ["terminal", "pipe"])
def test_when_there_are_colours(
    stream: str,
    color: str,
    environment: dict[str, str],
    on_terminal: str | None,
    on_pipe: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal() if stream == "terminal" else io.StringIO())
    made = console(color)
    # Under NO_COLOR a terminal keeps its depth, for bold and dim, and has no colours.
    shown = "bold only" if made.no_color and made.color_system else made.color_system
    assert shown == (on_terminal if stream == "terminal" else on_pipe)
    assert made.is_terminal == (stream == "terminal")  # a forced colour animates nothing in a pipe


def test_never_writes_no_escape_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", Terminal())
    console("never").print(Text("bold", style="bold red"))
    assert sys.stdout.getvalue() == "bold\n"  # type: ignore[attr-defined]


def test_no_color_keeps_bold_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    console().print(Text("bold", style="bold red"))
    assert sys.stdout.getvalue() == "\x1b[1mbold\x1b[0m\n"  # type: ignore[attr-defined]


def test_text_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console("always").print("[/b] :smile: 42 [red]x")
    assert sys.stdout.getvalue() == "[/b] :smile: 42 [red]x\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("columns", "width"), [(None, 80), ("120", 120), ("0", 80), ("wide", 80)])
def test_a_pipe_is_80_wide_or_as_columns_says(columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console().width == width
    assert console(width=33).width == 33


def test_standard_error_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert console(stderr=True).is_terminal
    assert not console().is_terminal
    assert console(stderr=True).file is sys.stderr
