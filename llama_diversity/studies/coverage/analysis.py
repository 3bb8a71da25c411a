"""How many kinds of output has a model, seen and unseen?

Protocol: n completions of one prompt by every arm. A kind is a class of equal texts, or of texts of one meaning
(complete linkage on the embeddings of all arms together, all pairs of a kind with a cosine of KIND_CUT or more). Of the
counts of kinds: the share of the model's output mass that has been seen (coverage, Chao and Jost), a lower bound on the
number of kinds (Chao1), the curve of kinds over m outputs (rarefaction, exact), and how many more outputs would bring
the coverage to 95 %. Arms are compared at equal m, and at equal coverage, never by the number seen alone.

Refused: kinds by meaning of an arm whose texts the encoder cut in more than one of twenty, or whose language it does
not know; intervals, and comparisons, of fewer than 20 outputs. Of kinds that were all seen once nothing is
extrapolated: no repeat, no measure of the unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
from llama_diversity.metrics.inference import ALL_SINGLETONS, Estimate, Retained, log_ratio, undefined
from llama_diversity.studies.measuring.kinds import KIND_CUT, ends_of_kinds, kinds_among
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.measuring.limits import LEAST_VALID, MOST_TRUNCATED

N_SAMPLES = 200
MAX_TOKENS = 64
WANTED = 0.95
N_POINTS = 24  # of a curve
Counts = npt.NDArray[np.int64]


class Point(NamedTuple):
    """Kinds and coverage expected among m outputs; the standard error up to m = n / 2."""

    m: int
    kinds: float
    se: float | None
    coverage: float | None


@dataclass(frozen=True)
class Arm:
    """One arm's kinds: `examples` are the most frequent with how often each was seen, the medoid of a meaning.

    Coverage, `at_least` and `more` have no value where all kinds were seen once, and no interval where `is_few`.
    """

    n: int
    counts: Counts
    coverage: Coverage
    at_least: Estimate  # Chao1, a lower bound
    more: MoreGenerations  # for WANTED
    curve: tuple[Point, ...]
    examples: tuple[tuple[str, int], ...]

    @property
    def kinds_seen(self) -> int:
        """Kinds with at least one output."""
        return int((self.counts > 0).sum())

    @property
    def is_few(self) -> bool:
        """Whether there are too few outputs for an interval or a comparison."""
        return self.n < LEAST_VALID

    @property
    def is_all_new(self) -> bool:
        """Whether no kind was seen twice."""
        return self.kinds_seen == self.n


@dataclass(frozen=True)
class Result:
    """Every arm that is not refused, and those that can be compared against the first at equal m and equal coverage."""

    n: Mapping[str, int]  # outputs of every arm
    refused: Mapping[str, str]  # why an arm's kinds are not reported
    arms: Mapping[str, Arm]
    m: int | None  # None where nothing is compared
    at_m: Mapping[str, Estimate]
    kept: Mapping[str, Retained]
    at_coverage: Mapping[str, StandardisedRichness]


def analyse(
    texts: Mapping[str, Sequence[str]],
    vectors: Mapping[str, npt.NDArray[np.float32]] | None,
    n_truncated: Mapping[str, int] | None = None,
    unread: Mapping[str, float] | None = None,
) -> Result:
    """Kinds by meaning where `vectors` (a row for each text) are given, else by equal text. Empty texts are a kind.

    `n_truncated`: of each arm how many texts are longer than what the vectors were made of; `unread`: which share of
    their characters went unread.
    """
    n = {arm: len(some) for arm, some in texts.items()}
    refused = {
        arm: _beginnings_only(arm, cut, n[arm])
        for arm, cut in (n_truncated or {}).items()
        if vectors is not None and cut > MOST_TRUNCATED * n[arm]
    }
    for arm, reason in unread_arms(unread or {}).items() if vectors is not None else ():
        refused.setdefault(arm, f"{reason} Count equal texts with --by text.")
    arms = _counted({arm: some for arm, some in texts.items() if arm not in refused}, vectors)
    able = [arm for arm in texts if arm in arms and not arms[arm].is_few]
    first = next(iter(texts))
    compared = able if first in able and len(able) > 1 else []
    m = min(n[arm] for arm in compared) // 2 if compared else None
    at_m = {arm: _at_m(arms[arm].counts, vectors[arm] if vectors else None, m) for arm in compared if m}
    return Result(
        n,
        refused,
        arms,
        m,
        at_m,
        {arm: _kept(at_m[first], at_m[arm], m) for arm in compared[1:] if m},
        {arm: coverage_standardised_richness(arms[first].counts, arms[arm].counts) for arm in compared[1:]},
    )


def _kept(first: Estimate, arm: Estimate, m: int) -> Retained:
    """The ratio of kinds among m."""
    found = log_ratio(first, arm)
    if found.low is None or found.high is None:
        return found
    low, high = ends_of_kinds(found.low, found.high, m)
    return found._replace(low=low, high=high)


def _at_m(counts: Counts, vectors: npt.NDArray[np.float32] | None, m: int) -> Estimate:
    """Kinds among m; of kinds by meaning those that m outputs form."""
    return rarefied_richness(counts, m) if vectors is None else kinds_among(vectors, counts, m)


def _beginnings_only(arm: str, cut: int, n: int) -> str:
    return (
        f"Similarity not reported: {100 * cut / n:.0f} % of {arm}'s texts exceed the encoder's 256 word pieces. "
        "Shorten with --max-tokens, or count equal texts with --by text."
    )


def _counted(
    texts: Mapping[str, Sequence[str]], vectors: Mapping[str, npt.NDArray[np.float32]] | None
) -> dict[str, Arm]:
    """The kinds of all `texts` together, by arm."""
    if not texts:
        return {}
    names = [arm for arm, some in texts.items() for _ in some]
    if vectors is None:
        labels = clusters.exact_classes([text for some in texts.values() for text in some])
    else:
        labels = clusters.threshold_classes(np.concatenate([vectors[arm] for arm in texts]), KIND_CUT)
    found = clusters.occupancy(labels, names)
    return {arm: _arm(found[arm].counts, some, labels[np.array(names) == arm]) for arm, some in texts.items()}


def _arm(counts: Counts, texts: Sequence[str], labels: npt.NDArray[np.int64]) -> Arm:
    n = int(counts.sum())
    order = sorted(np.flatnonzero(counts), key=lambda label: (-counts[label], label))
    examples = tuple((texts[int(np.argmax(labels == label))], int(counts[label])) for label in order[:5])
    coverage, at_least, more = refined_coverage(counts), chao1(counts), more_generations(counts, WANTED)
    if len(order) == n:
        coverage = coverage._replace(value=None, reason=ALL_SINGLETONS)
        at_least, more = undefined(n, ALL_SINGLETONS), MoreGenerations(None, None, n, ALL_SINGLETONS)
    if n < LEAST_VALID:
        coverage = coverage._replace(low=None, high=None)
        if more.generations == 0:  # that so few showed nothing rare says nothing
            more = MoreGenerations(None, None, n, f"fewer than {LEAST_VALID} generations")
    return Arm(n, counts, coverage, at_least, more, _curve(counts, n), examples)


def _curve(counts: Counts, n: int) -> tuple[Point, ...]:
    sizes = sorted({int(m) for m in np.linspace(1, n, min(n, N_POINTS)).round()})
    points = []
    for m in sizes:
        kinds = rarefied_richness(counts, m)
        se = kinds.se if n >= LEAST_VALID else None
        points.append(Point(m, kinds.value or 0.0, se, coverage_at(counts, m).value if m < n else None))
    return tuple(points)
