"""How alike texts are: cosines between them, over words (TF-IDF) or over any vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Summary

_WORD = re.compile(r"\w+(?:'\w+)*")


class Similarity(NamedTuple):
    """Mean cosine of all pairs of different texts, and of each text its mean cosine to the others.

    `summary` has the mean over pairs, the standard deviation of the texts' own means (the paper's column "sd"), the
    jackknife standard error, and the number of texts. Both nan where there are fewer than two texts.
    """

    summary: Summary
    of_each: npt.NDArray[np.float64]


def word_forms(text: str) -> list[str]:
    """Casefolded words, those of one letter included.

    >>> word_forms("I can't; a B-52!")
    ['i', "can't", 'a', 'b', '52']
    """
    return _WORD.findall(text.casefold())


def tf_idf(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Sparse rows of length 1, one for each text, with IDF fitted on all groups together (smooth, as scikit-learn).

    Fitted on one group alone, a word that all its texts share counts little, which flatters the group whose texts are
    most alike: only the pooled figure compares. A text without words has a row of zeros.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text for group in groups.values() for text in group]
    if not any(word_forms(text) for text in texts):
        return {name: np.zeros((len(group), 1)) for name, group in groups.items()}
    rows = TfidfVectorizer(analyzer=word_forms).fit_transform(texts)
    ends = np.cumsum([len(group) for group in groups.values()])
    return {name: rows[end - len(group) : end] for (name, group), end in zip(groups.items(), ends, strict=True)}


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
    se = math.nan
    if n > 2:
        left_out = (all_pairs - 2 * row_sums) / ((n - 1) * (n - 2))
        se = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    return Similarity(Summary(float(np.clip(mean, -1, 1)), float(of_each.std(ddof=1)), se, n), of_each)
