"""The prompts of a command: typed, from a file, or of a set that ships.

A file has a prompt a line, or is JSON Lines, JSON or CSV by its suffix. What looks like one of these under another
name is refused, so that no header and no bracket becomes a prompt. A command is printed with the prompts themselves, or
where they are too many with the digest of what the file held: it never means another file than it did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

if sys.version_info >= (3, 11):
    pass
else:
    pass
from llama_diversity.studies.prompts import _OPTION

Command = TypeVar("Command", bound=Callable[..., Any])


class _File(click.ParamType[str]):
    """A file's name, maybe with a digest of what it has to hold."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


_PROMPTS = [
    click.option(
        "-p",
        "--prompt",
        "prompts",
        multiple=True,
        help="A prompt; may be repeated; `-` reads standard input less its last line break.",
    ),
    click.option(
        _OPTION,
        "file",
        type=_File(),
        help="A file: a prompt a line; .jsonl, .ndjson or .json of strings or of objects with a field `prompt`; .csv "
        "or .tsv with a column `prompt`.",
    ),
    click.option("--set", "prompt_set", help="Prompts that ship: openings, questions.  [default: openings]"),
]


def prompts_options(command: Command) -> Command:
    """Add the three ways to name prompts; the command receives them as `prompts`, `file` and `prompt_set`."""
    decorated: Any = command
    for option in reversed(_PROMPTS):
        decorated = option(decorated)
    result: Command = decorated
    return result
