"""Uncertainty: hand-derived values, how often intervals hold and tests alarm, and what is undefined.

Rates are of simulations with a fixed seed; each is held to its nominal value within 4 standard errors, so a sound
method fails about once in 16,000 seeds.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llama_diversity.metrics.indices import concentration, corrected_vendi, hill, mean_squared_cosine
from llama_diversity.metrics.inference import (
    Contrast,
    Equivalence,
    Estimate,
    Part,
    Permutation,
    Proportion,
    Retained,
    class_counts,
    clustered_proportion,
    equivalence,
    holm,
    jackknife,
    jackknife_counts,
    jackknife_prompts,
    jackknife_se,
    log_ratio,
    martingale_z,
    mean_interval,
    paired_t,
    permutation_test,
    proportion_difference,
    quantile,
    sign_flip_test,
    summarize,
    two_sided_p,
    undefined,
    variance_freedom,
    welch_difference,
    welch_freedom,
    wilson,
)
from llama_diversity.metrics.similarity import mean_pairwise_distance


def four_errors(rate: float, repeats: int) -> float:
    return 4 * math.sqrt(rate * (1 - rate) / repeats)


# ---- means ----


def test_mean_interval_by_hand() -> None:
    """(1, 2, 3): t = 4.302653 with 2 degrees of freedom over sqrt 3; (0, 2): 12.706205, sd sqrt 2, se 1."""
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert mean_interval([0, 2]) == pytest.approx((1, 1 - 12.706205, 1 + 12.706205))
    assert mean_interval([3, 1, 2]) == pytest.approx(mean_interval([1, 2, 3]))
    assert mean_interval([5, 5, 5]) == (5, 5, 5)


def test_mean_interval_of_none_and_one() -> None:
    assert all(math.isnan(number) for number in mean_interval([]))
    alone = mean_interval([4.0])
    assert alone.mean == 4
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)


def test_mean_interval_covers_as_often_as_it_says() -> None:
    """4,000 means of 5 normal values, 95 % within 1.4 points. With 1.96 for t it would be 87.8 %."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(4000):
        found = mean_interval(generator.normal(3, 2, 5))
        covered += found.low <= 3 <= found.high
    assert covered / 4000 == pytest.approx(0.95, abs=four_errors(0.95, 4000))


def test_welch_by_hand() -> None:
    """Arms (1, 2, 3) and (0, 4, 8, 12): se^2 1/3 and (80/3)/4 = 20/3, together 7.

    Degrees of freedom 49 / ((1/9)/2 + (400/9)/3) = 49 / (0.055556 + 14.814815) = 3.295143; with equal variances
    assumed there would be 5 and another se.
    """
    found = welch_difference(summarize([1, 2, 3]), summarize([0, 4, 8, 12]))
    assert found.mean == 4
    assert found.se == pytest.approx(math.sqrt(7))
    # t at 3.295143 lies between those of 3 (3.182446) and 4 (2.776445), near the former
    assert 3.0 < (found.high - found.mean) / found.se < 3.1
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    one_constant = welch_difference(summarize([2, 2, 2]), summarize([1, 2, 3]))  # 2 degrees of freedom are left
    assert one_constant.high == pytest.approx(4.302653 / math.sqrt(3))


def test_martingale_z_by_hand() -> None:
    """(1 + 2) / sqrt(4 + 5); one generation is enough, and no variance at all is 0 or infinite."""
    assert martingale_z([1, 2], [4, 5]) == 1
    assert martingale_z([-3], [9]) == -1
    assert martingale_z([0, 0], [0, 0]) == 0
    assert martingale_z([-1, -1], [0, 0]) == -math.inf


# ---- proportions ----


def test_wilson_by_hand() -> None:
    """z^2 = 3.841459. 56 of 100: (.56 + .019207 -+ 1.959964 sqrt(.002464 + .000096036)) / 1.03841459."""
    found = wilson(56, 100)
    half = 1.959964 * math.sqrt(0.56 * 0.44 / 100 + 3.841459 / 40_000)
    assert found.low == pytest.approx((0.56 + 3.841459 / 200 - half) / 1.03841459, abs=1e-6)
    assert found.high == pytest.approx((0.56 + 3.841459 / 200 + half) / 1.03841459, abs=1e-6)
    assert (round(found.low, 2), round(found.high, 2)) == (0.46, 0.65)
    assert wilson(0, 100)[:3] == pytest.approx((0, 0, 3.841459 / 103.841459), abs=1e-7)
    assert wilson(5, 5)[:3] == pytest.approx((1, 1 - 3.841459 / 8.841459, 1), abs=1e-7)
    mirrored = wilson(44, 100)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


def test_wilson_refuses_and_is_undefined() -> None:
    assert wilson(0, 0) == Proportion(None, None, None, 0, 0, "no generations")
    for k, n in ((3, 2), (-1, 2), (1, 0)):
        with pytest.raises(ValueError, match="is no proportion"):
            wilson(k, n)


@pytest.mark.parametrize("n", [10, 30, 100])
def test_wilson_covers_as_often_as_it_says(n: int) -> None:
    """Exactly, by summing binomial probabilities: 95 % on average over p, never far below from .1 to .9.

    p -+ z se averages 77, 88 and 93 %, for it has no width at 0 and n.
    """
    k = np.arange(n + 1)
    ways = np.array([math.comb(n, int(i)) for i in k], np.float64)
    found = [wilson(int(i), n) for i in k]
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    shares = np.linspace(0.005, 0.995, 199)
    mass = ways * shares[:, None] ** k * (1 - shares[:, None]) ** (n - k)
    covered = (mass * ((low <= shares[:, None]) & (shares[:, None] <= high))).sum(axis=1)
    half = 1.959964 * np.sqrt(k / n * (1 - k / n) / n)
    plain = (mass * (np.abs(k / n - shares[:, None]) <= half)).sum(axis=1)
    assert covered.mean() == pytest.approx(0.95, abs=0.008)
    assert covered[(shares >= 0.1) & (shares <= 0.9)].min() > 0.91
    assert plain.mean() < covered.mean() - 0.015


def test_difference_of_proportions_by_hand() -> None:
    """0 of 10 and 10 of 10: Wilson's ends z^2 / (10 + z^2) = .277533 from 0 and 1, so 1 - hypot(.277533, .277533).

    Newcombe's example, 56 of 70 less 48 of 80: .2, .0524 to .3339.
    """
    apart = proportion_difference(wilson(0, 10), wilson(10, 10))
    assert (apart.mean, apart.low, apart.high) == pytest.approx((1, 1 - 0.277533 * math.sqrt(2), 1), abs=1e-6)
    found = proportion_difference(wilson(48, 80), wilson(56, 70))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = proportion_difference(wilson(56, 70), wilson(48, 80))
    assert (back.mean, back.low, back.high) == pytest.approx((-found.mean, -found.high, -found.low))
    same = proportion_difference(wilson(0, 10), wilson(0, 10))
    assert same.low < same.mean == 0 < same.high
    for undefined_arm in ((wilson(0, 0), wilson(1, 2)), (wilson(1, 2), wilson(0, 0))):
        assert all(math.isnan(number) for number in proportion_difference(*undefined_arm))


def test_difference_of_proportions_covers_as_often_as_it_says() -> None:
    """Exactly, over all counts of 20 and of 30 at 25 pairs of shares: near 95 % on average and 91 % at least.

    p -+ z se falls to 80 % at .05 and .95, for it has no width at 0 of n.
    """
    found = [[proportion_difference(wilson(j, 20), wilson(k, 30)) for k in range(31)] for j in range(21)]
    middle, low, high = (np.array([[one[i] for one in row] for row in found]) for i in (0, 2, 3))
    j, k = np.arange(21)[:, None] / 20, np.arange(31) / 30
    half = 1.959964 * np.sqrt(j * (1 - j) / 20 + k * (1 - k) / 30)
    covered, plain = [], []
    for p, q in itertools.product((0.05, 0.2, 0.5, 0.7, 0.95), repeat=2):
        mass = np.outer(binomial(20, p), binomial(30, q))
        covered.append(mass[(low <= q - p) & (q - p <= high)].sum())
        plain.append(mass[abs(middle - (q - p)) <= half].sum())
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.91
    assert min(plain) < 0.85


def binomial(n: int, p: float) -> list[float]:
    return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


# ---- leaving out ----


def test_class_counts_are_whole_and_not_negative() -> None:
    assert class_counts([3, 0, 1.0]).tolist() == [3, 1]
    assert class_counts([]).tolist() == []
    for bad in ([0.5], [-1], [[1]], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match="whole numbers, none of them negative"):
            class_counts(bad)


def test_jackknife_se_by_hand() -> None:
    """1, 2/3, 2/3, 1: 3/4 * 4/36 = 1/12, and the same where the weights say that each stands for two."""
    assert jackknife_se([1, 2 / 3, 2 / 3, 1]) == pytest.approx(math.sqrt(1 / 12))
    assert jackknife_se([1, 2 / 3], [2, 2]) == pytest.approx(math.sqrt(1 / 12))
    assert jackknife_se([0.5]) is None
    assert jackknife_se([]) is None
    assert jackknife_se([0.5, math.nan]) is None


def test_jackknife_of_a_mean_is_the_usual_error() -> None:
    values = np.random.default_rng(1).normal(size=23)
    found = jackknife(np.mean, values)
    assert found.value == pytest.approx(values.mean())
    assert found.se == pytest.approx(summarize(values).se)
    assert jackknife(np.mean, values[::-1]) == pytest.approx(found)
    assert jackknife(np.mean, [[1.0, 2.0], [3.0, 4.0]]).value == 2.5  # rows are the generations
    assert jackknife(np.mean, [[1.0, 2.0], [3.0, 4.0]]).n == 2


def test_jackknife_counts_equal_leaving_out_each_generation() -> None:
    labels = [0] * 6 + [1] * 3 + [2] * 3 + [3, 4, 4]
    for q in (1, 2, 3):
        slow = jackknife(lambda some, q=q: hill(np.bincount(some), q).value, labels)
        assert jackknife_counts(lambda seen, q=q: hill(seen, q).value, np.bincount(labels)) == pytest.approx(slow)


def test_jackknife_counts_call_once_for_each_size() -> None:
    calls = []
    jackknife_counts(lambda seen: float(calls.append(seen.sum()) or 1), [9, 9, 4, 1, 1])
    assert calls == [24, 23, 23, 23]


def test_jackknife_undefined() -> None:
    assert jackknife(np.mean, []) == Estimate(None, None, 0, "no generations")
    assert jackknife(np.mean, [3.0]) == Estimate(3, None, 1)
    assert jackknife_counts(lambda seen: float(len(seen)), []) == Estimate(None, None, 0, "no generations")
    assert jackknife_counts(lambda seen: float(len(seen)), [1]).se is None
    for nothing in (None, math.nan):
        assert jackknife(lambda rows, v=nothing: v, [1, 2]).reason == "the statistic is undefined for these values"
        assert jackknife_counts(lambda seen, v=nothing: v, [1, 2]).reason == (
            "the statistic is undefined for these counts"
        )
    # defined for both, undefined with either left out
    assert jackknife(lambda rows: 1.0 if len(rows) == 2 else None, [1, 2]) == Estimate(1, None, 2)


def test_jackknife_over_prompts_by_hand() -> None:
    """Prompt means 1, 3 and 8: left out 5.5, 4.5, 2; mean 4, squares 2.25 + .25 + 4; 2/3 * 6.5 = sd^2 / 3 = 13/3."""
    found = jackknife_prompts(np.mean, [1, 1, 2, 4, 8, 8], ["a", "a", "b", "b", "c", "c"])
    assert found.value == 4
    assert found.se == pytest.approx(math.sqrt(13 / 3))
    assert found.n == 3
    interleaved = jackknife_prompts(np.mean, [1, 2, 8, 1, 4, 8], ["a", "b", "c", "a", "b", "c"])
    assert interleaved == pytest.approx(found)
    assert jackknife_prompts(np.mean, [1, 2, 3], ["a", "a", "a"]) == Estimate(2, None, 1)
    assert jackknife_prompts(np.mean, [], []) == Estimate(None, None, 0, "no generations")
    with pytest.raises(ValueError, match="2 prompts for 3 values"):
        jackknife_prompts(np.mean, [1, 2, 3], ["a", "b"])


def test_prompts_are_the_units_of_a_claim_about_prompts() -> None:
    """Eight prompts with effects N(0, 1), ten generations each around them with sd 1; the truth is 0.

    t with 7 degrees of freedom (2.364624) over prompts covers 95 % in 1,000 repeats; over the 80 generations the error
    is sqrt(1.1 / 8) = .371 but taken for some sqrt(1.9 / 80) = .154: 1.96 * .154 / .371 = .81 errors cover 58 %.
    """
    generator = np.random.default_rng(2)
    prompts = np.repeat(np.arange(8), 10).tolist()
    over_prompts = over_generations = 0
    for _ in range(1000):
        values = np.repeat(generator.normal(size=8), 10) + generator.normal(size=80)
        found = jackknife_prompts(np.mean, values, prompts)
        over_prompts += abs(found.value) <= 2.364624 * found.se
        over_generations += abs(found.value) <= 1.959964 * summarize(values).se
    assert over_prompts / 1000 == pytest.approx(0.95, abs=four_errors(0.95, 1000))
    assert over_generations / 1000 == pytest.approx(0.58, abs=0.07)


# ---- degrees of freedom ----


def test_degrees_of_freedom_by_hand() -> None:
    """Nine 0 and one 1: second moment .1 - .01 = .09, fourth .9 * .0001 + .1 * .6561 = .0657, kurtosis 8.1111."""
    assert variance_freedom([0] * 9 + [1]) == pytest.approx(20 / (0.0657 / 0.0081 - 1))
    assert variance_freedom([0, 1], [9, 1]) == pytest.approx(20 / (0.0657 / 0.0081 - 1))
    assert variance_freedom([5e-9] * 9 + [6e-9]) == pytest.approx(20 / (0.0657 / 0.0081 - 1))  # neither scale nor place
    assert variance_freedom([1e-90, 2e-90, 4e-90]) == 2  # their fourth powers are below what a float can hold
    # -1, 0, 1: kurtosis (2/3) / (2/3)^2 = 1.5, so 6 / .5 = 12, and no more than n - 1
    assert variance_freedom([1, 2, 3]) == 2
    assert variance_freedom([-1, 1] * 10) == 19  # kurtosis 1
    # one of n apart: kurtosis n - 2 + 1 / (n - 1)
    assert variance_freedom([0] * 59 + [1]) == pytest.approx(120 / (57 + 1 / 59))


def test_degrees_of_freedom_undefined() -> None:
    assert variance_freedom([]) is None
    assert variance_freedom([1]) is None
    assert variance_freedom([3.3] * 7) is None
    assert variance_freedom([0.1 + 0.2, 0.3, 0.3]) is None  # rounding is no spread
    assert variance_freedom([1, 2, math.nan]) is None


def test_normal_values_have_nearly_n_less_one() -> None:
    generator = np.random.default_rng(0)
    found = [variance_freedom(generator.normal(size=400)) for _ in range(200)]
    assert 360 < float(np.mean(found)) <= 399


def test_degrees_of_freedom_are_those_of_the_variance() -> None:
    """Exponential values, kurtosis 9: the relative variance of s^2 is 2/f with f = 2 n / 8. Samples show less of it."""
    generator = np.random.default_rng(0)
    drawn = generator.exponential(size=(4000, 200))
    squares = drawn.var(axis=1, ddof=1)
    freedom = 2 * squares.mean() ** 2 / squares.var()
    assert freedom == pytest.approx(50, rel=0.15)
    assert freedom < float(np.median([variance_freedom(row) for row in drawn[:500]])) < 1.5 * freedom
    longer = [variance_freedom(generator.exponential(size=20_000)) for _ in range(50)]
    assert float(np.median(longer)) == pytest.approx(5_000, rel=0.15)


def test_freedoms_of_a_sum_by_hand() -> None:
    """Variances 1 and 2 with 3 and 8: 9 / (1/3 + 4/8) = 10.8; a part of no variance does not count."""
    assert welch_freedom([1, 2], [3, 8]) == pytest.approx(10.8)
    assert welch_freedom([1, 0], [3, 8]) == pytest.approx(3)
    assert welch_freedom([1, 1], [None, math.inf]) == math.inf


def test_a_p_value_and_its_quantile_agree() -> None:
    for freedom in (1, 2.8125, 40, math.inf, None):
        assert two_sided_p(quantile(freedom), freedom) == pytest.approx(0.05)
    assert quantile(1) == pytest.approx(math.tan(math.pi * 0.475))  # of Cauchy's law


def test_retained_share_uses_the_degrees_of_freedom() -> None:
    """se .1 and .3, 30 generations, 4 and 6 degrees: t(29) 2.045230, t(4) 2.776445, t(6) 2.446912.

    The upper end takes what the second arm may be above (29) and the first below (4); the lower end the reverse.
    """
    found = log_ratio(Estimate(10, 1, 30, freedom=4), Estimate(5, 1.5, 30, freedom=6))
    assert found.high == pytest.approx(0.5 * math.exp(math.hypot(0.2776445, 3 * 0.2045230)), rel=1e-6)
    assert found.low == pytest.approx(0.5 * math.exp(-math.hypot(0.2045230, 3 * 0.2446912)), rel=1e-6)
    assert found.se == pytest.approx(math.hypot(0.1, 0.3))


def test_contrast_by_hand() -> None:
    """A symmetrical one is Student's t; its p is that of the interval which ends at 0, on the side towards 0."""
    one = Contrast(-0.3, (Part(0.1, 7, 7),))
    assert one.limits() == pytest.approx((-0.3 - 0.2364624, -0.3 + 0.2364624), rel=1e-6)
    assert one.p() == pytest.approx(two_sided_p(3, 7))
    assert Contrast(0.3, (Part(0.06), Part(0.08))).p() == pytest.approx(two_sided_p(3))
    uneven = Contrast(-0.3, (Part(0.1, 2, 60),))
    assert uneven.p() == pytest.approx(two_sided_p(3, 60))
    assert uneven._replace(value=0.3).p() == pytest.approx(two_sided_p(3, 2))
    assert uneven.limits()[0] == pytest.approx(-0.3 - 0.4302653, rel=1e-6)
    assert Contrast(0.0, (Part(0.1),)).p() == 1
    assert Contrast(40.0, (Part(0.1),)).p() < 1e-300
    assert math.isnan(Contrast(1.0, (Part(0.0),)).p())
    assert math.isnan(Contrast(1.0, (Part(math.nan),)).p())


def test_what_was_not_seen_may_have_been_missed() -> None:
    """None of n: at most 3.688879 were missed (e^-3.688879 = .025), each worth .05; the other side is as ever."""
    none = Contrast(-2.0, (Part(0.0, 9, 9, unseen=0.05),), is_log=False)
    assert none.limits() == pytest.approx((-2, -2 + 3.688879 * 0.05), rel=1e-6)
    assert none.p() == pytest.approx(2 * math.exp(-40))  # 40 outputs' worth to 0
    log = none._replace(is_log=True)
    assert log.limits() == pytest.approx((-2, -2 + math.log(1 + 3.688879 * 0.05)), rel=1e-6)
    half = Contrast(-2.0, (Part(0.0, 9, 9, unseen=0.05, weight=0.5),))
    assert half.limits()[1] == pytest.approx(-2 + math.log(1 + 3.688879 * 0.05) / 2, rel=1e-6)
    first = Contrast(2.0, (Part(0.0, 9, 9, unseen=0.05, weight=-1),), is_log=False)  # the first arm's: down
    assert first.limits() == pytest.approx((2 - 3.688879 * 0.05, 2), rel=1e-6)
    assert Contrast(0.0, (Part(1.0, unseen=0.05),)).limits()[1] == pytest.approx(1.959964)  # the wider of the two
    assert none.of_more(10).limits()[1] == pytest.approx(-2 + 0.3688879 * 0.05, rel=1e-6)


def test_an_interval_without_end_is_no_overflow() -> None:
    """A value next to 0 with an error as of another scale: the factor could be anything."""
    assert Contrast(0.5, (Part(500.0),)).factors() == (
        pytest.approx(math.exp(0.5 - 979.98), abs=1e-300),
        pytest.approx(1e300),
    )
    assert log_ratio(Estimate(1, 500.0, 9), Estimate(1, 1, 9)).high == pytest.approx(1e300)


def test_contrast_of_more_units() -> None:
    assert Contrast(1.0, (Part(0.2, 5, None),)).of_more(4) == Contrast(1.0, (Part(0.1, 20, None),))


def test_one_other_output_in_many_is_enough_to_see_a_collapse() -> None:
    """Of n outputs one differs: a distance of 2/n with an error of 2/n and 2 degrees. Upward that is bounded."""
    generator = np.random.default_rng(0)
    for n in (50, 200):
        varied, collapsed = generator.normal(size=(n, 64)), np.tile(np.eye(64)[0], (n, 1))
        collapsed[0] = np.eye(64)[1]
        found = log_ratio(mean_pairwise_distance(varied), mean_pairwise_distance(collapsed))
        assert found.high < 10 * found.share  # Poisson's exact limit for one that was seen: 5.6 times
        assert found.p < 0.01
        back = log_ratio(mean_pairwise_distance(collapsed), mean_pairwise_distance(varied))
        assert (back.low, back.p) == pytest.approx((1 / found.high, found.p))
        assert found.low < found.share / 39.5  # and downward its exact limit


# ---- two arms ----


def test_retained_share_by_hand() -> None:
    """10 (se 1) and 5 (se .5): log se sqrt(.01 + .01); p = erfc(.693147 / .141421 / sqrt 2), z 4.9013, 9.5e-7."""
    found = log_ratio(Estimate(10, 1, 100), Estimate(5, 0.5, 100))
    assert found.share == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 * math.exp(-0.277181), 0.5 * math.exp(0.277181)), rel=1e-5)
    assert found.p == pytest.approx(9.5e-7, rel=0.01)
    back = log_ratio(Estimate(5, 0.5, 100), Estimate(10, 1, 100))
    assert (back.share, back.low, back.high) == pytest.approx((2, 1 / found.high, 1 / found.low))
    assert back.p == pytest.approx(found.p)
    # two equal parts of a z of 1.959964 exactly: the interval ends at 1 and p is .05
    part = math.log(2) / 1.959963984540054 / math.sqrt(2)
    edge = log_ratio(Estimate(1, part, 9), Estimate(2, 2 * part, 9))
    assert (edge.low, edge.p) == pytest.approx((1, 0.05))


def test_retained_share_undefined() -> None:
    some = Estimate(2, 0.1, 30)
    assert log_ratio(undefined(0, "no generations"), some) == Retained(reason="no generations")
    assert log_ratio(some, undefined(1, "one text")) == Retained(reason="one text")
    assert log_ratio(some, Estimate(0, 0, 30)) == Retained(reason="an arm has no diversity, so there is no ratio")
    no_error = log_ratio(some, Estimate(1, None, 30))
    assert (no_error.share, no_error.low, no_error.p) == (0.5, None, None)
    assert no_error.reason == "no standard error is known for this statistic"
    constant = log_ratio(Estimate(2, 0, 30), Estimate(1, 0, 30))
    assert (constant.share, constant.low, constant.p) == (0.5, None, None)
    assert constant.reason == "no variation in either arm; there is nothing to test"
    sure = log_ratio(some, Estimate(1, 0, 30))  # an arm without spread is not certain of itself
    assert (sure.share, sure.low, sure.p) == (0.5, None, None)
    assert "one arm shows no variation" in sure.reason
    with pytest.raises(ValueError, match="not finite"):
        log_ratio(some, Estimate(math.nan, 0.1, 30))


def zipf(classes: int) -> np.ndarray:
    weights = 1 / np.arange(1, classes + 1)
    return weights / weights.sum()


def test_retained_share_covers_the_truth() -> None:
    """Concentration of 40 and of 8 classes, p ~ 1/i, 100 generations each: the ratio of the true sum p^2.

    1,500 repeats: 95 %, one point for the jackknife, and 4 standard errors.
    """
    generator = np.random.default_rng(3)
    truth = (zipf(8) ** 2).sum() / (zipf(40) ** 2).sum()
    covered, logs = 0, []
    for base, aligned in zip(
        generator.multinomial(100, zipf(40), 1500), generator.multinomial(100, zipf(8), 1500), strict=True
    ):
        found = log_ratio(concentration(base), concentration(aligned))
        covered += found.low <= truth <= found.high
        logs.append(found.log_ratio)
    assert covered / 1500 == pytest.approx(0.95, abs=0.01 + four_errors(0.95, 1500))
    assert np.mean(logs) == pytest.approx(math.log(truth), abs=0.03)


def cloud(n: int, axes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Six clusters of weight ~ 1/i around the axes given (rows), noise of unit norm beside."""
    noise = generator.normal(size=(n, axes.shape[1]))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return axes[generator.choice(6, n, p=zipf(6))] + noise


def test_generations_are_the_units_and_pairs_are_not() -> None:
    """A/A test: two arms of equal diversity about different things, 60 texts each, 600 repeats.

    The jackknife calls them different in about 5 %; Welch's t on the squared cosines of all pairs, as if each were a
    replicate, in about half.
    """
    generator = np.random.default_rng(4)
    axes = np.linalg.qr(generator.normal(size=(32, 32)))[0]
    pairs = np.triu_indices(60, 1)
    jackknifed = of_pairs = 0
    for _ in range(600):
        arms = [cloud(60, axes[start : start + 6], generator) for start in (0, 6)]
        found = log_ratio(*map(corrected_vendi, arms))
        jackknifed += found.p < 0.05
        units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in arms]
        of_each_pair = [summarize(np.square(rows @ rows.T)[pairs]) for rows in units]
        difference = welch_difference(*of_each_pair)
        of_pairs += not difference.low <= 0 <= difference.high
    assert jackknifed / 600 == pytest.approx(0.05, abs=four_errors(0.05, 600))
    assert of_pairs / 600 > 0.4


# ---- several tests ----


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # .04 * 1 is raised to .03 * 2
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),  # ties: 3 * .02 carries on
        ([0.5, 0.6], [1, 1]),
        ([0.04], [0.04]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([], []),
        ([0.01, 0.011, 0.02, 0.5], [0.04, 0.04, 0.04, 0.5]),  # .04, .033 raised, .04, .5
    ],
)
def test_holm_by_hand(given: list[float], adjusted: list[float]) -> None:
    assert holm(given).tolist() == pytest.approx(adjusted)
    assert holm(given[::-1]).tolist() == pytest.approx(adjusted[::-1])


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([math.nan])).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.5])


def test_holm_alarms_once_in_twenty_families() -> None:
    """Families of five true nulls: some adjusted p <= .05 in 1 - .99^5 = 4.9 % of 4,000; unadjusted 22.6 %."""
    families = np.random.default_rng(5).uniform(size=(20_000, 5))
    alarms = np.mean([holm(family).min() <= 0.05 for family in families[:4000]])
    assert alarms == pytest.approx(1 - 0.99**5, abs=four_errors(0.049, 4000))
    assert (families.min(axis=1) <= 0.05).mean() == pytest.approx(1 - 0.95**5, abs=0.012)


# ---- equivalence ----


def test_equivalence_by_hand() -> None:
    """Interval .02 -+ 1.644854 * .04 = (-.045794, .085794) inside .095310; p = P(Z < -.07531/.04) = .02987."""
    found = equivalence(0.02, 0.04)
    assert found[:2] == pytest.approx((-0.045794, 0.085794), abs=1e-6)
    assert found.p == pytest.approx(0.02987, abs=1e-4)
    assert found.verdict == "equivalent"
    assert equivalence(-0.02, 0.04).p == pytest.approx(found.p)
    # -.0958 and below is out; 0 is inside its 95 % interval: too little is known
    assert equivalence(0.02, 0.05).verdict == "inconclusive"
    assert equivalence(0.5, 0.05).verdict == "different"
    assert equivalence(-0.5, 0.05).verdict == "different"
    # .05 -+ .0165 lies inside the margin, though 0 is outside: small, and that is what was asked
    assert equivalence(0.05, 0.01).verdict == "equivalent"
    # 4 degrees of freedom: t 2.131847 for 1.644854
    assert equivalence(0.0, 0.05, freedom=4).high == pytest.approx(0.05 * 2.131847, abs=1e-6)
    assert equivalence(0.0, 0.05, freedom=4).verdict == "inconclusive"
    assert equivalence(0.0, 0.05, margin=0.08).verdict == "inconclusive"


def test_equivalence_p_agrees_with_its_interval() -> None:
    for ratio, se, freedom in itertools.product(np.linspace(-0.12, 0.12, 25), (0.005, 0.02, 0.06), (3, 20, math.inf)):
        found: Equivalence = equivalence(ratio, se, freedom=freedom)
        assert (found.verdict == "equivalent") == (found.p < 0.05)


def test_equivalence_needs_a_standard_error() -> None:
    with pytest.raises(ValueError, match="above 0"):
        equivalence(math.nan, 0.1)
    for bad in ({"se": 0.0}, {"se": math.nan}, {"se": 0.1, "freedom": 0}, {"se": 0.1, "margin": 0}):
        with pytest.raises(ValueError, match="above 0"):
            equivalence(0.0, **bad)


@pytest.mark.parametrize("edge", [-1, 1])
def test_equivalence_at_the_margin_is_said_in_one_of_twenty(edge: int) -> None:
    """True log ratio at the margin, se .02 of 9 degrees of freedom: 5 % of 4,000; with a 95 % interval it would be 2.5.

    With se .2, as wide as the data are poor, hardly ever. At 0 it is said in most: (.0953 - 1.833 * .02) / .02 = 2.9.
    """
    generator = np.random.default_rng(6)
    margin = math.log(1.1)

    def said(truth: float, se: float) -> float:
        ratios = truth + se * generator.normal(size=4000)
        errors = se * np.sqrt(generator.chisquare(9, 4000) / 9)
        return float(
            np.mean([equivalence(r, s, freedom=9).verdict == "equivalent" for r, s in zip(ratios, errors, strict=True)])
        )

    assert said(edge * margin, 0.02) == pytest.approx(0.05, abs=four_errors(0.05, 4000))
    assert said(edge * margin, 0.2) <= 0.05
    assert said(0, 0.02) > 0.95


# ---- several prompts ----


def test_paired_t_by_hand() -> None:
    """Differences (1, 2, 3): t = 2 sqrt 3; with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
    found = paired_t([5, 1, 3], [6, 3, 6])
    assert found[:3] == pytest.approx((3, 2, 1 / math.sqrt(3)))
    assert found.t == pytest.approx(2 * math.sqrt(3))
    assert found.p == pytest.approx(1 - 3.464102 / math.sqrt(14), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    back = paired_t([6, 3, 6], [5, 1, 3])
    assert (back.mean, back.t, back.p) == pytest.approx((-2, -found.t, found.p))
    assert paired_t([5, math.nan, 1, 3, 2], [6, 2, 3, 6, math.nan]) == pytest.approx(found)


def test_paired_t_undefined() -> None:
    assert paired_t([], [])[:2] == (0, None)
    assert paired_t([1], [4])[:4] == (1, 3, None, None)
    assert paired_t([1, math.nan], [4, 1]).reason == "fewer than two prompts"
    for alike in (paired_t([1, 2, 3], [2, 3, 4]), paired_t([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]), paired_t([1, 2], [1, 2])):
        assert alike.reason == "all prompts differ by the same amount"
        assert (alike.low, alike.t, alike.p) == (None, None, None)
    with pytest.raises(ValueError, match="one number for each prompt and arm"):
        paired_t([1, 2], [1, 2, 3])


def test_paired_t_covers_and_alarms_as_often_as_it_says() -> None:
    """Five prompts of very different level, differences N(.5, 1): 95 % of 3,000, and p uniform where the truth is 0."""
    generator = np.random.default_rng(7)
    covered, p_values = 0, []
    for _ in range(3000):
        base = generator.normal(0, 30, 5)
        shift = generator.normal(size=5)
        found = paired_t(base, base + 0.5 + shift)
        covered += found.low <= 0.5 <= found.high
        p_values.append(paired_t(base, base + shift).p)
    assert covered / 3000 == pytest.approx(0.95, abs=four_errors(0.95, 3000))
    for level in (0.05, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=four_errors(level, 3000))


def test_prompts_that_differ_need_the_paired_test() -> None:
    """Ten prompts of 20 generations; each prompt and arm has its own Dirichlet law, equally diverse on average.

    Over generations only, se^2 the sum of the prompts' jackknife variances, about a third of false alarms; paired over
    prompts 5 %. 300 repeats.
    """
    generator = np.random.default_rng(8)
    paired = within = 0
    for _ in range(300):
        laws = generator.dirichlet(np.full(30, 0.05), (2, 10))
        found = [[concentration(generator.multinomial(20, law)) for law in arm] for arm in laws]
        values = np.array([[one.value for one in arm] for arm in found])
        errors = np.array([[one.se for one in arm] for arm in found])
        paired += paired_t(*values).p < 0.05
        within += abs(values[1].mean() - values[0].mean()) > 1.96 * math.sqrt(np.square(errors).sum()) / 10
    assert paired / 300 == pytest.approx(0.05, abs=four_errors(0.05, 300))
    assert within / 300 > 0.2


# ---- permutations ----


def test_sign_flips_are_exact_over_all_patterns() -> None:
    """|sums| of +-1 +-2 +-4 +-8 are 1, 3, ..., 15, two patterns each: p runs over 2/16, 4/16, ..., 16/16, twice."""
    found = [sign_flip_test(np.array([1, 2, 4, 8]) * signs) for signs in itertools.product((1, -1), repeat=4)]
    assert sorted(one.p for one in found) == sorted([2 * rank / 16 for rank in range(1, 9)] * 2)
    assert all(one.exact and one.arrangements == 16 for one in found)
    assert found[0] == Permutation(15 / 4, 2 / 16, 16, True)


def test_sign_flips_by_hand() -> None:
    """(1, 2, 3): 2 of 8. (1, 1, -1): |sum| >= 1 always. Five alike: 2/32, the smallest p that five prompts give."""
    assert sign_flip_test([1, 2, 3]).p == 2 / 8
    assert sign_flip_test([1, 1, -1]).p == 1
    assert sign_flip_test([0, 0, 0]).p == 1
    assert sign_flip_test([0.3] * 5).p == 2 / 32
    assert sign_flip_test([1, 2, math.nan, 3]) == sign_flip_test([1, 2, 3])
    # a true sum of 0, and one of .4 beside .8, .4, .2, .4, .2, 0, .2, .6: rounding must not decide
    assert sign_flip_test([0.1, 0.2, 0.3, -0.6]).p == 1
    assert sign_flip_test([0.1, 0.2, 0.3, -0.2]).p == 8 / 16


def test_sign_flips_undefined() -> None:
    assert sign_flip_test([]) == Permutation(None, None, 0, False, "fewer than two prompts")
    assert sign_flip_test([2.0, math.nan]) == Permutation(2, None, 0, False, "fewer than two prompts")


def test_many_sign_flips_are_drawn() -> None:
    """Sixteen alike: 2 of 65,536, so 999 draws reach it with probability 3 %, never in this one: p = 1/1000, not 0."""
    assert sign_flip_test([1.0] * 16, draws=999) == Permutation(1, 1 / 1000, 999, False)
    values = np.random.default_rng(9).normal(0.3, 1, 15)
    drawn = sign_flip_test(values, seed=3, draws=4999)
    assert drawn == sign_flip_test(values, seed=3, draws=4999)
    signs = 1 - 2 * (np.arange(2**15)[:, None] >> np.arange(15) & 1)
    exact = (np.abs(signs @ values) >= abs(values.sum()) - 1e-9).mean()
    assert drawn.p == pytest.approx(exact, abs=four_errors(exact, 4999) + 1 / 5000)


def test_sign_flip_p_values_are_uniform_where_nothing_differs() -> None:
    """Skewed sizes, random signs: P(p <= j/32) = j/32, 1,500 repeats of six prompts (64 patterns)."""
    generator = np.random.default_rng(10)
    sizes = generator.exponential(size=(1500, 6)) ** 2
    p = np.array([sign_flip_test(row).p for row in sizes * generator.choice((-1, 1), sizes.shape)])
    for level in (1 / 32, 4 / 32, 16 / 32):
        assert (p <= level + 1e-9).mean() == pytest.approx(level, abs=four_errors(level, 1500))


def test_permutation_is_near_the_enumerated_p() -> None:
    """(1, 2, 3) against (4, 5, 6): 2 of the 20 splits; every other split of these six by counting too."""
    pooled = [1, 2, 3, 4, 5, 6]
    splits = list(itertools.combinations(pooled, 3))
    for one in splits[:10]:
        other = [value for value in pooled if value not in one]
        reached = abs(sum(other) - sum(one))
        exact = sum(abs(21 - 2 * sum(split)) >= reached for split in splits) / 20
        found = permutation_test(one, other, draws=999)
        assert found.p == pytest.approx(exact, abs=four_errors(min(exact, 0.999), 999) + 1 / 1000)
        assert found.difference == pytest.approx((sum(other) - sum(one)) / 3)
    assert permutation_test([1, 2, 3], [4, 5, 6], draws=4999).p == pytest.approx(0.1, abs=0.018)


def test_permutation_ends() -> None:
    """30 against 30 without overlap: no shuffle of C(60, 30) = 1.2e17 reaches it, and p is 1/200, not 0."""
    apart = permutation_test([0.0] * 30, [1.0] * 30, draws=199)
    assert apart == Permutation(1, 1 / 200, 199, False)
    assert permutation_test([7.0] * 4, [7.0] * 9, draws=199).p == 1
    assert permutation_test([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], draws=199).p == 1
    assert permutation_test([1, 5, 2], [9, 4, 4], seed=1, draws=199) == permutation_test(
        [1, 5, 2], [9, 4, 4], seed=1, draws=199
    )
    # 2 of 20 splits, however the sums of large numbers round
    far = permutation_test([1e6 + 0.1, 1e6 + 0.2, 1e6 + 0.3], [1e6 + 0.4, 1e6 + 0.5, 1e6 + 0.6], draws=999)
    assert far.p == pytest.approx(0.1, abs=four_errors(0.1, 999))


def test_permutation_undefined() -> None:
    nothing = Permutation(None, None, 0, False, "fewer than two generations in an arm")
    assert permutation_test([], [1, 2]) == nothing
    assert permutation_test([1, 2], [1]) == nothing
    assert permutation_test([1, 2], [1, math.nan]) == nothing
    # a generation without the number is none: with nan left in, no shuffle would reach the difference
    assert permutation_test([1, math.nan, 3], [2, 4], draws=199) == permutation_test([1, 3], [2, 4], draws=199)


def test_permutation_p_values_are_uniform_where_nothing_differs() -> None:
    """Arms of 8 and 15 of one skewed law, 199 shuffles: p is a rank, P(p <= j/200) = j/200 exactly. 600 repeats."""
    generator = np.random.default_rng(11)
    p = []
    for repeat in range(600):
        one, other = generator.exponential(size=8), generator.exponential(size=15)
        p.append(permutation_test(one, other, seed=repeat, draws=199).p)
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p) <= level + 1e-9) == pytest.approx(level, abs=four_errors(level, 600))


def test_one_law_turned_is_no_less_diverse_but_another_law() -> None:
    """Why `permutation_test` is not for a statistic of the arm: shuffled arms mix their contents.

    Two arms of six one-hot clusters without a common one: U = sum p^2 in each, about half of it in any mixture. So all
    shuffles lie below both, and their differences say nothing of the error that the jackknife knows.
    """
    rows = np.eye(12)[[*np.random.default_rng(12).choice(6, 60, p=zipf(6))]]
    turned = np.roll(rows, 6, axis=1)
    assert mean_squared_cosine(turned) == pytest.approx(mean_squared_cosine(rows))
    assert log_ratio(corrected_vendi(rows), corrected_vendi(turned)).share == pytest.approx(1)
    shuffled = np.random.default_rng(13).permutation(np.vstack([rows, turned]))[:60]
    assert mean_squared_cosine(shuffled).value < 0.7 * mean_squared_cosine(rows).value


@pytest.mark.parametrize(("share", "within"), [(0.5, 0.0), (0.8, 0.3), (0.95, 0.95), (0.8, 0.95)])
def test_the_interval_of_clustered_trials_holds_where_wilson_s_does_not(share: float, within: float) -> None:
    """Eight clusters of 8 to 16 trials whose own shares are beta: at most 5 % of 600 miss, within 4 standard errors."""
    generator = np.random.default_rng(7)
    missed = [0, 0]
    for _ in range(600):
        n = generator.integers(8, 17, size=8)
        spread = (1 - within) / within if within else 0.0
        own = generator.beta(share * spread, (1 - share) * spread, size=8) if within else np.full(8, share)
        k = generator.binomial(n, own)
        for at, found in enumerate((clustered_proportion(k, n), wilson(int(k.sum()), int(n.sum())))):
            missed[at] += not (found.low or 0) <= share <= (found.high or 0)
    assert missed[0] <= 600 * 0.05 + 4 * math.sqrt(600 * 0.05 * 0.95)
    assert not within or missed[1] > 2 * 600 * 0.05  # of correlated trials


def test_clusters_without_spread_count_themselves() -> None:
    """All of 6 clusters: 6 trials; one cluster, or single trials: Wilson; nothing: undefined."""
    assert clustered_proportion([16] * 6, [16] * 6)[:3] == wilson(6, 6)[:3]
    assert clustered_proportion([0] * 6, [16] * 6)[1:5] == (0.0, wilson(0, 6).high, 0, 96)
    assert clustered_proportion([3, 0], [10, 0]) == wilson(3, 10)
    assert clustered_proportion([1, 0, 1], [1, 1, 1]) == wilson(2, 3)
    assert clustered_proportion([5, 5], [10, 10])[1:3] == pytest.approx((0.02836, 0.97164), abs=1e-5)  # 20; t 12.706
    assert clustered_proportion([], []).value is None
    with pytest.raises(ValueError, match="k of n"):
        clustered_proportion([3], [2])
