"""A model between two of one shape, or beyond them: theta = (1 - alpha) a + alpha b, weight by weight.

Files are read and written piece by piece, so that a model need not fit into memory. Sums are of double precision, and
rounded once to the type of the files. Where a coefficient is 0 or 1 the bytes of F32, F16 and BF16 are those of the
file itself; Q8_0 is quantised anew everywhere, so that all blends of a pair went through the same rounding: compare
them with the ends that alpha 0 and 1 give, not with the files they are made of.

Needs the `gguf` package (extra `lab`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt

from llama_diversity import digests
from llama_diversity.decimals import readable_bytes
from llama_diversity.errors import BadValue, LlamadivError, ModelFileError
from llama_diversity.gguf import Array, Header, Tensor, read_header
from llama_diversity.records import ModelRef

RECIPE_KEY = "llamadiv.blend"  # JSON text: both files by sha256, and the rule
LEAST, MOST = -0.5, 1.5
KINDS = ("F32", "F16", "BF16", "Q8_0")
_CHUNK = 1 << 20  # weights that are in memory at once, times a few of eight bytes; whole blocks of every kind
_TEMPLATE, _LICENCE = "tokenizer.chat_template", "general.license"
_LEFT_OUT = {  # of b's metadata: what the writer says itself, and what is true of b alone
    "general.architecture", "general.alignment", "general.name", "general.description", "llamadiv.provenance",
    RECIPE_KEY, _LICENCE,
}  # fmt: skip
_NOT_OF_THE_WEIGHTS = {"context_length"}  # settings of the architecture that may differ: b's is taken
_BLOCK = re.compile(r"blk\.(\d+)\.")

Bytes = npt.NDArray[np.uint8]
Show = Callable[[float, str], None]  # hears the share that is done, and words for it


class NotBlendable(LlamadivError):
    """Two files whose weights do not belong to one another."""


@dataclass(frozen=True)
class Rule:
    """How much of b is in each tensor: `alpha`, or from `shallow` in the first block to `alpha` in the last."""

    alpha: float
    shallow: float | None = None

    def __post_init__(self) -> None:
        """Raises BadValue."""
        for option, value in (("--alpha", self.alpha), ("--shallow", self.shallow)):
            if value is not None and not LEAST <= value <= MOST:
                allowed = f"it must lie from {LEAST} to {MOST}: 0 is A, 1 is B, what lies beyond extrapolates"
                raise BadValue(option, value, allowed)

    def coefficient(self, tensor: str, n_blocks: int) -> float:
        """Of block l of L: shallow + (alpha - shallow) l / (L - 1). What stands before the blocks has the first one's.

        >>> [Rule(1.0, shallow=0.2).coefficient(f"blk.{block}.ffn_up.weight", 5) for block in range(5)]
        [0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Rule(1.0, shallow=0.2).coefficient("token_embd.weight", 5), Rule(0.5).coefficient("token_embd.weight", 5)
        (0.2, 0.5)
        """
        if self.shallow is None:
            return self.alpha
        block = _BLOCK.match(tensor)
        if block is None:
            return self.shallow if tensor.startswith(("token_", "position_")) else self.alpha
        depth = int(block[1]) / (n_blocks - 1) if n_blocks > 1 else 1.0
        return (1 - depth) * self.shallow + depth * self.alpha  # exact at both ends


class Source(NamedTuple):
    """One of the two files: its header, and its sha256."""

    header: Header
    sha256: str

    @property
    def name(self) -> str:
        """What the file calls itself."""
        return str(self.header.metadata.get("general.name", self.header.path.name))

    def as_json(self) -> dict[str, str]:
        """What tells it from another file, wherever it lies."""
        return {"name": self.name, "sha256": self.sha256}


def blended(a: ModelRef, b: ModelRef, rule: Rule, to: Path, *, force: bool, show: Show) -> dict[str, Any]:
    """Write `to`, of the type of both files; what it was made of, and its sha256. With `force` it may be there already.

    Metadata and vocabulary are b's, and so is the chat template where b has one. Raises NotBlendable, ModelFileError,
    BadValue, LlamadivError.
    """
    one, other = _source(a), _source(b)
    _check_pair(one, other)
    _check_place(to, (one, other), force=force)
    recipe = {"a": one.as_json(), "b": other.as_json(), "alpha": rule.alpha, "shallow": rule.shallow}
    beside = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        _write(beside, one, other, rule, recipe, show)
        os.replace(beside, to)
    finally:
        beside.unlink(missing_ok=True)
    largest = max(other.header.tensors, key=lambda tensor: tensor.n_bytes or 0)
    made = {"path": str(to), "sha256": digests.digest(to), "size_bytes": to.stat().st_size}
    kind = gguf.GGMLQuantizationType(largest.type_number).name
    return {**made, "n_tensors": len(other.header.tensors), "type": kind, **recipe}


# ---- what cannot be blended


def _source(model: ModelRef) -> Source:
    if model.engine != "llamacpp":
        raise NotBlendable(f"{model.reference} is no file of weights. Name two GGUF files of one shape.")
    header = read_header(Path(model.location))
    header.require_whole()
    if header.metadata.get("split.count", 1) > 1:
        step = "Join its files with llama.cpp's `llama-gguf-split --merge`."
        raise ModelFileError(header.path, "it is split into several files", next_step=step)
    if not header.tensors or "general.architecture" not in header.metadata:
        step = "Name a file that holds a whole model."
        raise ModelFileError(header.path, "it has no weights, or says of no architecture", next_step=step)
    return Source(header, model.digest)


def _check_pair(a: Source, b: Source) -> None:
    """Raises NotBlendable, ModelFileError."""
    if a.sha256 == b.sha256:
        raise NotBlendable(f"Both are one file ({b.name}): there is nothing between them. Name two models of a family.")
    architectures = [str(one.header.metadata.get("general.architecture")) for one in (a, b)]
    if architectures[0] != architectures[1]:
        raise _no_pair(a, b, f"one is {architectures[0]}, the other {architectures[1]}")
    if _vocabulary_digest(a.header) != _vocabulary_digest(b.header):
        raise _no_pair(a, b, "their vocabularies differ, so a row of one embedding is another token in the other")
    shapes = [{tensor.name: tensor.shape for tensor in one.header.tensors} for one in (a, b)]
    for name in sorted(shapes[0].keys() ^ shapes[1].keys())[:1]:
        raise _no_pair(a, b, f"only {a.name if name in shapes[0] else b.name} has a tensor {name}")
    for name, shape in shapes[0].items():
        if shape != shapes[1][name]:
            sizes = [" x ".join(map(str, one[name])) for one in shapes]
            raise _no_pair(a, b, f"{name} is {sizes[0]} in one and {sizes[1]} in the other")
    for key in sorted(_settings(a.header).items() ^ _settings(b.header).items())[:1]:
        raise _no_pair(a, b, f"they differ in {key[0]}, so their weights are read differently")
    _check_kinds(a, b)


def _no_pair(a: Source, b: Source, reason: str) -> NotBlendable:
    return NotBlendable(f"{a.name} and {b.name} cannot be blended: {reason}. Name two models of one family and size.")


def _check_kinds(a: Source, b: Source) -> None:
    kinds = {tensor.name: tensor.type_number for tensor in a.header.tensors}
    for one in (a, b):
        for tensor in one.header.tensors:
            kind = tensor.type.name if tensor.type else f"number {tensor.type_number}"
            if kind not in KINDS:
                reason = f"{tensor.name} is of type {kind}, and only {', '.join(KINDS)} can be blended"
                step = "Fetch the F16 file of the model, or dequantise it with llama.cpp's `llama-quantize`."
                raise ModelFileError(one.header.path, reason, next_step=step)
            if tensor.type_number != kinds[tensor.name]:
                raise _no_pair(a, b, f"{tensor.name} is of another type in each; take two files of one type")


def _settings(header: Header) -> dict[str, str]:
    """How the weights are read: heads, rotation, epsilon; arrays by their values."""
    prefix = f"{header.metadata.get('general.architecture')}."
    return {
        key: repr(value.values() if isinstance(value, Array) else value)
        for key, value in header.metadata.items()
        if key.startswith(prefix) and key.removeprefix(prefix) not in _NOT_OF_THE_WEIGHTS
    }


def _vocabulary_digest(header: Header) -> str:
    """Of the tokens and how a text becomes some: not of which of them are control tokens."""
    digest = hashlib.sha256()
    for name in ("model", "pre", "tokens", "scores", "merges"):
        value = header.metadata.get(f"tokenizer.ggml.{name}")
        with header.path.open("rb") as file:
            digest.update(_read(file, value.start, value.end - value.start) if isinstance(value, Array) else b"")
        digest.update(f"\n{name} {len(value) if isinstance(value, Array) else value}\n".encode())
    return digest.hexdigest()


def _check_place(to: Path, sources: tuple[Source, Source], *, force: bool) -> None:
    """Before anything is written: raises BadValue, LlamadivError."""
    if to.is_dir():
        raise BadValue("--to", str(to), "it is a folder; name a file")
    if to.suffix.lower() != ".gguf":
        raise BadValue("--to", str(to), "its name must end in .gguf, by which models are known to be files")
    if any(to.exists() and to.samefile(one.header.path) for one in sources):
        raise BadValue("--to", str(to), "it is one of the two models; name another file")
    if to.exists() and not force:
        raise BadValue("--to", str(to), "it is there already; name another file, or say --force")
    to.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sources[1].header.size_bytes, shutil.disk_usage(to.parent).free
    if free < needed:
        raise LlamadivError(
            f"The blend needs {readable_bytes(needed)}, and {to.parent} has {readable_bytes(free)} left. "
            "Free some space, or name a file on another disk with --to."
        )


# ---- the file


def _write(to: Path, a: Source, b: Source, rule: Rule, recipe: dict[str, Any], show: Show) -> None:
    tensors = {tensor.name: tensor for tensor in a.header.tensors}
    n_blocks = 1 + max((int(found[1]) for name in tensors if (found := _BLOCK.match(name))), default=0)
    writer = _header(to, a, b, rule, recipe)
    with a.header.path.open("rb") as one, b.header.path.open("rb") as other, contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        n_done = 0
        for tensor in b.header.tensors:
            places = (a.header.data_start + tensors[tensor.name].offset, b.header.data_start + tensor.offset)
            coefficient = rule.coefficient(tensor.name, n_blocks)
            writer.write_tensor_data(_tensor((one, other), places, tensor, coefficient))
            n_done += tensor.n_bytes or 0
            show(n_done / b.header.size_bytes, tensor.name)


def _header(to: Path, a: Source, b: Source, rule: Rule, recipe: dict[str, Any]) -> gguf.GGUFWriter:
    """What the file says of itself: b's metadata and vocabulary, and what it was made of."""
    writer = gguf.GGUFWriter(to, str(b.header.metadata["general.architecture"]))
    depth = "" if rule.shallow is None else f", {rule.shallow:g} in the first block"
    writer.add_name(f"{a.name} and {b.name}, alpha {rule.alpha:g}{depth}")
    writer.add_description("Weights between two models, or beyond them, made by llamadiv lab blend")
    writer.add_string(RECIPE_KEY, json.dumps(recipe, sort_keys=True))
    for key, value in b.header.metadata.items():
        kind = b.header.types[key]
        if key in _LEFT_OUT:
            continue
        if not isinstance(value, Array):
            writer.add_key_value(key, value, gguf.GGUFValueType[kind.upper()])
        elif len(value):
            element = gguf.GGUFValueType[value.element.upper()]
            writer.add_key_value(key, value.values(), gguf.GGUFValueType.ARRAY, sub_type=element)
    _add_of_both(writer, a, b)
    for tensor in b.header.tensors:
        number = gguf.GGMLQuantizationType(tensor.type_number)
        writer.add_tensor_info(
            tensor.name, tensor.shape[::-1], np.dtype(np.float32), tensor.n_bytes or 0, raw_dtype=number
        )
    return writer


def _add_of_both(writer: gguf.GGUFWriter, a: Source, b: Source) -> None:
    """A chat template where a alone has one, and both licences where they differ."""
    ours, theirs = a.header.metadata, b.header.metadata
    if _TEMPLATE in ours and _TEMPLATE not in theirs:
        writer.add_string(_TEMPLATE, ours[_TEMPLATE])
    licences = [one[_LICENCE] for one in (ours, theirs) if _LICENCE in one]
    if licences:
        writer.add_string(_LICENCE, " AND ".join(dict.fromkeys(licences)))


def _tensor(files: tuple[BinaryIO, BinaryIO], places: tuple[int, int], tensor: Tensor, coefficient: float) -> Bytes:
    """The bytes of one tensor of the blend, computed a chunk at a time. Raises LlamadivError for what is no number."""
    assert tensor.type is not None  # as _check_kinds found
    assert tensor.n_bytes is not None
    found = np.empty(tensor.n_bytes, np.uint8)
    size = _CHUNK // tensor.type.n_values * tensor.type.n_bytes
    for start in range(0, tensor.n_bytes, size):
        n_bytes = min(size, tensor.n_bytes - start)
        first, second = (
            np.frombuffer(_read(file, place + start, n_bytes), np.uint8)
            for file, place in zip(files, places, strict=True)
        )
        found[start : start + n_bytes] = mixed(first, second, coefficient, tensor.type.name)
    number = {"F16": np.float16, "F32": np.float32}.get(tensor.type.name)
    if number is not None and not np.isfinite(found.view(number)).all():
        raise LlamadivError(
            f"{tensor.name} would have weights that {tensor.type.name} cannot hold. Take an --alpha nearer to 0.5."
        )
    return found


def mixed(a: Bytes, b: Bytes, coefficient: float, kind: str) -> Bytes:
    """(1 - c) a + c b of weights that are stored as `kind`, stored so again.

    >>> a, b = (np.array(one, np.float16).view(np.uint8) for one in ([1.0, -2.0], [3.0, 4.0]))
    >>> mixed(a, b, 0.25, "F16").view(np.float16).tolist()
    [1.5, -0.5]
    """
    number = gguf.GGMLQuantizationType[kind]
    if coefficient in (0, 1):
        end = b if coefficient else a
        if kind != "Q8_0":
            return end  # the very bytes: minus nought stays what it is
        weights = gguf.quants.dequantize(end, number)
    else:
        first, second = (gguf.quants.dequantize(one, number).astype(np.float64) for one in (a, b))
        weights = (1 - coefficient) * first + coefficient * second
    with np.errstate(over="ignore"):  # found out when the tensor is whole
        return gguf.quants.quantize(weights, number).view(np.uint8)


def _read(file: BinaryIO, place: int, n_bytes: int) -> bytes:
    file.seek(place)
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise LlamadivError("A model became shorter while it was read. Run the command again.")
    return data
