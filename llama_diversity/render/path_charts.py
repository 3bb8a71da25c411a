"""Paths of many runs over the same steps as Altair panels: their mean, their spread, and a few of the runs themselves.

Loaded on use: altair is heavy. Lines differ in width and dashes, so a panel reads in black and white; a panel has one
colour, that of its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible

WIDTH, HEIGHT = 280, 190
DASHES = ((7, 4), (1.5, 3))  # of the references, in order
REFERENCE_COLOUR = "#333333"


@dataclass(frozen=True)
class Paths:
    """Values at `steps`: mean, low and high over all runs, a few runs, and levels to hold them against (nan: none)."""

    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    runs: Sequence[Sequence[float]]
    references: Sequence[float] = ()


def path_panel(paths: Paths, *, unit: str, highest: float, place: int) -> alt.LayerChart:
    """Thick the mean, shaded low to high, thin the single runs, dashed and dotted the references."""
    colour = ARM_COLOURS[place % len(ARM_COLOURS)]
    across = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    scale = alt.Scale(domain=[0, highest])
    up = alt.Y("value:Q", title=visible(unit), scale=scale)
    summary = [
        {"step": step, "value": mean, "low": low, "high": high}
        for step, mean, low, high in zip(paths.steps, paths.mean, paths.low, paths.high, strict=True)
    ]
    single = [
        {"run": run, "step": step, "value": value}
        for run, values in enumerate(paths.runs)
        for step, value in zip(paths.steps, values, strict=True)
    ]
    base = alt.Chart(alt.InlineData(values=summary))
    layers = [
        base.mark_area(color=colour, opacity=0.22).encode(
            x=across, y=alt.Y("low:Q", title=visible(unit), scale=scale), y2="high:Q"
        ),
        alt.Chart(alt.InlineData(values=single))
        .mark_line(color=colour, strokeWidth=0.6, opacity=0.55)
        .encode(x=across, y=up, detail="run:N"),
        *_reference_lines(paths.references, up),
        base.mark_line(color=colour, strokeWidth=2.8).encode(
            x=across,
            y=up,
            tooltip=[alt.Tooltip("step:Q")]
            + [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")],
        ),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)


def _reference_lines(levels: Sequence[float], up: alt.Y) -> list[alt.Chart]:
    return [
        alt.Chart(alt.InlineData(values=[{"value": level}]))
        .mark_rule(color=REFERENCE_COLOUR, strokeWidth=1.4, strokeDash=list(dash))
        .encode(y=up)
        for level, dash in zip(levels, DASHES, strict=False)
        if math.isfinite(level)
    ]


class Curve(NamedTuple):
    """One arm's values over `places`; low and high of a band, None where there is none; empty lists for no band."""

    arm: str
    places: Sequence[int]
    values: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]


def curves_panel(curves: Sequence[Curve], *, across: str, unit: str) -> alt.LayerChart:
    """The curves of several arms on one pair of axes, each in its arm's colour."""
    names = [visible(curve.arm) for curve in curves]
    colours = [ARM_COLOURS[arm_place(curve.arm, position)] for position, curve in enumerate(curves)]
    colour = alt.Color(
        "arm:N",
        sort=names,
        scale=alt.Scale(domain=names, range=colours),
        legend=alt.Legend(orient="bottom", title=None, symbolOpacity=1),
    )
    lines = [
        {"arm": name, "place": place, "value": value}
        for name, curve in zip(names, curves, strict=True)
        for place, value in zip(curve.places, curve.values, strict=True)
    ]
    bands = [
        {"arm": name, "place": place, "low": low, "high": high}
        for name, curve in zip(names, curves, strict=True)
        for place, low, high in zip(curve.places, curve.low, curve.high, strict=False)
        if low is not None and high is not None
    ]
    x = alt.X("place:Q", title=visible(across), scale=alt.Scale(nice=False, zero=True))
    line = (
        alt.Chart(alt.InlineData(values=lines))
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=visible(unit)),
            color=colour,
            strokeDash=alt.StrokeDash("arm:N", sort=names, legend=None),
            tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("place:Q"), alt.Tooltip("value:Q", format=".1f")],
        )
    )
    band = (
        alt.Chart(alt.InlineData(values=bands))
        .mark_area(opacity=0.18)
        .encode(x=x, y=alt.Y("low:Q", title=visible(unit)), y2="high:Q", color=colour)
    )
    return alt.LayerChart(layer=[band, line] if bands else [line], width=WIDTH, height=HEIGHT)
