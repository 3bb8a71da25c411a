"""The noise floor of the arithmetic: how far apart are two readings of one text by one model?

A quantised matrix is multiplied with activations that are rounded to 8 bits first, half precision with activations in
half precision. Which way a value is rounded depends on its last digits, and these on the order in which a kernel adds
up. So the same model that reads the same text in another way (all tokens in one pass or one after the other, alone or
in a batch, with another kernel of attention) gives other probabilities, and none of the readings is the right one.

Protocol: one fixed English text, at most 64 tokens after the first, is read in the ways of `WAYS`; each is compared
with REFERENCE token by token. What two models differ by is no finding below what one model differs by from itself: the
floor of several models is the largest of all their ways.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.studies.measuring.divergence import BLOCKED_ABOVE, RESOLUTION_BITS, THRESHOLDS, Comparer, Steps

N_TOKENS = 65  # more than 64 rows: from there on fused attention takes another kernel
TEXT = (
    "The kitchen of the old house had two windows, and in the morning the light came in low over the table. Most "
    "people who live near the river know how to swim, but few of them have ever crossed it at night. In 1967 the town "
    "built a new bridge, which was closed for repairs twenty years later."
)
Float32 = npt.NDArray[np.float32]


class Way(NamedTuple):
    """How a text is read: all tokens in one pass, or token by token in `together` copies at once."""

    name: str
    together: int | None
    is_fused: bool  # attention


REFERENCE = Way("one pass", None, False)  # what `score` and `diff` do
WAYS = (
    Way("one pass, fused attention", None, True),
    Way("token by token", 1, False),
    Way("8 at once, fused attention", 8, True),  # what sampling does
)


class Apart(NamedTuple):
    """Two readings of one text by one model: absolute differences over its tokens, and what `diff` would make of them.

    `kl_bits` and `blocked` (by threshold) are means per token, of both directions the larger.
    """

    surprisal_mean_bits: float
    surprisal_rms_bits: float
    surprisal_most_bits: float
    surprisal_bias_bits: float  # mean of the signed difference, this way minus the reference
    entropy_mean_bits: float
    entropy_most_bits: float
    kl_bits: float
    js_bits: float
    blocked: tuple[float, ...]


class Noise(NamedTuple):
    """One model: each way against the reference, over `n_tokens`."""

    n_tokens: int
    apart: Mapping[str, Apart]


class Floor(NamedTuple):
    """What is no finding, the largest over the ways of one or several models; units as in `Apart`.

    Divergences are at least what the comparison itself resolves.
    """

    kl_bits: float
    js_bits: float
    surprisal_mean_bits: float
    surprisal_rms_bits: float
    surprisal_most_bits: float
    entropy_mean_bits: float
    blocked: tuple[float, ...]

    def opening_bits(self, n_tokens: int) -> float:
        """Two openings with so many tokens apart are in an order by chance below this difference of log2 p (95 %).

        Errors of the tokens count as independent, and as large as those of the text.
        """
        return 1.96 * self.surprisal_rms_bits * math.sqrt(n_tokens)


def analyse(
    reference: Float32,
    others: Mapping[str, Float32],
    ids: Sequence[int],
    *,
    above: float = BLOCKED_ABOVE,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Noise:
    """Noise from the logits of each way, shape (tokens, n_vocab), before the tokens `ids`, shape (tokens,).

    p = (.5, .5) against q = (.25, .75) at token 0: surprisals 1 and 2.

    >>> p, q = (np.log(np.array([row], np.float32)) for row in ([0.5, 0.5], [0.25, 0.75]))
    >>> apart = analyse(p, {"other": q}, [0]).apart["other"]
    >>> round(apart.surprisal_mean_bits, 6), round(apart.kl_bits, 6), round(apart.entropy_mean_bits, 6)
    (1.0, 0.207519, 0.188722)
    """
    comparer = Comparer(reference.shape[1], above=above, thresholds=thresholds)
    apart = {name: _apart(comparer.compare(reference, rows, ids)) for name, rows in others.items()}
    return Noise(len(ids), apart)


def _apart(steps: Steps) -> Apart:
    change = steps.surprisal_change_bits[np.isfinite(steps.surprisal_change_bits)]
    surprisal, entropy = np.abs(change), np.abs(steps.entropy_change_bits)
    masses = np.maximum(steps.blocked_mass.mean(axis=1), steps.reverse_blocked_mass.mean(axis=1))
    return Apart(
        surprisal_mean_bits=_mean(surprisal),
        surprisal_rms_bits=math.sqrt(_mean(surprisal**2)),
        surprisal_most_bits=float(surprisal.max(initial=0.0)),
        surprisal_bias_bits=_mean(change),
        entropy_mean_bits=_mean(entropy),
        entropy_most_bits=float(entropy.max(initial=0.0)),
        kl_bits=max(_mean(steps.kl_bits), _mean(steps.reverse_kl_bits)),
        js_bits=_mean(steps.js_bits),
        blocked=tuple(masses.tolist()),
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def floor(models: Sequence[Noise]) -> Floor:
    """The largest of each number over all ways of all `models`, one at least."""
    ways = [apart for noise in models for apart in noise.apart.values()]
    largest = {name: max(getattr(apart, name) for apart in ways) for name in Floor._fields if name != "blocked"}
    divergences = {name: max(largest[name], RESOLUTION_BITS) for name in ("kl_bits", "js_bits")}
    blocked = tuple(map(max, zip(*(apart.blocked for apart in ways), strict=True)))
    return Floor(**{**largest, **divergences}, blocked=blocked)
