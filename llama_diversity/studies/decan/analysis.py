"""How much do answers to one prompt still surprise a reader who has read the others?

Protocol: of every arm and prompt the first n answers with text are read by one scorer, each alone behind the prompt and
all in random orders (`metrics.decan.balanced_orders`), the same orders for every arm. Code lengths are per byte of an
answer, and every answer counts alike, however long. A prompt counts where every arm has at least LEAST_SHARE of the
answers that were asked for; n is then the smallest number that any arm has on any of these prompts.

Intervals: t over prompts, of differences from the first arm paired by prompt. Orders add to the variance between
prompts, so that these intervals hold them; how much of it is theirs is told from sets of orders that are independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.decan import decan, progressive_surprise, share_of_orders
from llama_diversity.metrics.inference import Interval, mean_interval

N_ANSWERS, PERMUTATIONS, MAX_TOKENS = 10, 25, 64
LEAST_SHARE = 0.8  # of the answers asked for that must have text, or the prompt is left out
MOST_OF_A_COPY = 0.5  # of an answer's surprise that may be left behind a copy of it, or the scorer sees no likeness
MEASURES = ("a_n", "a_1", "fall", "coherence", "decan")  # of which the order is that of tables

Floats = npt.NDArray[np.float64]


class Codes(NamedTuple):
    """Of one arm and prompt: bits per byte of each answer alone, (n,), and of the k-th of each order, (sets, m, n).

    `copied`: of the first answer behind itself; `n_bytes`: of each answer; `is_cut`: whether it was longer than the
    scorer was given.
    """

    alone: Floats
    codes: Floats
    copied: float
    n_bytes: npt.NDArray[np.int64]
    is_cut: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OfPrompt:
    """One arm on one prompt, numbered from 1."""

    number: int
    curve: Floats  # a_1 .. a_n
    by_set: Floats  # a_n by each set of orders
    values: Mapping[str, float]  # by measure

    @classmethod
    def of(cls, number: int, codes: Codes, orders: npt.NDArray[np.int64], weights: Floats) -> OfPrompt:
        """From code lengths."""
        curves = progressive_surprise(codes.alone, orders, codes.codes, weights)
        curve = curves.mean(axis=0)
        parts = decan(codes.alone, curve[-1])
        values = (parts.a_n, float(curve[0]), float(curve[0]) - parts.a_n, parts.coherence, parts.d)
        return cls(number, curve, curves[:, -1], dict(zip(MEASURES, values, strict=True)))


@dataclass(frozen=True)
class ArmFound:
    """One arm over all prompts. `se_orders`: of the mean a_n, by orders alone; `share`: of its squared error."""

    prompts: Sequence[OfPrompt]
    measures: Mapping[str, Interval]
    curve: Sequence[Interval]
    se_orders: float
    share: float
    mean_bytes: float
    share_cut: float


class Difference(NamedTuple):
    """An arm minus the first one, paired by prompt, and the ratio of the means."""

    change: Interval
    ratio: float


@dataclass(frozen=True)
class Result:
    """All arms, and of all but the first the differences from it by measure."""

    arms: Mapping[str, ArmFound]
    differences: Mapping[str, Mapping[str, Difference]]
    n: int
    n_sets: int
    n_orders: int  # in all
    copy: float  # what is left of the surprise of an answer behind itself, of all first answers together

    @property
    def is_blind(self) -> bool:
        """Whether the scorer hardly sees even that an answer is there twice."""
        return self.copy > MOST_OF_A_COPY


def analyse(
    codes: Mapping[str, Mapping[int, Codes]], orders: Mapping[int, npt.NDArray[np.int64]], weights: Floats
) -> Result:
    """`codes` by arm and by the number of a prompt from 1; `orders` by that number, the same for all arms."""
    arms = {
        name: _arm([OfPrompt.of(at, one, orders[at], weights) for at, one in mine.items()], list(mine.values()))
        for name, mine in codes.items()
    }
    first, *others = arms
    differences = {
        name: {measure: _difference(arms[first], arms[name], measure) for measure in MEASURES} for name in others
    }
    shape = next(iter(orders.values())).shape
    every = [one for mine in codes.values() for one in mine.values()]
    surprise = sum(float(one.alone[0]) for one in every)
    copy = sum(one.copied for one in every) / surprise if surprise > 0 else math.nan
    return Result(arms, differences, shape[2], shape[0], shape[0] * shape[1], copy)


def _arm(prompts: Sequence[OfPrompt], codes: Sequence[Codes]) -> ArmFound:
    by_set = np.array([one.by_set for one in prompts])
    n_prompts, n_sets = by_set.shape
    curves = np.array([one.curve for one in prompts])
    return ArmFound(
        prompts,
        {name: mean_interval([one.values[name] for one in prompts]) for name in MEASURES},
        [mean_interval(column) for column in curves.T],
        math.sqrt(float(by_set.var(axis=1, ddof=1).mean()) / n_sets / n_prompts),
        share_of_orders(by_set),
        float(np.concatenate([one.n_bytes for one in codes]).mean()),
        float(np.concatenate([one.is_cut for one in codes]).mean()),
    )


def _difference(first: ArmFound, arm: ArmFound, measure: str) -> Difference:
    pairs = [
        (one.values[measure], other.values[measure]) for one, other in zip(first.prompts, arm.prompts, strict=True)
    ]
    base = first.measures[measure].mean
    ratio = arm.measures[measure].mean / base if base > 0 else math.nan
    return Difference(mean_interval([other - one for one, other in pairs]), ratio)


def kept(n_answers: Mapping[str, Sequence[int]], n: int) -> tuple[list[int], int]:
    """Which prompts count, from 0, and how many answers of each are read; `n_answers` with text, by arm and prompt.

    Of 10 answers asked for 8 must have text; of the prompts that are left the fewest of any arm are read.

    >>> kept({"a": [10, 9, 7], "b": [10, 10, 10]}, 10)
    ([0, 1], 9)
    """
    fewest = [min(of_prompt) for of_prompt in zip(*n_answers.values(), strict=True)]
    numbers = [at for at, one in enumerate(fewest) if one >= max(2, LEAST_SHARE * n)]
    return numbers, min((fewest[at] for at in numbers), default=0)
