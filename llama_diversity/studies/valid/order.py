"""What the order of the next tokens allows: the best that a temperature or a cut can make of a tree of answers.

A step's distribution may be changed by anything that never makes a token likelier than one that was likelier before:
every temperature, top-k, top-p, min-p, top-n-sigma, chosen anew at each step by somebody who knows the answers. The
best of these in closed form, step by step from the answers to the prompt.

What is made large is the overlap with saying all answers alike, (sum over answers of sqrt(p / n))^2. For weights w that
fall along the ranks the sum of sqrt(w) s is largest where sqrt(w) is the projection of s on the cone of falling
sequences, and then it is that projection's length; s is 0 for tokens that leave the answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
INVALID, STOPS = -1, -2  # kinds of runs beside tokens, which are 0 and more
_MOST_TURNS = 500
_SETTLED = 1e-12


class Run(NamedTuple):
    """Tokens next to each other in the order of a step: one that goes on with answers, or `n` others of one kind."""

    kind: int  # the token's id, INVALID or STOPS
    n: int


class Step(NamedTuple):
    """What an order allows behind a beginning: its value, and the weights of tokens that go on and of stopping."""

    value: float  # the most that the sum of sqrt(p) over the answers below can be
    weights: Mapping[int, float]
    stop: float


def runs(row: Float64, children: Sequence[int], stops: Mask | None, neutral: Sequence[int]) -> list[Run]:
    """The tokens of a step, likeliest first, as far as they matter; `row` are logs of probabilities, (n_vocab,).

    Of equally likely tokens those that go on with answers stand first. `neutral` ones are left out: they spell answers
    in other tokens. Impossible ones are left out too; no temperature makes them possible.

    >>> logs = np.log([0.4, 0.3, 0.2, 0.1])
    >>> runs(logs, [1, 3], None, [])
    [Run(kind=-1, n=1), Run(kind=1, n=1), Run(kind=-1, n=1), Run(kind=3, n=1)]
    """
    kinds = np.full(len(row), INVALID, np.int64)
    if stops is not None:
        kinds[stops] = STOPS
    kinds[list(children)] = children
    possible = row[list(children)]
    lowest = -np.inf if stops is not None else possible[np.isfinite(possible)].min(initial=np.inf)
    wanted = np.isfinite(row) & (row >= lowest)
    wanted[list(neutral)] = False
    ids = np.flatnonzero(wanted)
    ordered = kinds[ids[np.lexsort((kinds[ids] == INVALID, -row[ids]))]]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(starts, append=len(ordered))
    return [Run(int(ordered[at]), int(n)) for at, n in zip(starts, lengths, strict=True)]


def at_end(row: Float64, stops: Mask, neutral: Sequence[int]) -> Step:
    """A step where nothing is left but to stop: the largest share of stopping tokens among the 1, 2, ... likeliest.

    >>> at_end(np.log([0.4, 0.3, 0.2, 0.1]), np.array([False, True, True, True]), []).stop
    0.75
    """
    wanted = np.isfinite(row)
    wanted[list(neutral)] = False
    ids = np.flatnonzero(wanted)
    if not len(ids):
        return Step(0.0, {}, 0.0)
    if stops[ids[row[ids].argmax()]]:
        return Step(1.0, {}, 1.0)
    is_stop = stops[ids[np.lexsort((~stops[ids], -row[ids]))]]
    share = float((np.cumsum(is_stop) / np.arange(1, len(ids) + 1)).max())
    return Step(math.sqrt(share), {}, share)


def falling(values: Float64, counts: Int64) -> Float64:
    """The falling sequence nearest to `values`, each of them `counts` times: neighbours that rise are averaged.

    >>> falling(np.array([1.0, 0.0, 1.0]), np.array([1, 1, 1])).tolist()
    [1.0, 0.5, 0.5]
    >>> falling(np.array([0.0, 3.0]), np.array([2, 1])).tolist()
    [1.0, 1.0]
    """
    from scipy.optimize import isotonic_regression  # heavy

    return np.asarray(isotonic_regression(values, weights=counts, increasing=False).x)


def best(ordered: Sequence[Run], below: Mapping[int, float]) -> Step:
    """The best weights of a step; `below` has the value of what each token that goes on leads to.

    Valid, invalid, valid, both leading to one answer: sqrt(w) is (1, 1/2, 1/2) over the length of that.

    >>> step = best([Run(7, 1), Run(INVALID, 1), Run(8, 1)], {7: 1.0, 8: 1.0})
    >>> round(step.value**2, 9), {token: round(w, 9) for token, w in step.weights.items()}
    (1.5, {7: 0.666666667, 8: 0.166666667})
    """
    kinds, counts = (np.array([run[at] for run in ordered], np.int64) for at in (0, 1))
    is_stop, going_on = kinds == STOPS, np.flatnonzero(kinds >= 0)
    values = np.zeros(len(kinds))
    values[going_on] = [below[token] for token in kinds[going_on].tolist()]
    # The mass of many stopping tokens counts, not each: sqrt(sum w) is the most of sum t sqrt(w) over t of length 1,
    # and the t that has it points to where the weights are. Turn by turn; the problem is concave, so there is one end.
    values[is_stop] = 1 / math.sqrt(max(1, counts[is_stop].sum()))
    worth, best_value, weights, stop = values[going_on], 0.0, values, 0.0
    for _ in range(_MOST_TURNS):
        roots = falling(values, counts)
        mass = float(counts @ roots**2)
        if mass == 0:
            break
        weights = roots**2 / mass
        stop = float(counts[is_stop] @ weights[is_stop])
        before, best_value = best_value, math.sqrt(stop) + float(np.sqrt(weights[going_on]) @ worth)
        if not stop or best_value - before <= _SETTLED * best_value:
            break
        values[is_stop] = np.sqrt(weights[is_stop] / stop)
    return Step(best_value, dict(zip(kinds[going_on].tolist(), weights[going_on].tolist(), strict=True)), stop)
