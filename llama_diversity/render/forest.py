"""Ratios with their intervals against the line of equality, a row a measure: one panel an arm, as Altair charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible
from llama_diversity.render.ticks import log_ticks

WIDTH, ROW = 280, 26
MARGIN = 1.08  # beside the longest bars, so that none looks cut off


class Row(NamedTuple):
    """A ratio and its 95 % interval, above 0, and what is said of it."""

    name: str
    ratio: float
    low: float
    high: float
    verdict: str


def forest_panels(rows: Mapping[str, Sequence[Row]], *, title: str) -> dict[str, alt.LayerChart]:
    """A panel for each name, all on one logarithmic axis, so that a half and a double lie equally far from 1.

    It reaches at least from 0.8 to 1.25 and at most from 0.01 to 100. `title` is that of the axis.
    """
    lowest = min([0.8, *(row.low for some in rows.values() for row in some)])
    highest = max([1.25, *(row.high for some in rows.values() for row in some)])
    domain = [max(lowest / MARGIN, 0.01), min(highest * MARGIN, 100.0)]
    scale = alt.Scale(type="log", domain=domain, clamp=True)
    axis = alt.Axis(values=log_ticks(domain[0], domain[1]), format="~g")
    return {
        name: _panel(some, alt.X("ratio:Q", title=title, scale=scale, axis=axis), name, position)
        for position, (name, some) in enumerate(rows.items())
        if some
    }


def _panel(rows: Sequence[Row], across: alt.X, arm: str, position: int) -> alt.LayerChart:
    data = [
        {"name": visible(r.name), "ratio": r.ratio, "low": r.low, "high": r.high, "verdict": r.verdict} for r in rows
    ]
    order = [str(row["name"]) for row in data]
    down = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=180))
    base = alt.Chart(alt.InlineData(values=data)).encode(y=down)
    colour = ARM_COLOURS[arm_place(arm, position)]
    bars = base.mark_rule(strokeWidth=2.5, color=colour).encode(x=_at(across, "low:Q"), x2="high:Q")
    points = base.mark_point(filled=True, size=70, color=colour, opacity=1).encode(
        x=across,
        tooltip=[
            alt.Tooltip("name:N"),
            alt.Tooltip("ratio:Q", format=".3f"),
            alt.Tooltip("low:Q", format=".3f"),
            alt.Tooltip("high:Q", format=".3f"),
            alt.Tooltip("verdict:N"),
        ],
    )
    equal = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(strokeDash=[5, 4], color="#808080")
    return alt.LayerChart(
        layer=[equal.encode(x=_at(across, "one:Q")), bars, points], width=WIDTH, height=max(60, ROW * len(order))
    )


def _at(across: alt.X, field: str) -> alt.X:
    """The same axis for another field."""
    other = across.copy()
    other.shorthand = field
    return other
