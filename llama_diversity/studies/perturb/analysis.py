"""Section 5.1 of the paper: does a model that is nudged off its path find its way back to what it always says?

Protocol: raw completions of the paper's prompt "Grace Hopper was", and of more prompts, by the aligned model. A
completion that has a "was" of its own in the first two sentences gives an opening, cut after that "was"; where none of
a prompt has one, the prompt alone may be. Every arm (and the base model at a low temperature, the paper's control)
continues each opening twice, n times each: as it is, and with "was" changed to "was not" (`perturbations` has other
changes). Only what follows the opening is judged, so the opening's own words cannot count as a return. A continuation
that goes on within the opening's last word ("was not" + "ed") has undone the change; it is counted and left out.

Each opening is analysed by itself, and the openings are the units: one opening alone, the paper's reading, says as much
about others as one prompt says about others (`over_openings`).

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.inference import (
    Z_95,
    Difference,
    Proportion,
    clustered_proportion,
    mean_interval,
    proportion_difference,
    summarize,
    welch_difference,
    wilson,
)
from llama_diversity.records import TokenStats
from llama_diversity.text import is_letter_without_blanks

PROMPT = "Grace Hopper was"  # the paper's
N_SAMPLES = 96  # of each arm, as it is and changed, over all openings
N_OPENINGS = 6
N_PROMPTS = 12  # that are tried for openings, where none is named
LEAST_PROMPTS = 5  # for a claim about prompts in general
LEAST_OPENINGS = 5  # for a claim about openings
LEAST_EACH = 8  # continuations of an opening: four to learn attractors from, four to judge
MAX_TOKENS = 64
COMPLETION_TOKENS = 32  # of a completion, for an opening within its first two sentences
LOW_TEMPERATURE = 0.3
KIND_CUT = 0.7
LEAST_SHARE, LEAST_MEMBERS = 0.05, 3
LEAST_ALIVE = 0.1  # of the continuations, for a mean over those still running
N_CALM = 3  # tokens in a row that must look undisturbed
N_FIRST = 5  # tokens in which a disturbance must show
BAND = 0.95

Vectors = npt.NDArray[np.float32]

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

    n_attractors: int | None  # None where the encoder cannot read the texts
    in_attractors: Proportion  # of the odd unchanged continuations
    returned: Proportion  # of the changed ones
    n_undone: tuple[int, int]  # unchanged and changed continuations that go on within the opening's last word
    unchanged_bits: tuple[float, ...]  # mean surprisal by token
    changed_bits: tuple[float, ...]
    excess_bits: tuple[Difference, ...]
    disturbed: Proportion
    disturbed_unchanged: Proportion
    calm: Calm
    waits: tuple[float, ...] = ()  # of each disturbed continuation, tokens until it is calm again; inf: never


def analyse_arm(unchanged: Side, changed: Side, *, unreadable: str | None = None) -> Arm:
    """Both sides' embeddings and token statistics, shape (n, d) and n arrays.

    `unreadable`: why embeddings say nothing of the texts; then there are no attractors to speak of.
    """
    both = (unchanged, changed)
    kept = [np.array([not undoes(side.opening, text) for text in side.texts], np.bool_) for side in both]
    rows = [side.vectors[whole] for side, whole in zip(both, kept, strict=True)]
    before, after = (
        surprisals([one for one, is_whole in zip(side.tokens, whole, strict=True) if is_whole])
        for side, whole in zip(both, kept, strict=True)
    )
    learned, held_out = rows[0][0::2], rows[0][1::2]
    places = attractors_of(learned)
    held, returned = (clusters.return_share(some, places).share for some in (held_out, rows[1]))
    if not len(rows[1]):
        returned = returned._replace(reason="no continuation of a changed opening is left to judge")
    if unreadable is not None:
        held = returned = Proportion(None, None, None, 0, 0, unreadable)
    outside, outside_by_chance = _outside(before, after), _outside(before, before)
    waits = waits_of(outside, [len(row[~np.isnan(row)]) for row in after])
    return Arm(
        len(places.centres) if unreadable is None else None,
        held,
        returned,
        (int((~kept[0]).sum()), int((~kept[1]).sum())),
        _means(before),
        _means(after),
        tuple(_excess(before, after)),
        wilson(int(_disturbed(outside).sum()), len(outside)),
        wilson(int(_disturbed(outside_by_chance).sum()), len(outside_by_chance)),
        median_wait(waits),
        tuple(waits),
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


def waits_of(outside: npt.NDArray[np.bool_], lengths: Sequence[int]) -> list[float]:
    """After how many tokens each disturbed continuation is calm again, in order of size; `lengths` in tokens.

    >>> rows = np.array([[1, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [0] * 7, [1] * 7], bool)
    >>> waits_of(rows, [7, 7, 7, 7])  # the third was not disturbed
    [1.0, 3.0, inf]
    """
    disturbed = _disturbed(outside)
    rows = zip(outside[disturbed], np.asarray(lengths, np.int64)[disturbed].tolist(), strict=True)
    return sorted(_wait(row[:length]) for row, length in rows)


def median_wait(waits: Sequence[float]) -> Calm:
    """The median of independent waits, with the order statistics around it.

    >>> median_wait([1.0, 3.0, math.inf])[0]
    3.0
    """
    ordered, n = sorted(waits), len(waits)
    if not n:
        return Calm(None, None, None, 0)
    reach = Z_95 * math.sqrt(n) / 2
    places = [min(n - 1, max(0, at)) for at in (math.floor(n / 2 - reach), math.ceil(n / 2 + reach))]
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    low, high = (ordered[at] for at in places)
    return Calm(_finite(median), _finite(low), _finite(high), n)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _wait(outside: npt.NDArray[np.bool_]) -> float:
    """Tokens from the opening until N_CALM in a row, or all that are left, are inside; inf where that never comes."""
    first = int(np.argmax(outside))
    for at in range(first + 1, len(outside)):
        if not outside[at : at + N_CALM].any():
            return float(at)
    return math.inf


def analyse(sides: Mapping[str, tuple[Side, Side]], unread: Mapping[str, str] | None = None) -> dict[str, Arm]:
    """Every arm from its unchanged and changed continuations of one opening; `unread`: why one has no attractors."""
    reasons = unread or {}
    return {arm: analyse_arm(*both, unreadable=reasons.get(arm)) for arm, both in sides.items()}


# ---- over openings


class Disturbance(NamedTuple):
    """How much oftener changed continuations are disturbed, with a 95 % interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Over:
    """What one arm did after several openings: shares over openings, each with an interval that has openings as units.

    Of a single opening they are those of its continuations. `returned` and `in_attractors` are of the openings of which
    the arm has an attractor, `returned.n` continuations in `n_returned` openings. `unchanged_bits` and the next two are
    means over openings, `excess_bits` with a t interval over them.
    """

    n_openings: int
    with_attractors: Proportion  # of the openings
    in_attractors: Proportion
    returned: Proportion
    n_returned: int
    n_undone: tuple[int, int]
    unchanged_bits: tuple[float, ...]
    changed_bits: tuple[float, ...]
    excess_bits: tuple[Difference, ...]
    disturbed: Proportion
    disturbed_unchanged: Proportion
    disturbance: Disturbance
    calm: Calm  # median over openings of their own medians; of one opening, over its continuations


class Outcome(NamedTuple):
    """The arms over the openings that have words of the aligned model's own; over all where none has."""

    arms: Mapping[str, Over]
    n_own: int
    n_openings: int


def over_openings(arms: Sequence[Arm], groups: Sequence[int]) -> Over:
    """One arm's openings together. `groups`: the prompt of each opening.

    Openings of one prompt are alike. From LEAST_PROMPTS prompts on the prompts are the units, and the claim is about
    prompts like these; with fewer the openings are, and it is about openings of these prompts.
    """
    units = list(groups) if len(set(groups)) >= LEAST_PROMPTS else list(range(len(arms)))
    judged = [at for at, one in enumerate(arms) if one.n_attractors and one.returned.n]
    held = [at for at, one in enumerate(arms) if one.n_attractors and one.in_attractors.n]
    return Over(
        len(arms),
        _over([_has_attractors(one) for one in arms], units, _why(arms)),
        _over([arms[at].in_attractors for at in held], [units[at] for at in held], _why(arms)),
        _over([arms[at].returned for at in judged], [units[at] for at in judged], _why(arms)),
        len(judged),
        (sum(one.n_undone[0] for one in arms), sum(one.n_undone[1] for one in arms)),
        _mean_curve([one.unchanged_bits for one in arms]),
        _mean_curve([one.changed_bits for one in arms]),
        tuple(_excess_over([one.excess_bits for one in arms], units)) if len(arms) > 1 else arms[0].excess_bits,
        _over([one.disturbed for one in arms], units),
        _over([one.disturbed_unchanged for one in arms], units),
        _disturbance(arms, units),
        median_wait([_median(one) for one in arms if one.waits]) if len(arms) > 1 else arms[0].calm,
    )


def _has_attractors(arm: Arm) -> Proportion:
    """Of one opening; nothing is known of an arm that the encoder cannot read."""
    return Proportion(None, None, None, int(bool(arm.n_attractors)), int(arm.n_attractors is not None))


def _why(arms: Sequence[Arm]) -> str:
    """What to say where there is nothing to judge."""
    return next((one.returned.reason for one in arms if one.returned.reason), None) or "no attractor to return to"


def _over(shares: Sequence[Proportion], units: Sequence[int], why: str = "no continuations") -> Proportion:
    """The share over units; of a single one its own, with its own interval."""
    groups = _by_unit(shares, units)
    n = [sum(one.n for one in some) for some in groups]
    if not sum(n):
        return Proportion(None, None, None, 0, 0, why)
    return clustered_proportion([sum(one.k for one in some) for some in groups], n)


T = TypeVar("T")


def _by_unit(values: Iterable[T], units: Iterable[int]) -> list[list[T]]:
    groups: dict[int, list[T]] = {}
    for value, unit in zip(values, units, strict=True):
        groups.setdefault(unit, []).append(value)
    return list(groups.values())


def _mean_curve(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Mean over openings, token by token, while half of them are that long."""
    columns = ([curve[at] for curve in curves if len(curve) > at] for at in range(max(map(len, curves), default=0)))
    return tuple(float(np.mean(column)) for column in columns if 2 * len(column) >= len(curves))


def _excess_over(curves: Sequence[Sequence[Difference]], units: Sequence[int]) -> Iterator[Difference]:
    """Token by token the mean over units of the openings' own differences, while half of the units have one."""
    for at in range(max(map(len, curves), default=0)):
        there = [(curve[at].mean, unit) for curve, unit in zip(curves, units, strict=True) if len(curve) > at]
        means = [float(np.mean(some)) for some in _by_unit(*zip(*there, strict=True))]
        if 2 * len(means) >= len(set(units)):
            found = mean_interval(means)
            yield Difference(found.mean, summarize(means).se, found.low, found.high)


def _disturbance(arms: Sequence[Arm], units: Sequence[int]) -> Disturbance:
    """Changed less unchanged: paired by opening, a t interval over units; of one opening Newcombe's."""
    if len(arms) == 1:
        alone = proportion_difference(arms[0].disturbed_unchanged, arms[0].disturbed)
        return Disturbance(*(_finite(number) for number in (alone.mean, alone.low, alone.high)))
    known = [
        (one.disturbed.value - one.disturbed_unchanged.value, unit)
        for one, unit in zip(arms, units, strict=True)
        if one.disturbed.value is not None and one.disturbed_unchanged.value is not None
    ]
    if not known:
        return Disturbance(None, None, None)
    found = mean_interval([float(np.mean(some)) for some in _by_unit(*zip(*known, strict=True))])
    ends = [_finite(end) for end in (found.low, found.high)]
    return Disturbance(found.mean, *(None if end is None else max(-1.0, min(1.0, end)) for end in ends))


def _median(arm: Arm) -> float:
    return float(np.median(arm.waits)) if np.isfinite(arm.waits).sum() > len(arm.waits) / 2 else math.inf
