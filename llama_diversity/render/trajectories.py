"""How surprising each token was, with and without a change of the opening: one panel an arm, as Altair charts."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS

WIDTH, HEIGHT = 280, 180
_KINDS = ("unchanged", "changed")


def trajectory_panel(unchanged: Sequence[float], changed: Sequence[float], *, highest: float) -> alt.LayerChart:
    """Mean surprisal in bits by token after the opening, counted from 1; `highest` is the end of all panels' axis."""
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
    return alt.LayerChart(layer=[line], width=WIDTH, height=HEIGHT)
