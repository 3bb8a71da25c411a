"""GGUF files in the Hugging Face cache and in llama.cpp's own.

Where this was seen: common/hf-cache.cpp of ggml-org/llama.cpp (LLAMA_CACHE before the variables of the hub, then the
same folders and names as the hub's client; flat files OWNER_REPO_FILE from before that are moved there) and
fs_get_cache_directory in its common/common.cpp (LLAMA_CACHE, else llama.cpp below the user's cache). The layout of the
Hugging Face cache is documented at https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from llama_diversity.neighbours.files import (
    SHA256_HEX,
    Found,
    Look,
    gguf_files,
    home,
    kind_by_name,
    models_of,
    set_folder,
    with_tilde,
)

LLAMA_CPP = "llama.cpp"
HUB = "the Hugging Face cache"

_REPO = "models--"


def hub_cache() -> Path | None:
    """The cache that Hugging Face tools share, by the variables that its client reads; None without a home."""
    named = set_folder("HF_HUB_CACHE") or set_folder("HUGGINGFACE_HUB_CACHE")
    if named:
        return named
    tools, caches, own = set_folder("HF_HOME"), set_folder("XDG_CACHE_HOME"), home()
    if tools:
        return tools / "hub"
    below = caches or (own / ".cache" if own else None)
    return below / "huggingface" / "hub" if below else None


def llama_cpp_cache() -> Path | None:
    """llama.cpp's own cache; None without a home."""
    named = set_folder("LLAMA_CACHE")
    if named:
        return named
    caches, own = set_folder("XDG_CACHE_HOME"), home()
    if sys.platform == "darwin":
        return own / "Library" / "Caches" / "llama.cpp" if own else None
    below = caches or (own / ".cache" if own else None)
    return below / "llama.cpp" if below else None


def in_hub_cache(repo: str, file: str, revision: str | None) -> Path | None:
    """Where a file of the hub is in the cache, None if it is not: what the client says of it, without the client."""
    if hub_cache() is None:
        return None
    path = place_in_hub_cache(repo, file, revision)
    return path if os.path.isfile(path) else None


def place_in_hub_cache(repo: str, file: str, revision: str | None) -> Path:
    """Where the client looks for a file of the hub, whether it is there or not. A home is needed, or a folder set."""
    folder = (hub_cache() or Path()) / f"{_REPO}{repo.replace('/', '--')}"
    return folder / "snapshots" / (_commit(folder, revision or "main") or revision or "main") / file


def in_llama_cpp(repo: str, file: str) -> Iterator[Path]:
    """Where llama.cpp would keep a file of the hub, now and before."""
    cache = llama_cpp_cache()
    if cache is not None:
        yield cache / f"{repo}/{file}".replace("/", "_")
        folder = cache / f"{_REPO}{repo.replace('/', '--')}"
        commit = _commit(folder, "main")
        if commit:
            yield folder / "snapshots" / commit / file


def look_in_llama_cpp(here: Look) -> None:
    """The files of llama.cpp's cache, named by their paths."""
    cache = llama_cpp_cache()
    if cache is None or not os.path.isdir(cache) or cache == hub_cache():
        return
    here.folders.append(cache)
    for path, size_bytes, n_files, problem in models_of(gguf_files(cache, here), here):
        stated = _stated(path)
        name = with_tilde(path)
        here.found.append(_found(name, LLAMA_CPP, path, size_bytes, stated, n_files, problem))


def look_in_hub_cache(here: Look) -> None:
    """The files of the Hugging Face cache; those of a branch's newest commit by the branch, others by their commit."""
    cache = hub_cache()
    if cache is None or not os.path.isdir(cache):
        return
    here.folders.append(cache)
    for entry in here.entries(cache):
        parts = entry.name.removeprefix(_REPO).split("--")
        if entry.name.startswith(_REPO) and len(parts) == 2 and entry.is_dir():
            _look_in_repo(Path(entry.path), "/".join(parts), here)


def _look_in_repo(folder: Path, repo: str, here: Look) -> None:
    main = _commit(folder, "main")
    snapshots = sorted(here.entries(folder / "snapshots"), key=lambda entry: entry.name != main)
    seen: set[tuple[str, str]] = set()
    for snapshot in snapshots:
        if not snapshot.is_dir():
            continue
        for path, size_bytes, n_files, problem in models_of(gguf_files(Path(snapshot.path), here), here):
            file = path.relative_to(snapshot.path).as_posix()
            same = (file, os.path.realpath(path))
            if same in seen:
                continue
            seen.add(same)
            is_plain = not any(mark in file for mark in "@:") and not any(letter.isspace() for letter in file)
            at = "" if snapshot.name == (main or "main") else f"@{snapshot.name}"
            name = f"hf:{repo}:{file}{at}" if is_plain else with_tilde(path)
            here.found.append(_found(name, HUB, path, size_bytes, _stated(path), n_files, problem))


def _found(
    name: str, program: str, path: Path, size_bytes: int, sha256: str | None, n_files: int, problem: str | None
) -> Found:
    kind = kind_by_name(path.name)
    if kind == "projector":
        problem = "it is the projector of a model beside it, no model by itself"
    return Found(name, program, path, size_bytes, sha256 if n_files == 1 else None, kind, n_files, problem)


def _commit(folder: Path, revision: str) -> str | None:
    """The commit that a branch or tag of a cached repository means."""
    try:
        return (folder / "refs" / revision).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _stated(path: Path) -> str | None:
    """The sha256 that the cache names the blob by."""
    if not os.path.islink(path):
        return None
    name = os.path.basename(os.readlink(path))
    return name if SHA256_HEX.fullmatch(name) else None
