"""Fit to a target: hand-derived distances and intervals, exact chance floors, calls as units, cells never seen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llama_diversity.errors import BadValue
from llama_diversity.metrics.fit import (
    CANNOT_TELL,
    FITS,
    MISSES,
    chance_floor,
    fit,
    jensen_shannon_bits,
    never_seen_bound,
    out_of_reach,
    simultaneous_intervals,
    total_variation,
    visible_points,
    worst_cell,
)

AGES = [0.19, 0.26, 0.34, 0.21]


def in_calls(shares: list[float], calls: int, size: int, correlation: float, seed: int) -> np.ndarray:
    """Counts by call whose shares vary from call to call so that outputs of one call correlate."""
    generator = np.random.default_rng(seed)
    of_calls = generator.dirichlet(np.array(shares) * (1 - correlation) / correlation, calls)
    return generator.multinomial(size, of_calls)


# ---- distances ----


def test_distances_at_their_ends() -> None:
    assert total_variation([5, 5, 0], [0.5, 0.5, 0.0]) == jensen_shannon_bits([5, 5, 0], [0.5, 0.5, 0.0]) == 0
    assert total_variation([0, 7], [1.0, 0.0]) == jensen_shannon_bits([0, 7], [1.0, 0.0]) == 1
    assert math.isnan(total_variation([0, 0], [0.5, 0.5]))
    assert math.isnan(jensen_shannon_bits([0, 0], [0.5, 0.5]))


def test_distances_of_four_ages() -> None:
    # shares .2 .4 .3 .1 seen: off by .01 .14 -.04 -.11, half of .30. JS: m = .195 .33 .32 .155;
    # H(m) = 1.930652, H(p) = 1.846439, H(q) = 1.962512, so 1.930652 - 1.904475.
    assert total_variation([4, 8, 6, 2], AGES) == pytest.approx(0.15)
    assert jensen_shannon_bits([4, 8, 6, 2], AGES) == pytest.approx(0.026177, abs=2e-6)
    assert worst_cell([4, 8, 6, 2], AGES) == (1, 14.0)


def test_the_worst_cell_is_the_first_of_equals() -> None:
    assert worst_cell([3, 2, 5], [0.4, 0.1, 0.5]) == (0, -10.0)  # .3 - .4 and .2 - .1 differ in their last digit
    assert worst_cell([0, 0], [0.5, 0.5]).cell == 0


def test_counts_of_calls_are_summed_for_distances() -> None:
    assert total_variation([[3, 1], [3, 3]], [0.5, 0.5]) == total_variation([6, 4], [0.5, 0.5])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_chance_floor_is_the_mean_over_all_samples(n: int) -> None:
    shares = (0.5, 0.3, 0.2)
    mean = 0.0
    for counts in itertools.product(range(n + 1), repeat=3):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(math.factorial(one) for one in counts)
            chance = ways * math.prod(q**one for q, one in zip(shares, counts, strict=True))
            mean += chance * total_variation(counts, shares)
    assert chance_floor(shares, n) == pytest.approx(mean, abs=1e-12)


def test_the_chance_floor_of_four_ages() -> None:
    # 1/2 sum sqrt(2 q (1-q) / (pi 50)) = .0966, and .0305 of 500; 2,000 samples drawn come as near as they can.
    assert chance_floor(AGES, 50) == pytest.approx(0.0966, abs=5e-5)
    assert chance_floor(AGES, 500) == pytest.approx(0.0305, abs=5e-5)
    drawn = np.random.default_rng(0).multinomial(50, AGES, 2000)
    found = np.array([total_variation(counts, AGES) for counts in drawn])
    assert abs(found.mean() - chance_floor(AGES, 50)) < 4 * found.std() / math.sqrt(2000)


def test_the_chance_floor_at_its_ends() -> None:
    assert chance_floor([1.0, 0.0], 5) == 0
    assert chance_floor([1e-6] * 1000 + [1 - 1e-3], 1) == pytest.approx(1e-3 + (1 - 1e-3) * 1e-3, rel=1e-2)
    assert math.isnan(chance_floor([1.0], 0))


# ---- intervals and the verdict ----


def test_intervals_widen_with_cells_and_with_tests() -> None:
    two, three, two_tests = (
        simultaneous_intervals([10, 10]), simultaneous_intervals([10, 10, 0]), simultaneous_intervals([10, 10], tests=3)
    )  # fmt: skip
    assert two.low[0] > three.low[0] > 0
    assert three.low[0] == pytest.approx(two_tests.low[0])  # 0.05 over three cells, or over three tables
    # 0 of 20 in one of three cells: (1 - p)^20 = 0.05 / 6
    assert three.high[2] == pytest.approx(1 - (0.05 / 6) ** (1 / 20))


def test_calls_that_say_one_thing_each_count_as_one() -> None:
    """20 calls of 5 alike: D = 5 * 20/19 as each call is one draw; half 20 draws, and the t of 19 degrees."""
    calls = np.array([[5, 0], [0, 5]] * 10)
    n_effective = simultaneous_intervals(calls).n_effective
    # p = 1/2, v = 20/19 * 20 * 2.5^2 / 100^2 = .0131579, binomial .0025: 100 / 5.263158 = 19; (1.959964 / 2.093024)^2
    assert n_effective == pytest.approx([19 * 0.876896] * 2, rel=1e-5)


def test_calls_more_even_than_chance_count_for_no_more_outputs() -> None:
    calls = np.array([[3, 2], [2, 3]] * 100)
    assert 980 < simultaneous_intervals(calls).n_effective[0] <= 1000


def test_one_thing_in_all_calls_is_seen_as_often_as_there_are_calls() -> None:
    assert simultaneous_intervals([[5, 0]] * 8).n_effective.tolist() == [8, 8]
    assert simultaneous_intervals([[5, 0]]).n_effective.tolist() == [5, 5]  # one row: outputs that came one by one


def test_calls_of_one_output_are_outputs() -> None:
    assert simultaneous_intervals([[1, 0], [0, 1], [1, 0], [0, 0]]).n_effective.tolist() == [3, 3]


def test_verdicts() -> None:
    assert fit([95, 130, 170, 105], AGES).verdict == FITS
    assert fit([0, 130, 265, 105], AGES).verdict == MISSES
    assert fit([5, 0], [0.0, 1.0]).verdict == MISSES  # what the target rules out was seen
    assert fit([3, 3], [0.5, 0.5]).verdict == CANNOT_TELL
    assert fit([21, 20], [0.5, 0.5]).verdict == CANNOT_TELL  # .1 < 1.281552 sqrt(.25 / 41) = .100071
    assert fit([21, 21], [0.5, 0.5]).verdict == FITS
    nothing = fit([0, 0], [0.5, 0.5])
    assert (nothing.verdict, nothing.n, math.isnan(nothing.total_variation)) == (CANNOT_TELL, 0, True)
    assert fit([0, 0], [1.0, 0.0]).verdict == CANNOT_TELL


def test_a_verdict_says_what_it_would_have_seen() -> None:
    found = fit([95, 130, 170, 105], AGES)
    # Of 34 % the interval of four cells (tails .00625) leaves out 198 of 500 and more; 198 come in 9 of 10 at 42.3 %.
    assert found.visible_points == visible_points(AGES, 500) == pytest.approx(8.33, abs=0.01)
    drawn = np.random.default_rng(0).binomial(500, 0.34 + found.visible_points / 100, 20_000)
    assert (drawn >= 198).mean() == pytest.approx(0.9, abs=0.01)
    # of 2 % 2 of 20 come in .0599, 3 in .0071: these are too many, and come in 9 of 10 at 24.4765 %
    assert visible_points([0.98, 0.02], 20) == pytest.approx(22.4765, abs=1e-4)


def test_more_tables_are_judged_more_carefully() -> None:
    assert fit([33, 17], [0.5, 0.5]).verdict == MISSES  # tail .0164 of .025
    assert fit([33, 17], [0.5, 0.5], tests=2).verdict == FITS  # of .0125
    with pytest.raises(BadValue, match="tests is 0"):
        fit([1], [1.0], tests=0)


def test_outputs_of_few_calls_are_no_evidence_of_a_miss() -> None:
    """One of two fields leads in the call: as single outputs a miss in four of ten, as calls in one of 20."""
    found = [in_calls([0.5, 0.5], 20, 10, 0.5, seed) for seed in range(200)]
    assert sum(fit(calls, [0.5, 0.5]).verdict == MISSES for calls in found) <= 20
    assert sum(fit(calls.sum(axis=0), [0.5, 0.5]).verdict == MISSES for calls in found) >= 80


def test_what_is_no_count_and_no_target_is_refused() -> None:
    for counts, shares in (([1.5, 1], [0.5, 0.5]), ([-1, 2], [0.5, 0.5])):
        with pytest.raises(ValueError, match="counts are whole numbers"):
            fit(counts, shares)
    for shares in ([0.5, 0.4], [1.5, -0.5], []):
        with pytest.raises(ValueError, match="sum to 1"):
            fit([1, 1], shares)
    with pytest.raises(ValueError, match="2 cells for 3 shares"):
        total_variation([1, 1], [0.4, 0.3, 0.3])


# ---- cells that are not seen ----


def test_the_rule_of_three() -> None:
    assert never_seen_bound(1000) == pytest.approx(3 / 1000, rel=0.003)
    assert never_seen_bound(0) == 1
    assert (1 - never_seen_bound(37)) ** 37 == pytest.approx(0.05)


def test_a_cell_out_of_reach() -> None:
    # none seen: out as soon as 1 - 0.05^(1/n) < share / 10, for .21 at n > log 0.05 / log 0.979 = 141.15
    assert [out_of_reach(0, n, 0.21, 50).is_out for n in (141, 142)] == [False, True]
    # a budget of 300 outputs for 21: the rate must reach .07, n > log 0.05 / log 0.93 = 41.28
    assert [out_of_reach(0, n, 0.21, 100, budget=300).is_out for n in (41, 42)] == [False, True]
    # 1 of n: (1-p)^n + n p (1-p)^(n-1) = .05, for n = 2 at 1 - p^2 = .05
    assert out_of_reach(1, 2, 0.5, 10).bound == pytest.approx(math.sqrt(0.95))
    assert out_of_reach(0, 10**6, 0.0, 100).is_out is False
    assert out_of_reach(0, 0, 0.2, 10).bound == out_of_reach(3, 3, 0.2, 10).bound == 1
    assert out_of_reach(0, 100, 0.2, 10, looks=5).bound == pytest.approx(1 - 0.01 ** (1 / 100))
    with pytest.raises(ValueError, match="5 of 3"):
        out_of_reach(5, 3, 0.5, 10)
