"""What has not been seen yet: coverage, class entropy and richness of the model from the classes of n generations.

From class counts alone. n generations, S classes seen, n_c the count of class c, f1 and f2 the number of classes seen
once and twice: the rare classes say how much is still hidden. Natural logarithms; entropies in nats. "Coverage" is the
share of the model's output mass that belongs to classes already seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.indices import entropy_nats
from llama_diversity.metrics.inference import (
    ALL_SINGLETONS,
    Z_95,
    CountStatistic,
    Estimate,
    Float64,
    Int64,
    class_counts,
    jackknife_counts,
    undefined,
)

_TOO_FEW = {0: "no generations", 1: "one generation shows nothing of the unseen"}


class Rarity(NamedTuple):
    """Number of generations, and of classes seen once and twice."""

    n: int
    f1: int
    f2: int


def rarity(counts: npt.ArrayLike) -> Rarity:
    """n, f1, f2 of class counts.

    >>> rarity([4, 2, 1, 1, 1, 1])
    Rarity(n=10, f1=4, f2=1)
    """
    seen = class_counts(counts)
    return Rarity(int(seen.sum()), int((seen == 1).sum()), int((seen == 2).sum()))


# ---- coverage ----


def good_turing_coverage(counts: npt.ArrayLike) -> Estimate:
    """Share of the output mass already seen, 1 - f1 / n. Smaller says that more is still hidden: more diverse.

    Range [0, 1]; no class seen once: 1; all distinct, or one generation: 0. Unbiased for the coverage after n - 1
    generations. The standard error, sqrt(f1 (1 - f1/n)) / n, is for comparing two arms; none where no class is seen
    once or nothing else; as a variance half the truth where most are seen once. `refined_coverage` has the interval of
    one arm. Good, Biometrika 40 (1953) 237. O(classes).

    (4, 2, 1, 1, 1, 1): 1 - 4/10, se sqrt(4 * 0.6) / 10.

    >>> [round(number, 6) for number in good_turing_coverage([4, 2, 1, 1, 1, 1])[:3]]
    [0.6, 0.154919, 10]
    """
    n, f1, _ = rarity(counts)
    if n == 0:
        return undefined(0, _TOO_FEW[0])
    return Estimate(1 - f1 / n, math.sqrt(f1 * (1 - f1 / n)) / n if 0 < f1 < n else None, n)


class Coverage(NamedTuple):
    """Coverage of one sample with its 95 % interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None
    warning: str | None = None


def refined_coverage(counts: npt.ArrayLike) -> Coverage:
    """Coverage after these n generations, 1 - (f1/n) A: "you have seen 78 % of what this prompt gives".

    A = (n-1) f1 / ((n-1) f1 + 2 f2); without a class seen twice (n-1)(f1-1) / ((n-1)(f1-1) + 2). Nearly unbiased for
    the true coverage of the sample. Smaller says that more is hidden: more diverse. Range [0, 1]; no class seen once:
    1; one generation: 0, with no interval. Interval: -+ 1.96 sqrt(f1 (1 - f1/n) + 2 f2) / n, cut to [0, 1]; it covers
    about 92 to 94 %, at n = 30 80 % where one class holds nine tenths. Where that variance is 0 the interval has one
    end that the data still bound, at 95 %: no class seen once or twice, a class never seen may have a rate up to 1 -
    0.05^(1/n); all distinct, no repeat in n draws of coverage C has a chance of about exp(-n C / 2), so C is below 2
    log(20) / n. Chao and Jost, Ecology 93 (2012) 2533; Esty, Ann. Stat. 11 (1983) 905. O(classes).

    (4, 2, 1, 1, 1, 1): A = 36/38, 1 - 0.4 * 36/38; half width 1.96 sqrt(2.4 + 2) / 10 = 0.411126.

    >>> [round(number, 6) for number in refined_coverage([4, 2, 1, 1, 1, 1])[:3]]
    [0.621053, 0.209927, 1.0]
    """
    n, f1, f2 = rarity(counts)
    if n < 2:
        return Coverage(0.0 if n else None, None, None, n, _TOO_FEW[0] if n == 0 else None, _TOO_FEW[1] if n else None)
    value = 1 - f1 / n * _discount(n, f1, f2)
    if f1 == n:
        return Coverage(value, 0.0, min(1.0, 2 * math.log(20) / n), n, warning=ALL_SINGLETONS)
    if f1 == f2 == 0:
        return Coverage(1.0, 0.05 ** (1 / n), 1.0, n)
    half = Z_95 * math.sqrt(f1 * (1 - f1 / n) + 2 * f2) / n
    return Coverage(value, max(0.0, value - half), min(1.0, value + half), n)


def _discount(n: int, f1: int, f2: int) -> float:
    """A: the factor by which each further generation shrinks the unseen mass; 0 where the data show none unseen."""
    if f2 == 0:
        return (n - 1) * (f1 - 1) / ((n - 1) * (f1 - 1) + 2) if f1 else 0.0
    return (n - 1) * f1 / ((n - 1) * f1 + 2 * f2)


class MoreGenerations(NamedTuple):
    """How many further generations a coverage takes: as solved for, and as a whole number to print with "about"."""

    exact: float | None
    generations: int | None
    n: int
    reason: str | None = None


def more_generations(counts: npt.ArrayLike, coverage: float) -> MoreGenerations:
    """The m at which coverage 1 - (f1/n) A^(m+1) reaches `coverage`; 0 where it is reached already.

    Within 0.01 of the truth on average from n = 30 up to m = 4n, with sd 0.03 to 0.10: an order of magnitude, not a
    promise. Larger is more diverse. Range [0, inf); nothing seen once: 0, "nothing new expected"; fewer than two
    generations: undefined. Chao and Jost, Ecology 93 (2012) 2533. O(classes).

    (4, 2, 1, 1, 1, 1) to 0.95: (36/38)^(m+1) = 0.05 / 0.4, so m = log 8 / log(38/36) - 1 = 37.46.

    >>> more_generations([4, 2, 1, 1, 1, 1], 0.95).generations
    38
    """
    if not 0 < coverage < 1:
        raise BadValue("coverage", coverage, "the coverage to reach lies between 0 and 1, both excluded")
    n, f1, f2 = rarity(counts)
    if n < 2:
        return MoreGenerations(None, None, n, _TOO_FEW[n])
    a = _discount(n, f1, f2)
    if a == 0:
        return MoreGenerations(0.0, 0, n, "nothing new expected")
    exact = max(0.0, math.log((1 - coverage) * n / f1) / math.log(a) - 1)
    return MoreGenerations(exact, math.ceil(exact), n)


def two_digits(n: float) -> int:
    """A number of further generations as it is to be printed, with "about": more digits would pretend to know.

    >>> two_digits(1234), two_digits(37.2)
    (1200, 38)
    """
    whole = math.ceil(n)
    return int(round(whole, -max(0, len(str(whole)) - 2)))


def coverage_after(counts: npt.ArrayLike, m: int) -> Estimate:
    """Coverage expected after m further generations, 1 - (f1/n) A^(m+1); m = 0 is `refined_coverage`.

    Range [0, 1]; smaller is more diverse. Bias as of `more_generations`. Chao and Jost, Ecology 93 (2012) 2533.
    O(classes).

    >>> round(coverage_after([4, 2, 1, 1, 1, 1], 38).value, 4)
    0.9514
    """
    if m < 0:
        raise BadValue("m", m, "it is 0 or more further generations")
    n, f1, f2 = rarity(counts)
    if n < 2:
        return undefined(n, _TOO_FEW[n])
    return Estimate(1 - f1 / n * _discount(n, f1, f2) ** (m + 1), None, n)


# ---- class entropy of the model ----


def chao_wang_jost_nats(counts: npt.ArrayLike) -> Estimate:
    """Class entropy of the model: the default estimate. Larger is more diverse.

    sum (n_c/n)(psi(n) - psi(n_c)) for the classes seen, plus `unseen_entropy_nats`. Range [0, inf); one class 0; all
    distinct: a number with the warning "all singletons"; fewer than two generations: undefined. Least biased of the
    three from n = 25 (true 3.04: mean 2.78 at n = 10, 3.01 at 25, 3.04 from 50). The jackknife's standard error is 1.2
    to 1.45 times too large, up to twice where kinds are equally frequent: conservative. Where no class was seen once
    that error knows nothing of rare ones: `unseen` is then what one generation in a class of its own would add, and
    intervals reach up as if 3.69 of them had been missed. Chao, Wang and Jost, Methods Ecol. Evol. 4 (2013) 1091. O(n).

    (5, 3, 2), nothing seen once: psi differences are sums of 1/r, r from n_c to 9: .5 * .745635 + .3 * 1.328968
    + .2 * 1.828968.

    >>> round(chao_wang_jost_nats([5, 3, 2]).value, 6)
    1.137302
    """
    estimate, seen = _entropy(_chao_wang_jost, counts), class_counts(counts)
    if estimate.value is None or (seen == 1).any():
        return estimate
    return estimate._replace(unseen=max(0.0, _chao_wang_jost(_less_certain(seen)) - estimate.value))


def _chao_wang_jost(seen: Int64) -> float:
    n, f1, f2 = rarity(seen)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n))])  # psi(k) + Euler's constant at k = index + 1
    return float(seen @ (harmonic[n - 1] - harmonic[seen - 1])) / n + unseen_entropy_nats(n, f1, f2)


def unseen_entropy_nats(n: int, f1: int, f2: int) -> float:
    """What the classes never seen add to the entropy: (f1/n) sum over j >= 1 of (1-a)^j / (n-1+j).

    a = 2 f2 / ((n-1) f1 + 2 f2); without a class seen twice 2 / ((n-1)(f1-1) + 2). The printed closed form,
    (1-a)^(-(n-1)) (-log a - sum over r < n of (1-a)^r / r), is the same number but multiplies rounding by
    (1-a)^(-(n-1)), to 10^11 times the answer at n = 200: it serves only while that factor is below e^5, and the series,
    which then needs at most 8n terms, elsewhere.

    n = 3, f1 = 2, f2 = 0: a = 2/4, (1/2)^-2 (log 2 - 1/2 - 1/8) * 2/3 = 0.181726.

    >>> round(unseen_entropy_nats(3, 2, 0), 6)
    0.181726
    """
    if f1 == 0:
        return 0.0
    a = 1 - _discount(n, f1, f2)
    if a >= 1:
        return 0.0
    decay = -math.log1p(-a)
    if (n - 1) * decay <= 5:
        r = np.arange(1, n)
        tail = math.exp((n - 1) * decay) * (-math.log(a) - float((np.exp(-decay * r) / r).sum()))
    else:
        j = np.arange(1, math.ceil(40 / decay) + 1)  # e^-40 of the first term is left
        tail = float((np.exp(-decay * j) / (n - 1 + j)).sum())
    return f1 / n * tail


def miller_madow_nats(counts: npt.ArrayLike) -> Estimate:
    """Plug-in class entropy + (S - 1) / 2n, the first-order correction for the classes that were seen.

    Larger is more diverse. Range [0, inf); one class 0; fewer than two generations: undefined. Too small a correction
    below n = 100. Standard error by the jackknife. Miller (1955), in Quastler (ed.), Information Theory in Psychology.
    O(classes).

    (5, 3, 2): 1.029653 + 2/20.

    >>> round(miller_madow_nats([5, 3, 2]).value, 6)
    1.129653
    """
    return _entropy(lambda seen: entropy_nats(seen / seen.sum()) + (len(seen) - 1) / (2 * float(seen.sum())), counts)


def chao_shen_nats(counts: npt.ArrayLike) -> Estimate:
    """Class entropy with each class weighed by its chance of being seen: -sum Cp log(Cp) / (1 - (1 - Cp)^n).

    p = n_c / n, C = 1 - f1/n, with f1 = n - 1 when all are distinct (and a warning). Larger is more diverse. Range
    [0, inf); one class 0; fewer than two generations: undefined. Smallest mean squared error at n = 25 to 100, yet low
    there (2.91 of 3.04 at 25). Standard error by the jackknife, as a variance 1 to 1.4 times too large, more where
    kinds are equally frequent. Chao and Shen, Environ. Ecol. Stat. 10 (2003) 429. O(classes).

    Two singletons: C = 1/2, Cp = 1/4 each, 1 - (3/4)^2 = 7/16: 2 * (1/4) log 4 * 16/7.

    >>> round(chao_shen_nats([1, 1]).value, 6)
    1.584336
    """
    return _entropy(_chao_shen, counts)


def _chao_shen(seen: Int64) -> float:
    n, f1, _ = rarity(seen)
    p = (1 - (f1 if f1 < n else n - 1) / n) * seen / n
    inclusion = -np.expm1(n * np.log1p(-p, where=p < 1, out=np.full(len(p), -np.inf)))
    return max(0.0, float(-(p * np.log(p) / inclusion).sum()))


def _entropy(statistic: CountStatistic, counts: npt.ArrayLike) -> Estimate:
    n = rarity(counts).n
    if n < 2:
        return undefined(n, _TOO_FEW[n])
    return jackknife_counts(statistic, counts)


# ---- number of classes ----


def chao1(counts: npt.ArrayLike) -> Estimate:
    """Number of classes of the model, from below: bias-corrected Chao1, S + ((n-1)/n) f1 (f1 - 1) / (2 (f2 + 1)).

    Defined without a class seen twice too, where the first form, S + f1^2 / (2 f2), is not. Larger is more diverse.
    Range [S, S + (n-1)^2 / 2]; nothing seen once: S; all distinct: n + (n-1)^2 / 2 with the warning "all singletons",
    which is to be shown instead. A lower bound only on average (above the truth in 3 % of draws at n = 10, 38 % at
    500), with a standard deviation of 9 to 14 classes up to n = 50: no standard error, no test. Chao, Species
    estimation and applications, in Encyclopedia of Statistical Sciences, 2nd ed. (2005), vol. 12; the bound and its
    first form: Chao, Scand. J. Stat. 11 (1984) 265. O(classes).

    (4, 2, 1, 1, 1, 1): 6 + 0.9 * 12 / 4 = 8.7.

    >>> round(chao1([4, 2, 1, 1, 1, 1]).value, 6)
    8.7
    """
    n, f1, f2 = rarity(counts)
    if n < 2:
        return undefined(n, _TOO_FEW[n])
    unseen = (n - 1) / n * f1 * (f1 - 1) / (2 * (f2 + 1))
    return Estimate(len(class_counts(counts)) + unseen, None, n, warning=ALL_SINGLETONS if f1 == n else None)


def seen_richness(counts: npt.ArrayLike) -> Estimate:
    """Classes that n generations show, S, with the standard error of that number among n new ones.

    Range [1, n]; larger is more diverse. It grows with n: an arm of another n does not compare (`rarefied_richness`).
    se^2 = S (1 - S / S_est), S_est by `chao1`, where some and not all classes are seen once. It holds for some dozens
    of classes seen a few times each; as a variance it is up to 26 times too large where most are seen once, and 2 to 10
    times too small where one class holds nearly all. Colwell et al., J. Plant Ecol. 5 (2012) 3, eq. 5. O(classes).

    (4, 2, 1, 1, 1, 1): S 6 of 8.7, se^2 = 6 (1 - 6/8.7) = 1.862069.

    >>> [round(number, 6) for number in seen_richness([4, 2, 1, 1, 1, 1])[:2]]
    [6.0, 1.364576]
    """
    n, f1, _ = rarity(counts)
    if n == 0:
        return undefined(0, _TOO_FEW[0])
    seen, total = float(len(class_counts(counts))), chao1(counts)
    if total.value is None or not 0 < f1 < n:
        return Estimate(seen, None, n, warning=total.warning)
    return Estimate(seen, math.sqrt(seen * (1 - seen / total.value)), n)


def rarefied_richness(counts: npt.ArrayLike, m: int) -> Estimate:
    """Classes expected among m of the n generations: E[S_m] = sum 1 - C(n - n_c, m) / C(n, m).

    Unbiased for the number of classes that m generations of the model show, so it compares arms of different n at one
    m. Range [1, min(m, S)]; m = 1: 1; m = n: S; m > n: undefined. Hurlbert, Ecology 52 (1971) 577. Standard error up
    to m = n / 2, unbiased as a variance (`_richness_variance`; the jackknife's is up to twice too large where most
    classes are seen once), beyond it none. Where no class is seen once, or all are, it is that of a sample with one
    more class, or one pair alike: such samples would show no spread at all. Of classes formed from these very
    generations it knows only what is left when they are given: see `clusters.kinds_among`. Larger is more diverse.
    O(sizes * n).

    (2, 1, 1), m = 2: of the 6 pairs one shows 1 class and five show 2, so 11/6. The 6 splits into two pairs: two have
    1 and 2 classes, four 2 and 2; variance (11/6)^2 - (2 * 2 + 4 * 4)/6 = 1/36.

    >>> [round(number, 6) for number in rarefied_richness([2, 1, 1], 2)[:2]]
    [1.833333, 0.166667]
    """
    if m < 1:
        raise BadValue("m", m, "it is at least one generation")
    n = rarity(counts).n
    if m > n:
        return undefined(n, f"{m} generations are more than the {n} there are" if n else _TOO_FEW[0])
    estimate = jackknife_counts(lambda seen: _richness(seen, m), counts)
    if 2 * m > n:
        return estimate._replace(se=None, freedom=None)
    seen = class_counts(counts)
    spread = _less_certain(seen)
    variance = _richness_variance(spread, m)
    # Of very few generations it may fall below 0, and of certain numbers it is rounding: the jackknife is too large.
    if variance <= 1e-12 * m * m:
        return estimate
    freedom = estimate.freedom if spread is seen else jackknife_counts(lambda some: _richness(some, m), spread).freedom
    return estimate._replace(se=math.sqrt(variance), freedom=freedom)


def _less_certain(seen: Int64) -> Int64:
    """The counts whose spread says how certain `seen` are: nothing seen once, or nothing else, would show none at all.

    As if one generation had been of a class of its own, or two of one class.
    """
    n = int(seen.sum())
    if n > 2 and seen.max() == 1:
        return np.array([2, *[1] * (n - 2)], np.int64)
    if n > 2 and seen.min() > 1:
        largest = np.arange(len(seen)) == np.argmax(seen)
        return np.append(seen - largest, 1)
    return seen


def _richness(seen: Int64, m: int) -> float:
    n = int(seen.sum())
    sizes, classes = np.unique(seen, return_counts=True)
    missed = [_share_without(n, int(size), m, of=n) for size in sizes]
    found = float(classes @ (1 - np.array(missed)))
    return min(max(found, 1.0), float(min(m, len(seen))))  # which rounding would leave


def _richness_variance(seen: Int64, m: int) -> float:
    """Variance of E[S_m] without bias, for m <= n / 2: the square of it less the mean of S(A) S(B) over disjoint A, B.

    A and B, each m of the n generations, are independent looks at the model, so S(A) S(B) is unbiased for the square of
    the mean. In terms of the classes missed that is (sum_k P(A misses k))^2 - sum_kl P(A misses k, B misses l). Wang
    and Lindsay, Stat. Sinica 24 (2014) 1117.
    """
    n = int(seen.sum())
    sizes, classes = np.unique(seen, return_counts=True)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])

    def log_choices(of: Int64 | int, k: Int64 | int) -> Float64:
        """log C(of, k); -inf where there is none."""
        of, k = np.broadcast_arrays(of, k)
        are_any = (k >= 0) & (k <= of)
        of, k = np.where(are_any, of, 0), np.where(are_any, k, 0)
        return np.where(are_any, log_factorial[of] - log_factorial[k] - log_factorial[of - k], -np.inf)

    missed = np.exp(log_choices(n - sizes, m) - log_choices(n, m))
    twice = 0.0  # sum_kl P(A misses k, B misses l), l one class of a size after the other
    for size, many in zip(sizes.tolist(), classes.tolist(), strict=True):
        in_a = np.arange(size + 1)  # members of l in A: any of them, and B takes none of the rest
        a_misses_k = log_choices(size, in_a) + log_choices((n - sizes - size)[:, None], m - in_a) - log_choices(n, m)
        b_misses_l = log_choices(n - m - size + in_a, m) - log_choices(n - m, m)
        twice += many * float(np.exp(a_misses_k + b_misses_l).sum(axis=1) @ (classes - (sizes == size)))
        twice += many * float(np.exp(log_choices(n - 2 * m, size) - log_choices(n, size)))  # k = l
    return float(missed @ classes) ** 2 - twice


def _share_without(n: int, size: int, m: int, *, of: int) -> float:
    """C(n - size, m) / C(of, m) for `of` n or n - 1: the product of 1 - m / (n - j) over the members j."""
    if n - size < m:
        return 0.0
    of_n = of == n  # else n - 1, which leaves out the first factor
    factors = np.log1p(-m / (n - np.arange(0 if of_n else 1, size)))
    return math.exp(float(factors.sum()))


def coverage_at(counts: npt.ArrayLike, m: int) -> Estimate:
    """Coverage expected after m < n generations: 1 - sum (n_c/n) C(n - n_c, m) / C(n-1, m).

    Unbiased; smaller is more diverse. Range [0, 1]; m = 0: 0; m = n - 1: `good_turing_coverage`; m >= n: undefined, see
    `coverage_after`. Chao and Jost, Ecology 93 (2012) 2533. No standard error. O(sizes).

    (2, 1), m = 1: 1 - (2/3) C(1,1)/C(2,1) - (1/3) C(2,1)/C(2,1) = 1/3.

    >>> round(coverage_at([2, 1], 1).value, 6)
    0.333333
    """
    if m < 0:
        raise BadValue("m", m, "it is 0 or more generations")
    seen = class_counts(counts)
    n = int(seen.sum())
    if m >= n:
        return undefined(n, f"{m} generations are not fewer than the {n} there are" if n else _TOO_FEW[0])
    return Estimate(_coverage(seen, m), None, n)


def _coverage(seen: Int64, m: int) -> float:
    n = int(seen.sum())
    sizes, classes = np.unique(seen, return_counts=True)
    missed = [_share_without(n, int(size), m, of=n - 1) for size in sizes]
    return max(0.0, 1 - float((sizes * classes / n) @ np.array(missed)))


class StandardisedRichness(NamedTuple):
    """Classes of two arms at one coverage, and after how many generations each reaches it; None where undefined."""

    coverage: float | None = None
    first: float | None = None
    second: float | None = None
    first_generations: float | None = None
    second_generations: float | None = None
    reason: str | None = None


def coverage_standardised_richness(first: npt.ArrayLike, second: npt.ArrayLike) -> StandardisedRichness:
    """Classes in equal shares of each model's output mass: E[S_m] at the m where coverage reaches C*.

    C* is the smaller of the two arms' `refined_coverage`, so one arm stays whole (m = n) and the other is thinned.
    Equal n favours the arm with fewer classes, which is nearly exhausted; equal coverage does not. Between two m both
    curves are straight. Range of the classes [1, n]; larger is more diverse. C* below 0.5: undefined, too little seen.
    No standard error. Chao and Jost, Ecology 93 (2012) 2533. O(sizes log n).

    The same counts twice: both arms stay whole.

    >>> coverage_standardised_richness([5, 3, 2], [5, 3, 2])[:4]
    (1.0, 3.0, 3.0, 10.0)
    """
    arms = [class_counts(first), class_counts(second)]
    reached = [refined_coverage(arm) for arm in arms]
    values = [found.value for found in reached if found.value is not None]
    if len(values) < 2:
        return StandardisedRichness(reason=_TOO_FEW[0])
    target = min(values)
    if target < 0.5:
        return StandardisedRichness(target, reason="less than half of an arm's output mass has been seen")
    (m1, s1), (m2, s2) = (_richness_at_coverage(arm, target, of_all) for arm, of_all in zip(arms, values, strict=True))
    return StandardisedRichness(target, s1, s2, m1, m2)


def _richness_at_coverage(seen: Int64, target: float, of_all: float) -> tuple[float, float]:
    """(m, E[S_m]) where coverage reaches `target`; `of_all`: the coverage at m = n, not below the target."""
    n = int(seen.sum())
    if of_all == target:
        return float(n), float(len(seen))
    if _coverage(seen, 1) >= target:
        return 1.0, 1.0  # a single generation covers that much already

    def covered(m: int) -> float:
        return of_all if m == n else _coverage(seen, m)

    below, above = 1, n  # covered(below) < target <= covered(above): halve until neighbours
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if covered(middle) < target else (below, middle)
    low, high = covered(below), covered(above)
    part = (target - low) / (high - low)
    fewer, more = _richness(seen, below), _richness(seen, above)
    return below + part, fewer + part * (more - fewer)
