"""From the rows of several models one row: logits added up, or probabilities. Knows arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_diversity.engines.draws import Float32, Float64
from llama_diversity.mixtures import Rule

_CHUNK_BYTES = 256 * 1024  # rows worked on at once stay in a core's cache
_BITS = 1 / np.log(2.0)


def mixed(rule: Rule, rows: Sequence[Float32]) -> Float32:
    """The mixture's logits, shape (rows, n_vocab), from those of each model; of a rule without words.

    A model with weight 0 is left out, and one with weight 1 alone is itself, bit for bit. What one of the others
    forbids (-inf) a product of theirs forbids too.
    """
    weighed = [(weight, some) for weight, some in zip(rule.weights, rows, strict=True) if weight]
    if len(weighed) == 1 and weighed[0][0] == 1:
        return weighed[0][1]
    return _added(weighed) if rule.name == "linear" else _multiplied(weighed)


def _multiplied(weighed: Sequence[tuple[float, Float32]]) -> Float32:
    """log of the product of p^weight, up to a constant."""
    out = np.empty_like(weighed[0][1])
    for chunk in _chunks(out):
        target = out[chunk]
        with np.errstate(invalid="ignore"):
            np.multiply(weighed[0][1][chunk], np.float32(weighed[0][0]), out=target)
            for weight, rows in weighed[1:]:
                target += np.float32(weight) * rows[chunk]
        if not np.isfinite(target).all():
            for _, rows in weighed:
                target[np.isneginf(rows[chunk])] = -np.inf
    return out


def _added(weighed: Sequence[tuple[float, Float32]]) -> Float32:
    """log of the sum of weight x p."""
    out = np.empty_like(weighed[0][1])
    for chunk in _chunks(out):
        total = out[chunk]
        total[:] = 0
        for weight, rows in weighed:
            e, mass = _exponentials(rows[chunk])
            total += e * (weight / mass).astype(np.float32)[:, None]
        with np.errstate(divide="ignore"):
            np.log(total, out=total)
    return out


def log_masses(rows: Float32) -> Float64:
    """log of the sum of exp over each row, shape (rows,)."""
    found = np.empty(len(rows))
    for chunk in _chunks(rows):
        e, mass = _exponentials(rows[chunk])
        found[chunk] = np.log(mass) + rows[chunk].max(axis=1)
    return found


def _exponentials(rows: Float32) -> tuple[Float32, Float64]:
    """exp(x - maximum) and its sum, of each row by itself."""
    e = np.exp(rows - rows.max(axis=1, keepdims=True))
    return e, e.sum(axis=1).astype(np.float64)


def surprisals_bits(rows: Float32, ids: Sequence[int]) -> Float64:
    """-log2 p of one token of each row, shape (rows,)."""
    return np.asarray((log_masses(rows) - rows[np.arange(len(rows)), ids]) * _BITS)


def _chunks(rows: Float32) -> list[slice]:
    n = max(1, _CHUNK_BYTES // (4 * rows.shape[1]))
    return [slice(at, at + n) for at in range(0, len(rows), n)]
