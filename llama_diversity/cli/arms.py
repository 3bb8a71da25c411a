"""Which models an experiment compares: a pair, two models by name, or all stages of a ladder."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from llama_diversity import registry
from llama_diversity.cli.complete import complete_ladder, complete_model, complete_pair
from llama_diversity.cli.options import Common
from llama_diversity.cli.resolve import resolve_arms, resolve_model, typed_pair
from llama_diversity.errors import LlamadivError
from llama_diversity.records import ModelRef

Command = TypeVar("Command", bound=Callable[..., Any])


class Choice(NamedTuple):
    """What was typed."""

    pair: str | None
    base: str | None
    aligned: str | None
    ladder: str | None

    def words(self) -> list[str]:
        """The same choice as options of a command line."""
        named = {"--pair": self.pair, "--base": self.base, "--aligned": self.aligned, "--ladder": self.ladder}
        return [word for option, value in named.items() if value for word in (option, value)]


class OneModel(LlamadivError):
    """Two arms are the same bytes: whatever is found between them is chance."""

    def __init__(self, first: str, second: str) -> None:
        same = first if first == second else f"{first} and {second}"
        super().__init__(
            f"Both arms are one model ({same}), so there is nothing to compare. Name two models that differ; two ways "
            "of using one are compared by `llamadiv compare --arm`."
        )


class Arm(NamedTuple):
    """One side of a comparison: what it is called in tables and figures, and the model.

    `template`: the model whose chat template asks it, where that is not its own.
    """

    name: str
    model: ModelRef
    template: ModelRef | None = None


_OPTIONS = [
    click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]"),
    click.option("--base", shell_complete=complete_model, help="The base model."),
    click.option("--aligned", shell_complete=complete_model, help="The aligned model."),
    click.option("--ladder", shell_complete=complete_ladder, help="All stages of a family, the first is the base."),
]


def arms_options(command: Command) -> Command:
    """Add the options that name the models; the command receives them as one argument `choice`.

    A pair that the environment names is no part of it where models are typed, by these options or by --arm (`typed`).
    """

    @functools.wraps(command)
    def with_arms(
        *args: Any, pair: str | None, base: str | None, aligned: str | None, ladder: str | None, **kwargs: Any
    ) -> Any:
        pair = typed_pair(pair, base, aligned, ladder, kwargs.get("typed"))
        return command(*args, choice=Choice(pair, base, aligned, ladder), **kwargs)

    decorated: Any = with_arms
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    result: Command = decorated
    return result


def resolve_choice(choice: Choice, common: Common) -> list[Arm]:
    """The models of `choice`, two or more, the base first.

    Raises UsageError, UnknownName, OneModel and what a model raises.
    """
    if choice.ladder is None:
        references: Sequence[str] = resolve_arms(choice.pair, choice.base, choice.aligned)
        names: Sequence[str] = ("base", "aligned")
    elif choice.pair or choice.base or choice.aligned:
        raise click.UsageError("--ladder names all models by itself; leave out --pair, --base and --aligned.")
    else:
        references = registry.load().ladder(choice.ladder).rungs
        names = _names(references)
    models = [resolve_model(reference, common=common) for reference in references]
    check_different(models)
    return [Arm(name, model) for name, model in zip(names, models, strict=True)]


def check_different(models: Sequence[ModelRef]) -> None:
    """Raises OneModel where two of `models` are the same bytes under one name or two."""
    for one, other in itertools.combinations(models, 2):
        if (one.engine, one.digest or one.location) == (other.engine, other.digest or other.location):
            raise OneModel(one.reference, other.reference)


def _names(references: Sequence[str]) -> Sequence[str]:
    """Stages by their roles where those tell them apart, else as they are called."""
    roles = [registry.load().find(reference).role for reference in references]
    told = [role for role in roles if role]
    return told if len(set(told)) == len(references) else references
