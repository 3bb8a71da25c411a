"""The sample store: one SQLite file that keeps every sample under its recipe and index.

It knows SQL, the form in which token statistics lie on disk, and which run asked for which samples; docs/store.md
describes the file for other tools. It knows nothing of engines, experiments or terminals, and computes no number.

Which samples exist is always a query, never a flag, and a sample never changes: of two writers of the same index the
first one wins, silently. Several processes may read and write one store at the same time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from llama_diversity.errors import BadValue, StoreDamaged, StoreError, UnknownName
from llama_diversity.records import Cell, Piece, Recipe, Sample
from llama_diversity.store.glances import Glances
from llama_diversity.store.statistics import pack_statistics, unpack_statistics
from llama_diversity.storefile import LAST_RUN, open_file, read_only_address, translated

_SAMPLES_AT_ONCE = 32  # read in one query: bounds the memory, and no read transaction stays open between queries
_IDS_AT_ONCE = 500  # SQLite's oldest limit is 999 variables a statement, and 500 rows of VALUES
_PAIRS_AT_ONCE = 400


@dataclass(frozen=True)
class RunCell:
    """What a run asked of one recipe: samples 0..n-1 of `recipe_key` for `arm`, on the model called `reference`."""

    arm: str
    reference: str
    recipe_key: str
    n: int
    about: Mapping[str, Any]  # what the engine said of the model and of how it laid out the work


@dataclass(frozen=True)
class Run:
    """One command that drew samples: when, what was typed, under which versions, and its cells in order."""

    id: str
    started: datetime
    finished: datetime | None
    command: tuple[str, ...]
    about: Mapping[str, Any]
    cells: tuple[RunCell, ...]


class Counts(NamedTuple):
    """How much of a recipe is stored."""

    n_samples: int
    n_tokens: int


class Merged(NamedTuple):
    """What a merge brought: new samples, samples that were here already, new runs."""

    n_samples: int
    n_known: int
    n_runs: int


class Store(Glances):
    """An open sample store; a context manager. Every method raises a StoreError when the file cannot be used."""

    def __init__(self, path: Path, connection: sqlite3.Connection, timeout_s: float) -> None:
        self.path = path
        self._connection = connection
        self._timeout_s = timeout_s

    @classmethod
    def open(cls, path: Path, read_only: bool = False, *, timeout_s: float = 30.0) -> Store:  # noqa: FBT001  as in open(2)
        """Open the store at `path`, made on the way unless `read_only`; wait up to `timeout_s` for other writers."""
        connection = open_file(path, read_only=read_only, timeout_s=timeout_s)
        return cls(path, connection, timeout_s)

    def close(self) -> None:
        """Close the file; the last process to do so folds the write-ahead log into it."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- samples

    def missing(self, recipe_key: str, n: int) -> Sequence[int]:
        """Those of the indices 0..n-1 that are not stored yet, ascending; a range where none is, which takes no room.

        Raises BadValue on an absurd `n`.
        """
        try:
            is_stored = bytearray(n)
        except (MemoryError, OverflowError) as error:
            raise BadValue("-n", n, "so many samples do not even fit into memory as numbers") from error
        rows = self._rows(
            "SELECT idx FROM samples JOIN recipes ON recipe = number WHERE key = ? AND idx < ?", recipe_key, n
        )
        for (index,) in rows:
            if not (isinstance(index, int) and index >= 0):
                raise StoreDamaged(self.path, f"recipe {recipe_key} has a sample {index!r}")
            is_stored[index] = 1
        return [index for index in range(n) if not is_stored[index]] if any(is_stored) else range(n)

    def counts(self, recipe_key: str, n: int | None = None) -> Counts:
        """How many samples (of the first `n`) are stored, and their tokens."""
        [row] = self._rows(
            "SELECT count(*), coalesce(sum(n_tokens), 0) FROM samples JOIN recipes ON recipe = number"
            " WHERE key = ? AND idx < ?",
            recipe_key,
            _bound(n),
        )
        return Counts(*row)

    def counted(self, asked: Sequence[tuple[str, int]]) -> list[int]:
        """Of each recipe how many of its first n samples are stored, in a few queries for all."""
        found: dict[tuple[str, int], int] = {}
        different = list(dict.fromkeys(asked))
        for start in range(0, len(different), _PAIRS_AT_ONCE):
            some = different[start : start + _PAIRS_AT_ONCE]
            rows = self._rows(
                f"WITH asked (key, n) AS (VALUES {', '.join(['(?, ?)'] * len(some))})"
                " SELECT asked.key, asked.n, count(idx) FROM asked JOIN recipes USING (key)"
                " JOIN samples ON recipe = number AND idx < n GROUP BY asked.key, asked.n",
                *itertools.chain(*some),
            )
            found.update({(key, n): count for key, n, count in rows})
        return [found.get(one, 0) for one in asked]

    def add(self, samples: Sequence[Sample], run_id: str) -> list[Sample]:
        """Commit `samples` at once and return what the store now holds under their indices.

        That is the same samples, except where another process stored the index first: then its sample.
        """
        packed = [(sample, pack_statistics(sample.tokens, sample.beside, sample.bounds)) for sample in samples]
        lost: set[int] = set()
        with self._transaction():
            run = self._number("runs", "id", run_id)
            for position, (sample, statistics) in enumerate(packed):
                recipe = self._number("recipes", "key", sample.recipe_key)
                done = self._connection.execute(
                    "INSERT INTO samples (recipe, idx, run, n_tokens, finish_reason, text, statistics)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (recipe, idx) DO NOTHING",
                    (recipe, sample.index, run, len(sample.tokens), sample.finish_reason, sample.text, statistics),
                )
                if done.rowcount == 0:
                    lost.add(position)
        return [
            self.sample(sample.recipe_key, sample.index) if position in lost else sample
            for position, sample in enumerate(samples)
        ]

    def n_cut_off(self, recipe_key: str, n: int | None = None) -> int:
        """How many stored samples (of the first `n`) ended at their longest length."""
        [(found,)] = self._rows(
            "SELECT count(*) FROM samples JOIN recipes ON recipe = number"
            " WHERE key = ? AND idx < ? AND finish_reason = 'length'",
            recipe_key,
            _bound(n),
        )
        return int(found)

    def samples(self, recipe_key: str, n: int | None = None) -> Iterator[Sample]:
        """The stored samples (of the first `n`) in the order of their indices, a few in memory at a time."""
        after = -1
        while True:
            rows = self._rows(
                "SELECT idx, finish_reason, text, n_tokens, statistics FROM samples JOIN recipes ON recipe = number"
                " WHERE key = ? AND idx > ? AND idx < ? ORDER BY idx LIMIT ?",
                recipe_key,
                after,
                _bound(n),
                _SAMPLES_AT_ONCE,
            )
            for row in rows:
                yield self._sample(recipe_key, row)
            if len(rows) < _SAMPLES_AT_ONCE:
                return
            after = rows[-1][0]

    def sample(self, recipe_key: str, index: int) -> Sample:
        """One stored sample. Raises UnknownName when it is not there."""
        rows = self._rows(
            "SELECT idx, finish_reason, text, n_tokens, statistics FROM samples JOIN recipes ON recipe = number"
            " WHERE key = ? AND idx = ?",
            recipe_key,
            index,
        )
        if not rows:
            raise UnknownName("sample", f"{recipe_key}#{index}", (), list_command="llamadiv runs ls")
        return self._sample(recipe_key, rows[0])

    def recipe(self, recipe_key: str) -> Recipe:
        """The recipe with this key. Raises UnknownName."""
        rows = self._rows("SELECT canonical FROM recipes WHERE key = ?", recipe_key)
        if not rows:
            raise UnknownName("recipe", recipe_key, self.recipe_keys(), list_command="llamadiv runs ls --json")
        with self._reading(f"recipe {recipe_key}"):
            recipe = Recipe.from_json(rows[0][0])
            _require(recipe.key == recipe_key)
        return recipe

    def recipe_keys(self) -> list[str]:
        """Keys of all recipes, in the order in which they came."""
        return [key for (key,) in self._rows("SELECT key FROM recipes ORDER BY number")]

    # ---- runs

    def start_run(self, *, command: Sequence[str], about: Mapping[str, Any]) -> str:
        """Record that `command` starts now and return its id; `about` tells versions and machine, as JSON can."""
        now = datetime.now(timezone.utc)
        while True:
            run_id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            with self._transaction():
                done = self._connection.execute(
                    "INSERT INTO runs (id, started, command, about) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    (run_id, now.isoformat(timespec="microseconds"), _json(list(command)), _json(about)),
                )
            if done.rowcount:  # else that id is taken within this very second: roll again
                return run_id

    def add_cells(self, run_id: str, cells: Iterable[tuple[Cell, Mapping[str, Any]]]) -> None:
        """Record that the run asks for cells, and about the model and layout of each; said again, that replaces it."""
        with self._transaction():
            run = self._number("runs", "id", run_id)
            for cell, about in cells:
                recipe = cell.recipe
                self._connection.execute(
                    "INSERT INTO recipes (key, canonical) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
                    (recipe.key, recipe.to_json()),
                )
                self._connection.execute(
                    "INSERT INTO run_cells (run, recipe, arm, reference, n, about) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (run, arm, recipe) DO UPDATE SET n = max(n, excluded.n), about = excluded.about",
                    (run, self._number("recipes", "key", recipe.key), cell.arm, cell.reference, cell.n, _json(about)),
                )

    def tell(self, run_id: str, *, command: Sequence[str], about: Mapping[str, Any]) -> None:
        """Replace what a run says of itself, for one that grows while somebody looks on."""
        with self._transaction():
            number, words = self._number("runs", "id", run_id), _json(list(command))
            self._connection.execute(
                "UPDATE runs SET command = ?, about = ? WHERE number = ?", (words, _json(about), number)
            )

    def about_drawing(self, recipe_keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the last run that drew samples of each recipe recorded of model and layout; nothing where none did.

        One pass over all cells, however many recipes are asked for.
        """
        wanted, found = set(recipe_keys), dict[str, dict[str, Any]]()
        if wanted:
            for key, about in self._rows(
                "SELECT key, about FROM run_cells JOIN recipes ON recipe = number ORDER BY run_cells.rowid DESC"
            ):
                if key in wanted and key not in found:
                    with self._reading(f"a cell of recipe {key}"):
                        said = _object(about)
                    if said.get("layout"):
                        found[key] = said
        return found

    def finish_run(self, run_id: str) -> None:
        """Record that the run reached its end."""
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET finished = ? WHERE number = ?", (now, self._number("runs", "id", run_id))
            )

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        rows = self._rows("SELECT number, id, started, finished, command, about FROM runs ORDER BY started, id")
        return [self._run(*row) for row in rows]

    def run(self, name: str) -> Run:
        """The run with this id, with the only id that begins so, or the newest one for `last`.

        Raises UnknownName, and BadValue where several ids begin with `name`.
        """
        ids = [run_id for (run_id,) in self._rows("SELECT id FROM runs ORDER BY started, id")]
        if name == LAST_RUN:
            matches = ids[-1:]
        else:
            matches = [run_id for run_id in ids if name and run_id.startswith(name)]
        if name in matches:
            matches = [name]
        if not matches:
            raise UnknownName("run", name, ids, list_command="llamadiv runs ls")
        if len(matches) > 1:
            several = ", ".join(matches[:3]) + (", ..." if len(matches) > 3 else "")
            raise BadValue("RUN", name, f"{len(matches)} run ids begin so ({several}); type more of it")
        rows = self._rows("SELECT number, id, started, finished, command, about FROM runs WHERE id = ?", matches[0])
        if not rows:  # its index says that it is there
            raise StoreDamaged(self.path, f"run {matches[0]} cannot be read")
        return self._run(*rows[0])

    def remove_run(self, run_id: str) -> int:
        """Forget a run and every sample that no other run asks for; returns how many samples went.

        Samples belong to recipes, and two runs may share a recipe: each keeps its first n.
        """
        with self._transaction():
            run = self._number("runs", "id", run_id)
            recipes = self._connection.execute("SELECT DISTINCT recipe FROM run_cells WHERE run = ?", (run,)).fetchall()
            self._connection.execute("DELETE FROM run_cells WHERE run = ?", (run,))
            n_removed = 0
            for (recipe,) in recipes:
                n_removed += self._connection.execute(
                    "DELETE FROM samples WHERE recipe = ?1"
                    " AND idx >= (SELECT coalesce(max(n), 0) FROM run_cells WHERE recipe = ?1)",
                    (recipe,),
                ).rowcount
                self._connection.execute(
                    "DELETE FROM recipes WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM run_cells WHERE recipe = ?1)",
                    (recipe,),
                )
            self._connection.execute("UPDATE samples SET run = NULL WHERE run = ?", (run,))
            self._connection.execute("DELETE FROM runs WHERE number = ?", (run,))
        with translated(self.path, self._timeout_s):
            # Gives the room back to the disk, a page a step; of the sqlite3 module's calls only this one steps on.
            self._connection.executescript("PRAGMA incremental_vacuum")
        return n_removed

    # ---- pieces

    def put_pieces(self, vocab_digest: str, pieces: Mapping[int, Piece]) -> None:
        """Keep what tokens of a vocabulary look like, so that they can be shown without the model."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO vocabularies (digest) VALUES (?) ON CONFLICT (digest) DO NOTHING", (vocab_digest,)
            )
            vocabulary = self._number("vocabularies", "digest", vocab_digest)
            self._connection.executemany(
                "INSERT INTO pieces (vocabulary, token, bytes, control) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (vocabulary, token) DO NOTHING",
                [(vocabulary, token, piece.bytes, piece.control) for token, piece in pieces.items()],
            )

    def pieces(self, vocab_digest: str, ids: Iterable[int]) -> dict[int, Piece]:
        """The stored pieces among `ids`. Ids never seen are left out; to ask for one raises StoreDamaged."""
        wanted = sorted({int(token) for token in ids})
        found = _Pieces(self.path)
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            some = wanted[start : start + _IDS_AT_ONCE]
            rows = self._rows(
                "SELECT token, bytes, control FROM pieces JOIN vocabularies ON vocabulary = number"
                f" WHERE digest = ? AND token IN ({', '.join('?' * len(some))})",
                vocab_digest,
                *some,
            )
            for token, piece, control in rows:
                if not (isinstance(piece, bytes) and isinstance(control, str | None)):
                    raise StoreDamaged(self.path, f"what token {token} looks like cannot be read")
                found[token] = Piece(piece, control)
        return found

    def controls(self, vocab_digest: str) -> dict[int, str]:
        """The names of the stored control tokens of a vocabulary, by id."""
        rows = self._rows(
            "SELECT token, control FROM pieces JOIN vocabularies ON vocabulary = number"
            " WHERE digest = ? AND control IS NOT NULL",
            vocab_digest,
        )
        return {token: str(control) for token, control in rows}

    def known_pieces(self, vocab_digest: str) -> set[int]:
        """Ids of the vocabulary whose pieces are stored."""
        rows = self._rows(
            "SELECT token FROM pieces JOIN vocabularies ON vocabulary = number WHERE digest = ?", vocab_digest
        )
        return {token for (token,) in rows}

    # ---- whole stores

    def merge(self, other: Path) -> Merged:
        """Take over all that the store at `other` has and this one lacks; doing it again changes nothing."""
        if other.exists() and self.path.exists() and other.samefile(self.path):
            raise BadValue("OTHER", str(other), "it is the store itself; name another file")
        with Store.open(other, read_only=True, timeout_s=self._timeout_s) as theirs:
            theirs.check()
        self._rows("ATTACH DATABASE ? AS other", read_only_address(other))
        try:
            with self._transaction():
                return self._merge_attached()
        finally:
            self._rows("DETACH DATABASE other")

    def check(self) -> None:
        """Read the whole file and raise StoreDamaged when its structure is broken."""
        [(verdict,)] = self._rows("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise StoreDamaged(self.path, " ".join(str(verdict).split()))

    def _merge_attached(self) -> Merged:
        execute = self._connection.execute
        execute(
            "INSERT INTO recipes (key, canonical) SELECT key, canonical FROM other.recipes WHERE true"
            " ON CONFLICT (key) DO NOTHING"
        )
        n_runs = execute(
            "INSERT INTO runs (id, started, finished, command, about)"
            " SELECT id, started, finished, command, about FROM other.runs WHERE true ON CONFLICT (id) DO NOTHING"
        ).rowcount
        execute(  # a run that went on in the other store after the two parted
            "UPDATE runs SET finished = (SELECT finished FROM other.runs theirs WHERE theirs.id = runs.id)"
            " WHERE finished IS NULL"
        )
        execute(
            "INSERT INTO run_cells (run, recipe, arm, reference, n, about)"
            " SELECT my_run.number, my_recipe.number, arm, reference, n, cell.about FROM other.run_cells cell"
            " JOIN other.runs their_run ON their_run.number = cell.run JOIN runs my_run USING (id)"
            " JOIN other.recipes their_recipe ON their_recipe.number = cell.recipe JOIN recipes my_recipe USING (key)"
            " WHERE true ORDER BY cell.rowid ON CONFLICT (run, arm, recipe) DO UPDATE SET n = max(n, excluded.n)"
        )
        n_samples = execute(
            "INSERT INTO samples (recipe, idx, run, n_tokens, finish_reason, text, statistics)"
            " SELECT my_recipe.number, idx, my_run.number, n_tokens, finish_reason, text, statistics"
            " FROM other.samples theirs"
            " JOIN other.recipes their_recipe ON their_recipe.number = theirs.recipe JOIN recipes my_recipe USING (key)"
            " LEFT JOIN other.runs their_run ON their_run.number = theirs.run LEFT JOIN runs my_run USING (id)"
            " WHERE true ON CONFLICT (recipe, idx) DO NOTHING"
        ).rowcount
        execute(
            "INSERT INTO vocabularies (digest) SELECT digest FROM other.vocabularies WHERE true ON CONFLICT DO NOTHING"
        )
        execute(
            "INSERT INTO pieces (vocabulary, token, bytes, control)"
            " SELECT mine.number, token, bytes, control FROM other.pieces"
            " JOIN other.vocabularies theirs ON theirs.number = vocabulary JOIN vocabularies mine USING (digest)"
            " WHERE true ON CONFLICT (vocabulary, token) DO NOTHING"
        )
        [(n_theirs,)] = execute("SELECT count(*) FROM other.samples").fetchall()
        return Merged(n_samples=n_samples, n_known=n_theirs - n_samples, n_runs=n_runs)

    # ---- rows and transactions

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with translated(self.path, self._timeout_s):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; committed when the block has ended."""
        with translated(self.path, self._timeout_s):
            try:
                self._connection.execute("BEGIN IMMEDIATE")  # queue for the write lock now, not in the middle
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _number(self, table: str, column: str, name: str) -> int:
        row = self._connection.execute(f"SELECT number FROM {table} WHERE {column} = ?", (name,)).fetchone()
        if row is None:
            raise StoreError(
                f"{self.path}: {name} is no longer in this sample store; its run was removed meanwhile. "
                "Start the command again."
            )
        return int(row[0])

    def _sample(self, recipe_key: str, row: tuple[int, str, bytes, int, bytes]) -> Sample:
        index, finish_reason, text, n_tokens, statistics = row
        with self._reading(f"sample {index} of recipe {recipe_key}"):
            tokens, beside, bounds = unpack_statistics(statistics, n_tokens)
            _require(isinstance(index, int) and isinstance(finish_reason, str) and isinstance(text, bytes))
        return Sample(recipe_key, index, finish_reason, text, tokens, beside, bounds)

    def _run(self, number: int, run_id: str, started: str, finished: str | None, command: str, about: str) -> Run:
        cells = self._rows(
            "SELECT arm, reference, key, n, about FROM run_cells JOIN recipes ON recipe = number"
            " WHERE run = ? ORDER BY run_cells.rowid",
            number,
        )
        with self._reading(f"run {run_id}"):
            _require(isinstance(run_id, str) and isinstance(command, str))
            words = json.loads(command)
            _require(isinstance(words, list) and all(isinstance(word, str) for word in words))
            return Run(
                id=run_id,
                started=datetime.fromisoformat(started),
                finished=None if finished is None else datetime.fromisoformat(finished),
                command=tuple(words),
                about=_object(about),
                cells=tuple(_cell(*row) for row in cells),
            )

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Within it a damaged row may hold anything. Raises StoreDamaged."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            reason = f": {error}" if isinstance(error, ValueError) and str(error) else " cannot be read"
            raise StoreDamaged(self.path, f"{what}{reason}") from error


class _Pieces(dict[int, Piece]):
    """Pieces by token; one that ought to be there and is not is damage."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __missing__(self, token: int) -> Piece:
        raise StoreDamaged(self._path, f"it does not say what token {token} looks like")


def _cell(arm: str, reference: str, recipe_key: str, n: int, about: str) -> RunCell:
    _require(all(isinstance(text, str) for text in (arm, reference, recipe_key)) and isinstance(n, int) and n > 0)
    return RunCell(arm, reference, recipe_key, n, _object(about))


def _object(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError, TypeError, RecursionError for anything else."""
    value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    _require(isinstance(value, dict))
    found: dict[str, Any] = value
    return found


def _finite(text: str) -> float:
    """A number of a row of ours; Python reads NaN, Infinity and 1e999 too, and could not write them again."""
    value = float(text)
    _require(math.isfinite(value))
    return value


def _require(holds: bool) -> None:  # noqa: FBT001  as in assert
    """Raises TypeError for what a row of ours never holds."""
    if not holds:
        raise TypeError


def _bound(n: int | None) -> int:
    return 2**63 - 1 if n is None else n


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)
