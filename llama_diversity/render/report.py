"""Sections of exhibits as one HTML page that needs nothing else: no network, every chart live, all model text escaped.

Vega stands inside the page and draws the same specifications that the PNG, SVG and PDF files come from; the data are
JSON, never markup, so a text cannot become one. Without JavaScript the tables, captions and coloured texts remain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from llama_diversity import cache
from llama_diversity.decimals import counted
from llama_diversity.render.answering import scripts_of, style_of
from llama_diversity.render.branch_pages import branching_html
from llama_diversity.render.exhibits import (
    Branching,
    Exhibit,
    Figure,
    Plain,
    Readings,
    Remark,
    Section,
    Table,
    Tokens,
    written,
)
from llama_diversity.render.html import fragment
from llama_diversity.render.readings import READ, readings_html
from llama_diversity.render.safe import visible

if TYPE_CHECKING:
    from llama_diversity.render.drawing import Spec

# Vega compiles its expressions, so scripts of this page may evaluate; nothing may be fetched or sent.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"

_LONG = 25  # rows; a longer table is folded away
_LONGEST = 1000  # rows; a longer one would be most of the page, and is in its file alone

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --pale: #5c5c5c; --line: #dcdcdc; --ground: #ffffff; --box: #f6f6f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --pale: #a8a8a8; --line: #3a3a3a; --ground: #121212; --box: #1d1d1d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif;
  color: var(--ink); background: var(--ground); }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin: 2.5rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 0 0 0.4rem; } h4 { font-size: 0.95rem; margin: 0 0 0.3rem; font-weight: 600; }
.plain { display: grid; gap: 0.8rem 2.5rem; margin: 1rem 0 2rem; } .plain > * { margin: 0; }
.plain .lead { font-size: 1.2rem; line-height: 1.4; } .plain ul { padding-left: 1.1rem; }
.plain li { margin: 0.4rem 0; }
.plain figure p { margin: 0 0 0.5rem; }
.plain figcaption { color: var(--pale); font-size: 0.85rem; } .plain .panels { gap: 0.6rem 1rem; }
.plain .panel { max-width: 10.5rem; }
@media (min-width: 54rem) {
  .plain.seen { grid-template-columns: minmax(0, 1fr) 23rem; grid-template-rows: auto auto auto 1fr; }
  .plain figure { grid-area: 1 / 2 / span 4; }
}
nav a { margin-right: 1rem; } a { color: inherit; }
.exhibit { margin: 1.6rem 0; } .note, .command { color: var(--pale); font-size: 0.85rem; margin: 0.4rem 0; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.7rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; min-width: 20rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.7rem 0.25rem 0; border-bottom: 1px solid var(--line);
  min-width: 3.2rem; }
td.long { min-width: 12rem; overflow-wrap: anywhere; } th { font-weight: 600; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (max-width: 40rem) {
  .prose, .prose tbody, .prose tr, .prose td { display: block; } .prose thead { display: none; }
  .prose tr { border-bottom: 1px solid var(--line); padding: 0.5rem 0; }
  .prose td { border: 0; padding: 0.1rem 0; min-width: 0; }
  .prose td:nth-child(n + 2)[data-label]::before { content: attr(data-label) ": "; color: var(--pale); }
}
.prose td.short:first-child { white-space: nowrap; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; }
.panel { max-width: 100%; overflow-x: auto; } .panel svg { max-width: 100%; height: auto; }
.vega-bindings { font-size: 0.85rem; margin-top: 0.3rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.85em; overflow-wrap: anywhere; }
#vg-tooltip-element { max-width: min(26rem, 90vw); white-space: pre-wrap; overflow-wrap: anywhere; }
#vg-tooltip-element td.value { max-width: 20rem; white-space: pre-wrap; }
summary { cursor: pointer; }
.readings .shown { background: var(--box); padding: 0.5rem 0.8rem; margin-bottom: 0.6rem; }
.readings summary { padding: 0.25rem 0; } .readings dt { color: var(--pale); font-size: 0.85rem; margin-top: 0.5rem; }
.readings dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.panel [tabindex]:focus { outline: none; stroke: var(--ink); stroke-width: 3px; } .panel [tabindex] { cursor: pointer; }
@media print { nav, .vega-bindings { display: none; } .exhibit { break-inside: avoid; } body { max-width: none; } }
"""

_DRAW = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function colours() {
  const [ink, line] = dark.matches ? ["#e6e6e6", "#3a3a3a"] : ["#1a1a1a", "#dcdcdc"];
  const axis = {labelFlush: false, labelColor: ink, titleColor: ink, gridColor: line, domainColor: ink, tickColor: ink,
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal"};
  const text = {labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12};
  return {background: "transparent", font: "system-ui, DejaVu Sans, sans-serif", axis: axis, axisX: {grid: false},
    legend: text, header: text, title: {color: ink}, view: {stroke: null}};
}
async function draw() {
  for (const [id, spec] of Object.entries(charts)) {
    await vegaEmbed(document.getElementById(id), spec, {actions: false, renderer: "svg", config: colours(),
      tooltip: {theme: dark.matches ? "dark" : "light"}});
  }
  document.body.dataset.drawn = Object.keys(charts).length;
  document.dispatchEvent(new Event("drawn"));
}
dark.addEventListener("change", draw);
draw();
"""


def to_page(sections: Sequence[Section], title: str, plain: Plain | None = None) -> str:
    """The whole page, the same bytes for the same sections; before all else `plain`, of a single section its own."""
    specs: dict[str, dict[str, Any]] = {}
    is_one = len(sections) == 1  # its heading is the page's
    if plain is None:
        plain = sections[0].plain if is_one else Plain()
    screen = _first_screen(plain, specs)
    body = "".join(
        _section(section, specs, heading="" if is_one else section.title, is_told=section.plain is plain)
        for section in sections
    )
    links = "".join(f'<a href="#{escape(section.name)}">{_text(section.title)}</a>' for section in sections)
    nav = "" if is_one else f"<nav>{links}</nav>\n"
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    reading = f"<script>{READ}</script>\n" if any(isinstance(one, Readings) for one in exhibits) else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}{style_of(exhibits)}</style>\n</head>\n<body>\n"
        f"<h1>{_text(title)}</h1>\n{screen}{nav}{body}{reading}{scripts_of(exhibits)}{_scripts(specs)}</body>\n</html>\n"
    )


def _scripts(specs: Mapping[str, Mapping[str, Any]]) -> str:
    if not specs:
        return ""
    vega = cache.kept(("vega", version("vl-convert-python")), _bundle).replace("</script", "<\\/script")
    # "<" never appears in the data, so no text in it can end the element.
    data = json.dumps(specs, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<script type="application/json" id="charts">{data}</script>\n<script type="module">{vega}\n{_DRAW}</script>\n'
    )


def _bundle() -> str:
    import vl_convert  # heavy: a browser's engine with Vega inside

    return vl_convert.javascript_bundle(None)  # type: ignore[arg-type]  # None, its default: show vegaEmbed to the page


def _first_screen(plain: Plain, specs: dict[str, dict[str, Any]]) -> str:
    """The sentences and the picture; on a narrow screen it stands behind the first of them."""
    if not plain.sentences:
        return ""
    first, *others = plain.texts
    figure = ""
    if plain.picture is not None and plain.picture.panels:
        panels = "".join(_panels(plain.picture, specs))
        title, caption = _text(plain.picture.title), _text(plain.picture.note)
        figure = f"<figure>\n<p>{title}</p>\n{panels}<figcaption>{caption}</figcaption>\n</figure>\n"
    note = f'<p class="note">{_text(plain.legend)}</p>\n' if plain.legend else ""
    who = f'<p class="note who">{_text(plain.who)}</p>\n' if plain.who else ""
    return (
        f'<section class="plain{" seen" if figure else ""}" id="in-short" aria-label="In short">\n'
        f'{who}<p class="lead">{_sentence(first)}</p>\n{figure}{_told(others)}{note}</section>\n'
    )


def _told(texts: Sequence[str]) -> str:
    return f"<ul>\n{''.join(f'<li>{_sentence(text)}</li>' for text in texts)}\n</ul>\n" if texts else ""


def _sentence(text: str) -> str:
    """Without a line break between a number and its sign."""
    return _text(text).replace(" %", "\u00a0%")


def _section(section: Section, specs: dict[str, dict[str, Any]], *, heading: str, is_told: bool) -> str:
    """`is_told`: its plain sentences stand on the first screen already."""
    head = f"<h2>{_text(heading)}</h2>\n" if heading else ""
    head += "" if is_told else _told(section.plain.texts)
    exhibits = "".join(_exhibit(exhibit, specs) for exhibit in section.exhibits)
    return (
        f'<section id="{escape(section.name)}">\n{head}<p>{_text(section.about)}</p>\n'
        f'<p class="command">Made by <code>{_text(section.command)}</code></p>\n{exhibits}</section>\n'
    )


def _exhibit(exhibit: Exhibit, specs: dict[str, dict[str, Any]]) -> str:
    if isinstance(exhibit, Remark):
        return f'<p class="{"warning" if exhibit.is_warning else "remark"}">{_text(exhibit.text)}</p>\n'
    if isinstance(exhibit, Figure) and not exhibit.panels:
        return ""
    if isinstance(exhibit, Readings):
        return readings_html(exhibit)
    if isinstance(exhibit, Branching):
        return branching_html(exhibit)
    note = f'<p class="note">{_text(exhibit.note)}</p>\n' if exhibit.note else ""
    inside = "".join(_inside(exhibit, specs))
    head = f"<h3>{_text(exhibit.title)}</h3>\n"
    return f'<div class="exhibit" id="{escape(exhibit.name)}">\n{head}{inside}{note}</div>\n'


def _inside(exhibit: Table | Figure | Tokens, specs: dict[str, dict[str, Any]]) -> Iterator[str]:
    if isinstance(exhibit, Table):
        yield table_html(exhibit)
    elif isinstance(exhibit, Tokens):
        yield fragment(exhibit.picture, has_title=False)  # the exhibit has one
    else:
        yield from _panels(exhibit, specs)


def _panels(figure: Figure, specs: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield '<div class="panels">'
    for position, (heading, chart) in enumerate(figure.panels.items()):
        name = f"{figure.name}-{position}"
        specs[name] = _spec(chart)
        yield f'<div class="panel"><h4>{_text(heading)}</h4><div id="{escape(name)}"></div></div>'
    yield "</div>\n"


def _spec(chart: Spec) -> Spec:
    """The chart without its looks, which the page gives it, light or dark."""
    return {name: part for name, part in chart.items() if name not in ("config", "background", "padding")}


def table_html(table: Table, place: str = "") -> str:
    """A table; a middling one is folded away, and of a long one it is said where it is: in its file, or at `place`."""
    if len(table.rows) > _LONGEST:
        where = place or f"in the file {table.name}.csv"
        return f'<p class="note">{len(table.rows):,} rows, {_text(where)}.</p>\n'
    head = "".join(f"<th>{_text(heading)}</th>" for heading in table.headings)
    labels = table.headings if table.is_prose else [""] * len(table.headings)
    rows = "".join("<tr>" + "".join(map(_cell, row, labels)) + "</tr>\n" for row in table.rows)
    kind = ' class="prose"' if table.is_prose else ""
    whole = (
        f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'
    )
    if len(table.rows) <= _LONG and not table.is_folded:
        return whole
    return f"<details><summary>{counted(len(table.rows), 'row')}</summary>\n{whole}</details>\n"


def _cell(value: Any, label: str) -> str:
    """`label`: its heading once more, for where rows are blocks."""
    shown = written(value)
    kind = ("long" if len(shown) > 40 else "short") if isinstance(value, str) else "number"
    told = f' data-label="{_text(label)}"' if label else ""
    return f'<td class="{kind}"{told}>{_text(shown)}</td>'


def _text(text: str) -> str:
    return escape(visible(text))
