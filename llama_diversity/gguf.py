"""What the header of a GGUF file says: metadata, the table of tensors, and which files make up one model.

It knows the format (ggml's docs/gguf.md, versions 2 and 3) and reads it without llama.cpp, so that a file can be
judged before a library opens it. It refuses to know what an architecture is or which models can be used (engines).
Nothing is allocated on a file's word: a length is compared with the bytes that are there, and long arrays, like a
vocabulary, are stepped over and read when asked for.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llama_diversity.errors import ModelFileError

VERSIONS = (2, 3)  # 1 had lengths of 32 bits
MAX_ARRAY_LENGTH = 1 << 24  # a vocabulary holds 2**18, its merges 2**19
MAX_STRING_BYTES = 1 << 28  # a whole tokenizer.json is 2**25
MAX_DIMENSIONS = 4

_BLOCK_BYTES = 1 << 20
_LENGTH = struct.Struct("=Q")
_SCALARS = {
    number: (name, struct.Struct(f"={code}"))
    for number, name, code in (
        (0, "uint8", "B"),
        (1, "int8", "b"),
        (2, "uint16", "H"),
        (3, "int16", "h"),
        (4, "uint32", "I"),
        (5, "int32", "i"),
        (6, "float32", "f"),
        (7, "bool", "?"),
        (10, "uint64", "Q"),
        (11, "int64", "q"),
        (12, "float64", "d"),
    )
}
_STRING, _ARRAY = 8, 9
_CODES = {name: scalar.format[1:] for name, scalar in _SCALARS.values()}

_AGAIN = "Download it again."
_CONVERT = "Convert the model with llama.cpp's convert_hf_to_gguf.py."
_OTHER_FILES = (  # first bytes, what they are a sign of, what to do
    (b"version https://git-lfs", "this is a Git LFS pointer and not the file itself", "Fetch it with `git lfs pull`."),
    ((b"lmgg", b"fmgg", b"tjgg"), "this is a GGML file from before GGUF", _CONVERT),
)


class TensorType(NamedTuple):
    """How weights are stored: `n_bytes` for each block of `n_values`; 0 for types that llama.cpp has removed."""

    name: str
    n_values: int
    n_bytes: int


TENSOR_TYPES: Mapping[int, TensorType] = {
    number: TensorType(*fields)
    for number, fields in {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        4: ("Q4_2", 0, 0),
        5: ("Q4_3", 0, 0),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        9: ("Q8_1", 32, 36),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1),
        25: ("I16", 1, 2),
        26: ("I32", 1, 4),
        27: ("I64", 1, 8),
        28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        31: ("Q4_0_4_4", 0, 0),
        32: ("Q4_0_4_8", 0, 0),
        33: ("Q4_0_8_8", 0, 0),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        36: ("IQ4_NL_4_4", 0, 0),
        37: ("IQ4_NL_4_8", 0, 0),
        38: ("IQ4_NL_8_8", 0, 0),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
        41: ("Q1_0", 128, 18),
        42: ("Q2_0", 64, 18),
    }.items()
}
"""Of llama.cpp in llama-cpp-python 0.3.36; what is not here is newer."""


@dataclass(frozen=True)
class Array:
    """An array of the metadata: its length at once, its values when asked for."""

    element: str  # "string", or a number's type: "uint8" to "float64", "bool"
    length: int
    path: Path
    start: int  # place of the first value in the file, bytes
    end: int

    def __len__(self) -> int:
        return self.length

    def values(self) -> list[Any]:
        """The numbers, or the strings as bytes. Raises ModelFileError for a file that changed meanwhile."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                data = file.read(self.end - self.start)
            if len(data) < self.end - self.start:
                raise _Damage("it ends inside its header")
            if self.element != "string":
                return list(struct.unpack(f"={self.length}{_CODES[self.element]}", data))
            return list(_strings(data, self.length))
        except (OSError, _Damage) as error:
            raise _refusal(self.path, error) from error


class Tensor(NamedTuple):
    """One line of the table of tensors. `shape` as ggml orders it, the contiguous dimension first."""

    name: str
    shape: tuple[int, ...]
    type_number: int
    offset: int  # from the start of the data, bytes

    @property
    def type(self) -> TensorType | None:
        """How it is stored; None for a type that is not known here."""
        return TENSOR_TYPES.get(self.type_number)

    @property
    def n_bytes(self) -> int | None:
        """The bytes of its weights; None where they cannot be known."""
        if self.type is None or not self.type.n_values:
            return None
        return math.prod(self.shape) // self.type.n_values * self.type.n_bytes


@dataclass(frozen=True)
class Header:
    """The header of one file. `metadata` holds numbers, bools, strings and Arrays; `types` names the type of each."""

    path: Path
    version: int
    metadata: Mapping[str, Any]
    types: Mapping[str, str]
    tensors: tuple[Tensor, ...]
    data_start: int  # where the weights begin, bytes
    size_bytes: int  # of the file

    @property
    def needed_bytes(self) -> int | None:
        """How long the file must be for its tensors; None where one is of a type that is not known here."""
        ends = [self.data_start]
        for tensor in self.tensors:
            if tensor.n_bytes is None:
                return None
            ends.append(self.data_start + tensor.offset + tensor.n_bytes)
        return max(ends)

    def require_whole(self) -> None:
        """Raise ModelFileError for a file that ends before its last tensor does."""
        if self.needed_bytes is not None and self.needed_bytes > self.size_bytes:
            reason = f"the file is truncated: it has {self.size_bytes:,} of {self.needed_bytes:,} bytes"
            raise ModelFileError(self.path, reason, next_step=_AGAIN)


class _Damage(Exception):
    """What is wrong with the bytes, as a reason of a ModelFileError."""


# --- One file --------------------------------------------------------------------------------------------------------


def read_header(path: Path) -> Header:
    """The header of the file at `path`. Raises ModelFileError with what is wrong: this is no GGUF file, a version or
    byte order that llama.cpp does not read, or a header that is cut off or contradicts itself.
    """
    with _opened(path) as (reader, version):
        return _read(reader, version)


def read_start(path: Path) -> dict[str, Any]:
    """The metadata that stands before the tokenizer's, quickly: kind, architecture, shapes. Raises as `read_header`."""
    metadata: dict[str, Any] = {}
    with _opened(path) as (reader, _):
        reader.count("tensors", 24)
        for _ in range(reader.count("metadata", 13)):
            key = reader.text()
            if key.startswith("tokenizer."):
                break
            metadata[key], _ = reader.value(key)
    return metadata


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[_Reader, int]]:
    """The file behind its version number. What is wrong with it, or found to be by the block, is a ModelFileError."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            reader = _Reader(path, file)
            yield reader, _check_start(path, reader)
    except (OSError, _Damage) as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> ModelFileError:
    if isinstance(error, OSError):
        return ModelFileError(path, f"it cannot be read ({error.strerror})", next_step="Check its permissions.")
    return ModelFileError(path, str(error), next_step=_AGAIN)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelFileError(path, "this is a folder", next_step="Name the .gguf file inside it.")
    if not path.exists():
        raise ModelFileError(path, "there is no such file", next_step="Check the path, or see `llamadiv models ls`.")
    if not path.is_file():
        raise ModelFileError(path, "this is not a file", next_step="Name the .gguf file itself.")


def _check_start(path: Path, reader: _Reader) -> int:
    """The version of a file that can be read."""
    start = reader.peek(32)
    if not start:
        raise _Damage("the file is empty")
    if start[:4] != b"GGUF":
        reason, next_step = next(
            ((reason, next_step) for sign, reason, next_step in _OTHER_FILES if start.startswith(sign)),
            ("this is not a GGUF file", _CONVERT),
        )
        raise ModelFileError(path, reason, next_step=next_step)
    reader.take(4)
    version = int(reader.number(4))
    if not version & 0xFFFF:
        other = "big" if sys.byteorder == "little" else "little"
        raise ModelFileError(
            path,
            f"it was written for machines of the other byte order ({other}-endian)",
            next_step="Choose a file for this machine, or convert it with the script gguf-convert-endian of `gguf`.",
        )
    if version not in VERSIONS:
        next_step = "Upgrade llama-cpp-python." if version > VERSIONS[-1] else "Choose a newer file of the model."
        reason = f"it is GGUF version {version}, and llama.cpp reads versions {VERSIONS[0]} and {VERSIONS[1]}"
        raise ModelFileError(path, reason, next_step=next_step)
    return version


def _read(reader: _Reader, version: int) -> Header:
    n_tensors, n_pairs = reader.count("tensors", 24), reader.count("metadata", 13)
    metadata: dict[str, Any] = {}
    types: dict[str, str] = {}
    for _ in range(n_pairs):
        key = reader.text()
        if key in metadata:
            raise _Damage(f"its header is damaged: the key {key!r} stands there twice")
        metadata[key], types[key] = reader.value(key)
    tensors = tuple(_tensors(reader, n_tensors))
    alignment = metadata.get("general.alignment", 32)
    if types.get("general.alignment", "uint32") != "uint32" or alignment.bit_count() != 1:
        raise _Damage("its header is damaged: general.alignment is no power of two")
    return Header(
        path=reader.path,
        version=version,
        metadata=metadata,
        types=types,
        tensors=tensors,
        data_start=-(-reader.position // alignment) * alignment,
        size_bytes=reader.size_bytes,
    )


def _tensors(reader: _Reader, n_tensors: int) -> Iterator[Tensor]:
    seen = set()
    for _ in range(n_tensors):
        name = reader.text()
        if name in seen:
            raise _Damage(f"its header is damaged: the tensor {name!r} stands there twice")
        seen.add(name)
        n_dimensions = int(reader.number(4))
        if n_dimensions > MAX_DIMENSIONS:
            raise _Damage(f"its header is damaged: the tensor {name!r} has {n_dimensions} dimensions")
        shape = tuple(int(reader.number(11)) for _ in range(n_dimensions))
        if any(length < 0 for length in shape):
            raise _Damage(f"its header is damaged: the tensor {name!r} has a negative length")
        yield Tensor(name, shape, type_number=int(reader.number(5)), offset=int(reader.number(10)))


class _Reader:
    """The file from its start, never beyond its end."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.size_bytes = file.seek(0, 2)
        self.position = file.seek(0)

    def peek(self, n_bytes: int) -> bytes:
        data = self._file.read(n_bytes)
        self._file.seek(self.position)
        return data

    def take(self, n_bytes: int) -> bytes:
        self._require(n_bytes)
        data = self._file.read(n_bytes)
        self.position += len(data)
        if len(data) < n_bytes:
            raise _Damage("it became shorter while it was read")
        return data

    def number(self, kind: int) -> Any:
        """One number of the type with this number."""
        scalar = _SCALARS[kind][1]
        return scalar.unpack(self.take(scalar.size))[0]

    def count(self, what: str, least_bytes: int) -> int:
        """How many `what` follow, each of `least_bytes` at least."""
        count = int(self.number(10))
        if count * least_bytes > self.size_bytes:
            raise _Damage(f"its header is damaged: it claims {count:,} {what}, more than the file has room for")
        return count

    def text(self) -> str:
        length = int(self.number(10))
        self._require(length)
        if length > MAX_STRING_BYTES:
            raise _Damage(f"its header is damaged: it claims a text of {length:,} bytes")
        return self.take(length).decode("utf-8", "replace")

    def value(self, key: str) -> tuple[Any, str]:
        """The value of `key`, and its type in words."""
        kind = int(self.number(4))
        if kind == _STRING:
            return self.text(), "string"
        if kind in _SCALARS:
            return self.number(kind), _SCALARS[kind][0]
        if kind != _ARRAY:
            raise _Damage(f"its header is damaged: {key!r} is of an unknown type ({kind})")
        array = self._array(key)
        return array, f"array of {array.element}"

    def _array(self, key: str) -> Array:
        kind, length = int(self.number(4)), int(self.number(10))
        if kind != _STRING and kind not in _SCALARS:
            raise _Damage(f"its header is damaged: {key!r} is an array of an unknown type ({kind})")
        size = _LENGTH.size if kind == _STRING else _SCALARS[kind][1].size
        self._require(length * size)
        if length > MAX_ARRAY_LENGTH:
            raise _Damage(f"its header is damaged: {key!r} claims {length:,} values")
        start = self.position
        end = self._end_of_strings(length) if kind == _STRING else start + length * size
        self.position = self._file.seek(end)
        return Array("string" if kind == _STRING else _SCALARS[kind][0], length, self.path, start, end)

    def _end_of_strings(self, n_strings: int) -> int:
        """The place after `n_strings` strings, found by their lengths, a block of the file at a time."""
        length_at, size = _LENGTH.unpack_from, _LENGTH.size
        place = self.position
        while n_strings:
            self._file.seek(place)
            block = self._file.read(_BLOCK_BYTES)
            at, last = 0, len(block) - size
            while at <= last and n_strings:
                at += size + length_at(block, at)[0]
                n_strings -= 1
            place += at
            if not at or place > self.size_bytes:
                raise _Damage("it ends inside its header")
        return place

    def _require(self, n_bytes: int) -> None:
        if n_bytes > self.size_bytes - self.position:
            raise _Damage("it ends inside its header")


def _strings(data: bytes, n_strings: int) -> Iterator[bytes]:
    at = 0
    for _ in range(n_strings):
        if at + _LENGTH.size > len(data):
            raise _Damage("it ends inside its header")
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0]
        yield data[start:at]


# --- All files of a model --------------------------------------------------------------------------------------------

_SHARD_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL | re.ASCII)


def shard_names(name: str) -> tuple[str, ...]:
    """The names of all files of a model, if `name` is that of the first of several; else `name` alone.

    >>> shard_names("m-00001-of-00002.gguf"), shard_names("m-00002-of-00002.gguf"), shard_names("m.gguf")
    (('m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'), ('m-00002-of-00002.gguf',), ('m.gguf',))
    """
    match = _SHARD_NAME.fullmatch(name)
    if match is None or int(match["number"]) != 1:
        return (name,)
    return tuple(_shard_name(match["prefix"], number, int(match["count"])) for number in range(int(match["count"])))


def first_shard_name(name: str) -> str:
    """The name of the first file of the model that the file called `name` belongs to: `name`, but for a later one.

    >>> first_shard_name("m-00002-of-00003.gguf"), first_shard_name("m.gguf")
    ('m-00001-of-00003.gguf', 'm.gguf')
    """
    match = _SHARD_NAME.fullmatch(name)
    return _shard_name(match["prefix"], 0, int(match["count"])) if match else name


def is_shard_name(name: str) -> bool:
    """Whether `name` is that of one of several files, as llama.cpp wants them to be called."""
    return bool(_SHARD_NAME.fullmatch(name))


def _shard_name(prefix: str, number: int, count: int) -> str:
    return f"{prefix}-{number + 1:05}-of-{count:05}.gguf"


def shards(path: Path) -> tuple[Path, ...]:
    """All files of the model whose first one is at `path`, in order: `path` alone where the model is not split.

    Raises ModelFileError for a later one, with the name of the first, for one that is missing, and for files that do
    not belong together.
    """
    first = read_header(path)
    count = _split(first, "split.count", 1)
    if count <= 1:
        return (path,)
    number = _split(first, "split.no", 0)
    match = _SHARD_NAME.fullmatch(path.name)
    if match is None or (int(match["number"]), int(match["count"])) != (number + 1, count):
        reason = f"it is file {number + 1} of a model split into {count}, and llama.cpp finds the others by their names"
        next_step = f"Give its files back the names they came with, ending in {_shard_name('', number, count)}."
        raise ModelFileError(path, reason, next_step=next_step)
    files = tuple(path.with_name(_shard_name(match["prefix"], other, count)) for other in range(count))
    if number:
        reason = f"it is file {number + 1} of a model split into {count}"
        raise ModelFileError(path, reason, next_step=f"Name the first one, {files[0].name}.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        reason = f"the model is split into {count} files, and {len(missing)} of them {_are(missing)} not beside it"
        raise ModelFileError(path, reason, next_step=f"Fetch {_listed(missing)} into the same folder.")
    _check_together(first, [read_header(file) for file in files[1:]], count)
    return files


def _check_together(first: Header, others: list[Header], count: int) -> None:
    for number, header in enumerate(others, 1):
        found = _split(header, "split.no", -1) + 1, _split(header, "split.count", 1)
        if found != (number + 1, count):
            reason = (
                f"it should be file {number + 1} of {count} of a model, and says that it is {found[0]} of {found[1]}"
            )
            raise ModelFileError(header.path, reason, next_step="Fetch all files of the model from one place.")
    tensors = Counter(tensor.name for header in (first, *others) for tensor in header.tensors)
    expected = first.metadata.get("split.tensors.count")
    if tensors.total() != expected or len(tensors) != expected:
        reason = f"its {count} files hold {len(tensors)} different tensors where it announces {expected}"
        next_step = "They do not belong together. Fetch all files of the model from one place."
        raise ModelFileError(first.path, reason, next_step=next_step)


def _split(header: Header, key: str, otherwise: int) -> int:
    value = header.metadata.get(key, otherwise)
    if header.types.get(key, "uint16") != "uint16":  # llama.cpp ends the process over another type
        raise ModelFileError(header.path, f"its header is damaged: {key} is a {header.types[key]}", next_step=_AGAIN)
    return int(value)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
