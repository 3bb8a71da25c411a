"""The sha256 of model files, and of models of several files; remembered in the cache while a file does not change.

A file of gigabytes takes seconds to minutes to read, so its digest is kept beside what tells it from another file of
its name: size, times, inode, device and a few pages of its bytes. What the hub stated of a file is kept here too, where
the hub's own cache keeps no trace of it. Both tables can be made anew, so a damaged or missing one is an empty one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from llama_diversity import paths
from llama_diversity.errors import ModelFileError

OnBytes = Callable[[int, int], None]  # bytes done, bytes in all

HASH_CHUNK_BYTES = 4 * 2**20
CLOCK_STEP_NS = 20_000_000  # two changes within one step of a file system's clock may bear one time
N_PROBES, PROBE_BYTES = 8, 4096
COARSE_CLOCK_STEP_NS = 2_000_000_000  # of FAT, for instance

_SHA256 = re.compile(r"[0-9a-f]{64}")
_read: dict[str, dict[str, Any]] = {}  # by path, the stamps of the files whose digests this process was given


def model_digest(digests: Sequence[str]) -> str:
    """What identifies the weights of a model whose files have these sha256: one file's own, or for a split model the
    sha256 of those of its files in order, a line each: `sha256sum FILES | cut -c -64 | sha256sum`.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{one}\n" for one in digests).encode()).hexdigest()


def digests(files: Sequence[Path], on_progress: OnBytes | None = None, *, fresh: bool = False) -> list[str]:
    """The sha256 of each file; progress is over all of them. As `digest`."""
    sizes = [size_bytes(file) for file in files]
    return [
        digest(file, shifted(on_progress, sum(sizes[:number]), sum(sizes)), fresh=fresh)
        for number, file in enumerate(files)
    ]


def shifted(on_progress: OnBytes | None, before: int, total: int) -> OnBytes | None:
    """Progress of one file among several."""
    return on_progress and (lambda done, _: on_progress(before + done, total))


def size_bytes(path: Path) -> int:
    """How long a file is. Raises ModelFileError."""
    with _readable(path):
        return path.stat().st_size


def digest(path: Path, on_progress: OnBytes | None = None, *, fresh: bool = False) -> str:
    """The sha256 of a file; instant where it has been computed before and the file has not changed since.

    `fresh` reads the file in any case. Raises ModelFileError, also for a file that changes while it is read.
    """
    with _readable(path):
        resolved = path.resolve()
        began_ns = time.time_ns()
        with resolved.open("rb", buffering=0) as file:
            stamp = _stamp(file)
            _read[os.path.abspath(path)] = stamp
            known = None if fresh else _remembered_digest(resolved, stamp)
            if known is not None:
                return known
            known = _sha256_of(file, on_progress)
        _require_stamp(path, stamp)
        if _has_settled(stamp, began_ns):
            _remember_digest(resolved, stamp, known)
        return known


def recalled(path: Path) -> str | None:
    """The sha256 of a file that was read before and has not changed since; None else. Few of its pages are read."""
    try:
        resolved = path.resolve()
        with resolved.open("rb", buffering=0) as file:
            return _remembered_digest(resolved, _stamp(file))
    except OSError:
        return None


def require_unchanged(files: Sequence[Path]) -> None:
    """Raise ModelFileError where a file is no longer the one whose digest this process was given."""
    for file in files:
        with _readable(file):
            stamp = _read.get(os.path.abspath(file))
            if stamp is not None:
                _require_stamp(file, stamp)


def _require_stamp(path: Path, stamp: dict[str, Any]) -> None:
    with path.open("rb", buffering=0) as file:
        if _stamp(file) != stamp:
            next_step = "Run the command again when nothing writes to it."
            raise ModelFileError(path, "it changed while it was read", next_step=next_step)


def remember(path: Path, sha256: str) -> None:
    """Keep the digest of a file that nobody else can have written to, however young it is."""
    with path.open("rb", buffering=0) as file:
        _remember_digest(path.resolve(), _stamp(file), sha256)


def stated(path: Path) -> str | None:
    """What `remember_stated` kept of a file: its sha256 as the hub stated it; None if unknown."""
    found = _read_table(_stated_path()).get(str(path.resolve()))
    return found if isinstance(found, str) and _SHA256.fullmatch(found) else None


def remember_stated(path: Path, sha256: str) -> None:
    """Keep what the hub stated of a file."""
    _write_table(_stated_path(), {**_read_table(_stated_path()), str(path.resolve()): sha256})


# --- One file --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(path, reason, next_step="Check the path and its permissions.") from error


def _sha256_of(file: FileIO, on_progress: OnBytes | None) -> str:
    state = hashlib.sha256()
    done = 0
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    while chunk := file.read(HASH_CHUNK_BYTES):
        state.update(chunk)
        done += len(chunk)
        if on_progress:
            on_progress(done, size_bytes)
    return state.hexdigest()


def _stamp(file: FileIO) -> dict[str, int | str]:
    """What changes with a file's bytes. `cp -p` keeps size and time; where ctime and inode do too (file systems of
    other systems and of the network), the probe speaks.
    """
    stat = os.fstat(file.fileno())
    return {
        "size_bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
        "device": stat.st_dev,
        "probe": _probe(file, stat.st_size),
    }


def _probe(file: FileIO, size_bytes: int) -> str:
    """The sha256 of a few pages all over the file."""
    state = hashlib.sha256()
    for number in range(N_PROBES):
        file.seek(max(0, size_bytes - PROBE_BYTES) * number // (N_PROBES - 1))
        state.update(file.read(PROBE_BYTES))
    return state.hexdigest()


def _has_settled(stamp: dict[str, Any], began_ns: int) -> bool:
    """Whether a change since `began_ns` would have shown: one within the same step of the clock would not."""
    set_by_hand = stamp["mtime_ns"] > began_ns  # a time to come says nothing
    changed_ns = max(stamp["ctime_ns"], 0 if set_by_hand else stamp["mtime_ns"])
    step_ns = CLOCK_STEP_NS if stamp["ctime_ns"] % 10**9 else COARSE_CLOCK_STEP_NS
    return bool(began_ns - changed_ns > step_ns)


# --- The tables ------------------------------------------------------------------------------------------------------


def _digests_path() -> Path:
    return paths.cache_dir() / "digests.json"


def _known_digests() -> dict[str, Any]:
    """The remembered digests by path."""
    digests = _read_table(_digests_path()).get("digests")
    return digests if isinstance(digests, dict) else {}


def _remembered_digest(path: Path, stamp: dict[str, Any]) -> str | None:
    entry = _known_digests().get(str(path))
    if not isinstance(entry, dict) or any(entry.get(key) != value for key, value in stamp.items()):
        return None
    known = entry.get("sha256")
    return known if isinstance(known, str) and _SHA256.fullmatch(known) else None


def _remember_digest(path: Path, stamp: dict[str, Any], sha256: str) -> None:
    digests = {**_known_digests(), str(path): {**stamp, "sha256": sha256}}
    _write_table(_digests_path(), {"version": 1, "digests": digests})


def _stated_path() -> Path:
    return paths.cache_dir() / "stated.json"  # what the hub stated of files in caches without symbolic links, by path


def _read_table(path: Path) -> dict[str, Any]:
    """A table in the cache; a damaged or missing one is an empty one, since it can be made anew."""
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _write_table(path: Path, table: dict[str, Any]) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(table, indent=1), encoding="utf-8")
        os.replace(unfinished, path)
