"""Choosing N of many: integer quotas, near duplicates left out, members of a cell that lie far apart. Deterministic.

Vectors are rows of length 1 in float32, shape (n, d), a row of zeros for a text without one; ties go to the lower
index. Nothing holds n x n numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Float64, Int64

Float32 = npt.NDArray[np.float32]

NEAR = 0.92  # cosine from which two texts are near duplicates
_BLOCK = 512  # rows whose cosines with all kept ones are held at a time
_ROUNDING = 1e-5  # of float32 products: cosines that near to the cut are computed again in float64
_TIE = 6  # decimals from which distances are equal
_CANDIDATES = 64  # cells that are weighed for one person, where there are more than four times as many


def quotas(shares: npt.ArrayLike, n: int) -> Int64:
    """How many of n each share gets: whole numbers that sum to n, by largest remainders, ties by index.

    floor(n q), then one more each to the largest n q - floor(n q). Within 1 of n q, and 0 where the share is. Not
    monotone in n: a cell may lose one as n grows (the Alabama paradox). Hamilton's method; Balinski and Young, Fair
    Representation (1982). O(cells log cells).

    7 by 1/2, 1/4, 1/4: 3.5, 1.75, 1.75, so 3, 1, 1 and one more for the second and third.

    >>> quotas([0.5, 0.25, 0.25], 7).tolist()
    [3, 2, 2]
    """
    q = np.asarray(shares, np.float64)
    if q.ndim != 1 or not len(q) or not (q >= 0).all() or not abs(float(q.sum()) - 1) <= 1e-6:
        raise ValueError("shares are one row of numbers, none negative, that sum to 1")
    if n < 0:
        raise BadValue("n", n, "it is how many are wanted, 0 or more")
    exact = np.round(n * q / q.sum(), 9)  # so that 0.29 * 100 is 29, and equal remainders are
    whole = np.floor(exact).astype(np.int64)
    left = n - int(whole.sum())
    whole[np.argsort(-np.round(exact - whole, 9), kind="stable")[:left]] += 1
    return np.asarray(whole)


def balanced_quotas(shares: npt.ArrayLike, codes: npt.ArrayLike, n: int, chance: Callable[[], float]) -> Int64:
    """How many of n each cell of several fields gets, so that each field and each two of them have their shares too.

    `shares` of the cells; `codes` (cells, fields): the number of each field's value. Largest remainders would take
    equal cells by their index, and with fewer people than cells one value of a field alone. So after floor(n q) the
    others are dealt one by one, each to the cell that lowers the squared deviations from t q of all fields, pairs
    of fields and cells most, t being those dealt so far; no cell gets two. Of many cells 64 are weighed, drawn by their
    remainders with `chance` (numbers in [0, 1)), which settles ties as well. Within 1 of n q in every cell; one field:
    `quotas`. O(n fields^2 + cells fields^2).

    Four equal cells of two fields, n = 2: the second person differs from the first in both.

    >>> chance = iter([0.1, 0.2, 0.3, 0.4] * 9).__next__
    >>> balanced_quotas([0.25] * 4, [[0, 0], [0, 1], [1, 0], [1, 1]], 2, chance).tolist()
    [1, 0, 0, 1]
    """
    of_cell = np.asarray(codes, np.int64)
    if of_cell.ndim != 2 or len(of_cell) != np.size(shares):
        raise ValueError("each cell has a share and a code of each field")
    by_remainder = quotas(shares, n)  # refuses what are no shares
    if of_cell.shape[1] < 2:
        return by_remainder
    q = np.asarray(shares, np.float64) / np.sum(shares)
    exact = np.round(n * q, 9)
    whole = np.floor(exact).astype(np.int64)
    places = _places_in_tables(of_cell)
    wanted = np.bincount(places.ravel(), np.repeat(q, places.shape[1]))
    had = np.bincount(places.ravel(), np.repeat(whole.astype(np.float64), places.shape[1]))
    free, cumulated = exact > whole, np.cumsum(exact - whole)
    for dealt in range(int(whole.sum()) + 1, n + 1):
        some = _candidates(free, cumulated, chance)
        need = (dealt * wanted - had)[places[some]].sum(axis=1)
        best = int(some[np.argmax(np.round(need, 9))])
        whole[best] += 1
        free[best] = False
        had[places[best]] += 1
    return np.asarray(whole)


def _places_in_tables(codes: Int64) -> Int64:
    """Of each cell its place in the table of every field, of every two, and of all cells, one table behind another."""
    sizes = codes.max(axis=0) + 1
    columns = [codes[:, at] for at in range(len(sizes))]
    columns += [codes[:, a] * sizes[b] + codes[:, b] for a, b in itertools.combinations(range(len(sizes)), 2)]
    columns.append(np.arange(len(codes)))
    starts = np.cumsum([0, *(int(one.max()) + 1 for one in columns[:-1])])
    placed: Int64 = np.stack(columns, axis=1) + starts
    return placed


def _candidates(free: npt.NDArray[np.bool_], cumulated: Float64, chance: Callable[[], float]) -> Int64:
    """Cells that may get one more, in a random order."""
    if len(free) > 4 * _CANDIDATES:
        drawn = np.array([chance() for _ in range(_CANDIDATES)]) * cumulated[-1]
        some: Int64 = np.minimum(np.searchsorted(cumulated, drawn, side="right"), len(free) - 1)
        some = some[free[some]]
        if len(some):
            return some
    left = np.flatnonzero(free)
    return np.asarray(left[np.argsort([chance() for _ in left], kind="stable")])


def far_apart(vectors: npt.ArrayLike, k: int) -> Int64:
    """Indices of k rows that lie far apart, in the order of their choice; all rows where there are no more than k.

    Greedy max-min: the first is row 0, then always the row whose distance 1 - cosine to the nearest chosen one is
    largest, distances rounded to 6 decimals, ties by index. So the first choice is no outlier, and a prefix is the
    choice of fewer. The smallest angle between chosen ones is at least half of the largest possible one. Gonzalez,
    Theor. Comput. Sci. 38 (1985) 293. O(n k d), memory O(n).

    At 0, 10, 90 and 50 degrees: 0 first, 90 is the furthest, then 50 (40 from 90) before 10.

    >>> angles = np.radians([0, 10, 90, 50])
    >>> far_apart(np.stack([np.cos(angles), np.sin(angles)], axis=1), 3).tolist()
    [0, 2, 3]
    """
    rows = _units(vectors)
    if k < 0:
        raise BadValue("k", k, "it is how many are chosen, 0 or more")
    chosen = np.empty(min(k, len(rows)), np.int64)
    nearest = np.full(len(rows), np.inf)  # distance to the nearest chosen row
    for place in range(len(chosen)):
        best = int(np.argmax(nearest))
        chosen[place] = best
        np.minimum(nearest, np.round(1 - rows @ rows[best], _TIE), out=nearest)
        nearest[best] = -np.inf
    return chosen


class Kept:
    """Vectors of which none is a near duplicate of an earlier one that was kept; batches may be added one by one.

    A vector is new if its cosine with every kept one is below `cut`, and then it is kept; one that is near to vectors
    that were themselves left out stays. So which ones are kept depends on the order in which they come, not on batches,
    and equals what one comparison after the other gives in float64. A row of zeros is near to none. Of n vectors with K
    kept O(n K d) in blocks: 10,000 of 384 numbers take less than a second. `kept`: their numbers, counted from 0
    over all that were added; `vectors`: they themselves, (K, d).

    Cosines 0.95 (first two) and 0.94 of the third with the second, 0.79 with the first: the second is left out, and so
    the third is new.

    >>> angles = np.radians([0, 18, 38])
    >>> Kept().add(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    [None, 0, None]
    """

    def __init__(self, cut: float = NEAR) -> None:
        if not 0 < cut < 1:
            raise BadValue("cut", cut, "the cosine of near duplicates lies between 0 and 1, both excluded")
        self.cut = cut
        self.n_seen = 0
        self._numbers: list[int] = []
        self._rows: Float32 = np.empty((0, 0), np.float32)  # room for kept vectors, doubled when full

    @property
    def kept(self) -> Int64:
        """Numbers of the kept vectors, rising."""
        return np.array(self._numbers, np.int64)

    @property
    def vectors(self) -> Float32:
        """The kept vectors, shape (K, d); a view, read it only."""
        return self._rows[: len(self._numbers)]

    def add(self, vectors: npt.ArrayLike) -> list[int | None]:
        """Of each further vector the number of the first kept one that it is near to, None where it is new and kept."""
        rows = _units(vectors)
        if len(rows) and self._numbers and rows.shape[1] != self._rows.shape[1]:
            raise ValueError(f"vectors of {rows.shape[1]} numbers after some of {self._rows.shape[1]}")
        found: list[int | None] = []
        for start in range(0, len(rows), _BLOCK):
            found += self._add_block(rows[start : start + _BLOCK])
        return found

    def _add_block(self, block: Float32) -> list[int | None]:
        before = len(self._numbers)
        earlier = block @ self.vectors.T if before else np.empty((len(block), 0), np.float32)
        may_be_near: npt.NDArray[np.bool_] = np.asarray(earlier >= self.cut - _ROUNDING)
        maybe: list[bool] = np.asarray(may_be_near.any(axis=1)).tolist()
        among: npt.NDArray[np.bool_] = np.asarray(block @ block.T >= self.cut - _ROUNDING)
        found: list[int | None] = []
        kept_here: list[int] = []  # rows of this block, by their place in it
        for at, row in enumerate(block):
            near = self._first_near(row, np.flatnonzero(may_be_near[at])) if maybe[at] else None
            if near is None and kept_here:
                near = self._first_near(row, before + np.flatnonzero(among[at][kept_here]))
            if near is None:
                kept_here.append(at)
                self._keep(row, self.n_seen + at)
            found.append(near)
        self.n_seen += len(block)
        return found

    def _first_near(self, row: Float32, candidates: Int64) -> int | None:
        """The number of the first of these kept vectors with a cosine of `cut` or more in float64."""
        for place in candidates.tolist():
            if float(np.dot(row.astype(np.float64), self._rows[place].astype(np.float64))) >= self.cut:
                return int(self._numbers[place])
        return None

    def _keep(self, row: Float32, number: int) -> None:
        n = len(self._numbers)
        if n == len(self._rows):
            room = np.empty((max(_BLOCK, 2 * n), len(row)), np.float32)
            room[:n] = self._rows[:n] if n else 0
            self._rows = room
        self._rows[n] = row
        self._numbers.append(number)


def _units(vectors: npt.ArrayLike) -> Float32:
    """Rows as float32, checked: of length 1, or of zeros."""
    rows: Any = np.asarray(vectors, np.float32)
    if rows.ndim != 2:
        raise ValueError("vectors are the rows of a matrix")
    squares = np.einsum("ij,ij->i", rows, rows)
    if not ((np.abs(squares - 1) <= 1e-3) | (squares == 0)).all():
        raise ValueError("vectors are of length 1, or of zeros")
    return np.ascontiguousarray(rows)
