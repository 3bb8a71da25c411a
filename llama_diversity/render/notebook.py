"""Results inside another page, a notebook's cell: the report's section, whole in every viewer without its script.

Figures are pictures drawn here; all text is escaped. Its styles reach no further than itself. Coloured texts come with
the script that lets keys and touch ask them; a viewer that strips it shows them as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

from llama_diversity.render.answering import scripts_of, style_of
from llama_diversity.render.branch_pages import branching_html
from llama_diversity.render.exhibits import Branching, Exhibit, Figure, Plain, Readings, Remark, Section, Table, Tokens
from llama_diversity.render.heatmap import TokenPicture
from llama_diversity.render.html import fragment
from llama_diversity.render.readings import readings_html
from llama_diversity.render.report import table_html
from llama_diversity.render.safe import visible

_STYLE = """
.llamadiv .note, .llamadiv .command { opacity: 0.75; font-size: 0.85em; }
.llamadiv .warning { border-left: 4px solid #d55e00; padding-left: 0.7em; }
.llamadiv .scroll { overflow-x: auto; } .llamadiv img { max-width: 100%; }
.llamadiv th, .llamadiv td { text-align: left; vertical-align: top; padding: 0.2em 0.7em 0.2em 0; }
.llamadiv td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
"""


def of_sections(sections: Sequence[Section]) -> str:
    """Sections as part of a page, the same bytes for the same sections."""
    exhibits = [one for section in sections for one in section.exhibits]
    told = (_section(one, has_picture=not at) for at, one in enumerate(sections))  # one picture is enough
    return _framed("".join(told), exhibits)


def of_exhibit(exhibit: Exhibit) -> str:
    """One exhibit as part of a page."""
    return _framed("".join(_exhibit(exhibit)), [exhibit])


def of_pictures(pictures: Sequence[TokenPicture], title: str = "") -> str:
    """Coloured texts as part of a page."""
    head = f"<p><strong>{_text(title)}</strong></p>\n" if title else ""
    return _framed(head + "".join(map(fragment, pictures)), [Tokens("", title, picture) for picture in pictures])


def _framed(inside: str, exhibits: Sequence[Exhibit]) -> str:
    style = f"<style>{_STYLE}{style_of(exhibits)}</style>"
    return f'<div class="llamadiv">\n{style}\n{inside}{scripts_of(exhibits)}</div>\n'


def _section(section: Section, *, has_picture: bool) -> str:
    exhibits = "".join(part for one in section.exhibits for part in _exhibit(one))
    told = _plain(section.plain, has_picture=has_picture)
    return (
        f"<section>\n<h2>{_text(section.title)}</h2>\n{told}<p>{_text(section.about)}</p>\n"
        f'<p class="command">Made by <code>{_text(section.command)}</code></p>\n{exhibits}</section>\n'
    )


def _plain(plain: Plain, *, has_picture: bool) -> str:
    """The sentences, and the picture behind them."""
    if not plain.sentences:
        return ""
    told = "".join(f"<li>{_text(text)}</li>" for text in plain.texts)
    is_seen = has_picture and plain.picture is not None and plain.picture.panels
    seen = _picture(plain.picture) if is_seen and plain.picture is not None else ""
    note = f'<p class="note">{_text(" ".join(filter(None, (plain.who, plain.legend))))}</p>\n'
    return f"<ul>{told}</ul>\n{seen}{note}"


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    if isinstance(exhibit, Remark):
        yield f'<p class="{"warning" if exhibit.is_warning else "remark"}">{_text(exhibit.text)}</p>\n'
        return
    if isinstance(exhibit, Readings | Branching):
        yield readings_html(exhibit) if isinstance(exhibit, Readings) else branching_html(exhibit)
        return
    if isinstance(exhibit, Figure) and not exhibit.panels:
        return
    yield f"<h3>{_text(exhibit.title)}</h3>\n"
    if isinstance(exhibit, Table):
        yield table_html(exhibit, f'in tables["{exhibit.name}"]')
    elif isinstance(exhibit, Tokens):
        yield fragment(exhibit.picture, has_title=False)  # the exhibit has one
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
