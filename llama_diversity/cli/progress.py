"""What the user sees while waiting: a live line on a terminal, now and then a plain line elsewhere, nothing with -q.

All of it goes to stderr. The parts that wait report numbers; this file alone shows them.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Display
from rich.table import Column

from llama_diversity.cli.output import Output
from llama_diversity.cli.terminal import console
from llama_diversity.render.safe import visible
from llama_diversity.studies.pace import Standing
from llama_diversity.studies.session import Show

HEARTBEAT_S = 10.0
Line = Callable[[float, str, str], None]  # the share that is done, the words for it, and what is in hand


class Sampling:
    """The line of a run's samples; what else is done meanwhile, such as the loading of the next model, stands in it."""

    def __init__(self, show: Line) -> None:
        self._show, self._share, self._words = show, 0.0, ""

    def __call__(self, standing: Standing) -> None:
        self._share, self._words = standing.n_done / standing.n_total, standing.words
        self._show(self._share, self._words, standing.now)

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Show]:
        """Around a piece of other work."""

        self._show(self._share, self._words, title)
        yield lambda share, words=None: self._show(self._share, self._words, f"{title} {words or f'{share:.0%}'}")


@contextlib.contextmanager
def sampling_progress(output: Output, title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Sampling]:
    """Show samples done, tokens per second, the time left and what is in hand."""
    with _line(output, title, clock) as show:
        yield Sampling(show)


@contextlib.contextmanager
def progress_line(output: Output, title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    """Show how much of one piece of work is done; the callback hears the share, 0 to 1, and words where it has any."""
    with _line(output, title, clock) as show:

        def report(share: float, words: str | None = None) -> None:
            show(share, f"{share:.0%}" if words is None else words, "")

        yield report


@contextlib.contextmanager
def _line(output: Output, title: str, clock: Callable[[], float]) -> Iterator[Line]:
    title = visible(title)
    if output.quiet:
        yield lambda share, words, now: None
        return
    terminal = console(output.color, stderr=True)
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        with _live_line(terminal, title) as show:
            yield show
    else:
        yield _heartbeat(title, clock)


@contextlib.contextmanager
def _live_line(terminal: Console, title: str) -> Iterator[Line]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if terminal.width >= 110 else 8),
        TextColumn("{task.fields[words]}", markup=False),
        TextColumn("{task.fields[now]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
    )
    # Samples printed meanwhile go above the line, unless stdout is a pipe: what Rich redirects ends on the terminal.
    is_shared = sys.stdout.isatty()
    with Display(
        *columns, console=terminal, transient=True, expand=True, refresh_per_second=5, redirect_stdout=is_shared
    ) as display:
        task = display.add_task(title, total=1.0, words="", now="")
        yield lambda share, words, now: display.update(task, completed=share, words=words, now=visible(now))


def _heartbeat(title: str, clock: Callable[[], float]) -> Line:
    last_s = clock()

    def show(share: float, words: str, now: str) -> None:
        nonlocal last_s
        if clock() - last_s >= HEARTBEAT_S:
            last_s = clock()
            click.echo(f"{title}: {'; '.join(filter(None, (words, visible(now))))}", err=True)

    return show
