"""How a command answers: as JSON, quietly, in colour; and remarks beside the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from llama_diversity.render.print_form import ON_SCREEN, PrintForm


@dataclass(frozen=True)
class Output:
    """The form that was asked for. Results go to standard output, all else to standard error."""

    json: bool
    quiet: bool
    color: str
    form: PrintForm = ON_SCREEN  # of figures

    def remark(self, words: str) -> None:
        """A sentence beside the result, unless -q."""
        if not self.quiet:
            say(words)


def say(words: str) -> None:
    """A remark on standard error, whatever is in it."""
    from llama_diversity.render.safe import visible

    click.echo(visible(words), err=True)


def print_json(value: Any) -> None:
    """A result on one line."""
    from llama_diversity.render.jsonl import to_line

    click.echo(to_line(value))
