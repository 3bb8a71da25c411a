"""`llamadiv runs`: what the sample store holds, and how to take it elsewhere or throw it away."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click
from rich.table import Table
from rich.text import Text

from llama_diversity.answers import Reader
from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.options import Common, common_options
from llama_diversity.cli.terminal import console
from llama_diversity.decimals import counted
from llama_diversity.errors import BadValue, LlamadivError, StoreMissing
from llama_diversity.records import Piece, Recipe
from llama_diversity.render.csv import write_csv
from llama_diversity.render.jsonl import Exported, export_line, to_line
from llama_diversity.render.safe import visible
from llama_diversity.store import Run, RunCell, Store

_PROMPT_SHOWN = 300  # characters of a prompt in `runs show`; --json has all of it
_WIDE = 100  # columns from which `runs ls` has room for the commands
_PIPE_WIDTH = 1000  # nothing is cut off or wrapped for want of columns where nobody looks


_run_argument = click.argument("run", metavar="RUN", shell_complete=complete_run)


@click.group()
def runs() -> None:
    """List, show, export, merge and remove stored runs.

    RUN is an id from `runs ls`, the first characters of one, or `last`.
    """


@runs.command()
@common_options
def ls(common: Common) -> None:
    """List all runs, oldest first."""
    try:
        with Store.open(common.store, read_only=True) as store:
            described = [_described(store, run) for run in store.runs()]
    except StoreMissing:
        described = []  # the first command of a new user is no mistake
    if common.json:
        click.echo(to_line(described))
    elif common.quiet:
        for run in described:
            click.echo(run["id"])
    elif described:
        out = console(common.color, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        out.print(_table(described, with_commands=out.width >= _WIDE))
    else:
        click.echo(f"No runs in {visible(str(common.store))} yet. `llamadiv sample` makes one.", err=True)


@runs.command()
@_run_argument
@common_options
def show(run: str, common: Common) -> None:
    """Show one run in full, with its recipes and layout."""
    with Store.open(common.store, read_only=True) as store:
        found = store.run(run)
        described = _described(store, found)
        recipes = {cell.recipe_key: store.recipe(cell.recipe_key) for cell in found.cells}
    if common.json:
        described["recipes"] = {key: json.loads(recipe.to_json()) for key, recipe in recipes.items()}
        click.echo(to_line(described))
    elif common.quiet:
        click.echo(found.id)
    else:
        click.echo("\n".join(_page(described, recipes)))


@runs.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--all", "everything", is_flag=True, help="Every sample in the store, each once.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet"], case_sensitive=False),
    help="jsonl, csv: a line a sample; parquet: a row a token.  [default: by the name of --out, else jsonl]",
)
@click.option("--tokens", is_flag=True, help="In a CSV, the tokens of each sample too, as JSON lists.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.  [default: stdout]")
@common_options
def export(
    *, run: str | None, everything: bool, form: str | None, tokens: bool, out: Path | None, common: Common
) -> None:
    """Write samples as JSONL, CSV or Parquet.

    Those of RUN, or with --all those of the whole store. JSONL and Parquet have the statistics of each token, a CSV
    has them with --tokens. Of a model that thinks JSONL and CSV also have the answer, the text without thoughts. Bits
    are -log2 p under the raw model at temperature 1.

    \b
    Examples:
      llamadiv runs export last --out samples.parquet
      llamadiv runs export last --out samples.csv
    """
    if everything == (run is not None):
        raise click.UsageError("Name one run, or say --all and no run.")
    write = _writer(form, out, with_tokens=tokens)
    with Store.open(common.store, read_only=True) as store:
        samples = _exported(store, _all_cells(store) if run is None else store.run(run).cells)
        if out is None:
            write(sys.stdout.buffer, samples)
            return
        with _replacing(out) as file:
            n_samples = write(file, samples)
    if common.json:
        click.echo(to_line({"path": str(out), "n_samples": n_samples}))
    elif common.quiet:
        click.echo(str(out))
    else:
        click.echo(f"{counted(n_samples, 'sample')} in {visible(str(out))}.")


@runs.command()
@click.argument("others", metavar="OTHER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options
def merge(others: tuple[Path, ...], common: Common) -> None:
    """Take over the runs of other store files.

    The same sample is stored once, so merging again, or merging what two machines both drew, is harmless.
    """
    merged = []
    with Store.open(common.store) as store:
        for other in others:
            counts = store.merge(other)
            merged.append({"path": str(other), **counts._asdict()})
            if not (common.json or common.quiet):
                added = f"{counted(counts.n_runs, 'run')} and {counted(counts.n_samples, 'sample')} added"
                click.echo(f"{visible(str(other))}: {added}, {counted(counts.n_known, 'sample')} here already.")
    if common.json:
        click.echo(to_line(merged))


@runs.command()
@_run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(run: str, yes: bool, common: Common) -> None:  # noqa: FBT001  Click passes by name
    """Remove a run and the samples only it asks for."""
    with Store.open(common.store) as store:
        found = store.run(run)
        if not yes and not _confirmed(found):
            click.echo("Nothing was removed.", err=True)
            return
        n_removed = store.remove_run(found.id)
    if common.json:
        click.echo(to_line({"id": found.id, "n_samples": n_removed}))
    elif common.quiet:
        click.echo(found.id)
    else:
        click.echo(f"Removed run {found.id} and {counted(n_removed, 'sample')}.")


def _confirmed(run: Run) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on; say --yes to remove the run.")
    question = f"Remove run {run.id} ({visible(shlex.join(run.command))}) and the samples only it asks for?"
    return click.confirm(question, err=True)


# ---- describing runs


def _described(store: Store, run: Run) -> dict[str, Any]:
    """A run with what is stored of it, as JSON has it."""
    return {
        "id": run.id,
        "started": run.started.isoformat(),
        "finished": None if run.finished is None else run.finished.isoformat(),
        "command": list(run.command),
        "about": dict(run.about),
        "cells": [_described_cell(store, cell) for cell in run.cells],
    }


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


def _table(described: Sequence[dict[str, Any]], *, with_commands: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("models", overflow="fold")
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    if with_commands:
        table.add_column("command")
    for run in described:
        origin = [run["id"], _local(run["started"])]
        command = visible(shlex.join(run["command"]))
        for cell in run["cells"] or [None]:  # a row a cell; the first one names the run
            work = ["", "", ""] if cell is None else _work(cell)
            texts = [Text(part) for part in [*origin, *work]]
            if with_commands:
                texts.append(Text(command, no_wrap=True, overflow="ellipsis"))
            table.add_row(*texts)
            origin, command = ["", ""], ""
    return table


def _work(cell: dict[str, Any]) -> list[str]:
    model = visible(f"{cell['arm']}: {cell['model']}")
    return [model, f"{cell['n_stored']}/{cell['n']}", f"{cell['n_tokens']:,}"]


def _local(timestamp: str) -> str:
    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"


def _page(described: dict[str, Any], recipes: dict[str, Recipe]) -> Iterator[str]:
    """The lines of `runs show`."""
    finished = described["finished"]
    yield f"run       {described['id']}"
    yield f"command   {visible(shlex.join(described['command']))}"
    yield f"started   {_local(described['started'])}"
    yield f"finished  {_local(finished) if finished else 'no; the same command continues'}"
    yield from _facts(described["about"], indent="")
    for cell in described["cells"]:
        yield ""
        yield from _cell_lines(cell, recipes[cell["recipe"]])


def _cell_lines(cell: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    prompt = recipe.prompt.rendered
    more = f" ... ({len(prompt):,} characters)" if len(prompt) > _PROMPT_SHOWN else ""
    sampler = recipe.sampler
    cuts = "" if sampler.is_neutral else f", top-k {sampler.top_k}, top-p {sampler.top_p:g}, min-p {sampler.min_p:g}"
    yield f"{visible(cell['arm'])}: {visible(cell['model'])}"
    yield f"  stored    {cell['n_stored']} of {cell['n']} samples, {counted(cell['n_tokens'], 'token')}"
    n_tokens = counted(len(recipe.prompt.ids), "token")
    yield f"  prompt    {recipe.prompt.mode}, {n_tokens}: {visible(prompt[:_PROMPT_SHOWN])}{more}"
    yield f"  sampler   temperature {sampler.temperature:g}{cuts or ', nothing cut off'}"
    if recipe.grammar is not None:
        yield f"  grammar   {visible(recipe.grammar[:_PROMPT_SHOWN])}"
    stops = "".join(f", stop {visible(repr(s))}" for s in recipe.stop)
    yield f"  limits    at most {counted(recipe.max_tokens, 'token')}{stops}"
    yield f"  seed      {recipe.seed}"
    yield f"  recipe    {cell['recipe']}"
    yield f"  weights   sha256 {recipe.model_digest}"
    yield f"  engine    {visible(recipe.engine)}, {visible(recipe.engine_build)}"
    yield from _facts(cell["about"].get("layout", {}), indent="  ")


def _facts(facts: dict[str, Any], *, indent: str) -> Iterator[str]:
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"{indent}{visible(name):<9} {visible(shown)}"


# ---- taking samples elsewhere


def _all_cells(store: Store) -> list[RunCell]:
    """Each recipe once, under the first arm that asked for it, with all its samples."""
    asked = {cell.recipe_key: cell for run in reversed(store.runs()) for cell in reversed(run.cells)}
    return [
        RunCell(asked[key].arm, asked[key].reference, key, sys.maxsize, {})
        for key in store.recipe_keys()
        if key in asked
    ]


def _exported(store: Store, cells: Sequence[RunCell]) -> Iterator[Exported]:
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
    """What writes samples in the form that was named, or that the file's name says. Raises BadValue, UsageError."""
    ending = out.suffix.lower() if out else ""
    named = _ENDINGS.get(ending)
    if form is None and ending and named is None:
        raise BadValue("--out", str(out), f"its name must end in {', '.join(_ENDINGS)}, or --format says what to write")
    if form and named and form != named:
        raise BadValue("--out", str(out), f"its name says {named}, --format says {form}; leave one of them out")
    form = form or named or "jsonl"
    if form == "parquet" and out is None:
        raise click.UsageError("Parquet is no text; name a file with --out.")
    if with_tokens and form != "csv":
        raise click.UsageError(f"--tokens is for a CSV; {form} has the tokens by itself.")
    if form == "csv":
        return functools.partial(write_csv, with_tokens=with_tokens)
    return _write_table if form == "parquet" else _write_lines


def _write_lines(file: IO[bytes], samples: Iterator[Exported]) -> int:
    n_samples = 0
    for exported in samples:
        file.write(export_line(exported).encode() + b"\n")
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
