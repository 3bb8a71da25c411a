"""Many continuations of one prompt: their next-token distributions, and the cells of those decoded before.

A slot holds the path it decoded last, and every beginning of that path with it. A longer path starts from the longest
beginning that any slot holds, so a search that goes from a path to its children decodes one token for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.engines import TokenPath
from llama_diversity.engines.draws import Float32, Float64, check_numbers
from llama_diversity.engines.llamacpp.context import Context


class _Way(NamedTuple):
    """Where a path is decoded: its slot, and how many of its tokens that slot holds already."""

    number: int  # of the path among those asked
    path: TokenPath
    slot: int
    n_held: int


class Paths:
    """The paths behind the prompt that `context` has decoded; `first_row` are the logits that follow the prompt.

    Slots can take over a part of each other's cells only where all share them (the unified layout) and a token has
    cells of its own (not in a recurrent model). Elsewhere, with `keeps` False, every path begins at the prompt.
    """

    def __init__(self, context: Context, first_row: Float32, *, n_prompt: int, n_slots: int, keeps: bool) -> None:
        self._context = context
        self._first_row = first_row
        self._n_prompt = n_prompt
        self._held: list[TokenPath] = [()] * n_slots
        self._last_use = [0] * n_slots
        self._n_calls = 0
        self._keeps = keeps and n_slots > 1
        # Slots to take from and slots to fill are apart: half of all may be filled at once.
        self._n_together = n_slots // 2 if self._keeps else n_slots

    def log_probabilities(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every token after each of the paths, shape (len(paths), n_vocab)."""
        found = np.empty((len(paths), len(self._first_row)))
        asked = [index for index, path in enumerate(paths) if path]
        for index, path in enumerate(paths):
            if not path:
                found[index] = log_softmax(self._first_row)
        for start in range(0, len(asked), self._n_together):
            together = [(index, paths[index]) for index in asked[start : start + self._n_together]]
            for index, row in self._decoded(self._kept(together) if self._keeps else self._fresh(together)):
                found[index] = log_softmax(row)
        return found

    def _fresh(self, together: Sequence[tuple[int, TokenPath]]) -> list[_Way]:
        """Every path from the prompt, the longest in the first slot: those still decoded are slots without a gap."""
        longest_first = sorted(together, key=lambda asked: -len(asked[1]))
        ways = [_Way(index, path, slot, 0) for slot, (index, path) in enumerate(longest_first)]
        for way in ways:
            self._context.fork(way.slot)
        return ways

    def _kept(self, together: Sequence[tuple[int, TokenPath]]) -> list[_Way]:
        """Every path from the longest beginning at hand, in place where nothing is lost by it."""
        self._n_calls += 1
        where = {path[:n]: slot for slot, path in enumerate(self._held) for n in range(1, len(path) + 1)}
        sources = [_source(path, where) for _, path in together]
        taken = {slot for slot, _ in sources if slot is not None}
        for slot in taken:
            self._last_use[slot] = self._n_calls
        free = iter(sorted(set(range(len(self._held))) - taken, key=self._last_use.__getitem__))
        ways = []
        for (index, path), (source, n_held) in zip(together, sources, strict=True):
            if source is not None and source in taken and len(self._held[source]) == n_held:
                taken.remove(source)  # it goes on where it stands; a sibling takes over the same cells before that
                slot = source
            else:
                slot = next(free)
                self._context.take_over(slot, source, self._n_prompt + n_held)
            ways.append(_Way(index, path, slot, n_held))
        for way in ways:
            self._held[way.slot] = way.path
            self._last_use[way.slot] = self._n_calls
        return self._caught_up(ways)

    def _caught_up(self, ways: Sequence[_Way]) -> list[_Way]:
        """All that is missing but the last tokens taken in at one go."""
        missing = [(way, at) for way in ways for at in range(way.n_held, len(way.path) - 1)]
        if missing:
            tokens, positions = [way.path[at] for way, at in missing], [self._n_prompt + at for _, at in missing]
            self._context.feed(tokens, positions, [way.slot for way, _ in missing])
        return [way._replace(n_held=len(way.path) - 1) for way in ways]

    def _decoded(self, ways: Sequence[_Way]) -> Iterator[tuple[int, Float32]]:
        """What is missing of each path, a token of each at a time: its index and the logits behind its last token."""
        step = 0
        while live := [way for way in ways if way.n_held + step < len(way.path)]:
            at = [way.n_held + step for way in live]
            rows = self._context.decode(
                [way.path[position] for way, position in zip(live, at, strict=True)],
                [self._n_prompt + position for position in at],
                [way.slot for way in live],
            )
            for way, position, row in zip(live, at, rows, strict=True):
                if position == len(way.path) - 1:
                    yield way.number, row
            step += 1


def _source(path: TokenPath, where: dict[TokenPath, int]) -> tuple[int | None, int]:
    """The slot that holds the longest beginning of `path`, and its length; the last token has to be decoded anyway."""
    for n in range(len(path) - 1, 0, -1):
        if path[:n] in where:
            return where[path[:n]], n
    return None, 0


def log_softmax(logits: Float32) -> Float64:
    """log p of every token, in float64. Raises EngineError for logits that make no distribution.

    >>> [round(float(p), 3) for p in np.exp(log_softmax(np.float32([0, 0, np.log(2), -np.inf])))]
    [0.25, 0.25, 0.5, 0.0]
    """
    check_numbers(logits)
    x = logits.astype(np.float64)
    x -= x.max()
    return np.asarray(x - np.log(np.exp(x).sum()))
