"""k-means on points in float64: Lloyd's steps from given centres, and random starts by greedy k-means++.

Step for step, and with the same random numbers, what scikit-learn's `KMeans` does, which takes about twice as long for
a few hundred points: it checks its arguments and asks for its threads at every start. A test holds the two together.
Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129; Arthur and Vassilvitskii, Proc. SODA (2007) 1027.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.inference import Float64, Int64

_MOST_STEPS = 300
_TOLERANCE = 1e-4  # of the mean variance of a coordinate: centres that moved less, in squares and all together, stand


class Partition(NamedTuple):
    """Class of each point, and the sum of squared distances of points to the centre of their class."""

    labels: Int64
    within: float


class Lloyd:
    """k-means of some points."""

    def __init__(self, points: Float64) -> None:
        self._tolerance = _TOLERANCE * float(np.var(points, axis=0).mean())
        self._mean = points.mean(axis=0)
        self._points = points - self._mean  # around 0 distances lose fewest digits
        self._squares = _squares(self._points)

    def start(self, centres: Float64) -> Partition:
        """From centres of one's own."""
        return self._settled(centres - self._mean)

    def best(self, k: int, n_init: int, seed: int) -> Partition:
        """The best of `n_init` random starts. Of equal ones rounding decides, and with it how classes are numbered."""
        random = np.random.RandomState(seed)
        found = self._settled(self._seeds(k, random))
        for _ in range(n_init - 1):
            other = self._settled(self._seeds(k, random))
            if other.within < found.within:
                found = other
        return found

    def _seeds(self, k: int, random: np.random.RandomState) -> Float64:
        """Points far from each other; of a few candidates for each the one that leaves the least distance."""
        n, n_trials = len(self._points), 2 + int(np.log(k))
        chosen = [int(random.choice(n, p=np.full(n, 1 / n)))]
        nearest = self._squared_distances(np.array(chosen))[0]
        left = float(nearest.sum())
        for _ in range(k - 1):
            drawn = random.uniform(size=n_trials) * left
            candidates = np.minimum(np.searchsorted(np.cumsum(nearest), drawn), n - 1)
            distances = self._squared_distances(candidates)
            np.minimum(distances, nearest, out=distances)
            sums = distances.sum(axis=1)
            best = int(np.argmin(sums))
            left, nearest = float(sums[best]), distances[best]
            chosen.append(int(candidates[best]))
        seeds: Float64 = self._points[chosen]
        return seeds

    def _squared_distances(self, rows: Int64) -> Float64:
        """Of these points to all, shape (rows, n)."""
        distances: Float64 = self._points[rows] @ self._points.T
        distances *= -2
        distances += self._squares[rows][:, None]
        distances += self._squares
        return np.maximum(distances, 0, out=distances)

    def _settled(self, centres: Float64) -> Partition:
        """Steps until no class changes, or centres hardly move."""
        before = None
        for _ in range(_MOST_STEPS):
            labels = self._nearest(centres)
            moved = self._centres(labels, centres)
            shift = float(np.square(moved - centres).sum())
            centres = moved
            if before is not None and np.array_equal(labels, before):
                break
            if shift <= self._tolerance:
                labels = self._nearest(centres)
                break
            before = labels
        else:
            labels = self._nearest(centres)
        return Partition(labels, float(np.square(self._points - centres[labels]).sum()))

    def _nearest(self, centres: Float64) -> Int64:
        distances = self._points @ centres.T
        distances *= -2
        distances += _squares(centres)
        nearest: Int64 = distances.argmin(axis=1)
        return nearest

    def _centres(self, labels: Int64, centres: Float64) -> Float64:
        """The mean of each class; one that ran empty takes the point that lies farthest from its own centre."""
        k = len(centres)
        sizes = np.bincount(labels, minlength=k).astype(np.float64)
        sums = (labels == np.arange(k)[:, None]).astype(np.float64) @ self._points
        if not sizes.all():
            self._refill(sums, sizes, labels, centres)
        means: Float64 = sums / np.maximum(sizes, 1)[:, None]
        means[sizes == 0] = means[sizes.argmax()]
        return means

    def _refill(self, sums: Float64, sizes: Float64, labels: Int64, centres: Float64) -> None:
        empty = np.flatnonzero(sizes == 0)
        distances = np.square(self._points - centres[labels]).sum(axis=1)
        if not distances.any():
            return
        farthest = np.argpartition(distances, -len(empty))[: -len(empty) - 1 : -1]
        for label, place in zip(empty, farthest, strict=True):
            sums[labels[place]] -= self._points[place]
            sizes[labels[place]] -= 1
            sums[label], sizes[label] = self._points[place], 1


def _squares(points: Float64) -> Float64:
    squares: Float64 = np.einsum("ij,ij->i", points, points)
    return squares
