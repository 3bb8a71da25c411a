"""Continuous batching: which sample sits in which sequence, and what is decoded next. It knows no model library.

Samples sit in slots 0, 1, 2, ... without a gap, because llama.cpp splits a batch wherever the sequence numbers jump.
A finished sample's slot goes to the next index at once; when none is left, the last slot moves into the gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from llama_diversity.engines import Step, Stopwatch
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.draws import Float32, Look, Mask, Reducer
from llama_diversity.errors import EngineError
from llama_diversity.records import Sample, Sampler

_NAMED = 5  # samples that an error names; the rest it counts
_MOST_ROWS = 256  # of tokens drawn before their statistics are made
_SHOWN = 40  # characters of a text that it quotes


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


class Grammar(Protocol):
    """What a grammar allows each of several samples to go on with; they are told apart by their index."""

    def begin(self, index: int) -> None:
        """Stand at the start of the grammar with sample `index`."""
        ...

    def allowed(self, indices: Sequence[int]) -> Mask:
        """Which tokens may come next, shape (len(indices), n_vocab); a row may be empty."""
        ...

    def accept(self, index: int, token_id: int) -> None:
        """Follow sample `index`, which drew a token that was allowed and did not end it."""
        ...

    def end(self, index: int) -> None:
        """Forget sample `index`."""
        ...


class Batch:
    """Draws the samples `indices`, at most `parallel` at a time, from the context whose next logits are `first_row`.

    With a `grammar`, from what it allows of the logits.
    """

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
        grammar: Grammar | None = None,
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
        self._grammar = grammar
        self._live: list[Completion | None] = []
        self._undescribed: list[tuple[list[Completion], Look]] = []  # the steps since statistics were last made
        self._dead_ends: dict[int, str] = {}  # index -> text, of the samples that their grammar left no token

    def steps(self) -> Iterator[Step]:
        """One Step per draw of all slots; every index comes out exactly once.

        A sample whose grammar leaves it no token is given up. The others go on; then EngineError names it.
        """
        while True:
            while (begun := self._fill()) is not None:
                yield begun
            if not self._live:
                break
            yield self._advance()
        if self._dead_ends:
            raise _no_way_on(self._dead_ends)

    def _fill(self) -> Step | None:
        """Draw the first tokens of as many samples as there are free slots; None when no slot or no index is left."""
        free = [slot for slot, completion in enumerate(self._live) if completion is None]
        free += range(len(self._live), self._parallel)
        fresh = [self._start(index) for index in islice(self._waiting, len(free))]
        if not fresh:
            self._close_gaps()
            return None
        if self._grammar is not None:
            for completion in fresh:
                self._grammar.begin(completion.index)
        step = self._draw(fresh, np.repeat(self._first_row, len(fresh), axis=0))
        for completion in fresh:
            if completion.finish_reason is None:
                slot = free.pop(0)
                self._live[slot : slot + 1] = [completion]
                self._slots.fork(slot)
        return step

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
        step = self._draw(live, logits)
        self._live = [completion if completion.finish_reason is None else None for completion in live]
        return step

    def _draw(self, completions: Sequence[Completion], logits: Float32) -> Step:
        before = time.perf_counter()
        if self._grammar is None:
            finished = self._add_draws(completions, logits)
        else:
            completions, finished = self._add_draws_within(self._grammar, completions, logits)
        self._stopwatch.sampling_seconds += time.perf_counter() - before
        return Step(len(completions), finished)

    def _add_draws(self, completions: Sequence[Completion], logits: Float32, *allowed: Mask) -> list[Sample]:
        numbers = np.array([completion.number for completion in completions])
        look = self._reducer.look(logits, numbers, self._sampler, *allowed)
        self._undescribed.append((list(completions), look))
        ended = [c for c, token_id in zip(completions, look.ids.tolist(), strict=True) if c.add(token_id)]
        if ended or sum(len(of_step) for of_step, _ in self._undescribed) >= _MOST_ROWS:
            self._describe()
        return [completion.to_sample() for completion in ended]

    def _describe(self) -> None:
        """Make the statistics of the last steps in one go: each call costs the same for few rows as for many."""
        stats = self._reducer.describe([look for _, look in self._undescribed])
        drawn: dict[Completion, list[int]] = {}
        for row, completion in enumerate(c for completions, _ in self._undescribed for c in completions):
            drawn.setdefault(completion, []).append(row)
        for completion, rows in drawn.items():
            completion.describe(stats[rows])
        self._undescribed.clear()

    def _add_draws_within(
        self, grammar: Grammar, completions: Sequence[Completion], logits: Float32
    ) -> tuple[list[Completion], list[Sample]]:
        """As `_add_draws`, from what the grammar allows; also the completions that it left a token to."""
        allowed = grammar.allowed([completion.index for completion in completions])
        can_go_on = (allowed & (logits != -np.inf)).any(axis=1)
        rest = []
        for completion, can in zip(completions, can_go_on, strict=True):
            if can:
                rest.append(completion)
            else:
                self._dead_ends[completion.index] = completion.give_up()
                grammar.end(completion.index)
        finished = self._add_draws(rest, logits[can_go_on], allowed[can_go_on]) if rest else []
        for completion in rest:
            if completion.finish_reason is None:
                grammar.accept(completion.index, completion.last_id)
            else:
                grammar.end(completion.index)
        return rest, finished


def _no_way_on(dead_ends: Mapping[int, str]) -> EngineError:
    """The error that names the samples which could not go on, and shows where the first of them stands."""
    indices = sorted(dead_ends)
    names = ", ".join(map(str, indices[:_NAMED])) + (f" and {len(indices) - _NAMED} more" if indices[_NAMED:] else "")
    return EngineError(
        f"The grammar left sample{'s' if indices[1:] else ''} {names} no token to go on with, the first of them after "
        f"{dead_ends[indices[0]][-_SHOWN:]!r}. Let the grammar end there, or go on in characters that the model has."
    )
