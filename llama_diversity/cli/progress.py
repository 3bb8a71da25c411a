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

from llama_diversity.cli.output import Output
from llama_diversity.cli.terminal import console
from llama_diversity.render.safe import visible
from llama_diversity.runner import Progress
from llama_diversity.studies.session import Show

HEARTBEAT_S = 10.0


@contextlib.contextmanager
def sampling_progress(
    output: Output, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """Show samples done, tokens per second and the time left; the callback hears a runner's Progress."""
    started_s = clock()
    with _line(output, title, clock) as show:

        def report(progress: Progress) -> None:
            words = _describe(progress, elapsed_s=clock() - started_s)
            show(progress.n_done / progress.n_total, words)

        yield report


@contextlib.contextmanager
def progress_line(output: Output, title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    """Show how much of one piece of work is done; the callback hears the share, 0 to 1, and words where it has any."""
    with _line(output, title, clock) as show:

        def report(share: float, words: str | None = None) -> None:
            show(share, f"{share:.0%}" if words is None else words)

        yield report


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


Line = Callable[[float, str], None]  # the share that is done, and the words for it


@contextlib.contextmanager
def _line(output: Output, title: str, clock: Callable[[], float]) -> Iterator[Line]:
    title = visible(title)
    if output.quiet:
        yield lambda share, words: None
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


def _heartbeat(title: str, clock: Callable[[], float]) -> Line:
    last_s = clock()

    def show(share: float, words: str) -> None:
        nonlocal last_s
        if clock() - last_s >= HEARTBEAT_S:
            last_s = clock()
            click.echo(f"{title}: {words}", err=True)

    return show
