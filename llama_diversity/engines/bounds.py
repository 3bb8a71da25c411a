"""Bounds of an entropy of which only the likeliest tokens are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llama_diversity.records import BOUNDS_DTYPE, TokenStats


def entropy_bounds(tops: Sequence[Mapping[int, float]], *, k: int, n_vocab: int) -> TokenStats:
    """Of each row the least and the most entropy in bits, shape (rows,), BOUNDS_DTYPE.

    `tops`: natural logarithms of the probabilities of the `k` likeliest tokens, and of others, by id.
    """
    found = np.empty(len(tops), BOUNDS_DTYPE)
    for at, top in enumerate(tops):
        known = sorted(top.values(), reverse=True)
        found[at] = bounds_of([math.exp(one) for one in known], largest=math.exp(known[k - 1]), n_vocab=n_vocab)
    return found


def bounds_of(known: Sequence[float], *, largest: float, n_vocab: int) -> tuple[float, float]:
    """The least and the most entropy, bits, where `known` probabilities are and no other is above `largest`.

    Least where the rest lies on as few tokens as can hold it, most where it is spread evenly over all that are left.
    Half is known; the rest is one token of 0.5, or two of 0.25:

    >>> bounds_of([0.5], largest=0.5, n_vocab=3)
    (1.0, 1.5)
    """
    rest, n_left = max(0.0, 1 - math.fsum(known)), n_vocab - len(known)
    entropy = math.fsum(-p * math.log2(p) for p in known if p > 0)
    if rest <= 1e-12 or n_left < 1 or largest <= 0:
        return entropy, entropy
    n_full = min(int(rest / largest), n_left)
    left = max(0.0, rest - n_full * largest)
    least = -n_full * largest * math.log2(largest) - (left * math.log2(left) if left > 1e-12 else 0.0)
    return entropy + least, entropy - rest * math.log2(rest / n_left)
