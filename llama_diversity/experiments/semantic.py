"""Experiment 2 of the paper: how alike are the completions of one prompt?

Protocol (Mohammadi 2024, sections 3.2 and 4.2): the prompt "Grace Hopper was", raw for both models, 200 completions of
at most 128 tokens at T = 1. Per completion its mean cosine to the others of the same model, over TF-IDF vectors of its
words and over sentence embeddings of the whole text; per model the mean and standard deviation of those. The paper
leaves open whether the IDF was fitted for each model; only the pooled one compares, so it is the one here.

Needs texts and their embeddings only. Embeddings of whole outputs; what the encoder truncates is its caller's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Difference, Summary, welch_difference
from llama_diversity.metrics.similarity import Similarity, mean_cosine, tf_idf

PROMPT = "Grace Hopper was"
N_SAMPLES = 200
MAX_TOKENS = 128


@dataclass(frozen=True)
class Result:
    """The similarity of each arm's completions, and aligned minus base: by words and by meaning."""

    words: Mapping[str, Similarity]
    meanings: Mapping[str, Similarity]
    words_difference: Difference
    meanings_difference: Difference

    def most_typical(self, arm: str) -> int:
        """Index of the completion that is nearest to all others of its arm, among those with a vector."""
        return int(np.argmax(self.meanings[arm].of_each))


def analyse(texts: Mapping[str, Sequence[str]], vectors: Mapping[str, npt.NDArray[np.float32]]) -> Result:
    """Compare the arms "base" and "aligned"; `vectors[arm]` has one row for each text, shape (n, d)."""
    words = {arm: mean_cosine(rows) for arm, rows in tf_idf(texts).items()}
    meanings = {arm: mean_cosine(np.asarray(rows, np.float64)) for arm, rows in vectors.items()}
    return Result(words, meanings, _difference(words), _difference(meanings))


def _difference(arms: Mapping[str, Similarity]) -> Difference:
    base, aligned = (_fewer_than_three(arms[arm].summary) for arm in ("base", "aligned"))
    return welch_difference(base, aligned)


def _fewer_than_three(summary: Summary) -> Summary:
    """The jackknife of a mean over pairs needs three texts; welch_difference takes n < 2 for undefined."""
    return summary if summary.n > 2 else summary._replace(n=1)
