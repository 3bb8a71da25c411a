"""Cosines between texts: hand-derived values, both ends, and that order and length do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llama_diversity.experiments import semantic
from llama_diversity.metrics.similarity import mean_cosine, tf_idf


def test_idf_of_one_group_and_pooled() -> None:
    """Smooth IDF, ln((1 + n) / (1 + df)) + 1, rows of length 1.

    Alone: aa 1, bb and cc ln(3/2) + 1 = 1.405465; cosine 1 / (1 + 1.405465^2) = 0.336097. Pooled with two texts that
    share nothing with them: aa ln(5/3) + 1 = 1.510826, bb ln(5/2) + 1 = 1.916291; 2.282594 / 5.954764 = 0.383322.
    """
    alone = mean_cosine(tf_idf({"a": ["aa bb", "aa cc"]})["a"])
    assert alone.summary.mean == pytest.approx(0.336097, abs=1e-6)
    pooled = tf_idf({"a": ["aa bb", "aa cc"], "b": ["xx yy", "zz ww"]})
    assert mean_cosine(pooled["a"]).summary.mean == pytest.approx(0.383322, abs=1e-6)
    assert mean_cosine(pooled["b"]).summary.mean == pytest.approx(0, abs=1e-12)


def test_words_of_one_letter_count() -> None:
    assert mean_cosine(tf_idf({"a": ["I", "I", "a"]})["a"]).of_each.tolist() == pytest.approx([0.5, 0.5, 0])


def test_both_ends_and_texts_without_words() -> None:
    rows = tf_idf({"same": ["one two"] * 4, "apart": ["three", "four", "five"], "empty": ["", "..."]})
    assert mean_cosine(rows["same"]).summary.mean == pytest.approx(1)
    assert mean_cosine(rows["same"]).summary.se == pytest.approx(0, abs=1e-9)
    assert mean_cosine(rows["apart"]).summary.mean == pytest.approx(0, abs=1e-12)
    assert mean_cosine(rows["empty"]).summary.n == 0
    assert math.isnan(mean_cosine(rows["empty"]).summary.mean)
    assert tf_idf({"a": [""], "b": []})["a"].shape == (1, 1)


def test_the_jackknife_by_hand() -> None:
    """1 and 4 identical, all else apart: mean distance 5/6; leaving one out 1, 2/3, 2/3, 1; variance 1/12."""
    rows = np.eye(3)[[0, 1, 2, 0]]
    found = mean_cosine(rows).summary
    assert 1 - found.mean == pytest.approx(5 / 6)
    assert found.se**2 == pytest.approx(1 / 12)
    assert found.n == 4


def test_the_shortcut_equals_the_whole_matrix() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 7))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    others = ~np.eye(30, dtype=bool)
    found = mean_cosine(rows)
    assert found.summary.mean == pytest.approx(cosines[others].mean())
    np.testing.assert_allclose(found.of_each, (cosines.sum(1) - 1) / 29)
    left_out = [cosines[np.ix_(keep, keep)][others[1:, 1:]].mean() for keep in _all_but_one(30)]
    assert found.summary.se == pytest.approx(np.sqrt(29 / 30 * np.square(left_out - np.mean(left_out)).sum()))
    order = rng.permutation(30)
    assert mean_cosine(rows[order] * rng.uniform(1, 5, (30, 1))).summary == pytest.approx(found.summary)


def _all_but_one(n: int) -> list[list[int]]:
    return [[i for i in range(n) if i != left] for left in range(n)]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_texts_have_no_interval(n: int) -> None:
    found = mean_cosine(np.eye(3)[:n]).summary
    assert math.isnan(found.se)
    assert math.isnan(found.mean) == (n < 2)


def test_the_experiment_compares_both_arms() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(50)]
    texts = {
        "base": [" ".join(rng.choice(words, 12)) for _ in range(40)],
        "aligned": [" ".join(rng.choice(words[:15], 12)) for _ in range(40)],
    }
    centre = rng.normal(size=8)
    vectors = {"base": rng.normal(size=(40, 8)), "aligned": centre + 0.3 * rng.normal(size=(40, 8))}
    result = semantic.analyse(texts, {arm: rows.astype(np.float32) for arm, rows in vectors.items()})
    for difference in (result.words_differences["aligned"], result.meanings_differences["aligned"]):
        assert 0 < difference.low < difference.mean < difference.high
    typical = vectors["aligned"][result.most_typical("aligned")]
    assert typical @ centre / np.linalg.norm(typical) / np.linalg.norm(centre) > 0.8


def test_two_completions_give_no_interval() -> None:
    vectors = np.eye(4, dtype=np.float32)
    result = semantic.analyse({"base": ["a b"] * 2, "aligned": ["a c"] * 4}, {"base": vectors[:2], "aligned": vectors})
    assert math.isnan(result.words_differences["aligned"].low)
    assert result.words_differences["aligned"].mean == pytest.approx(0)
