"""A comparison as exhibits: what the arms are, the line of every measure with its verdict, and what may be claimed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table
from llama_diversity.studies.compare.analysis import (
    INCLUDES_EQUALITY,
    LEAST_PROMPTS,
    NOT_AFTER_HOLM,
    WITHIN_MARGIN,
    Line,
    Result,
)
from llama_diversity.studies.compare.measured import MEASURES, PRIMARY
from llama_diversity.studies.phrases import cut_off, letters_that_are_words, prompts_in_words, why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was compared: of each arm in words its model, template and sampler; the prompts; n of each; the prefix."""

    arms: Mapping[str, str]
    prompts: Sequence[str]
    n: int
    max_tokens: int
    prefix: str  # in words
    has_one_vocabulary: bool
    parts: Mapping[str, Sequence[str]]  # of each later arm, the parts in which it differs from the first
    encoder: str
    is_cut: bool = False  # to the prefix, which was asked for


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole comparison for a reader."""
    prompts = prompts_in_words(facts.prompts)
    judged = f", of which the first {facts.prefix} are judged" if facts.is_cut else ""
    about = (
        f"{facts.n} generations of each arm for {prompts}, at most {counted(facts.max_tokens, 'token')} each{judged}. "
        f"Shares are of the first arm's value, {next(iter(facts.arms))}. Meanings by {facts.encoder}."
    )
    return Section("compare", "Which arm is more diverse?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield Table(
        "compare-arms",
        "The arms",
        ("arm", "what it is", "valid", "95 % interval", "n", "cut off", "tokens, mean"),
        tuple(
            (
                arm,
                words,
                None if found.valid[arm].value is None else Share(found.valid[arm].value or 0.0),
                Between(found.valid[arm].low or 0.0, found.valid[arm].high or 0.0) if found.valid[arm].n else None,
                found.valid[arm].n,
                cut_off(found.endings[arm]),
                found.lengths[arm],
            )
            for arm, words in facts.arms.items()
        ),
        "Cut off: by --max-tokens, valid or not.",
    )
    yield from why_left_out(found.endings)
    yield Remark(_claim(found))
    yield from _parts(facts)
    yield from letters_that_are_words(found.by_letter)
    if not facts.has_one_vocabulary:
        yield Remark(
            "Token-level comparison refused: the models use different vocabularies. Bits per byte stand for entropy, "
            "and the common prefix is counted in words.",
            is_warning=True,
        )
    yield _lines("compare-lines", "Every measure", found.lines, found)
    if any(line.low is not None for line in found.lines):
        yield _forest(found, list(facts.arms))
    yield _values(found, facts)
    yield from _reasons(found.lines)
    if found.counted_as_lost and _has_number(found):
        shares = " and ".join(f"{100 * (one.value or 0):.0f} % of {arm}" for arm, one in found.valid.items())
        yield Remark(
            f"Reported in two forms, because {shares} outputs are valid: among valid outputs, above, and counting "
            "invalid ones as lost.",
            is_warning=True,
        )
        yield _lines(
            "compare-lost", "The primary measure, invalid outputs counted as lost", found.counted_as_lost, found
        )


def _has_number(found: Result) -> bool:
    """Whether either form of the primary measure has one."""
    usual = (line for line in found.lines if line.measure == PRIMARY)
    return any(line.share is not None for line in (*usual, *found.counted_as_lost))


def _parts(facts: Facts) -> Iterator[Remark]:
    """Where an arm's effect cannot be attributed, and where there is none but chance."""
    first = next(iter(facts.arms))
    for arm, parts in facts.parts.items():
        if len(parts) > 1:
            yield Remark(
                f"{arm} and {first} differ in {' and '.join(parts)} together: the effect is a joint one.", True
            )
        elif not parts:
            yield Remark(f"{arm} and {first} are one recipe, drawn twice: whatever they differ in is chance.")


def _claim(found: Result) -> str:
    if found.is_general:
        return (
            f"Intervals are over {found.n_prompts} prompts, paired: the claim is about prompts like these. p is "
            "adjusted after Holm over all lines."
        )
    few = (
        "One prompt: the result holds for this prompt" if found.n_prompts == 1 else "The result holds for these prompts"
    )
    return (
        f"{few}, not for prompts in general ({LEAST_PROMPTS} or more would say something of those). Intervals are over "
        "generations; p is adjusted after Holm over all lines."
    )


def _lines(name: str, title: str, lines: Sequence[Line], found: Result) -> Table:
    unit = "prompt" if found.is_general else "generation"
    return Table(
        name,
        title,
        ("measure", "arm", "verdict", "kept", "95 % interval", "p"),
        tuple(
            (
                MEASURES[line.measure],
                line.arm,
                _verdict(line, unit),
                line.share,
                None if line.low is None or line.high is None else Between(line.low, line.high),
                line.p_holm,
            )
            for line in lines
        ),
        "Kept: the arm's value over the first arm's; larger is more diverse in every line. * the primary measure, "
        "declared beforehand. Equivalent: the 90 % interval lies within a tenth of equality.",
    )


def _verdict(line: Line, unit: str) -> str:
    """What may be said, with what would settle it."""
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
        ("measure", "arm", "first arm's", "arm's"),
        tuple((MEASURES[line.measure], line.arm, line.first, line.value) for line in found.lines),
        "Distances: mean over pairs of 1 - cosine, of embeddings and of TF-IDF with the IDF of all arms. Vendi 2: the "
        f"effective number of outputs, corrected for n. Kinds: classes of meaning among {found.m_kinds:,} outputs. "
        f"Words: distance, and different ones among {found.m_words:,}, on the common prefix of {facts.prefix}. Of "
        "several prompts means, geometric ones where none is 0.",
        in_terminal=is_all_there_is,
    )


def _forest(found: Result, arms: Sequence[str]) -> Figure:
    known = [line for line in found.lines if line.low is not None and line.high is not None]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.forest import Row, forest_panels

        rows: dict[str, list[Row]] = {arm: [] for arm in arms}  # the first has none, but keeps its colour
        for line in known:
            row = Row(MEASURES[line.measure], line.share or 1.0, line.low or 1.0, line.high or 1.0, line.verdict)
            rows[line.arm].append(row)
        return forest_panels(rows, title="share of the first arm's, kept")

    note = "Points: share kept; bars: 95 % intervals, not adjusted for their number; dashed: equal. Logarithmic axis."
    return Figure("compare-kept", "What each arm keeps of the first arm's diversity", draw, note)


_PLAIN = (WITHIN_MARGIN, INCLUDES_EQUALITY, NOT_AFTER_HOLM)  # what the verdict says already


def _reasons(lines: Sequence[Line]) -> Iterator[Remark]:
    """Why lines were not compared, or were in another way than usual: each reason once."""
    said: dict[str, list[str]] = {}
    for line in lines:
        is_plain = line.verdict != "not comparable" and line.reason in _PLAIN
        if line.reason and not is_plain:
            said.setdefault(line.reason, []).append(f"“{MEASURES[line.measure].removesuffix(' *')}” of {line.arm}")
    for reason, names in said.items():
        yield Remark(f"{reason[0].upper()}{reason[1:].rstrip('.')}. This holds for {', '.join(names)}.")
