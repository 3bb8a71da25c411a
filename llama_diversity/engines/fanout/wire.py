"""What a driver and a worker say to each other: JSON, and arrays and bytes behind it. Nothing in it can run.

A message is a JSON object. Arrays and bytes in it are references into the parts that follow; an array names one of
the few types of DTYPES. Everything is bounded, and what is malformed is a Malformed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from llama_diversity import errors
from llama_diversity.engines import EngineOptions, Rows
from llama_diversity.errors import EngineError, LlamadivError
from llama_diversity.records import TOKEN_DTYPE, ModelRef, Prompt, Sample, beside_dtype

VERSION = 1  # of the messages; both sides must have the same
MOST_BYTES = 1 << 29  # of one message: logits of a long text in a large vocabulary come in pieces of 64 MB
_HEAD = struct.Struct("<4sI")
_MARK = b"ldw1"
_MOST_MODELS = 16  # of a mixture
DTYPES = {"token": TOKEN_DTYPE, "f4": np.dtype("<f4"), "f8": np.dtype("<f8")} | {
    f"beside{n}": beside_dtype(n) for n in range(1, _MOST_MODELS + 1)
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Malformed(ValueError):
    """Bytes that are no message."""


def pack(message: Mapping[str, Any]) -> bytes:
    """The bytes of a message."""
    parts: list[bytes] = []

    def refer(value: Any) -> dict[str, Any]:
        if isinstance(value, bytes):
            parts.append(value)
            return {"$bytes": len(parts) - 1}
        if isinstance(value, np.ndarray):
            parts.append(np.ascontiguousarray(value).tobytes())
            return {"$array": [len(parts) - 1, _NAMES[value.dtype], list(value.shape)]}
        raise TypeError(f"{type(value).__name__} cannot be sent")

    said = json.dumps(message, default=refer)
    head = json.dumps({"said": said, "parts": [len(part) for part in parts]}).encode()
    return b"".join([_HEAD.pack(_MARK, len(head)), head, *parts])


def unpack(data: bytes) -> dict[str, Any]:
    """The message of bytes. Raises Malformed."""
    try:
        mark, n_head = _HEAD.unpack_from(data)
        if mark != _MARK:
            raise Malformed("it does not begin as a message does")
        head = json.loads(data[_HEAD.size : _HEAD.size + n_head])
        parts, at = [], _HEAD.size + n_head
        for length in head["parts"]:
            if not isinstance(length, int) or not 0 <= length <= len(data) - at:
                raise Malformed("a part is cut off")
            parts.append(memoryview(data)[at : at + length])
            at += length
        if at != len(data):
            raise Malformed("something is behind its end")
        message = json.loads(head["said"], object_hook=lambda found: _referred(found, parts))
    except Malformed:
        raise
    except (struct.error, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error
    if not isinstance(message, dict):
        raise Malformed("it is no object")
    return message


def _referred(found: dict[str, Any], parts: list[memoryview]) -> Any:
    if found.keys() == {"$bytes"}:
        return bytes(parts[_place(found["$bytes"], parts)])
    if found.keys() == {"$array"}:
        place, name, shape = found["$array"]
        part, dtype = parts[_place(place, parts)], DTYPES[name]
        if not all(isinstance(size, int) and size >= 0 for size in shape) or len(shape) > 2:
            raise Malformed(f"{shape} is no shape")
        if math.prod(shape) * dtype.itemsize != len(part):
            raise Malformed(f"{len(part)} bytes are no array of {shape}")
        return np.frombuffer(part, dtype).reshape(shape)
    return found


def _place(number: Any, parts: list[memoryview]) -> int:
    if not isinstance(number, int) or not 0 <= number < len(parts):
        raise Malformed(f"there is no part {number}")
    return number


# ---- the nouns, as what JSON holds


def of_model(model: ModelRef) -> dict[str, Any]:
    """A model."""
    return dataclasses.asdict(model)


def to_model(said: Mapping[str, Any]) -> ModelRef:
    """The inverse."""
    return ModelRef(**{**said, "parts": tuple(map(to_model, said["parts"]))})


def of_options(options: EngineOptions) -> dict[str, Any]:
    """How a worker lays out its work."""
    return dataclasses.asdict(options)


def to_options(said: Mapping[str, Any]) -> EngineOptions:
    """The inverse."""
    return EngineOptions(**said)


def of_prompt(prompt: Prompt) -> dict[str, Any]:
    """A prompt."""
    return dataclasses.asdict(prompt)


def to_prompt(said: Mapping[str, Any]) -> Prompt:
    """The inverse."""
    return Prompt.of_fields(said)


def of_sample(sample: Sample) -> dict[str, Any]:
    """A sample."""
    return {field.name: getattr(sample, field.name) for field in dataclasses.fields(sample)}


def to_sample(said: Mapping[str, Any]) -> Sample:
    """The inverse."""
    return Sample(**said)


def of_rows(rows: Rows) -> dict[str, Any]:
    """A piece of a text's logits; they are copied, since they are valid until the next piece only."""
    return {"text": rows.text, "start": rows.start, "logits": np.array(rows.logits)}


def of_error(error: LlamadivError) -> dict[str, str]:
    """A failure: its class and its sentence."""
    return {"kind": type(error).__name__, "words": str(error)}


def to_error(said: Mapping[str, str]) -> LlamadivError:
    """The inverse; a class that is not known here is an EngineError."""
    kind = getattr(errors, str(said["kind"]), None)
    if not (isinstance(kind, type) and issubclass(kind, LlamadivError)):
        kind = EngineError
    error: LlamadivError = kind.__new__(kind, str(said["words"]))
    return error
