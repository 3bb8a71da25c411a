"""The texts, side by side: each token in the colour of its step, and the cursor among them.

A text is set into lines as far as it is looked at, and only the lines on the screen are drawn. Keys are the screen's
business; a click is this widget's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text as RichText
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from llama_diversity.decimals import counted, decimals
from llama_diversity.render.cells import TokenCell
from llama_diversity.render.layout import Line
from llama_diversity.render.scales import Scale
from llama_diversity.render.typeset import Spot, Typeset
from llama_diversity.studies.viewed import Abreast, Text
from llama_diversity.view.ink import DIM, HERE, THERE, Ink, cut, folded, strip_of

NARROWEST = 24  # cells of a text, below which fewer stand side by side
_CHUNK = 128  # tokens whose values are worked out together


class Column:
    """One of the texts at a width: its lines, its values, and which line is the uppermost."""

    def __init__(self, abreast: Abreast, arm: int, scale: Scale, width: int, ink: Ink) -> None:
        self.text: Text = abreast.texts[arm]
        self.width = width
        self.top = 0
        self._abreast, self._arm, self._ink = abreast, arm, ink
        self._scale = scale
        self._values: dict[int, list[float]] = {}
        self._typeset: Typeset | None = None

    @property
    def typeset(self) -> Typeset:
        """Its lines, which the scale is part of only where numbers stand in them."""
        if self._typeset is None:
            self._typeset = Typeset(
                self.text.spelled,
                self.width,
                self._ink.marks,
                scale=self._scale if self._ink.has_numbers else None,
                values=self._some if self._ink.has_numbers else None,
                parting=self._abreast.parting,
            )
        return self._typeset

    def colour(self, scale: Scale) -> None:
        """Colour by another scale."""
        self._scale = scale
        self._values.clear()
        if self._ink.has_numbers:
            self._typeset = None

    def keep_in_sight(self, token: int, height: int) -> None:
        """Scroll as little as it takes."""
        line = self.typeset.spot(token).line
        self.top = min(line, max(self.top, line - height + 1))

    def segments(self, line: Line, here: int | None, cursor: Style) -> Iterator[Segment]:
        """A line as it is drawn, with the token `here` under the cursor."""
        used = 0
        for span in line:
            cell = span.cell
            if here is not None and _is_at(cell, here):
                style = cursor
            else:
                style = self._ink.token(span.kind, self._step(cell), self._scale)
            used += span.width
            yield Segment(span.text, style)
        if used < self.width:
            yield Segment(" " * (self.width - used))

    def _step(self, cell: TokenCell) -> int | None:
        values = [self._value(token) for token in range(cell.first, cell.first + cell.n_tokens)]
        return self._scale.step(values[0] if len(values) == 1 else self._scale.joint(values))

    def _value(self, token: int) -> float:
        chunk = token // _CHUNK
        if chunk not in self._values:
            self._values[chunk] = self._some(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        return self._values[chunk][token % _CHUNK]

    def _some(self, start: int, end: int) -> list[float]:
        return self._abreast.values(self._arm, self._scale, start, end)


class Columns(Widget):
    """The texts of all arms, or of one alone, with the cursor in one of them."""

    DEFAULT_CSS = "Columns { width: 1fr; height: 1fr; }"

    class Picked(Message):
        """Another text was clicked."""

        def __init__(self, arm: int, before: int) -> None:
            super().__init__()
            self.arm, self.before = arm, before

    def __init__(self, ink: Ink, moved: Callable[[], None]) -> None:
        """`moved` hears at once that the cursor stands elsewhere, so that all is drawn together."""
        super().__init__()
        self.ink = ink
        self._moved = moved
        self.abreast: Abreast | None = None
        self.notice = ""  # why there is nothing to show
        self.arm = self.at = 0
        self.is_alone = False  # only the arm that has the cursor
        self._scale: Scale | None = None
        self._columns: dict[int, Column] = {}
        self._made: tuple[tuple[object, ...], list[tuple[int, Column]]] | None = None
        self._wish: int | None = None  # the column that moves up and down keep to

    def show(self, abreast: Abreast | None, arm: int, scale: Scale, *, at: int = 0) -> None:
        """Other texts; none where there is nothing to show."""
        self.abreast, self.arm, self._scale = abreast, arm, scale
        self._columns.clear()
        self._made = None
        self.at = 0
        self.go(at)

    def colour(self, scale: Scale) -> None:
        """Colour by another scale."""
        self._scale = scale
        for column in self._columns.values():
            column.colour(scale)
        self._made = None
        self.go(self.at)

    def choose(self, arm: int, *, is_alone: bool) -> None:
        """Move to another arm, and show it alone or beside the others."""
        self.arm, self.is_alone = arm, is_alone
        self.go(self.at)

    def go(self, token: int) -> None:
        """Put the cursor on a token."""
        self._wish = None
        self._go(token)

    def go_line(self, step: int) -> None:
        """Move up or down by lines."""
        column = self._column(self.arm)
        if column is None:
            return
        spot = column.typeset.spot(self.at)
        wish = spot.column if self._wish is None else self._wish
        line = max(0, spot.line + step)
        while step > 0 and line > spot.line and not column.typeset.line(line):
            line -= 1
        self._go(column.typeset.token_at(Spot(line, wish)))
        self._wish = wish

    def go_page(self, step: int) -> None:
        """Move up or down by what fits the screen."""
        self.go_line(step * max(1, self._height - 1))

    def go_edge(self, *, is_end: bool) -> None:
        """Move to the first or last token of the line."""
        column = self._column(self.arm)
        if column is not None:
            line = column.typeset.spot(self.at).line
            self.go(column.typeset.token_at(Spot(line, 10**6 if is_end else 0)))

    def on_resize(self) -> None:
        """Set the texts anew, to the new width."""
        self._columns.clear()
        self._made = None
        self._go(self.at)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is."""
        x = event.x
        for arm, column in self._shown():
            if x < column.width:
                line = column.typeset.line(column.top + event.y - 1) if event.y else []
                token = column.typeset.token_at(Spot(column.top + event.y - 1, x)) if line else None
                if arm != self.arm:
                    self.post_message(self.Picked(arm, self.arm))
                self.arm = arm
                if token is not None:
                    self.go(token)
                return
            x -= column.width + len(self.ink.gap)

    def on_mouse_scroll_down(self) -> None:
        """Three lines down."""
        self.go_line(3)

    def on_mouse_scroll_up(self) -> None:
        """Three lines up."""
        self.go_line(-3)

    def render_line(self, y: int) -> Strip:
        if self.notice:
            lines = folded(RichText(self.ink.safe(self.notice)), self.size.width)
            return strip_of(lines[y] if y < len(lines) else RichText(), self.size.width)
        segments: list[Segment] = []
        for arm, column in self._shown():
            if segments:
                segments.append(Segment(self.ink.gap, DIM))
            segments += self._heading(arm, column) if y == 0 else self._line(arm, column, y - 1)
        return Strip(segments).adjust_cell_length(self.size.width)

    def _heading(self, arm: int, column: Column) -> Sequence[Segment]:
        text = column.text
        name = self.ink.safe(text.arm) + ("" if text.model == text.arm else f"  {self.ink.safe(text.model)}")
        facts = [counted(len(text), "token"), f"{decimals(text.total_bits, '.1f')} bits"]
        words = name
        for more in filter(None, [text.heading, *facts, text.ending]):  # as many as there is room for
            if cell_len(words) + len(more) + 2 <= column.width:
                words += f"  {more}"
        is_whole = words.startswith(name) and cell_len(name) <= column.width
        name = cut(name, column.width)
        style = self.ink.arm(text.arm, arm)
        if arm == self.arm and len(self._arms) > 1:
            style += Style(underline=True)
        rest = (words[len(name) :] if is_whole else "").ljust(column.width - cell_len(name))
        return [Segment(name, style), Segment(rest, DIM)]

    def _line(self, arm: int, column: Column, y: int) -> Iterator[Segment]:
        is_mine = arm == self.arm
        here = self.at if is_mine or self.at < len(column.text) else None
        if not len(column.text) and y == 0:
            return iter([Segment("(no tokens)".ljust(column.width), DIM)])
        return column.segments(column.typeset.line(column.top + y), here, HERE if is_mine else THERE)

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1)

    @property
    def _arms(self) -> range:
        """The arms on the screen: as many as are wide enough, with the cursor's among them."""
        n = 0 if self.abreast is None else len(self.abreast.texts)
        if self.is_alone:
            return range(self.arm, min(self.arm + 1, n))
        fit = max(1, (self.size.width + len(self.ink.gap)) // (NARROWEST + len(self.ink.gap)))
        first = max(0, min(self.arm - fit + 1, n - fit)) if n > fit else 0
        return range(first, min(n, first + fit))

    def _shown(self) -> list[tuple[int, Column]]:
        """The arms on the screen with their columns; worked out once for all lines of a drawing."""
        made = (self.abreast, self.arm, self.is_alone, self.size.width, len(self._columns))
        if self._made is None or self._made[0] != made:
            found = [(arm, column) for arm in self._arms if (column := self._column(arm)) is not None]
            self._made = ((*made[:-1], len(self._columns)), found)
        return self._made[1]

    def _column(self, arm: int) -> Column | None:
        if self.abreast is None or self._scale is None or not self.size.width:
            return None
        arms = self._arms
        width = max(1, (self.size.width - (len(arms) - 1) * len(self.ink.gap)) // len(arms))
        found = self._columns.get(arm)
        if found is None or found.width != width:
            found = self._columns[arm] = Column(self.abreast, arm, self._scale, width, self.ink)
            found.keep_in_sight(min(self.at, max(0, len(found.text) - 1)), self._height)
        return found

    def _go(self, token: int) -> None:
        before, made = self.at, self._made
        shown = self._shown()
        tops = [column.top for _, column in shown]
        if self.abreast is not None:
            self.at = max(0, min(token, len(self.abreast.texts[self.arm]) - 1))
            for _, column in shown:
                column.keep_in_sight(min(self.at, max(0, len(column.text) - 1)), self._height)
        if made is None or made is not self._made or tops != [column.top for _, column in shown]:
            self.refresh()
        else:
            self._refresh_lines(before, self.at)
        self._moved()

    def _refresh_lines(self, *tokens: int) -> None:
        """Draw anew the lines with these tokens."""
        for y in range(self._height):
            if any(
                span.cell.first in tokens for _, column in self._shown() for span in column.typeset.line(column.top + y)
            ):
                self.refresh(Region(0, y + 1, self.size.width, 1))


def _is_at(cell: TokenCell, token: int) -> bool:
    """Whether a cell is the token's own: of a glyph of several tokens its small one."""
    return cell.first == token and (cell.small or cell.n_tokens == 1)
