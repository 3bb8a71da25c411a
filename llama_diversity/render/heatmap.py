"""The token heatmap: a text whose tokens are coloured by how likely a model finds them, with its legend.

`Heatmap` shows one model, `DifferenceHeatmap` one text under two. Both are Rich renderables and the source of the
exports (`html.py`, `svg.py`): `page` is what is shown, without colours or line breaks. Neither prints.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from llama_diversity.errors import BadValue
from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks, PartKind, build_cells
from llama_diversity.render.layout import Line, lay_out, widest_atom, widest_line
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import (
    OF_MIXTURES,
    Difference,
    Distribution,
    Scale,
    ScoredToken,
    Surprisal,
    TokenScale,
    scale_called,
    scales_of,
)
from llama_diversity.render.token_pages import (
    DISTRIBUTIONS,
    Block,
    Judged,
    Legend,
    Page,
    View,
    legend_of,
    named,
    summary,
    tooltip,
)

LEGEND_WIDTH = 60  # a ramp reads best on one line
BARS = " ▁▁▂▂▃▃▅▅▇"  # one per step
BARS_ASCII = " ..--==**#"


@dataclass(frozen=True)
class Looks:
    """How a picture looks, whatever it shows: palette, numbers beside tokens, colours or bars, marks, background."""

    palette: str = "magma"
    numbers: bool = False
    style: Literal["color", "bars"] = "color"
    ascii: bool = False
    background: ramps.Background = "dark"

    def __post_init__(self) -> None:
        ramps.ramp_called(self.palette)

    def paint(self, step: int | None, scale: Scale, depth: ramps.Depth) -> ramps.Paint:
        """The colours of a step of `scale`."""
        return ramps.paint(
            step, palette=self.palette, depth=depth, background=self.background, diverging=scale.diverging
        )

    def shows_numbers(self, depth: ramps.Depth) -> bool:
        """Where colours are missing or cannot be trusted, the numbers (or bars) carry everything."""
        return self.numbers or (self.style == "color" and depth in ("none", "16"))


class TokenPicture(ABC):
    """What all heatmaps share: how a page becomes lines of a terminal."""

    looks: Looks

    @abstractmethod
    def page(self, marks: Marks, *, numbers: bool) -> Page:
        """What is shown, drawn with `marks`; `numbers` beside every token that has one."""

    @property
    @abstractmethod
    def texts(self) -> tuple[tuple[Judged, ...], ...]:
        """Each text under the models that it is shown under: one that all blocks show, or one a block."""

    @property
    @abstractmethod
    def scales(self) -> tuple[Scale, ...]:
        """All that can be coloured."""

    @abstractmethod
    def views(self, marks: Marks, *, numbers: bool) -> tuple[View, ...]:
        """What `page` shows coloured by each of `scales`, without tooltips: they are those of `page`."""

    @property
    @abstractmethod
    def first_view(self) -> str:
        """The name of the scale that is looked at first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        depth, marks = self._medium(console, options)
        page = self.page(marks, numbers=self.looks.shows_numbers(depth))
        if page.title:
            yield _safe_text(page.title, marks, style="bold")
        for block in page.blocks:
            if block.heading:
                yield _safe_text(block.heading, marks, style="bold")
            for line in lay_out(block.cells, options.max_width):
                yield from self._segments(line, block.scale, depth, marks)
            yield Segment.line()
        for legend in page.legends:
            yield from self._explained(legend, depth, marks)

    def _explained(self, legend: Legend, depth: ramps.Depth, marks: Marks) -> Iterator[Text]:
        yield from (_safe_text(sentence, marks) for sentence in legend.above)
        yield ramp_of(legend.scale, self.looks, depth, marks)
        yield from (_safe_text(sentence, marks) for sentence in legend.below)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        depth, marks = self._medium(console, options)
        blocks = self.page(marks, numbers=self.looks.shows_numbers(depth)).blocks
        narrowest = max((widest_atom(block.cells) for block in blocks), default=0)
        widest = max((widest_line(block.cells) for block in blocks), default=0)
        return Measurement(max(1, narrowest), max(LEGEND_WIDTH, widest)).with_maximum(options.max_width)

    def _medium(self, console: Console, options: ConsoleOptions) -> tuple[ramps.Depth, Marks]:
        """The colours that there are, and the marks for them: a dot for a space only where it can be dim."""
        depth = ramps.depth_of(no_color=console.no_color, color_system=console.color_system)
        return depth, Marks(ascii=self.looks.ascii, encoding=options.encoding, dots=depth != "none")

    def _segments(self, line: Line, scale: Scale, depth: ramps.Depth, marks: Marks) -> Iterator[Segment]:
        if self.looks.style == "bars":
            yield from (
                Segment(span.text, span_style(ramps.PLAIN, span.kind, has_value=span.cell.step is not None))
                for span in line
            )
            yield Segment.line()
            yield from (Segment(_bar(span.cell.step, scale, marks) * span.width) for span in line)
        else:
            for span in line:
                paint = self.looks.paint(span.cell.step, scale, depth)
                yield Segment(span.text, span_style(paint, span.kind, has_value=span.cell.step is not None))
        yield Segment.line()


class Heatmap(TokenPicture):
    """One text under one model, coloured by surprisal, entropy, rank or probability.

    `tokenizer` names the vocabulary (any short name of it). Values are of the raw distribution, or with
    `distribution="sampler"` of the one the tokens were drawn from. Raises UnknownName, BadValue.
    """

    def __init__(
        self,
        tokens: Sequence[ScoredToken],
        *,
        model: str,
        tokenizer: str,
        by: str = "surprisal",
        distribution: Distribution = "raw",
        maximum_bits: float | None = None,
        title: str = "",
        looks: Looks | None = None,
    ) -> None:
        self.title = title
        self.looks = looks or Looks()
        self.tokens = tuple(tokens)
        self.model = model
        self.tokenizer = tokenizer
        self.scale = scale_called(by, maximum_bits=maximum_bits, distribution=distribution)
        if by in OF_MIXTURES and all(math.isnan(self.scale.value(token)) for token in self.tokens):
            raise BadValue("--by", by, OF_MIXTURES[by])

    def page(self, marks: Marks, *, numbers: bool) -> Page:
        tooltips = [tooltip(token, self.scale.distribution) for token in self.tokens]
        return self._page(self.scale, marks, tooltips, numbers=numbers)

    @property
    def texts(self) -> tuple[tuple[Judged, ...], ...]:
        return ((Judged(self.model, self.tokens, self.scale.distribution),),)

    @property
    def scales(self) -> tuple[TokenScale, ...]:
        return scales_of(self.tokens, self.scale)

    def views(self, marks: Marks, *, numbers: bool) -> tuple[View, ...]:
        untold = [""] * len(self.tokens)
        return tuple(View((0,), self._page(scale, marks, untold, numbers=numbers)) for scale in self.scales)

    @property
    def first_view(self) -> str:
        return self.scale.name

    def _page(self, scale: TokenScale, marks: Marks, tooltips: Sequence[str], *, numbers: bool) -> Page:
        values = [scale.value(token) for token in self.tokens]
        pieces = [token.piece for token in self.tokens]
        cells = build_cells(pieces, values, scale=scale, marks=marks, numbers=numbers, tooltips=tooltips)
        source = (f"model {self.model}; {DISTRIBUTIONS[self.scale.distribution]}; tokenizer {self.tokenizer}",)
        legend = legend_of(scale, source, cells, marks, numbers=numbers)
        legend = legend._replace(below=(*legend.below, summary(scale, values)))
        return Page(self.title, (Block("", cells, scale),), (legend,))


class DifferenceHeatmap(TokenPicture):
    """One text under two models with the same tokenizer: A, B, and B - A in bits with its sign.

    `first` and `second` hold the same pieces; a text that the two models tokenise differently is refused, since
    then only bits per byte may be compared. Raises BadValue, UnknownName.
    """

    def __init__(
        self,
        first: Sequence[ScoredToken],
        second: Sequence[ScoredToken],
        *,
        models: tuple[str, str],
        tokenizer: str,
        maximum_bits: float | None = None,
        maximum_difference_bits: float | None = None,
        title: str = "",
        looks: Looks | None = None,
    ) -> None:
        self.title = title
        self.looks = looks or Looks()
        if [token.piece for token in first] != [token.piece for token in second]:
            allowed = f"it must split the text into the same tokens as {models[0]}; compare the two in bits per byte"
            raise BadValue("the second model", models[1], allowed)
        self.first, self.second = tuple(first), tuple(second)
        self.models = models
        self.tokenizer = tokenizer
        self.scale = Surprisal(Surprisal.default_maximum_bits if maximum_bits is None else maximum_bits)
        self.difference = Difference(
            Difference.default_maximum_bits if maximum_difference_bits is None else maximum_difference_bits
        )

    def page(self, marks: Marks, *, numbers: bool) -> Page:
        tooltips = [[tooltip(token, "raw") for token in tokens] for tokens in (self.first, self.second)]
        both = self._both(self.scale, marks, tooltips, numbers=numbers)
        less = self._less(marks, self._tooltips(self.differences))
        [legend] = less.legends
        legend = legend._replace(above=legend.above[:1])  # whose they are is said of both
        return Page(self.title, (*both.blocks, *less.blocks), (*both.legends, legend))

    @property
    def texts(self) -> tuple[tuple[Judged, ...], ...]:
        a, b = self.models
        return ((Judged(f"A  {a}", self.first), Judged(f"B  {b}", self.second)),)

    @property
    def scales(self) -> tuple[Scale, ...]:
        return (*scales_of((*self.first, *self.second), self.scale), self.difference)

    def views(self, marks: Marks, *, numbers: bool) -> tuple[View, ...]:
        untold = [""] * len(self.first)
        both = [
            View((0, 1), self._both(scale, marks, [untold, untold], numbers=numbers))
            for scale in scales_of((*self.first, *self.second), self.scale)
        ]
        return (*both, View((2,), self._less(marks, untold)))

    @property
    def first_view(self) -> str:
        return self.difference.name

    @property
    def differences(self) -> list[float]:
        """B - A of each token, in bits."""
        return [b.surprisal_bits - a.surprisal_bits for a, b in zip(self.first, self.second, strict=True)]

    def _both(self, scale: TokenScale, marks: Marks, tooltips: Sequence[Sequence[str]], *, numbers: bool) -> Page:
        """The text under A and under B."""
        pieces = [token.piece for token in self.first]
        both = [[scale.value(token) for token in tokens] for tokens in (self.first, self.second)]
        blocks = []
        for letter, name, values, told in zip("AB", self.models, both, tooltips, strict=True):
            cells = build_cells(pieces, values, scale=scale, marks=marks, numbers=numbers, tooltips=told)
            blocks.append(Block(f"{letter}  {name}", cells, scale))
        legend = legend_of(scale, (self._source(),), blocks[0].cells, marks, numbers=numbers)
        sums = [f"{letter}: {summary(scale, values)}" for letter, values in zip("AB", both, strict=True)]
        return Page(self.title, tuple(blocks), (legend._replace(below=(*legend.below, *sums)),))

    def _less(self, marks: Marks, tooltips: Sequence[str]) -> Page:
        """B less A. The sign is always written, so the numbers are too."""
        pieces = [token.piece for token in self.first]
        values = self.differences
        cells = build_cells(pieces, values, scale=self.difference, marks=marks, numbers=True, tooltips=tooltips)
        below = (self.difference.number_sentence(), summary(self.difference, values))
        legend = Legend(self.difference, (self.difference.sentence(), self._source()), below)
        delta = "difference" if marks.in_ascii else "Δ"
        return Page(self.title, (Block(f"{delta}  B - A", cells, self.difference),), (legend,))

    def _source(self) -> str:
        name_a, name_b = self.models
        return f"A is {name_a}, B is {name_b}; {DISTRIBUTIONS['raw']}; tokenizer {self.tokenizer}"

    def _tooltips(self, differences: Sequence[float]) -> list[str]:
        return [
            f"{named(a.piece)}\nA: {self.scale.exact(a.surprisal_bits)}, rank {a.rank}\n"
            f"B: {self.scale.exact(b.surprisal_bits)}, rank {b.rank}\nB - A: {self.difference.exact(difference)}"
            for a, b, difference in zip(self.first, self.second, differences, strict=True)
        ]


class GenerationsHeatmap(TokenPicture):
    """Different texts, each under the model that wrote it, side by side where there is room; one legend.

    `generations` are (heading, tokens). They are not the same text, so single tokens do not compare.
    """

    def __init__(
        self,
        generations: Sequence[tuple[str, Sequence[ScoredToken]]],
        *,
        tokenizer: str,
        by: str = "surprisal",
        maximum_bits: float | None = None,
        title: str = "",
        looks: Looks | None = None,
    ) -> None:
        self.title = title
        self.looks = looks or Looks()
        self.generations = tuple((heading, tuple(tokens)) for heading, tokens in generations)
        self.tokenizer = tokenizer
        self.scale = scale_called(by, maximum_bits=maximum_bits, distribution="raw")

    def page(self, marks: Marks, *, numbers: bool) -> Page:
        tooltips = [[tooltip(token, "raw") for token in tokens] for _, tokens in self.generations]
        return self._page(self.scale, marks, tooltips, numbers=numbers)

    @property
    def texts(self) -> tuple[tuple[Judged, ...], ...]:
        return tuple((Judged(heading, tokens),) for heading, tokens in self.generations)

    @property
    def scales(self) -> tuple[TokenScale, ...]:
        return scales_of([token for _, tokens in self.generations for token in tokens], self.scale)

    def views(self, marks: Marks, *, numbers: bool) -> tuple[View, ...]:
        untold = [[""] * len(tokens) for _, tokens in self.generations]
        places = tuple(range(len(self.generations)))
        return tuple(View(places, self._page(scale, marks, untold, numbers=numbers)) for scale in self.scales)

    @property
    def first_view(self) -> str:
        return self.scale.name

    def _page(self, scale: TokenScale, marks: Marks, tooltips: Sequence[Sequence[str]], *, numbers: bool) -> Page:
        blocks, sums = [], []
        for (heading, tokens), told in zip(self.generations, tooltips, strict=True):
            values = [scale.value(token) for token in tokens]
            pieces = [token.piece for token in tokens]
            cells = build_cells(pieces, values, scale=scale, marks=marks, numbers=numbers, tooltips=told)
            blocks.append(Block(heading, cells, scale))
            sums.append(f"{heading}: {summary(scale, values)}")
        source = (f"each text under its own model; {DISTRIBUTIONS['raw']}; tokenizer {self.tokenizer}",)
        every_cell = [cell for block in blocks for cell in block.cells]
        legend = legend_of(scale, source, every_cell, marks, numbers=numbers)
        return Page(self.title, tuple(blocks), (legend._replace(below=(*legend.below, *sums)),))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        n = len(self.generations)
        width = (options.max_width - (n - 1) * len(_GAP)) // max(n, 1)
        if n < 2 or width < _NARROWEST:
            yield from super().__rich_console__(console, options)
            return
        depth, marks = self._medium(console, options)
        page = self.page(marks, numbers=self.looks.shows_numbers(depth))
        if page.title:
            yield _safe_text(page.title, marks, style="bold")
        columns = [list(self._column(console, block, width, depth, marks)) for block in page.blocks]
        for row in itertools.zip_longest(*columns, fillvalue=[]):
            for place, line in enumerate(row):
                last = place == n - 1
                yield from line if last else Segment.adjust_line_length(line, width)
                yield Segment.line() if last else Segment(_GAP)
        yield Segment.line()
        for legend in page.legends:
            yield from self._explained(legend, depth, marks)

    def _column(
        self, console: Console, block: Block, width: int, depth: ramps.Depth, marks: Marks
    ) -> Iterator[list[Segment]]:
        yield from console.render_lines(
            _safe_text(block.heading, marks, style="bold"), console.options.update(width=width), pad=False
        )
        for line in lay_out(block.cells, width):
            yield from Segment.split_lines(self._segments(line, block.scale, depth, marks))


_GAP, _NARROWEST = "   ", 36  # columns between two texts, and of one

# Rich's text and colours.


def _safe_text(sentence: str, marks: Marks, *, style: str = "") -> Text:
    return Text(visible(sentence, ascii=marks.ascii, encoding=marks.encoding), style=style, overflow="fold")


def ramp_of(scale: Scale, looks: Looks, depth: ramps.Depth, marks: Marks) -> Text:
    """The steps of a scale in their colours, each with its label."""
    ramp = Text("steps", overflow="fold")
    for step in scale.steps:
        bar = _bar(step, scale, marks).strip() if looks.style == "bars" else ""
        paint = ramps.PLAIN if looks.style == "bars" else looks.paint(step, scale, depth)
        ramp.append("|" if step != scale.steps[0] and paint == ramps.PLAIN else " ")
        ramp.append(f" {bar}{scale.label(step)} ", style=ramps.rich_style(paint))
    return ramp


def span_style(paint: ramps.Paint, kind: PartKind, *, has_value: bool) -> Style:
    """Marks are dim, control tokens bold; a token without a value is dim as a whole."""
    return ramps.rich_style(paint, bold=kind == "control", dim=kind == "mark" or not has_value)


def _bar(step: int | None, scale: Scale, marks: Marks) -> str:
    """One character as high as the step; of a difference, as high as its size."""
    if step is None:
        return " "
    height = abs(step) * (ramps.N_STEPS - 1) // scale.steps[-1]
    return (BARS_ASCII if marks.in_ascii else BARS)[height]
