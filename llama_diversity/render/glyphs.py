"""Characters that no installed font draws: which of a text they are, and which package brings a font that does.

The one that draws is asked: it draws each character, and one that no font can have, and the pictures are compared.
So nothing here knows where fonts lie, which of them are read, or which of their formats can be drawn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_CELL = 24  # pixels a character
_COLUMNS = 32
_NEVER_DRAWN = "\U0010fffd"  # the last private character, which no font of the world gives a shape
_PLAIN = 0x250  # below are the letters of European languages, which every text font has
_PUNCTUATION = range(0x2010, 0x2028)
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPH", "FULLWIDTH")  # in names of characters
_SCRIPTS = (
    "ARABIC", "ARMENIAN", "BENGALI", "CHEROKEE", "DEVANAGARI", "ETHIOPIC", "GEORGIAN", "GUJARATI", "GURMUKHI", "HEBREW",
    "KANNADA", "KHMER", "LAO", "MALAYALAM", "MONGOLIAN", "MYANMAR", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU",
    "THAANA", "THAI",
)  # fmt: skip  # which Noto Sans has in files of their own
_DRAW_NOTHING = ("Cc", "Cf", "Cs")
_MOST_SHOWN = 12
_found: dict[str, bool] = {}  # of this process: fonts are read once


def undrawn(text: str) -> list[str]:
    """The characters of `text` that would be drawn as a box or not at all, sorted. Marks and joiners are not judged."""
    chars = {char for char in set(text) if _is_judged(char)}
    asked = sorted(chars - _found.keys())
    for start in range(0, len(asked), _COLUMNS * _COLUMNS):
        some = asked[start : start + _COLUMNS * _COLUMNS]
        _found.update(zip(some, _are_drawn(some), strict=True))
    return sorted(char for char in chars if not _found[char])


def texts_of(svg: str) -> str:
    """All text that an SVG draws, without its titles and metadata, which are for readers of the file."""
    import xml.etree.ElementTree as ElementTree

    drawn = (node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text"))
    return "".join(unescape("".join(node.itertext())) for node in drawn)


def _is_judged(char: str) -> bool:
    point = ord(char)
    if point < _PLAIN or point in _PUNCTUATION:
        return False
    category = unicodedata.category(char)
    return category[0] not in "MZ" and category not in _DRAW_NOTHING  # marks stand on others


def _are_drawn(chars: Sequence[str]) -> list[bool]:
    """Whether the picture of each has ink, and not that of the box for what is missing."""
    boxes = _pictures([_NEVER_DRAWN, *chars])
    missing = boxes[0].tobytes()
    return [bool(one.any()) and one.tobytes() != missing for one in boxes[1:]]


def _pictures(chars: Sequence[str]) -> list[np.ndarray]:
    """The ink of each character in a cell of its own."""
    import numpy as np
    import vl_convert  # heavy: a browser's engine with Vega inside
    from PIL import Image

    n_rows = -(-len(chars) // _COLUMNS)
    texts = "".join(
        f'<text x="{_CELL * (at % _COLUMNS) + 4}" y="{_CELL * (at // _COLUMNS) + 16}">{escape(char)}</text>'
        for at, char in enumerate(chars)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_CELL * _COLUMNS}" height="{_CELL * n_rows}" '
        f'font-family="sans-serif" font-size="12">{texts}</svg>'
    )
    ink = np.asarray(Image.open(BytesIO(vl_convert.svg_to_png(svg))))[:, :, 3]  # what is not drawn is transparent
    places = [(_CELL * (at // _COLUMNS), _CELL * (at % _COLUMNS)) for at in range(len(chars))]
    return [ink[top : top + _CELL, left : left + _CELL] for top, left in places]


# ---- in words


def sentence(missing: Mapping[str, Iterable[str]]) -> str:
    """Which characters are boxes in which figures, and how to get a font; `missing` has them by the figure's name.

    >>> print(sentence({"figure-8": "美国"}))
    No installed font draws 国 (U+56FD), 美 (U+7F8E): a box stands for each in figure-8. Install one and run again: on \
Debian and Ubuntu `sudo apt install fonts-noto-cjk`, on macOS `brew install --cask font-noto-sans-cjk`.
    """
    chars = sorted({char for some in missing.values() for char in some})
    shown = ", ".join(f"{char} (U+{ord(char):04X})" for char in chars[:_MOST_SHOWN])
    more = f" and {len(chars) - _MOST_SHOWN:,} more" if len(chars) > _MOST_SHOWN else ""
    packages = list(dict.fromkeys(package_of(char) for char in chars))
    debian, macos = (" ".join(one[at] for one in packages) for at in (0, 1))
    each = "a box stands for it" if len(chars) == 1 else "a box stands for each"
    return (
        f"No installed font draws {shown}{more}: {each} in {', '.join(missing)}. Install one and run again: on Debian "
        f"and Ubuntu `sudo apt install {debian}`, on macOS `brew install --cask {macos}`."
    )


def package_of(char: str) -> tuple[str, str]:
    """The Debian package and Homebrew's cask with a font for the character.

    >>> package_of("美"), package_of("ض"), package_of("🦙")[0]
    (('fonts-noto-cjk', 'font-noto-sans-cjk'), ('fonts-noto-core', 'font-noto-sans-arabic'), 'fonts-noto-color-emoji')
    """
    name = unicodedata.name(char, "")
    if any(
        script in name for script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPH", "FULLWIDTH")
    ):
        return "fonts-noto-cjk", "font-noto-sans-cjk"
    if 0x1F000 <= ord(char) < 0x20000:  # many of them newer than this Python knows
        return "fonts-noto-color-emoji", "font-noto-color-emoji"
    if unicodedata.category(char)[0] == "S":
        return "fonts-noto-core", "font-noto-sans-symbols-2"
    script = name.split(" ")[0]
    return "fonts-noto-core", f"font-noto-sans-{script.lower()}" if script in _SCRIPTS else "font-noto-sans"
