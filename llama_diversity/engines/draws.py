"""From rows of logits to drawn tokens and their exact statistics; the same code for every engine.

This file knows arrays only: no model, no text. One row is one context; its statistics describe the raw softmax at
T = 1 over the whole vocabulary, computed in float32 per block of 128 tokens and in float64 across blocks.

A draw is the inverse CDF in order of token ids: the first token whose cumulative probability exceeds u. The uniform u
comes from a counter-based stream keyed by (seed, sample index) and indexed by position, so a sample's choices do not
depend on its slot, its neighbours or the engine. Each row is reduced by itself: its result is bit for bit the same
whether it comes alone or with others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import EngineError
from llama_diversity.records import N_TOP, TOKEN_DTYPE, Sampler, TokenStats

BLOCK = 128
_CHUNK_BYTES = 512 * 1024  # rows worked on at once; their buffers stay in a core's cache
_PAD = np.finfo(np.float32).min  # a logit that is never drawn, yet finite, so that 0 * _PAD is 0 and not nan
_NEVER_DRAWN = np.float32(-1e4)  # exp of it is 0 even in float64
_BITS = 1 / np.log(2.0)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def uniforms(seed: int, index: int, n: int) -> Float64:
    """The first `n` numbers in [0, 1) of sample `index`'s own stream; a longer stream begins with the shorter one.

    Philox keyed by (seed, index), 53 bits each. Two indices never share a stream.

    >>> bool((uniforms(7, 3, 64) == uniforms(7, 3, 128)[:64]).all())
    True
    """
    raw = np.random.Philox(key=np.array([seed, index], dtype=np.uint64)).random_raw(n)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def unscored(ids: Sequence[int]) -> TokenStats:
    """Rows for tokens without a context: nan everywhere, rank 0, no top tokens; shape (len(ids),)."""
    stats = np.zeros(len(ids), TOKEN_DTYPE)
    for name in TOKEN_DTYPE.names or ():
        if TOKEN_DTYPE[name].base.kind == "f":
            stats[name] = np.nan
    stats["id"], stats["top_ids"], stats["top_surprisals_bits"] = ids, -1, np.inf
    return stats


class _Moments(NamedTuple):
    """What one pass over the vocabulary leaves of each row; x = logit - row maximum, e = exp(x)."""

    column_maxima: Float32  # (rows, blocks): largest logit of tokens j, j + blocks, j + 2 blocks, ...
    maximum: Float64  # (rows,)
    block_mass: Float64  # (rows, blocks): sum of e over each block of neighbouring tokens
    mass: Float64  # (rows,): Z, the sum of e
    mean_x: Float64  # (rows,): sum of e x / Z
    variance_x: Float64  # (rows,): sum of e x^2 / Z - mean_x^2

    @property
    def log_mass(self) -> Float64:
        return np.asarray(np.log(self.mass))

    @property
    def entropy_bits(self) -> Float64:
        return np.asarray(np.maximum(self.log_mass - self.mean_x, 0.0) * _BITS)


class _Sums(NamedTuple):
    """Where the passes leave their results, one row for each row of logits."""

    column_maxima: Float32
    maximum: Float32
    mass: Float32
    x: Float32
    x_squared: Float32

    @classmethod
    def empty(cls, n_rows: int, n_blocks: int) -> _Sums:
        per_block = [np.empty((n_rows, n_blocks), np.float32) for _ in range(4)]
        return cls(per_block[0], np.empty(n_rows, np.float32), *per_block[1:])


class _Workspace:
    """Buffers for a few rows, reused: fresh memory would cost more than the arithmetic."""

    def __init__(self, n_rows: int, n_blocks: int) -> None:
        self._halves = np.empty((n_rows, BLOCK // 2 * n_blocks), np.float32)
        self._x = np.empty((n_rows, n_blocks, BLOCK), np.float32)
        self._e = np.empty_like(self._x)
        self._ones = np.ones(BLOCK, np.float32)

    def reduce(self, logits: Float32, sums: _Sums, rows: slice, *, lifted: bool = False) -> None:
        """All passes over the rows `rows` of `logits`; `lifted` makes the -inf of forbidden tokens finite."""
        n_rows, n_blocks = rows.stop - rows.start, sums.mass.shape[1]
        sums.column_maxima[rows] = self._fold(logits[rows], n_blocks)
        np.maximum.reduce(sums.column_maxima[rows], axis=1, out=sums.maximum[rows])
        x, e = self._x[:n_rows], self._e[:n_rows]
        np.subtract(logits[rows].reshape(x.shape), sums.maximum[rows, None, None], out=x)
        if lifted:
            np.maximum(x, _NEVER_DRAWN, out=x)
        np.exp(x, out=e)
        # Dot products of one block each: the same bits however many rows come together.
        np.vecdot(e, self._ones, out=sums.mass[rows])
        np.vecdot(e, x, out=sums.x[rows])
        np.multiply(e, x, out=e)
        np.vecdot(e, x, out=sums.x_squared[rows])

    def _fold(self, logits: Float32, n_blocks: int) -> Float32:
        """Maxima of columns, by folding rows in half again and again: contiguous, so at the speed of memory."""
        width = logits.shape[1] // 2
        folded = self._halves[: len(logits)]
        np.maximum(logits[:, :width], logits[:, width:], out=folded)
        while width > n_blocks:
            width //= 2
            np.maximum(folded[:, :width], folded[:, width : 2 * width], out=folded[:, :width])
        return folded[:, :n_blocks]


class Reducer:
    """Reduces logits of a vocabulary of `n_vocab` tokens. Keeps its work buffers, so one caller at a time.

    `n_threads` > 1 shares the passes over the vocabulary among threads; the results are the same.
    """

    def __init__(self, n_vocab: int, *, n_threads: int = 1) -> None:
        self.n_vocab = n_vocab
        self._n_blocks = -(-n_vocab // BLOCK)
        self._chunk_rows = max(1, _CHUNK_BYTES // (4 * self._n_blocks * BLOCK))
        self._workspaces = [_Workspace(self._chunk_rows, self._n_blocks) for _ in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._padded: Float32 = np.empty((0, self._n_blocks * BLOCK), np.float32)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def draw(self, logits: Float32, numbers: Float64, sampler: Sampler) -> TokenStats:
        """Draw one token a row with `numbers` (uniforms, shape (rows,)) and return its statistics.

        `logits`: shape (rows, n_vocab), float32, C-contiguous; not kept. Returns shape (rows,), TOKEN_DTYPE.
        Raises EngineError when a row holds nan or no finite logit.
        """
        logits = self._whole_blocks(logits)
        raw = self._moments(logits)
        top_ids = self._top(logits, raw.column_maxima)
        if sampler.is_neutral:
            stats = self._describe(logits, raw, self._inverse_cdf(logits, raw, numbers), top_ids)
            for name in ("surprisal_bits", "entropy_bits"):  # the same numbers, to the last bit, under both names
                stats[f"sampler_{name}"] = stats[name]
            return stats
        if sampler.temperature == 0:
            chosen = top_ids[:, 0]
            surprisal_bits = entropy_bits = np.zeros(len(logits))
        elif (sampler.top_k, sampler.top_p, sampler.min_p) == (0, 1.0, 0.0):
            with np.errstate(over="ignore"):
                heated = (logits - raw.maximum[:, None].astype(np.float32)) / np.float32(sampler.temperature)
            np.maximum(heated, _NEVER_DRAWN, out=heated)  # near T = 0, padding and forbidden tokens go to -inf
            moments = self._moments(heated)
            chosen = self._inverse_cdf(heated, moments, numbers)
            surprisal_bits, entropy_bits = self._surprisal_bits(heated, moments, chosen), moments.entropy_bits
        else:
            drawn = [_draw_truncated(row, u, sampler) for row, u in zip(logits, numbers, strict=True)]
            chosen = np.array([d.token_id for d in drawn])
            surprisal_bits = np.array([d.surprisal_bits for d in drawn])
            entropy_bits = np.array([d.entropy_bits for d in drawn])
        stats = self._describe(logits, raw, chosen, top_ids)
        stats["sampler_surprisal_bits"] = surprisal_bits
        stats["sampler_entropy_bits"] = entropy_bits
        return stats

    def score(self, logits: Float32, targets: npt.NDArray[np.integer[Any]]) -> TokenStats:
        """Statistics of the given tokens `targets`, shape (rows,), under `logits` as in `draw`; nothing is drawn."""
        logits = self._whole_blocks(logits)
        raw = self._moments(logits)
        stats = self._describe(logits, raw, targets.astype(np.int64), self._top(logits, raw.column_maxima))
        stats["sampler_surprisal_bits"] = np.nan
        stats["sampler_entropy_bits"] = np.nan
        return stats

    # ---- passes over the vocabulary

    def _whole_blocks(self, logits: Float32) -> Float32:
        """The rows as they are, or copied beside padding where the vocabulary is not a multiple of the block."""
        if self.n_vocab == self._n_blocks * BLOCK:
            return logits
        if len(self._padded) < len(logits):
            self._padded = np.full((len(logits), self._n_blocks * BLOCK), _PAD, np.float32)
        padded = self._padded[: len(logits)]
        padded[:, : self.n_vocab] = logits
        return padded

    def _moments(self, logits: Float32) -> _Moments:
        sums = _Sums.empty(len(logits), self._n_blocks)
        with np.errstate(invalid="ignore"):  # 0 * -inf, mended below
            self._for_chunks(len(logits), lambda workspace, rows: workspace.reduce(logits, sums, rows))
            for row in np.nonzero(~np.isfinite(sums.x).all(axis=1))[0]:  # a model may forbid tokens with -inf
                self._workspaces[0].reduce(logits, sums, slice(row, row + 1), lifted=True)
        block_mass = sums.mass.astype(np.float64)
        mass = block_mass.sum(axis=1)
        if not np.isfinite(mass).all():
            raise EngineError(
                "The model returned logits that are not numbers. Is its file damaged? `llamadiv models verify` tells."
            )
        mean_x = sums.x.sum(axis=1, dtype=np.float64) / mass
        variance_x = np.maximum(sums.x_squared.sum(axis=1, dtype=np.float64) / mass - mean_x**2, 0.0)
        maximum = sums.maximum.astype(np.float64)
        return _Moments(sums.column_maxima, maximum, block_mass, mass, mean_x, variance_x)

    def _for_chunks(self, n_rows: int, work: Callable[[_Workspace, slice], None]) -> None:
        """Do `work` on all rows, a cacheful at a time, each thread with a workspace of its own."""
        chunks = [slice(at, min(at + self._chunk_rows, n_rows)) for at in range(0, n_rows, self._chunk_rows)]

        def share(worker: int) -> None:
            for chunk in chunks[worker :: len(self._workspaces)]:
                work(self._workspaces[worker], chunk)

        if self._pool is None:
            share(0)
        else:
            list(self._pool.map(share, range(len(self._workspaces))))

    def _inverse_cdf(self, logits: Float32, moments: _Moments, numbers: Float64) -> Int64:
        """First the block in which the cumulative mass passes u Z, then the token within it."""
        rows = np.arange(len(logits))
        upto = moments.block_mass.cumsum(axis=1)
        target = numbers * moments.mass
        block = np.minimum((upto <= target[:, None]).sum(axis=1), _last_positive(moments.block_mass))
        inside = logits.reshape(len(logits), self._n_blocks, BLOCK)[rows, block].astype(np.float64)
        masses = np.exp(inside - moments.maximum[:, None])
        # The block's float32 mass and the float64 masses inside differ in the last digits: stretch one to the other,
        # so that rounding cannot push the choice past the block.
        before = upto[rows, block] - moments.block_mass[rows, block]
        scale = masses.sum(axis=1) / moments.block_mass[rows, block]
        within = (masses.cumsum(axis=1) <= ((target - before) * scale)[:, None]).sum(axis=1)
        return np.asarray(block * BLOCK + np.minimum(within, _last_positive(masses)))

    def _top(self, logits: Float32, maxima: Float32) -> Int64:
        """Ids of the likeliest tokens of each row, best first, ties to the lower id; shape (rows, N_TOP), -1 padded.

        The five columns with the largest maxima hold the five largest logits.
        """
        rows = np.arange(len(logits))[:, None]
        n_columns = min(N_TOP, self._n_blocks)
        columns = np.sort(np.argpartition(maxima, self._n_blocks - n_columns, axis=1)[:, -n_columns:], axis=1)
        ids = (np.arange(0, BLOCK * self._n_blocks, self._n_blocks)[:, None] + columns[:, None, :]).reshape(
            len(rows), -1
        )
        values = logits.ravel().take(ids + rows * logits.shape[1])
        top_ids = ids[rows, _largest(values, N_TOP)]
        fifth = logits[rows, top_ids[:, -1:]]
        for row in np.nonzero((maxima >= fifth).sum(axis=1) > n_columns)[0]:
            # Equal logits in more columns than were looked at: only the whole row knows the lower ids.
            top_ids[row] = _largest(logits[row][None, :], N_TOP)[0]
        return np.where(top_ids < self.n_vocab, top_ids, -1)

    # ---- assembling

    def _surprisal_bits(self, logits: Float32, moments: _Moments, ids: Int64) -> Float64:
        """-log2 p of the tokens `ids`, shape (rows,) or (rows, k), never below 0."""
        rows = np.arange(len(logits))
        flat = ids.reshape(len(logits), -1)
        x = logits[rows[:, None], flat].astype(np.float64) - moments.maximum[:, None]
        bits = np.maximum(moments.log_mass[:, None] - x, 0.0) * _BITS
        return np.asarray(bits.reshape(ids.shape))

    def _describe(self, logits: Float32, raw: _Moments, chosen: Int64, top_ids: Int64) -> TokenStats:
        stats = np.empty(len(logits), TOKEN_DTYPE)
        stats["id"] = chosen
        stats["surprisal_bits"] = self._surprisal_bits(logits, raw, chosen)
        stats["entropy_bits"] = raw.entropy_bits
        stats["varentropy_bits2"] = raw.variance_x * _BITS**2
        stats["rank"] = self._ranks(logits, chosen, top_ids)
        stats["top_ids"] = top_ids
        stats["top_surprisals_bits"] = np.where(top_ids >= 0, self._surprisal_bits(logits, raw, top_ids), np.inf)
        return stats

    def _ranks(self, logits: Float32, chosen: Int64, top_ids: Int64) -> Int64:
        """1 + the number of strictly likelier tokens."""
        top = logits[np.arange(len(logits))[:, None], top_ids]  # id -1 reads padding or a copy: never likelier
        values = logits[np.arange(len(logits)), chosen]
        ranks: Int64 = 1 + (top > values[:, None]).sum(axis=1)

        def count(workspace: _Workspace, rows: slice) -> None:
            for row in range(rows.start, rows.stop):
                if ranks[row] > N_TOP:  # beyond the likeliest ones only the whole row tells
                    ranks[row] = 1 + np.count_nonzero(logits[row, : self.n_vocab] > values[row])

        self._for_chunks(len(logits), count)
        return ranks


def _last_positive(masses: Float64) -> Int64:
    """Index of the last positive entry of each row: beyond it nothing may be drawn."""
    return np.asarray(masses.shape[1] - 1 - (masses[:, ::-1] > 0).argmax(axis=1))


def _largest(values: Float32, k: int) -> Int64:
    """Positions of the k largest values of each row, best first, ties to the lower position."""
    remaining = np.maximum(values, np.finfo(np.float32).min)  # only what was taken lies below
    rows = np.arange(len(values))
    positions = np.empty((len(values), k), np.int64)
    for rank in range(k):
        positions[:, rank] = remaining.argmax(axis=1)
        remaining[rows, positions[:, rank]] = -np.inf
    return positions


class _Drawn(NamedTuple):
    token_id: int
    surprisal_bits: float
    entropy_bits: float


def _draw_truncated(row: Float32, number: float, sampler: Sampler) -> _Drawn:
    """One draw from a truncated distribution: temperature, then top-k, top-p, min-p, each on what is left."""
    ids = _survivors(row, sampler)
    x = row[ids].astype(np.float64) / sampler.temperature
    masses = np.exp(x - x.max())
    upto = masses.cumsum()
    position = min(int((upto <= number * upto[-1]).sum()), len(ids) - 1)
    probabilities = masses / upto[-1]
    surprisals = -np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return _Drawn(
        int(ids[position]),
        float(surprisals[position] * _BITS),
        float((probabilities * surprisals).sum() * _BITS),
    )


def _survivors(row: Float32, sampler: Sampler) -> Int64:
    """Ids that may be drawn, ascending."""
    x = row.astype(np.float64) / sampler.temperature
    x -= x.max()
    ids: Int64 = np.nonzero(x > -700)[0]  # below, exp is 0 in float64: never drawn
    if 0 < sampler.top_k < len(ids):
        ids = _likeliest(x, ids, sampler.top_k)
    if sampler.top_p < 1:
        ids = _nucleus(x, ids, sampler.top_p)
    if sampler.min_p > 0:
        ids = ids[x[ids] >= np.log(sampler.min_p)]
    return ids


def _likeliest(x: Float64, ids: Int64, k: int) -> Int64:
    """The k likeliest of `ids`, ties to the lower id, ascending."""
    values = x[ids]
    threshold = np.partition(values, len(ids) - k)[len(ids) - k]
    above, level = ids[values > threshold], ids[values == threshold]
    return np.sort(np.concatenate([above, level[: k - len(above)]]))


def _nucleus(x: Float64, ids: Int64, top_p: float) -> Int64:
    """The smallest set of likeliest tokens whose share of the mass of `ids` reaches `top_p`, ascending."""
    masses = np.exp(x[ids])
    needed = top_p * masses.sum()
    for k in _growing(len(ids)):  # most of the mass sits in a few tokens: sort those, seldom all
        candidates = _likeliest(x, ids, k)
        order = np.argsort(-x[candidates], kind="stable")
        upto = np.exp(x[candidates][order]).cumsum()
        if upto[-1] >= needed or k == len(ids):
            kept = int(np.searchsorted(upto, needed)) + 1
            return np.sort(candidates[order[:kept]])
    raise AssertionError("the last candidate set is the whole")


def _growing(n: int) -> Sequence[int]:
    return [k for k in (64, 1024, 16384) if k < n] + [n]
