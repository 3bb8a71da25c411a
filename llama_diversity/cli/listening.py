"""The listener that tells a terminal: progress and remarks on standard error, as quietly as was asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from llama_diversity.cli.output import Output, say
from llama_diversity.studies.session import Listener

if TYPE_CHECKING:
    from llama_diversity.cli.progress import Sampling
    from llama_diversity.studies.pace import Standing
    from llama_diversity.studies.session import OnBytes, Show

_noted: set[str] = set()


class TerminalListener(Listener):
    """Says everything once; with -q only what matters however quiet one works."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._sampling: Sampling | None = None  # the line of the run that is being drawn

    def say(self, words: str) -> None:
        say(words)

    def note(self, words: str) -> None:
        if words not in _noted and not self._output.quiet:
            _noted.add(words)
            say(words)

    def working(self, title: str) -> AbstractContextManager[Show]:
        from llama_diversity.cli import progress

        return progress.progress_line(self._output, title) if self._sampling is None else self._sampling.working(title)

    @contextlib.contextmanager
    def sampling(self, title: str) -> Iterator[Callable[[Standing], None]]:
        from llama_diversity.cli.progress import sampling_progress

        with sampling_progress(self._output, title) as self._sampling:
            try:
                yield self._sampling
            finally:
                self._sampling = None

    def moving_bytes(self) -> AbstractContextManager[OnBytes]:
        from llama_diversity.cli.byte_progress import byte_progress

        return byte_progress(self._output)
