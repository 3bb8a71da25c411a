"""Help stays light: what `--help` imports is a tested property."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
from test_architecture import HEAVY

from llama_diversity.cli import COMMANDS, group

NEVER_FOR_HELP = HEAVY | {"gguf", "jinja2", "vl_convert"}


def imported_by(*arguments: str) -> set[str]:
    """The top-level names that `python *arguments` imports."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    lines = re.findall(r"^import time:.*\|\s*([\w.]+)$", result.stderr, re.MULTILINE)
    names = {line.split(".")[0] for line in lines}
    return {name for name in names if not name.startswith("_")}  # a few of the interpreter's own are on no list


def subcommands(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command below `command`."""
    if not isinstance(command, click.Group):
        return [words]
    context = click.Context(command)
    children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    below = [path for name, child in children if child for path in subcommands(child, (*words, name))]
    return [*([words] if words else []), *below]


def test_the_list_of_commands_needs_only_click():
    bare = imported_by("-c", "")  # what the interpreter itself and .pth files of the environment import
    names = imported_by("-m", "llama_diversity", "--help")
    assert names - bare - set(sys.stdlib_module_names) == {"llama_diversity", "click"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(name):
    for words in subcommands(group.get_command(click.Context(group), name), (name,)):
        names = imported_by("-m", "llama_diversity", *words, "--help")
        assert "llama_diversity" in names
        assert names & NEVER_FOR_HELP == set(), f"llamadiv {' '.join(words)} --help"


def test_a_heavy_import_would_be_seen():
    assert imported_by("-c", "import huggingface_hub") & NEVER_FOR_HELP
