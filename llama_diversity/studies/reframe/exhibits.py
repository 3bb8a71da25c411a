"""Answers and what becomes of them when the question is put otherwise, as exhibits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Interval
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value, written
from llama_diversity.render.safe import visible
from llama_diversity.studies.phrases import prompts_in_words
from llama_diversity.studies.reframe.analysis import LEAST, Attractor, Count, OfPrompt, Rate, count, mean_rate
from llama_diversity.studies.reframe.answers import shown
from llama_diversity.studies.reframe.search import CLOSE, N_KEPT, Bounds

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_LEAST = f"{100 * LEAST:g} %"
Found = Mapping[str, Mapping[str, OfPrompt]]  # by arm, by prompt


@dataclass(frozen=True)
class Facts:
    """What was asked of whom: originals by name, arms in words, the base first."""

    prompts: Mapping[str, str]
    arms: Mapping[str, str]
    n_words: int
    deep: float
    budget: int


def section(found: Found, facts: Facts, command: str) -> Section:
    """The whole result for a reader."""
    one = next(iter(next(iter(found.values())).values()))
    n = len(one.attractors[0].framed) if one.attractors else 0
    arms = "; ".join(f"{arm} is {words}" for arm, words in facts.arms.items())
    about = (
        f"{prompts_in_words(list(facts.prompts.values()))}, each put otherwise in {n} ways; {arms}. The answer is the "
        f"first {'word' if facts.n_words == 1 else f'{facts.n_words} words'} of the continuation that the prompt has "
        "not, function words passed over. Its probability is exact, over every spelling in tokens; nothing is sampled."
    )
    return Section("reframe", "Reframe: does the answer survive?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Found, facts: Facts) -> Iterator[Exhibit]:
    for arm, prompts in found.items():
        yield Remark(_headline(arm, count(list(prompts.values()), facts.deep), prompts, facts))
    yield from _limits(found)
    yield _tops(found, facts)
    yield _attractors(found)
    yield _figure(found)
    yield _reframings(found)


def _headline(arm: str, counts: Count, prompts: Mapping[str, OfPrompt], facts: Facts) -> str:
    n = len(prompts)
    base = next(iter(facts.arms))
    if counts.n_none == n:
        return f"{arm}: no answer to the original {'prompt' if n == 1 else 'prompts'} has {_LEAST} or more."
    of_base = "" if arm == base or not counts.n_deep else f" ({counts.n_deep_of_base} of them {base}'s too)"
    none = f", {counts.n_none} no attractor" if counts.n_none else ""
    vanished = f"{counts.n_vanished} of {counted(counts.n_attractors, 'attractor')}"
    rate = written(Share(mean_rate(list(prompts.values()))))
    return (
        f"{arm}: of the likeliest answers to {counted(n, 'prompt')} {_are(counts.n_deep)} deep{of_base}, "
        f"{counts.n_shallow} shallow, {counts.n_undecided} undecided{none}; they stay the likeliest in {rate} of the "
        f"reframings on average. {vanished} vanish ({counts.n_surely_vanished} of them for certain): they "
        f"have {_LEAST} or more behind the original, but in no more than {written(Share(facts.deep))} of the others."
    )


def _are(n: int) -> str:
    return f"{n} is" if n == 1 else f"{n} are"


def _limits(found: Found) -> Iterator[Remark]:
    for arm, prompts in found.items():
        for name, one in prompts.items():
            if not one.original.is_certain:
                yield Remark(
                    f"{arm}, {name}: which answer to the original is the likeliest is not certain; another may have up "
                    f"to {written(Share(one.original.rival))}. Unless two are alike, a larger --budget tells.",
                    is_warning=True,
                )
    open_ones = sum(top.framing.n_open for prompts in found.values() for one in prompts.values() if (top := one.top))
    if open_ones:
        yield Remark(
            f"In {counted(open_ones, 'reframing')} it is not certain whether the answer is the likeliest, by the "
            "budget or by the arithmetic; the intervals hold both."
        )


# ---- tables


def _tops(found: Found, facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            *(name, arm, shown(top.answer), _probability(top.dominance), *_percent(top.framing)),
            *(100 * top.pi.mean, Between(100 * top.pi.low, 100 * top.pi.high), top.verdict(facts.deep), _rank(top)),
        )
        for name in facts.prompts
        for arm, prompts in found.items()
        if (top := prompts[name].top) is not None
    ]
    base = next(iter(facts.arms))
    return Table(
        "reframe-answers",
        "The likeliest answer to each prompt, and whether it survives",
        ("prompt", "arm", "answer", "DR, %", "FR, %", "FR, 95 %", "π, %", "π, 95 %", "is", f"rank in {base}"),
        tuple(rows),
        "DR: probability behind the original. FR: share of the reframings in which it is the likeliest too, with "
        f"Wilson's interval over them. π: DR FR. Deep: FR surely above {written(Share(facts.deep))}; shallow: surely "
        f"below. No attractor: DR below {_LEAST}. Rank in {base}: of the same answer behind the original, by what the "
        "search found.",
    )


def _attractors(found: Found) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            *(name, arm, shown(one.answer), _probability(one.dominance), *_percent(one.kept), 100 * one.over.mean),
            None if one.in_base is None else _probability(one.in_base.probability),
        )
        for arm, prompts in found.items()
        for name, prompt in prompts.items()
        for one in prompt.attractors
        if one.is_one
    ]
    return Table(
        "reframe-attractors",
        f"All attractors: answers with {_LEAST} or more behind the original",
        ("prompt", "arm", "answer", "DR, %", "kept, %", "kept, 95 %", "mean, %", f"in {next(iter(found))}, %"),
        tuple(rows),
        f"Kept: share of the reframings in which the answer has {_LEAST} or more. Mean: of its probabilities behind "
        f"them. In {next(iter(found))}: behind the original there.",
    )


def _reframings(found: Found) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            *(name, arm, shown(one.answer), number, each.text, 100 * each.probability.low, 100 * each.probability.high),
            *("" if each.top is None else shown(each.top), _yes(each.is_top), _yes(each.is_attractor)),
        )
        for arm, prompts in found.items()
        for name, prompt in prompts.items()
        for one in prompt.attractors
        for number, each in enumerate(one.framed, start=1)
    ]
    return Table(
        "reframe-reframings",
        "Every attractor behind every reframing",
        (
            *("prompt", "arm", "answer", "number", "reframing", "at least, %", "at most, %", "likeliest answer"),
            *("stays the likeliest", "stays an attractor"),
        ),
        tuple(rows),
        in_terminal=False,
    )


def _yes(known: bool | None) -> str:  # noqa: FBT001  three values
    return "not certain" if known is None else "yes" if known else "no"


def _probability(bounds: Bounds) -> Value:
    """One number where the search closed the bounds, else both."""
    is_closed = bounds.high - bounds.low <= CLOSE
    return 100 * bounds.likely if is_closed else Between(100 * bounds.low, 100 * bounds.high)


def _percent(rate: Rate) -> tuple[Value, Value]:
    return 100 * rate.value, Between(100 * rate.low, 100 * rate.high)


def _between(found: Interval) -> Between | None:
    return None if math.isnan(found.low) else Between(100 * found.low, 100 * found.high)


def _rank(one: Attractor) -> Value:
    if one.in_base is None:
        return None
    return one.in_base.rank if one.in_base.rank is not None else f"behind {N_KEPT}"


# ---- figure


def _figure(found: Found) -> Figure:
    def draw() -> Mapping[str, Chart]:
        return {visible(arm): _panel(prompts) for arm, prompts in found.items() if any(p.top for p in prompts.values())}

    return Figure(
        "figure-reframe",
        "The likeliest answer behind every reframing",
        draw,
        "A point is a reframing: the probability there of the answer that is the likeliest behind the original (bar). "
        "Grey: another is likelier there.",
    )


def _panel(prompts: Mapping[str, OfPrompt]) -> Chart:
    import altair as alt  # heavy

    from llama_diversity.render.ramps import ARM_COLOURS

    tops = {f"{name}: {shown(one.top.answer)}": one.top for name, one in prompts.items() if one.top is not None}
    order = [visible(name) for name in tops]
    points = [
        {
            "answer": visible(name),
            "p": 100 * each.probability.likely,
            "reframing": visible(each.text),
            "likeliest": "the likeliest" if each.top == top.answer else "another is",
            "top": visible(shown(each.top or ())),
        }
        for name, top in tops.items()
        for each in top.framed
    ]
    bars = [{"answer": visible(name), "p": 100 * top.dominance.likely} for name, top in tops.items()]
    down = alt.Y("answer:N", title=None, sort=order, axis=alt.Axis(labelLimit=200))
    across = alt.X("p:Q", title="probability, %", scale=alt.Scale(domain=[0, 100]))
    kinds, colours = ["the likeliest", "another is"], [ARM_COLOURS[0], "#b0b0b0"]
    drawn = (
        alt.Chart(alt.InlineData(values=points))
        .mark_point(filled=True, size=36, opacity=0.8)
        .encode(
            x=across,
            y=down,
            color=alt.Color(
                "likeliest:N",
                title=None,
                sort=kinds,
                scale=alt.Scale(domain=kinds, range=colours),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[
                *(alt.Tooltip("reframing:N"), alt.Tooltip("p:Q", title="probability, %", format=".1f")),
                alt.Tooltip("top:N", title="likeliest there"),
            ],
        )
    )
    original = alt.Chart(alt.InlineData(values=bars)).mark_tick(thickness=3, size=22, color="#404040")
    return alt.LayerChart(layer=[drawn, original.encode(x=across, y=down)], width=280, height=max(60, 34 * len(order)))
