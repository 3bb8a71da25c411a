"""What the user sees while waiting: a live line on a terminal, now and then a plain line elsewhere, nothing with -q.

All of it goes to stderr. The parts that wait report numbers; this file alone turns them into rates and times.
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

from llama_diversity import digests, hub
from llama_diversity.cli.options import Common
from llama_diversity.cli.terminal import console
from llama_diversity.render.safe import visible
from llama_diversity.runner import Progress

HEARTBEAT_S = 10.0


@contextlib.contextmanager
def sampling_progress(
    common: Common, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """Show samples done, tokens per second and the time left; the callback hears a runner's Progress."""
    started_s = clock()
    with _line(common, title, clock) as show:

        def report(progress: Progress) -> None:
            words = _describe(progress, elapsed_s=clock() - started_s)
            show(progress.n_done / progress.n_total, words)

        yield report


@contextlib.contextmanager
def progress_line(
    common: Common, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """Show how much of one piece of work is done; the callback hears the share, 0 to 1."""
    with _line(common, title, clock) as show:
        yield lambda share: show(share, f"{share:.0%}")


@contextlib.contextmanager
def worded_progress(
    common: Common, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float, str], None]]:
    """Show work that describes itself; the callback hears the share that is done and words for it."""
    with _line(common, title, clock) as show:
        yield show


def _describe(progress: Progress, *, elapsed_s: float) -> str:
    words = f"{progress.n_done}/{progress.n_total} samples"
    if elapsed_s > 0 and progress.n_tokens:
        words += f", {progress.n_tokens / elapsed_s:,.0f} tokens/s"
    n_drawn = progress.n_done - progress.n_resumed
    n_left = progress.n_total - progress.n_done
    if n_drawn and n_left:  # before the first sample is finished nobody knows how long they are
        words += f", {_duration(n_left * elapsed_s / n_drawn)} left"
    return words


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


Show = Callable[[float, str], None]  # the share that is done, and the words for it


@contextlib.contextmanager
def _line(common: Common, title: str, clock: Callable[[], float]) -> Iterator[Show]:
    title = visible(title)
    if not common.shows_progress:
        yield lambda share, words: None
        return
    terminal = console(common.color, stderr=True)
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        with _live_line(terminal, title) as show:
            yield show
    else:
        yield _heartbeat(title, clock)


@contextlib.contextmanager
def _live_line(terminal: Console, title: str) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[words]}", markup=False),
    )
    # Samples printed meanwhile go above the line, unless stdout is a pipe: what Rich redirects ends on the terminal.
    is_shared = sys.stdout.isatty()
    with Display(
        *columns, console=terminal, transient=True, refresh_per_second=5, redirect_stdout=is_shared
    ) as display:
        task = display.add_task(title, total=1.0, words="")
        yield lambda share, words: display.update(task, completed=share, words=words)


def _heartbeat(title: str, clock: Callable[[], float]) -> Show:
    last_s = clock()

    def show(share: float, words: str) -> None:
        nonlocal last_s
        if clock() - last_s >= HEARTBEAT_S:
            last_s = clock()
            click.echo(f"{title}: {words}", err=True)

    return show


HEARTBEAT_S = 15.0  # between two lines of progress where stderr is no terminal


@contextlib.contextmanager
def byte_progress(common: Common) -> Iterator[Callable[[str], digests.OnBytes | None]]:
    """A maker of progress by label: a bar on a terminal, a line now and then elsewhere, nothing with -q.

    Until bytes come, nothing is shown.
    """
    if not common.shows_progress:
        yield lambda label: None
    elif not sys.stderr.isatty():
        yield _Heartbeat
    else:
        with _bars(common) as progress:
            yield progress


class _Heartbeat:
    """One plain line every `HEARTBEAT_S`, for logs."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._next_s = time.monotonic() + HEARTBEAT_S

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + HEARTBEAT_S
            from llama_diversity.render.safe import visible

            amounts = f"{hub.readable_bytes(done)} of {hub.readable_bytes(total)}"
            click.echo(f"{visible(self._label)}: {amounts}", err=True)


@contextlib.contextmanager
def _bars(common: Common) -> Iterator[Callable[[str], digests.OnBytes]]:
    from rich import progress as rich_progress
    from rich.console import Console

    from llama_diversity.render.safe import visible

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=None),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True, no_color=True if common.color == "never" else None)
    with rich_progress.Progress(
        *columns,
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=sys.stdout.isatty(),  # a pipe keeps its results
    ) as bars:

        def progress(label: str) -> digests.OnBytes:
            task: rich_progress.TaskID | None = None

            def on_bytes(done: int, total: int) -> None:
                nonlocal task
                if task is None:  # a continued download does not start at 0, and its speed must not pretend so
                    task = bars.add_task(visible(label), total=total, completed=done)
                bars.update(task, completed=done, visible=done < total)

            return on_bytes

        yield progress
