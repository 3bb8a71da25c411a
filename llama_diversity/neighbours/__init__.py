"""Model files that other programs keep on this machine: found and named where they are, never copied or written to.

It knows the folders of Ollama, LM Studio and llama.cpp and the Hugging Face cache, and what makes up one model in each.
It refuses to know aliases (registry) and what is inside a file (gguf, engines). It reads no weights and hashes nothing:
a sha256 is what the program states by the name of a blob. No client of a hub is loaded, so that a look is quick.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from llama_diversity.errors import BadValue, ModelFileError, UnknownName
from llama_diversity.neighbours import caches, lmstudio, ollama
from llama_diversity.neighbours.files import Found, Look, with_tilde

__all__ = [
    "LIST_COMMAND", "PREFIXES", "Found", "Look", "blobs", "elsewhere", "in_hub_cache", "is_neighbour", "locate", "look",
    "place_in_hub_cache", "with_tilde",
]  # fmt: skip

LIST_COMMAND = "llamadiv models ls --found"
PREFIXES = (ollama.PREFIX, lmstudio.PREFIX)

blobs = ollama.blobs
in_hub_cache = caches.in_hub_cache
place_in_hub_cache = caches.place_in_hub_cache


def is_neighbour(reference: str) -> bool:
    """Whether it names a model as another program calls it: ollama:NAME[:TAG] or lmstudio:PUBLISHER/REPO/FILE."""
    return reference.startswith(PREFIXES)


def look() -> Look:
    """Everything that the programs keep, in their order and by name, with what is wrong and where was looked."""
    here = Look()
    for looker in (ollama.look, lmstudio.look, caches.look_in_llama_cpp, caches.look_in_hub_cache):
        looker(here)
    return here


def locate(reference: str) -> Path:
    """The first file of the model that another program calls so.

    Raises UnknownName, BadValue, and ModelFileError for a model that is not whole or is none that can be opened.
    """
    program = ollama if reference.startswith(ollama.PREFIX) else lmstudio
    if reference == program.PREFIX:
        raise BadValue("model", reference, f"it must look like {program.FORM}; `{LIST_COMMAND}` lists them")
    here = Look()
    program.look(here)
    wanted = program.whole_name(reference)
    found = {one.reference: one for one in here.found}
    one = found.get(wanted) or next((one for one in here.found if one.reference.lower() == wanted.lower()), None)
    if one is None and wanted in here.broken:
        raise ModelFileError(wanted, here.broken[wanted], next_step=f"Get it again in {program.PROGRAM}.")
    if one is None:
        raise UnknownName("model", reference, found, list_command=LIST_COMMAND)
    if one.problem is not None:
        raise ModelFileError(reference, one.problem, next_step=f"`{LIST_COMMAND}` lists what can be opened.")
    return one.path


def elsewhere(repo: str, file: str, sha256: str | None, size_bytes: int | None) -> Iterator[tuple[str, Path]]:
    """Files of other programs that may be the one called `file` of a repository of the hub, with whose they are.

    By the sha256 in a blob's name, or else by repository, name and size; whether the bytes are the same is not known.
    Of a model in several files none.
    """
    candidates = [
        *((ollama.PROGRAM, path) for path in blobs(sha256 or "")),
        *((lmstudio.PROGRAM, root / repo / file) for root in lmstudio.folders()),
        *((caches.LLAMA_CPP, path) for path in caches.in_llama_cpp(repo, file)),
    ]
    for program, path in candidates:
        if os.path.isfile(path) and (size_bytes is None or os.path.getsize(path) == size_bytes):
            yield program, path
