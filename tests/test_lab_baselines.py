"""Kneser-Ney against numbers derived by hand, and what makes it a probability."""

from __future__ import annotations

import lzma

import numpy as np
import pytest

from llama_diversity.lab.baselines import KneserNey, xz_bits


def test_a_bigram_model_computed_by_hand() -> None:
    # Documents a b a, a c with a=3, b=4, c=5, each after BOS=1 and before EOS=2; six tokens of vocabulary.
    # Bigrams: 1a x2, ab, ba, a2, ac, c2 x1: discount 5 / (5 + 2) = 5/7.
    # Continuations: a after {1, b}, b after {a}, 2 after {a, c}, c after {a}: counts a 2, b 1, 2: 2, c 1, six in all;
    # two of them 1, two of them 2: discount 2 / (2 + 4) = 1/3, four kinds.
    model = KneserNey([[3, 4, 3], [3, 5]], n_vocab=6, order=2)
    lower = {token: (count - 1 / 3 + 4 / 3 / 6) / 6 for token, count in ((2, 2), (3, 2), (4, 1))}
    d = 5 / 7
    expected = [
        (2 - d + d * 1 * lower[3]) / 2,  # a after BOS
        (1 - d + d * 3 * lower[4]) / 3,  # b after a, which three kinds followed once each
        d * 1 * lower[2],  # EOS after b, which only a followed
    ]
    np.testing.assert_allclose(model.surprisals_bits([[3, 4]]), -np.log2(expected), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_probabilities_of_all_next_tokens_add_up_to_one(order: int) -> None:
    rng, n_vocab = np.random.default_rng(0), 20
    documents = [rng.integers(3, 12, 30).tolist() for _ in range(40)]
    model = KneserNey(documents, n_vocab=n_vocab, order=order)
    for before in ([], [3, 4, 5], [15, 16, 17], documents[0][:6]):
        nexts = [model.surprisals_bits([[*before, token]])[len(before)] for token in range(n_vocab) if token != 2]
        nexts.append(model.surprisals_bits([before])[len(before)])  # EOS
        assert (2 ** -np.array(nexts)).sum() == pytest.approx(1)


def test_longer_contexts_help_where_text_repeats() -> None:
    documents = [[3, 4, 5, 6, 3, 4, 7, 8, 9] for _ in range(20)]
    bits = [KneserNey(documents, n_vocab=20, order=n).surprisals_bits(documents).sum() for n in (1, 2, 3)]
    assert bits[0] > bits[1] > bits[2]


def test_too_long_grams_are_refused() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        KneserNey([[3]], n_vocab=10_000, order=5)


def test_xz_counts_the_bits_of_the_compressed_text() -> None:
    assert xz_bits(["a" * 1000, "b"]) == 8 * len(lzma.compress(b"a" * 1000 + b"\nb\n", preset=9))
