"""The options that name models: a pair, two models by name, or all stages of a ladder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from llama_diversity.cli.complete import complete_ladder, complete_model, complete_pair
from llama_diversity.cli.options import with_one
from llama_diversity.studies.arms import Choice

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]"),
    click.option("--base", shell_complete=complete_model, help="The base model."),
    click.option("--aligned", shell_complete=complete_model, help="The aligned model."),
    click.option("--ladder", shell_complete=complete_ladder, help="All stages of a family, the first is the base."),
]


def arms_options(command: Command) -> Command:
    """Add the options that name the models; the command receives them as one argument `choice`.

    A pair that the environment names is no part of it where models are typed: by these options, --arm (`typed`) or -m.
    """
    return with_one(command, "choice", _choice, _OPTIONS)


def _choice(pair: str | None, base: str | None, aligned: str | None, ladder: str | None) -> Choice:
    given = click.get_current_context().params
    others = (base, aligned, ladder, given.get("typed"), given.get("model"))
    return Choice(typed_pair(pair, *others), base, aligned, ladder)


def typed_pair(pair: str | None, *others: object) -> str | None:
    """`pair`, but none where it is the environment's and `others` name models too: what is typed beats it."""
    context = click.get_current_context(silent=True)
    is_set = context is not None and context.get_parameter_source("pair") == ParameterSource.ENVIRONMENT
    return None if is_set and any(others) else pair
