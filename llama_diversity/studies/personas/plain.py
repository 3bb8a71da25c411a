"""Experiment 1 in plain words: nationalities, ages, women among the personas, and how friendly their reviews are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llama_diversity.decimals import decimals
from llama_diversity.metrics.inference import Estimate, interval_of, limits_of, log_ratio, proportion_difference
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence
from llama_diversity.studies.personas.analysis import (
    Result,
    effective,
    entropy_difference,
    spread_of_ages,
    women,
)
from llama_diversity.studies.plain import called, judged, listed, percent_of, ranged, sign_of, told

_PART = 100  # dots of a panel
_SURE = 0.05  # of p after Holm
AS_VARIED = "As varied as 5 in equal numbers: as mixed as if 5 occurred, all equally often."


def plain(found: Result, models: Mapping[str, str]) -> Plain:
    """What the fields and numbers say of the valid personas; where an arm has none, that."""
    none = [called(arm) for arm, one in found.arms.items() if not one.personas]
    if none:
        said = Sentence(f"Nothing can be said of personas: {listed(none)} made none that is whole.", "nothing")
        return told([said], models)
    return told([*_nationalities(found), *_ages(found), *_tone(found), *_women(found), _scope(found)], models)


def _scope(found: Result) -> Sentence:
    shares = [f"{100 * (one.valid.value or 0.0):.0f} % of {called(arm)}'s" for arm, one in found.arms.items()]
    first, *others = found.arms
    asked = listed([called(arm) for arm in others])
    way = f"{called(first)} went on with filled-in forms and {asked} {'was' if len(others) == 1 else 'were'} asked"
    return Sentence(
        f"Only outputs that hold a whole persona count, {listed(shares)}; {way}, so that is part of every difference.",
        "the scope",
    )


def _nationalities(found: Result) -> Iterator[Sentence]:
    """As varied as how many, by class entropy; p after Holm over all fields."""
    fields = {arm: one.fields["nationality"] for arm, one in found.arms.items()}
    varied = {arm: effective(one) for arm, one in fields.items()}
    reason = next((one.entropy_nats.reason for one in fields.values() if one.entropy_nats.value is None), None)
    if reason:
        said = f"{reason[:1].lower()}{reason[1:].rstrip('.')}"
        yield Sentence(f"It cannot be told how varied nationalities are: {said}.", "nothing")
        return
    numbers = {arm: ranged(one.value or 0.0, one.low, one.high, edges=(1.0,)) for arm, one in varied.items()}
    first = next(iter(numbers))
    parts = {arm: f"those of {called(arm)} as {number}" for arm, number in numbers.items()}
    parts[first] = f"the nationalities of {called(first)}'s personas are as varied as {numbers[first]} in equal numbers"
    yield _capital(
        judged("", parts, _signs(found, first), ("less varied", "more varied"), term=AS_VARIED, picture=_mixed(found))
    )


def _signs(found: Result, first: str) -> dict[str, int | None]:
    signs = {}
    for arm, fields in found.retained.items():
        kept, p = fields["nationality"], found.adjusted_p[arm]["nationality"]
        if kept.low is None:
            change = entropy_difference(found, first, arm, "nationality")
            signs[arm] = sign_of(change.low, change.high)
        else:
            signs[arm] = 0 if p is not None and p >= _SURE else sign_of(kept.low, kept.high, 1.0)
    return signs


def _women(found: Result) -> Iterator[Sentence]:
    shares = {arm: women(one) for arm, one in found.arms.items()}
    first = next(iter(shares))
    parts = {
        arm: f"{percent_of(one.value or 0.0, one.low, one.high)} of {called(arm)}'s" for arm, one in shares.items()
    }
    parts[first] += " personas are women"
    changes = {arm: proportion_difference(shares[first], one) for arm, one in shares.items() if arm != first}
    signs = {arm: sign_of(one.low, one.high) for arm, one in changes.items()}
    counts = [
        Count(arm, _PART * (one.value or 0.0), _PART, f"{decimals(_PART * (one.value or 0.0), '.0f')} of {_PART}")
        for arm, one in shares.items()
    ]
    note = "A ring: a persona that is none."
    picture = figure_of_dots("personas-women", "Filled: a woman among the personas", counts, note)
    yield _aside(_capital(judged("", parts, signs, ("fewer", "more"), picture=picture)))


def _ages(found: Result) -> Iterator[Sentence]:
    spreads = {arm: spread_of_ages(one) for arm, one in found.arms.items()}
    if any(one.value is None for one in spreads.values()):
        return
    first = next(iter(spreads))
    parts = {arm: f"those of {called(arm)} by {_years(one)}" for arm, one in spreads.items()}
    parts[first] = f"the ages of {called(first)}'s personas differ from their mean by {_years(spreads[first])} years"
    kept = {arm: log_ratio(spreads[first], one) for arm, one in spreads.items() if arm != first}
    signs = {arm: sign_of(one.low, one.high, 1.0) for arm, one in kept.items()}
    yield _capital(judged("", parts, signs, ("less", "more")))


def _years(spread: Estimate) -> str:
    low, high = limits_of(spread) or (None, None)
    return ranged(spread.value or 0.0, None if low is None else max(0.0, low), high)


def _tone(found: Result) -> Iterator[Sentence]:
    """Of whole reviews, where VADER can read them."""
    if not all(one.has_tone and one.numbers["sentiment"] for one in found.arms.values()):
        return
    tones = {arm: interval_of(one.summaries["sentiment"]) for arm, one in found.arms.items()}
    numbers = {arm: ranged(one.mean, one.low, one.high) for arm, one in tones.items()}
    first = next(iter(numbers))
    parts = {arm: f"those of {called(arm)} {number}" for arm, number in numbers.items()}
    parts[first] = f"the reviews of {called(first)} have a tone of {numbers[first]}"
    signs = {arm: sign_of(some["sentiment"].low, some["sentiment"].high) for arm, some in found.differences.items()}
    yield _aside(judged("Where -1 is scathing and +1 is glowing,", parts, signs, ("less friendly", "friendlier")))


def _aside(one: Sentence) -> Sentence:
    """A difference that is not of variety."""
    return one._replace(tells="another difference") if one.tells == "a difference" else one


def _capital(one: Sentence) -> Sentence:
    text = one.text.strip()
    return one._replace(text=f"{text[:1].upper()}{text[1:]}")


def _mixed(found: Result) -> Figure | None:
    varied: Mapping[str, float | None] = {
        arm: effective(one.fields["nationality"]).value for arm, one in found.arms.items()
    }
    counts = [
        Count(arm, value, None, f"as varied as {decimals(value, '.2g')}")
        for arm, value in varied.items()
        if value is not None
    ]
    if len(counts) < len(varied):
        return None
    note = "The personas are as mixed as if so many nationalities occurred, all equally often."
    return figure_of_dots("personas-nationalities", "Filled: a nationality, all equally frequent", counts, note)
