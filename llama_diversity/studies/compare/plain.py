"""A comparison in plain words: how many different texts, how far apart, how open each step; what cannot be told.

Each sentence is a line of the comparison, with its verdict: what is inconclusive there is too close to call here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llama_diversity.decimals import counted, decimals
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence, Tells
from llama_diversity.studies.compare.analysis import Line, Result, branching, ends_of_value
from llama_diversity.studies.plain import (
    A_TOKEN,
    called,
    listed,
    percent_of,
    quoted,
    ranged,
    told,
)

if TYPE_CHECKING:
    from llama_diversity.studies.compare.exhibits import Facts

ORDER = ("kinds", "distance", "words", "entropy", "bits_per_byte")  # of the sentences, the plainest first
_NAMES = {
    "kinds": "how many texts differ in meaning",
    "distance": "how far two texts differ in meaning",
    "entropy": "how open each step is",
    "bits_per_byte": "how open each byte of text is",
    "words": "how far two texts differ in wording",
}
_COUNTED = ("kinds", "entropy", "bits_per_byte")  # measures of which the values themselves are said
_MOST_ARMS = 4  # of a sentence
_SURE = 0.05  # of p before Holm
_MOSTLY = 0.5  # of an arm's texts, those that are cut off
_DOTS = 100  # of a panel, where more texts are compared
MEANING = "What texts mean is judged by a sentence encoder."
_TERMS = {"kinds": MEANING, "distance": MEANING, "entropy": A_TOKEN}
Group = tuple[str, Sequence[Line]]  # a measure, and its lines against one reference


def plain(found: Result, facts: Facts) -> Plain:
    """The lines of `ORDER` in words, those that were refused by reason, and how far it all holds."""
    said = [_sentence(group, found, facts) for group in _groups(found.lines) if _known(group[1])]
    arms = facts.arms if len(facts.arms) <= _MOST_ARMS else {}
    n = len(facts.prompts)
    asked = (
        f"Asked: {quoted(facts.prompts[0])}." if n == 1 else f"Asked: {n} prompts, such as {quoted(facts.prompts[0])}."
    )
    return told([*said, *_refused(found.lines), _scope(found, facts)], arms, more=asked)


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


def _sentence(group: Group, found: Result, facts: Facts) -> Sentence:
    measure, every = group
    lines = _known(every)
    shown, others = lines, 0
    if len(lines) > _MOST_ARMS:
        ordered = sorted(lines, key=lambda one: one.share or 0.0)
        shown, others = [ordered[0], ordered[-1]], len(lines) - 2
    words = _Words(measure, found)
    parts = [f"{words.part(one, is_first=not at)}{_ending(one, facts)}" for at, one in enumerate(shown)]
    between = [f"the other {others} lie between"] if others else []
    text = f"{words.head(lines[0])}{'; '.join([*parts, *between])}."
    picture = _PICTURES[measure](lines, found) if measure in _PICTURES and len(lines) == len(every) else None
    return Sentence(text, _tells(lines, facts), _TERMS.get(measure, ""), picture)


def _tells(lines: Sequence[Line], facts: Facts) -> Tells:
    """What differs by chance alone, one recipe drawn twice, tells nothing."""
    verdicts = {one.verdict for one in lines if not _is_chance(one, facts)}
    if verdicts & {"less diverse", "more diverse"}:
        return "a difference"
    return "no difference" if "equivalent" in verdicts else "nothing"


def _is_chance(line: Line, facts: Facts) -> bool:
    return _is_decided(line) and not facts.parts[line.reference, line.arm]


def _ending(line: Line, facts: Facts) -> str:
    if _is_chance(line, facts):
        return ", by chance: both are one recipe"
    if line.verdict == "equivalent":
        return ", the same within a tenth"
    if line.verdict == "inconclusive":
        is_after_holm = line.p is not None and line.p < _SURE
        return ", which may be chance among so many questions" if is_after_holm else ", too close to call"
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
            many = f"about {_about(line.reference_value)} of {first}'s differ in meaning"
            return f"Of {_m(self.found)} texts on one prompt {many}, "
        if self.measure == "entropy":
            return f"{_capital(first)} has in effect {_choices(line.reference_value)} equally likely next tokens, "
        if self.measure == "bits_per_byte":
            return f"For each byte of text {first} has {_digits(line.reference_value)} bits to choose with, "
        return ""

    def part(self, line: Line, *, is_first: bool) -> str:
        """What is said of one arm."""
        arm = called(line.arm)
        if self.measure == "kinds":
            return f"about {_valued(line, most=float(max(self.found.m_kinds)))} of {arm}'s"
        if self.measure == "entropy":
            return f"{arm} {_valued(line, of=branching)}"
        if self.measure == "bits_per_byte":
            return f"{arm} {_valued(line)}"
        what = "meaning" if self.measure == "distance" else "wording"
        if not is_first:
            return f"two of {arm} {_share(line)} as much"
        of = f"as two of {called(line.reference)}"
        return f"Two texts of {arm} on one prompt differ in {what} {_share(line)} as much {of}"


def _share(line: Line) -> str:
    if line.share is None:
        return "more" if line.verdict == "more diverse" else "less"
    is_near = line.verdict in ("equivalent", "inconclusive") and not (line.p is not None and line.p < _SURE)
    return percent_of(line.share, line.low, line.high, edges=() if is_near else (100.0,))


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
    """What was not compared, each reason once, and of which arms where it holds for some."""
    arms = {line.arm for line in lines}
    reasons: dict[str, list[Line]] = {}
    for _, some in _groups(lines):
        for line in some:
            if line not in _known(some):
                reasons.setdefault(line.reason or "there is no interval", []).append(line)
    for reason, some in reasons.items():
        named = listed(list(dict.fromkeys(_NAMES[one.measure] for one in some)))
        affected = dict.fromkeys(one.arm for one in some)
        of = "" if set(affected) == arms else f" of {listed([called(arm) for arm in affected])}"
        yield Sentence(f"It cannot be told{of} {named}: {reason[:1].lower()}{reason[1:].rstrip('.')}.", "nothing")


def _scope(found: Result, facts: Facts) -> Sentence:
    prompts = facts.prompts
    if found.is_general:
        held = f"This is about prompts like these {len(prompts)}"
    elif len(prompts) == 1:
        held = "This holds for this one prompt, and need not hold for others"
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
    cut = [one.share_cut_off for one in found.endings.values()]
    if max((share or 0.0 for share in cut), default=0.0) > _MOSTLY:
        end = counted(facts.max_tokens, "token")
        yield f"Most texts of a model are cut off after {end}: what is compared are beginnings."
    if found.counted_as_lost:
        shares = [f"{100 * (one.value or 0):.0f} % of {called(arm)}" for arm, one in found.valid.items()]
        yield f"Only texts that are valid count, {listed(shares)}."


# ---- the pictures


def _different(lines: Sequence[Line], found: Result) -> Figure | None:
    m = float(np.mean(found.m_kinds))
    shrink = min(1.0, _DOTS / m)
    counts = [
        Count(arm, value * shrink, round(m * shrink), f"{_about(value)} of {_m(found)}")
        for arm, value in _values(lines)
    ]
    note = "A ring: a text that means nearly the same as an earlier one."
    if shrink < 1:
        note += f" {_DOTS} dots stand for {_m(found)} texts."
    return figure_of_dots("compare-different", "Filled: a text that says something new", counts, note)


def _openness(lines: Sequence[Line], found: Result) -> Figure | None:
    counts = [Count(arm, branching(bits), None, f"{_choices(bits)} in effect") for arm, bits in _values(lines)]
    note = "Some tokens are likelier than others; the choice is as open as one among so many equal ones."
    return figure_of_dots("compare-choices", "Filled: a token that may come next, all equally likely", counts, note)


_PICTURES: Mapping[str, Callable[[Sequence[Line], Result], Figure | None]] = {"kinds": _different, "entropy": _openness}


def _values(lines: Sequence[Line]) -> Iterator[tuple[str, float]]:
    """Of the reference and of every arm that is set against it."""
    yield lines[0].reference, lines[0].reference_value or 0.0
    yield from ((one.arm, one.value or 0.0) for one in lines)
