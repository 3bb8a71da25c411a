"""The samples of the arm in view as a list: how likely each is as a whole, how long, of which kind, how it begins.

Only the rows on the screen are read. The list has no cursor of its own: its bar stands on the sample that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text as Line
from textual import events

from llama_diversity.errors import LlamadivError
from llama_diversity.studies.viewed import Keys as SampleKeys
from llama_diversity.studies.viewed import Labels, Row
from llama_diversity.view.ink import BOLD, DIM, HERE, cut
from llama_diversity.view.keys import bindings
from llama_diversity.view.panels import PANELS, Panel, Spot, Step

_COLUMNS = (("sample", 7), ("bits", 8), ("/token", 7), ("tokens", 7))  # names and cells
_LABELS = {"kind": "kind", "attractor": "attr"}
_LABEL = 5
_MOST_KEPT = 500  # rows that are remembered


class Listing(Panel):
    """The list of samples."""

    BINDINGS = bindings(PANELS["list"].keys)

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._rows: dict[int, Row] = {}
        self._of: tuple[int, int] | None = None  # whose rows those are
        self._top = 0
        self._spot = Spot(None)
        self._trouble = ""

    def follow(self, spot: Spot) -> None:
        """Another sample is shown."""
        if (spot.question, spot.arm, spot.row) != (self._spot.question, self._spot.arm, self._spot.row):
            self._spot = spot
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        order, room = self.viewer.order, max(1, height - 2)
        here = order.place_of(self._spot.row)
        if here is not None:
            self._top = min(here, max(self._top, here - room + 1))
        self._top = max(0, min(self._top, len(order.rows) - room))
        shown = list(order.rows[self._top : self._top + room])
        rows = self._read(shown)
        labels = self._labels(shown)
        lines = [self._head(width, labels)]
        lines += [self._line(rows[row], labels, at, width) for at, row in enumerate(shown) if row in rows]
        lines += [Line()] * (height - 1 - len(lines))
        return [*lines, Line(cut(self.ink.safe(self._trouble or order.words), width), DIM)]

    def on_click(self, event: events.Click) -> None:
        """Show the sample that was clicked."""
        place, order = self._top + event.y - 1, self.viewer.order
        if event.y and place < len(order.rows):
            self.post_message(Step(0, row=int(order.rows[place])))

    def on_mouse_scroll_down(self) -> None:
        """Three samples on."""
        self.post_message(Step(3))

    def on_mouse_scroll_up(self) -> None:
        """Three samples back."""
        self.post_message(Step(-3))

    def action_page(self, step: int) -> None:
        """As many samples on or back as fit the list."""
        self.post_message(Step(step * max(1, self.size.height - 2)))

    def action_row(self, step: int) -> None:
        """The next sample, or the one before."""
        self.post_message(Step(step))

    def action_end(self, is_last: bool) -> None:  # noqa: FBT001  Textual passes by place
        """The last sample, or the first."""
        rows = self.viewer.order.rows
        if len(rows):
            self.post_message(Step(0, row=int(rows[-1 if is_last else 0])))

    def _read(self, shown: Sequence[int]) -> dict[int, Row]:
        """What is known of these rows; those that are new to the screen are read."""
        whose = (self._spot.question, self._spot.arm)
        if self._of != whose or len(self._rows) > _MOST_KEPT:
            self._of, self._rows = whose, {}
        missing = [row for row in shown if row not in self._rows]
        self._trouble = ""
        if missing:
            try:
                self._rows.update({one.row: one for one in self.source.listed(*whose, missing)})
            except LlamadivError as error:
                self._trouble = str(error)
        return self._rows

    def _labels(self, shown: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Kinds and attractors of these rows, as far as they were worked out."""
        arranger = self.source.arranger
        if arranger is None or not shown:
            return []
        keys: SampleKeys = self.source.rows(self._spot.question, self._spot.arm)[list(shown)]
        known: list[tuple[str, Labels | None]] = [
            (name, arranger.labels(self._spot.question, self._spot.arm, order)) for order, name in _LABELS.items()
        ]
        return [(name, one.of(keys)) for name, one in known if one is not None]

    def _head(self, width: int, labels: Sequence[tuple[str, list[int]]]) -> Line:
        words = "".join(f"{name:>{cells}}" for name, cells in _COLUMNS)
        words += "".join(f"{name:>{_LABEL}}" for name, _ in labels) + "  text"
        return Line(cut(words, width), BOLD, no_wrap=True)

    def _line(self, row: Row, labels: Sequence[tuple[str, list[int]]], at: int, width: int) -> Line:
        cells = [cell for _, cell in _COLUMNS]
        facts = (f"{row.number:,}", f"{row.bits:,.1f}", f"{row.bits_per_token:.2f}", f"{row.n_tokens:,}")
        words = "".join(f"{fact:>{cell}}" for fact, cell in zip(facts, cells, strict=True))
        words += "".join(f"{letter(some[at]):>{_LABEL}}" for _, some in labels) + "  "
        room = max(0, width - len(words))
        words += cut(self.ink.safe(row.text[: 2 * room]), room)
        return Line(words.ljust(width), HERE if row.row == self._spot.row else "", no_wrap=True)


def letter(label: int) -> str:
    """A label as letters: a, b, ..., z, aa, ab, ...; a dash for none.

    >>> letter(0), letter(25), letter(26), letter(701), letter(702), letter(-1)
    ('a', 'z', 'aa', 'zz', 'aaa', '-')
    """
    found = ""
    while label >= 0:
        found = chr(ord("a") + label % 26) + found
        label = label // 26 - 1
    return found or "-"
