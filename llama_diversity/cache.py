"""Results that take long, kept in the cache folder under the digest of all that they depend on.

Nothing in it is ever asked to be right: what is missing, damaged or cannot be written is made anew. Values are this
user's own files, like Python's compiled modules; they are pickled, so nobody else's belong there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from llama_diversity import paths

Value = TypeVar("Value")

MOST_ENTRIES = 1000  # beyond, those used longest ago go
_ANALYSIS = ("metrics/*.py", "studies/*/*.py", "text.py")  # code that numbers depend on
_SHOWING = ("study.py", "exhibits.py", "sentence_exhibits.py")  # of a room: what asks and shows
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "vaderSentiment")


def called(function: Callable[..., Value], *arguments: Any, **named: Any) -> Value:
    """`function(*arguments, **named)` of the analysis, made once for equal arguments and equal code."""
    parts = (
        code_digest(),
        function.__module__,
        function.__qualname__,
        hashlib.sha256(pickle.dumps((arguments, sorted(named.items())))).digest(),  # not the texts
    )
    return kept(parts, lambda: function(*arguments, **named))


def kept(parts: Iterable[str | bytes], make: Callable[[], Value]) -> Value:
    """What `make` makes, from the cache where it was made before of the same `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    path = paths.cache_dir() / "results" / f"{digest.hexdigest()}.pickle"
    with contextlib.suppress(Exception):  # a damaged file may raise anything
        found: Value = pickle.loads(_checked(path.read_bytes()))
        with contextlib.suppress(OSError):
            os.utime(path)
        return found
    value = make()
    with contextlib.suppress(OSError):
        content = pickle.dumps(value)
        _write(path, hashlib.sha256(content).digest() + content)
    return value


def _checked(content: bytes) -> bytes:
    """What stands behind its SHA-256: a damaged file may also be read as something else. Raises ValueError."""
    expected, value = content[:32], content[32:]
    if hashlib.sha256(value).digest() != expected:
        raise ValueError("the file is damaged")
    return value


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
    entries = sorted(path.parent.glob("*.pickle"), key=lambda entry: entry.stat().st_mtime)
    for entry in entries[:-MOST_ENTRIES]:
        entry.unlink(missing_ok=True)


@functools.cache
def code_digest() -> str:
    """What the numbers of an analysis depend on besides its arguments: our code and the libraries' versions."""
    from importlib.metadata import version  # loads what reads mail, so not for help

    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    for file in analysis_files():
        digest.update(file.read_bytes())
    return digest.hexdigest()


def analysis_files() -> list[Path]:
    """The code that numbers depend on: neither what asks models nor what draws pictures."""
    root = Path(__file__).parent
    return sorted(file for pattern in _ANALYSIS for file in root.glob(pattern) if file.name not in _SHOWING)
