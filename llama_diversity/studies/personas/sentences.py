"""The sentences of the personas' reviews by meaning: Figure 9 and Tables 2 and 3 of the paper.

Protocol (Mohammadi 2024, section 4.1): every sentence of every valid review is embedded, the sentences of each model
are clustered by k-means with an "optimal" k, and drawn by t-SNE with perplexity 30. The paper does not say how k is
chosen; the silhouette's choice and the gap statistic's are both given. Of one model alone, k measures spread as much as
variety, and it grows with the number of sentences: only classes formed on all models together compare, so those are
counted too. Needs sentences and their embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.inference import Estimate
from llama_diversity.studies.measuring.kinds import K_MAX, map_perplexity, t_sne
from llama_diversity.studies.personas.analysis import Result
from llama_diversity.text import sentences

N_NEAREST = 3  # sentences of each cluster in Tables 2 and 3
Vectors = npt.NDArray[np.float32]


class Own(NamedTuple):
    """One arm's own clusters, as the paper has them: k chosen twice, the silhouette's used; sentences nearest first."""

    by_silhouette: clusters.ClusterCount
    by_gap: clusters.ClusterCount
    labels: npt.NDArray[np.int64]  # of each of the arm's sentences
    nearest: tuple[tuple[int, ...], ...]  # of each cluster, places in the arm's sentences
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Clusters:
    """All sentences, arm after arm in `arms`' order; `spots` is None where there are too few to draw."""

    sentences: tuple[str, ...]
    arms: tuple[str, ...]
    own: Mapping[str, Own]
    pooled: clusters.ClusterCount  # by the gap statistic
    effective: Mapping[str, Estimate]  # pooled clusters that an arm spreads over
    spots: npt.NDArray[np.float64] | None
    perplexity: float | None


def sentences_of(found: Result) -> dict[str, list[str]]:
    """The sentences of each arm's valid reviews, in order."""
    return {
        name: [said for persona in arm.personas for said in sentences(persona.review)]
        for name, arm in found.arms.items()
    }


def cluster(said: Mapping[str, Sequence[str]], vectors: Mapping[str, Vectors], *, seed: int = 0) -> Clusters:
    """Clusters of each arm alone and of all together; `vectors[arm]` has one row for each sentence, shape (n, d)."""
    names = tuple(arm for arm, some in said.items() for _ in some)
    pooled = np.concatenate([np.asarray(rows, np.float64) for rows in vectors.values()])
    by_gap = clusters.k_by_gap(pooled, K_MAX, seed=seed)
    labels = clusters.k_means(pooled, by_gap.k or 1).labels
    occupied = clusters.occupancy(labels, names)
    nothing = Estimate(None, None, 0, "no sentences")
    perplexity = map_perplexity(len(names))
    return Clusters(
        sentences=tuple(one for some in said.values() for one in some),
        arms=names,
        own={arm: _own(rows, seed) for arm, rows in vectors.items()},
        pooled=by_gap,
        effective={arm: occupied[arm].effective if arm in occupied else nothing for arm in said},
        spots=None if perplexity is None else t_sne(pooled, perplexity=perplexity, seed=seed),
        perplexity=perplexity,
    )


def _own(rows: Vectors, seed: int) -> Own:
    by_silhouette = clusters.k_by_silhouette(rows, K_MAX)
    found = clusters.k_means(rows, by_silhouette.k or 1)
    n_clusters = int(found.labels.max(initial=-1)) + 1
    return Own(
        by_silhouette,
        clusters.k_by_gap(rows, K_MAX, seed=seed),
        found.labels,
        tuple(_nearest(rows, found.labels, label) for label in range(n_clusters)),
        tuple(np.bincount(found.labels, minlength=n_clusters).tolist()),
    )


def _nearest(rows: Vectors, labels: npt.NDArray[np.int64], label: int) -> tuple[int, ...]:
    """Places of the sentences nearest to the centroid of a cluster; of equal ones the first, then others."""
    units = clusters.unit_rows(rows)
    places = np.flatnonzero(labels == label)
    centroid = units[places].mean(axis=0)
    order = places[np.argsort(-(units[places] @ centroid), kind="stable")]
    return tuple(int(at) for at in order)
