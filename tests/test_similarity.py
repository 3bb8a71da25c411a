"""Cosines between texts: hand-derived values, both ends, and that order and length do not matter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from llama_diversity.metrics import similarity
from llama_diversity.metrics.similarity import mean_cosine, mean_pairwise_distance, tf_idf
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.text import words


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


def test_the_rows_are_those_of_scikit_learn() -> None:
    """Words in any order and number, texts without one, groups of several sizes; within the last bit or two."""
    random = np.random.default_rng(0)
    named = np.array([f"w{number}" for number in random.permutation(300)])
    lengths = random.integers(0, 60, 90).tolist()
    texts = [" ".join(random.choice(named[: random.choice([5, 40, 300])], length)) for length in (0, *lengths)]
    found = tf_idf({"a": texts[:30], "b": texts[30:]})
    expected = TfidfVectorizer(analyzer=words).fit_transform(texts).toarray()
    np.testing.assert_allclose(np.vstack([found["a"].toarray(), found["b"].toarray()]), expected, rtol=1e-15, atol=0)


def test_the_variance_of_a_mean_over_pairs_by_hand() -> None:
    """1 and 4 identical, all else apart: mean distance 5/6.

    Pairs without a common text are (12, 34), (13, 24), (14, 23), products 1, 1, 0, so the squared mean is estimated by
    2/3 and the variance by 25/36 - 2/3 = 1/36. The jackknife would say 1/12 (left out 1, 2/3, 2/3, 1).
    """
    rows = np.eye(3)[[0, 1, 2, 0]]
    found = mean_cosine(rows).summary
    assert 1 - found.mean == pytest.approx(5 / 6)
    assert found.se**2 == pytest.approx(1 / 36)
    assert found.n == 4


def test_of_three_texts_the_jackknife() -> None:
    """Two of three identical: left out 0, 0, 1; mean 1/3, squares 6/9; 2/3 * 6/9 = 4/9."""
    assert mean_cosine(np.eye(2)[[0, 0, 1]]).summary.se ** 2 == pytest.approx(4 / 9)


def test_of_very_many_sparse_rows_the_jackknife(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than three, here: mean distance 5/6, left out 1, 2/3, 2/3, 1; 3/4 * 4/36 = 1/12."""
    monkeypatch.setattr(similarity, "_GRAM_OF_SPARSE", 3)
    assert mean_cosine(csr_array(np.eye(3)[[0, 1, 2, 0]])).summary.se ** 2 == pytest.approx(1 / 12)


def test_the_variance_is_at_least_that_of_equally_typical_texts() -> None:
    """Two pairs of identical texts, cosines 1, 0, 0, 0, 0, 1 (mean 1/3): all row sums are 1.

    Unbiased it is 1/9 - (1 + 0 + 0) / 3 < 0; T = 12 * (1/3 * 4/9 + 2/3 * 1/9) = 8/3, so 2 T / 12^2 = 1/27.
    """
    assert mean_cosine(np.eye(2)[[0, 0, 1, 1]]).summary.se ** 2 == pytest.approx(1 / 27)


def test_the_shortcut_equals_the_whole_matrix() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal([1, 0, 0, 0, 0, 0, 0], 1, size=(30, 7))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    others = ~np.eye(30, dtype=bool)
    found = mean_cosine(rows)
    assert found.summary.mean == pytest.approx(cosines[others].mean())
    np.testing.assert_allclose(found.of_each, (cosines.sum(1) - 1) / 29)
    disjoint = [cosines[i, j] * cosines[k, m] for i, j, k, m in itertools.permutations(range(30), 4) if i < j and k < m]
    unbiased = found.summary.mean**2 - np.mean(disjoint)
    assert unbiased > 0
    assert found.summary.se**2 == pytest.approx(unbiased)
    order = rng.permutation(30)
    assert mean_cosine(rows[order] * rng.uniform(1, 5, (30, 1))).summary == pytest.approx(found.summary)


def _arms(shares: list[float], n: int, repetitions: int) -> list[np.ndarray]:
    """Vectors of orthogonal modes with such shares, noise of length 0.65 on the sphere around them, d = 32."""
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(repetitions, n, 32))
    noise *= 0.65 / np.linalg.norm(noise, axis=2, keepdims=True)
    return list(np.eye(32)[rng.choice(len(shares), (repetitions, n), p=shares)] + noise)


@pytest.mark.parametrize(("shares", "largest"), [([0.1] * 10, 1.25), ([0.4, 0.2, 0.1, 0.1, 0.1, 0.1], 1.15)])
def test_the_standard_error_is_that_of_repetitions(shares: list[float], largest: float) -> None:
    """Mean se^2 over the variance of 1,500 means at n = 60; of equally frequent modes the jackknife gives 1.6.

    The variance of 1,500 numbers has a standard error of sqrt(2 / 1500) = 3.7 %, 4 of which are 15 %. Two equal laws
    differ by more than 1.96 standard errors in at most 5 + 4 sqrt(5 * 95 / 750) = 8.2 % of 750 pairs of arms.
    """
    found = [mean_pairwise_distance(rows) for rows in _arms(shares, 60, 1500)]
    values, errors = (np.array([one[column] for one in found]) for column in (0, 1))
    assert 0.85 < (errors**2).mean() / values.var() < largest
    z = (values[:750] - values[750:]) / np.hypot(errors[:750], errors[750:])
    assert (abs(z) > 1.96).mean() < 0.082


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
