"""Orders that share beginnings, the curve of surprise and its parts, by hand and against all orders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llama_diversity.metrics.decan import balanced_orders, decan, progressive_surprise, share_of_orders


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n", "n_sets", "m"), [(2, 13, 2), (3, 5, 6), (4, 7, 4), (5, 4, 8), (10, 2, 16)])
def test_sets_are_enough_and_every_answer_is_last_equally_often(n: int, n_sets: int, m: int) -> None:
    """Five answers: halves of 2 and 3, so 2! + 3! = 8 orders, of weight 1 and 1/2!: each answer last with weight 1."""
    orders, weights = balanced_orders(n, 25, chance())
    assert orders.shape == (n_sets, m, n)
    assert (np.sort(orders, axis=2) == np.arange(n)).all()
    for one in orders:
        assert np.bincount(one[:, -1], weights, minlength=n) == pytest.approx(np.full(n, 1 / n))
    assert (balanced_orders(n, 1, chance()).orders == orders[:2]).all()  # two at least, and more begin alike


def test_ten_answers_are_read_from_58_beginnings() -> None:
    """A half of five before the other: 5 + (2 + 3 + 6 + 6) + (3 + 2 + 2) = 29 answers, twice."""
    [first, second], _ = balanced_orders(10, 25, chance())
    beginnings = {tuple(order[:k]) for order in first for k in range(1, 11)}
    assert len(beginnings) == 58
    assert (first != second).any()


def test_every_order_is_uniform_in_law() -> None:
    """Four answers, 6,000 sets: at each of their places each of the 24 orders with 250 -+ 5 standard deviations."""
    orders = balanced_orders(4, 4 * 6000, chance(1)).orders
    for at in range(4):
        _, counts = np.unique(orders[:, at], axis=0, return_counts=True)
        assert len(counts) == 24
        assert np.abs(counts - 250).max() < 5 * math.sqrt(250)


def code(answer: int, before: frozenset[int], last: int | None) -> float:
    """Bits per byte of a made-up scorer: what is likest an answer helps, and more so where it was read last."""
    gain = sum(1 / (1 + abs(answer - other)) for other in before) / 5 + (0.1 * (last == answer - 1))
    return 3 + answer / 2 - gain


def codes_of(orders: np.ndarray) -> np.ndarray:
    def read(order: list[int]) -> list[float]:
        return [code(answer, frozenset(order[:k]), order[k - 1] if k else None) for k, answer in enumerate(order)]

    return np.array([[read(order.tolist()) for order in one] for one in orders])


def test_the_curve_has_the_mean_of_all_orders() -> None:
    """Five answers, all 120 orders: their plain average, hit by the mean of 3,000 sets within 5 standard errors."""
    every = np.array([list(itertools.permutations(range(5)))])
    truth = codes_of(every)[0].mean(axis=0)
    alone = np.array([code(answer, frozenset(), None) for answer in range(5)])
    assert progressive_surprise(alone, every, codes_of(every), np.full(120, 1 / 120))[0] == pytest.approx(truth)
    orders, weights = balanced_orders(5, 8 * 3000, chance(2))
    codes = codes_of(orders)
    curves = progressive_surprise(alone, orders, codes, weights)
    assert curves[:, 0] == pytest.approx(np.full(3000, alone.mean()))
    errors = curves.std(axis=0, ddof=1) / math.sqrt(3000)
    assert (np.abs(curves.mean(axis=0) - truth)[1:] < 5 * errors[1:]).all()
    assert curves[:, -1] == pytest.approx(codes[:, :, -1] @ weights)  # the plain average at the end
    independent = codes[:, 0, -1].var(ddof=1)  # one order of each set
    assert curves[:, -1].var(ddof=1) < independent / 100


def test_equal_answers_that_are_copied_fall_to_nothing() -> None:
    orders, weights = balanced_orders(3, 6, chance())
    codes = np.where(np.arange(3) == 0, 2.0, 0.0) * np.ones(orders.shape)
    curves = progressive_surprise([2, 2, 2], orders, codes, weights)
    assert curves == pytest.approx(np.array([[2, 0, 0]] * 2), abs=1e-12)


def test_the_product_hides_what_its_parts_say() -> None:
    """a_n of 1 bit behind 1 bit alone is D = 1/2; so is 2 bits behind 2, of texts twice as surprising: 2 * 2^-2."""
    assert decan([1.0, 1.0], 1.0) == (0.5, 1.0, 0.5)
    assert decan([2.0, 2.0], 2.0) == (0.25, 2.0, 0.5)
    largest = 1 / math.log(2)
    assert decan([largest], largest).d == pytest.approx(math.log2(math.e) / math.e)
    assert max(decan([a], a).d for a in np.arange(0.1, 5, 0.1)) <= decan([largest], largest).d


def test_share_of_orders_at_its_ends() -> None:
    assert share_of_orders([[1, 1], [3, 3]]) == 0
    assert share_of_orders([[1, 3], [3, 1], [0, 4.5]]) == 1  # means of 2, 2, 2.25: less than the orders alone explain
    assert math.isnan(share_of_orders([[1, 2]]))
    assert math.isnan(share_of_orders([[1], [2]]))
    assert math.isnan(share_of_orders([[2, 2], [2, 2]]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="two answers or more"):
        balanced_orders(1, 5, chance())
    with pytest.raises(ValueError, match="and a weight"):
        progressive_surprise([1, 2, 3], [[[0, 1]]], [[[1, 1]]], [1])
