"""How much of the way from one model to another is one temperature? KL to the base at every T, from one reading.

The base at temperature T has p^b / sum p^b with b = 1 / T, so KL(aligned, base at T) = -H(aligned) + b X + L(b), with
X the cross-entropy of the aligned model under the base and L(b) = log sum p^b. X and H do not depend on T, and L is
convex: one minimum. L and its first two derivatives by log b are summed over tokens at 13 temperatures while logits
pass by; between these it is their quintic, which on text differs from L itself by less than 1e-4 nats a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Float64, jackknife_se, quantile

Float32 = npt.NDArray[np.float32]
POWERS = 2.0 ** (np.arange(13) / 2 - 2)  # b = 1 / T from 1/4 to 16, in steps of the root of 2
_LOG_POWERS = np.log(POWERS)
_LEAST = np.float32(-80.0)  # of an exponent: what is smaller adds nothing, and would be slow
_CHUNK_BYTES = 256 * 1024
_N_HALVINGS = 60


def log_sums(logits: Float32, *, n_threads: int = 1) -> Float64:
    """L at each of POWERS and its first two derivatives by log b, summed over rows; nats, shape (3, powers).

    `logits` (rows, n_vocab) of the base, -inf for what is impossible. O(13 rows n_vocab).

    p = (1/2, 1/4, 1/4) at b = 2: log (1/4 + 2/16) = log 3/8.

    >>> found = log_sums(np.log(np.array([[0.5, 0.25, 0.25]], np.float32)))
    >>> round(float(np.exp(found[0, 6])), 6), [round(abs(float(value)), 6) for value in found[0, [4]]]
    (0.375, [0.0])
    """
    n_rows = max(1, _CHUNK_BYTES // (4 * logits.shape[1]))
    chunks = [logits[start : start + n_rows] for start in range(0, len(logits), n_rows)]
    if n_threads > 1 and len(chunks) > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            found = list(pool.map(_of_chunk, chunks))
    else:
        found = [_of_chunk(chunk) for chunk in chunks]
    return np.asarray(sum(found, np.zeros((3, len(POWERS)))))


def _of_chunk(logits: Float32) -> Float64:
    x = logits - logits.max(axis=1, keepdims=True)
    y, e = np.empty_like(x), np.empty_like(x)
    rows = np.empty((3, len(POWERS), len(x)))
    for at, power in enumerate(POWERS):
        np.multiply(x, np.float32(power), out=y)
        np.maximum(y, _LEAST, out=y)
        np.exp(y, out=e)
        mass = e.sum(axis=1, dtype=np.float64)
        mean = np.vecdot(e, y) / mass  # of b x, where x = logit - maximum
        np.multiply(e, y, out=e)
        rows[:, at] = np.log(mass), mean, mean + np.vecdot(e, y) / mass - mean**2
    log_mass = rows[0, POWERS == 1.0]  # x + log p's own constant: L(b) = log sum e^(b x) - b log sum e^x
    shift = POWERS[:, None] * log_mass
    rows -= np.stack([shift, shift, shift])  # b log_mass is its own first and second derivative by log b
    return np.asarray(rows.sum(axis=2))


class OfText(NamedTuple):
    """What one text says: sums over its tokens, nats."""

    log_sums: Float64  # (3, powers)
    entropy: float  # of the aligned model
    cross_entropy: float  # of the aligned model under the base


class Around(NamedTuple):
    """A value with its standard error and 95 % t interval over texts; nan where undefined."""

    value: float
    se: float
    low: float
    high: float


class Sharpening(NamedTuple):
    """How near the base at its best temperature comes; divergences in bits per token.

    `is_edge`: the best temperature lies at an end of the range, so the true one may lie beyond it.
    """

    share: Around  # 1 - left / KL, 1 = sharpening only
    temperature: Around
    kl_bits: float  # KL(aligned, base)
    left_bits: Around  # KL(aligned, base at its best temperature)
    is_edge: bool
    n_texts: int
    temperatures: tuple[float, ...]
    curve_bits: tuple[float, ...]  # KL(aligned, base at each of `temperatures`)


def explained(texts: Sequence[OfText], n_tokens: Sequence[int]) -> Sharpening | None:
    """How much one temperature of the base explains; None where KL(aligned, base) is 0 or not finite.

    Sums over all texts; intervals leave out one text at a time, its best temperature found anew. O(texts).
    """
    sums = np.array([_row(text) for text in texts])
    sizes = np.asarray(n_tokens, np.float64)
    whole = _best(sums.sum(axis=0), float(sizes.sum()))
    if whole is None:
        return None
    total, size = sums.sum(axis=0), float(sizes.sum())
    others = [_best(total - row, size - n) for row, n in zip(sums, sizes, strict=True)] if len(texts) > 1 else []
    columns = [[math.nan if one is None else one[at] for one in others] for at in range(3)]
    share, log_power, left = (_around(value, some) for value, some in zip(whole[:3], columns, strict=True))
    grid = np.linspace(_LOG_POWERS[0], _LOG_POWERS[-1], 97)
    bits = [_kl(total, at) / size / math.log(2) for at in grid]
    power = whole[1]
    return Sharpening(
        Around(share.value, share.se, max(share.low, 0.0), min(share.high, 1.0)),
        Around(
            *(math.exp(-power), log_power.se * math.exp(-power)), math.exp(-log_power.high), math.exp(-log_power.low)
        ),
        whole.kl_bits,
        Around(left.value, left.se, max(left.low, 0.0), left.high),
        not _LOG_POWERS[0] < power < _LOG_POWERS[-1],
        len(texts),
        tuple(np.exp(-grid).tolist()),
        tuple(bits),
    )


class _Best(NamedTuple):
    share: float
    log_power: float
    left_bits: float
    kl_bits: float


def _row(text: OfText) -> Float64:
    """A text as numbers that add up."""
    return np.concatenate([[text.entropy, text.cross_entropy], text.log_sums.ravel()])


def _best(row: Float64, size: float) -> _Best | None:
    """The least KL and where; None where there is none to explain."""
    kl = float(row[1] - row[0])
    if not (size > 0 and math.isfinite(kl) and kl > 0):
        return None
    low, high = float(_LOG_POWERS[0]), float(_LOG_POWERS[-1])
    for _ in range(_N_HALVINGS):  # the derivative grows with b
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(row, middle) > 0 else (middle, high)
    at = (low + high) / 2
    edge = _LOG_POWERS[np.abs(_LOG_POWERS - at).argmin()]
    at = float(edge) if abs(edge - at) < 1e-12 else at
    left = min(max(_kl(row, at), 0.0), kl)
    bits = 1 / (size * math.log(2))
    return _Best(1 - left / kl, at, left * bits, kl * bits)


def _kl(row: Float64, log_power: float) -> float:
    """Sum over tokens of KL(aligned, base at T), nats, T = e^-log_power."""
    return float(-row[0] + math.exp(log_power) * row[1] + _quintic(row, log_power)[0])


def _slope(row: Float64, log_power: float) -> float:
    """Its derivative by log b."""
    return float(math.exp(log_power) * row[1] + _quintic(row, log_power)[1])


def _quintic(row: Float64, log_power: float) -> tuple[float, float]:
    """L and its derivative by log b: the polynomial with value and two derivatives of both ends of the step."""
    values = row[2:].reshape(3, len(POWERS))
    at = min(max(int(np.searchsorted(_LOG_POWERS, log_power, side="right")) - 1, 0), len(POWERS) - 2)
    h = float(_LOG_POWERS[at + 1] - _LOG_POWERS[at])
    t = (log_power - float(_LOG_POWERS[at])) / h
    (f, g), (df, dg), (ddf, ddg) = values[:, at : at + 2] * np.array([[1.0], [h], [h * h]])
    # Coefficients of t^3, t^4, t^5 that meet the three conditions at t = 1.
    rest, slope, bend = g - f - df - ddf / 2, dg - df - ddf, ddg - ddf
    a, b, c = 10 * rest - 4 * slope + bend / 2, -15 * rest + 7 * slope - bend, 6 * rest - 3 * slope + bend / 2
    value = f + t * (df + t * (ddf / 2 + t * (a + t * (b + t * c))))
    derivative = (df + t * (ddf + t * (3 * a + t * (4 * b + t * 5 * c)))) / h
    return float(value), float(derivative)


def _around(value: float, left_out: Sequence[float]) -> Around:
    se = jackknife_se(left_out) if left_out else None
    if se is None:
        return Around(value, math.nan, math.nan, math.nan)
    half = quantile(len(left_out) - 1) * se
    return Around(value, se, value - half, value + half)
