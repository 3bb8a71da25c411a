"""A comparison as exhibits: what the arms are, the line of every measure with its verdict, and what may be claimed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Estimate, quantile
from llama_diversity.metrics.stated import Stated
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, ShareBetween, Table, Value
from llama_diversity.studies.compare.analysis import (
    INCLUDES_EQUALITY,
    NOT_AFTER_HOLM,
    WITHIN_MARGIN,
    Line,
    OfPrompt,
    Pair,
    Result,
    branching,
    ends_of_value,
)
from llama_diversity.studies.compare.measured import MEASURES, PRIMARY
from llama_diversity.studies.compare.plain import plain
from llama_diversity.studies.measuring.limits import LEAST_PROMPTS
from llama_diversity.studies.phrases import cut_off, letters_that_are_words, prompts_in_words, why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_MOST_SHOWN = 120  # characters of what a call wrote
BY_PROMPT = ("study", "arm", "prompt_number", "prompt", "measure", "estimate", "se", "n", "reason")


class Against(NamedTuple):
    """Of how many answers how many had a stated probability, and how those stand to the exact ones."""

    n_answers: int
    n_stated: int
    found: Stated


class Asked(NamedTuple):
    """How an arm was asked: the unit of its intervals, and of calls what holds no answer and what was stated."""

    way: str
    unit: str | None = None
    n_unparsed: int = 0
    examples: tuple[str, ...] = ()  # of these, what some wrote
    against: Against | None = None


@dataclass(frozen=True)
class Facts:
    """What was compared: of each arm in words its model, template and sampler; the prompts; n of each; the prefix."""

    arms: Mapping[str, str]
    prompts: Sequence[str]
    n: int
    max_tokens: int
    prefix: str  # in words
    has_one_vocabulary: bool
    parts: Mapping[Pair, Sequence[str]]  # of each pair that is compared, the parts in which its arms differ
    encoder: str
    is_cut: bool = False  # to the prefix, which was asked for
    asked: Mapping[str, Asked] = field(default_factory=dict)  # of arms with a way of asking of their own

    @property
    def reference(self) -> str | None:
        """The arm that all others are set against; None where there are several."""
        names = {reference for reference, _ in self.parts}
        return next(iter(names)) if len(names) == 1 else None

    @property
    def kept(self) -> str:
        """What a share is of, in words."""
        return f"kept of {self.reference}" if self.reference else "kept"

    def pair(self, line: Line) -> str:
        """A line's arm, with its reference where there are several."""
        return line.arm if self.reference else f"{line.arm} of {line.reference}"


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole comparison for a reader."""
    prompts = prompts_in_words(facts.prompts)
    judged = f", of which the first {facts.prefix} are judged" if facts.is_cut else ""
    about = (
        f"{facts.n} generations of each arm for {prompts}, at most {counted(facts.max_tokens, 'token')} each{judged}. "
        f"{_set_against(facts)} Meanings by {facts.encoder}."
    )
    exhibits = tuple(_exhibits(found, facts))
    are_models = all(list(parts) == ["weights"] for parts in facts.parts.values())
    title = f"Which {'model' if are_models else 'arm'} is more diverse?"
    return Section("compare", title, about, command, exhibits, plain(found, facts))


def _set_against(facts: Facts) -> str:
    if facts.reference:
        return f"Shares are of {facts.reference}'s value."
    return f"All {len(facts.parts)} pairs are compared; shares are of the value of the arm that is named last."


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield Table(
        "compare-arms",
        "The arms",
        ("arm", "what it is", "valid", "95 % interval", "n", "cut off", "tokens, mean", "price, written", "of prompt"),
        tuple(
            (
                arm,
                words,
                None if found.valid[arm].value is None else Share(found.valid[arm].value or 0.0),
                ShareBetween(found.valid[arm].low or 0.0, found.valid[arm].high or 0.0) if found.valid[arm].n else None,
                found.valid[arm].n,
                cut_off(found.endings[arm]),
                found.lengths[arm],
                found.prices[arm].written,
                found.prices[arm].prompted,
            )
            for arm, words in facts.arms.items()
        ),
        "Cut off: by --max-tokens, valid or not. Tokens, mean: of a valid output. Price: tokens that an output costs, "
        "valid or not, all that was written for it and the prompts that were read for it, of a mixture by all its "
        "models.",
    )
    yield from _units(found, facts)
    yield from _calls(facts)
    yield from why_left_out(found.endings)
    yield Remark(_claim(found, facts))
    yield from _parts(facts)
    yield from letters_that_are_words(found.by_letter)
    if not facts.has_one_vocabulary:
        yield Remark(
            "Token-level comparison refused: the models use different vocabularies. Bits per byte stand for entropy, "
            "and the common prefix is counted in words.",
            is_warning=True,
        )
    yield _lines("compare-lines", "Every measure", found.lines, found, facts)
    yield from _small_and_sure(found.lines, facts)
    if any(line.low is not None for line in found.lines):
        yield _forest(found, facts)
    yield _values(found, facts)
    yield by_prompt("compare", found.by_prompt, facts.prompts)
    yield from _reasons(found.lines, facts)
    if found.counted_as_lost and _has_number(found):
        shares = " and ".join(f"{100 * (one.value or 0):.0f} % of {arm}" for arm, one in found.valid.items())
        yield Remark(
            f"Reported in two forms, because {shares} outputs are valid: among valid outputs, above, and counting "
            "invalid ones as lost.",
            is_warning=True,
        )
        title = "The primary measure, invalid outputs counted as lost"
        yield _lines("compare-lost", title, found.counted_as_lost, found, facts)


def _units(found: Result, facts: Facts) -> Iterator[Remark]:
    """Which outputs are not independent."""
    for arm, asked in facts.asked.items():
        if asked.unit and not found.is_general:
            yield Remark(
                f"{arm}: its outputs come in {found.n_units[arm]} {asked.unit}s, and outputs of one {asked.unit} are "
                f"not independent: the {asked.unit} is the unit of its intervals."
            )


def _calls(facts: Facts) -> Iterator[Exhibit]:
    """Of calls for several answers what could not be read, and stated against exact probabilities."""
    of_calls = {arm: (asked, asked.against) for arm, asked in facts.asked.items() if asked.against is not None}
    for arm, (asked, _) in of_calls.items():
        if asked.n_unparsed:
            wrote = "; ".join(f"“{_beginning(one)}”" for one in asked.examples)
            calls = f"{counted(asked.n_unparsed, 'call')} of {arm} {'hold' if asked.n_unparsed > 1 else 'holds'}"
            yield Remark(
                f"{calls} no answer in the form asked for. The model wrote: {wrote}. A smaller k or a larger model may "
                "help; ask=listed needs no form.",
                is_warning=True,
            )
    rows = [_row_of_stated(arm, against) for arm, (_, against) in of_calls.items() if against is not None]
    if rows:
        yield Table(
            "compare-stated",
            "Stated against exact probabilities",
            (
                "arm",
                "answers",
                "stated",
                "rank correlation",
                "95 % interval",
                "slope",
                "95 % interval ",
                "stated / exact",
            ),
            tuple(rows),
            "Exact: of the answer and an end behind it, under the same model for the prompt alone, at temperature 1. "
            "Rank correlation 1: the order is right, 0: says nothing. Slope of log stated on log exact: 1 calibrated "
            "up to a factor, which stands last (geometric mean). Intervals over calls.",
        )
    for arm, (_, against) in of_calls.items():
        if against is not None and against.found.reason:
            yield Remark(f"{arm}: stated probabilities are not compared: {against.found.reason.rstrip('.')}.")


def _row_of_stated(arm: str, against: Against) -> tuple[Value, ...]:
    one = against.found
    ratio = one.log_ratio.value
    return (
        arm,
        against.n_answers,
        against.n_stated,
        *(each for some in (one.rank_correlation, one.slope) for each in (some.value, _interval(some))),
        None if ratio is None else f"{math.exp(min(ratio, 700)):.2g}",
    )


def _interval(one: Estimate) -> Between | None:
    if one.value is None or one.se is None:
        return None
    half = quantile(one.n - 1) * one.se
    return Between(one.value - half, one.value + half)


def _beginning(text: str) -> str:
    """At most 120 characters on a line."""
    words = " ".join(text.split())
    return words if len(words) <= _MOST_SHOWN else f"{words[: _MOST_SHOWN - 1]}…"


def _has_number(found: Result) -> bool:
    """Whether either form of the primary measure has one."""
    usual = (line for line in found.lines if line.measure == PRIMARY)
    return any(line.share is not None for line in (*usual, *found.counted_as_lost))


def _parts(facts: Facts) -> Iterator[Remark]:
    """Where an arm's effect cannot be attributed, and where there is none but chance."""
    for (reference, arm), parts in facts.parts.items():
        if len(parts) > 1:
            yield Remark(
                f"{arm} and {reference} differ in {' and '.join(parts)} together: the effect is a joint one.", True
            )
        elif not parts:
            yield Remark(f"{arm} and {reference} are one recipe, drawn twice: whatever they differ in is chance.")


def _claim(found: Result, facts: Facts) -> str:
    family = f"all lines of all {len(facts.parts)} pairs" if len(facts.parts) > 1 else "all lines"
    if found.is_general:
        return (
            f"Intervals are over {found.n_prompts} prompts, paired: the claim is about prompts like these. p is "
            f"adjusted after Holm over {family}."
        )
    few = (
        "One prompt: the result holds for this prompt" if found.n_prompts == 1 else "The result holds for these prompts"
    )
    return (
        f"{few}, not for prompts in general ({LEAST_PROMPTS} or more would say something of those). Intervals are over "
        f"generations; p is adjusted after Holm over {family}."
    )


def _small_and_sure(lines: Sequence[Line], facts: Facts) -> Iterator[Remark]:
    """How an equivalence and a small p go together, where they do."""
    both = [line for line in lines if line.verdict == "equivalent" and line.p_holm is not None and line.p_holm < 0.05]
    if both:
        yield Remark(
            f"{_listed(both, facts)}: equivalent, though p is small. p asks whether the arms differ at all, "
            "“equivalent” says that they differ by less than a tenth: here both hold, the difference is real and small."
        )


def _listed(lines: Sequence[Line], facts: Facts) -> str:
    """Measures and of whom they are, each measure once."""
    of: dict[str, list[str]] = {}
    for line in lines:
        of.setdefault(MEASURES[line.measure].removesuffix(" *"), []).append(facts.pair(line))
    every = None if facts.reference else len(facts.parts)
    return ", ".join(
        f"“{name}” of {'all pairs' if len(some) == every else ' and '.join(some)}" for name, some in of.items()
    )


def m_in_words(m_kinds: Sequence[int], m_words: Sequence[int]) -> str:
    """Of how many outputs and words the kinds and words are that are counted, in a sentence."""
    many = " on a prompt" if len(m_kinds) > 1 else ""
    of_words = f" and {_range(m_words)} words for words" if any(m_words) else ""
    outputs = "output" if max(m_kinds) == 1 else "outputs"
    return f"m: {_range(m_kinds)} {outputs} for kinds{of_words}, half of what the arm with the fewest has{many}."


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def by_prompt(study: str, found: Sequence[OfPrompt], prompts: Sequence[str]) -> Table:
    """Every value of every arm on every prompt, long, for programs: the headings are names."""
    note = "Standard errors are over generations; larger is more diverse in every measure."
    rows = by_prompt_rows(study, found, prompts)
    return Table(f"{study}-by-prompt", "Every value by prompt", BY_PROMPT, rows, note, in_terminal=False)


def by_prompt_rows(study: str, found: Sequence[OfPrompt], prompts: Sequence[str]) -> tuple[tuple[Value, ...], ...]:
    """The same as rows; prompts are numbered from 1."""
    return tuple(
        (study, one.arm, one.prompt, prompts[one.prompt - 1], one.measure, one.estimate, one.se, one.n, one.reason)
        for one in found
    )


def line_as_json(line: Line) -> dict[str, Any]:
    """A line for machines, with the ends of the arm's value; of entropies branching factors too, 2 to their power."""
    low, high = ends_of_value(line)
    found = {**line._asdict(), "value_low": low, "value_high": high}
    if line.measure == "entropy":
        bits = {"branching_factor": line.value, "reference_branching_factor": line.reference_value}
        bits |= {"branching_factor_low": low, "branching_factor_high": high}
        found |= {name: None if value is None else branching(value) for name, value in bits.items()}
    return found


def _lines(name: str, title: str, lines: Sequence[Line], found: Result, facts: Facts) -> Table:
    return Table(
        name,
        title,
        ("measure", "arm" if facts.reference else "pair", "verdict", facts.kept, "95 % interval", "p"),
        tuple(
            (
                MEASURES[line.measure],
                facts.pair(line),
                _verdict(line, found),
                line.share,
                None if line.low is None or line.high is None else Between(line.low, line.high),
                line.p_holm,
            )
            for line in lines
        ),
        f"Kept: the arm's value over that of {facts.reference or 'the arm named last'}; larger is more diverse in "
        "every line. * the primary measure, declared beforehand. Equivalent: the 90 % interval lies within a tenth of "
        f"equality. {m_in_words(found.m_kinds, found.m_words)}",
    )


def _verdict(line: Line, found: Result) -> str:
    """What may be said, with what would settle it."""
    has_calls = not found.n_units.keys().isdisjoint({line.arm, line.reference})
    unit = "prompt" if found.is_general else "call" if has_calls else "generation"
    verdict: str = line.verdict
    if verdict == "inconclusive" and line.p is not None and line.p < 0.05:
        verdict += " after Holm"
    if line.more is None:
        return verdict
    return f"{verdict}; about {line.more:,} more {unit}{'' if line.more == 1 else 's'} may tell"


def _values(found: Result, facts: Facts) -> Table:
    is_all_there_is = any(line.verdict == "not comparable" and line.value is not None for line in found.lines)
    return Table(
        "compare-values",
        "The values themselves",
        ("measure", "arm", "reference", "arm_value", "reference_value"),
        tuple(
            (MEASURES[line.measure], line.arm, line.reference, line.value, line.reference_value) for line in found.lines
        ),
        "Distances: mean over pairs of 1 - cosine, of embeddings and of TF-IDF with the IDF of all arms. Vendi 2: the "
        f"effective number of outputs, corrected for n. Kinds: classes of meaning among {_range(found.m_kinds)} "
        f"outputs. Words: distance, and different ones among {_range(found.m_words)}, on the common prefix of "
        f"{facts.prefix}. Of several prompts means, geometric ones where none is 0.",
        in_terminal=is_all_there_is,
    )


def _forest(found: Result, facts: Facts) -> Figure:
    known = [line for line in found.lines if line.low is not None and line.high is not None]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.forest import Row, forest_panels

        # The reference has no rows, but keeps its colour.
        rows: dict[str, list[Row]] = {arm: [] for arm in facts.arms} if facts.reference else {}
        for line in known:
            row = Row(MEASURES[line.measure], line.share or 1.0, line.low or 1.0, line.high or 1.0, line.verdict)
            rows.setdefault(facts.pair(line), []).append(row)
        return forest_panels(rows, title=f"share {facts.kept}")

    note = (
        "Points: share kept; bars: 95 % intervals, not adjusted for their number; dashed: equal. Logarithmic axis. "
        f"{m_in_words(found.m_kinds, found.m_words)}"
    )
    of_whom = (
        f"each arm keeps of the diversity of {facts.reference}"
        if facts.reference
        else "one arm keeps of another's diversity"
    )
    return Figure("compare-kept", f"What {of_whom}", draw, note)


_PLAIN = (WITHIN_MARGIN, INCLUDES_EQUALITY, NOT_AFTER_HOLM)  # what the verdict says already


def _reasons(lines: Sequence[Line], facts: Facts) -> Iterator[Remark]:
    """Why lines were not compared, or were in another way than usual: each reason once."""
    said: dict[str, list[Line]] = {}
    for line in lines:
        is_plain = line.verdict != "not comparable" and line.reason in _PLAIN
        if line.reason and not is_plain:
            said.setdefault(line.reason, []).append(line)
    for reason, some in said.items():
        yield Remark(f"{reason[0].upper()}{reason[1:].rstrip('.')}. This holds for {_listed(some, facts)}.")
