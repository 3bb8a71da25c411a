"""Probabilities that a model states of what it says, beside the exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Estimate, Float64, jackknife_prompts

FEWEST = 5


class Stated(NamedTuple):
    """Whether stated probabilities follow the exact ones; all estimates undefined below `FEWEST`, with the reason."""

    rank_correlation: Estimate
    slope: Estimate
    n: int
    reason: str | None = None
    log_ratio: Estimate = Estimate(None, None, 0)


def stated_probabilities(
    stated: npt.ArrayLike,
    exact_log: npt.ArrayLike,
    calls: Sequence[int] | None = None,
    prompts: Sequence[int] | None = None,
) -> Stated:
    """Spearman's rank correlation of stated and exact probabilities, slope of log stated on log exact, mean log ratio.

    `exact_log`: natural logarithms, which may be as small as -1000; `calls`: the call of each, the unit of the
    jackknife, every output its own as a rule; `prompts`: the prompt of each, whose mean logarithms are taken off first
    for correlation and slope, so that only answers to one prompt are set beside each other. Correlation in [-1, 1], 1:
    the order is right, 0: says nothing; tied ranks are means. Slope by least squares: 1 calibrated up to a factor, 0
    stated without regard to the exact one. Log ratio: mean of ln(stated / exact), 0: neither too large nor too small.
    What is stated as 0, negative, above 1 or not at all (nan) is left out; fewer than 5, or all alike: undefined.
    O(n^2). Spearman, Am. J. Psychol. 15 (1904) 72.

    Stated .1 .2 .3 .4 .5 of exact ranks 1 3 2 4 5: 1 - 6 * 2 / (5 * 24).

    >>> found = stated_probabilities([0.1, 0.2, 0.3, 0.4, 0.5], [-50, -30, -40, -20, -10])
    >>> round(found.rank_correlation.value, 6)
    0.9
    """
    said, exact = np.asarray(stated, np.float64), np.asarray(exact_log, np.float64)
    if said.ndim != 1 or said.shape != exact.shape or any(some and len(some) != len(said) for some in (calls, prompts)):
        raise ValueError("each stated probability has its exact logarithm, and its call")
    there = (said > 0) & (said <= 1) & np.isfinite(exact)
    places = np.flatnonzero(there).tolist()
    units = places if calls is None else [calls[at] for at in places]
    n = len(places)
    if n < FEWEST:
        return none_stated(n, f"{n} stated probabilities are fewer than {FEWEST}")
    rows = np.stack([np.log(said[there]), exact[there]], axis=1)
    ratio = jackknife_prompts(lambda some: float((some[:, 0] - some[:, 1]).mean()), rows, units)
    rows = _centred(rows, [0] * n if prompts is None else [prompts[at] for at in places])
    return Stated(
        jackknife_prompts(_rank_correlation, rows, units), jackknife_prompts(_slope, rows, units), n, None, ratio
    )


def none_stated(n: int, reason: str) -> Stated:
    """No numbers, and why.

    >>> none_stated(2, "too few").slope.value is None
    True
    """
    none = Estimate(None, None, n, reason)
    return Stated(none, none, n, reason, none)


def _centred(rows: Float64, groups: Sequence[int]) -> Float64:
    """Less the mean of its group."""
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.zeros((int(numbers.max()) + 1, rows.shape[1]))
    np.add.at(sums, numbers, rows)
    means: Float64 = sums / np.bincount(numbers)[:, None]
    return rows - means[numbers]


def _rank_correlation(rows: Float64) -> float:
    from scipy.stats import rankdata  # heavy, and needed only here

    ranks = rankdata(rows, axis=0)
    ranks -= ranks.mean(axis=0)
    spread = float(np.sqrt((ranks**2).sum(axis=0).prod()))
    return float(ranks[:, 0] @ ranks[:, 1]) / spread if spread > 0 else float("nan")


def _slope(rows: Float64) -> float:
    said, exact = (rows - rows.mean(axis=0)).T
    spread = float(exact @ exact)
    return float(said @ exact) / spread if spread > 0 else float("nan")
