"""A comparison in plain words: how many different texts, how far apart, how open each step; what cannot be told.

Each sentence is a line of the comparison, with its verdict: what is inconclusive there is too close to call here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llama_diversity.decimals import decimals
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence, Tells
from llama_diversity.studies.compare.analysis import Line, Result, branching, ends_of_value
from llama_diversity.studies.plain import (
    A_TOKEN,
    IN_BRACKETS,
    called,
    listed,
    models_in_words,
    percent_of,
    quoted,
    ranged,
)

if TYPE_CHECKING:
    from llama_diversity.studies.compare.exhibits import Facts

ORDER = ("kinds", "distance", "entropy", "bits_per_byte", "words")  # of the sentences, the plainest first
_NAMES = {
    "kinds": "how many texts differ in meaning",
    "distance": "how far two texts differ in meaning",
    "entropy": "how open each step is",
    "bits_per_byte": "how open each byte of text is",
    "words": "how far two texts differ in wording",
}
_COUNTED = ("kinds", "entropy", "bits_per_byte")  # measures of which the values themselves are said
_MOST_ARMS = 4  # of a sentence
_DOTS = 100  # of a panel, where more texts are compared
MEANING = "What texts mean is judged by a sentence encoder."
_TERMS = {"kinds": MEANING, "distance": MEANING, "entropy": A_TOKEN}
Group = tuple[str, Sequence[Line]]  # a measure, and its lines against one reference


def plain(found: Result, facts: Facts) -> Plain:
    """The lines of `ORDER` in words, those that were refused by reason, and how far it all holds."""
    groups = list(_groups(found.lines))
    told = [_sentence(group, found) for group in groups if _known(group[1])]
    figure = _picture(groups, found)
    note = models_in_words(facts.arms) if len(facts.arms) <= _MOST_ARMS else IN_BRACKETS
    return Plain((*told, *_refused(found.lines), _scope(found, facts)), figure, note)


def _groups(lines: Sequence[Line]) -> Iterator[Group]:
    """By measure in ORDER, then by reference."""
    for measure in ORDER:
        of: dict[str, list[Line]] = {}
        for line in lines:
            if line.measure == measure:
                of.setdefault(line.reference, []).append(line)
        yield from ((measure, some) for some in of.values())


def _known(lines: Sequence[Line]) -> list[Line]:
    """Those that say something: with a share and its interval, or decided without."""
    return [one for one in lines if one.verdict != "not comparable" and (one.low is not None or _is_decided(one))]


def _is_decided(line: Line) -> bool:
    return line.verdict in ("less diverse", "more diverse")


# ---- a sentence


def _sentence(group: Group, found: Result) -> Sentence:
    measure, every = group
    lines = _known(every)
    verdicts = {one.verdict for one in lines}
    tells: Tells = "nothing"
    if verdicts & {"less diverse", "more diverse"}:
        tells = "a difference"
    elif "equivalent" in verdicts:
        tells = "no difference"
    shown, others = lines, 0
    if len(lines) > _MOST_ARMS:
        ordered = sorted(lines, key=lambda one: one.share or 0.0)
        shown, others = [ordered[0], ordered[-1]], len(lines) - 2
    words = _Words(measure, found)
    between = f"; the other {others} lie between" if others else ""
    parts = [f"{words.part(one)}{_ending(one)}" for one in shown]
    return Sentence(f"{words.head(lines[0])}{listed(parts)}{between}.", tells, _TERMS.get(measure, ""))


def _ending(line: Line) -> str:
    if line.verdict == "equivalent":
        return ", the same within a tenth"
    if line.verdict == "inconclusive" and line.p is not None and line.p < 0.05:
        return ", which may be chance among so many questions"
    if line.verdict == "inconclusive":
        return ", too close to call"
    if line.measure in _COUNTED:
        return ", which is fewer" if line.verdict == "less diverse" else ", which is more"
    return ""


@dataclass(frozen=True)
class _Words:
    """How the lines of a measure are said."""

    measure: str
    found: Result

    def head(self, line: Line) -> str:
        """What stands before all arms, with the value of the reference."""
        first = called(line.reference)
        if self.measure == "kinds":
            many = f"about {_about(line.reference_value)} that differ in meaning"
            return f"Of {_m(self.found)} texts on one prompt {first} writes {many}, "
        if self.measure == "entropy":
            among = f"as if among {_choices(line.reference_value)} equally likely ones"
            return f"{_capital(first)} chooses each token {among}, "
        if self.measure == "bits_per_byte":
            return f"For each byte of text {first} has {_digits(line.reference_value)} bits to choose with, "
        return f"Compared with two texts of {first} on one prompt, "

    def part(self, line: Line) -> str:
        """What is said of one arm."""
        arm = called(line.arm)
        if self.measure == "kinds":
            return f"{arm} about {_valued(line, most=float(max(self.found.m_kinds)))}"
        if self.measure == "entropy":
            return f"{arm} as if among {_valued(line, of=branching)}"
        if self.measure == "bits_per_byte":
            return f"{arm} {_valued(line)}"
        return f"two of {arm} differ {_share(line)} as much in {'meaning' if self.measure == 'distance' else 'wording'}"


def _share(line: Line) -> str:
    if line.share is None:
        return "more" if line.verdict == "more diverse" else "less"
    return percent_of(line.share, line.low, line.high, edges=(100.0,))


def _valued(line: Line, *, of: Callable[[float], float] = float, most: float = math.inf) -> str:
    """The arm's value, with the range that its share has at the reference's value."""
    low, high = ends_of_value(line)
    value = of(line.value or 0.0)
    return ranged(value, None if low is None else of(low), None if high is None else min(most, of(high)))


def _m(found: Result) -> str:
    low, high = min(found.m_kinds), max(found.m_kinds)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _about(value: float | None) -> str:
    return "none" if not value else decimals(value, ".2g" if value < 2 else ",.0f")


def _digits(value: float | None) -> str:
    return decimals(value or 0.0, ".2g")


def _choices(bits: float | None) -> str:
    value = branching(bits or 0.0)
    return decimals(value, ".2g" if value < 10 else ",.0f")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


# ---- what cannot be told


def _refused(lines: Sequence[Line]) -> Iterator[Sentence]:
    """What was not compared, each reason once."""
    reasons: dict[str, list[Line]] = {}
    for _, some in _groups(lines):
        for line in some:
            if line not in _known(some):
                reasons.setdefault(line.reason or "there is no interval", []).append(line)
    for reason, some in reasons.items():
        named = listed(list(dict.fromkeys(_NAMES[one.measure] for one in some)))
        yield Sentence(f"It cannot be told {named}: {reason[:1].lower()}{reason[1:].rstrip('.')}.", "nothing")


def _scope(found: Result, facts: Facts) -> Sentence:
    prompts = facts.prompts
    if found.is_general:
        held = f"This is about prompts like these {len(prompts)}, the first of which is {quoted(prompts[0])}"
    elif len(prompts) == 1:
        held = f"This holds for {quoted(prompts[0])}, and need not hold for other prompts"
    else:
        held = f"This holds for these {len(prompts)} prompts, and need not hold for others"
    return Sentence(" ".join([f"{held}.", *_conditions(found, facts)]), "the scope")


def _conditions(found: Result, facts: Facts) -> Iterator[str]:
    for (reference, arm), parts in facts.parts.items():
        both = f"{_capital(called(arm))} and {called(reference)}"
        if len(parts) > 1:
            yield f"{both} differ in {' and '.join(parts)} together: so does what is said here."
        elif not parts:
            yield f"{both} are one recipe, drawn twice: whatever they differ in is chance."
    if found.counted_as_lost:
        shares = [f"{100 * (one.value or 0):.0f} % of {called(arm)}" for arm, one in found.valid.items()]
        yield f"Only texts that are valid count, {listed(shares)}."


# ---- the picture


def _picture(groups: Sequence[Group], found: Result) -> Figure | None:
    """Of different texts; of choices where only these tell the arms apart, or nothing else was compared."""
    of: dict[str, list[Line]] = {}
    for measure, lines in groups:
        if len(_known(lines)) == len(lines) and not of.get(measure):
            of[measure] = list(lines)
    drawn = {"kinds": _different, "entropy": _openness}
    there = [name for name in drawn if name in of]
    telling = [name for name in there if any(map(_is_decided, of[name]))]
    for name in (*telling, *there):
        figure = drawn[name](of[name], found)
        if figure is not None:
            return figure
    return None


def _different(lines: Sequence[Line], found: Result) -> Figure | None:
    m = float(np.mean(found.m_kinds))
    shrink = min(1.0, _DOTS / m)
    counts = [
        Count(arm, value * shrink, round(m * shrink), f"{_about(value)} of {_m(found)}")
        for arm, value in _values(lines)
    ]
    note = "A filled dot is a text that says something else than those before it, a ring one that repeats."
    if shrink < 1:
        note += f" {_DOTS} dots stand for {_m(found)} texts."
    return figure_of_dots("compare-different", "How many texts differ in meaning", counts, note)


def _openness(lines: Sequence[Line], found: Result) -> Figure | None:
    counts = [Count(arm, branching(bits), None, f"as if {_choices(bits)}") for arm, bits in _values(lines)]
    note = "Each dot is a token; the choice is as open as one among so many that are all equally likely."
    return figure_of_dots("compare-choices", "Among how many tokens the next one is chosen", counts, note)


def _values(lines: Sequence[Line]) -> Iterator[tuple[str, float]]:
    """Of the reference and of every arm that is set against it."""
    yield lines[0].reference, lines[0].reference_value or 0.0
    yield from ((one.arm, one.value or 0.0) for one in lines)
