"""LM Studio's folder: GGUF files below PUBLISHER/REPO, as on the hub.

Where this was seen: the folder in src/modelsFolder.ts of lmstudio-ai/lms (`downloadsFolder` of settings.json, else
`models` of the home), the home in packages/lms-common-server/src/findLMStudioHome.ts of lmstudio-ai/lmstudio-js
(LMSTUDIO_HOME, ~/.lmstudio-home-pointer, ~/.cache/lm-studio, ~/.lmstudio); what is below it in the documentation,
https://lmstudio.ai/docs/advanced/sideload.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from llama_diversity.neighbours.files import Found, Look, gguf_files, home, kind_by_name, models_of, set_folder

PROGRAM = "LM Studio"
PREFIX = "lmstudio:"
FORM = "lmstudio:PUBLISHER/REPO/FILE.gguf"

_LONGEST_BYTES = 1 << 20  # of what is read here


def folders() -> list[Path]:
    """Where LM Studio keeps models: where its settings say, and `models` of each home it has or had."""
    found: list[Path] = []
    for place in _homes():
        settings = _text(place / "settings.json")
        named = _downloads_folder(settings) if settings else None
        found += [place / named] if named else []  # a relative one is below the home
        found.append(place / "models")
    return list(dict.fromkeys(found))


def _homes() -> Iterator[Path]:
    named, own = set_folder("LMSTUDIO_HOME"), home()
    if named:
        yield named
    if own:
        pointer = _text(own / ".lmstudio-home-pointer")
        if pointer and os.path.isabs(pointer.strip()):
            yield Path(pointer.strip())
        yield own / ".lmstudio"
        yield own / ".cache" / "lm-studio"


def _text(path: Path) -> str | None:
    """What a small file says; None where there is none that can be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _downloads_folder(settings: str) -> str | None:
    try:
        read = json.loads(settings)
    except (ValueError, RecursionError):
        return None
    named = read.get("downloadsFolder") if isinstance(read, dict) else None
    return os.path.expanduser(named) if isinstance(named, str) and named.strip() else None


def whole_name(reference: str) -> str:
    """The reference as `look` has it: it is whole."""
    return reference


def look(here: Look) -> None:
    """All models of all folders; a name is of the first that has it."""
    taken: set[str] = set()
    for folder in folders():
        if not os.path.isdir(folder):
            continue
        here.folders.append(folder)
        for path, size_bytes, n_files, problem in models_of(gguf_files(folder, here), here):
            name = PREFIX + path.relative_to(folder).as_posix()
            if name in taken:
                continue
            taken.add(name)
            kind = kind_by_name(path.name)
            if kind == "projector":
                problem = "it is the projector of a model beside it, no model by itself"
            here.found.append(Found(name, PROGRAM, path, size_bytes, kind=kind, n_files=n_files, problem=problem))
