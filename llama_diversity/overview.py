"""What is here at a glance, and what can be done with it: runs, models, and the three commands to type next.

It is quick by what it leaves out: samples, digests, headers of models, the client of the hub. And it never fails: what
cannot be read is a sentence of it, since whoever asks for it knows the least.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity import gguf, neighbours, paths, registry
from llama_diversity.decimals import readable_bytes
from llama_diversity.errors import LlamadivError, StoreMissing
from llama_diversity.registry import ModelEntry, Registry
from llama_diversity.storefile import Headline, Headlines, headlines

N_RUNS = 3  # that are named
SHIPPED = "tiny"
FIRST_REAL = "smollm2-135m"  # the smallest of the list


class Step(NamedTuple):
    """A command to type next, and what it does."""

    command: str
    words: str


@dataclass(frozen=True)
class Overview:
    """What there is. `pairs` are whole on this machine; `beside` counts the models of other programs."""

    store: str | None
    runs: Headlines
    pairs: Sequence[str]
    beside: Mapping[str, int]
    remarks: Sequence[str]  # what could not be read
    steps: Sequence[Step]
    to_path: str | None  # the folder that a shell must know to find `llamadiv`, None where it does

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "store": self.store,
            "n_runs": self.runs.n_runs,
            "newest_runs": [one._asdict() for one in self.runs.newest],
            "pairs_here": list(self.pairs),
            "models_of_other_programs": dict(self.beside),
            "remarks": list(self.remarks),
            "next": [one._asdict() for one in self.steps],
            "folder_for_the_path": self.to_path,
        }


def at_a_glance(named_store: Path | None) -> Overview:
    """What there is now. `named_store` is the file that keeps samples, None for the user's own."""
    remarks: list[str] = []
    store, runs = _runs(named_store, remarks)
    known = _known(remarks)
    pairs = [name for name in known.pairs if _is_here(known, name)]
    steps = list(_steps(known, runs, pairs))
    beside = _beside(known, remarks)
    return Overview(str(store) if store else None, runs, pairs, beside, remarks, steps, _to_path())


def _to_path() -> str | None:
    """Where the command lies that a shell does not find by its name, as in a checkout."""
    folder = Path(sys.executable).parent
    return None if shutil.which("llamadiv") or not (folder / "llamadiv").exists() else str(folder)


def _runs(named_store: Path | None, remarks: list[str]) -> tuple[Path | None, Headlines]:
    store, nothing = named_store, Headlines(0, ())
    try:
        store = named_store or paths.default_store()
        return store, headlines(store, N_RUNS)
    except StoreMissing:
        return store, nothing  # the first command of a new user is no mistake
    except LlamadivError as error:
        remarks.append(str(error))
    except OSError as error:
        remarks.append(f"{store} cannot be read ({error.strerror}). Name another file: export LLAMADIV_STORE=FILE")
    return store, nothing


def _known(remarks: list[str]) -> Registry:
    try:
        return registry.load()
    except LlamadivError as error:
        remarks.append(str(error))
        return Registry()


def _is_here(known: Registry, pair: str) -> bool:
    """Whether all files of a pair are on this machine; one of built-in chains or servers has none."""
    try:
        members = (known.pairs[pair].base, known.pairs[pair].aligned)
        entries = [known.find(one) for member in members for one in known.models_of(member)]
    except LlamadivError:  # a path that leads nowhere, a model that another program had
        return False
    return all(map(_has_files, entries))


def _has_files(entry: ModelEntry) -> bool:
    if entry.path is not None:
        return all(os.path.isfile(entry.path.with_name(name)) for name in gguf.shard_names(entry.path.name))
    return bool(_files(entry))


def _files(entry: ModelEntry) -> list[Path]:
    """The files of a model of the hub, if all are here."""
    if entry.repo is None or entry.file is None:
        return []
    folder, slash, first = entry.file.rpartition("/")
    names = [folder + slash + name for name in gguf.shard_names(first)]
    found = [neighbours.in_hub_cache(entry.repo, name, entry.revision) for name in names]
    if all(found):
        return [path for path in found if path]
    return [path for path in neighbours.blobs(entry.sha256 or "") if os.path.isfile(path)][:1]


def _beside(known: Registry, remarks: list[str]) -> dict[str, int]:
    """How many models that have no alias each other program keeps."""
    ours = {path for entry in known.models.values() for path in _files(entry)}
    try:
        found = neighbours.look().found
    except OSError as error:
        remarks.append(f"{error.filename} cannot be read ({error.strerror}).")
        return {}
    return dict(Counter(one.program for one in found if one.can_be_opened and one.path not in ours))


# --- What to type next ----------------------------------------------------------------------------------------------


def _steps(known: Registry, runs: Headlines, pairs: Sequence[str]) -> Iterator[Step]:
    yield _look(runs.newest)
    real = [name for name in pairs if not _is_packaged(known, name)]
    done = {_pair_of(one.command) for one in runs.newest if "reproduce" in one.command}
    fresh = next((name for name in real if name not in done), None)
    if fresh:
        yield Step(f"llamadiv reproduce --pair {shlex.quote(fresh)}", "the whole paper on a pair that is here")
    elif real:
        yield Step(f"llamadiv compare --pair {shlex.quote(real[0])}", "which is more diverse, over many prompts")
    else:
        yield Step(f"llamadiv reproduce --pair {FIRST_REAL}", f"on a real pair{_size(known)}")
    yield Step("llamadiv models suggest", "which other pairs fit this machine")


def _look(newest: Sequence[Headline]) -> Step:
    if not newest:
        return Step("llamadiv demo", "what post-training costs, in a minute")
    # `view` of a run that was drawn on its screen shows it; what it was typed to look at is another run.
    if newest[0].finished is None and newest[0].command[:1] == ("llamadiv",) and newest[0].command[1:2] != ("view",):
        return Step(shlex.join(newest[0].command), "go on with the newest run")
    return Step("llamadiv view last", "the newest run, token by token")


def _is_packaged(known: Registry, pair: str) -> bool:
    return all(known.find(member).is_packaged for member in (known.pairs[pair].base, known.pairs[pair].aligned))


def _pair_of(command: Sequence[str]) -> str:
    """Which pair a command names; the one that ships where it names none."""
    after = [value for word, value in zip(command, command[1:], strict=False) if word == "--pair"]
    return after[-1] if after else SHIPPED


def _size(known: Registry) -> str:
    """What the first real pair takes, in words that follow."""
    pair = known.pairs.get(FIRST_REAL)
    sizes = [known.find(member).size_bytes for member in (pair.base, pair.aligned)] if pair else [None]
    return f" ({readable_bytes(sum(size or 0 for size in sizes))}, asks first)" if all(sizes) else ""
