"""Two measures against each other: families of settings as lines through the plane, and the front that nothing beats.

Loaded on use: altair is heavy. Families differ in colour, dashes and shape, so the picture reads without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from llama_diversity.render.path_charts import ARM_DASHES
from llama_diversity.render.ramps import ARM_COLOURS
from llama_diversity.render.safe import visible

WIDTH, HEIGHT = 420, 340
SHAPES = ("circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right")
REFERENCE_COLOUR = "#555555"


class Dot(NamedTuple):
    """A setting with its 95 % intervals; without a family it is the reference."""

    name: str
    family: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    is_on_front: bool


def plane(dots: Sequence[Dot], *, across: str, up: str, is_up_better: bool, delta: float) -> alt.LayerChart:
    """The plane; where less is better upward the axis is turned, so that up is always better."""
    rows = [{**dot._asdict(), "name": visible(dot.name), "at": at} for at, dot in enumerate(dots)]
    families = list(dict.fromkeys(visible(dot.family) for dot in dots if dot.family))
    x = alt.X("x:Q", title=visible(across), scale=alt.Scale(zero=False, nice=True))
    y = alt.Y("y:Q", title=visible(up), scale=alt.Scale(zero=False, nice=True, reverse=not is_up_better))
    of_families = [{**row, "family": visible(str(row["family"]))} for row in rows if row["family"]]
    looks = _looks(families)
    base = alt.Chart(alt.InlineData(values=of_families))
    tips = [alt.Tooltip("name:N", title="setting")]
    tips += [
        alt.Tooltip(f"{field}:Q", title=visible(title), format=".3f") for field, title in (("x", across), ("y", up))
    ]
    layers = [
        *_front(dots, x, y, is_up_better=is_up_better),
        base.mark_rule(opacity=0.35, strokeWidth=1.5).encode(
            x=_at(x, "x_low"), x2="x_high:Q", y=y, color=looks["color"]
        ),
        base.mark_rule(opacity=0.35, strokeWidth=1.5).encode(
            x=x, y=_at(y, "y_low"), y2="y_high:Q", color=looks["color"]
        ),
        base.mark_line(strokeWidth=2).encode(
            x=x, y=y, color=looks["color"], strokeDash=looks["dash"], order=alt.Order("at:Q")
        ),
        *_reference([row for row in rows if not row["family"]], x, y, tips, -delta if is_up_better else delta),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x, y=y, color=looks["color"], shape=looks["shape"], tooltip=tips
        ),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)


def _looks(families: Sequence[str]) -> dict[str, Any]:
    def scale(range_of: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=list(families), range=[range_of[at % len(range_of)] for at in range(len(families))])

    legend = alt.Legend(orient="bottom", columns=4)  # beside the plane it would take a narrow screen's width
    return {
        "color": alt.Color("family:N", title=None, sort=None, scale=scale(ARM_COLOURS), legend=legend),
        "dash": alt.StrokeDash(
            "family:N", title=None, sort=None, scale=scale([list(one) for one in ARM_DASHES]), legend=legend
        ),
        "shape": alt.Shape("family:N", title=None, sort=None, scale=scale(SHAPES), legend=legend),
    }


def _front(dots: Sequence[Dot], x: alt.X, y: alt.Y, *, is_up_better: bool) -> list[alt.Chart]:
    """Grey steps: below and left of them something is as good in both."""
    front = sorted((dot for dot in dots if dot.is_on_front), key=lambda dot: (dot.x, -dot.y if is_up_better else dot.y))
    if not front:
        return []
    values = [{"x": dot.x, "y": dot.y, "at": at} for at, dot in enumerate(front)]
    steps = alt.Chart(alt.InlineData(values=values)).mark_line(
        interpolate="step-before", color="#999999", strokeWidth=5, opacity=0.5
    )
    return [steps.encode(x=x, y=y, order=alt.Order("at:Q"))]


def _reference(
    rows: Sequence[dict[str, Any]], x: alt.X, y: alt.Y, tips: Sequence[alt.Tooltip], margin: float
) -> list[alt.Chart]:
    found: list[alt.Chart] = []
    for row in rows:
        one = alt.Chart(alt.InlineData(values=[{**row, "floor": row["y"] + margin}]))
        found.append(one.mark_rule(strokeDash=[5, 4], color=REFERENCE_COLOUR).encode(y=_at(y, "floor")))
        found.append(one.mark_rule(opacity=0.5, color=REFERENCE_COLOUR).encode(x=_at(x, "x_low"), x2="x_high:Q", y=y))
        found.append(one.mark_rule(opacity=0.5, color=REFERENCE_COLOUR).encode(x=x, y=_at(y, "y_low"), y2="y_high:Q"))
        found.append(
            one.mark_point(filled=True, size=150, opacity=1, shape="diamond", color=REFERENCE_COLOUR).encode(
                x=x, y=y, tooltip=list(tips)
            )
        )
    return found


def _at(axis: Any, field: str) -> Any:
    """The same axis for another field."""
    other = axis.copy()
    other.shorthand = f"{field}:Q"
    return other
