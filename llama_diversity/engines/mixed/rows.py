"""From the rows of several models one row: logits added up, or probabilities. Knows arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_diversity.engines.draws import Float32, Float64
from llama_diversity.mixtures import Rule

_CHUNK_BYTES = 256 * 1024  # rows worked on at once stay in a core's cache


def mixed(rule: Rule, rows: Sequence[Float32], log_masses: Sequence[Float64] | None = None) -> Float32:
    """The mixture's logits, shape (rows, n_vocab), from those of each model; of a rule without words.

    `log_masses` of each model, where they are known already, shape (rows,).

    A model with weight 0 is left out, and one with weight 1 alone is itself, bit for bit. What one of the others
    forbids (-inf) a product of theirs forbids too.
    """
    used = [model for model, weight in enumerate(rule.weights) if weight]
    weights, some = [rule.weights[model] for model in used], [rows[model] for model in used]
    if weights == [1]:
        return some[0]
    if rule.name != "linear":
        return _multiplied(list(zip(weights, some, strict=True)))
    known = log_masses or [masses(one) for one in rows]
    return _added(weights, some, [known[model] for model in used])


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


def _added(weights: Sequence[float], rows: Sequence[Float32], log_masses: Sequence[Float64]) -> Float32:
    """log of the sum of weight x p."""
    out = np.empty_like(rows[0])
    for chunk in _chunks(out):
        total = out[chunk]
        for number, (weight, some, log_mass) in enumerate(zip(weights, rows, log_masses, strict=True)):
            shift = (np.log(weight) - log_mass[chunk]).astype(np.float32)[:, None]
            if number == 0:
                np.add(some[chunk], shift, out=total)
                np.exp(total, out=total)
            else:
                p = some[chunk] + shift
                np.exp(p, out=p)
                total += p
        with np.errstate(divide="ignore"):
            np.log(total, out=total)
    return out


def masses(rows: Float32) -> Float64:
    """log of the sum of exp over each row, shape (rows,); of each row by itself."""
    found = np.empty(len(rows))
    for chunk in _chunks(rows):
        maxima = rows[chunk].max(axis=1)
        e = rows[chunk] - maxima[:, None]
        np.exp(e, out=e)
        found[chunk] = np.log(np.add.reduce(e, axis=1).astype(np.float64)) + maxima
    return found


def _chunks(rows: Float32) -> list[slice]:
    n = max(1, _CHUNK_BYTES // (4 * rows.shape[1]))
    return [slice(at, at + n) for at in range(0, len(rows), n)]
