"""A text set into lines as far as somebody looks at it: cells and line breaks of `cells.py` and `layout.py`, lazily.

It knows pieces and widths, and no colours: what a token's colour means may change without a line being set again. The
lines of a text are the same wherever one began to look at it.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llama_diversity.records import Piece
from llama_diversity.render import safe
from llama_diversity.render.cells import Marks, Part, TokenCell, build_cells
from llama_diversity.render.layout import Layout, Line, Place
from llama_diversity.render.scales import Scale

CHUNK = 256  # tokens that are set at once
AHEAD = 32  # tokens behind them that may change how their last ones are drawn: what joins them, what makes up a mark

Values = Callable[[int, int], Sequence[float]]  # of the tokens from a first to before a last


class Spot(NamedTuple):
    """A line and a column, both from 0."""

    line: int
    column: int


class _Done(NamedTuple):
    """How far the text is set: the tokens, and where the layout stood then."""

    n_tokens: int
    place: Place


class Typeset:
    """The lines of a text `width` cells wide.

    `scale` and `values` say which numbers stand beside the tokens; without a scale there are none. `parting` is a token
    that a mark stands before.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        width: int,
        marks: Marks,
        *,
        scale: Scale | None = None,
        values: Values | None = None,
        parting: int | None = None,
    ) -> None:
        self.pieces, self.width, self.marks, self.parting = pieces, width, marks, parting
        self._scale, self._values = scale, values
        self._layout = Layout(width)
        self._firsts: list[int] = []  # of each line the first token
        self._done = _Done(0, self._layout.place)
        self._sure = self._done  # up to here nothing that is still to come can change it

    @property
    def is_whole(self) -> bool:
        """Whether all of it is set."""
        return self._done.n_tokens >= len(self.pieces)

    @property
    def n_lines(self) -> int:
        """Lines so far."""
        return len(self._firsts)

    def line(self, number: int) -> Line:
        """A line; empty behind the end."""
        while not self.is_whole and number >= len(self._firsts) - 1:  # the last one may go on
            self._set_more()
        return self._layout.lines[number] if number < len(self._firsts) else []

    def spot(self, token: int) -> Spot:
        """Where a token stands."""
        while not self.is_whole and token >= self._done.n_tokens:
            self._set_more()
        number = max(0, bisect.bisect_right(self._firsts, token) - 1)
        while number and self._firsts[number] == token and _column(self._layout.lines[number - 1], token) is not None:
            number -= 1  # it began on a line before
        column = _column(self._layout.lines[number], token) if self._firsts else None
        return Spot(number, column or 0)

    def token_at(self, spot: Spot) -> int:
        """The token that is drawn there, or the nearest one of the line; the last one behind the end."""
        line = self.line(spot.line)
        if not line:
            return max(0, len(self.pieces) - 1)
        column = 0
        for span in line:
            column += span.width
            if column > spot.column:
                break
        return span.cell.first

    def grow(self, pieces: Sequence[Piece]) -> None:
        """The text has become longer: `pieces` begin with those that it had."""
        self.pieces = pieces
        self._layout.back_to(self._sure.place)
        self._done = self._sure
        self._note_lines()

    def _set_more(self) -> None:
        """Set some more tokens, at least one cell."""
        start, ahead = self._done.n_tokens, AHEAD
        while True:
            end = min(len(self.pieces), start + CHUNK + ahead)
            cells = self._cells(start, end)
            n_sure = _n_before(cells, end - start - ahead)
            if n_sure or end == len(self.pieces):
                break
            ahead *= 2  # one glyph of very many tokens
        if n_sure:
            self._add(cells[:n_sure], start)
            self._sure = self._done
        if end == len(self.pieces):
            self._add(cells[n_sure:], start)
        self._note_lines()

    def _add(self, cells: Sequence[TokenCell], start: int) -> None:
        """Lay out cells that count their tokens from `start`."""
        moved = [dataclasses.replace(cell, first=cell.first + start) for cell in cells]
        self._layout.add([self._parted(cell) for cell in moved])
        n_tokens = max((cell.first + cell.n_tokens for cell in moved), default=self._done.n_tokens)
        self._done = _Done(n_tokens, self._layout.place)

    def _cells(self, start: int, end: int) -> tuple[TokenCell, ...]:
        pieces = self.pieces[start:end]
        numbers = self._scale is not None and self._values is not None
        values = self._values(start, end) if self._values else [math.nan] * len(pieces)
        return build_cells(
            pieces,
            values,
            scale=self._scale or _NO_SCALE,
            marks=self.marks,
            numbers=numbers,
            tooltips=[""] * len(pieces),
        )

    def _parted(self, cell: TokenCell) -> TokenCell:
        if self.parting is None or cell.small or not cell.first <= self.parting < cell.first + cell.n_tokens:
            return cell
        return dataclasses.replace(cell, parts=(parting_mark(self.marks), *cell.parts))

    def _note_lines(self) -> None:
        lines = self._layout.lines
        del self._firsts[max(0, min(len(self._firsts), len(lines)) - 1) :]
        self._firsts += [line[0].cell.first for line in lines[len(self._firsts) :] if line]


def parting_mark(marks: Marks) -> Part:
    """What stands where two texts part; nobody can type it."""
    return Part(safe.bracketed("!=" if marks.in_ascii else "≠", ascii=marks.in_ascii), "mark")


class _NoScale(Scale):
    """Of a text without values."""

    name = "nothing"

    def joint(self, values: Sequence[float]) -> float:
        return math.nan

    def sentence(self) -> str:
        return ""

    def number_sentence(self) -> str:
        return ""

    def summary(self, values: Sequence[float]) -> str:
        return ""


_NO_SCALE = _NoScale(1.0)


def _n_before(cells: Sequence[TokenCell], token: int) -> int:
    """How many of the cells end at or before a token; small ones go with the cell that they stand behind."""
    n = 0
    for at, cell in enumerate(cells):
        if not cell.small and cell.first + cell.n_tokens > token:
            break
        n = at + 1
    return n


def _column(line: Line, token: int) -> int | None:
    """Where a token begins on a line: its own small cell, else the cell that it is part of."""
    column, found = 0, None
    for span in line:
        cell = span.cell
        if cell.first <= token < cell.first + cell.n_tokens and (found is None or (cell.small and not found[1])):
            found = (column, cell.small or cell.n_tokens == 1)
        column += span.width
    return None if found is None else found[0]
