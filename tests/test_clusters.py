"""Kinds of texts: partitions by hand and in any order, planted numbers of clusters, planted returns, and one blob."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from llama_diversity.errors import BadValue
from llama_diversity.metrics import clusters
from llama_diversity.metrics.clusters import (
    ClusterCount,
    Stability,
    _branches,
    attractors,
    exact_classes,
    k_by_gap,
    k_by_silhouette,
    k_means,
    kinds_among,
    medoids,
    occupancy,
    return_share,
    stability,
    threshold_classes,
    threshold_sweep,
    unit_rows,
)
from llama_diversity.metrics.coverage import rarefied_richness
from llama_diversity.metrics.inference import Estimate, Proportion, wilson


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.c_[np.cos(angles), np.sin(angles)]


def modes(k: int, n: int, d: int, seed: int, spread: float = 0.65) -> tuple[np.ndarray, np.ndarray]:
    """n unit rows around k centres drawn on the sphere, as evenly as they go, and the mode of each."""
    generator = np.random.default_rng(seed)
    centres, noise = (unit_rows(generator.normal(size=(rows, d))) for rows in (k, n))
    of_each = generator.permutation(np.arange(n) % k)
    return unit_rows(centres[of_each] + spread * noise), of_each


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return exact_classes(np.asarray(one).tolist()).tolist() == exact_classes(np.asarray(other).tolist()).tolist()


LABELS = [0, 1, 2] * 8
NAMES = [f"{i:02}" for i in range(24)]
EXAMPLES: dict[str, Callable[[Any], Any]] = {  # every public function of the module, called with 24 vectors
    "unit_rows": lambda rows: unit_rows(rows),
    "exact_classes": lambda rows: exact_classes(["Ann", "Bob", "Ann"]),
    "threshold_classes": lambda rows: threshold_classes(rows, 0.8, NAMES),
    "threshold_sweep": lambda rows: threshold_sweep(rows, [0.9, 0.2]),
    "kinds_among": lambda rows: kinds_among(rows, 9, 0.8)[:2],
    "k_means": lambda rows: [*k_means(rows, 3).labels, k_means(rows, 3).within],
    "k_by_silhouette": lambda rows: k_by_silhouette(rows, 4).scores,
    "k_by_gap": lambda rows: k_by_gap(rows, 4).scores,
    "medoids": lambda rows: medoids(rows, LABELS),
    "occupancy": lambda rows: occupancy(LABELS, ["base", "aligned"] * 12)["base"].counts,
    "stability": lambda rows: stability(rows, lambda some: k_means(some, 3, n_init=1).labels, n_subsamples=3)[:2],
    "attractors": lambda rows: attractors(rows, LABELS).reach,
    "return_share": lambda rows: return_share(rows, attractors(rows, LABELS)).classes,
}
OF_VECTORS = sorted(EXAMPLES.keys() - {"exact_classes", "occupancy"})


def three_kinds(seed: int) -> np.ndarray:
    """24 rows of whole numbers from -127 to 127: the same in every number type, unlike their sums and squares."""
    generator = np.random.default_rng(seed)
    return 100.0 * np.eye(5)[LABELS] + generator.integers(-27, 28, (24, 5))


def test_every_public_function_has_an_example_here() -> None:
    public = {
        name: function
        for name, function in inspect.getmembers(clusters, inspect.isfunction)
        if function.__module__ == clusters.__name__ and not name.startswith("_")
    }
    assert public.keys() == EXAMPLES.keys()
    assert sorted(name for name, function in public.items() if "vectors" in inspect.signature(function).parameters) == (
        OF_VECTORS
    )
    for name, example in EXAMPLES.items():
        numbers = np.asarray(example(three_kinds(0)), np.float64)
        assert numbers.size, name
        assert np.isfinite(numbers).all(), name


@pytest.mark.parametrize("name", OF_VECTORS)
def test_the_number_type_does_not_matter(name: str) -> None:
    rows = three_kinds(1)
    expected = np.asarray(EXAMPLES[name](rows))
    tiny, huge = (np.float32(scale) * rows.astype(np.float32) for scale in (2.0**-100, 2.0**100))
    for form in (*(rows.astype(kind) for kind in (np.float16, np.float32, np.int8)), rows.tolist(), tiny, huge):
        np.testing.assert_allclose(np.asarray(EXAMPLES[name](form)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", OF_VECTORS)
def test_numbers_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    rows = three_kinds(1)
    rows[4, 2] = bad
    with pytest.raises(ValueError, match="a vector holds a number that is not finite"):
        EXAMPLES[name](rows)


# ---- classes ----


def test_exact_classes_count_from_zero() -> None:
    """All the same is one class, numbered 0 (a public toolkit counts classes as the largest label: off by one)."""
    assert exact_classes(["x", "y", "x", "", "y"]).tolist() == [0, 1, 0, 2, 1]
    assert exact_classes(["x"] * 5).tolist() == [0] * 5
    assert exact_classes([]).tolist() == []
    assert exact_classes([("Ann", 30), ("Ann", 31), ("Ann", 30)]).tolist() == [0, 1, 0]
    same = occupancy(exact_classes(["x"] * 5), ["base"] * 5)["base"]
    assert same.counts.tolist() == [5]
    assert same.effective.value == 1


def test_likeness_that_does_not_carry_over_does_not_depend_on_order() -> None:
    """C at 0 degrees, A at -24.5, B at 25.84: cosines A-C .91, B-C .90, A-B .638; at a cut of .85 C is like both.

    Complete linkage joins the nearer pair, A and C, and B, not like A, stays alone, in all six orders. Comparing with
    the first member of a class gives {A, C}, {B} or {B, C}, {A} or, where C comes first, all three in one.
    """
    texts = dict(zip("ABC", on_circle(-math.degrees(math.acos(0.91)), math.degrees(math.acos(0.9)), 0), strict=True))
    for order in itertools.permutations("ABC"):
        rows = np.array([texts[name] for name in order])
        for keys in (order, None):
            found = dict(zip(order, threshold_classes(rows, 0.85, keys).tolist(), strict=True))
            assert found["A"] == found["C"] != found["B"]
        assert threshold_classes(rows, 0.85, order)[order.index("A")] == 0  # numbered by key, too


def test_ties_are_broken_by_key() -> None:
    """Angles -20, 0, 20: the middle is as near to either. a and b join, whichever rows they are."""
    texts = dict(zip("bac", on_circle(-20, 0, 20), strict=True))
    for order in itertools.permutations("abc"):
        found = threshold_classes(np.array([texts[name] for name in order]), 0.9, order)
        assert dict(zip(order, found.tolist(), strict=True)) == {"a": 0, "b": 0, "c": 1}


def test_every_pair_within_a_class_reaches_the_cut() -> None:
    rows, _ = modes(6, 60, 20, 0, spread=0.9)
    cuts = [0.9, 0.7, 0.5, 0.3, 0.0]
    sweep = threshold_sweep(rows, cuts)
    for cut, labels in zip(cuts, sweep, strict=True):
        alike = labels[:, None] == labels
        assert (rows @ rows.T)[alike].min() >= cut - 1e-8
        assert threshold_classes(rows, cut).tolist() == labels.tolist()
        assert labels[0] == 0
        assert set(labels) == set(range(labels.max() + 1))
    for finer, coarser in itertools.pairwise(sweep):
        assert finer.max() >= coarser.max()
        # a lower cut joins classes, it never splits one
        assert all(len(set(coarser[finer == label])) == 1 for label in set(finer))
    names = [f"{i:02}" for i in range(60)]
    shuffled = np.random.default_rng(1).permutation(60)
    again = threshold_classes(rows[shuffled] * 3, 0.5, [names[i] for i in shuffled])
    assert again.tolist() == sweep[2][shuffled].tolist()


def test_classes_at_both_ends() -> None:
    assert threshold_classes(np.ones((5, 3)), 1).tolist() == [0] * 5
    assert threshold_classes(np.eye(4), 0.5).tolist() == [0, 1, 2, 3]
    assert threshold_classes(np.eye(4), 0).tolist() == [0] * 4
    assert threshold_classes(np.zeros((0, 3)), 0.5).tolist() == []
    assert threshold_classes(np.ones((1, 3)), 0.5).tolist() == [0]
    # a text without a vector is like another one and nothing else, however low the cut
    assert threshold_classes([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]], -1).tolist() == [0, 1, 0, 1]
    assert threshold_classes(on_circle(0, math.degrees(math.acos(0.8))), 0.8).tolist() == [0, 0]  # the cut itself is in


def test_what_is_no_partition_is_refused() -> None:
    for cut in (1.1, -2, math.nan):
        with pytest.raises(BadValue, match="a cosine lies between -1 and 1"):
            threshold_classes(np.eye(2), cut)
    for keys in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="one key for each text"):
            threshold_classes(np.eye(2), 0.5, keys)
    with pytest.raises(ValueError, match="vectors are the rows of a matrix"):
        unit_rows([1.0, 2.0])


def test_distances_made_in_blocks_are_those_of_the_whole_matrix() -> None:
    """300 rows, which take two blocks, every tenth a copy of another; the partitions are those of the whole matrix."""
    from scipy.cluster.hierarchy import fcluster, linkage

    rows, _ = modes(20, 300, 12, 21)
    rows[::10] = rows[5::10]
    distances = (1 - np.clip(rows @ rows.T, -1, 1))[np.triu_indices(300, 1)]
    np.testing.assert_allclose(1 - clusters._products_of_pairs(rows), distances, rtol=0, atol=1e-15)
    cuts = [1, 0.95, 0.8, 0.5, 0.1, -0.5]
    tree = linkage(distances, "complete")
    whole = [fcluster(tree, 1 - cut + 1e-9, "distance") for cut in cuts]
    for found, expected in zip(threshold_sweep(rows, cuts), whole, strict=True):
        assert same_partition(found, expected)


def test_euclidean_distances_are_those_of_scipy() -> None:
    """Points far from the origin lose digits of small distances: 1e-7 of their size, not more."""
    from scipy.spatial.distance import pdist

    rows = np.random.default_rng(0).normal(size=(300, 7))
    rows[::10] = rows[5::10]
    np.testing.assert_allclose(clusters._euclidean_of_pairs(rows), pdist(rows), rtol=0, atol=1e-7)
    np.testing.assert_allclose(clusters._euclidean_of_pairs(rows + 9), pdist(rows), rtol=0, atol=3e-6)
    assert clusters._euclidean_of_pairs(np.array([[1.0], [-1.0], [1.0]])).tolist() == [2, 0, 2]
    assert clusters._euclidean_of_pairs(np.ones((1, 2))).tolist() == []


# ---- k-means ----


def test_k_means_by_hand() -> None:
    """Angles 0, 10, 90, 100: two pairs 2 sin 5 degrees apart; each pair's squares are half of that squared."""
    found = k_means(on_circle(0, 90, 10, 100), 2)
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.within == pytest.approx((2 * math.sin(math.radians(5))) ** 2)
    one = k_means(np.eye(3), 1)
    assert one.labels.tolist() == [0, 0, 0]
    assert one.within == pytest.approx(2)  # squared distance to the centre 4/9 + 1/9 + 1/9, three times
    assert k_means(5 * on_circle(0, 90, 10, 100), 2).within == pytest.approx(found.within)


def test_k_means_finds_planted_modes_in_any_order() -> None:
    rows, planted = modes(5, 80, 30, 2, spread=0.5)
    found = k_means(rows, 5)
    assert same_partition(found.labels, planted)
    order = np.random.default_rng(3).permutation(80)
    assert same_partition(k_means(rows[order], 5).labels, planted[order])
    within = [k_means(rows, k).within for k in (1, 2, 5, 20)]
    assert within == sorted(within, reverse=True)
    assert found.labels.tolist() == k_means(rows, 5).labels.tolist()


def test_the_order_of_the_rows_does_not_matter() -> None:
    """Of one cloud too, where there are many ways to cut it, and of copies of a text."""
    generator = np.random.default_rng(31)
    for seed in range(4):
        rows = np.random.default_rng(seed).normal(size=(40, 6))
        rows[30:33] = rows[0]
        order = generator.permutation(40)
        found, again = k_means(rows, 5), k_means(rows[order], 5)
        assert same_partition(again.labels, found.labels[order])
        assert again.within == pytest.approx(found.within, rel=1e-12)
        assert again.labels[0] == 0
        assert k_by_gap(rows[order], 6).k == k_by_gap(rows, 6).k
        assert k_by_silhouette(rows[order], 6).scores == pytest.approx(k_by_silhouette(rows, 6).scores)
        labels, arms = found.labels, np.where(np.arange(40) % 3, "base", "aligned")
        assert {arm: one.counts.tolist() for arm, one in occupancy(labels[order], arms[order].tolist()).items()} == {
            arm: one.counts.tolist() for arm, one in occupancy(labels, arms.tolist()).items()
        }
        places, new = attractors(rows, labels), generator.normal(size=(30, 6))
        moved = attractors(rows[order], labels[order])
        np.testing.assert_allclose(moved.reach, places.reach)
        turned = generator.permutation(30)
        assert return_share(new[turned], moved).classes.tolist() == return_share(new, places).classes[turned].tolist()
    separate, _ = modes(4, 60, 32, 9, spread=0.4)
    turned = generator.permutation(60)
    assert stability(separate[turned], lambda some: k_means(some, 4, n_init=2).labels, n_subsamples=5).value == 1


def test_k_means_is_the_better_of_the_tree_and_random_starts() -> None:
    """One cloud cut into five, where either start may win: never above scikit-learn's best of ten, at times below."""
    within, at_random = np.empty(6), np.empty(6)
    for seed in range(6):
        rows, _ = modes(1, 40, 6, seed)
        within[seed] = k_means(rows, 5).within
        in_order = rows[np.lexsort(rows.T)]
        at_random[seed] = KMeans(5, n_init=10, random_state=0).fit(in_order).inertia_
    assert (within <= at_random + 1e-9).all()
    assert (within < at_random - 1e-3).any()


def test_k_is_at_most_the_number_of_distinct_texts() -> None:
    assert k_means(np.eye(2)[[0, 1, 0, 0]], 4).labels.tolist() == [0, 1, 0, 0]
    assert k_means(np.ones((4, 2)), 3).labels.tolist() == [0, 0, 0, 0]
    empty = k_means(np.zeros((0, 2)), 3)
    assert (empty.labels.tolist(), empty.within) == ([], 0)
    with pytest.raises(BadValue, match="at least one cluster"):
        k_means(np.eye(2), 0)
    for ask in (lambda rows: k_means(rows, 2), k_by_gap, k_by_silhouette):
        with pytest.raises(ValueError, match="leave texts without a vector out"):
            ask([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])


# ---- how many ----


def test_one_blob_is_one_cluster_to_the_gap_and_never_to_the_silhouette() -> None:
    """Eight clouds of 60 texts each; the silhouette sees two or more in all, the gap one in all."""
    for seed in range(8):
        rows, _ = modes(1, 60, 64, seed)
        assert k_by_gap(rows, 4).k == 1
        assert k_by_silhouette(rows, 4).k >= 2


@pytest.mark.parametrize("k", [2, 3, 6])
def test_planted_modes_are_counted_by_both(k: int) -> None:
    for seed in range(2):
        rows, _ = modes(k, 100, 64, 10 + seed)
        by_gap, by_silhouette = k_by_gap(rows, 8), k_by_silhouette(rows, 8)
        assert (by_gap.k, by_silhouette.k) == (k, k)
        assert by_gap.tried == tuple(range(1, k + 2))  # one more than it answers, which is all the rule asks for
        assert by_silhouette.tried == tuple(range(2, 9))
        assert len(by_gap.scores) == len(by_gap.errors) == k + 1
        assert by_gap.warning is by_silhouette.warning is None


def test_the_gap_rule_is_the_smallest_k_within_an_error_of_the_next() -> None:
    found = k_by_gap(modes(4, 80, 32, 5)[0], 8)
    holds = [found.scores[i] >= found.scores[i + 1] - found.errors[i + 1] for i in range(4)]
    assert found.k == 4
    assert holds == [False, False, False, True]
    assert found == k_by_gap(modes(4, 80, 32, 5)[0], 8)  # deterministic in the seed
    assert found.scores != k_by_gap(modes(4, 80, 32, 5)[0], 8, seed=1).scores


def test_branches_are_those_of_scipys_slower_way() -> None:
    from scipy.cluster.hierarchy import cut_tree, linkage

    rows, _ = modes(5, 60, 16, 3)
    expected = cut_tree(linkage(rows, "ward"), range(1, 13)).T
    for k, (ours, theirs) in enumerate(zip(_branches(rows, 12), expected, strict=True), start=1):
        assert ours.max() == k - 1
        assert exact_classes(ours.tolist()).tolist() == exact_classes(theirs.tolist()).tolist()
    assert _branches(rows[:3], 3).tolist()[2] == [0, 1, 2]
    assert _branches(rows[:1], 1).tolist() == [[0]]


def test_the_gap_by_hand() -> None:
    """Six texts at each end of a chord of sqrt 2: one axis, coordinates -+ sqrt(1/2), W_1 = 12 * 1/2.

    References are 12 numbers uniform between them, W_1 their squared deviations; s = sd sqrt(1 + 1/10).
    """
    found = k_by_gap(np.eye(2)[[0, 1] * 6])
    generator = np.random.default_rng(0)
    logs = np.array([math.log(12 * generator.uniform(-(0.5**0.5), 0.5**0.5, 12).var()) for _ in range(10)])
    assert found.scores[0] == pytest.approx(logs.mean() - math.log(6))
    assert found.errors[0] == pytest.approx(logs.std() * math.sqrt(1.1))


def test_the_silhouette_scores_the_classes_that_k_means_gives() -> None:
    """Few texts around few modes, where the start decides: the classes shown beside a score are those scored."""
    for seed in range(4):
        rows, _ = modes(2 + seed, 30, 8, seed, spread=1.5)
        found = k_by_silhouette(rows, 5)
        distances = np.sqrt(np.maximum(2 - 2 * rows @ rows.T, 0)) * (1 - np.eye(30))
        labels = [k_means(rows, k).labels for k in found.tried]
        assert found.scores == pytest.approx([silhouette_score(distances, x, metric="precomputed") for x in labels])


def test_silhouette_by_hand() -> None:
    """Two texts at each of two right angles: a = 0, b = sqrt 2, so 1. Each text a class but one pair: 2 of 4 are 1."""
    found = k_by_silhouette(np.eye(2)[[0, 1, 0, 1]])
    assert (found.k, found.tried, found.scores) == (2, (2,), (1,))
    # orthogonal: a text of a class of two has a = b; the others are alone, 0
    assert k_by_silhouette(np.eye(4)).scores == pytest.approx((0, 0))
    assert k_by_silhouette(np.eye(4)).k == 2  # ties go to the smaller k
    # angles 0, 10, 90: chords a = 2 sin 5, b = 2 sin 45 and 2 sin 40 degrees; the third is alone
    a, b, c = (2 * math.sin(math.radians(half)) for half in (5, 45, 40))
    assert k_by_silhouette(on_circle(0, 10, 90)).scores == pytest.approx([((b - a) / b + (c - a) / c) / 3])


def test_the_largest_number_tried_is_named() -> None:
    rows, _ = modes(6, 60, 64, 4, spread=0.3)
    for found in (k_by_gap(rows, 4), k_by_silhouette(rows, 4)):
        assert found.k == 4
        assert found.warning == "the largest number tried, 4; there may be more"


def test_how_many_degenerates_honestly() -> None:
    assert k_by_gap(np.ones((5, 3))) == ClusterCount(1, (), (), (), 5)
    assert k_by_gap(np.zeros((0, 3))) == ClusterCount(None, (), (), (), 0, "no generations")
    for n in (1, 2):
        assert k_by_gap(np.eye(2)[:n]) == ClusterCount(1, (), (), (), n, warning="fewer than three texts")
    for vectors in (np.zeros((0, 3)), np.eye(2), np.ones((5, 3))):
        found = k_by_silhouette(vectors)
        assert found == ClusterCount(None, (), (), (), len(vectors), "fewer than three texts, or all alike")
    # two texts, each many times: k = 2 leaves nothing within, and no larger k is there to try
    copies = k_by_gap(np.eye(2)[[0, 1] * 6])
    assert (copies.k, copies.tried, copies.scores[1]) == (2, (1, 2), math.inf)
    for bad in (lambda: k_by_gap(np.eye(4), 0), lambda: k_by_silhouette(np.eye(4), 1)):
        with pytest.raises(BadValue, match="largest number of clusters to try"):
            bad()
    with pytest.raises(BadValue, match="matter of luck"):
        k_by_gap(np.eye(4), n_references=5)


# ---- occupancy ----


def test_pooled_classes_are_counted_for_each_arm() -> None:
    """base 2, 1, 1: exp(.5 log 2 + .5 log 4) = 2^1.5; aligned all in the third of the pooled classes."""
    labels = [0, 2, 1, 2, 0, 2, 2]
    arms = ["base", "aligned", "base", "base", "base", "aligned", "aligned"]
    found = occupancy(labels, arms)
    assert list(found) == ["base", "aligned"]
    assert found["base"].counts.tolist() == [2, 1, 1]
    assert found["base"].effective.value == pytest.approx(2**1.5)
    assert found["base"].effective.n == 4
    assert found["aligned"].counts.tolist() == [0, 0, 3]
    assert found["aligned"].effective.value == 1
    assert sum(arm.counts for arm in found.values()).tolist() == np.bincount(labels).tolist()
    last_is_empty = occupancy([0, 1, 0], ["base", "aligned", "base"])["base"]
    assert last_is_empty.counts.tolist() == [2, 0]
    assert last_is_empty.effective.value == 1
    assert occupancy([0, 1, 2, 3], ["base"] * 4)["base"].effective.value == pytest.approx(4)
    assert occupancy([], []) == {}
    with pytest.raises(ValueError, match="one arm for each text"):
        occupancy([0, 1], ["base"])


def test_a_cluster_count_of_one_arm_is_not_its_diversity_but_pooled_occupancy_is() -> None:
    """Six modes; base visits all evenly, aligned one of them in 45 of 50: effective exp(.9 log(1/.9) + .1 log 50)."""
    rows, planted = modes(6, 100, 64, 7)
    base = np.arange(100) < 50
    generator = np.random.default_rng(8)
    first = rows[np.flatnonzero(planted == planted[0])]
    rows[50:95] = unit_rows(first[0] + 0.1 * unit_rows(generator.normal(size=(45, 64))))
    rows[95:] = [rows[:50][planted[:50] == mode][0] for mode in range(6) if mode != planted[0]]
    found = occupancy(k_means(rows, 6).labels, np.where(base, "base", "aligned").tolist())
    assert found["aligned"].counts.max() == 45
    effective = math.exp(-0.9 * math.log(0.9) + 0.1 * math.log(50))
    assert found["aligned"].effective.value == pytest.approx(effective)
    assert found["base"].effective.value > 5


# ---- stability ----


def test_separated_modes_are_stable_and_a_blob_is_not() -> None:
    rows, _ = modes(4, 60, 32, 9, spread=0.4)
    stable = stability(rows, lambda some: k_means(some, 4, n_init=2).labels, n_subsamples=10)
    assert stable == Stability(1, 0, 60)
    blob, _ = modes(1, 60, 32, 9)
    shaky = stability(blob, lambda some: k_means(some, 4, n_init=2).labels, n_subsamples=10)
    assert shaky.value < 0.4
    assert shaky.sd > 0
    assert shaky.warning == "clusters are not stable"
    assert shaky == stability(blob, lambda some: k_means(some, 4, n_init=2).labels, n_subsamples=10)


def test_labels_by_chance_are_no_better_than_chance() -> None:
    """Labels drawn anew each time: the adjusted index has mean 0; 200 subsamples of 48 texts, sd about .02."""
    generator = np.random.default_rng(11)
    found = stability(np.eye(60), lambda some: generator.integers(3, size=len(some)), n_subsamples=200)
    assert abs(found.value) < 4 * found.sd / math.sqrt(200)
    assert found.warning == "clusters are not stable"


def test_stability_is_compared_on_the_shared_texts_only() -> None:
    """A clustering by the first coordinate's sign says the same of every subsample, other label numbers or not."""
    rows = np.random.default_rng(12).normal(size=(40, 3))
    sizes = []

    def by_sign(some: np.ndarray) -> np.ndarray:
        sizes.append(len(some))
        return (some[:, 0] > 0) ^ (len(sizes) % 2 == 0)

    assert stability(rows, by_sign, n_subsamples=5) == Stability(1, 0, 40)
    assert sizes == [40] + [32] * 5


def test_stability_undefined() -> None:
    for n, reason in ((0, "no generations"), (1, "one class cannot be unstable"), (6, "one class cannot be unstable")):
        found = stability(np.ones((n, 2)), lambda some: k_means(some, 3).labels)
        assert found == Stability(None, None, n, reason)


# ---- medoids and places to return to ----


def test_medoids_by_hand() -> None:
    """Angles 0, 20, 70: cosines with the others .940 + .342, .940 + .643, .342 + .643. The second is in the middle."""
    rows = on_circle(0, 20, 70, 180)
    assert medoids(rows, [0, 0, 0, 1]).tolist() == [1, 3]
    assert medoids(rows[::-1], [1, 0, 0, 0]).tolist() == [2, 0]
    assert medoids(on_circle(0, 10), [0, 0]).tolist() == [0]  # a tie
    assert medoids(np.zeros((0, 2)), []).tolist() == []
    with pytest.raises(ValueError, match="class 1 has no member"):
        medoids(rows, [0, 0, 2, 2])
    for labels in ([0, 0], [0, 0, 0, -1]):
        with pytest.raises(ValueError, match="one class, 0 or larger, for each text"):
            medoids(rows, labels)


def test_attractors_by_hand() -> None:
    """As above: the medoid at 20 degrees, its farthest member at 70: cos 50. A class of one reaches only itself."""
    rows = on_circle(0, 20, 70, 180)
    found = attractors(rows, [0, 0, 0, 1])
    np.testing.assert_allclose(found.centres, rows[[1, 3]])
    assert found.reach.tolist() == pytest.approx([math.cos(math.radians(50)), 1])
    assert attractors(rows, [0, 0, 0, 1], cut=0.8).reach.tolist() == pytest.approx([math.cos(math.radians(50)), 0.8])
    assert attractors(rows, [0, 0, 0, 1], cut=0.5).reach.tolist() == pytest.approx([0.5, 0.5])


def test_returns_by_hand() -> None:
    """Reach 50 degrees around 20 and 0 around 180: -29 and 69 are in, -31 is not, 180 is, 179 is not; 0 0 nowhere."""
    places = attractors(on_circle(0, 20, 70, 180), [0, 0, 0, 1])
    new = np.vstack([on_circle(-29, 69, -31, 180, 179), [[0.0, 0.0]]])
    found = return_share(new, places)
    assert found.classes.tolist() == [0, 0, -1, 1, -1, -1]
    assert found.share == wilson(3, 6)
    assert return_share(new * 7, places).classes.tolist() == found.classes.tolist()


def test_each_text_of_the_run_itself_returns() -> None:
    rows, planted = modes(5, 60, 20, 13, spread=0.4)
    found = return_share(rows, attractors(rows, planted))
    assert found.share == wilson(60, 60)
    assert found.classes.tolist() == planted.tolist()


@pytest.mark.parametrize("returned", [0, 28, 40])
def test_a_planted_share_of_returns_is_found(returned: int) -> None:
    """Three modes; of 40 new texts so many are copies of old ones turned a little inwards, the others are elsewhere."""
    rows, planted = modes(3, 60, 24, 14, spread=0.4)
    places = attractors(rows, planted)
    generator = np.random.default_rng(15)
    old = generator.choice(60, returned)
    inwards = unit_rows(rows[old] + 0.2 * places.centres[planted[old]])
    elsewhere = generator.normal(size=(40 - returned, 24))
    axes = np.linalg.qr(places.centres.T)[0]
    found = return_share(np.vstack([inwards, elsewhere - elsewhere @ axes @ axes.T]), places)
    assert found.share == wilson(returned, 40)
    assert found.classes.tolist() == planted[old].tolist() + [-1] * (40 - returned)


def test_not_all_texts_of_the_same_recipe_return() -> None:
    """A new text is farther out than all of 19 others around a fixed centre in 1 of 20; around a medoid more often.

    Hence the unperturbed control. 40 runs of 20 old and 20 new texts of one mode.
    """
    shares = []
    for seed in range(40):
        rows, _ = modes(1, 40, 24, seed, spread=0.8)
        shares.append(return_share(rows[20:], attractors(rows[:20], [0] * 20)).share.value)
    assert 0.7 < np.mean(shares) < 0.97


def test_nothing_returns_to_texts_without_a_vector() -> None:
    """A class of empty texts has a centre of zeros, at cosine 0 to everything: nearer than all at an obtuse angle."""
    empty = attractors([[1.0, 0.0], [0.0, 0.0]], [0, 1])
    assert return_share([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], empty).classes.tolist() == [-1, -1, 0]
    only_empty = attractors(np.zeros((2, 2)), [0, 0], cut=-1)
    assert return_share(np.eye(2), only_empty).share == wilson(0, 2)
    # nor do they return to a class that reaches beyond a right angle
    wide = attractors(on_circle(0, 120), [0, 0])
    assert return_share([[0.0, 0.0], [0.0, 1.0]], wide).classes.tolist() == [-1, 0]
    # in a class with others they do not widen it
    mixed = attractors([[1.0, 0.0], [0.8, 0.6], [0.0, 0.0]], [0, 0, 0])
    assert mixed.reach.tolist() == pytest.approx([0.8])
    assert return_share(on_circle(60), mixed).classes.tolist() == [-1]


def test_returns_undefined() -> None:
    nowhere = return_share(np.eye(2), attractors(np.zeros((0, 2)), []))
    assert nowhere.share == Proportion(None, None, None, 0, 2, "no attractor to return to")
    assert nowhere.classes.tolist() == [-1, -1]
    nothing = return_share(np.zeros((0, 2)), attractors(np.eye(2), [0, 1]))
    assert nothing.share == Proportion(None, None, None, 0, 0, "no generations")


# ---- kinds that some form among themselves


def test_kinds_of_texts_equal_or_unlike_are_rarefied_classes() -> None:
    """Where no class depends on who else is there, both are one number with one error, but for the splits drawn."""
    counts = [6, 4, 3, 2, 1, 1, 1, 1, 1]
    rows = np.repeat(np.eye(len(counts)), counts, axis=0)
    formed, given = kinds_among(rows, 10, 0.7, n_splits=3000), rarefied_richness(counts, 10)
    assert formed.value == pytest.approx(given.value, abs=4 * 1.1 / math.sqrt(6000))  # sd of a half is 1.1
    assert formed.se == pytest.approx(given.se, rel=4 / math.sqrt(2 * 3000))


@pytest.mark.parametrize("noise", [0.3, 0.8, 3.0])
def test_kinds_among_are_those_that_random_halves_form(noise: float) -> None:
    """The very splits, each half classed by itself: three clouds with kinds of many, of few and of one."""
    rows = np.repeat(np.eye(4), 10, axis=0) + noise * np.random.default_rng(4).normal(size=(40, 4))
    orders = np.random.default_rng(0)
    halves = [half for _ in range(50) for half in orders.permutation(40).reshape(2, 20)]
    numbers = [len(set(threshold_classes(rows[half], 0.8).tolist())) for half in halves]
    assert kinds_among(rows, 20, 0.8).value == pytest.approx(np.mean(numbers))


def test_kinds_among_at_their_ends() -> None:
    assert kinds_among(np.eye(12), 6, 0.7) == Estimate(6, None, 12)  # nothing varies, which is no certainty
    assert kinds_among(np.ones((12, 3)), 6, 0.7) == Estimate(1, None, 12)
    assert kinds_among(np.zeros((12, 3)), 6, 0.7).value == 1  # without a vector: alike
    assert kinds_among(np.eye(4), 1, 0.7).value == 1
    assert kinds_among(np.eye(5), 3, 0.7).reason == "twice 3 generations are more than the 5 there are"
    with pytest.raises(BadValue, match="at least one generation"):
        kinds_among(np.eye(5), 0, 0.7)


def test_the_error_of_kinds_knows_that_they_are_formed() -> None:
    """One cloud without gaps, cut into kinds: the error is that of repetitions, that of kinds once given is not."""
    generator = np.random.default_rng(2)
    clouds = [generator.normal(size=(60, 8)) + [3, 0, 0, 0, 0, 0, 0, 0] for _ in range(250)]
    found = [kinds_among(rows, 30, 0.8) for rows in clouds]
    given = [rarefied_richness(np.bincount(threshold_classes(rows, 0.8)), 30) for rows in clouds]
    truth = np.var([one.value for one in found])  # known to 9 %, as 250 of them
    assert np.mean([(one.se or 0) ** 2 for one in found]) == pytest.approx(truth, rel=0.3)
    assert np.mean([one.se**2 for one in given]) < 0.8 * np.var([one.value for one in given])
