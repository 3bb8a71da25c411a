"""Decan: how much the answers to one prompt still surprise a reader who has read the others.

A scorer q reads n answers in a random order. c_i(S) is the code length of answer i behind the prompt and the answers S,
-log2 q over the answer's bytes; a_k = E c(the k-th answer of a random order), from a_1, the prompt alone, to a_n, all
others. Khoriaty et al., arXiv 2606.01811 (2026), multiply a_n by the coherence C = 2^-a_1 to D. The parts are to be
reported: D falls alike where answers repeat each other and where they grow less likely.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Float64, Int64

_LAST = 3  # answers at the end of an order that come in all orders behind one beginning


class Orders(NamedTuple):
    """Random orders of n answers in sets that share beginnings, (sets, m, n), and their weights in a set, (m,)."""

    orders: Int64
    weights: Float64  # of sum 1


def balanced_orders(n: int, at_least: int, generator: np.random.Generator) -> Orders:
    """Random orders of n answers, `at_least` so many, in two sets or more that do not depend on each other.

    Every order is uniformly random in law. In a set each answer is last with weight 1/n, and orders share beginnings so
    that they cost less to read: the answers are cut in two at random, each half is read in full before the orders of
    the other, which is cut in two again, and the last three or two come in all their orders. Of n = 10 answers a set
    has 16 orders and 58 different beginnings in place of 160. Orders of one set depend on each other: errors are made
    of whole sets. Orders of n answers cannot share more than n / e beginnings each, e = 2.718. O(sets m n).

    Two answers: either is last once in each set.

    >>> found = balanced_orders(2, 4, np.random.default_rng(0))
    >>> found.orders.tolist(), found.weights.tolist()
    ([[[0, 1], [1, 0]], [[0, 1], [1, 0]]], [0.5, 0.5])
    """
    if n < 2:
        raise ValueError("an order is of two answers or more")
    sets = [_halved((), generator.permutation(n).tolist())]
    while len(sets) < max(2, -(-at_least // len(sets[0]))):
        sets.append(_halved((), generator.permutation(n).tolist()))
    weights = np.array([weight for _, weight in sets[0]]) / n
    return Orders(np.array([[order for order, _ in one] for one in sets], np.int64), weights)


def _halved(before: tuple[int, ...], rest: list[int]) -> list[tuple[tuple[int, ...], float]]:
    """The orders of a set that begin with `before`, each with n times its weight."""
    if len(rest) <= _LAST:
        weight = 1 / math.factorial(len(rest) - 1)
        return [((*before, *order), weight) for order in itertools.permutations(rest)]
    first, second = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    return _halved((*before, *second), first) + _halved((*before, *first), second)


def progressive_surprise(
    alone: npt.ArrayLike, orders: npt.ArrayLike, codes: npt.ArrayLike, weights: npt.ArrayLike
) -> Float64:
    """The curve a_1 .. a_n of each set of orders, bits per byte, (sets, n). Larger: more diverse, or less likely texts.

    `alone`: c_i of each answer behind the prompt alone, (n,); `orders`: (sets, m, n); `codes`: of each order the code
    length of its k-th answer behind those before it, of the same shape; `weights` of the orders of a set, (m,). a_k =
    mean c(alone) - mean over orders of c(alone) - c(behind the others), both of the k-th answer: as each answer is
    equally likely to be k-th, that has the mean of the plain average over orders, and varies only by what the others
    change. It is the plain average where each answer is k-th with equal weight, as last in `balanced_orders`. a_1 is
    exact. Range [0, inf): equal answers that a scorer copies fall to 0, answers that have nothing in common stay at
    a_1. O(entries).

    Two answers of 2 and 4 bits a byte; behind the other they take 1 and 3: from 3 to 2.

    >>> progressive_surprise([2, 4], [[[0, 1], [1, 0]]], [[[2, 3], [4, 1]]], [0.5, 0.5]).tolist()
    [[3.0, 2.0]]
    """
    each, of, read = np.asarray(alone, np.float64), np.asarray(orders, np.int64), np.asarray(codes, np.float64)
    weight = np.asarray(weights, np.float64)
    if of.ndim != 3 or of.shape != read.shape or each.shape != of.shape[2:] or weight.shape != of.shape[1:2]:
        raise ValueError("each answer has a code length alone, each order one of each of its answers, and a weight")
    return np.asarray(each.mean() - np.einsum("m,smk->sk", weight / weight.sum(), each[of] - read))


class Decan(NamedTuple):
    """Coherence, what is left of surprise behind all others, and their product."""

    coherence: float
    a_n: float
    d: float


def decan(alone: npt.ArrayLike, a_n: float) -> Decan:
    """C = 2^-(mean c(alone)), and D = C a_n; `alone` as in `progressive_surprise`, `a_n` the end of its curve.

    C in (0, 1] is larger for likelier answers; D in [0, inf), at most log2(e) / e = 0.5307 where others do not raise
    surprise (a_n <= a_1). An answer without bytes has no code length: leave it out.

    2 and 4 bits a byte alone, 2 behind the others: C = 2^-3, D = 2/8.

    >>> decan([2, 4], 2.0)
    Decan(coherence=0.125, a_n=2.0, d=0.25)
    """
    coherence = 2.0 ** -float(np.mean(np.asarray(alone, np.float64)))
    return Decan(coherence, float(a_n), coherence * float(a_n))


def share_of_orders(values: npt.ArrayLike) -> float:
    """Which share of the squared standard error of a mean over prompts is that of the orders that were drawn.

    `values`: of each prompt the value by each set of orders, (prompts, sets). Orders add the mean over prompts of
    s^2 / sets, s^2 between the sets of a prompt, to the variance between prompts' means, which has both. Range [0, 1]:
    near 0 more orders would gain nothing, near 1 more prompts. nan for one prompt or one set, and where nothing
    varies. O(entries).

    Prompts of (0, 2) and (4, 6): s^2 / 2 = 1 in each, and between their means 1 and 5 the variance is 8: 1/8.

    >>> share_of_orders([[0, 2], [4, 6]])
    0.125
    """
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or min(rows.shape) < 2:
        return math.nan
    of_orders = float(rows.var(axis=1, ddof=1).mean()) / rows.shape[1]
    between = float(rows.mean(axis=1).var(ddof=1))
    return min(1.0, of_orders / between) if between > 0 else math.nan
