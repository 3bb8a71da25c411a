"""How far the drawing of a run is, all its cells together: samples done, tokens a second, the time that is left.

The time left is what the samples that are missing should take. A sample is as long as those of its cell were so far:
all tokens drawn over the samples that ended, which counts those in flight too, and never more than `max_tokens`. A cell
that has not begun is as long, for its `max_tokens`, as the others; before any sample has ended each is taken to be as
long as it may become, and the time is an upper bound. A model is as fast as it was; one that has not run is
taken to be as much slower as it is larger. The loading of models is no drawing and in neither number. Cells that are
drawn together count as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llama_diversity.records import Cell, Recipe
from llama_diversity.runner import Progress


class Left(NamedTuple):
    """The time that is left; with `is_bound` at most."""

    seconds: float
    is_bound: bool


class Standing(NamedTuple):
    """Where a run's drawing stands. `now` is the cell in hand; empty where the run has no other."""

    n_done: int
    n_total: int
    tokens_per_s: float | None
    left: Left | None
    now: str
    n_workers: int = 0  # that draw; 0 where this process does

    @property
    def words(self) -> str:
        """All of it but what is in hand."""
        words = f"{self.n_done:,}/{self.n_total:,} samples"
        if self.tokens_per_s is not None:
            words += f", {self.tokens_per_s:,.0f} tokens/s"
        if self.n_workers:
            words += f" on {self.n_workers} worker{'s' if self.n_workers > 1 else ''}"
        if self.left is not None:
            words += f", {'at most ' if self.left.is_bound else ''}{_duration(self.left.seconds)} left"
        return words


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def drawn_with(cell: Cell) -> tuple[object, ...]:
    """What cells have in common that are drawn together, in one batch of many prompts: cells of a single sample.

    With two samples or more a cell is drawn by itself, one prompt and many samples at a time.
    """
    return (cell.reference, cell.recipe.kin) if cell.n == 1 else (cell.recipe.key,)


@dataclass
class _Part:
    """What is drawn together: how many samples there are to be, and what was drawn of them."""

    model: str
    n_params: int
    max_tokens: int = 0  # of the longest
    n: int = 0
    n_stored: int = 0
    n_recipes: int = 0
    n_ended: int = 0  # since
    n_tokens: int = 0  # of these and of what is in flight
    last: Progress = field(default=Progress(0, 0, 0, 0))

    def add(self, recipe: Recipe, n: int, n_stored: int) -> None:
        """Another recipe that belongs to it."""
        self.max_tokens = max(self.max_tokens, recipe.max_tokens)
        self.n, self.n_stored, self.n_recipes = self.n + n, self.n_stored + n_stored, self.n_recipes + 1

    @property
    def n_missing(self) -> int:
        return self.n - self.n_stored

    def hear(self, progress: Progress) -> None:
        """What is drawn one after the other counts each from its own beginning."""
        before = self.last if progress.n_tokens >= self.last.n_tokens else Progress(0, 0, 0, 0)
        self.n_ended += (progress.n_done - progress.n_resumed) - (before.n_done - before.n_resumed)
        self.n_tokens += progress.n_tokens - before.n_tokens
        self.last = progress

    @property
    def length(self) -> float | None:
        """Tokens of a sample, as far as is known."""
        return min(self.max_tokens, self.n_tokens / self.n_ended) if self.n_ended else None


class Stored(NamedTuple):
    """A cell, how many of its samples there are before anything is drawn, and the parameters of its model."""

    cell: Cell
    n_stored: int
    n_params: int


class Pace:
    """Hears of every cell of a run, and says where the whole stands. Cells of one recipe share their samples."""

    def __init__(self, cells: Sequence[Stored], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._parts: dict[tuple[object, ...], _Part] = {}
        largest = {one.cell.recipe.key: one for one in sorted(cells, key=lambda one: one.cell.n)}
        for cell, n_stored, n_params in largest.values():
            part = self._parts.setdefault(drawn_with(cell), _Part(cell.reference, n_params))
            part.add(cell.recipe, cell.n, n_stored)
        self._seconds: dict[str, float] = {}  # of drawing, by model
        self._in_hand: tuple[object, ...] = ()
        self._heard_s = 0.0

    def heard(self, cell: Cell, progress: Progress) -> Standing:
        """Where the run stands, now that `cell`, or those drawn together with it, is so far."""
        key, now_s = drawn_with(cell), self._clock()
        part = self._parts.get(key) or self._parts[cell.recipe.key,]  # of one recipe the largest n holds
        if self._in_hand == key:  # what passed since another one was heard of was no drawing of this one
            self._seconds[part.model] = self._seconds.get(part.model, 0.0) + now_s - self._heard_s
        self._in_hand, self._heard_s = key, now_s
        part.hear(progress)
        parts = self._parts.values()
        n_tokens, seconds = sum(one.n_tokens for one in parts), sum(self._seconds.values())
        return Standing(
            sum(one.n_stored + one.n_ended for one in parts),
            sum(one.n for one in parts),
            n_tokens / seconds if seconds and n_tokens else None,
            self._left(),
            self._in_words(cell, part) if len(self._parts) > 1 else "",
            progress.n_workers,
        )

    def _in_words(self, cell: Cell, part: _Part) -> str:
        return cell.arm + (f" and {part.n_recipes - 1:,} more" if part.n_recipes > 1 else "")

    def _left(self) -> Left | None:
        """None where less was drawn than one sample may have, or nothing is missing.

        The first steps read prompts rather than draw: a bound made of them would be of days.
        """
        lacking = [one for one in self._parts.values() if one.n_ended < one.n_missing]
        begun = [one for one in self._parts.values() if one.length is not None]
        n_ended = sum(one.n_ended for one in begun)
        n_tokens = sum(one.n_tokens for one in lacking)
        if not n_ended and n_tokens < max((one.max_tokens for one in lacking), default=0):
            return None
        share = sum(one.n_ended * (one.length or 0) / one.max_tokens for one in begun) / n_ended if n_ended else 1.0
        seconds = 0.0
        for one in lacking:
            speed = self._speed(one)
            if speed is None:
                return None
            length = share * one.max_tokens if one.length is None else one.length
            seconds += max(0.0, one.n_missing * length - one.n_tokens) / speed
        return Left(seconds, not n_ended) if lacking else None

    def _speed(self, part: _Part) -> float | None:
        """Tokens a second of its model: its own, else that of the model that ran longest, by their sizes."""
        known = [model for model, seconds in self._seconds.items() if seconds and self._drawn(model)]
        if not known:
            return None
        model = part.model if part.model in known else max(known, key=lambda one: self._seconds[one])
        speed = self._drawn(model) / self._seconds[model]
        size = next(one.n_params for one in self._parts.values() if one.model == model)
        return speed * size / part.n_params if size and part.n_params else speed

    def _drawn(self, model: str) -> int:
        return sum(one.n_tokens for one in self._parts.values() if one.model == model)
