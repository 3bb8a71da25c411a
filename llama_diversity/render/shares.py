"""Exact probabilities beside the shares that samples gave, as an Altair chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS
from llama_diversity.render.safe import visible

WIDTH, ROW = 300, 20


class Point(NamedTuple):
    """What something should be, and the share that it was, with its interval; all from 0 to 1."""

    name: str
    exact: float
    share: float
    low: float
    high: float


def shares_panel(points: Sequence[Point]) -> alt.LayerChart:
    """A row for each point, in order: a bar for what is exact, a point and a rule for what was seen, in percent."""
    rows = [
        {
            "name": visible(one.name),
            "exact": 100 * one.exact,
            "share": 100 * one.share,
            "low": 100 * one.low,
            "high": 100 * one.high,
        }
        for one in points
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("name:N", title=None, sort=[str(row["name"]) for row in rows], axis=alt.Axis(labelLimit=200))
    )
    highest = max(100 * max(one.exact, one.high) for one in points)
    scale, title = alt.Scale(domain=[0, min(100.0, 1.05 * highest)]), "probability and share, %"
    tips = [
        alt.Tooltip("name:N"),
        alt.Tooltip("exact:Q", format=".3g"),
        alt.Tooltip("share:Q", format=".3g"),
        alt.Tooltip("low:Q", format=".3g"),
        alt.Tooltip("high:Q", format=".3g"),
    ]
    bars = base.mark_bar(color=ARM_COLOURS[0], opacity=0.35).encode(
        x=alt.X("exact:Q", title=title, scale=scale), tooltip=tips
    )
    rules = base.mark_rule(color=ARM_COLOURS[0], strokeWidth=2).encode(
        x=alt.X("low:Q", title=title, scale=scale), x2="high:Q"
    )
    seen = base.mark_point(filled=True, size=55, color=ARM_COLOURS[0], opacity=1).encode(
        x=alt.X("share:Q", title=title, scale=scale), tooltip=tips
    )
    return alt.LayerChart(layer=[bars, rules, seen], width=WIDTH, height=max(60, ROW * len(rows)))
