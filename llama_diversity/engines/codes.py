"""Codes by which a set of samples is drawn together, spread out over what a model can say (arXiv 2210.15458).

A code is a number in [0, 1) that decides a whole text: the first token is that in whose part of the unit interval it
lies, as the cumulative probabilities cut it up; where in that part it lies, between 0 and 1 again, decides the next,
and so on. A set of N has one code in each N-th of the interval, so its texts differ more than independent ones would.
Each text by itself still has the model's probability.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

_GRAIN = 2.0**-53  # of a code's bits
_STREAM_OF_SET = 2**64 - 1  # no sample has this index


def first_code(seed: int, index: int, n: int) -> float:
    """The code of sample `index` of a set of `n`: (k + u) / n, one u for all, and each k from 0 to n - 1 for one.

    Who gets which k is drawn too, so every sample by itself has a uniform code.

    >>> sorted(int(4 * first_code(7, index, 4)) for index in range(4))
    [0, 1, 2, 3]
    """
    shift, strata = _set_of(seed, n)
    return min((int(strata[index]) + shift) / n, 1 - _GRAIN)


def next_code(rest: float, share: float, fresh: float) -> float:
    """The code that is left once a token is drawn.

    `rest`: where in the token's part the code lay; `share`: that part's length. Of the code's 53 bits -log2 share are
    used up: they are replaced by those of `fresh`, a uniform of the sample's own, so that it never runs out.

    >>> next_code(0.25, 0.5, 0.0), next_code(0.3, 2**-60, 0.875)
    (0.25, 0.875)
    """
    grain = _GRAIN / share if share > _GRAIN else 1.0
    if grain >= 1:
        return fresh
    return (rest + grain * fresh) % 1.0


@functools.lru_cache(maxsize=4)
def _set_of(seed: int, n: int) -> tuple[float, npt.NDArray[np.int64]]:
    """What a set has in common: u, and the k of each sample."""
    raw = np.random.Philox(key=np.array([seed, _STREAM_OF_SET], dtype=np.uint64)).random_raw(1 + n)
    return float(raw[0] >> np.uint64(11)) * _GRAIN, np.argsort(raw[1:], kind="stable")
