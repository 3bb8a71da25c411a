"""Nothing undocumented, and nothing documented that is not there."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import llama_diversity
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
            if isinstance(parameter, click.Option) and not parameter.hidden:  # that is refused
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


def commands_of(text: str) -> list[str]:
    """The llamadiv commands of a page's code blocks, without what a shell or a column of remarks adds to them."""
    code = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    code += re.findall(r"(?<=\n\n)(?:    .*\n)+", outside)
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(code))
    lines = re.sub(r"\$\([^)]*\)", "VALUE", joined).splitlines()
    found = []
    for line in lines:
        for part in re.split(r"&&|(?<!\|)\||>>?", line):
            match = re.match(r"\s*(?:bin/)?(llamadiv [^\n]*?)(?:  +.*)?$", part)
            if match and not re.search(r"\bCOMMAND\b", match[1]):
                found.append(match[1].strip())
    return found


def test_commands_are_found():
    page = """Text.

    llamadiv models ls          what there is
    llamadiv models rm a

```sh
bin/llamadiv demo && bin/llamadiv sample -m a \\
  -p "b c"
llamadiv completion bash >> ~/.bashrc
```
"""
    expected = ["llamadiv demo", 'llamadiv sample -m a -p "b c"', "llamadiv completion bash"]
    found = commands_of(page)
    assert found == [*expected, "llamadiv models ls", "llamadiv models rm a"]


def misspelt(command: str) -> str | None:
    """Why the command line refuses these words, none of which is carried out; None where it takes them."""
    words = shlex.split(command)[1:]
    context = click.Context(group, info_name="llamadiv")
    try:
        while isinstance(context.command, click.Group):
            if not words or words[0] in {"--help", "--version"}:
                return None
            child = context.command.get_command(context, words[0])
            if child is None:
                return f"there is no command {words[0]}"
            context = click.Context(child, info_name=words.pop(0), parent=context)
        context.command.parse_args(context, words)
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.fixture
def files_exist(monkeypatch):
    """A page's own files, such as prompts.csv, are the reader's."""
    for kind in (click.Path, click.File):
        monkeypatch.setattr(kind, "convert", lambda self, value, parameter, context: value)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "llama_diversity/data/tiny.md"], ids=lambda page: page.name)
def test_commands_on_pages_can_be_typed(page, files_exist):
    refused = {command: misspelt(command) for command in commands_of(page.read_text("utf-8"))}
    assert {command: why for command, why in refused.items() if why} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("llamadiv smaple", "there is no command smaple"),
        ("llamadiv demo --pear tiny", "No such option '--pear'"),
        ("llamadiv sample -m a", "Missing option '-p' / '--prompt'"),
        ("llamadiv coverage --by sound", "'sound' is not one of"),
        ("llamadiv coverage -n many", "'many' is not a valid integer"),
        ("llamadiv demo now", "unexpected extra argument (now)"),
    ],
)
def test_a_misspelt_command_is_refused(command, why, files_exist):
    assert why in misspelt(command)


def test_every_page_has_one_place_in_the_menu():
    index = (ROOT / "docs/index.md").read_text("utf-8")
    trees = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    placed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    pages = {path.name for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").glob(kind)} - {"index.md"}
    assert sorted(placed) == sorted(pages), "docs/index.md lists every page of docs/ once"


def unnamed(names: Iterator[str], page: str) -> list[str]:
    """The names that a page has in no code."""
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL))
    return [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code)]


def test_unnamed_names_are_found():
    page = "The function `model(name)` gives a model; compare is a word.\n\n```python\nld.pair('tiny')\n```\n"
    assert unnamed(["model", "pair", "compare", "air"], page) == ["compare", "air"]


def test_every_public_name_is_on_the_page_about_python():
    names = getattr(llama_diversity, "__all__", ())
    page = ROOT / "docs/python.md"
    assert unnamed(names, page.read_text("utf-8") if page.exists() else "") == []


def test_every_picture_of_the_gallery_has_its_command():
    page = (ROOT / "docs/gallery.md").read_text("utf-8")
    shown = re.findall(r"!\[[^]]+\]\((gallery/[^)]+)\)", page)
    drawn = re.findall(r"```sh\nllamadiv [^\n]+\n```\n\n!\[[^]]+\]\((gallery/[^)]+)\)", page)
    kept = sorted((ROOT / "docs/gallery").iterdir())
    assert len(shown) > 8
    assert sorted(drawn) == sorted(shown) == [f"gallery/{path.name}" for path in kept]
    assert sum(path.stat().st_size for path in kept) < 1_500_000


def test_docs_hold_pages_and_what_pages_show():
    """What examples write when they are run there is no part of it."""
    pages = "".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    left = [path.name for path in (ROOT / "docs").iterdir() if path.suffix not in {".md", ".py", ".ipynb"}]
    known = {"_static", "gallery", "__pycache__"}
    assert [name for name in left if name not in known and not re.search(rf"[(/]{re.escape(name)}", pages)] == []
