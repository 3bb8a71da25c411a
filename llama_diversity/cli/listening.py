"""The listener that tells a terminal: progress and remarks on standard error, as quietly as was asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from llama_diversity.cli.output import Output, say
from llama_diversity.studies.session import Listener

if TYPE_CHECKING:
    from llama_diversity.runner import Progress
    from llama_diversity.studies.session import OnBytes, Show

_noted: set[str] = set()


class TerminalListener(Listener):
    """Says everything once; with -q only what matters however quiet one works."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def say(self, words: str) -> None:
        say(words)

    def note(self, words: str) -> None:
        if words not in _noted and not self._output.quiet:
            _noted.add(words)
            say(words)

    def working(self, title: str) -> AbstractContextManager[Show]:
        from llama_diversity.cli.progress import progress_line

        return progress_line(self._output, title)

    def sampling(self, title: str) -> AbstractContextManager[Callable[[Progress], None]]:
        from llama_diversity.cli.progress import sampling_progress

        return sampling_progress(self._output, title)

    def moving_bytes(self) -> AbstractContextManager[OnBytes]:
        from llama_diversity.cli.byte_progress import byte_progress

        return byte_progress(self._output)
