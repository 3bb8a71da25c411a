"""A narrow and a varied set of answers for fine-tuning: as many of each kind, as long, from one pool.

The rule is the same for every kind of request. The pool of a kind, in an order that the seed draws, is cut by length
into ten parts of the same size, and as many answers are taken from each, so that no set is longer or shorter than the
pool.

- narrow: the answers nearest to one centre, by the cosine of their TF-IDF vectors. The centre is the one, of the first
  hundred answers of the pool, whose chosen answers are nearest to it on average.
- varied: drawn at random. In place of each answer of the narrow set stands the first of the pool, in that order, of the
  same length in tokens that is not taken yet. So both sets are as long, text by text; in a small pool they share some.

Another seed draws both sets anew, so what is found over seeds does not hang on one centre.

Drawn at random, and not spread as far as can be: what is farthest from all else is odd (rare names, long lists), so
that a model would learn the odd and not only the varied, and the sets would differ in more than one thing. A random
draw is as varied as the pool is, and differs from the narrow set in that alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.lab.corpus import words
from llama_diversity.lab.requests import KINDS, Demonstration
from llama_diversity.metrics.similarity import mean_cosine, tf_idf

N_PARTS, N_CENTRES = 10, 100


class AnswerSets(NamedTuple):
    """The same number of demonstrations of each kind, the same lengths."""

    narrow: list[Demonstration]
    varied: list[Demonstration]


def choose(
    pool: Sequence[Demonstration], n_a_kind: int, length_of: Callable[[str], int], *, seed: int = 1
) -> AnswerSets:
    """Both sets from `pool`, `n_a_kind` of each kind that it has; `length_of` an answer is in tokens.

    Raises BadValue where there are not twice as many of a kind: a narrow set would be most of the pool.
    """
    sets = AnswerSets([], [])
    for kind in KINDS:
        some = [one for one in pool if one.request.kind == kind]
        if len(some) < 2 * n_a_kind:
            allowed = f"of {kind} there are {len(some)} clean answers; ask for half as many at most, or give more text"
            raise BadValue("the number of answers", n_a_kind, allowed)
        some.sort(key=lambda one: hashlib.sha256(f"{seed} {one.answer}".encode()).digest())
        lengths = np.array([length_of(one.answer) for one in some])
        narrow = _nearest(tf_idf({kind: [one.answer for one in some]})[kind], _parts(lengths), n_a_kind)
        sets.narrow.extend(some[i] for i in narrow)
        sets.varied.extend(some[i] for i in _as_long(lengths, narrow))
    return sets


Rows = npt.NDArray[np.int64]


def _parts(lengths: npt.NDArray[Any]) -> list[Rows]:
    """The rows in parts of one size, the shortest first; rows of one length in their own order."""
    return [np.sort(part) for part in np.array_split(np.argsort(lengths, kind="stable"), N_PARTS)]


def _nearest(vectors: Any, parts: Sequence[Rows], n: int) -> Rows:
    """The rows nearest to one of the first rows, as many of each part: those of the row that is nearest to its own."""
    quotas = [len(quota) for quota in np.array_split(np.arange(n), len(parts))]
    cosines = np.asarray((vectors[: min(N_CENTRES, vectors.shape[0])] @ vectors.T).todense())
    best, chosen = -1.0, np.zeros(0, np.int64)
    for of_centre in cosines:
        found = [part[np.argsort(-of_centre[part], kind="stable")[:q]] for part, q in zip(parts, quotas, strict=True)]
        rows = np.sort(np.concatenate(found))
        nearness = float(of_centre[rows].mean())
        if nearness > best:
            best, chosen = nearness, rows
    return chosen


def _as_long(lengths: npt.NDArray[Any], narrow: Rows) -> Rows:
    """For each row of `narrow` the first one of the same length that is free: there are as many as it has at least."""
    free = np.ones(len(lengths), bool)
    chosen = []
    for row in narrow:
        row = int(np.argmax(free & (lengths == lengths[row])))
        free[row] = False
        chosen.append(row)
    return np.sort(np.array(chosen, np.int64))


def describe(sets: AnswerSets, length_of: Callable[[str], int]) -> dict[str, dict[str, dict[str, float]]]:
    """Set -> kind -> how many, tokens of answers and requests, mean TF-IDF cosine of two answers, words in all and
    different ones, and how many answers both sets have.

    The IDF is fitted on both sets of a kind together, so their cosines compare.
    """
    about: dict[str, dict[str, dict[str, float]]] = {"narrow": {}, "varied": {}}
    for kind in KINDS:
        found = {name: [one for one in getattr(sets, name) if one.request.kind == kind] for name in about}
        vectors = tf_idf({name: [one.answer for one in some] for name, some in found.items()})
        n_shared = len({one.answer for one in found["narrow"]} & {one.answer for one in found["varied"]})
        for name, some in found.items():
            said = [word for one in some for word in words(one.answer)]
            about[name][kind] = {
                "n": len(some),
                "answer_tokens": sum(length_of(one.answer) for one in some),
                "request_tokens": sum(length_of(one.request.prompt()) for one in some),
                "tf_idf_cosine": mean_cosine(vectors[name]).summary.mean,
                "n_words": len(said),
                "distinct_words": len(set(said)),
                "n_in_both": n_shared,
            }
    return about
