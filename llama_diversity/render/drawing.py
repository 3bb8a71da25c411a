"""Vega-Lite and SVG as bytes of a picture: the one door to vl-convert, which draws on this machine and fetches nothing.

Equal pictures are drawn once. What no font draws is part of what a picture depends on: install one, and it is new.
A unit of an SVG is a point unless a print form says otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from llama_diversity import cache
from llama_diversity.render.glyphs import undrawn
from llama_diversity.render.pdf import in_order
from llama_diversity.render.print_form import DESIGN_TEXT, ON_SCREEN, PrintForm, in_millimetres

Spec = dict[str, Any]  # Vega-Lite

_SIZE = re.compile(r'width="([0-9.]+)" height="([0-9.]+)" viewBox="0 0 [0-9.]+ [0-9.]+"')

_ID = re.compile(r'\bid="([A-Za-z]+_?)([0-9]+)"')


def svg_of(spec: Spec) -> str:
    """The chart as SVG."""
    text = json.dumps(spec, ensure_ascii=False)
    return cache.kept((*_drawer("numbered chart", text), text), lambda: _numbered(_svg_of(spec)))


def _numbered(svg: str) -> str:
    """With ids from 0: Vega counts them over all that a process draws, so that equal charts were not equal.

    >>> _numbered('<a id="clip7"/><b id="gradient_9" href="#clip7"/>')
    '<a id="clip0"/><b id="gradient_0" href="#clip0"/>'
    """
    counted: dict[str, int] = {}
    names: dict[str, str] = {}
    for kind, number in dict.fromkeys(_ID.findall(svg)):
        names[kind + number] = f"{kind}{counted.get(kind, 0)}"
        counted[kind] = counted.get(kind, 0) + 1
    return re.sub(r'(id="|#)(\w+)(?=["\)])', lambda found: found[1] + names.get(found[2], found[2]), svg)


def _svg_of(spec: Spec) -> str:
    import altair
    import vl_convert  # heavy: a browser's engine with Vega inside

    vega_lite = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.vegalite_to_svg(spec, vl_version=vega_lite)


def from_svg(
    svg: str, kinds: Sequence[str], form: PrintForm = ON_SCREEN, design_text: float = DESIGN_TEXT
) -> dict[str, bytes]:
    """A picture whose text has `design_text` units as "svg", "png" or "pdf", each of the size that `form` wants.

    One that is narrower gets white at its right; one that is wider is drawn smaller.
    """
    scale, wide = form.points_per_unit(design_text), form.units_wide(design_text)
    if wide is not None and width_of(svg) > wide + 1:
        scale *= wide / width_of(svg)
    elif wide is not None:
        svg = _resized(svg, wide)
    parts = (*_drawer("picture in order", svg), str(scale), str(form.ppi), str(form.is_on_screen), *kinds, svg)
    return cache.kept(parts, lambda: {kind: _from_svg(svg, kind, scale, form) for kind in kinds})


def _from_svg(svg: str, kind: str, scale: float, form: PrintForm) -> bytes:
    import vl_convert  # heavy: a browser's engine with Vega inside

    if kind == "svg":
        return (svg if form.is_on_screen else _scaled(svg, scale, "mm")).encode()
    if kind == "pdf":
        return in_order(
            vl_convert.svg_to_pdf(_scaled(svg, scale))
        )  # its own `scale` leaves the page as large as it was
    return vl_convert.svg_to_png(svg, scale=scale, ppi=form.ppi)


def _drawer(what: str, text: str) -> tuple[str, ...]:
    """On what a picture depends besides its description."""
    return what, version("vl-convert-python"), "".join(undrawn(text))


# ---- sizes


def width_of(svg: str) -> float:
    """The width of an SVG in its units. Raises ValueError where it has none."""
    return float(_size(svg)[1])


def _resized(svg: str, wide: float) -> str:
    """The SVG on a wider or narrower canvas, with the ground that covered all of it."""
    found = _size(svg)
    ground, ends = f'<rect width="{found[1]}" height="{found[2]}"', f'height="{found[2]}"'
    svg = svg.replace(ground, f'<rect width="{wide:.3f}" {ends}', 1)
    return svg.replace(found[0], f'width="{wide:.3f}" {ends} viewBox="0 0 {wide:.3f} {found[2]}"', 1)


def _scaled(svg: str, scale: float, unit: str = "") -> str:
    """The SVG with its size on paper, in points or in millimetres; what it draws is as before."""
    found = _size(svg)
    wide, high = (float(found[at]) * scale for at in (1, 2))
    ends = (f"{in_millimetres(end):g}mm" for end in (wide, high)) if unit == "mm" else (f"{wide:.3f}", f"{high:.3f}")
    size = 'width="{}" height="{}"'.format(*ends)
    return svg.replace(found[0], f'{size} viewBox="0 0 {found[1]} {found[2]}"', 1)


def _size(svg: str) -> re.Match[str]:
    found = _SIZE.search(svg)
    if found is None:
        raise ValueError("an SVG without a size")
    return found
