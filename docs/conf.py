"""How Sphinx makes a site of these pages; `bin/site` calls it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from myst_parser.parsers.sphinx_ import MystParser

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
from llama_diversity import __version__  # noqa: E402

project = "llamadiv"
version = release = __version__
html_title = f"llamadiv {__version__}"
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_static"]
suppress_warnings: list[str] = []  # none: a warning is a mistake

myst_heading_anchors = 4  # links lead to headings, named as GitHub names them
smartquotes = False  # `--json` has two hyphens
highlight_language = "text"

html_theme = "furo"  # its fonts are the reader's own, and it fetches nothing
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_use_index = False
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"  # of an example in Python what one types, without what it gives

# Pages of the site that are files elsewhere; links to those files lead to the pages.
HOMES = {DOCS.parent / "CHANGELOG.md": "changes.md", DOCS.parent / "llama_diversity/data/tiny.md": "tiny.md"}


def seen_from_docs(text: str, folder: Path) -> str:
    """The links of a text that lies in `folder`, as links of a page of docs/."""

    def moved(link: re.Match[str]) -> str:
        path, mark, anchor = link[1].partition("#")
        target = Path(os.path.normpath(folder / path))
        return f"]({HOMES.get(target, os.path.relpath(target, DOCS))}{mark}{anchor})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", moved, text)


def page_read(app, docname: str, source: list[str]) -> None:
    if Path(app.env.doc2path(docname)).suffix == ".md":
        source[0] = seen_from_docs(source[0], DOCS)


def file_included(app, path: Path, docname: str, source: list[str]) -> None:
    source[0] = seen_from_docs(source[0], (DOCS / path).resolve().parent)


class NotebookParser(MystParser):
    """A notebook as a page: its texts, its code, and the outputs that are stored in it. Nothing is run."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document) -> None:
        super().parse(notebook_page(json.loads(inputstring)), document)


def notebook_page(notebook: dict) -> str:
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else fenced("python", text))
        parts += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(part for part in parts if part) + "\n"


def shown(output: dict) -> str:
    """The richest form of an output that needs no script."""
    forms = {name: "".join(form) for name, form in output.get("data", {}).items() if not isinstance(form, dict)}
    for name in ("image/svg+xml", "text/html"):
        if name in forms:
            return fenced("{raw} html", f'<div class="output">{forms[name]}</div>')
    if "image/png" in forms:
        return fenced("{raw} html", f'<img alt="" src="data:image/png;base64,{forms["image/png"].strip()}">')
    return fenced("text", forms.get("text/plain") or "".join(output.get("text", "")))


def fenced(language: str, text: str) -> str:
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    return f"{'`' * (longest + 1)}{language}\n{text}\n{'`' * (longest + 1)}" if text else ""


def setup(app) -> None:
    app.connect("source-read", page_read)
    app.connect("include-read", file_included)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
