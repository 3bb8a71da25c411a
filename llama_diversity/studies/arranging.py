"""The samples of an arm in another order, or only those with some words: worked out apart from whoever looks.

What a sample is worth in an order is read from the store, some samples in memory at a time, and kept as one number a
sample; so the same is never read twice, and a run that grows is read on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import embed
from llama_diversity.store import Store
from llama_diversity.studies import meanings
from llama_diversity.studies.browsing import WAIT_S, StoredRun
from llama_diversity.studies.viewed import Alike, Keys, Labels, Map, Told, Wish

_AT_ONCE = 200  # samples between two words of progress
Rows = npt.NDArray[np.int64]

ORDERS = {  # name -> what stands first
    "number": "in order",
    "likelihood": "likeliest first",
    "per token": "likeliest per token first",
    "length": "longest first",
    "kind": "largest kind first",
    "attractor": "by attractor",
}
BY_LABEL = ("kind", "attractor")


class Measures(NamedTuple):
    """Numbers of samples, by ascending keys: tokens, summed surprisal, and tokens that have one."""

    keys: Keys
    n_tokens: npt.NDArray[np.int64]
    bits: npt.NDArray[np.float64]
    n_judged: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> Measures:
        """Of no sample."""
        whole = np.zeros(0, np.int64)
        return cls(whole, whole, np.zeros(0), whole)

    def of(self, keys: Keys) -> Measures:
        """Those of some of the samples, in that order."""
        at = np.searchsorted(self.keys, keys)
        return Measures(keys, self.n_tokens[at], self.bits[at], self.n_judged[at])


class Arranger:
    """Orders of the samples of a stored run. It opens the store for itself each time, and remembers what it read."""

    orders = ORDERS

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._measures: dict[tuple[int, int], Measures] = {}
        self._labels: dict[tuple[int, int, str], Labels] = {}
        self._maps: dict[int, list[Map]] = {}

    def arrange(self, question: int, arm: int, wish: Wish, told: Told) -> Keys:
        """The samples of an arm as they are wanted. Raises what a store raises, NoEncoder, what `told` does."""
        with Store.open(self._path, read_only=True, timeout_s=WAIT_S) as store:
            run = StoredRun(store, self._run)
            keys = run.rows(question, arm)
            kept = containing(run, question, arm, wish.words, told) if wish.words else np.ones(len(keys), np.bool_)
            if wish.order in BY_LABEL:
                rows = by_labels(np.array(self._labelled(run, question, arm, wish.order, told).of(keys), np.int64))
            elif wish.order == "number":
                rows = np.arange(len(keys))
            else:
                known = self._measures.get((question, arm), Measures.none())
                self._measures[question, arm] = found = measured(run, question, arm, known, told)
                rows = in_order(found.of(keys), wish.order)
            rows = rows[kept[rows]]
            return keys[rows[::-1] if wish.is_reversed else rows]

    def labels(self, question: int, arm: int, order: str) -> Labels | None:
        """What was found out for `kind` or `attractor`."""
        return self._labels.get((question, arm, order))

    def alike(self, question: int, arm: int, key: int, told: Told) -> Sequence[Alike]:
        """Of each arm the sample with the longest beginning like that of one of an arm. Raises what a store raises."""
        with Store.open(self._path, read_only=True, timeout_s=WAIT_S) as store:
            return alike(StoredRun(store, self._run), question, arm, key, told)

    def maps(self, question: int, told: Told) -> Sequence[Map]:
        """Of each arm where its samples lie. Raises NoMap without the encoder, and of fewer than four texts."""
        if question not in self._maps:
            found = meanings.apart(meanings.Task(self._path, self._run, question, "map"), told)
            self._keep(question, "kind", found)
            if not found.places:
                raise meanings.NoMap(has_encoder=embed.find() is not None)
            self._maps[question] = [Map(*one) for one in found.places]
        return self._maps[question]

    def _labelled(self, run: StoredRun, question: int, arm: int, order: str, told: Told) -> Labels:
        keys = run.rows(question, arm)
        known = self._labels.get((question, arm, order))
        if known is None or len(known.keys) < len(keys):
            task = meanings.Task(self._path, self._run, question, order)
            self._keep(question, order, meanings.apart(task, told))
        return self._labels[question, arm, order]

    def _keep(self, question: int, order: str, found: meanings.Meanings) -> None:
        for arm, (keys, numbers) in enumerate(found.labels):
            self._labels[question, arm, order] = Labels(keys, numbers, found.words)


def alike(run: StoredRun, question: int, arm: int, key: int, told: Told) -> list[Alike]:
    """Of each arm the sample that shares most of its first tokens with one; of those alike the first by number."""
    [(cell, _, numbers)] = run.by_cell(question, arm, np.array([key], np.int64))
    [wanted] = run.store.ids(cell.recipe_key, numbers).values()
    vocabulary = run.store.recipe(cell.recipe_key).vocab_digest
    others = [
        run.rows(question, other) if other != arm else np.zeros(0, np.int64) for other in range(len(run.arms(question)))
    ]
    n, n_read = sum(map(len, others)), 0
    found = []
    for other, keys in enumerate(others):
        best = Alike(key, len(wanted)) if other == arm else Alike(None, -1)
        for start in range(0, len(keys), _AT_ONCE):
            for cell, places, numbers in run.by_cell(question, other, some := keys[start : start + _AT_ONCE]):
                if run.store.recipe(cell.recipe_key).vocab_digest == vocabulary:
                    ids = run.store.ids(cell.recipe_key, numbers)
                    for at, number in zip(places.tolist(), numbers, strict=True):
                        n_shared = _n_shared(wanted, ids[number]) if number in ids else -1
                        if n_shared > best.n_shared:
                            best = Alike(int(some[at]), n_shared)
            n_read += len(some)
            told(n_read / n)
        found.append(best)
    return found


def _n_shared(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> int:
    n = min(len(one), len(other))
    apart = np.flatnonzero(one[:n] != other[:n])
    return int(apart[0]) if len(apart) else n


def measured(run: StoredRun, question: int, arm: int, known: Measures, told: Told) -> Measures:
    """The measures of all samples of an arm; those that are known are not read again."""
    keys = run.rows(question, arm)
    new = keys[~np.isin(keys, known.keys)]
    parts = [known]
    for start in range(0, len(new), _AT_ONCE):
        parts.append(_read(run, question, arm, new[start : start + _AT_ONCE]))
        told(min(1.0, (start + _AT_ONCE) / len(new)))
    order = np.argsort(np.concatenate([part.keys for part in parts]))
    return Measures(
        np.concatenate([part.keys for part in parts])[order],
        np.concatenate([part.n_tokens for part in parts])[order],
        np.concatenate([part.bits for part in parts])[order],
        np.concatenate([part.n_judged for part in parts])[order],
    )


def _read(run: StoredRun, question: int, arm: int, keys: Keys) -> Measures:
    """Of the keys, which are ascending; a sample that is gone by now counts as empty."""
    n_tokens, n_judged = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    bits = np.zeros(len(keys))
    for cell, places, numbers in run.by_cell(question, arm, keys):
        sums = run.store.sums(cell.recipe_key, numbers)
        for at, number in zip(places.tolist(), numbers, strict=True):
            if number in sums:
                n_tokens[at], bits[at], n_judged[at] = sums[number].n_tokens, sums[number].bits, sums[number].n_judged
    return Measures(keys, n_tokens, bits, n_judged)


def containing(run: StoredRun, question: int, arm: int, words: str, told: Told) -> npt.NDArray[np.bool_]:
    """Of each row of an arm whether its text has the words in it, in any case."""
    wanted = words.casefold()
    found = np.zeros(run.n_rows(question, arm), np.bool_)
    for row, text in run.texts(question, arm, told):
        found[row] = wanted in text.decode("utf-8", "replace").casefold()
    return found


def in_order(measures: Measures, order: str) -> Rows:
    """The rows of samples by their measures; equal ones by number."""
    with np.errstate(invalid="ignore", divide="ignore"):
        worth = {
            "number": np.zeros(len(measures.keys)),
            "likelihood": measures.bits,
            "per token": measures.bits / measures.n_judged,
            "length": -measures.n_tokens,
        }[order]
    return np.argsort(worth, kind="stable")  # nan, of a text without a token, comes last


def by_labels(labels: npt.NDArray[np.int64]) -> Rows:
    """The rows by label: those of the commonest label first, those without one (-1) last."""
    counts = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.zeros(0, np.int64)
    worth = np.where(labels >= 0, -counts[labels] if len(counts) else 0, 1)
    return np.lexsort((labels, worth))
