"""What is put otherwise: the prompts that ship, or a file of one's own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.studies.prompts import decoded, texts_of_file
from llama_diversity.studies.reframe.analysis import LEAST_REFRAMINGS

FILE_OPTION = "--reframings"
_DIGEST = "#sha256="
_KEYS = {"original", "reframings"}
_FORMATS = "a line each, .jsonl, .json, .csv or .toml"


class Reframed(NamedTuple):
    """A prompt and its other ways."""

    name: str
    original: str
    reframings: tuple[str, ...]


class Chosen(NamedTuple):
    """What is asked, and the options that name it again."""

    sets: tuple[Reframed, ...]
    words: tuple[str, ...]


def read_sets(names: Sequence[str], file: str | None) -> Chosen:
    """The sets of these names, of a file or else of those that ship; all of them where none is named.

    Raises BadValue, and BadUsage for a name twice.
    """
    path, every = (None, shipped()) if file is None else _of_file(file)
    known = {one.name: one for one in every}
    for name in names:
        if name not in known:
            raise BadValue("--set", name, f"the sets are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise BadUsage("A set is named twice; leave one out.")
    chosen = tuple(known[name] for name in names) or every
    named = () if path is None else (FILE_OPTION, path)
    return Chosen(chosen, (*named, *(word for name in names for word in ("--set", name))))


def shipped() -> tuple[Reframed, ...]:
    """The paper's prompts, each put otherwise in thirty ways."""
    text = resources.files("llama_diversity").joinpath("data/reframings.toml").read_text("utf-8")
    return _of_toml(tomllib.loads(text), "data/reframings.toml")


def _of_file(named: str) -> tuple[str, tuple[Reframed, ...]]:
    """What a file holds, and how a command names it: with the digest of what it held."""
    name, _, digest = (named, "", "") if Path(named).exists() else named.partition(_DIGEST)
    path = Path(name)
    if path.suffix.casefold() == ".toml":
        found = _of_toml(_parsed(path), name)
    else:
        texts = texts_of_file(path, FILE_OPTION, f"{_FORMATS}; the first is the original")
        found = (_checked(path.stem, texts[0], texts[1:], name),)
    held = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
    if digest and digest != held:
        raise BadValue(
            FILE_OPTION,
            name,
            "it holds other reframings than when this command was printed; for the new ones leave out "
            f"{_DIGEST}{digest}",
        )
    return f"{name}{_DIGEST}{held}", found


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(decoded(path, FILE_OPTION))
    except tomllib.TOMLDecodeError as error:
        raise BadValue(FILE_OPTION, str(path), f"it is no TOML: {str(error).rstrip('.')}") from error


def _of_toml(tables: Mapping[str, Any], name: str) -> tuple[Reframed, ...]:
    """One table a prompt; or at the top `original` and `reframings` of a single one. Raises BadValue."""
    if set(tables) & _KEYS:
        tables = {Path(name).stem: tables}
    found = []
    for key, table in tables.items():
        if not isinstance(table, dict) or set(table) != _KEYS:
            raise BadValue(
                FILE_OPTION, name, f"the table {key} must hold `original` and `reframings`, and nothing else"
            )
        original, texts = table["original"], table["reframings"]
        if not isinstance(original, str) or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise BadValue(FILE_OPTION, name, f"in {key} `original` must be a text and `reframings` a list of texts")
        found.append(_checked(key, original, texts, name))
    if not found:
        raise BadValue(FILE_OPTION, name, "there is no prompt in it")
    return tuple(found)


def _checked(key: str, original: str, texts: Sequence[str], name: str) -> Reframed:
    every = [original, *texts]
    if not all(one.strip() for one in every):
        raise BadValue(FILE_OPTION, name, f"in {key} a text is blank; leave it out")
    if len(set(every)) < len(every):
        twice = next(one for one in every if every.count(one) > 1)
        raise BadValue(FILE_OPTION, name, f"in {key} “{twice[:60]}” is there twice; a reframing is another text")
    if len(texts) < LEAST_REFRAMINGS:
        raise BadValue(
            FILE_OPTION,
            name,
            f"in {key} the original has {len(texts)} reframings; {LEAST_REFRAMINGS} or more tell something",
        )
    return Reframed(key, original, tuple(texts))
