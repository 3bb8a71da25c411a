"""Words of an arm as a cloud, an Altair chart: the more frequent, the larger. Place and angle mean nothing.

The package wordcloud says where a word goes, and no more: it measures with a typewriter face that it brings along, so
that the layout is the same on every machine, and the chart is drawn in one as wide.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import altair as alt
from rich.cells import cell_len

from llama_diversity.render.ramps import ARM_COLOURS, arm_place, relative_luminance, rgb_of
from llama_diversity.render.safe import bracketed, visible

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 280, 280  # points: two panels fit a page, one fits a phone
FOOT = 18  # points under the words, for how many of them there are
# All of them take at most 0.602 of their size for a letter; the measure, Droid Sans Mono, takes 0.600.
FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
GREY = "#808080"
_LARGEST = (64, 52, 42, 34, 28, 23, 19, 16, 14, 13, 12, 11, 10, 9, 8, 7)  # points of the first word
_SCALING = (0.5, 0.3, 0.15)  # how much of a word's size follows its count; at 0.5, half as frequent is 3/4 as large
_SMALLEST = 7
_MOST_CELLS, _MOST_IN_TOOLTIP = 24, 200  # of a word
_MOST_LUMINANCE = 1.05 / 3 - 0.05  # three to one against white, as WCAG asks of large text


class Placed(NamedTuple):
    """A word that found room: `left` and `top` of its ink in points, y downwards; upright words read upwards."""

    text: str
    size: int
    left: int
    top: int
    is_upright: bool


def cloud_panel(
    counts: Mapping[str, int], *, arm: str, position: int, most_words: int = 60, seed: int = 0
) -> alt.LayerChart:
    """The `most_words` most frequent words (ties by name) in the arm's colour; equal counts have equal sizes.

    Equal arguments give equal charts. Words that find no room even in the smallest type are left out, the rarest
    first, and a line under the cloud says how many of how many it shows. A word of more than 24 columns is cut; its
    tooltip has more of it, and the count.
    """
    ranked = sorted(((word, n) for word, n in counts.items() if n > 0), key=lambda item: (-item[1], item[0]))
    words = _distinct(dict(ranked[:most_words]))
    rows: list[dict[str, str | float]] = []
    for placed, x, y in _laid_out({text: n for text, (_, n) in words.items()}, seed):
        word, n = words[placed.text]
        place = {"x": x, "y": y, "size": placed.size, "angle": 270 if placed.is_upright else 0}
        rows.append({"shown": placed.text, "word": word, "count": n, **place})
    layers = [_texts(rows, _ink(ARM_COLOURS[arm_place(arm, position)]))] if rows else []
    if not rows:
        layers.append(_texts([_note("none", y=HEIGHT / 2)], GREY))
    elif len(rows) < len(ranked):
        layers.append(_texts([_note(f"{len(rows)} of {len(ranked)}", y=HEIGHT + FOOT - 5)], GREY))
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT + FOOT, view=alt.ViewConfig(stroke=None))


def _note(text: str, *, y: float) -> dict[str, str | float]:
    return {"shown": text, "x": WIDTH / 2, "y": y, "size": 12, "angle": 0}


def _texts(rows: list[dict[str, str | float]], colour: str) -> alt.Chart:
    """Each row's text about its middle on its baseline, in points from the upper left corner."""
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_text(font=FONT, align="center", baseline="alphabetic", color=colour)
        .encode(
            x=alt.X("x:Q", axis=None, scale=None),
            y=alt.Y("y:Q", axis=None, scale=None),
            text="shown:N",
            size=alt.Size("size:Q", scale=None, legend=None),
            angle=alt.Angle("angle:Q", scale=None, legend=None),
            tooltip=[alt.Tooltip("word:N"), alt.Tooltip("count:Q")] if "word" in rows[0] else [],
        )
    )
    return chart


def _distinct(counts: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """What is drawn for each word, with what its tooltip says; words that look the same once cut get a number."""
    words: dict[str, tuple[str, int]] = {}
    for word, n in counts.items():
        safe = visible(word[:_MOST_IN_TOOLTIP]).strip() or bracketed("blank")
        cut = text = _cut(safe)
        copy = 2
        while text in words:
            text = f"{cut} {copy}"
            copy += 1
        words[text] = (safe if len(word) <= _MOST_IN_TOOLTIP else f"{safe}…", n)
    return words


def _cut(text: str) -> str:
    """As much of a text as takes _MOST_CELLS columns.

    >>> _cut("x" * 30)
    'xxxxxxxxxxxxxxxxxxxxxxx…'
    """
    if cell_len(text) <= _MOST_CELLS:
        return text
    text = text[:_MOST_CELLS]
    while cell_len(text) >= _MOST_CELLS:
        text = text[:-1]
    return f"{text}…"


def _ink(colour: str) -> str:
    """A colour, darkened where it must be to be read on white; on a dark ground all of them can be.

    >>> _ink("#0072b2"), _ink("#e69f00")
    ('#0072b2', '#c68900')
    """
    share = 1.0
    inked = colour
    while relative_luminance(inked) > _MOST_LUMINANCE:
        share -= 0.01
        red, green, blue = (round(share * channel) for channel in rgb_of(colour))
        inked = f"#{red:02x}{green:02x}{blue:02x}"
    return inked


# ---- layout


def _laid_out(counts: Mapping[str, int], seed: int) -> list[tuple[Placed, float, float]]:
    """Words with x and y of the middle of their baseline, in the largest type that has room for all or for most."""
    if not counts:
        return []
    from PIL import ImageFont

    best: list[Placed] = []
    for scaling, size in itertools.product(_SCALING, _LARGEST):
        placed = _fair(_tried(counts, size, scaling, seed), counts)
        best = max(best, placed, key=len)
        if len(best) == len(counts):
            break
    faces = {size: ImageFont.truetype(_face(), size) for size in {one.size for one in best}}
    return [(one, *_middle_of_baseline(one, faces[one.size])) for one in best]


def _tried(counts: Mapping[str, int], size: int, scaling: float, seed: int) -> list[Placed]:
    """What wordcloud finds room for, the first word in `size`; what does not fit it makes smaller, then leaves out."""
    from wordcloud import WordCloud

    measured = {_as_wide(text): text for text in counts}
    cloud = WordCloud(
        font_path=_face(),
        width=WIDTH,
        height=HEIGHT,
        margin=4 + size // 6,  # the faces differ by a point, and neighbours must not read as one word
        max_words=len(counts),
        max_font_size=size,
        min_font_size=_SMALLEST,
        relative_scaling=scaling,
        random_state=seed,
        color_func=_no_colour,  # its own colours come from matplotlib
    ).generate_from_frequencies({wide: counts[text] for wide, text in measured.items()})
    return [
        Placed(measured[wide], int(points), int(left), int(top), orientation is not None)
        for (wide, _), points, (top, left), orientation, _ in cloud.layout_
    ]


def _fair(placed: list[Placed], counts: Mapping[str, int]) -> list[Placed]:
    """The words before the first that has another size than one as frequent."""
    sizes: dict[int, int] = {}
    for at, one in enumerate(placed):
        if sizes.setdefault(counts[one.text], one.size) != one.size:
            return placed[:at]
    return placed


def _as_wide(text: str) -> str:
    """A text that the measuring face, which has no wide letters, makes as wide as others draw this one.

    >>> _as_wide("Mei 美")
    'Mei 美M'
    """
    return "".join(f"{char}M" if cell_len(char) > 1 else char for char in text)


def _middle_of_baseline(word: Placed, face: FreeTypeFont) -> tuple[float, float]:
    """From the corner of the ink, which only the measuring face knows, to what every face has."""
    text = _as_wide(word.text)
    left, top, right, _ = face.getbbox(text, anchor="ls")  # of the ink, from the start of the baseline
    along = face.getlength(text) / 2 - left
    if word.is_upright:
        return word.left - top, word.top + (right - left) - along
    return word.left + along, word.top - top


def _face() -> str:
    from pathlib import Path

    import wordcloud

    return str(Path(wordcloud.__file__).with_name("DroidSansMono.ttf"))


def _no_colour(*_: object, **__: object) -> str:
    return "black"
