"""A table in the terminal that breaks its cells between words; where words have no room it is a list of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2  # cells between columns
_LONGEST = 16  # of a word that is kept whole; a longer one, a path say, would leave no room for a table
_NARROW = 20  # cells; in fewer an indent would leave too little


@dataclass(frozen=True)
class WordTable:
    """Rows of cells under headings, all safe to show; `is_text`: of each column, which then begins at its left."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_text: Sequence[bool]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        room = options.max_width - _GAP * (len(self.headings) - 1)
        columns = list(zip(self.headings, *self.rows, strict=True))
        least = [min(_LONGEST, _widest(word for cell in column for word in cell.split())) for column in columns]
        if sum(least) > room:
            yield Text(self.title, style="bold")
            yield from self._list(indent=2 if options.max_width >= _NARROW else 0)
        else:
            yield self._table(widths(least, [_widest(column) for column in columns], room))

    def _table(self, wide: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, title=Text(self.title, style="bold"), title_justify="left")
        for heading, is_text, width in zip(self.headings, self.is_text, wide, strict=True):
            table.add_column(Text(heading), justify="left" if is_text else "right", overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _list(self, *, indent: int) -> Iterator[RenderableType]:
        if not self.rows:
            yield Text("; ".join(heading.strip() for heading in self.headings if heading.strip()))
        for first, *others in self.rows:
            yield Text(first)
            pairs = [pair for pair in zip(self.headings[1:], others, strict=True) if pair[1].strip()]
            told = "; ".join(f"{heading.strip()}: {cell}" if heading.strip() else cell for heading, cell in pairs)
            if told:
                yield Padding(Text(told), (0, 0, 0, indent))


def widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """A width for each column, from its longest word to its longest cell, within `room` cells in all.

    The column that is shortest as yet grows first, so that no column is narrow for the sake of one long sentence.

    >>> widths([3, 4], [5, 90], 20), widths([3, 4], [5, 9], 20)
    ([5, 15], [5, 9])
    """
    found = list(least)
    for _ in range(room - sum(least)):
        growing = [at for at, width in enumerate(found) if width < most[at]]
        if not growing:
            break
        found[min(growing, key=found.__getitem__)] += 1
    return found


def _widest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)
