"""How alike texts are: cosines between them, over words (TF-IDF) or over any vectors.

Rows are texts, dense or sparse; they are scaled to length 1, and rows of zeros, which have no direction, are left out.
No n x n matrix is made: sums come from the summed rows, nearest neighbours and Euclidean distances block by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Estimate, Summary, undefined
from llama_diversity.text import words


class Similarity(NamedTuple):
    """Mean cosine of all pairs of different texts, and of each text its mean cosine to the others.

    `summary` has the mean over pairs, the standard deviation of the texts' own means (the paper's column "sd"), the
    jackknife standard error, and the number of texts. Both nan where there are fewer than two texts.
    """

    summary: Summary
    of_each: npt.NDArray[np.float64]


def tf_idf(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Sparse rows of length 1, one for each text, with IDF fitted on all groups together (smooth, as scikit-learn).

    Fitted on one group alone, a word that all its texts share counts little, which flatters the group whose texts are
    most alike: only the pooled figure compares. A text without words has a row of zeros.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text for group in groups.values() for text in group]
    if not any(words(text) for text in texts):
        return {name: np.zeros((len(group), 1)) for name, group in groups.items()}
    rows = TfidfVectorizer(analyzer=words).fit_transform(texts)
    ends = np.cumsum([len(group) for group in groups.values()])
    return {name: rows[end - len(group) : end] for (name, group), end in zip(groups.items(), ends, strict=True)}


def tf_idf_of_each_group(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """`tf_idf` with IDF fitted on each group alone: for a reproduction only, groups do not compare.

    >>> rows = tf_idf_of_each_group({"a": ["aa bb", "aa cc"], "b": ["xx yy", "zz ww"]})
    >>> round(mean_cosine(rows["a"]).summary.mean, 6)
    0.336097
    """
    return {name: tf_idf({name: texts})[name] for name, texts in groups.items()}


def mean_cosine(vectors: Any) -> Similarity:
    """Mean cosine over all pairs i != j of rows of `vectors`, shape (n, d), dense or sparse; range [-1, 1].

    Rows are scaled to length 1; rows of zeros have no direction and are left out. 1: all texts point the same way;
    0: no two share a word. Unbiased in n: pairs of a text with itself do not count. The n x n matrix is never made: the
    sum over all pairs is the squared length of the summed rows. The standard error is the jackknife's over texts.

    Three texts, two of them equal and one apart: pairs 1, 0, 0, so the mean is 1/3 and each text's own 1/2, 1/2, 0.

    >>> found = mean_cosine(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    >>> round(found.summary.mean, 6), found.of_each.tolist()
    (0.333333, [0.5, 0.5, 0.0])
    """
    squares = vectors.multiply(vectors) if hasattr(vectors, "multiply") else vectors * vectors
    lengths = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    kept = lengths > 0
    n = int(kept.sum())
    if n < 2:
        return Similarity(Summary(math.nan, math.nan, math.nan, n), np.full(n, math.nan))
    rows = vectors[kept]
    total = np.asarray(rows.T @ (1 / lengths[kept])).ravel()  # the sum of the rows of length 1
    row_sums = np.asarray(rows @ total).ravel() / lengths[kept] - 1  # without the pair of a text with itself
    all_pairs = float(row_sums.sum())
    mean = all_pairs / (n * (n - 1))
    of_each = np.clip(row_sums / (n - 1), -1, 1)
    if of_each.min() > 1 - _ROUNDING:  # all alike: what is left is rounding, and must not be taken for a difference
        return Similarity(Summary(1.0, 0.0, 0.0 if n > 2 else math.nan, n), np.ones(n))
    se = math.nan
    if n > 2:
        left_out = (all_pairs - 2 * row_sums) / ((n - 1) * (n - 2))
        se = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    return Similarity(Summary(float(np.clip(mean, -1, 1)), float(of_each.std(ddof=1)), se, n), of_each)


# ---- distances ----

_ROUNDING = 1e-6  # of float32 vectors
NO_PAIR = "fewer than two texts with a vector"
_BLOCK = 2**20  # cosines that are held at a time: 8 MB


def mean_pairwise_distance(vectors: Any) -> Estimate:
    """1 - mean cosine over pairs of different texts. Larger is more diverse.

    Range [0, n/(n-1)]: all the same direction 0, orthogonal 1. Unbiased in n: a text makes no pair with itself.
    Standard error by the jackknife over texts. Fewer than two texts: undefined. O(n d).

    Texts 1 and 4 identical, all other distances 1: 5 of 6 pairs; variance 1/12.

    >>> found = mean_pairwise_distance(np.eye(3)[[0, 1, 2, 0]])
    >>> round(found.value, 6), round(found.se**2, 6)
    (0.833333, 0.083333)
    """
    summary = mean_cosine(vectors).summary
    if summary.n < 2:
        return undefined(summary.n, NO_PAIR)
    return Estimate(1 - summary.mean, None if math.isnan(summary.se) else summary.se, summary.n)


def rao_q(vectors: Any) -> Estimate:
    """Rao's quadratic entropy: mean distance 1 - cos of two draws with replacement, so with a text's pair with itself.

    (n - 1)/n of `mean_pairwise_distance`: range [0, 1], too low for the model by 1/n, so it grows with n. Comparisons
    take the unbiased one. One text: 0. O(n d). Rao, Theor. Popul. Biol. 21 (1982) 24.

    >>> round(rao_q(np.eye(3)[[0, 1, 2, 0]]).value, 6)
    0.625
    """
    pairs = mean_pairwise_distance(vectors)
    n = pairs.n
    if pairs.value is None:
        return Estimate(0.0, None, 1) if n == 1 else undefined(0, NO_PAIR)
    shrink = (n - 1) / n
    return Estimate(shrink * pairs.value, None if pairs.se is None else shrink * pairs.se, n)


def mean_nearest_distance(vectors: Any) -> Estimate:
    """Mean over texts of 1 - cos to the nearest other text (chamfer distance). Larger is more diverse.

    Range [0, 2]: every text with a duplicate 0, orthogonal 1. Falls with n even for one source, so equal n only; no
    standard error, since the jackknife fails for nearest neighbours. Fewer than two texts: undefined. O(n^2 d), in
    blocks: 10,000 x 384 take some seconds.

    Two duplicates are at 0, the third text is at 1 from both.

    >>> round(mean_nearest_distance(np.eye(2)[[0, 0, 1]]).value, 6)
    0.333333
    """
    units = _unit_rows(vectors)
    n = units.shape[0]
    if n < 2:
        return undefined(n, NO_PAIR)
    nearest = []
    for start, cosines in _blocks(units, units):
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        nearest.append(1 - cosines.max(axis=1))
    return Estimate(float(np.clip(np.concatenate(nearest), 0, 2).mean()), None, n)


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
    x, y = _unit_rows(first), _unit_rows(second)
    n, m = x.shape[0], y.shape[0]
    if min(n, m) < 2:
        return undefined(n + m, f"{NO_PAIR} in an arm")
    between = _summed_distances(x, y) / (n * m)
    within = _summed_distances(x, x) / (n * (n - 1)) + _summed_distances(y, y) / (m * (m - 1))
    return Estimate(2 * between - within, None, n + m, warning="arms that differ may be equally diverse")


def _unit_rows(vectors: Any) -> Any:
    rows = vectors.tocsr() if hasattr(vectors, "tocsr") else np.asarray(vectors, np.float64)
    squares = rows.multiply(rows) if hasattr(rows, "multiply") else rows * rows
    lengths = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    kept = lengths > 0
    scale = (1 / lengths[kept])[:, None]
    return rows[kept].multiply(scale).tocsr() if hasattr(rows, "multiply") else rows[kept] * scale


def _blocks(some: Any, others: Any) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Cosines of blocks of rows of `some` with all of `others`, and the row at which each block starts."""
    size = max(1, _BLOCK // max(1, others.shape[0]))
    for start in range(0, some.shape[0], size):
        cosines = some[start : start + size] @ others.T
        yield start, cosines.toarray() if hasattr(cosines, "toarray") else cosines


def _summed_distances(x: Any, y: Any) -> float:
    """Sum of |x_i - y_j|; where `x` is `y` a text is at 0 from itself, which rounding would not give."""
    total = 0.0
    for start, cosines in _blocks(x, y):
        distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        if x is y:
            rows = np.arange(len(distances))
            distances[rows, start + rows] = 0
        total += float(distances.sum())
    return total
