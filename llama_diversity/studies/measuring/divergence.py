"""Two models at the same tokens: exact divergences of their next-token distributions, and what one all but forbids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import EngineError
from llama_diversity.metrics.entropy import step_divergence
from llama_diversity.metrics.inference import Float64, Int64

BLOCKED_ABOVE = 0.01
THRESHOLDS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
RESOLUTION_BITS = 1e-5  # what single precision leaves of a divergence
_CHUNK_BYTES = 256 * 1024  # rows worked on at once; their buffers stay in a core's cache
_BITS = 1 / math.log(2)
Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]


class Steps(NamedTuple):
    """Both models at the tokens of a text, or a piece of one; arrays of shape (tokens,) or (thresholds, tokens)."""

    kl_bits: Float64  # KL(base, aligned)
    reverse_kl_bits: Float64
    js_bits: Float64
    base_entropy_bits: Float64
    aligned_entropy_bits: Float64
    base_surprisal_bits: Float64  # of the token that stands there
    aligned_surprisal_bits: Float64
    blocked_mass: Float64  # (thresholds, tokens): base probability of the tokens that are blocked
    reverse_blocked_mass: Float64  # (thresholds, tokens): the same with the models swapped
    is_blocked: Booleans  # (thresholds, tokens): whether the token that stands there is

    @property
    def entropy_change_bits(self) -> Float64:
        """Aligned minus base."""
        return self.aligned_entropy_bits - self.base_entropy_bits

    @property
    def surprisal_change_bits(self) -> Float64:
        """Aligned minus base; nan where both models find the token impossible."""
        with np.errstate(invalid="ignore"):
            return self.aligned_surprisal_bits - self.base_surprisal_bits


def joined(pieces: Sequence[Steps]) -> Steps:
    """The pieces of one text, in order, as one."""
    return Steps(*(np.concatenate(arrays, axis=-1) for arrays in zip(*pieces, strict=True)))


# ---- from logits to numbers


class _Side(NamedTuple):
    """One model at some rows: x = logit - row maximum, e = exp x, and the logarithm of their sum."""

    x: Float32
    e: Float32
    log_mass: Float64  # (rows,)


class _Workspace:
    """Buffers for a few rows, reused: fresh memory would cost more than the arithmetic."""

    def __init__(self, n_rows: int, n_vocab: int) -> None:
        self._buffers = [np.empty((n_rows, n_vocab), np.float32) for _ in range(5)]

    def side(self, logits: Float32, place: int) -> _Side:
        x, e = (buffer[: len(logits)] for buffer in self._buffers[2 * place : 2 * place + 2])
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=x)
        np.exp(x, out=e)
        return _Side(x, e, np.log(e.sum(axis=1, dtype=np.float64)))

    def divergences(self, p: _Side, q: _Side) -> tuple[Float64, Float64, Float64, Float64, Float64]:
        """KL(p, q), KL(q, p), JS, H(p) and H(q) of each row, in nats; destroys e. nan where a logit is not finite."""
        spare = self._buffers[4][: len(p.x)]
        p_mass, q_mass = np.exp(p.log_mass), np.exp(q.log_mass)
        np.subtract(p.x, q.x, out=spare)
        kl = np.vecdot(p.e, spare) / p_mass + q.log_mass - p.log_mass
        reverse = -np.vecdot(q.e, spare) / q_mass + p.log_mass - q.log_mass
        p_entropy = p.log_mass - np.vecdot(p.e, p.x) / p_mass
        q_entropy = q.log_mass - np.vecdot(q.e, q.x) / q_mass
        # JS is the entropy of the middle minus the mean entropy; s is twice the middle.
        s, log_s = p.e, q.e
        np.divide(p.e, p_mass.astype(np.float32)[:, None], out=s)
        np.divide(q.e, q_mass.astype(np.float32)[:, None], out=spare)
        np.add(s, spare, out=s)
        np.log(np.maximum(s, np.finfo(np.float32).tiny, out=log_s), out=log_s)
        middle_entropy = math.log(2) * s.sum(axis=1, dtype=np.float64) / 2 - np.vecdot(s, log_s) / 2
        js = middle_entropy - (p_entropy + q_entropy) / 2
        return kl, reverse, js, p_entropy, q_entropy


class Comparer:
    """Compares rows of logits of two models over `n_vocab` tokens. Keeps its work buffers, so one caller at a time.

    `above`: base probability from which on a token can be blocked, 0 for all tokens. `thresholds`: of blocked tokens
    the aligned probability is below. In float32, to about 1e-5 bits; rows in which a token is impossible go the slow
    way, in float64. `n_threads` share the rows; the results are the same.
    """

    def __init__(
        self,
        n_vocab: int,
        *,
        above: float = BLOCKED_ABOVE,
        thresholds: Sequence[float] = THRESHOLDS,
        n_threads: int = 1,
    ) -> None:
        if not 0 <= above < 1:
            raise ValueError("a probability from 0 to below 1")
        self.above = above
        self.thresholds = tuple(thresholds)
        self._log_above = math.log(above) if above else -math.inf
        self._chunk_rows = max(1, _CHUNK_BYTES // (4 * n_vocab))
        self._workspaces = [_Workspace(self._chunk_rows, n_vocab) for _ in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def compare(self, base: Float32, aligned: Float32, ids: npt.ArrayLike) -> Steps:
        """Both models' logits, shape (rows, n_vocab), where the tokens `ids`, shape (rows,), stand. O(rows n_vocab).

        p = (.5, .3, .2), q = (.9, .09999, .00001): .5 log2 (.5/.9) + .3 log2 (.3/.09999) + .2 log2 (.2/.00001).

        >>> rows = (np.log(np.array([one], np.float32)) for one in ([0.5, 0.3, 0.2], [0.9, 0.09999, 0.00001]))
        >>> steps = Comparer(3, thresholds=[1e-4]).compare(*rows, [2])
        >>> round(float(steps.kl_bits[0]), 4), steps.blocked_mass.round(4).tolist(), steps.is_blocked.tolist()
        (2.9091, [[0.2]], [[True]])
        """
        targets = np.asarray(ids, np.int64)
        if base.shape != aligned.shape or targets.shape != base.shape[:1]:
            raise ValueError("both models give a row over the same vocabulary for each token")
        starts = range(0, len(base), self._chunk_rows)
        found = [self._empty()] * len(starts)

        def share(worker: int) -> None:
            for at in range(worker, len(starts), len(self._workspaces)):
                rows = slice(starts[at], starts[at] + self._chunk_rows)
                found[at] = self._compare_few(base[rows], aligned[rows], targets[rows], self._workspaces[worker])

        if self._pool is None:
            share(0)
        else:
            list(self._pool.map(share, range(len(self._workspaces))))
        return joined(found or [self._empty()])

    def _compare_few(self, base: Float32, aligned: Float32, targets: Int64, workspace: _Workspace) -> Steps:
        with np.errstate(invalid="ignore", divide="ignore"):  # of impossible tokens, mended below
            p, q = workspace.side(base, 0), workspace.side(aligned, 1)
            rows = np.arange(len(targets))
            surprisals = [side.log_mass - side.x[rows, targets] for side in (p, q)]
            mass, reverse_mass = self._blocked_mass(p, q), self._blocked_mass(q, p)
            kl, reverse, js, p_entropy, q_entropy = workspace.divergences(p, q)
        is_used = -surprisals[0] > self._log_above
        is_blocked = is_used & (-surprisals[1] < np.log(self.thresholds)[:, None])
        kl, reverse = np.maximum(kl, 0), np.maximum(reverse, 0)
        # By convexity JS is at most a quarter of both: so equal rows have exactly 0.
        js = np.clip(js, 0, (kl + reverse) / 4)
        nats = (kl, reverse, js, *(np.maximum(one, 0) for one in (p_entropy, q_entropy, *surprisals)))
        bits = [np.asarray(one, np.float64) * _BITS for one in nats]
        steps = Steps._make((*bits, mass, reverse_mass, is_blocked))
        for row in np.flatnonzero(~np.isfinite(p_entropy + q_entropy)):
            _mend(steps, int(row), base[row], aligned[row], int(targets[row]), self)
        return steps

    def _blocked_mass(self, p: _Side, q: _Side) -> Float64:
        """Of each row the probability under `p` of tokens above `above` that `q` gives less than each threshold.

        Few tokens are above: the rest is looked at once.
        """
        # Flat: in two dimensions NumPy takes longer for this than for all the rest.
        above = np.flatnonzero(p.x > (self._log_above + p.log_mass).astype(np.float32)[:, None])
        rows, ids = np.divmod(above, p.x.shape[1])
        masses = np.exp(p.x[rows, ids] - p.log_mass[rows])
        others = q.x[rows, ids] - q.log_mass[rows]
        below = [np.where(others < limit, masses, 0.0) for limit in np.log(self.thresholds)]
        return np.array([np.bincount(rows, one, minlength=len(p.x)) for one in below]).reshape(-1, len(p.x))

    def _empty(self) -> Steps:
        none, grid = np.empty(0), np.empty((len(self.thresholds), 0))
        return Steps._make((*[none] * 7, grid, grid, grid.astype(np.bool_)))


def _mend(steps: Steps, row: int, base: Float32, aligned: Float32, target: int, comparer: Comparer) -> None:
    """One row anew, in float64, where a model finds tokens impossible (logit -inf)."""
    p, q = _log_softmax(base), _log_softmax(aligned)
    divergence = step_divergence(p, q)
    steps.kl_bits[row], steps.reverse_kl_bits[row], steps.js_bits[row] = (float(one[0]) for one in divergence)
    steps.base_entropy_bits[row], steps.aligned_entropy_bits[row] = _entropy_bits(p), _entropy_bits(q)
    steps.base_surprisal_bits[row], steps.aligned_surprisal_bits[row] = -p[target] * _BITS, -q[target] * _BITS
    limits = np.array(comparer.thresholds)[:, None]
    for masses, mine, other in ((steps.blocked_mass, p, q), (steps.reverse_blocked_mass, q, p)):
        used = np.exp(mine[np.exp(mine) > comparer.above])
        masses[:, row] = np.where(np.exp(other[np.exp(mine) > comparer.above]) < limits, used, 0.0).sum(axis=1)
    steps.is_blocked[:, row] = (np.exp(p[target]) > comparer.above) & (np.exp(q[target]) < limits[:, 0])


def _log_softmax(logits: Float32) -> Float64:
    x = logits.astype(np.float64)
    highest = x.max()
    if not math.isfinite(highest):
        raise EngineError(
            "The model returned logits that are not numbers. Is its file damaged? `llamadiv models verify` tells."
        )
    x -= highest
    return np.asarray(x - math.log(np.exp(x).sum()))


def _entropy_bits(log_p: Float64) -> float:
    there = log_p > -np.inf
    return float(-(np.exp(log_p[there]) * log_p[there]).sum() * _BITS)
