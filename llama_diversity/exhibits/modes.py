"""Kinds of output as exhibits: how much has been seen, how many there are at least, and the curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.experiments.modes import LEAST_COVERAGE, WANTED, Arm, Result
from llama_diversity.metrics.coverage import two_digits
from llama_diversity.metrics.inference import Z_95
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was asked of whom, what a kind is in words, and the encoder that told meanings."""

    prompt: str
    models: Mapping[str, str]
    max_tokens: int
    kind: str


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole answer for a reader."""
    n = ", ".join(f"{one.n} of {arm} ({facts.models[arm]})" for arm, one in found.arms.items())
    about = (
        f"Completions of “{facts.prompt}”, raw, at most {facts.max_tokens} tokens each: {n}. A kind: {facts.kind}. One "
        "prompt: the result holds for this prompt."
    )
    return Section("coverage", "How many kinds of output are there?", about, command, tuple(_exhibits(found)))


def _exhibits(found: Result) -> Iterator[Exhibit]:
    yield _seen(found)
    for arm, one in found.arms.items():
        yield Remark(_in_words(arm, one))
    yield _compared(found)
    yield _curves(found)
    yield _points(found)
    yield _examples(found)


def _seen(found: Result) -> Table:
    return Table(
        "coverage-seen",
        "What has been seen, and what has not",
        ("arm", "n", "kinds seen", "coverage", "95 % interval", "kinds at least", f"more for {100 * WANTED:g} %"),
        tuple(
            (
                arm,
                one.n,
                int((one.counts > 0).sum()),
                None if one.coverage.value is None else Share(one.coverage.value),
                _between(one),
                None if _little_seen(one) else one.at_least.value,
                _more(one),
            )
            for arm, one in found.arms.items()
        ),
        "Coverage: share of the model's output mass that is of the kinds seen (Chao and Jost). At least: Chao1, a "
        f"lower bound; none where less than {100 * LEAST_COVERAGE:g} % was seen. More: outputs of this prompt.",
    )


def _between(one: Arm) -> Between | None:
    if one.coverage.low is None or one.coverage.high is None:
        return None
    return Between(one.coverage.low, one.coverage.high)


def _little_seen(one: Arm) -> bool:
    return one.coverage.value is None or one.coverage.value < LEAST_COVERAGE or bool(one.at_least.warning)


def _more(one: Arm) -> str | None:
    if one.more.generations is None:
        return None
    return f"about {two_digits(one.more.generations):,}" if one.more.generations else "none"


def _in_words(arm: str, one: Arm) -> str:
    if one.coverage.value is None:
        return f"{arm}: {one.coverage.reason}."
    seen, share = int((one.counts > 0).sum()), f"{100 * one.coverage.value:.0f} %"
    largest = f"{100 * (1 - 0.05 ** (1 / max(1, one.n))):.1f} %"
    unseen = f"A kind never seen in {one.n} outputs has a share below {largest} (95 %)."
    if not _little_seen(one):
        return f"{arm}: you have seen {share} of what this prompt gives. {unseen}"
    more = one.more.generations
    needed = f" About {two_digits(more):,} more generations are needed for {100 * WANTED:g} %;" if more else ""
    return (
        f"{arm}: mode count not reported: only {share} of this model's output mass has been seen.{needed} the {seen} "
        f"kinds seen so far are a lower bound. {unseen}"
    )


def _compared(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    first = next(iter(found.arms))
    for arm, kept in found.kept.items():
        interval = None if kept.low is None or kept.high is None else Between(kept.low, kept.high)
        rows.append(
            (f"kinds among {found.m}", arm, found.at_m[first].value, found.at_m[arm].value, kept.share, interval)
        )
        equal = found.at_coverage[arm]
        share = None if equal.first is None or not equal.second else equal.second / equal.first
        rows.append((f"kinds at equal coverage{_at(equal.coverage)}", arm, equal.first, equal.second, share, None))
    return Table(
        "coverage-compared",
        "Each arm against the first",
        ("quantity", "arm", f"{first}'s", "arm's", "kept", "95 % interval"),
        tuple(rows),
        "Rarefaction: exact expectations at one m, interval by the jackknife. At equal coverage: kinds that make up "
        f"the same share of each model's outputs; none where that share is below {100 * LEAST_COVERAGE:g} %.",
    )


def _at(coverage: float | None) -> str:
    return "" if coverage is None else f" of {100 * coverage:.0f} %"


def _curves(found: Result) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.path_charts import Curve, curves_panel

        kinds = [
            Curve(
                arm,
                [point.m for point in one.curve],
                [point.kinds for point in one.curve],
                [point.kinds - Z_95 * point.se if point.se is not None else None for point in one.curve],
                [point.kinds + Z_95 * point.se if point.se is not None else None for point in one.curve],
            )
            for arm, one in found.arms.items()
        ]
        seen = [
            Curve(arm, [p.m for p in known], [100 * (p.coverage or 0.0) for p in known], [], [])
            for arm, one in found.arms.items()
            for known in [[point for point in one.curve if point.coverage is not None]]
        ]
        return {
            "kinds": curves_panel(kinds, across="outputs, m", unit="kinds expected"),
            "coverage": curves_panel(seen, across="outputs, m", unit="output mass seen, %"),
        }

    note = "Exact expectations among m of the n outputs; band: 95 %, by the jackknife, up to m = n / 2."
    return Figure("coverage-curves", "Kinds and coverage by the number of outputs", draw, note)


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
