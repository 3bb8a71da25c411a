"""Whether the stored probabilities are those that the tokens were drawn from."""

from __future__ import annotations

import math

import numpy as np

from llama_diversity.metrics.inference import (
    Float64,
)
from llama_diversity.records import TokenStats

LARGEST_Z = 4.0  # beyond it what was stored is not what was drawn
LIKELY = 0.6  # a probability that no two tokens can have, nor nearly
RARE_BITS = 10.0  # surprisal of what may not have been drawn
LARGEST_VOCABULARY_BITS = 20.0


def excess_variance_bits2(tokens: TokenStats) -> float:
    """Variance of the excess: the summed varentropy of what the tokens were drawn from.

    Of a sampler that is not neutral only surprisal s and entropy H are kept, and `_least_variance_bits2` stands in.
    """
    if np.array_equal(tokens["sampler_surprisal_bits"], tokens["surprisal_bits"]):
        return float(tokens["varentropy_bits2"].sum(dtype=np.float64))
    surprisal = tokens["sampler_surprisal_bits"].astype(np.float64)
    return _least_variance_bits2(surprisal, surprisal - tokens["sampler_entropy_bits"])


def _least_variance_bits2(surprisal: Float64, excess: Float64) -> float:
    """What surprisal s and excess s - H of each token say of the varentropy of what they were drawn from.

    A likely token, of probability q, counts with (s - H)^2 q / (1 - q): the least varentropy of any distribution with
    that token and H, and that of two outcomes. The square alone would say that what is likely is certain. Other tokens
    count with their squares, which are right on average, but in sum with at least ten times what their surprisals fall
    short of H: tokens of 10 bits that were not drawn. A likely token whose s and H no distribution has is what the
    self-check looks for: its square, and no excuse.
    """
    others = np.maximum(-np.expm1(-surprisal * math.log(2)), 1e-12)  # probability of all other tokens
    above = -excess * (1 - others) / others  # mean surprisal of those, less H
    is_likely = others <= 1 - LIKELY
    is_possible = (above > 0) & (above <= LARGEST_VOCABULARY_BITS - np.log2(others))
    known = float(np.where(is_possible, -excess * above, excess**2)[is_likely].sum())
    return known + max(float((excess**2)[~is_likely].sum()), -RARE_BITS * float(excess[~is_likely].sum()))
