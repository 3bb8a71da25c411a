"""Results inside another page, a notebook's cell: the report's section without scripts, so that every viewer shows it.

Figures are pictures drawn here; all text is escaped. Its styles reach no further than itself.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

from llama_diversity.render.exhibits import Exhibit, Figure, Readings, Remark, Section, Table, Tokens
from llama_diversity.render.heatmap import TokenPicture
from llama_diversity.render.html import fragment, paged, rules
from llama_diversity.render.readings import readings_html
from llama_diversity.render.report import table_html
from llama_diversity.render.safe import visible

_STYLE = """
.llamadiv .note, .llamadiv .command { opacity: 0.75; font-size: 0.85em; }
.llamadiv .warning { border-left: 4px solid #d55e00; padding-left: 0.7em; }
.llamadiv .scroll { overflow-x: auto; } .llamadiv img { max-width: 100%; }
.llamadiv th, .llamadiv td { text-align: left; vertical-align: top; padding: 0.2em 0.7em 0.2em 0; }
.llamadiv td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.llamadiv .text { font-family: ui-monospace, "DejaVu Sans Mono", monospace; line-height: 1.8; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.llamadiv .mark { font-style: normal; opacity: 0.7; } .llamadiv .control { font-weight: bold; }
.llamadiv .nothing { opacity: 0.6; } .llamadiv .legend { font-size: 0.85em; } .llamadiv .legend p { margin: 0.2em 0; }
.llamadiv .ramp span { padding: 0.15em 0.6em; }
"""


def of_sections(sections: Sequence[Section]) -> str:
    """Sections as part of a page, the same bytes for the same sections."""
    pictures = [one.picture for section in sections for one in section.exhibits if isinstance(one, Tokens)]
    return _framed("".join(map(_section, sections)), pictures)


def of_exhibit(exhibit: Exhibit) -> str:
    """One exhibit as part of a page."""
    return _framed("".join(_exhibit(exhibit)), [exhibit.picture] if isinstance(exhibit, Tokens) else [])


def of_pictures(pictures: Sequence[TokenPicture], title: str = "") -> str:
    """Coloured texts as part of a page."""
    head = f"<p><strong>{_text(title)}</strong></p>\n" if title else ""
    return _framed(head + "".join(fragment(page, one.looks.palette) for one, page in paged(pictures)), pictures)


def _framed(inside: str, pictures: Sequence[TokenPicture]) -> str:
    pages = paged(pictures)
    light = "\n".join(f".llamadiv {rule}" for rule in rules(pages, "light"))
    dark = "\n".join(f".llamadiv {rule}" for rule in rules(pages, "dark"))
    colours = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n" if pages else ""
    return f'<div class="llamadiv">\n<style>{_STYLE}{colours}</style>\n{inside}</div>\n'


def _section(section: Section) -> str:
    exhibits = "".join(part for one in section.exhibits for part in _exhibit(one))
    return (
        f"<section>\n<h2>{_text(section.title)}</h2>\n<p>{_text(section.about)}</p>\n"
        f'<p class="command">Made by <code>{_text(section.command)}</code></p>\n{exhibits}</section>\n'
    )


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    if isinstance(exhibit, Remark):
        yield f'<p class="{"warning" if exhibit.is_warning else "remark"}">{_text(exhibit.text)}</p>\n'
        return
    if isinstance(exhibit, Readings):
        yield readings_html(exhibit)
        return
    if isinstance(exhibit, Figure) and not exhibit.panels:
        return
    yield f"<h3>{_text(exhibit.title)}</h3>\n"
    if isinstance(exhibit, Table):
        yield table_html(exhibit, f'in tables["{exhibit.name}"]')
    elif isinstance(exhibit, Tokens):
        [(picture, page)] = paged([exhibit.picture])
        yield fragment(page, picture.looks.palette)
    else:
        yield _picture(exhibit)
    if exhibit.note:
        yield f'<p class="note">{_text(exhibit.note)}</p>\n'


def _picture(figure: Figure) -> str:
    """As an image of its own: SVGs that stand in one page share the names inside them."""
    from llama_diversity.render import charts  # Altair is heavy, and only needed for figures

    svg = charts.rendered(charts.side_by_side(figure.panels, title=""), ["svg"])["svg"]
    data = base64.b64encode(svg).decode()
    return f'<p><img alt="{_text(figure.title)}" src="data:image/svg+xml;base64,{data}"></p>\n'


def _text(text: str) -> str:
    return escape(visible(text))
