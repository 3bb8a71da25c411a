"""Points in the plane as Altair charts: what a t-SNE made, one panel an arm, a text behind every point."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from llama_diversity.render.safe import visible

SIDE = 280  # points: two panels fit a page, one fits a phone
_TEXT_COLUMNS, _TEXT_LINES = 60, 12  # of a tooltip


class Spot(NamedTuple):
    """A text at its place, with the number that colours it (nan: none) and its cluster."""

    x: float
    y: float
    value: float
    cluster: int
    text: str


def map_panel(
    spots: Sequence[Spot], around: Sequence[Spot], *, quantity: str, low: float, high: float, pick: str
) -> alt.LayerChart:
    """The arm's `spots` coloured by value on the scale from `low` to `high`; those of the other arms in pale grey.

    In a page a point shows its text, and a list under the panel picks one cluster; `pick` names
    that choice, another one for each panel of a figure.
    """
    colour = alt.Color(
        "value:Q",
        title=visible(quantity),
        scale=alt.Scale(scheme="viridis", domain=[low, high], reverse=True),
        legend=alt.Legend(orient="bottom", gradientLength=SIDE - 40, titleLimit=SIDE),
    )
    value = alt.Tooltip("value:Q", title=visible(quantity), format=".3f")
    return _panel(spots, around, colour=colour, tooltips=[value], pick=pick)


def cluster_panel(spots: Sequence[Spot], around: Sequence[Spot], *, pick: str) -> alt.LayerChart:
    """As `map_panel`, but coloured by cluster; the list under the panel tells which is which."""
    numbers = sorted({spot.cluster + 1 for spot in spots})
    colour = alt.Color("cluster:N", scale=alt.Scale(scheme="tableau20", domain=numbers), legend=None)
    return _panel(spots, around, colour=colour, tooltips=[], pick=pick)


def _panel(
    spots: Sequence[Spot], around: Sequence[Spot], *, colour: alt.Color, tooltips: list[alt.Tooltip], pick: str
) -> alt.LayerChart:
    numbers = sorted({spot.cluster + 1 for spot in spots})
    picked = alt.param(
        name=pick,
        value=0,
        bind=alt.binding_select(options=[0, *numbers], labels=["all", *map(str, numbers)], name="cluster "),
    )
    frame = [*spots, *around]
    limits = _limits([spot.x for spot in frame]), _limits([spot.y for spot in frame])
    axis = alt.Axis(title=None, labels=False, ticks=False, grid=False, domain=False)
    place = {
        "x": alt.X("x:Q", axis=axis, scale=alt.Scale(domain=limits[0], nice=False, zero=False)),
        "y": alt.Y("y:Q", axis=axis, scale=alt.Scale(domain=limits[1], nice=False, zero=False)),
    }
    others = alt.Chart(_data(around)).mark_circle(size=14, color="#9a9a9a", opacity=0.3).encode(**place)
    own = (
        alt.Chart(_data(spots))
        .mark_circle(size=46, opacity=0.9, stroke="#808080", strokeWidth=0.5)
        .transform_filter(f"{pick} === 0 || datum.cluster === {pick}")
        .encode(
            **place,
            color=colour,
            tooltip=[*tooltips, alt.Tooltip("cluster:O"), alt.Tooltip("text:N")],
        )
    )
    framed = alt.LayerChart(layer=[others, own], width=SIDE, height=SIDE, view=alt.ViewConfig(stroke="#cccccc"))
    both: alt.LayerChart = framed.add_params(picked)
    return both


def _limits(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def _data(spots: Sequence[Spot]) -> alt.InlineData:
    return alt.InlineData(
        values=[
            {
                "x": s.x,
                "y": s.y,
                "value": s.value if math.isfinite(s.value) else None,
                "cluster": s.cluster + 1,
                "text": _folded(s.text),
            }
            for s in spots
        ]
    )


def _folded(text: str) -> str:
    """As much of a text as a tooltip can hold, in lines."""
    beginning = visible(text[: _TEXT_COLUMNS * _TEXT_LINES])
    return "\n".join(textwrap.wrap(beginning, _TEXT_COLUMNS)[:_TEXT_LINES])
