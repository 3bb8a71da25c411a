"""Section 5.1 of the paper: does a model that is nudged off its path find its way back to what it always says?

Protocol: completions of the prompt "Grace Hopper was", raw. The most typical one of the aligned model's largest kind
that has a "was" of its own in the first two sentences gives an opening, cut after that "was". Every arm (and the base
model at a low temperature, the paper's control) continues that opening twice, n times each: as it is, and with "was"
changed to "was not" (`perturbations` has other changes). Only what follows the opening is judged, so the opening's own
words cannot count as a return. A continuation that goes on within the opening's last word ("was not" + "ed") has undone
the change; it is counted and left out.

An attractor of an arm is a kind of its continuations of the unchanged opening (complete linkage, all pairs with a
cosine of KIND_CUT or more) that holds at least LEAST_SHARE of them. Attractors are learned from the even samples; the
return share is the share of perturbed continuations that lie within the spread of one, and the share of the odd
unperturbed ones is what a return would look like if nothing had been changed. An arm without attractors has nothing to
return to: undefined, not 0.

Surprise: a token is outside the band where it is more surprising than BAND of the unchanged continuations' tokens at
that place. A continuation is disturbed where one of its first N_FIRST tokens is; it is calm again from the first token
after that from which N_CALM in a row (or all that are left) are inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.inference import Z_95, Difference, Proportion, summarize, welch_difference, wilson
from llama_diversity.records import TokenStats
from llama_diversity.text import is_letter_without_blanks

PROMPT = "Grace Hopper was"
N_SAMPLES = 100
MAX_TOKENS = 64
LOW_TEMPERATURE = 0.3
KIND_CUT = 0.7
LEAST_SHARE, LEAST_MEMBERS = 0.05, 3
LEAST_ALIVE = 0.1  # of the continuations, for a mean over those still running
N_CALM = 3  # tokens in a row that must look undisturbed
N_FIRST = 5  # tokens in which a disturbance must show
BAND = 0.95


Vectors = npt.NDArray[np.float32]


def by_typicality(vectors: Vectors) -> list[int]:
    """All rows, the medoid of the largest kind first, then by their cosine to it; equal ones in order.

    >>> by_typicality(np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.0]], np.float32))
    [1, 2, 0]
    """
    labels = clusters.threshold_classes(vectors, KIND_CUT)
    medoid = clusters.medoids(vectors, labels)[int(np.argmax(np.bincount(labels)))]
    units = clusters.unit_rows(vectors)
    found: list[int] = np.argsort(-(units @ units[medoid]).round(6), kind="stable").tolist()
    return found


# ---- one arm


class Calm(NamedTuple):
    """After how many tokens half of the n disturbed continuations are calm again, with a 95 % interval; None: never.

    The median and the order statistics around it, so that those never calm again count too.
    """

    median: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Arm:
    """What one arm did after the opening, unchanged and changed; of continuations that leave its last word whole.

    `excess_bits[t]` is changed minus unchanged mean surprisal of token t with its 95 % Welch interval, over the
    continuations that have a token t. `disturbed_unchanged` is what chance makes of the unchanged ones themselves.
    """

    n_attractors: int
    in_attractors: Proportion  # of the odd unchanged continuations
    returned: Proportion  # of the changed ones
    n_undone: tuple[int, int]  # unchanged and changed continuations that go on within the opening's last word
    unchanged_bits: tuple[float, ...]  # mean surprisal by token
    changed_bits: tuple[float, ...]
    excess_bits: tuple[Difference, ...]
    disturbed: Proportion
    disturbed_unchanged: Proportion
    calm: Calm


def analyse_arm(unchanged: Side, changed: Side) -> Arm:
    """Both sides' embeddings and token statistics, shape (n, d) and n arrays."""
    both = (unchanged, changed)
    kept = [np.array([not undoes(side.opening, text) for text in side.texts], np.bool_) for side in both]
    rows = [side.vectors[whole] for side, whole in zip(both, kept, strict=True)]
    before, after = (
        surprisals([one for one, is_whole in zip(side.tokens, whole, strict=True) if is_whole])
        for side, whole in zip(both, kept, strict=True)
    )
    learned, held_out = rows[0][0::2], rows[0][1::2]
    places = attractors_of(learned)
    outside, outside_by_chance = _outside(before, after), _outside(before, before)
    return Arm(
        len(places.centres),
        clusters.return_share(held_out, places).share,
        clusters.return_share(rows[1], places).share,
        (int((~kept[0]).sum()), int((~kept[1]).sum())),
        _means(before),
        _means(after),
        tuple(_excess(before, after)),
        wilson(int(_disturbed(outside).sum()), len(outside)),
        wilson(int(_disturbed(outside_by_chance).sum()), len(outside_by_chance)),
        calm_again(outside, [len(row[~np.isnan(row)]) for row in after]),
    )


class Side(NamedTuple):
    """Continuations of one opening: texts, embeddings of shape (n, d), token statistics."""

    opening: str
    texts: Sequence[str]
    vectors: Vectors
    tokens: Sequence[TokenStats]


def undoes(opening: str, text: str) -> bool:
    """Whether a continuation goes on within the opening's last word, so that this is another word.

    Letters of scripts without blanks are words of their own.

    >>> [undoes("She was not", text) for text in ("ed for", " born", "She", ".")], undoes("Ah! ", "so")
    ([True, False, False, False], False)
    """
    if not (opening and text) or is_letter_without_blanks(opening[-1]) or is_letter_without_blanks(text[0]):
        return False
    return opening[-1].isalnum() and text[0].isalnum() and not text[0].isupper()


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


def _outside(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """By continuation and token whether it is more surprising than BAND of the unchanged ones at that place."""
    n = min(_well_attended(before), after.shape[1])
    if not n or not len(before):
        return np.zeros((len(after), 0), np.bool_)
    highest = np.nanquantile(before[:, :n], BAND, axis=0)
    outside: npt.NDArray[np.bool_] = after[:, :n] > highest  # nan, behind the end, is not
    return outside


def _disturbed(outside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(outside[:, :N_FIRST].any(axis=1), np.bool_)


def calm_again(outside: npt.NDArray[np.bool_], lengths: Sequence[int]) -> Calm:
    """When the disturbed continuations are calm again; `lengths` in tokens.

    >>> rows = np.array([[1, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [0] * 7, [1] * 7], bool)
    >>> calm_again(rows, [7, 7, 7, 7])[0]  # after 3 and 1 tokens and never; the third was not disturbed
    3.0
    """
    waits = sorted(
        _wait(row[:length]) for row, length in zip(outside[_disturbed(outside)], _of(outside, lengths), strict=True)
    )
    n = len(waits)
    if not n:
        return Calm(None, None, None, 0)
    reach = Z_95 * math.sqrt(n) / 2
    places = [min(n - 1, max(0, at)) for at in (math.floor(n / 2 - reach), math.ceil(n / 2 + reach))]
    median = (waits[(n - 1) // 2] + waits[n // 2]) / 2
    low, high = (waits[at] for at in places)
    return Calm(_finite(median), _finite(low), _finite(high), n)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _of(outside: npt.NDArray[np.bool_], lengths: Sequence[int]) -> list[int]:
    return [length for length, is_disturbed in zip(lengths, _disturbed(outside), strict=True) if is_disturbed]


def _wait(outside: npt.NDArray[np.bool_]) -> float:
    """Tokens from the opening until N_CALM in a row, or all that are left, are inside; inf where that never comes."""
    first = int(np.argmax(outside))
    for at in range(first + 1, len(outside)):
        if not outside[at : at + N_CALM].any():
            return float(at)
    return math.inf


def analyse(sides: Mapping[str, tuple[Side, Side]]) -> dict[str, Arm]:
    """Every arm from its unchanged and changed continuations."""
    return {arm: analyse_arm(*both) for arm, both in sides.items()}
