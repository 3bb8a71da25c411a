"""Models that are not on this machine: fetched where somebody says yes, else how they come here.

One question for all that a command names. Before a yes nothing touches the network: sizes, licences and digests are
those of models.toml. A file that another program has is read and used without a question, as nothing is fetched.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llama_diversity import gguf, hub, neighbours, registry, shelf
from llama_diversity.decimals import counted, readable_bytes
from llama_diversity.errors import ChecksumMismatch, DownloadError, NotDownloaded
from llama_diversity.registry import ModelEntry

if TYPE_CHECKING:
    from llama_diversity.studies.session import Listener

Fetching = Literal["never", "ask", "yes"]
Sized = tuple[str, int | None]  # the name of a file, and its bytes where models.toml states them


def require_here(
    references: Sequence[str],
    group: str | None,
    *,
    fetching: Fetching,
    offline: bool,
    listener: Listener,
) -> None:
    """Have what is missing of `references` fetched, or raise NotDownloaded; `group` is the pair or ladder they are of.

    Raises DownloadError where it cannot be fetched; then, as without a network, the listener hears what to copy where.
    """
    missing = _missing(references)
    for entry in missing:  # no network is needed for these
        with listener.moving_bytes() as on_bytes:
            shelf.adopt(entry, on_bytes, listener.say)
    missing = _missing([entry.reference for entry in missing])
    if not missing:
        return
    name = group or ", ".join(entry.reference for entry in missing)
    if offline:
        _say(listener, instructions(missing))
        raise NotDownloaded.without_network(name)
    if fetching == "ask":
        _ask(name, missing, listener, group)
    for entry in missing:
        _fetch(entry, missing, listener)


def _missing(references: Sequence[str]) -> list[ModelEntry]:
    known = registry.load()
    entries = shelf.unique(known.find(one) for reference in references for one in known.models_of(reference))
    return [entry for entry in entries if entry.repo and shelf.look(entry).path is None]


def _say(listener: Listener, lines: Iterator[str]) -> None:
    for line in lines:
        listener.say(line)


def _ask(name: str, missing: Sequence[ModelEntry], listener: Listener, group: str | None) -> None:
    """Raises NotDownloaded where nobody can be asked, or the answer is no."""
    total, folder = _total(missing), hub.cache_folder()
    size = readable_bytes(total) if total else None
    pull = " ".join(map(shlex.quote, [group] if group else [entry.reference for entry in missing]))
    free = readable_bytes(_free_bytes(folder))
    question = f"Fetch {size or 'them'} into {neighbours.with_tilde(folder)}, where {free} are free?"
    answer = listener.agrees([*_listed(name, missing)], question)
    if not answer:
        raise NotDownloaded(name, pull, size, is_many=len(missing) > 1, may_say_yes=answer is None)


def _listed(name: str, missing: Sequence[ModelEntry]) -> Iterator[str]:
    yield f"{name} {'are' if ', ' in name else 'is'} not on this machine. From {hub.endpoint()}:"
    for entry in missing:
        size = readable_bytes(entry.size_bytes) if entry.size_bytes else "size not known before"
        yield f"  {size}, {entry.licence or 'licence not stated here'}: {entry.file} of {entry.repo}"


def _total(missing: Sequence[ModelEntry]) -> int | None:
    """Bytes to fetch, less what is kept of earlier tries; None where models.toml lacks a size."""
    if not all(entry.size_bytes for entry in missing):
        return None
    return sum((entry.size_bytes or 0) - shelf.look(entry).partial_bytes for entry in missing)


def _free_bytes(folder: Path) -> int:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def _fetch(entry: ModelEntry, missing: Sequence[ModelEntry], listener: Listener) -> None:
    try:
        with listener.moving_bytes() as on_bytes:
            shelf.pull(entry, offline=False, on_bytes=on_bytes, say=listener.note)
    except ChecksumMismatch:
        raise
    except DownloadError:
        _say(listener, instructions(_missing([one.reference for one in missing])))
        raise


# --- Without a network -----------------------------------------------------------------------------------------------


def instructions(missing: Sequence[ModelEntry]) -> Iterator[str]:
    """Which files to fetch elsewhere and where to put them, exactly; and how to name them where they lie anywhere."""
    yield "To bring the files here by hand, fetch each where there is a network, and put it where it says:"
    for entry in missing:
        yield from _by_hand(entry)
    yield "Then the same command goes on. Or keep the files anywhere, and give them names of yours:"
    for entry in missing:
        yield f"  llamadiv models add {_own_name(entry)} {shlex.quote(_file_name(entry))}{_facts(entry)}"
    if [entry.role for entry in missing] == ["base", "aligned"]:
        base, aligned = map(_own_name, missing)
        yield f"and name them so: --base {base} --aligned {aligned}"


def _by_hand(entry: ModelEntry) -> Iterator[str]:
    repo, file = entry.repo or "", entry.file or ""
    names = gguf.shard_names(_file_name(entry))
    size = f"{entry.size_bytes:,} bytes" if entry.size_bytes else "size not stated here"
    digest = f"sha256 {entry.sha256}" if entry.sha256 else "no sha256 stated here"
    yield f"  {entry.reference}: {counted(len(names), 'file')}, {size}, {digest}"
    for name in names:
        inside = file[: -len(_file_name(entry))] + name
        yield f"    from {hub.endpoint()}/{repo}/resolve/{entry.revision or 'main'}/{inside}"
        yield f"    to   {neighbours.with_tilde(neighbours.place_in_hub_cache(repo, inside, entry.revision))}"


def _file_name(entry: ModelEntry) -> str:
    return (entry.file or "").rpartition("/")[2]


def _own_name(entry: ModelEntry) -> str:
    """A name that no table has."""
    known, name = registry.load().models, f"{entry.reference if entry.defined_in else 'my-model'}-here"
    while name in known:
        name += "-2"
    return name


def _facts(entry: ModelEntry) -> str:
    """What models.toml states of the model beside its place, as options of `models add`."""
    facts = {
        "--role": entry.role,
        "--family": entry.family,
        "--licence": entry.licence,
        "--sha256": entry.sha256,
        "--template": entry.template,
        "--start": entry.start,
        "--n-ctx": entry.n_ctx,
    }
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in facts.items() if value is not None)
