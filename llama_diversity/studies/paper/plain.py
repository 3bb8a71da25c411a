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
    """The question of a line in words, and the unit of its numbers; of shares PERCENT."""

    asked: str
    unit: str


_ASKED = {
    "E1.nationality": Asked("How many nationalities have the personas, counted as if all were as frequent?", ""),
    "E1.ethnicity": Asked("How many ethnicities, counted as if all were as frequent?", ""),
    "E1.mbti": Asked("How many of the 16 Myers-Briggs types occur?", "types"),
    "E1.age": Asked("How far are ages from their mean (standard deviation)?", "years"),
    "E1.gender": Asked("What share of the personas are women?", PERCENT),
    "E1.review_chars": Asked("How long is a review?", "characters"),
    "E1.sentiment": Asked("How friendly are reviews, from -1 to +1 (VADER)?", ""),
    "E1.k": Asked("Into how many clusters do the sentences of reviews fall?", "clusters"),
    "E2.tfidf": Asked("How alike are the words of two texts, from 0 to 1 (TF-IDF cosine)?", ""),
    "E2.clusters": Asked("How many kinds of text are there among half of them?", "kinds"),
    "E3.entropy": Asked("How undecided is a model at each token (five likeliest, Eq. 3.2)?", "bits"),
    "5.1.attractors.base": Asked("After what share of openings does a model say one thing again and again?", PERCENT),
    "5.1.attractors.cold": Asked("The same, the base model at a low temperature?", PERCENT),
    "5.1.return.base": Asked("How often does it return to such a thing after a nudge?", PERCENT),
    "5.1.return.cold": Asked("The same, the base model at a low temperature?", PERCENT),
    "5.1.recovery": Asked("How often does a nudge throw the aligned model off at first?", PERCENT),
}


def is_arithmetic(entry: Entry) -> bool:
    """Whether a line is computed, whatever the models: Table 1."""
    return entry.id.startswith("T1.")


def asked_of(entry: Entry) -> Asked:
    """What a line asked; of Table 1, which is arithmetic, how likely its first response is."""
    if is_arithmetic(entry):
        return Asked(f"{entry.quantity}?", "")
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
    if one.low == one.high:
        return f"{ranged(one.value, None, None)} {unit}".rstrip()
    if unit == PERCENT:
        return percent_of(one.value, one.low, one.high)
    return ranged(one.value, one.low, one.high, unit=f" {unit}".rstrip())


# ---- the first screen


def plain(found: Sequence[Entry], plains: Sequence[Plain], models: tuple[str, str], absent: Sequence[str]) -> Plain:
    """The most telling sentence of each experiment, more where there is room, and how the paper fares, always last."""
    named = dict(zip(("base", "aligned"), models, strict=True))
    return together(plains, named, more=[_against(found, absent)])


def _against(found: Sequence[Entry], absent: Sequence[str]) -> Sentence:
    """How many of the lines that depend on models hold; Table 1 is arithmetic, and its lines are counted apart."""
    lines = [one for one in found if not is_arithmetic(one)]
    counts = Counter(one.verdict for one in lines)
    told: Mapping[Verdict, str] = {
        "agrees": "same number",
        "same direction": "same direction",
        "differs": "opposite direction",
        "not comparable": "cannot be told",
    }
    parts = [f"{words} {counts[verdict]}" for verdict, words in told.items() if counts[verdict]]
    missing = f" Nothing is there of {listed(absent)}." if absent else ""
    if not parts:
        return Sentence(f"No finding of the paper could be put to these models.{missing}", "the scope")
    text = f"How {counted(len(lines), 'finding')} of the paper fare on these models: {', '.join(parts)}"
    return Sentence(f"{text}. Each is of one prompt or request, and need not hold for others.{missing}", "the scope")
