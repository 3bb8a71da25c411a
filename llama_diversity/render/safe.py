"""Text from outside, made safe to show: every character a terminal would obey or hide becomes a visible form.

It knows characters, not tokens: bytes are decoded before they come here. Everything that shows model text, prompts,
file names or foreign error messages passes through `visible`, and nothing else in the package decides what is safe.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and a symbol that draw nothing although their category says otherwise.
BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
ZERO_WIDTH_JOINER = "\u200d"
EMOJI_PRESENTATION = "\ufe0f"
SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
# Where the members of joined emoji live; an unassigned code point among them is category Cn and so no picture.
PICTURE_RANGES = ((0x2190, 0x21FF), (0x2300, 0x23FF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FAFF))


def visible(
    text: str,
    *,
    newline: Literal["glyph", "break", "keep"] = "glyph",
    tab: Literal["glyph", "keep"] = "glyph",
    ascii: bool = False,
    encoding: str = "utf-8",
) -> str:
    r"""`text` without a single character that a terminal, SVG or HTML reader would obey, hide or reorder.

    A newline becomes its glyph ("glyph", for one line), the glyph and a real break ("break"), or stays ("keep"); a
    tab becomes its glyph or stays. `ascii` writes our own marks in ASCII; the letters of the text stay, unless
    `encoding` (what the stream can carry) has no room for them. An encoding that is not UTF implies `ascii`.

    >>> visible("a\x1b[2Jb\u202e\n")
    'a⟨U+001B⟩[2Jb⟨U+202E⟩⏎'
    >>> visible("é\t\x00", ascii=True)
    'é<tab><U+0000>'
    >>> visible("é", encoding="ascii")
    '<U+00E9>'
    """
    if text.isprintable() and BLANKS.isdisjoint(text) and carries_unicode(encoding):
        return text
    ascii = ascii or not carries_unicode(encoding)
    whitespace = {"\t": "\t" if tab == "keep" else tab_glyph(ascii=ascii)}
    whitespace["\n"] = {"glyph": newline_glyph(ascii=ascii), "break": newline_glyph(ascii=ascii) + "\n", "keep": "\n"}[
        newline
    ]
    drawn = drawn_characters(text, ascii=ascii, encoding=encoding)
    return "".join(whitespace.get(original, shown) for original, shown in drawn)


def drawn_characters(text: str, *, ascii: bool = False, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Each character of `text` with what is drawn for it: itself, or its visible form."""
    carries_all = carries_unicode(encoding)
    for position, character in enumerate(text):
        unsafe = is_unsafe(character) and not joins_pictures(text, position)
        if unsafe or not (carries_all or _fits(character, encoding)):
            yield character, code_point(character, ascii=ascii)
        else:
            yield character, character


def carries_unicode(encoding: str) -> bool:
    """True when a stream in `encoding` can carry every character, so that our marks need not be ASCII."""
    return encoding.lower().startswith("utf")


def is_unsafe(character: str) -> bool:
    """True for a character that is not drawn as it is (a newline and a tab among them)."""
    return character in BLANKS or unicodedata.category(character) in UNSAFE_CATEGORIES


def joins_pictures(text: str, position: int) -> bool:
    """True for a zero-width joiner between two emoji of one drawn group, such as a family; elsewhere it hides."""
    if text[position] != ZERO_WIDTH_JOINER:
        return False
    start = max(0, position - 3)  # room for the emoji, a skin tone and the presentation selector
    before = text[start:position].rstrip(EMOJI_PRESENTATION + "".join(SKIN_TONES))
    return is_picture(before[-1:]) and is_picture(text[position + 1 : position + 2])


def is_picture(character: str) -> bool:
    """True for an assigned character of the emoji blocks; False for the empty string."""
    if not character or unicodedata.category(character) in UNSAFE_CATEGORIES:
        return False
    return any(first <= ord(character) <= last for first, last in PICTURE_RANGES)


def code_point(character: str, *, ascii: bool = False) -> str:
    """The visible form of a character: `⟨U+202E⟩`, in ASCII `<U+202E>`."""
    return bracketed(f"U+{ord(character):04X}", ascii=ascii)


def bracketed(inside: str, *, ascii: bool = False) -> str:
    """`⟨inside⟩`, in ASCII `<inside>`: how everything is marked that is not text."""
    return f"<{inside}>" if ascii else f"⟨{inside}⟩"


def newline_glyph(*, ascii: bool = False) -> str:
    """What stands where a line ended."""
    return "<nl>" if ascii else "⏎"


def tab_glyph(*, ascii: bool = False) -> str:
    """What stands for a tab, whose width nobody can lay out."""
    return "<tab>" if ascii else "→"


def _fits(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
