"""Errors of measures whose outputs come in calls or chains: the call is the unit, not the output.

What one call says is said with the rest of it in view, so its outputs are not independent. Values are those of the
outputs together; standard errors leave out one call with all its outputs (jackknife), at most as many degrees of
freedom as calls less one. Kinds among m are counted in whole calls taken at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Estimate, Int64, Proportion, clustered_proportion, jackknifed

Mask = npt.NDArray[np.bool_]


class Units(NamedTuple):
    """The call or chain of every valid output and of every beginning, as numbers, and how many each was to give."""

    of_valid: Int64
    of_beginnings: Int64
    sizes: Int64  # by number
    noun: str = "call"

    @property
    def n(self) -> int:
        """Those with a valid output."""
        return len(np.unique(self.of_valid))

    def valid_by_unit(self) -> Int64:
        """How many valid outputs each gave."""
        return np.bincount(self.of_valid, minlength=len(self.sizes))


def share_valid(units: Sequence[Units]) -> Proportion:
    """The valid share of all outputs of an arm, calls of all prompts being the units."""
    k = [int(n) for one in units for n in one.valid_by_unit()]
    return clustered_proportion(k, [int(n) for one in units for n in one.sizes])


def relative_error_of_share(units: Units) -> float:
    """Standard error of the valid share over the share itself: the ratio's, over calls.

    >>> units = Units(np.array([0, 0, 1]), np.zeros(0, np.int64), np.array([2, 2]))
    >>> round(relative_error_of_share(units), 6)  # k 2, 1 of 2: share 3/4, v = 2 (1/4 + 1/4) / 16
    0.333333
    """
    k, n = units.valid_by_unit(), units.sizes
    share, m = k.sum() / n.sum(), len(n)
    if m < 2 or not share:
        return 0.0
    return math.sqrt(m / (m - 1) * float(np.square(k - share * n).sum())) / float(n.sum()) / float(share)


def over_units(estimate: Estimate, value_of: Callable[[Mask], float | None], units: Int64) -> Estimate:
    """`estimate` with the standard error that leaves out a unit at a time; `value_of`: of the outputs that stay.

    What one output unlike all others would change, a whole unit of them changes so many times as much.

    >>> values = np.array([1.0, 1.0, 3.0, 3.0])
    >>> found = over_units(Estimate(2.0, 0.1, 4), lambda some: float(values[some].mean()), np.array([0, 0, 1, 1]))
    >>> found.se, found.n  # left out 3 and 1: 1/2 * 2
    (1.0, 2)
    """
    if estimate.value is None:
        return estimate
    numbers, sizes = np.unique(units, return_counts=True)
    left_out = [value_of(units != one) for one in numbers]
    found = jackknifed(estimate.value, [math.nan if one is None else one for one in left_out], len(numbers))
    return estimate._replace(
        se=found.se, n=found.n, freedom=found.freedom, unseen=estimate.unseen * int(sizes.max(initial=1))
    )


def halves(generator: np.random.Generator, units: Int64, m: int) -> tuple[Int64, Int64]:
    """Twice m outputs: whole units in random order until there are m, cut off there; and others for the second m.

    m is at most half of what there is beside the largest unit.

    >>> [some.tolist() for some in halves(np.random.default_rng(0), np.array([0, 0, 1, 1, 2, 2]), 2)]
    [[4, 5], [0, 1]]
    """
    order = generator.permutation(np.unique(units))
    parts: list[Int64] = []
    start = 0
    for _ in range(2):
        taken: list[Int64] = []
        while sum(map(len, taken)) < m:
            taken.append(np.flatnonzero(units == order[start]))
            start += 1
        parts.append(np.concatenate(taken)[:m])
    return parts[0], parts[1]


def most_of_half(units: Int64) -> int:
    """The largest m for which `halves` always finds twice m outputs.

    >>> most_of_half(np.array([0, 0, 1, 1, 2, 2]))
    2
    """
    largest = int(np.unique(units, return_counts=True)[1].max(initial=1))
    return max(1, (len(units) - largest + 1) // 2)
