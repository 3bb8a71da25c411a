"""Which models a study compares: a pair, two models by name, or all stages of a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llama_diversity import registry
from llama_diversity.errors import BadUsage, LlamadivError
from llama_diversity.mixtures import is_mixture
from llama_diversity.records import ModelRef, twins
from llama_diversity.studies.session import Session


class Choice(NamedTuple):
    """Models by one of the ways to name them; none of them is the pair that ships."""

    pair: str | None = None
    base: str | None = None
    aligned: str | None = None
    ladder: str | None = None

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


def named(choice: Choice) -> list[tuple[str, str]]:
    """What the models of `choice` are called in tables, and their references, the base first.

    Raises BadUsage, UnknownName, RegistryError.
    """
    if choice.ladder is None:
        return list(zip(("base", "aligned"), resolve_arms(choice.pair, choice.base, choice.aligned), strict=True))
    if choice.pair or choice.base or choice.aligned:
        raise BadUsage("--ladder names all models by itself; leave out --pair, --base and --aligned.")
    references = registry.load().ladder(choice.ladder).rungs
    return list(zip(_names(references), references, strict=True))


def resolve_choice(choice: Choice, session: Session) -> list[Arm]:
    """The models of `choice`, two or more, the base first. Raises what `named` and a model raise, and OneModel."""
    names = named(choice)
    session.require([reference for _, reference in names], choice.ladder or choice.pair)
    arms = [Arm(name, session.model(reference)) for name, reference in names]
    check_different([arm.model for arm in arms])
    return arms


def check_different(models: Sequence[ModelRef]) -> None:
    """Raises OneModel where two of `models` are the same bytes under one name or two."""
    same = twins(models)
    if same is not None:
        raise OneModel(*(one.reference for one in same))


def _names(references: Sequence[str]) -> Sequence[str]:
    """Stages by their roles where those tell them apart, else as they are called."""
    known = registry.load()
    roles = [None if is_mixture(reference) else known.find(reference).role for reference in references]
    told = [role for role in roles if role]
    return told if len(set(told)) == len(references) else references


DEFAULT_PAIR = "tiny"  # ships with llamadiv


def resolve_pair(name: str) -> tuple[str, str]:
    """The references of base and aligned. Raises UnknownName, RegistryError."""
    pair = registry.load().pair(name)
    return pair.base, pair.aligned


def resolve_arms(pair: str | None, base: str | None, aligned: str | None) -> tuple[str, str]:
    """The references of base and aligned, of DEFAULT_PAIR where none is named. Raises BadUsage, UnknownName."""
    if base is None and aligned is None:
        return resolve_pair(pair or DEFAULT_PAIR)
    if pair is None and base is not None and aligned is not None:
        return base, aligned
    raise BadUsage("Name the models: either --pair NAME, or --base MODEL --aligned MODEL.")
