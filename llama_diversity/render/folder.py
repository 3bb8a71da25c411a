"""A section as a folder of files: tables as CSV, figures as pictures and as Vega-Lite, and a page that shows them all.

The command that makes them again stands in each file's metadata and in the page, not in the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llama_diversity.render import csv
from llama_diversity.render.exhibits import Between, Figure, Section, Share, Table, Tokens
from llama_diversity.render.files import write_whole
from llama_diversity.render.glyphs import texts_of, undrawn
from llama_diversity.render.metadata import About, with_metadata
from llama_diversity.render.print_form import ON_SCREEN, PrintForm, in_millimetres
from llama_diversity.render.report import to_page

PICTURES = ("png", "svg", "pdf")


@dataclass
class Written:
    """The files that were written, and by figure the characters that no font could draw in it."""

    paths: list[Path] = field(default_factory=list)
    undrawn: dict[str, list[str]] = field(default_factory=dict)


def write_report(section: Section, folder: Path, form: PrintForm = ON_SCREEN) -> Written:
    """Every file of the section, and `index.html` that shows them together. Raises BadValue."""
    written = write_files(section, folder, form)
    written.paths.append(folder / "index.html")
    write_whole(written.paths[-1], to_page([section], section.title))
    return written


def write_files(section: Section, folder: Path, form: PrintForm = ON_SCREEN) -> Written:
    """Every file of the section into `folder`, each whole or not at all. Raises BadValue."""
    written = Written()
    for name, content in files_of(section, form):
        write_whole(folder / name, content)
        written.paths.append(folder / name)
        if name.endswith(".svg") and (boxes := _boxes(content.decode())):
            written.undrawn[name.removesuffix(".svg")] = boxes
    return written


def _boxes(svg: str) -> list[str]:
    return undrawn(texts_of(svg)) if undrawn(svg) else []  # most have none, and need no parser


def files_of(section: Section, form: PrintForm = ON_SCREEN) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file; figures are PNG, SVG, PDF and Vega-Lite, coloured texts the first three."""
    for exhibit in section.every:
        if isinstance(exhibit, Table):
            yield f"{exhibit.name}.csv", to_csv(exhibit).encode()
        elif isinstance(exhibit, Figure) and exhibit.panels:
            yield from _chart_files(exhibit, section.command, form)
        elif isinstance(exhibit, Tokens):
            yield from _token_files(exhibit, section.command, form)


def _chart_files(figure: Figure, command: str, form: PrintForm) -> Iterator[tuple[str, bytes]]:
    from llama_diversity.render import charts, drawing  # Altair is heavy, and only needed for files
    from llama_diversity.render.fitting import fitted

    spec = fitted(figure.panels, figure.title, figure.note, form)
    about = About(figure.title, figure.note, command)
    for kind, content in drawing.from_svg(drawing.svg_of(spec), PICTURES, form).items():
        yield f"{figure.name}.{kind}", with_metadata(content, kind, about)
    told = {"title": about.title, "caption": about.caption, "command": about.command}
    paper = {} if form.is_on_screen else {"millimetresPerUnit": in_millimetres(form.points_per_unit())}
    yield f"{figure.name}.vl.json", charts.to_json({**spec, "usermeta": {"llamadiv": {**told, **paper}}})


def _token_files(tokens: Tokens, command: str, form: PrintForm) -> Iterator[tuple[str, bytes]]:
    from llama_diversity.render import drawing, svg

    width = svg.cells_in(form.units_wide(svg.FONT_SIZE))
    picture = svg.to_svg(tokens.picture, width, has_title=form.has_caption, on_paper=not form.is_on_screen)
    about = About(tokens.title, tokens.note, command)
    for kind, content in drawing.from_svg(picture, PICTURES, form, svg.FONT_SIZE).items():
        yield f"{tokens.name}.{kind}", with_metadata(content, kind, about)


# ---- tables


def to_csv(table: Table) -> str:
    """The table with unrounded numbers; an interval is two columns, an undefined value an empty field.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    intervals = [any(isinstance(row[at], Between) for row in table.rows) for at in range(len(table.headings))]
    heads: list[str] = []
    for heading, is_interval in zip(table.headings, intervals, strict=True):
        heads += [f"{heading}, low", f"{heading}, high"] if is_interval else [heading]
    rows = []
    for row in table.rows:
        fields: list[str] = []
        for value, is_interval in zip(row, intervals, strict=True):
            if is_interval:
                fields += [_field(end) for end in (value if isinstance(value, Between) else (None, None))]
            else:
                fields.append(_field(value.value if isinstance(value, Share) else value))
        rows.append(fields)
    return csv.to_csv(heads, rows)


def _field(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return csv.guarded(value)
    return repr(value + 0.0) if isinstance(value, float) else str(value)  # -0.0 + 0.0 is 0.0
