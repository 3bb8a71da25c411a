"""A stored run to look through: what was asked, who answered, and each sample read from the store when it is looked at.

It keeps numbers of samples and no sample; of a run of a hundred thousand that is a few hundred kilobytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.answers import Reader
from llama_diversity.records import Piece, Recipe, Sample, seen_ids, without_number
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.subjects import vocabulary_name
from llama_diversity.studies.viewed import Arranging, Keys, Origin, Row, Text, Told

ENDINGS = {"length": "cut off at its longest length", "stop": "ended"}
WAIT_S = 2.0  # for another process that has the store locked: somebody is looking at a screen


LISTED_BYTES = 400  # of a sample's text, in a list
_AT_ONCE = 200  # samples between two words of progress
_WHOLE = 1 << 30  # bytes of a text
_MOST_PIECES, _MOST_RECIPES = 50_000, 200  # that are kept in memory
_BITS, _MASK = 32, 2**32 - 1


def key_of(place: int, index: Keys) -> Keys:
    """The key of a sample in an arm: its cell's place there, and its number within the cell."""
    return (place << _BITS) + index


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

    panels: Sequence[str] = ("list", "map")
    arranger: Arranging | None = None  # what brings its samples into other orders, where somebody wants that

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.run = store.run(name)
        self.title = f"run {self.run.id}"
        self._questions: list[Question] = []
        self._rows: dict[tuple[int, int], Keys] = {}
        self._version = -1
        self._recipes: dict[str, Recipe] = {}  # by key, which says what is in it
        self._pieces: dict[str, dict[int, Piece]] = {}  # by digest of the vocabulary
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

    def rows(self, question: int, arm: int) -> Keys:
        """The keys of an arm's stored samples, ascending: which cell, and the number within it; see `key_of`."""
        if (question, arm) not in self._rows:
            cells = self._questions[question].arms[arm].cells
            found = [
                key_of(at, np.array(self.store.indices(cell.recipe_key, cell.n), np.int64))
                for at, cell in enumerate(cells)
            ]
            self._rows[question, arm] = np.concatenate(found) if found else np.zeros(0, np.int64)
        return self._rows[question, arm]

    def by_cell(self, question: int, arm: int, keys: Keys) -> Iterator[tuple[RunCell, Keys, list[int]]]:
        """The cells that samples belong to: of each the places in `keys` and the numbers of its samples."""
        places, cells = keys >> _BITS, self._questions[question].arms[arm].cells
        for place in np.unique(places).tolist():
            at = np.flatnonzero(places == place)
            yield cells[place], at, (keys[at] & _MASK).tolist()

    def text(self, question: int, arm: int, row: int) -> Text:
        """A sample with its tokens. Raises what a store raises."""
        key = int(self.rows(question, arm)[row])
        asked = self._questions[question].arms[arm]
        cell, index = asked.cells[key >> _BITS], key & _MASK
        sample = self.store.sample(cell.recipe_key, index)
        return self._text(asked, cell, sample, number=row if len(asked.cells) > 1 else index)

    def _text(self, arm: Arm, cell: RunCell, sample: Sample, *, number: int) -> Text:
        recipe = self._recipe(cell.recipe_key)
        return Text(
            arm=arm.name,
            model=cell.reference,
            tokens=sample.tokens,
            pieces=self._spelled(recipe.vocab_digest, seen_ids(sample.tokens)),
            vocabulary=vocabulary_name(cell.about.get("model", {}).get("n_vocab", "?"), recipe.vocab_digest),
            heading=f"sample {number}",
            prompt=recipe.prompt.rendered,
            ending=ENDINGS.get(sample.finish_reason, sample.finish_reason),
            beside=sample.beside,
            bounds=sample.bounds,
            is_drawn=True,
        )

    def _recipe(self, key: str) -> Recipe:
        """The recipe, which is read once."""
        if key not in self._recipes:
            if len(self._recipes) >= _MOST_RECIPES:
                self._recipes.clear()
            self._recipes[key] = self.store.recipe(key)
        return self._recipes[key]

    def _spelled(self, vocab_digest: str, ids: Iterable[int]) -> dict[int, Piece]:
        """The stored pieces among `ids`; each is read once."""
        known = self._pieces.setdefault(vocab_digest, self.store.pieces(vocab_digest, ()))
        missing = set(ids) - known.keys()
        if missing:
            if len(known) > _MOST_PIECES:  # a text in view keeps its own
                known = self._pieces[vocab_digest] = self.store.pieces(vocab_digest, ())
                missing = set(ids)
            known.update(self.store.pieces(vocab_digest, missing))
        return known

    def partner(self, question: int, arm: int, row: int, other: int) -> int | None:
        """The row of another arm whose sample has the same number of an ask of the same place."""
        wanted, theirs = self.rows(question, arm)[row], self.rows(question, other)
        at = int(np.searchsorted(theirs, wanted))
        return at if at < len(theirs) and theirs[at] == wanted else None

    def listed(self, question: int, arm: int, rows: Sequence[int]) -> list[Row]:
        """What a list says of these rows. Raises what a store raises."""
        found: dict[int, Row] = {}
        keys = self.rows(question, arm)[np.asarray(rows, np.int64)] if len(rows) else np.zeros(0, np.int64)
        for cell, places, numbers in self.by_cell(question, arm, keys):
            glances = self.store.glances(cell.recipe_key, numbers, LISTED_BYTES)
            sums = self.store.sums(cell.recipe_key, numbers)
            for at, number in zip(places.tolist(), numbers, strict=True):
                if number in glances and number in sums:  # else it was removed just now
                    one, sum_of = glances[number], sums[number]
                    said = one.text.decode("utf-8", "replace")
                    found[at] = Row(rows[at], number, one.n_tokens, one.finish_reason, said, sum_of.bits)
        return [found[at] for at in sorted(found)]

    def rows_of(self, question: int, arm: int, keys: Keys) -> list[int]:
        """The rows of these samples, in their order; of those that are not there any more none."""
        mine = self.rows(question, arm)
        at = np.searchsorted(mine, keys)
        there = at < len(mine)
        there[there] = mine[at[there]] == keys[there]
        found: list[int] = at[there].tolist()
        return found

    def texts(self, question: int, arm: int, told: Told) -> Iterator[tuple[int, bytes]]:
        """Row and text of all samples of an arm that can be read, in order, some in memory at a time."""
        keys = self.rows(question, arm)
        for start in range(0, len(keys), _AT_ONCE):
            some: dict[int, bytes] = {}
            for cell, places, numbers in self.by_cell(question, arm, keys[start : start + _AT_ONCE]):
                glances = self.store.glances(cell.recipe_key, numbers, _WHOLE)
                found = zip(places.tolist(), numbers, strict=True)
                some.update({start + at: glances[number].text for at, number in found if number in glances})
            yield from sorted(some.items())
            told(min(1.0, (start + _AT_ONCE) / len(keys)))

    def answers(self, question: int, arm: int, most: int) -> Iterator[str]:
        """What the first samples of an arm answer, thoughts left out, in order."""
        for cell, _, numbers in self.by_cell(question, arm, self.rows(question, arm)[:most]):
            recipe = self.store.recipe(cell.recipe_key)
            pieces = functools.partial(self.store.pieces, recipe.vocab_digest)
            reader = Reader(recipe.prompt, self.store.controls(recipe.vocab_digest), pieces)
            for number in numbers:
                yield reader.read(self.store.sample(cell.recipe_key, number)).text

    def origin(self, question: int, arm: int, row: int) -> Origin:
        """The sample, by its run."""
        key = int(self.rows(question, arm)[row])
        cell = self._questions[question].arms[arm].cells[key >> _BITS]
        return Origin(cell.reference, run=self.run.id, arm=cell.arm, number=key & _MASK)

    def refresh(self) -> bool:
        """Whether another process has written since; then what is known of the run is read anew."""
        version = self.store.version()
        if version == self._version:
            return False
        self._version = version
        self.run = self.store.run(self.run.id)
        self._questions = questions_of(self.store, self.run)
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
