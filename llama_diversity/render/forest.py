"""Shares with their intervals against the line of equality, a row a measure: one panel an arm, as Altair charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible

WIDTH, ROW = 280, 26


class Row(NamedTuple):
    """A share and its 95 % interval, above 0, and what is said of it."""

    name: str
    share: float
    low: float
    high: float
    verdict: str


def forest_panel(rows: Sequence[Row], *, lowest: float, highest: float, arm: str, position: int) -> alt.LayerChart:
    """Shares on a logarithmic axis from `lowest` to `highest`, so that a half and a double lie equally far from 1."""
    data = [
        {"name": visible(r.name), "share": r.share, "low": r.low, "high": r.high, "verdict": r.verdict} for r in rows
    ]
    order = [str(row["name"]) for row in data]
    scale = alt.Scale(type="log", domain=[lowest, highest], clamp=True)
    down = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=180))
    base = alt.Chart(alt.InlineData(values=data)).encode(y=down)
    colour = ARM_COLOURS[arm_place(arm, position)]
    across = alt.X("share:Q", title="share of the first arm's, kept", scale=scale, axis=alt.Axis(tickCount=5))
    bars = base.mark_rule(strokeWidth=2.5, color=colour).encode(
        x=alt.X("low:Q", title="share of the first arm's, kept", scale=scale), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, color=colour, opacity=1).encode(
        x=across,
        tooltip=[
            alt.Tooltip("name:N"),
            alt.Tooltip("share:Q", format=".3f"),
            alt.Tooltip("low:Q", format=".3f"),
            alt.Tooltip("high:Q", format=".3f"),
            alt.Tooltip("verdict:N"),
        ],
    )
    equal = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(strokeDash=[5, 4], color="#808080")
    return alt.LayerChart(
        layer=[equal.encode(x=alt.X("one:Q", scale=scale)), bars, points],
        width=WIDTH,
        height=max(60, ROW * len(order)),
    )
