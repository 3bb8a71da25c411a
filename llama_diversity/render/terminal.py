"""The terminal that a command prints to: one Rich console that never interprets text and colours as it was asked.

It knows --color, NO_COLOR, FORCE_COLOR and TERM; nothing else in the package asks for them.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Literal, cast

from rich.console import Console

ColorSystem = Literal["standard", "256", "truecolor", "windows"]

PIPE_WIDTH = 80  # whatever the width of the terminal beside the pipe, so that a log looks the same everywhere


class _Console(Console):
    """A console that leaves a closed pipe to the caller; Rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(color: str = "auto", *, stderr: bool = False, width: int | None = None) -> Console:
    """A console for standard output or standard error. `color` is auto, always or never.

    Under auto a terminal has colours unless NO_COLOR is set (bold and dim remain) or TERM is dumb, and a pipe has
    none unless FORCE_COLOR is set; NO_COLOR beats FORCE_COLOR, and an empty variable counts as unset. A flag beats
    the environment. Colours never make a pipe a terminal, so nothing is animated there. Markup, emoji codes and
    highlighting are off: text is printed as it is.
    """
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return _Console(
        stderr=stderr,
        width=width if width or is_terminal else _pipe_width(),
        force_terminal=is_terminal,
        color_system=_color_system(color, is_terminal=is_terminal),
        no_color=color == "auto" and bool(os.environ.get("NO_COLOR")),
        markup=False,
        highlight=False,
        emoji=False,
    )


def is_screen() -> bool:
    """Whether somebody sits before a terminal that a program can fill: keys come in, and the cursor can be placed."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams) and os.environ.get("TERM") != "dumb"


def described() -> dict[str, Any]:
    """What is known of standard output's terminal, as JSON can hold it."""
    target = console()
    return {
        "is_terminal": target.is_terminal,
        "color_system": None if target.no_color else target.color_system,
        "width": target.width,
        "encoding": target.encoding,
        **{name: os.environ[name] for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR") if name in os.environ},
    }


def _color_system(color: str, *, is_terminal: bool) -> ColorSystem | None:
    if color == "never":
        return None
    if color == "always":
        return _depth_of_terminal() or "standard"
    is_forced = bool(os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR")
    return _depth_of_terminal() if is_terminal or is_forced else None


def _depth_of_terminal() -> ColorSystem | None:
    """What COLORTERM and TERM promise, read as Rich reads them; None for a dumb terminal."""
    return cast("ColorSystem | None", Console(force_terminal=True).color_system)


def _pipe_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else PIPE_WIDTH
