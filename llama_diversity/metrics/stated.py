"""Probabilities that a model states of what it says, beside the exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Estimate, Float64, jackknife_prompts

FEWEST = 5


class Stated(NamedTuple):
    """Whether stated probabilities follow the exact ones; both estimates undefined below `FEWEST`, with the reason."""

    rank_correlation: Estimate
    slope: Estimate
    n: int
    reason: str | None = None


def stated_probabilities(stated: npt.ArrayLike, exact_log: npt.ArrayLike, calls: Sequence[int] | None = None) -> Stated:
    """Spearman's rank correlation of stated and exact probabilities, and the slope of log stated on log exact.

    `exact_log`: natural logarithms, which may be as small as -1000; `calls`: the call of each, the unit of the
    jackknife, every output its own as a rule. Correlation in [-1, 1], 1: the order is right, 0: says nothing; tied
    ranks are means. Slope by least squares: 1 calibrated up to a factor, 0 stated without regard to the exact one. What
    is stated as 0, negative, above 1 or not at all (nan) is left out; fewer than 5, or all alike: undefined. O(n^2).
    Spearman, Am. J. Psychol. 15 (1904) 72.

    Stated .1 .2 .3 .4 .5 of exact ranks 1 3 2 4 5: 1 - 6 * 2 / (5 * 24).

    >>> found = stated_probabilities([0.1, 0.2, 0.3, 0.4, 0.5], [-50, -30, -40, -20, -10])
    >>> round(found.rank_correlation.value, 6)
    0.9
    """
    said, exact = np.asarray(stated, np.float64), np.asarray(exact_log, np.float64)
    if said.ndim != 1 or said.shape != exact.shape or (calls is not None and len(calls) != len(said)):
        raise ValueError("each stated probability has its exact logarithm, and its call")
    there = (said > 0) & (said <= 1) & np.isfinite(exact)
    units = np.flatnonzero(there).tolist() if calls is None else [calls[at] for at in np.flatnonzero(there).tolist()]
    n = int(there.sum())
    if n < FEWEST:
        none = Estimate(None, None, n, f"{n} stated probabilities are fewer than {FEWEST}")
        return Stated(none, none, n, none.reason)
    rows = np.stack([np.log(said[there]), exact[there]], axis=1)
    return Stated(jackknife_prompts(_rank_correlation, rows, units), jackknife_prompts(_slope, rows, units), n)


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
