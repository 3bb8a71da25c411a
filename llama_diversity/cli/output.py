"""How a command answers: as JSON, quietly, in colour; and remarks beside the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from llama_diversity.errors import BadUsage
from llama_diversity.render.print_form import ON_SCREEN, PrintForm


@dataclass(frozen=True)
class Output:
    """The form that was asked for. Results go to standard output, all else to standard error."""

    json: bool
    quiet: bool
    color: str
    form: PrintForm = ON_SCREEN  # of figures

    def answer(self, as_json: Any, quiet: Iterable[str], lines: Iterable[str], *, indent: int | None = None) -> None:
        """The result as JSON, as bare names and paths with -q, or in lines for a reader."""
        from llama_diversity.render.safe import visible

        if self.json:
            print_json(as_json, indent=indent)
            return
        for line in quiet if self.quiet else lines:
            click.echo(visible(line))

    def remark(self, words: str) -> None:
        """A sentence beside the result, unless -q."""
        if not self.quiet:
            say(words)


def say(words: str) -> None:
    """A remark on standard error, whatever is in it."""
    from llama_diversity.render.safe import visible

    click.echo(visible(words), err=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """A result, on one line where there is no `indent`."""
    from llama_diversity.render.jsonl import to_line

    click.echo(to_line(value, indent=indent))


def is_confirmed(question: str, unasked: str) -> bool:
    """Whether somebody at the terminal says yes. Raises BadUsage with the sentence `unasked` where there is nobody."""
    answer = asked((), question)
    if answer is None:
        raise BadUsage(unasked)
    return answer


def asked(about: Iterable[str], question: str) -> bool | None:
    """What somebody at the terminal answers, told first what it is about; None where there is nobody."""
    if not sys.stdin.isatty():
        return None
    for line in about:
        say(line)
    return click.confirm(question, err=True)
