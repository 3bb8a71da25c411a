"""What is asked by hand: where a text is left, and what is taken there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from llama_diversity.engines import TokenPath
from llama_diversity.errors import BadUsage, BadValue, LlamadivError, UnknownName
from llama_diversity.records import Asking, ModelRef, Prompt
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.branch.analysis import Way
from llama_diversity.studies.sampling import Request
from llama_diversity.studies.session import Session
from llama_diversity.studies.viewed import Origin
from llama_diversity.studies.words import template_words


class ModelChanged(LlamadivError):
    """A stored text cannot be gone on with by other weights than those that it is of."""

    def __init__(self, reference: str, run: str, *, then: str, now: str) -> None:
        super().__init__(
            f"{reference} is not the model of run {run} any more: its digest was {then[:12]}, and is {now[:12]} now. "
            "Name the file that it was by a path, or draw the run again."
        )


# ---- where


@dataclass(frozen=True)
class Place:
    """A model, a prompt as it reads it, the tokens of a text behind that, and the options that name all this."""

    model: ModelRef
    prompt: Prompt
    text: TokenPath
    words: tuple[str, ...]
    is_stored: bool = False  # the text is a sample, which a way can leave anywhere
    n_typed: int = 0  # of a typed text, tokens of it that are the prompt's

    @property
    def model_words(self) -> tuple[str, ...]:
        """The model as an option of a command line; a stored sample names it."""
        return () if self.is_stored else ("-m", self.model.reference)


def place_of(
    reference: str | None,
    request: Request | None,
    stored: tuple[str, str | None, int] | None,
    *,
    at: int | None,
    asking: Asking,
    session: Session,
) -> Place:
    """What is to be left: a prompt for a model, or a stored sample by run, arm and number. Raises BadUsage, theirs."""
    if (request is None) == (stored is None):
        raise BadUsage("Name what to leave: a prompt (-m MODEL -p TEXT), or a stored sample (--run RUN --sample I).")
    if stored is not None:
        return stored_place(*stored, session)
    assert request is not None
    if reference is None:
        raise BadUsage("A prompt needs a model: add -m MODEL.")
    return typed_place(session.model(reference), request, asking, at, session)


def typed_place(model: ModelRef, request: Request, asking: Asking, at: int | None, session: Session) -> Place:
    """Behind a prompt; with `at` behind its first so many tokens: the rest of it is the text.

    Raises BadValue, TemplateError, and what a model raises.
    """
    words = ["-p", request.text, *(["--chat"] if request.chat else [])]
    words += ["--system", request.system] if request.system is not None else []
    words += template_words(request.template_args)
    with session.reading(model) as engine:
        prompt, _ = request.of(engine, asking, session)
        if at is None:
            return Place(model, prompt, (), tuple(words))
        if prompt.mode != "raw" or prompt.others:
            raise BadValue("--at", at, "it counts the tokens of a raw prompt; leave it out")
        n_start = len(engine.start(asking).ids)
        n = len(prompt.ids) - n_start
        if not 0 <= at <= n or not n_start + at:
            raise BadValue("--at", at, f"the prompt has {n} tokens: 0 to {n}, and something must be left of it")
        text = prompt.ids[n_start + at :]
        rest = b"".join(engine.piece(token).bytes for token in text).decode("utf-8", "surrogateescape")
    kept = dataclasses.replace(
        prompt, ids=prompt.ids[: n_start + at], text=_before(prompt.text, rest), rendered=_before(prompt.rendered, rest)
    )
    return Place(model, kept, text, (*words, "--at", str(at)), n_typed=at)


def place_of_origin(origin: Origin, session: Session) -> Place:
    """What a text is from, so that it can be left anywhere. Raises what `typed_place` and `stored_place` raise."""
    if origin.run:
        return stored_place(origin.run, origin.arm, origin.number, session)
    model = session.model(origin.model)
    with session.reading(model) as engine:
        n_least = 0 if engine.start(origin.asking).ids else 1  # something has to be before what is left
    return typed_place(model, Request(origin.text), origin.asking, n_least, session)


def _before(text: str, rest: str) -> str:
    """A text without its end, which may have a blank more at its start than the text."""
    return text[: max(0, len(text) - len(rest))]


def stored_place(run_name: str, arm: str | None, index: int, session: Session) -> Place:
    """Behind the prompt of a stored sample, whose tokens are the text. Raises UnknownName, BadValue, ModelChanged."""
    with Store.open(session.store, read_only=True) as store:
        run = store.run(run_name)
        cell = cell_called(run, arm)
        recipe, sample = store.recipe(cell.recipe_key), store.sample(cell.recipe_key, index)
        ids = tuple(sample.tokens["id"].tolist())
    model = unchanged(run, cell, recipe.model_digest, session)
    with session.reading(model) as engine:
        text = ids[:-1] if ids and ids[-1] in engine.ends else ids
    words = ("--run", run.id, "--arm", cell.arm, "--sample", str(index))
    return Place(model, recipe.prompt, text, words, is_stored=True)


def cell_called(run: Run, arm: str | None) -> RunCell:
    """A cell of a run by its arm, the first one where none is named. Raises BadValue, UnknownName."""
    cells = {cell.arm: cell for cell in reversed(run.cells)}
    if not cells:
        raise BadValue("--run", run.id, "this run has no samples yet")
    if arm is None:
        return run.cells[0]
    if arm not in cells:
        raise UnknownName("arm", arm, cells, list_command=f"llamadiv runs show {run.id}")
    return cells[arm]


def unchanged(run: Run, cell: RunCell, digest: str, session: Session) -> ModelRef:
    """The model of a cell, if it is here and is what it was. Raises ModelChanged, and what a model raises."""
    model = session.model(cell.reference)
    with session.reading(model) as engine:
        now = engine.facts.digest
    if now != digest:
        raise ModelChanged(cell.reference, run.id, then=digest, now=now)
    return model


# ---- what is taken


class Ids(NamedTuple):
    """A way by token ids: what stays of a text, what is taken, and what the text said there."""

    stem: TokenPath
    taken: TokenPath
    said: int | None = None

    @classmethod
    def of(cls, way: Way) -> Ids:
        """Those of a way."""
        stem, taken = (tuple(one.id for one in some) for some in (way.stem, way.taken))
        return cls(stem, taken, None if way.said is None else way.said.id)

    @property
    def word(self) -> str:
        """As the command line has it.

        >>> Ids((5, 31), (7,)).word, Ids((), (), 9).word
        ('5,31:7', '::9')
        """
        parts = [",".join(map(str, some)) for some in (self.stem, self.taken)]
        return ":".join([*parts, *([] if self.said is None else [str(self.said)])])


@dataclass(frozen=True)
class Taking:
    """What is taken behind the first `at` tokens of the text: texts, and the likeliest tokens; and ways by their ids.

    With `goes_on` the text is also left to the model there as it is.
    """

    at: int = 0
    thens: tuple[str, ...] = ()
    n_likeliest: int = 0
    ways: tuple[Ids, ...] = ()
    goes_on: bool = True

    def words(self) -> tuple[str, ...]:
        """The same as options of a command line."""
        found = [word for one in self.thens for word in ("--then", one)]
        found += ["--top", str(self.n_likeliest)] if self.n_likeliest else []
        found += [word for one in self.ways for word in ("--way", one.word)]
        return (*found, *([] if self.goes_on else ["--only"]))


def parse_way(word: str) -> Ids:
    """The inverse of `Ids.word`. Raises BadValue."""
    parts = [[one for one in part.split(",") if one] for part in word.split(":")]
    is_right = len(parts) in (2, 3) and all(one.isdecimal() for part in parts for one in part)
    if not is_right or len(parts[2:] and parts[2]) > 1:
        raise BadValue("--way", word, "write STEM:TAKEN or STEM:TAKEN:SAID, token ids with commas between, like 5,31:7")
    stem, taken, *said = (tuple(map(int, part)) for part in parts)
    return Ids(stem, taken, said[0][0] if said and said[0] else None)
