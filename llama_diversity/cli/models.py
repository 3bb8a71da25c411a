"""`llamadiv models`: list, fetch, verify and name model files. The one command that touches the network is `pull`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from llama_diversity import digests, gguf, hub, registry
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.options import Common, common_options
from llama_diversity.cli.progress import byte_progress
from llama_diversity.errors import BadValue, ChecksumMismatch, DownloadError, ModelFileError, UnknownName
from llama_diversity.registry import ModelEntry, Registry
from llama_diversity.resolve import find_file, find_files, not_downloaded, require_files


@click.group()
def models() -> None:
    """List, fetch, verify and name model files.

    A model is named by an alias, a path, hf:OWNER/REPO:FILE[@REVISION] or scripted:NAME. Files live in the Hugging
    Face cache, which other tools share. Only `pull` touches the network.
    """


# --- ls, show, path --------------------------------------------------------------------------------------------------


@models.command("ls")
@click.option("--pair", "pair_name", shell_complete=complete_pair, help="Only the two models of this pair.")
@click.option("--family", help="Only the models of this family.")
@common_options
def ls(pair_name: str | None, family: str | None, common: Common) -> None:
    """List the named models, pairs and ladders."""
    known = registry.load()
    listed = [_look(entry) for entry in _filtered(known, pair_name, family)]
    if common.json:
        _print_json({"models": [one.as_json() for one in listed], **_groups_as_json(known)})
    elif common.quiet:
        _print_lines(one.entry.reference for one in listed)
    else:
        header = ("MODEL", "ROLE", "FAMILY", "SIZE", "HERE", "LICENCE")
        _print_table(header, [one.as_row() for one in listed], right=("SIZE", "HERE"))
        if not pair_name and not family:
            _print_groups(known)


@models.command()
@click.argument("name", shell_complete=complete_model)
@common_options
def show(name: str, common: Common) -> None:
    """Show everything known about a model.

    Ends with 1 if some of its files are here and others are missing.
    """
    known = registry.load()
    one = _look(known.find(name))
    details = one.as_json() | {
        "pairs": [pair.name for pair in known.pairs.values() if name in (pair.base, pair.aligned)],
        "ladders": [ladder.name for ladder in known.ladders.values() if name in ladder.rungs],
    }
    if common.json:
        _print_json(details)
    elif common.quiet:
        _print_lines([str(one.path or one.entry.reference)])
    else:
        _print_details(details | {"here": one.here})
    if any(one.files) and one.missing:
        require_files(one.entry)  # raises, as every other command does that needs them all


@models.command()
@click.argument("name", shell_complete=complete_model)
@common_options
def path(name: str, common: Common) -> None:
    """Print the path of a model's file, and nothing else.

    Of a model that is split into several files it is the first one, which stands for all; --json names them all.
    """
    entry = _with_file(registry.load().find(name))
    files = [str(file) for file in require_files(entry)]
    if common.json:
        _print_json({"model": name, "path": files[0], "files": files})
    else:
        _print_lines(files[:1])


# --- pull, verify, rm ------------------------------------------------------------------------------------------------


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_model)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--single", is_flag=True, help="Where a model and a pair share NAME, fetch the model alone.")
@common_options
def pull(names: tuple[str, ...], *, dry_run: bool, single: bool, common: Common) -> None:
    """Fetch model files from the Hugging Face hub.

    NAME is a model, a pair or ladder (all its files) or hf:OWNER/REPO:FILE[@REVISION]. What is here already stays
    untouched, an unfinished download continues, and every file is checked against its sha256. Of a model that is split
    into several files FILE is the first one, and all are fetched.
    """
    known = registry.load()
    entries = _unique(entry for name in names for entry in _members(known, name, single=single))
    results = [_plan(entry, common) if dry_run else _pull(entry, common) for entry in entries]
    if common.json:
        _print_json({"dry_run": dry_run, "files": results})
    elif common.quiet:
        _print_lines(result["path"] or result["model"] for result in results)
    elif dry_run:
        _print_table(
            ("MODEL", "SIZE", "TO FETCH", "FROM"), [_plan_row(one) for one in results], right=("SIZE", "TO FETCH")
        )
    else:
        _print_lines(line for one in results for line in _pull_lines(one))


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_model)
@common_options
def verify(names: tuple[str, ...], common: Common) -> None:
    """Compare model files with their sha256.

    Without NAME, every named model that is here. Ends with 1 if a file is not what models.toml or the hub says, cannot
    be read to its end, or is not here (one that was named, or one of several files of a model).
    """
    known = registry.load()
    named = _unique(entry for name in names for entry in _members(known, name, single=False))
    entries = named or [entry for entry in known.entries() if any(find_files(entry))]
    results = [_verify(entry, common) for entry in entries]
    bad = [one["model"] for one in results if one["error"]]
    if common.json:
        _print_json({"files": results})
    elif common.quiet:
        _print_lines(bad)
    elif results:
        _print_table(("MODEL", "STATE", "SHA-256"), [_verify_row(one) for one in results])
    else:
        _tell("No named model is on this machine. `llamadiv models pull NAME` fetches one.", common)
    if bad:
        _raise_for(results)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_model)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(names: tuple[str, ...], *, yes: bool, common: Common) -> None:
    """Remove model files from the Hugging Face cache.

    What is left of unfinished downloads goes too. Bytes that another revision in the cache needs stay, and so does
    the name of the model.
    """
    known = registry.load()
    entries = [_removable(known.find(name)) for name in names]
    if not yes and not _confirmed(entries):
        _tell("Nothing was removed.", common)
        return
    results: list[dict[str, Any]] = [{"model": one.reference, "freed_bytes": _remove(one)} for one in entries]
    if common.json:
        _print_json({"removed": results})
    elif common.quiet:
        _print_lines(one["model"] for one in results)
    else:
        _print_table(("MODEL", "FREED"), [(one["model"], _size(one["freed_bytes"])) for one in results])


# --- add -------------------------------------------------------------------------------------------------------------


@models.command()
@click.argument("alias")
@click.argument("reference")
@click.option("--role", type=click.Choice(registry.ROLES), help="What the model is.")
@click.option("--family", help="Which models it belongs to.")
@click.option("--licence", help="Under which licence it is published.")
@click.option("--sha256", help="What its bytes must hash to.")
@click.option("--template", help="The file's own (gguf), none, a packaged format, or the path of a .jinja file.")
@click.option("--n-ctx", type=int, help="The context it was trained for.")
@common_options
def add(alias: str, reference: str, common: Common, **fields: str | int | None) -> None:
    """Give a model a name in your own models.toml.

    REFERENCE is the path of a GGUF file or hf:OWNER/REPO:FILE[@REVISION]. Nothing is fetched or copied.
    """
    known = registry.load()
    given = {key: value for key, value in fields.items() if value is not None}
    written = registry.add_model(alias, {**_source_fields(known.find(reference)), **given}, registry=known)
    if common.json:
        _print_json({"model": alias, "registry": str(written)})
    elif common.quiet:
        _print_lines([alias])
    else:
        _print_lines([f"{alias} is now {reference}, in {written}"])


def _source_fields(entry: ModelEntry) -> dict[str, str | int]:
    if entry.defined_in is not None:
        raise BadValue("REFERENCE", entry.reference, "that is a name already; give a path or hf:OWNER/REPO:FILE")
    if entry.path is not None:
        hub.model_files(entry.path)  # a later file of a split model is none that could be opened
        return {"path": os.path.abspath(entry.path)}  # not what a link leads to: beside that the other files are not
    if entry.repo is None or entry.file is None:
        raise BadValue("REFERENCE", entry.reference, "a scripted model needs no other name")
    revision = {"revision": entry.revision} if entry.revision else {}
    return {"repo": entry.repo, "file": entry.file, **revision}


# --- Looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    """A model and what of it is on this machine."""

    entry: ModelEntry
    files: list[Path | None]
    partial_bytes: int

    @property
    def path(self) -> Path | None:
        """Its first file, if all are here."""
        return self.files[0] if self.files and all(self.files) else None

    @property
    def missing(self) -> list[str]:
        """The names of those of its files that are not here."""
        first = self.entry.path.name if self.entry.path else self.entry.file
        names = gguf.shard_names(first.rpartition("/")[2]) if first else []
        return [name for name, file in zip(names, self.files, strict=True) if file is None]

    @property
    def size_bytes(self) -> int | None:
        return sum(file.stat().st_size for file in self.files if file) if self.path else self.entry.size_bytes

    @property
    def here(self) -> str:
        if self.entry.chain is not None:
            return "built in"
        if self.path or not self.partial_bytes:
            return "yes" if self.path else "no"
        return f"{100 * self.partial_bytes // self.entry.size_bytes} %" if self.entry.size_bytes else "in part"

    def as_row(self) -> tuple[str, ...]:
        entry = self.entry
        return (
            entry.reference,
            entry.role or "",
            entry.family or "",
            _size(self.size_bytes),
            self.here,
            entry.licence or "",
        )

    def as_json(self) -> dict[str, Any]:
        entry = self.entry
        in_cache = self.path is not None and entry.repo is not None
        stated = hub.stated_digest([file for file in self.files if file]) if in_cache else None
        return {
            "model": entry.reference,
            "role": entry.role,
            "family": entry.family,
            "licence": entry.licence,
            "repo": entry.repo,
            "file": entry.file,
            "revision": entry.revision,
            "commit": hub.commit_of(self.path) if self.path and in_cache else None,
            "sha256": entry.sha256 or stated,
            "size_bytes": self.size_bytes,
            "template": entry.template,
            "start": entry.start,
            "n_ctx": entry.n_ctx,
            "here": self.path is not None or entry.chain is not None,
            "path": str(self.path) if self.path else None,
            "files": [str(file) for file in self.files if file],
            "missing": self.missing,
            "partial_bytes": self.partial_bytes,
            "defined_in": str(entry.defined_in) if entry.defined_in else None,
        }


def _look(entry: ModelEntry) -> _Listed:
    files = find_files(entry)
    unfinished = entry.repo and entry.file and not all(files)
    partial_bytes = hub.partial_bytes(entry.repo or "", entry.file or "", entry.revision) if unfinished else 0
    return _Listed(entry, files, partial_bytes)


def _filtered(known: Registry, pair_name: str | None, family: str | None) -> list[ModelEntry]:
    if pair_name:
        pair = known.pair(pair_name)
        entries = [known.find(pair.base), known.find(pair.aligned)]
    else:
        entries = known.entries()
    if family is None:
        return entries
    families = {entry.family for entry in known.entries() if entry.family}
    if family not in families:
        raise UnknownName("family", family, families, list_command=registry.LIST_COMMAND)
    return [entry for entry in entries if entry.family == family]


def _members(known: Registry, name: str, *, single: bool) -> list[ModelEntry]:
    """The models that `name` stands for: both of a pair, the rungs of a ladder, or one."""
    if not single and name in known.pairs:
        pair = known.pairs[name]
        references: Sequence[str] = (pair.base, pair.aligned)
    elif not single and name in known.ladders:
        references = known.ladders[name].rungs
    else:
        references = (name,)
    return [known.find(reference) for reference in references]


def _unique(entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    return list({entry.reference: entry for entry in entries}.values())


def _with_file(entry: ModelEntry) -> ModelEntry:
    if entry.chain is not None:
        raise BadValue("NAME", entry.reference, "it is built in and has no file; name a model with one")
    return entry


# --- Fetching --------------------------------------------------------------------------------------------------------


def _plan(entry: ModelEntry, common: Common) -> dict[str, Any]:
    if entry.repo is None or entry.file is None or find_file(entry):
        return _here_as_json(entry) | {"missing_bytes": 0, "fetched_bytes": 0}
    _refuse_offline(entry, common)
    planned = hub.plan(entry.repo, entry.file, entry.revision, name=entry.reference)
    return {
        "model": entry.reference,
        "path": None,
        "size_bytes": planned.size_bytes,
        "sha256": planned.sha256,
        "commit": planned.commit,
        "missing_bytes": planned.missing_bytes,
        "fetched_bytes": planned.fetched_bytes,
        "from": f"hf:{entry.repo}:{entry.file}",
    }


def _pull(entry: ModelEntry, common: Common) -> dict[str, Any]:
    if entry.repo is None or entry.file is None:
        return _here_as_json(entry) | {"transferred_bytes": 0, "stated_by": None}
    if not find_file(entry):
        _refuse_offline(entry, common)
        _tell(f"Fetching {entry.reference} from the hub: {entry.file} of {entry.repo}", common)
    with byte_progress(common) as progress:
        pulled = hub.pull(
            entry.repo,
            entry.file,
            entry.revision,
            sha256=entry.sha256,
            name=entry.reference,
            on_fetch=progress(f"Fetching {entry.reference}"),
            on_hash=progress(f"Checking {entry.reference}"),
        )
    return {
        "model": entry.reference,
        "path": str(pulled.path),
        "size_bytes": pulled.size_bytes,
        "sha256": pulled.sha256,
        "commit": pulled.commit,
        "transferred_bytes": pulled.transferred_bytes,
        "stated_by": pulled.stated_by,
    }


def _here_as_json(entry: ModelEntry) -> dict[str, Any]:
    """The line of a model that needs no network: it is here, or it has no file."""
    files = () if entry.chain is not None else require_files(entry)
    return {
        "model": entry.reference,
        "path": str(files[0]) if files else None,
        "size_bytes": sum(file.stat().st_size for file in files) if files else None,
        "sha256": entry.sha256,
        "commit": hub.commit_of(files[0]) if files and entry.repo else None,
        "from": "already here" if files else "built in",
    }


def _refuse_offline(entry: ModelEntry, common: Common) -> None:
    if common.offline:
        raise DownloadError(
            f"{entry.reference} is not on this machine and the network is off (--offline, LLAMADIV_OFFLINE or "
            f"HF_HUB_OFFLINE). Allow it, then run: llamadiv models pull {shlex.quote(entry.reference)}"
        )


# --- Verifying and removing ------------------------------------------------------------------------------------------


def _verify(entry: ModelEntry, common: Common) -> dict[str, Any]:
    found = find_files(_with_file(entry))
    result: dict[str, Any] = {"model": entry.reference, "path": None, "sha256": None, "state": "missing", "error": None}
    if found[0] is None or (entry.repo and not all(found)):
        state = "incomplete" if any(found) else "missing"
        return result | {"state": state, "error": str(not_downloaded(entry))}
    try:
        files = hub.model_files(found[0])
    except ModelFileError as error:
        return result | {"path": str(found[0]), "state": "incomplete", "error": str(error)}
    return result | {"path": str(files[0]), **_read_anew(entry, files, common)}


def _read_anew(entry: ModelEntry, files: Sequence[Path], common: Common) -> dict[str, Any]:
    """What the bytes of a model that is here say."""
    result: dict[str, Any] = {}
    try:
        with byte_progress(common) as progress:
            read = digests.digests(files, progress(f"Reading {entry.reference}"), fresh=True)
        result |= {"sha256": digests.model_digest(read)}
        stated_by = hub.check_sha256(entry.reference, files, read, pinned=entry.sha256)
        if stated_by is None:  # then it can be read, and is as long as it says: more is not known
            for file in files:
                gguf.read_header(file).require_whole()
    except ChecksumMismatch as error:
        return result | {"state": "mismatch", "error": str(error)}
    except ModelFileError as error:
        return result | {"state": "damaged", "error": str(error)}
    return result | {"state": "ok" if stated_by else "nothing to compare"}


def _raise_for(results: list[dict[str, Any]]) -> None:
    """One sentence for the first file that is not right, and how many more there are."""
    bad = [one for one in results if one["error"]]
    more = f" {len(bad) - 1} more did not verify either." if len(bad) > 1 else ""
    end = "" if bad[0]["error"].endswith(".") or not more else "."
    raise DownloadError(f"{bad[0]['error']}{end}{more}")


def _removable(entry: ModelEntry) -> ModelEntry:
    _with_file(entry)
    if entry.is_packaged:
        raise BadValue("NAME", entry.reference, "its file is part of llamadiv")
    if entry.path is not None:
        raise BadValue("NAME", entry.reference, f"its file is yours, not the cache's; remove {entry.path} yourself")
    return entry


def _confirmed(entries: list[ModelEntry]) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("rm asks before it removes, and nobody can answer here. Give --yes to remove.")
    names = ", ".join(_visible(entry.reference) for entry in entries)
    return click.confirm(f"Remove {names} from the Hugging Face cache?", err=True)


def _remove(entry: ModelEntry) -> int:
    return hub.remove(entry.repo or "", entry.file or "", entry.revision, name=entry.reference)


# --- Printing --------------------------------------------------------------------------------------------------------


def _plan_row(one: dict[str, Any]) -> tuple[str, ...]:
    return (one["model"], _size(one["size_bytes"]), _size(one["missing_bytes"]), one["from"])


def _verify_row(one: dict[str, Any]) -> tuple[str, ...]:
    return (one["model"], one["state"], f"{one['sha256'][:16]}…" if one["sha256"] else "")


def _pull_lines(one: dict[str, Any]) -> list[str]:
    if one["path"] is None:
        return [f"{one['model']}: built in"]
    verdict = f"sha256 as {one['stated_by']} states" if one["stated_by"] else "nobody states its sha256"
    return [f"{one['model']}: {_size(one['size_bytes'])}, {verdict}", f"  {one['path']}"]


def _print_groups(known: Registry) -> None:
    click.echo()
    _print_table(("PAIR", "BASE", "ALIGNED"), [(pair.name, pair.base, pair.aligned) for pair in known.pairs.values()])
    if known.ladders:
        click.echo()
        rungs = [(ladder.name, " > ".join(ladder.rungs)) for ladder in known.ladders.values()]
        _print_table(("LADDER", "RUNGS"), rungs)


def _groups_as_json(known: Registry) -> dict[str, Any]:
    return {
        "pairs": [{"name": pair.name, "base": pair.base, "aligned": pair.aligned} for pair in known.pairs.values()],
        "ladders": [{"name": ladder.name, "rungs": list(ladder.rungs)} for ladder in known.ladders.values()],
    }


def _print_details(details: dict[str, Any]) -> None:
    shown = {key: value for key, value in details.items() if value not in (None, [], 0)}
    if "size_bytes" in shown:
        shown["size_bytes"] = f"{shown['size_bytes']} ({_size(shown['size_bytes'])})"
    width = max(map(len, shown))
    for key, value in shown.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{key:<{width}}  {_visible(text)}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns as wide as their cells; not wrapped, so that a pipe gets whole lines."""
    from rich.cells import cell_len

    safe = [header, *([_visible(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*safe, strict=True)]
    for row in safe:
        cells = []
        for name, cell, width in zip(header, row, widths, strict=True):
            blanks = " " * (width - cell_len(cell))
            cells.append(blanks + cell if name in right else cell + blanks)
        click.echo("  ".join(cells).rstrip())


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(_visible(line))


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def _tell(sentence: str, common: Common) -> None:
    """A remark that is no result: to stderr, and not with -q."""
    if not common.quiet:
        click.echo(_visible(sentence), err=True)


def _size(n_bytes: int | None) -> str:
    return "" if n_bytes is None else hub.readable_bytes(n_bytes)


def _visible(text: str) -> str:
    from llama_diversity.render.safe import visible

    return visible(text)
