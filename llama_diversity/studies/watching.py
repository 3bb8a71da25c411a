"""Looking on while samples grow, from another thread than the one that draws: what is seen, pausing, stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llama_diversity.engines import Growing, SampleEach, Step, Works
from llama_diversity.errors import Interrupted
from llama_diversity.records import Sample

EVERY_S = 0.2  # as often as an eye needs; each look makes the statistics of what was drawn since


class Seen(NamedTuple):
    """What grows now, what was finished since the last look, and how many tokens were drawn since then."""

    growing: list[Growing]
    finished: list[Sample]
    n_tokens: int


class Stopped(Interrupted):
    """Somebody who looked on had enough."""

    def __init__(self) -> None:
        super().__init__(
            "Stopped. Finished samples are kept; the others begin anew, from the same random numbers, when the same is "
            "asked again."
        )


class Watch:
    """Tells `see`, in the thread that draws, of the first step and then as often as an eye follows.

    `pause`, `go_on` and `stop` may be called from any thread; drawing obeys between two steps.
    """

    def __init__(
        self,
        see: Callable[[Seen], None],
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._see = see
        self._every_s = every_s
        self._clock = clock
        self._due_s = clock()
        self._finished: list[Sample] = []
        self._n_tokens = 0
        self._may_go = threading.Event()
        self._may_go.set()
        self._is_stopped = False

    def pause(self) -> None:
        """Draw nothing more until `go_on`."""
        self._may_go.clear()

    def go_on(self) -> None:
        """Draw again."""
        self._may_go.set()

    def stop(self) -> None:
        """End the drawing: it raises Stopped."""
        self._is_stopped = True
        self._may_go.set()

    @property
    def is_paused(self) -> bool:
        """Whether drawing waits."""
        return not self._may_go.is_set()

    def watched(self, sample_each: SampleEach) -> SampleEach:
        """The same, looked at between steps: by then what a step finished is stored."""

        def drawn(works: Works) -> Iterator[Step]:
            last = None
            for last in sample_each(works):
                yield last
                self._follow(last)
            if last is not None:
                self._look(last)

        return drawn

    def _follow(self, step: Step) -> None:
        self._finished += step.finished
        self._n_tokens += step.n_tokens
        if self.is_paused or self._clock() >= self._due_s:
            self._look(step)
            self._due_s = self._clock() + self._every_s
        self._may_go.wait()
        if self._is_stopped:
            self._look(step)
            raise Stopped

    def _look(self, step: Step) -> None:
        seen = Seen(step.growing(), self._finished, self._n_tokens)
        self._finished, self._n_tokens = [], 0
        self._see(seen)
