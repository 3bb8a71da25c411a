"""Uncertainty of estimates and of their comparison. A generation is the unit; tokens inside it, and pairs, are not.

Units nest: token < generation < prompt. An interval over generations is a claim about the prompts that were run, an
interval over prompts (`paired_t`, `sign_flip_test`, `jackknife_prompts`) one about prompts like them.
There is no bootstrap here: drawing with replacement repeats texts, and repeats lower every measure of diversity, the
mean pairwise distance by exactly 1/n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

Z_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution
ALL_SINGLETONS = "all singletons"


class Estimate(NamedTuple):
    """A number, its standard error, how many generations it rests on; None where undefined, with the reason.

    `se` is None where no standard error is known to hold. `warning` says what must stand beside a number that is
    defined but misleading alone. `freedom`: degrees of freedom of `se` (`variance_freedom`), None where not known.
    `unseen`: what one more output of a sort that was not seen would add to the value, where that may have been missed.
    """

    value: float | None
    se: float | None
    n: int
    reason: str | None = None
    warning: str | None = None
    freedom: float | None = None
    unseen: float = 0.0


def undefined(n: int, reason: str) -> Estimate:
    """The estimate that is none.

    >>> undefined(0, "no generations").value is None
    True
    """
    return Estimate(None, None, n, reason)


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
    return interval_of(summarize(values))


def interval_of(summary: Summary) -> Interval:
    """The same of values that are summed up already.

    >>> [round(number, 6) for number in interval_of(Summary(2.0, 1.0, 3**-0.5, 3))]
    [2.0, -0.484138, 4.484138]
    """
    if summary.n < 2 or not math.isfinite(summary.se):
        return Interval(summary.mean, math.nan, math.nan)
    half = quantile(summary.n - 1) * summary.se
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
    half = quantile(welch_freedom([first.se**2, second.se**2], [first.n - 1, second.n - 1])) * se
    return Difference(difference, se, difference - half, difference + half)


def quantile(freedom: float | None, p: float = 0.975) -> float:
    """The p quantile of Student's t; of the normal distribution where `freedom` is infinite or not known.

    >>> round(quantile(4), 6), round(quantile(None), 6)
    (2.776445, 1.959964)
    """
    from scipy.special import stdtrit  # heavy, and needed only here

    return float(stdtrit(math.inf if freedom is None else freedom, p))


def two_sided_p(t: float, freedom: float | None = None) -> float:
    """The chance of a |t| as large; normal where `freedom` is infinite or not known.

    >>> round(two_sided_p(1.959964), 6), round(two_sided_p(-2.776445, 4), 6)
    (0.05, 0.05)
    """
    from scipy.special import stdtr  # heavy, and needed only here

    return 2 * float(stdtr(math.inf if freedom is None else freedom, -abs(t)))


def welch_freedom(variances: npt.ArrayLike, freedoms: Sequence[float | None]) -> float:
    """Degrees of freedom of a sum of independent variances: (sum v)^2 / sum v^2 / f.

    None (not known) counts as infinite, and so does the sum then if all are. At least one variance is above 0. Welch,
    Biometrika 34 (1947) 28; Satterthwaite, Biometrics Bull. 2 (1946) 110.

    Variances 1 and 1 with 4 and infinite: 2^2 / (1/4).

    >>> welch_freedom([1, 1], [4, None])
    16.0
    """
    each = np.asarray(variances, np.float64)
    known = np.array([math.inf if one is None else one for one in freedoms], np.float64)
    weight = float((each**2 / known).sum())
    return float(each.sum()) ** 2 / weight if weight > 0 else math.inf


class Part(NamedTuple):
    """One estimate's share in a contrast: `weight` times the estimate, or its logarithm, over its scale.

    Its standard error, with weight; the degrees of freedom of the reach towards smaller and larger contrasts (None:
    normal); what one unseen output would add to the estimate, over its scale, without weight.
    """

    se: float
    below: float | None = None
    above: float | None = None
    unseen: float = 0.0
    weight: float = 1.0

    def reach(self, tail: float, *, below: bool, is_log: bool) -> float:
        """How far the contrast may lie below or above on account of this part, beyond which it is with chance `tail`.

        Of what was not seen at all -log(tail) outputs may have been missed: Poisson's exact limit.

        >>> round(Part(0.1, unseen=0.5).reach(0.025, below=False, is_log=True), 6)  # log(1 + 0.5 * 3.688879)
        1.045366
        """
        usual = abs(quantile(self.below if below else self.above, tail) * self.se)
        is_upwards = below == (self.weight < 0)
        if not (self.unseen and is_upwards):
            return usual
        missed = -math.log(max(tail, 1e-323)) * self.unseen
        return max(usual, abs(self.weight) * (math.log1p(missed) if is_log else missed))


class Contrast(NamedTuple):
    """A weighted sum of logarithms of independent estimates, or of the estimates, with uneven limits around it."""

    value: float
    parts: tuple[Part, ...]
    is_log: bool = True

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(sum(part.se**2 for part in self.parts))

    @property
    def has_error(self) -> bool:
        """Whether anything is known of how far it may be off."""
        return not math.isnan(self.se) and (self.se > 0 or any(part.unseen for part in self.parts))

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Both ends of an interval: the reaches of the parts to that side, squared and summed.

        Each end of a sum takes of every part the side that moves the sum to that end. Zou and Donner, Stat. Med. 27
        (2008) 1693.

        Parts 3 and 4, normal: 1 -+ 1.959964 * 5.

        >>> [round(end, 6) for end in Contrast(1.0, (Part(3.0), Part(4.0))).limits()]
        [-8.79982, 10.79982]
        """
        tail = (1 - level) / 2
        return self.value - self._reach(tail, below=True), self.value + self._reach(tail, below=False)

    def factors(self) -> tuple[float, float]:
        """The same of a contrast of logarithms, as factors: exp of both ends, at most 1e300."""
        low, high = (math.exp(min(end, math.log(1e300))) for end in self.limits())
        return low, high

    def p(self) -> float:
        """Two-sided against 0: 1 - the level of the interval that ends at 0. nan where there is no error."""
        if not self.has_error:
            return math.nan
        low, high = -320.0, 0.0  # log10 of p: its interval reaches 0, or does not
        for _ in range(60):
            middle = (low + high) / 2
            reaches = self._reach(10**middle / 2, below=self.value > 0) >= abs(self.value)
            low, high = (middle, high) if reaches else (low, middle)
        return float(10**high)

    def of_more(self, times: float) -> Contrast:
        """The same after so many times as many units: errors fall with the root, degrees of freedom grow with it."""
        return self._replace(
            parts=tuple(
                part._replace(
                    se=part.se / math.sqrt(times),
                    below=None if part.below is None else part.below * times,
                    above=None if part.above is None else part.above * times,
                    unseen=part.unseen / times,
                )
                for part in self.parts
            )
        )

    def _reach(self, tail: float, *, below: bool) -> float:
        return math.sqrt(sum(part.reach(tail, below=below, is_log=self.is_log) ** 2 for part in self.parts))


def part_of(estimate: Estimate, weight: float, scale: float = 1.0) -> Part:
    """An estimate's part in a sum where it stands with `weight`, its errors divided by `scale`.

    With its own value for `scale` it is that of its logarithm. Downward an estimate has the degrees of freedom of its
    error, upward n - 1: a number that rests on few outputs unlike the others (k of them) has on the log scale an error
    of 1 / sqrt k. Upward a normal reach of that is enough, 7.1 times for k = 1 where Poisson's exact limit is 5.6;
    downward the exact limit is 1/39.5, where a normal reach says 1/7.1 and one of t with 2 k degrees 1/74.

    >>> part_of(Estimate(2.0, 0.5, 30, freedom=4.0), -1, 2.0)
    Part(se=0.25, below=29, above=4.0, unseen=0.0, weight=-1)
    """
    se = math.nan if estimate.se is None else abs(weight) * estimate.se / scale
    down, up = estimate.freedom, None if estimate.freedom is None else estimate.n - 1
    below, above = (down, up) if weight > 0 else (up, down)
    return Part(se, below, above, estimate.unseen / scale, weight)


def limits_of(estimate: Estimate) -> tuple[float, float] | None:
    """Both ends of an estimate's own 95 % interval, uneven as in `part_of`; None where no error is known, or none is.

    >>> [round(end, 6) for end in limits_of(Estimate(10.0, 1.0, 100)) or ()], limits_of(Estimate(10.0, None, 100))
    ([8.040036, 11.959964], None)
    """
    if estimate.value is None or not estimate.se:
        return None
    return Contrast(estimate.value, (part_of(estimate, 1),), is_log=False).limits()


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


class Proportion(NamedTuple):
    """k of n with a 95 % interval; None where n is 0."""

    value: float | None
    low: float | None
    high: float | None
    k: int
    n: int
    reason: str | None = None


def wilson(k: int, n: int) -> Proportion:
    """k / n with Wilson's 95 % score interval: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Stays within [0, 1] and has width for 0 of n and n of n, where p -+ z se has none. Wilson, J. Am. Stat. Assoc. 22
    (1927) 209.

    0 of 100: low 0, high z^2 / (100 + z^2) = 3.841459 / 103.841459.

    >>> [round(number, 6) for number in wilson(0, 100)[:3]]
    [0.0, 0.0, 0.036993]
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return Proportion(None, None, None, 0, 0, "no generations")
    low, high = score_interval(k / n, n, Z_95)  # exact at both ends, where rounding would not be
    return Proportion(k / n, 0.0 if k == 0 else low, 1.0 if k == n else high, k, n)


def clustered_proportion(k: Sequence[int], n: Sequence[int]) -> Proportion:
    """Share of trials that come in clusters, k of n in each, with a 95 % interval that has the clusters as its units.

    p = sum k / N, N = sum n; over m clusters with trials its variance is v = m/(m-1) sum (k - p n)^2 / N^2, the
    ratio's. Wilson's interval of p (1-p) / v trials, N at most, with the t quantile of m - 1 degrees; of none or
    all, where no spread can show, that of m trials. One cluster, or single trials: Wilson's own. Simulated with 6 to 10
    clusters of 4 to 16 trials, p from 0.5 to 0.99 and correlations within clusters from 0 to 0.95 it misses p in 0.5 to
    9 %, most at 0.8 and 0.7, where a cluster is all or none by half. Korn and Graubard, Surv. Methodol. 24 (1998) 193;
    Dean and Pagano, J. Surv. Stat. Methodol. 3 (2015) 484.

    (2, 8) of (10, 10): p = 1/2, v = 2 (9 + 9) / 400 = 0.09, so 2.78 trials, and t of 1 degree 12.706.

    >>> [round(number, 4) for number in clustered_proportion([2, 8], [10, 10])[:3]]
    [0.5, 0.0042, 0.9958]
    """
    hits, trials = np.asarray(k, np.int64), np.asarray(n, np.int64)
    if hits.ndim != 1 or hits.shape != trials.shape or not ((hits >= 0) & (hits <= trials)).all():
        raise ValueError("each cluster has k of n trials")
    hits, trials = hits[trials > 0], trials[trials > 0]
    m, total, found = len(trials), int(trials.sum()), int(hits.sum())
    if m < 2 or trials.max() == 1:
        return wilson(found, total)
    share = found / total
    if found in (0, total):
        return wilson(m if found else 0, m)._replace(k=found, n=total)
    spread = m / (m - 1) * float(np.square(hits - share * trials).sum()) / total**2
    effective = min(float(total), share * (1 - share) / spread) if spread else float(total)
    return Proportion(share, *score_interval(share, effective, quantile(m - 1)), found, total)


def score_interval(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of n, which need not be whole; `z` its quantile. O(1).

    >>> [round(end, 6) for end in score_interval(0.5, 1.0, 1.0)]
    [0.146447, 0.853553]
    """
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def proportion_difference(first: Proportion, second: Proportion) -> Difference:
    """`second` minus `first` with Newcombe's 95 % interval, made of Wilson's two; nan where one is undefined.

    low = d - sqrt((p2 - l2)^2 + (u1 - p1)^2), high = d + sqrt((u2 - p2)^2 + (p1 - l1)^2). Unlike p -+ z se it has width
    at 0 of n and n of n, and stays within [-1, 1]. No standard error. Newcombe, Stat. Med. 17 (1998) 873, method 10.

    His example, 56 of 70 and 48 of 80: 0.2, 0.0524 to 0.3339.

    >>> [round(number, 4) for number in proportion_difference(wilson(48, 80), wilson(56, 70))]
    [0.2, nan, 0.0524, 0.3339]
    """
    if None in (first.value, first.low, first.high, second.value, second.low, second.high):
        return Difference(math.nan, math.nan, math.nan, math.nan)
    p1, low1, high1 = (float(number or 0) for number in first[:3])
    p2, low2, high2 = (float(number or 0) for number in second[:3])
    down, up = math.hypot(p2 - low2, high1 - p1), math.hypot(high2 - p2, p1 - low1)
    return Difference(p2 - p1, math.nan, p2 - p1 - down, p2 - p1 + up)


def class_counts(counts: npt.ArrayLike) -> Int64:
    """How often each class was seen, classes never seen dropped; whole numbers, or ValueError.

    >>> class_counts([3, 0, 1])
    array([3, 1])
    """
    given = np.asarray(counts)
    with np.errstate(invalid="ignore"):  # nan is refused below, not warned of here
        whole = given.astype(np.int64)
    if given.ndim != 1 or (whole != given).any() or (whole < 0).any():
        raise ValueError("class counts are one row of whole numbers, none of them negative")
    return whole[whole > 0]


def jackknife_se(left_out: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float | None:
    """Standard error from the values with one unit left out: sqrt((n - 1)/n sum (left_out - mean)^2).

    `weights`: how many of the n units give each value; all 1 if absent. None for fewer than two units or where a value
    is nan. Nearly unbiased for smooth statistics and too large for others (Efron and Stein, Ann. Stat. 9 (1981) 586);
    it fails for nearest neighbours, the number of classes seen and Chao1. O(values).

    Mean pairwise distances with one of four texts left out, 1, 2/3, 2/3, 1: mean 5/6, squares 4/36; 3/4 * 4/36 = 1/12.

    >>> round(jackknife_se([1, 2 / 3, 2 / 3, 1]) ** 2, 6)
    0.083333
    """
    centred, heavy = _centred(left_out, weights)
    n = float(heavy.sum())
    if n < 2 or np.isnan(centred).any():
        return None
    return math.sqrt((n - 1) / n * float(heavy @ centred**2))


def _centred(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Float64, Float64]:
    """Values less their weighted mean, and the weights; all nan where a value is not finite."""
    given = np.asarray(values, np.float64)
    heavy = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)
    if not len(given) or not np.isfinite(given).all():
        return np.full(len(given), math.nan), heavy
    return given - heavy @ given / heavy.sum(), heavy


def variance_freedom(values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float | None:
    """Degrees of freedom of a standard error that comes from the spread of these: min(n - 1, 2 n / (kurtosis - 1)).

    The variance of n values has itself a relative variance of (kurtosis - 1) / n, that of a chi-square with f degrees
    is 2 / f; normal values: n - 1. A few values far from all others carry the variance alone, and leave few degrees: a
    model that nearly always says one thing shows too little spread whenever its other outputs are missing. Range
    [2, n - 1] from three values on, 1 of two. Too many where tails are heavy, whose kurtosis a sample shows too small:
    of exponential values, n = 200, 68 for 50. `weights`: how many of the n units give each value. None for fewer than
    two, where all are alike and where a value is nan. O(values).

    Nine of ten are 0, one is 1: second moment .09, fourth .0657, kurtosis 8.111; 20 / 7.111.

    >>> round(variance_freedom([0] * 9 + [1]), 4)
    2.8125
    """
    centred, heavy = _centred(values, weights)
    n = float(heavy.sum())
    if n < 2 or np.isnan(centred).any():
        return None
    largest = float(np.abs(centred).max())
    if largest <= 1e-12 * float(np.abs(values).max()):  # what is left is rounding
        return None
    squares = (centred / largest) ** 2  # scaled, so that fourth powers do not vanish
    kurtosis = n * float(heavy @ squares**2) / float(heavy @ squares) ** 2
    return min(n - 1, 2 * n / (kurtosis - 1)) if kurtosis > 1 else n - 1


def jackknifed(
    value: float, left_out: npt.ArrayLike, n: int, *, weights: npt.ArrayLike | None = None, warning: str | None = None
) -> Estimate:
    """`value` with the standard error of its leave-one-out values (`jackknife_se`) and the degrees of freedom of that.

    >>> found = jackknifed(2.0, [2.5, 2.0, 1.5], 3)
    >>> round(found.se, 6), found.freedom
    (0.57735, 2.0)
    """
    return Estimate(value, jackknife_se(left_out, weights), n, None, warning, variance_freedom(left_out, weights))


Statistic = Callable[[Any], float | None]  # of rows; nan or None where undefined
CountStatistic = Callable[[Int64], float | None]


def jackknife(statistic: Statistic, values: npt.ArrayLike) -> Estimate:
    """`statistic` of all values, with the leave-one-out standard error; one value (or row) is one generation.

    `statistic` takes the rows of an array and answers nan or None where it is undefined. n calls of it; statistics of
    class counts have the short way of `jackknife_counts`. See `jackknife_se` for where it does not hold.

    The mean of (1, 2, 3): left out 2.5, 2, 1.5; 2/3 * 0.5 = 1/3, which is sd^2 / n.

    >>> round(jackknife(np.mean, [1.0, 2.0, 3.0]).se ** 2, 6)
    0.333333
    """
    rows = np.asarray(values)
    return jackknife_prompts(statistic, rows, range(len(rows)))


def jackknife_prompts(statistic: Statistic, values: npt.ArrayLike, prompts: Sequence[Hashable]) -> Estimate:
    """`statistic` of all values, with the standard error from leaving out one prompt with all its generations.

    `prompts`: the prompt of each value. Several generations of one prompt are not independent witnesses of what
    happens at other prompts; n is the number of prompts. Few prompts (below about 10) make the error itself uncertain:
    use its t interval with n - 1 degrees of freedom.

    Two prompts, means 1 and 3 of equal size: left out 3 and 1; 1/2 * 2 = 1, the variance of a mean of two.

    >>> jackknife_prompts(np.mean, [1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"])
    Estimate(value=2.0, se=1.0, n=2, reason=None, warning=None, freedom=1.0, unseen=0.0)
    """
    rows = np.asarray(values)
    if len(prompts) != len(rows):
        raise ValueError(f"{len(prompts)} prompts for {len(rows)} values")
    names = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    groups = np.array([names[prompt] for prompt in prompts], np.int64)
    if not names:
        return undefined(0, "no generations")
    value = _number(statistic(rows))
    if math.isnan(value):
        return undefined(len(names), "the statistic is undefined for these values")
    if len(names) < 2:
        return Estimate(value, None, len(names))
    left_out = [_number(statistic(rows[groups != group])) for group in range(len(names))]
    return jackknifed(value, left_out, len(names))


def jackknife_counts(statistic: CountStatistic, counts: npt.ArrayLike) -> Estimate:
    """`statistic` of class counts with its leave-one-generation-out standard error.

    Leaving out any of the n_c members of class c gives the same counts, and so does a member of any class of the same
    size: one call for each different size, weighed by the generations that it stands for. Equal to `jackknife` over
    generations, at O(sqrt n) calls at most instead of n. Of all singletons there is no standard error, but a warning;
    of one class alone it is that of the same number with one generation in a class of its own.

    Sum p^2 without bias, counts (2, 1): of 2 twice (1, 1), which gives 0, and of 1 once (2), which gives 1; their mean
    1/3, squares 2/9 + 4/9; 2/3 * 2/3 = 4/9.

    >>> from llama_diversity.metrics.indices import concentration
    >>> [round(number, 6) for number in concentration([2, 1])[:3]]
    [0.333333, 0.666667, 3]
    """
    seen = class_counts(counts)
    n = int(seen.sum())
    value = _number(statistic(seen)) if n else math.nan
    if math.isnan(value):
        return undefined(n, "the statistic is undefined for these counts" if n else "no generations")
    sizes, classes = np.unique(seen, return_counts=True)
    left_out = []
    for size in sizes:
        fewer = seen.copy()
        fewer[np.argmax(seen == size)] -= 1
        left_out.append(_number(statistic(fewer[fewer > 0])) if n > 1 else math.nan)
    if n > 1 and sizes[-1] == 1:  # leaving out any one leaves the same counts, and their spread of 0 is no certainty
        return Estimate(value, None, n, warning=ALL_SINGLETONS)
    if n > 2 and len(seen) == 1:  # the same, but here the next most varied counts say how little is certain
        return jackknife_counts(statistic, [n - 1, 1])._replace(value=value)
    return jackknifed(value, left_out, n, weights=sizes * classes)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


class Retained(NamedTuple):
    """The share aligned / base with its 95 % interval, the log of it with its standard error, and a two-sided p."""

    share: float | None = None
    low: float | None = None
    high: float | None = None
    log_ratio: float | None = None
    se: float | None = None
    p: float | None = None
    reason: str | None = None


def log_ratio(base: Estimate, aligned: Estimate) -> Retained:
    """How much of the base's diversity the aligned arm retains: log(aligned / base), interval on the log scale.

    se^2 = (se_a / a)^2 + (se_b / b)^2 (delta method, independent arms); each end is made of t reaches of both arms,
    with the degrees of freedom of either side (`part_of`; normal where they are not known), then exp. Range of the
    share (0, inf); 1 says equal, 0.4 that two fifths are left. Undefined where an arm is undefined or not above 0;
    without a standard error the share stands without an interval, and also where an arm's is 0, which is never
    certainty. Of the bias of the two values the interval knows nothing. O(1).

    10 (se 1) and 5 (se 0.5): log 1/2, se sqrt(0.01 + 0.01) = 0.141421; 0.5 * exp(-+ 0.277181).

    >>> arms = Estimate(10.0, 1.0, 100), Estimate(5.0, 0.5, 100)
    >>> [round(number, 6) for number in log_ratio(*arms)[:5]]
    [0.5, 0.378959, 0.659702, -0.693147, 0.141421]
    """
    whole, part = base.value, aligned.value
    if whole is None or part is None:
        return Retained(reason=base.reason or aligned.reason)
    if not math.isfinite(whole + part):
        raise ValueError("a value that is not finite has no ratio")
    if min(whole, part) <= 0:
        return Retained(reason="an arm has no diversity, so there is no ratio")
    share = part / whole
    log = math.log(share)
    if base.se is None or aligned.se is None:
        return Retained(share, log_ratio=log, reason="no standard error is known for this statistic")
    se = math.hypot(base.se / whole, aligned.se / part)
    if se == 0:
        return Retained(share, log_ratio=log, se=0.0, reason="no variation in either arm; there is nothing to test")
    if min(base.se, aligned.se) == 0:
        return Retained(share, log_ratio=log, reason="one arm shows no variation, so how certain it is cannot be known")
    contrast = Contrast(log, (part_of(base, -1, whole), part_of(aligned, 1, part)))
    return Retained(share, *contrast.factors(), log, se, contrast.p())


def holm(p_values: npt.ArrayLike) -> Float64:
    """Holm's adjusted p-values, in the order given: the chance of any false alarm stays below the level.

    Sorted upwards, p_(i) becomes max over j <= i of (m - j + 1) p_(j), at most 1. nan (no test was made) stays nan and
    does not count towards m. Holm, Scand. J. Stat. 6 (1979) 65.

    .01 * 3 = .03; .03 * 2 = .06; .04 * 1 is raised to .06.

    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, np.float64)
    made = ~np.isnan(given)
    if ((given[made] < 0) | (given[made] > 1)).any():
        raise ValueError("a p-value lies between 0 and 1")
    order = np.argsort(given[made], kind="stable")
    factors = np.arange(made.sum(), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(given[made][order] * factors), 1)
    result = np.full(given.shape, np.nan)
    result[made] = adjusted
    return result


class Equivalence(NamedTuple):
    """What may be said of a log ratio: its 90 % interval, the p-value against "not equivalent", and the verdict."""

    low: float
    high: float
    p: float
    verdict: Literal["equivalent", "different", "inconclusive"]


def equivalence(ratio: float, se: float, *, freedom: float = math.inf, margin: float = math.log(1.1)) -> Equivalence:
    """Two one-sided tests of |log ratio| < margin at 5 %: only this may claim "no difference".

    Equivalent: the 90 % interval of the log ratio lies within -+ margin, which must be set before the data are seen.
    Different: not equivalent, and the 95 % interval leaves out 0. Else inconclusive: too few generations to say.
    `freedom`: degrees of freedom of `se`, number of prompts - 1 if it comes from prompts. Schuirmann, J. Pharmacokinet.
    Biopharm. 15 (1987) 657.

    log ratio 0, se 0.05: 0 -+ 1.644854 * 0.05 = 0.082243, inside log 1.1 = 0.095310; p = P(Z > 1.906204) = 0.028312.

    >>> found = equivalence(0.0, 0.05)
    >>> round(found.high, 6), round(found.p, 6), found.verdict
    (0.082243, 0.028312, 'equivalent')
    """
    if not (math.isfinite(ratio) and se > 0 and freedom > 0 and margin > 0):
        raise ValueError("the ratio is finite; the standard error, its degrees of freedom and the margin are above 0")
    from scipy.special import stdtr  # heavy, and needed only here

    half = quantile(freedom, 0.95) * se
    low, high = ratio - half, ratio + half
    p = float(stdtr(freedom, (abs(ratio) - margin) / se))
    if -margin < low and high < margin:
        return Equivalence(low, high, p, "equivalent")
    differs = abs(ratio) > quantile(freedom) * se
    return Equivalence(low, high, p, "different" if differs else "inconclusive")


class Paired(NamedTuple):
    """Mean difference over prompts with its 95 % t interval, t and two-sided p; None where undefined."""

    n_prompts: int
    mean: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None
    t: float | None = None
    p: float | None = None
    reason: str | None = None


def paired_t(base: npt.ArrayLike, aligned: npt.ArrayLike) -> Paired:
    """`aligned` minus `base`, one number for each prompt and arm, paired by prompt; P - 1 degrees of freedom.

    The claim about prompts in general; on the log scale exp of it is the retained share. A prompt where either arm is
    undefined (nan) is left out. Fewer than two prompts: no interval; differences all alike: no test.

    Differences (1, 2, 3): 2 -+ 4.302653 / sqrt 3 = 2.484138; t = 2 sqrt 3 = 3.464102; with 2 degrees of freedom
    p = 1 - t / sqrt(t^2 + 2) = 1 - 3.464102 / 3.741657 = 0.074180.

    >>> [round(number, 6) for number in paired_t([0, 0, 0], [1, 2, 3])[3:7]]
    [-0.484138, 4.484138, 3.464102, 0.07418]
    """
    first, second = np.asarray(base, np.float64), np.asarray(aligned, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError("one number for each prompt and arm")
    differences = (second - first)[np.isfinite(second - first)]
    found = summarize(differences)
    if found.n < 2:
        mean = found.mean if found.n else None
        return Paired(found.n, mean, reason="fewer than two prompts")
    if found.se <= 1e-12 * abs(found.mean):
        return Paired(found.n, found.mean, 0.0, reason="all prompts differ by the same amount")
    interval, t = mean_interval(differences), found.mean / found.se
    return Paired(found.n, found.mean, found.se, interval.low, interval.high, t, two_sided_p(t, found.n - 1))


class Permutation(NamedTuple):
    """What was tested, the two-sided p-value, and over how many arrangements (all of them where `exact`)."""

    difference: float | None
    p: float | None
    arrangements: int
    exact: bool
    reason: str | None = None


def sign_flip_test(differences: npt.ArrayLike, *, seed: int = 0, draws: int = 9999) -> Permutation:
    """Two-sided test that paired differences (one for each prompt) are symmetric around 0, by flipping their signs.

    Exact over all 2^P sign patterns up to 14 prompts, above that by `draws` random ones, p = (1 + hits)/(1 + draws).
    Valid without normality. The smallest possible p is 2 / 2^P: with five prompts 0.0625, so it never reaches 5 %.

    (1, 2, 3): only +++ and --- reach |sum| = 6: 2/8.

    >>> sign_flip_test([1, 2, 3])
    Permutation(difference=2.0, p=0.25, arrangements=8, exact=True, reason=None)
    """
    values = np.asarray(differences, np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return Permutation(float(values[0]) if n else None, None, 0, False, "fewer than two prompts")
    # sums of the same numbers in another order round differently, by a share of their size, not of their sum's
    reached = abs(float(values.sum())) - 1e-12 * float(np.abs(values).sum())
    if n <= 14:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        hits = int((np.abs(signs @ values) >= reached).sum())
        return Permutation(float(values.mean()), hits / 2**n, 2**n, True)
    generator = np.random.default_rng(seed)
    hits = sum(abs(float(generator.choice((-1.0, 1.0), n) @ values)) >= reached for _ in range(draws))
    return Permutation(float(values.mean()), (1 + hits) / (1 + draws), draws, False)


def permutation_test(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0, draws: int = 9999) -> Permutation:
    """Two-sided test that two arms follow one law, by the difference of means of one number per generation.

    For numbers that belong to a generation alone (length, rate, sentiment). Not for mean distances to the other texts,
    nor for a statistic of the whole arm: shuffling arms answers "same law?", and two arms of equal diversity about
    different things are then called different in a third of the cases. Use `log_ratio` there. Generations without the
    number (nan) are left out. p = (1 + hits)/(1 + draws) over random shuffles (Phipson and Smyth, Stat. Appl. Genet.
    Mol. Biol. 9 (2010) 39).

    >>> permutation_test([1, 2, 3, 4, 5], [11, 12, 13, 14, 15]).difference
    10.0
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    one, two = one[np.isfinite(one)], two[np.isfinite(two)]
    if min(len(one), len(two)) < 2:
        return Permutation(None, None, 0, False, "fewer than two generations in an arm")
    pooled = np.concatenate([one, two])
    difference = float(two.mean() - one.mean())
    reached = abs(difference) * (1 - 1e-12)
    # the sum of the second arm decides the difference: mean_2 - mean_1 = sum_2 (1/n_1 + 1/n_2) - total / n_1
    slope, shift = 1 / len(one) + 1 / len(two), pooled.sum() / len(one)
    generator = np.random.default_rng(seed)
    sums = np.array([generator.permutation(pooled)[: len(two)].sum() for _ in range(draws)])
    hits = int((np.abs(sums * slope - shift) >= reached - 1e-12 * abs(shift)).sum())
    return Permutation(difference, (1 + hits) / (1 + draws), draws, False)
