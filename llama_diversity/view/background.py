"""Work in a thread while the screen answers: how far it is, what came of it, or why it was refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from textual.screen import Screen
from textual.worker import WorkerCancelled, get_current_worker

from llama_diversity.errors import LlamadivError
from llama_diversity.studies.viewed import Told

Found = TypeVar("Found")


def in_background(
    screen: Screen[None],
    group: str,
    work: Callable[[Told], Found],
    *,
    heard: Callable[[float], None],
    done: Callable[[Found], None],
    refused: Callable[[str], None],
) -> None:
    """Begin a work, in place of any of its group. It is stopped where it tells how far it is; all three hear of it in
    the screen's own thread."""

    def working() -> None:
        worker = get_current_worker()

        def told(share: float) -> None:
            if worker.is_cancelled:
                raise WorkerCancelled
            screen.app.call_from_thread(heard, share)

        with contextlib.suppress(WorkerCancelled):
            try:
                found = work(told)
            except LlamadivError as error:
                screen.app.call_from_thread(refused, str(error))
            else:
                screen.app.call_from_thread(done, found)

    screen.run_worker(working, group=group, thread=True, exclusive=True)
