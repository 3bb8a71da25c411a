"""Figures 11 to 13 as Altair charts, and the one way to write a chart to a file.

Loaded on use: altair is heavy. It knows numbers and tokens, and that base and aligned always have the same two
colours. Nothing is fetched: the data stand in the chart, and vl-convert renders it on this machine.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import altair as alt
from altair.utils.schemapi import debug_mode

from llama_diversity.errors import BadValue
from llama_diversity.records import N_TOP
from llama_diversity.render.cells import inline
from llama_diversity.render.drawing import Spec, from_svg, svg_of
from llama_diversity.render.files import write_whole
from llama_diversity.render.ramps import ARM_COLOURS, RAMPS, arm_place
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import ScoredToken

Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart
Figure = TypeVar("Figure", alt.LayerChart, alt.HConcatChart, alt.VConcatChart)

FORMATS = ("png", "svg", "pdf", "json")
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
REST = "rest"
# The likeliest token darkest, the rest of the vocabulary grey: ordered in lightness, so safe without hue.
SHARE_COLOURS = (*(RAMPS["viridis"].truecolor[step] for step in (0, 2, 4, 6, 8)), "#d9d9d9")


def entropy_box_panel(samples: Mapping[str, Sequence[float]], *, unit: str) -> alt.LayerChart:
    """Figure 11: one box per arm over its values, each value a point. Values that are nan are left out."""
    finite = {visible(name): [float(v) for v in values if math.isfinite(v)] for name, values in samples.items()}
    labels = {name: f"{name} (n = {len(values)})" for name, values in finite.items()}
    rows = [
        # Points spread evenly and the same way each time: no two neighbours in one place, and nothing drawn by chance.
        {"arm": labels[name], "value": value, "spread": (index * GOLDEN_RATIO) % 1 - 0.5}
        for name, values in finite.items()
        for index, value in enumerate(values)
    ]
    arms = list(labels.values())
    colour = alt.Color("arm:N", scale=alt.Scale(domain=arms, range=_arm_colours(list(finite))), legend=None, sort=arms)
    across = alt.X("arm:N", title=None, sort=arms, axis=alt.Axis(labelAngle=0), scale=alt.Scale(domain=arms))
    value = alt.Y("value:Q", title=visible(unit), scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(_data(rows))
    points = base.mark_circle(size=22, opacity=0.45).encode(
        x=across,
        y=value,
        color=colour,
        xOffset=alt.XOffset("spread:Q", scale=alt.Scale(domain=[-1.6, 1.6])),
        tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("value:Q", format=".3f")],
    )
    boxes = base.mark_boxplot(
        size=70, extent=1.5, outliers=False, box={"fillOpacity": 0.15, "strokeWidth": 1.5}, median={"strokeWidth": 3}
    ).encode(x=across, y=value, color=colour, stroke=colour)
    return alt.LayerChart(layer=[boxes, points], width=max(280, 140 * len(arms)), height=320)


def token_entropies(samples: Mapping[str, Sequence[ScoredToken]]) -> dict[str, Chart]:
    """Figure 12: the entropy before each token of one sample per arm, a panel each, on one scale."""
    highest = max(
        (t.entropy_bits for tokens in samples.values() for t in tokens if math.isfinite(t.entropy_bits)), default=1.0
    )
    panels: dict[str, Chart] = {}
    for position, (name, tokens) in enumerate(samples.items()):
        labels = _token_labels(tokens)
        rows = [
            {"token": label, "entropy": token.entropy_bits, "rank": token.rank}
            for label, token in zip(labels, tokens, strict=True)
            if math.isfinite(token.entropy_bits)
        ]
        panel = (
            alt.Chart(_data(rows))
            .mark_bar(color=_arm_colour(name, position))
            .encode(
                x=_token_axis(labels),
                y=alt.Y(
                    "entropy:Q",
                    title="entropy, bits (whole vocabulary)" if position == 0 else None,
                    scale=alt.Scale(domain=[0, highest or 1.0], nice=True),
                ),
                tooltip=[alt.Tooltip("token:N"), alt.Tooltip("entropy:Q", format=".2f"), alt.Tooltip("rank:Q")],
            )
        )
        panels[_heading(name, len(tokens))] = panel.properties(width=max(220, 24 * len(tokens)), height=240)
    return panels


def stacked_probabilities(samples: Mapping[str, Sequence[ScoredToken]]) -> dict[str, Chart]:
    """Figure 13: how the probability divides among the five likeliest tokens and the rest, token by token."""
    kinds = [f"{index + 1}" for index in range(N_TOP)] + [REST]
    colour = alt.Color(
        "kind:N",
        title="likeliest tokens",
        sort=kinds,
        scale=alt.Scale(domain=kinds, range=list(SHARE_COLOURS)),
    )
    panels: dict[str, Chart] = {}
    for position, (name, tokens) in enumerate(samples.items()):
        labels = _token_labels(tokens)
        rows = [row for label, token in zip(labels, tokens, strict=True) for row in _share_rows(label, token)]
        panel = (
            alt.Chart(_data(rows))
            .mark_bar()
            .encode(
                x=_token_axis(labels),
                y=alt.Y("share:Q", title="probability" if position == 0 else None, scale=alt.Scale(domain=[0, 1])),
                color=colour,
                order=alt.Order("place:Q"),
                tooltip=[alt.Tooltip("alternative:N"), alt.Tooltip("share:Q", format=".4f")],
            )
        )
        panels[_heading(name, len(tokens))] = panel.properties(width=max(220, 24 * len(tokens)), height=240)
    return panels


def save_chart(chart: Chart | Spec, path: Path) -> None:
    """Write a chart as its suffix says (.png, .svg, .pdf, .json): whole or not at all. Raises BadValue."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise BadValue("the chart's file", str(path), f"its name must end in one of {', '.join(FORMATS)}")
    write_whole(path, rendered(chart, [kind])[kind])


def rendered(chart: Chart | Spec, kinds: Sequence[str]) -> dict[str, bytes]:
    """The bytes of a chart as each of `kinds`; equal charts are drawn once, on this machine."""
    spec = chart if isinstance(chart, dict) else spec_of(chart)
    drawn = [kind for kind in kinds if kind != "json"]
    pictures = from_svg(svg_of(spec), drawn) if drawn else {}
    return {kind: to_json(spec) if kind == "json" else pictures[kind] for kind in kinds}


def to_json(spec: Spec) -> bytes:
    """The chart as Vega-Lite that a person can read and change."""
    return json.dumps(spec, indent=1).encode()


def specs_of(draw: Callable[[], Mapping[str, Chart]]) -> dict[str, Spec]:
    """What `draw` draws as Vega-Lite. Altair does not validate it: tests do, and it takes longer than drawing."""
    with debug_mode(False):
        return {heading: spec_of(chart) for heading, chart in draw().items()}


def spec_of(chart: Chart) -> Spec:
    """The chart as Vega-Lite, not validated."""
    spec: Spec = chart.to_dict(validate=False)
    return spec


def side_by_side(panels: Mapping[str, Chart | Spec], *, title: str, subtitle: str = "") -> Spec:
    """One chart of several panels, each under its heading, as a file needs it."""
    specs = {heading: panel if isinstance(panel, dict) else spec_of(panel) for heading, panel in panels.items()}
    return joined([headed(heading, spec) for heading, spec in specs.items()], specs, title, subtitle)


def joined(
    headed: Sequence[Spec], panels: Mapping[str, Spec], title: str, subtitle: str, *, columns: int = 0, letters: int = 0
) -> Spec:
    """Panels `headed` in rows of `columns`, title and subtitle folded to so many letters; 0 is what suits a screen.

    Joined as Vega-Lite rather than by Altair, which copies all data several times on the way: data sets and the choices
    of panels belong to the whole.
    """
    columns = columns or (3 if len(headed) == 3 else 2)
    letters = letters or 52 * min(columns, len(headed))
    rows = [{"hconcat": list(headed[start : start + columns])} for start in range(0, len(headed), columns)]
    looks = spec_of(_finished(alt.vconcat(), title=title, subtitle=subtitle, n_columns=letters))
    if not title and not subtitle:
        del looks["title"]
    shared: Spec = {
        "datasets": {name: rows for spec in panels.values() for name, rows in spec.get("datasets", {}).items()},
        "params": [param for spec in panels.values() for param in spec.get("params", [])],
    }
    return {**looks, **{name: found for name, found in shared.items() if found}, "vconcat": rows}


def headed(heading: str | Sequence[str], panel: Spec) -> Spec:
    """The panel with a heading, which may have lines, and without what belongs to the whole."""
    inside = {name: part for name, part in panel.items() if name not in ("$schema", "config", "datasets", "params")}
    lines = [visible(line) for line in ([heading] if isinstance(heading, str) else heading)]
    return {**inside, "title": lines[0] if len(lines) == 1 else lines} if any(lines) else inside


def _token_labels(tokens: Sequence[ScoredToken]) -> list[str]:
    """Position and text, so that equal tokens stay apart and in order."""
    return [f"{position} {inline(token.piece)}" for position, token in enumerate(tokens, start=1)]


def _token_axis(labels: Sequence[str]) -> alt.X:
    return alt.X(
        "token:N",
        title=None,
        sort=list(labels),
        scale=alt.Scale(domain=list(labels)),
        axis=alt.Axis(labelAngle=-60, labelLimit=110, labelOverlap=False),
    )


def learning_curves(
    curves: Mapping[str, Sequence[float]], *, step: str, title: str, subtitle: str = ""
) -> alt.HConcatChart:
    """One panel for each quantity over the same steps, counted from 0."""
    panels = [
        alt.Chart(_data([{"step": at, "value": float(value)} for at, value in enumerate(values)]))
        .mark_line(color=ARM_COLOURS[0], strokeWidth=1.5)
        .encode(
            x=alt.X("step:Q", title=visible(step)),
            y=alt.Y("value:Q", title=visible(name), scale=alt.Scale(zero=False, nice=True)),
        )
        .properties(width=200, height=160)
        for name, values in curves.items()
    ]
    return _finished(alt.hconcat(*panels), title=title, subtitle=subtitle, n_columns=50 * max(1, len(panels)) - 10)


class SweepPoint(NamedTuple):
    """One measure at one value of a knob: mean over seeds and its 95 % interval (nan for a single seed)."""

    value: float
    mean: float
    low: float
    high: float


def sweep_panels(
    panels: Mapping[tuple[str, str], Sequence[SweepPoint]], *, title: str, subtitle: str = ""
) -> alt.VConcatChart:
    """One panel for each (knob, measure): values of the knob at equal distances, means joined, intervals as bars."""
    rows: dict[str, list[alt.LayerChart]] = {}
    for (knob, measure), points in panels.items():
        rows.setdefault(knob, []).append(_sweep_panel(knob, measure, points))
    chart = alt.vconcat(*(alt.hconcat(*row) for row in rows.values()))
    return _finished(chart, title=title, subtitle=subtitle, n_columns=150)


def _sweep_panel(knob: str, measure: str, points: Sequence[SweepPoint]) -> alt.LayerChart:
    shown = [
        {"knob": f"{p.value:g}", "mean": p.mean, "low": _or(p.low, p.mean), "high": _or(p.high, p.mean)} for p in points
    ]
    order = [f"{p.value:g}" for p in points]
    base = alt.Chart(_data(shown)).encode(
        x=alt.X("knob:O", title=visible(knob), sort=order, axis=alt.Axis(labelAngle=0, labelOverlap=False))
    )
    scale = alt.Scale(zero=False, nice=True)
    bars = base.mark_rule(strokeWidth=2, color=ARM_COLOURS[0], opacity=0.6).encode(
        y=alt.Y("low:Q", title=visible(measure), scale=scale), y2="high:Q"
    )
    line = base.mark_line(point=True, color=ARM_COLOURS[0]).encode(y=alt.Y("mean:Q", scale=scale))
    return alt.LayerChart(layer=[bars, line], width=max(150, 34 * len(order)), height=150)


def _or(value: float, other: float) -> float:
    return value if math.isfinite(value) else other


def _share_rows(label: str, token: ScoredToken) -> list[dict[str, Any]]:
    shares = [(f"{index + 1}", a.probability, inline(a.piece)) for index, a in enumerate(token.alternatives[:N_TOP])]
    if not shares:
        return []
    shares.append((REST, max(0.0, 1 - math.fsum(share for _, share, _ in shares)), "all other tokens"))
    return [
        {"token": label, "kind": kind, "share": share, "alternative": text, "place": place}
        for place, (kind, share, text) in enumerate(shares)
    ]


def _heading(name: str, n_tokens: int) -> str:
    return f"{name} (one sample, n = {n_tokens} tokens)"


def _arm_colours(names: Sequence[str]) -> list[str]:
    return [_arm_colour(name, position) for position, name in enumerate(names)]


def _arm_colour(name: str, position: int) -> str:
    return ARM_COLOURS[arm_place(name, position)]


def _finished(chart: Figure, *, title: str, subtitle: str, n_columns: int) -> Figure:
    """Title and subtitle, folded to the chart's width in characters, and the looks that all charts share."""
    heading = alt.TitleParams(
        text=_folded(title, n_columns * 6 // 7), subtitle=_folded(subtitle, n_columns), anchor="start", offset=14
    )
    finished: Figure = (
        chart.properties(title=heading, background="white", padding=12)
        .configure(font=FONT)
        .configure_axis(
            labelFlush=False, labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#e8e8e8"
        )
        .configure_axisX(grid=False)
        .configure_title(fontSize=14, subtitleFontSize=12, subtitleColor="#555555")
        .configure_legend(labelFontSize=12, titleFontSize=12)
        .configure_view(stroke=None)
    )
    return finished


def _folded(text: str, n_columns: int) -> list[str]:
    return textwrap.wrap(visible(text), n_columns) or [""]


def _data(rows: list[dict[str, Any]]) -> Any:
    """Data inside the chart: nothing to fetch."""
    return alt.InlineData(values=rows)
