"""How alike texts are: cosines between them, over words (TF-IDF) or over any vectors.

Rows are texts, dense or sparse, of any number type; they are brought to length 1 in float64. Rows of zeros, texts
without a vector, have no direction and are left out: `n` of every result is the number of texts that were used, and how
many were left out is for the caller to count. A number that is not finite is a ValueError. No n x n matrix is made:
sums come from the summed rows, nearest neighbours and Euclidean distances block by block.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import (
    Z_95,
    Estimate,
    Float64,
    Proportion,
    Summary,
    jackknife_se,
    score_interval,
    undefined,
    variance_freedom,
)
from llama_diversity.text import words

# ---- rows ----


def rows_of_length_one(vectors: Any) -> Any:
    """Rows of `vectors`, shape (n, d), scaled to length 1, in float64; sparse ones stay sparse, as CSR.

    Rows of zeros stay zeros. Numbers may be as small or large as float64 has them. ValueError for what is no matrix and
    for nan and infinity. O(n d).

    >>> rows_of_length_one([[3e200, 4e200], [0, 0]]).round(12).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    if hasattr(vectors, "tocsr"):
        return _sparse_rows_of_length_one(vectors)
    rows = np.array(vectors, np.float64)  # a copy, which is scaled in place
    if rows.ndim != 2:
        raise ValueError("vectors are the rows of a matrix")
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    odd = ~((squares > _SAFE) & (squares < 1 / _SAFE))  # too small, too large, zero, not finite
    if odd.any() and rows.size:
        rows[odd] = _by_largest(rows[odd])
        squares[odd] = np.square(rows[odd]).sum(axis=1)
    np.divide(rows, np.sqrt(squares)[:, None], out=rows, where=squares[:, None] > 0)
    return rows


_SAFE = 1e-200  # squared lengths from it to its inverse lose nothing


def _by_largest(rows: Float64) -> Float64:
    _check_finite(rows)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled: Float64 = rows / np.where(largest > 0, largest, 1)
    return scaled


def _sparse_rows_of_length_one(vectors: Any) -> Any:
    rows = vectors.tocsr().astype(np.float64)  # a copy
    rows.sum_duplicates()
    rows.eliminate_zeros()
    _check_finite(rows.data)
    of_row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    largest = np.zeros(rows.shape[0])
    np.maximum.at(largest, of_row, np.abs(rows.data))
    rows.data /= largest[of_row]
    rows.data /= np.sqrt(np.bincount(of_row, rows.data**2, rows.shape[0]))[of_row]
    return rows


def _check_finite(numbers: npt.NDArray[Any]) -> None:
    if not np.isfinite(numbers).all():
        raise ValueError("a vector holds a number that is not finite")


def _directions(vectors: Any) -> Any:
    """`rows_of_length_one` of the texts that have a vector."""
    rows = rows_of_length_one(vectors)
    there = np.diff(rows.tocsr().indptr) > 0 if hasattr(rows, "tocsr") else rows.any(axis=1)
    return rows if there.all() else rows[there]


# ---- cosines ----


class Similarity(NamedTuple):
    """Mean cosine of all pairs of different texts, and of each text its mean cosine to the others.

    `summary` has the mean over pairs, the standard deviation of the texts' own means (the paper's column "sd"), the
    standard error of the mean, and the number of texts with a vector. Both nan where there are fewer than two.
    `of_each` has one number for each text with a vector, in their order.
    """

    summary: Summary
    of_each: npt.NDArray[np.float64]


def tf_idf(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Sparse rows of length 1, one for each text, with IDF fitted on all groups together.

    Weight of a word in a text: its count times ln((1 + n) / (1 + texts with the word)) + 1, n texts in all (smooth IDF,
    as scikit-learn); weights in [0, 1] after scaling, so cosines of rows lie in [0, 1]. Fitted on one group alone, a
    word that all its texts share counts little, which flatters the group whose texts are most alike: only the pooled
    figure compares. A text without words has a row of zeros. IDF grows with n, so compare groups of one call only.
    O(words). Salton and Buckley, Inf. Process. Manage. 24 (1988) 513.

    "aa" is in both texts, weight ln(3/3) + 1 = 1; "bb" in one, ln(3/2) + 1 = 1.405465; divided by the length 1.724915.

    >>> tf_idf({"a": ["aa bb"], "b": ["aa"]})["a"].toarray().round(6).tolist()
    [[0.579739, 0.814802]]
    """
    counted = [Counter(words(text)) for group in groups.values() for text in group]
    if not any(counted):
        return {name: np.zeros((len(group), 1)) for name, group in groups.items()}
    rows = _weighted(counted)
    ends = np.cumsum([len(group) for group in groups.values()])
    return {name: rows[end - len(group) : end] for (name, group), end in zip(groups.items(), ends, strict=True)}


def _weighted(counted: Sequence[Counter[str]]) -> Any:
    """The rows of `tf_idf` from the words of each text, at least one in all; columns in alphabetical order.

    The arithmetic of scikit-learn, in its order (words of a text as they first came up in any), and so its numbers;
    importing it takes longer than a thousand texts do.
    """
    from scipy.sparse import csr_array  # heavy, and needed only here

    seen = {word: at for at, word in enumerate(dict.fromkeys(chain.from_iterable(counted)))}
    of_texts = [sorted((seen[word], n) for word, n in one.items()) for one in counted]
    column = np.empty(len(seen), np.int32)
    column[[seen[word] for word in sorted(seen)]] = np.arange(len(seen))
    pairs = np.array([pair for of_text in of_texts for pair in of_text], np.int64)
    columns, weights = column[pairs[:, 0]], pairs[:, 1].astype(np.float64)
    n_distinct = np.array([len(of_text) for of_text in of_texts])
    weights *= (np.log((1 + len(counted)) / (1.0 + np.bincount(columns))) + 1)[columns]
    of_row = np.repeat(np.arange(len(counted)), n_distinct)
    weights /= np.sqrt(np.bincount(of_row, weights * weights, len(counted)))[of_row]
    ends = np.cumsum(n_distinct, dtype=np.int32)
    return csr_array((weights, columns, np.append(np.int32(0), ends)), (len(counted), len(seen)))


def tf_idf_of_each_group(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """`tf_idf` with IDF fitted on each group alone: for a reproduction only, groups do not compare.

    Range and cost as there. The standard error of a mean distance over such rows takes the IDF as given, though it
    comes from the same texts: too large (about 1.6 times in variance where topics differ), so conservative.

    >>> rows = tf_idf_of_each_group({"a": ["aa bb", "aa cc"], "b": ["xx yy", "zz ww"]})
    >>> round(mean_cosine(rows["a"]).summary.mean, 6)
    0.336097
    """
    return {name: tf_idf({name: texts})[name] for name, texts in groups.items()}


_ALL_ALIKE = 1e-6  # cosines above 1 - this: one text, up to the rounding of float32 encoders
_ALL_APART = 1e-12  # sums of cosines below it are rounding of none
_GRAM_OF_SPARSE = 2000  # sparse rows, up to which the sum of squared cosines is worth its n^2


def mean_cosine(vectors: Any) -> Similarity:
    """Mean cosine over all pairs i != j of rows of `vectors`, shape (n, d), dense or sparse. Smaller is more diverse.

    Range [-1/(n-1), 1]: 1 all texts point the same way, 0 no two share a word. Unbiased in n: pairs of a text with
    itself do not count. Standard error as of `mean_pairwise_distance`, IDF held fixed. Rows of zeros are left out, n
    says how many stay; fewer than two: nan. The n x n matrix is never made: the sum over all pairs is the squared
    length of the summed rows. O(n d) for the mean, O(n d min(n, d)) for its standard error.

    Three texts, two of them equal and one apart: pairs 1, 0, 0, so the mean is 1/3 and each text's own 1/2, 1/2, 0.

    >>> found = mean_cosine([[1, 0], [2, 0], [0, 1]])
    >>> round(found.summary.mean, 6), found.of_each.tolist()
    (0.333333, [0.5, 0.5, 0.0])
    """
    units = _directions(vectors)
    n = units.shape[0]
    if n < 2:
        return Similarity(Summary(math.nan, math.nan, math.nan, n), np.full(n, math.nan))
    total = np.asarray(units.sum(axis=0)).ravel()
    row_sums = np.asarray(units @ total).ravel() - 1  # without the pair of a text with itself
    row_sums[np.abs(row_sums) < _ALL_APART] = 0
    of_each = np.clip(row_sums / (n - 1), -1, 1)
    if of_each.min() > 1 - _ALL_ALIKE:  # what is left is rounding, and must not be taken for a difference
        return Similarity(Summary(1.0, 0.0, 0.0 if n > 2 else math.nan, n), np.ones(n))
    mean = float(np.clip(row_sums.sum() / (n * (n - 1)), -1, 1))
    variance = _variance_of_pair_mean(row_sums, _summed_squared_cosines(units))
    se = math.nan if variance is None else math.sqrt(variance)
    return Similarity(Summary(mean, float(of_each.std(ddof=1)), se, n), of_each)


def _summed_squared_cosines(units: Any) -> float | None:
    """Of all n^2 pairs, those of a text with itself too: the squared norm of X X^T, and of X^T X. None: too many."""
    n, d = units.shape
    if hasattr(units, "tocsr"):
        return float((units @ units.T).power(2).sum()) if n <= _GRAM_OF_SPARSE else None
    gram = units.T @ units if d < n else units @ units.T
    return float(np.vdot(gram, gram))


def _variance_of_pair_mean(row_sums: Float64, all_squares: float | None) -> float | None:
    """Variance of the mean over pairs i != j of a symmetric c_ij. None for two texts.

    `row_sums`: of each i the sum of c_ij over the others; `all_squares`: the sum of c_ij^2, with the ones of c_ii.
    With R = sum_i (r_i - mean r)^2 and T = sum_{i != j} (c_ij - mean c)^2, (4 R - 2 T) / (n (n-1) (n-2) (n-3)) is
    unbiased: the square of the mean less what pairs without a common text say of it. Its noise takes it below what it
    would be if texts did not differ in how typical they are, 2 T / (n (n-1))^2: it is at least that. Three texts, or no
    sum of squares: the jackknife.
    """
    n = len(row_sums)
    if n < 3:
        return None
    if n == 3 or all_squares is None:
        se = jackknife_se((row_sums.sum() - 2 * row_sums) / ((n - 1) * (n - 2)))
        return None if se is None else se**2
    pairs = n * (n - 1)
    of_rows = float(np.square(row_sums - row_sums.mean()).sum())
    of_pairs = max(0.0, all_squares - n - float(row_sums.sum()) ** 2 / pairs)
    return max((4 * of_rows - 2 * of_pairs) / (pairs * (n - 2) * (n - 3)), 2 * of_pairs / pairs**2)


# ---- pairs that are alike ----


def alike_pairs(vectors: Any, cut: float) -> Proportion:
    """Share of the pairs of different texts whose cosine is `cut` or more, k of n pairs. Smaller is more diverse.

    Range [0, 1]: no two alike 0, all of them 1. Unbiased at any n: how likely two texts are to be alike.

    The interval is Wilson's for the share x of n texts that one kind would have to hold, all others being unlike each
    other, to give as many pairs, x (x - 1) = 2 k; its ends are squared. Of all ways to divide texts into kinds that one
    varies most: the variance of a mean over pairs is 4 / n (sum p^3 - (sum p^2)^2) at first, and sum p^3 is at most
    (sum p^2)^(3/2). Where the pairs' own variance (Hoeffding, Ann. Math. Stat. 19 (1948) 293) is another, n is as many
    fewer, or from x = 8 on more, three times at most. In simulation it covers 93 to 100 % from n = 30 on, 90 to 100 at
    10: one kind among others, equal and unequal kinds, clouds of vectors. It fails where a few texts are like all
    others, which are unlike each other: with 2 % such ones 44 % at n = 30, 83 at 100, 94 at 200. Rows of zeros are left
    out; fewer than two texts: undefined. O(n^2 d), in blocks.

    Four texts, two of them equal: 1 of 6 pairs. x = 2 of 4: Wilson's 0.15 to 0.85, squared.

    >>> [round(number, 4) for number in alike_pairs(np.eye(3)[[0, 0, 1, 2]], 0.7)[:3]]
    [0.1667, 0.0225, 0.7224]
    """
    if not -1 <= cut <= 1:
        raise BadValue("cut", cut, "a cosine lies between -1 and 1")
    units = _directions(vectors)
    n = units.shape[0]
    if n < 2:
        return Proportion(None, None, None, 0, 0, NO_PAIR)
    row_sums = np.concatenate([(block >= cut - _APART).sum(axis=1) for _, block in _blocks(units, units)]) - 1.0
    k, pairs = int(row_sums.sum()) // 2, n * (n - 1) // 2
    kind = (1 + math.sqrt(1 + 8 * k)) / 2  # of which all pairs are alike
    low, high = score_interval(kind / n, n * min(_as_of_one_kind(row_sums), 1.0 if kind < _FEW else _MOST), Z_95)
    return Proportion(k / pairs, max(0.0, low) ** 2 if k else 0.0, min(1.0, high) ** 2 if k < pairs else 1.0, k, pairs)


_FEW, _MOST = 8, 3.0  # texts that are alike, of fewer nothing is known of their variance; times n, at most


def _as_of_one_kind(row_sums: Float64) -> float:
    """The variance of the share of alike pairs if it were one kind's, over what the pairs say; 1 where they say none.

    `row_sums`: of each text how many others are like it.
    """
    n = len(row_sums)
    total = float(row_sums.sum())
    share = total / (n * (n - 1))
    variance = _variance_of_pair_mean(row_sums, n + total)
    if not variance or not 0 < share < 1:
        return 1.0
    first = share**1.5 - share**2  # of a text's own share of those like it, of one kind
    of_one = (2 * (n - 2) * first + share * (1 - share)) * 2 / (n * (n - 1))
    return float(of_one / variance)


# ---- distances ----

NO_PAIR = "fewer than two texts with a vector"
_BLOCK = 2**20  # cosines that are held at a time: 8 MB


def mean_pairwise_distance(vectors: Any) -> Estimate:
    """1 - mean cosine over pairs of different texts. Larger is more diverse.

    Range [0, n/(n-1)]: all the same direction 0, orthogonal 1. Unbiased in n: a text makes no pair with itself.
    Standard error of a mean over pairs, generations being independent (Hoeffding, Ann. Math. Stat. 19 (1948) 293),
    within a few per cent of the variance in simulation, up to a fifth too large (two or three equal modes: up to twice)
    where kinds are equally frequent and n is 30; of 2,000 sparse rows or more by the jackknife, about twice too large
    in variance there, so conservative. Fewer than two texts: undefined; n is the number of texts with a vector.
    O(n d min(n, d)).

    Texts 1 and 4 identical, all other distances 1: 5 of 6 pairs. Pairs without a common text are (12, 34), (13, 24),
    (14, 23), products 1, 1, 0: variance (5/6)^2 - 2/3.

    >>> found = mean_pairwise_distance(np.eye(3)[[0, 1, 2, 0]])
    >>> round(found.value, 6), round(found.se**2, 6)
    (0.833333, 0.027778)
    """
    found = mean_cosine(vectors)
    summary = found.summary
    if summary.n < 2:
        return undefined(summary.n, NO_PAIR)
    se = None if math.isnan(summary.se) else summary.se
    return Estimate(1 - summary.mean, se, summary.n, freedom=variance_freedom(found.of_each))


def rao_q(vectors: Any) -> Estimate:
    """Rao's quadratic entropy: mean distance 1 - cos of two draws with replacement, so with a text's pair with itself.

    Larger is more diverse. (n - 1)/n of `mean_pairwise_distance`, its standard error too: range [0, 1], too low for the
    model by 1/n, so it grows with n. Comparisons take the unbiased one. Fewer than two texts: undefined, the 0 of one
    text would be one of no pair. O(n d min(n, d)). Rao, Theor. Popul. Biol. 21 (1982) 24.

    >>> round(rao_q(np.eye(3)[[0, 1, 2, 0]]).value, 6)
    0.625
    """
    pairs = mean_pairwise_distance(vectors)
    if pairs.value is None:
        return pairs
    shrink = (pairs.n - 1) / pairs.n
    return pairs._replace(value=shrink * pairs.value, se=None if pairs.se is None else shrink * pairs.se)


def mean_nearest_distance(vectors: Any) -> Estimate:
    """Mean over texts of 1 - cos to the nearest other text (chamfer distance). Larger is more diverse.

    Range [0, 2]: every text with a duplicate 0, orthogonal 1. Falls with n even for one source, so equal n only; no
    standard error, since the jackknife fails for nearest neighbours. Fewer than two texts: undefined; n is the number
    of texts with a vector. O(n^2 d), in blocks: 10,000 x 384 take some seconds. Clark and Evans, Ecology 35 (1954) 445,
    for points in the plane.

    Two duplicates are at 0, the third text is at 1 from both.

    >>> round(mean_nearest_distance(np.eye(2)[[0, 0, 1]]).value, 6)
    0.333333
    """
    units = _directions(vectors)
    n = units.shape[0]
    if n < 2:
        return undefined(n, NO_PAIR)
    nearest = []
    for start, cosines in _blocks(units, units):
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        nearest.append(1 - cosines.max(axis=1))
    return Estimate(float(np.clip(np.concatenate(nearest), 0, 2).mean()), None, n)


# ---- two arms: different, not less diverse ----

_DIFFERENT = "arms that differ may be equally diverse"
_APART = 1e-12  # squared distances up to it are rounding
_FOR_MEDIAN = 2000  # texts whose distances give the median


def energy_distance(first: Any, second: Any) -> Estimate:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, Euclidean distances of unit vectors; pairs of different texts only.

    Says whether two arms differ, in whatever way, not which is more diverse: two equally diverse arms about different
    things are far apart. 0 only for equal laws, at most 4; unbiased, so for equal laws around 0 and at times below it.
    No standard error. Fewer than two texts in an arm: undefined. n is that of both arms together. O(n^2 d), in blocks.
    Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013) 1249.

    Two arms of equal texts, one orthogonal to the other: 2 sqrt 2 - 0 - 0.

    >>> round(energy_distance(np.eye(2)[[0, 0]], np.eye(2)[[1, 1, 1]]).value, 6)
    2.828427
    """
    return _of_two_arms(_directions(first), _directions(second), np.sqrt)


def mmd(first: Any, second: Any) -> Estimate:
    """Maximum mean discrepancy, squared: E k(X, X') + E k(Y, Y') - 2 E k(X, Y), pairs of different texts only.

    k(x, y) = exp(-|x - y|^2 / 2 s^2) of unit vectors, s the median distance of the texts of both arms that are apart at
    all (of more than 2,000 texts, of 2,000 evenly spaced ones). Says whether two arms differ, not which is more
    diverse. At most 2, 0 only for equal laws; unbiased, so for equal laws around 0 and at times below it. The kernel is
    that of these arms: values of different comparisons do not compare. No standard error. Fewer than two texts in an
    arm: undefined; all texts of both arms alike: 0. n is that of both arms together. O(n^2 d), in blocks.
    Gretton, Borgwardt, Rasch, Scholkopf and Smola, J. Mach. Learn. Res. 13 (2012) 723.

    Two arms of equal texts, one orthogonal to the other: s^2 = 2, k = exp(-1/2) between them: 1 + 1 - 2 exp(-1/2).

    >>> round(mmd(np.eye(2)[[0, 0]], np.eye(2)[[1, 1]]).value, 6)
    0.786939
    """
    x, y = _directions(first), _directions(second)
    width = _median_squared_distance(x, y)
    found = _of_two_arms(x, y, lambda squares: 1 - np.exp(-squares / (2 * width)))
    return found if found.value is None or width < math.inf else found._replace(value=0.0)


def _of_two_arms(x: Any, y: Any, distance: Callable[[Float64], Float64]) -> Estimate:
    """2 E d(X, Y) - E d(X, X') - E d(Y, Y') for a distance made of squared Euclidean ones, 0 at 0."""
    n, m = x.shape[0], y.shape[0]
    if min(n, m) < 2:
        return undefined(n + m, f"{NO_PAIR} in an arm")
    between = _summed_distances(x, y, distance) / (n * m)
    within = _summed_distances(x, x, distance) / (n * (n - 1)) + _summed_distances(y, y, distance) / (m * (m - 1))
    return Estimate(2 * between - within, None, n + m, warning=_DIFFERENT)


def _summed_distances(x: Any, y: Any, distance: Callable[[Float64], Float64]) -> float:
    """Sum over all pairs; where `x` is `y` those of a text with itself add nothing. Rounding is no distance."""
    total = 0.0
    for _, cosines in _blocks(x, y):
        squares = 2 - 2 * cosines
        squares[squares <= _APART] = 0
        total += float(distance(squares).sum())
    return total


def _median_squared_distance(x: Any, y: Any) -> float:
    """Of the pairs of both arms together that are apart; infinity where none is."""
    of_x, of_y = (_evenly_spaced(part, _FOR_MEDIAN * part.shape[0] / (x.shape[0] + y.shape[0] or 1)) for part in (x, y))
    found = [_above_diagonal(of_x), _above_diagonal(of_y), *(block.ravel() for _, block in _blocks(of_x, of_y))]
    squares = 2 - 2 * np.concatenate(found)
    apart = squares[squares > _APART]
    return float(np.median(np.sqrt(apart))) ** 2 if len(apart) else math.inf


def _evenly_spaced(rows: Any, at_most: float) -> Any:
    n = rows.shape[0]
    return rows if n <= at_most else rows[np.linspace(0, n - 1, max(1, int(at_most))).round().astype(np.int64)]


def _above_diagonal(rows: Any) -> Float64:
    """Cosines of the pairs i < j."""
    n = rows.shape[0]
    parts = [block[np.arange(n) > start + np.arange(len(block))[:, None]] for start, block in _blocks(rows, rows)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _blocks(some: Any, others: Any) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Cosines of blocks of rows of `some` with all of `others`, and the row at which each block starts."""
    size = max(1, _BLOCK // max(1, others.shape[0]))
    for start in range(0, some.shape[0], size):
        cosines = some[start : start + size] @ others.T
        yield start, cosines.toarray() if hasattr(cosines, "toarray") else cosines
