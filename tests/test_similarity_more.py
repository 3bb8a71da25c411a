"""Distances between texts and IDF of one group: hand-derived values, whole matrices beside blocks, drift with n."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from llama_diversity.metrics import similarity
from llama_diversity.metrics.indices import corrected_vendi, leinster_cobbold, vendi
from llama_diversity.metrics.similarity import (
    alike_pairs,
    energy_distance,
    mean_cosine,
    mean_nearest_distance,
    mean_pairwise_distance,
    mmd,
    rao_q,
    rows_of_length_one,
    tf_idf,
    tf_idf_of_each_group,
)

FOUR = np.eye(3)[[0, 1, 2, 0]]  # texts 1 and 4 identical, all other distances 1

GROUPS = {"base": ["Ann is here.", "Bob isn't there!", "Who?"], "aligned": ["Ann is here.", "Ann is there.", ""]}
EXAMPLES: dict[str, Callable[[Any], Any]] = {  # every public function of the module, called with vectors
    "rows_of_length_one": lambda rows: rows_of_length_one(rows),
    "tf_idf": lambda rows: tf_idf(GROUPS)["base"].toarray(),
    "tf_idf_of_each_group": lambda rows: tf_idf_of_each_group(GROUPS)["base"].toarray(),
    "mean_cosine": lambda rows: [*mean_cosine(rows).summary, *mean_cosine(rows).of_each],
    "mean_pairwise_distance": lambda rows: mean_pairwise_distance(rows)[:3],
    "rao_q": lambda rows: rao_q(rows)[:3],
    "alike_pairs": lambda rows: alike_pairs(rows, 0.7)[:3],
    "mean_nearest_distance": lambda rows: [mean_nearest_distance(rows).value],
    "energy_distance": lambda rows: [energy_distance(rows, rows[1:]).value],
    "mmd": lambda rows: [mmd(rows, rows[1:]).value],
}
OF_TEXT = {"tf_idf", "tf_idf_of_each_group"}
OF_VECTORS = sorted(EXAMPLES.keys() - OF_TEXT)


def whole_numbers(n: int, d: int, seed: int) -> np.ndarray:
    """From -127 to 127: the same in every number type, and their squares do not fit into int8, their sums not float16.

    Ten kinds, so that texts resemble one another.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.integers(-80, 81, (10, d))
    return (kinds[rng.integers(0, 10, n)] + rng.integers(-40, 41, (n, d))).astype(np.float64)


def test_every_public_function_has_an_example_here() -> None:
    public = {
        name
        for name, function in inspect.getmembers(similarity, inspect.isfunction)
        if function.__module__ == similarity.__name__ and not name.startswith("_")
    }
    assert public == set(EXAMPLES)
    for name in public:
        numbers = np.asarray(EXAMPLES[name](whole_numbers(12, 5, 0)), np.float64)
        assert numbers.size, name
        assert np.isfinite(numbers).all(), name


@pytest.mark.parametrize("name", OF_VECTORS)
def test_the_number_type_does_not_matter(name: str) -> None:
    rows = whole_numbers(40, 12, 1)
    expected = np.asarray(EXAMPLES[name](rows))
    forms = [rows.astype(kind) for kind in (np.float16, np.float32, np.int8, np.int64)]
    small, large = (rows * scale for scale in (2.0**-900, 2.0**900))  # their squares are 0 and infinity
    tiny, huge = (np.float32(scale) * rows.astype(np.float32) for scale in (2.0**-100, 2.0**100))
    for form in (*forms, rows.tolist(), small, large, tiny, huge):
        np.testing.assert_allclose(np.asarray(EXAMPLES[name](form)), expected, rtol=1e-12, atol=1e-14)


def test_half_precision_of_many_texts() -> None:
    """2,000 texts whose summed row overflows the precision of float16, where sums stop growing at 2,048."""
    rows = whole_numbers(2000, 24, 2) / 128
    assert mean_pairwise_distance(rows.astype(np.float16)) == mean_pairwise_distance(rows)
    assert mean_pairwise_distance(rows).value > 0.5


def test_standard_errors_of_texts_that_are_nearly_alike_survive_float32() -> None:
    """Texts 0.01 apart: distances are 1e-4, of which float32 sums keep two digits."""
    rng = np.random.default_rng(3)
    rows = (np.eye(20)[0] + 0.01 * rng.normal(size=(300, 20))).astype(np.float32)
    units = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    distances = np.square(units[:, None] - units).sum(axis=2) / 2
    assert mean_pairwise_distance(rows).value == pytest.approx(distances.sum() / (300 * 299), rel=1e-9)
    assert mean_pairwise_distance(rows).se == pytest.approx(mean_pairwise_distance(rows.astype(np.float64)).se)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OF_VECTORS)
def test_numbers_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    rows = whole_numbers(6, 4, 0)
    rows[4, 2] = bad
    for form in (rows, rows.astype(np.float32), csr_array(rows)):
        with pytest.raises(ValueError, match="a vector holds a number that is not finite"):
            EXAMPLES[name](form)


def test_what_is_no_matrix_is_refused() -> None:
    for vectors in ([1.0, 2.0], np.ones((2, 2, 2)), 1.0):
        with pytest.raises(ValueError, match="vectors are the rows of a matrix"):
            mean_cosine(vectors)


def test_rows_of_length_one_keep_their_place_and_zeros() -> None:
    rows = np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, -5e-324, 0.0]])
    expected = [[0.6, 0, 0.8], [0, 0, 0], [0, -1, 0]]
    np.testing.assert_allclose(rows_of_length_one(rows), expected)
    stored = csr_array((np.array([3.0, 4.0, 0.0, -5e-324]), np.array([0, 2, 1, 1]), np.array([0, 2, 3, 4])))
    np.testing.assert_allclose(rows_of_length_one(stored).toarray(), expected)
    assert rows[0, 0] == 3  # the caller's rows stay
    assert stored.data[0] == 3


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
    """5/6 of pairs; with the zero diagonal it would be 10/16 = 5/8, which is Rao's Q.

    Pairs without a common text: products 1, 1, 0; variance 25/36 - 2/3 = 1/36.
    """
    pairs = mean_pairwise_distance(FOUR)
    assert pairs.value == pytest.approx(5 / 6)
    assert pairs.se**2 == pytest.approx(1 / 36)
    assert pairs.n == 4
    assert rao_q(FOUR).value == pytest.approx(5 / 8)
    assert rao_q(FOUR).se ** 2 == pytest.approx(1 / 36 * 9 / 16)


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


def test_mean_discrepancy_by_hand() -> None:
    """Two points each, e1 and e1 against e2 and e2: all that are apart are so by sqrt 2, k = exp(-2 / 4) = h.

    1 + 1 - 2 h. Arms {e1, e2} and {e1, e2}: within each the one pair h; between, two of four 1 and two h:
    2 h - (1 + h) = h - 1, below 0 as unbiased estimates for equal laws may be. {e1, e2} and {e1, e1}: h + 1 - (1 + h).
    Opposite poles: 2 apart, k = exp(-4 / 8) = h again: the kernel is that of the arms.
    """
    h = math.exp(-1 / 2)
    one, other, both = np.eye(2)[[0, 0]], np.eye(2)[[1, 1]], np.eye(2)
    assert mmd(one, other).value == pytest.approx(2 - 2 * h)
    assert mmd(both, both).value == pytest.approx(h - 1)
    assert mmd(both, one).value == pytest.approx(0, abs=1e-12)
    assert mmd(np.ones((2, 1)), -np.ones((2, 1))).value == pytest.approx(2 - 2 * h)
    assert mmd(one, one).value == 0
    assert mmd(one, other).warning == "arms that differ may be equally diverse"
    assert mmd(FOUR, FOUR[:1]).reason == "fewer than two texts with a vector in an arm"
    # angles 0, 60 and 120 degrees, each arm two texts: distances 1, sqrt 3 and 1, and 0; median 1 of 1, 1, 1, 1, sqrt 3
    first, second = (np.c_[np.cos(a), np.sin(a)] for a in (np.radians([0, 60]), np.radians([60, 120])))
    near, far = math.exp(-1 / 2), math.exp(-3 / 2)
    assert mmd(first, second).value == pytest.approx(2 * near - (1 + 2 * near + far) / 2)


def test_mean_discrepancy_of_equal_laws_is_around_zero_and_of_others_is_not() -> None:
    """Of 60 pairs of arms of one law the mean stays within 4 standard errors of 0."""
    rng = np.random.default_rng(1)
    same = np.array([mmd(*rng.normal(size=(2, 25, 4))).value for _ in range(60)])
    assert abs(same.mean()) < 4 * same.std(ddof=1) / math.sqrt(60)
    assert (same < 0).any()
    arm = np.array([1.0, 0, 0, 0]) + 0.2 * rng.normal(size=(25, 4))
    assert mmd(arm, arm[:, [1, 0, 2, 3]]).value > 0.5


def test_the_median_of_many_texts_is_that_of_evenly_spaced_ones() -> None:
    """1,500 texts in each arm of two kinds, alternating: every distance above 0 is sqrt 2, whichever are taken."""
    arm = np.eye(2)[np.arange(1500) % 2]
    h = math.exp(-1 / 2)
    alike = (750 * 749 * 2) / (1500 * 1499)
    assert mmd(arm, arm).value == pytest.approx(2 * (alike + (1 - alike) * h) - 2 * (1 + h) / 2)


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
        assert metric(csr_array(blank)) == metric(FOUR)
        assert metric(blank).n == 4
    for metric in (energy_distance, mmd):
        assert metric(blank, FOUR) == metric(FOUR, FOUR)


def test_too_few_texts_are_undefined_not_zero() -> None:
    for n in (0, 1):
        for metric in (mean_pairwise_distance, mean_nearest_distance):
            assert metric(np.eye(3)[:n])[:3] == (None, None, n)
            assert metric(np.eye(3)[:n]).reason == "fewer than two texts with a vector"
            assert rao_q(np.eye(3)[:n]) == mean_pairwise_distance(np.eye(3)[:n])
    assert energy_distance(FOUR, FOUR[:1]).reason == "fewer than two texts with a vector in an arm"
    assert mean_pairwise_distance(np.eye(3)[:2]).se is None


def test_neither_order_nor_rotation_matters() -> None:
    rng = np.random.default_rng(3)
    rows, others = rng.normal(size=(30, 5)), rng.normal(1, 1, size=(20, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    shuffled = rows[rng.permutation(30)] @ turn
    for metric in (mean_pairwise_distance, rao_q, mean_nearest_distance):
        assert metric(shuffled).value == pytest.approx(metric(rows).value)
    for metric in (energy_distance, mmd):
        assert metric(shuffled, others @ turn).value == pytest.approx(metric(rows, others).value)
    texts = ["Ann is here.", "Bob isn't there!", "Who?", "", "Who is Ann?"]
    whole = tf_idf({"a": texts, "b": ["Bob is."]})["a"].toarray()
    order = rng.permutation(5)
    moved = tf_idf({"b": ["Bob is."], "a": [texts[i] for i in order]})["a"].toarray()
    np.testing.assert_allclose(moved, whole[order])


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


def test_drift_with_n_of_ten_modes_around_centres_drawn_on_the_sphere() -> None:
    """Fixed centres, d = 384, vectors (centre + 0.65 noise) / norm. Tabulated for other centres of the same kind:

    VS_1 8.0 and 21.9, VS_2 6.9 and 14.2 at n = 10 and 50, VS_2u 19.5 at 50, half a per cent of error each, and another
    one for the centres. Mean distance 1 - 0.702988 |mean centre|^2 at every n (.921 for the tabulated centres).
    """
    rng = np.random.default_rng(0)
    centres = rows_of_length_one(rng.normal(size=(10, 384)))
    distance = 1 - 0.702988 * float(np.square(centres.mean(axis=0)).sum())
    assert distance == pytest.approx(0.921, abs=0.02)
    seen: dict[int, list[np.ndarray]] = {}
    for n, repetitions in ((10, 150), (50, 40)):
        noise = rng.normal(size=(repetitions, n, 384))
        noise /= np.linalg.norm(noise, axis=2, keepdims=True)
        seen[n] = list(centres[rng.integers(0, 10, (repetitions, n))] + 0.65 * noise)

    def agrees(expected: float, n: int, metric: Callable[[np.ndarray], Any], error_share: float = 0.015) -> bool:
        found = np.array([metric(rows).value for rows in seen[n]])
        error = math.hypot(found.std(ddof=1) / math.sqrt(len(found)), error_share * expected)
        return abs(found.mean() - expected) < 4 * error

    for q, few, many in ((0, 10, 50), (1, 8.0, 21.9), (2, 6.9, 14.2)):
        for n, expected in ((10, few), (50, many)):
            assert agrees(expected, n, lambda rows, q=q: vendi(rows, q))
    assert agrees(19.5, 50, corrected_vendi)
    for n in (10, 50):
        assert agrees(distance, n, mean_pairwise_distance, 0)
    largest = {n: np.mean([vendi(rows, math.inf).value for rows in seen[n]]) for n in seen}
    assert largest[50] > 1.4 * largest[10]


def test_pooled_tf_idf_cosines_keep_still_with_n_and_own_ones_do_not() -> None:
    """IDF of all 120 texts held fixed: means over subsets of 5 and 20 are the whole's, within 4 standard errors.

    With its own IDF, ln((1 + n) / (1 + df)) + 1, a small group weighs what its texts share more heavily beside the rest
    (df = n: 1; df = 1: at most ln(6/2) + 1 = 2.1 for n = 5, ln(121/2) + 1 = 5.1 for n = 120): its cosines are larger.
    """
    rng = np.random.default_rng(5)
    shares = 1 / np.arange(1, 301)
    texts = [" ".join(f"w{i}" for i in rng.choice(300, 12, p=shares / shares.sum())) for _ in range(120)]
    rows = tf_idf({"a": texts})["a"]
    whole = mean_cosine(rows).summary.mean
    for n, repetitions in ((5, 300), (20, 100)):
        subsets = [rng.choice(120, n, replace=False) for _ in range(repetitions)]
        fixed = np.array([mean_cosine(rows[subset]).summary.mean for subset in subsets])
        assert abs(fixed.mean() - whole) < 4 * fixed.std(ddof=1) / math.sqrt(repetitions)
        own = [mean_cosine(tf_idf({"a": [texts[i] for i in subset]})["a"]).summary.mean for subset in subsets[:60]]
        assert np.mean(own) > 1.1 * whole


@pytest.mark.parametrize("shares", [[0.1] * 10, [0.6] + [0.004] * 100, [0.3, 0.25, 0.2, 0.15, 0.1], [0.9, 0.05, 0.05]])
def test_the_interval_of_alike_pairs_holds_the_truth(shares: list[float]) -> None:
    """Texts of kinds whose shares are known: the probability that two are alike is the sum of their squares."""
    rng, truth = np.random.default_rng(7), float(np.square(shares).sum() / sum(shares) ** 2)
    kinds, runs = np.eye(len(shares)), 300
    p = np.array(shares) / sum(shares)
    held = 0
    for _ in range(runs):
        found = alike_pairs(kinds[rng.choice(len(p), 30, p=p)], 0.7)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 0.92 * runs  # of 95 %, three standard errors below
