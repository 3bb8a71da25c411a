"""A comparison as exhibits: what the arms are, the line of every measure with its verdict, and what may be claimed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.experiments.compare import LEAST_PROMPTS, MEASURES, Line, Result
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was compared: of each arm in words its model, template and sampler; the prompts; n of each; the prefix."""

    arms: Mapping[str, str]
    prompts: Sequence[str]
    n: int
    max_tokens: int
    prefix: int | None
    joint: str  # parts in which the arms differ together, where that is more than one
    encoder: str


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole comparison for a reader."""
    prompts = f"“{facts.prompts[0]}”" if len(facts.prompts) == 1 else f"{len(facts.prompts)} prompts"
    about = (
        f"{facts.n} generations of each arm for {prompts}, at most {facts.max_tokens} tokens each. Shares are of the "
        f"first arm's value, {next(iter(facts.arms))}. Meanings by {facts.encoder}."
    )
    return Section("compare", "Which arm is more diverse?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield Table(
        "compare-arms",
        "The arms",
        ("arm", "what it is", "valid", "95 % interval", "n", "tokens, mean"),
        tuple(
            (
                arm,
                words,
                None if found.valid[arm].value is None else Share(found.valid[arm].value or 0.0),
                Between(found.valid[arm].low or 0.0, found.valid[arm].high or 0.0) if found.valid[arm].n else None,
                found.valid[arm].n,
                found.lengths[arm],
            )
            for arm, words in facts.arms.items()
        ),
    )
    yield Remark(_claim(found))
    if facts.joint:
        yield Remark(f"The arms differ in {facts.joint} together: the effect is a joint one, of neither alone.", True)
    yield _lines("compare-lines", "Every measure", found.lines, found)
    if any(line.low is not None for line in found.lines):
        yield _forest(found, list(facts.arms))
    yield _values(found)
    yield from _reasons(found.lines)
    if found.counted_as_lost:
        yield Remark(
            "Reported in two forms, because valid shares differ by more than 10 points: among valid outputs, above, "
            "and counting invalid ones as lost.",
            is_warning=True,
        )
        yield _lines(
            "compare-lost", "The primary measure, invalid outputs counted as lost", found.counted_as_lost, found
        )


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
        "generations, by the jackknife; p is adjusted after Holm over all lines."
    )


def _lines(name: str, title: str, lines: Sequence[Line], found: Result) -> Table:
    unit = "prompts" if found.is_general else "generations"
    return Table(
        name,
        title,
        ("measure", "arm", "verdict", "kept", "95 % interval", "p"),
        tuple(
            (
                MEASURES[line.measure],
                line.arm,
                line.verdict if line.more is None else f"{line.verdict}; about {line.more:,} more {unit} may tell",
                line.share,
                None if line.low is None or line.high is None else Between(line.low, line.high),
                line.p_holm,
            )
            for line in lines
        ),
        "Kept: the arm's value over the first arm's; larger is more diverse in every line. * the primary measure, "
        "declared beforehand. Equivalent: the 90 % interval lies within a tenth of equality.",
    )


def _values(found: Result) -> Table:
    return Table(
        "compare-values",
        "The values themselves",
        ("measure", "arm", "first arm's", "arm's"),
        tuple((MEASURES[line.measure], line.arm, line.first, line.value) for line in found.lines),
        "Distances: mean over pairs of 1 - cosine, of embeddings and of TF-IDF with the IDF of all arms. Vendi 2: the "
        "effective number of outputs, corrected for n. Kinds: classes of meaning among m, half of an arm. Words among "
        "m: different ones, on a common token prefix. Of several prompts geometric means.",
        in_terminal=False,
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


def _reasons(lines: Sequence[Line]) -> Iterator[Remark]:
    """Why lines were not compared: each reason once."""
    said: dict[str, list[str]] = {}
    for line in lines:
        if line.verdict == "not comparable" and line.reason:
            said.setdefault(line.reason, []).append(f"{MEASURES[line.measure]} ({line.arm})")
    for reason, names in said.items():
        yield Remark(f"{', '.join(names)}: {reason}")
