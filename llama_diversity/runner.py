"""The loop: what a cell still lacks is drawn, stored, and only then handed on.

It knows that work stops at any moment (Ctrl-C, a crash, a full disk) and goes on with the same command later. It does
not know how tokens are drawn, nor what the samples are for.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import numpy as np

from llama_diversity.engines import Engine, SampleEach
from llama_diversity.errors import Interrupted
from llama_diversity.records import Cell, Recipe, Sample
from llama_diversity.store import Store


class Progress(NamedTuple):
    """Where a cell stands, or several that are drawn together.

    `n_resumed` of the `n_done` samples were stored before; `n_tokens` were drawn since. `n_workers` draw them now, 0
    where the engine itself does.
    """

    n_done: int
    n_total: int
    n_resumed: int
    n_tokens: int
    n_workers: int = 0


def run(
    cell: Cell,
    engine: Engine,
    store: Store,
    run_id: str,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Sample]:
    """`run_each` of one cell."""
    return run_each([cell], engine, store, run_id, on_progress=on_progress)


def run_each(
    cells: Sequence[Cell],
    engine: Engine,
    store: Store,
    run_id: str,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    sample_each: SampleEach | None = None,
) -> Iterator[Sample]:
    """Draw the samples of `cells` that `store` lacks, all together, and yield each once it is committed.

    `sample_each`: in place of the engine's own; what a step finished is stored before the next one is asked for.
    What the run keeps of a cell says afterwards how many seconds a sample took here: those drawn together share them.
    Ctrl-C ends the step in flight, stores what it finished and raises Interrupted; a second one stops at once.
    """
    report, began_s = on_progress or _ignore, time.monotonic()
    about = {"model": asdict(engine.facts), "build": engine.build}
    store.add_cells(run_id, [(cell, about) for cell in cells])
    works = _works(cells, store)
    n_total = sum(n for n, _ in works.values())
    n_missing = sum(len(missing) for _, missing in works.values())
    progress = Progress(n_total - n_missing, n_total, n_resumed=n_total - n_missing, n_tokens=0)
    report(progress)
    if not n_missing:
        return
    pieces = _Pieces(cells[0].recipe.vocab_digest, engine, store)
    layout: dict[str, Any] = {}
    with _Interruption() as interruption:
        for step in (sample_each or engine.sample_each)((recipe, missing) for recipe, (_, missing) in works.items()):
            if layout != engine.layout:  # known from the first step on
                layout = dict(engine.layout)
                store.add_cells(run_id, [(cell, {**about, "layout": layout}) for cell in cells])
            stored: list[Sample] = []
            if step.finished:
                pieces.keep(step.finished)
                stored = store.add(step.finished, run_id)
            progress = progress._replace(
                n_done=progress.n_done + len(stored),
                n_tokens=progress.n_tokens + step.n_tokens,
                n_workers=layout.get("workers", 0),
            )
            report(progress)
            yield from stored
            if interruption.is_requested:
                break
        if interruption.is_requested:
            raise Interrupted(
                f"Interrupted: {progress.n_done} of {n_total} samples ({cells[0].arm}) are kept in {store.path}. "
                "The same command continues."
            )
    took = {"layout": layout, "seconds_a_sample": round((time.monotonic() - began_s) / n_missing, 4)}
    store.add_cells(run_id, [(cell, {**about, **took}) for cell in cells])


def _works(cells: Sequence[Cell], store: Store) -> dict[Recipe, tuple[int, Sequence[int]]]:
    """Of each recipe how many samples there are to be, and the indices that are missing."""
    sizes: dict[str, Cell] = {}
    for cell in cells:  # two may share a recipe
        known = sizes.get(cell.recipe.key)
        sizes[cell.recipe.key] = cell if known is None or cell.n > known.n else known
    return {cell.recipe: (cell.n, store.missing(key, cell.n)) for key, cell in sizes.items()}


def _ignore(progress: Progress) -> None:
    """Nobody watches."""


class _Pieces:
    """Keeps the piece of every token seen, chosen or among the likeliest; the engine is asked once for each."""

    def __init__(self, vocab_digest: str, engine: Engine, store: Store) -> None:
        self._vocab_digest = vocab_digest
        self._engine = engine
        self._store = store
        self._is_kept = np.zeros(engine.facts.n_vocab, np.bool_)
        self._is_kept[list(store.known_pieces(vocab_digest))] = True

    def keep(self, samples: Sequence[Sample]) -> None:
        seen = [column.ravel() for sample in samples for column in (sample.tokens["id"], sample.tokens["top_ids"])]
        ids = np.unique(np.concatenate(seen))
        ids = ids[ids >= 0]  # -1 pads the likeliest where the vocabulary is small
        new = ids[~self._is_kept[ids]]
        if len(new):
            self._store.put_pieces(self._vocab_digest, {int(token): self._engine.piece(int(token)) for token in new})
            self._is_kept[new] = True


class _Interruption:
    """Within it the first Ctrl-C is only remembered; the next one does what it did before.

    Signals can be heard in the main thread only, and a process started with Ctrl-C ignored (`nohup`) keeps ignoring it.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._previous: Any = None

    def __enter__(self) -> _Interruption:
        heard = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and heard not in (signal.SIG_IGN, None):
            self._previous = signal.signal(signal.SIGINT, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True
        signal.signal(signal.SIGINT, self._previous)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
