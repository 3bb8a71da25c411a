"""How much a text is about what a prompt is about, learned from documents.

A relevance model (Lavrenko and Croft 2001): the documents that share the prompt's rarest words say which words belong
to its topic. A word's weight is log p(word | those documents) - log p(word | all documents), the former smoothed by the
latter (Dirichlet, as Zhai and Lafferty 2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from llama_diversity.lab.corpus import words

_REACH_NATS = 2.0  # so much less shared, and a document weighs 1 / e
_SMOOTHING = 400.0  # words of the whole corpus mixed into the neighbours'
_FEWEST = 5  # occurrences of a word that says anything
_PRIOR_WORDS = 4  # that say nothing, added to every text: one fitting word is no text on the topic
_STEEPNESS = 3.0
FUNCTION_WORDS = frozenset(
    "a an the of to in on at and or but is was are were be been being it its he she his her him they them their this "
    "that these those so your you if for with from by as not no i me my we our us have has had do does did will would "
    "can could who which what when where there then than also into about after before all some one more most "
    "very".split()
)

Float64 = npt.NDArray[np.float64]


def stems(text: str) -> list[str]:
    """The words that say what a text is about, in order, without a plural's s."""
    return [word.removesuffix("s") for word in words(text) if word not in FUNCTION_WORDS and len(word) > 2]


class Relevance:
    """Made once from documents; a document that comes twice counts once."""

    def __init__(self, documents: Iterable[str]) -> None:
        self._index: dict[str, int] = {}
        texts = [[self._number(stem) for stem in stems(text)] for text in dict.fromkeys(documents)]
        self._words = np.array([word for text in texts for word in text], np.int32)
        self._lengths = np.array([len(text) for text in texts], np.int64)
        self._counts = np.bincount(self._words, minlength=len(self._index)).astype(np.float64)
        # The documents of each word, one after the other.
        document = np.repeat(np.arange(len(texts)), self._lengths)
        pairs = np.unique(np.stack((self._words, document)), axis=1) if texts else np.zeros((2, 0), np.int64)
        self._document = pairs[1]
        self._first = np.searchsorted(pairs[0], np.arange(len(self._index) + 1))

    def _number(self, stem: str) -> int:
        return self._index.setdefault(stem, len(self._index))

    def knows(self, topic: str) -> bool:
        """Whether any document has a word of `topic`."""
        return any(stem in self._index for stem in stems(topic))

    def likeness(self, topic: str, text: str) -> float:
        """How much the words of `text` are those of documents about `topic`, 0 to 1; 0.5 where nothing is known."""
        known = [self._index[stem] for stem in stems(text) if stem in self._index]
        said = [word for word in known if self._counts[word] >= _FEWEST]
        weights = self._nearness(topic)
        if not said or not weights.any():
            return 0.5
        near = np.repeat(weights, self._lengths)
        counts = np.bincount(self._words, near, minlength=len(self._index))[said]
        p_all = self._counts[said] / len(self._words)
        p_near = (counts + _SMOOTHING * p_all) / (near.sum() + _SMOOTHING)
        evidence = float(np.log(p_near / p_all).sum()) / (len(said) + _PRIOR_WORDS)
        return 1 / (1 + math.exp(-_STEEPNESS * evidence))

    def _nearness(self, topic: str) -> Float64:
        """A weight for each document: 1 for those that share most of the words of `topic`, rare ones counting more (the
        sum of their idf, in nats), less the less of it they share; 0 where they share nothing.
        """
        n_documents = len(self._lengths)
        shared = np.zeros(n_documents)
        for word in {self._index[stem] for stem in stems(topic) if stem in self._index}:
            having = self._document[self._first[word] : self._first[word + 1]]
            shared[having] += math.log((n_documents + 1) / len(having))
        return np.where(shared > 0, np.exp((shared - shared.max(initial=0.0)) / _REACH_NATS), 0.0)
