"""Experiment 2 in plain words: how often two texts mean nearly the same, how many different ones there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llama_diversity.decimals import decimals
from llama_diversity.metrics.inference import Retained, limits_of
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.plain import (
    called,
    judged,
    percent_of,
    quoted,
    ranged,
    scope,
    sign_of,
    told,
)
from llama_diversity.studies.semantic.analysis import Result, Whole

MEANING = (
    "Two texts mean nearly the same where a sentence encoder sees them as near each other "
    f"(a cosine of {KIND_CUT:g} or more)."
)
DIFFERENT = "A ring: a text that means nearly the same as an earlier one."
_PAIRS = 100  # dots of a panel


def plain(found: Whole, prompt: str, models: Mapping[str, str]) -> Plain:
    """Likeness of meanings, kinds and distance; of meanings that the encoder cannot read why not."""
    said = [one for one in (alike(found.result, prompt), *_more(found, prompt)) if one is not None]
    return told([*said, scope(prompt)], models) if said else Plain()


def alike(found: Result, prompt: str) -> Sentence | None:
    """How often two texts of an arm mean nearly the same; None where an arm has no two texts."""
    pairs = found.alike
    unread = next((one.reason for one in pairs.values() if one.value is None and one.n), None)
    if unread:
        return Sentence(f"It cannot be told how often two texts mean nearly the same: {_lower(unread)}", "nothing")
    if any(one.value is None for one in pairs.values()):
        return None
    shares = {arm: percent_of(one.value or 0.0, one.low, one.high) for arm, one in pairs.items()}
    first = next(iter(shares))
    parts = {arm: f"{share} of {called(arm)}'s" for arm, share in shares.items()}
    parts[first] = f"{shares[first]} of {called(first)}'s pairs of texts mean nearly the same"
    signs = {arm: sign_of(one.low, one.high) for arm, one in found.alike_differences.items()}
    return judged(f"After {quoted(prompt)}", parts, signs, ("less", "more"), term=MEANING, picture=picture(found))


def picture(found: Result) -> Figure | None:
    """Of 100 pairs so many that mean nearly the same."""
    if any(one.value is None for one in found.alike.values()):
        return None
    counts = [
        Count(arm, _PAIRS * (one.value or 0.0), _PAIRS, f"{_of_hundred(one.value or 0.0)} of {_PAIRS}")
        for arm, one in found.alike.items()
    ]
    return figure_of_dots(
        "semantic-alike",
        "Filled: two texts that mean nearly the same",
        counts,
        f"{_PAIRS} dots for all pairs of texts of a model; a ring: two texts that do not.",
    )


def _of_hundred(share: float) -> str:
    """A share of a hundred in whole ones, but for less than one and all but one."""
    number = _PAIRS * share
    if 0 < number < 1:
        return "less than 1"
    return "more than 99" if 99 < number < _PAIRS else decimals(number, ".0f")


def _more(found: Whole, prompt: str) -> Iterator[Sentence]:
    if not found.unreadable:
        yield from _kinds(found, prompt)
        yield from _compared(found.distance_retained, "differ", "as far in meaning", next(iter(found.distance)))


def _kinds(found: Whole, prompt: str) -> Iterator[Sentence]:
    """How many of m texts differ in meaning."""
    limits = {arm: limits_of(one) for arm, one in found.rarefied.items()}
    if any(one.value is None for one in found.rarefied.values()) or found.m_kinds < 2:
        return
    most = float(found.m_kinds)
    numbers = {
        arm: ranged(
            found.rarefied[arm].value or 0.0,
            None if ends is None else max(1.0, ends[0]),
            None if ends is None else min(most, ends[1]),
        )
        for arm, ends in limits.items()
    }
    first = next(iter(numbers))
    parts = {arm: f"{number} of {called(arm)}'s" for arm, number in numbers.items()}
    parts[first] = f"about {numbers[first]} of {called(first)}'s differ in meaning"
    signs = {arm: sign_of(one.low, one.high, 1.0) for arm, one in found.rarefied_retained.items()}
    yield judged(
        f"Of {found.m_kinds:,} texts after {quoted(prompt)}",
        parts,
        signs,
        ("fewer", "more"),
        picture=_picture_of_kinds(found),
    )


def _picture_of_kinds(found: Whole) -> Figure | None:
    m = found.m_kinds
    values = {arm: one.value or 0.0 for arm, one in found.rarefied.items()}
    counts = [Count(arm, value, m, f"{decimals(value, '.0f')} of {m:,}") for arm, value in values.items()]
    return figure_of_dots("semantic-different", "Filled: a text that says something new", counts, DIFFERENT)


def _compared(retained: Mapping[str, Retained], verb: str, how: str, first: str) -> Iterator[Sentence]:
    """A measure of which an arm keeps a share."""
    parts: dict[str, str] = {}
    signs: dict[str, int | None] = {}
    for arm, one in retained.items():
        if one.share is None or one.low is None or one.high is None:
            return
        share = percent_of(one.share, one.low, one.high, edges=(100.0,))
        start, end = ("two of", "") if parts else ("Two texts of", f" as two of {called(first)}")
        parts[arm] = f"{start} {called(arm)} {verb} {share} {how}{end}"
        signs[arm] = sign_of(one.low, one.high, 1.0)
    if not parts:
        return
    ends: dict[int | None, str] = {
        0: "no difference that could be seen",
        None: "whether that is a difference cannot be told",
    }
    said = [f"{part}{'' if signs[arm] else ' (' + ends[signs[arm]] + ')'}" for arm, part in parts.items()]
    is_any = any(signs.values())
    yield Sentence(f"{' and '.join(said)}.", "a difference" if is_any else "no difference")


def _lower(reason: str) -> str:
    return f"{reason[:1].lower()}{reason[1:].rstrip('.')}."
