"""Nothing undocumented, and nothing documented that is not there."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from llama_diversity import __version__
from llama_diversity.cli import COMMANDS, group

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def walk(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The context of a command and of every command below it."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            yield from walk(child, click.Context(child, info_name=name, parent=context))


@pytest.fixture(scope="module")
def contexts():
    return list(walk(group, click.Context(group, info_name="llamadiv", **group.context_settings)))


@pytest.fixture(scope="module")
def cli_page():
    return (ROOT / "docs/cli.md").read_text("utf-8")


def test_every_command_has_a_page(contexts, cli_page):
    headings = re.findall(r"^###? (llamadiv.*)$", cli_page, re.MULTILINE)
    assert headings == [context.command_path for context in contexts]


def test_every_option_is_on_its_page_and_explained(contexts, cli_page):
    pages = dict(re.findall(r"^###? (llamadiv[^\n]*)\n\n```text\n(.*?)```", cli_page, re.MULTILINE | re.DOTALL))
    for context in contexts:
        page = pages[context.command_path]
        for parameter in context.command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{context.command_path} {parameter.opts[0]}"
                assert [name for name in parameter.opts if name not in page] == []


def test_every_command_says_what_it_does(contexts):
    assert [context.command_path for context in contexts if not context.command.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_names_every_command(name):
    assert re.search(rf"\bllamadiv {name}\b", README)


def test_generated_pages_are_up_to_date(monkeypatch):
    loader = importlib.machinery.SourceFileLoader("docs_script", str(ROOT / "bin/docs"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("docs_script", loader))
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # bin/ is no place for a cache
    loader.exec_module(script)
    assert script.PAGES
    for name, page in script.PAGES.items():
        assert (ROOT / name).read_text("utf-8") == page(), f"{name} is stale: run bin/docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    """Links to files and images of the repository; the network is not asked."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def tree_of(text: str) -> list[str]:
    """The paths of the first code block that shows a tree of files: a name a line, folders end in a slash."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    block = next((block for block in blocks if re.search(r"^[\s│├└─]*llama_diversity/", block, re.MULTILINE)), "")
    paths, folders = [], []  # folders: (indent, path) of those around the line
    for line in block.splitlines():
        match = re.match(r"([\s│├└─]*)([\w.][\w./-]*)(?:\s{2,}.*|\s*|\s+#.*)$", line)
        if match:
            indent, name = len(match[1]), match[2]
            folders = [(depth, folder) for depth, folder in folders if depth < indent]
            paths.append(os.path.join(*(folder for _, folder in folders), name))
            if name.endswith("/"):
                folders.append((indent, name))
    return paths


def test_tree_is_read():
    text = (
        "```text\nbin/            scripts\nllama_diversity/\n  cli/          Click\n    sample.py   x\n  store/  y\n```"
    )
    expected = ["bin/", "llama_diversity/", "llama_diversity/cli/", "llama_diversity/cli/sample.py"]
    assert tree_of(text) == [*expected, "llama_diversity/store/"]


def test_tree_in_the_readme_exists():
    paths = tree_of(README)
    assert len(paths) > 5, "README.md shows no tree of files"
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_changelog_begins_with_this_version():
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[1] == __version__


def test_the_tests_that_the_metrics_page_names_exist():
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    named = re.findall(r"\| \[`(test_\w+)`\]\(\.\./(tests/\w+\.py)\) \|", page)
    assert len(named) > 15
    for test, file in named:
        assert f"def {test}(" in (ROOT / file).read_text("utf-8"), test


def test_every_metric_has_an_example_on_its_page():
    """But for the few that only hand values on."""
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    bare = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| [^|]+ \|  \|$", page, re.MULTILINE)
    assert bare == []
