"""Continuous batching: which sample sits in which sequence, and what is decoded next. It knows no model library.

Samples may continue one prompt, which is decoded already, or each one of its own, whose tokens behind the head that all
have in common are read when a sequence is free for it: as many prompts together as make a good pass over the model.

Samples sit in slots 0, 1, 2, ... without a gap, because llama.cpp splits a batch wherever the sequence numbers jump.
A finished sample's slot goes to the next index at once; when none is left, the last slot moves into the gap.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from llama_diversity.engines import Engine, Growing, Step, Stopwatch
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.draws import Float32, Look, Mask, Reducer
from llama_diversity.engines.together import Together
from llama_diversity.errors import EngineError
from llama_diversity.records import Prompt, Sample, Sampler

_NAMED = 5  # samples that an error names; the rest it counts
_MOST_ROWS = 256  # of tokens drawn before their statistics are made
_SHOWN = 40  # characters of a text that it quotes
_FEWEST_READ = 32  # prompt tokens that are worth a pass of their own while others wait for it
_MOST_READ = 512  # of several prompts in one step


Logits = Float32 | list[Float32]
"""One row for each of several contexts, shape (rows, n_vocab); of a mixture such rows of each model."""


class Slots(Protocol):
    """What the loop needs of an engine: sequences that continue one decoded prompt, or a head that many begin with."""

    def fork(self, slot: int) -> None:
        """Let `slot` begin right after the prompt."""
        ...

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Logits:
        """Let each of `slots` begin right after a prompt of its own; the logits that follow, shape (slots, n_vocab)."""
        ...

    def move(self, source: int, target: int) -> None:
        """Continue in slot `target` what `source` holds."""
        ...

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Logits:
        """Feed one token to each of the slots 0..len(tokens)-1; the logits that follow, valid until the next call."""
        ...


class Grammar(Protocol):
    """What grammars allow each of several samples to go on with; they are told apart by their place."""

    def begin(self, place: Hashable, grammar: str) -> None:
        """Stand at the start of its grammar with the sample at `place`."""
        ...

    def allowed(self, places: Sequence[Hashable]) -> Mask:
        """Which tokens may come next, shape (len(places), n_vocab); a row may be empty."""
        ...

    def accept(self, place: Hashable, token_id: int) -> None:
        """Follow a sample, which drew a token that was allowed and did not end it."""
        ...

    def end(self, place: Hashable) -> None:
        """Forget a sample."""
        ...


class Mixer(Protocol):
    """Makes one row of the rows of several models, for completions that are told apart by their place."""

    def mixed(self, completions: Sequence[Completion], rows: Sequence[Float32]) -> Float32:
        """The logits that each goes on with, shape (len(completions), n_vocab), valid until the next call."""
        ...

    def follow(self, completions: Sequence[Completion], token_ids: Sequence[int]) -> None:
        """Hear what each of those just mixed, or of some of them, drew; each is given what is kept beside it."""
        ...


class Seats(NamedTuple):
    """A context that is ready to be drawn from: sequences, at most so many at once, and what may bound or mix them.

    `first_row`: the logits behind the one prompt, shape (n_vocab,); None where each sample has a prompt of its own.
    """

    slots: Slots
    first_row: Logits | None
    parallel: int
    grammar: Grammar | None = None
    mixer: Mixer | None = None


class Batch:
    """Draws `completions` of recipes that are drawn `together`, as many at a time as there are `seats`.

    Where each has a prompt of its own, that begins with the head that the context holds. With a grammar, from what that
    of each recipe allows of the logits.
    """

    def __init__(
        self,
        seats: Seats,
        completions: Iterable[Completion],
        *,
        together: Together,
        reducer: Reducer,
        stopwatch: Stopwatch,
    ) -> None:
        self._slots = seats.slots
        self._first_row = seats.first_row
        self._n_head = len(together.head)
        self._parallel = seats.parallel
        sampler = together.recipe.sampler
        self._first_sampler, self._sampler = sampler.at(is_first=True), sampler.at(is_first=False)
        self._is_set = together.recipe.arithmetic is not None
        self._reducer = reducer
        self._waiting = iter(completions)
        self._next: list[Completion] = []  # of them, those whose own prompts are to be read next
        self._stopwatch = stopwatch
        self._grammar = seats.grammar
        self._mixer = seats.mixer
        self._live: list[Completion | None] = []
        self._undescribed: list[tuple[list[Completion], Look]] = []  # the steps since statistics were last made
        self._dead_ends: list[tuple[Completion, str]] = []  # with their texts, those that were left no token

    def steps(self) -> Iterator[Step]:
        """One Step per draw of all slots; every sample comes out exactly once.

        A sample whose grammar leaves it no token is given up. The others go on; then EngineError names it.
        """
        while True:
            while (begun := self._fill() if self._first_row is not None else self._fill_apart()) is not None:
                yield begun
            if not self._live:
                break
            yield self._advance()
        if self._dead_ends:
            raise _no_way_on(self._dead_ends)

    def growing(self) -> list[Growing]:
        """The samples that are under way, with what they have so far."""
        if self._undescribed:
            self._describe()
        live = (completion for completion in self._live if completion is not None)
        return [Growing(*completion.place, completion.described) for completion in live]

    def _fill(self) -> Step | None:
        """Draw the first tokens of as many samples as there are free slots; None when no slot or no sample is left."""
        assert self._first_row is not None
        free = [slot for slot, completion in enumerate(self._live) if completion is None]
        free += range(len(self._live), self._parallel)
        fresh = list(islice(self._waiting, len(free)))
        if not fresh:
            self._close_gaps()
            return None
        step = self._draw_first(fresh, _repeated(self._first_row, len(fresh)))
        for completion in fresh:
            if completion.finish_reason is None:
                slot = free.pop(0)
                self._live[slot : slot + 1] = [completion]
                self._slots.fork(slot)
        return step

    def _fill_apart(self) -> Step | None:
        """The same where each has a prompt of its own; they lie behind the live slots, the longest first.

        So slots without a gap read together until the shortest of them is done.
        """
        self._close_gaps()
        fresh = self._to_be_read()
        if not fresh:
            return None
        before = time.perf_counter()
        slots = range(len(self._live), len(self._live) + len(fresh))
        rows = self._slots.begin(slots, [completion.prompt for completion in fresh])
        self._stopwatch.decode_seconds += time.perf_counter() - before
        step = self._draw_first(fresh, rows)
        self._live += [completion if completion.finish_reason is None else None for completion in fresh]
        return step

    def _to_be_read(self) -> list[Completion]:
        """Those whose prompts are read now; none while few tokens would be, and others may join them soon."""
        n_free = self._parallel - len(self._live)
        if not n_free:
            return []
        self._next += islice(self._waiting, n_free - len(self._next))
        self._next.sort(key=lambda one: (-len(one.prompt_ids), one.prompt_ids))  # equal ones are neighbours
        n_rows = [len(one.prompt_ids) - self._n_head for one in self._next]
        n_now = max(1, int(np.searchsorted(np.cumsum(n_rows), _MOST_READ, side="right")))
        may_wait = self._live and len(self._next) == n_free < self._parallel // 8
        if may_wait and sum(n_rows) < _FEWEST_READ:
            return []
        fresh, self._next = self._next[:n_now], self._next[n_now:]
        return fresh

    def _draw_first(self, fresh: Sequence[Completion], logits: Logits) -> Step:
        if self._grammar is not None:
            for completion in fresh:
                self._grammar.begin(completion.place, completion.grammar)
        return self._draw(fresh, logits, self._first_sampler)

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
            [len(completion.prompt_ids) + completion.n_tokens - 1 for completion in live],
        )
        self._stopwatch.decode_seconds += time.perf_counter() - before
        step = self._draw(live, logits, self._sampler)
        self._live = [completion if completion.finish_reason is None else None for completion in live]
        return step

    def _draw(self, completions: Sequence[Completion], rows: Logits, sampler: Sampler) -> Step:
        before = time.perf_counter()
        logits = self._mixer.mixed(completions, rows) if self._mixer and isinstance(rows, list) else rows
        assert isinstance(logits, np.ndarray)
        if self._grammar is None:
            finished = self._add_draws(completions, logits, sampler)
        else:
            completions, finished = self._add_draws_within(self._grammar, completions, logits, sampler)
        self._stopwatch.sampling_seconds += time.perf_counter() - before
        return Step(len(completions), finished, self.growing)

    def _add_draws(
        self, completions: Sequence[Completion], logits: Float32, sampler: Sampler, *allowed: Mask
    ) -> list[Sample]:
        numbers = np.array([completion.number for completion in completions])
        look = self._reducer.look(logits, numbers, sampler, *allowed, has_place=self._is_set)
        if look.place is not None and self._is_set:
            for completion, rest, share in zip(completions, *(one.tolist() for one in look.place), strict=True):
                completion.carry(rest, share)
        self._undescribed.append((list(completions), look))
        ids = look.ids.tolist()
        if self._mixer is not None:
            self._mixer.follow(completions, ids)
        ended = [c for c, token_id in zip(completions, ids, strict=True) if c.add(token_id)]
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
        self, grammar: Grammar, completions: Sequence[Completion], logits: Float32, sampler: Sampler
    ) -> tuple[list[Completion], list[Sample]]:
        """As `_add_draws`, from what the grammar allows; also the completions that it left a token to."""
        allowed = grammar.allowed([completion.place for completion in completions])
        can_go_on = (allowed & (logits != -np.inf)).any(axis=1)
        rest = []
        for completion, can in zip(completions, can_go_on, strict=True):
            if can:
                rest.append(completion)
            else:
                self._dead_ends.append((completion, completion.give_up()))
                grammar.end(completion.place)
        finished = self._add_draws(rest, logits[can_go_on], sampler, allowed[can_go_on]) if rest else []
        for completion in rest:
            if completion.finish_reason is None:
                grammar.accept(completion.place, completion.last_id)
            else:
                grammar.end(completion.place)
        return rest, finished


def draw(engine: Engine, together: Together, reducer: Reducer) -> Iterator[Step]:
    """`Engine.sample_each` from the engine's seats."""
    with engine.seats(together) as seats:
        completions = together.completions(piece=engine.piece, ends=engine.ends.__contains__)
        yield from Batch(seats, completions, together=together, reducer=reducer, stopwatch=engine.stopwatch).steps()


def _repeated(row: Logits, n: int) -> Logits:
    """The one row n times, of each model."""
    if isinstance(row, list):
        return [np.repeat(one.reshape(1, -1), n, axis=0) for one in row]
    return np.repeat(row.reshape(1, -1), n, axis=0)


def _no_way_on(dead_ends: Sequence[tuple[Completion, str]]) -> EngineError:
    """The error that names the samples which could not go on, and shows where the first of them stands."""
    first, text = min(dead_ends, key=lambda one: one[0].index)
    recipes = {completion.place[0] for completion, _ in dead_ends}
    if len(recipes) == 1:
        indices = sorted(completion.index for completion, _ in dead_ends)
        more = f" and {len(indices) - _NAMED} more" if indices[_NAMED:] else ""
        names = f"sample{'s' if indices[1:] else ''} {', '.join(map(str, indices[:_NAMED]))}{more}"
    else:
        names = f"{len(dead_ends)} samples of {len(recipes)} recipes"
    return EngineError(
        f"The grammar left {names} no token to go on with, the first of them after "
        f"{text[-_SHOWN:]!r}. Let the grammar end there, or go on in characters that the model has."
    )
