"""From the rows of several models one row: logits added up, or probabilities. Knows arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llama_diversity.engines.draws import Float32, Float64
from llama_diversity.mixtures import Rule
from llama_diversity.records import TokenStats

_CHUNK_BYTES = 256 * 1024  # rows worked on at once stay in a core's cache
_BITS = 1 / np.log(2.0)
_TINY = np.finfo(np.float32).tiny  # below it a float32 loses digits, and at last becomes 0


def mixed(rule: Rule, rows: Sequence[Float32]) -> Float32:
    """The mixture's logits, shape (rows, n_vocab), from those of each model; of a rule without words.

    A model with weight 0 is left out, and one with weight 1 alone is itself, bit for bit. What one of the others
    forbids (-inf) a product of theirs forbids too.
    """
    return _mixed(rule, rows, None)[0]


def mixed_beside(rule: Rule, rows: Sequence[Float32], out: Float32) -> tuple[Float32, list[Float64]]:
    """The same, in `out` where no model is alone, and of all models the `masses`, which a sum makes on its way."""
    logits, known = _mixed(rule, rows, out)
    return logits, known or [masses(some) for some in rows]


def masses(rows: Float32) -> Float64:
    """log of the sum of exp over each row, shape (rows,); of each row by itself."""
    found, buffer = np.empty(len(rows)), _buffer(rows)
    for chunk in _chunks(rows):
        some = rows[chunk]
        maxima, sums = _exponentials(some, buffer[: len(some)])
        found[chunk] = np.log(sums) + maxima
    return found


def beside(
    rows: Sequence[Float32],
    log_masses: Sequence[Float64],
    at: Sequence[int],
    token_ids: Sequence[int],
    kind: np.dtype[Any],
) -> TokenStats:
    """The surprisal of each token under each model alone, behind row `at` of each; as if mixed token by token."""
    found = np.zeros(len(at), kind)
    for model, (some, log_mass) in enumerate(zip(rows, log_masses, strict=True)):
        bits = (log_mass[list(at)] - some[list(at), list(token_ids)]) * _BITS
        found["surprisals_bits"][:, model] = np.maximum(bits, 0.0)
    found["source"] = -1
    return found


def _mixed(rule: Rule, rows: Sequence[Float32], out: Float32 | None) -> tuple[Float32, list[Float64] | None]:
    """The logits; and the masses of all models, where they had to be made."""
    used = [(weight, some) for weight, some in zip(rule.weights, rows, strict=True) if weight]
    if [weight for weight, _ in used] == [1]:
        return used[0][1], None
    target = np.empty_like(rows[0]) if out is None else out
    if rule.name != "linear":
        _multiply(used, target)
        return target, None
    return target, _add(rule.weights, rows, target)


def _multiply(weighed: Sequence[tuple[float, Float32]], out: Float32) -> None:
    """log of the product of p^weight, up to a constant."""
    for chunk in _chunks(out):
        target = out[chunk]
        with np.errstate(invalid="ignore"):
            np.multiply(weighed[0][1][chunk], np.float32(weighed[0][0]), out=target)
            for weight, rows in weighed[1:]:
                target += np.float32(weight) * rows[chunk]
        if not np.isfinite(target).all():
            for _, rows in weighed:
                target[np.isneginf(rows[chunk])] = -np.inf


def _add(weights: Sequence[float], rows: Sequence[Float32], out: Float32) -> list[Float64]:
    """log of the sum of weight x p of two models, up to a constant; and their masses.

    The heavier model's e = exp(logit - maximum) stands as it is, the other's is scaled to it: one exponential a model
    serves the sum and the mass.
    """
    heavy = int(weights[1] > weights[0])
    light = 1 - heavy
    found = [np.empty(len(one)) for one in rows]
    buffer = _buffer(out)
    for chunk in _chunks(out):
        total = out[chunk]
        e = buffer[: len(total)]
        maxima, sums = _exponentials(rows[heavy][chunk], total)
        other_maxima, other_sums = _exponentials(rows[light][chunk], e)
        found[heavy][chunk], found[light][chunk] = np.log(sums) + maxima, np.log(other_sums) + other_maxima
        share = weights[light] / weights[heavy] * (sums / other_sums)
        e *= share.astype(np.float32)[:, None]
        total += e
        is_lost = total < _TINY
        with np.errstate(divide="ignore"):
            np.log(total, out=total)
        if is_lost.any():
            at, ids = is_lost.nonzero()
            one = rows[heavy][chunk][at, ids].astype(np.float64) - maxima[at]
            other = rows[light][chunk][at, ids].astype(np.float64) - other_maxima[at]
            total[at, ids] = np.logaddexp(one, other + np.log(share[at]))
    return found


def _exponentials(rows: Float32, out: Float32) -> tuple[Float32, Float64]:
    """exp of each row less its maximum, in `out`; the maxima and the sums, shape (rows,)."""
    maxima = rows.max(axis=1)
    np.subtract(rows, maxima[:, None], out=out)
    np.exp(out, out=out)
    return maxima, np.add.reduce(out, axis=1).astype(np.float64)


def _buffer(rows: Float32) -> Float32:
    """For one chunk of them."""
    return np.empty((min(len(rows), _n_rows(rows)), rows.shape[1]), np.float32)


def _chunks(rows: Float32) -> list[slice]:
    n = _n_rows(rows)
    return [slice(at, at + n) for at in range(0, len(rows), n)]


def _n_rows(rows: Float32) -> int:
    return max(1, _CHUNK_BYTES // (4 * int(rows.shape[1])))
