"""The ledger in plain words: what each line asked, its numbers with their units, and what the whole run found first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Plain, Sentence
from llama_diversity.studies.paper.analysis import Entry, Number, Published, Verdict
from llama_diversity.studies.plain import listed, percent_of, ranged, together

MARKS: Mapping[Verdict, str] = {  # a mark and a word, so that neither colour nor terms are needed
    "agrees": "✓ agrees",
    "same direction": "✓ same direction",
    "differs": "✗ differs",
    "not comparable": "? cannot tell",
}
PERCENT = "%"


class Asked(NamedTuple):
    """The question of a line in words, the unit of its numbers (of shares PERCENT), and what it is of in short."""

    asked: str
    unit: str
    of: str


_ASKED = {
    "E1.nationality": Asked(
        "How many nationalities have the personas, counted as if all were as frequent?", "", "nationalities"
    ),
    "E1.ethnicity": Asked("How many ethnicities, counted as if all were as frequent?", "", "ethnicities"),
    "E1.mbti": Asked("How many of the 16 Myers-Briggs types occur?", "types", "Myers-Briggs types"),
    "E1.age": Asked("How far are ages from their mean (standard deviation)?", "years", "spread of ages"),
    "E1.gender": Asked("What share of the personas are women?", PERCENT, "women among the personas"),
    "E1.review_chars": Asked("How long is a review?", "characters", "length of a review"),
    "E1.sentiment": Asked("How friendly are reviews, from -1 to +1 (VADER)?", "", "tone of reviews"),
    "E1.k": Asked("Into how many clusters do the sentences of reviews fall?", "clusters", "clusters of sentences"),
    "E2.tfidf": Asked("How alike are the words of two texts, from 0 to 1 (TF-IDF cosine)?", "", "likeness of words"),
    "E2.clusters": Asked("How many kinds of text are there among half of them?", "kinds", "kinds of text"),
    "E3.entropy": Asked(
        "How undecided is a model at each token (five likeliest, Eq. 3.2)?", "bits", "openness at each token"
    ),
    "5.1.attractors.base": Asked(
        "After what share of openings does a model say one thing again and again?", PERCENT, "attractors"
    ),
    "5.1.attractors.cold": Asked(
        "The same, the base model at a low temperature?", PERCENT, "attractors at a low temperature"
    ),
    "5.1.return.base": Asked("How often does it return to such a thing after a nudge?", PERCENT, "returns"),
    "5.1.return.cold": Asked("The same, the base model at a low temperature?", PERCENT, "returns at a low temperature"),
    "5.1.recovery": Asked("How often does a nudge throw the aligned model off at first?", PERCENT, "recovery"),
}


def is_arithmetic(entry: Entry) -> bool:
    """Whether a line is computed, whatever the models: Table 1."""
    return entry.id.startswith("T1.")


def asked_of(entry: Entry) -> Asked:
    """What a line asked; of Table 1, which is arithmetic, how likely its first response is."""
    if is_arithmetic(entry):
        return Asked(f"{entry.quantity}?", "", "Table 1")
    return _ASKED[entry.id]


def row(entry: Entry) -> tuple[str, str, str]:
    """The question, the paper's numbers and ours, each base → aligned where there are both."""
    asked = asked_of(entry)
    has_base = bool(entry.published_base.words)
    printed = [_printed(one, asked.unit) for one in (entry.published_base, entry.published_aligned) if one.words]
    ours = [_ours(one, asked.unit) for one in ((entry.base, entry.aligned) if has_base else (entry.aligned,))]
    return asked.asked, " → ".join(printed), " → ".join(ours)


def _printed(one: Published, unit: str) -> str:
    """As printed; a bare number with its unit."""
    is_bare = one.value is not None and unit != PERCENT and not one.words.endswith("of 16")
    return f"{one.words} {unit}".rstrip() if is_bare else one.words


def _ours(one: Number, unit: str) -> str:
    if one.value is None:
        return one.words or "–"
    if unit == PERCENT:
        return percent_of(one.value, one.low, one.high)
    if one.low == one.high:
        return f"{ranged(one.value, None, None)} {unit}".rstrip()
    return ranged(one.value, one.low, one.high, unit=f" {unit}".rstrip())


# ---- the first screen

PAPER = "“Creativity Has Left the Chat” (Mohammadi 2024)"
_MOST_NAMED = 4


def plain(
    found: Sequence[Entry],
    plains: Sequence[Plain],
    models: tuple[str, str],
    absent: Sequence[str],
    *,
    is_paper_pair: bool = False,
) -> Plain:
    """The most telling sentence of each experiment, more where there is room, and how the paper fares, always last."""
    named = dict(zip(("base", "aligned"), models, strict=True))
    who = "" if is_paper_pair else "These are not the paper's models."
    return together(plains, named, more=[_against(found, absent)], who=who)


def _against(found: Sequence[Entry], absent: Sequence[str]) -> Sentence:
    """How the lines fare that depend on models, and which go against the paper; Table 1 is arithmetic, left out."""
    lines = [one for one in found if not is_arithmetic(one)]
    missing = f" Nothing is there of {listed(absent)}." if absent else ""
    if not lines:
        return Sentence(f"No finding of {PAPER} could be put to these models.{missing}", "the scope")
    counts = Counter(one.verdict for one in lines)
    told: Mapping[Verdict, str] = {
        "agrees": "with the paper's number",
        "same direction": "in the paper's direction",
        "differs": f"against it{_named([one for one in lines if one.verdict == 'differs'])}",
        "not comparable": "undecided",
    }
    parts = [f"{counts[verdict]} {words}" for verdict, words in told.items() if counts[verdict]]
    text = f"{counted(len(lines), 'finding')} of {PAPER}, put to these models: {', '.join(parts)}"
    held = "Each rests on one prompt, or one request for personas, and need not hold for others."
    return Sentence(f"{text}. {held}{missing}", "the scope")


def _named(lines: Sequence[Entry]) -> str:
    """What they are of, with our numbers from base to aligned."""
    named = [f"{asked_of(one).of} {_bare(one)}".rstrip() for one in lines[:_MOST_NAMED]]
    more = [f"{len(lines) - _MOST_NAMED} more"] if len(lines) > _MOST_NAMED else []
    return f" ({', '.join([*named, *more])})" if named else ""


def _bare(entry: Entry) -> str:
    """Both numbers without their ranges, which the ledger has."""
    unit = asked_of(entry).unit
    known = [one.value for one in (entry.base, entry.aligned) if one.value is not None]
    shown = " → ".join(_ours(Number(one), unit if unit == PERCENT else "") for one in known)
    is_said = unit == PERCENT or asked_of(entry).of.endswith(unit)
    return shown if is_said else f"{shown} {unit}"
