"""The listener that tells a terminal: progress and remarks on standard error, as quietly as was asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from llama_diversity.cli.output import Output, asked, say
from llama_diversity.render.waiting import Line, SharedLine, Told, byte_bars, waiting_line
from llama_diversity.studies.session import Listener

if TYPE_CHECKING:
    from rich.console import Console

    from llama_diversity.studies.pace import Standing
    from llama_diversity.studies.session import OnBytes, Show

_noted: set[str] = set()


class TerminalListener(Listener):
    """Says everything once; with -q only what matters however quiet one works."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output, self._told = output, Told(say, clock)
        self._sampling: SharedLine | None = None  # the line of the run that is being drawn

    def say(self, words: str) -> None:
        say(words)

    def note(self, words: str) -> None:
        if words not in _noted and not self._output.quiet:
            _noted.add(words)
            say(words)

    def agrees(self, about: Sequence[str], question: str) -> bool | None:
        return asked(about, question)

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Show]:
        if self._sampling is not None:
            yield self._sampling.working(title)
            return
        with self._line(title) as show:
            yield lambda share, words=None: show(share, words or f"{share:.0%}", "")

    @contextlib.contextmanager
    def sampling(self, title: str) -> Iterator[Callable[[Standing], None]]:
        with self._line(title) as show:
            line = self._sampling = SharedLine(show)
            try:
                yield lambda one: line.tell(one.n_done / one.n_total, one.words, one.now)
            finally:
                self._sampling = None

    def moving_bytes(self) -> AbstractContextManager[OnBytes]:
        if self._output.quiet:
            return contextlib.nullcontext(lambda label: None)
        return byte_bars(self._console, self._told)

    def _line(self, title: str) -> AbstractContextManager[Line]:
        if self._output.quiet:
            return contextlib.nullcontext(lambda share, words, now: None)
        return waiting_line(self._console(), title, self._told)

    def _console(self) -> Console:
        from llama_diversity.render.terminal import console

        return console(self._output.color, stderr=True)
