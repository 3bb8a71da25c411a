"""How much of all probability the likeliest openings hold, as an Altair panel: one line an arm.

Where only bounds are known the line is the lower one, and a band reaches to the upper one.
Loaded on use: altair is heavy. It knows numbers and texts, not where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible
from llama_diversity.render.ticks import log_ticks

WIDTH, HEIGHT = 520, 260
_MARGIN = 1.15
MOST_POINTS = 300  # of a line; more are no clearer
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


@dataclass(frozen=True)
class MassCurve:
    """Cumulative mass of the 1, 2, ... heaviest, 0 to 1: at least and at most, and the openings in words."""

    low: Sequence[float]
    high: Sequence[float]
    texts: Sequence[str]


def mass_panel(curves: Mapping[str, MassCurve]) -> alt.LayerChart:
    """Cumulative mass in percent by rank, both on logarithmic scales."""
    names = [visible(name) for name in curves]
    places = [arm_place(name, position) for position, name in enumerate(curves)]
    n_ranks = max((len(curve.low) for curve in curves.values()), default=1)
    across = alt.X(
        "rank:Q",
        title="rank of the opening",
        scale=alt.Scale(type="log", domain=[1, max(2, n_ranks)], nice=False),
        axis=alt.Axis(values=log_ticks(1, max(2, n_ranks)), format="~s"),
    )
    rows = _rows(curves)
    domain = _around([float(row[end]) for row in rows for end in ("low", "high")])
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(values=log_ticks(domain[0], domain[1]), format="~g")
    colour = alt.Color(
        "arm:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[ARM_COLOURS[place] for place in places]),
        legend=alt.Legend(title=None, orient="top", symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3),
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=across, color=colour)
    band = base.mark_area(opacity=0.2, line=False).encode(
        y=alt.Y("low:Q", title="cumulative probability, %", scale=scale, axis=axis), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=2.2, point={"size": 9}).encode(
        y=alt.Y("low:Q", title="cumulative probability, %", scale=scale, axis=axis),
        strokeDash=alt.StrokeDash(
            "arm:N",
            sort=names,
            scale=alt.Scale(domain=names, range=[_DASHES[place % len(_DASHES)] for place in places]),
            legend=None,
        ),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("rank:Q"),
            alt.Tooltip("opening:N"),
            alt.Tooltip("low:Q", title="at least, %", format=".4g"),
            alt.Tooltip("high:Q", title="at most, %", format=".4g"),
        ],
    )
    return alt.LayerChart(layer=[band, line], width=WIDTH, height=HEIGHT)


def _around(values: Sequence[float]) -> list[float]:
    """Where an axis of percent begins and ends that has room for the values, all above 0."""
    low, high = min(values, default=1.0), max(values, default=100.0)
    return [low / _MARGIN, min(high * _MARGIN, 100.0)]


def _rows(curves: Mapping[str, MassCurve]) -> list[dict[str, str | int | float]]:
    return [
        {
            "arm": visible(name),
            "rank": at + 1,
            "low": 100 * curve.low[at],
            "high": 100 * curve.high[at],
            "opening": visible(curve.texts[at]),
        }
        for name, curve in curves.items()
        for at in _drawn(len(curve.low))
        if curve.low[at] > 0
    ]


def _drawn(n: int) -> list[int]:
    """Places 0 to n - 1, where there are many as dense on the logarithmic axis everywhere.

    >>> _drawn(3), len(_drawn(10_000)) <= MOST_POINTS, _drawn(10_000)[-1]
    ([0, 1, 2], True, 9999)
    """
    if n <= MOST_POINTS:
        return list(range(n))
    return sorted({int(round(rank)) - 1 for rank in np.geomspace(1, n, MOST_POINTS)})
