"""What a sampler makes of one row of logits: which tokens may be drawn, and with which masses.

In float64, one row at a time, in the order that `records.Sampler` states. `draws.Reducer` does the same for many rows
of float32 where nothing has to be sorted, and comes here where something has. Rows of log p are logits too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_diversity.records import LEAST_TEMPERATURE, Sampler

Row = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def law(row: Row, sampler: Sampler) -> tuple[Int64, Float64]:
    """Ids that may be drawn, ascending, and their masses, which need not sum to 1.

    `row`: logits, shape (n_vocab,), one of them finite. The sampler's temperature is not 0, and the first token's is
    settled (`Sampler.at`).
    """
    x = row.astype(np.float64) / _temperature(row, sampler)
    x -= x.max()
    ids: Int64 = np.nonzero(x > -700)[0]  # below, exp is 0 in float64: never drawn
    if sampler.top_n_sigma > 0:
        ids = ids[row[ids] >= sigma_floor(row, sampler.top_n_sigma)]
    if 0 < sampler.top_k < len(ids):
        ids = _likeliest(x, ids, sampler.top_k)
    if sampler.top_p < 1:
        ids = _nucleus(x, ids, sampler.top_p)
    if sampler.min_p > 0:
        ids = ids[x[ids] >= np.log(sampler.min_p)]
    masses = np.exp(x[ids])
    if sampler.xtc_probability > 0:
        masses = _mixed(masses, sampler)
        ids, masses = ids[masses > 0], masses[masses > 0]
    return ids, masses


# ---- temperature


def dynamic(sampler: Sampler, share: Any) -> Any:
    """The temperature where the entropy is `share` of the largest possible: llama.cpp's dynatemp, never quite 0."""
    low, high = max(0.0, sampler.temperature - sampler.dynatemp_range), sampler.temperature + sampler.dynatemp_range
    warmth = low + (high - low) * np.clip(share, 0.0, 1.0) ** sampler.dynatemp_exponent
    return np.maximum(warmth, LEAST_TEMPERATURE)


def _temperature(row: Row, sampler: Sampler) -> float:
    if not sampler.dynatemp_range:
        return sampler.temperature
    x = row[row > -np.inf].astype(np.float64)
    x -= x.max()
    masses = np.exp(x)
    entropy = np.log(masses.sum()) - (masses * x).sum() / masses.sum()
    return float(dynamic(sampler, entropy / np.log(max(2, len(x)))))


# ---- cuts


def sigma_floor(row: Row, n: float) -> float:
    """The least logit that top-n-sigma keeps: max z - n sd(z) over the tokens that are not forbidden."""
    z = row.astype(np.float64)
    lowest = z.min()
    if lowest == -np.inf:
        z = z[z > -np.inf]
    return float(z.max() - n * z.std())


def _likeliest(x: Float64, ids: Int64, k: int) -> Int64:
    """The k likeliest of `ids`, ties to the lower id, ascending."""
    values = x[ids]
    threshold = np.partition(values, len(ids) - k)[len(ids) - k]
    above, level = ids[values > threshold], ids[values == threshold]
    return np.sort(np.concatenate([above, level[: k - len(above)]]))


def _nucleus(x: Float64, ids: Int64, top_p: float) -> Int64:
    """The smallest set of likeliest tokens whose share of the mass of `ids` reaches `top_p`, ascending."""
    masses = np.exp(x[ids])
    needed = top_p * masses.sum()
    for k in _growing(len(ids)):  # most of the mass sits in a few tokens: sort those, seldom all
        candidates = _likeliest(x, ids, k)
        order = np.argsort(-x[candidates], kind="stable")
        upto = np.exp(x[candidates][order]).cumsum()
        if upto[-1] >= needed or k == len(ids):
            kept = int(np.searchsorted(upto, needed)) + 1
            return np.sort(candidates[order[:kept]])
    raise AssertionError("the last candidate set is the whole")


def _growing(n: int) -> Sequence[int]:
    return [k for k in (64, 1024, 16384) if k < n] + [n]


# ---- XTC


def shrinkage(left: Any, probability: float) -> Any:
    """What the masses of the tokens that XTC leaves out are multiplied by, beside the others', in the mixture.

    (1 - c) p + c p_cut is (1 - c) p where a token is left out, else (1 - c + c / l) p, with l the share that the cut
    leaves: a ratio of (1 - c) l to (1 - c) l + c.
    """
    return (1 - probability) * left / ((1 - probability) * left + probability)


def _mixed(masses: Float64, sampler: Sampler) -> Float64:
    """The masses of XTC's mixture; `masses` are those of tokens by ascending id.

    Of those above the threshold the least likely stays, of equals that of the highest id, as the last in order.
    """
    above = np.nonzero(masses > sampler.xtc_threshold * masses.sum())[0]
    if len(above) < 2:
        return masses
    stays = np.nonzero(masses[above] == masses[above].min())[0][-1]
    out = np.delete(above, stays)
    left = masses.copy()
    left[out] = 0
    mixed = masses.copy()
    mixed[out] *= shrinkage(left.sum() / masses.sum(), sampler.xtc_probability)
    return mixed
