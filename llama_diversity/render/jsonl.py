"""Samples and token statistics as JSON objects: the one place that decides how a number, a byte and a nan read in JSON.

Numbers are unrounded. JSON has no nan and no infinity, so both are null; the rank of a token without a context, which
is 0 in memory, is null too. Bytes are hexadecimal: half a character is no text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from llama_diversity.answers import Answer
from llama_diversity.records import Piece, Recipe, Sample, TokenStats


class Exported(NamedTuple):
    """One sample with all that a reader outside the store needs to understand it."""

    arm: str | None
    reference: str | None
    recipe: Recipe
    sample: Sample
    pieces: Mapping[int, Piece]
    answer: Answer | None = None  # what stands outside of its thoughts, where somebody has read it


def export_line(exported: Exported) -> str:
    """One line of JSONL: the recipe's key, arm and model, then the sample."""
    origin = {"recipe": exported.sample.recipe_key, "arm": exported.arm, "model": exported.reference}
    sample = sample_object(exported.sample, exported.pieces, neutral=exported.recipe.is_neutral, answer=exported.answer)
    return to_line({**origin, **sample})


def finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None, JSON's null, for a number that is undefined or infinite.

    >>> finite({"mean": 1.5, "se": float("nan"), "n": 1, "reason": None})
    {'mean': 1.5, 'se': None, 'n': 1, 'reason': None}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in numbers.items()
    }


def to_line(value: Any, *, indent: int | None = None) -> str:
    """`value` as ASCII JSON, without `indent` one line; what a terminal would obey is escaped. ValueError on a nan."""
    return to_json(value, indent=indent).replace("\x7f", "\\u007f")


_MINUS_ZERO = re.compile(r"-0\.0(?![\de])")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON without a minus before 0. Raises ValueError on a nan.

    >>> to_json({"p": -0.0, "text": "-0.0"})
    '{"p": 0.0, "text": "-0.0"}'
    """
    written = json.dumps(value, allow_nan=False, indent=indent)
    return json.dumps(_plain(value), allow_nan=False, indent=indent) if _MINUS_ZERO.search(written) else written


def _plain(value: Any) -> Any:
    """The same with 0.0 for every -0.0."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value + 0.0 if isinstance(value, float) else value


def sample_object(
    sample: Sample, pieces: Mapping[int, Piece], *, neutral: bool, answer: Answer | None = None
) -> dict[str, Any]:
    """A sample; `text_hex` holds the true bytes where they are not UTF-8, and `text` then has replacement marks.

    `answer` is there where it is not the text itself: what stands outside of thoughts, null of one that never ends.
    """
    text = sample.text.decode("utf-8", "replace")
    described: dict[str, Any] = {"index": sample.index, "text": text}
    if text.encode() != sample.text:
        described["text_hex"] = sample.text.hex()
    described["finish_reason"] = sample.finish_reason
    described["tokens"] = token_objects(sample.tokens, pieces, neutral=neutral, beside=sample.beside)
    if answer is not None and answer.data != sample.text:
        described["answer"] = None if answer.is_thinking else answer.text
    return described


def token_objects(
    tokens: TokenStats, pieces: Mapping[int, Piece], *, neutral: bool = True, beside: TokenStats | None = None
) -> list[dict[str, Any]]:
    """One object a token; the sampler's pair only where it says something of its own, that is not `neutral`.

    Of a mixture, `beside`, also its surprisal under each model alone, and of a routed one the number of its model.
    """
    objects = []
    for at, row in enumerate(tokens):
        piece = pieces[int(row["id"])]
        token: dict[str, Any] = {"id": int(row["id"]), "bytes": piece.bytes.hex()}
        if piece.control is not None:
            token["control"] = piece.control
        for name in ("surprisal_bits", "entropy_bits", "varentropy_bits2"):
            token[name] = _number(row[name])
        token["rank"] = int(row["rank"]) or None
        if not neutral:
            for name in ("sampler_surprisal_bits", "sampler_entropy_bits"):
                token[name] = _number(row[name])
        likeliest = zip(row["top_ids"].tolist(), row["top_surprisals_bits"].tolist(), strict=True)
        token["top"] = [{"id": id, "p": 2.0**-surprisal_bits} for id, surprisal_bits in likeliest if id >= 0]
        if beside is not None:
            token["under_bits"] = [_number(bits) for bits in beside["surprisals_bits"][at]]
            token["source"] = int(beside["source"][at]) if beside["source"][at] >= 0 else None
        objects.append(token)
    return objects


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
