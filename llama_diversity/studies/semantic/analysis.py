"""Experiment 2 of the paper: how alike are the completions of one prompt, and how many kinds of them are there?

Protocol (Mohammadi 2024, sections 3.2 and 4.2): the prompt "Grace Hopper was", raw for every model, 200 completions of
at most 128 tokens at T = 1. Per completion its mean cosine to the others of the same model, over TF-IDF vectors of its
words and over sentence embeddings of the whole text; per model the mean and standard deviation of those, and a map.
The paper leaves open whether the IDF was fitted for each model; only the pooled one compares, both are reported.

Classes are formed on all arms together and then counted in each: by k-means with k chosen twice, by the silhouette
(which cannot answer 1) and by the gap statistic, and by complete linkage at a fixed cosine. The paper read its four
clusters off a picture; that reading is not repeated here, t-SNE is drawn and never measured.

Declared beforehand: the primary measure is the mean pairwise distance of the embeddings, 1 - mean cosine. One arm is
the reference, the first one; every other arm is compared with it. Needs texts and their embeddings only, and which
share of them went unread: of an arm that the encoder cannot read no measure of meanings is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.indices import corrected_vendi
from llama_diversity.metrics.inference import (
    Difference,
    Estimate,
    Proportion,
    Retained,
    Summary,
    log_ratio,
    proportion_difference,
    undefined,
    welch_difference,
)
from llama_diversity.metrics.similarity import Similarity, alike_pairs, mean_cosine, mean_pairwise_distance, tf_idf
from llama_diversity.studies.measuring.kinds import K_MAX, KIND_CUT, kinds_among, map_perplexity, t_sne
from llama_diversity.studies.measuring.languages import objection_to_words, unread_arms
from llama_diversity.studies.measuring.limits import FEW_FOR_TAILS, LEAST_FOR_TAILS
from llama_diversity.text import Cutting, cutting
from llama_diversity.text import words as split_into_words

N_SAMPLES = 200
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """The similarity of each arm's completions by words (pooled IDF) and by meaning; every arm minus the first.

    `alike`: share of pairs that mean nearly the same, a cosine of KIND_CUT or more.
    """

    words: Mapping[str, Similarity]
    meanings: Mapping[str, Similarity]
    alike: Mapping[str, Proportion]
    words_differences: Mapping[str, Difference]
    meanings_differences: Mapping[str, Difference]
    alike_differences: Mapping[str, Difference]
    words_unfit: Mapping[str, str]  # why an arm's words do not compare with the first's; its difference is nan

    def most_typical(self, arm: str) -> int:
        """Index of the completion that is nearest to all others of its arm, among those with a vector."""
        return int(np.argmax(self.meanings[arm].of_each))


def analyse(texts: Mapping[str, Sequence[str]], vectors: Mapping[str, Vectors]) -> Result:
    """Compare the arms, the first with each other one; `vectors[arm]` has one row for each text, shape (n, d)."""
    words = {arm: mean_cosine(rows) for arm, rows in tf_idf(texts).items()}
    meanings = {arm: mean_cosine(np.asarray(rows, np.float64)) for arm, rows in vectors.items()}
    alike = {arm: alike_pairs(rows, KIND_CUT) for arm, rows in vectors.items()}
    cut = _cutting(texts)
    first, *others = texts
    objections = {arm: objection_to_words({one: cut[one] for one in (first, arm)}) for arm in others}
    unfit = {arm: reason for arm, reason in objections.items() if reason}
    differences = {**_differences(words), **dict.fromkeys(unfit, Difference(*[math.nan] * 4))}
    apart = {arm: proportion_difference(alike[first], alike[arm]) for arm in others}
    return Result(words, meanings, alike, differences, _differences(meanings), apart, unfit)


def _cutting(texts: Mapping[str, Sequence[str]]) -> dict[str, Cutting]:
    return {arm: cutting(map(split_into_words, some)) for arm, some in texts.items()}


def _differences(arms: Mapping[str, Similarity]) -> dict[str, Difference]:
    first, *others = arms
    base = _fewer_than_three(arms[first].summary)
    return {arm: welch_difference(base, _fewer_than_three(arms[arm].summary)) for arm in others}


def _fewer_than_three(summary: Summary) -> Summary:
    """The jackknife of a mean over pairs needs three texts; welch_difference takes n < 2 for undefined."""
    return summary if summary.n > 2 else summary._replace(n=1)


# ---- the whole experiment


class Texts(NamedTuple):
    """What there is of an arm: all completions, how many say nothing, how many are copies of an earlier one."""

    n: int
    n_empty: int
    n_repeated: int


class Classes(NamedTuple):
    """Pooled classes: how k was chosen, the class of each kept text, and of each class its medoid among them."""

    by_gap: clusters.ClusterCount
    by_silhouette: clusters.ClusterCount
    labels: npt.NDArray[np.int64]  # k by the gap statistic
    medoids: npt.NDArray[np.int64]
    stability: clusters.Stability
    occupancy: Mapping[str, clusters.Occupancy]
    kinds: Mapping[str, clusters.Occupancy]  # complete linkage at KIND_CUT


@dataclass(frozen=True)
class Whole:
    """All of Experiment 2. Arrays over texts have one entry for each kept one, arm after arm, in `arms`' order.

    Empty completions are left out (they have neither words nor meaning) and counted. `own_k` are the silhouette's
    choice and the gap statistic's for each arm alone, for the paper's reading only. `spot` is None where there are too
    few texts to draw.
    """

    texts: Mapping[str, Texts]
    cutting: Mapping[str, Cutting]  # how each arm's words were found
    unreadable: Mapping[str, str]  # why an arm has no measure of meanings
    arms: tuple[str, ...]  # of each kept text
    kept: tuple[str, ...]  # the texts
    result: Result
    own_idf: Mapping[str, Similarity]
    distance: Mapping[str, Estimate]  # mean pairwise distance of the embeddings: the primary measure
    distance_retained: Mapping[str, Retained]
    vendi: Mapping[str, Estimate]
    vendi_retained: Mapping[str, Retained]
    classes: Classes
    m_kinds: int  # half of the completions of the arm with the fewest
    rarefied: Mapping[str, Estimate]  # kinds expected among so many
    rarefied_retained: Mapping[str, Retained]
    own_k: Mapping[str, tuple[clusters.ClusterCount, clusters.ClusterCount]]
    spots: npt.NDArray[np.float64] | None  # shape (kept, 2)
    perplexity: float | None


def whole(
    texts: Mapping[str, Sequence[str]],
    vectors: Mapping[str, Vectors],
    *,
    seed: int = 0,
    unread: Mapping[str, float] | None = None,
) -> Whole:
    """Everything of Experiment 2 from the completions of each arm and their embeddings, shape (n, d).

    `unread`: of each arm the share of characters that the encoder cannot read.
    """
    kept = {arm: [at for at, text in enumerate(some) if text.strip()] for arm, some in texts.items()}
    said = {arm: [texts[arm][at] for at in places] for arm, places in kept.items()}
    rows = {arm: vectors[arm][places] for arm, places in kept.items()}
    pooled = np.concatenate([np.asarray(some, np.float64) for some in rows.values()])
    names = tuple(arm for arm, places in kept.items() for _ in places)
    unfit = unread_arms(unread or {})
    distance = {arm: mean_pairwise_distance(np.asarray(some, np.float64)) for arm, some in rows.items()}
    vendi = {
        arm: corrected_vendi(some) if len(some) >= LEAST_FOR_TAILS else undefined(len(some), FEW_FOR_TAILS)
        for arm, some in rows.items()
    }
    for arm, reason in unfit.items():
        distance[arm] = vendi[arm] = undefined(len(rows[arm]), reason)
    perplexity = map_perplexity(len(names))
    classes = _classes(pooled, names, seed)
    m, rarefied = _rarefied(classes, rows)
    return Whole(
        texts={arm: _counted(some) for arm, some in texts.items()},
        cutting=_cutting(said),
        unreadable=unfit,
        arms=names,
        kept=tuple(text for some in said.values() for text in some),
        result=_without_meanings(analyse(said, rows), unfit),
        own_idf={arm: mean_cosine(tf_idf({arm: some})[arm]) for arm, some in said.items()},
        distance=distance,
        distance_retained=_retained(distance),
        vendi=vendi,
        vendi_retained=_retained(vendi),
        classes=classes,
        m_kinds=m,
        rarefied=rarefied,
        rarefied_retained=_retained(rarefied),
        own_k={
            arm: (clusters.k_by_silhouette(some, K_MAX), clusters.k_by_gap(some, K_MAX, seed=seed))
            for arm, some in rows.items()
        },
        spots=None if perplexity is None else t_sne(pooled, perplexity=perplexity, seed=seed),
        perplexity=perplexity,
    )


def _without_meanings(found: Result, unfit: Mapping[str, str]) -> Result:
    """Without what is said of meanings of an arm that the encoder cannot read, and differences it takes part in."""
    first = next(iter(found.words))
    none = Difference(*[math.nan] * 4)
    differences, apart = (
        {arm: none if {first, arm} & set(unfit) else one for arm, one in some.items()}
        for some in (found.meanings_differences, found.alike_differences)
    )
    alike = {arm: one._replace(value=None, low=None, high=None, reason=unfit[arm]) if arm in unfit else one
             for arm, one in found.alike.items()}  # fmt: skip
    return replace(found, meanings_differences=differences, alike=alike, alike_differences=apart)


def _counted(texts: Sequence[str]) -> Texts:
    return Texts(len(texts), sum(not text.strip() for text in texts), len(texts) - len(Counter(texts)))


def _retained(arms: Mapping[str, Estimate]) -> dict[str, Retained]:
    first, *others = arms
    return {arm: log_ratio(arms[first], arms[arm]) for arm in others}


def _rarefied(classes: Classes, rows: Mapping[str, Vectors]) -> tuple[int, dict[str, Estimate]]:
    """Kinds that m outputs form, m half of the smallest arm: defined too where no two outputs are of one kind."""
    none = np.zeros(0, np.int64)
    counts = {arm: classes.kinds[arm].counts if arm in classes.kinds else none for arm in rows}
    m = max(1, min(map(len, rows.values())) // 2)
    return m, {arm: kinds_among(rows[arm], some, m) for arm, some in counts.items()}


def _classes(pooled: npt.NDArray[np.float64], names: Sequence[str], seed: int) -> Classes:
    by_gap = clusters.k_by_gap(pooled, K_MAX, seed=seed)
    k = by_gap.k or 1
    labels = clusters.k_means(pooled, k).labels
    return Classes(
        by_gap,
        clusters.k_by_silhouette(pooled, K_MAX),
        labels,
        clusters.medoids(pooled, labels),
        clusters.stability(pooled, lambda some: clusters.k_means(some, k).labels, seed=seed),
        clusters.occupancy(labels, names),
        clusters.occupancy(clusters.threshold_classes(pooled, KIND_CUT), names),
    )
