"""`bin/site` lets no fault through: what is wrong with a page is said, and what is right is made."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
GOOD = """# Front

A [link](other.md#a-part), and a picture.

![A picture](dot.svg)

```{toctree}
other.md
```
"""
DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
OTHER = "# Other\n\n## A part\n\nText with two hyphens: --json.\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("site_script", str(ROOT / "bin/site"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("site_script", loader))
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # bin/ is no place for a cache
    loader.exec_module(module)
    sys.dont_write_bytecode = written
    return module


def made(folder: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    """The site of some pages, with the project's own settings, as `bin/site` makes it."""
    docs = folder / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs/conf.py", docs)
    shutil.copytree(ROOT / "docs/_static", docs / "_static")
    (docs / "dot.svg").write_text(DOT)
    for name, text in pages.items():
        (docs / name.replace("_", ".")).write_text(text)
    code = (
        "import importlib.machinery as m, importlib.util as u, sys; from pathlib import Path; "
        "l = m.SourceFileLoader('s', sys.argv[1]); s = u.module_from_spec(u.spec_from_loader('s', l)); "
        "l.exec_module(s); f = Path(sys.argv[2]); print(s.build(f / 'docs', f / 'site', f / 'cache'))"
    )
    command = [sys.executable, "-B", "-c", code, str(ROOT / "bin/site"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_good_pages_make_a_site(tmp_path):
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Tour\n", "\n", "Words."]},
            {
                "cell_type": "code",
                "source": ["print('``` of code')"],
                "outputs": [{"output_type": "stream", "text": ["some ``` text\n"]}],
            },
            {
                "cell_type": "code",
                "source": ["page"],
                "outputs": [{"output_type": "execute_result", "data": {"text/html": ["<b id='shown'>b</b>"]}}],
            },
        ]
    }
    result = made(
        tmp_path,
        index_md=GOOD.replace("\nother.md\n", "\nother.md\ntour.ipynb\n"),
        other_md=OTHER,
        tour_ipynb=json.dumps(notebook),
    )
    assert result.stdout == "[]\n", result.stderr
    assert "--json" in (tmp_path / "site/other.html").read_text("utf-8")
    tour = (tmp_path / "site/tour.html").read_text("utf-8")
    assert "<b id='shown'>b</b>" in tour
    assert "some ``` text" in tour


@pytest.mark.parametrize(
    ("index", "other", "said"),
    [
        (GOOD.replace("other.md#", "none.md#"), OTHER, "none.md"),
        (GOOD.replace("a-part", "no-part"), OTHER, "no-part"),
        (GOOD.replace("dot.svg", "dash.svg"), OTHER, "dash.svg"),
        (GOOD.partition("```")[0], OTHER, "included in any toctree"),
        (GOOD, OTHER + '\n<img src="none.png">\n', "none.png leads nowhere"),
        (GOOD, OTHER + '\n<script src="https://example.org/a.js"></script>\n', "example.org/a.js from elsewhere"),
    ],
    ids=["link", "anchor", "picture", "menu", "raw", "elsewhere"],
)
def test_a_fault_is_said(tmp_path, index, other, said):
    result = made(tmp_path, index_md=index, other_md=other)
    assert result.stdout != "[]\n"
    assert said in result.stdout + result.stderr


def test_a_style_that_fetches_is_a_fault(script, tmp_path):
    (tmp_path / "a.html").write_text('<link rel="stylesheet" href="a.css"><a href="#there">x</a><p id="there">')
    (tmp_path / "a.css").write_text("@import url(https://example.org/font.css); p { background: url('data:x') }")
    assert script.faults(tmp_path) == ["a.css fetches https://example.org/font.css from elsewhere"]


def test_commands_of_the_gallery_and_their_pictures(script):
    text = "```sh\nllamadiv a --out a\n```\n\n![x](gallery/a.svg)\n\n![y](gallery/b.svg)\n\n```sh\nllamadiv b\n```\n"
    assert script.figures(text) == [("llamadiv a --out a", ["gallery/a.svg", "gallery/b.svg"]), ("llamadiv b", [])]
