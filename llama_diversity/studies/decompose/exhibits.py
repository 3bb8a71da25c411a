"""A decomposition as exhibits: the arms' values, every effect as a factor, and a figure of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table
from llama_diversity.studies.compare.exhibits import by_prompt, m_in_words
from llama_diversity.studies.compare.measured import MEASURES
from llama_diversity.studies.decompose.analysis import Effect, Result
from llama_diversity.studies.measuring.limits import LEAST_PROMPTS
from llama_diversity.studies.phrases import cut_off, letters_that_are_words, prompts_in_words, why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was decomposed: the arms in words, the factors in words, prompts, n, length."""

    arms: Mapping[str, str]
    factors: Mapping[str, str]
    prompts: Sequence[str]
    n: int
    max_tokens: int
    prefix: str  # in words
    encoder: str


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole decomposition for a reader."""
    prompts = prompts_in_words(facts.prompts)
    factors = "; ".join(f"{name}: {words}" for name, words in facts.factors.items())
    about = (
        f"All {len(facts.arms)} combinations, {facts.n} generations of each for {prompts}, at most "
        f"{counted(facts.max_tokens, 'token')} each. {factors}. Meanings by {facts.encoder}; "
        f"words on the common prefix of {facts.prefix}."
    )
    return Section("decompose", "Where is the diversity lost?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    if found.is_general:
        yield Remark(f"Intervals are over {found.n_prompts} prompts: the claim is about prompts like these.")
    else:
        few = (
            "One prompt: the result holds for this prompt"
            if found.n_prompts == 1
            else "The result holds for these prompts"
        )
        yield Remark(f"{few}, not for prompts in general ({LEAST_PROMPTS} or more would say something of those).")
    yield from letters_that_are_words(found.by_letter)
    yield from why_left_out(found.endings)
    yield _effects("decompose-effects", "What each factor does to diversity", found.effects)
    yield from _refused(found.effects)
    if any(one.factor is not None for one in found.counted_as_lost):
        low, high = (100 * pick(one.value or 0.0 for one in found.valid.values()) for pick in (min, max))
        yield Remark(
            f"Reported in two forms, because {low:.0f} to {high:.0f} % of an arm's outputs are valid: among valid "
            "outputs, above, and counting invalid ones as lost.",
            is_warning=True,
        )
        yield _effects("decompose-lost", "The primary measure, invalid outputs counted as lost", found.counted_as_lost)
    yield _figure(found)
    yield Table(
        "decompose-values",
        "The values of all combinations",
        ("measure", *facts.arms),
        tuple((MEASURES[name], *(of_arm[arm] for arm in facts.arms)) for name, of_arm in found.values.items()),
        f"{m_in_words(found.m_kinds, found.m_words)} Of several prompts geometric means.",
        in_terminal=len(facts.arms) <= 4,
    )
    yield by_prompt("decompose", found.by_prompt, facts.prompts)
    yield Table(
        "decompose-arms",
        "The combinations",
        ("arm", "what it is", "valid", "n", "cut off"),
        tuple(
            (
                arm,
                words,
                Share(found.valid[arm].value or 0.0) if found.valid[arm].n else None,
                found.valid[arm].n,
                cut_off(found.endings[arm]),
            )
            for arm, words in facts.arms.items()
        ),
        "Cut off: by --max-tokens, valid or not.",
        in_terminal=False,
    )


def _effects(name: str, title: str, effects: Sequence[Effect]) -> Table:
    return Table(
        name,
        title,
        ("measure", "effect", "factor", "95 % interval", "p"),
        tuple(
            (
                MEASURES[one.measure],
                one.name,
                one.factor,
                None if one.low is None or one.high is None else Between(one.low, one.high),
                one.p_holm,
            )
            for one in effects
            if not (one.factor is None and one.reason)
        ),
        "A factor of 0.5: half is kept. Main effects: mean over all settings of the others, on the log scale. x: "
        "interaction, the factor by which each of the two is worth more beside the other. p adjusted after Holm over "
        "all effects.",
    )


def _refused(effects: Sequence[Effect]) -> Iterator[Remark]:
    """Each reason once, with the measures it holds for."""
    said: dict[str, list[str]] = {}
    for one in effects:
        name = f"“{MEASURES[one.measure].removesuffix(' *')}”"
        if one.reason and name not in said.setdefault(one.reason, []):
            said[one.reason].append(name)
    for reason, names in said.items():
        yield Remark(f"{reason[0].upper()}{reason[1:].rstrip('.')}. This holds for {', '.join(names)}.")


def _figure(found: Result) -> Figure:
    known = [one for one in found.effects if one.low is not None and one.high is not None]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.forest import Row, forest_panels

        rows: dict[str, list[Row]] = {}
        for one in known:
            row = Row(MEASURES[one.measure], one.factor or 1.0, one.low or 1.0, one.high or 1.0, one.name)
            rows.setdefault(one.name, []).append(row)
        return forest_panels(rows, title="factor, with the effect over without")

    note = (
        "Points: the effect as a factor; bars: 95 % intervals, not adjusted; dashed: none. Logarithmic axis. "
        f"{m_in_words(found.m_kinds, found.m_words)}"
    )
    return Figure("decompose-effects-figure", "Effects on every measure", draw, note)
