"""Kinds of outputs: when two are of one kind, how many there are among m, and a map of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.coverage import (
    rarefied_richness,
)
from llama_diversity.metrics.inference import (
    Estimate,
    Int64,
)

Vectors = npt.NDArray[np.float32]
PERPLEXITY = 30
K_MAX = 16
MOST_BY_MEANING = 10_000  # outputs of all arms: every pair of them is compared
CEILING = 0.9  # of m, where kinds among m can hardly rise any more
KIND_CUT = 0.7  # cosine from which two completions may be of one kind (complete linkage: all pairs of a kind)


def map_perplexity(n: int) -> float | None:
    """The paper's 30, less where t-SNE could not have it (it must stay below a third of the texts); None under 4."""
    return None if n < 4 else min(float(PERPLEXITY), (n - 1) / 3)


def t_sne(vectors: npt.ArrayLike, *, perplexity: float, seed: int = 0) -> npt.NDArray[np.float64]:
    """A map of vectors in the plane, shape (n, 2), by cosine distance, started from the principal axes.

    A picture, never a measurement: distances between groups and their sizes mean nothing. Equal input gives equal maps.
    """
    from sklearn.manifold import TSNE

    rows = np.asarray(vectors, np.float64)
    if np.ptp(rows, axis=0).max() < 1e-9:  # all the same: nothing to map
        return np.zeros((len(rows), 2))
    made = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed).fit_transform(rows)
    return np.asarray(made, np.float64)


def kinds_among(
    vectors: Vectors, counts: Int64, m: int, *, parts: clusters.Parts | None = None, given: Estimate | None = None
) -> Estimate:
    """Kinds that m outputs form, with the larger of two errors: that of kinds once given has one at the ends too.

    `parts` and `given`: two independent looks of m outputs, and kinds once given with their error, where outputs are
    not independent by themselves.
    """
    if len(vectors) < 2:
        return Estimate(None, None, len(vectors), "too few valid generations")
    formed = clusters.kinds_among(vectors, m, KIND_CUT, parts=parts)
    given = given or rarefied_richness(counts, m)
    return formed._replace(se=max(formed.se or 0.0, given.se or 0.0), freedom=given.freedom)


def ends_of_kinds(low: float, high: float, m: int, power: float = 1.0) -> tuple[float, float]:
    """An interval of a ratio of kinds among m, of which either arm has 1 to m: its ends are 1/m to m.

    `power`: of a product of several such ratios how many of them there are.

    >>> ends_of_kinds(0.5, 43.9, 10), ends_of_kinds(0.001, 43.9, 10, power=2)
    ((0.5, 10.0), (0.01, 43.9))
    """
    most = float(m**power)
    return max(low, 1 / most), min(high, most)
