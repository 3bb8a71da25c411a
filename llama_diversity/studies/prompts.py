"""The prompts of a command: typed, from a file, or of a set that ships.

A file has a prompt a line, or is JSON Lines, JSON or CSV by its suffix. What looks like one of these under another
name is refused, so that no header and no bracket becomes a prompt. A command is printed with the prompts themselves, or
where they are too many with the digest of what the file held: it never means another file than it did.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from llama_diversity.errors import BadUsage, BadValue

PROMPT = "Grace Hopper was"  # the paper's, of several studies: so they have the same samples
MAX_TOKENS = 128  # of a completion of it

FILE_OPTION = "--prompts"
_DIGEST = "#sha256="
_MOST_TYPED = 2000  # characters of all prompts that a command line shows
_MOST_BYTES = 64 * 2**20
_FORMATS = "a prompt a line, or .jsonl, .ndjson, .json, .csv or .tsv"
_NOT_READ = frozenset(
    "parquet arrow feather avro orc xlsx xls ods numbers yaml yml toml xml html htm gz bz2 xz zst zip tar tgz 7z"
    " pickle pkl npy npz db sqlite sqlite3 gguf safetensors pdf doc docx odt rtf".split()
)


class Prompts(NamedTuple):
    """The prompts, the options that name them again, and where they are from: a `file` and its `sha256`, or a `set`."""

    texts: tuple[str, ...]
    words: tuple[str, ...]
    source: Mapping[str, str] = MappingProxyType({})  # empty: typed


def read_prompts(typed: Sequence[str], file: str | None, prompt_set: str | None) -> Prompts:
    """The prompts that a command line names. Raises BadValue, and BadUsage for more than one way."""
    if sum(map(bool, (typed, file, prompt_set))) > 1:
        raise BadUsage("Name prompts one way: -p, --prompts FILE or --set NAME.")
    if typed:
        texts = _different([_Found(one, one) for one in typed], "-p", "")
        return Prompts(texts, _as_typed(texts))
    if file is not None:
        return _of_file(file)
    return shipped(prompt_set)


def shipped(name: str | None = None) -> Prompts:
    """A set that ships, the openings where none is named. Raises BadValue."""
    sets = tomllib.loads(resources.files("llama_diversity").joinpath("data/prompts.toml").read_text("utf-8"))
    if name is not None and name not in sets:
        raise BadValue("--set", name, f"the sets are {', '.join(sets)}")
    return Prompts(tuple(sets[name or "openings"]), ("--set", name) if name else (), {"set": name or "openings"})


def _as_typed(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for one in texts for word in ("-p", one))


class _Found(NamedTuple):
    """A prompt, and in words where it stands."""

    place: str
    text: str


def _different(found: Sequence[_Found], option: str, value: str) -> tuple[str, ...]:
    if not found:
        raise BadValue(option, value, "there is no prompt in it")
    first: dict[str, str] = {}
    for one in found:
        if one.text in first:
            where = f"{first[one.text]} and {one.place}: " if value else ""
            raise BadValue(option, value or one.text, f"{where}the same prompt twice is not two prompts")
        first[one.text] = one.place
    return tuple(first)


# ---- files


def named_again(file: str, texts: Sequence[str]) -> str:
    """A file as a printed command names it: with the digest of what it held, so that it means nothing else."""
    return f"{file.partition(_DIGEST)[0]}{_DIGEST}{_held(texts)}"


def _held(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _of_file(name: str) -> Prompts:
    path, _, digest = (name, "", "") if Path(name).exists() else name.partition(_DIGEST)
    texts = _different(list(_read(Path(path))), FILE_OPTION, path)
    held = _held(texts)
    if digest and digest != held:
        raise BadValue(
            FILE_OPTION,
            path,
            "it holds other prompts than when this command was printed. `llamadiv report` shows the run with those it "
            f"had; for the new ones leave out {_DIGEST}{digest}",
        )
    is_short = sum(map(len, texts)) <= _MOST_TYPED and all(one.isprintable() and one != "-" for one in texts)
    words = _as_typed(texts) if is_short else (FILE_OPTION, named_again(path, texts))
    return Prompts(texts, words, {"file": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()})


def texts_of_file(path: Path, option: str, formats: str) -> tuple[str, ...]:
    """The prompts of a file that another option names, which are saved as `formats`. Raises BadValue."""
    return _different(list(_read(path, option, formats)), option, str(path))


def decoded(path: Path, option: str) -> str:
    """The text of a file that an option names. Raises BadValue."""
    try:
        return _decoded(path)
    except _Malformed as reason:
        raise BadValue(option, str(path), str(reason)) from reason


def _read(path: Path, option: str = FILE_OPTION, formats: str = _FORMATS) -> Iterator[_Found]:
    """The prompts of a file by its suffix. Raises BadValue."""
    suffix = path.suffix.casefold().removeprefix(".")
    if suffix in _NOT_READ:
        raise BadValue(option, str(path), f"a .{suffix} file is not read; save the prompts as {formats}")
    readers = {"jsonl": _json_lines, "ndjson": _json_lines, "json": _json, "csv": _table, "tsv": _table}
    try:
        yield from readers.get(suffix, _lines)(_decoded(path))
    except _Malformed as reason:
        raise BadValue(option, str(path), str(reason)) from reason


class _Malformed(ValueError):
    """What is wrong with the content of a file, to go on behind its name."""


def _decoded(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _Malformed(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(content) > _MOST_BYTES:
        raise _Malformed(f"it is larger than {_MOST_BYTES >> 20} MiB")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise _Malformed("it is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows begin a file with a mark
    except UnicodeDecodeError as error:
        raise _Malformed("it is no UTF-8; save it as UTF-8") from error
    if "\0" in text:
        raise _Malformed("it holds null characters, so it is no text, or UTF-16; save it as UTF-8")
    return text


def _rows(text: str) -> list[tuple[int, str]]:
    """Lines that are not blank with their numbers; they end at line feeds, or of a file without any at returns.

    Not by str.splitlines: a prompt may hold U+2028 and its like, and a JSON string unescaped ones.
    """
    lines = text.split("\n" if "\n" in text else "\r")
    return [(at, line.removesuffix("\r")) for at, line in enumerate(lines, 1) if line.strip()]


def _lines(text: str) -> Iterator[_Found]:
    rows = _rows(text)
    first = rows[0][1] if rows else ""
    are_strings = len(rows) > 1 and all(isinstance(_parsed(line), str) for _, line in rows)
    if isinstance(_parsed(first), dict) or are_strings:
        raise _Malformed("its lines look like JSON; name it .jsonl")
    if isinstance(_parsed(text), list | dict) and '"' in text:
        raise _Malformed("it looks like JSON; name it .json")
    if any("prompt" in _columns(first, mark) for mark in _DELIMITERS):
        raise _Malformed("its first line looks like the head of a table; name it .csv or .tsv, or leave that line out")
    return (_Found(f"line {at}", line) for at, line in rows)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None


class _Repeated:
    """Stands for an object that has its field `prompt`, or `prompts`, more than once: which is meant nobody knows."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    keys = [key for key, _ in pairs]
    return found | {key: _Repeated() for key in ("prompt", "prompts") if keys.count(key) > 1}


def _json_lines(text: str) -> Iterator[_Found]:
    return (_Found(f"line {at}", _prompt_of(_parsed(line), f"line {at}")) for at, line in _rows(text))


def _json(text: str) -> Iterator[_Found]:
    found = _parsed(text)
    if isinstance(found, dict):
        found = found.get("prompts")
    if isinstance(found, _Repeated):
        raise _Malformed("it has the field `prompts` more than once; leave one")
    if not isinstance(found, list):
        raise _Malformed(
            "it is no JSON list of strings, or of objects with a field `prompt`; of JSON a line each the name is .jsonl"
        )
    return (_Found(f"entry {at}", _prompt_of(one, f"entry {at}")) for at, one in enumerate(found, 1))


def _prompt_of(entry: Any, place: str) -> str:
    """A string, or the field `prompt` of an object. Raises _Malformed."""
    if isinstance(entry, dict) and "prompt" in entry:
        prompt, what = entry["prompt"], f"the field `prompt` of {place}"
    elif isinstance(entry, str):
        prompt, what = entry, place
    else:
        raise _Malformed(f"{place} is neither a JSON string nor an object with a field `prompt`")
    if isinstance(prompt, _Repeated):
        raise _Malformed(f"{what} is there more than once; leave one")
    if not isinstance(prompt, str):
        raise _Malformed(f"{what} must be text")
    if not prompt.strip():
        raise _Malformed(f"{what} is blank; leave it out")
    if any("\ud800" <= char <= "\udfff" for char in prompt):
        raise _Malformed(f"{what} holds half a character, a surrogate without its other half")
    return prompt


# ---- tables

_DELIMITERS = (",", ";", "\t")


def _columns(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip().casefold() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _table(text: str) -> Iterator[_Found]:
    """The column `prompt`, whatever stands between columns."""
    first = next((line for _, line in _rows(text)), "")
    heads = {mark: _columns(first, mark) for mark in _DELIMITERS}
    named = [mark for mark, head in heads.items() if "prompt" in head]
    if not named:
        columns = max(heads.values(), key=len)
        raise _Malformed(
            f"its first line must name a column `prompt`; it names {', '.join(map(repr, columns)) or 'none'}"
        )
    head = heads[named[0]]
    if head.count("prompt") > 1:
        raise _Malformed("its first line names two columns `prompt`")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=named[0], strict=True)
    return _cells(reader, head.index("prompt"))


def _cells(reader: Iterable[list[str]], column: int) -> Iterator[_Found]:
    try:
        rows = [(at, row) for at, row in enumerate(reader, 1) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _Malformed(f"it cannot be read as a table: {error}") from error
    for at, row in rows[1:]:
        if len(row) <= column:
            raise _Malformed(f"row {at} has no column `prompt`")
        yield _Found(f"row {at}", _prompt_of(row[column], f"the cell `prompt` of row {at}"))
