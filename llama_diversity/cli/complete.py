"""What the shell offers after Tab for models, pairs and runs: `shell_complete` callbacks for options and arguments.

A Tab must not fail, print or wait: whatever cannot be read offers nothing. Modules load when a Tab asks for them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from llama_diversity import paths

PATH_MARKS = (".", "/", "~")


@add_completion_class
class WholeWords(BashComplete):
    """Completion in bash of words that hold a colon, such as `scripted:base`: it reads the line, not bash's words."""

    name = "bash"
    source_template = (Path(__file__).parent.parent / "data" / "completion.bash").read_text("utf-8")

    def get_completion_args(self) -> tuple[list[str], str]:
        """The finished words after the command's name, and the unfinished one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], incomplete


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Aliases of models, and those of other programs; after the beginning of a path, files."""
    if incomplete.startswith(PATH_MARKS):
        return [CompletionItem(incomplete, type="file")]
    return _matching("models", incomplete)


def complete_pair(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pairs."""
    return _matching("pairs", incomplete)


def complete_ladder(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ladders."""
    return _matching("ladders", incomplete)


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the runs in the store that the command line names, the newest first, and `last`."""
    return _matching("runs", incomplete, lambda: Path(ctx.params.get("store") or paths.default_store()))


def _matching(kind: str, incomplete: str, *places: Callable[[], Path]) -> list[CompletionItem]:
    try:
        offered = getattr(importlib.import_module("llama_diversity.offers"), kind)(*(place() for place in places))
        return [CompletionItem(value, help=words) for value, words in offered if value.startswith(incomplete)]
    except Exception:  # noqa: BLE001  whatever is wrong, it must not appear in the middle of a command line
        return []
