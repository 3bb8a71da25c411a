"""What is found in the folders of other programs, and how a folder is read that may hold anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llama_diversity import gguf

DEEPEST = 6  # folders below the one that a program names; a repository on the hub seldom has two
SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Found:
    """A model that another program keeps; `kind` by what the program says or the file is called.

    It is model, projector or adapter. `problem` says why it cannot be opened as it is; `sha256` is what the program
    states, None where it states nothing.
    """

    reference: str  # what is typed for it
    program: str
    path: Path
    size_bytes: int  # of all its files
    sha256: str | None = None
    kind: str = "model"
    n_files: int = 1
    problem: str | None = None

    @property
    def can_be_opened(self) -> bool:
        """Whether it is a model as far as its program says."""
        return self.kind == "model" and self.problem is None


@dataclass
class Look:
    """What was found, what is wrong (a sentence each), and the folders that were looked into."""

    found: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # by reference, why a model that is named is not there

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder, by name; nothing where there is none, and a sentence where it cannot be read."""
        try:
            with os.scandir(folder) as listed:
                return sorted(listed, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problems.append(f"{folder} cannot be read ({error.strerror}). Check its permissions.")
            return []

    def break_off(self, reference: str, reason: str) -> None:
        """A model that a program names, and that is not there to be opened."""
        self.broken[reference] = reason
        self.problems.append(f"{reference}: {reason}.")


def home() -> Path | None:
    """The user's home, None where there is none."""
    own = os.path.expanduser("~")
    return Path(own) if os.path.isabs(own) else None


def set_folder(variable: str) -> Path | None:
    """The folder that a variable of the environment names."""
    value = os.environ.get(variable, "").strip(" \"'")
    return Path(os.path.expanduser(value)) if value else None


def with_tilde(path: Path) -> str:
    """A path as it is typed, the home as ~."""
    own = home()
    return f"~/{path.relative_to(own).as_posix()}" if own and path.is_relative_to(own) else str(path)


def gguf_files(folder: Path, look: Look) -> Iterator[Path]:
    """Every GGUF file below a folder, by name; links are followed, each folder once."""
    yield from _below(folder, look, DEEPEST, set())


def _below(folder: Path, look: Look, depth: int, seen: set[tuple[int, int]]) -> Iterator[Path]:
    for entry in look.entries(folder):
        if entry.name.startswith("."):
            continue
        try:
            status = os.stat(entry.path)
        except OSError as error:
            if entry.name.lower().endswith(".gguf"):
                reason = "is a link that leads nowhere" if entry.is_symlink() else f"cannot be read ({error.strerror})"
                look.problems.append(f"{entry.path} {reason}.")
            continue
        if entry.is_dir():
            key = (status.st_dev, status.st_ino)
            if depth and key not in seen:
                seen.add(key)
                yield from _below(Path(entry.path), look, depth - 1, seen)
        elif entry.name.lower().endswith(".gguf") and entry.is_file():
            yield Path(entry.path)


def kind_by_name(name: str) -> str:
    """What a file is by what it is called.

    `mmproj` in a name is the mark of a projector to llama.cpp (load_from_models_dir in common/preset.cpp of
    ggml-org/llama.cpp); an adapter is told by its header alone (shelf).
    """
    return "projector" if "mmproj" in name.lower() else "model"


def models_of(paths: Iterator[Path], look: Look) -> Iterator[tuple[Path, int, int, str | None]]:
    """One line a model: its first file, bytes and number of all its files, and what it lacks.

    A later file of a split model stands for itself only where the first one is missing.
    """
    every = list(paths)
    known = set(every)
    for path in every:
        first = path.with_name(gguf.first_shard_name(path.name))
        if path != first:
            if first not in known and path == min(one for one in every if _first(one) == first):
                look.problems.append(f"{path} is part of a split model whose first file, {first.name}, is missing.")
            continue
        files = [path.with_name(name) for name in gguf.shard_names(path.name)]
        here = [file for file in files if file in known]
        lacks = len(files) - len(here)
        problem = f"{lacks} of its {len(files)} files {'is' if lacks == 1 else 'are'} missing" if lacks else None
        yield path, sum(os.path.getsize(file) for file in here), len(files), problem


def _first(path: Path) -> Path:
    return path.with_name(gguf.first_shard_name(path.name))
