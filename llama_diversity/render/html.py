"""Heatmaps as one static HTML page: no script, no network, each token a span whose title tells all about it.

The cells, steps and colours are the terminal's at truecolor, for a light and a dark reader alike; bars are a matter
of the terminal, so a page always colours. Every piece of text is made visible by the cells and escaped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from llama_diversity.render.cells import Marks, TokenCell
from llama_diversity.render.heatmap import Block, Legend, Page, TokenPicture
from llama_diversity.render.ramps import Background, hex_of, paint
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import Scale

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 1rem/1.7 ui-monospace, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; background: #ffffff; color: #1a1a1a; }}
h1 {{ font-size: 1.2rem; }} h2 {{ font-size: 1.05rem; }} h3 {{ font-size: 1rem; margin: 1.5rem 0 0.3rem; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.text span {{ padding: 0.15em 0; }} .text span:hover {{ outline: 1px solid currentColor; }}
.mark {{ font-style: normal; opacity: 0.7; }} .control {{ font-weight: bold; }} .nothing {{ opacity: 0.6; }}
.legend {{ font-size: 0.85rem; margin: 1rem 0 2rem; }} .legend p {{ margin: 0.2rem 0; }}
.ramp span {{ padding: 0.15em 0.6em; }}
{light}
@media (prefers-color-scheme: dark) {{
body {{ background: #111111; color: #e6e6e6; }}
{dark}
}}
</style>
</head>
<body>
<h1>{title}</h1>
"""


def to_html(pictures: TokenPicture | Sequence[TokenPicture], title: str) -> str:
    """A whole page, the same bytes for the same pictures."""
    pictures = [pictures] if isinstance(pictures, TokenPicture) else list(pictures)
    pages = paged(pictures)
    head = _HEAD.format(
        title=_escaped(title), light="\n".join(rules(pages, "light")), dark="\n".join(rules(pages, "dark"))
    )
    return head + "".join(fragment(page, picture.looks.palette) for picture, page in pages) + "</body>\n</html>\n"


def paged(pictures: Sequence[TokenPicture]) -> list[tuple[TokenPicture, Page]]:
    """Each picture with the page that is drawn of it."""
    return [(picture, picture.page(Marks(), numbers=picture.looks.numbers)) for picture in pictures]


def rules(pages: Sequence[tuple[TokenPicture, Page]], background: Background) -> Iterator[str]:
    """One rule per step and palette that occurs."""
    seen = set()
    for picture, page in pages:
        for legend in page.legends:
            for step in legend.scale.steps:
                name = _step_class(step, legend.scale, picture.looks.palette)
                colours = paint(
                    step,
                    palette=picture.looks.palette,
                    depth="truecolor",
                    background=background,
                    diverging=legend.scale.diverging,
                )
                if colours.background is not None and colours.text is not None and name not in seen:
                    seen.add(name)
                    yield f".{name} {{ background: {hex_of(colours.background)}; color: {hex_of(colours.text)}; }}"


def _step_class(step: int, scale: Scale, palette: str) -> str:
    if not scale.diverging:
        return f"{palette}-{step}"
    return f"below-{-step}" if step < 0 else f"above-{step}"


def fragment(page: Page, palette: str) -> str:
    """A picture as part of a page that has its `rules`."""
    title = f"<h2>{_escaped(page.title)}</h2>\n" if page.title else ""
    blocks = "".join(_block(block, palette) for block in page.blocks)
    legends = "".join(_legend(legend, palette) for legend in page.legends)
    return f"<section>\n{title}{blocks}{legends}</section>\n"


def _block(block: Block, palette: str) -> str:
    heading = f"<h3>{_escaped(block.heading)}</h3>\n" if block.heading else ""
    # A line may break between tokens, but not between a glyph and its small cells.
    spans = "".join(("" if cell.small else "<wbr>") + _cell(cell, block.scale, palette) for cell in block.cells)
    return f'{heading}<div class="text">{spans.removeprefix("<wbr>")}</div>\n'


def _cell(cell: TokenCell, scale: Scale, palette: str) -> str:
    name = "nothing" if cell.step is None else _step_class(cell.step, scale, palette)
    title = escape(cell.tooltip).replace("\n", "&#10;")
    ends_line = cell.parts[-1].kind == "break"
    parts = cell.parts[:-1] if ends_line else cell.parts
    inside = "".join(_part(part.text, part.kind) for part in parts)
    return f'<span class="{name}" title="{title}">{inside}</span>' + ("<br>" if ends_line else "")


def _part(text: str, kind: str) -> str:
    if kind == "break":
        return "<br>"
    return escape(text) if kind in ("text", "number") else f'<i class="{kind}">{escape(text)}</i>'


def _legend(legend: Legend, palette: str) -> str:
    def sentence(text: str) -> str:
        return f"<p>{_escaped(text)}</p>\n"

    steps = "".join(
        f'<span class="{_step_class(step, legend.scale, palette)}">{escape(legend.scale.label(step))}</span>'
        for step in legend.scale.steps
    )
    above, below = "".join(map(sentence, legend.above)), "".join(map(sentence, legend.below))
    return f'<div class="legend">\n{above}<p class="ramp">steps {steps}</p>\n{below}</div>\n'


def _escaped(text: str) -> str:
    return escape(visible(text))
