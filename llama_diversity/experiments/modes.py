"""How many kinds of output has a model, seen and unseen?

Protocol: n completions of one prompt by every arm. A kind is a class of equal texts, or of texts of one meaning
(complete linkage on the embeddings of all arms together, all pairs of a kind with a cosine of KIND_CUT or more). Of the
counts of kinds: the share of the model's output mass that has been seen (coverage, Chao and Jost), a lower bound on the
number of kinds (Chao1), the curve of kinds over m outputs (rarefaction, exact), and how many more outputs would bring
the coverage to 95 %. Arms are compared at equal m, and at equal coverage, never by the number seen alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.experiments.semantic import KIND_CUT
from llama_diversity.metrics import clusters
from llama_diversity.metrics.coverage import (
    Coverage,
    MoreGenerations,
    StandardisedRichness,
    chao1,
    coverage_at,
    coverage_standardised_richness,
    more_generations,
    rarefied_richness,
    refined_coverage,
)
from llama_diversity.metrics.inference import Estimate, Retained, log_ratio

N_SAMPLES = 200
MAX_TOKENS = 64
WANTED = 0.95
N_POINTS = 24  # of a curve
LEAST_COVERAGE = 0.5  # below it a number of kinds is not to be given

Counts = npt.NDArray[np.int64]


class Point(NamedTuple):
    """Kinds and coverage expected among m outputs; the standard error up to m = n / 2."""

    m: int
    kinds: float
    se: float | None
    coverage: float | None


@dataclass(frozen=True)
class Arm:
    """One arm's kinds: `examples` are the most frequent with how often each was seen, the medoid of a meaning."""

    n: int
    counts: Counts
    coverage: Coverage
    at_least: Estimate  # Chao1, a lower bound
    more: MoreGenerations  # for WANTED
    curve: tuple[Point, ...]
    examples: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Result:
    """All arms; every later one against the first at equal m and at equal coverage."""

    arms: Mapping[str, Arm]
    m: int
    at_m: Mapping[str, Estimate]
    kept: Mapping[str, Retained]
    at_coverage: Mapping[str, StandardisedRichness]


def analyse(texts: Mapping[str, Sequence[str]], vectors: Mapping[str, npt.NDArray[np.float32]] | None) -> Result:
    """Kinds by meaning where `vectors` (a row for each text) are given, else by equal text. Empty texts are a kind."""
    said = [text for some in texts.values() for text in some]
    names = [arm for arm, some in texts.items() for _ in some]
    if vectors is None:
        labels = clusters.exact_classes(said)
    else:
        labels = clusters.threshold_classes(np.concatenate([*vectors.values()]), KIND_CUT)
    found = clusters.occupancy(labels, names)
    arms = {arm: _arm(found[arm].counts, texts[arm], labels[np.array(names) == arm]) for arm in texts}
    m = max(1, min(one.n for one in arms.values()) // 2)
    at_m = {arm: rarefied_richness(one.counts, m) for arm, one in arms.items()}
    first, *others = arms
    return Result(
        arms,
        m,
        at_m,
        {arm: log_ratio(at_m[first], at_m[arm]) for arm in others},
        {arm: coverage_standardised_richness(arms[first].counts, arms[arm].counts) for arm in others},
    )


def _arm(counts: Counts, texts: Sequence[str], labels: npt.NDArray[np.int64]) -> Arm:
    n = int(counts.sum())
    order = sorted(np.flatnonzero(counts), key=lambda label: (-counts[label], label))
    examples = tuple((texts[int(np.argmax(labels == label))], int(counts[label])) for label in order[:5])
    return Arm(
        n,
        counts,
        refined_coverage(counts),
        chao1(counts),
        more_generations(counts, WANTED),
        _curve(counts, n),
        examples,
    )


def _curve(counts: Counts, n: int) -> tuple[Point, ...]:
    sizes = sorted({int(m) for m in np.linspace(1, n, min(n, N_POINTS)).round()})
    points = []
    for m in sizes:
        kinds = rarefied_richness(counts, m)
        points.append(Point(m, kinds.value or 0.0, kinds.se, coverage_at(counts, m).value if m < n else None))
    return tuple(points)
