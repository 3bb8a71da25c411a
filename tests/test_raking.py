"""Joints with given margins, and weights for samples: worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from llama_diversity.metrics.raking import Contradiction, Margin, fitted, kish, raked


def margin(name, axes, shares):
    return Margin(name, axes, np.array(shares))


def test_margins_alone_give_their_product():
    found = fitted(np.ones((2, 3)), [margin("a", (0,), [0.3, 0.7]), margin("b", (1,), [0.2, 0.3, 0.5])])
    np.testing.assert_allclose(found, [[0.06, 0.09, 0.15], [0.14, 0.21, 0.35]], atol=1e-12)


def test_a_cell_that_is_barred_and_two_margins():
    # One cell of four is 0, so the margins fix the others: the second column leaves 0.3 above, the second row 0.4 left.
    bar = {"no": np.array([[False, False], [False, True]])}
    found = fitted(np.ones((2, 2)), [margin("a", (0,), [0.6, 0.4]), margin("b", (1,), [0.7, 0.3])], bar)
    np.testing.assert_allclose(found, [[0.3, 0.3], [0.4, 0.0]], atol=1e-9)
    assert found[1, 1] == 0


def test_two_pairs_that_share_a_field_make_the_others_independent_within_it():
    ab = np.array([[0.1, 0.3], [0.4, 0.2]])
    bc = np.array([[0.2, 0.3], [0.4, 0.1]])
    # p(a, b, c) = p(a, b) p(b, c) / p(b), and p(b) is one half: a = 0, b = 0, c = 1 is 0.1 * 0.3 / 0.5.
    found = fitted(np.ones((2, 2, 2)), [margin("ab", (0, 1), ab), margin("bc", (1, 2), bc)])
    np.testing.assert_allclose(found, np.einsum("ab,bc->abc", ab, bc) / 0.5, atol=1e-9)
    assert found[0, 0, 1] == pytest.approx(0.06)


def test_three_pairs_give_back_the_table_that_has_no_more_than_pairs():
    # A product of factors of two fields each has no interaction of three: it is the joint of its own pairs.
    u, v, w = np.array([[1, 2], [3, 1]]), np.array([[2, 1], [1, 4]]), np.array([[1, 3], [2, 1]])
    table = np.einsum("ab,bc,ac->abc", u, v, w).astype(float)
    table /= table.sum()
    pairs = [
        margin("ab", (0, 1), table.sum(axis=2)),
        margin("bc", (1, 2), table.sum(axis=0)),
        margin("ac", (0, 2), table.sum(axis=1)),
    ]
    np.testing.assert_allclose(fitted(np.ones((2, 2, 2)), pairs), table, atol=1e-8)


def test_no_other_joint_with_these_margins_has_more_entropy():
    bar = {"no": np.array([[True, False, False], [False, False, False], [False, False, False]])}
    margins = [margin("a", (0,), [0.5, 0.3, 0.2]), margin("b", (1,), [0.2, 0.3, 0.5])]
    found = fitted(np.ones((3, 3)), margins, bar)
    np.testing.assert_allclose(found.sum(axis=1), [0.5, 0.3, 0.2], atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=0), [0.2, 0.3, 0.5], atol=1e-9)

    def entropy(p):
        return -float((p[p > 0] * np.log(p[p > 0])).sum())

    n_moves = 0
    for (a, b), (c, d) in itertools.product(itertools.combinations(range(3), 2), repeat=2):
        move = np.zeros((3, 3))
        move[a, c] = move[b, d] = 0.001
        move[a, d] = move[b, c] = -0.001
        if move[0, 0] == 0:  # else it would use the cell that is barred
            n_moves += 1
            assert max(entropy(found + move), entropy(found - move)) < entropy(found)
    assert n_moves == 5


def test_a_cell_that_margins_force_to_be_empty_is_empty():
    # Only the old may be retired, and as many are: so all the old are. Sweeps alone would come there ever more slowly.
    bar = {"no": np.array([[False, True], [False, False]])}  # young and retired
    found = fitted(np.ones((2, 2)), [margin("age", (0,), [0.8, 0.2]), margin("work", (1,), [0.8, 0.2])], bar)
    np.testing.assert_allclose(found, [[0.8, 0.0], [0.0, 0.2]], atol=1e-12)


def test_a_start_of_its_own_keeps_its_odds_ratio():
    found = fitted([[4, 1], [1, 4]], [margin("a", (0,), [0.5, 0.5]), margin("b", (1,), [0.3, 0.7])])
    assert found[0, 0] * found[1, 1] / (found[0, 1] * found[1, 0]) == pytest.approx(16)
    np.testing.assert_allclose(found.sum(axis=0), [0.3, 0.7], atol=1e-9)


def test_a_share_of_zero_empties_its_cells():
    found = fitted(np.ones((2, 2)), [margin("a", (0,), [1.0, 0.0]), margin("b", (1,), [0.5, 0.5])])
    assert found.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_what_contradicts_is_named_and_nothing_else():
    bar = {"other": np.array([[[False, True]]]), "young": np.array([[[False], [True]], [[False], [False]]])}
    margins = [
        margin("age", (0,), [0.8, 0.2]),
        margin("work", (1,), [0.7, 0.3]),
        margin("third", (2,), [1.0, 0.0]),
    ]
    with pytest.raises(Contradiction) as caught:
        fitted(np.ones((2, 2, 2)), margins, bar)
    assert caught.value.names == ("age", "work", "young")
    # Nobody young has the second kind of work, so at most the 0.2 who are old do, and the young are at most 0.7.
    name, cell, *shares, is_most = caught.value.limit
    assert (name, cell, is_most) == ("age", (0,), True)
    assert shares == pytest.approx([0.8, 0.7])


def test_three_pairs_of_which_any_two_go_together():
    opposite = [[0.0, 0.5], [0.5, 0.0]]  # of three none can be unlike both others
    pairs = [margin("ab", (0, 1), opposite), margin("bc", (1, 2), opposite), margin("ac", (0, 2), opposite)]
    assert fitted(np.ones((2, 2, 2)), pairs[:2])[0, 1, 0] == pytest.approx(0.5)
    with pytest.raises(Contradiction) as caught:
        fitted(np.ones((2, 2, 2)), pairs)
    assert caught.value.names == ("ab", "bc", "ac")


def test_bars_that_leave_nobody():
    with pytest.raises(Contradiction) as caught:
        fitted(
            np.ones(2), [margin("a", (0,), [0.5, 0.5])], {"all": np.array([True, True]), "one": np.array([True, False])}
        )
    assert caught.value.names == ("all",)


# ---- weights


def test_weights_reach_two_margins():
    # Eight people; wanted: 3/4 of the first kind and half of each second. Independent, so factors multiply.
    first, second = [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 1]
    found = raked([first, second], [[0.75, 0.25], [0.5, 0.5]])
    # 6 of the weight to the first four, half of each to the last of them: 3 / 3 = 1 and 3; then 2: 1 / 3 and 1.
    np.testing.assert_allclose(found.weights, [1, 1, 1, 3, 1 / 3, 1 / 3, 1 / 3, 1], atol=1e-8)
    assert found.gap < 1e-9
    assert found.lacking == ()
    # (sum w)^2 / sum w^2 = 64 / (3 + 9 + 3/9 + 1)
    assert found.n_effective == pytest.approx(64 / (13 + 1 / 3))


def test_no_weight_is_above_five_times_the_mean():
    # One of twenty is to be half: it would weigh 10. At the cap it weighs 5 of 20, and the others 15 / 19 each.
    found = raked([[1] + [0] * 19], [[0.5, 0.5]])
    np.testing.assert_allclose(found.weights, [5] + [15 / 19] * 19, atol=1e-6)
    assert found.gap == pytest.approx(0.25, abs=1e-6)  # it has a quarter
    assert found.n_effective == pytest.approx(400 / (25 + 225 / 19), abs=1e-4)


def test_what_nobody_has_is_said_and_the_rest_keeps_its_proportions():
    found = raked([[0, 0, 1]], [[0.3, 0.3, 0.4]])
    assert found.lacking == ((0, 2),)
    np.testing.assert_allclose(found.weights, [0.75, 0.75, 1.5])
    assert found.gap == pytest.approx(0.4)


def test_weights_of_nobody_and_of_those_who_are_not_wanted():
    assert raked([[]], [[0.5, 0.5]]).n_effective == 0
    only = raked([[0, 0]], [[0.0, 1.0]])
    assert only.weights.tolist() == [0, 0]
    assert (only.n_effective, only.gap, only.lacking) == (0, 1.0, ((0, 1),))


def test_weights_do_not_depend_on_the_order_of_people():
    index = np.array([0, 0, 1, 2, 2, 2, 1, 0, 0, 0])
    forward, back = raked([index], [[0.2, 0.5, 0.3]]), raked([index[::-1]], [[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(forward.weights, back.weights[::-1])


def test_kish():
    assert kish([3, 3, 3]) == pytest.approx(3)
    assert kish([0, 7, 0]) == pytest.approx(1)
    assert kish([1, 3]) == pytest.approx(16 / 10)
    assert kish([]) == kish([0, 0]) == 0
