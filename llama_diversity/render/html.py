"""Heatmaps as HTML: each token a span whose title tells all about it, and a script that lets keys and touch ask it.

The cells, steps and colours are the terminal's at truecolor, for a light and a dark reader alike; bars are a matter
of the terminal, so a page always colours. Every piece of text is made visible by the cells and escaped here. The
script (tokens.js) reads JSON and makes no markup of any text; without it spans, titles and colours remain. Nothing is
fetched. A page of one's own, the report and a notebook's cell all hold the same `fragment`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

from llama_diversity.render.cells import Marks, TokenCell
from llama_diversity.render.heatmap import TokenPicture
from llama_diversity.render.ramps import Background, hex_of, paint
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import Scale
from llama_diversity.render.token_data import step_class, token_json
from llama_diversity.render.token_pages import Block, Legend

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ground: #ffffff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #111111; }} }}
body {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem; font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif;
  background: var(--ground); color: #1a1a1a; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e6e6e6; }} }}
h1 {{ font-size: 1.2rem; }} h2 {{ font-size: 1.05rem; }} h3 {{ font-size: 1rem; margin: 1.5rem 0 0.3rem; }}
{style}</style>
</head>
<body>
<h1>{title}</h1>
"""


def to_html(pictures: TokenPicture | Sequence[TokenPicture], title: str) -> str:
    """A whole page, the same bytes for the same pictures; no script can run in it but its own."""
    pictures = [pictures] if isinstance(pictures, TokenPicture) else list(pictures)
    digest = base64.b64encode(hashlib.sha256(token_script().encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    head = _HEAD.format(policy=policy, title=_escaped(title), style=token_style(pictures))
    script = f"<script>{token_script()}</script>\n"
    return head + "".join(map(fragment, pictures)) + script + "</body>\n</html>\n"


@functools.cache
def token_script() -> str:
    """What makes fragments answer, to stand behind them in a page, once."""
    return resources.files(__package__).joinpath("tokens.js").read_text("utf-8")


def token_style(pictures: Sequence[TokenPicture]) -> str:
    """The rules of fragments, light and dark; they reach no further than these."""
    rules = resources.files(__package__).joinpath("tokens.css").read_text("utf-8")
    light, dark = "\n".join(_colours(pictures, "light")), "\n".join(_colours(pictures, "dark"))
    return f"{rules}{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _colours(pictures: Sequence[TokenPicture], background: Background) -> Iterator[str]:
    """One rule per step and palette that occurs."""
    seen = set()
    for picture in pictures:
        for scale in picture.scales:
            for step in scale.steps:
                name = step_class(step, scale, picture.looks.palette)
                colours = paint(
                    step,
                    palette=picture.looks.palette,
                    depth="truecolor",
                    background=background,
                    diverging=scale.diverging,
                )
                if colours.background is not None and colours.text is not None and name not in seen:
                    seen.add(name)
                    yield (
                        f".tokens .{name} {{ background: {hex_of(colours.background)}; "
                        f"color: {hex_of(colours.text)}; }}"
                    )


def fragment(picture: TokenPicture, *, has_title: bool = True) -> str:
    """A picture as part of a page that has its `token_style`, and behind it, where it may, the `token_script`."""
    page = picture.page(Marks(), numbers=picture.looks.numbers)
    palette = picture.looks.palette
    title = f"<h2>{_escaped(page.title)}</h2>\n" if page.title and has_title else ""
    blocks = "".join(_block(block, palette) for block in page.blocks)
    legends = "".join(_legend(legend, palette) for legend in page.legends)
    data = f'<script type="application/json">{token_json(picture)}</script>\n'
    return f'<section class="tokens">\n{title}{blocks}{legends}{data}</section>\n'


def _block(block: Block, palette: str) -> str:
    heading = f"<h3>{_escaped(block.heading)}</h3>\n" if block.heading else ""
    # A line may break between tokens, but not between a glyph and its small cells.
    spans = "".join(("" if cell.small else "<wbr>") + _cell(cell, block.scale, palette) for cell in block.cells)
    return f'<div class="block">{heading}<div class="text">{spans.removeprefix("<wbr>")}</div></div>\n'


def _cell(cell: TokenCell, scale: Scale, palette: str) -> str:
    name = "nothing" if cell.step is None else step_class(cell.step, scale, palette)
    title = escape(cell.tooltip).replace("\n", "&#10;")
    ends_line = cell.parts[-1].kind == "break"
    parts = cell.parts[:-1] if ends_line else cell.parts
    inside = "".join(_part(part.text, part.kind) for part in parts)
    return f'<span class="{name}" title="{title}">{inside}</span>' + ("<br>" if ends_line else "")


def _part(text: str, kind: str) -> str:
    if kind == "break":
        return "<br>"
    return escape(text) if kind == "text" else f'<i class="{kind}">{escape(text)}</i>'


def _legend(legend: Legend, palette: str) -> str:
    def sentence(text: str) -> str:
        return f"<p>{_escaped(text)}</p>\n"

    steps = "".join(
        f'<span class="{step_class(step, legend.scale, palette)}">{escape(legend.scale.label(step))}</span>'
        for step in legend.scale.steps
    )
    above, below = "".join(map(sentence, legend.above)), "".join(map(sentence, legend.below))
    return f'<div class="legend">\n{above}<p class="ramp">steps {steps}</p>\n{below}</div>\n'


def _escaped(text: str) -> str:
    return escape(visible(text))
