"""What of the named models is on this machine, and how that changes: looking, fetching, verifying, removing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_diversity import digests, gguf, hub, neighbours, registry
from llama_diversity.errors import BadUsage, BadValue, ChecksumMismatch, DownloadError, ModelFileError, UnknownName
from llama_diversity.registry import ModelEntry, Registry
from llama_diversity.resolve import candidates, find_file, find_files, find_in_cache, not_downloaded, require_files
from llama_diversity.served import Served

OnBytes = Callable[[str], digests.OnBytes | None]  # makes a hearer of progress, by label


@dataclass(frozen=True)
class Listed:
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
        """Of its files here, else what models.toml says."""
        return sum(file.stat().st_size for file in self.files if file) if self.path else self.entry.size_bytes

    @property
    def here(self) -> str:
        """Whether it is on this machine, in words."""
        if self.entry.chain is not None:
            return "built in"
        if self.entry.served is not None:
            return "served"
        if self.path or not self.partial_bytes:
            return "yes" if self.path else "no"
        return f"{100 * self.partial_bytes // self.entry.size_bytes} %" if self.entry.size_bytes else "in part"

    def in_short(self) -> dict[str, Any]:
        """What a list shows of it."""
        entry = self.entry
        facts = {"role": entry.role, "family": entry.family, "licence": entry.licence}
        return {"model": entry.reference, "size_bytes": self.size_bytes, "here": self.here, **facts}

    def as_json(self) -> dict[str, Any]:
        """Everything known about it."""
        entry = self.entry
        stated = hub.stated_digest([file for file in self.files if file]) if self.path else None
        served = entry.served
        return {
            "model": entry.reference,
            "role": entry.role,
            "family": entry.family,
            "licence": entry.licence,
            "repo": entry.repo,
            "file": entry.file,
            "revision": entry.revision,
            "commit": _commit(entry, self.path),
            "sha256": entry.sha256 or stated,
            "urls": list(served.urls) if served else [],
            "name": served.name if served else None,
            "tokenizer": (served.tokenizer or None) if served else None,
            "digest": entry.digest,
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


def look(entry: ModelEntry) -> Listed:
    """What of a model is here."""
    files = find_files(entry)
    unfinished = entry.repo and entry.file and not all(files)
    partial_bytes = hub.partial_bytes(entry.repo or "", entry.file or "", entry.revision) if unfinished else 0
    return Listed(entry, files, partial_bytes)


def filtered(known: Registry, pair_name: str | None, family: str | None) -> list[ModelEntry]:
    """The models of a pair, of a family, or all. Raises UnknownName."""
    if pair_name:
        pair = known.pair(pair_name)
        entries = unique(map(known.find, [*known.models_of(pair.base), *known.models_of(pair.aligned)]))
    else:
        entries = known.entries()
    if family is None:
        return entries
    families = {entry.family for entry in known.entries() if entry.family}
    if family not in families:
        raise UnknownName("family", family, families, list_command=registry.LIST_COMMAND)
    return [entry for entry in entries if entry.family == family]


def members(known: Registry, name: str, *, single: bool) -> list[ModelEntry]:
    """The models that `name` stands for: both of a pair, the rungs of a ladder, all of a mixture, or one."""
    if not single and name in known.pairs:
        pair = known.pairs[name]
        references: Sequence[str] = (pair.base, pair.aligned)
    elif not single and name in known.ladders:
        references = known.ladders[name].rungs
    else:
        references = (name,)
    return [known.find(one) for reference in references for one in known.models_of(reference)]


def unique(entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    """Each model once."""
    return list({entry.reference: entry for entry in entries}.values())


def with_file(entry: ModelEntry) -> ModelEntry:
    """The model, where it has a file. Raises BadValue."""
    if entry.chain is not None or entry.served is not None:
        where = "is built in" if entry.served is None else "is on a server"
        raise BadValue("NAME", entry.reference, f"it {where} and has no file; name a model with one")
    return entry


def source_fields(entry: ModelEntry) -> dict[str, str | int | Sequence[str]]:
    """Where the bytes of a model that has no name yet lie, as models.toml has it. Raises BadValue."""
    if entry.defined_in is not None:
        raise BadValue("REFERENCE", entry.reference, "that is a name already; give a path or hf:OWNER/REPO:FILE")
    if entry.served is not None:
        return _served_fields(entry.served)
    if entry.path is not None:
        hub.model_files(entry.path)  # a later file of a split model is none that could be opened
        return {"path": os.path.abspath(entry.path)}  # not what a link leads to: beside that the other files are not
    if entry.repo is None or entry.file is None:
        raise BadValue("REFERENCE", entry.reference, "a scripted model needs no other name")
    revision = {"revision": entry.revision} if entry.revision else {}
    return {"repo": entry.repo, "file": entry.file, **revision}


def _served_fields(served: Served) -> dict[str, str | int | Sequence[str]]:
    fields: dict[str, str | int | Sequence[str]] = {"engine": "vllm", "urls": served.urls, "name": served.name}
    if served.tokenizer:
        is_path = os.path.exists(served.tokenizer)
        fields["tokenizer"] = os.path.abspath(served.tokenizer) if is_path else served.tokenizer
    return fields


def beside() -> dict[str, Any]:
    """The models that other programs keep here, as JSON has them, what is wrong with some, and where was looked.

    Those that models.toml names in the Hugging Face cache are left out. `alias` is whose bytes they are, by sha256;
    `like` an alias of that name and size, whose bytes nobody has compared. The start of each header is read.
    """
    known, look = registry.load(), neighbours.look()
    ours = {path for entry in known.entries() if entry.repo for path in [find_in_cache(entry)] if path}
    aliases = {entry.sha256: entry.reference for entry in known.models.values() if entry.sha256}
    names = {(_last(entry.file or ""), entry.size_bytes): entry.reference for entry in known.models.values()}
    found = []
    for one in look.found:
        if one.path in ours:
            continue
        kind, problem = _kind(one)
        sha256 = one.sha256 or digests.recalled(one.path)
        like = None if sha256 else names.get((one.path.name, one.size_bytes))
        found.append(
            {"model": one.reference, "program": one.program, "kind": kind, "size_bytes": one.size_bytes}
            | {"alias": aliases.get(sha256 or ""), "like": like, "sha256": sha256, "path": str(one.path)}
            | {"n_files": one.n_files, "problem": problem}
        )
    return {"found": found, "problems": look.problems, "folders": [str(folder) for folder in look.folders]}


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _kind(one: neighbours.Found) -> tuple[str, str | None]:
    """What a file is by its header, and why it cannot be opened as a model."""
    if one.problem is not None:
        return one.kind, one.problem
    try:
        start = gguf.read_start(one.path)
    except ModelFileError as error:
        return "damaged", str(error)
    # As gguf-py of ggml-org/llama.cpp writes it (GGUFType in constants.py): model, adapter, mmproj, imatrix.
    kind = {"mmproj": "projector"}.get(str(start.get("general.type")), str(start.get("general.type", "model")))
    if start.get("general.architecture") == "clip":  # of before there was a type
        kind = "projector"
    return kind, None if kind == "model" else f"it is no model by itself ({kind})"


def refuse_group(name: str, known: Registry) -> None:
    """Raise BadUsage where `name` is a pair or a ladder and no model, with the models in it."""
    if name in known.models or not (name in known.pairs or name in known.ladders):
        return
    kind = "pair" if name in known.pairs else "ladder"
    inside = ", ".join(one.reference for one in members(known, name, single=False))
    raise BadUsage(f"{name} is a {kind}, not a model. Name one of its models: {inside}.")


def groups_of(name: str, known: Registry) -> dict[str, list[str]]:
    """The pairs and ladders that a model belongs to, by name."""
    return {
        "pairs": [pair.name for pair in known.pairs.values() if name in (pair.base, pair.aligned)],
        "ladders": [ladder.name for ladder in known.ladders.values() if name in ladder.rungs],
    }


def groups_as_json(known: Registry) -> dict[str, Any]:
    """Pairs and ladders."""
    return {
        "pairs": [{"name": pair.name, "base": pair.base, "aligned": pair.aligned} for pair in known.pairs.values()],
        "ladders": [{"name": ladder.name, "rungs": list(ladder.rungs)} for ladder in known.ladders.values()],
    }


def plan(entry: ModelEntry, *, offline: bool) -> dict[str, Any]:
    """What fetching a model would fetch. Raises DownloadError."""
    if entry.repo is None or entry.file is None or find_file(entry):
        return _here_as_json(entry) | {"missing_bytes": 0, "fetched_bytes": 0}
    for program, path in candidates(entry).items():
        where = f"{program}'s {path}, if its sha256 is right"
        return {"model": entry.reference, "path": None, "size_bytes": entry.size_bytes, "sha256": entry.sha256} | {
            "commit": None, "missing_bytes": 0, "fetched_bytes": 0, "from": where
        }  # fmt: skip
    _refuse_offline(entry, offline=offline)
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


def pull(entry: ModelEntry, *, offline: bool, on_bytes: OnBytes, say: Callable[[str], None]) -> dict[str, Any]:
    """Fetch what of a model is not here; `say` hears of the network. Raises DownloadError."""
    if entry.repo is None or entry.file is None:
        return _here_as_json(entry) | {"transferred_bytes": 0, "stated_by": _stated_by(entry, on_bytes)}
    if adopt(entry, on_bytes, say):
        return _here_as_json(entry) | {"transferred_bytes": 0, "stated_by": "models.toml"}
    if not find_file(entry):
        _refuse_offline(entry, offline=offline)
        say(f"Fetching {entry.reference} from the hub: {entry.file} of {entry.repo}")
    pulled = hub.pull(
        entry.repo,
        entry.file,
        entry.revision,
        sha256=entry.sha256,
        name=entry.reference,
        on_fetch=on_bytes(f"Fetching {entry.reference}"),
        on_hash=on_bytes(f"Checking {entry.reference}"),
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


def adopt(entry: ModelEntry, on_bytes: OnBytes, say: Callable[[str], None]) -> Path | None:
    """The file of another program that is the very one that models.toml pins: read once, then used where it is."""
    if find_in_cache(entry):
        return None
    for program, path in candidates(entry).items():
        found = digests.digest(path, on_bytes(f"Checking {path.name}"))
        if found == entry.sha256:
            say(f"{entry.reference} is in {program} already, with the sha256 that models.toml states; used from there.")
            return path
        say(f"{program} has a file of the name and size of {entry.reference}, but another one (sha256 {found}).")
    return None


def _stated_by(entry: ModelEntry, on_bytes: OnBytes) -> str | None:
    """Who states the sha256 that the files here have, which are read where it is pinned. Raises ChecksumMismatch."""
    if entry.sha256 is None:
        return None
    files = require_files(entry)
    read = digests.digests(files, on_bytes(f"Checking {entry.reference}"))
    return hub.check_sha256(entry.reference, files, read, pinned=entry.sha256, is_packaged=entry.is_packaged)


def _here_as_json(entry: ModelEntry) -> dict[str, Any]:
    """The line of a model that needs no network: it is here, or it has no file."""
    files = () if entry.chain is not None or entry.served is not None else require_files(entry)
    return {
        "model": entry.reference,
        "path": str(files[0]) if files else None,
        "size_bytes": sum(file.stat().st_size for file in files) if files else None,
        "sha256": entry.sha256,
        "commit": _commit(entry, files[0]) if files else None,
        "from": "already here" if files else "a server" if entry.served else "built in",
    }


def _commit(entry: ModelEntry, path: Path | None) -> str | None:
    """The commit of a file of the hub; another program's file has none."""
    return hub.commit_of(path) if path and path == find_in_cache(entry) else None


def _refuse_offline(entry: ModelEntry, *, offline: bool) -> None:
    if offline:
        raise DownloadError(
            f"{entry.reference} is not on this machine and the network is off (--offline, LLAMADIV_OFFLINE or "
            f"HF_HUB_OFFLINE). Allow it, then run: llamadiv models pull {shlex.quote(entry.reference)}"
        )


def verify(entry: ModelEntry, on_bytes: OnBytes) -> dict[str, Any]:
    """Whether a model's bytes are what they should be; what is wrong is in `error`."""
    found = find_files(with_file(entry))
    result: dict[str, Any] = {"model": entry.reference, "path": None, "sha256": None, "state": "missing", "error": None}
    if found[0] is None or (entry.repo and not all(found)):
        state = "incomplete" if any(found) else "missing"
        return result | {"state": state, "error": str(not_downloaded(entry))}
    try:
        files = hub.model_files(found[0])
    except ModelFileError as error:
        return result | {"path": str(found[0]), "state": "incomplete", "error": str(error)}
    return result | {"path": str(files[0]), **_read_anew(entry, files, on_bytes)}


def _read_anew(entry: ModelEntry, files: Sequence[Path], on_bytes: OnBytes) -> dict[str, Any]:
    """What the bytes of a model that is here say."""
    result: dict[str, Any] = {}
    try:
        read = digests.digests(files, on_bytes(f"Reading {entry.reference}"), fresh=True)
        result |= {"sha256": digests.model_digest(read)}
        stated_by = hub.check_sha256(entry.reference, files, read, pinned=entry.sha256, is_packaged=entry.is_packaged)
        if stated_by is None:  # then it can be read, and is as long as it says: more is not known
            for file in files:
                gguf.read_header(file).require_whole()
    except ChecksumMismatch as error:
        return result | {"state": "mismatch", "error": str(error)}
    except ModelFileError as error:
        return result | {"state": "damaged", "error": str(error)}
    return result | {"state": "ok" if stated_by else "nothing to compare"}


def removable(entry: ModelEntry) -> ModelEntry:
    """The model, where its file is the cache's. Raises BadValue."""
    with_file(entry)
    if entry.is_packaged:
        raise BadValue("NAME", entry.reference, "its file is part of llamadiv")
    if entry.path is not None:
        raise BadValue("NAME", entry.reference, f"its file is yours, not the cache's; remove {entry.path} yourself")
    return entry


def remove(entry: ModelEntry) -> int:
    """Remove a model's file from the cache; how many bytes that freed."""
    return hub.remove(entry.repo or "", entry.file or "", entry.revision, name=entry.reference)


def require_right(results: Sequence[dict[str, Any]]) -> None:
    """Raises DownloadError: one sentence for the first file that is not right, and how many more there are."""
    bad = [one for one in results if one["error"]]
    if bad:
        more = f" {len(bad) - 1} more did not verify either." if len(bad) > 1 else ""
        end = "" if bad[0]["error"].endswith(".") or not more else "."
        raise DownloadError(f"{bad[0]['error']}{end}{more}")
