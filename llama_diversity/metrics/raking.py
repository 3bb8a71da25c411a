"""Joint shares that have given margins, and weights that give a sample margins it has not.

Iterative proportional fitting (Deming and Stephan, Ann. Math. Stat. 11 (1940) 427): every margin in turn is made right
by one factor a value. From a start of equal shares it ends at the joint of the greatest entropy; a cell that is 0 stays
0. That some joint with these margins exists at all is decided by a linear program, which also says what contradicts
what. Shares are of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Float64, Int64

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WITHIN = 1e-9  # of each share of a margin
MOST_WEIGHT = 5.0  # times the mean
_FEASIBLE = 1e-7  # what HiGHS, the solver of linear programs, holds constraints to
_FIRST_SWEEPS, _MOST_SWEEPS, _WEIGHT_SWEEPS = 300, 20_000, 2000

Bool = npt.NDArray[np.bool_]


class Margin(NamedTuple):
    """Shares over one or more axes (ascending) of a joint; they sum to 1."""

    name: str
    axes: tuple[int, ...]
    shares: Float64  # shape: the sizes of those axes


class Limit(NamedTuple):
    """A share that a margin asks for, and how far the others allow one to go: at most, or else at least."""

    margin: str
    cell: tuple[int, ...]
    share: float
    bound: float
    is_most: bool


class Contradiction(Exception):
    """No joint has all of these, and would if any one were spared; `limit` is a share that shows it."""

    def __init__(self, names: Sequence[str], limit: Limit | None) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)
        self.limit = limit


# ---- a joint from margins


def fitted(
    start: npt.ArrayLike, margins: Sequence[Margin], bars: Mapping[str, Bool] | None = None, *, within: float = WITHIN
) -> Float64:
    """The joint nearest to `start` (least relative entropy) that has all the margins to 1e-9. Raises Contradiction.

    `start`: weights of the cells, an axis a field, of any sum; where it is 0 the joint is 0. `bars`: by name, arrays
    that are True where a cell is forbidden, of length 1 along axes that do not matter. From a start of ones it is the
    joint of the greatest entropy; margins alone give their product. One sweep is linear in the cells.

    Rows 0.6 and 0.4, columns 0.7 and 0.3, the last cell forbidden: the column leaves 0.3 to the cell above, the row 0.4
    to the cell on its left, so 0.3 is left for the first.

    >>> rows, columns = Margin("r", (0,), np.array([0.6, 0.4])), Margin("c", (1,), np.array([0.7, 0.3]))
    >>> fitted(np.ones((2, 2)), [rows, columns], {"no": np.array([[False, False], [False, True]])}).round(6).tolist()
    [[0.3, 0.3], [0.4, 0.0]]
    """
    bars = dict(bars or {})
    shares = np.array(start, dtype=np.float64)
    if not shares.all():
        bars["the start"] = shares == 0
    for bar in bars.values():
        shares = np.where(bar, 0.0, shares)
    found = _swept(shares, margins, _FIRST_SWEEPS, within)
    if found is None:
        _refuse_contradictions(shares.shape, margins, bars)
        # Cells that every joint with these margins leaves empty are reached ever more slowly: they are taken out.
        found = _swept(np.where(_possible(shares, margins), shares, 0.0), margins, _MOST_SWEEPS, within)
    if found is None:
        raise Contradiction([*(one.name for one in margins), *bars], None)
    return found


def _swept(shares: Float64, margins: Sequence[Margin], n: int, within: float) -> Float64 | None:
    """After sweeps until nothing changes; None where a margin asks for what is 0 everywhere, or n are not enough."""
    total = shares.sum()
    if not total:
        return None
    shares = shares / total
    for _ in range(n):
        gap = 0.0
        for margin in margins:
            others = tuple(axis for axis in range(shares.ndim) if axis not in margin.axes)
            sums = shares.sum(axis=others, keepdims=True)
            wanted = margin.shares.reshape(sums.shape)
            if ((sums == 0) & (wanted > 0)).any():
                return None
            gap = max(gap, float(np.abs(sums - wanted).max()))
            shares = shares * np.divide(wanted, sums, out=np.zeros_like(sums), where=sums > 0)
        if gap < within / 10:  # each was this near before its turn, and moved the others by less than the rest
            return shares
    return None


# ---- linear programs: whether a joint exists, and where it must be 0


class _Program(NamedTuple):
    """What a joint must fulfil: `sums @ cells == wanted`, the last row for the whole; and of each row whose it is."""

    cells: Int64  # (n, axes): the cells that are not forbidden, 0 along axes that do not matter
    sums: csr_array[Any, Any]  # (rows, n)
    wanted: Float64
    rows: tuple[tuple[int, tuple[int, ...]], ...]  # number of the margin, and its cell


def _program(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, Bool]) -> _Program:
    from scipy import sparse

    touched = set().union(*map(_axes, bars.values()), *(one.axes for one in margins))
    allowed = np.ones([size if axis in touched else 1 for axis, size in enumerate(shape)], dtype=bool)
    for bar in bars.values():
        allowed = allowed & ~bar
    cells = np.argwhere(allowed).reshape(-1, len(shape))
    blocks, wanted, rows = [], [], []
    for number, margin in enumerate(margins):
        row = np.ravel_multi_index(tuple(cells[:, axis] for axis in margin.axes), margin.shares.shape)
        at = (row, np.arange(len(cells)))
        blocks.append(sparse.csr_array((np.ones(len(cells)), at), shape=(margin.shares.size, len(cells))))
        wanted.append(margin.shares.ravel())
        rows += [(number, tuple(map(int, cell))) for cell in np.ndindex(margin.shares.shape)]
    blocks.append(sparse.csr_array(np.ones((1, len(cells)))))
    return _Program(cells, sparse.vstack(blocks, format="csr"), np.concatenate([*wanted, [1.0]]), tuple(rows))


def _is_feasible(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, Bool]) -> bool:
    """Whether some joint has these margins: the least sum of gaps is 0."""
    from scipy import sparse
    from scipy.optimize import linprog

    program = _program(shape, margins, bars)
    n_rows, n = program.sums.shape
    gaps = sparse.eye_array(n_rows, format="csr")
    costs = np.concatenate([np.zeros(n), np.ones(2 * n_rows)])
    found = linprog(costs, A_eq=sparse.hstack([program.sums, gaps, -gaps]), b_eq=program.wanted, method="highs")
    return bool(found.fun < _FEASIBLE)


def _possible(shares: Float64, margins: Sequence[Margin]) -> Bool:
    """Which cells are more than 0 in some joint with these margins: one program finds all of them.

    A multiple s >= 1 of a joint is split in t + r, t at most 1 a cell; the greatest sum of t has t = 1 wherever a joint
    can be more than 0.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    program = _program(shares.shape, margins, {"zero": shares == 0})
    n = len(program.cells)
    costs = np.concatenate([-np.ones(n), np.zeros(n + 1)])
    equations = sparse.hstack([program.sums, program.sums, sparse.csr_array(-program.wanted[:, None])])
    limits = np.array([(0.0, 1.0)] * n + [(0.0, np.inf)] * n + [(1.0, np.inf)])
    found = linprog(costs, A_eq=equations, b_eq=np.zeros(len(program.wanted)), bounds=limits, method="highs")
    possible = np.zeros(shares.shape, dtype=bool)
    possible[tuple(program.cells[found.x[:n] > 0.5].T)] = True
    return possible


def _refuse_contradictions(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, Bool]) -> None:
    """Raises Contradiction where no joint has all of it.

    What speaks of the axes of one bar or one margin is tried first: that is small, and where contradictions mostly are.
    """
    every = set(range(len(shape)))
    for axes in [*map(_axes, bars.values()), *(set(one.axes) for one in margins), every]:
        some = [one for one in margins if axes.issuperset(one.axes)]
        those = {name: bar for name, bar in bars.items() if _axes(bar) <= axes}
        if not _is_feasible(shape, some, those):
            raise _contradiction(shape, some, those)


def _axes(bar: Bool) -> set[int]:
    return {axis for axis, size in enumerate(bar.shape) if size > 1}


def _contradiction(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, Bool]) -> Contradiction:
    """What is too much together: each margin and bar that can be spared while it stays too much is let go."""
    margins, bars = list(margins), dict(bars)
    for margin in reversed(list(margins)):  # the last first: pairs stand behind the margins of one field
        without = [one for one in margins if one is not margin]
        if not _is_feasible(shape, without, bars):
            margins = without
    for name in list(bars):
        spared = {one: bar for one, bar in bars.items() if one != name}
        if not _is_feasible(shape, margins, spared):
            bars = spared
    return Contradiction([*(one.name for one in margins), *bars], _limit(shape, margins, bars))


def _limit(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, Bool]) -> Limit | None:
    """The first share of a margin that all the others do not allow, None where it takes more than one to see it."""
    from scipy.optimize import linprog

    program = _program(shape, margins, bars)
    if not len(program.cells):
        return None
    for sign in (-1, 1):  # the most, then the least
        for row, (number, cell) in enumerate(program.rows):
            others = [at for at, one in enumerate(program.rows) if one[0] != number] + [len(program.rows)]
            costs = sign * program.sums[[row]].toarray()[0]
            found = linprog(costs, A_eq=program.sums[others], b_eq=program.wanted[others], method="highs")
            share, bound = float(program.wanted[row]), sign * float(found.fun or 0.0)
            if found.status == 0 and sign * (bound - share) > _FEASIBLE:
                return Limit(margins[number].name, cell, share, max(0.0, bound), sign < 0)
    return None


# ---- weights for a sample


class Raked(NamedTuple):
    """Weights with mean 1, what they are worth, and what they do not reach."""

    weights: Float64  # (n,)
    n_effective: float
    gap: float  # the largest difference of a weighted share from the one asked for
    lacking: tuple[tuple[int, int], ...]  # (margin, value): asked for, and nobody of the sample has it


def raked(groups: Sequence[npt.ArrayLike], shares: Sequence[npt.ArrayLike]) -> Raked:
    """Weights that give a sample the shares of each margin, none above 5 times the mean.

    `groups`: a margin each, which value each of the n has, as an index into its `shares`. Sweeps of raking, the weights
    capped after each, until they stand still. Where the cap holds or nobody has a value, the shares are not reached:
    `gap` says by how much. Nobody: no weights and a gap of 1. Deville, Särndal and Sautory, JASA 88 (1993) 1013.

    Three of one kind and one of the other, asked for as halves: weights 1/2 / 3 * 4 = 2/3 and 1/2 / 1 * 4 = 2.

    >>> [round(one, 6) for one in raked([[0, 0, 0, 1]], [[0.5, 0.5]]).weights.tolist()]
    [0.666667, 0.666667, 0.666667, 2.0]
    """
    indices = [np.asarray(one, dtype=np.int64) for one in groups]
    asked = [np.asarray(one, dtype=np.float64) for one in shares]
    n = len(indices[0]) if indices else 0
    lacking = tuple(
        (number, int(value))
        for number, (index, wanted) in enumerate(zip(indices, asked, strict=True))
        for value in np.flatnonzero((np.bincount(index, minlength=len(wanted)) == 0) & (wanted > 0))
    )
    weights = np.ones(n)
    for _ in range(_WEIGHT_SWEEPS):
        before = weights
        for index, wanted in zip(indices, asked, strict=True):
            sums = np.bincount(index, weights, minlength=len(wanted))
            weights = weights * np.divide(wanted, sums, out=np.zeros(len(wanted)), where=sums > 0)[index]
        if not weights.any():  # nobody has a value that is asked for
            return Raked(weights, 0.0, 1.0, lacking)
        weights = _capped(weights / weights.mean())
        if np.abs(weights - before).max() < WITHIN:
            break
    got = [np.bincount(index, weights, minlength=len(wanted)) / n for index, wanted in zip(indices, asked, strict=True)]
    gap = max(float(np.abs(one - wanted).max()) for one, wanted in zip(got, asked, strict=True))
    return Raked(weights, kish(weights), gap, lacking)


def _capped(weights: Float64) -> Float64:
    """None above the cap, which is a multiple of the mean that is left; the mean is 1 again.

    With k at the cap c and a sum s of the others, c = 5 (s + k c) / n, so c = 5 s / (n - 5 k).
    """
    ordered = np.sort(weights)[::-1]
    n, rest = len(weights), weights.sum()
    for k in range(n):
        cap = MOST_WEIGHT * rest / (n - MOST_WEIGHT * k) if n > MOST_WEIGHT * k else np.inf
        if ordered[k] <= cap * (1 + 1e-12):
            capped = np.minimum(weights, cap)
            return np.asarray(capped / capped.mean())
        rest -= ordered[k]
    return weights


def kish(weights: npt.ArrayLike) -> float:
    """How many equally weighted people these are worth, (sum w)^2 / sum w^2.

    Range [1, n]: n where all weigh the same, 1 where one has all the weight; without weight 0. Kish, Survey Sampling
    (1965). O(n).

    (2/3, 2/3, 2/3, 2): 16 / (3 * 4/9 + 4) = 16 / (16/3).

    >>> round(kish([2, 2, 2, 6]), 6)
    3.0
    """
    weighed = np.asarray(weights, dtype=np.float64)
    squares = float((weighed**2).sum())
    return float(weighed.sum()) ** 2 / squares if squares else 0.0
