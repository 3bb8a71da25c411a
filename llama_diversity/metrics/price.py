"""What usable outputs cost, and how many different ones there are: ratios and counts with 95 % intervals.

The unit is the output, or the call where several outputs come in one: what one call says is not independent. Ends of
intervals are made on the log scale by a jackknife over units; where so few were seen that it has none, by exact limits.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.fit import never_seen_bound
from llama_diversity.metrics.indices import directions
from llama_diversity.metrics.inference import (
    Contrast,
    Float64,
    Int64,
    class_counts,
    jackknifed,
    mean_interval,
    part_of,
    wilson,
)

NONE_USABLE, NOTHING_NEW, NEVER_SEEN = "none was usable", "no kind was seen once", "a cell was never seen"
_FEW_USELESS = 10  # outputs that are not usable, below which they show too little of their own spread
_Z_SQUARED = 3.8414588206941254  # of the normal 97.5 % quantile
_BLOCK = 512  # rows whose cosines with all others are held at a time


class Bounded(NamedTuple):
    """A number with its 95 % interval, of n units; inf where it has no end, None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def _by_jackknife(value: float, left_out: npt.ArrayLike, n: int, weights: npt.ArrayLike | None = None) -> Bounded:
    """The interval of a number above 0, on the log scale; none where a value that leaves one unit out is not finite."""
    found = jackknifed(value, left_out, n, weights=weights)
    if found.se is None:
        return Bounded(value, None, None, n)
    return Bounded(value, *Contrast(math.log(value), (part_of(found, 1, value),)).factors(), n)


# ---- tokens ----


def tokens_per_usable(tokens: npt.ArrayLike, usable: npt.ArrayLike) -> Bounded:
    """Tokens drawn over outputs that may be used: sum tokens / sum usable, an entry of each a unit. Smaller is cheaper.

    `usable`: 0 or 1 of an output, how many of a call. Range [mean tokens, inf), and below it where calls hold several.
    Jackknife over units, each end made of tokens and usable together. Fewer than 10 outputs that are not usable: it is
    a + b (1 - r) / r, a tokens of a usable one, b of another, r the usable share; ends are made of a's t interval and
    of Wilson's of r, b as seen (where none was, that of usable ones, which is too little if useless ones are long). One
    usable alone has no spread, so the exact binomial one has to do; none usable: inf, from below at least mean tokens /
    `never_seen_bound`. No units: undefined. O(n).

    100 tokens each, 1, 1, 0, 1 usable: 400 / 3.

    >>> round(tokens_per_usable([100, 100, 100, 100], [1, 1, 0, 1]).value, 6)
    133.333333
    """
    spent, useful = np.asarray(tokens, np.float64), np.asarray(usable, np.float64)
    if spent.ndim != 1 or spent.shape != useful.shape or not (spent >= 0).all() or not (useful >= 0).all():
        raise ValueError("each unit has its tokens and how many of its outputs are usable, none negative")
    n, total, found = len(spent), float(spent.sum()), float(useful.sum())
    if n == 0:
        return Bounded(None, None, None, 0, "no outputs")
    if found == 0:
        return Bounded(math.inf, total / n / never_seen_bound(n), math.inf, n, NONE_USABLE)
    if useful.max() <= 1 < found and n - found < _FEW_USELESS:
        return _of_few_useless(spent, useful > 0)
    left_out = np.divide(total - spent, found - useful, where=found > useful, out=np.full(n, math.inf))
    priced = _by_jackknife(total / found, left_out, n)
    return priced if priced.low is not None else _of_few(priced, int((useful > 0).sum()), n)


def _of_few_useless(tokens: Float64, usable: npt.NDArray[np.bool_]) -> Bounded:
    """Two parts that do not depend on each other: tokens of usable outputs, and for each those of the useless ones."""
    n, mean, share = len(tokens), mean_interval(tokens[usable]), wilson(int(usable.sum()), len(tokens))
    each = float(tokens[~usable].mean()) if not usable.all() else mean.mean
    rate, low, high = (each * (1 - r) / r for r in (share.value or 1.0, share.high or 1.0, share.low or 1.0))
    half = mean.high - mean.mean
    value = mean.mean + rate
    return Bounded(value, max(0.0, value - math.hypot(half, rate - low)), value + math.hypot(half, high - rate), n)


def _of_few(priced: Bounded, k: int, n: int) -> Bounded:
    """The interval of a price whose rate is that of k of n units: Clopper and Pearson's of the rate, turned over."""
    from scipy.special import betaincinv  # heavy, and needed only here

    value, rate = priced.value or 0.0, k / n
    low, high = float(betaincinv(k, n - k + 1, 0.025)), float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return priced._replace(low=value * rate / high, high=value * rate / low)


def tokens_for_next(
    tokens: npt.ArrayLike, kinds: Sequence[Hashable | None], units: Sequence[int] | None = None
) -> Bounded:
    """Tokens that the next new kind costs: tokens an output / (valid share * f1 / n_valid) = all tokens / f1.

    `tokens`: of each unit; `kinds`: of each output its kind, None where it is not valid; `units`: of each output the
    place of its unit in `tokens`, one output each as a rule. f1, the number of kinds seen once, over n_valid is the
    share of valid outputs that would be new (Good, Biometrika 40 (1953) 237). Smaller is cheaper; range [tokens an
    output, inf). Jackknife over units, of the price from below and of f1 from above: inf where nothing new may be left
    (Esty, Ann. Stat. 11 (1983) 905). All kinds seen once: at 95 % less than 2 log(20) / n of them is known, which the
    upper end takes in. No kind seen once: inf, at least tokens an output / `never_seen_bound`; no outputs: undefined.
    O(outputs).

    50 tokens each, kinds a, a, b, c and an invalid one: 250 / 2, where 50 / (4/5 * 2/4) is the same.

    >>> tokens_for_next([50] * 5, ["a", "a", "b", "c", None]).value
    125.0
    """
    spent = np.asarray(tokens, np.float64)
    of_unit = np.arange(len(kinds)) if units is None else np.asarray(units, np.int64)
    n = len(spent)
    if (
        spent.ndim != 1
        or of_unit.shape != (len(kinds),)
        or (len(kinds) and not 0 <= of_unit.min() <= of_unit.max() < n)
    ):
        raise ValueError("each output has a kind and a unit, and each unit its tokens")
    if not len(kinds):
        return Bounded(None, None, None, n, "no outputs")
    counts = Counter(kind for kind in kinds if kind is not None)
    total, f1 = float(spent.sum()), sum(count == 1 for count in counts.values())
    if f1 == 0:
        return Bounded(math.inf, total / len(kinds) / never_seen_bound(n), math.inf, n, NOTHING_NEW)
    fewer = f1 + _change_of_singles(counts, kinds, of_unit, n)
    left_out = np.divide(total - spent, fewer, where=fewer > 0, out=np.full(n, math.inf))
    priced = _by_jackknife(total / f1, left_out, n)
    if priced.low is None or priced.high is None:
        return _of_few(priced, f1, max(n, f1))._replace(high=math.inf)
    spread = math.log(priced.high * f1 / total)  # about z se(f1) / f1
    priced = priced._replace(high=total / f1 / (1 - spread) if spread < 1 else math.inf)
    n_valid = counts.total()
    if f1 == n_valid:  # no repeat in n_valid draws of coverage C has a chance of about exp(-n C / 2)
        new_at_least = 1 - 2 * math.log(20) / n_valid
        return priced._replace(high=(priced.high or 0) / new_at_least if new_at_least > 0 else math.inf)
    return priced


def _change_of_singles(counts: Counter[Hashable], kinds: Sequence[Hashable | None], of_unit: Int64, n: int) -> Float64:
    """Of each unit by how much the number of kinds seen once changes if it is left out."""
    change = np.zeros(n)
    inside = Counter((unit, kind) for unit, kind in zip(of_unit.tolist(), kinds, strict=True) if kind is not None)
    for (unit, kind), count in inside.items():
        change[unit] += (counts[kind] - count == 1) - (counts[kind] == 1)
    return change


# ---- outputs ----


def outputs_needed(counts: npt.ArrayLike, n_outputs: npt.ArrayLike, quotas: npt.ArrayLike) -> Bounded:
    """Outputs to be drawn until each cell has its quota of usable ones, on average, if rates stay as they are.

    `counts`: usable outputs of each cell among `n_outputs`, shape (cells,); by call (calls, cells) and (calls,). With
    rates r and quotas k it is the integral over t of 1 - prod_c P(Poisson(r_c t) >= k_c): exact, as arrivals at random
    times need as many outputs on average. Range [largest k / r, inf); smaller is cheaper; no quota: 0. As texts repeat,
    rates fall, and the number is too small. Jackknife over outputs, or calls; a cell seen once has the exact binomial
    limits. A cell with a quota that was never seen: inf, from below by `never_seen_bound`. O(units * cells).

    Two cells of rate 1/2, one wanted of each: 1 output, and 2 more on average until the other comes.

    >>> round(outputs_needed([5, 5], 10, [1, 1]).value, 6)
    3.0
    """
    seen, drawn, wanted = np.asarray(counts, np.int64), np.asarray(n_outputs, np.int64), np.asarray(quotas, np.int64)
    if seen.shape != (*drawn.shape, len(wanted)) or seen.ndim > 2 or min(seen.min(), drawn.min(), wanted.min()) < 0:
        raise ValueError("each cell has a count (of each call) and a quota, none negative")
    of_cells, n = seen.reshape(-1, len(wanted)).sum(axis=0), int(drawn.sum())
    needed = wanted > 0
    if n == 0 or not needed.any():
        return Bounded(0.0, 0.0, 0.0, n) if n else Bounded(None, None, None, 0, "no outputs")
    n_units = len(seen) if seen.ndim == 2 else n
    value = _expected_outputs(of_cells / n, wanted)
    if math.isinf(value):
        bounds = np.where(of_cells > 0, of_cells / n, never_seen_bound(n_units))
        return Bounded(value, _expected_outputs(bounds, wanted), value, n_units, NEVER_SEEN)
    if seen.ndim == 2:
        fewer, fewer_drawn, weights = of_cells - seen, n - drawn, None
    else:  # an output of each cell, and one of none
        fewer = np.vstack([of_cells - np.eye(len(wanted), dtype=np.int64), of_cells])
        fewer_drawn, weights = np.full(len(fewer), n - 1), np.append(of_cells, n - of_cells.sum())
        fewer, fewer_drawn, weights = (some[weights > 0] for some in (fewer, fewer_drawn, weights))
    left_out = [
        _expected_outputs(row / m if m else 0.0 * row, wanted) for row, m in zip(fewer, fewer_drawn, strict=True)
    ]
    priced = _by_jackknife(value, left_out, n_units, weights)
    slowest = int(np.argmax(np.divide(wanted, of_cells, where=needed, out=np.zeros(len(wanted)))))
    return priced if priced.low is not None else _of_few(priced, int(min(of_cells[slowest], n_units)), n_units)


def _expected_outputs(rates: Float64, quotas: Int64) -> float:
    from scipy.special import gammainc, gammaincinv  # heavy, and needed only here

    r, k = rates[quotas > 0], quotas[quotas > 0]
    if not (r > 0).all():
        return math.inf
    begin, end = (float((gammaincinv(k, tail) / r).max()) for tail in (1e-13, 1 - 1e-13))
    nodes, weights = _legendre()  # between these times all quotas are filled, else surely (not)
    times = begin + (end - begin) * (nodes + 1) / 2
    all_filled = gammainc(k[:, None], r[:, None] * times).prod(axis=0)
    return begin + (end - begin) / 2 * float(weights @ (1 - all_filled))


@functools.cache
def _legendre() -> tuple[Float64, Float64]:
    return np.polynomial.legendre.leggauss(128)


# ---- how many different ones ----


def effective_kinds(counts: npt.ArrayLike, m: int) -> Bounded:
    """Hill number of order 2 that m outputs show: 1 / (1/m + (1 - 1/m) D), D the chance that two are of one kind.

    D = sum n_c (n_c - 1) / (n (n - 1)) is unbiased at any n (`indices.concentration`), so the number compares arms of
    different n at one m, and is what a random m of the n outputs show: rarefaction for q = 2 (Chao et al., Ecol.
    Monogr. 84 (2014) 45). `counts`: of each kind, (kinds,), or by call (calls, kinds), the calls being the units then.
    Larger is more diverse. Range [1, m]: one kind 1, all distinct m. Interval from D's jackknife on the log scale, up
    to D + z se + z^2 D / n at least: of counts that happen to be even se is 0, while D - 1/K of K kinds is a square
    whose root has an error of 1 / sqrt(K n). All distinct: D is at most (4.744 / n)^2 at 95 %, where one kind would be
    seen once or never, (1 + x) exp(-x) = 0.05; one kind alone: D >= (1 - `never_seen_bound`)^2. Fewer than two outputs:
    undefined. O(units * kinds).

    (5, 3, 2): D = 28/90, of m = 5: 1 / (0.2 + 0.8 * 0.311111).

    >>> round(effective_kinds([5, 3, 2], 5).value, 6)
    2.227723
    """
    given = np.asarray(counts)
    rows = np.array([class_counts(row) if given.ndim == 1 else row for row in np.atleast_2d(given)], np.int64)
    seen, n_units = rows.sum(axis=0), len(rows) if given.ndim == 2 else int(rows.sum())
    n = int(seen.sum())
    if n < 2:
        return Bounded(None, None, None, n_units, "fewer than two outputs")
    if given.ndim == 2:
        left_out, weights = [_chance_of_one_kind(seen - row) for row in rows], None
    else:
        sizes, weights = np.unique(seen, return_counts=True)
        weights = sizes * weights
        pairs = float((seen * (seen - 1)).sum())
        left_out = [(pairs - 2 * (size - 1)) / ((n - 1) * (n - 2)) if n > 2 else math.nan for size in sizes.tolist()]
    return _of_alike(_chance_of_one_kind(seen), np.array(left_out), weights, n_units, n, m)


def _chance_of_one_kind(seen: Int64) -> float:
    n = float(seen.sum())
    return float((seen * (seen - 1.0)).sum()) / (n * (n - 1)) if n > 1 else math.nan


def _of_alike(alike: float, left_out: Float64, weights: npt.ArrayLike | None, n_units: int, n: int, m: int) -> Bounded:
    """1 / (1/m + (1 - 1/m) D) with its interval from that of D, `alike`."""
    if m < 1:
        raise BadValue("m", m, "it is at least one output")
    low: float | None
    high: float | None
    if alike <= 0:
        low, high = 0.0, min(1.0, (4.744 / n_units) ** 2)
    elif alike >= 1 - 1e-9:
        low, high = (1 - never_seen_bound(n_units)) ** 2, 1.0
    else:
        _, low, high, *_ = _by_jackknife(alike, left_out, n_units, weights)
        if high is not None:
            high = max(high, alike * (1 + math.log(high / alike) + _Z_SQUARED / n_units))

    def shown(d: float) -> float:
        return 1 / (1 / m + (1 - 1 / m) * min(max(d, 0.0), 1.0))

    return Bounded(shown(alike), None if high is None else shown(high), None if low is None else shown(low), n_units)


def effective_texts(vectors: npt.ArrayLike, m: int) -> Bounded:
    """Leinster and Cobbold's diversity of order 2 that m texts show: 1 / (1/m + (1 - 1/m) s), s mean clipped cosine.

    s is the mean of max(cosine, 0) over pairs of different texts, unbiased at any n, so the number compares arms of
    different n at one m and is what a random m of the texts show; at m = n it is `indices.leinster_cobbold` of single
    texts. Larger is more diverse. Range [1, m]: all alike 1, no two alike m. Interval from the jackknife of s on the
    log scale. Rows of zeros are left out; fewer than two texts: undefined. O(n^2 d) in blocks. Leinster and Cobbold,
    Ecology 93 (2012) 477.

    Two alike and one at a right angle: s = 1/3, of m = 3: 1 / (1/3 + 2/9).

    >>> round(effective_texts([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 3).value, 6)
    1.8
    """
    units = directions(vectors)
    n = len(units)
    if n < 2:
        return Bounded(None, None, None, n, "fewer than two texts with a vector")
    row_sums = np.concatenate(
        [np.clip(units[at : at + _BLOCK] @ units.T, 0, 1).sum(axis=1) - 1 for at in range(0, n, _BLOCK)]
    )
    left_out = (row_sums.sum() - 2 * row_sums) / ((n - 1) * (n - 2)) if n > 2 else np.full(n, math.nan)
    return _of_alike(max(0.0, float(row_sums.sum())) / (n * (n - 1)), left_out, None, n, n, m)
