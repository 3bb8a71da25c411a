"""The probability of every answer to a prompt, from exact next-token distributions, with bounds on what is left.

Paths of tokens exclude each other and hold all probability. A path whose answer is settled adds its probability to that
answer; all others are unresolved, and an unresolved path can come only to answers that begin as it does. So an answer
has at least what was added to it, and at most that and all unresolved paths it may belong to. The heaviest unresolved
paths are followed up until the likeliest answer is certain and its probability known to `CLOSE`, or the budget spent.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.studies.reframe.answers import (
    Answer,
    Place,
    Rule,
    Vocabulary,
    at_end,
    completes,
    key_of,
    prefix_of,
    read_on,
)

Float64 = npt.NDArray[np.float64]
TokenPath = tuple[int, ...]
NextTokens = Callable[[Sequence[TokenPath]], Float64]  # paths -> log p of every next token, (paths, n_vocab)
CLOSE = 0.02  # how well a probability has to be known
BATCH = 32
LONGEST = 24  # tokens of a path
_LEAST = 1e-6  # lighter children of a path are not listed one by one
_LEAST_FOLLOWED = 1e-5
_OPEN = ("", " ")  # how the prefix of a path ends that may come to any next word
_NARROW = 0.1  # the weight of other paths in the order: what keeps all answers uncertain comes first
N_KEPT = 200  # answers of a result


class Bounds(NamedTuple):
    """At least, at most, and what it is if that which is open to all answers is parted as what was found."""

    low: float
    high: float
    likely: float


@dataclass(frozen=True)
class Answers:
    """What is known of the answers to one prompt: the N_KEPT likeliest, the likeliest first."""

    likeliest: tuple[tuple[Answer, Bounds], ...]
    watched: Mapping[Answer, Bounds]
    is_certain: bool  # that the first is the likeliest of all
    rival: float  # the most that any other than the first can have
    silent: float  # texts that end without an answer
    unresolved: float
    n_expanded: int

    @property
    def top(self) -> Answer | None:
        """The likeliest answer; None where none was found."""
        return self.likeliest[0][0] if self.likeliest else None

    def of(self, answer: Answer) -> Bounds:
        """Of an answer that is listed or was watched; of any other what is left for it at most."""
        known = {**dict(self.likeliest), **self.watched}
        return known.get(answer, Bounds(0.0, min(self.unresolved + self._least, 1.0), 0.0))

    @property
    def _least(self) -> float:
        """What an answer that is not listed has at most of what was found."""
        return self.likeliest[-1][1].low if len(self.likeliest) == N_KEPT else 0.0

    def rank(self, answer: Answer) -> int | None:
        """1 + the answers that are likelier, by what was found; None for one behind the `N_KEPT` that are listed."""
        known = dict(self.likeliest)
        if answer not in known:
            return None
        return 1 + sum(bounds.low > known[answer].low for bounds in known.values())


def search(
    after: NextTokens,
    start: Place,
    rule: Rule,
    vocabulary: Vocabulary,
    *,
    budget: int,
    watched: Iterable[Answer] = (),
    longest: int = LONGEST,
    batch: int = BATCH,
) -> Answers:
    """The answers behind a prompt, `start` being where it ends; `watched` are answers of which more is wanted.

    Asks for at most `budget` distributions.
    """
    found = _Search(after, start, rule, vocabulary, tuple(watched), longest)
    found.follow_up([_Item((), 1.0, start)])
    while found.n_expanded < budget and not found.is_settled:
        items = found.heaviest(min(batch, budget - found.n_expanded))
        if not items:
            break
        found.follow_up(items)
    return found.result()


class _Item(NamedTuple):
    ids: TokenPath
    mass: float
    place: Place


class _Search:
    def __init__(
        self,
        after: NextTokens,
        start: Place,
        rule: Rule,
        vocabulary: Vocabulary,
        watched: tuple[Answer, ...],
        longest: int,
    ) -> None:
        self.n_expanded = 0
        self._after, self._rule, self._vocabulary, self._watched = after, rule, vocabulary, watched
        self._longest = longest
        self._settled: dict[Answer, float] = {}
        self._unresolved: dict[str, float] = {prefix_of(start, rule): 1.0}
        self._silent = 0.0
        self._heap: list[tuple[float, float, TokenPath, Place]] = []

    # ---- following up

    def heaviest(self, n: int) -> list[_Item]:
        """The n heaviest paths that are not settled, out of the heap."""
        found: list[_Item] = []
        while self._heap and len(found) < n:
            _, mass, ids, place = heapq.heappop(self._heap)
            found.append(_Item(ids, mass, place))
        return found

    def follow_up(self, items: Sequence[_Item]) -> None:
        """Part the mass of each path among what may follow it."""
        rows = self._after([item.ids for item in items])
        self.n_expanded += len(items)
        for item, row in zip(items, rows, strict=True):
            masses = np.exp(row) * item.mass
            self._leave(prefix_of(item.place, self._rule), -item.mass)
            self._end(item, masses)
            breaks = self._vocabulary.breaks(item.place) if item.place.open else None
            if breaks is not None and completes(item.place, self._rule):
                answer = at_end(item.place, self._rule)
                assert answer is not None
                self._settle(answer, float(masses[breaks].sum()))
                masses[breaks] = 0.0
            self._list(item, masses, breaks)

    def _end(self, item: _Item, masses: Float64) -> None:
        """Take out the tokens that end the text."""
        mass = float(masses[self._vocabulary.ends].sum())
        masses[self._vocabulary.ends] = 0.0
        answer = at_end(item.place, self._rule)
        if answer is None:
            self._silent += mass
        else:
            self._settle(answer, mass)

    def _list(self, item: _Item, masses: Float64, breaks: npt.NDArray[np.bool_] | None) -> None:
        """The children of a path one by one, as far as they matter; the rest stays where the path was."""
        tokens = np.flatnonzero(masses > _LEAST)
        listed = masses[tokens]
        self._leave(prefix_of(item.place, self._rule), float(masses.sum() - listed.sum()))
        broken = None if breaks is None else self._behind(item.place)
        for token, mass in zip(tokens.tolist(), listed.tolist(), strict=True):
            if breaks is not None and broken is not None and breaks[token]:
                place = read_on(broken, self._vocabulary.so_far(b"", token), self._rule)
            else:
                place = read_on(item.place, self._vocabulary.so_far(item.place.rest, token), self._rule)
            if not isinstance(place, Place):
                self._settle(place, mass)
                continue
            prefix = prefix_of(place, self._rule)
            self._leave(prefix, mass)
            if mass > _LEAST_FOLLOWED and len(item.ids) < self._longest:
                weight = 1.0 if prefix[-1:] in _OPEN else _NARROW
                heapq.heappush(self._heap, (-mass * weight, mass, (*item.ids, token), place))

    def _behind(self, place: Place) -> Place:
        """Where a path stands once its open word has ended, before anything else is read."""
        is_word = not place.is_prompts and not self._rule.passes(place.open)
        return Place((*place.done, place.open) if is_word else place.done, "", b"")

    def _settle(self, answer: Answer, mass: float) -> None:
        if mass:
            self._settled[answer] = self._settled.get(answer, 0.0) + mass

    def _leave(self, prefix: str, mass: float) -> None:
        self._unresolved[prefix] = self._unresolved.get(prefix, 0.0) + mass

    # ---- what is known

    def bounds(self, answer: Answer) -> Bounds:
        """What an answer has at least and at most."""
        low = self._settled.get(answer, 0.0)
        high = min(1.0, low + self._open_to(key_of(answer, self._rule)))
        to_all = min(max(self._unresolved.get("", 0.0), 0.0), 1.0)
        return Bounds(low, high, min(high, low / (1 - to_all) if to_all < 1 else low))

    def _open_to(self, key: str) -> float:
        """Unresolved mass of all paths that may come to answers of which the key begins with `key`, or with less."""
        return max(0.0, sum([self._unresolved.get(key[:n], 0.0) for n in range(len(key) + 1)]))

    @property
    def top(self) -> Answer | None:
        """Of answers with equal mass the first by its words."""
        return min(self._settled, key=lambda one: (-self._settled[one], one), default=None)

    @property
    def is_settled(self) -> bool:
        """Whether the top answer is certain, and of it and all watched ones the probability is known to CLOSE."""
        top = self.top
        if top is None:
            return False
        if any(one.high - one.low > CLOSE for one in map(self.bounds, (top, *self._watched))):
            return False
        second = max((mass for one, mass in self._settled.items() if one != top), default=0.0)
        may_be_any = second + self._unresolved.get("", 0.0)  # the rest takes longer to look at
        return may_be_any <= self._settled[top] and self.rival(top) <= self._settled[top]

    def rival(self, top: Answer) -> float:
        """The most that any other answer can have, seen or not."""
        seen = max((self.bounds(one).high for one in self._settled if one != top), default=0.0)
        return min(1.0, max(seen, *(self._open_to(prefix) for prefix in self._unresolved)))

    def result(self) -> Answers:
        """What is known now."""
        top = self.top
        order = sorted(self._settled, key=lambda one: (-self._settled[one], one))[:N_KEPT]
        rival = 1.0 if top is None else self.rival(top)
        return Answers(
            likeliest=tuple((one, self.bounds(one)) for one in order),
            watched={one: self.bounds(one) for one in self._watched},
            is_certain=top is not None and rival <= self.bounds(top).low,
            rival=rival,
            silent=self._silent,
            unresolved=max(0.0, math.fsum(self._unresolved.values())),
            n_expanded=self.n_expanded,
        )
