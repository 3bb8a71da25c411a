"""Counts that are seen at a glance: so many dots, of so many rings, a panel an arm; in a terminal a bar each.

Filled and hollow tell them apart without colour. They know ready numbers and the words beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from llama_diversity.render import ramps
from llama_diversity.render.exhibits import Figure
from llama_diversity.render.plots import Canvas, Plot, fit
from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible

if TYPE_CHECKING:
    import altair as alt

MOST = 400  # dots of a panel; of more no eye sees how many
_ROW, _FEW = 10, 100  # dots of a row, and up to how many it is so
_WIDE = 150  # a panel, so that two stand side by side on a telephone
_LONGEST = 40  # cells of a bar


class Count(NamedTuple):
    """So many of an arm, of so many in all (None: of nothing in particular), and the same in words."""

    arm: str
    n: float
    of: int | None
    words: str

    @property
    def dots(self) -> int:
        """How many are filled: what is there at all has one."""
        return max(round(self.n), int(self.n > 0))

    @property
    def places(self) -> int:
        """Filled and hollow ones."""
        return max(self.of or 0, self.dots)


def figure_of_dots(name: str, title: str, counts: Sequence[Count], note: str) -> Figure | None:
    """The picture; None where a panel would have too many dots, or there is none."""
    if not counts or max(one.places for one in counts) > MOST:
        return None

    def draw() -> Mapping[str, alt.LayerChart]:
        return {
            f"{visible(one.arm)}: {one.words}": dots_panel(one, counts, position=position)
            for position, one in enumerate(counts)
        }

    return Figure(name, title, draw, note, CountBars(counts))


def dots_panel(one: Count, counts: Sequence[Count], *, position: int) -> alt.LayerChart:
    """A panel as large as the largest of `counts` asks for; screen readers hear its words, not each dot."""
    import altair as alt

    most = max(each.places for each in counts)
    row = _ROW if most <= _FEW else 2 * _ROW
    rows = -(-most // row)
    step = _WIDE / row
    data = [
        {"x": at % row, "y": at // row, "kind": "filled" if at < one.dots else "hollow"} for at in range(one.places)
    ]
    across = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.5, row - 0.5], nice=False, zero=False))
    down = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[rows - 0.5, -0.5], nice=False, zero=False))
    base = alt.Chart(alt.InlineData(values=data)).encode(x=across, y=down)
    size = (0.72 * step) ** 2
    colour = ARM_COLOURS[arm_place(one.arm, position)]
    filled = base.transform_filter("datum.kind == 'filled'").mark_point(
        filled=True, shape="circle", size=size, color=colour, opacity=1, aria=False
    )
    hollow = base.transform_filter("datum.kind == 'hollow'").mark_point(
        filled=False, shape="circle", size=0.8 * size, stroke="#808080", strokeWidth=1, opacity=1, aria=False
    )
    told = f"{visible(one.arm)}: {one.words}"
    return alt.LayerChart(layer=[hollow, filled], width=_WIDE, height=round(step * rows), description=told)


class CountBars(Plot):
    """A line an arm: its name, a bar that is filled as far, and its words."""

    def __init__(self, counts: Sequence[Count], *, width: int | None = None, ascii: bool = False) -> None:
        self.counts = counts
        self.width = width
        self.ascii = ascii

    def lines(self, canvas: Canvas) -> Iterator[Text]:
        labels = [canvas.safe(one.arm) for one in self.counts]
        wide = min(max(map(cell_len, labels)), canvas.width // 3)
        words = max(cell_len(canvas.safe(one.words)) for one in self.counts)
        room = max(5, min(_LONGEST, canvas.width - wide - words - 4))
        most = max(one.places for one in self.counts)
        full, empty = ("#", ".") if canvas.marks.in_ascii else ("█", "░")
        for position, (one, label) in enumerate(zip(self.counts, labels, strict=True)):
            there = round(room * one.places / most)
            filled = min(there, max(round(room * one.n / most), int(one.n > 0)))
            colour = ramps.rich_style(ramps.arm_text(one.arm, position, canvas.depth))
            bar = full * filled + empty * (there - filled) + " " * (room - there)
            yield Text.assemble(fit(label, wide, canvas), "  ", (bar, colour), "  ", canvas.safe(one.words))
