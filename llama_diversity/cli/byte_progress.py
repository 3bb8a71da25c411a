"""What the user sees while files are fetched or read. Libraries for bars load when there are bytes to wait for."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llama_diversity import digests
from llama_diversity.cli.output import Output, say
from llama_diversity.decimals import readable_bytes
from llama_diversity.render.safe import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

HEARTBEAT_S = 15.0  # between two lines of progress where stderr is no terminal


@contextlib.contextmanager
def byte_progress(output: Output) -> Iterator[Callable[[str], digests.OnBytes | None]]:
    """A maker of progress by label: a bar on a terminal, a line now and then elsewhere, nothing with -q.

    Until bytes come, nothing is shown.
    """
    if output.quiet:
        yield lambda label: None
    elif not sys.stderr.isatty():
        yield _Heartbeat
    else:
        with _bars(output) as progress:
            yield progress


class _Heartbeat:
    """One plain line every `HEARTBEAT_S`, for logs."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._next_s = time.monotonic() + HEARTBEAT_S

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + HEARTBEAT_S
            amounts = f"{readable_bytes(done)} of {readable_bytes(total)}"
            say(f"{self._label}: {amounts}")


@contextlib.contextmanager
def _bars(output: Output) -> Iterator[Callable[[str], digests.OnBytes]]:
    with contextlib.ExitStack() as stack:

        @functools.cache
        def bars() -> Progress:
            return stack.enter_context(_display(output))

        def progress(label: str) -> digests.OnBytes:
            task: TaskID | None = None

            def on_bytes(done: int, total: int) -> None:
                nonlocal task
                if task is None:  # a continued download does not start at 0, and its speed must not pretend so
                    task = bars().add_task(visible(label), total=total, completed=done)
                bars().update(task, completed=done, visible=done < total)

            return on_bytes

        yield progress


def _display(output: Output) -> Progress:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True, no_color=True if output.color == "never" else None)
    is_shared = sys.stdout.isatty()  # a pipe keeps its results
    return progress.Progress(*columns, console=console, transient=True, expand=True, redirect_stdout=is_shared)
