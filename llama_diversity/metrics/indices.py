"""Numbers equivalents: diversity as "as many as so many equally frequent, wholly different kinds". Larger is more.

From class counts (Hill numbers, concentration, plug-in entropy), from vectors or their cosines (Vendi score), or from
both (Leinster-Cobbold). Natural logarithms. Plug-in values are too low for the model and grow with n: compare them at
equal n, or use the two that are unbiased at any n, `concentration` and `mean_squared_cosine`.

Jackknife standard errors are near the truth where kinds are unequally frequent, about twice too large in variance where
they are equally frequent. Of vectors `n` is the number of texts that have one; rows of zeros have none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import (
    Estimate,
    Float64,
    class_counts,
    jackknife,
    jackknife_counts,
    jackknifed,
    undefined,
)
from llama_diversity.metrics.similarity import NO_PAIR, rows_of_length_one

ROUNDING = 1e-12  # eigenvalues of K/n and mean squared cosines below it are none


# ---- class counts ----


def numbers_equivalent(shares: npt.ArrayLike, q: float) -> float:
    """Hill number of order q of shares that sum to 1: (sum p^q)^(1/(1-q)).

    q = 0: how many are above 0; 1: exp of the entropy; 2: one over sum p^2; inf: one over the largest. Range
    [1, kinds], falling in q, equal to the number of kinds at every q when all are equally frequent; nan for no shares.
    Counts, or anything else that does not sum to 1 within 1e-9 (float32: its rounding), are a ValueError. O(kinds).
    Hill, Ecology 54 (1973) 427.

    (1/2, 1/4, 1/4): 3; exp(1.5 log 2) = 2^1.5; 1 / (6/16); 1 / (1/2).

    >>> [round(numbers_equivalent([0.5, 0.25, 0.25], q), 6) for q in (0, 1, 2, math.inf)]
    [3.0, 2.828427, 2.666667, 2.0]
    """
    p = _shares(shares)
    return _of_order(q, p, ordinariness=p) if len(p) else math.nan


def _shares(shares: npt.ArrayLike) -> Float64:
    """Those above 0, of shares that are shares, scaled to sum to 1 in float64; none of none."""
    given = np.asarray(shares)
    p = given.astype(np.float64)
    rounding = max(1e-9, _epsilon(given) * len(p)) if p.ndim == 1 else 0.0
    if p.ndim != 1 or not (p >= 0).all() or (len(p) and not abs(float(p.sum()) - 1) <= rounding):
        raise ValueError("shares are finite, not negative, and sum to 1")
    there = p[p > 0]
    scaled: Float64 = there / there.sum()
    return scaled


def _epsilon(given: npt.NDArray[Any]) -> float:
    """Relative rounding of the type in which numbers were given."""
    return float(np.finfo(given.dtype).eps) if given.dtype.kind == "f" else float(np.finfo(np.float64).eps)


LARGEST_ORDER = 1e18  # from here on a mean of order q is its largest term to the last digit


def _of_order(q: float, shares: Float64, *, ordinariness: Float64) -> float:
    """(sum p o^(q-1))^(1/(1-q)): one over a mean of how ordinary each kind is; the shares sum to 1.

    Near q = 1 the sum is 1 but for a part that (1 - q) divides, so that part is summed by itself: sum p (o^(q-1) - 1).
    """
    if not q >= 0:
        raise BadValue("q", q, "an order of diversity is 0 or larger, inf included")
    logs = np.log(ordinariness)
    if q > LARGEST_ORDER:
        return math.exp(-float(logs.max()))
    if q == 1:
        return math.exp(-float(shares @ logs))
    powers = (q - 1) * logs
    if float(np.abs(powers).max()) <= 1:
        return math.exp(math.log1p(float(shares @ np.expm1(powers))) / (1 - q))
    largest = float(powers.max())  # taken out, so that large orders do not underflow
    return math.exp((largest + math.log(float(shares @ np.exp(powers - largest)))) / (1 - q))


def hill(counts: npt.ArrayLike, q: float) -> Estimate:
    """Hill number of class counts, plug-in: `numbers_equivalent` at p = n_c / n. Larger is more diverse.

    Range [1, classes seen]; one class 1; n texts in n classes n at every q. Below the truth at every q, most at 0, so
    it grows with n. Standard error by the jackknife for 1 <= q < inf: .93 to 1.3 times the variance, 1.7 to 2.5 times
    where classes are equally frequent, so conservative there; none of all singletons, nor at other q, since it does not
    hold for the number of classes. O(classes sqrt n). Hill, Ecology 54 (1973) 427.

    (5, 3, 2): 1 / (.25 + .09 + .04) = 1 / .38.

    >>> round(hill([5, 3, 2], 2).value, 6), hill([], 2).reason
    (2.631579, 'no generations')
    """
    estimate = jackknife_counts(lambda seen: numbers_equivalent(seen / seen.sum(), q), counts)
    return estimate if 1 <= q < math.inf else estimate._replace(se=None)


def entropy_nats(shares: npt.ArrayLike) -> float:
    """Shannon entropy of shares, -sum p log p with 0 log 0 = 0. Larger is more diverse.

    Range [0, log kinds]: one kind 0, equally frequent kinds log kinds; nan for no shares. Exact for the shares given,
    so no bias of its own. Counts, or anything else that does not sum to 1, are a ValueError. O(kinds).
    Shannon, Bell Syst. Tech. J. 27 (1948) 379.

    >>> round(entropy_nats([0.5, 0.5, 0.0]), 6)
    0.693147
    """
    p = _shares(shares)
    return max(0.0, -float(p @ np.log(p))) if len(p) else math.nan


def plug_in_entropy_nats(counts: npt.ArrayLike) -> Estimate:
    """Class entropy of the sample: -sum p log p at p = n_c / n. Larger is more diverse.

    Range [0, log classes seen]; one class 0. Below the model's entropy by about (classes - 1) / 2n, and by more where
    classes are unseen: `coverage.chao_wang_jost_nats` estimates that one. Standard error by the jackknife: about twice
    too large in variance where classes are equally frequent, so conservative; none of all singletons.
    O(classes sqrt n). Miller, in Quastler (ed.), Information Theory in Psychology (1955) 95.

    (5, 3, 2): .5 * .693147 + .3 * 1.203973 + .2 * 1.609438.

    >>> round(plug_in_entropy_nats([5, 3, 2]).value, 6)
    1.029653
    """
    return jackknife_counts(lambda seen: entropy_nats(seen / seen.sum()), counts)


def concentration(counts: npt.ArrayLike) -> Estimate:
    """Probability that two generations fall into one class: sum n_c (n_c - 1) / (n (n - 1)). Smaller is more diverse.

    Unbiased for sum p^2 at any n. Range [0, 1]: all distinct 0, one class 1; one generation: undefined. Standard error
    by the jackknife: .93 to 1.3 times the variance, 1.7 to 2.5 times where classes are equally frequent, so
    conservative there; none of all singletons. O(classes sqrt n). Simpson, Nature 163 (1949) 688.

    (5, 3, 2): (20 + 6 + 2) / 90.

    >>> round(concentration([5, 3, 2]).value, 6)
    0.311111
    """
    n = int(class_counts(counts).sum())
    return undefined(n, "one generation makes no pair") if n == 1 else jackknife_counts(_concentration, counts)


def _concentration(seen: npt.NDArray[np.int64]) -> float:
    counts = seen.astype(np.float64)  # squares of whole numbers overflow
    n = float(counts.sum())
    return float(counts @ (counts - 1)) / (n * (n - 1)) if n > 1 else math.nan


def inverse_simpson(counts: npt.ArrayLike) -> Estimate:
    """One over `concentration`: a number of classes, for show. Larger is more diverse.

    Range [1, inf); all distinct: undefined. The inverse of an unbiased estimate is biased upwards (for 40 classes with
    p ~ 1/i 17.7 instead of 11.3 at n = 10, 12.3 at n = 50): compare concentrations, and not below n = 25. Standard
    error by the jackknife, conservative where classes are equally frequent and of no use where few texts share one
    (at n = 30 of 400 equal classes 69 times the variance). O(classes sqrt n). Simpson, Nature 163 (1949) 688.

    (5, 3, 2): 90 / 28.

    >>> round(inverse_simpson([5, 3, 2]).value, 6), inverse_simpson([1, 1, 1]).reason
    (3.214286, 'all distinct')
    """
    found = concentration(counts)
    if not found.value:
        return undefined(found.n, found.reason or "all distinct")
    return jackknife_counts(lambda seen: 1 / pair if (pair := _concentration(seen)) else math.nan, counts)


# ---- vectors: rows are texts ----


def vendi(rows: npt.ArrayLike, q: float = 1, *, with_se: bool = False) -> Estimate:
    """Vendi score of vectors, shape (n, d): `numbers_equivalent` of the eigenvalues of K / n, K_ij = cosine.

    Range [1, n]: all the same direction 1, orthogonal n; blocks of identical texts give the Hill number of their
    counts. Grows with n, at q = 1 without end in practice: equal n only, and show it over n. Rows of zeros have no
    direction and are left out, n says how many stay; fewer than two: undefined. `with_se`: by the jackknife, for finite
    q >= 1; about .8 of the variance with a few unequally frequent kinds (n = 60: intervals hold in 85 to 92 % instead
    of 95), so not conservative. O(n^2 d + n^3), or O(n d^2 + d^3) where d < n; `with_se` n further decompositions, a
    second for 200 texts, minutes for 1,000.
    Friedman and Dieng, Trans. Mach. Learn. Res. (2023); all orders: Pasarkar and Dieng (arXiv:2310.12952).

    Two identical and two orthogonal texts: eigenvalues 2/4, 1/4, 1/4, so 2^1.5.

    >>> round(vendi(np.eye(3)[[0, 0, 1, 2]]).value, 6)
    2.828427
    """
    units = directions(rows)
    n = len(units)
    if n < 2:
        return undefined(n, NO_PAIR)
    if with_se and 1 <= q < math.inf:
        return jackknife(lambda some: numbers_equivalent(spectrum(some), q), units)
    return Estimate(numbers_equivalent(spectrum(units), q), None, n)


def vendi_of_kernel(kernel: npt.ArrayLike, q: float = 1) -> Estimate:
    """Vendi score of a similarity matrix, shape (n, n), symmetric, unit diagonal, no negative eigenvalue.

    Larger is more diverse; range, growth with n and reference as of `vendi`. Eigenvalues of K / n within the rounding
    of the type in which the kernel is given (float64 1e-12, float32 5e-7) are 0, at q = 0 too, where the number of them
    above 0 is counted. No standard error. O(n^3): 1,000 texts a fraction of a second, 10,000 minutes.

    Four texts, all pairs 1/2: eigenvalues (1 + 3/2)/4 and three times (1/2)/4; q = 2: 1 / (25/64 + 3/64) = 16/7.

    >>> round(vendi_of_kernel(np.full((4, 4), 0.5) + np.eye(4) / 2, 2).value, 6)
    2.285714
    """
    k = _kernel(kernel)
    n = len(k)
    if n < 2:
        return undefined(n, NO_PAIR)
    rounding = 4 * _epsilon(np.asarray(kernel))  # of K: times n; of K / n: this
    shares = np.linalg.eigvalsh(k / n)
    if shares[0] < -max(1e-9, rounding):
        raise ValueError("a kernel has no negative eigenvalue")
    return Estimate(numbers_equivalent(_kept(shares, max(ROUNDING, rounding)), q), None, n)


def spectrum(units: Float64) -> Float64:
    """Eigenvalues of K / n above rounding, for rows of length 1: of X X^T / n or X^T X / n, whichever is smaller.

    They sum to 1 and serve every order: decompose once for a whole profile over q.

    >>> spectrum(np.eye(3)[[0, 0, 1, 2]]).round(6).tolist()
    [0.25, 0.25, 0.5]
    """
    n, d = units.shape
    return _kept(np.linalg.eigvalsh((units.T @ units if d < n else units @ units.T) / n))


def _kept(eigenvalues: npt.NDArray[np.floating[Any]], rounding: float = ROUNDING) -> Float64:
    kept = np.asarray(eigenvalues, np.float64)[eigenvalues > rounding]
    shares: Float64 = kept / kept.sum()
    return shares


def directions(rows: Any) -> Float64:
    """Rows scaled to length 1 in float64, dense; rows of zeros are left out, nan and infinity refused. O(n d).

    >>> directions([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8]]
    """
    units = rows_of_length_one(rows)
    dense: Float64 = units.toarray() if hasattr(units, "toarray") else units
    return dense[dense.any(axis=1)]


def mean_squared_cosine(rows: npt.ArrayLike) -> Estimate:
    """U = mean of cos^2 over pairs of different texts = (n / VS_2 - 1) / (n - 1). Smaller is more diverse.

    Unbiased at any n, unlike VS_2 itself. Range [0, 1]: orthogonal 0, identical 1; fewer than two texts with a vector:
    undefined. Jackknife standard error from row sums, leaving out i leaves (T - 2 r_i) / ((n-1)(n-2)): .92 to 1.2 times
    the variance, about twice where kinds are equally frequent, so conservative there. (The unbiased variance that
    `mean_pairwise_distance` has gives false alarms in 7.5 % of log ratios here at n = 30.) O(n d min(n, d)), the pairs
    are not stored where d < n. Friedman and Dieng, Trans. Mach. Learn. Res. (2023), for VS_2's order 1.

    Two identical and two orthogonal texts: one of six pairs is 1.

    >>> round(mean_squared_cosine(np.eye(3)[[0, 0, 1, 2]]).value, 6)
    0.166667
    """
    return _pair_mean(_squared_row_sums(directions(rows)))


def mean_squared_cosine_of_kernel(kernel: npt.ArrayLike) -> Estimate:
    """`mean_squared_cosine` of a matrix of cosines, shape (n, n), unit diagonal: range, bias, error as there. O(n^2).

    Smaller is more diverse. One pair with a cosine of 1/2:

    >>> mean_squared_cosine_of_kernel([[1.0, 0.5], [0.5, 1.0]]).value
    0.25
    """
    return _pair_mean(np.square(_kernel(kernel)).sum(axis=1) - 1)


def corrected_vendi(rows: npt.ArrayLike) -> Estimate:
    """VS_2u = 1 / U, the Vendi score of order 2 that does not grow with n: how many orthogonal, equally frequent kinds.

    Larger is more diverse. Range [1, inf): identical 1; all orthogonal: undefined, "all distinct". U is unbiased, its
    inverse is not: below n = 25 it is too high, by 1.2 to 1.6 times at n = 10; from n = 25 by a few per cent and flat.
    Standard error by the jackknife: .92 to 1.2 times the variance, about twice where kinds are equally frequent, so
    conservative there. Cost and reference as `mean_squared_cosine`.

    >>> round(corrected_vendi(np.eye(3)[[0, 0, 1, 2]]).value, 6)
    6.0
    """
    return _inverse_pair_mean(_squared_row_sums(directions(rows)))


def corrected_vendi_of_kernel(kernel: npt.ArrayLike) -> Estimate:
    """`corrected_vendi` of a matrix of cosines, shape (n, n), unit diagonal: range, bias, error as there. O(n^2).

    Larger is more diverse. All pairs 1/2: 1 / (1/2)^2.

    >>> corrected_vendi_of_kernel(np.full((4, 4), 0.5) + np.eye(4) / 2).value
    4.0
    """
    return _inverse_pair_mean(np.square(_kernel(kernel)).sum(axis=1) - 1)


def _kernel(kernel: npt.ArrayLike) -> Float64:
    given = np.asarray(kernel)
    k = given.astype(np.float64)
    if k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise ValueError("a kernel is square and symmetric with ones on its diagonal")
    if not np.isfinite(k).all():
        raise ValueError("a kernel holds a number that is not finite")
    rounding = max(1e-8, 4 * _epsilon(given))
    if not np.allclose(np.diag(k), 1, atol=rounding) or not np.allclose(k, k.T, atol=rounding):
        raise ValueError("a kernel is square and symmetric with ones on its diagonal")
    return k


def _squared_row_sums(units: Float64) -> Float64:
    """Of each text the sum of cos^2 to the others; sum_j (x_i x_j)^2 = x_i (X^T X) x_i."""
    n, d = units.shape
    sums = (units @ (units.T @ units) * units).sum(axis=1) if d < n else np.square(units @ units.T).sum(axis=1)
    others: Float64 = np.maximum(sums - 1, 0)
    return others


def _pair_mean(row_sums: Float64) -> Estimate:
    n = len(row_sums)
    if n < 2:
        return undefined(n, NO_PAIR)
    left_out = _left_out_pair_means(row_sums)
    value = float(row_sums.sum()) / (n * (n - 1))
    return jackknifed(min(value, 1.0), left_out, n)


def _inverse_pair_mean(row_sums: Float64) -> Estimate:
    found = _pair_mean(row_sums)
    if found.value is None:
        return found
    if found.value < ROUNDING:
        return undefined(found.n, "all distinct")
    left_out = _left_out_pair_means(row_sums)
    defined = left_out > ROUNDING
    inverse = np.divide(1, left_out, where=defined, out=np.full(found.n, np.nan))
    return jackknifed(1 / found.value, inverse, found.n)


def _left_out_pair_means(row_sums: Float64) -> Float64:
    n = len(row_sums)
    if n < 3:
        return np.full(n, np.nan)
    means: Float64 = (row_sums.sum() - 2 * row_sums) / ((n - 1) * (n - 2))
    return means


# ---- classes that resemble one another ----


class Clipped(NamedTuple):
    """Similarities in [0, 1], and the share of the pairs that were below 0 and became 0."""

    similarity: Float64
    clipped_share: float


def clip_similarity(cosines: npt.ArrayLike) -> Clipped:
    """max(cosine, 0) of a matrix, shape (n, n), as `leinster_cobbold` needs it, ones on the diagonal.

    The share in [0, 1] of the pairs i != j that were below 0 (0 where there is no pair) says how much was changed:
    texts that point apart then count as no more different than unrelated ones, so diversity comes out too low. O(n^2).
    Leinster and Cobbold, Ecology 93 (2012) 477, for why similarities are not negative.

    >>> clip_similarity([[1.0, -0.2], [-0.2, 1.0]]).clipped_share
    1.0
    """
    z = np.asarray(cosines, np.float64)
    if z.ndim != 2 or z.shape[0] != z.shape[1] or not np.isfinite(z).all():
        raise ValueError("cosines are a square matrix of finite numbers")
    others = ~np.eye(len(z), dtype=bool)
    similarity = np.clip(z, 0, 1)
    similarity[~others] = 1
    return Clipped(similarity, float((z[others] < 0).mean()) if others.any() else 0.0)


def leinster_cobbold(weights: npt.ArrayLike, similarity: npt.ArrayLike, q: float) -> Estimate:
    """Diversity of similar classes: (sum p_i (Zp)_i^(q-1))^(1/(1-q)); q = 1: exp(-sum p log Zp); inf: 1 / max Zp.

    Larger is more diverse.
    `weights`: counts or shares of the classes, or ones for single texts; `similarity`: Z in [0, 1], ones on the
    diagonal. Range [1, classes]: Z = identity is the Hill number, Z all ones gives 1. Plug-in, so it grows with n; with
    single texts and q = 2 it is n / (1 + (n-1) mean cosine). n is the sum of whole weights, else the number of classes.
    No standard error. O(classes^2). Leinster and Cobbold, Ecology 93 (2012) 477.

    Three equal classes, half alike: Zp = 2/3 each, so 3/2 at every q.

    >>> round(leinster_cobbold([1, 1, 1], np.full((3, 3), 0.5) + np.eye(3) / 2, 1).value, 6)
    1.5
    """
    w, z = np.asarray(weights, np.float64), np.asarray(similarity, np.float64)
    if w.ndim != 1 or z.size != len(w) ** 2 or not np.isfinite(w).all() or (w < 0).any():
        raise ValueError("one weight, finite and not negative, for each row and column of the similarity")
    z = z.reshape(len(w), len(w))
    if not (z >= 0).all() or not (z <= 1).all() or not np.allclose(np.diag(z), 1):
        raise ValueError("similarities lie in [0, 1], and each class is wholly like itself")
    n = int(w.sum()) if (w == np.round(w)).all() else len(w)
    if not w.sum() > 0:
        return undefined(0, "no generations")
    p = w / w.sum()
    there = p > 0
    return Estimate(_of_order(q, p[there], ordinariness=(z @ p)[there]), None, n)


# ---- novel and useful ----


def novelty_utility(
    utilities: npt.ArrayLike, classes: Sequence[Hashable] | None = None, *, patience: float = 0.8
) -> Estimate:
    """Mean utility to a reader who asks for one generation after another: (1-p) / (1-p^n) sum over i of p^i u_i.

    Larger is more useful and, as repeats are worth nothing, more diverse. `utilities`: one for each generation, in the
    order in which they came; with `classes`, the kind of each, those of a class seen before count 0. `patience`: p in
    (0, 1], the chance that the reader goes on to the next; 1 is the plain mean. Range [0, largest utility]. Falls with
    n where later generations repeat, and depends on the order, so equal n and the order of generation; no standard
    error. No generations: undefined. O(n). Zhang et al., NoveltyBench (2025), arXiv:2504.05228.

    Ten generations, of which the first is worth 5, the fourth, new, 4: .2 / (1 - .8^10) * (5 + .8^3 * 4).

    >>> round(novelty_utility([5, 0, 0, 4, 0, 0, 0, 0, 0, 0]).value, 6)
    1.579161
    >>> round(novelty_utility([5, 5, 5, 4, 4, 5, 5, 4, 5, 5], list("aaabbaabaa")).value, 6)
    1.579161
    """
    if not 0 < patience <= 1:
        raise BadValue("patience", patience, "above 0, at most 1")
    worth = np.array(utilities, np.float64)
    n = len(worth)
    if worth.ndim != 1 or not np.isfinite(worth).all() or (worth < 0).any():
        raise ValueError("utilities are one row of finite numbers, none of them negative")
    if classes is not None:
        if len(classes) != n:
            raise ValueError("one class for each generation")
        first = dict(zip(reversed(classes), range(n - 1, -1, -1), strict=True))
        worth[[i for i, name in enumerate(classes) if first[name] != i]] = 0
    if n == 0:
        return undefined(0, "no generations")
    weights = patience ** np.arange(n)
    return Estimate(float(weights @ worth / weights.sum()), None, n)
