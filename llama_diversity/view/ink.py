"""What the viewer draws with: colours exactly as deep as the terminal's, marks that it can carry, and lines of its own.

Textual would bring colours down to a terminal that has fewer, which ruins a ramp; so no colour here is deeper than the
terminal, and nothing is left to bring down. Nor has anything a background, a border or a scrollbar of Textual's.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks, PartKind
from llama_diversity.render.heatmap import Looks, span_style
from llama_diversity.render.plots import Canvas
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import Scale

BOLD, DIM = Style(bold=True), Style(dim=True)
HERE = Style(reverse=True, bold=True)  # the token under the cursor, whatever its colour
THERE = Style(underline=True, bold=True)  # the one beside it in another text


@dataclass(frozen=True)
class Ink:
    """How everything is drawn on one terminal."""

    looks: Looks
    depth: ramps.Depth
    marks: Marks

    @property
    def has_numbers(self) -> bool:
        """Whether each token carries its number."""
        return self.looks.shows_numbers(self.depth)

    @property
    def gap(self) -> str:
        """What stands between two columns."""
        return " | " if self.marks.in_ascii else " │ "

    def canvas(self, width: int) -> Canvas:
        """What plots are drawn on."""
        return Canvas(width, self.marks, self.depth)

    def safe(self, text: str) -> str:
        """Text from outside on one line."""
        return visible(text, ascii=self.marks.ascii, encoding=self.marks.encoding)

    def token(self, kind: PartKind, step: int | None, scale: Scale) -> Style:
        """The style of a part of a token that has that step of a scale."""
        return _token_style(self, kind, step, scale.diverging)

    def arm(self, name: str, position: int) -> Style:
        """An arm's own colour."""
        return ramps.rich_style(ramps.arm_text(name, position, self.depth), bold=True)


TALL = 30
# Lines of a screen from which there is room for less than the text, for some of what explains it, and for all.
HEIGHTS = [(0, "-flat"), (15, "-low"), (24, "-middling"), (TALL, "-high")]


@functools.lru_cache(4096)
def _token_style(ink: Ink, kind: PartKind, step: int | None, is_diverging: bool) -> Style:  # noqa: FBT001
    looks = ink.looks
    paint = ramps.paint(
        step, palette=looks.palette, depth=ink.depth, background=looks.background, diverging=is_diverging
    )
    return span_style(paint, kind, has_value=step is not None)


class Drawn(Widget):
    """Lines of text that are drawn to the widget's size, and again when they change or the size does."""

    DEFAULT_CSS = "Drawn { width: 1fr; height: auto; }"

    def __init__(self, ink: Ink, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.ink = ink
        self._made: tuple[tuple[int, int], list[Strip]] | None = None

    @abstractmethod
    def lines(self, width: int, height: int) -> Sequence[Text]:
        """What is drawn. `height` is 0 where the lines say how high the widget is."""

    def redraw(self, *, layout: bool = False) -> None:
        """Something has changed; with `layout` perhaps the number of lines."""
        self._made = None
        self.refresh(layout=layout)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.lines(width, 0))

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._made is None or self._made[0] != (width, height):
            self._made = ((width, height), [strip_of(line, width) for line in self.lines(width, height)])
        made = self._made[1]
        return made[y] if y < len(made) else Strip.blank(width)


def strip_of(line: Text, width: int) -> Strip:
    """A line cut and filled to a width."""
    base = line.style if isinstance(line.style, Style) else None  # which Rich leaves out of a text without spans
    segments = [Segment(text, style or base) for text, style, _ in line.render(_CONSOLE) if text]
    return Strip(segments).adjust_cell_length(width)


def cut(text: str, width: int) -> str:
    """A line of text that is no wider, with its end left out where it was."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 2)).rstrip() + ".."[:width]


def folded(line: Text, width: int) -> list[Text]:
    """A line in as many as it takes."""
    return list(line.wrap(_CONSOLE, max(1, width)))


_CONSOLE = Console(color_system="truecolor", force_terminal=True, markup=False, emoji=False, highlight=False)
