"""Uncertainty of means over generations and of their difference. A generation is the unit; tokens inside it are not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Summary(NamedTuple):
    """Mean, sample standard deviation (n - 1), standard error and number of generations; nan where undefined."""

    mean: float
    sd: float
    se: float
    n: int


def summarize(values: npt.ArrayLike) -> Summary:
    """Summary of one number per generation; sd and se are nan for a single one, everything for none.

    (1, 2, 3): mean 2, sd 1, se 1 / sqrt 3.

    >>> summarize([1.0, 2.0, 3.0])
    Summary(mean=2.0, sd=1.0, se=0.5773502691896258, n=3)
    """
    numbers = np.asarray(values, dtype=np.float64)
    n = len(numbers)
    mean = float(numbers.mean()) if n else math.nan
    sd = float(numbers.std(ddof=1)) if n > 1 else math.nan
    return Summary(mean, sd, sd / math.sqrt(n) if n else math.nan, n)


class Interval(NamedTuple):
    """A mean with its 95 % interval; nan where undefined."""

    mean: float
    low: float
    high: float


def mean_interval(values: npt.ArrayLike) -> Interval:
    """The mean of independent values and its 95 % t interval; the ends are nan for fewer than two.

    (1, 2, 3): se 1 / sqrt 3 = 0.577350, 2 degrees of freedom, t = 4.302653, so 2 -+ 2.484138.

    >>> [round(number, 6) for number in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484138, 4.484138]
    """
    summary = summarize(values)
    if summary.n < 2 or not math.isfinite(summary.se):
        return Interval(summary.mean, math.nan, math.nan)
    from scipy.special import stdtrit  # heavy, and needed only here

    half = float(stdtrit(summary.n - 1, 0.975)) * summary.se
    return Interval(summary.mean, summary.mean - half, summary.mean + half)


class Difference(NamedTuple):
    """A difference of two means with its 95 % interval; nan where undefined."""

    mean: float
    se: float
    low: float
    high: float


def welch_difference(first: Summary, second: Summary) -> Difference:
    """`second` minus `first`, with Welch's 95 % interval: generations are independent, variances may differ.

    se^2 = se1^2 + se2^2; degrees of freedom by Welch and Satterthwaite. Both arms without variation: the interval is
    the point. Fewer than two generations in an arm: nan.

    Two arms of 3 with sd 1 and means 2 and 5: difference 3, se sqrt(2/3) = 0.816497, 4 degrees of freedom,
    t = 2.776445, so 3 -+ 2.266958.

    >>> arms = summarize([1.0, 2.0, 3.0]), summarize([4.0, 5.0, 6.0])
    >>> [round(number, 6) for number in welch_difference(*arms)]
    [3.0, 0.816497, 0.733042, 5.266958]
    """
    difference = second.mean - first.mean
    if min(first.n, second.n) < 2:
        return Difference(difference, math.nan, math.nan, math.nan)
    se = math.hypot(first.se, second.se)
    if se == 0:
        return Difference(difference, 0.0, difference, difference)
    freedom = se**4 / (first.se**4 / (first.n - 1) + second.se**4 / (second.n - 1))
    from scipy.special import stdtrit  # heavy, and needed only here

    half = float(stdtrit(freedom, 0.975)) * se
    return Difference(difference, se, difference - half, difference + half)


def self_check_z(excess_bits: npt.ArrayLike) -> float:
    """z = mean / se of the summed (surprisal - entropy) of each generation.

    Standard normal when the stored probabilities are those the tokens were drawn from; beyond 4 something is wrong
    (a hidden truncation or temperature, a shift by one token). nan for fewer than two generations; 0 when every
    excess is 0, as for a distribution whose tokens are all equally likely; infinite when they agree on another value.

    (1, 2, 3): mean 2, se 0.57735, z 3.4641.

    >>> round(self_check_z([1.0, 2.0, 3.0]), 4)
    3.4641
    """
    summary = summarize(excess_bits)
    if summary.n < 2:
        return math.nan
    if summary.se < 1e-6:  # float32 rounding of the stored statistics
        return 0.0 if abs(summary.mean) < 1e-3 else math.copysign(math.inf, summary.mean)
    return summary.mean / summary.se


def martingale_z(excess_bits: npt.ArrayLike, variances_bits2: npt.ArrayLike) -> float:
    """z = sum of excesses / sqrt(sum of their known variances): the self-check that holds for any n.

    Surprisal minus entropy is a martingale difference whose conditional variance is the varentropy of its step, so the
    variance of a generation's excess is estimated without bias by its summed varentropy, even where all generations
    took the same path and their sample variance is 0. 0 when nothing varies and nothing exceeds.

    Excesses 1 and 2 with variances 4 and 5: 3 / 3 = 1.

    >>> martingale_z([1.0, 2.0], [4.0, 5.0])
    1.0
    """
    total, variance = float(np.sum(excess_bits)), float(np.sum(variances_bits2))
    if variance < 1e-12:
        return 0.0 if abs(total) < 1e-3 else math.copysign(math.inf, total)
    return total / math.sqrt(variance)
