"""What follows a changed opening as Altair panels, one an arm: surprise by token, returns by the size of a change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place

WIDTH, HEIGHT = 280, 180
_KINDS = ("unchanged", "changed")


def trajectory_panel(
    unchanged: Sequence[float], changed: Sequence[float], reaches: Sequence[float], *, highest: float
) -> alt.LayerChart:
    """Mean surprisal in bits by token after the opening, counted from 1; `highest` is the end of all panels' axis.

    `reaches`: half the 95 % interval of changed minus unchanged, drawn as bars around the changed ones.
    """
    rows = [
        {"token": at + 1, "bits": float(value), "opening": kind}
        for kind, values in zip(_KINDS, (unchanged, changed), strict=True)
        for at, value in enumerate(values)
    ]
    line = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("token:Q", title="token after the opening"),
            y=alt.Y("bits:Q", title="mean surprisal, bits", scale=alt.Scale(domain=[0, highest], clamp=True)),
            color=alt.Color("opening:N", sort=_KINDS, scale=alt.Scale(domain=_KINDS, range=list(ARM_COLOURS[:2])),
                            legend=alt.Legend(orient="bottom")),
            strokeDash=alt.StrokeDash("opening:N", sort=_KINDS, legend=None),
            tooltip=[alt.Tooltip("opening:N"), alt.Tooltip("token:Q"), alt.Tooltip("bits:Q", format=".2f")],
        )
    )  # fmt: skip
    bars = [
        {"token": at + 1, "low": max(0.0, float(value) - reach), "high": min(highest, float(value) + reach)}
        for at, (value, reach) in enumerate(zip(changed, reaches, strict=False))
        if math.isfinite(reach)
    ]
    rules = (
        alt.Chart(alt.InlineData(values=bars))
        .mark_rule(color=ARM_COLOURS[1], opacity=0.35)
        .encode(
            x=alt.X("token:Q", title="token after the opening"),
            y=alt.Y("low:Q", title="mean surprisal, bits"),
            y2="high:Q",
        )
    )
    return alt.LayerChart(layer=[rules, line], width=WIDTH, height=HEIGHT)


class Dose(NamedTuple):
    """A share and its interval at one size of a change."""

    dose: int
    share: float
    low: float
    high: float


def dose_panel(found: Sequence[Dose], doses: Sequence[int], *, arm: str, position: int) -> alt.LayerChart:
    """The share that returned, in percent, over `doses` at equal distances."""
    colour = ARM_COLOURS[arm_place(arm, position)]
    order = [str(dose) for dose in doses]
    rows = [
        {"dose": str(one.dose), "share": 100 * one.share, "low": 100 * one.low, "high": 100 * one.high} for one in found
    ]
    across = alt.X("dose:O", title="dose", sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(domain=[0, 100])
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=across)
    rules = base.mark_rule(strokeWidth=2, color=colour, opacity=0.6).encode(
        y=alt.Y("low:Q", title="returned, %", scale=scale), y2="high:Q"
    )
    line = base.mark_line(point=True, color=colour).encode(
        y=alt.Y("share:Q", title="returned, %", scale=scale),
        tooltip=[alt.Tooltip("dose:O"), alt.Tooltip("share:Q", format=".1f")],
    )
    return alt.LayerChart(layer=[rules, line], width=WIDTH, height=HEIGHT)
