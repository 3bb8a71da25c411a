"""What a store holds, described, and its samples on their way elsewhere."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from llama_diversity.answers import Reader
from llama_diversity.errors import BadUsage, BadValue, LlamadivError, StoreMissing, UnknownName
from llama_diversity.records import Piece, Recipe, seen_ids
from llama_diversity.render.csv import write_csv
from llama_diversity.render.jsonl import Exported, export_line, sample_object
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.conduct import studies_of
from llama_diversity.studies.session import Session


def described_runs(session: Session) -> list[dict[str, Any]]:
    """All runs, oldest first; none where there is no store yet, which is no mistake of a new user."""
    try:
        with Store.open(session.store, read_only=True) as store:
            return [_described(store, run) for run in store.runs()]
    except StoreMissing:
        return []


class Described(NamedTuple):
    """Something of a store as JSON has it, with the recipes that it is of by their keys."""

    as_json: dict[str, Any]
    recipes: dict[str, Recipe]


def described_run(name: str, session: Session) -> Described:
    """One run in full. Raises UnknownName, BadValue, what a store raises."""
    with Store.open(session.store, read_only=True) as store:
        run = store.run(name)
        recipes = {cell.recipe_key: store.recipe(cell.recipe_key) for cell in run.cells}
        as_json = {key: json.loads(recipe.to_json()) for key, recipe in recipes.items()}
        return Described({**_described(store, run), "recipes": as_json}, recipes)


def _described(store: Store, run: Run) -> dict[str, Any]:
    """A run with what is stored of it, as JSON has it."""
    return {
        "id": run.id,
        "started": run.started.isoformat(),
        "finished": None if run.finished is None else run.finished.isoformat(),
        "command": list(run.command),
        "about": dict(run.about),
        "prompts": [one._asdict() for one in prompts_of(run, store)],
        "cells": [_described_cell(store, cell) for cell in run.cells],
    }


class Prompts(NamedTuple):
    """What the models were asked first in a study of a run: the texts, and where they are from."""

    study: str  # empty of a run of `sample`
    texts: tuple[str, ...]
    source: Mapping[str, str]  # as studies.prompts has it


def prompts_of(run: Run, store: Store) -> list[Prompts]:
    """By study, in order; texts that were made of outputs are in the cells alone."""
    arms = [name for name, _ in run.about.get("arms", [])]
    if not run.about.get("experiments"):
        texts = dict.fromkeys(store.recipe(cell.recipe_key).prompt.text for cell in run.cells)
        return [Prompts("", tuple(texts), {})] if texts else []
    found = [
        Prompts(one.name, tuple(dict.fromkeys(ask.text for ask in one.asks(arms))), dict(one.prompt_origin()))
        for one in studies_of(run)
    ]
    return [one for one in found if one.texts]


def described_sample(name: str, session: Session) -> Described:
    """One sample by its id: what it was asked, the newest run that asks for it, and all of its tokens.

    Raises BadValue, UnknownName, what a store raises.
    """
    with Store.open(session.store, read_only=True) as store:
        return _described_sample(store, name)


def _described_sample(store: Store, name: str) -> Described:
    key, _, number = name.rpartition("#")
    asked = {cell.recipe_key: (run, cell) for run in store.runs() for cell in run.cells}
    keys = [one for one in asked if key and one.startswith(key)]
    if not number.isdecimal() or len(keys) > 1:
        raise BadValue("RUN", name, "a sample's id is that of its recipe, a # and its number, like r1-0f3a...#3")
    if not keys:
        raise UnknownName("sample", name, (), list_command="llamadiv runs show --json last")
    recipe = store.recipe(keys[0])
    sample = store.sample(keys[0], int(number))
    pieces = store.pieces(recipe.vocab_digest, seen_ids(sample.tokens))
    run, cell = asked[keys[0]]
    answer = _reader(store, recipe, pieces).read(sample)
    about = {
        "sample": sample.id,
        "run": run.id,
        "arm": cell.arm,
        "model": cell.reference,
        "recipe": json.loads(recipe.to_json()),
        "prompt": recipe.prompt.text,
    }
    told = sample_object(sample, pieces, neutral=recipe.is_neutral, answer=answer)
    return Described({**about, **told}, {recipe.key: recipe})


def _described_cell(store: Store, cell: RunCell) -> dict[str, Any]:
    counts = store.counts(cell.recipe_key, cell.n)
    return {
        "arm": cell.arm,
        "model": cell.reference,
        "recipe": cell.recipe_key,
        "n": cell.n,
        "n_stored": counts.n_samples,
        "n_tokens": counts.n_tokens,
        "about": dict(cell.about),
    }


def export_samples(
    run: str | None, out: Path | None, form: str | None, stream: IO[bytes], session: Session, *, with_tokens: bool
) -> int:
    """The samples of a run, or of the whole store, to the file `out` or to `stream`; how many they are.

    Raises BadValue, BadUsage and what a store raises.
    """
    write = _writer(form, out, with_tokens=with_tokens)
    with Store.open(session.store, read_only=True) as store:
        samples = exported(store, all_cells(store) if run is None else store.run(run).cells)
        if out is None:
            return write(stream, samples)
        with _replacing(out) as file:
            return write(file, samples)


def all_cells(store: Store) -> list[RunCell]:
    """Each recipe once, under the first arm that asked for it, with all its samples."""
    asked = {cell.recipe_key: cell for run in reversed(store.runs()) for cell in reversed(run.cells)}
    return [
        RunCell(asked[key].arm, asked[key].reference, key, sys.maxsize, {})
        for key in store.recipe_keys()
        if key in asked
    ]


def exported(store: Store, cells: Sequence[RunCell]) -> Iterator[Exported]:
    """Every sample of the cells, one in memory at a time."""
    pieces: dict[str, dict[int, Piece]] = {}
    for cell in cells:
        recipe = store.recipe(cell.recipe_key)
        known = pieces.setdefault(recipe.vocab_digest, store.pieces(recipe.vocab_digest, ()))
        read = _reader(store, recipe, known).read
        for sample in store.samples(cell.recipe_key, cell.n):
            unknown = set(sample.tokens["id"].tolist()) - known.keys()
            if unknown:
                known.update(store.pieces(recipe.vocab_digest, unknown))
            yield Exported(cell.arm, cell.reference, recipe, sample, known, read(sample))


def _reader(store: Store, recipe: Recipe, known: Mapping[int, Piece]) -> Reader:
    """Reads samples whose pieces are `known` by the time that it reads them."""
    return Reader(recipe.prompt, store.controls(recipe.vocab_digest), lambda ids: known)


_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def _writer(form: str | None, out: Path | None, *, with_tokens: bool) -> Callable[[IO[bytes], Iterator[Exported]], int]:
    """What writes samples in the form that was named, or that the file's name says. Raises BadValue, BadUsage."""
    ending = out.suffix.lower() if out else ""
    named = _ENDINGS.get(ending)
    if form is None and ending and named is None:
        raise BadValue("--out", str(out), f"its name must end in {', '.join(_ENDINGS)}, or --format says what to write")
    if form and named and form != named:
        raise BadValue("--out", str(out), f"its name says {named}, --format says {form}; leave one of them out")
    form = form or named or "jsonl"
    if form == "parquet" and out is None:
        raise BadUsage("Parquet is no text; name a file with --out.")
    if with_tokens and form != "csv":
        raise BadUsage(f"--tokens is for a CSV; {form} has the tokens by itself.")
    if form == "csv":
        return functools.partial(write_csv, with_tokens=with_tokens)
    return _write_table if form == "parquet" else _write_lines


def _write_lines(file: IO[bytes], samples: Iterator[Exported]) -> int:
    n_samples = 0
    for one in samples:
        file.write(export_line(one).encode() + b"\n")
        n_samples += 1
    return n_samples


def _write_table(file: IO[bytes], samples: Iterator[Exported]) -> int:
    from llama_diversity.render.parquet import write_parquet  # pyarrow takes longer to load than `runs ls` to run

    return write_parquet(file, samples)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and leaves nothing behind when it does not."""
    is_special = path.exists() and not path.is_file()  # a pipe or a device is written to, never replaced
    target = path if is_special else path.resolve()  # where `path` is a link, the file behind it is meant
    unfinished = target if is_special else target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(unfinished, "wb") as file:
            yield file
        if not is_special:
            os.replace(unfinished, target)
    except OSError as error:
        raise LlamadivError(f"{path} cannot be written: {error.strerror}. Name another file with --out.") from error
    finally:
        if not is_special:
            unfinished.unlink(missing_ok=True)
