"""Experiment 3 as exhibits: entropies in numbers and as Figure 11, one sample token by token as Figures 12 and 13."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llama_diversity.answers import Endings
from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Table, Value
from llama_diversity.render.plots import BoxPlots, EntropyStrip, StackedProbabilities
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.phrases import why_left_out
from llama_diversity.studies.syntactic.analysis import MEASURES, N_FIGURE_TOKENS, Result
from llama_diversity.studies.syntactic.plain import plain

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_WORDS = {
    "entropy_bits": "entropy of the whole vocabulary, bits",
    "top5_raw_bits": "Eq. 3.2: five likeliest, bits",
    "top5_raw_nats": "five likeliest, nats",
    "top5_renormalized_bits": "five likeliest, renormalised, bits",
    "top5_renormalized_nats": "five likeliest, renormalised, nats",
    "surprisal_bits": "surprisal of the token drawn, bits",
    "top5_mass": "probability of the five likeliest",
}
_FIGURE_11 = {
    "entropy_bits": ("figure-11-mean-entropies", "Mean entropy of the whole vocabulary of each completion"),
    "top5_raw_bits": (
        "figure-11-mean-top5-entropies",
        "Mean entropy of the five likeliest (Eq. 3.2) of each completion",
    ),
}


@dataclass(frozen=True)
class Facts:
    """What was asked of whom, and the first tokens of each arm's first answer, and how its outputs end."""

    prompt: str
    models: Mapping[str, str]
    max_tokens: int
    examples: Mapping[str, Sequence[ScoredToken]]
    endings: Mapping[str, Endings] = field(default_factory=dict)


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole experiment for a reader."""
    arms = ", ".join(
        f"{arm.measures['entropy_bits'].n} of {name} ({facts.models[name]})" for name, arm in found.arms.items()
    )
    about = (
        f"Completions of “{facts.prompt}”, raw, at most {counted(facts.max_tokens, 'token')} each: {arms}. One prompt: "
        "the result holds for this prompt, not for prompts in general."
    )
    title = "Experiment 3: how spread out are the next tokens?"
    exhibits = tuple(_exhibits(found, facts))
    return Section("syntactic", title, about, command, exhibits, plain(found, facts.prompt, facts.models))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield from why_left_out(facts.endings)
    yield from _all_alike(found)
    yield _entropies(found)
    for measure, (name, title) in _FIGURE_11.items():
        yield _figure_11(found, measure, name, title)
    yield _figure_12(facts)
    yield _figure_13(facts)
    yield _checks(found)


def _all_alike(found: Result) -> Iterator[Remark]:
    """Of which arms other completions were not seen, and what that does to intervals."""
    alike = [name for name, arm in found.arms.items() if arm.is_all_alike]
    allowed = " Intervals of differences allow for them, each as unlike as the most unlike completion of all arms."
    for name in alike:
        n = found.arms[name].n
        yield Remark(
            f"{name}: all {n} completions are alike, and what others it has is unknown: together they have a share "
            f"below {100 * (1 - 0.05 ** (1 / n)):.1f} % (95 %).{allowed if len(alike) < len(found.arms) else ''}",
            is_warning=True,
        )
    if len(alike) > 1:
        yield Remark(f"Between {' and '.join(alike)} there is no interval: nothing varies.", is_warning=True)


def _entropies(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for measure in MEASURES:
        for name, arm in found.arms.items():
            summary = arm.measures[measure]
            changed = found.differences.get(name, {}).get(measure)
            interval = None if changed is None else Between(changed.low, changed.high)
            rows.append(
                (_WORDS[measure], name, summary.mean, summary.sd, summary.n, changed and changed.mean, interval)
            )
    rows.sort(key=lambda row: list(_WORDS.values()).index(str(row[0])))  # what we stand behind first
    return Table(
        "syntactic-entropies",
        "Means over the tokens of a completion, then over completions",
        ("measure", "arm", "mean", "sd", "n", f"minus {next(iter(found.arms))}", "95 % interval"),
        tuple(rows),
        "sd: over completions, as in the paper. Intervals: Welch, over completions. The paper does not say whether the "
        "five were renormalised, nor the unit: its Eq. 3.2 as printed is the second row.",
    )


def _figure_11(found: Result, measure: str, name: str, title: str) -> Figure:
    values = {arm: one.completion_means[measure] for arm, one in found.arms.items()}
    unit = "bits per token"

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.charts import entropy_box_panel

        return {"": entropy_box_panel(values, unit=unit)}

    note = "A point is a completion; the box holds the middle half, whiskers reach 1.5 boxes."
    return Figure(
        name, f"Figure 11: {title[0].lower()}{title[1:]}", draw, note, BoxPlots(values, title=title, unit=unit)
    )


def _figure_12(facts: Facts) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.charts import token_entropies

        return token_entropies(facts.examples)

    title = f"Token entropies, first {N_FIGURE_TOKENS} tokens of sample 0"
    return Figure(
        "figure-12-token-entropies", f"Figure 12: {title[0].lower()}{title[1:]}", draw, "Whole vocabulary.",
        EntropyStrip(facts.examples, title=title),
    )  # fmt: skip


def _figure_13(facts: Facts) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.charts import stacked_probabilities

        return stacked_probabilities(facts.examples)

    title = f"Probabilities of the likeliest tokens, first {N_FIGURE_TOKENS} tokens of sample 0"
    return Figure(
        "figure-13-token-probabilities", f"Figure 13: {title[0].lower()}{title[1:]}", draw, "",
        StackedProbabilities(facts.examples, title=title),
    )  # fmt: skip


def _checks(found: Result) -> Table:
    return Table(
        "syntactic-checks",
        "Entropy rate, and whether the statistics agree with what was drawn",
        ("arm", "entropy rate, bits per token", "se", "self-check z", "tokens"),
        tuple(
            (
                name,
                arm.entropy_rate.bits_per_token,
                None if math.isnan(arm.entropy_rate.se_bits) else arm.entropy_rate.se_bits,
                None if math.isnan(arm.self_check_z) else arm.self_check_z,
                arm.n_tokens,
            )
            for name, arm in found.arms.items()
        ),
        "Rate: all entropy over all tokens, so that long completions count for more. Self-check: surprisal minus "
        "entropy in standard errors, those of the completions or those the distributions predict, whichever says less; "
        "beyond 4 nothing is reported.",
    )
