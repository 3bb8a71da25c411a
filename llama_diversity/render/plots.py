"""Plots for the terminal: box plots, the entropies and the probabilities of a sample, and the table beneath them.

Rich renderables that never print. Each reads without colour and in ASCII: shapes, digits and labels say everything,
colours only help. They know numbers and tokens; means and intervals come in ready-made, only quartiles are taken
here, since they are where a box is drawn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from llama_diversity.decimals import decimals
from llama_diversity.records import N_TOP
from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks, inline
from llama_diversity.render.layout import clusters
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import ScoredToken

MAX_WIDTH = 120  # a wider plot is no clearer
NARROW = 60  # below, two samples stand one above the other
GAP = 3
EIGHTHS = " ▏▎▍▌▋▊▉"
WHISKER_REACH = 1.5  # in heights of the box, after Tukey


class Canvas(NamedTuple):
    """What a plot is drawn on: its width in cells, the marks it may use, the colours it has."""

    width: int
    marks: Marks
    depth: ramps.Depth

    def safe(self, text: str) -> str:
        """Text from outside, ready to be drawn."""
        return visible(text, ascii=self.marks.ascii, encoding=self.marks.encoding)


class Plot(ABC):
    """A renderable made of lines that fit the width."""

    ascii: bool
    width: int | None

    @abstractmethod
    def lines(self, canvas: Canvas) -> Iterator[Text]:
        """The lines of the plot, none wider than the canvas where that is possible at all."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = Marks(ascii=self.ascii, encoding=options.encoding)
        depth = ramps.depth_of(no_color=console.no_color, color_system=console.color_system)
        width = min(options.max_width, self.width or MAX_WIDTH)
        for line in self.lines(Canvas(width, marks, depth)):
            line.overflow, line.no_wrap = "crop", True
            yield line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(20, options.max_width), min(options.max_width, self.width or MAX_WIDTH))


# Figure 11: one box per arm, on one axis.


class Box(NamedTuple):
    """Where a box plot is drawn: whiskers' ends, quartiles, median, and the values beyond the whiskers."""

    low: float
    first_quartile: float
    median: float
    third_quartile: float
    high: float
    beyond: tuple[float, ...]


def box_of(values: Sequence[float]) -> Box:
    """Quartiles by linear interpolation; whiskers reach the last value within 1.5 heights of the box.

    >>> box_of([1, 2, 3, 4, 5, 30])
    Box(low=1.0, first_quartile=2.25, median=3.5, third_quartile=4.75, high=5.0, beyond=(30.0,))
    """
    first, median, third = (float(quartile) for quartile in np.percentile(values, [25, 50, 75]))
    reach = WHISKER_REACH * (third - first)
    inside = [float(value) for value in values if first - reach <= value <= third + reach]
    beyond = tuple(float(value) for value in values if not first - reach <= value <= third + reach)
    return Box(min(inside), first, median, third, max(inside), beyond)


class BoxPlots(Plot):
    """Horizontal box plots of several arms on one axis. Values that are nan are left out and not counted."""

    def __init__(
        self,
        samples: Mapping[str, Sequence[float]],
        *,
        unit: str,
        title: str = "",
        width: int | None = None,
        ascii: bool = False,
    ) -> None:
        self.samples = {name: [v for v in values if math.isfinite(v)] for name, values in samples.items()}
        self.unit = unit
        self.title = title
        self.width = width
        self.ascii = ascii

    def lines(self, canvas: Canvas) -> Iterator[Text]:
        if self.title:
            yield Text(canvas.safe(self.title), style="bold")
        every = [value for values in self.samples.values() for value in values]
        if not every:
            yield Text("no values")
            return
        labels = [f"{canvas.safe(name)} (n={len(values)})" for name, values in self.samples.items()]
        label_width = min(max(map(cell_len, labels)), canvas.width // 3)
        axis = Axis.around(min(every), max(every), width=max(canvas.width - label_width - 2, 1))
        for position, ((name, values), label) in enumerate(zip(self.samples.items(), labels, strict=True)):
            row = _box_row(box_of(values), axis, canvas) if values else "no values"
            colour = ramps.rich_style(ramps.arm_text(name, position, canvas.depth))
            yield Text.assemble(fit(label, label_width, canvas), "  ", (row, colour))
        indent = " " * (label_width + 2)
        yield Text(indent + axis.rule(canvas))
        yield Text(indent + axis.labels())
        yield from _folded(f"{canvas.safe(self.unit)}: {_box_key(canvas)}", canvas.width)


@dataclass(frozen=True)
class Axis:
    """A linear axis with round ticks, `width` cells wide."""

    low: float
    high: float
    step: float
    width: int

    @classmethod
    def around(cls, low: float, high: float, *, width: int) -> Axis:
        """The axis from the round number below `low` to the one above `high`, a tick every ten cells or so."""
        size = max(abs(low), abs(high))
        spread = high - low if high - low > 1e-9 * size else size or 1.0
        rough = spread / max(1, min(8, width // 10))
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(multiple * magnitude for multiple in (1, 2, 5, 10) if multiple * magnitude >= rough * (1 - 1e-9))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(first * step, max(last, first + 1) * step, step, width)

    def column(self, value: float) -> int:
        """The cell that a value falls in."""
        return min(max(round((value - self.low) / (self.high - self.low) * (self.width - 1)), 0), self.width - 1)

    def ticks(self) -> list[float]:
        """Tick values, in order."""
        return [self.low + index * self.step for index in range(round((self.high - self.low) / self.step) + 1)]

    def rule(self, canvas: Canvas) -> str:
        """The axis itself."""
        rule = ["-" if canvas.marks.in_ascii else "─"] * self.width
        for tick in self.ticks():
            rule[self.column(tick)] = "+" if canvas.marks.in_ascii else "┬"
        return "".join(rule)

    def labels(self) -> str:
        """Tick labels under their ticks, as many as fit."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        line = ""
        for tick in self.ticks():
            label = f"{tick + 0.0:.{digits}f}"
            start = min(max(self.column(tick) - len(label) // 2, 0), self.width - len(label))
            if start >= len(line) + bool(line):
                line = line.ljust(start) + label
        return line


def _box_row(box: Box, axis: Axis, canvas: Canvas) -> str:
    whisker, left, right, filling, median, outlier = "-||=#o" if canvas.marks.in_ascii else "─├┤▒┃∘"
    row = [" "] * axis.width
    for value in box.beyond:
        row[axis.column(value)] = outlier
    for column in range(axis.column(box.low), axis.column(box.high) + 1):
        row[column] = whisker
    row[axis.column(box.low)], row[axis.column(box.high)] = left, right
    for column in range(axis.column(box.first_quartile), axis.column(box.third_quartile) + 1):
        row[column] = filling
    row[axis.column(box.median)] = median
    return "".join(row).rstrip()


def _box_key(canvas: Canvas) -> str:
    filling, median, whisker, outlier = "=#-o" if canvas.marks.in_ascii else "▒┃─∘"
    return f"{filling} middle half, {median} median, {whisker} up to {WHISKER_REACH:g} boxes away, {outlier} beyond"


# Figures 12 and 13: one sample of each arm, token by token.


class SamplePlot(Plot):
    """Samples of several arms, one row per token; side by side where two fit."""

    def __init__(
        self,
        samples: Mapping[str, Sequence[ScoredToken]],
        *,
        title: str = "",
        width: int | None = None,
        ascii: bool = False,
    ) -> None:
        self.samples = samples
        self.title = title
        self.width = width
        self.ascii = ascii

    @abstractmethod
    def rows(self, name: str, position: int, canvas: Canvas) -> list[Text]:
        """Heading and one row per token of one arm, each exactly as wide as the canvas."""

    @abstractmethod
    def key(self, canvas: Canvas) -> Iterator[str]:
        """How to read it."""

    def lines(self, canvas: Canvas) -> Iterator[Text]:
        if self.title:
            yield Text(canvas.safe(self.title), style="bold")
        n_columns = len(self.samples) if canvas.width >= NARROW and len(self.samples) <= 2 else 1
        part = canvas._replace(width=max((canvas.width - GAP * (n_columns - 1)) // max(n_columns, 1), 1))
        blocks = [self.rows(name, position, part) for position, name in enumerate(self.samples)]
        for start in range(0, len(blocks), max(n_columns, 1)):
            together = blocks[start : start + n_columns]
            for index in range(max(map(len, together))):
                cells = [block[index] if index < len(block) else Text(" " * part.width) for block in together]
                line = Text(" " * GAP).join(cells)
                line.rstrip()
                yield line
        for sentence in self.key(canvas):
            yield from _folded(sentence, canvas.width)


class EntropyStrip(SamplePlot):
    """Figure 12: the entropy of the distribution each token was drawn from, as a bar beside the token."""

    def rows(self, name: str, position: int, canvas: Canvas) -> list[Text]:
        highest = max((entropy for tokens in self.samples.values() for entropy in _entropies(tokens)), default=0.0)
        tokens = self.samples[name]
        known = _entropies(tokens)
        colour = ramps.rich_style(ramps.arm_text(name, position, canvas.depth))
        mean = f": mean {sum(known) / len(known):.2f} bits" if known else ": no values"
        rows = [Text(fit(canvas.safe(name) + mean, canvas.width, canvas), style="bold")]
        token_width = max(min(14, canvas.width // 3), 1)
        bar_width = max(canvas.width - token_width - 7, 1)
        for token in tokens:
            entropy = token.entropy_bits
            share = entropy / highest if highest > 0 and math.isfinite(entropy) else 0.0
            label = fit(inline(token.piece, canvas.marks), token_width, canvas)
            value = f"{entropy:6.2f}" if math.isfinite(entropy) else "     -"
            rows.append(Text.assemble(label, " ", (bar(share, bar_width, canvas), colour), value))
        return rows

    def key(self, canvas: Canvas) -> Iterator[str]:
        yield "entropy before each token, bits; raw distribution, whole vocabulary"


class StackedProbabilities(SamplePlot):
    """Figure 13: how the probability divides among the five likeliest tokens and the rest, token by token."""

    def rows(self, name: str, position: int, canvas: Canvas) -> list[Text]:
        token_width = max(min(12, canvas.width // 3), 1)
        bar_width = max(canvas.width - token_width - 8, 1)
        rows = [Text(fit(canvas.safe(name), canvas.width, canvas), style="bold")]
        for token in self.samples[name]:
            row = Text(fit(inline(token.piece, canvas.marks), token_width, canvas) + " ")
            shares = [alternative.probability for alternative in token.alternatives[:N_TOP]]
            for index, length in enumerate(_lengths(shares, bar_width)):
                if index < len(shares):
                    # Five steps of the ramp, the likeliest the lightest; the digit says the same without colour.
                    paint = ramps.paint(9 - 2 * index, palette="cividis", depth=canvas.depth, background="dark")
                    row.append(str(index + 1) * length, style=ramps.rich_style(paint))
                else:
                    row.append("." * length)
            rank = f"#{token.rank}" if token.rank > 0 else "-"
            row.append(f" {rank:<6}"[:7])
            rows.append(row)
        return rows

    def key(self, canvas: Canvas) -> Iterator[str]:
        yield (
            f"1 to {N_TOP}: share of each of the {N_TOP} likeliest tokens, . the rest of the vocabulary; "
            "#: rank of the token drawn"
        )


def _entropies(tokens: Sequence[ScoredToken]) -> list[float]:
    return [token.entropy_bits for token in tokens if math.isfinite(token.entropy_bits)]


def bar(share: float, width: int, canvas: Canvas) -> str:
    """A bar that fills `share` of the width, to an eighth of a cell."""
    if canvas.marks.in_ascii:
        return ("#" * round(share * width)).ljust(width)
    whole, eighths = divmod(round(share * width * 8), 8)
    return ("█" * whole + (EIGHTHS[eighths] if eighths else "")).ljust(width)


def _lengths(shares: Sequence[float], width: int) -> list[int]:
    """Cells for each share and for the rest, exactly `width` in all; the largest remainders are rounded up."""
    exact = [max(share, 0.0) * width for share in (*shares, max(0.0, 1 - sum(shares)))]
    lengths = [math.floor(length + 1e-9) for length in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: lengths[index] - exact[index])
    for index in by_remainder[: max(0, width - sum(lengths))]:
        lengths[index] += 1
    return lengths


# The numbers beneath.


@dataclass(frozen=True)
class ArmSummary:
    """Mean, standard deviation and standard error over `n` samples of an arm; None where undefined."""

    name: str
    mean: float | None
    sd: float | None
    se: float | None
    n: int


@dataclass(frozen=True)
class DifferenceSummary:
    """A difference between two arms with its interval; None where undefined."""

    name: str
    difference: float | None
    se: float | None
    low: float | None
    high: float | None
    level_percent: float = 95.0


def summary_table(
    arms: Sequence[ArmSummary],
    difference: DifferenceSummary | None = None,
    *,
    unit: str,
    title: str = "",
    ascii: bool = False,
    encoding: str = "utf-8",
) -> Table:
    """One row per arm, one for the difference with its interval."""

    def safe(text: str) -> Text:
        return Text(visible(text, ascii=ascii, encoding=encoding))

    table = Table(box=None, pad_edge=False, title=safe(title) if title else None, title_justify="left")
    interval = f"{difference.level_percent:g} % interval" if difference else ""
    table.add_column("", overflow="fold")
    for heading in (f"mean, {unit}", "sd", "se", "n", interval):
        table.add_column(safe(heading), justify="right", overflow="fold")
    for arm in arms:
        table.add_row(safe(arm.name), _number(arm.mean), _number(arm.sd), _number(arm.se), str(arm.n), "")
    if difference:
        name, mean, se, low, high, _ = astuple(difference)
        ends = (_number(low, signed=True), _number(high, signed=True))
        between = "undefined" if "undefined" in ends else " to ".join(ends)
        table.add_row(safe(name), _number(mean, signed=True), "", _number(se), "", between)
    return table


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None or math.isnan(value):
        return "undefined"
    return decimals(value, "+.3f" if signed else ".3f")


# Text in a column.


def fit(text: str, width: int, canvas: Canvas) -> str:
    """`text` in exactly `width` cells: padded, or cut between characters with a sign that it was."""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    sign = "~" if canvas.marks.in_ascii else "…"
    kept = ""
    for cluster in clusters(text):
        if cell_len(kept) + cell_len(cluster) > width - 1:
            break
        kept += cluster
    return kept + sign + " " * (width - 1 - cell_len(kept))


def _folded(sentence: str, width: int) -> Iterator[Text]:
    line = ""
    for word in sentence.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > width:
            yield Text(line)
            line = ""
        line = f"{line} {word}" if line else word
    yield Text(line)
