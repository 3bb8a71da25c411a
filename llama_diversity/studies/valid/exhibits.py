"""Validity and diversity on known sets as exhibits: what each arm says of each set, what is lost, and to what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Exhibit, Figure, Remark, Section, Share, Table, Value, percent, written
from llama_diversity.render.safe import visible
from llama_diversity.studies.valid.analysis import Said, validity
from llama_diversity.studies.valid.sets import AnswerSet

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

N_SHOWN = 5  # answers and invalid beginnings of an arm and set in the terminal
_RARE = 1.0  # percent of valid answers, below which their axis is logarithmic
_MUCH_LEFT = 0.01  # of all probability, in spellings that were not followed
_SOUND = 1e-9  # how near to (1, 1) the oracle must come


@dataclass(frozen=True)
class OfSet:
    """What an arm says to each wording of a set, and what the same walk makes of an oracle in its vocabulary."""

    wordings: tuple[Said, ...]
    oracle: Said

    def mean(self, number: Callable[[Said], float]) -> float:
        """Over the wordings that have it; nan where none has: of nothing valid there is no diversity."""
        return _mean([number(said) for said in self.wordings])

    def p(self) -> list[float]:
        """Of each answer, over the wordings."""
        found: list[float] = np.mean([said.p for said in self.wordings], axis=0).tolist()
        return found

    def invalid(self) -> list[tuple[str, float]]:
        """The likeliest invalid beginnings, over the wordings."""
        found: dict[str, float] = {}
        for said in self.wordings:
            for text, p in said.invalid:
                found[text] = found.get(text, 0.0) + p / len(self.wordings)
        return sorted(found.items(), key=lambda one: -one[1])

    @property
    def n_spelled(self) -> int:
        """Answers that the vocabulary has tokens for."""
        return sum(p > 0 for p in self.oracle.p)

    @property
    def is_sound(self) -> bool:
        """Whether the oracle reaches all there is to reach."""
        reached, n = (self.oracle.validity, self.oracle.effective), self.n_spelled
        return n > 0 and all(abs(one - best) <= _SOUND for one, best in zip(reached, (1, n), strict=True))


def _mean(values: Sequence[float]) -> float:
    """
    >>> _mean([1.0, math.nan, 3.0]), _mean([math.nan])
    (2.0, nan)
    """
    there = [one for one in values if not math.isnan(one)]
    return math.fsum(there) / len(there) if there else math.nan


@dataclass(frozen=True)
class OfArm:
    """The model of an arm and how it is used, in words, and what it says of each set."""

    words: str
    sets: Mapping[str, OfSet]


@dataclass(frozen=True)
class Facts:
    """What was asked."""

    sets: tuple[AnswerSet, ...]
    least: float


Found = Mapping[str, OfArm]
_NUMBERS: Mapping[str, Callable[[Said], float]] = {
    "validity": lambda said: said.validity,
    "diversity": lambda said: said.diversity,
    "effective": lambda said: said.effective,
    "order_loss": lambda said: said.order_loss,
    "shape_loss": lambda said: said.shape_loss,
}


def section(found: Found, facts: Facts, command: str) -> Section:
    """The whole result for a reader."""
    arms = "; ".join(f"{name} ({arm.words})" for name, arm in found.items())
    about = (
        f"The exact probability of every valid answer of {counted(len(facts.sets), 'known set')}: {arms}. Nothing is "
        "sampled. An output says an answer where it begins with it, behind a blank or none, and the word ends there; "
        "each set is asked for in several wordings, and numbers are means over these."
    )
    return Section("valid", "Validity and diversity on known sets", about, command, tuple(_exhibits(found, facts)))


def headline(found: Found) -> str:
    """Of each arm the mean over the sets, in a sentence."""
    said = [
        f"{name}: {written(Share(_over_sets(arm, 'validity')))} of its outputs are valid answers, spread like "
        f"{written(Share(_over_sets(arm, 'diversity')))} of the answers there are"
        for name, arm in found.items()
    ]
    n = len(next(iter(found.values())).sets)
    return f"{'; '.join(said)}{f' (means of {n} sets)' if n > 1 else ''}."


def _over_sets(arm: OfArm, number: str) -> float:
    return _mean([one.mean(_NUMBERS[number]) for one in arm.sets.values()])


def _exhibits(found: Found, facts: Facts) -> Iterator[Exhibit]:
    yield Remark(headline(found))
    yield from _warnings(found, facts)
    yield _main(found)
    yield _figure(found)
    yield _likeliest(found, facts)
    yield _wordings(found, facts)
    yield _answers(found, facts)


def _warnings(found: Found, facts: Facts) -> Iterator[Remark]:
    for name, arm in found.items():
        for one in facts.sets:
            of_set = arm.sets[one.name]
            n_lacking = len(one.answers.names) - of_set.n_spelled
            left = of_set.mean(lambda said: said.left_out)
            if n_lacking:
                words = f"{counted(n_lacking, 'answer')} of {one.name} cannot be spelled with its tokens, so p is 0"
                yield Remark(f"{name}: {words}.", is_warning=True)
            if left > _MUCH_LEFT:
                words = f"spellings of {one.name} that were not followed may hold up to {percent(left, 3)} % more"
                yield Remark(f"{name}: {words}. A smaller --least follows them.", is_warning=True)
            if not of_set.is_sound:
                words = f"the oracle of {one.name} reaches {of_set.oracle.validity:.6g} and "
                words += f"{of_set.oracle.effective:.6g} of {of_set.n_spelled} answers, which is a defect of llamadiv"
                yield Remark(f"{name}: {words}.", is_warning=True)


def _main(found: Found) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            name,
            set_name,
            Share(one.mean(_NUMBERS["validity"])),
            Share(one.mean(_NUMBERS["diversity"])),
            one.mean(_NUMBERS["effective"]),
            len(one.oracle.p),
            Share(one.mean(_NUMBERS["order_loss"])),
            Share(one.mean(_NUMBERS["shape_loss"])),
        )
        for name, arm in found.items()
        for set_name, one in arm.sets.items()
    ]
    return Table(
        "valid-sets",
        "What is said of each set, and what is lost",
        ("arm", "set", "valid", "diversity", "effective", "of", "order loss", "shape loss"),
        tuple(rows),
        "Valid: probability of all valid answers. Diversity: effective number of answers, given a valid one, over all "
        "there are. Order loss: invalid tokens are likelier than valid ones, so no temperature or cut wins it back; "
        "shape loss: the valid ones are uneven. Both are of the overlap with saying all answers alike.",
    )


def _figure(found: Found) -> Figure:
    def draw() -> Mapping[str, Chart]:
        points = _points(found)
        return {"": _panel(points, list(found))} if points else {}

    return Figure(
        "valid-plane",
        "Validity against diversity",
        draw,
        "A point is an arm on a set; a line joins the arms on one set in their order. The upper right corner is to say "
        "all answers alike and nothing else.",
    )


def _points(found: Found) -> list[dict[str, Any]]:
    """Of each arm and set where it is; nowhere without a valid answer."""
    return [
        {
            "arm": visible(name),
            "set": visible(set_name),
            "place": place,
            "valid": 100 * one.mean(_NUMBERS["validity"]),
            "diversity": 100 * one.mean(_NUMBERS["diversity"]),
        }
        for place, (name, arm) in enumerate(found.items())
        for set_name, one in arm.sets.items()
        if not math.isnan(one.mean(_NUMBERS["diversity"]))
    ]


def _panel(points: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> Chart:
    import altair as alt

    from llama_diversity.render.ramps import ARM_COLOURS, arm_place
    from llama_diversity.render.ticks import log_ticks

    names = [visible(name) for name in arms]
    colours = [ARM_COLOURS[arm_place(name, at) % len(ARM_COLOURS)] for at, name in enumerate(arms)]
    lowest = min(one["valid"] for one in points)
    even = alt.Scale(domain=[0, 100])
    across = alt.X("valid:Q", title="valid, %", scale=even)
    if lowest < _RARE:
        scale = alt.Scale(type="log", domain=[lowest / 1.3, 100], nice=False)
        across = alt.X(
            "valid:Q", title="valid, %", scale=scale, axis=alt.Axis(values=log_ticks(lowest, 100), format="~g")
        )
    up = alt.Y("diversity:Q", title="diversity, %", scale=even)
    base = alt.Chart(alt.InlineData(values=list(points))).encode(x=across, y=up)
    lines = base.mark_line(color="#999999", strokeWidth=1).encode(detail="set:N", order="place:Q")
    marks = base.mark_point(size=70, filled=True, opacity=0.9).encode(
        color=alt.Color(
            "arm:N", sort=names, scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(title=None)
        ),
        shape=alt.Shape("set:N", sort=None, legend=alt.Legend(title=None)),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("set:N"),
            alt.Tooltip("valid:Q", title="valid, %", format=".3g"),
            alt.Tooltip("diversity:Q", title="diversity, %", format=".3g"),
        ],
    )
    return alt.LayerChart(layer=[lines, marks], width=360, height=320)


def _likeliest(found: Found, facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, arm in found.items():
        for one in facts.sets:
            of_set = arm.sets[one.name]
            said = sorted(zip(one.answers.names, of_set.p(), strict=True), key=lambda pair: -pair[1])
            rows.append((name, one.name, _listed(said), _listed(of_set.invalid(), quotes=True)))
    return Table(
        "valid-likeliest",
        "What is said most",
        ("arm", "set", "valid answers", "invalid beginnings"),
        tuple(rows),
        "An invalid beginning is the shortest that can no longer become a valid answer.",
    )


def _listed(pairs: Sequence[tuple[str, float]], *, quotes: bool = False) -> str:
    shown = [(f"“{visible(text)}”" if quotes else visible(text), p) for text, p in pairs[:N_SHOWN] if p > 0]
    return ", ".join(f"{text} {percent(p, 2)} %" for text, p in shown) or "–"


def _wordings(found: Found, facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            name,
            one.name,
            number,
            *(of(said) for of in _NUMBERS.values()),
            validity(said.allowed),
            said.left_out,
            said.n_paths,
        )
        for name, arm in found.items()
        for one in facts.sets
        for number, said in enumerate(arm.sets[one.name].wordings, start=1)
    ]
    return Table(
        "valid-wordings",
        "The same of each wording",
        ("arm", "set", "wording", *_NUMBERS, "validity allowed", "left out", "paths"),
        tuple(rows),
        "Validity allowed: of the best weights that keep the order of tokens.",
        in_terminal=False,
    )


def _answers(found: Found, facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (name, one.name, number, answer, p, allowed)
        for name, arm in found.items()
        for one in facts.sets
        for number, said in enumerate(arm.sets[one.name].wordings, start=1)
        for answer, p, allowed in zip(one.answers.names, said.p, said.allowed, strict=True)
    ]
    return Table(
        "valid-answers",
        "The probability of every answer",
        ("arm", "set", "wording", "answer", "probability", "allowed by the order"),
        tuple(rows),
        in_terminal=False,
    )


def as_json(found: Found, facts: Facts) -> dict[str, Any]:
    """All numbers."""
    return {
        "arms": {
            name: {
                "is": arm.words,
                "sets": {one.name: _set_as_json(arm.sets[one.name], one) for one in facts.sets},
                "mean": {number: _or_none(_over_sets(arm, number)) for number in _NUMBERS},
            }
            for name, arm in found.items()
        },
        "sets": {
            one.name: {"title": one.title, "raw": one.raw, "chat": one.chat, "answers": one.answers.names}
            for one in facts.sets
        },
        "least": facts.least,
    }


def _set_as_json(of_set: OfSet, one: AnswerSet) -> dict[str, Any]:
    return {
        **{name: _or_none(of_set.mean(number)) for name, number in _NUMBERS.items()},
        "left_out": of_set.mean(lambda said: said.left_out),
        "n_answers": len(one.answers.names),
        "n_spelled": of_set.n_spelled,
        "oracle": {"validity": of_set.oracle.validity, "diversity": of_set.oracle.diversity},
        "wordings": [
            {
                **{name: _or_none(number(said)) for name, number in _NUMBERS.items()},
                "entropy_bits": _or_none(said.entropy_bits),
                "left_out": said.left_out,
                "n_paths": said.n_paths,
                "p": dict(zip(one.answers.names, said.p, strict=True)),
                "allowed": dict(zip(one.answers.names, said.allowed, strict=True)),
                "invalid": [beginning._asdict() for beginning in said.invalid],
            }
            for said in of_set.wordings
        ],
    }


def _or_none(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
