"""Section 5.1 of the paper: does a model that is nudged off its path find its way back to what it always says?

Protocol: completions of the prompt "Grace Hopper was", raw. The most typical one of the aligned model's largest kind
gives an opening, cut after the last "was" of its first two sentences. Every arm (and the base model at a low
temperature, the paper's control) continues that opening twice, n times each: as it is, and with "was" changed to "was
not" (`perturbations` has other changes). Only what follows the opening is judged, so the opening's own words cannot
count as a return.

An attractor of an arm is a kind of its continuations of the unchanged opening (complete linkage, all pairs with a
cosine of KIND_CUT or more) that holds at least LEAST_SHARE of them. Attractors are learned from the even samples; the
return share is the share of perturbed continuations that lie within the spread of one, and the share of the odd
unperturbed ones is what a return would look like if nothing had been changed. An arm without attractors has nothing to
return to: undefined, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.inference import Difference, Proportion, summarize, welch_difference
from llama_diversity.records import TokenStats

PROMPT = "Grace Hopper was"
N_SAMPLES = 100
MAX_TOKENS = 64
LOW_TEMPERATURE = 0.3
KIND_CUT = 0.7
LEAST_SHARE, LEAST_MEMBERS = 0.05, 3
LEAST_ALIVE = 0.1  # of the continuations, for a mean over those still running
N_CALM = 3  # tokens in a row that must look undisturbed


Vectors = npt.NDArray[np.float32]


def most_typical(vectors: Vectors) -> int:
    """Row of the medoid of the largest kind."""
    labels = clusters.threshold_classes(vectors, KIND_CUT)
    largest = int(np.argmax(np.bincount(labels)))
    return int(clusters.medoids(vectors, labels)[largest])


# ---- one arm


@dataclass(frozen=True)
class Arm:
    """What one arm did after the opening, unchanged and changed.

    `excess_bits[t]` is changed minus unchanged mean surprisal of token t with its 95 % Welch interval, over the
    continuations that have a token t. `recovery_token`: from which token on N_CALM in a row are no more surprising than
    without the change (the interval reaches 0 or below), counted from 0; None where that never comes.
    """

    n_attractors: int
    in_attractors: Proportion  # of the odd unchanged continuations
    returned: Proportion  # of the changed ones
    unchanged_bits: tuple[float, ...]  # mean surprisal by token
    changed_bits: tuple[float, ...]
    excess_bits: tuple[Difference, ...]
    recovery_token: int | None


def analyse_arm(
    unchanged: Vectors, changed: Vectors, unchanged_tokens: Sequence[TokenStats], changed_tokens: Sequence[TokenStats]
) -> Arm:
    """Embeddings and token statistics of the continuations of both openings, shape (n, d) and n arrays."""
    learned, held_out = unchanged[0::2], unchanged[1::2]
    places = attractors_of(learned)
    before, after = surprisals(unchanged_tokens), surprisals(changed_tokens)
    excess = tuple(_excess(before, after))
    return Arm(
        len(places.centres),
        clusters.return_share(held_out, places).share,
        clusters.return_share(changed, places).share,
        _means(before),
        _means(after),
        excess,
        recovery(excess),
    )


def attractors_of(vectors: Vectors) -> clusters.Attractors:
    """The kinds that hold LEAST_SHARE of the texts and LEAST_MEMBERS at least, each with its own spread."""
    if not len(vectors):
        return clusters.Attractors(np.zeros((0, vectors.shape[1])), np.zeros(0))
    labels = clusters.threshold_classes(vectors, KIND_CUT)
    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes >= max(LEAST_MEMBERS, math.ceil(LEAST_SHARE * len(vectors))))
    kept = np.isin(labels, large)
    if not kept.any():
        return clusters.Attractors(np.zeros((0, vectors.shape[1])), np.zeros(0))
    renamed = np.searchsorted(large, labels[kept])
    return clusters.attractors(vectors[kept], renamed, cut=KIND_CUT)


# ---- surprisal after the change


def surprisals(tokens: Sequence[TokenStats]) -> npt.NDArray[np.float64]:
    """Surprisal in bits by continuation and token, shape (n, longest); nan behind the end of a continuation."""
    longest = max((len(one) for one in tokens), default=0)
    table = np.full((len(tokens), longest), np.nan)
    for row, one in zip(table, tokens, strict=True):
        row[: len(one)] = one["surprisal_bits"]
    return table


def _means(table: npt.NDArray[np.float64]) -> tuple[float, ...]:
    kept = table[:, : _well_attended(table)]
    return tuple(np.nanmean(kept, axis=0).tolist()) if kept.size else ()


def _well_attended(table: npt.NDArray[np.float64]) -> int:
    """How many tokens at least two continuations and LEAST_ALIVE of them all have; the rest is noise of a few."""
    n_alive = (~np.isnan(table)).sum(axis=0)
    return int((n_alive >= max(2, math.ceil(LEAST_ALIVE * len(table)))).sum())


def _excess(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> list[Difference]:
    """Token by token while enough continuations of each live."""
    found = []
    for at in range(min(_well_attended(before), _well_attended(after))):
        first, second = (column[~np.isnan(column)] for column in (before[:, at], after[:, at]))
        found.append(welch_difference(summarize(first), summarize(second)))
    return found


def recovery(excess: Sequence[Difference]) -> int | None:
    """The first token from which N_CALM in a row have an interval that reaches 0 or below; None where none does.

    >>> calm, disturbed = Difference(0.1, 0.1, -0.1, 0.3), Difference(1.0, 0.1, 0.8, 1.2)
    >>> recovery([disturbed, calm, disturbed, calm, calm, calm]), recovery([disturbed] * 4)
    (3, None)
    """
    calm = [difference.low <= 0 for difference in excess]
    for at in range(len(calm) - N_CALM + 1):
        if all(calm[at : at + N_CALM]):
            return at
    return None


def analyse(
    vectors: Mapping[str, tuple[Vectors, Vectors]],
    tokens: Mapping[str, tuple[Sequence[TokenStats], Sequence[TokenStats]]],
) -> dict[str, Arm]:
    """Every arm from its unchanged and changed continuations."""
    return {arm: analyse_arm(*vectors[arm], *tokens[arm]) for arm in vectors}
