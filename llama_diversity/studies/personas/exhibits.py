"""Experiment 1 as exhibits: validity first, then every field's distribution, ages, reviews and their tone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llama_diversity.metrics.inference import wilson
from llama_diversity.render import csv
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, ShareBetween, Table, Value
from llama_diversity.studies.personas.analysis import CATEGORIES, Arm, Result, Row
from llama_diversity.studies.personas.parser import FIELDS
from llama_diversity.studies.personas.plain import plain
from llama_diversity.studies.personas.sentence_exhibits import sentence_exhibits
from llama_diversity.studies.personas.sentences import Clusters

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

MOST_REASONS = 5
MOST_VALUES = 20  # rows of a figure; the table has all
UNEQUAL_VALIDITY = 0.10
_FIGURES = {
    "first_name": ("figure-1-first-names", "Figure 1: first names"),
    "last_name": ("figure-1-last-names", "Figure 1: last names"),
    "nationality": ("figure-2-nationalities", "Figure 2: nationalities"),
    "ethnicity": ("figure-3-ethnicities", "Figure 3: ethnicities"),
    "mbti": ("figure-4-types", "Figure 4: Myers-Briggs types"),
    "gender": ("figure-6-genders", "Figure 6: genders"),
}
_HISTOGRAMS = {
    "age": ("figure-5-ages", "Figure 5: ages", "years", 5.0),
    "review_chars": ("figure-7-review-lengths", "Figure 7: lengths of the reviews", "characters", 25.0),
    "sentiment": ("figure-8-sentiments", "Figure 8: tone of the reviews", "VADER compound", 0.125),
}
_WORDS = {
    "age": "age, years",
    "review_chars": "review, characters",
    "review_sentences": "review, sentences",
    "sentiment": "review, VADER compound",
    "sentence_sentiment": "the same, mean over sentences",
}


@dataclass(frozen=True)
class Facts:
    """Whom was asked, and how: the arms' models, and in words what each was given.

    `unread`: why the meanings of an arm's sentences say nothing.
    """

    models: Mapping[str, str]
    asked: Mapping[str, str]
    product: str = ""  # where it is another than the paper's
    is_bound: bool = False  # to a grammar
    unread: Mapping[str, str] = dataclasses.field(default_factory=dict)


def section(found: Result, clusters: Clusters, facts: Facts, command: str) -> Section:
    """The whole experiment for a reader."""
    arms = "; ".join(f"{arm} ({facts.models[arm]}): {facts.asked[arm]}" for arm in found.arms)
    product = f"The product is “{facts.product}”" if facts.product else "One product"
    about = f"One persona with a review in each completion. {arms}. {product}: the result holds for this request."
    exhibits = tuple(_exhibits(found, clusters, facts))
    return Section(
        "personas", "Experiment 1: how varied are the personas?", about, command, exhibits, plain(found, facts.models)
    )


def people_csv(rows: Sequence[Row]) -> str:
    """Every output as a row, valid or not; what a spreadsheet would take for a formula has an apostrophe before it."""
    return csv.to_csv(
        ["arm", "index", "sample", *FIELDS, "valid", "reason"],
        [
            [csv.guarded(one.arm), str(one.index), one.sample]
            + [csv.guarded(one.fields.get(name, "")) for name in FIELDS]
            + ["no" if one.reason else "yes", one.reason]
            for one in rows
        ],
    )


def _exhibits(found: Result, clusters: Clusters, facts: Facts) -> Iterator[Exhibit]:
    if facts.is_bound:
        yield Remark(
            "Forms were forced by a grammar: every output is whole, and the distribution is no longer the models' own.",
            is_warning=True,
        )
    yield _validity(found.arms)
    shares = [arm.valid.value for arm in found.arms.values() if arm.valid.value is not None]
    if shares and max(shares) - min(shares) > UNEQUAL_VALIDITY:
        yield Remark(
            "The arms' valid shares differ by more than 10 points: figures of diversity are of the valid outputs only.",
            is_warning=True,
        )
    for name, arm in found.arms.items():
        if not arm.personas:
            yield Remark(f"{name}: no output holds a whole persona; there is nothing to compare.", is_warning=True)
    if not any(arm.personas for arm in found.arms.values()):
        return
    yield _fields(found)
    yield from _joined(found.arms)
    yield from _kept(found)
    yield from _not_reported(found)
    yield _numbers(found)
    yield from _tones(found.arms)
    for name in ("first_name", "last_name"):
        yield _cloud(found, name)
    for name, (file, title) in _FIGURES.items():
        if name == "gender":  # in the paper's order ages come before genders
            yield _histogram(found, "age", *_HISTOGRAMS["age"])
        yield _bars(found, name, file, title)
        yield _counts(found, name, file, title)
    yield _histogram(found, "review_chars", *_HISTOGRAMS["review_chars"])
    if all(arm.has_tone for arm in found.arms.values()):
        yield _histogram(found, "sentiment", *_HISTOGRAMS["sentiment"])
    unread = [Remark(reason, is_warning=True) for reason in facts.unread.values()]
    yield from unread or sentence_exhibits(clusters)


def _validity(arms: Mapping[str, Arm]) -> Table:
    return Table(
        "personas-validity",
        "Outputs that hold a whole persona",
        ("arm", "valid", "95 % interval", "n", "cut off", "why others do not"),
        tuple(
            (
                name,
                None if arm.valid.value is None else Share(arm.valid.value),
                None
                if arm.valid.low is None or arm.valid.high is None
                else ShareBetween(arm.valid.low, arm.valid.high),
                arm.n,
                Share(arm.n_cut_off / arm.n) if arm.n else None,
                _in_words(arm.reasons),
            )
            for name, arm in arms.items()
        ),
        "Valid: all eight fields can be read, the age is a number of years, the type one of the 16. Cut off: by "
        "--max-tokens, valid or not.",
    )


def _in_words(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts, and how many outputs have another."""
    shown = list(reasons.items())[:MOST_REASONS]
    others = sum(reasons.values()) - sum(n for _, n in shown)
    said = [f"{reason} ({n})" for reason, n in [*shown, *([("other", others)] if others else [])]]
    return "; ".join(said) or "none"


def _fields(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name in CATEGORIES:
        for arm, one in found.arms.items():
            field = one.fields[name]
            entropy, coverage = field.entropy_nats.value, field.coverage.value
            rows.append(
                (
                    _plain(name),
                    arm,
                    len(field.counts),
                    field.rarefied.value,
                    None if entropy is None else math.exp(entropy),
                    field.concentration.value,
                    field.concentration_of_all,
                    None if coverage is None else Share(coverage),
                )
            )
    return Table(
        "personas-fields",
        "How varied each field is among the valid personas",
        ("field", "arm", "seen", f"in {found.m}", "effective", "same", "of all", "coverage"),
        tuple(rows),
        f"Seen: different values. In {found.m}: expected among {found.m} personas (rarefied). Effective: exp of the "
        "class entropy (Chao, Wang, Jost). Same: chance that two personas share it; of all: that two outputs do, valid "
        "or not. Coverage: share of what the model gives that was seen.",
    )


def _joined(arms: Mapping[str, Arm]) -> Iterator[Remark]:
    """How many spellings were taken for one value."""
    said = []
    for name, arm in arms.items():
        more = {field: (one.n_spellings, len(one.counts)) for field, one in arm.fields.items()}
        parts = [f"{_plain(field)} {n} into {left}" for field, (n, left) in more.items() if n > left]
        said += [f"of {name} {', '.join(parts)}"] if parts else []
    if said:
        yield Remark(
            "Spellings of one value are joined (capitals, letters and their accents, a country and its people, what "
            f"stands around a value): {'; '.join(said)}."
        )


def _tones(arms: Mapping[str, Arm]) -> Iterator[Remark]:
    """Of whom the tone is not known, and what a compound score rests on."""
    for name, arm in arms.items():
        other = f" ({arm.n_other_language} seem to be in another language)" if arm.n_other_language else ""
        reason = (
            f"VADER's lexicon is English, and knows no word of {arm.n_unknown_tones} of {len(arm.personas)} of "
            f"{name}'s reviews{other}"
        )
        if not arm.has_tone:
            yield Remark(f"Tone of {name}'s reviews not reported: {reason}.", is_warning=True)
        elif arm.n_unknown_tones:
            yield Remark(f"{reason}; they count as VADER has them, most as 0.")


def _kept(found: Result) -> Iterator[Table | Remark]:
    """No table where no field of any arm can be compared, but why, where `_not_reported` does not say it already."""
    every = [one for fields in found.retained.values() for one in fields.values()]
    if all(one.share is None for one in every):
        said = {field.entropy_nats.reason for arm in found.arms.values() for field in arm.fields.values()}
        for reason in dict.fromkeys(one.reason for one in every if one.reason and one.reason not in said):
            yield Remark(f"Nothing is left to compare in any field: {reason.rstrip('.')}.")
        return
    first = next(iter(found.arms))
    rows: list[tuple[Value, ...]] = []
    for name in CATEGORIES:
        for arm, fields in found.retained.items():
            one = fields[name]
            interval = None if one.low is None or one.high is None else Between(one.low, one.high)
            rows.append((_plain(name), arm, one.share, interval, found.adjusted_p[arm][name]))
    yield Table(
        "personas-kept",
        f"What is left of {first}'s variety",
        ("field", "arm", "kept", "95 % interval", "p"),
        tuple(rows),
        f"Kept: class entropy divided by {first}'s, above 1 where there is more; p adjusted after Holm over the "
        f"fields. Of {first} the interval is for these forms.",
    )


def _not_reported(found: Result) -> Iterator[Remark]:
    """Why class entropies are not reported: each reason once, with the fields it holds for."""
    said: dict[str, list[str]] = {}
    n_every = sum(len(arm.fields) for arm in found.arms.values() if arm.personas)
    for name, arm in found.arms.items():
        for field, one in arm.fields.items():
            if one.entropy_nats.value is None and one.entropy_nats.reason and arm.personas:
                said.setdefault(one.entropy_nats.reason, []).append(f"“{_plain(field)}” of {name}")
    for reason, fields in said.items():
        where = "every field, so none is compared" if len(fields) == n_every else ", ".join(fields)
        yield Remark(f"{reason.rstrip('.')}. This holds for {where}.")


def _plain(name: str) -> str:
    return "type" if name == "mbti" else name.replace("_", " ")


def _numbers(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, words in _WORDS.items():
        for arm, one in found.arms.items():
            summary, values = one.summaries[name], one.numbers[name]
            ends = (min(values), max(values)) if values else (None, None)
            changed = found.differences.get(arm, {}).get(name)
            interval = None if changed is None else Between(changed.low, changed.high)
            rows.append((words, arm, summary.mean, summary.sd, *ends, changed.mean if changed else None, interval))
    return Table(
        "personas-numbers",
        "Ages, and length and tone of the reviews",
        ("number", "arm", "mean", "sd", "least", "most", f"minus {next(iter(found.arms))}", "95 % interval"),
        tuple(rows),
        "VADER's compound of a whole review, which the paper reports, grows with its length, and a negation reaches "
        "across full stops; the mean over its sentences does neither.",
    )


# ---- figures


def _cloud(found: Result, name: str) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.clouds import cloud_panel

        return {
            f"{arm} (n = {len(one.personas)})": cloud_panel(one.fields[name].counts, arm=arm, position=position)
            for position, (arm, one) in enumerate(found.arms.items())
        }

    words = _plain(name)
    return Figure(
        f"figure-1-cloud-{words.replace(' ', '-')}s",
        f"Figure 1: {words}s as a word cloud",
        draw,
        "A larger name is more frequent. A picture, not a measurement: the bars and counts below are.",
    )


def _bars(found: Result, name: str, file: str, title: str) -> Figure:
    total = _totals(found, name)
    order = list(total)[:MOST_VALUES]
    left = f" The {MOST_VALUES} most frequent of {len(total)}." if len(total) > MOST_VALUES else ""

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.distributions import bars_panel

        shares = {
            arm: {value: _interval(one, name, value) for value in order if one.personas}
            for arm, one in found.arms.items()
        }
        highest = max((high for some in shares.values() for _, _, high in some.values()), default=1.0)
        return {
            f"{arm} (n = {len(found.arms[arm].personas)})": bars_panel(
                some, order, arm=arm, position=position, highest=highest
            )
            for position, (arm, some) in enumerate(shares.items())
        }

    return Figure(file, title, draw, f"Share of the valid personas, Wilson's 95 % intervals.{left}")


def _totals(found: Result, name: str) -> dict[str, int]:
    """Counts over all arms together, the most frequent first."""
    total: dict[str, int] = {}
    for one in found.arms.values():
        for value, n in one.fields[name].counts.items():
            total[value] = total.get(value, 0) + n
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _interval(arm: Arm, name: str, value: str) -> tuple[float, float, float]:
    found = wilson(arm.fields[name].counts.get(value, 0), len(arm.personas))
    return found.value or 0.0, found.low or 0.0, found.high or 0.0


def _counts(found: Result, name: str, file: str, title: str) -> Table:
    return Table(
        f"{file}-counts",
        f"Counts of {title.partition(': ')[2]}",
        (_plain(name), *found.arms),
        tuple(
            (value, *(one.fields[name].counts.get(value, 0) for one in found.arms.values()))
            for value in _totals(found, name)
        ),
        in_terminal=name in ("gender", "nationality"),
    )


def _histogram(found: Result, name: str, file: str, title: str, unit: str, width: float) -> Figure:
    every = [value for one in found.arms.values() for value in one.numbers[name]]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    if name == "sentiment":
        low, high = -1.0, 1.0
    first, last = math.floor(low / width), math.floor(high / width) + (0 if name == "sentiment" else 1)
    edges = [width * at for at in range(first, max(last, first + 1) + 1)]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.distributions import histogram_panel

        highest = max(
            (max(np.histogram(one.numbers[name], edges)[0]) / max(len(one.personas), 1) for one in found.arms.values()),
            default=1.0,
        )
        return {
            f"{arm} (n = {len(one.personas)})": histogram_panel(
                one.numbers[name], edges, unit=unit, arm=arm, position=position, highest=float(highest) or 1.0
            )
            for position, (arm, one) in enumerate(found.arms.items())
        }

    return Figure(file, title, draw, "Share of the valid personas in each bin.")
