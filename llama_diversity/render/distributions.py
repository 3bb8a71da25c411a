"""Distributions of several arms as Altair charts: bars of categories, histograms of numbers, one panel an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible

WIDTH = 260


def bars_panel(
    shares: Mapping[str, tuple[float, float, float]], order: Sequence[str], *, arm: str, position: int, highest: float
) -> alt.LayerChart:
    """Share of each category with its interval (share, low, high), in percent, the same rows in each panel."""
    rows = [
        {"value": visible(name), "share": 100 * s, "low": 100 * low, "high": 100 * high}
        for name in order
        for s, low, high in [shares.get(name, (0.0, 0.0, 0.0))]
    ]
    labels = [visible(name) for name in order]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("value:N", title=None, sort=labels, scale=alt.Scale(domain=labels), axis=alt.Axis(labelLimit=110))
    )
    across = alt.X("share:Q", title="share of personas, %", scale=alt.Scale(domain=[0, 100 * highest], clamp=True))
    colour = ARM_COLOURS[arm_place(arm, position)]
    bars = base.mark_bar(color=colour, opacity=0.85).encode(
        x=across, tooltip=[alt.Tooltip("value:N"), alt.Tooltip("share:Q", format=".1f")]
    )
    rules = base.mark_rule(color="#808080").encode(x=alt.X("low:Q", title="share of personas, %"), x2="high:Q")
    return alt.LayerChart(layer=[bars, rules], width=WIDTH, height=max(60, 18 * len(labels)))


def histogram_panel(
    values: Sequence[float], edges: Sequence[float], *, unit: str, arm: str, position: int, highest: float
) -> alt.LayerChart:
    """Share of an arm's values in each bin, in percent; the last bin holds its upper end."""
    counts = np.histogram(values, edges)[0]
    rows = [
        {"from": float(low), "to": float(high), "share": 100 * float(count) / max(len(values), 1), "foot": 0}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color=ARM_COLOURS[arm_place(arm, position)], opacity=0.85, stroke="#808080", strokeWidth=0.3)
        .encode(
            x=alt.X("from:Q", title=visible(unit), scale=alt.Scale(domain=[edges[0], edges[-1]], nice=False)),
            x2="to:Q",
            y=alt.Y("share:Q", title="share of personas, %", scale=alt.Scale(domain=[0, 100 * highest])),
            y2="foot:Q",  # with two ends across, Vega-Lite would draw a dash at the share instead of a bar
            tooltip=[
                alt.Tooltip("from:Q", format=".2f"),
                alt.Tooltip("to:Q", format=".2f"),
                alt.Tooltip("share:Q", format=".1f"),
            ],
        )
    )
    return alt.LayerChart(layer=[bars], width=WIDTH, height=170)
