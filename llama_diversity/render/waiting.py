"""What is seen while waiting: a live line or bars on a terminal, now and then a plain line elsewhere.

All of it goes to standard error. The parts that wait report numbers; this file alone shows them. Libraries for bars
load when there is something to wait for.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from llama_diversity.decimals import readable_bytes
from llama_diversity.render.safe import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

HEARTBEAT_S = 10.0  # between two plain lines
Line = Callable[[float, str, str], None]  # the share that is done, the words for it, and what is in hand
Bar = Callable[[int, int], None]  # bytes done, and bytes in all


class Told(NamedTuple):
    """How plain lines are told: what prints one, and the time in seconds."""

    say: Callable[[str], None]
    clock: Callable[[], float]


def waiting_line(terminal: Console, title: str, told: Told) -> AbstractContextManager[Line]:
    """One line for one piece of work."""
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        return _live_line(terminal, visible(title))
    heartbeat = _Heartbeat(title, told)
    return contextlib.nullcontext(lambda share, words, now: heartbeat("; ".join(filter(None, (words, now)))))


class SharedLine:
    """A line of long work; what else is done meanwhile, such as the loading of the next model, stands in it."""

    def __init__(self, show: Line) -> None:
        self._show, self._share, self._words = show, 0.0, ""

    def tell(self, share: float, words: str, now: str) -> None:
        """Where the long work is."""
        self._share, self._words = share, words
        self._show(share, words, now)

    def working(self, title: str) -> Callable[..., None]:
        """Another piece of work begins; it tells the share of it that is done, and words for that."""
        self._show(self._share, self._words, title)
        return lambda share, words=None: self._show(self._share, self._words, f"{title} {words or f'{share:.0%}'}")


@contextlib.contextmanager
def byte_bars(terminal: Callable[[], Console], told: Told) -> Iterator[Callable[[str], Bar]]:
    """A maker of bars by label, for files that are fetched or read. Until bytes come, nothing is shown or loaded."""
    if not sys.stderr.isatty():
        yield lambda label: _plain_bar(_Heartbeat(label, told))
        return
    with contextlib.ExitStack() as stack:

        @functools.cache
        def display() -> Progress:
            return stack.enter_context(_bars(terminal()))

        yield lambda label: _live_bar(display, visible(label))


class _Heartbeat:
    """One plain line every `HEARTBEAT_S`, for logs."""

    def __init__(self, title: str, told: Told) -> None:
        self._title, self._told, self._last_s = title, told, told.clock()

    def __call__(self, words: str) -> None:
        now_s = self._told.clock()
        if now_s - self._last_s >= HEARTBEAT_S:
            self._last_s = now_s
            self._told.say(f"{self._title}: {words}")


@contextlib.contextmanager
def _live_line(terminal: Console, title: str) -> Iterator[Line]:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if terminal.width >= 110 else 8),
        TextColumn("{task.fields[words]}", markup=False),
        TextColumn("{task.fields[now]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
    )
    # Samples printed meanwhile go above the line, unless stdout is a pipe: what Rich redirects ends on the terminal.
    is_shared = sys.stdout.isatty()
    with Progress(
        *columns, console=terminal, transient=True, expand=True, refresh_per_second=5, redirect_stdout=is_shared
    ) as display:
        task = display.add_task(title, total=1.0, words="", now="")
        yield lambda share, words, now: display.update(task, completed=share, words=words, now=visible(now))


def _plain_bar(heartbeat: _Heartbeat) -> Bar:
    return lambda done, total: heartbeat(f"{readable_bytes(done)} of {readable_bytes(total)}")


def _live_bar(display: Callable[[], Progress], label: str) -> Bar:
    task: TaskID | None = None

    def bar(done: int, total: int) -> None:
        nonlocal task
        if task is None:  # a continued download does not start at 0, and its speed must not pretend so
            task = display().add_task(label, total=total, completed=done)
        display().update(task, completed=done, visible=done < total)

    return bar


def _bars(terminal: Console) -> Progress:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )
    is_shared = sys.stdout.isatty()  # a pipe keeps its results
    return progress.Progress(*columns, console=terminal, transient=True, expand=True, redirect_stdout=is_shared)
