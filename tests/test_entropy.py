"""Entropy of generations: closed forms, a chain whose entropy is known, and faults that the self-check must see."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from llama_diversity.engines.draws import Reducer
from llama_diversity.metrics import entropy
from llama_diversity.metrics.entropy import (
    bits_per_byte,
    blocked_mass,
    branching_factor,
    entropy_rate,
    eos_hazard,
    local_mean_curve,
    prefix_mean_curve,
    sequence_totals,
    step_divergence,
    step_statistics,
    top_entropy,
    top_k_bounds,
)
from llama_diversity.metrics.inference import self_check_z

LN2 = math.log(2)

# ---- one step ----


def log_of(*probabilities: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def test_step_statistics_by_hand() -> None:
    # (1/2, 1/4, 1/8, 1/8): surprisals 1, 2, 3, 3; H = 1/2 + 1/2 + 3/8 + 3/8 = 1.75; varentropy
    # (1 - 1.75)^2 / 2 + (2 - 1.75)^2 / 4 + 2 (3 - 1.75)^2 / 8 = 0.28125 + 0.015625 + 0.390625 = 0.6875.
    row = log_of(1 / 2, 1 / 4, 1 / 8, 1 / 8)
    for token, surprisal in enumerate([1, 2, 3, 3]):
        found = step_statistics(row, token)
        assert found == (pytest.approx(surprisal), pytest.approx(1.75), pytest.approx(0.6875))
        assert step_statistics(row + 700, token) == pytest.approx(found)  # logits, up to a constant
    assert step_statistics(row - 800, 2) == pytest.approx((3, 1.75, 0.6875))


def test_step_statistics_at_their_ends() -> None:
    assert step_statistics(log_of(0, 1, 0), 1) == (0, 0, 0)  # 0 log 0 is 0
    assert step_statistics([0.0, 5000.0], 1) == (0, 0, 0)
    assert step_statistics(log_of(1 / 2, 0, 1 / 2), 2) == pytest.approx((1, 1, 0), abs=1e-12)
    for size in (1, 2, 7, 32_000):
        found = step_statistics(np.full(size, 3.0), size - 1)
        assert found == pytest.approx((math.log2(size), math.log2(size), 0), abs=1e-9)


def test_step_statistics_refuse_what_is_no_step() -> None:
    with pytest.raises(ValueError, match="token 1 has probability 0"):
        step_statistics(log_of(0.5, 0, 0.5), 1)
    for row in ([0.0, math.nan], [math.nan, 1.0], [0.0, math.inf], [-math.inf, -math.inf]):
        with pytest.raises(ValueError, match="logits are numbers"):
            step_statistics(row, 0)
    for row, token in [([], 0), ([1.0, 2.0], 2), ([1.0, 2.0], -1), ([[1.0, 2.0]], 0)]:
        with pytest.raises(ValueError, match="one row of logits"):
            step_statistics(row, token)


def test_step_statistics_agree_with_the_engines() -> None:
    """The engines reduce in float32 and store float32: 5 digits."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(0, 1, (40, 1000)) * rng.uniform(0.1, 5, (40, 1))).astype(np.float32)
    rows[::7, 13] = -np.inf
    tokens = rng.integers(20, 1000, 40)
    stored = Reducer(1000).score(rows, tokens)
    found = np.array([step_statistics(row, int(token)) for row, token in zip(rows, tokens, strict=True)])
    for column, name in enumerate(["surprisal_bits", "entropy_bits", "varentropy_bits2"]):
        np.testing.assert_allclose(stored[name], found[:, column], rtol=1e-4, atol=1e-5)


# ---- totals of a generation ----


def test_stepwise_sums_do_not_always_vary_less() -> None:
    """First token A .9 or B .1, then uniform over 9 after A, nothing after B: ten sequences of probability .1.

    Each once is the whole distribution. A = log 10 always. B = H(.9, .1) + log 9 after A, H(.9, .1) after B: mean
    log 10 as well, variance .9 * .1 * log^2 9 = 0.434502. The best mix is A: A does not vary, so beta is 0.
    """
    first = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    drawn = [math.log(10)] * 10
    stepwise = [first + math.log(9)] * 9 + [first]
    found = sequence_totals(drawn, stepwise)
    assert found.monte_carlo.mean == pytest.approx(math.log(10))
    assert found.stepwise.mean == pytest.approx(math.log(10))
    assert found.monte_carlo.sd == pytest.approx(0, abs=1e-12)
    assert found.stepwise.sd**2 * 9 / 10 == pytest.approx(0.434502, abs=1e-6)
    assert found.beta == pytest.approx(0, abs=1e-9)
    assert found.mixed.mean == pytest.approx(math.log(10))
    assert found.mixed.se == pytest.approx(0, abs=1e-9)


def test_stepwise_kl_does_not_always_vary_less() -> None:
    """p: A .9, B .1, then one forced token; q: A .95, B .05, forced token .45/.95 after A, 1 after B.

    Every sequence has log ratio log 2. Stepwise K + log(.95/.45) after A and K after B, K the KL of the first step:
    mean log 2, variance .09 log^2(.95/.45) = 0.050250.
    """
    with np.errstate(divide="ignore"):
        p = np.log([[0.9, 0.1], [1, 0], [1, 0]])
        q = np.log([[0.95, 0.05], [0.45 / 0.95, 1 - 0.45 / 0.95], [1, 0]])
    first, after_a, after_b = step_divergence(p, q).kl_bits * LN2
    ratios = [math.log(0.9 / 0.95) + math.log(0.95 / 0.45)] * 9 + [math.log(0.1 / 0.05)]
    found = sequence_totals(ratios, [first + after_a] * 9 + [first + after_b])
    assert found.monte_carlo.mean == pytest.approx(LN2)
    assert found.monte_carlo.sd == pytest.approx(0, abs=1e-12)
    assert found.stepwise.mean == pytest.approx(LN2)
    assert found.stepwise.sd**2 * 9 / 10 == pytest.approx(0.050250, abs=1e-6)
    assert found.mixed.se == pytest.approx(0, abs=1e-9)


def test_beta_comes_from_the_other_folds() -> None:
    """Fold i mod 5 against a regression on the rest, written out."""
    rng = np.random.default_rng(0)
    drawn, stepwise = rng.normal(5, 2, 23), rng.normal(5, 1, 23)
    excess = drawn - stepwise
    expected = np.empty(23)
    betas = np.empty(23)
    for i in range(23):
        others = np.arange(23) % 5 != i % 5
        covariance = np.cov(drawn[others], excess[others])
        betas[i] = covariance[0, 1] / covariance[1, 1]
        expected[i] = drawn[i] - betas[i] * excess[i]
    found = sequence_totals(drawn, stepwise)
    np.testing.assert_allclose(found.mixed_sums, expected)
    assert found.beta == pytest.approx(betas.mean())
    assert found.mixed.mean == pytest.approx(expected.mean())
    assert found.mixed.se == pytest.approx(expected.std(ddof=1) / math.sqrt(23))


def test_totals_of_few_generations() -> None:
    assert math.isnan(sequence_totals([], []).monte_carlo.mean)
    nine = sequence_totals(np.arange(9.0), np.arange(9.0) * 2)
    assert nine.monte_carlo.mean == 4
    assert nine.stepwise.mean == 8
    assert math.isnan(nine.mixed.mean)
    assert math.isnan(nine.beta)
    # tokens always equally likely: surprisal is entropy, and float32 noise must not become a slope
    noisy = sequence_totals(np.arange(20.0) + 1e-7 * np.sin(np.arange(20)), np.arange(20.0))
    assert noisy.beta == 0
    with pytest.raises(ValueError, match="one sum of each kind"):
        sequence_totals([1.0, 2.0], [1.0])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="sums are finite"):
            sequence_totals([bad, 2.0], [1.0, 1.0])
        with pytest.raises(ValueError, match="sums are finite"):
            sequence_totals([1.0, 2.0], [1.0, bad])


def test_only_the_mix_changes_with_the_order_of_generations() -> None:
    rng = np.random.default_rng(0)
    drawn, stepwise = rng.normal(5, 2, 23), rng.normal(5, 1, 23)
    order = rng.permutation(23)
    found, again = sequence_totals(drawn, stepwise), sequence_totals(drawn[order], stepwise[order])
    assert again.monte_carlo == pytest.approx(found.monte_carlo)
    assert again.stepwise == pytest.approx(found.stepwise)
    assert again.mixed.mean != pytest.approx(found.mixed.mean, rel=1e-9)  # other folds
    assert again.mixed.mean == pytest.approx(found.mixed.mean, abs=found.mixed.se)


class Chain(NamedTuple):
    """A random chain: natural log-probabilities of the tokens of each context, and the context that each leads to."""

    logs: np.ndarray
    next_context: np.ndarray

    def entropies(self) -> np.ndarray:
        return -(np.exp(self.logs) * self.logs).sum(axis=1)

    def entropy_of(self, n_steps: int) -> float:
        """Exact entropy of n_steps tokens from context 0: occupancy of contexts times their entropy, step by step."""
        n = len(self.logs)
        transition = np.zeros((n, n))
        np.add.at(transition, (np.arange(n)[:, None], self.next_context), np.exp(self.logs))
        occupancy, total = np.eye(n)[0], 0.0
        for _ in range(n_steps):
            total += float(occupancy @ self.entropies())
            occupancy = occupancy @ transition
        return total

    def paths(self, probabilities: np.ndarray, n: int, n_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Contexts and tokens, shape (n, n_steps), of generations drawn with `probabilities`."""
        rng = np.random.default_rng(seed)
        cumulative = np.cumsum(probabilities, axis=1)
        contexts, tokens = np.zeros((n, n_steps), np.int64), np.empty((n, n_steps), np.int64)
        here = np.zeros(n, np.int64)
        for step in range(n_steps):
            contexts[:, step] = here
            drawn = (rng.random(n)[:, None] > cumulative[here]).sum(axis=1)
            tokens[:, step] = np.minimum(drawn, self.logs.shape[1] - 1)
            here = self.next_context[here, tokens[:, step]]
        return contexts, tokens


@pytest.fixture(scope="module")
def chain() -> Chain:
    """400 contexts, 200 tokens, logits N(0, 2.5^2)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (400, 200))
    return Chain(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), rng.integers(0, 400, (400, 200)))


def test_all_three_estimates_are_unbiased_and_the_mix_varies_least(chain: Chain) -> None:
    """4,000 generations of 64 tokens, each estimate within 4 standard errors of the exact entropy (one in 5,000)."""
    contexts, tokens = chain.paths(np.exp(chain.logs), 4000, 64, seed=1)
    found = sequence_totals(-chain.logs[contexts, tokens].sum(axis=1), chain.entropies()[contexts].sum(axis=1))
    exact = chain.entropy_of(64)
    for summary in found[:3]:
        assert abs(summary.mean - exact) < 4 * summary.se
    assert found.stepwise.sd < 0.9 * found.monte_carlo.sd
    assert found.mixed.sd < 1.01 * min(found.stepwise.sd, found.monte_carlo.sd)


def excess(chain: Chain, probabilities: np.ndarray, shift: int = 0) -> np.ndarray:
    """Surprisal minus entropy of 100 generations of 64 tokens, scored `shift` steps off."""
    contexts, tokens = chain.paths(probabilities, 100, 64 + abs(shift), seed=2)
    scored = contexts[:, max(0, shift) : 64 + max(0, shift)]
    drawn = tokens[:, max(0, -shift) : 64 + max(0, -shift)]
    return -chain.logs[scored, drawn].sum(axis=1) - chain.entropies()[scored].sum(axis=1)


def sharpened(logs: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(logs / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def truncated(logs: np.ndarray, k: int) -> np.ndarray:
    kept = np.where(logs >= np.sort(logs, axis=1)[:, [-k]], np.exp(logs), 0)
    return kept / kept.sum(axis=1, keepdims=True)


def test_self_check_passes_a_neutral_sampler_and_sees_a_hidden_one(chain: Chain) -> None:
    """A fixed seed; with a free one the first would exceed 3 in about one run of a thousand."""
    assert abs(self_check_z(excess(chain, np.exp(chain.logs)))) < 3
    assert self_check_z(excess(chain, truncated(chain.logs, 40))) < -4
    assert self_check_z(excess(chain, sharpened(chain.logs, 0.8))) < -10
    assert self_check_z(excess(chain, np.exp(chain.logs), shift=1)) > 30
    assert self_check_z(excess(chain, np.exp(chain.logs), shift=-1)) > 30


# ---- rates ----


def test_branching_factor_is_of_the_rate() -> None:
    # B = (10, 40) nats, N = (10, 20): h = 50/30, exp(h) = 5.294490; the mean of exp(1) and exp(2) is 5.053669, another
    # thing. Without one generation h is 2 or 1: jackknife se sqrt(1/2 * 2 * 0.5^2) = 0.5, t of 1 degree 12.706205:
    # exp(50/30 - 6.353102) lies below 1, where no branching factor is.
    sums = np.array([10, 40]) / LN2
    found = branching_factor(sums, [10, 20])
    assert found.value == pytest.approx(5.294490, abs=1e-6)
    assert found.low == 1
    assert found.high == pytest.approx(math.exp(50 / 30 + 12.706205 * 0.5), rel=1e-6)
    assert entropy_rate(sums, [10, 20]).se_bits * LN2 == pytest.approx(4 / 9)


def test_interval_of_the_branching_factor_by_hand() -> None:
    # B = (20, 41, 20) bits, N = (10, 20, 10): h = 81/40; without one 61/30, 40/20, 61/30: mean 182/90, deviations 1/90,
    # -2/90, 1/90; se^2 = 2/3 * 6/8100 = 1/2025, so se = 1/45; t of 2 degrees 4.302653.
    found = branching_factor([20, 41, 20], [10, 20, 10])
    assert found.value == pytest.approx(2 ** (81 / 40))
    assert found.low == pytest.approx(2 ** (81 / 40 - 4.302653 / 45), rel=1e-6)
    assert found.high == pytest.approx(2 ** (81 / 40 + 4.302653 / 45), rel=1e-6)


def test_interval_of_few_generations_covers_the_branching_factor() -> None:
    """2,000 times five generations, lengths geometric with mean 10 and rates 2 +- 0.5 bits, so h is 2 exactly.

    20,000 draws elsewhere cover 91 %; with a normal quantile and the ratio's own standard error 78 %. The standard
    error of a share of 2,000 is 0.7 %, so 88 % is 4 of them away. The seed is fixed.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for lengths in rng.geometric(0.1, (2000, 5)):
        found = branching_factor(lengths * rng.normal(2, 0.5, 5), lengths)
        covered += found.low <= 4 <= found.high
    assert 0.88 < covered / 2000 < 0.96


def test_branching_factor_at_its_ends() -> None:
    assert branching_factor([0, 0], [5, 7])[:3] == (1, 1, 1)
    assert branching_factor([5 * 3, 7 * 3], [5, 7])[:3] == (8, 8, 8)  # uniform over eight tokens
    assert branching_factor([3], [1]) == (8, None, None, 1, "one generation gives no interval")
    assert branching_factor([], []) == (None, None, None, 0, "no tokens were drawn")
    assert branching_factor([0, 0], [0, 0]).reason == "no tokens were drawn"
    alone = branching_factor([0, 6], [0, 3])
    assert alone == (4, None, None, 2, "one generation holds all tokens, which gives no interval")
    assert branching_factor([1e5, 2.0], [100, 2]).high == math.inf  # far beyond any entropy, and no overflow


def test_bits_per_byte() -> None:
    # the ratio of sums of the rate, over bytes: (10 + 40)/(10 + 20), se 0.444444
    found = bits_per_byte([10, 40], [10, 20])
    assert found.value == pytest.approx(5 / 3)
    assert found.se == pytest.approx(4 / 9)
    assert bits_per_byte([10], [5])[:3] == (2, None, 1)
    assert bits_per_byte([1, 1], [0, 0]).reason == "the texts have no bytes"
    assert bits_per_byte([], []).reason == "no generations"


def test_rate_without_tokens_is_undefined() -> None:
    for sums, lengths in [([], []), ([5.0], [0]), ([0.0, 0.0], [0, 0])]:
        assert all(math.isnan(number) for number in entropy_rate(sums, lengths))


RATES = [entropy_rate, branching_factor, bits_per_byte]


@pytest.mark.parametrize("rate", RATES)
def test_rates_need_a_sum_and_a_size_for_each_generation(rate: Callable[..., object]) -> None:
    for sums, sizes in [([5.0, 3.0, 1.0], [2]), ([5.0], [2, 3]), ([[5.0]], [[2]]), (5.0, 2)]:
        with pytest.raises(ValueError, match="one sum and one size"):
            rate(sums, sizes)
    for sums, sizes in [
        ([math.nan, 1.0], [3, 3]),
        ([-math.inf, 1.0], [3, 3]),
        ([1.0, 1.0], [3, math.nan]),
        ([1.0, 1.0], [3, math.inf]),
        ([1.0, 1.0], [3, -1]),
    ]:
        with pytest.raises(ValueError, match="sums are numbers"):
            rate(sums, sizes)


def test_only_a_divergence_is_infinite() -> None:
    """A KL per token is a rate as well, infinite where one model forbids what the other drew; no entropy is."""
    infinite = entropy_rate([math.inf, 1.0], [3, 3])
    assert infinite.bits_per_token == math.inf
    assert math.isnan(infinite.se_bits)
    for rate in (branching_factor, bits_per_byte):
        with pytest.raises(ValueError, match="is finite"):
            rate([math.inf, 1.0], [3, 3])


@pytest.mark.parametrize("rate", RATES)
def test_rates_do_not_depend_on_the_order(rate: Callable[..., tuple[float, ...]]) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, 30)
    sums, order = sizes * rng.uniform(1, 4, 30), rng.permutation(30)
    found, again = rate(sums, sizes), rate(sums[order], sizes[order])
    numbers = [at for at, part in enumerate(found) if isinstance(part, float)]
    assert len(numbers) >= 2
    assert [again[at] for at in numbers] == pytest.approx([found[at] for at in numbers], rel=1e-12)


def test_rates_do_not_drift_with_n_where_all_lengths_agree() -> None:
    """With equal lengths a rate is a mean: over all subsets of five of eight generations it is that of the eight."""
    sums = np.random.default_rng(0).uniform(0, 40, 8)
    some = [list(chosen) for chosen in itertools.combinations(range(8), 5)]
    for rate in (entropy_rate, bits_per_byte):
        assert np.mean([rate(sums[chosen], [10] * 5)[0] for chosen in some]) == pytest.approx(rate(sums, [10] * 8)[0])


# ---- curves over position ----


def test_local_and_prefix_means_by_hand() -> None:
    """Generations (4, 2, 0), (2), (0, 4): step 0 has three, mean 2; step 1 two, mean 3; step 2 one.

    Prefix means 4, 3, 2 and 2 and 0, 2: step 1 is 2.5, step 2 is 2. Standard errors sd / sqrt live: sd 2 of three, sd
    sqrt 2 of two.
    """
    generations = [[4, 2, 0], [2], [0, 4]]
    local = local_mean_curve(generations)
    np.testing.assert_allclose(local.mean, [2, 3, 0])
    np.testing.assert_allclose(local.se, [2 / math.sqrt(3), 1, math.nan])
    assert local.live.tolist() == [3, 2, 1]
    prefix = prefix_mean_curve(generations)
    np.testing.assert_allclose(prefix.mean, [2, 2.5, 2])
    assert prefix.live.tolist() == [3, 2, 1]


def test_prefix_mean_falls_more_slowly_than_the_local_one() -> None:
    falling = [8 * 0.5 ** np.arange(10)] * 3
    assert (prefix_mean_curve(falling).mean[1:] > local_mean_curve(falling).mean[1:]).all()


def test_curves_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    generations = [rng.random(length) for length in rng.integers(0, 20, 30)]
    shuffled = [generations[i] for i in rng.permutation(30)]
    for curve in (local_mean_curve, prefix_mean_curve, eos_hazard):
        for part, again in zip(curve(generations), curve(shuffled), strict=True):
            np.testing.assert_allclose(again, part, rtol=1e-12)


def test_a_local_mean_falls_by_survival_alone() -> None:
    """Nobody narrows: three of 4 bits end after two steps, three of 1 bit go on, so 2.5, 2.5, 1."""
    assert local_mean_curve([[4.0] * 2] * 3 + [[1.0] * 3] * 3).mean.tolist() == [2.5, 2.5, 1]


def test_curves_stop_where_none_is_left() -> None:
    for curve in (local_mean_curve, prefix_mean_curve, eos_hazard):
        assert [len(part) for part in curve([])] == [0, 0, 0]
        assert [len(part) for part in curve([[], []])] == [0, 0, 0]
        assert curve([[], [0.5]]).live.tolist() == [1]
    with pytest.raises(ValueError, match="one row of values"):
        local_mean_curve([[[1.0]]])


def test_hazard_of_a_constant_chance_is_that_chance_however_many_live() -> None:
    """Geometric lengths with p = 1/4: the chance at each step is 1/4, though fewer and fewer live."""
    lengths = np.random.default_rng(0).geometric(0.25, 500)
    found = eos_hazard([np.full(length, 0.25) for length in lengths])
    np.testing.assert_allclose(found.mean, 0.25)
    assert found.live[0] == 500
    assert found.live.tolist() == [int((lengths > step).sum()) for step in range(lengths.max())]
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="lie in"):
            eos_hazard([[0.5], [bad]])


# ---- two models ----

P, Q = np.log([[0.5, 0.3, 0.2]]), np.log([[0.9, 0.09999, 0.00001]])


def test_divergences_by_hand() -> None:
    """.5 log2 (.5/.9) + .3 log2 (.3/.09999) + .2 log2 20000 = 2.909076, and so on."""
    found = step_divergence(P, Q)
    assert found.kl_bits[0] == pytest.approx(2.909076, abs=1e-6)
    assert found.reverse_kl_bits[0] == pytest.approx(0.604560, abs=1e-6)
    assert found.js_bits[0] == pytest.approx(0.179476, abs=1e-6)
    back = step_divergence(Q, P)
    assert back == (found.reverse_kl_bits, found.kl_bits, pytest.approx(found.js_bits))


def test_divergence_of_equal_and_of_disjoint_rows() -> None:
    with np.errstate(divide="ignore"):
        one, other, both = np.log([[1, 0, 0]]), np.log([[0, 1, 0]]), np.log([[0.5, 0.5, 0]])
    assert step_divergence(P, P) == (0, 0, 0)
    assert step_divergence(one, one) == (0, 0, 0)
    assert step_divergence(one, other) == (math.inf, math.inf, pytest.approx(1))
    assert step_divergence(one, both) == (pytest.approx(1), math.inf, pytest.approx(0.311278, abs=1e-6))


def test_divergence_takes_many_steps_and_no_logits() -> None:
    rng = np.random.default_rng(0)
    p, q = (np.log(rng.dirichlet(np.ones(50), 7)) for _ in range(2))
    found = step_divergence(p, q)
    np.testing.assert_allclose(found.kl_bits, (np.exp(p) * (p - q)).sum(axis=1) / LN2)
    assert (found.js_bits <= 1).all()
    assert (found.kl_bits > 0).all()
    with pytest.raises(ValueError, match="not logits"):
        step_divergence(p + 1, q)
    with pytest.raises(ValueError, match="same vocabulary"):
        step_divergence(P, p)
    with pytest.raises(ValueError, match="same vocabulary"):
        blocked_mass(P, p)


def test_blocked_mass_by_hand() -> None:
    # only the third token, .2 of the base, is below 1e-4 in the aligned row; below .1 also the second; below 1 all
    assert blocked_mass(P, Q)[0, 0] == pytest.approx(0.2)
    np.testing.assert_allclose(blocked_mass(P, Q, [1e-6, 1e-4, 0.1, 1])[:, 0], [0, 0.2, 0.5, 1])
    assert blocked_mass(P, P)[0, 0] == 0
    assert blocked_mass(Q, Q)[0, 0] == pytest.approx(1e-5)  # equal models: small, not 0
    with pytest.raises(ValueError, match="thresholds"):
        blocked_mass(P, Q, [0.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_two_models_refuse_what_is_no_probability(bad: float) -> None:
    """A row of nan is not "nothing blocked"; one bad row among good ones suffices."""
    for row in ([bad, -1.0, -1.0], [-1.0, bad, math.log(0.5)], [bad] * 3, [-math.inf, bad, -math.inf]):
        good, wrong = np.vstack([P, P]), np.vstack([P, [row]])
        for measure in (step_divergence, blocked_mass):
            with pytest.raises(ValueError, match="none is nan"):
                measure(good, wrong)
            with pytest.raises(ValueError, match="none is nan"):
                measure(wrong, good)


def test_minus_infinity_is_probability_zero() -> None:
    forbids = log_of(0.5, 0.5, 0)[None]
    assert blocked_mass(P, forbids)[0, 0] == pytest.approx(0.2)
    assert blocked_mass(forbids, P)[0, 0] == 0
    assert step_divergence(P, forbids).kl_bits[0] == math.inf
    with pytest.raises(ValueError, match="not logits"):  # nothing possible at all
        blocked_mass(P, [[-math.inf] * 3])
    with pytest.raises(ValueError, match="not logits"):
        blocked_mass(P, [[800.0, 0.0, 0.0]])  # exp of it is infinite


def test_blocked_mass_grows_with_the_threshold() -> None:
    rng = np.random.default_rng(1)
    p, q = (np.log(rng.dirichlet(np.full(100, 0.3), 9)) for _ in range(2))
    curve = blocked_mass(p, q, [1e-6, 1e-4, 1e-2, 0.5])
    assert curve.shape == (4, 9)
    assert (np.diff(curve, axis=0) >= 0).all()


# ---- only the likeliest tokens known ----


def test_raw_top_five_reverses_the_order_of_temperatures() -> None:
    """Logits N(0, 3^2) / T, V = 32,000; means of 1,000 draws elsewhere (standard error at most 0.045), 100 here.

    Four of both errors is 4 * 0.045 * sqrt 11 = 0.6 at most, for the one that varies most; 0.3 for the mass and the
    top-5 numbers, whose errors are below half of it.
    """
    logits = np.random.default_rng(0).normal(0, 3, (100, 32_000))
    raws, fulls = [], []
    for temperature, full, mass, raw, renormalized in [
        (0.25, 1.07, 0.98, 0.88, 0.89),
        (0.5, 2.97, 0.79, 1.38, 1.51),
        (1.0, 8.80, 0.24, 0.90, 2.00),
        (1.5, 12.08, 0.05, 0.33, 2.17),
    ]:
        scaled = logits / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        top = top_entropy(-np.partition(logs, -5, axis=1)[:, -5:] / LN2)
        fulls.append(-(np.exp(logs) * logs).sum(axis=1).mean() / LN2)
        raws.append(top.raw_bits.mean())
        assert fulls[-1] == pytest.approx(full, abs=0.6)
        assert top.mass.mean() == pytest.approx(mass, abs=0.1)
        assert raws[-1] == pytest.approx(raw, abs=0.3)
        assert top.renormalized_bits.mean() == pytest.approx(renormalized, abs=0.3)
    assert fulls == sorted(fulls)
    assert raws[1] > raws[2] > raws[3]


@pytest.mark.parametrize(
    "row", [[math.inf] * 5, [-math.inf] * 5, [1.0, math.nan, 3, 4, 5], [-1.0, 2, 3, 4, 5], [1.0, -math.inf, 3, 4, 5]]
)
def test_likeliest_tokens_are_some_and_have_probabilities(row: list[float]) -> None:
    good = [1.0, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="not the likeliest tokens"):
        top_entropy([good, row])
    with pytest.raises(ValueError, match=r"not the likeliest tokens|at least one token"):
        top_k_bounds([good, row], 32_000)
    assert top_entropy(np.empty((0, 5))).mass.shape == (0,)


def test_top_entropies_never_exceed_the_whole() -> None:
    """Both: the five rescaled majorize the whole distribution."""
    rng = np.random.default_rng(0)
    for sharpness in (0.05, 0.3, 1, 10):
        p = np.maximum(rng.dirichlet(np.full(50, sharpness), 100), 1e-300)
        whole = -(p * np.log2(p)).sum(axis=1)
        raw, renormalized, _ = top_entropy(-np.log2(-np.sort(-p, axis=1)[:, :5]))
        assert (raw <= whole + 1e-9).all()
        assert (renormalized <= whole + 1e-9).all()


def test_bounds_by_hand() -> None:
    # .5, .2, .1, .05, .05 of 32,000: raw 1.728771; rest .1 = two tokens of .05: + .1 log2 20 = 2.160964 at both lower
    # ends; evenly over 31,995: + .1 log2 319,950 = 3.557520.
    known = -np.log2([[0.5, 0.2, 0.1, 0.05, 0.05]])
    assert top_entropy(known).raw_bits[0] == pytest.approx(1.728771, abs=1e-6)
    assert top_entropy(known).renormalized_bits[0] == pytest.approx(1.768854, abs=1e-6)
    low, sharp, high = top_k_bounds(known, 32_000)
    assert low[0] == pytest.approx(2.160964, abs=1e-6)
    assert sharp[0] == pytest.approx(2.160964, abs=1e-6)
    assert high[0] == pytest.approx(3.557520, abs=1e-6)
    # rest .12, least .05: .12 log2 20 = 0.518631; two of .05 and one of .02: .1 log2 20 + .02 log2 50 = 0.545070
    known = -np.log2([[0.5, 0.23, 0.1, 0.05]])
    top = top_entropy(known).raw_bits[0]
    low, sharp, high = top_k_bounds(known, 100)
    assert low[0] - top == pytest.approx(0.518631, abs=1e-6)
    assert sharp[0] - top == pytest.approx(0.545070, abs=1e-6)


def test_bounds_hold_for_any_distribution() -> None:
    """3,000 distributions of 6 to 60 tokens, from even to one-sided ones, five tokens known."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        size = int(rng.integers(6, 61))
        p = np.maximum(rng.dirichlet(np.full(size, 10 ** rng.uniform(-1.5, 1.5)), 10), 1e-300)
        entropies = -(p * np.log2(p)).sum(axis=1)
        low, sharp, high = top_k_bounds(-np.log2(-np.sort(-p, axis=1)[:, :5]), size)
        assert (low <= sharp + 1e-9).all()
        assert (sharp <= entropies + 1e-9).all()
        assert (entropies <= high + 1e-9).all()


def test_bounds_are_reached() -> None:
    # four of .2 known, .2 left: one token of .2 is the sharp lower end, evenly over four the upper one
    known = -np.log2([[0.2] * 4])
    top = 0.8 * math.log2(5)
    low, sharp, high = top_k_bounds(known, 8)
    assert sharp[0] == pytest.approx(math.log2(5))
    assert low[0] == pytest.approx(math.log2(5))
    assert high[0] == pytest.approx(top + 0.2 * math.log2(4 / 0.2))


def test_bounds_of_a_whole_vocabulary_meet() -> None:
    with np.errstate(divide="ignore"):
        known = -np.log2([[0.5, 0.25, 0.25, 0, 0], [1, 0, 0, 0, 0]])
    low, sharp, high = top_k_bounds(known[:1], 3)
    assert low[0] == sharp[0] == high[0] == pytest.approx(1.5)
    low, sharp, high = top_k_bounds(known[1:], 32_000)
    assert low[0] == sharp[0] == high[0] == 0


def test_bounds_refuse_what_is_no_distribution() -> None:
    with pytest.raises(ValueError, match="not the likeliest tokens"):
        top_k_bounds(-np.log2([[0.9, 0.9]]), 100)
    with pytest.raises(ValueError, match="not the likeliest tokens"):
        top_k_bounds(-np.log2([[0.2, 0.2]]), 3)  # the third would hold .6, more than the least known
    with pytest.raises(ValueError, match="at least one token"):
        top_k_bounds([[0.5, 2.0]], 1)


# ---- all of them ----

TEXTS = [
    "I can’t believe how good this is! Works as described, 10/10.",
    "I can't believe how bad this is. Broke after 2 days — don't buy it.",
    "Très bien, merci. Works as described, and my wife loves it.",
    "It's OK.",
]


class Scored(NamedTuple):
    """One text, byte by byte, under bigrams of all of them with half a count added; its end is a token, too."""

    rows: np.ndarray  # natural log-probabilities, shape (tokens, 257)
    tokens: list[int]
    n_bytes: int


def scored(weight: float) -> list[Scored]:
    counts = np.full((257, 257), 0.5)
    texts = [[*text.encode(), 256] for text in TEXTS]
    for tokens in texts:
        np.add.at(counts, ([256, *tokens[:-1]], tokens), weight)
    table = np.log(counts / counts.sum(axis=1, keepdims=True))
    return [Scored(table[[256, *tokens[:-1]]], tokens, len(tokens) - 1) for tokens in texts]


BASE, ALIGNED = scored(1), scored(20)
STEPS = [[step_statistics(row, token) for row, token in zip(text.rows, text.tokens, strict=True)] for text in BASE]
ENTROPIES = [[step.entropy_bits for step in steps] for steps in STEPS]
SUMS, LENGTHS = [sum(values) for values in ENTROPIES], [len(values) for values in ENTROPIES]
DRAWN = [sum(step.surprisal_bits for step in steps) for steps in STEPS]
TOP = [-np.sort(-text.rows, axis=1)[:, :5] / -LN2 for text in BASE]

ON_REAL_TEXT: dict[str, Callable[[], object]] = {
    "step_statistics": lambda: STEPS[0][0],
    "top_entropy": lambda: top_entropy(TOP[0]),
    "entropy_rate": lambda: entropy_rate(SUMS, LENGTHS),
    "branching_factor": lambda: branching_factor(SUMS, LENGTHS)[:4],
    "bits_per_byte": lambda: bits_per_byte(SUMS, [text.n_bytes for text in BASE])[:3],
    "sequence_totals": lambda: sequence_totals(DRAWN * 3, SUMS * 3)[:3],
    "local_mean_curve": lambda: local_mean_curve(ENTROPIES * 2),
    "prefix_mean_curve": lambda: prefix_mean_curve(ENTROPIES * 2),
    "eos_hazard": lambda: eos_hazard([np.exp(text.rows[:, 256]) for text in BASE] * 2),
    "step_divergence": lambda: step_divergence(BASE[0].rows, ALIGNED[0].rows),
    "blocked_mass": lambda: [blocked_mass(BASE[0].rows, ALIGNED[0].rows)],
    "top_k_bounds": lambda: top_k_bounds(TOP[0], 257),
}


def test_every_public_function_is_called_on_real_text() -> None:
    functions = inspect.getmembers(entropy, inspect.isfunction)
    public = {name for name, one in functions if one.__module__ == entropy.__name__ and not name.startswith("_")}
    assert set(ON_REAL_TEXT) == public


@pytest.mark.parametrize("name", ON_REAL_TEXT)
def test_real_text_gives_numbers(name: str) -> None:
    for part in ON_REAL_TEXT[name]():
        assert np.isfinite(np.asarray(part, np.float64)).all()
        assert (np.asarray(part) >= 0).all()


def test_numbers_of_real_text_fit_together() -> None:
    rate = entropy_rate(SUMS, LENGTHS)
    assert 0 < rate.bits_per_token < math.log2(257)
    assert branching_factor(SUMS, LENGTHS).value == pytest.approx(2**rate.bits_per_token)
    for text, values, top in zip(BASE, ENTROPIES, TOP, strict=True):
        low, _, high = top_k_bounds(top, 257)
        assert (low <= np.array(values) + 1e-9).all()
        assert (high >= np.array(values) - 1e-9).all()
        assert text.n_bytes == len(values) - 1
