"""The options that name prompts: typed, from a file, or of a set that ships."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from llama_diversity.cli.options import read_text, with_one
from llama_diversity.studies.prompts import FILE_OPTION, Prompts, read_prompts

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
        FILE_OPTION,
        "file",
        type=_File(),
        help="A file: a prompt a line; .jsonl, .ndjson or .json of strings or of objects with a field `prompt`; .csv "
        "or .tsv with a column `prompt`.",
    ),
    click.option("--set", "prompt_set", help="Prompts that ship: openings, questions.  [default: openings]"),
]


def prompts_options(command: Command) -> Command:
    """Add the three ways to name prompts; the command receives what was named as `named`, None for nothing."""
    return with_one(command, "named", _named, _PROMPTS)


def _named(prompts: tuple[str, ...], file: str | None, prompt_set: str | None) -> Prompts | None:
    is_any = bool(prompts or file or prompt_set)
    return read_prompts([read_text(one) for one in prompts], file, prompt_set) if is_any else None
