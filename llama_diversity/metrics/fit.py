"""Fit of counts to a target: how far the shares of outputs lie from those asked for, and what N outputs say of it.

`counts`: how many outputs fell into each cell, shape (cells,); where outputs come in calls of several, (calls, cells),
a row a call, and the calls are the units. `shares`: the target, one for each cell, not negative, sum 1.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Float64, Int64

FITS: Final = "fits"
MISSES: Final = "misses"
CANNOT_TELL: Final = "cannot tell at this N"
SHIFT = 0.1  # the shift of one cell that a verdict is about
_ALPHA = 0.05
_Z_80 = 1.2815515655446004  # chance leaves -+ this many standard errors in one sample of five


# ---- distances ----


def total_variation(counts: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Share of the outputs that would have to change cells: 1/2 sum |n_c / n - q_c|. Smaller fits better.

    Range [0, 1]: 0 the target's shares, 1 only cells that the target lacks; no outputs: nan. Too large for the model by
    what chance adds, so it says nothing without `chance_floor` beside it. O(cells).

    (6, 4) for 1/2, 1/2: (0.1 + 0.1) / 2.

    >>> round(total_variation([6, 4], [0.5, 0.5]), 6)
    0.1
    """
    seen, q = _seen_shares(counts, shares)
    return float(np.abs(seen - q).sum()) / 2


def jensen_shannon_bits(counts: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Jensen-Shannon divergence of the outputs' shares from the target's, base 2. Smaller fits better.

    H((p + q) / 2) - (H(p) + H(q)) / 2. Range [0, 1] bits: 0 equal, 1 no common cell; no outputs: nan. Too large for the
    model by about (cells - 1) / (8 n log 2). Lin, IEEE Trans. Inf. Theory 37 (1991) 145. O(cells).

    (4, 0) for 1/2, 1/2: H(3/4, 1/4) - H(1/2, 1/2) / 2 = 0.811278 - 0.5.

    >>> round(jensen_shannon_bits([4, 0], [0.5, 0.5]), 6)
    0.311278
    """
    seen, q = _seen_shares(counts, shares)
    if np.isnan(seen).any():
        return math.nan
    return min(max(_entropy_bits((seen + q) / 2) - (_entropy_bits(seen) + _entropy_bits(q)) / 2, 0.0), 1.0)


def _entropy_bits(p: Float64) -> float:
    there = p[p > 0]
    return -float(there @ np.log2(there))


def chance_floor(shares: npt.ArrayLike, n: int) -> float:
    """Total variation that n outputs drawn from the target itself have on average: what chance alone makes of it.

    E[TV] = 1/2 sum E|K/n - q|, K binomial: E|K - nq| = 2 v C(n, v) q^v (1-q)^(n-v+1), v = floor(nq) + 1, exact at any n
    (de Moivre, Miscellanea analytica (1730)); of many outputs 1/2 sum sqrt(2 q (1-q) / (pi n)). Range [0, 1), falls
    with the root of n; no outputs: nan. O(cells).

    Two cells of 1/2, n = 2: TV is 1/2 of two alike (chance 1/2), else 0.

    >>> round(chance_floor([0.5, 0.5], 2), 6)
    0.25
    """
    q = _target(shares)
    if n < 1:
        return math.nan
    from scipy.special import gammaln  # heavy, and needed only here

    inside = q[(q > 0) & (q < 1)]
    v = np.floor(n * inside) + 1
    log_choices = gammaln(n + 1) - gammaln(v + 1) - gammaln(n - v + 1)
    off = 2 * v * np.exp(log_choices + v * np.log(inside) + (n - v + 1) * np.log1p(-inside))
    return float(off.sum()) / (2 * n)


class Worst(NamedTuple):
    """The cell that is furthest off, by its place, and by how many percentage points: seen less target, signed."""

    cell: int
    points: float


def worst_cell(counts: npt.ArrayLike, shares: npt.ArrayLike) -> Worst:
    """The cell with the largest |seen - target|, ties by place; positive: more than asked for. Points in [-100, 100].

    No outputs: the first cell, nan. O(cells).

    (6, 3, 1) for 1/2, 1/4, 1/4: +10, +5 and -15 points.

    >>> worst_cell([6, 3, 1], [0.5, 0.25, 0.25])
    Worst(cell=2, points=-15.0)
    """
    seen, q = _seen_shares(counts, shares)
    off = np.round(100 * (seen - q), 9)  # so that rounding makes no tie an order
    cell = int(np.argmax(np.abs(off)))
    return Worst(cell, float(off[cell]))


def _seen_shares(counts: npt.ArrayLike, shares: npt.ArrayLike) -> tuple[Float64, Float64]:
    seen, q = _of_cells(counts).sum(axis=0), _target(shares)
    _check_cells(seen, q)
    n = seen.sum()
    return (seen / n if n else np.full(len(q), math.nan)), q


def _of_cells(counts: npt.ArrayLike) -> Int64:
    """Counts as (units, cells); outputs that come one by one as a single row."""
    given = np.asarray(counts)
    with np.errstate(invalid="ignore"):  # nan is refused below, not warned of here
        whole = given.astype(np.int64)
    if given.ndim not in (1, 2) or (whole != given).any() or (whole < 0).any():
        raise ValueError("counts are whole numbers, none negative, one for each cell, or a row of them for each call")
    return np.atleast_2d(whole)


def _target(shares: npt.ArrayLike) -> Float64:
    q = np.asarray(shares, np.float64)
    if q.ndim != 1 or not len(q) or not (q >= 0).all() or not abs(float(q.sum()) - 1) <= 1e-6:
        raise ValueError("the target's shares are one row of numbers, none negative, that sum to 1")
    scaled: Float64 = q / q.sum()
    return scaled


def _check_cells(seen: npt.NDArray[np.generic], q: Float64) -> None:
    if len(seen) != len(q):
        raise ValueError(f"counts of {len(seen)} cells for {len(q)} shares")


# ---- intervals and the verdict ----


class Intervals(NamedTuple):
    """Ends of an interval for each cell's share, and the number of independent outputs that they rest on."""

    low: Float64
    high: Float64
    n_effective: Float64


def simultaneous_intervals(counts: npt.ArrayLike, *, tests: int = 1) -> Intervals:
    """95 % intervals of all cells' shares that hold together, in all of `tests` tables at once. Range [0, 1].

    Each cell has the exact binomial interval of Clopper and Pearson (Biometrika 26 (1934) 404) at 1 - 0.05 / (tests *
    cells), two cells counting as one (Bonferroni): all hold in 95 % at any n and any shares. Of margins of 2 to 8 cells
    at n = 50 to 500, all held in .951 to .992 of 4,000 draws; those of Goodman (Technometrics 7 (1965) 247) in .878 to
    .968, fewest where cells are small, those of Sison and Glaz (J. Am. Stat. Assoc. 90 (1995) 366) in .876 to .976.

    Counts by call: those of n / D outputs, D a design effect, 1 at least. The table's is sum (1 - p) d / (cells - 1), d
    the variance that the calls show over the binomial one (Rao and Scott, J. Am. Stat. Assoc. 76 (1981) 221); a cell's
    own d where that is larger; times the square of t over normal quantile with (calls - 1)(cells - 1) degrees (Korn and
    Graubard, Surv. Methodol. 24 (1998) 193). Of 10 to 100 calls of 5 or 10 with correlations of 0 to 0.3 all held in
    .962 to .998 of 1,500 draws, without D in .325 to .996. All outputs in one cell: as many as there are calls. No
    outputs: 0 to 1. O(calls * cells).

    0 of 2 and 2 of 2: one interval, its end where 1 - p of both is 0.025: 1 - sqrt 0.025.

    >>> found = simultaneous_intervals([0, 2])
    >>> [round(float(end), 6) for end in (found.low[0], found.high[0], found.low[1])]
    [0.0, 0.841886, 0.158114]
    """
    if tests < 1:
        raise BadValue("tests", tests, "it is how many margins and pairs are judged together, 1 or more")
    rows = _of_cells(counts)
    tail = _tail(rows.shape[1], tests)
    n_effective = _effective_outputs(rows, tail)
    k = rows.sum(axis=0) / max(1, int(rows.sum())) * n_effective
    return Intervals(*_exact_ends(k, n_effective, tail), n_effective)


def _tail(n_cells: int, tests: int) -> float:
    """The chance of a miss to one side of one cell: two cells are one number, and one of 95 % in `tests` tables."""
    return _ALPHA / (2 * tests * (n_cells if n_cells > 2 else 1))


def _exact_ends(k: Float64, n: Float64, tail: float) -> tuple[Float64, Float64]:
    from scipy.special import betaincinv  # heavy, and needed only here

    low, high = np.zeros(len(k)), np.ones(len(k))
    some, others = k > 0, k < n
    low[some] = betaincinv(k[some], (n - k)[some] + 1, tail)
    high[others] = betaincinv(k[others] + 1, (n - k)[others], 1 - tail)
    return low, high


def _effective_outputs(rows: Int64, tail: float) -> Float64:
    """How many independent outputs each cell's share rests on: all of single ones, n / D of calls."""
    calls = rows[rows.sum(axis=1) > 0]
    total, (m, n_cells) = float(calls.sum()), calls.shape
    if len(rows) == 1 or m == 0 or calls.sum(axis=1).max() == 1:
        return np.full(n_cells, total)
    sizes, p = calls.sum(axis=1, keepdims=True), calls.sum(axis=0) / total
    there = (p > 0) & (p < 1)
    if m == 1 or not there.any():
        return np.full(n_cells, float(m))
    spread = m / (m - 1) * np.square(calls - p * sizes).sum(axis=0) / total**2
    own = np.divide(spread * total, p * (1 - p), where=there, out=np.zeros(n_cells))
    of_table = float(((1 - p) * own)[there].sum()) / (int(there.sum()) - 1)
    design = np.maximum(np.maximum(own, of_table), 1)
    n_effective: Float64 = total / design * _of_few_calls((m - 1) * (n_cells - 1), tail)
    return n_effective


def _of_few_calls(freedom: int, tail: float) -> float:
    from scipy.special import ndtri, stdtrit  # heavy, and needed only here

    return float(ndtri(tail) / stdtrit(freedom, tail)) ** 2


Verdict = Literal["fits", "misses", "cannot tell at this N"]


class Fit(NamedTuple):
    """How outputs fit one table of a target: a margin, or a pair of fields.

    `verdict` is FITS, MISSES or CANNOT_TELL. `low`, `high`: simultaneous 95 % intervals of the cells' shares.
    `n_effective`: independent outputs, fewer than `n` where they come in calls. `visible_points`: a shift of one cell
    by so many percentage points would have been called a miss in 9 of 10 samples.
    """

    verdict: Verdict
    total_variation: float
    jensen_shannon_bits: float
    chance_floor: float
    worst: Worst
    low: Float64
    high: Float64
    n: int
    n_effective: float
    visible_points: float


def fit(counts: npt.ArrayLike, shares: npt.ArrayLike, *, tests: int = 1) -> Fit:
    """The distances, intervals and `verdict` of one table; `tests`: how many tables an arm is judged on.

    O(calls * cells + n * cells).

    >>> found = fit([30, 20], [0.5, 0.5])
    >>> found.verdict, round(found.total_variation, 6), round(found.visible_points, 4)
    ('fits', 0.1, 23.1176)
    """
    rows, q = _of_cells(counts), _target(shares)
    _check_cells(rows[0], q)
    found = simultaneous_intervals(rows, tests=tests)
    n_effective = float(found.n_effective.min())
    whole = int(n_effective)
    return Fit(
        _judged(found, q),
        total_variation(rows, q),
        jensen_shannon_bits(rows, q),
        chance_floor(q, whole),
        worst_cell(rows, q),
        found.low,
        found.high,
        int(rows.sum()),
        n_effective,
        visible_points(q, whole, tests=tests),
    )


def verdict(counts: npt.ArrayLike, shares: npt.ArrayLike, *, tests: int = 1) -> Verdict:
    """Whether outputs fit one table of a target; `tests`: how many tables (margins, pairs) an arm is judged on.

    MISSES: the interval of a cell leaves out its share; all tables of an arm together raise a false alarm in 5 % at
    most, since `simultaneous_intervals` divides the 5 % among them. CANNOT_TELL: no miss, and chance alone moves the
    largest cell by 10 points in more than one sample of five, n < 164 q (1-q): below 42 outputs for a cell of 1/2, 31
    of 1/4. Else FITS, which is no proof: `visible_points` says what would have been seen. Drawn from the target itself
    .951 to .992 fit at n = 50 to 500; a cell shifted by 10 points is called a miss in .96 and more at n = 500, in .05
    to .54 at 50. O(calls * cells).

    (30, 20) for 1/2, 1/2: n = 50 tells, and 30 is within 18 to 32, which have tails above 0.025.

    >>> verdict([30, 20], [0.5, 0.5]), verdict([33, 17], [0.5, 0.5]), verdict([20, 20], [0.5, 0.5])
    ('fits', 'misses', 'cannot tell at this N')
    """
    rows, q = _of_cells(counts), _target(shares)
    _check_cells(rows[0], q)
    return _judged(simultaneous_intervals(rows, tests=tests), q)


def _judged(found: Intervals, q: Float64) -> Verdict:
    if ((q < found.low) | (q > found.high)).any():
        return MISSES
    n = float(found.n_effective.min())
    return FITS if n > 0 and n * SHIFT**2 >= _Z_80**2 * float((q * (1 - q)).max()) else CANNOT_TELL


def visible_points(shares: npt.ArrayLike, n: int, *, tests: int = 1) -> float:
    """Percentage points by which a cell must be shifted to be called a miss in 9 of 10 samples of n; smaller is better.

    The largest over cells, upwards and downwards, of the shift at which the binomial count of that cell alone leaves
    its interval with chance 0.9; where not even the whole cell can be seen to vanish, the whole cell. Range (0, 100],
    falls with the root of n. No outputs: nan. O(n * cells).

    One cell of 1/2 of two, n = 6: only 0 and 6 of 6 are misses (1/64 each); p^6 = 0.9 at p = 0.982593.

    >>> round(visible_points([0.5, 0.5], 6), 4)
    48.2593
    """
    q = _target(shares)
    if n < 1:
        return math.nan
    from scipy.special import betainc, betaincinv  # heavy, and needed only here

    tail, k = _tail(len(q), tests), np.arange(1, n + 1)
    largest = 0.0
    for share in (*q, *(1 - q)):  # the fall of a cell is the rise of all others together
        flagged = k[betainc(k, n - k + 1, share) <= tail]  # the chance of k or more
        reached = float(betaincinv(flagged[0], n - flagged[0] + 1, 0.9)) if len(flagged) else 1.0
        largest = max(largest, reached - share)
    return 100 * float(largest)


# ---- cells that are not seen ----


def never_seen_bound(n: int) -> float:
    """The largest share that a cell seen in none of n outputs may have, at 95 %: 1 - 0.05^(1/n), about 3 / n.

    Range (0, 1]; no outputs: 1. Of outputs that come in calls n is the number of calls, which is on the safe side.
    Hanley and Lippman-Hand, JAMA 249 (1983) 1743, for 3 / n. O(1).

    Of one output: missed with chance 0.05 where the share is 0.95.

    >>> round(never_seen_bound(1), 6), round(never_seen_bound(100), 6)
    (0.95, 0.029513)
    """
    return -math.expm1(math.log(_ALPHA) / n) if n > 0 else 1.0


class Reach(NamedTuple):
    """The largest rate at which a cell may come, the outputs that its quota then takes at least, and the verdict."""

    bound: float
    outputs_needed: float
    is_out: bool


def out_of_reach(
    n_cell: int, n_outputs: int, share: float, n_wanted: int, *, budget: float | None = None, looks: int = 1
) -> Reach:
    """Whether drawing on is in vain: even at the largest rate that `n_outputs` allow, a quota costs more than `budget`.

    The quota is share * n_wanted; the rate is at most that where n_cell or fewer are seen with chance 0.05 / looks,
    `never_seen_bound` of none in one look; out where quota / rate > budget, outputs in all, as a rule 10 n_wanted: the
    model then writes the cell less than a tenth as often as the target asks. A cell that comes as often is given up in
    5 % of the runs at most; a cell never seen needs one look, however often one looks, since its rule bites at one
    number of outputs only. A share of 0 is never out of reach. Of outputs that come in calls both numbers are of calls.
    Clopper and Pearson, Biometrika 26 (1934) 404. O(1).

    None of 100, 21 of 100 wanted: at most 0.029513, so 711.5 outputs of 1,000. None of 200: 0.014867, 1412.5.

    >>> out_of_reach(0, 100, 0.21, 100).is_out, round(out_of_reach(0, 200, 0.21, 100).outputs_needed, 1)
    (False, 1412.5)
    """
    if not 0 <= n_cell <= n_outputs:
        raise ValueError(f"{n_cell} of {n_outputs} outputs is no count")
    if not (0 <= share <= 1 and n_wanted >= 1 and looks >= 1):
        raise ValueError("a share lies between 0 and 1; at least one is wanted, and looked for once")
    from scipy.special import betaincinv  # heavy, and needed only here

    bound = float(betaincinv(n_cell + 1, n_outputs - n_cell, 1 - _ALPHA / looks)) if n_cell < n_outputs else 1.0
    needed = share * n_wanted / bound
    return Reach(bound, needed, needed > (10 * n_wanted if budget is None else budget))
