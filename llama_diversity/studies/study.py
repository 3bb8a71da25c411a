"""What a study is: what it asks of models, what it gathers, what it shows; and the one table of studies.

A study is a frozen dataclass whose fields JSON can hold. It reads the store and loads no model of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from llama_diversity import embed
from llama_diversity.answers import Answer, Endings, Reader
from llama_diversity.errors import BadValue, Unfit
from llama_diversity.records import Cell, Prompt, Recipe, Sample, seen_ids
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.store import RunCell, Store
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.results import Result, with_starts
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentTokens, DifferentVocabularies

STUDIES = {  # name -> module:class, in the order of a report
    "personas": "llama_diversity.studies.personas.study:Personas",
    "semantic": "llama_diversity.studies.semantic.study:Semantic",
    "syntactic": "llama_diversity.studies.syntactic.study:Syntactic",
    "perturb": "llama_diversity.studies.perturb.study:Perturb",
    "collapse": "llama_diversity.studies.collapse.study:Collapse",
    "compare": "llama_diversity.studies.compare.study:Compare",
    "decompose": "llama_diversity.studies.decompose.study:Decompose",
    "frontier": "llama_diversity.studies.frontier.study:Frontier",
    "coverage": "llama_diversity.studies.coverage.study:Coverage",
    "diff": "llama_diversity.studies.diff.study:Diff",
    "decan": "llama_diversity.studies.decan.study:Decan",
    "population": "llama_diversity.studies.population.study:Population",
    "branch": "llama_diversity.studies.branch.study:Branch",
}
STANDS_ON = {  # room -> the rooms it is made of; no other room knows a second one
    "decan": {"compare"},
    "decompose": {"compare"},
    "frontier": {"compare"},
    "demo": {"semantic", "syntactic"},
    "reframe": {"compare"},
    "valid": {"compare"},
    "perturb": {"branch"},
    "paper": {"personas", "semantic", "syntactic", "perturb", "collapse"},
    "suggest": {"paper"},
}

MOST_ANALYSED = 100_000  # samples of an arm, over all that it is asked: an analysis has them in memory together


class NoAnswer(Unfit):
    """All outputs of an arm are thoughts that were never closed."""

    def __init__(self, arm: str, endings: Endings) -> None:
        why = "; ".join(f"{reason} ({n})" for reason, n in endings.reasons.items())
        super().__init__(
            f"None of the {endings.n} outputs of {arm} answers anything: {why}. Raise --max-tokens where the "
            "command has it, or name a model that does not think."
        )


class Ask(NamedTuple):
    """What one arm is asked `n` times; the label tells it from the study's other asks."""

    label: str
    arm: str
    text: str
    n: int
    max_tokens: int
    is_shortened: bool = False  # to what the model's context has room for; else too much is an error
    is_chat: bool = False
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    system: str | None = None
    template_args: str | None = None
    sampler: Mapping[str, float] | None = None  # fields of the sampler in place of the typed ones
    asking: Mapping[str, Any] | None = None  # fields of Asking in place of the typed ones
    prompt: Prompt | None = None  # as it is, in place of the text: that is for a reader only
    # None: the typed seed. Else one of its own by model, prompt and sampler, wherever the ask stands among others;
    # repeats have other numbers.
    repeat: int | None = None


class Method(NamedTuple):
    """What a paper says of how a study measures, by its settings: sentences, and of each measure one clause.

    `rests_on`: of "encoder" and "vader" what it uses.
    """

    design: str = ""
    measures: Mapping[str, str] = MappingProxyType({})
    intervals: str = ""
    correction: str = ""
    rules: str = ""  # what is left out or refused
    rests_on: tuple[str, ...] = ()


class Study(ABC):
    """One study with its settings: a frozen dataclass whose fields JSON can hold."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs_encoder: ClassVar[bool] = True
    needs_one_vocabulary: ClassVar[bool] = False
    shows_parts: ClassVar[bool] = False  # something even before `asks_next` has asked all
    least: ClassVar[int] = 1  # samples of each ask that can be analysed

    def check_settings(self) -> None:  # noqa: B027  many have nothing to refuse
        """Refuse, before anything is opened, what no model could be asked. Raises BadValue."""

    def check_arms(self, arms: Sequence[Arm], drawing: Drawing, session: Session) -> None:  # noqa: B027
        """Refuse, before any sampling, what takes more than the cells to see."""

    @abstractmethod
    def options(self) -> list[str]:
        """The settings as options of its command, where they differ from the defaults."""

    def differing(self, names: Mapping[str, str]) -> list[str]:
        """Options and values of the fields, by their options, that are not what the class has by default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        changed = {
            option: getattr(self, name) for option, name in names.items() if getattr(self, name) != defaults[name]
        }
        return [word for option, value in changed.items() for word in (option, str(value))]

    @abstractmethod
    def asks(self, arms: Sequence[str]) -> list[Ask]:
        """What the arms are asked, the base first."""

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        """What they are asked once all asked so far is there, under new labels; asked again until that is nothing.

        Of a stored run it is asked too, to see whether the run was cut short between two rounds. Raises Unfit where
        these samples leave nothing to ask.
        """
        return []

    def so_far(self, drawn: Drawn) -> str:
        """What the samples so far are good for, in a few words beside the progress of the next; empty for nothing."""
        return ""

    def least_of(self, label: str) -> int:
        """How many samples of an ask can be analysed."""
        return self.least

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse, before any sampling, what could not be compared afterwards; a cell's arm is its ask's label here."""
        for cell in cells[1:] if self.needs_one_vocabulary else []:
            if cell.recipe.vocab_digest != cells[0].recipe.vocab_digest:
                raise DifferentVocabularies(cells[0].reference, cell.reference)
            if cell.recipe.prompt.ids != cells[0].recipe.prompt.ids:
                raise DifferentTokens(
                    cells[0].reference, cell.reference, cells[0].recipe.prompt.ids, cell.recipe.prompt.ids
                )

    @abstractmethod
    def show(self, drawn: Drawn) -> Result:
        """The result for a reader, from what is stored."""

    def shown(self, drawn: Drawn) -> Result:
        """The same, and what raw prompts began with."""
        return with_starts(self.show(drawn), drawn.starts())

    def attracted(self, drawn: Drawn, label: str) -> Mapping[int, int]:
        """Of the samples of an ask, by index, the attractor that each lies within the reach of, -1 for none.

        Nothing where the study knows of no attractors.
        """
        return {}

    def method(self) -> Method:
        """What `llamadiv methods` says of it."""
        return Method()

    def prompt_origin(self) -> Mapping[str, str]:
        """Where the prompts are from, as `Prompts.source` has it; nothing where they were typed or are its own."""
        return {}

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every study is a dataclass

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Study:
        """The inverse of `settings`, after JSON."""
        return cls(**settings)


@dataclass(frozen=True)
class Drawn:
    """What is stored of one study: reads the store, loads no model."""

    arms: Mapping[str, str]  # arm -> model
    command: str
    unfit: str  # why these models cannot have the study; empty where they can
    cells: Mapping[str, RunCell]  # by label
    store: Store
    place: embed.Place | None
    session: Session

    def recipe(self, label: str) -> Recipe:
        """The recipe of an ask."""
        return self.store.recipe(self.cells[label].recipe_key)

    def stream(self, label: str) -> Iterator[Sample]:
        """Its samples, in order, a few in memory at a time."""
        return self.store.samples(self.cells[label].recipe_key, self.cells[label].n)

    def samples(self, label: str) -> list[Sample]:
        """All of them."""
        return list(self.stream(label))

    def read(self, label: str) -> Iterator[tuple[Sample, Answer]]:
        """Each with what it answers, thoughts left out, a few in memory at a time."""
        reader = self._reader(label)
        return ((sample, reader.read(sample)) for sample in self.stream(label))

    def answering(self, label: str) -> Iterator[Answer]:
        """What they answer, thoughts left out, a few in memory at a time."""
        return (answer for _, answer in self.read(label))

    def answers(self, label: str) -> list[Answer]:
        """All of it."""
        return list(self.answering(label))

    def answered(self, label: str) -> Iterator[Sample]:
        """Those that answer, with the text and the tokens of the answer alone. Raises NoAnswer where none does."""
        is_any = False
        for sample, answer in self.read(label):
            if not answer.is_thinking and len(answer.tokens):
                is_any = True
                yield dataclasses.replace(sample, text=answer.data, tokens=answer.tokens)
        if not is_any:
            raise NoAnswer(label, self.endings(label))

    def endings(self, label: str) -> Endings:
        """How they end, and why how many answer nothing."""
        answers = self.answers(label)
        return Endings.of(answers, [one.flaw for one in answers])

    def _reader(self, label: str) -> Reader:
        recipe = self.recipe(label)
        pieces = functools.partial(self.store.pieces, recipe.vocab_digest)
        return Reader(recipe.prompt, self.store.controls(recipe.vocab_digest), pieces)

    def first_tokens(self, label: str, n: int) -> tuple[ScoredToken, ...]:
        """The first `n` tokens of the first answer."""
        sample = next(self.answered(label))
        tokens = sample.tokens[:n]
        return scored_tokens(tokens, self.store.pieces(self.recipe(label).vocab_digest, seen_ids(tokens)).__getitem__)

    def embedded(self, texts: Mapping[str, Sequence[str]]) -> dict[str, embed.Embedded]:
        """The vectors of texts, with a progress line while they are made."""
        with self.session.listener.working("embedding") as show:
            encoder = self.encoder()
            return {name: encoder.embed(some, on_progress=show) for name, some in texts.items()}

    def encoder(self) -> embed.Encoder:
        """What makes vectors of texts, for who embeds some at a time."""
        assert self.place is not None
        return embed.Encoder(self.place, self.session.listener.say)

    def starts(self) -> dict[str, list[str]]:
        """What the raw prompts of each model began with, as it is spelled."""
        found: dict[str, dict[str, None]] = {}
        for label, cell in self.cells.items():
            prompt = self.recipe(label).prompt
            if prompt.mode == "raw":
                found.setdefault(cell.reference, {})[start_of(prompt, cell)] = None
        return {model: list(starts) for model, starts in found.items()}

    def digest(self) -> str:
        """Of what was asked for: of each label the recipe (weights, prompt, sampler, seed) and how many samples.

        Two results with one digest and one `code` are of the same samples, measured alike.
        """
        asked = [[label, cell.recipe_key, cell.n] for label, cell in sorted(self.cells.items())]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def n_stored(self, label: str) -> int:
        """How many samples of an ask there are."""
        return self.store.counts(self.cells[label].recipe_key, self.cells[label].n).n_samples

    def lacks(self) -> dict[str, int]:
        """How many samples are missing, by label, where some are."""
        n_stored = self.store.counted([(cell.recipe_key, cell.n) for cell in self.cells.values()])
        counted = {label: cell.n - n for (label, cell), n in zip(self.cells.items(), n_stored, strict=True)}
        return {label: n for label, n in counted.items() if n}


def start_of(prompt: Prompt, cell: RunCell) -> str:
    """What a raw prompt begins with, as it is spelled; by the plain rule the BOS where the model wants one."""
    model = cell.about.get("model", {})
    usual = str(model.get("start", "BOS")) if model.get("adds_bos") else ""
    return usual if prompt.start is None else prompt.start


def check_n(n: int, least: int, noun: str) -> None:
    """Raises BadValue for too few or more than can be analysed together."""
    if not least <= n <= MOST_ANALYSED:
        raise BadValue("-n", n, f"ask for {least} to {MOST_ANALYSED:,} {noun}")
