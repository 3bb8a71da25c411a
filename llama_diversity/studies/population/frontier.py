"""Cost against variety over settings of an arm: the setting is chosen on one half of the asks, told by the other half.

What is best of several by chance alone looks better than it is. So asks of even number choose, and those of odd number,
which took no part in it, say how good the choice is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.price import Bounded, effective_texts, tokens_for_next, tokens_per_usable
from llama_diversity.studies.population.pipeline import Embed, Person, calls_of, judge, kinds, persona_text
from llama_diversity.studies.population.target import Target


class Half(NamedTuple):
    """What half of an arm's asks gave."""

    n_outputs: int
    n_usable: int
    per_usable: Bounded
    for_next: Bounded
    different: Bounded | None  # by text, among as many of every setting


class Setting(NamedTuple):
    """One setting of a family of arms. `is_chosen`: the cheapest next new person by the even half.

    `is_on_front`: by the even half no other setting of the family is both cheaper and more varied.
    """

    family: str
    arm: str
    chose: Half
    told: Half
    is_chosen: bool
    is_on_front: bool


def frontier(
    people: Mapping[str, Sequence[Person]], families: Mapping[str, Sequence[str]], target: Target, embed: Embed
) -> tuple[Setting, ...]:
    """Every setting of every family; `families` names the arms of each."""
    halves = {
        arm: [judge([one.output for one in some if one.output.call.at % 2 == rest], target, embed) for rest in (0, 1)]
        for arm, some in people.items()
    }
    m = min((sum(one.is_usable for one in half) for both in halves.values() for half in both), default=0)
    found: list[Setting] = []
    for family, arms in families.items():
        judged = {arm: tuple(_half(half, target, embed, m) for half in halves[arm]) for arm in arms}
        chosen = _cheapest({arm: both[0] for arm, both in judged.items()})
        front = _front({arm: both[0] for arm, both in judged.items()})
        for arm, (chose, told) in judged.items():
            found.append(Setting(family, arm, chose, told, arm == chosen, arm in front))
    return tuple(found)


def _half(people: Sequence[Person], target: Target, embed: Embed, m: int) -> Half:
    units = calls_of(people)
    tokens = np.bincount(units, [one.output.n_tokens for one in people])
    usable = np.bincount(units, [float(one.is_usable) for one in people]).astype(int)
    texts = [persona_text(one.values, target) for one in people if one.is_usable]
    different = effective_texts(embed(texts), m) if target.free and m > 1 else None
    for_next = tokens_for_next(tokens, kinds(people), units)
    return Half(len(people), len(texts), tokens_per_usable(tokens, usable), for_next, different)


def _cheapest(halves: Mapping[str, Half]) -> str | None:
    prices = {arm: math.inf if one.for_next.value is None else one.for_next.value for arm, one in halves.items()}
    known = {arm: price for arm, price in prices.items() if math.isfinite(price)}
    return min(known, key=known.__getitem__, default=None)


def _front(halves: Mapping[str, Half]) -> set[str]:
    """The arms that no other one beats in both."""
    points = {
        arm: (one.per_usable.value, one.different.value)
        for arm, one in halves.items()
        if one.per_usable.value is not None and one.different is not None and one.different.value is not None
    }
    return {
        arm
        for arm, (cost, variety) in points.items()
        if not any(
            other_cost <= cost and other_variety >= variety and (other_cost, other_variety) != (cost, variety)
            for other_cost, other_variety in points.values()
        )
    }
