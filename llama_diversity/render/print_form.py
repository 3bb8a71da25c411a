"""How figures are to look in print: their width on paper, the size of their text, with a caption or without.

It knows lengths and nothing of charts. Charts are designed with text of 12 units; a unit is as many points as makes
that text the size that was asked for, so lines, points and gaps shrink with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from llama_diversity.errors import BadValue

DESIGN_TEXT = 12  # units: the size of labels, ticks and legends in every chart
PRINTED_TEXT_PT = 7.0  # where a width is given and no size: what most journals ask for at least
_POINTS = {"mm": 72 / 25.4, "cm": 72 / 2.54, "in": 72.0, "pt": 1.0, "px": 0.75}  # a CSS pixel is 1/96 inch
_NARROWEST_PT, _WIDEST_PT = 20 * _POINTS["mm"], 2000 * _POINTS["mm"]
_LENGTH = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)\s*", re.IGNORECASE)
_SCREEN_PPI, _PRINT_PPI = 144, 600  # sharp on a screen; what journals ask of lines and text


@dataclass(frozen=True)
class PrintForm:
    """The form of a figure in a file; without a width each keeps its own, at 12 points."""

    width_pt: float | None = None
    font_pt: float | None = None
    has_caption: bool = True

    def __post_init__(self) -> None:
        if self.font_pt is not None and not (3 <= self.font_pt <= 72):
            raise BadValue("--font-size", f"{self.font_pt:g}", "it must be from 3 to 72 points")

    @property
    def is_on_screen(self) -> bool:
        """Whether no size on paper was asked for."""
        return self.width_pt is None and self.font_pt is None

    def points_per_unit(self, text: float = DESIGN_TEXT) -> float:
        """How many points a unit is on paper, of a design whose text has `text` units."""
        if self.is_on_screen:
            return 1.0
        return (self.font_pt or (DESIGN_TEXT if self.width_pt is None else PRINTED_TEXT_PT)) / text

    def units_wide(self, text: float = DESIGN_TEXT) -> float | None:
        """The width in units of such a design; None where each figure keeps its own."""
        return None if self.width_pt is None else self.width_pt / self.points_per_unit(text)

    @property
    def ppi(self) -> int:
        """Pixels per inch of a PNG."""
        return _SCREEN_PPI if self.is_on_screen else _PRINT_PPI


ON_SCREEN = PrintForm()


def points_of(length: str, option: str = "--width") -> float:
    """A length like 84mm, 8.4cm, 3.3in, 238pt or 318px, in points. Raises BadValue.

    >>> round(points_of("84mm"), 2), points_of("1in"), points_of("96 px")
    (238.11, 72.0, 72.0)
    """
    found = _LENGTH.fullmatch(length)
    unit = found[2].lower() if found else ""
    if not found or unit not in _POINTS:
        raise BadValue(option, length, "write a number and mm, cm, in, pt or px, for example 84mm")
    points = float(found[1]) * _POINTS[unit]
    if not (_NARROWEST_PT <= points <= _WIDEST_PT):
        raise BadValue(option, length, "it must be from 20 mm to 2 m")
    return points


def in_millimetres(points: float) -> float:
    """Points in millimetres, to a thousandth.

    >>> in_millimetres(238.11)
    84.0
    """
    return math.floor(points / _POINTS["mm"] * 1000 + 0.5) / 1000
