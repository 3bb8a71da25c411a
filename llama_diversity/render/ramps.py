"""Colours of the steps, chosen by hand for each colour depth, so that every depth shows the same steps.

It knows step numbers and colours; what a step means is the scale's business (`scales.py`). Step 0 has no colour: it
is the terminal's own background. At 256 and 16 colours the exact numbers are given, because an automatic downgrade
of a smooth ramp merges steps and inverts their lightness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.color import Color
from rich.style import Style

from llama_diversity.errors import UnknownName

Depth = Literal["truecolor", "256", "16", "none"]
Background = Literal["dark", "light"]
Colour = str | int  # "#rrggbb", or a number of the xterm palette

N_STEPS = 10
N_SIDE_STEPS = 4  # of a diverging ramp, on each side of zero

BLACK, WHITE = "#000000", "#ffffff"
BLACK_256, WHITE_256 = 16, 231  # 0 and 15 belong to the user's theme


class Paint(NamedTuple):
    """Background and text colour of a step; None is the terminal's own."""

    background: Colour | None
    text: Colour | None


PLAIN = Paint(None, None)


@dataclass(frozen=True)
class Ramp:
    """Ten steps from likely to unlikely on a dark background. `rises` says that lightness carries the order."""

    truecolor: tuple[str, ...]
    numbers_256: tuple[int, ...]
    paints_16: tuple[Paint, ...]
    rises: bool = True


_BLUE_MAGENTA_YELLOW = (Paint(4, 15), Paint(5, 15), Paint(3, 0))

# Truecolor: the published maps at ten equal steps. The first of each list stands for the background and is not drawn
# on a dark terminal; on a light one the ramp is reversed and the last is not drawn.
RAMPS: Mapping[str, Ramp] = {
    "magma": Ramp(
        truecolor=tuple("#000004 #180f3e #451077 #721f81 #9f2f7f #cd4071 #f1605d #fd9567 #fec98d #fcfdbf".split()),
        numbers_256=(16, 17, 54, 90, 126, 168, 203, 209, 222, 229),
        paints_16=_BLUE_MAGENTA_YELLOW,
    ),
    "cividis": Ramp(
        truecolor=tuple("#00204d #00336f #39486b #575c6d #707173 #8a8779 #a69d75 #c4b56c #e4cf5b #ffea46".split()),
        numbers_256=(235, 24, 60, 242, 243, 244, 137, 143, 185, 220),
        paints_16=_BLUE_MAGENTA_YELLOW,
    ),
    "viridis": Ramp(
        truecolor=tuple("#440154 #482878 #3e4a89 #31688e #26828e #1f9e89 #35b779 #6dcd59 #b4de2c #fde725".split()),
        numbers_256=(53, 54, 24, 60, 30, 36, 107, 77, 148, 220),
        paints_16=_BLUE_MAGENTA_YELLOW,
    ),
    # Figure 14: green is likely, red is unlikely. Neither monotone in lightness nor safe for colour-blind readers.
    "paper": Ramp(
        truecolor=tuple("#006837 #1a9850 #66bd63 #a6d96a #d9ef8b #fee08b #fdae61 #f46d43 #d73027 #a50026".split()),
        numbers_256=(22, 29, 71, 149, 192, 222, 215, 203, 160, 124),
        paints_16=(Paint(2, 0), Paint(3, 0), Paint(1, 15)),
        rises=False,
    ),
}

# Differences: blue below zero, orange above, lightness rising with the size on both sides (dark background).
BELOW_256, ABOVE_256 = (25, 67, 74, 153), (130, 166, 209, 223)
BELOW_16, ABOVE_16 = (Paint(6, 0), Paint(4, 15)), (Paint(3, 0), Paint(1, 15))


def ramp_called(palette: str) -> Ramp:
    """The ramp of a palette; raises UnknownName with the near matches."""
    if palette not in RAMPS:
        raise UnknownName("palette", palette, RAMPS, list_command="llamadiv heatmap --help")
    return RAMPS[palette]


def depth_of(*, no_color: bool, color_system: str | None) -> Depth:
    """The colour depth of a Rich console. NO_COLOR leaves `color_system` alone, so it is asked first."""
    if no_color or color_system is None:
        return "none"
    return {"truecolor": "truecolor", "256": "256"}.get(color_system, "16")  # type: ignore[return-value]


def paint(step: int | None, *, palette: str, depth: Depth, background: Background, diverging: bool = False) -> Paint:
    """The colours of a step: 0 to 9, or -4 to 4 on a diverging scale. None (no value) and 0 have none."""
    if not step or depth == "none":
        return PLAIN
    if diverging:
        return _diverging_paint(step, depth, background)
    ramp = ramp_called(palette)
    if depth == "16":
        return ramp.paints_16[(step - 1) * len(ramp.paints_16) // (N_STEPS - 1)]
    colours: tuple[Colour, ...] = ramp.truecolor if depth == "truecolor" else ramp.numbers_256
    return _with_text(colours[N_STEPS - 1 - step] if ramp.rises and background == "light" else colours[step])


def _diverging_paint(step: int, depth: Depth, background: Background) -> Paint:
    size = abs(step) - 1
    if depth == "16":
        return (BELOW_16 if step < 0 else ABOVE_16)[size * len(BELOW_16) // N_SIDE_STEPS]
    number = (BELOW_256 if step < 0 else ABOVE_256)[size if background == "dark" else N_SIDE_STEPS - 1 - size]
    return _with_text(number if depth == "256" else hex_of(number))


def _with_text(background: Colour) -> Paint:
    """Black or white text, whichever stands out more."""
    light = relative_luminance(background)
    black_wins = (light + 0.05) / 0.05 >= 1.05 / (light + 0.05)
    if isinstance(background, int):
        return Paint(background, BLACK_256 if black_wins else WHITE_256)
    return Paint(background, BLACK if black_wins else WHITE)


def relative_luminance(colour: Colour) -> float:
    """Lightness as WCAG defines it, 0 for black to 1 for white."""
    red, green, blue = (_linear(channel / 255) for channel in rgb_of(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def hex_of(colour: Colour) -> str:
    """`#rrggbb` of a colour."""
    return "#{:02x}{:02x}{:02x}".format(*rgb_of(colour))


def rgb_of(colour: Colour) -> tuple[int, int, int]:
    """Red, green and blue; of a palette number only above 15, since the user's theme owns the rest."""
    if isinstance(colour, str):
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    if colour >= 232:
        grey = 8 + 10 * (colour - 232)
        return grey, grey, grey
    levels = (0, 95, 135, 175, 215, 255)
    cube = colour - 16
    return levels[cube // 36], levels[cube // 6 % 6], levels[cube % 6]


# Arms of a comparison. Okabe and Ito's blue and vermilion stay apart for every kind of colour vision and in print;
# terminals get lighter ones of the same hue, since their background may be black.
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
ARM_256 = (74, 209, 79, 176, 117, 220)
ARM_16 = (6, 3, 2, 5, 4, 1)
ARM_PLACES = {"base": 0, "aligned": 1, "sft": 2, "dpo": 3}  # always the same colours, whichever is drawn first


def arm_place(name: str, position: int) -> int:
    """Which of the arm colours an arm has: by its name, else by its position."""
    return ARM_PLACES.get(name, position) % len(ARM_COLOURS)


def arm_text(name: str, position: int, depth: Depth) -> Paint:
    """An arm's colour as text on a terminal's own background."""
    place = arm_place(name, position)
    if depth == "none":
        return PLAIN
    if depth == "16":
        return Paint(None, ARM_16[place])
    return Paint(None, ARM_256[place] if depth == "256" else hex_of(ARM_256[place]))


def rich_style(paint: Paint, *, bold: bool = False, dim: bool = False) -> Style:
    """Colours as Rich takes them: exact numbers stay numbers, so that it has nothing to downgrade."""
    return Style(
        color=_rich_colour(paint.text), bgcolor=_rich_colour(paint.background), bold=bold or None, dim=dim or None
    )


def _rich_colour(colour: Colour | None) -> Color | None:
    if colour is None:
        return None
    return Color.from_ansi(colour) if isinstance(colour, int) else Color.parse(colour)
