"""What usable outputs cost and how many different ones there are, on hand-derived values and at their ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llama_diversity.errors import BadValue
from llama_diversity.metrics.indices import clip_similarity, leinster_cobbold, numbers_equivalent
from llama_diversity.metrics.inference import wilson
from llama_diversity.metrics.price import (
    Bounded,
    effective_kinds,
    effective_texts,
    outputs_needed,
    tokens_for_next,
    tokens_per_usable,
)
from llama_diversity.metrics.stated import stated_probabilities


def within(found: Bounded) -> bool:
    return found.value is not None and (found.low or 0) < found.value < (found.high or 0)


# ---- tokens ----


def test_tokens_per_usable() -> None:
    # 30 + 50 + 40 = 120 tokens of 2; of calls, 4 of 3 calls
    assert tokens_per_usable([30, 50, 40], [1, 0, 1]).value == 60
    assert tokens_per_usable([30, 50, 40], [1, 0, 3]).value == 30
    many = tokens_per_usable([100] * 100, [1, 0] * 50)
    assert within(many)
    # log scale: the jackknife's error of 200 is 20.1, so about exp(-+1.97 * .1005)
    assert many.low == pytest.approx(200 * math.exp(-1.98 * 0.1005), rel=0.02)


def test_tokens_per_usable_where_few_are_useless() -> None:
    """4 of 4: Wilson's lower end 1 / (1 + z^2 / 4). 3 of 4 of 10, the other of 40: 10 + 40 / 3."""
    all_usable = tokens_per_usable([10] * 4, [1] * 4)
    assert all_usable[:3] == pytest.approx((10, 10, 10 * (1 + 1.959964**2 / 4)))
    low, high = wilson(3, 4)[1:3]
    found = tokens_per_usable([10, 10, 40, 10], [1, 1, 0, 1])
    assert found[:3] == pytest.approx((70 / 3, 10 + 40 * (1 - high) / high, 10 + 40 * (1 - low) / low))


def test_tokens_per_usable_of_none_and_one() -> None:
    assert tokens_per_usable([], []) == (None, None, None, 0, "no outputs")
    none = tokens_per_usable([100, 100], [0, 0])
    assert none.value == none.high == math.inf
    assert none.low == pytest.approx(100 / (1 - math.sqrt(0.05)))
    one = tokens_per_usable([100, 100], [0, 1])  # the rate of 1 of 2: from .012579 to .987421
    assert one[:3] == pytest.approx((200, 100 / 0.987421, 100 / 0.012579), rel=1e-4)
    with pytest.raises(ValueError, match="none negative"):
        tokens_per_usable([1, 2], [1, -1])


def test_tokens_for_the_next_one() -> None:
    kinds = ["a", "a", "b", "c", "d", None, "e", "e", "e", "f"]
    found = tokens_for_next(np.full(10, 20), kinds)
    assert found.value == 200 / 4  # b, c, d, f
    assert found.value == pytest.approx(20 / (9 / 10 * 4 / 9))
    assert within(found)


def test_a_call_that_repeats_another_makes_its_kinds_new_when_left_out() -> None:
    # calls (a, b), (a, c), (d, d): f1 of b, c is 2; without the first a and c,
    # without the second a and b, without the third b and c: always 2
    kinds, units = ["a", "b", "a", "c", "d", "d"], [0, 0, 1, 1, 2, 2]
    found = tokens_for_next([10, 20, 30], kinds, units)
    assert found.value == 30
    # left out: 50/2, 40/2, 30/2; mean 20, squares 50; se sqrt(2/3 * 50) = 5.7735 of 30
    assert found.n == 3
    assert found.low == pytest.approx(30 * math.exp(-4.302653 * 5.773503 / 30))  # t of 2 degrees
    assert within(found)


def test_the_next_one_where_nothing_new_or_only_new_was_seen() -> None:
    # 30 kinds once and 5 twice: f1 is one less without any of 30 outputs, one more without any of 10
    often = tokens_for_next([10] * 40, [*range(30), *range(30, 35), *range(30, 35)])
    assert often.high == pytest.approx(400 / (30 - 1.96 * math.sqrt(40 - (10 - 30) ** 2 / 40)), rel=0.02)
    few = tokens_for_next([10] * 10, [0, 1, *[2, 3, 4, 5] * 2])  # 2 < 1.96 sqrt(10 - (8 - 2)^2 / 10)
    assert (few.value, few.high) == (50, math.inf)
    assert tokens_for_next([10] * 3, list("aab")).high == math.inf
    nothing = tokens_for_next([10] * 4, ["a", "a", "b", "b"])
    assert nothing.value == nothing.high == math.inf
    assert nothing.low == pytest.approx(10 / (1 - 0.05**0.25))
    assert nothing.reason == "no kind was seen once"
    assert tokens_for_next([10] * 2, [None, None]).value == math.inf
    assert tokens_for_next([], []).reason == "no outputs"
    fresh = tokens_for_next(np.full(60, 10), list(range(60)))
    assert fresh.value == 10
    assert fresh.high == pytest.approx(10 / (1 - 2 * math.log(20) / 60))  # no spread but that
    assert tokens_for_next([10] * 4, list("abcd")).high == math.inf
    with pytest.raises(ValueError, match="a kind and a unit"):
        tokens_for_next([10], ["a", "b"])


# ---- outputs ----


def test_outputs_needed_by_hand() -> None:
    assert outputs_needed([20], 100, [7]).value == pytest.approx(35)  # 7 / 0.2
    # three cells of 1/4, one of each: 4 (1 + 1/2 + 1/3)
    assert outputs_needed([25, 25, 25], 100, [1, 1, 1]).value == pytest.approx(22 / 3)
    # 1/2 and 1/4: 1/r1 + 1/r2 - 1/(r1 + r2) = 2 + 4 - 4/3
    assert outputs_needed([50, 25, 3], 100, [1, 1, 0]).value == pytest.approx(14 / 3)
    assert outputs_needed([5, 5], 10, [0, 0])[:3] == (0, 0, 0)


def test_outputs_needed_are_the_mean_of_draws() -> None:
    generator = np.random.default_rng(0)
    rates, quotas = np.array([0.3, 0.2, 0.1]), np.array([6, 3, 2])
    drawn = generator.choice(4, (4000, 200), p=[*rates, 0.4])
    filled = np.stack([np.cumsum(drawn == cell, axis=1) >= quota for cell, quota in enumerate(quotas)]).all(axis=0)
    outputs = filled.argmax(axis=1) + 1
    expected = outputs_needed([300, 200, 100], 1000, quotas)
    assert abs(outputs.mean() - (expected.value or 0)) < 4 * outputs.std() / math.sqrt(4000)
    assert within(expected)


def test_outputs_needed_for_cells_hardly_seen() -> None:
    never = outputs_needed([50, 0], 100, [5, 5])
    assert never.value == never.high == math.inf
    assert never.low == pytest.approx(5 / 0.029513, rel=1e-4)  # the rate is at most that
    assert never.reason == "a cell was never seen"
    once = outputs_needed([50, 1], 100, [5, 5])
    assert once.value == pytest.approx(500, abs=1)
    # 1 of 100: .000253 to .054459
    assert (once.low, once.high) == pytest.approx((500 * 0.01 / 0.054459, 500 * 0.01 / 0.000253), rel=2e-3)
    assert outputs_needed([0], 0, [3]).reason == "no outputs"
    with pytest.raises(ValueError, match="a quota"):
        outputs_needed([1, 2], 10, [1])


def test_calls_that_agree_are_fewer_witnesses() -> None:
    """The same counts: each call gives 5 of a cell or none."""
    calls = np.array([[5, 0], [0, 5]] * 20)
    of_calls = outputs_needed(calls, np.full(40, 5), [20, 5])
    single = outputs_needed(calls.sum(axis=0), 200, [20, 5])
    assert of_calls.value == pytest.approx(single.value)
    assert (of_calls.high or 0) - (of_calls.low or 0) > 1.5 * ((single.high or 0) - (single.low or 0))


# ---- how many different ones ----


def test_effective_kinds_are_what_m_of_them_show() -> None:
    # the mean over all pairs of sum p^2 is 1/2 + D/2, and Hill 2 of that mean
    counts = [3, 2, 1]
    labels = np.repeat(np.arange(3), counts)
    pairs = [(labels[i], labels[j]) for i in range(6) for j in range(i)]
    mean = np.mean([1 / numbers_equivalent([1.0] if a == b else [0.5, 0.5], 2) for a, b in pairs])
    assert effective_kinds(counts, 2).value == pytest.approx(1 / mean)
    assert effective_kinds(counts, 6).value == pytest.approx(numbers_equivalent(np.array(counts) / 6, 2))


def test_effective_kinds_at_their_ends() -> None:
    one = effective_kinds([50], 20)
    assert (one.value, one.low) == (1, 1)
    assert one.high == pytest.approx(1 / (0.05 + 0.95 * 0.05 ** (2 / 50)))
    distinct = effective_kinds([1] * 50, 20)
    assert (distinct.value, distinct.high) == (20, 20)
    assert distinct.low == pytest.approx(1 / (0.05 + 0.95 * (4.744 / 50) ** 2))
    even = effective_kinds([25, 25], 50)  # no output changes anything: D = 24 / 49, and up to z^2 / 50 more of it
    assert even.value == pytest.approx(2)
    assert even.low == pytest.approx(1 / (1 / 50 + 49 / 50 * 24 / 49 * (1 + 1.959964**2 / 50)))
    assert effective_kinds([1], 5).reason == "fewer than two outputs"
    with pytest.raises(BadValue, match="m is 0"):
        effective_kinds([1, 2], 0)


def test_effective_kinds_of_calls() -> None:
    """By call the same value; calls of one kind each are the units, and know less."""
    calls = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4], [4, 0, 0], [0, 4, 0], [4, 0, 0]])
    of_calls, single = effective_kinds(calls, 10), effective_kinds(calls.sum(axis=0), 10)
    assert of_calls.value == single.value
    assert (of_calls.n, single.n) == (6, 24)
    assert (of_calls.high or 0) - (of_calls.low or 0) > (single.high or 0) - (single.low or 0)


def test_effective_texts_are_leinster_cobbold_at_all_of_them() -> None:
    rows = np.random.default_rng(0).normal(size=(700, 6))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = effective_texts(units.astype(np.float32), 700)
    expected = leinster_cobbold(np.ones(700), clip_similarity(units @ units.T).similarity, 2)
    assert found.value == pytest.approx(expected.value, rel=1e-5)
    assert within(found)
    assert effective_texts(np.eye(3)[[0, 0, 0]], 3).value == pytest.approx(1)
    assert effective_texts(np.eye(3), 3).value == pytest.approx(3)
    assert effective_texts(np.zeros((4, 2)), 3).reason == "fewer than two texts with a vector"


# ---- stated probabilities ----


def test_stated_probabilities_that_are_true() -> None:
    exact = np.log([0.5, 0.2, 0.1, 0.05, 0.02, 0.01])
    true = stated_probabilities(np.exp(exact) / 2, exact)
    assert (true.rank_correlation.value, true.slope.value) == pytest.approx((1, 1))
    flat = stated_probabilities(np.exp(exact / 4), exact)
    assert (flat.rank_correlation.value, flat.slope.value) == pytest.approx((1, 0.25))
    wrong = stated_probabilities(np.exp(-8 - exact), exact)
    assert (wrong.rank_correlation.value, wrong.slope.value) == pytest.approx((-1, -1))


def test_stated_probabilities_with_ties() -> None:
    # ranks 1.5 1.5 3.5 3.5 5 and 1 2 3 4 5: covariance 9, squares 9 and 10
    found = stated_probabilities([0.1, 0.1, 0.2, 0.2, 0.4], [-9, -8, -7, -6, -5])
    assert found.rank_correlation.value == pytest.approx(9 / math.sqrt(90))


def test_stated_probabilities_that_say_too_little() -> None:
    few = stated_probabilities([0.1, 0.0, 0.2, 0.3, 1.5, math.nan], [-1, -2, -3, -4, -5, -6])
    assert (few.n, few.rank_correlation.value) == (3, None)
    assert few.reason == "3 stated probabilities are fewer than 5"
    alike = stated_probabilities([0.1] * 6, [-1, -2, -3, -4, -5, -6])
    assert alike.rank_correlation.value is None
    assert alike.slope.value == 0
    by_call = stated_probabilities([0.1, 0.2, 0.3, 0.2, 0.1, 0.3], [-5, -4, -3, -4, -5, -3], list("aaabbb"))
    assert by_call.rank_correlation.n == 2
