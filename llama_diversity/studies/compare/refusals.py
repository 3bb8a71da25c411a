"""When a measure must not be compared, and the sentence that says why.

Needs what was measured; the wording is fixed, numbers are filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.coverage import two_digits
from llama_diversity.studies.compare.measured import PREFIXES, Case, Tally, excess_bits
from llama_diversity.studies.measuring.languages import MOST_UNREAD, objection_to_words, unreadable
from llama_diversity.studies.measuring.limits import (
    FEW_FOR_TAILS,
    LEAST_FOR_TAILS,
    LEAST_PROMPTS,
    LEAST_VALID,
    MOST_TRUNCATED,
    objection_to_class_entropy,
    seen_share,
)
from llama_diversity.studies.measuring.self_check import LARGEST_Z

LEAST_UNITS = 8  # calls or chains
NOTHING_VARIES = "Each arm gave one output only; there is nothing to test."


class Refusal(NamedTuple):
    """Why a measure must not be compared; `hides`: not even its values are shown, they would be wrong."""

    reason: str
    hides: bool = True


def objection(name: str, arms: Sequence[str], case: Case) -> Refusal | None:
    """Why this measure of these arms must not be compared; None where it may."""
    own = _of_measure(name, arms, case)
    hides = own is not None and own.hides
    every = [(arm, one) for arm in arms for one in case.of(arm)]
    arm, fewest = min(every, key=lambda one: one[1].n_valid)
    if not fewest.n_valid:
        return Refusal(
            f"None of {arm}'s {fewest.n} generations is valid; a valid one has text, and what --valid asks for.", hides
        )
    if fewest.n_valid < LEAST_VALID:  # what is not shown of a few more is not shown of so few either
        return own if hides else _too_few(fewest)
    few = _too_few_calls(arms, case)
    if few is not None:
        return own if hides else few
    if all(one.n_texts == 1 for _, one in every):
        return Refusal(NOTHING_VARIES, hides)
    return own


def _of_measure(name: str, arms: Sequence[str], case: Case) -> Refusal | None:
    """What this measure asks for beyond what all do."""
    fewest = min(one.n_valid for arm in arms for one in case.of(arm))
    if name in ("vendi", "class_entropy") and fewest < LEAST_FOR_TAILS:
        return Refusal(FEW_FOR_TAILS)
    if name in ("distance", "vendi", "kinds", "class_entropy"):
        return _of_meanings(name, arms, case)
    if name in ("words", "types"):
        return _of_prefix(arms, case)
    return _of_tokens(arms, case)


def _too_few(one: Tally) -> Refusal:
    """Fewer valid ones than an interval takes, with the n that would give them if as many stay valid."""
    valid = one.n_valid
    step = f"-n {LEAST_VALID} or more"
    if valid < one.n:
        step = f"a larger -n, about {two_digits(LEAST_VALID * one.n / valid):,}, since {valid} of {one.n} are valid"
    return Refusal(
        f"Too few valid generations ({valid}) for an interval. Point estimate only; no comparison. Rerun with {step}.",
        hides=False,
    )


def _too_few_calls(arms: Sequence[str], case: Case) -> Refusal | None:
    """Where intervals are over generations those of an arm that come in calls have the calls for units."""
    for arm in arms if len(case.measured) < LEAST_PROMPTS else ():
        fewest = min(case.units(arm), key=lambda one: one.n, default=None)
        if fewest is not None and fewest.n < LEAST_UNITS:
            return Refusal(
                f"Too few {fewest.noun}s with a valid output ({fewest.n}) for an interval: outputs of one are not "
                f"independent. Point estimate only. Rerun with a larger -n, a smaller k, or {LEAST_PROMPTS} prompts.",
                hides=False,
            )
    return None


def _of_meanings(name: str, arms: Sequence[str], case: Case) -> Refusal | None:
    for arm in arms:
        n = sum(one.n_valid for one in case.of(arm))
        cut = sum(one.n_truncated for one in case.of(arm))
        if cut > MOST_TRUNCATED * n:
            return Refusal(
                f"Similarity not reported: {100 * cut / n:.0f} % of {arm}'s texts exceed the encoder's 256 word "
                "pieces. Shorten with --prefix or --max-tokens."
            )
        unread = sum(one.unread * one.n_valid for one in case.of(arm)) / max(1, n)
        if unread > MOST_UNREAD:
            return Refusal(unreadable(arm, unread))
    for arm in arms if name == "class_entropy" else ():
        reason = objection_to_class_entropy(arm, min((one.kinds[arm] for one in case.measured), key=seen_share))
        if reason:
            return Refusal(reason)
    return None


def _of_prefix(arms: Sequence[str], case: Case) -> Refusal | None:
    prefix, unit = case.rules.prefix, case.rules.unit
    n = {arm: sum(one.n_valid for one in case.of(arm)) for arm in arms}
    lengths = {arm: [int(x) for one in case.of(arm) for x in one.prefix_lengths] for arm in arms}
    if prefix is None:
        short = {arm: sum(x < PREFIXES[-1] for x in some) for arm, some in lengths.items()}
        arm = max(arms, key=lambda one: short[one] / max(1, n[one]))
        return Refusal(
            f"Not comparable at any common length: {short[arm]} of {n[arm]} {arm} generations end before "
            f"{PREFIXES[-1]} {unit}. Raise --max-tokens, or name a shorter --prefix."
        )
    for arm in arms:
        short_of = n[arm] - sum(one.n_reach for one in case.of(arm))
        if 2 * short_of > n[arm]:
            return Refusal(
                f"Not comparable at {prefix} {unit}: {short_of} of {n[arm]} {arm} generations end before. "
                f"Longest usable prefix: {_longest_usable(lengths) or 'none'}."
            )
    said = objection_to_words({arm: case.cutting(arm) for arm in arms})
    return Refusal(said) if said else _of_few(arms, case)


def _of_few(arms: Sequence[str], case: Case) -> Refusal | None:
    prefix, unit = case.rules.prefix, case.rules.unit
    with_words = min(one.n_with_words for arm in arms for one in case.of(arm))
    fewest = min(one.n_reach for arm in arms for one in case.of(arm))
    if with_words >= LEAST_VALID:
        return None
    few, way = f"({fewest}) reach the common prefix of", "a shorter"
    if fewest >= LEAST_VALID:
        few, way = f"({with_words}) hold a word within the common prefix of", "a longer"
    return Refusal(
        f"Too few generations {few} {prefix} {unit} for an interval. Point estimate only; no comparison. Rerun with a "
        f"larger -n or {way} --prefix.",
        hides=False,
    )


def _longest_usable(lengths: Mapping[str, Sequence[int]]) -> int:
    """The longest prefix that at least half of every arm's generations reach, of those that have any.

    >>> _longest_usable({"base": [64, 64], "aligned": [30, 20, 9]})
    20
    """
    return min(sorted(some, reverse=True)[(len(some) - 1) // 2] for some in lengths.values() if some)


def _of_tokens(arms: Sequence[str], case: Case) -> Refusal | None:
    for arm in arms:
        if np.isnan(excess_bits(case.of(arm))).any():
            return Refusal(
                f"Entropy not reported: that of what {arm} was drawn from is not known. A server without llamadiv's "
                "plugin (--stock) tells none, and neither does its sampler; with the plugin it does."
            )
        z = case.checks[arm]
        if z is not None and abs(z) > LARGEST_Z:
            tokens = sum(int(one.lengths.sum()) for one in case.of(arm))
            nats = float(excess_bits(case.of(arm)).sum()) * math.log(2) / tokens
            return Refusal(
                f"Entropy not reported: surprisal and entropy of {arm} disagree by {nats:+.2f} nats per token "
                f"(z = {z:.1f}). The stored probabilities are not those the tokens were drawn from. Check sampler "
                "settings and token alignment."
            )
    return None
