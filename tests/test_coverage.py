"""What has not been seen: hand-derived values, exact means over all samples, simulations from a known law, traps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
import pytest

from llama_diversity.errors import BadValue
from llama_diversity.metrics.coverage import (
    Coverage,
    MoreGenerations,
    StandardisedRichness,
    chao1,
    chao_shen_nats,
    chao_wang_jost_nats,
    coverage_after,
    coverage_at,
    coverage_standardised_richness,
    good_turing_coverage,
    miller_madow_nats,
    more_generations,
    rarefied_richness,
    rarity,
    refined_coverage,
    seen_richness,
    unseen_entropy_nats,
)
from llama_diversity.metrics.indices import plug_in_entropy_nats
from llama_diversity.metrics.inference import ALL_SINGLETONS, Contrast, Estimate, jackknife, log_ratio, part_of

ZIPF = 1 / np.arange(1, 41)
ZIPF /= ZIPF.sum()  # 40 classes, p ~ 1/i
ZIPF_ENTROPY = 3.037580  # -sum p log p
DRAWS = 500  # samples of each simulation, of a fixed seed


def samples(n: int, repeats: int = DRAWS) -> np.ndarray:
    return np.random.default_rng(n).multinomial(n, ZIPF, repeats)


def within_four_errors(found: np.ndarray, truth: float, truth_se: float = 0) -> bool:
    return abs(found.mean() - truth) < 4 * math.hypot(found.std() / math.sqrt(len(found)), truth_se)


def compositions(n: int, shares: tuple[float, ...]) -> Iterator[tuple[list[int], float]]:
    """Every table of class counts of n generations with its multinomial probability."""
    for counts in itertools.product(range(n + 1), repeat=len(shares)):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(math.factorial(count) for count in counts)
            yield list(counts), ways * math.prod(p**count for p, count in zip(shares, counts, strict=True))


# ---- by hand ----


@pytest.mark.parametrize(
    ("counts", "miller_madow", "chao_shen", "chao_wang_jost"),
    [
        # nothing seen once: plug-in 1.029653 + 2/20; Cp = p over 1 - .5^10, 1 - .7^10, 1 - .8^10
        ([5, 3, 2], 1.129653, 1.079211, 1.137302),
        # plug-in log 5 + 5/20; C = .6, Cp = .24, .12, .06; a = 2 / (36 + 2)
        ([4, 2, 1, 1, 1, 1], 1.859438, 2.182144, 2.249066),
        # plug-in .940448 + 3/20; C = .7; no class seen twice: a = 2 / (9 * 2 + 2)
        ([7, 1, 1, 1], 1.090448, 1.432178, 1.283323),
        # log 10 + 9/20; C = 1 - 9/10, so Cp = .01 each: 10 * .01 log 100 / (1 - .99^10); a = 2 / (81 + 2)
        ([1] * 10, math.log(10) + 0.45, 4.816221, 4.203386),
        ([6], 0, 0, 0),
    ],
)
def test_entropies_by_hand(counts: list[int], miller_madow: float, chao_shen: float, chao_wang_jost: float) -> None:
    for estimator, expected in (
        (miller_madow_nats, miller_madow),
        (chao_shen_nats, chao_shen),
        (chao_wang_jost_nats, chao_wang_jost),
    ):
        assert estimator(counts).value == pytest.approx(expected, abs=1e-6)
        assert estimator(counts[::-1] + [0]) == pytest.approx(estimator(counts))
        assert estimator(counts).warning == (ALL_SINGLETONS if counts == [1] * 10 else None)


@pytest.mark.parametrize(
    ("counts", "good_turing", "refined", "classes"),
    [
        ([5, 3, 2], 1, 1, 3),
        # A = 9*4 / (9*4 + 2); 6 + .9 * 4*3 / (2*2)
        ([4, 2, 1, 1, 1, 1], 0.6, 0.621053, 8.7),
        # f2 = 0: A = 9*2 / (9*2 + 2) = .9; 4 + .9 * 3*2 / 2
        ([7, 1, 1, 1], 0.7, 0.73, 6.7),
        # A = 19*4 / (19*4 + 2); 6 + .95 * 5*4 / 2
        ([15, 1, 1, 1, 1, 1], 0.75, 0.756410, 15.5),
        # A = 81 / 83; 10 + 9^2 / 2
        ([1] * 10, 0, 0.024096, 50.5),
        # one class seen once and none twice: A = 0
        ([9, 1], 0.9, 1, 2),
        ([6], 1, 1, 1),
    ],
)
def test_coverage_and_richness_by_hand(counts: list[int], good_turing: float, refined: float, classes: float) -> None:
    assert good_turing_coverage(counts).value == pytest.approx(good_turing)
    assert refined_coverage(counts).value == pytest.approx(refined, abs=1e-6)
    assert chao1(counts).value == pytest.approx(classes)
    warning = ALL_SINGLETONS if counts == [1] * 10 else None
    assert (refined_coverage(counts).warning, chao1(counts).warning) == (warning, warning)
    assert chao1(counts).se is None


def test_rarefaction_by_hand() -> None:
    """(5, 3, 2), m = 5 of 10, C(10,5) = 252: missed by C(5,5) = 1, C(7,5) = 21, C(8,5) = 56; 3 - 78/252."""
    assert rarefied_richness([5, 3, 2], 5).value == pytest.approx(3 - 78 / 252)
    # missed: 6 of 252; 56; four times C(9,5) = 126: 6 - 566/252
    assert rarefied_richness([4, 2, 1, 1, 1, 1], 5).value == pytest.approx(6 - 566 / 252)
    # coverage at 5, C(9,5) = 126: 1 - (.4 * 6 + .2 * 56 + .4 * 126) / 126
    assert coverage_at([4, 2, 1, 1, 1, 1], 5).value == pytest.approx(0.492063, abs=1e-6)
    assert rarefied_richness([2, 1], 2).value == pytest.approx(5 / 3)
    assert coverage_at([2, 1], 1).value == pytest.approx(1 / 3)


def test_rarefaction_ends() -> None:
    counts = [4, 2, 1, 1, 1, 1]
    curve = [rarefied_richness(counts, m).value for m in range(1, 11)]
    assert curve[0] == pytest.approx(1)
    assert curve[-1] == pytest.approx(6)
    gains = np.diff(curve)
    assert (gains[1:] < gains[:-1]).all()
    # the next class seen is a new one where the mass is not covered: E[S_(m+1)] - E[S_m] = 1 - coverage at m
    np.testing.assert_allclose(gains, [1 - coverage_at(counts, m).value for m in range(1, 10)])
    assert coverage_at(counts, 0).value == pytest.approx(0)
    assert coverage_at(counts, 9).value == pytest.approx(good_turing_coverage(counts).value)
    assert coverage_at([1] * 10, 5).value == pytest.approx(0)
    assert rarefied_richness([1] * 10, 5).value == pytest.approx(5)
    assert rarefied_richness([6], 3).value == pytest.approx(1)


def test_how_many_more_by_hand() -> None:
    """(36/38)^(m+1) = .05/.4: m = log 8 / log(38/36) - 1 = 37.46."""
    found = more_generations([4, 2, 1, 1, 1, 1], 0.95)
    assert found.exact == pytest.approx(math.log(8) / math.log(38 / 36) - 1)
    assert found.exact == pytest.approx(37.46, abs=0.005)
    assert found.generations == 38
    assert coverage_after([4, 2, 1, 1, 1, 1], 0).value == pytest.approx(0.621053, abs=1e-6)
    assert coverage_after([4, 2, 1, 1, 1, 1], 37).value < 0.95 < coverage_after([4, 2, 1, 1, 1, 1], 38).value
    assert more_generations([4, 2, 1, 1, 1, 1], 0.5)[:2] == (0, 0)  # reached already
    for nothing_hidden in ([5, 3, 2], [9, 1], [6]):
        assert more_generations(nothing_hidden, 0.99) == MoreGenerations(
            0, 0, sum(nothing_hidden), "nothing new expected"
        )
    # all distinct: 81/83 to the m + 1 = .05
    assert more_generations([1] * 10, 0.95).exact == pytest.approx(math.log(20) / math.log(83 / 81) - 1)


def test_classes_seen_and_their_error_by_hand() -> None:
    """Chao1 8.7 and 6.7: se^2 = 6 (1 - 6/8.7), 4 (1 - 4/6.7); nothing or all seen once: none, not 0."""
    for counts, seen, squared in (
        ([4, 2, 1, 1, 1, 1], 6, 6 * 2.7 / 8.7),
        ([7, 1, 1, 1], 4, 4 * 2.7 / 6.7),
    ):
        assert seen_richness(counts)[:3] == pytest.approx((seen, math.sqrt(squared), sum(counts)))
    assert seen_richness([1] * 10) == Estimate(10, None, 10, warning=ALL_SINGLETONS)
    assert seen_richness([5, 3, 2, 0]) == Estimate(3, None, 10)
    assert seen_richness([1]) == Estimate(1, None, 1)
    assert seen_richness([]).reason == "no generations"


def test_error_of_the_classes_seen_is_their_spread_among_new_samples() -> None:
    """E[S] = sum 1 - (1-p)^100 = 28.449; the mean variance estimate is near that of S over 500 samples."""
    found = [seen_richness(counts) for counts in samples(100)]
    seen, variances = (np.array(column) for column in zip(*((one.value, one.se**2) for one in found), strict=True))
    assert within_four_errors(seen, (1 - (1 - ZIPF) ** 100).sum())
    assert variances.mean() == pytest.approx(seen.var(), rel=0.35)


# ---- undefined ----

ENTROPIES = (miller_madow_nats, chao_shen_nats, chao_wang_jost_nats)


@pytest.mark.parametrize("estimator", [*ENTROPIES, chao1, lambda counts: coverage_after(counts, 3)])
def test_too_few_generations_are_undefined(estimator: Callable[[list[int]], Estimate]) -> None:
    assert estimator([]) == Estimate(None, None, 0, "no generations")
    assert estimator([0, 1]) == Estimate(None, None, 1, "one generation shows nothing of the unseen")


def test_one_generation_covers_nothing() -> None:
    """The refined form would say 1: one class seen once, none twice."""
    alone = refined_coverage([1])
    assert alone == Coverage(0, None, None, 1, warning="one generation shows nothing of the unseen")
    assert refined_coverage([]) == Coverage(None, None, None, 0, "no generations")
    assert good_turing_coverage([1]) == Estimate(0, None, 1)
    assert good_turing_coverage([]) == Estimate(None, None, 0, "no generations")
    for n, counts in enumerate(([], [1])):
        assert more_generations(counts, 0.9)[:3] == (None, None, n)
        assert more_generations(counts, 0.9).reason
    assert rarefied_richness([1], 1).value == pytest.approx(1)


def test_more_than_there_are_is_undefined() -> None:
    assert rarefied_richness([5, 3, 2], 11).reason == "11 generations are more than the 10 there are"
    assert coverage_at([5, 3, 2], 10).reason == "10 generations are not fewer than the 10 there are"
    for found in (rarefied_richness([], 3), coverage_at([], 3)):
        assert found == Estimate(None, None, 0, "no generations")
    assert rarefied_richness([5, 3, 2], 11).value is None
    assert coverage_at([5, 3, 2], 10).value is None


def test_what_was_asked_is_checked() -> None:
    for coverage in (0, 1, 1.5, math.nan):
        with pytest.raises(BadValue, match="lies between 0 and 1"):
            more_generations([2, 1], coverage)
    for ask in (rarefied_richness, coverage_at, coverage_after):
        with pytest.raises(BadValue, match="generation"):
            ask([2, 1], -1)
    for bad in ([1.5], [-1], [[1, 2]], [math.nan]):
        with pytest.raises(ValueError, match="class counts are one row of whole numbers"):
            rarity(bad)


def test_standard_errors_where_they_hold_and_none_elsewhere() -> None:
    """(2, 1) leaves out (1, 1) twice and (2) once, as does any statistic of the three generations themselves."""
    labels = [0] * 5 + [1] * 3 + [2, 2, 3, 4]
    for estimator in ENTROPIES:
        slow = jackknife(lambda some, e=estimator: e(np.bincount(some)).value, labels)
        assert estimator(np.bincount(labels))[:3] == pytest.approx(slow[:3])
        assert slow.se > 0
    assert rarefied_richness(np.bincount(labels), 7).se is None  # more than half of the 12
    # all distinct: whatever is left out leaves the same, which is not a standard error of 0
    # nothing seen once, or nothing else: as if one more class had been seen, or one pair alike
    for certain, less in (([1] * 10, [2] + [1] * 8), ([10], [9, 1]), ([5, 5], [4, 5, 1])):
        assert rarefied_richness(certain, 4).se == pytest.approx(rarefied_richness(less, 4).se)
        assert rarefied_richness(certain, 4).se > 0
    for estimator in ENTROPIES:  # one class alone, in the same way
        assert (estimator([10]).value, estimator([10]).se) == (0, estimator([9, 1]).se)
    for estimator in ENTROPIES:
        assert estimator([1] * 10).se is None
        assert estimator([1, 1]).se is None


def test_good_turing_error_by_hand() -> None:
    assert good_turing_coverage([7, 1, 1, 1]).se == pytest.approx(math.sqrt(3 * 0.7) / 10)


# ---- the interval of the coverage ----


def test_coverage_interval_by_hand() -> None:
    """(15, 1 x 5): half width 1.959964 sqrt(5 * .75) / 20 = .189772 around .756410."""
    found = refined_coverage([15, 1, 1, 1, 1, 1])
    assert (found.low, found.high) == pytest.approx((0.566638, 0.946182), abs=1e-6)
    # with f2: sqrt(4 * .6 + 2) / 10, upper end cut to 1
    found = refined_coverage([4, 2, 1, 1, 1, 1])
    assert (found.low, found.high) == pytest.approx((0.621053 - 1.959964 * math.sqrt(4.4) / 10, 1), abs=1e-6)


def test_coverage_interval_has_width_where_its_variance_is_zero() -> None:
    """Nothing rare in 100: missed with probability (1-r)^100 = .05 is r = .029513. All distinct: 2 log 20 / n."""
    settled = refined_coverage([60, 40])
    assert (settled.value, settled.high) == (1, 1)
    assert settled.low == pytest.approx(1 - 0.029513, abs=1e-6)
    distinct = refined_coverage([1] * 10)
    assert (distinct.low, distinct.high) == pytest.approx((0, 0.599146), abs=1e-6)
    assert refined_coverage([1, 1]).high == 1


@pytest.mark.parametrize("n", [25, 50, 100, 200])
def test_coverage_interval_holds_as_often_as_stated(n: int) -> None:
    """It covers the true coverage of its own sample in 91.5 to 94.5 % at a nominal 95 %, measured on such laws.

    1,000 samples, standard error 0.7 to 0.9 points; the band is the stated one and 4 standard errors on either side. An
    interval with the variance of Good and Turing's estimate, f1 (1 - f1/n) alone, covers 74 to 84 %.
    """
    covered, narrow = 0, 0
    for counts in samples(n, 1000):
        truth = ZIPF[counts > 0].sum()
        found = refined_coverage(counts)
        covered += found.low <= truth <= found.high
        narrow += abs(found.value - truth) <= 1.96 * (good_turing_coverage(counts).se or 0)
    assert 0.915 - 0.035 < covered / 1000 < 0.945 + 0.029
    assert narrow < covered - 50


# ---- means over all samples of a small law ----


def test_rarefaction_and_coverage_are_unbiased_over_all_samples() -> None:
    """Five generations over p = (.5, .3, .2): E[S_m] = sum 1 - (1-p)^m, E[coverage] = 1 - sum p (1-p)^m."""
    shares = (0.5, 0.3, 0.2)
    tables = list(compositions(5, shares))
    for m in range(1, 5):
        richness = sum(weight * rarefied_richness(counts, m).value for counts, weight in tables)
        assert richness == pytest.approx(sum(1 - (1 - p) ** m for p in shares), abs=1e-12)
        coverage = sum(weight * coverage_at(counts, m).value for counts, weight in tables)
        assert coverage == pytest.approx(1 - sum(p * (1 - p) ** m for p in shares), abs=1e-12)
    good_turing = sum(weight * good_turing_coverage(counts).value for counts, weight in tables)
    assert good_turing == pytest.approx(1 - sum(p * (1 - p) ** 4 for p in shares), abs=1e-12)


# ---- simulations: 40 classes, p ~ 1/i ----


@pytest.mark.parametrize(
    ("n", "chao_shen", "chao_wang_jost"),
    [  # mean and sd of 20,000 samples
        (10, (2.835, 0.69), (2.780, 0.60)),
        (25, (2.912, 0.31), (3.010, 0.38)),
        (50, (3.013, 0.20), (3.035, 0.23)),
        (100, (3.064, 0.13), (3.039, 0.14)),
        (200, (3.061, 0.09), (3.039, 0.09)),
    ],
)
def test_entropies_match_a_large_simulation(n: int, chao_shen: tuple, chao_wang_jost: tuple) -> None:
    """Means within 4 standard errors, the table's last digit allowed for; all estimates but the last are low at 25."""
    drawn = samples(n, 200)
    found = {f: np.array([f(counts).value for counts in drawn]) for f in (*ENTROPIES, plug_in_entropy_nats)}
    for estimator, (mean, sd) in ((chao_shen_nats, chao_shen), (chao_wang_jost_nats, chao_wang_jost)):
        assert within_four_errors(found[estimator], mean, sd / math.sqrt(20_000))
        assert found[estimator].std() == pytest.approx(sd, rel=0.25, abs=0.005)
    means = {f: values.mean() for f, values in found.items()}
    assert means[plug_in_entropy_nats] < means[miller_madow_nats] < ZIPF_ENTROPY
    assert means[miller_madow_nats] < means[chao_wang_jost_nats]
    bias = abs(means[chao_wang_jost_nats] - ZIPF_ENTROPY)
    assert bias < ZIPF_ENTROPY - means[miller_madow_nats] + 0.01
    if n >= 50:  # the default: nearly no bias left where the plug-in still misses .4 and .1
        assert within_four_errors(found[chao_wang_jost_nats], ZIPF_ENTROPY, 0.003)


def test_miller_madow_matches_its_exact_mean() -> None:
    """E[plug-in] + (E[S] - 1) / 2n: 2.1888 at n = 10, 2.8357 at 50, 3.0151 at 200."""
    for n, exact in ((10, 2.1888), (50, 2.8357), (200, 3.0151)):
        assert within_four_errors(np.array([miller_madow_nats(counts).value for counts in samples(n, 300)]), exact)


@pytest.mark.parametrize(
    ("n", "mean", "sd"), [(10, 15.53, 9.1), (25, 27.40, 14.3), (50, 33.70, 12.3), (100, 37.79, 8.5), (500, 39.95, 1.1)]
)
def test_chao1_is_a_lower_bound_on_average_only(n: int, mean: float, sd: float) -> None:
    """Mean of 20,000 samples within 4 standard errors; below the true 40, yet above it in a share of the samples."""
    found = np.array([chao1(counts).value for counts in samples(n)])
    assert within_four_errors(found, mean, sd / math.sqrt(20_000))
    assert found.mean() < 40
    assert (found > 40).any()
    seen = (samples(n) > 0).sum(axis=1)
    assert (found >= seen).all()
    assert within_four_errors(seen, (1 - (1 - ZIPF) ** n).sum())


@pytest.mark.parametrize("n", [10, 25, 50, 100, 200])
def test_coverages_match_their_exact_means(n: int) -> None:
    """E[1 - f1/n] = 1 - sum p (1-p)^(n-1), one generation behind the coverage of the sample, 1 - sum p (1-p)^n.

    The refined form is within .012 of the latter (.474 for .465 at n = 10, .784 for .784 at 50).
    """
    drawn = samples(n, 1500)
    behind, truth = (1 - (ZIPF * (1 - ZIPF) ** m).sum() for m in (n - 1, n))
    good_turing = np.array([good_turing_coverage(counts).value for counts in drawn])
    refined = np.array([refined_coverage(counts).value for counts in drawn])
    assert within_four_errors(good_turing, behind)
    assert abs(refined.mean() - truth) < 0.012 + 4 * refined.std() / math.sqrt(1500)
    assert refined.mean() > good_turing.mean()
    if n >= 50:
        assert abs(refined.mean() - truth) < 0.001 + 4 * refined.std() / math.sqrt(1500)


def test_rarefaction_asks_what_fewer_generations_would_have_shown() -> None:
    """At m = 10 of 50: 7.332 classes and, at 20, a coverage of .6099, where the 50 themselves show 20.66 and .784."""
    drawn = samples(50, 400)
    richness = np.array([rarefied_richness(counts, 10).value for counts in drawn])
    coverage = np.array([coverage_at(counts, 20).value for counts in drawn])
    assert (1 - (1 - ZIPF) ** 10).sum() == pytest.approx(7.332, abs=5e-4)
    assert within_four_errors(richness, (1 - (1 - ZIPF) ** 10).sum())
    assert 1 - (ZIPF * (1 - ZIPF) ** 20).sum() == pytest.approx(0.6099, abs=1e-4)
    assert within_four_errors(coverage, 1 - (ZIPF * (1 - ZIPF) ** 20).sum())


@pytest.mark.parametrize(("counts", "m"), [([2, 1, 1], 2), ([3, 2, 1], 2), ([3, 2, 1], 3), ([4, 1, 1, 2], 3)])
def test_the_variance_of_rarefied_classes_equals_that_over_all_disjoint_halves(counts: list[int], m: int) -> None:
    """The square of the mean over all subsets of m, less the mean product over all pairs of disjoint ones."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    subsets = list(itertools.combinations(range(len(labels)), m))
    kinds = {subset: len({labels[at] for at in subset}) for subset in subsets}
    products = [kinds[a] * kinds[b] for a in subsets for b in subsets if not set(a) & set(b)]
    variance = np.mean(list(kinds.values())) ** 2 - np.mean(products)
    assert rarefied_richness(counts, m).se == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("p", [ZIPF, np.ones(300) / 300], ids=["zipf", "mostly seen once"])
def test_the_standard_error_of_rarefied_classes_is_right_where_the_jackknife_is_not(p: npt.NDArray[np.float64]) -> None:
    """Of 300 equal classes S_30 varies by the pairs that collide alone, which the jackknife counts twice."""
    drawn = [rarefied_richness(counts[counts > 0], 30) for counts in np.random.default_rng(3).multinomial(60, p, 1000)]
    truth = np.var([one.value for one in drawn])  # its own relative error is about sqrt(2/1000) = 4.5 %
    assert np.mean([one.se**2 for one in drawn]) == pytest.approx(truth, rel=4 * 0.045)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (50, 150), (100, 300)])
def test_extrapolated_coverage_is_near_the_truth_on_average(n: int, m: int) -> None:
    """Within .01 of 1 - sum p (1-p)^(n+m) up to four times n; the single estimate scatters by .03 to .10."""
    found = np.array([coverage_after(counts, m).value for counts in samples(n, 1500)])
    truth = 1 - (ZIPF * (1 - ZIPF) ** (n + m)).sum()
    assert abs(found.mean() - truth) < 0.01 + 4 * found.std() / math.sqrt(1500)
    assert 0.01 < found.std() < 0.11


# ---- equal coverage ----


def test_richness_at_equal_coverage_by_hand() -> None:
    """(5, 5) is covered wholly, (4, 2, 1 x 4) to 1 - .4 * 36/38 = .621053, which stays whole with its 6 classes.

    (5, 5) at m: coverage 1 - C(5,m)/C(9,m): m = 1 4/9, m = 2 26/36; between them (.621053 - 16/36) / (10/36) = .635789.
    E[S_1] = 1, E[S_2] = 2 - 2 * 10/45 = 70/45.
    """
    part = (1 - 0.4 * 36 / 38 - 16 / 36) / (10 / 36)
    found = coverage_standardised_richness([5, 5], [4, 2, 1, 1, 1, 1])
    assert found[:5] == pytest.approx((1 - 0.4 * 36 / 38, 1 + part * 25 / 45, 6, 1 + part, 10))
    swapped = coverage_standardised_richness([4, 2, 1, 1, 1, 1], [5, 5])
    assert (swapped.second, swapped.second_generations) == pytest.approx((found.first, found.first_generations))


def test_richness_at_equal_coverage_is_refused_where_little_is_seen() -> None:
    refused = coverage_standardised_richness([1] * 10, [5, 5])
    assert refused.coverage == pytest.approx(2 / 83)  # 1 - 81/83
    assert (refused.first, refused.second) == (None, None)
    assert "less than half" in str(refused.reason)
    assert coverage_standardised_richness([], [5, 5]) == StandardisedRichness(reason="no generations")
    assert coverage_standardised_richness([1], [5, 5]).first is None


def test_equal_coverage_undoes_unequal_n() -> None:
    """One law, 400 against 100 generations: 39.0 against 28.4 classes as counted, about alike at equal coverage."""
    many, few = samples(400, 60), np.random.default_rng(1).multinomial(100, ZIPF, 60)
    found = [coverage_standardised_richness(one, other) for one, other in zip(many, few, strict=True)]
    log_ratios = np.array([math.log(pair.first / pair.second) for pair in found])
    counted = np.log((many > 0).sum(axis=1) / (few > 0).sum(axis=1))
    assert counted.mean() > 0.25
    assert abs(log_ratios.mean()) < 0.05 + 4 * log_ratios.std() / math.sqrt(60)


# ---- digits ----


def printed_form(n: int, f1: int, f2: int) -> float:
    """(f1/n) (1-a)^-(n-1) (-log a - sum over r < n of (1-a)^r / r) with 400 digits, where it is safe."""
    with localcontext() as context:
        context.prec = 400
        a = Decimal(2 * f2) / ((n - 1) * f1 + 2 * f2) if f2 else Decimal(2) / ((n - 1) * (f1 - 1) + 2)
        partial = sum((1 - a) ** r / r for r in range(1, n))
        return float(Decimal(f1) / n * (1 - a) ** -(n - 1) * (-a.ln() - partial))


@pytest.mark.parametrize(
    ("n", "f1", "f2", "expected"),
    [
        (200, 1, 40, 6.143618e-05),  # the printed form in float64: 3.5e11
        (1000, 3, 60, 7.314246e-05),  # 1.87
        (100, 1, 20, 2.417099e-04),
        (10, 4, 1, 0.353431),
    ],
)
def test_unseen_entropy_keeps_its_digits(n: int, f1: int, f2: int, expected: float) -> None:
    assert unseen_entropy_nats(n, f1, f2) == pytest.approx(expected, rel=1e-6)
    assert printed_form(n, f1, f2) == pytest.approx(expected, rel=1e-6)


def test_both_ways_of_the_unseen_entropy_agree_with_exact_arithmetic() -> None:
    """On both sides of the switch at (n-1) * -log(1-a) = 5, which for n = 60 lies near f2 = 2.6 f1."""
    cases = [(n, f1, f2) for n in (2, 3, 10, 60, 200) for f1 in (1, 2, 7, 60) for f2 in (0, 1, 5, 20, 30)]
    possible = [(n, f1, f2) for n, f1, f2 in cases if f1 + 2 * f2 <= n and (f1, f2) != (1, 0)]
    assert len(possible) > 20
    for n, f1, f2 in possible:
        assert unseen_entropy_nats(n, f1, f2) == pytest.approx(printed_form(n, f1, f2), rel=1e-10)
    for n in (2, 10, 200):
        assert unseen_entropy_nats(n, 0, 1) == 0
        assert unseen_entropy_nats(n, 1, 0) == 0  # a = 1: no mass is thought hidden


def test_large_counts_keep_their_digits() -> None:
    """9,999 of one class and 1 of another: missed by 5,000 of 10,000 are 0 and 1/2; all 2: C(9998,m)/C(10000,m)."""
    assert rarefied_richness([9999, 1], 5000).value == pytest.approx(1.5, abs=1e-10)
    pairs = rarefied_richness([2] * 5000, 5000).value
    assert pairs == pytest.approx(5000 * (1 - 5000 * 4999 / (10_000 * 9999)), rel=1e-10)
    assert coverage_at([9999, 1], 1).value == pytest.approx(0.9999 * 9998 / 9999, abs=1e-10)


@pytest.mark.parametrize(
    "law",
    [ZIPF, np.ones(400) / 400, np.append(0.99, np.full(10, 0.001)), np.append(0.97, np.full(30, 0.001))],
    ids=["zipf", "flat", "one class of 99 %", "one class of 97 %"],
)
def test_equal_laws_rarely_differ_in_rarefied_classes(law: npt.NDArray[np.float64]) -> None:
    """False alarms of the log ratio at m = n/2, nominal 5 %: at most 5 and 4 standard errors.

    With the jackknife, to which a sample of one class alone seems certain, it is a fifth where one class rules.
    """
    drawn = [rarefied_richness(counts, 50) for counts in np.random.default_rng(8).multinomial(100, law, 800)]
    found = [log_ratio(one, other) for one, other in zip(drawn[::2], drawn[1::2], strict=True)]
    assert all(one.p is not None for one in found)
    assert np.mean([one.p < 0.05 for one in found]) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_the_order_of_classes_and_those_never_seen_do_not_matter() -> None:
    counts, other = [4, 2, 1, 1, 1, 1], [1, 0, 1, 2, 1, 4, 1, 0]
    for ask in (
        good_turing_coverage, refined_coverage, chao1, seen_richness,
        lambda some: rarefied_richness(some, 4), lambda some: coverage_at(some, 5),
        lambda some: coverage_after(some, 5), lambda some: more_generations(some, 0.9),
        lambda some: coverage_standardised_richness(some, [5, 3, 2]),
    ):  # fmt: skip
        assert ask(counts) == ask(other)


def test_expected_classes_keep_their_digits_among_a_million() -> None:
    """Among one generation there is one class, and its coverage is the sum of squared shares, here 2/n (less 1/n)."""
    assert rarefied_richness(np.ones(10**6, np.int64), 1).value == pytest.approx(1, rel=1e-9)
    assert coverage_at(np.full(500_000, 2), 1).value == pytest.approx(1 / (10**6 - 1), rel=1e-6)


def test_an_arm_of_one_class_is_never_thinned_below_one_generation() -> None:
    """Of (40, 5, 3, 1, 1) some mass is unseen; one generation of (50) covers all there is."""
    found = coverage_standardised_richness([40, 5, 3, 1, 1], [50])
    assert (found.second, found.second_generations) == (1, 1)
    assert found.first == 5


@pytest.mark.parametrize(("certain", "less"), [([1] * 12, [2, *[1] * 10]), ([8, 4], [7, 4, 1])])
def test_degrees_of_freedom_are_those_of_the_counts_whose_spread_is_taken(certain: list[int], less: list[int]) -> None:
    found, other = rarefied_richness(certain, 4), rarefied_richness(less, 4)
    assert found.freedom == other.freedom is not None
    assert found.se == pytest.approx(other.se)
    for counts, m in ((certain, 7), (less, 7), ([1, 1], 2), ([1, 1], 1)):
        one = rarefied_richness(counts, m)
        assert one.se is not None or one.freedom is None


# ---- what was not seen


def test_where_nothing_was_seen_once_a_rare_class_may_have_been_missed() -> None:
    """50 alike: one in a class of its own adds H_49 / 50 + 1 / 50; where one is seen its error knows."""
    alone = chao_wang_jost_nats([50])
    assert alone.value == 0
    assert alone.unseen == pytest.approx((sum(1 / r for r in range(1, 50)) + 1) / 50)
    high = Contrast(0.0, (part_of(alone, 1),), is_log=False).limits()[1]
    p = 1 - 0.025 ** (1 / 50)  # the largest share that 50 may have missed, 97.5 %
    assert high > -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert chao_wang_jost_nats([25, 25]).unseen == pytest.approx(
        chao_wang_jost_nats([24, 25, 1]).value - chao_wang_jost_nats([25, 25]).value
    )
    assert chao_wang_jost_nats([24, 25, 1]).unseen == chao_wang_jost_nats([1]).unseen == 0


@pytest.mark.parametrize("law", [(0.94, 0.02, 0.02, 0.02), (0.48, 0.48, 0.04), (0.97, *[0.003] * 10)])
def test_intervals_of_entropy_hold_in_laws_with_rare_classes(law: tuple[float, ...]) -> None:
    """n = 50 against four equal kinds: at most 5 % of 600 miss, within 4 standard errors; 8, 15 and 17 % before."""
    generator, missed = np.random.default_rng(5), 0
    truth = -sum(p * math.log(p) for p in law)
    for _ in range(600):
        first, other = (chao_wang_jost_nats(generator.multinomial(50, p)) for p in ([0.25] * 4, law))
        parts = (part_of(first, -1), part_of(other, 1))
        low, high = Contrast(other.value - first.value, parts, is_log=False).limits()
        missed += not low <= truth - math.log(4) <= high
    assert missed <= 600 * 0.05 + 4 * math.sqrt(600 * 0.05 * 0.95)
