"""The thread in which models work, so that the screen answers meanwhile: a question after the other, and answers.

Answers come back to the app as messages, whose functions run there. What a study refuses becomes a sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from textual.app import App
from textual.message import Message

from llama_diversity.errors import LlamadivError
from llama_diversity.studies.branch.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.branch.gathering import Kept, Sitting
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.session import Listener, Session, Show
from llama_diversity.studies.watching import Watch

Found = TypeVar("Found")
MOST_GROWN = 256  # continuations of a way
SHOWN_S = 0.1  # between two shares of a work that are shown


class Answered(Message):
    """Something to do in the app's own thread."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self.do = do


class Models:
    """Models that work for an app. `say` hears what goes on, in the app's thread."""

    def __init__(self, app: App[Any], session: Session, say: Callable[[str], None]) -> None:
        self._app, self._say = app, say
        session = dataclasses.replace(session, listener=_Telling(self), fetching="never")
        self._sitting = Sitting(session, Drawing(), n=N_SAMPLES, max_tokens=MAX_TOKENS)
        self.session = session
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self.n = N_SAMPLES  # continuations of each way of a tree that is not begun
        self.n_waiting = 0
        self.watch: Watch | None = None  # of what grows now
        self.kept: Sequence[Kept] = ()  # once they are closed

    def ask(
        self, question: Callable[[Sitting], Found], done: Callable[[Found], None], failed: Callable[[str], None]
    ) -> None:
        """Ask in the thread of the models; `done` or `failed` hears of it in the app's."""
        self.n_waiting += 1

        def work() -> None:
            try:
                found = question(self._sitting)
            except LlamadivError as error:
                words = str(error)
                self.tell(lambda: self._ended(lambda: failed(words)))
            except BaseException as error:
                defect = error
                self.tell(lambda: self._raised(defect))
                raise
            else:
                self.tell(lambda: self._ended(lambda: done(found)))

        self._thread.submit(work)

    def resize(self, step: int) -> None:
        """Continue ways half or twice as often in trees that are not begun."""
        n = self.n = stepped(self.n, step)
        self.ask(lambda sitting: sitting.resize(n), lambda found: None, self._say)

    def _ended(self, then: Callable[[], None]) -> None:
        self.n_waiting -= 1
        then()

    def _raised(self, defect: BaseException) -> None:
        raise defect

    def tell(self, do: Callable[[], None]) -> None:
        """From any thread: do this in the app's."""
        self._app.post_message(Answered(do))

    def say(self, words: str) -> None:
        """From any thread: a remark."""
        self.tell(lambda: self._say(words))

    def close(self) -> None:
        """End what grows, wait for what is being done, and free the models."""
        if self.watch is not None:
            self.watch.stop()
        closing = self._thread.submit(self._sitting.close)
        self._thread.shutdown()
        self.kept = closing.result()


def stepped(n: int, step: int) -> int:
    """Twice as many continuations, or half, within bounds.

    >>> stepped(16, 1), stepped(16, -1), stepped(1, -1), stepped(256, 1)
    (32, 8, 1, 256)
    """
    return max(1, min(MOST_GROWN, n * 2 if step > 0 else n // 2))


class _Telling(Listener):
    """Says in the app what is going on: a terminal's lines would be drawn over."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def say(self, words: str) -> None:
        self._models.say(words)

    def note(self, words: str) -> None:
        self._models.say(words)

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Show]:
        began_s = shown_s = time.monotonic()
        self._models.say(f"{title} ...")

        def show(share: float, words: str | None = None) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= SHOWN_S:
                shown_s = time.monotonic()
                self._models.say(f"{title}: {words or f'{share:.0%}'}")

        yield show
        self._models.say(f"{title}: done in {time.monotonic() - began_s:.1f} s")
