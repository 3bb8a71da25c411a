"""Kinds of output as exhibits: how much has been seen, how many there are at least, and the curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llama_diversity.answers import Endings
from llama_diversity.decimals import counted
from llama_diversity.metrics.coverage import two_digits
from llama_diversity.metrics.inference import Z_95
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value, percent
from llama_diversity.studies.coverage.analysis import WANTED, Arm, Result
from llama_diversity.studies.measuring.kinds import CEILING
from llama_diversity.studies.measuring.limits import LEAST_COVERAGE
from llama_diversity.studies.phrases import cut_off, why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was asked of whom, what a kind is in words, and the encoder that told meanings."""

    prompt: str
    models: Mapping[str, str]
    max_tokens: int
    kind: str
    endings: Mapping[str, Endings] = field(default_factory=dict)


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole answer for a reader."""
    n = ", ".join(f"{n} of {arm} ({facts.models[arm]})" for arm, n in found.n.items())
    about = (
        f"Completions of “{facts.prompt}”, raw, at most {counted(facts.max_tokens, 'token')} each: {n}. A kind: "
        f"{facts.kind}. One prompt: the result holds for this prompt."
    )
    return Section("coverage", "How many kinds of output are there?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield from why_left_out(facts.endings)
    yield from (Remark(reason, is_warning=True) for reason in found.refused.values())
    if not found.arms:
        return
    yield _seen(found, facts)
    for arm, one in found.arms.items():
        yield Remark(_in_words(arm, one), is_warning=one.is_few)
    if found.kept:
        yield _compared(found)
        yield from _at_ceiling(found)
    elif found.refused and len(found.n) > 1:
        yield Remark(f"No comparison: it takes kinds of {next(iter(found.n))} and of another arm.")
    yield _curves(found)
    yield _points(found)
    yield _examples(found)


def _seen(found: Result, facts: Facts) -> Table:
    return Table(
        "coverage-seen",
        "What has been seen, and what has not",
        ("arm", "n", "cut off", "kinds", "seen, %", "95 % interval", "at least"),
        tuple(
            (
                arm,
                one.n,
                cut_off(facts.endings.get(arm)),
                one.kinds_seen,
                None if one.coverage.value is None else 100 * one.coverage.value,
                _between(one),
                None if _little_seen(one) else one.at_least.value,
            )
            for arm, one in found.arms.items()
        ),
        "Cut off: by --max-tokens. "
        "Seen: coverage, the share of the model's output mass that is of the kinds seen (Chao and Jost). At least: how "
        "many kinds there are, bias-corrected Chao1, a lower bound; none where less than "
        f"{100 * LEAST_COVERAGE:g} % was seen.",
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
            f"cannot be told. More generations are needed; the {one.n} kinds seen so far, each once, are a lower "
            f"bound.{few} {unseen}"
        )
    if one.is_few:
        return f"{arm}: {_kinds(one.kinds_seen)} in {one.n} outputs.{few} {unseen}"
    share = f"{percent(one.coverage.value or 0.0)} %"
    more = one.more.generations
    needed = f" About {two_digits(more):,} more generations are needed for {100 * WANTED:g} %" if more else ""
    if _little_seen(one):
        return (
            f"{arm}: mode count not reported: only {share} of this model's output mass has been seen.{needed}; the "
            f"{one.kinds_seen} kinds seen so far are a lower bound. {unseen}"
        )
    within = _between(one)
    about = "" if within is None else f" (95 %: {percent(within.low / 100)} to {percent(within.high / 100)} %)"
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
        at = "" if equal.first is None else f" of {percent(equal.coverage or 0.0)} %"
        rows.append((f"at equal coverage{at}", arm, equal.first, equal.second, share, None))
    return Table(
        "coverage-compared",
        "Kinds of each arm against the first's",
        ("kinds", "arm", f"{first}'s", "arm's", "kept", "95 % interval"),
        tuple(rows),
        "Among so many outputs of each: rarefaction, exact expectations at one m. At equal "
        "coverage: kinds that make up the same share of each model's outputs; none where that share is below "
        f"{100 * LEAST_COVERAGE:g} %.",
    )


def _at_ceiling(found: Result) -> Iterator[Remark]:
    """Of which arms m outputs have no room for more kinds, and what that makes of the shares kept."""
    first, m = next(iter(found.n)), found.m or 0
    full = [arm for arm, one in found.at_m.items() if (one.value or 0.0) >= CEILING * m]
    if not full:
        return
    some = [arm for arm in full if arm != first]
    if first not in full:
        bound = f"; what {' and '.join(some)} {'keeps' if len(some) == 1 else 'keep'} is a lower bound too"
    elif len(full) == len(found.at_m):
        bound = ", and that the arms are nearly equal in it says nothing of how many kinds they have"
    else:
        bound = f"; what others keep of {first}'s kinds is an upper bound"
        bound += f", and of {' and '.join(some)} it is neither" if some else ""
    yield Remark(
        f"Nearly all of {m} outputs of {' and '.join(full)} are kinds of their own, the most that {m} can show: their "
        f"number is a lower bound{bound}. A larger -n shows more.",
        is_warning=True,
    )


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
            "coverage": curves_panel(seen, across="outputs, m", unit="output mass seen, %", highest=100),
        }

    has_band = any(point.se is not None for one in found.arms.values() for point in one.curve)
    note = "Exact expectations among m of the n outputs" + ("; band: 95 %, up to m = n / 2." if has_band else ".")
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
