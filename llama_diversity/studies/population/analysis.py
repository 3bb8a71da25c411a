"""What an arm's people are worth: losses, price, fit to the target, how many are really different, and who is chosen.

Declared beforehand: usable people are judged against the target's margins and pairs, all of them together one family of
tables; of arms whose fixed fields are given only obedience is measured, and their fit is never set beside the others'.
Where one call writes several people the call is the unit of every interval. Arms are compared at equal N: as many
people as the arm with the fewest usable ones has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.fit import Fit, fit, never_seen_bound
from llama_diversity.metrics.inference import Float64, Int64, Proportion, clustered_proportion, wilson
from llama_diversity.metrics.price import (
    Bounded,
    effective_kinds,
    effective_texts,
    outputs_needed,
    tokens_for_next,
    tokens_per_usable,
)
from llama_diversity.metrics.raking import raked
from llama_diversity.metrics.similarity import mean_pairwise_distance
from llama_diversity.metrics.stated import Stated, stated_probabilities
from llama_diversity.studies.measuring.limits import LEAST_FOR_EFFECTIVE
from llama_diversity.studies.population.agreeable import Agreeableness, agreeableness
from llama_diversity.studies.population.frontier import Setting, frontier
from llama_diversity.studies.population.joint import Joint
from llama_diversity.studies.population.pipeline import (
    Choice,
    Embed,
    Funnel,
    Person,
    Vectors,
    calls_of,
    choose,
    funnel,
    kinds,
    persona_text,
)
from llama_diversity.studies.population.standing import Cell, Standing
from llama_diversity.studies.population.target import Target
from llama_diversity.studies.population.ways import Way


class CellFit(NamedTuple):
    """One cell of a table: its values, the target's share, how many people there are, and their share's interval."""

    cell: Cell
    target: float
    n: int
    low: float
    high: float


class Table(NamedTuple):
    """One margin or pair: the fields, its cells in words, what the target has of each, and how the people fit."""

    fields: tuple[str, ...]
    cells: tuple[Cell, ...]
    shares: Float64
    counts: Int64
    fit: Fit

    def rows(self) -> list[CellFit]:
        """Cell by cell."""
        numbers = (self.shares, self.counts, self.fit.low, self.fit.high)
        return [CellFit(*row) for row in zip(self.cells, *(some.tolist() for some in numbers), strict=True)]


class Empty(NamedTuple):
    """A cell of the joint that should have one person or more among N and has none; its share is below `bound`."""

    cell: Cell
    share: float
    bound: float


@dataclass(frozen=True)
class Arm:
    """One arm. `usable` is of people that are usable among all drawn; `m`: people at which variety is compared."""

    way: Way
    people: tuple[Person, ...]
    funnel: Funnel
    standing: Standing
    usable: Proportion
    per_usable: Bounded
    for_next: Bounded
    prompt_tokens_per_usable: float | None
    seconds_per_usable: float | None  # on this machine; None where some outputs were drawn in a run that was cut
    needed: Bounded | None  # outputs that the quotas take
    tables: tuple[Table, ...]  # none where the fixed fields are given, or nobody is usable
    obedient: Proportion | None  # usable people whose text does not contradict what was given
    empty: tuple[Empty, ...]
    m: int
    effective_fields: Bounded | None
    effective_texts: Bounded | None
    chosen: Choice
    distance_of_chosen: float | None  # mean pairwise, of the chosen
    distance_of_any: float | None  # expected of as many usable ones taken at random
    weights: Mapping[int, float]  # of every usable person, where all are kept
    n_effective: float | None  # Kish's, of these weights
    stated: Stated | None
    agreeable: Agreeableness

    @property
    def usable_people(self) -> list[Person]:
        return [one for one in self.people if one.is_usable]

    @property
    def oversampling(self) -> float | None:
        """Outputs that were drawn for each person chosen."""
        return len(self.people) / len(self.chosen.numbers) if self.chosen.numbers else None


@dataclass(frozen=True)
class Result:
    """All arms, beside what was wanted."""

    arms: Mapping[str, Arm]
    settings: tuple[Setting, ...]  # of a frontier
    wanted: Mapping[Cell, int]
    n: int


class Drew(NamedTuple):
    """What is judged of an arm: its people in order, and where it stands."""

    way: Way
    people: Sequence[Person]
    standing: Standing


def analyse(
    drew: Sequence[Drew], target: Target, joint: Joint | None, wanted: Mapping[Cell, int], n: int, embed: Embed
) -> Result:
    """The numbers of all arms."""
    m = min((one.standing.n_usable for one in drew if one.standing.n_usable >= LEAST_FOR_EFFECTIVE), default=0)
    arms = {one.way.name: _arm(one, target, joint, wanted, n, m, embed) for one in drew}
    return Result(arms, _settings(drew, target, embed), wanted, n)


def _settings(drew: Sequence[Drew], target: Target, embed: Embed) -> tuple[Setting, ...]:
    families: dict[str, list[str]] = {}
    for one in drew:
        if one.way.family is not None:
            families.setdefault(one.way.family, []).append(one.way.name)
    people = {one.way.name: one.people for one in drew if one.way.family is not None}
    return frontier(people, families, target, embed) if people else ()


def _arm(
    drew: Drew, target: Target, joint: Joint | None, wanted: Mapping[Cell, int], n: int, m: int, embed: Embed
) -> Arm:
    way, people = drew.way, tuple(drew.people)
    usable = [number for number, one in enumerate(people) if one.is_usable]
    units = np.array(calls_of(people), np.int64)
    tokens = np.bincount(units, [one.output.n_tokens for one in people])
    usable_by_unit = np.bincount(units, [float(one.is_usable) for one in people]).astype(int)
    vectors = embed([persona_text(people[number].values, target) for number in usable]) if target.free else None
    chosen = choose(people, wanted, target, embed)
    places = {number: at for at, number in enumerate(usable)}
    of_chosen = None if vectors is None else vectors[[places[number] for number in chosen.numbers]]
    weights, n_effective = _weights(people, usable, target) if not way.has_cell else ({}, None)
    return Arm(
        way=way,
        people=people,
        funnel=funnel(people),
        standing=drew.standing,
        usable=_share(usable_by_unit, np.bincount(units)),
        per_usable=tokens_per_usable(tokens, usable_by_unit),
        for_next=tokens_for_next(tokens, kinds(people), units.tolist()),
        prompt_tokens_per_usable=sum(one.output.n_prompt_tokens for one in people) / len(usable) if usable else None,
        seconds_per_usable=_seconds(people, len(usable)),
        needed=None if way.has_cell or joint is None else _needed(people, units, wanted),
        tables=() if way.has_cell or joint is None or not usable else _tables(people, usable, units, target, joint),
        obedient=_obedience(people, usable) if way.has_cell else None,
        empty=() if joint is None or way.has_cell or not usable else _empty(people, usable, joint, n),
        m=m,
        effective_fields=_of_fields(people, usable, target, m),
        effective_texts=None if vectors is None or not 0 < m <= len(usable) else effective_texts(vectors, m),
        chosen=chosen,
        distance_of_chosen=_distance(of_chosen),
        distance_of_any=_distance(vectors),
        weights=weights,
        n_effective=n_effective,
        stated=_stated(people, units) if way.mode == "verbalized" else None,
        agreeable=agreeableness(people, target),
    )


def _seconds(people: Sequence[Person], n_usable: int) -> float | None:
    known = [one.output.seconds for one in people if one.output.seconds is not None]
    return sum(known) / n_usable if n_usable and len(known) == len(people) else None


def _share(usable: Int64, of: Int64) -> Proportion:
    if (of <= 1).all():
        return wilson(int(usable.sum()), int(of.sum()))
    return clustered_proportion(usable.tolist(), of.tolist())


# ---- fit


def _tables(
    people: Sequence[Person], usable: Sequence[int], units: Int64, target: Target, joint: Joint
) -> tuple[Table, ...]:
    """Every margin and every pair of the target, all of them one family."""
    asked: list[tuple[tuple[str, ...], Mapping[Cell, float]]] = [
        ((one.name,), {(value,): share for value, share in one.shares.items()}) for one in target.fixed
    ]
    for pair in target.pairs:
        asked.append((pair.of, {(*cell,): share for cell, share in joint.pair(*pair.of).items()}))
    is_called = len(np.unique(units)) < len(people)
    found = []
    of_unit: list[int] = units.tolist()
    for fields, shares in asked:
        at = [joint.fields.index(name) for name in fields]
        cells = {cell: number for number, cell in enumerate(shares)}
        rows = np.zeros((int(units.max(initial=-1)) + 1, len(cells)), np.int64)
        for number in usable:
            cell = people[number].cell
            assert cell is not None
            rows[of_unit[number], cells[tuple(cell[place] for place in at)]] += 1
        counts = rows.sum(axis=0)
        values = np.array([*shares.values()])
        judged = fit(rows if is_called else counts, values, tests=len(asked))
        found.append(Table(tuple(fields), tuple(cells), values, counts, judged))
    return tuple(found)


def _empty(people: Sequence[Person], usable: Sequence[int], joint: Joint, n: int) -> tuple[Empty, ...]:
    seen = {people[number].cell for number in usable}
    bound = never_seen_bound(len(usable))
    return tuple(
        Empty(cell, float(share), bound)
        for cell, share in zip(joint.cells, joint.shares, strict=True)
        if share > 1 / n and cell not in seen
    )


def _needed(people: Sequence[Person], units: Int64, wanted: Mapping[Cell, int]) -> Bounded:
    places = {cell: at for at, cell in enumerate(wanted)}
    rows = np.zeros((int(units.max(initial=-1)) + 1, len(places)), np.int64)
    for one, unit in zip(people, units, strict=True):
        if one.is_usable and one.cell in places:
            rows[unit, places[one.cell]] += 1
    return outputs_needed(rows, np.bincount(units), np.array([*wanted.values()]))


def _obedience(people: Sequence[Person], usable: Sequence[int]) -> Proportion | None:
    contradicting = sum(people[number].contradicts is not None for number in usable)
    return wilson(len(usable) - contradicting, len(usable)) if usable else None


def _weights(people: Sequence[Person], usable: Sequence[int], target: Target) -> tuple[dict[int, float], float | None]:
    """Raking weights of all usable people, mean 1, and Kish's effective number of them."""
    if not usable or not target.fixed:
        return {}, None
    groups = []
    for at, one in enumerate(target.fixed):
        places = {value: place for place, value in enumerate(one.shares)}
        groups.append([places[(people[number].cell or ())[at]] for number in usable])
    found = raked(groups, [[*one.shares.values()] for one in target.fixed])
    return dict(zip(usable, map(float, found.weights), strict=True)), found.n_effective


# ---- variety


def _of_fields(people: Sequence[Person], usable: Sequence[int], target: Target, m: int) -> Bounded | None:
    """How many different people there are by their fixed fields, among m."""
    if not target.fixed or not 0 < m <= len(usable):
        return None
    counted: dict[Cell | None, int] = {}
    for number in usable:
        counted[people[number].cell] = counted.get(people[number].cell, 0) + 1
    return effective_kinds([*counted.values()], m)


def _distance(vectors: Vectors | None) -> float | None:
    if vectors is None or len(vectors) < 2:
        return None
    value = mean_pairwise_distance(vectors).value
    return None if value is None or math.isnan(value) else value


def _stated(people: Sequence[Person], units: Int64) -> Stated:
    """Probabilities as the model states them, against those that its words really had."""
    both = [number for number, one in enumerate(people) if one.output.stated and one.output.bits is not None]
    stated = [people[number].output.stated or 0.0 for number in both]
    exact = [-(people[number].output.bits or 0.0) * math.log(2) for number in both]
    return stated_probabilities(stated, exact, units[both].tolist())
