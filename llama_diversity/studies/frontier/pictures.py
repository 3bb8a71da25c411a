"""Every measure along the number that a family turns, as on a dial."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llama_diversity.metrics.inference import Interval, mean_interval
from llama_diversity.render.exhibits import Figure
from llama_diversity.studies.frontier.analysis import DIVERSITIES, QUALITIES, Setting

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

FEWEST = 3  # settings that make a curve
_NUMBER = re.compile(r"(?P<knob>.*\D)[=:](?P<number>-?\d+(?:\.\d+)?(?:e-?\d+)?)")


class Turned(NamedTuple):
    """One family: what is turned, the numbers in order, and by measure its means with their intervals there."""

    family: str
    knob: str
    numbers: Sequence[float]
    measures: Mapping[str, Sequence[Interval]]


def turned(settings: Sequence[Setting]) -> list[Turned]:
    """The families whose settings differ in a number, each measure as far as it is there."""
    by_family: dict[str, list[Setting]] = {}
    for one in settings:
        if one.family is not None:
            by_family.setdefault(one.family, []).append(one)
    found = []
    for family, some in by_family.items():
        read = [_NUMBER.fullmatch(one.name.removeprefix(family).strip()) for one in some]
        knobs = {match["knob"] for match in read if match}
        if len(some) < FEWEST or len(knobs) != 1 or None in read:
            continue
        numbers = [float(match["number"]) for match in read if match]
        order = np.argsort(numbers, kind="stable").tolist()
        measures = {
            name: [_mean(some[at], name) for at in order]
            for name in (*DIVERSITIES, *QUALITIES)
            if any(math.isfinite(_mean(one, name).mean) for one in some)
        }
        if measures:
            found.append(Turned(family, knobs.pop(), [numbers[at] for at in order], measures))
    return found


def _mean(setting: Setting, name: str) -> Interval:
    """Over the prompts that have a value."""
    values = (setting.diversity if name in DIVERSITIES else setting.quality).get(name)
    known = np.empty(0) if values is None else values[np.isfinite(values)]
    return mean_interval(known) if len(known) else Interval(math.nan, math.nan, math.nan)


def curves(settings: Sequence[Setting]) -> list[Figure]:
    """A figure for each number that families turn: a panel a measure, a line a family, with its interval."""
    families = turned(settings)
    return [
        _figure(knob, [one for one in families if one.knob == knob])
        for knob in dict.fromkeys(one.knob for one in families)
    ]


def _figure(knob: str, families: Sequence[Turned]) -> Figure:
    names = [name for name in (*DIVERSITIES, *QUALITIES) if any(name in one.measures for one in families)]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.path_charts import Curve, curves_panel

        return {
            name.replace("_", " "): curves_panel(
                [Curve(one.family, *_points(one, name)) for one in families if name in one.measures],
                across=knob,
                unit=DIVERSITIES[name] if name in DIVERSITIES else QUALITIES[name].title,
            )
            for name in names
        }

    return Figure(
        f"frontier-by-{re.sub(r'[^a-z0-9]+', '-', knob.lower()).strip('-')}",
        f"Every measure against {knob}",
        draw,
        "Means over prompts with 95 % t intervals over prompts. "
        f"{'A line is a family.' if len(families) > 1 else f'The family {families[0].family}.'}",
    )


def _points(one: Turned, name: str) -> tuple[list[float], list[float], list[float | None], list[float | None]]:
    """Numbers, means, and the ends of their intervals, None where there is none."""
    known = [(at, some) for at, some in zip(one.numbers, one.measures[name], strict=True) if math.isfinite(some.mean)]
    ends = [(some.low, some.high) if math.isfinite(some.low) else (None, None) for _, some in known]
    return [at for at, _ in known], [some.mean for _, some in known], [low for low, _ in ends], [up for _, up in ends]
