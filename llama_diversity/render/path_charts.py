"""Paths of many runs over the same steps as Altair panels: their mean, their spread, and a few of the runs themselves.

Loaded on use: altair is heavy. Lines differ in width and dashes, so a panel reads in black and white; a panel has one
colour, that of its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible

WIDTH, HEIGHT = 280, 190
DASHES = ((7, 4), (1.5, 3))  # of the references, in order
ARM_DASHES = ((1, 0), (7, 4), (1.5, 3), (9, 3, 1.5, 3))  # solid, dashed, dotted, both: told apart without colour
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
    places: Sequence[float]
    values: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]


def curves_panel(curves: Sequence[Curve], *, across: str, unit: str, highest: float | None = None) -> alt.LayerChart:
    """The curves of several arms on one pair of axes, from 0: each with its arm's colour and dashes, in one legend."""
    names = [visible(curve.arm) for curve in curves]
    places = [arm_place(curve.arm, position) for position, curve in enumerate(curves)]
    legend = alt.Legend(orient="bottom", title=None, symbolType="stroke", symbolSize=700)

    def of(kinds: Sequence[Any]) -> dict[str, Any]:
        scale = alt.Scale(domain=names, range=[kinds[place % len(kinds)] for place in places])
        return {"shorthand": "arm:N", "sort": names, "scale": scale, "legend": legend}

    x = alt.X("place:Q", title=visible(across), scale=alt.Scale(nice=False, zero=True))
    scale = alt.Scale(zero=True) if highest is None else alt.Scale(domain=[0, highest])
    up = alt.Y("value:Q", title=visible(unit), scale=scale)
    rows = [
        {"arm": name, "place": place, "value": value}
        for name, curve in zip(names, curves, strict=True)
        for place, value in zip(curve.places, curve.values, strict=True)
    ]
    lines = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=up,
            color=alt.Color(**of(ARM_COLOURS)),
            strokeDash=alt.StrokeDash(**of([list(dash) for dash in ARM_DASHES])),
            tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("place:Q"), alt.Tooltip("value:Q", format=".3~f")],
        )
    )
    bands = [
        _band(curve, place, x, unit, scale) for curve, place in zip(curves, places, strict=True) if _has_band(curve)
    ]
    return alt.LayerChart(layer=[*bands, lines], width=WIDTH, height=HEIGHT)


def _has_band(curve: Curve) -> bool:
    return any(low is not None for low in curve.low)


def _band(curve: Curve, place: int, x: alt.X, unit: str, scale: alt.Scale) -> alt.Chart:
    """In a fixed colour: an encoded one would have a legend of its own."""
    ends = [
        {"place": at, "low": low, "high": high}
        for at, low, high in zip(curve.places, curve.low, curve.high, strict=True)
        if low is not None and high is not None
    ]
    area = alt.Chart(alt.InlineData(values=ends)).mark_area(opacity=0.18, color=ARM_COLOURS[place % len(ARM_COLOURS)])
    found: alt.Chart = area.encode(x=x, y=alt.Y("low:Q", title=visible(unit), scale=scale), y2="high:Q")
    return found
