"""Tokens into cells: what is drawn for each token, its value, its step, its tooltip.

One model of cells for terminal, SVG and HTML. It knows bytes and glyphs; it knows neither colours nor line width.

Tokens that only together make a character share one cell, which carries their joint value; behind it stands one
small cell per token with the token's own value. Everything that is not text is a *mark*: `⟨` never appears in text
(a typed one is drawn as its code point), so that nobody can type what looks like a mark.
"""

from __future__ import annotations

import codecs
import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.cells import get_character_cell_size

from llama_diversity.records import Piece
from llama_diversity.render import safe
from llama_diversity.render.scales import Scale

MAX_GROUP_TOKENS = 16  # of one grapheme; combining marks beyond are drawn as their code points
MAX_RUN = 1  # blanks drawn one by one; a longer run is counted

LOOKAHEAD = 8  # characters behind "<" that tell a typed mark; an ASCII matter

PartKind = Literal["text", "mark", "control", "number", "break"]


class Part(NamedTuple):
    """A stretch of a cell: text of the model, one of our marks, a control token's name, a number, or a line break."""

    text: str
    kind: PartKind


LINE_BREAK = Part("", "break")


@dataclass(frozen=True)
class Marks:
    """How to draw what is not text. `dots` shows a space at a token's edge as a dot, where it can be drawn dim."""

    ascii: bool = False
    encoding: str = "utf-8"
    dots: bool = True

    @property
    def in_ascii(self) -> bool:
        """True when our own marks must be ASCII, asked for or for want of room in the encoding."""
        return self.ascii or not safe.carries_unicode(self.encoding)


@dataclass(frozen=True)
class TokenCell:
    """What is drawn for the tokens `first` to `first + n_tokens - 1`; a small one belongs to the cell before it."""

    parts: tuple[Part, ...]
    value: float
    step: int | None
    tooltip: str
    first: int
    n_tokens: int
    small: bool = False


class Group(NamedTuple):
    """Consecutive tokens that share a cell, and their joined bytes."""

    first: int
    n_tokens: int
    data: bytes
    control: str | None = None


def build_cells(
    pieces: Sequence[Piece],
    values: Sequence[float],
    *,
    scale: Scale,
    marks: Marks,
    numbers: bool,
    tooltips: Sequence[str],
) -> tuple[TokenCell, ...]:
    """The cells of a text; `values` and `tooltips` are per token, and totals over cells never count a token twice."""
    groups = group_pieces(pieces)
    cells: list[TokenCell] = []
    for position, group in enumerate(groups):
        parts = draw(group, marks, following=_following(groups, position))
        tokens = range(group.first, group.first + group.n_tokens)
        value = values[group.first] if group.n_tokens == 1 else scale.joint([values[token] for token in tokens])
        tooltip = tooltips[group.first]
        ending: tuple[Part, ...] = ()
        if group.n_tokens > 1:
            tooltip = f"{group.n_tokens} tokens make this glyph; joint {scale.name} {scale.exact(value)}"
            # The small cells stay on the glyph's line.
            parts, ending = (parts[:-1], parts[-1:]) if parts[-1].kind == "break" else (parts, ())
        parts = _with_number(parts, scale.number(value) if numbers else "", marks)
        cells.append(TokenCell(parts, value, scale.step(value), tooltip, group.first, group.n_tokens))
        for token in tokens if group.n_tokens > 1 else ():
            parts = (small_mark(marks), *(ending if token == tokens[-1] else ()))
            parts = _with_number(parts, scale.number(values[token]) if numbers else "", marks)
            step = scale.step(values[token])
            cells.append(TokenCell(parts, values[token], step, tooltips[token], token, 1, small=True))
    return tuple(cells)


def inline(piece: Piece, marks: Marks | None = None) -> str:
    """One token on one line, as text."""
    parts = draw(Group(0, 1, piece.bytes, piece.control), marks or Marks())
    return "".join(part.text for part in parts)


# Which tokens belong together.


def group_pieces(pieces: Sequence[Piece]) -> list[Group]:
    """Join tokens until their bytes decode, then those that continue the last character of the one before."""
    return _joined_graphemes(_joined_bytes(pieces))


def _joined_bytes(pieces: Sequence[Piece]) -> list[Group]:
    groups: list[Group] = []
    open_bytes = b""  # the beginning of a character at the end of the last group
    for position, piece in enumerate(pieces):
        if open_bytes and piece.control is None and piece.bytes and _continues(open_bytes, piece.bytes):
            last = groups[-1]
            groups[-1] = Group(last.first, last.n_tokens + 1, last.data + piece.bytes)
            open_bytes = _open_end(groups[-1].data)
            continue
        if open_bytes:
            groups[-1:] = _without_loose_end(groups[-1], pieces)
        groups.append(Group(position, 1, piece.bytes, piece.control))
        open_bytes = b"" if piece.control is not None else _open_end(piece.bytes)
    if open_bytes:
        groups[-1:] = _without_loose_end(groups[-1], pieces)
    return groups


def _open_end(data: bytes) -> bytes:
    """The bytes at the end that begin a character and do not finish it."""
    for length in range(min(3, len(data)), 0, -1):
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            if not decoder.decode(data[-length:]):
                return data[-length:]
        except UnicodeDecodeError:
            continue
    return b""


def _continues(open_bytes: bytes, following: bytes) -> bool:
    """True when `following` goes on with the character that `open_bytes` begins."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(open_bytes)
    try:
        decoder.decode(following)
    except UnicodeDecodeError as error:
        return error.start > 0
    return True


def _without_loose_end(group: Group, pieces: Sequence[Piece]) -> list[Group]:
    """The tokens that hold nothing but bytes of a character that never comes stand alone."""
    n_loose = 0
    n_open = len(_open_end(group.data))
    for token in range(group.first + group.n_tokens - 1, group.first, -1):
        if n_open <= len(pieces[token].bytes):
            break
        n_open -= len(pieces[token].bytes)
        n_loose += 1
    n_kept = group.n_tokens - n_loose
    kept = pieces[group.first : group.first + n_kept]
    loose = range(group.first + n_kept, group.first + group.n_tokens)
    return [
        Group(group.first, n_kept, b"".join(piece.bytes for piece in kept)),
        *(Group(token, 1, pieces[token].bytes) for token in loose),
    ]


def _joined_graphemes(groups: Sequence[Group]) -> list[Group]:
    joined: list[Group] = []
    for group in groups:
        last = joined[-1] if joined else None
        if last and last.n_tokens + group.n_tokens <= MAX_GROUP_TOKENS and _shares_grapheme(last, group):
            joined[-1] = Group(last.first, last.n_tokens + group.n_tokens, last.data + group.data)
        else:
            joined.append(group)
    return joined


def _shares_grapheme(before: Group, after: Group) -> bool:
    if before.control is not None or after.control is not None or not before.data or not after.data:
        return False
    head = before.data[-64:].decode("utf-8", "replace")  # far enough back for the parity of flags
    tail = after.data[:8].decode("utf-8", "replace")
    joint = head + tail
    if tail[0] == safe.ZERO_WIDTH_JOINER:
        return safe.is_picture(head.rstrip(safe.EMOJI_PRESENTATION + "".join(safe.SKIN_TONES))[-1:])
    if head[-1] == safe.ZERO_WIDTH_JOINER:
        return safe.joins_pictures(joint, len(head) - 1)
    if _is_flag_half(tail[0]):
        return (len(head) - len(head.rstrip(_FLAG_HALVES))) % 2 == 1
    return extends(tail[0]) and carries(next((c for c in reversed(head) if not extends(c)), " "))


_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def _is_flag_half(character: str) -> bool:
    return character in _FLAG_HALVES


def extends(character: str) -> bool:
    """True for a character that is drawn on the one before it: a combining mark, a selector, a skin tone."""
    if character in safe.SKIN_TONES or unicodedata.category(character).startswith("M"):
        return True
    return not safe.is_unsafe(character) and get_character_cell_size(character) == 0


def carries(character: str) -> bool:
    """True for a character that a combining mark can be drawn on."""
    return not character.isspace() and not safe.is_unsafe(character) and character != "\ufffd"


# What is drawn.


def draw(group: Group, marks: Marks, *, following: str = "") -> tuple[Part, ...]:
    """The parts of a group; `following` is the text after it, for marks that somebody typed in pieces."""
    rest = following if b"<" in group.data else ""  # which alone may begin a mark that goes on
    return _drawn(group.data, group.control, marks, rest)


@functools.lru_cache(4096)  # the same few pieces make up most of any text
def _drawn(data: bytes, control: str | None, marks: Marks, following: str) -> tuple[Part, ...]:
    ascii = marks.in_ascii
    if control is not None:
        return (Part(_control_name(control, marks), "control"),)
    if not data:
        return (Part("<>" if ascii else "∅", "mark"),)
    segments = _segments(data)
    parts: list[Part] = []
    for position, segment in enumerate(segments):
        if isinstance(segment, bytes):
            parts.append(Part(safe.bracketed(segment.hex(" ").upper(), ascii=ascii), "mark"))
        else:
            rest = following if position == len(segments) - 1 else ""
            parts.extend(_draw_text(segment, marks, first=position == 0, last=position == len(segments) - 1, rest=rest))
    return tuple(_merged(parts))


def small_mark(marks: Marks) -> Part:
    """The cell of one token behind a glyph that several tokens make."""
    return Part("*" if marks.in_ascii else "▪", "mark")


def _control_name(name: str, marks: Marks) -> str:
    inside = name[1:-1] if len(name) > 2 and name[0] == "<" and name[-1] == ">" else name
    shown = safe.visible(inside, ascii=marks.ascii, encoding=marks.encoding)
    # In ASCII the brackets are those of the name itself, so a word says that nobody typed it.
    return safe.bracketed(f"ctrl {shown}" if marks.in_ascii else shown, ascii=marks.in_ascii)


def _segments(data: bytes) -> list[str | bytes]:
    """Text where the bytes decode, bytes where they do not."""
    segments: list[str | bytes] = []
    while data:
        try:
            segments.append(data.decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            if error.start:
                segments.append(data[: error.start].decode("utf-8"))
            broken = data[error.start : error.end]
            previous = segments[-1] if segments else None
            if isinstance(previous, bytes):
                segments[-1] = previous + broken
            else:
                segments.append(broken)
            data = data[error.end :]
    return segments


_STRETCH = re.compile(r" +|\n|\t|[^ \n\t]+")
_TYPED_MARK = {
    False: re.compile("⟨"),
    True: re.compile(r"<(?=>|nl>|!=>|tab>|sp x\d|U\+[0-9A-F]|ctrl |[0-9A-F]{2}[ >])"),
}


def _draw_text(text: str, marks: Marks, *, first: bool, last: bool, rest: str) -> Iterator[Part]:
    ascii = marks.in_ascii
    typed_marks = {match.start() for match in _TYPED_MARK[ascii].finditer(text + rest)}
    for match in _STRETCH.finditer(text):
        stretch = match.group()
        if stretch == "\n":
            yield Part(safe.newline_glyph(ascii=ascii), "mark")
            yield LINE_BREAK
        elif stretch == "\t":
            yield Part(safe.tab_glyph(ascii=ascii), "mark")
        elif stretch[0] == " ":
            at_edge = (first and match.start() == 0) or (last and match.end() == len(text))
            yield _draw_spaces(len(stretch), marks, at_edge=at_edge, alone=stretch == text)
        else:
            offsets = {position - match.start() for position in typed_marks}
            yield from _draw_word(stretch, marks, typed_marks=offsets)


def _draw_spaces(length: int, marks: Marks, *, at_edge: bool, alone: bool) -> Part:
    if length > MAX_RUN:
        return Part(f"<sp x{length}>" if marks.in_ascii else f"·×{length}", "mark")
    if at_edge and not marks.in_ascii and (marks.dots or alone):
        return Part("·", "mark")
    return Part(" ", "text")


def _draw_word(word: str, marks: Marks, *, typed_marks: set[int]) -> Iterator[Part]:
    """A stretch without blanks. A combining mark with nothing to stand on is drawn as its code point."""
    drawn = safe.drawn_characters(word, ascii=marks.in_ascii, encoding=marks.encoding)
    has_base = False
    for position, (original, shown) in enumerate(drawn):
        loose = extends(original) and original != safe.ZERO_WIDTH_JOINER and not has_base
        if shown == original and (position in typed_marks or loose):
            shown = safe.code_point(original, ascii=marks.in_ascii)
        has_base = shown == original
        yield Part(shown, "text" if has_base else "mark")


def _merged(parts: Sequence[Part]) -> Iterator[Part]:
    """Neighbouring characters of text as one part; marks stay whole."""
    text = ""
    for part in parts:
        if part.kind == "text":
            text += part.text
            continue
        if text:
            yield Part(text, "text")
            text = ""
        yield part
    if text:
        yield Part(text, "text")


_SUPERSCRIPTS = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")


def _with_number(parts: tuple[Part, ...], number: str, marks: Marks) -> tuple[Part, ...]:
    """The cell's number behind its last glyph, and so before a line break at its end."""
    if not number:
        return parts
    written = f"[{number}]" if marks.in_ascii else number.replace("inf", "∞").translate(_SUPERSCRIPTS)
    end = len(parts) - 1 if parts[-1].kind == "break" else len(parts)
    return (*parts[:end], Part(written, "number"), *parts[end:])


def _following(groups: Sequence[Group], position: int) -> str:
    """The text after a group, as far as a typed mark can be told from it; a control token ends it."""
    text = ""
    for group in groups[position + 1 : position + 1 + LOOKAHEAD]:
        if group.control is not None or len(text) >= LOOKAHEAD:
            break
        text += group.data[: 4 * LOOKAHEAD].decode("utf-8", "replace")
    return text
