"""Cells into lines of a fixed width, measured in terminal cells of what is drawn.

It knows widths and where a line may break: between tokens; inside a token only where the token is longer than the
line. It knows no colours, so that terminal and SVG break alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from llama_diversity.render import safe
from llama_diversity.render.cells import PartKind, TokenCell, extends


class Span(NamedTuple):
    """A stretch of one line that belongs to one cell and has one kind."""

    cell: TokenCell
    text: str
    kind: PartKind
    width: int


Line = list[Span]


def lay_out(cells: Sequence[TokenCell], width: int) -> list[Line]:
    """Lines at most `width` cells wide; a single character that is wider stands alone."""
    layout = Layout(width)
    layout.add(cells)
    return layout.lines if layout.lines[-1] else layout.lines[:-1]


class Place(NamedTuple):
    """Where a layout stood, to be gone back to."""

    n_lines: int
    last: Line
    used: int


class Layout:
    """Lines that cells are added to, as far as they are wanted; the last one is open, and empty after a line break."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[Line] = [[]]
        self._used = 0

    def add(self, cells: Sequence[TokenCell]) -> None:
        """Lay out more cells, of which the first is no small one."""
        for unit in _units(cells):
            unit_width = sum(span.width for span in unit)
            if self._used and self._used + unit_width > self.width >= unit_width:
                self._break()
            for span in unit:
                if span.kind == "break":
                    self._break()
                    continue
                for atom in [span] if span.width <= self.width - self._used else _atoms(span, self.width):
                    if self._used and self._used + atom.width > self.width:
                        self._break()
                    _place(self.lines[-1], atom)
                    self._used += atom.width

    @property
    def place(self) -> Place:
        """Where it stands now."""
        return Place(len(self.lines), list(self.lines[-1]), self._used)

    def back_to(self, place: Place) -> None:
        """Forget what was added since."""
        self.lines[place.n_lines - 1 :] = [list(place.last)]
        self._used = place.used

    def _break(self) -> None:
        self.lines.append([])
        self._used = 0


def widest_line(cells: Sequence[TokenCell]) -> int:
    """How wide the text is when nothing but its own line breaks breaks it."""
    return max((sum(span.width for span in line) for line in lay_out(cells, 2**31)), default=0)


def widest_atom(cells: Sequence[TokenCell]) -> int:
    """The narrowest line that breaks no mark inside."""
    spans = (span for unit in _units(cells) for span in unit)
    return max((atom.width for span in spans for atom in _atoms(span, 2**31)), default=0)


def _units(cells: Sequence[TokenCell]) -> Iterator[list[Span]]:
    """What must stay on one line if it can: a cell up to its line break, with the small cells behind it."""
    unit: list[Span] = []
    for cell in cells:
        if not cell.small and unit:
            yield unit
            unit = []
        for part in cell.parts:
            unit.append(Span(cell, part.text, part.kind, cell_len(part.text)))
            if part.kind == "break":
                yield unit
                unit = []
    if unit:
        yield unit


def _atoms(span: Span, width: int) -> Iterator[Span]:
    """What a line break may not divide: a character with all that is drawn on it; a mark, if it fits on a line."""
    if span.kind != "text" and span.width <= width:
        yield span
        return
    for cluster in clusters(span.text):
        yield span._replace(text=cluster, width=cell_len(cluster))


def clusters(text: str) -> Iterator[str]:
    """Characters with their combining marks, joined emoji and flags whole."""
    cluster = ""
    for character in text:
        if cluster and not _goes_on(cluster, character):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _goes_on(cluster: str, character: str) -> bool:
    if extends(character) or character == safe.ZERO_WIDTH_JOINER:
        return True
    if cluster[-1] == safe.ZERO_WIDTH_JOINER:
        return safe.is_picture(character)
    return len(cluster) == 1 and _is_flag_half(cluster) and _is_flag_half(character)


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _place(line: Line, span: Span) -> None:
    last = line[-1] if line else None
    if last and last.cell is span.cell and last.kind == span.kind == "text":
        line[-1] = last._replace(text=last.text + span.text, width=last.width + span.width)
    else:
        line.append(span)
