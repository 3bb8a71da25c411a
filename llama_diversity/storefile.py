"""The file under the sample store: its schema, how it is made, recognised and opened, and SQLite's errors as ours.

This file knows SQLite and little of what the tables mean; docs/store.md tells that to other tools. It stands beside the
store, and loads nothing that reads samples, for whoever asks for no more than the names of the newest runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llama_diversity.errors import (
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreReadOnly,
)

FORMAT_VERSION = 1
LAST_RUN = "last"  # a name of the newest run
APPLICATION_ID = 0x6C646976  # "ldiv": how `file` and we recognise a store

# The samples of a run are often equally long, and a page cannot be shared by halves: of samples slightly longer than
# half a page each gets a page of its own. Small pages bound that waste. Measured from 8 to 1000 tokens: at most 77
# bytes a token with pages of 512 bytes, over 100 with SQLite's usual 4096.
_PAGE_BYTES = 512
_LOG_PAGES = 8192  # the write-ahead log is folded in at 4 MB, as with SQLite's own 1000 pages of 4096 bytes

_SCHEMA = """
CREATE TABLE recipes (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    canonical TEXT NOT NULL
);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    started TEXT NOT NULL,
    finished TEXT,
    command TEXT NOT NULL,
    about TEXT NOT NULL
);
CREATE TABLE run_cells (
    run INTEGER NOT NULL REFERENCES runs,
    recipe INTEGER NOT NULL REFERENCES recipes,
    arm TEXT NOT NULL,
    reference TEXT NOT NULL,
    n INTEGER NOT NULL,
    about TEXT NOT NULL,
    UNIQUE (run, arm, recipe)
);
CREATE TABLE samples (
    recipe INTEGER NOT NULL REFERENCES recipes,
    idx INTEGER NOT NULL,
    run INTEGER,
    n_tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    text BLOB NOT NULL,
    statistics BLOB NOT NULL,
    UNIQUE (recipe, idx)
);
CREATE TABLE vocabularies (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE
);
CREATE TABLE pieces (
    vocabulary INTEGER NOT NULL REFERENCES vocabularies,
    token INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    control TEXT,
    PRIMARY KEY (vocabulary, token)
) WITHOUT ROWID;
"""


def open_file(path: Path, *, read_only: bool, timeout_s: float) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made on the way unless `read_only`. Raises StoreError."""
    if path.is_dir():
        raise StoreForeign(path, "this is a folder")
    if read_only and not path.exists():
        raise StoreMissing(path)
    if not read_only:
        _make_folder(path)
    with translated(path, timeout_s):
        address = read_only_address(path) if read_only else f"{path.absolute().as_uri()}?mode=rwc"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=timeout_s)
        try:
            _prepare(connection, path, read_only=read_only, timeout_s=timeout_s)
        except BaseException:
            connection.close()
            raise
    return connection


def read_only_address(path: Path) -> str:
    """The URI under which SQLite reads without making a file, and leaves nothing behind.

    Even a reader keeps its lock in files beside the store, and only who may write removes them at the end: so a reader
    opens as a writer where the folder allows it. Where it does not and no such files are there, nobody else writes
    either, and SQLite may be told so.
    """
    if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        mode = "mode=rw"
    elif any(path.with_name(path.name + ending).exists() for ending in ("-wal", "-shm")):
        mode = "mode=ro"
    else:
        mode = "immutable=1"
    return f"{path.absolute().as_uri()}?{mode}"


@contextlib.contextmanager
def translated(path: Path, timeout_s: float) -> Iterator[None]:
    """SQLite's errors as ours. Python 3.10 has no error codes, so the fixed words of SQLite's messages decide."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a defect of ours
    except sqlite3.Error as error:
        raise _sentence(str(error), path, timeout_s) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it found; the sqlite3 module expects UTF-8 there
        raise StoreDamaged(path, "its text is no text") from error


def _sentence(reason: str, path: Path, timeout_s: float) -> StoreError:
    if "locked" in reason:
        return StoreLocked(path, timeout_s)
    if "full" in reason:
        return StoreFull(path)
    if "readonly" in reason:
        return StoreReadOnly(path, "this sample store may not be written")
    if "unable to open" in reason:
        return StoreReadOnly(path, "this sample store cannot be opened")
    if "not a database" in reason:
        return StoreForeign(path, "this is no SQLite file")
    if "disk I/O" in reason:
        return StoreError(f"{path}: the disk failed to read or write. Check it, then run the same command again.")
    return StoreDamaged(path, reason)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnly(path, f"its folder cannot be made ({error.strerror})") from error


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool, timeout_s: float) -> None:
    """Recognise the file, or make a store of a new one, and set the connection up."""
    if _is_empty(connection):
        if read_only:
            raise StoreForeign(path, "this is an empty file")
        _create(connection, timeout_s)
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreForeign(path, "this is an SQLite file of another program")
    version = _pragma(connection, "user_version")
    if version > FORMAT_VERSION:
        raise StoreNewer(path, version, FORMAT_VERSION)
    # NORMAL: a commit survives the death of the process; a power cut may take the last ones, but breaks nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")


def _create(connection: sqlite3.Connection, timeout_s: float) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _turn_on_log(connection, timeout_s)
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):  # else another process made the store while we waited
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")


def _turn_on_log(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Switch to the write-ahead log. Where several switch at once SQLite refuses one in a thousand without waiting."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline_s:
                raise
            time.sleep(0.01)


def _is_empty(connection: sqlite3.Connection) -> bool:
    [(n_tables,)] = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return bool(n_tables == 0 and _pragma(connection, "application_id") == 0)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [(value,)] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(value)


# ---- at a glance


class Headline(NamedTuple):
    """A run by its name alone: when it began and ended (ISO 8601), what was typed, and which models it asked."""

    id: str
    started: str
    finished: str | None
    command: tuple[str, ...]
    models: tuple[str, ...]


class Headlines(NamedTuple):
    """How many runs a store has, and the newest of them, the newest first."""

    n_runs: int
    newest: tuple[Headline, ...]


def headlines(path: Path, n: int, *, timeout_s: float = 0.5) -> Headlines:
    """The `n` newest runs of the store at `path`; no sample is read. Raises StoreError."""
    with contextlib.closing(open_file(path, read_only=True, timeout_s=timeout_s)) as connection:
        with translated(path, timeout_s):
            [(n_runs,)] = connection.execute("SELECT count(*) FROM runs").fetchall()
            rows = connection.execute(
                "SELECT number, id, started, finished, command FROM runs ORDER BY started DESC, id DESC LIMIT ?", (n,)
            ).fetchall()
            found = [(*row, _models_of(connection, row[0])) for row in rows]
        return Headlines(n_runs, tuple(_headline(path, *row[1:]) for row in found))


def _models_of(connection: sqlite3.Connection, number: int) -> tuple[str, ...]:
    query = "SELECT DISTINCT reference FROM run_cells WHERE run = ? LIMIT 4"
    return tuple(str(reference) for (reference,) in connection.execute(query, (number,)))


def _headline(
    path: Path, run_id: object, started: object, finished: object, command: str, models: tuple[str, ...]
) -> Headline:
    try:
        words = tuple(map(str, json.loads(command)))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreDamaged(path, f"run {run_id} cannot be read") from error
    return Headline(str(run_id), str(started), None if finished is None else str(finished), words, models)
