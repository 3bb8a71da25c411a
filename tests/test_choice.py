"""Quotas, rows far apart and near duplicates: hand-derived values, the slow definitions, batches."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from llama_diversity.errors import BadValue
from llama_diversity.metrics.choice import Kept, balanced_quotas, far_apart, quotas


def at_angles(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def clouds(n: int, d: int, seed: int, spread: float = 0.35) -> np.ndarray:
    """Rows of length 1 around n / 8 centres, so that many pairs lie near the cut."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(max(1, n // 8), d))
    rows = centres[generator.integers(len(centres), size=n)] + spread * generator.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_kept(rows: np.ndarray, cut: float) -> list[int | None]:
    """One comparison after the other, in float64."""
    kept: list[int] = []
    found: list[int | None] = []
    for at, row in enumerate(rows.astype(np.float64)):
        near = next((one for one in kept if float(np.dot(row, rows[one].astype(np.float64))) >= cut), None)
        if near is None:
            kept.append(at)
        found.append(near)
    return found


# ---- quotas ----


@pytest.mark.parametrize(
    ("shares", "n", "expected"),
    [
        ([0.19, 0.26, 0.34, 0.21], 50, [10, 13, 17, 10]),  # 9.5 13 17 10.5: the tie of halves goes to the first
        ([0.19, 0.26, 0.34, 0.21], 500, [95, 130, 170, 105]),
        ([0.29, 0.71], 100, [29, 71]),  # 0.29 * 100 is 28.999999999999996 in float64
        ([1 / 3, 1 / 3, 1 / 3], 5, [2, 2, 1]),
        ([0.15, 0.35, 0.5], 10, [2, 3, 5]),  # 1.5 and 3.5
        ([0.0, 1.0], 3, [0, 3]),
        ([0.5, 0.5], 0, [0, 0]),
    ],
)
def test_quotas_by_largest_remainder(shares: list[float], n: int, expected: list[int]) -> None:
    assert quotas(shares, n).tolist() == expected


def test_quotas_sum_and_stay_within_one() -> None:
    generator = np.random.default_rng(0)
    for n in range(1, 200):
        shares = generator.dirichlet(np.ones(n % 9 + 1))
        found = quotas(shares, n)
        assert found.sum() == n
        assert (np.abs(found - n * shares) < 1).all()


def test_quotas_refuse_what_is_no_share() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        quotas([0.5, 0.6], 3)
    with pytest.raises(BadValue, match="n is -1"):
        quotas([1.0], -1)


def dealt(shares: list[list[float]], n: int) -> tuple[list[list[int]], int]:
    """Of independent fields: how many of n each value of each field gets, and the most that one cell gets."""
    codes = np.array(list(itertools.product(*(range(len(one)) for one in shares))))
    of_cells = np.array([np.prod(one) for one in itertools.product(*shares)])
    found = balanced_quotas(of_cells, codes, n, random.Random(0).random)
    assert found.sum() == n
    assert (np.abs(found - n * of_cells) < 1).all()
    return [np.bincount(codes[:, at], found).tolist() for at in range(len(shares))], int(found.max())


def test_every_field_has_its_shares_where_there_are_more_cells_than_people() -> None:
    half = [0.5, 0.5]
    assert dealt([half] * 7, 8) == ([[4, 4]] * 7, 1)  # every 16th of 128 cells has the same last four values
    assert dealt([half, [0.25] * 4, [0.25] * 4], 48) == ([[24, 24], [12] * 4, [12] * 4], 2)  # not the first 16 twice
    shares = [[1 / k] * k for k in (3, 4, 5, 5, 10)]  # 3,000 cells: every 60th has the same last value
    counts, most = dealt(shares, 50)
    assert most == 1
    assert all(
        abs(n - 50 * q) <= 2 for some, of in zip(counts, shares, strict=True) for n, q in zip(some, of, strict=True)
    )


def test_two_fields_come_together_as_often_as_their_shares_say() -> None:
    codes = np.array(list(itertools.product(range(2), repeat=6)))
    found = balanced_quotas([1 / 64] * 64, codes, 16, random.Random(1).random)
    for a, b in itertools.combinations(range(6), 2):
        pairs = np.bincount(2 * codes[:, a] + codes[:, b], found, 4)
        assert (np.abs(pairs - 4) <= 1).all()


def test_one_field_is_dealt_by_largest_remainders() -> None:
    found = balanced_quotas([0.5, 0.25, 0.25], [[0], [1], [2]], 7, random.Random(0).random)
    assert found.tolist() == [3, 2, 2]
    with pytest.raises(ValueError, match="a code of each field"):
        balanced_quotas([0.5, 0.5], [[0]], 7, random.Random(0).random)


# ---- far apart ----


def test_rows_far_apart_by_hand() -> None:
    # from 0: 180 is the furthest; 90 is 90 from both, 45 only 45
    assert far_apart(at_angles(0, 45, 90, 180), 4).tolist() == [0, 3, 2, 1]
    assert far_apart(at_angles(0, 90, -90, 45), 3).tolist() == [0, 1, 2]  # 90 and -90 tie
    assert far_apart(at_angles(0, 0, 0), 2).tolist() == [0, 1]  # all alike: by index
    assert far_apart(at_angles(0, 10), 5).tolist() == [0, 1]
    assert far_apart(at_angles(0, 10), 0).tolist() == far_apart(np.zeros((0, 2)), 3).tolist() == []


def test_a_choice_is_the_beginning_of_a_larger_one_and_the_slow_one() -> None:
    rows = clouds(300, 16, 1)
    found = far_apart(rows, 40).tolist()
    assert far_apart(rows, 12).tolist() == found[:12]
    distances = np.round(1 - rows.astype(np.float64) @ rows.T.astype(np.float64), 6)
    chosen = [0]
    while len(chosen) < 40:
        nearest = distances[:, chosen].min(axis=1)
        nearest[chosen] = -1
        chosen.append(int(np.argmax(nearest)))
    assert found == chosen


def test_chosen_rows_lie_further_apart_than_any() -> None:
    rows = clouds(400, 8, 2)
    chosen = rows[far_apart(rows, 30)]
    cosines = chosen @ chosen.T - 2 * np.eye(30)
    others = rows[:30] @ rows[:30].T - 2 * np.eye(30)
    assert cosines.max() < others.max()


# ---- near duplicates ----


def test_near_duplicates_by_hand() -> None:
    # cos 23 = .9205, cos 24 = .9135
    assert Kept().add(at_angles(0, 23, 24)) == [None, 0, None]
    assert Kept().add(at_angles(0, 24, 12)) == [None, None, 0]  # near to both: the first
    assert Kept(0.9999).add(at_angles(0, 0, 1)) == [None, 0, None]  # cos 1 = .99985
    assert Kept().add(np.zeros((2, 3))) == [None, None]  # texts without a vector


@pytest.mark.parametrize("cut", [0.92, 0.8])
def test_kept_vectors_are_those_of_the_slow_definition(cut: float) -> None:
    rows = clouds(1500, 24, 3)
    rows[100] = rows[40]
    found = Kept(cut).add(rows)
    assert found == slow_kept(rows, cut)
    assert 100 < sum(near is None for near in found) < 1400


def test_cosines_at_the_cut_are_decided_in_float64() -> None:
    """Pairs whose cosine lies within 1e-7 of the cut: float32 products would fall on either side."""
    generator = np.random.default_rng(4)
    first = generator.normal(size=384)
    first /= np.linalg.norm(first)
    rows = [first]
    for _ in range(300):
        other = generator.normal(size=384)
        other -= other @ first * first
        cosine = 0.92 + 1e-7 * generator.normal()
        rows.append(cosine * first + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other))
    near = np.array(rows, np.float32)
    found = Kept().add(near)
    assert found == slow_kept(near, 0.92)
    assert 50 < sum(one == 0 for one in found) < 250


def test_batches_make_no_difference() -> None:
    rows = clouds(1300, 24, 6)
    whole, parts = Kept(), Kept()
    expected = whole.add(rows)
    found = [near for start in range(0, 1300, 37) for near in parts.add(rows[start : start + 37])]
    assert found == expected
    assert parts.n_seen == 1300
    assert parts.kept.tolist() == whole.kept.tolist() == [at for at, near in enumerate(expected) if near is None]
    assert (parts.vectors == rows[parts.kept]).all()
    assert parts.add(rows[:0]) == []


def test_vectors_that_are_none_are_refused() -> None:
    kept = Kept()
    kept.add(at_angles(0))
    with pytest.raises(ValueError, match="vectors of 3 numbers after some of 2"):
        kept.add(np.eye(3))
    with pytest.raises(ValueError, match="length 1"):
        kept.add([[3.0, 4.0]])
    with pytest.raises(ValueError, match="rows of a matrix"):
        kept.add([1.0, 0.0])
    with pytest.raises(BadValue, match="cut is 0"):
        Kept(0)
