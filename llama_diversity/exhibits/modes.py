"""Kinds of output as exhibits: how much has been seen, how many there are at least, and the curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.experiments.modes import LEAST_COVERAGE, WANTED, Arm, Point, Result
from llama_diversity.metrics.coverage import two_digits
from llama_diversity.metrics.inference import Z_95
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value
from llama_diversity.render.safe import visible

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

WIDTH, HEIGHT = 280, 190
DASHES = ((1, 0), (7, 4), (1.5, 3), (9, 3, 1.5, 3))  # solid, dashed, dotted, both: told apart without colour


@dataclass(frozen=True)
class Facts:
    """What was asked of whom, what a kind is in words, and the encoder that told meanings."""

    prompt: str
    models: Mapping[str, str]
    max_tokens: int
    kind: str


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole answer for a reader."""
    n = ", ".join(f"{n} of {arm} ({facts.models[arm]})" for arm, n in found.n.items())
    about = (
        f"Completions of “{facts.prompt}”, raw, at most {facts.max_tokens} tokens each: {n}. A kind: {facts.kind}. One "
        "prompt: the result holds for this prompt."
    )
    return Section("coverage", "How many kinds of output are there?", about, command, tuple(_exhibits(found)))


def _exhibits(found: Result) -> Iterator[Exhibit]:
    yield from (Remark(reason, is_warning=True) for reason in found.refused.values())
    if not found.arms:
        return
    yield _seen(found)
    for arm, one in found.arms.items():
        yield Remark(_in_words(arm, one), is_warning=one.is_few)
    if found.kept:
        yield _compared(found)
    elif found.refused and len(found.n) > 1:
        yield Remark(f"No comparison: it takes kinds of {next(iter(found.n))} and of another arm.")
    yield _curves(found)
    yield _points(found)
    yield _examples(found)


def _seen(found: Result) -> Table:
    return Table(
        "coverage-seen",
        "What has been seen, and what has not",
        ("arm", "n", "kinds", "seen, %", "95 % interval", "at least"),
        tuple(
            (
                arm,
                one.n,
                one.kinds_seen,
                None if one.coverage.value is None else 100 * one.coverage.value,
                _between(one),
                None if _little_seen(one) else one.at_least.value,
            )
            for arm, one in found.arms.items()
        ),
        "Seen: coverage, the share of the model's output mass that is of the kinds seen (Chao and Jost). At least: how "
        f"many kinds there are, Chao1, a lower bound; none where less than {100 * LEAST_COVERAGE:g} % was seen.",
    )


def _between(one: Arm) -> Between | None:
    if one.coverage.low is None or one.coverage.high is None:
        return None
    return Between(100 * one.coverage.low, 100 * one.coverage.high)


def _little_seen(one: Arm) -> bool:
    return one.coverage.value is None or one.coverage.value < LEAST_COVERAGE


def _in_words(arm: str, one: Arm) -> str:
    """What may be said of an arm; of few outputs, or of kinds that were all seen once, no share that was seen."""
    unseen = f"A kind never seen in {one.n} outputs has a share below {100 * (1 - 0.05 ** (1 / one.n)):.1f} % (95 %)."
    few = (
        f" Too few valid generations ({one.n}) for an interval. Point estimate only; no comparison."
        if one.is_few
        else ""
    )
    if one.is_all_new:
        return (
            f"{arm}: mode count not reported: no two of {one.n} outputs are of one kind, so how many kinds there are "
            f"cannot be told. More generations are needed; all {one.n} kinds so far were seen once.{few} {unseen}"
        )
    if one.is_few:
        return f"{arm}: {_kinds(one.kinds_seen)} in {one.n} outputs.{few} {unseen}"
    share = f"{100 * (one.coverage.value or 0.0):.0f} %"
    more = one.more.generations
    needed = f" About {two_digits(more):,} more generations are needed for {100 * WANTED:g} %" if more else ""
    if _little_seen(one):
        return (
            f"{arm}: mode count not reported: only {share} of this model's output mass has been seen.{needed}; the "
            f"{one.kinds_seen} kinds seen so far are a lower bound. {unseen}"
        )
    within = _between(one)
    about = "" if within is None else f" (95 %: {within.low:.0f} to {within.high:.0f} %)"
    return f"{arm}: you have seen {share} of what this prompt gives{about}.{needed and f'{needed}.'} {unseen}"


def _kinds(n: int) -> str:
    return "1 kind" if n == 1 else f"{n} kinds"


def _compared(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    first = next(iter(found.n))
    for arm, kept in found.kept.items():
        interval = None if kept.low is None or kept.high is None else Between(kept.low, kept.high)
        rows.append((f"among {found.m}", arm, found.at_m[first].value, found.at_m[arm].value, kept.share, interval))
        equal = found.at_coverage[arm]
        share = None if equal.first is None or not equal.second else equal.second / equal.first
        at = "" if equal.first is None else f" of {100 * (equal.coverage or 0.0):.0f} %"
        rows.append((f"at equal coverage{at}", arm, equal.first, equal.second, share, None))
    return Table(
        "coverage-compared",
        "Kinds of each arm against the first's",
        ("kinds", "arm", f"{first}'s", "arm's", "kept", "95 % interval"),
        tuple(rows),
        "Among so many outputs of each: rarefaction, exact expectations at one m, interval by the jackknife. At equal "
        "coverage: kinds that make up the same share of each model's outputs; none where that share is below "
        f"{100 * LEAST_COVERAGE:g} %.",
    )


def _curves(found: Result) -> Figure:
    def draw() -> Mapping[str, Chart]:
        every = {arm: one.curve for arm, one in found.arms.items()}
        return {
            "kinds": _panel(every, lambda point: point.kinds, unit="kinds expected"),
            "coverage": _panel(
                every,
                lambda point: None if point.coverage is None else 100 * point.coverage,
                unit="output mass seen, %",
                is_share=True,
            ),
        }

    has_band = any(point.se is not None for one in found.arms.values() for point in one.curve)
    note = "Exact expectations among m of the n outputs" + (
        "; band: 95 %, by the jackknife, up to m = n / 2." if has_band else "."
    )
    return Figure("coverage-curves", "Kinds and coverage by the number of outputs", draw, note)


def _panel(
    curves: Mapping[str, Sequence[Point]], value: Callable[[Point], float | None], *, unit: str, is_share: bool = False
) -> Chart:
    """A line for each arm in its colour and dashes, both in the one legend; numbers of kinds with their band."""
    import altair as alt  # heavy

    from llama_diversity.render.ramps import ARM_COLOURS, arm_place

    names = {arm: visible(arm) for arm in curves}
    places = [arm_place(arm, position) for position, arm in enumerate(curves)]
    order, legend = list(names.values()), alt.Legend(orient="bottom", title=None, symbolType="stroke", symbolSize=700)
    colour = alt.Color(
        "arm:N",
        sort=order,
        scale=alt.Scale(domain=order, range=[ARM_COLOURS[place] for place in places]),
        legend=legend,
    )
    dashes = alt.StrokeDash(
        "arm:N",
        sort=order,
        scale=alt.Scale(domain=order, range=[list(DASHES[place % len(DASHES)]) for place in places]),
        legend=legend,
    )
    rows = [
        {"arm": names[arm], "m": point.m, "value": shown}
        for arm, curve in curves.items()
        for point in curve
        if (shown := value(point)) is not None
    ]
    across = alt.X("m:Q", title="outputs, m", scale=alt.Scale(nice=False, zero=True))
    scale = alt.Scale(domain=[0, 100]) if is_share else alt.Scale(zero=True)
    up = alt.Y("value:Q", title=unit, scale=scale)
    tooltip = [alt.Tooltip("arm:N"), alt.Tooltip("m:Q"), alt.Tooltip("value:Q", format=".1f")]
    lines = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(strokeWidth=2)
        .encode(x=across, y=up, color=colour, strokeDash=dashes, tooltip=tooltip)
    )
    bands = []
    for place, curve in zip(places, [] if is_share else curves.values(), strict=False):
        ends = [
            {"m": point.m, "low": point.kinds - Z_95 * point.se, "high": point.kinds + Z_95 * point.se}
            for point in curve
            if point.se is not None
        ]
        if ends:  # in a fixed colour: an encoded one would have a legend of its own
            bands.append(
                alt.Chart(alt.InlineData(values=ends))
                .mark_area(opacity=0.18, color=ARM_COLOURS[place])
                .encode(x=across, y=alt.Y("low:Q", title=unit, scale=scale), y2="high:Q")
            )
    return alt.LayerChart(layer=[*bands, lines], width=WIDTH, height=HEIGHT)


def _points(found: Result) -> Table:
    return Table(
        "coverage-points",
        "The curves in numbers",
        ("arm", "m", "kinds", "se", "coverage"),
        tuple(
            (arm, p.m, p.kinds, p.se, None if p.coverage is None else Share(p.coverage))
            for arm, one in found.arms.items()
            for p in one.curve
        ),
        in_terminal=False,
    )


def _examples(found: Result) -> Table:
    return Table(
        "coverage-examples",
        "The most frequent kinds, each by its first output",
        ("arm", "seen", "output"),
        tuple(
            (arm, n, " ".join(text.split())[:160]) for arm, one in found.arms.items() for text, n in one.examples[:3]
        ),
    )
