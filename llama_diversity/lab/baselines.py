"""What a base model must beat: an interpolated Kneser-Ney model of token n-grams, and `xz -9`.

Kneser and Ney 1995; interpolated form and one discount an order, n1 / (n1 + 2 n2), as in Chen and Goodman 1999. Grams
are kept as sorted integers and looked up by bisection, so millions of tokens need seconds.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_BOS, _EOS = 1, 2

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class _Order(NamedTuple):
    """Counts of the grams of one length, and of the contexts before their last token; keys ascend."""

    keys: Int64
    counts: Int64
    contexts: Int64
    totals: Int64  # of the counts after each context
    kinds: Int64  # of tokens seen after each context
    discount: float


class KneserNey:
    """A model of token sequences. Raises ValueError where grams of that length do not fit 63 bits."""

    def __init__(self, documents: Iterable[Sequence[int]], *, n_vocab: int, order: int = 5) -> None:
        if n_vocab**order >= 2**63:
            raise ValueError(f"{order}-grams over {n_vocab} tokens do not fit 63 bits")
        self._n_vocab = n_vocab
        self._order = order
        grams = self._grams(documents)
        longest, counts = np.unique(grams, return_counts=True)
        orders = [_count(longest, counts.astype(np.int64), n_vocab)]
        for length in range(order - 1, 0, -1):  # below the top a gram counts once for each token it follows
            shorter, counts = np.unique(longest % n_vocab**length, return_counts=True)
            orders.append(_count(shorter, counts.astype(np.int64), n_vocab))
            longest = shorter
        self._orders = orders[::-1]

    def surprisals_bits(self, documents: Iterable[Sequence[int]]) -> Float64:
        """-log2 p of every token of every document and its EOS, in order."""
        grams = self._grams(documents)
        p = np.full(len(grams), 1 / self._n_vocab)
        for length, order in enumerate(self._orders, 1):
            keys = grams % self._n_vocab**length
            count = _look_up(order.keys, order.counts, keys)
            context = keys // self._n_vocab
            total = _look_up(order.contexts, order.totals, context)
            kinds = _look_up(order.contexts, order.kinds, context)
            seen = total > 0
            mass = np.maximum(count - order.discount, 0) + order.discount * kinds * p
            p = np.where(seen, mass / np.maximum(total, 1), p)
        return np.asarray(-np.log2(p))

    def _grams(self, documents: Iterable[Sequence[int]]) -> Int64:
        """One integer for each token and EOS: the token and the ones before it, BOS where nothing came before."""
        before = [_BOS] * (self._order - 1)
        found = []
        for ids in documents:
            tokens = np.array([*before, *ids, _EOS], np.int64)
            n = len(tokens) - len(before)
            key: Any = 0
            for shift in range(self._order):
                key = key * self._n_vocab + tokens[shift : shift + n]
            found.append(key)
        return np.concatenate(found)


def _count(keys: Int64, counts: Int64, n_vocab: int) -> _Order:
    contexts, first = np.unique(keys // n_vocab, return_index=True)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return _Order(
        keys,
        counts,
        contexts,
        np.add.reduceat(counts, first),
        np.diff(np.append(first, len(keys))),
        once / (once + 2 * twice) if once and twice else 0.5,  # too few grams to estimate it
    )


def _look_up(keys: Int64, values: Int64, wanted: Int64) -> Int64:
    """The value of each wanted key, 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray(np.where(keys[at] == wanted, values[at], 0))


def xz_bits(texts: Iterable[str]) -> int:
    """Size of all texts, each ended by a newline, after `xz -9`."""
    return 8 * len(lzma.compress("".join(f"{text}\n" for text in texts).encode(), preset=9))
