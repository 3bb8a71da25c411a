"""Kinds of texts: classes formed on the vectors of all arms together, counted for each arm afterwards.

Rows are texts, vectors of one encoder, of any number type; they are scaled to length 1 in float64, so that squared
distance = 2 (1 - cosine). A number that is not finite is a ValueError. Classes are numbered from 0. How many there are
is a decision (a cut, or k), not a fact: sweep the cut, and let the gap statistic, which can answer 1, speak beside the
silhouette, which cannot. Everything here is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.indices import hill
from llama_diversity.metrics.inference import Estimate, Float64, Int64, Proportion, undefined, wilson
from llama_diversity.metrics.similarity import rows_of_length_one

N_INIT = 10  # random starts of k-means
UNSTABLE = 0.6  # mean adjusted Rand index below which a number of clusters is not to be given
_SAME = 1e-9  # cosines that differ by less are equal; the spread of identical rows is below it
_BLOCK = 256  # rows whose cosines with all others are held at a time


def unit_rows(vectors: npt.ArrayLike) -> Float64:
    """Rows scaled to length 1 in float64; a row of zeros stays one: a text without a vector. O(n d).

    >>> unit_rows([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    units: Float64 = rows_of_length_one(np.asarray(vectors))
    return units


# ---- classes ----


def exact_classes(values: Sequence[Hashable]) -> Int64:
    """Class of each value by exact match, numbered in the order in which they first appear.

    >>> exact_classes(["Ann", "Bob", "Ann"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def threshold_classes(vectors: npt.ArrayLike, cut: float, keys: Sequence[str] | None = None) -> Int64:
    """Classes by complete linkage: within a class every two texts have a cosine of at least `cut`.

    `keys`: one distinct name for each text. Texts are joined in the order of their keys where cosines tie, and classes
    are numbered by it, so the partition does not depend on the order of the rows; without keys it is the rows' order.
    Number of classes in [1, n], larger is more diverse: identical texts 1, no two alike n. It grows with n. Texts
    without a vector are alike, and like no other. O(n^2 d): all n (n-1) / 2 distances are held twice over, so 10,000
    texts take about ten seconds and 1 GB. Sorensen, Biol. Skr. 5 (1948) 1.

    Cosines 0.8 (first two), 0 and 0.6: cut 0.7 joins the first two alone.

    >>> threshold_classes([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], 0.7).tolist()
    [0, 0, 1]
    """
    labels: Int64 = threshold_sweep(vectors, [cut], keys)[0]
    return labels


def threshold_sweep(vectors: npt.ArrayLike, cuts: Sequence[float], keys: Sequence[str] | None = None) -> Int64:
    """`threshold_classes` at several cuts from one tree, shape (cuts, n); a higher cut splits classes, never joins.

    Each row is numbered by itself, in [0, n - 1]. The number of classes rises with the cut and, for one cut, with n.
    Cost as there, once for all cuts.

    >>> threshold_sweep([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], [0.9, 0.7, 0.0]).tolist()
    [[0, 1, 2], [0, 0, 1], [0, 0, 0]]
    """
    for cut in cuts:
        if not -1 <= cut <= 1:
            raise BadValue("cut", cut, "a cosine lies between -1 and 1")
    units = unit_rows(vectors)
    n = len(units)
    if keys is not None and (len(keys) != n or len(set(keys)) != n):
        raise ValueError("one key for each text, no two alike")
    order = np.arange(n) if keys is None else np.array(sorted(range(n), key=keys.__getitem__), np.int64)
    there = units[order].any(axis=1)
    distances = _distances_of_pairs(units[order[there]])
    del units  # the tree holds its distances twice
    found = np.empty((len(cuts), n), np.int64)
    in_order = np.full((len(cuts), n), -1, np.int64)
    in_order[:, there] = _complete_linkage(distances, int(there.sum()), cuts)
    for row, labels in enumerate(in_order):
        found[row, order] = exact_classes(labels.tolist())
    return found


def _complete_linkage(distances: Float64, n: int, cuts: Sequence[float]) -> Int64:
    if n < 2:
        return np.zeros((len(cuts), n), np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage  # heavy, and needed only here

    tree = linkage(distances, "complete")
    return np.array([fcluster(tree, 1 - cut + _SAME, "distance") for cut in cuts], np.int64)


def _distances_of_pairs(units: Float64) -> Float64:
    """1 - cosine of the pairs i < j."""
    cosines = _products_of_pairs(units)
    return np.subtract(1, np.clip(cosines, -1, 1, out=cosines), out=cosines)


def _products_of_pairs(points: Float64) -> Float64:
    """Scalar products of the pairs i < j, row by row, as scipy orders them; made block by block."""
    n = len(points)
    products = np.empty(n * (n - 1) // 2)
    places = _first_pairs(n)
    for first in range(0, n, _BLOCK):
        of_block = points[first : first + _BLOCK] @ points[first:].T
        for row, place in enumerate(places[first : first + _BLOCK]):
            products[place : place + n - 1 - first - row] = of_block[row, row + 1 :]
    return products


def _first_pairs(n: int) -> Int64:
    """Where the pairs of each row begin in that order."""
    rows = np.arange(n)
    places: Int64 = rows * (2 * n - 1 - rows) // 2
    return places


def _euclidean_of_pairs(points: Float64) -> Float64:
    """Euclidean distances of the pairs i < j; scipy's `pdist` takes eight times as long, for digits of no use here."""
    n = len(points)
    squares = np.square(points).sum(axis=1)
    distances = _products_of_pairs(points)
    distances *= -2
    for row, place in enumerate(_first_pairs(n)):
        distances[place : place + n - 1 - row] += squares[row] + squares[row + 1 :]
    return np.sqrt(np.maximum(distances, 0, out=distances), out=distances)


Parts = Callable[[np.random.Generator], tuple[Int64, Int64]]


def kinds_among(
    vectors: npt.ArrayLike, m: int, cut: float, *, n_splits: int = 50, seed: int = 0, parts: Parts | None = None
) -> Estimate:
    """Classes that m texts form among themselves by complete linkage at `cut`, on average; m is at most n / 2.

    `threshold_classes` of random m of the n texts, twice `n_splits` times, from `seed` and in the order of the rows. It
    compares arms of different n at one m. Larger is more diverse. Range [1, m]; m > n / 2: undefined. Unbiased. Two
    disjoint parts are independent looks at the model, so the variance is the square of the mean less the mean product
    of such two, without bias and with what forming the classes adds, which a count of classes formed once does not
    know; none where that is not above 0. `parts` makes two independent looks of m texts each where texts are not
    independent by themselves. O(n_splits m^2). Wang and Lindsay, Stat. Sinica 24 (2014) 1117.

    Two equal texts and two others, m = 2: `coverage.rarefied_richness` of (2, 1, 1), 11/6.

    >>> rows = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> round(kinds_among(rows, 2, 0.7, n_splits=2000).value, 1)
    1.8
    """
    if m < 1:
        raise BadValue("m", m, "it is at least one generation")
    units = unit_rows(vectors)
    n = len(units)
    if 2 * m > n:
        return undefined(n, f"twice {m} generations are more than the {n} there are")
    distances = 1 - np.clip(units @ units.T, -1, 1)
    without = ~units.any(axis=1)
    distances[np.ix_(without, without)] = 0
    generator = np.random.default_rng(seed)
    numbers = np.empty((n_splits, 2))
    one, other = np.triu_indices(m, 1)
    for row in range(n_splits):
        if parts is None:
            order = generator.permutation(n)
            both = order[:m], order[m : 2 * m]
        else:
            both = parts(generator)
        numbers[row] = [m - _n_merges(distances[part[one], part[other]], cut) for part in both]
    mean = float(numbers.mean())
    variance = -float((numbers - mean).prod(axis=1).mean())
    return Estimate(mean, math.sqrt(variance) if variance > 0 else None, n)


def _n_merges(distances: Float64, cut: float) -> int:
    """How many merges complete linkage of these pairs makes up to `cut`; the first joins the two that are nearest."""
    reach = 1 - cut + _SAME
    if not (distances <= reach).any():
        return 0
    from scipy.cluster.hierarchy import linkage  # heavy, and needed only here

    return int((linkage(distances, "complete")[:, 2] <= reach).sum())


class Clustering(NamedTuple):
    """Class of each text and the sum of squared distances of texts to the centre of their class."""

    labels: Int64
    within: float


def k_means(vectors: npt.ArrayLike, k: int, *, seed: int = 0, n_init: int = N_INIT) -> Clustering:
    """k-means of the directions of the vectors: the best of a start from Ward's tree and `n_init` random ones.

    Random starts are k-means++ from `seed`, on the rows in sorted order, so that the partition does not depend on
    theirs. Classes are numbered in the order of their first text. With fewer distinct rows than k, k is lowered to that
    number, so classes are in [1, min(k, n)]: k is chosen, and says nothing of diversity. `within` in [0, n] falls with
    k, and for one k rises with n; it is that of a local optimum, the least of those found. Texts without a vector must
    be left out beforehand. O(n^2 d + n k d steps): 10,000 x 384 take about half a minute, mostly Ward's tree, and 1 GB.
    MacQueen, Proc. 5th Berkeley Symp. 1 (1967) 281; Arthur and Vassilvitskii, Proc. SODA (2007) 1027.

    >>> k_means([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]], 2).labels.tolist()
    [0, 1, 0]
    """
    units = _with_direction(vectors)
    if k < 1:
        raise BadValue("k", k, "there is at least one cluster")
    if not len(units):
        return Clustering(np.zeros(0, np.int64), 0.0)
    return _partitions(units, [min(k, _distinct(units))], seed, n_init)[0]


def _partitions(units: Float64, tried: Sequence[int], seed: int, n_init: int) -> list[Clustering]:
    """`k_means` for each k, at most the number of distinct rows; one tree serves all."""
    order = np.lexsort(units.T)
    points = units[order]
    branches = _branches(points, max(tried))
    found = []
    for k in tried:
        best = _best_k_means(points, branches[k - 1], k, seed, n_init)
        labels = np.empty(len(units), np.int64)
        labels[order] = best.labels
        found.append(Clustering(exact_classes(labels.tolist()), best.within))
    return found


def _best_k_means(points: Float64, branches: Int64, k: int, seed: int, n_init: int) -> Clustering:
    """Of the start from the tree and the random ones; few random ones miss one of many clusters as often as not."""
    found = _k_means_from(points, branches, k)
    if k == 1:
        return found
    from sklearn.cluster import KMeans  # heavy, and needed only here

    random = KMeans(k, n_init=n_init, random_state=seed).fit(points)
    return found if random.inertia_ >= found.within else Clustering(random.labels_, float(random.inertia_))


def _with_direction(vectors: npt.ArrayLike) -> Float64:
    units = unit_rows(vectors)
    if not units.any(axis=1).all():
        raise ValueError("a row of zeros has no direction; leave texts without a vector out")
    return units


def _distinct(points: Float64) -> int:
    return len(np.unique(points.round(9), axis=0))


def _k_means_from(points: Float64, labels: Int64, k: int) -> Clustering:
    """k-means started from classes 0 to k - 1."""
    if k == 1:
        return _one_cluster(points)
    from sklearn.cluster import KMeans  # heavy, and needed only here

    members = np.eye(k)[labels]
    centres = members.T @ points / members.sum(axis=0)[:, None]
    best = KMeans(k, init=centres, n_init=1).fit(points)
    return Clustering(exact_classes(best.labels_.tolist()), float(best.inertia_))


def _branches(points: Float64, k_max: int) -> Int64:
    """Classes 0 to k - 1 by the k branches of Ward's tree, for k from 1 to k_max, shape (k_max, n).

    The tree's last k - 1 merges undone. scipy's `cut_tree` says the same a hundred times slower.
    """
    n = len(points)
    labels = np.zeros((k_max, n), np.int64)
    if k_max == 1:
        return labels
    from scipy.cluster.hierarchy import linkage  # heavy, and needed only here

    members = [[place] for place in range(n)]
    for n_left, (one, other, *_) in zip(range(n - 1, 0, -1), linkage(_euclidean_of_pairs(points), "ward"), strict=True):
        if n_left < k_max:  # before this merge there are n_left + 1 branches
            _number_branches(labels[n_left], members)
        members.append(members[int(one)] + members[int(other)])
        members[int(one)], members[int(other)] = [], []
    return labels


def _number_branches(labels: Int64, members: Sequence[Sequence[int]]) -> None:
    for number, places in enumerate(some for some in members if some):
        labels[list(places)] = number


def _one_cluster(points: Float64) -> Clustering:
    return Clustering(np.zeros(len(points), np.int64), _spread(points))


def _spread(points: Float64) -> float:
    return float(np.square(points - points.mean(axis=0)).sum())


# ---- how many ----


class ClusterCount(NamedTuple):
    """The chosen k, and of each k that was tried its score and the standard error of that; None where undefined.

    Of one arm k is no measure of its diversity, for an arm that mostly says one thing may have as many clusters as one
    that says all equally often: choose k on all arms together and compare their `occupancy`.
    """

    k: int | None
    tried: tuple[int, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]
    n: int
    reason: str | None = None
    warning: str | None = None


def k_by_silhouette(vectors: npt.ArrayLike, k_max: int = 16, *, seed: int = 0, n_init: int = N_INIT) -> ClusterCount:
    """The k >= 2 with the largest mean silhouette of the classes of `k_means`; ties go to the smaller k.

    Silhouette of a text: (b - a) / max(a, b), a the mean distance to its own class, b to the nearest other one; 0 alone
    in its class; mean in [-1, 1]. It cannot answer 1: of a single cloud it says 2 or 3. k runs to k_max, but not beyond
    the distinct rows nor n - 1; fewer than two distinct rows or three texts: undefined. Larger k: more kinds, few of
    them large; see `ClusterCount`. Of few texts it tends to say too many or too few, without a direction. No standard
    error. O(n^2 d + k_max n^2), with two matrices of n x n: 10,000 texts take minutes and 2 GB.
    Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53.

    >>> k_by_silhouette(np.eye(3)[[0, 1, 2, 0, 1, 2]]).k
    3
    """
    _check_k_max(k_max, 2)
    units = _with_direction(vectors)
    n = len(units)
    distinct = _distinct(units) if n else 0
    tried = tuple(range(2, min(k_max, distinct, n - 1) + 1))
    if not tried:
        return ClusterCount(None, (), (), (), n, "fewer than three texts, or all alike")
    from sklearn.metrics import silhouette_score  # heavy, and needed only here

    distances = np.sqrt(np.maximum(2 - 2 * units @ units.T, 0))
    distances[distances < math.sqrt(_SAME)] = 0
    np.fill_diagonal(distances, 0)
    found = _partitions(units, tried, seed, n_init)
    scores = [float(silhouette_score(distances, one.labels, metric="precomputed")) for one in found]
    best = max(range(len(tried)), key=lambda i: (scores[i] > max(scores) - _SAME, -tried[i]))
    return ClusterCount(tried[best], tried, tuple(scores), (), n, warning=_at_limit(tried[best], k_max))


def _at_limit(k: int, k_max: int) -> str | None:
    return f"the largest number tried, {k_max}; there may be more" if k == k_max else None


def _check_k_max(k_max: int, smallest: int) -> None:
    if k_max < smallest:
        raise BadValue("k_max", k_max, f"the largest number of clusters to try is at least {smallest}")


def _principal_axes(units: Float64) -> Float64:
    """Coordinates along all principal axes, at most n - 1 of them: rotated, so that distances stay."""
    u, s, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    rank = max(1, int((s > _SAME).sum()))
    coordinates: Float64 = (u * s)[:, :rank]
    return coordinates


def k_by_gap(vectors: npt.ArrayLike, k_max: int = 16, *, n_references: int = 10, seed: int = 0) -> ClusterCount:
    """Smallest k with Gap(k) >= Gap(k+1) - s(k+1), k from 1: how many clusters beyond what a cloud without any shows.

    Gap(k) = mean over B references of log W_k - log W_k of the data, W_k the squared distances within k-means classes,
    of data and references alike started from Ward's tree alone; s(k) = sd sqrt(1 + 1/B). A reference is uniform in the
    box around the data along all its principal axes: of ten clusters among 60 or 100 texts the first 50 axes saw none
    more often. It may still answer 1 for many clusters with few texts each (14 clusters, 60 texts: mostly), for
    splitting one cloud into two halves then explains little.
    k runs to k_max, but not beyond the distinct rows nor n - 1, and no further than the rule needs (`tried`, `scores`
    end with the chosen k + 1); W_1 = 0 (all texts alike) answers 1. No texts: undefined. Larger k: more kinds; see
    `ClusterCount`. O(B (n^2 d + k n k d)): with d = 384 and B = 10, 3,000 texts take a minute.
    Tibshirani, Walther and Hastie, J. R. Stat. Soc. B 63 (2001) 411.

    >>> k_by_gap(np.repeat(np.eye(2), 5, axis=0)).k, k_by_gap(np.ones((5, 2))).k
    (2, 1)
    """
    _check_k_max(k_max, 1)
    if n_references < 10:
        raise BadValue("n_references", n_references, "fewer than 10 make the rule a matter of luck")
    units = _with_direction(vectors)
    n = len(units)
    if n == 0:
        return ClusterCount(None, (), (), (), 0, "no generations")
    if n < 3 or _spread(units) < _SAME:
        return ClusterCount(1, (), (), (), n, warning=None if n > 2 else "fewer than three texts")
    points = _principal_axes(units)
    last = min(k_max, _distinct(points), n - 1)
    generator = np.random.default_rng(seed)
    low, high = points.min(axis=0), points.max(axis=0)
    clouds = [points, *(generator.uniform(low, high, points.shape) for _ in range(n_references))]
    branches = [_branches(cloud, last) for cloud in clouds]
    gaps: list[float] = []
    errors: list[float] = []
    for k in range(1, last + 1):
        own, *others = (_log_within(cloud, tree[k - 1], k) for cloud, tree in zip(clouds, branches, strict=True))
        gaps.append(float(np.mean(others)) - own)
        errors.append(float(np.std(others)) * math.sqrt(1 + 1 / n_references))
        if k > 1 and gaps[-2] >= gaps[-1] - errors[-1]:
            return ClusterCount(k - 1, tuple(range(1, k + 1)), tuple(gaps), tuple(errors), n)
    warning = _at_limit(last, k_max)
    return ClusterCount(last, tuple(range(1, last + 1)), tuple(gaps), tuple(errors), n, warning=warning)


def _log_within(points: Float64, labels: Int64, k: int) -> float:
    """log W_k; -inf where every class is a single point, which makes the gap infinite."""
    within = _k_means_from(points, labels, k).within
    return math.log(within) if within > _SAME else -math.inf


# ---- what the classes say ----


def medoids(vectors: npt.ArrayLike, labels: npt.ArrayLike) -> Int64:
    """Row of the medoid of each class 0, 1, ...: the text with the largest mean cosine to its class.

    Ties go to the first row. The medoid is a text that exists, so it can be shown. O(n d).

    >>> medoids([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, -1.0]], [0, 0, 0, 1]).tolist()
    [1, 3]
    """
    units, classes = unit_rows(vectors), _labels(labels, vectors)
    chosen = []
    for label in range(int(classes.max(initial=-1)) + 1):
        members = np.flatnonzero(classes == label)
        if not len(members):
            raise ValueError(f"class {label} has no member")
        likeness = units[members] @ units[members].sum(axis=0)
        chosen.append(members[np.argmax(likeness > likeness.max() - _SAME)])
    return np.array(chosen, np.int64)


def _labels(labels: npt.ArrayLike, vectors: npt.ArrayLike) -> Int64:
    classes = np.asarray(labels, np.int64)
    if len(classes) != len(np.asarray(vectors)) or (classes < 0).any():
        raise ValueError("one class, 0 or larger, for each text")
    return classes


class Occupancy(NamedTuple):
    """How many texts of an arm each class holds, and the effective number of classes, exp(H) of those shares."""

    counts: Int64
    effective: Estimate


def occupancy(labels: npt.ArrayLike, arms: Sequence[str]) -> dict[str, Occupancy]:
    """Counts over the pooled classes for each arm, in the order in which arms first appear.

    Effective number in [1, classes], larger is more diverse: all in one 1, evenly spread over k: k. Plug-in, so too low
    and rising with n: equal n only; standard error as of `indices.hill`. An arm without texts is not named. An arm's
    counts go to `coverage` and `indices` as they are. O(n arms). Hill, Ecology 54 (1973) 427.

    >>> found = occupancy([0, 1, 0, 0], ["base", "base", "aligned", "aligned"])
    >>> found["aligned"].counts.tolist(), round(found["base"].effective.value, 6)
    ([2, 0], 2.0)
    """
    classes, names = np.asarray(labels, np.int64), np.asarray(arms)
    if len(classes) != len(names):
        raise ValueError("one arm for each text")
    k = int(classes.max(initial=-1)) + 1
    counts = {arm: np.bincount(classes[names == arm], minlength=k) for arm in dict.fromkeys(arms)}
    return {arm: Occupancy(of_arm, hill(of_arm, 1)) for arm, of_arm in counts.items()}


class Cluster(Protocol):
    """Labels the rows of some vectors."""

    def __call__(self, vectors: Float64, /) -> npt.ArrayLike: ...


class Stability(NamedTuple):
    """Mean and sd of the adjusted Rand index over subsamples; None where undefined."""

    value: float | None
    sd: float | None
    n: int
    reason: str | None = None
    warning: str | None = None


def stability(
    vectors: npt.ArrayLike, cluster: Cluster, *, seed: int = 0, n_subsamples: int = 20, share: float = 0.8
) -> Stability:
    """Do the classes survive with fewer texts? Adjusted Rand index of a subsample's classes and those of all texts.

    Compared on the texts of the subsample, drawn without replacement. 1: the same classes each time; 0: no better than
    chance; can be below. Below 0.6 the classes are not stable and no number of them is to be given. One class:
    undefined. Says how far classes are to be trusted, not how diverse texts are. Subsamples overlap, so `sd` is that of
    subsamples and no standard error, and it is too kind: two separate runs agree less. Which texts a subsample holds
    depends on the order of the rows. `cluster`: for example `lambda rows: k_means(rows, 6).labels`, which does all the
    work: it is called n_subsamples + 1 times.
    Hubert and Arabie, J. Classif. 2 (1985) 193.

    >>> stability(np.repeat(np.eye(3), 5, axis=0), lambda rows: k_means(rows, 3).labels).value
    1.0
    """
    from sklearn.metrics import adjusted_rand_score  # heavy, and needed only here

    rows = np.asarray(vectors, np.float64)
    unit_rows(rows)  # refuses what is no vector; `cluster` is given the rows as they are
    n, generator = len(rows), np.random.default_rng(seed)
    whole = np.asarray(cluster(rows)) if n > 1 else np.zeros(n)
    if len(np.unique(whole)) < 2:
        return Stability(None, None, n, "one class cannot be unstable" if n else "no generations")
    parts = [np.sort(generator.choice(n, max(2, round(share * n)), replace=False)) for _ in range(n_subsamples)]
    indices = [float(adjusted_rand_score(whole[part], np.asarray(cluster(rows[part])))) for part in parts]
    mean = float(np.mean(indices))
    warning = "clusters are not stable" if mean < UNSTABLE else None
    return Stability(mean, float(np.std(indices, ddof=1)), n, warning=warning)


class Attractors(NamedTuple):
    """Classes as places to return to: the direction of each medoid, and the smallest cosine to it that counts as in."""

    centres: Float64
    reach: Float64


def attractors(vectors: npt.ArrayLike, labels: npt.ArrayLike, *, cut: float | None = None) -> Attractors:
    """The medoid of each class, with the class's own spread: the cosine of its farthest member to the medoid.

    A class of one has no spread of its own, only itself lies in it; with `cut` (that of `threshold_classes`) a class
    reaches at least as far as the cut. Reach in [-1, 1], smaller is wider; it falls as a class gains members, so give
    both runs attractors of one and the same run. Texts without a vector do not widen a class; a class of nothing else
    has a centre of zeros, to which no text returns. A name by analogy, no claim that the model has dynamics. O(n d).

    >>> attractors([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], [0, 0, 1]).reach.tolist()
    [0.8, 1.0]
    """
    units, classes = unit_rows(vectors), _labels(labels, vectors)
    centres = units[medoids(vectors, classes)] if len(units) else units
    own = np.where(units.any(axis=1), (units * centres[classes]).sum(axis=1), 1)
    reach = np.array([own[classes == label].min() for label in range(len(centres))], np.float64)
    return Attractors(centres, reach if cut is None else np.minimum(reach, cut))


class Returns(NamedTuple):
    """Class to which each new text returned, -1 for none, and the share that did."""

    classes: Int64
    share: Proportion


def return_share(vectors: npt.ArrayLike, places: Attractors) -> Returns:
    """Share of new vectors whose nearest medoid is as near as that class's own members are, with Wilson's interval.

    Range [0, 1], larger is less new ground. Even texts of the same recipe do not all return, since each may lie farther
    out than all before: read it against the share of an unperturbed control of the same size with the same attractors.
    No classes or no texts: undefined; a text without a vector returns nowhere, and counts in n. O(n classes d). Wilson,
    J. Am. Stat. Assoc. 22 (1927) 209, for the interval.

    >>> found = return_share([[0.9, 0.1], [-1.0, 0.0]], attractors([[1.0, 0.0], [0.8, 0.6]], [0, 0]))
    >>> found.classes.tolist(), found.share.value
    ([0, -1], 0.5)
    """
    units = unit_rows(vectors)
    if not len(places.centres):
        nowhere = Proportion(None, None, None, 0, len(units), "no attractor to return to")
        return Returns(np.full(len(units), -1, np.int64), nowhere)
    cosines = np.where(places.centres.any(axis=1), units @ places.centres.T, -math.inf)
    nearest = np.argmax(cosines, axis=1)
    inside = (cosines.max(axis=1) >= places.reach[nearest] - _SAME) & units.any(axis=1)
    return Returns(np.where(inside, nearest, -1), wilson(int(inside.sum()), len(units)))
