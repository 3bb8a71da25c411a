"""Numbers equivalents: hand-derived values, both ends, what must not change them, and their bias as n grows."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from llama_diversity.errors import BadValue
from llama_diversity.metrics import indices
from llama_diversity.metrics.indices import (
    clip_similarity,
    concentration,
    corrected_vendi,
    corrected_vendi_of_kernel,
    directions,
    entropy_nats,
    hill,
    inverse_simpson,
    leinster_cobbold,
    mean_squared_cosine,
    mean_squared_cosine_of_kernel,
    novelty_utility,
    numbers_equivalent,
    plug_in_entropy_nats,
    spectrum,
    vendi,
    vendi_of_kernel,
)
from llama_diversity.metrics.inference import Estimate, jackknife

ORDERS = (0, 1, 2, math.inf)
TWO_ALIKE = np.eye(3)[[0, 0, 1, 2]]  # two identical and two orthogonal texts
ZIPF = 1 / np.arange(1, 41)
ZIPF /= ZIPF.sum()  # 40 classes, p ~ 1/i: H 3.037580, sum p^2 0.088509


HALVES = np.full((4, 4), 0.5) + np.eye(4) / 2  # a kernel: all pairs 1/2
EXAMPLES: dict[str, Callable[[Any], Any]] = {  # every public function of the module, called with vectors
    "numbers_equivalent": lambda rows: numbers_equivalent([0.5, 0.25, 0.25], 1),
    "hill": lambda rows: hill([5, 3, 2], 1)[:3],
    "entropy_nats": lambda rows: entropy_nats([0.5, 0.25, 0.25]),
    "plug_in_entropy_nats": lambda rows: plug_in_entropy_nats([5, 3, 2])[:3],
    "concentration": lambda rows: concentration([5, 3, 2])[:3],
    "inverse_simpson": lambda rows: inverse_simpson([5, 3, 2])[:3],
    "vendi": lambda rows: [vendi(rows, q).value for q in ORDERS] + [vendi(rows, 2, with_se=True).se],
    "vendi_of_kernel": lambda rows: vendi_of_kernel(HALVES).value,
    "spectrum": lambda rows: spectrum(directions(rows)),
    "directions": lambda rows: directions(rows),
    "mean_squared_cosine": lambda rows: mean_squared_cosine(rows)[:3],
    "mean_squared_cosine_of_kernel": lambda rows: mean_squared_cosine_of_kernel(HALVES)[:3],
    "corrected_vendi": lambda rows: corrected_vendi(rows)[:3],
    "corrected_vendi_of_kernel": lambda rows: corrected_vendi_of_kernel(HALVES)[:3],
    "clip_similarity": lambda rows: clip_similarity(HALVES - 0.6).similarity,
    "leinster_cobbold": lambda rows: leinster_cobbold([5, 3, 2, 1], HALVES, 1).value,
    "novelty_utility": lambda rows: novelty_utility([5, 0, 4]).value,
}
OF_VECTORS = ("vendi", "spectrum", "directions", "mean_squared_cosine", "corrected_vendi")


def test_every_public_function_has_an_example_here() -> None:
    """And those that take vectors, called `rows`, or `units` where they are already of length 1, are known."""
    public = {
        name: function
        for name, function in inspect.getmembers(indices, inspect.isfunction)
        if function.__module__ == indices.__name__ and not name.startswith("_")
    }
    assert public.keys() == EXAMPLES.keys()
    assert {
        name for name, function in public.items() if {"rows", "units"} & inspect.signature(function).parameters.keys()
    } == set(OF_VECTORS)
    for name, example in EXAMPLES.items():
        numbers = np.asarray(example(vectors(6, 4, 0)), np.float64)
        assert numbers.size, name
        assert np.isfinite(numbers).all(), name


@pytest.mark.parametrize("name", OF_VECTORS)
def test_the_number_type_of_vectors_does_not_matter(name: str) -> None:
    """Whole numbers up to 127 are the same in every type; in int8 and float16 their sums and squares are not."""
    rows = np.random.default_rng(0).integers(-127, 128, (20, 6)).astype(np.float64) + 20 * np.eye(6)[0]
    rows = np.clip(rows, -127, 127)
    expected = np.asarray(EXAMPLES[name](rows))
    forms = [rows.astype(kind) for kind in (np.float16, np.float32, np.int8, np.int64)]
    tiny, huge = (np.float32(scale) * rows.astype(np.float32) for scale in (2.0**-100, 2.0**100))
    for form in (*forms, rows.tolist(), rows * 2.0**-900, rows * 2.0**900, tiny, huge, csr_array(rows)):
        np.testing.assert_allclose(np.asarray(EXAMPLES[name](form)), expected, rtol=1e-9, atol=1e-14)


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def compositions(n: int, shares: tuple[float, ...]) -> Iterator[tuple[list[int], float]]:
    """Every table of class counts of n generations with its multinomial probability."""
    for counts in itertools.product(range(n + 1), repeat=len(shares)):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(math.factorial(count) for count in counts)
            yield list(counts), ways * math.prod(p**count for p, count in zip(shares, counts, strict=True))


# ---- class counts ----


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # (5,3,2): S; exp(1.029653); 1 / .38; 1 / .5
        ([5, 3, 2], (3, 2.800094, 2.631579, 2)),
        # (4,2,1,1,1,1): H = .4 log 2.5 + .2 log 5 + .4 log 10 = log 5; 1 / (.16 + .04 + .04) = 1 / .24; 1 / .4
        ([4, 2, 1, 1, 1, 1], (6, 5, 4.166667, 2.5)),
        # (7,1,1,1): exp(.7 log(10/7) + .3 log 10); 1 / .52; 1 / .7
        ([7, 1, 1, 1], (4, 2.561129, 1.923077, 1.428571)),
        ([1] * 10, (10, 10, 10, 10)),
        ([8], (1, 1, 1, 1)),
    ],
)
def test_hill_numbers_by_hand(counts: list[int], expected: tuple[float, ...]) -> None:
    assert [hill(counts, q).value for q in ORDERS] == pytest.approx(expected, abs=1e-6)
    assert [hill(counts[::-1], q).value for q in ORDERS] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("counts", "entropy", "pairs"),
    [
        ([5, 3, 2], 1.029653, 28 / 90),  # 5*4 + 3*2 + 2*1 of 10*9
        ([4, 2, 1, 1, 1, 1], math.log(5), 14 / 90),
        ([7, 1, 1, 1], 0.940448, 42 / 90),
        ([1] * 10, math.log(10), 0),
        ([8], 0, 1),
    ],
)
def test_entropy_and_concentration_by_hand(counts: list[int], entropy: float, pairs: float) -> None:
    assert plug_in_entropy_nats(counts).value == pytest.approx(entropy, abs=1e-6)
    assert concentration(counts).value == pytest.approx(pairs, abs=1e-12)
    assert concentration(counts).n == sum(counts)


def test_inverse_simpson_is_undefined_where_no_two_are_alike() -> None:
    assert inverse_simpson([5, 3, 2]).value == pytest.approx(90 / 28)
    assert inverse_simpson([6]).value == 1
    assert inverse_simpson([1] * 10) == Estimate(None, None, 10, "all distinct")
    # Leaving out one of the only pair leaves none, where the inverse is undefined: no standard error.
    assert inverse_simpson([2, 1, 1]).value == 6
    assert inverse_simpson([2, 1, 1]).se is None


def test_hill_numbers_fall_in_q_and_are_continuous() -> None:
    orders = (0, 0.5, 1 - 1e-5, 1 - 1e-8, 1, 1 + 1e-8, 1 + 1e-5, 1.5, 2, 3, 50, 1e4, math.inf)
    for counts in np.random.default_rng(0).integers(1, 40, (20, 7)):
        profile = [hill(counts, q).value for q in orders]
        assert profile == sorted(profile, reverse=True)
        assert profile[2] == pytest.approx(profile[6], rel=1e-4)
        assert profile[3] == pytest.approx(profile[4], rel=1e-7)
        assert profile[-2] == pytest.approx(profile[-1], rel=1e-3)
        assert profile[0] == pytest.approx(7)
        assert profile[-1] == pytest.approx(counts.sum() / counts.max())


@pytest.mark.parametrize("e", [1e-4, 1e-6, 0.99e-7, 1e-7, 1.01e-7, 1e-9, 1e-12, 1e-15])
def test_orders_next_to_1_lose_no_digit(e: float) -> None:
    """log D = H - (q - 1)/2 Var + ..., H and Var of -log p: 1.5 log 2 and (log 2)^2 / 4; the next term is 0 here."""
    shares, spread = np.array([0.5, 0.25, 0.25]), math.log(2) ** 2 / 4
    for step in (e, -e):
        q = 1 + step
        expected = 2**1.5 * math.exp(-(q - 1) / 2 * spread)
        assert numbers_equivalent(shares, q) == pytest.approx(expected, rel=4e-15)
        assert numbers_equivalent(shares.astype(np.float32), q) == pytest.approx(expected, rel=4e-15)
        assert vendi(TWO_ALIKE, q).value == pytest.approx(expected, rel=1e-13)
        assert leinster_cobbold([2, 1, 1], np.eye(3), q).value == pytest.approx(expected, rel=4e-15)
    assert numbers_equivalent(shares * (1 + 5e-10), 1 + e) == pytest.approx(2**1.5 * math.exp(-e / 2 * spread))


@pytest.mark.parametrize("q", [1e17, 1e18, 1e300])
def test_very_large_orders_are_the_limit(q: float) -> None:
    assert numbers_equivalent([0.5, 0.25, 0.25], q) == pytest.approx(2, rel=1e-14)
    assert numbers_equivalent([1.0], q) == 1


@pytest.mark.parametrize("q", ORDERS)
def test_two_copies_that_share_no_class_double_the_diversity(q: float) -> None:
    """Replication principle; entropy itself only gains log 2, and 1 - sum p^2 goes from .62 to .81."""
    assert hill([5, 3, 2] * 2, q).value == pytest.approx(2 * hill([5, 3, 2], q).value)
    kernel = vectors(6, 4, 0)
    kernel = kernel @ kernel.T
    both = np.block([[kernel, np.zeros((6, 6))], [np.zeros((6, 6)), kernel]])
    assert vendi_of_kernel(both, q).value == pytest.approx(2 * vendi_of_kernel(kernel, q).value)
    z = np.clip(kernel, 0, 1)
    apart = np.block([[z, np.zeros((6, 6))], [np.zeros((6, 6)), z]])
    weights = [1, 2, 3, 4, 5, 6]
    assert leinster_cobbold(weights * 2, apart, q).value == pytest.approx(2 * leinster_cobbold(weights, z, q).value)


def vectors(n: int, d: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_duplicating_every_text_leaves_the_plug_in_values() -> None:
    rows = vectors(9, 5, 1)
    for q in ORDERS:
        assert hill([10, 6, 4], q).value == pytest.approx(hill([5, 3, 2], q).value)
        assert vendi(np.repeat(rows, 2, axis=0), q).value == pytest.approx(vendi(rows, q).value)
    assert concentration([10, 6, 4]).value > concentration([5, 3, 2]).value  # pairs of copies are pairs


def test_concentration_is_unbiased_and_its_neighbours_are_not() -> None:
    """All 15 tables of four generations over p = (.5, .3, .2), each by its probability: sum p^2 = .38 exactly.

    Plug-in: .38 + .62 / 4. Entropy and Hill numbers come out too low, S at 3 - .5^4 - .7^4 - .8^4 = 2.2878.
    """
    shares = (0.5, 0.3, 0.2)

    def mean(statistic: Callable[[list[int]], float]) -> float:
        return sum(p * statistic(counts) for counts, p in compositions(4, shares))

    assert sum(p for _, p in compositions(4, shares)) == pytest.approx(1)
    assert mean(lambda counts: concentration(counts).value) == pytest.approx(0.38, abs=1e-12)
    assert mean(lambda counts: 1 / hill(counts, 2).value) == pytest.approx(0.38 + 0.62 / 4, abs=1e-12)
    assert mean(lambda counts: hill(counts, 0).value) == pytest.approx(2.2878, abs=1e-12)
    assert mean(lambda counts: plug_in_entropy_nats(counts).value) < entropy_nats(shares)
    for q in ORDERS:
        assert mean(lambda counts, q=q: hill(counts, q).value) < numbers_equivalent(shares, q)


def test_inverting_an_unbiased_concentration_is_biased_upwards() -> None:
    """40 classes, p ~ 1/i: mean 12.27 at n = 50 (sd 3.5, of 20,000 draws) where 1 / sum p^2 = 11.298.

    1,500 draws of a fixed seed; 4 standard errors are 0.37, so the true 11.30 is more than 10 of them away from 12.27.
    """
    draws = np.random.default_rng(5).multinomial(50, ZIPF, 1500)
    pairs = np.array([concentration(counts).value for counts in draws])
    inverse = np.array([inverse_simpson(counts).value for counts in draws])
    assert abs(pairs.mean() - 0.088509) < 4 * pairs.std() / math.sqrt(1500)
    assert abs(inverse.mean() - 12.27) < 4 * 3.5 / math.sqrt(1500)
    assert inverse.mean() > 11.298 + 4 * inverse.std() / math.sqrt(1500)


def test_plug_in_entropy_matches_its_exact_mean() -> None:
    """E[H] = -sum_i sum_c Bin(c; n, p_i) (c/n) log(c/n): 1.8723 at n = 10 and 2.6391 at n = 50 of a true 3.0376."""
    assert entropy_nats(ZIPF) == pytest.approx(3.037580, abs=1e-6)
    generator = np.random.default_rng(6)
    for n, tabulated in ((10, 1.8723), (50, 2.6391)):
        c = np.arange(1, n + 1)
        ways = np.array([math.comb(n, k) for k in c])
        bin_c = ways * ZIPF[:, None] ** c * (1 - ZIPF[:, None]) ** (n - c)
        exact = float(-(bin_c * (c / n) * np.log(c / n)).sum())
        assert exact == pytest.approx(tabulated, abs=5e-5)
        found = [plug_in_entropy_nats(counts).value for counts in generator.multinomial(n, ZIPF, 800)]
        assert abs(np.mean(found) - exact) < 4 * np.std(found) / math.sqrt(800)


def test_standard_errors_where_they_hold_and_none_elsewhere() -> None:
    """(2, 1): left out twice (1, 1), once (2). H: log 2 twice, 0 once; 2/3 * (2/3) log^2 2 = (4/9) log^2 2."""
    assert plug_in_entropy_nats([2, 1]).se == pytest.approx(2 / 3 * math.log(2))
    # ^2D: 2, 2, 1, mean 5/3, squares 2/9 + 4/9; 2/3 * 2/3
    assert hill([2, 1], 2).se == pytest.approx(2 / 3)
    assert hill([2, 1], 0).se is None
    assert hill([2, 1], 0.5).se is None
    assert hill([2, 1], math.inf).se is None
    assert concentration([1, 1]).se is None  # one of two makes no pair


@pytest.mark.parametrize("statistic", [lambda c: hill(c, 1), plug_in_entropy_nats, concentration, inverse_simpson])
def test_no_generations_are_undefined(statistic: Callable[[list[int]], Estimate]) -> None:
    assert statistic([]) == Estimate(None, None, 0, "no generations")
    assert statistic([0, 0]) == Estimate(None, None, 0, "no generations")


def test_one_generation_makes_no_pair() -> None:
    for statistic in (concentration, inverse_simpson):
        assert statistic([1]) == Estimate(None, None, 1, "one generation makes no pair")
    assert hill([1], 0) == Estimate(1, None, 1)


@pytest.mark.parametrize(
    "bad", [[5, 3, 2], [math.nan, 0.5, 0.5], [math.inf], [-0.5, 1.5], [0.0], [0.5, 0.5 + 1e-8], 1.0]
)
def test_what_is_no_share_is_refused(bad: Any) -> None:
    for statistic in (entropy_nats, lambda shares: numbers_equivalent(shares, 0)):
        with pytest.raises(ValueError, match="shares are finite, not negative, and sum to 1"):
            statistic(bad)


def test_shares_that_sum_to_one_but_for_rounding_are_shares() -> None:
    assert entropy_nats([0.5, 0.5 + 1e-11]) == pytest.approx(math.log(2))
    tenths = np.full(10, 0.1, np.float32)  # sum to 1 + 1.5e-8
    assert numbers_equivalent(tenths, 2) == pytest.approx(10, rel=1e-6)


def test_counts_whose_squares_overflow() -> None:
    """Two classes of m = 4e9: (m - 1) / (2 m - 1) = 1/2 - 1.25e-10 / 2."""
    assert concentration([4_000_000_000] * 2).value == pytest.approx(0.5, abs=1e-9)
    assert inverse_simpson([4_000_000_000] * 2).value == pytest.approx(2, abs=1e-8)


def test_the_order_of_classes_does_not_matter() -> None:
    counts, similarity = np.array([7, 4, 4, 2, 1, 1]), np.full((6, 6), 0.3) + 0.7 * np.eye(6)
    similarity[0, 1] = similarity[1, 0] = 0.9
    order = np.random.default_rng(1).permutation(6)
    for statistic in (
        concentration,
        inverse_simpson,
        plug_in_entropy_nats,
        *(lambda c, q=q: hill(c, q) for q in ORDERS),
    ):
        assert statistic(counts[order])[0] == pytest.approx(statistic(counts)[0])
        assert statistic(counts[order])[1] == pytest.approx(statistic(counts)[1])
    shuffled = similarity[np.ix_(order, order)]
    for q in ORDERS:
        expected = leinster_cobbold(counts, similarity, q).value
        assert leinster_cobbold(counts[order], shuffled, q).value == pytest.approx(expected)
        assert vendi_of_kernel(shuffled, q).value == pytest.approx(vendi_of_kernel(similarity, q).value)


def test_no_shares_are_nan_and_orders_are_checked() -> None:
    assert math.isnan(numbers_equivalent([], 1))
    assert math.isnan(entropy_nats([]))
    for q in (-1, math.nan):
        with pytest.raises(BadValue, match="an order of diversity is 0 or larger"):
            numbers_equivalent([0.5, 0.5], q)
    with pytest.raises(ValueError, match="whole numbers"):
        hill([1.5, 2], 1)


# ---- vectors ----


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        # all pairs 1/2: eigenvalues 5/8 and three times 1/8
        (np.full((4, 4), 0.5) + np.eye(4) / 2, (4, 2.925727, 16 / 7, 1.6)),
        # two identical, two orthogonal: 1/2, 1/4, 1/4
        (TWO_ALIKE @ TWO_ALIKE.T, (3, 2 * math.sqrt(2), 8 / 3, 2)),
        # blocks of 3 and 2 identical texts: Hill numbers of (3, 2); ^1D = exp(H(.6, .4)); 1 / (.36 + .16)
        (np.eye(2)[[0, 0, 0, 1, 1]] @ np.eye(2)[[0, 0, 0, 1, 1]].T, (2, 1.960132, 1.923077, 5 / 3)),
        (np.eye(7), (7, 7, 7, 7)),
        (np.ones((5, 5)), (1, 1, 1, 1)),
    ],
)
def test_vendi_scores_by_hand(kernel: np.ndarray, expected: tuple[float, ...]) -> None:
    """The order counts: four different values for the first three kernels (one toolkit answers q = 1 always)."""
    assert [vendi_of_kernel(kernel, q).value for q in ORDERS] == pytest.approx(expected, abs=1e-6)


def test_vendi_of_vectors_equals_that_of_their_kernel() -> None:
    for n, d in ((6, 20), (20, 6), (8, 8)):  # eigenvalues of X X^T and of X^T X
        rows = vectors(n, d, n)
        for q in (*ORDERS, 0.5, 3):
            assert vendi(rows, q).value == pytest.approx(vendi_of_kernel(rows @ rows.T, q).value, rel=1e-9)
        assert spectrum(rows).sum() == pytest.approx(1)
        assert len(spectrum(rows)) == min(n, d)
        assert corrected_vendi(rows).value == pytest.approx(corrected_vendi_of_kernel(rows @ rows.T).value, rel=1e-9)
        assert corrected_vendi(rows).se == pytest.approx(corrected_vendi_of_kernel(rows @ rows.T).se, rel=1e-6)


def test_vendi_of_one_hot_vectors_is_the_hill_number() -> None:
    labels = [0, 1, 0, 2, 0, 1, 0, 3]
    for q in (*ORDERS, 0.5):
        assert vendi(np.eye(4)[labels], q).value == pytest.approx(hill(np.bincount(labels), q).value)
    assert mean_squared_cosine(np.eye(4)[labels]).value == pytest.approx(concentration(np.bincount(labels)).value)
    assert mean_squared_cosine(np.eye(4)[labels]).se == pytest.approx(concentration(np.bincount(labels)).se)


def test_order_length_and_rotation_change_nothing() -> None:
    rows = vectors(12, 5, 3)
    generator = np.random.default_rng(4)
    for changed in (
        rows[generator.permutation(12)],
        rows * generator.uniform(0.1, 9, (12, 1)),
        rows @ rotation(5, 5),
        np.vstack([rows, np.zeros((2, 5))]),  # texts without a vector are left out
    ):
        assert vendi(changed).n == 12
        assert vendi(changed).value == pytest.approx(vendi(rows).value)
        assert corrected_vendi(changed) == pytest.approx(corrected_vendi(rows))


def test_corrected_vendi_by_hand() -> None:
    """U = (n / VS_2 - 1) / (n - 1): two alike of four 1/6; all pairs 1/2: 1/4; blocks of 3 and 2: (3 + 1) / 10."""
    assert mean_squared_cosine(TWO_ALIKE).value == pytest.approx(1 / 6)
    assert corrected_vendi(TWO_ALIKE).value == pytest.approx(6)
    halves = np.full((4, 4), 0.5) + np.eye(4) / 2
    assert mean_squared_cosine_of_kernel(halves).value == pytest.approx(1 / 4)
    assert corrected_vendi_of_kernel(halves).value == pytest.approx(4)
    assert corrected_vendi(np.eye(2)[[0, 0, 0, 1, 1]]).value == pytest.approx(2.5)
    rows = vectors(15, 4, 6)
    u = mean_squared_cosine(rows).value
    assert u == pytest.approx((15 / vendi(rows, 2).value - 1) / 14)
    assert u == pytest.approx(np.square(rows @ rows.T)[~np.eye(15, dtype=bool)].mean())


def test_the_jackknife_shortcuts_equal_leaving_out() -> None:
    rows = vectors(11, 4, 7)
    for statistic in (mean_squared_cosine, corrected_vendi):
        assert statistic(rows).se == pytest.approx(jackknife(lambda some, s=statistic: s(some).value, rows).se)
    slow = jackknife(lambda some: vendi(some, 2).value, rows)
    assert vendi(rows, 2, with_se=True) == pytest.approx(slow)
    assert vendi(rows, 2).se is None
    assert vendi(rows, 0, with_se=True).se is None
    # 2 alike of 4: without one of the two 0, without another 1/3; mean 1/6; 3/4 * 4/36 = 1/12
    assert mean_squared_cosine(TWO_ALIKE).se ** 2 == pytest.approx(1 / 12)
    assert corrected_vendi(TWO_ALIKE).se is None  # without one of the two nothing is alike: no inverse


def test_both_ends_of_the_corrected_score() -> None:
    assert corrected_vendi(np.ones((5, 3))).value == pytest.approx(1)
    assert mean_squared_cosine(np.ones((5, 3))).value <= 1
    assert mean_squared_cosine(np.eye(4)).value == 0
    assert corrected_vendi(np.eye(4)) == Estimate(None, None, 4, "all distinct")
    assert corrected_vendi(np.eye(2)[[0, 0]]).se is None  # one of two makes no pair


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.ones((1, 3)), np.zeros((5, 3)), np.eye(3)[[0]] * [[1], [0]]])
def test_fewer_than_two_vectors_are_undefined(rows: np.ndarray) -> None:
    n = int(rows.any(axis=1).sum())
    for statistic in (vendi, mean_squared_cosine, corrected_vendi):
        assert statistic(rows) == Estimate(None, None, n, "fewer than two texts with a vector")
    for of_kernel in (vendi_of_kernel, mean_squared_cosine_of_kernel, corrected_vendi_of_kernel):
        assert of_kernel(np.eye(n)).value is None


def test_vectors_that_are_none_are_refused() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            directions([[1.0, 0.0], [bad, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="rows of a matrix"):
        vendi([1.0, 2.0])
    for kernel in ([[1.0, 0.5], [0.4, 1.0]], [[1.0, 0.5], [0.5, 0.9]], [[1.0, 0.5]]):
        with pytest.raises(ValueError, match="symmetric with ones"):
            vendi_of_kernel(kernel)
    for of_kernel in (vendi_of_kernel, mean_squared_cosine_of_kernel, corrected_vendi_of_kernel):
        with pytest.raises(ValueError, match="finite"):
            of_kernel([[1.0, math.nan], [math.nan, 1.0]])
    # cosines .91, .90, .10: no three vectors have them
    with pytest.raises(ValueError, match="no negative eigenvalue"):
        vendi_of_kernel([[1, 0.1, 0.91], [0.1, 1, 0.9], [0.91, 0.9, 1]])


@pytest.mark.parametrize(("n", "d"), [(7, 2), (20, 4), (200, 20)])
def test_the_rounding_of_a_float32_kernel_is_no_eigenvalue(n: int, d: int) -> None:
    """n texts in d dimensions: n - d eigenvalues are 0, some of them -1.7e-8 after rounding to 24 bits."""
    rows = vectors(n, d, 0)
    kernel = rows.astype(np.float32) @ rows.astype(np.float32).T
    assert vendi_of_kernel(kernel, 0).value == pytest.approx(d)
    for q in (1, 2, math.inf):
        assert vendi_of_kernel(kernel, q).value == pytest.approx(vendi(rows, q).value, rel=1e-5)
    assert corrected_vendi_of_kernel(kernel).value == pytest.approx(corrected_vendi(rows).value, rel=1e-5)


def source(n: int, d: int, generator: np.random.Generator) -> np.ndarray:
    """Five orthogonal modes, cosine .7 within a mode: sqrt(.7) centre + sqrt(.3) noise on the sphere beside them.

    E[x x^T] has eigenvalue .7/5 on five axes and .3/(d - 5) on the others, so E[cos^2] = .49/5 + .09/(d - 5).
    """
    noise = generator.normal(size=(n, d - 5))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.hstack([math.sqrt(0.7) * np.eye(5)[generator.integers(5, size=n)], math.sqrt(0.3) * noise])


def test_mean_squared_cosine_is_unbiased_and_the_vendi_score_grows_with_n() -> None:
    """d = 45: E[cos^2] = .098 + .00225 = .10025, so a VS_2 of 9.9751, whatever n is.

    E[n / VS_2] = 1 + (n-1) .10025, so VS_2 itself is near n / (1 + (n-1) .10025): 5.3 at n = 10, 7.3 at 25, 9.2 at
    100. 400, 300 and 100 draws of a fixed seed; U within 4 standard errors.
    """
    truth = 0.49 / 5 + 0.09 / 40
    generator = np.random.default_rng(8)
    plug_in, order_one, corrected = {}, {}, {}
    for n, repeats in ((10, 400), (25, 300), (100, 100)):
        rows = [source(n, 45, generator) for _ in range(repeats)]
        u = np.array([mean_squared_cosine(some).value for some in rows])
        assert abs(u.mean() - truth) < 4 * u.std() / math.sqrt(repeats)
        plug_in[n] = np.mean([vendi(some, 2).value for some in rows])
        order_one[n] = np.mean([vendi(some, 1).value for some in rows])
        corrected[n] = np.array([corrected_vendi(some).value for some in rows])
        assert plug_in[n] == pytest.approx(n / (1 + (n - 1) * truth), rel=0.05)
    assert plug_in[10] < plug_in[25] < plug_in[100] < 1 / truth
    assert order_one[10] < order_one[25] < order_one[100]
    assert order_one[100] > 2 * order_one[10]
    # the inverse of an unbiased mean is too high, visibly at n = 10
    assert corrected[10].mean() > 1 / truth + 4 * corrected[10].std() / math.sqrt(400)
    assert corrected[25].mean() == pytest.approx(1 / truth, rel=0.1)
    assert corrected[100].mean() == pytest.approx(1 / truth, rel=0.03)


# ---- classes that resemble one another ----


def test_leinster_cobbold_by_hand() -> None:
    """p = (.5, .3, .2), z_12 = .8: Zp = (.74, .70, .20).

    q = 0: .5/.74 + .3/.70 + 1; q = 2: 1 / (.37 + .21 + .04); inf: 1 / .74.
    """
    z = np.eye(3)
    z[0, 1] = z[1, 0] = 0.8
    found = [leinster_cobbold([5, 3, 2], z, q).value for q in ORDERS]
    assert found == pytest.approx([2.104247, 1.785043, 1.612903, 1.351351], abs=1e-6)
    assert [leinster_cobbold([0.5, 0.3, 0.2], z, q).value for q in ORDERS] == pytest.approx(found)
    assert leinster_cobbold([5, 3, 2], z, 1).n == 10
    assert leinster_cobbold([5, 3, 2], z, 1).se is None


@pytest.mark.parametrize("q", [*ORDERS, 0.5, 3])
def test_leinster_cobbold_at_both_ends(q: float) -> None:
    assert leinster_cobbold([5, 3, 2], np.eye(3), q).value == pytest.approx(hill([5, 3, 2], q).value)
    assert leinster_cobbold([5, 3, 2], np.ones((3, 3)), q).value == pytest.approx(1)
    assert leinster_cobbold([1, 1, 1], np.full((3, 3), 0.5) + np.eye(3) / 2, q).value == pytest.approx(1.5)
    # a class split into two that are wholly alike counts as before; so does a class that nobody is in
    split = np.eye(4)
    split[0, 1] = split[1, 0] = 1
    assert leinster_cobbold([3, 2, 3, 2], split, q).value == pytest.approx(hill([5, 3, 2], q).value)
    assert leinster_cobbold([5, 3, 2, 0], np.eye(4), q).value == pytest.approx(hill([5, 3, 2], q).value)


def test_leinster_cobbold_of_single_texts_counts_the_diagonal() -> None:
    """q = 2: n / (1 + (n-1) mean cosine). Four texts, all pairs 1/2: 4 / 2.5."""
    assert leinster_cobbold(np.ones(4), np.full((4, 4), 0.5) + np.eye(4) / 2, 2).value == pytest.approx(1.6)


def test_negative_cosines_are_clipped_and_counted() -> None:
    """Of three pairs one is negative."""
    clipped = clip_similarity([[1.0, -0.5, 0.2], [-0.5, 1.0, 0.3], [0.2, 0.3, 1.0]])
    assert clipped.clipped_share == pytest.approx(1 / 3)
    assert clipped.similarity.tolist() == [[1, 0, 0.2], [0, 1, 0.3], [0.2, 0.3, 1]]
    assert clip_similarity([[1.0]]).clipped_share == 0
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        leinster_cobbold([1, 1], [[1.0, -0.1], [-0.1, 1.0]], 1)
    for weights, similarity in (
        ([1, 1], np.eye(3)),
        ([math.nan, 1], np.eye(2)),
        ([math.inf, 1], np.eye(2)),
        ([-1], [[1]]),
    ):
        with pytest.raises(ValueError, match="one weight, finite and not negative"):
            leinster_cobbold(weights, similarity, 1)
    for cosines in ([[1, math.nan], [math.nan, 1]], [1.0, 2.0], [[1.0, 0.5]]):
        with pytest.raises(ValueError, match="square matrix of finite numbers"):
            clip_similarity(cosines)
    for none in ([], [0, 0]):
        assert leinster_cobbold(none, np.eye(len(none)), 1) == Estimate(None, None, 0, "no generations")


# ---- novel and useful ----


def test_utility_by_hand() -> None:
    """Two generations, p = 1/2: (u_0 + u_1 / 2) / 1.5; p = 1 is the mean; repeats are worth nothing."""
    assert novelty_utility([5, 0, 0, 4, 0, 0, 0, 0, 0, 0]).value == pytest.approx(1.579161, abs=1e-6)
    assert novelty_utility([6, 3], patience=0.5).value == pytest.approx(5)
    assert novelty_utility([6, 3, 0], patience=1).value == pytest.approx(3)
    assert novelty_utility([6, 3], ["x", "x"], patience=0.5).value == pytest.approx(4)
    assert novelty_utility([7] * 5).value == pytest.approx(7)  # all new and worth 7
    assert novelty_utility([3, 3, 3], [0, 1, 2]) == novelty_utility([3, 3, 3])
    # later novelty is worth less: p = 1/2, weights 4/7, 2/7, 1/7
    assert novelty_utility([7, 7, 7], list("aab"), patience=0.5).value == pytest.approx(4 + 1)
    assert novelty_utility([7, 7, 7], list("aba"), patience=0.5).value == pytest.approx(4 + 2)
    assert novelty_utility([]) == Estimate(None, None, 0, "no generations")


def test_utilities_that_are_none_are_refused() -> None:
    for bad in ([math.nan], [math.inf], [-1.0], [[1.0]]):
        with pytest.raises(ValueError, match="finite numbers, none of them negative"):
            novelty_utility(bad)
    with pytest.raises(ValueError, match="one class for each generation"):
        novelty_utility([1.0, 2.0], ["a"])
    for patience in (0, 1.1, math.nan):
        with pytest.raises(BadValue, match="above 0, at most 1"):
            novelty_utility([1.0], patience=patience)
