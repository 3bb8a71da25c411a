"""A heatmap as an SVG picture: the terminal's lines at truecolor, always well-formed, the same bytes each time.

No font file is named and nothing is fetched; where no monospaced font is found, `textLength` keeps the columns.
Bars are a matter of the terminal, so a picture always colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import groupby

from rich.cells import cell_len

from llama_diversity.render.cells import Marks
from llama_diversity.render.heatmap import Looks, TokenPicture
from llama_diversity.render.layout import Line, Span, clusters, lay_out
from llama_diversity.render.ramps import Paint, hex_of
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import Scale
from llama_diversity.render.token_pages import Legend

CELL_WIDTH, LINE_HEIGHT, FONT_SIZE, MARGIN = 8.4, 21, 14, 14
BASELINE = 15  # of a line, from its top
CANVAS = {"dark": ("#111111", "#e6e6e6"), "light": ("#ffffff", "#1a1a1a")}
FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
_WIDTH, _NARROWEST = 100, 20  # cells


def cells_in(units: float | None) -> int:
    """How many terminal cells a picture `units` wide has room for; a usual number where no width is given.

    >>> cells_in(None), cells_in(476.2)
    (100, 53)
    """
    return _WIDTH if units is None else max(_NARROWEST, int((units - 2 * MARGIN) / CELL_WIDTH))


def to_svg(picture: TokenPicture, width: int = _WIDTH, *, has_title: bool = True, on_paper: bool = False) -> str:
    """The picture `width` terminal cells wide, on the background that its looks name, or on white paper."""
    looks = replace(picture.looks, background="light") if on_paper else picture.looks
    page = picture.page(Marks(), numbers=picture.looks.numbers)
    rows: list[str] = []

    def add(elements: Iterator[str]) -> None:
        rows.append(f'<g transform="translate({MARGIN},{MARGIN + LINE_HEIGHT * len(rows)})">{"".join(elements)}</g>')

    for line in _wrapped(visible(page.title) if has_title else "", width):
        add(_sentence(line, bold=True))
    for block in page.blocks:
        for line in _wrapped(visible(block.heading), width):
            add(_sentence(line, bold=True))
        for spans in lay_out(block.cells, width):
            add(_spans(spans, block.scale, looks))
        add(iter(()))
    for legend in page.legends:
        for elements in _legend(legend, looks, width):
            add(elements)
    return _document(rows, width, looks, title=visible(page.title) or "token heatmap")


def _document(rows: Sequence[str], width: int, looks: Looks, *, title: str) -> str:
    canvas, ink = CANVAS[looks.background]
    pixels_wide = _number(2 * MARGIN + width * CELL_WIDTH)
    pixels_high = 2 * MARGIN + LINE_HEIGHT * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{pixels_wide}" height="{pixels_high}" '
        f'viewBox="0 0 {pixels_wide} {pixels_high}" font-family="{FONTS}" font-size="{FONT_SIZE}" fill="{ink}">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{pixels_wide}" height="{pixels_high}" fill="{canvas}"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _spans(line: Line, scale: Scale, looks: Looks) -> Iterator[str]:
    """Each cell on the line as one group: its background, its text, and the tooltip."""
    column = 0
    for _, group in groupby(line, key=lambda span: id(span.cell)):
        spans = list(group)
        cell = spans[0].cell
        paint = looks.paint(cell.step, scale, "truecolor")
        yield f"<g><title>{escape(cell.tooltip)}</title>"
        yield _background(paint, column, sum(span.width for span in spans))
        for span in spans:
            yield _text(span.text, column, span.width, paint, style=_style(span))
            column += span.width
        yield "</g>"


def _style(span: Span) -> str:
    if span.kind == "control":
        return ' font-weight="bold"'
    return ' opacity="0.7"' if span.kind == "mark" or span.cell.step is None else ""


def _legend(legend: Legend, looks: Looks, width: int) -> Iterator[Iterator[str]]:
    def sentences(texts: Sequence[str]) -> Iterator[Iterator[str]]:
        return (_sentence(line) for text in texts for line in _wrapped(visible(text), width))

    yield from sentences(legend.above)
    labels = [(step, f" {legend.scale.label(step)} ") for step in legend.scale.steps]
    row: list[str] = []
    column = 0
    for step, label in labels:
        if column and column + len(label) > width:
            yield iter(row)
            row, column = [], 0
        paint = looks.paint(step, legend.scale, "truecolor")
        row += [_background(paint, column, len(label)), _text(label, column, len(label), paint)]
        column += len(label)
    yield iter(row)
    yield from sentences(legend.below)


def _sentence(line: str, *, bold: bool = False) -> Iterator[str]:
    style = ' font-weight="bold"' if bold else ' opacity="0.8"'
    yield _text(line, 0, cell_len(line), Paint(None, None), style=style)


def _background(paint: Paint, column: int, width: int) -> str:
    if paint.background is None:
        return ""
    place = f'x="{_number(column * CELL_WIDTH)}" width="{_number(width * CELL_WIDTH)}" height="{LINE_HEIGHT}"'
    return f'<rect {place} fill="{hex_of(paint.background)}"/>'


def _text(text: str, column: int, width: int, paint: Paint, *, style: str = "") -> str:
    fill = "" if paint.text is None else f' fill="{hex_of(paint.text)}"'
    place = f'x="{_number(column * CELL_WIDTH)}" y="{BASELINE}" textLength="{_number(width * CELL_WIDTH)}"'
    return f'<text {place} xml:space="preserve"{fill}{style}>{escape(text)}</text>'


def _wrapped(sentence: str, width: int) -> Iterator[str]:
    """Lines of whole words; a word that is longer than the line is cut between characters."""
    line = ""
    for word in sentence.split():
        if line and cell_len(line) + 1 + cell_len(word) > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        while cell_len(line) > width and len(pieces := list(clusters(line))) > 1:
            head = ""
            while pieces and (not head or cell_len(head + pieces[0]) <= width):
                head += pieces.pop(0)
            yield head
            line = "".join(pieces)
    if line:
        yield line


def _number(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")
