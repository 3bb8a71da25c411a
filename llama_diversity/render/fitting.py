"""Panels as one figure of a given width: as many beside each other as stay readable, their labels laid out for it.

A chart is drawn, its width measured, and the panels are made wider or narrower by what is missing; axes, labels and
legends keep their size. Without a width, panels keep the one that they were designed with.
"""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_diversity.render.charts import headed, joined
from llama_diversity.render.drawing import Spec, svg_of, width_of
from llama_diversity.render.print_form import DESIGN_TEXT, PrintForm
from llama_diversity.render.safe import visible

_LETTER = 0.58 * DESIGN_TEXT  # units, of the usual face
_LINE = 1.15 * DESIGN_TEXT  # a label that stands upright needs as much
_LEAST_PLOT = 150  # units; below, ticks and labels run into each other
_SYMBOL = 34  # units of a legend for the symbol and the gaps around it
_PADDING = 6  # units around a figure in print
_LEGEND_GAP = 10
_MOST_PASSES = 5
_TOLERANCE = 0.5  # units


def fitted(panels: Mapping[str, Spec], title: str, caption: str, form: PrintForm) -> Spec:
    """The figure as Vega-Lite in units of its design, as wide as `form` wants it."""
    title, caption = (title, caption) if form.has_caption else ("", "")
    wide = form.units_wide()
    if wide is None:
        return joined([headed(heading, panel) for heading, panel in panels.items()], panels, title, caption)
    return _Fitting(panels, title, caption, wide).found()


class _Fitting:
    """The search for the width of panels that makes their figure as wide as it shall be."""

    def __init__(self, panels: Mapping[str, Spec], title: str, caption: str, wide: float) -> None:
        self.panels = panels
        self.title, self.caption = title, caption
        self.wide = wide

    def found(self) -> Spec:
        """With the most columns in which every panel keeps the width that it needs."""
        for columns in range(min(3, len(self.panels)), 0, -1):
            share = self.wide / columns
            plot = max(_LEAST_PLOT, share - 60)
            spec = self.of(columns, plot)
            plot, spec = self.refined(columns, plot, spec)
            if columns == 1 or plot >= self.least(columns):
                return spec
        raise AssertionError("a figure has a panel")

    def least(self, columns: int) -> float:
        """What the panel needs that needs most."""
        return max(_LEAST_PLOT, *(min(_natural(panel), _needed(panel)) for panel in self.panels.values()))

    def refined(self, columns: int, plot: float, spec: Spec) -> tuple[float, Spec]:
        """The width again and again, until what is drawn fits."""
        for _ in range(_MOST_PASSES):
            excess = width_of(svg_of(spec)) - self.wide
            if abs(excess) <= _TOLERANCE or (excess > 0 and plot <= 1):
                break
            plot = max(1.0, plot - excess / columns)
            spec = self.of(columns, plot)
        return plot, spec

    def of(self, columns: int, plot: float) -> Spec:
        """The figure with panels `plot` units wide."""
        share = self.wide / columns
        narrow = [
            headed(_folded(heading, share), _narrowed(panel, plot, share)) for heading, panel in self.panels.items()
        ]
        for panel in narrow[columns::columns]:
            _name_axis(panel, narrow[0])
        letters = int((self.wide - 2 * _PADDING) / _LETTER)
        figure = joined(narrow, self.panels, self.title, self.caption, columns=columns, letters=letters)
        figure["padding"] = _PADDING
        figure["config"] = {**figure["config"], "title": {**figure["config"]["title"], "fontSize": DESIGN_TEXT}}
        return figure


def _natural(panel: Spec) -> float:
    return float(panel.get("width", _LEAST_PLOT))


def _needed(panel: Spec) -> float:
    """Room for what cannot be narrower: a cloud of words, the labels of a discrete axis, upright where they must be."""
    if _is_laid_out(panel):
        return _natural(panel)
    counts = [len(_domain(x)) for x in _channels(panel, "x") if _is_discrete(x)]
    return _LINE * max(counts, default=0)


# ---- one panel


def _narrowed(panel: Spec, plot: float, share: float) -> Spec:
    """The panel `plot` units wide with labels and legends that have room in it and in its `share` of the figure."""
    narrow = copy.deepcopy(panel)
    _resize(narrow, plot)
    for x in _channels(narrow, "x"):
        if _is_discrete(x) and x.get("axis", {}) is not None:
            x["axis"] = {**x.get("axis", {}), **_labels(_domain(x), plot)}
    for y in _channels(narrow, "y"):
        if y.get("axis") and "labelLimit" in y["axis"]:
            y["axis"]["labelLimit"] = min(y["axis"]["labelLimit"], 0.45 * share)
    for name in ("color", "strokeDash", "shape"):
        for channel in _channels(narrow, name):
            _fit_legend(channel, plot, share)
    return narrow


def _resize(panel: Spec, plot: float) -> None:
    """A cloud of words and a square change as a whole, others in width alone; boxes get narrower with their panel."""
    natural = _natural(panel)
    if _is_laid_out(panel):
        panel["height"] *= plot / natural
        for channel in (one for name in ("x", "y", "size") for one in _channels(panel, name)):
            channel["scale"] = {"domain": [0, natural], "range": [0, plot], "zero": False, "nice": False}
    elif panel.get("height") == panel.get("width"):
        panel["height"] = plot
    elif plot < natural:
        for mark in (one for one in _marks(panel) if one.get("type") == "boxplot"):
            mark["size"] = mark.get("size", 14) * plot / natural
    panel["width"] = plot


def _name_axis(panel: Spec, first: Spec) -> None:
    """A panel that stood beside the first shared the title of its axis; under it, it needs one."""
    titles = [y["title"] for y in _channels(first, "y") if y.get("title")]
    for y in _channels(panel, "y"):
        if titles and y.get("title", "") is None:
            y["title"] = titles[0]


def _is_laid_out(panel: Spec) -> bool:
    """Whether places and sizes are in units already, as in a cloud of words."""
    return any(x.get("scale", 0) is None for x in _channels(panel, "x"))


def _labels(labels: Sequence[str], plot: float) -> dict[str, Any]:
    """How the labels of a discrete axis stand: level, level in two lines, or upright."""
    room = plot / max(len(labels), 1) - 4
    longest = max((len(label) for label in labels), default=0) * _LETTER
    if longest <= room:
        return {}
    if max((len(part) for label in labels for part in _two_lines(label)), default=0) * _LETTER <= room:
        return {"labelExpr": "split(replace(datum.label, ' (', '\\n('), '\\n')"}
    found: dict[str, Any] = {"labelAngle": -90 if room < _LINE else -60}
    if room + 4 < DESIGN_TEXT:  # not even upright ones have room: every second one, and so on
        found["labelOverlap"] = "parity"
    return found


def _two_lines(label: str) -> list[str]:
    return label.replace(" (", "\n(").split("\n")


def _fit_legend(channel: dict[str, Any], plot: float, share: float) -> None:
    """Under the panel, in as many columns as have room."""
    if channel.get("legend", 0) is None or "field" not in channel:
        return
    legend = {**channel.get("legend", {})}
    if legend.get("orient") not in ("top", "bottom"):
        legend["orient"] = "bottom"
    if channel.get("type") == "quantitative":
        legend["gradientLength"] = max(60, plot - 2 * _LEGEND_GAP)
        legend["titleLimit"] = share
    else:
        labels = _domain(channel)
        longest = max((len(str(label)) for label in labels), default=1) * _LETTER + _SYMBOL
        legend["columns"] = max(1, min(len(labels), int(share / longest)))
        legend["labelLimit"] = share - _SYMBOL
        legend["titleLimit"] = share
    channel["legend"] = legend


def _channels(panel: Spec, name: str) -> Iterator[dict[str, Any]]:
    """Every encoding of the channel, of the panel and its layers."""
    for part in [panel, *panel.get("layer", [])]:
        channel = part.get("encoding", {}).get(name)
        if isinstance(channel, dict):
            yield channel


def _marks(panel: Spec) -> Iterator[dict[str, Any]]:
    for part in [panel, *panel.get("layer", [])]:
        if isinstance(part.get("mark"), dict):
            yield part["mark"]


def _is_discrete(channel: Mapping[str, Any]) -> bool:
    return channel.get("type") in ("nominal", "ordinal")


def _domain(channel: Mapping[str, Any]) -> list[str]:
    scale = channel.get("scale") or {}
    found = scale.get("domain") or channel.get("sort")
    return [str(one) for one in found] if isinstance(found, list) else []


def _folded(heading: str, share: float) -> list[str]:
    """A heading in lines that fit over its panel; bold letters are wider."""
    return textwrap.wrap(visible(heading), max(8, math.floor(share / (1.12 * _LETTER)))) or [""]
