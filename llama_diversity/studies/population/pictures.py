"""The target and what the models write, a panel a field: small multiples as Altair charts. Loaded on use."""

from __future__ import annotations

import altair as alt

from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible
from llama_diversity.studies.population.analysis import Result

_WIDTH, _ROW = 240, 14
_TARGET = "#333333"


def fit_panels(found: Result) -> dict[str, alt.LayerChart]:
    """Of every fixed field a panel: a row a value, the target as a tick, each arm's share with its interval."""
    rows: dict[str, list[dict[str, object]]] = {}
    for name, arm in found.arms.items():
        for one in arm.tables:
            if len(one.fields) == 1:
                rows.setdefault(one.fields[0], []).extend(
                    {
                        "value": visible(row.cell[0]),
                        "arm": visible(name),
                        "share": 100 * row.n / max(1, one.fit.n),
                        "low": 100 * row.low,
                        "high": 100 * row.high,
                        "target": 100 * row.target,
                    }
                    for row in one.rows()
                )
    arms = [name for name, arm in found.arms.items() if arm.tables]
    return {field: _panel(some, arms) for field, some in rows.items()}


def _panel(rows: list[dict[str, object]], arms: list[str]) -> alt.LayerChart:
    values = list(dict.fromkeys(str(row["value"]) for row in rows))
    shown = [visible(name) for name in arms]
    colours = [ARM_COLOURS[arm_place(name, at)] for at, name in enumerate(arms)]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("value:N", title=None, sort=values, axis=alt.Axis(labelLimit=160)),
        yOffset=alt.YOffset("arm:N", sort=shown),
        color=alt.Color("arm:N", scale=alt.Scale(domain=shown, range=colours), title=None),
    )
    across = alt.X("share:Q", title="usable people, %", scale=alt.Scale(domainMin=0))
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="usable people, %"), x2="high:Q")
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=across,
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("value:N"),
            *(alt.Tooltip(f"{name}:Q", format=".1f") for name in ("share", "low", "high", "target")),
        ],
    )
    targets = base.mark_tick(color=_TARGET, thickness=2, size=_ROW * len(arms)).encode(
        x=alt.X("target:Q", title="usable people, %"), color=alt.value(_TARGET)
    )
    height = max(60, len(values) * (_ROW * len(arms) + 10))
    return alt.LayerChart(layer=[targets, bars, points], width=_WIDTH, height=height)
