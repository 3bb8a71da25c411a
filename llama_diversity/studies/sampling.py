"""Many completions of one prompt: drawn, kept, and handed on in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from llama_diversity.answers import Answer, Reader
from llama_diversity.decimals import counted
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue
from llama_diversity.records import MAX_SAMPLES, Asking, Cell, ModelRef, Piece, Prompt, Sample, seen_ids
from llama_diversity.render.jsonl import sample_object
from llama_diversity.store import Store
from llama_diversity.studies import selfcheck
from llama_diversity.studies.drawing import Drawing, draw_alone, in_order, plan_cell, start_run
from llama_diversity.studies.session import Session
from llama_diversity.studies.words import start_words


@dataclass(frozen=True)
class Request:
    """What is asked, and how: raw, or through the model's own chat template."""

    text: str
    chat: bool = False
    system: str | None = None
    template_args: str | None = None

    def of(self, engine: Engine, asking: Asking, session: Session) -> Rendered:
        """The prompt as the model sees it. Raises TemplateError, BadValue."""
        prompt = engine.prompt(
            self.text, chat=self.chat, system=self.system, template_args=self.template_args, asking=asking
        )
        if prompt.mode != "raw":
            return Rendered(prompt, None)
        session.note_unknown_start(engine, asking)
        return Rendered(prompt, engine.start(asking).text)


class Rendered(NamedTuple):
    """A prompt, and what a raw one begins with, as it is spelled; None for one of a template."""

    prompt: Prompt
    start: str | None


def rendered(model: ModelRef, request: Request, asking: Asking, session: Session) -> Rendered:
    """The prompt as the model sees it, without its weights."""
    with session.reading(model) as engine:
        return request.of(engine, asking, session)


class Sampling:
    """The samples of one cell: those that are stored and those that are drawn, by index, while the store is open."""

    def __init__(
        self, cell: Cell, start: str | None, store: Store, run: str, drawn: Iterator[Sample], session: Session
    ) -> None:
        self.cell, self.start, self.run = cell, start, run
        self._store, self._drawn, self._session = store, drawn, session

    def __iter__(self) -> Iterator[Sample]:
        yield from in_order(self.cell, self._store, self._drawn)
        selfcheck.check([self.cell], self._store, self._session)
        self._store.finish_run(self.run)

    @property
    def words(self) -> str:
        """How many there are, of what, and how they are drawn."""
        cell = self.cell
        bounds = "" if cell.recipe.grammar is None else " within the grammar"
        begins = "" if self.start is None else f", behind {start_words(self.start)}"
        drawn = f"seed {cell.recipe.seed}"
        if cell.recipe.sampler.is_greedy:
            drawn = "the likeliest token each time" + (", so all are alike" if cell.n > 1 else "")
        if cell.recipe.arithmetic is not None:
            drawn += "; one set by arithmetic codes, spread out on purpose: no estimate of the model's diversity"
        return f"{counted(cell.n, 'sample')} of {cell.reference}{bounds}{begins}, {drawn}"

    def pieces(self, sample: Sample) -> dict[int, Piece]:
        """What each token of it says, and the likeliest others."""
        return self._store.pieces(self.cell.recipe.vocab_digest, seen_ids(sample.tokens))

    def to_dict(self, sample: Sample) -> dict[str, Any]:
        """One of them as JSON has it."""
        is_neutral = self.cell.recipe.is_neutral
        return sample_object(sample, self.pieces(sample), neutral=is_neutral, answer=self.answer(sample))

    def answer(self, sample: Sample) -> Answer:
        """What it answers, thoughts left out."""
        pieces: Mapping[int, Piece] = self.pieces(sample)
        controls = {token: piece.control for token, piece in pieces.items() if piece.control is not None}
        return Reader(self.cell.recipe.prompt, controls, lambda ids: pieces).read(sample)


def grammar_of(file: BinaryIO) -> str:
    """The grammar in an open file. Raises BadValue."""
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise BadValue("--grammar", file.name, "it must be a file of UTF-8 text") from error


def check_n(n: int) -> None:
    """Raises BadValue for more samples of one prompt than the store numbers."""
    if not 1 <= n <= MAX_SAMPLES:
        raise BadValue("-n", n, f"ask for 1 to {MAX_SAMPLES:,} samples")


@contextlib.contextmanager
def sampling(
    model: ModelRef,
    request: Request,
    *,
    n: int,
    max_tokens: int,
    drawing: Drawing,
    session: Session,
    stop: Sequence[str] = (),
    grammar: str | None = None,
) -> Iterator[Sampling]:
    """`n` samples of what is asked; those that are missing are drawn while one goes through them.

    Raises BadValue, PromptTooLong, and what engines and the store raise.
    """
    check_n(n)
    with Store.open(session.store) as store, session.opened(model) as engine:
        prompt, start = request.of(engine, drawing.asking, session)
        cell = plan_cell(
            engine,
            model,
            prompt,
            arm="sample",
            n=n,
            max_tokens=max_tokens,
            drawing=drawing,
            layout=session.layout,
            stop=stop,
            grammar=grammar,
        )
        run = start_run(store, session)
        yield Sampling(cell, start, store, run, draw_alone(cell, engine, store, run, session), session)
