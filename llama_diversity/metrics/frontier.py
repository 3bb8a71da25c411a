"""Two things that one would have both, quality and diversity: what is beaten by nothing, how much of the plane is had.

Points have two coordinates, of both of which more is better; whoever measures the contrary gives its negative. Nothing
is normalised: a corner and a box are stated by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Z_95, Float64, quantile

Booleans = npt.NDArray[np.bool_]
RESAMPLES = 2000


def unbeaten(points: npt.ArrayLike) -> Booleans:
    """Which points are on the Pareto front, shape (..., n) of points (..., n, 2): none is as good in both and better.

    Equal points do not beat each other. A point that is nan is on no front and beats none. O(n^2).

    >>> unbeaten([[1, 3], [2, 2], [1, 2], [2, 2]]).tolist()
    [True, True, False, True]
    """
    given = np.asarray(points, np.float64)
    mine, others = given[..., :, None, :], given[..., None, :, :]
    beaten = (others >= mine).all(axis=-1) & (others > mine).any(axis=-1)
    return np.asarray(~beaten.any(axis=-1) & np.isfinite(given).all(axis=-1), np.bool_)


def dominated_area(points: npt.ArrayLike, corner: Sequence[float], top: Sequence[float]) -> Float64:
    """Share of the box from `corner` to `top` that the points dominate, shape (...) of points (..., n, 2); in [0, 1].

    The hypervolume of two dimensions: the union of the rectangles from the corner to each point. What lies outside the
    box counts up to its edge; a point that is nan counts as the corner. O(n log n).

    Corner (0, 0), top (4, 4), points (1, 3) and (2, 2): 1 x 3 + 1 x 2 = 5 of 16.

    >>> float(dominated_area([[1, 3], [2, 2]], (0, 0), (4, 4)))
    0.3125
    """
    low, high = np.asarray(corner, np.float64), np.asarray(top, np.float64)
    given = np.nan_to_num(np.asarray(points, np.float64), nan=-math.inf)
    inside = (np.clip(given, low, high) - low) / (high - low)
    order = np.argsort(-inside[..., 0], axis=-1, kind="stable")
    across, up = (np.take_along_axis(inside[..., at], order, axis=-1) for at in (0, 1))
    steps = across - np.concatenate([across[..., 1:], np.zeros_like(across[..., :1])], axis=-1)
    found: Float64 = (steps * np.maximum.accumulate(up, axis=-1)).sum(axis=-1)
    return found


class OverPrompts(NamedTuple):
    """A number of means over prompts, with a 95 % interval over prompts."""

    value: float
    low: float
    high: float


def over_prompts(
    statistic: Callable[[Float64], Any], values: npt.ArrayLike, *, is_count: bool = False, resamples: int = RESAMPLES
) -> OverPrompts:
    """`statistic` of means over prompts, with a 95 % interval from prompts drawn again with replacement.

    `values`: shape (prompts, ...); `statistic` takes means, shape (draws, ...), and answers (draws,). Prompts are the
    units and each keeps its own values, so no text is repeated. Means of few prompts spread too little when they are
    drawn again, by (P - 1) / P in variance; deviations are stretched by the inverse root of it, and by t over the
    normal quantile. The interval is reflected at the value: an area takes the best of several settings, so that drawn
    again it is too large as much again as it is already. A share of few settings, `is_count`, jumps, and has the
    percentiles 0.5 and 99.5 as they are. docs/method.md says how often both hold.

    The mean of two prompts, 1 and 3: draws are 1, 2, 3 with 1/4, 1/2, 1/4.

    >>> found = over_prompts(lambda means: means, [1.0, 3.0], resamples=200)
    >>> found.value, found.low < 1, found.high > 3
    (2.0, True, True)
    """
    rows = np.asarray(values, np.float64)
    n = len(rows)
    mean = rows.mean(axis=0)
    value = float(np.asarray(statistic(mean[None]))[0])
    if n < 2:
        return OverPrompts(value, math.nan, math.nan)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    stretch = math.sqrt(n / (n - 1)) * quantile(n - 1) / Z_95
    found = np.asarray(statistic(mean + stretch * (np.tensordot(drawn, rows, axes=1) - mean)), np.float64)
    if is_count:
        low, high = np.quantile(found, (0.005, 0.995))
        return OverPrompts(value, float(low), float(high))
    low, high = np.quantile(found, (0.025, 0.975))
    return OverPrompts(value, 2 * value - float(high), 2 * value - float(low))
