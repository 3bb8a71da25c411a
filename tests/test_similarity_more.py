"""Distances between texts and IDF of one group: hand-derived values, whole matrices beside blocks, drift with n."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from llama_diversity.metrics.indices import leinster_cobbold
from llama_diversity.metrics.similarity import (
    energy_distance,
    mean_cosine,
    mean_nearest_distance,
    mean_pairwise_distance,
    rao_q,
    tf_idf,
    tf_idf_of_each_group,
)

FOUR = np.eye(3)[[0, 1, 2, 0]]  # texts 1 and 4 identical, all other distances 1


def test_own_idf_beside_pooled() -> None:
    """As of test_similarity: 0.336097 alone, 0.383322 with two texts that share nothing; no other group matters."""
    groups = {"a": ["aa bb", "aa cc"], "b": ["xx yy", "zz ww"], "none": [], "blank": ["", "..."]}
    own, pooled = tf_idf_of_each_group(groups), tf_idf(groups)
    assert list(own) == list(groups)
    assert mean_cosine(own["a"]).summary.mean == pytest.approx(0.336097, abs=1e-6)
    assert mean_cosine(tf_idf({"a": groups["a"], "b": groups["b"]})["a"]).summary.mean == pytest.approx(
        0.383322, abs=1e-6
    )
    assert mean_cosine(pooled["a"]).summary.mean > 0.383322  # blank texts are documents too, without "aa"
    assert own["none"].shape[0] == 0
    assert mean_cosine(own["blank"]).summary.n == 0


def test_one_letter_words_and_both_apostrophes_are_words() -> None:
    """scikit-learn's own pattern drops "I" and "a", and cuts at apostrophes."""
    rows = tf_idf_of_each_group({"a": ["I can’t", "i CAN'T", "a"]})["a"]
    assert mean_cosine(rows).of_each.tolist() == pytest.approx([0.5, 0.5, 0])


def test_a_text_makes_no_pair_with_itself() -> None:
    """5/6 of pairs; with the zero diagonal it would be 10/16 = 5/8, which is Rao's Q. Left out: 1, 2/3, 2/3, 1."""
    pairs = mean_pairwise_distance(FOUR)
    assert pairs.value == pytest.approx(5 / 6)
    assert pairs.se**2 == pytest.approx(1 / 12)
    assert pairs.n == 4
    assert rao_q(FOUR).value == pytest.approx(5 / 8)
    assert rao_q(FOUR).se ** 2 == pytest.approx(1 / 12 * 9 / 16)


def test_mean_pairwise_distance_at_its_ends() -> None:
    assert mean_pairwise_distance(np.ones((5, 3))).value == pytest.approx(0, abs=1e-12)
    assert mean_pairwise_distance(np.eye(4)).value == 1
    assert mean_pairwise_distance(np.array([[1.0], [-1.0]])).value == 2  # n / (n - 1)
    angles = 2 * np.pi * np.arange(6) / 6
    assert mean_pairwise_distance(np.c_[np.cos(angles), np.sin(angles)]).value == pytest.approx(6 / 5)


def test_rao_q_is_one_minus_one_over_the_diversity_of_similar_texts() -> None:
    """Leinster-Cobbold of order 2 with single texts is one over the mean similarity, diagonal included."""
    rows = np.abs(np.random.default_rng(0).normal(size=(12, 5)))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    diversity = leinster_cobbold(np.ones(12), np.clip(units @ units.T, 0, 1), 2).value
    assert rao_q(rows).value == pytest.approx(1 - 1 / diversity)


def test_nearest_neighbours_by_hand() -> None:
    assert mean_nearest_distance(FOUR).value == pytest.approx((0 + 1 + 1 + 0) / 4)
    assert mean_nearest_distance(np.eye(5)).value == 1
    assert mean_nearest_distance(np.ones((5, 3))).value == pytest.approx(0, abs=1e-12)
    assert mean_nearest_distance(np.array([[2.0], [-1.0]])).value == 2
    assert mean_nearest_distance(FOUR).se is None  # the jackknife fails for it


def test_energy_distance_by_hand() -> None:
    """Arms {e1, e1, e2} and {e2, e2}: |e1 - e2| = s = sqrt 2.

    Between: 4 of 6 pairs at s. Within the first: 4 of 6 ordered pairs at s; the second 0. 2 * 4/6 s - 4/6 s = 4/6 s.
    """
    first, second = np.eye(2)[[0, 0, 1]], np.eye(2)[[1, 1]]
    assert energy_distance(first, second).value == pytest.approx(4 / 6 * math.sqrt(2))
    assert energy_distance(second, first).value == pytest.approx(4 / 6 * math.sqrt(2))
    assert energy_distance(first, second).n == 5
    assert energy_distance(np.ones((3, 1)), -np.ones((2, 1))).value == pytest.approx(4)  # opposite poles
    assert energy_distance(np.ones((3, 2)), np.ones((2, 2))).value == pytest.approx(0, abs=1e-7)


def test_energy_distance_says_different_of_equally_diverse_arms() -> None:
    """An arm and the same arm turned by 90 degrees: one mean pairwise distance, far apart. Two draws of one law: near.

    Under one law the mean is 0; of 40 pairs of arms the mean stays within 4 standard errors.
    """
    rng = np.random.default_rng(0)
    arm = np.array([1.0, 0, 0, 0]) + 0.2 * rng.normal(size=(40, 4))
    moved = arm[:, [1, 0, 2, 3]]
    assert mean_pairwise_distance(moved).value == pytest.approx(mean_pairwise_distance(arm).value)
    found = energy_distance(arm, moved)
    assert found.value > 1
    assert found.warning == "arms that differ may be equally diverse"
    same = np.array([energy_distance(*rng.normal(size=(2, 30, 4))).value for _ in range(40)])
    assert abs(same.mean()) < 4 * same.std(ddof=1) / math.sqrt(40)
    assert (same < 0).any()
    assert (same > 0).any()


@pytest.mark.parametrize("n", [2, 3, 60, 1100])
def test_sparse_rows_and_blocks_give_what_the_whole_matrix_gives(n: int) -> None:
    """The largest n takes two blocks."""
    rng = np.random.default_rng(n)
    rows, others = rng.normal(size=(2, n, 6)) * (rng.random((2, n, 6)) < 0.6)
    rows[:, 0], others[:, 0] = rng.uniform(0.5, 1, (2, n))  # none without a direction
    units, other_units = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, others))
    cosines = units @ units.T
    off_diagonal = cosines[~np.eye(n, dtype=bool)]
    np.fill_diagonal(cosines, -np.inf)
    nearest = 1 - cosines.max(axis=1).mean()
    within = [np.sqrt(2 - 2 * (part @ part.T)[~np.eye(n, dtype=bool)]).mean() for part in (units, other_units)]
    energy = 2 * np.sqrt(2 - 2 * units @ other_units.T).mean() - sum(within)
    for form in (np.asarray, csr_array):
        assert mean_pairwise_distance(form(rows)).value == pytest.approx(1 - off_diagonal.mean())
        assert mean_nearest_distance(form(rows * 3)).value == pytest.approx(nearest)
        assert energy_distance(form(rows), form(others)).value == pytest.approx(energy)


def test_texts_without_a_vector_are_left_out() -> None:
    blank = np.vstack([FOUR, np.zeros((2, 3))])
    for metric in (mean_pairwise_distance, rao_q, mean_nearest_distance):
        assert metric(blank) == metric(FOUR)
    assert energy_distance(blank, FOUR) == energy_distance(FOUR, FOUR)


def test_too_few_texts_are_undefined_not_zero() -> None:
    for n in (0, 1):
        for metric in (mean_pairwise_distance, mean_nearest_distance):
            assert metric(np.eye(3)[:n])[:3] == (None, None, n)
            assert metric(np.eye(3)[:n]).reason == "fewer than two texts with a vector"
    assert rao_q(np.eye(3)[:1]).value == 0
    assert rao_q(np.eye(3)[:0]).value is None
    assert energy_distance(FOUR, FOUR[:1]).reason == "fewer than two texts with a vector in an arm"
    assert mean_pairwise_distance(np.eye(3)[:2]).se is None


def test_neither_order_nor_rotation_matters() -> None:
    rng = np.random.default_rng(3)
    rows, others = rng.normal(size=(30, 5)), rng.normal(1, 1, size=(20, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    shuffled = rows[rng.permutation(30)] @ turn
    for metric in (mean_pairwise_distance, rao_q, mean_nearest_distance):
        assert metric(shuffled).value == pytest.approx(metric(rows).value)
    assert energy_distance(shuffled, others @ turn).value == pytest.approx(energy_distance(rows, others).value)


def ten_modes(n: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors, d = 384, of ten orthogonal centres: (centre + 0.65 noise) / norm, noise uniform on the sphere."""
    noise = rng.normal(size=(n, 384))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    rows = np.eye(384)[rng.integers(0, 10, n)] + 0.65 * noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_mean_distance_keeps_still_and_nearest_neighbours_come_closer_as_n_grows() -> None:
    """Cosine within a mode 1 / (1 + 0.65^2) = 0.702988, between modes 0: mean distance 1 - 0.0702988 at every n.

    Nearest neighbours 0.537, 0.336, 0.272 at n = 10, 25, 100 from draws elsewhere with a standard error of half a per
    cent (0.0027 at most), for centres that were not quite orthogonal. Here within 4 of both errors, seed fixed.
    """
    rng = np.random.default_rng(0)
    for n, repetitions, nearest in [(10, 200, 0.537), (25, 80, 0.336), (100, 20, 0.272)]:
        samples = [ten_modes(n, rng) for _ in range(repetitions)]
        means = np.array([mean_pairwise_distance(sample).value for sample in samples])
        assert abs(means.mean() - 0.929701) < 4 * means.std(ddof=1) / math.sqrt(repetitions)
        found = np.array([mean_nearest_distance(sample).value for sample in samples])
        error = math.hypot(found.std(ddof=1) / math.sqrt(repetitions), 0.005 * nearest)
        assert abs(found.mean() - nearest) < 4 * error
