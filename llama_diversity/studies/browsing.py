"""A stored run to look through: what was asked, who answered, and each sample read from the store when it is looked at.

It keeps numbers of samples and no sample; of a run of a hundred thousand that is a few hundred kilobytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llama_diversity.records import Asking, ModelRef, Sample, seen_ids, without_number
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.session import Session
from llama_diversity.studies.subjects import Subject, read_subjects, vocabulary_name
from llama_diversity.studies.viewed import Origin, ScoredTexts, Source, Text

ENDINGS = {"length": "cut off at its longest length", "stop": "ended"}
WAIT_S = 2.0  # for another process that has the store locked: somebody is looking at a screen


class Arm(NamedTuple):
    """One arm's answers to one question: a cell, or one of each of many asks that differ in words alone."""

    name: str
    cells: tuple[RunCell, ...]


class Question(NamedTuple):
    """What was asked, and the arms that answered it."""

    words: str
    arms: tuple[Arm, ...]


class StoredRun:
    """The samples of a run, by question and arm."""

    panels: Sequence[str] = ()

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._run = store.run(name)
        self.title = f"run {self._run.id}"
        self._questions: list[Question] = []
        self._rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._version = -1
        self.refresh()

    @property
    def questions(self) -> Sequence[str]:
        """The prompts, in the order in which they were asked."""
        return [one.words for one in self._questions]

    def arms(self, question: int) -> Sequence[str]:
        """The arms that were asked it."""
        return [arm.name for arm in self._questions[question].arms] if self._questions else []

    def n_rows(self, question: int, arm: int) -> int:
        """How many samples of an arm are stored."""
        return len(self.rows(question, arm))

    def rows(self, question: int, arm: int) -> list[tuple[int, int]]:
        """Of each stored sample of an arm the number of its cell, and its own within the cell."""
        if (question, arm) not in self._rows:
            cells = self._questions[question].arms[arm].cells
            self._rows[question, arm] = [
                (at, index) for at, cell in enumerate(cells) for index in self._store.indices(cell.recipe_key, cell.n)
            ]
        return self._rows[question, arm]

    def text(self, question: int, arm: int, row: int) -> Text:
        """A sample with its tokens. Raises what a store raises."""
        place, index = self.rows(question, arm)[row]
        asked = self._questions[question].arms[arm]
        cell = asked.cells[place]
        sample = self._store.sample(cell.recipe_key, index)
        return self._text(asked, cell, sample, number=row if len(asked.cells) > 1 else index)

    def _text(self, arm: Arm, cell: RunCell, sample: Sample, *, number: int) -> Text:
        recipe = self._store.recipe(cell.recipe_key)
        return Text(
            arm=arm.name,
            model=cell.reference,
            tokens=sample.tokens,
            pieces=self._store.pieces(recipe.vocab_digest, seen_ids(sample.tokens)),
            vocabulary=vocabulary_name(cell.about.get("model", {}).get("n_vocab", "?"), recipe.vocab_digest),
            heading=f"sample {number}",
            prompt=recipe.prompt.rendered,
            ending=ENDINGS.get(sample.finish_reason, sample.finish_reason),
            beside=sample.beside,
            bounds=sample.bounds,
            is_drawn=True,
        )

    def partner(self, question: int, arm: int, row: int, other: int) -> int | None:
        """The row of another arm whose sample has the same number of an ask of the same place."""
        wanted = self.rows(question, arm)[row]
        theirs = self.rows(question, other)
        if row < len(theirs) and theirs[row] == wanted:  # where nothing is missing
            return row
        with contextlib.suppress(ValueError):
            return theirs.index(wanted)
        return None

    def origin(self, question: int, arm: int, row: int) -> Origin:
        """The sample, by its run."""
        place, index = self.rows(question, arm)[row]
        cell = self._questions[question].arms[arm].cells[place]
        return Origin(cell.reference, run=self._run.id, arm=cell.arm, number=index)

    def refresh(self) -> bool:
        """Whether another process has written since; then what is known of the run is read anew."""
        version = self._store.version()
        if version == self._version:
            return False
        self._version = version
        self._run = self._store.run(self._run.id)
        self._questions = questions_of(self._store, self._run)
        self._rows.clear()
        return True


def questions_of(store: Store, run: Run) -> list[Question]:
    """The cells of a run by what they ask: side by side stand arms of one prompt, and numbered asks are one arm."""
    alone = [cell for cell in run.cells if without_number(cell.arm) == cell.arm]
    prompts = store.prompts([cell.recipe_key for cell in alone])
    found: dict[tuple[str, str], dict[str, list[RunCell]]] = {}
    for cell in run.cells:
        name = without_number(cell.arm)
        key = ("of one's own", name.partition("/")[0]) if name != cell.arm else ("", prompts[cell.recipe_key])
        found.setdefault(key, {}).setdefault(name, []).append(cell)
    return [
        Question(words or kind, tuple(Arm(name, tuple(cells)) for name, cells in arms.items()))
        for (kind, words), arms in found.items()
    ]


@contextlib.contextmanager
def stored_source(run: str, session: Session) -> Iterator[Source]:
    """A run of the store, open while it is looked at. Raises UnknownName, BadValue, what a store raises."""
    with Store.open(session.store, read_only=True, timeout_s=WAIT_S) as store:
        yield StoredRun(store, run)


@contextlib.contextmanager
def scored_source(models: Sequence[ModelRef], text: str, asking: Asking, session: Session) -> Iterator[Source]:
    """A text under one model or two, which are closed by then. Raises what `read_subjects` raises."""
    yield ScoredTexts([_scored(one) for one in read_subjects(models, text, asking, session)], text, asking)


def _scored(one: Subject) -> Text:
    return Text(
        arm=one.model,
        model=one.model,
        tokens=one.tokens,
        pieces=one.pieces,
        vocabulary=one.vocabulary,
        prompt=one.start or "",
        beside=one.beside,
    )
