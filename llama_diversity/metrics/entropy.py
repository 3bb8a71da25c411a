"""Token-level entropy from stored per-token statistics: arrays in, numbers out. Bits unless the name says nats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class TopEntropy(NamedTuple):
    """Entropy of the likeliest tokens, one value per token of the text."""

    raw_bits: Float64
    renormalized_bits: Float64
    mass: Float64


def top_entropy(top_surprisals_bits: npt.ArrayLike) -> TopEntropy:
    """Shannon entropy of the five likeliest tokens, as they are (raw) and rescaled to sum to one (renormalized).

    raw = -sum p log2 p over the five (the paper's Eq. 3.2), mass m = sum p, renormalized = raw / m + log2 m.
    `top_surprisals_bits`: -log2 p, shape (tokens, 5), inf where the vocabulary is smaller. raw lies in [0, 2.322] and
    first rises, then falls as a distribution flattens, so it can reverse the true order; renormalized lies in
    [0, log2 5]. Reproduction only: the full-vocabulary entropy is the result.

    Five equal tokens out of ten: p = 0.1, raw = 5 * 0.1 * log2 10 = 1.661, renormalized = log2 5 = 2.322.

    >>> raw, renormalized, mass = top_entropy(np.full((1, 5), np.log2(10)))
    >>> round(float(raw[0]), 6), round(float(renormalized[0]), 6), round(float(mass[0]), 6)
    (1.660964, 2.321928, 0.5)
    """
    surprisals = np.asarray(top_surprisals_bits, dtype=np.float64)
    probabilities = np.exp2(-surprisals)
    terms = np.multiply(probabilities, surprisals, where=probabilities > 0, out=np.zeros_like(surprisals))
    raw, mass = terms.sum(axis=-1), probabilities.sum(axis=-1)
    return TopEntropy(raw, np.maximum(raw / mass + np.log2(mass), 0.0), mass)


class Rate(NamedTuple):
    """A ratio of sums over generations, per token."""

    bits_per_token: float
    se_bits: float


def entropy_rate(sums_bits: npt.ArrayLike, lengths: npt.ArrayLike) -> Rate:
    """Entropy per token over generations: h = sum B / sum N, with B the summed entropies and N the tokens of each.

    Range [0, log2 V]. The standard error is that of a ratio, se^2 = sum (B - h N)^2 / (n (n - 1) mean(N)^2); nan for
    one generation. Unlike a mean of completion means, it weighs tokens, not completions, equally.

    B = (10, 40), N = (10, 20): h = 50 / 30; residuals (-6.667, 6.667); se^2 = 88.889 / (2 * 1 * 225).

    >>> rate = entropy_rate([10, 40], [10, 20])
    >>> round(rate.bits_per_token, 6), round(rate.se_bits, 6)
    (1.666667, 0.444444)
    """
    sums, counts = np.asarray(sums_bits, np.float64), np.asarray(lengths, np.float64)
    n = len(sums)
    h = sums.sum() / counts.sum()
    if n < 2:
        return Rate(float(h), float("nan"))
    squares = ((sums - h * counts) ** 2).sum()
    return Rate(float(h), float(np.sqrt(squares / (n * (n - 1) * counts.mean() ** 2))))
