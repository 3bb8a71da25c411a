"""Continuous batching: which sample sits in which sequence, and what is decoded next. It knows no model library.

Samples sit in slots 0, 1, 2, ... without a gap, because llama.cpp splits a batch wherever the sequence numbers jump.
A finished sample's slot goes to the next index at once; when none is left, the last slot moves into the gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from llama_diversity.engines import Step, Stopwatch
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.draws import Float32, Reducer
from llama_diversity.records import Sample, Sampler


class Slots(Protocol):
    """What the loop needs of an engine: sequences that continue one decoded prompt."""

    def fork(self, slot: int) -> None:
        """Let `slot` begin right after the prompt."""
        ...

    def move(self, source: int, target: int) -> None:
        """Continue in slot `target` what `source` holds."""
        ...

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Float32:
        """Feed one token to each of the slots 0..len(tokens)-1; the logits that follow, valid until the next call."""
        ...


class Batch:
    """Draws the samples `indices`, at most `parallel` at a time, from the context whose next logits are `first_row`."""

    def __init__(
        self,
        slots: Slots,
        first_row: Float32,
        *,
        n_prompt: int,
        parallel: int,
        sampler: Sampler,
        reducer: Reducer,
        start: Callable[[int], Completion],
        indices: Iterable[int],
        stopwatch: Stopwatch,
    ) -> None:
        self._slots = slots
        self._first_row = first_row.reshape(1, -1)
        self._n_prompt = n_prompt
        self._parallel = parallel
        self._sampler = sampler
        self._reducer = reducer
        self._start = start
        self._waiting = iter(indices)
        self._stopwatch = stopwatch
        self._live: list[Completion | None] = []

    def steps(self) -> Iterator[Step]:
        """One Step per draw of all slots; every index comes out exactly once."""
        while True:
            while (begun := self._fill()) is not None:
                yield begun
            if not self._live:
                return
            yield self._advance()

    def _fill(self) -> Step | None:
        """Draw the first tokens of as many samples as there are free slots; None when no slot or no index is left."""
        free = [slot for slot, completion in enumerate(self._live) if completion is None]
        free += range(len(self._live), self._parallel)
        fresh = [self._start(index) for index in islice(self._waiting, len(free))]
        if not fresh:
            self._close_gaps()
            return None
        finished = self._add_draws(fresh, np.repeat(self._first_row, len(fresh), axis=0))
        for completion in fresh:
            if completion.finish_reason is None:
                slot = free.pop(0)
                self._live[slot : slot + 1] = [completion]
                self._slots.fork(slot)
        return Step(len(fresh), finished)

    def _close_gaps(self) -> None:
        while None in self._live:
            last = self._live.pop()
            if last is not None:
                gap = self._live.index(None)
                self._live[gap] = last
                self._slots.move(len(self._live), gap)

    def _advance(self) -> Step:
        live = [completion for completion in self._live if completion is not None]
        before = time.perf_counter()
        logits = self._slots.decode(
            [completion.last_id for completion in live],
            [self._n_prompt + completion.n_tokens - 1 for completion in live],
        )
        self._stopwatch.decode_seconds += time.perf_counter() - before
        finished = self._add_draws(live, logits)
        self._live = [completion if completion.finish_reason is None else None for completion in live]
        return Step(len(live), finished)

    def _add_draws(self, completions: Sequence[Completion], logits: Float32) -> list[Sample]:
        before = time.perf_counter()
        numbers = np.array([completion.number for completion in completions])
        stats = self._reducer.draw(logits, numbers, self._sampler)
        finished = [c.to_sample() for c, row in zip(completions, stats, strict=True) if c.add(row)]
        self._stopwatch.sampling_seconds += time.perf_counter() - before
        return finished
