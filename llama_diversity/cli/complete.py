"""What the shell offers after Tab for models, pairs and runs: `shell_complete` callbacks for options and arguments.

A Tab must not fail, print or wait: whatever cannot be read offers nothing. Modules load when a Tab asks for them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from llama_diversity import paths

Offer = tuple[str, str]  # a value, and the words shown beside it
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
    return _matching(_models, incomplete)


def complete_pair(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pairs."""
    return _matching(_pairs, incomplete)


def complete_ladder(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ladders."""
    return _matching(_ladders, incomplete)


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the runs in the store that the command line names, the newest first, and `last`."""
    return _matching(lambda: _runs(Path(ctx.params.get("store") or paths.default_store())), incomplete)


def _matching(offers: Callable[[], Iterable[Offer]], incomplete: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(value, help=words) for value, words in offers() if value.startswith(incomplete)]
    except Exception:  # noqa: BLE001  whatever is wrong, it must not appear in the middle of a command line
        return []


def _models() -> Iterator[Offer]:
    from llama_diversity import shelf

    return shelf.names()


def _pairs() -> Iterator[Offer]:
    from llama_diversity import registry

    for pair in registry.load().pairs.values():
        yield pair.name, f"{pair.base} and {pair.aligned}"


def _ladders() -> Iterator[Offer]:
    from llama_diversity import registry

    for ladder in registry.load().ladders.values():
        yield ladder.name, ", ".join(ladder.rungs)


def _runs(store: Path) -> Iterator[Offer]:
    from llama_diversity.store import LAST_RUN, Store

    with Store.open(store, read_only=True, timeout_s=0.2) as opened:
        for run in reversed(opened.runs()):
            yield run.id, shlex.join(run.command)
    yield LAST_RUN, "the newest run"
