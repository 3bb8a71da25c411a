"""People as exhibits: what each one costs, where outputs are lost, how they fit, and some of them to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Proportion
from llama_diversity.metrics.price import Bounded
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value
from llama_diversity.studies.population.analysis import Arm, Result
from llama_diversity.studies.population.files import NOTE
from llama_diversity.studies.population.pipeline import STEPS, Person
from llama_diversity.studies.population.target import Target
from llama_diversity.studies.population.ways import MODES

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_STEP_WORDS = dict(
    zip(
        STEPS,
        (
            "read", "values known", "within the rules", "no copy of an example or request", "not the same as another",
            "not too like another",
        ),
        strict=True,
    )
)  # fmt: skip
_N_TO_READ, _N_TWINS, _N_EMPTY, _N_LACKING = 10, 5, 10, 4
_MOST_TEXT = 240  # characters of a text in a table


class Facts(NamedTuple):
    """What was asked, and what a million tokens cost."""

    target: Target
    n: int
    max_tokens: int
    price: float | None
    is_bound: bool


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole answer for a reader."""
    target = facts.target
    source = target.source or "no source given"
    about = (
        f"{facts.n} people of “{target.title}” ({source}), at most {counted(facts.max_tokens, 'token')} each. {NOTE} "
        + "; ".join(f"{name}: {_asked(arm)}" for name, arm in found.arms.items())
        + "."
    )
    title = "Usable customers, and what each one costs"
    return Section("population", title, about, command, tuple(_exhibits(found, facts)))


def _asked(arm: Arm) -> str:
    """Which models an arm has, and how they are asked."""
    models = f"{arm.way.planner} and {arm.way.model}" if arm.way.planner else arm.way.model
    return f"{models}, {MODES[arm.way.mode]}" + (", by a form" if arm.way.is_form else "")


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield from _remarks(found, facts)
    yield _to_read(found, facts.target)
    yield _price(found, facts)
    yield _different(found)
    yield _frontier(found)
    yield _funnel(found)
    yield _losses(found)
    yield _fit(found)
    yield from _fit_figure(found)
    yield _cells(found)
    yield _empty(found)
    yield _chosen(found)
    yield _twins(found, facts.target)
    yield _stated(found)
    yield _agreeable(found)
    yield from (
        Remark(f"{name}: no tone is told, since {arm.agreeable.why}.")
        for name, arm in found.arms.items()
        if arm.agreeable.why and arm.funnel.n_usable
    )


def _remarks(found: Result, facts: Facts) -> Iterator[Remark]:
    for name, arm in found.arms.items():
        if arm.standing.stop:
            yield Remark(
                f"{name}: {arm.standing.n_usable} usable people, and no more: {arm.standing.stop}.", is_warning=True
            )
        for cell in arm.standing.given_up:
            yield Remark(f"{name}: nobody usable came of {' / '.join(cell)}, which was given up.", is_warning=True)
        if arm.standing.is_enough and arm.chosen.lacking and not arm.standing.given_up:
            yield Remark(_lacking(name, arm), is_warning=True)
    yield from (Remark(words) for words in facts.target.remarks)
    if facts.is_bound:
        yield Remark(
            "A grammar of the fields forced whole personas, so what is measured is not what the models would say by "
            "themselves."
            + (" Calls for several people had none." if any(_is_call(arm) for arm in found.arms.values()) else ""),
            is_warning=True,
        )
    if facts.target.fixed and not facts.target.pairs:
        yield Remark("The target has margins alone: correlations are not checked.")
    if any(not arm.tables and arm.obedient for arm in found.arms.values()):
        yield Remark(
            "Arms of mode quota and plan are given the fixed fields: they fit by construction and are not ranked by it."
        )


def _is_call(arm: Arm) -> bool:
    return arm.way.mode == "verbalized"


def _lacking(name: str, arm: Arm) -> str:
    """Whom the choice lacks although enough people are usable, and what helps."""
    cells = sorted(arm.chosen.lacking.items(), key=lambda one: -one[1])
    most = ", ".join(f"{' / '.join(cell)} ({n})" for cell, n in cells[:_N_LACKING])
    more = f" and {len(cells) - _N_LACKING} cells more" if cells[_N_LACKING:] else ""
    return (
        f"{name}: {arm.funnel.n_usable} people are usable, but only {len(arm.chosen.numbers)} of them are those that "
        f"the target has: lacking are {most}{more}. A larger -n draws on; mode quota gives every cell its people."
    )


def _price(found: Result, facts: Facts) -> Table:
    money = [] if facts.price is None else ["money for 1,000"]
    return Table(
        "population-price",
        "What one usable person costs",
        (
            "arm",
            "outputs",
            "usable",
            "95 %",
            "tokens",
            "95 % of tokens",
            "seconds",
            *money,
            "next new",
            "95 % of next",
            "prompt",
        ),
        tuple(_price_row(name, arm, facts.price) for name, arm in found.arms.items()),
        "Usable: read, of known values, within the rules, no copy and no twin. Tokens, of a usable person: those "
        "written, thoughts and tags included; prompt: those read for one; seconds: on this machine. Next new: tokens "
        "for one more who is usable and unlike all before, what an output costs by the chance of that (Good and "
        "Turing).",
    )


def _price_row(name: str, arm: Arm, price: float | None) -> tuple[Value, ...]:
    each = arm.per_usable.value
    return (
        name,
        arm.funnel.n_drawn,
        Share(arm.usable.value or 0.0),
        _shares(arm.usable),
        each,
        _between(arm.per_usable),
        arm.seconds_per_usable,
        *([] if price is None else [None if each is None else 1000 * each * price / 1e6]),
        arm.for_next.value,
        _between(arm.for_next),
        arm.prompt_tokens_per_usable,
    )


def _different(found: Result) -> Table:
    return Table(
        "population-different",
        "How many different people these are",
        ("arm", "among", "by fields", "by text"),
        tuple(
            (
                name,
                arm.m,
                arm.effective_fields and arm.effective_fields.value,
                arm.effective_texts and arm.effective_texts.value,
            )
            for name, arm in found.arms.items()
            if arm.m and (arm.effective_fields or arm.effective_texts)
        ),
        "Effective numbers of order 2, among as many usable people of every arm: by the fixed fields (Hill), by text "
        "where texts are as alike as their meanings (Leinster and Cobbold).",
    )


def _between(price: Bounded) -> Between | None:
    return None if price.low is None or price.high is None else Between(price.low, price.high)


def _shares(one: Proportion) -> Between | None:
    return None if one.low is None or one.high is None else Between(one.low, one.high)


def _frontier(found: Result) -> Table:
    return Table(
        "population-frontier",
        "Which temperature? Chosen by one half of the asks, told by the other",
        (
            "arm",
            "chosen",
            "on the front",
            "usable",
            "tokens a usable person",
            "for the next new one",
            "different by text",
        ),
        tuple(
            (
                one.arm,
                "chosen" if one.is_chosen else "",
                "yes" if one.is_on_front else "no",
                Share(one.told.n_usable / max(1, one.told.n_outputs)),
                one.told.per_usable.value,
                one.told.for_next.value,
                one.told.different and one.told.different.value,
            )
            for one in found.settings
        ),
        "Chosen: the cheapest next new person by the asks of even number; on the front: by these no other setting of "
        "the arm is both cheaper and more varied. The numbers are those of the odd ones, which took no part in it.",
    )


def _funnel(found: Result) -> Table:
    arms = found.arms.values()
    rows: list[tuple[Value, ...]] = [("drawn", *(arm.funnel.n_drawn for arm in arms))]
    rows += [(_STEP_WORDS[step], *(arm.funnel.left[step] for arm in arms)) for step in STEPS]
    rows.append(("chosen", *(len(arm.chosen.numbers) for arm in arms)))
    return Table("population-funnel", "What is left after each step", ("step", *found.arms), tuple(rows))


def _losses(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        for step in STEPS:
            for why, n in arm.funnel.reasons[step].items():
                rows.append((name, n, why, _short(arm.people[arm.funnel.examples[why]].output.text)))
    rows.sort(key=lambda row: (list(found.arms).index(str(row[0])), -int(str(row[1]))))
    return Table(
        "population-losses", "Why outputs were lost, and one of each", ("arm", "n", "why", "it wrote"), tuple(rows)
    )


def _fit(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        for one in arm.tables:
            worst = " / ".join(one.cells[one.fit.worst.cell])
            points = f"{worst} {one.fit.worst.points:+.1f} points"
            rows.append(
                (
                    " x ".join(one.fields), name, one.fit.verdict, one.fit.n, one.fit.total_variation,
                    one.fit.chance_floor, one.fit.jensen_shannon_bits, points,
                    one.fit.visible_points,
                )
            )  # fmt: skip
    return Table(
        "population-fit",
        "How the usable people fit the target",
        (
            "table",
            "arm",
            "verdict",
            "n",
            "total variation",
            "by chance alone",
            "Jensen-Shannon, bits",
            "worst cell",
            "shift seen, points",
        ),
        tuple(rows),
        "Before any choice. By chance alone: the total variation that n people drawn from the target have on average. "
        "Verdict: of the simultaneous 95 % intervals of all cells of all tables of an arm. Shift seen: a cell that "
        "is off by so many points is called a miss in 9 of 10 samples of this size; what fits may be off by less.",
    )


def _fit_figure(found: Result) -> Iterator[Figure]:
    rows = [one for arm in found.arms.values() for one in arm.tables if len(one.fields) == 1]
    if not rows:
        return

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.studies.population.pictures import fit_panels

        return fit_panels(found)

    note = "Filled: usable people, with simultaneous 95 % intervals. Line: the target."
    yield Figure("population-fit-figure", "The target, and what the models write", draw, note)


def _cells(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            " x ".join(one.fields),
            " / ".join(row.cell),
            name,
            row.target,
            row.n,
            row.n / max(1, one.fit.n),
            Between(row.low, row.high),
        )
        for name, arm in found.arms.items()
        for one in arm.tables
        for row in one.rows()
    ]
    headings = ("table", "cell", "arm", "target", "n", "share", "95 % interval")
    return Table("population-cells", "Every cell of the margins and pairs", headings, tuple(rows), in_terminal=False)


def _empty(found: Result) -> Table:
    rows = [
        (name, " / ".join(one.cell), Share(one.share), Share(one.bound))
        for name, arm in found.arms.items()
        for one in sorted(arm.empty, key=lambda one: -one.share)[:_N_EMPTY]
    ]
    return Table(
        "population-empty",
        "Cells that should have someone and have nobody",
        ("arm", "cell", "target", "at most (95 %)"),
        tuple(rows),
        "At most: of a cell never seen in n people, 1 - 0.05^(1/n), about 3/n.",
    )


def _chosen(found: Result) -> Table:
    return Table(
        "population-chosen",
        "Who was chosen",
        (
            "arm", "usable", "chosen", "lacking", "outputs a chosen person", "distance of the chosen",
            "distance of as many at random", "obedient", "effective n by weights", "outputs the quotas take",
        ),
        tuple(
            (
                name,
                arm.funnel.n_usable,
                len(arm.chosen.numbers),
                sum(arm.chosen.lacking.values()),
                arm.oversampling,
                arm.distance_of_chosen,
                arm.distance_of_any,
                None if arm.obedient is None else Share(arm.obedient.value or 0.0),
                arm.n_effective,
                None if arm.needed is None else arm.needed.value,
            )
            for name, arm in found.arms.items()
        ),
        "Chosen cell by cell, those farthest apart in meaning; no cell is filled from another. Distance: mean cosine "
        "distance of two texts, which choosing raises: set it beside that of a random choice, and the outputs it took. "
        "Obedient: texts with no line that contradicts what was given. Effective n: Kish's, of the weights with which "
        "all usable people would have the target's margins.",
    )  # fmt: skip


def _to_read(found: Result, target: Target) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        some = [arm.people[number] for number in _spread(arm.chosen.numbers, _N_TO_READ)]
        rows += [(name, *(_short(one.values[each.name]) for each in target.fields)) for one in some]
    headings = ("arm", *(one.label for one in target.fields))
    return Table("population-people", "Some of the chosen, to read", headings, tuple(rows), NOTE)


def _spread(numbers: Sequence[int], n: int) -> list[int]:
    """At most `n`, evenly over all."""
    return [numbers[at * len(numbers) // n] for at in range(n)] if len(numbers) > n else list(numbers)


def _twins(found: Result, target: Target) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        pairs = [(one, arm.people[one.twin]) for one in arm.people if one.twin is not None]
        rows += [(name, _own(first, target), _own(one, target)) for one, first in pairs[:_N_TWINS]]
    return Table(
        "population-twins",
        "Too like another: the first, and the one left out",
        ("arm", "first", "left out"),
        tuple(rows),
    )


def _own(person: Person, target: Target) -> str:
    return _short(" | ".join(person.values[one.name] for one in target.free))


def _stated(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        if arm.stated is not None:
            rank, slope = arm.stated.rank_correlation, arm.stated.slope
            rows.append((name, arm.stated.n, rank.value, slope.value, arm.stated.reason or ""))
    return Table(
        "population-stated",
        "Are the probabilities that a model states true?",
        ("arm", "personas", "rank correlation", "slope", "remark"),
        tuple(rows),
        "Stated probability against that of the words written, given what stands before: Spearman's correlation, and "
        "the slope of its logarithm; 1 where they are true.",
    )


def _agreeable(found: Result) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.arms.items():
        for one in arm.agreeable.segments:
            tone = None if one.tone.low is None or one.tone.high is None else Between(one.tone.low, one.tone.high)
            value = f"{one.field} {one.value}".strip()
            rows.append((name, value, one.n, one.tone.mean, tone, Share(one.glad.value or 0.0), _shares(one.glad)))
    return Table(
        "population-agreeable",
        "How agreeable they are, by segment",
        ("arm", "segment", "n", "tone", "95 % interval", "glad", "95 % interval"),
        tuple(rows),
        "Tone: VADER's compound score of the texts, -1 to 1; glad: 0.05 or more. Real customers are not all glad.",
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MOST_TEXT else words[: _MOST_TEXT - 1] + "…"
