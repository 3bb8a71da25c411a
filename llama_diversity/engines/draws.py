"""From rows of logits to drawn tokens and their exact statistics; the same code for every engine.

This file knows arrays only: no model, no text. One row is one context; its statistics describe the raw softmax at
T = 1 over the whole vocabulary, computed in float32 within a block or segment of tokens and in float64 across them.

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
_MOST_JOINED = 8  # blocks in a segment
_FEWEST_SEGMENTS = 16  # well above N_TOP, so that the N_TOP-th largest of their maxima bounds few tokens
_CHUNK_BYTES = 256 * 1024  # rows worked on at once; their buffers stay in a core's cache
_PAD = np.finfo(np.float32).min  # a logit that is never drawn, yet finite, so that 0 * _PAD is 0 and not nan
_NEVER_DRAWN = np.float32(-1e4)  # exp of it is 0 even in float64
_BITS = 1 / np.log(2.0)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


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

    segment_maxima: Float32  # (rows, segments): largest logit of each segment of neighbouring tokens
    maximum: Float32  # (rows,)
    upto: Float64  # (rows, blocks): sum of e over each block of neighbouring tokens and all before; the last is Z
    mean_x: Float64  # (rows,): sum of e x / Z
    mean_x_squared: Float64  # (rows,): sum of e x^2 / Z
    log_mass: Float64  # (rows,): log Z

    @property
    def entropy_bits(self) -> Float64:
        return np.asarray(np.maximum(self.log_mass - self.mean_x, 0.0) * _BITS)

    @property
    def varentropy_bits2(self) -> Float64:
        return np.asarray(np.maximum(self.mean_x_squared - self.mean_x**2, 0.0) * _BITS**2)


class _Sums(NamedTuple):
    """Where the passes leave their results, one row for each row of logits."""

    segment_maxima: Float32  # (rows, segments)
    maximum: Float32  # (rows,)
    mass: Float32  # (rows, blocks)
    x: Float32  # (rows, 2, segments): sums of e x and of e x^2

    @classmethod
    def empty(cls, n_rows: int, shape: _Shape) -> _Sums:
        return cls(
            np.empty((n_rows, shape.n_segments), np.float32),
            np.empty(n_rows, np.float32),
            np.empty((n_rows, shape.n_blocks), np.float32),
            np.empty((n_rows, 2, shape.n_segments), np.float32),
        )


class _Shape(NamedTuple):
    """How a row is cut up: into blocks of tokens to draw from, and into segments for everything else."""

    n_blocks: int
    segment: int  # tokens

    @classmethod
    def of(cls, n_vocab: int) -> _Shape:
        """As long segments as leave enough of them: of whole blocks where the vocabulary is not tiny."""
        n_blocks = -(-n_vocab // BLOCK)
        width = n_blocks * BLOCK
        lengths = [2**k for k in range(1, 7)] + [BLOCK * k for k in range(1, _MOST_JOINED + 1)]
        return cls(n_blocks, max(n for n in lengths if width % n == 0 and width // n >= _FEWEST_SEGMENTS))

    @property
    def width(self) -> int:
        return self.n_blocks * BLOCK

    @property
    def n_segments(self) -> int:
        return self.width // self.segment


class _Workspace:
    """Buffers for a few rows, reused: fresh memory would cost more than the arithmetic."""

    def __init__(self, n_rows: int, shape: _Shape) -> None:
        self._shape = shape
        self._x = np.empty((n_rows, shape.width), np.float32)
        self._e = np.empty_like(self._x)
        self._ones = np.ones(BLOCK, np.float32)

    def reduce(self, logits: Float32, sums: _Sums, rows: slice, *, lifted: bool = False) -> None:
        """All passes over the rows `rows` of `logits`; `lifted` makes the -inf of forbidden tokens finite."""
        n_rows, shape = rows.stop - rows.start, self._shape
        segments = (n_rows, shape.n_segments, shape.segment)
        np.maximum.reduce(logits[rows].reshape(segments), axis=2, out=sums.segment_maxima[rows])
        np.maximum.reduce(sums.segment_maxima[rows], axis=1, out=sums.maximum[rows])
        x, e = self._x[:n_rows], self._e[:n_rows]
        np.subtract(logits[rows], sums.maximum[rows, None], out=x)
        if lifted:
            np.maximum(x, _NEVER_DRAWN, out=x)
        np.exp(x, out=e)
        # Dot products of one block or segment each: the same bits however many rows come together.
        np.vecdot(e.reshape(n_rows, shape.n_blocks, BLOCK), self._ones, out=sums.mass[rows])
        np.vecdot(e.reshape(segments), x.reshape(segments), out=sums.x[rows, 0])
        np.multiply(e, x, out=e)
        np.vecdot(e.reshape(segments), x.reshape(segments), out=sums.x[rows, 1])


class Reducer:
    """Reduces logits of a vocabulary of `n_vocab` tokens. Keeps its work buffers, so one caller at a time.

    `n_threads` > 1 shares the passes over the vocabulary among threads; the results are the same.
    """

    def __init__(self, n_vocab: int, *, n_threads: int = 1) -> None:
        self.n_vocab = n_vocab
        self._shape = _Shape.of(n_vocab)
        self._chunk_rows = max(1, _CHUNK_BYTES // (4 * self._shape.width))
        self._workspaces = [_Workspace(self._chunk_rows, self._shape) for _ in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._padded: Float32 = np.empty((0, self._shape.width), np.float32)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def draw(self, logits: Float32, numbers: Float64, sampler: Sampler, allowed: Mask | None = None) -> TokenStats:
        """Draw one token a row with `numbers` (uniforms, shape (rows,)) and return its statistics.

        `logits`: shape (rows, n_vocab), float32, C-contiguous; not kept. `allowed`, of the same shape, leaves its true
        tokens to the sampler, with their probabilities renormalised; each row must allow one of finite logit. Returns
        shape (rows,), TOKEN_DTYPE. Raises EngineError when a row holds nan or no finite logit.
        """
        logits = self._whole_blocks(logits)
        raw = self._moments(logits)
        top_ids = self._top(logits, raw.segment_maxima)
        if allowed is None and sampler.is_neutral:
            stats = self._describe(logits, raw, self._inverse_cdf(logits, raw, numbers), top_ids)
            for name in ("surprisal_bits", "entropy_bits"):  # the same numbers, to the last bit, under both names
                stats[f"sampler_{name}"] = stats[name]
            return stats
        open_to, maximum = (logits, raw.maximum) if allowed is None else self._bounded(logits, allowed)
        if sampler.temperature == 0:
            chosen = top_ids[:, 0] if allowed is None else open_to.argmax(axis=1)  # the first maximum: the lower id
            surprisal_bits = entropy_bits = np.zeros(len(logits))
        elif (sampler.top_k, sampler.top_p, sampler.min_p) == (0, 1.0, 0.0):
            with np.errstate(over="ignore"):
                heated = (open_to - maximum[:, None]) / np.float32(sampler.temperature)
            np.maximum(heated, _NEVER_DRAWN, out=heated)  # near T = 0, padding and forbidden tokens go to -inf
            moments = self._moments(heated)
            chosen = self._inverse_cdf(heated, moments, numbers)
            surprisal_bits, entropy_bits = self._surprisal_bits(heated, moments, chosen), moments.entropy_bits
        else:
            drawn = [_draw_truncated(row, u, sampler) for row, u in zip(open_to, numbers, strict=True)]
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
        stats = self._describe(logits, raw, targets.astype(np.int64), self._top(logits, raw.segment_maxima))
        stats["sampler_surprisal_bits"] = np.nan
        stats["sampler_entropy_bits"] = np.nan
        return stats

    # ---- passes over the vocabulary

    def _whole_blocks(self, logits: Float32) -> Float32:
        """The rows as they are, or copied beside padding where the vocabulary is not a multiple of the block."""
        if self.n_vocab == self._shape.width:
            return logits
        if len(self._padded) < len(logits):
            self._padded = np.full((len(logits), self._shape.width), _PAD, np.float32)
        padded = self._padded[: len(logits)]
        padded[:, : self.n_vocab] = logits
        return padded

    def _bounded(self, logits: Float32, allowed: Mask) -> tuple[Float32, Float32]:
        """The rows with -inf where a token is not allowed, and the maximum of each, shape (rows,)."""
        bounded = np.full_like(logits, -np.inf)
        np.copyto(bounded[:, : self.n_vocab], logits[:, : self.n_vocab], where=allowed)
        maximum = bounded.max(axis=1)
        if np.isneginf(maximum).any():
            raise ValueError("a row allows no token that has a probability")
        return bounded, maximum

    def _moments(self, logits: Float32) -> _Moments:
        sums = _Sums.empty(len(logits), self._shape)
        with np.errstate(invalid="ignore"):  # 0 * -inf, mended below
            self._for_chunks(len(logits), lambda workspace, rows: workspace.reduce(logits, sums, rows))
            totals = np.add.reduce(sums.x, axis=2, dtype=np.float64)
            for row in np.flatnonzero(~np.isfinite(totals[:, 0])):  # a model may forbid tokens with -inf
                self._workspaces[0].reduce(logits, sums, slice(row, row + 1), lifted=True)
                totals[row] = sums.x[row].sum(axis=1, dtype=np.float64)
        upto = np.cumsum(sums.mass, axis=1, dtype=np.float64)
        if not np.isfinite(upto[:, -1]).all():
            raise not_numbers()
        means = totals / upto[:, -1:]
        return _Moments(sums.segment_maxima, sums.maximum, upto, means[:, 0], means[:, 1], np.log(upto[:, -1]))

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
        target = _below(numbers * moments.upto[:, -1], moments.upto)
        block = np.count_nonzero(moments.upto <= target[:, None], axis=1)
        before = np.where(block > 0, moments.upto[rows, block - 1], 0.0)
        mass = moments.upto[rows, block] - before
        inside = logits.reshape(len(logits), self._shape.n_blocks, BLOCK)[rows, block]
        within = np.cumsum(np.exp(inside - moments.maximum[:, None], dtype=np.float64), axis=1)
        # The block's float32 mass and the float64 masses inside differ in the last digits: stretch one to the other,
        # so that rounding cannot push the choice past the block.
        target = _below((target - before) * within[:, -1] / mass, within)
        return np.asarray(block * BLOCK + np.count_nonzero(within <= target[:, None], axis=1))

    def _top(self, logits: Float32, segment_maxima: Float32) -> Int64:
        """Ids of the likeliest tokens of each row, best first, ties to the lower id; shape (rows, N_TOP), -1 padded.

        The N_TOP-th largest of the segments' maxima is a bound: so many tokens reach it, and they are all found in the
        few segments whose maximum does.
        """
        n_segments, segment = segment_maxima.shape[1], self._shape.segment
        maxima = np.maximum(segment_maxima, _PAD)  # a forbidden token's -inf ties with padding: the lower id first
        bound = np.partition(maxima, n_segments - N_TOP, axis=1)[:, -N_TOP]
        looked_at = np.flatnonzero(maxima >= bound[:, None])
        values = logits.reshape(-1, segment)[looked_at]
        np.maximum(values, _PAD, out=values)
        at, offsets = np.divmod(np.flatnonzero(values >= bound[looked_at // n_segments, None]), segment)
        rows, ids = np.divmod(looked_at[at] * segment + offsets, self._shape.width)
        best_first = np.lexsort((-values[at, offsets], rows))  # stable, and ids ascend within a row
        top_ids = ids[best_first[np.searchsorted(rows, np.arange(len(logits)))[:, None] + np.arange(N_TOP)]]
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
        ids = np.column_stack((chosen, top_ids))
        bits = self._surprisal_bits(logits, raw, ids)
        stats = np.empty(len(logits), TOKEN_DTYPE)
        stats["id"] = chosen
        stats["surprisal_bits"] = bits[:, 0]
        stats["entropy_bits"] = raw.entropy_bits
        stats["varentropy_bits2"] = raw.varentropy_bits2
        stats["rank"] = self._ranks(logits, ids)
        stats["top_ids"] = top_ids
        stats["top_surprisals_bits"] = np.where(top_ids >= 0, bits[:, 1:], np.inf)
        return stats

    def _ranks(self, logits: Float32, ids: Int64) -> Int64:
        """1 + the number of strictly likelier tokens; `ids` are the chosen token and the likeliest of each row."""
        values = logits[np.arange(len(logits))[:, None], ids]  # id -1 reads padding or a copy: never likelier
        ranks: Int64 = 1 + np.count_nonzero(values[:, 1:] > values[:, :1], axis=1)

        def count(workspace: _Workspace, rows: slice) -> None:
            for row in range(rows.start, rows.stop):
                if ranks[row] > N_TOP:  # beyond the likeliest ones only the whole row tells
                    ranks[row] = 1 + np.count_nonzero(logits[row, : self.n_vocab] > values[row, 0])

        self._for_chunks(len(logits), count)
        return ranks


def _below(target: Float64, upto: Float64) -> Float64:
    """`target` within [0, last of `upto`) of each row, so that a positive mass lies where `upto` first exceeds it."""
    return np.asarray(np.maximum(np.minimum(target, np.nextafter(upto[:, -1], 0.0)), 0.0))


def check_numbers(logits: Float32) -> None:
    """Raises EngineError where a row, shape (..., n_vocab), holds nan or +inf, or nothing above -inf."""
    if not np.isfinite(logits.max(axis=-1)).all():
        raise not_numbers()


def not_numbers() -> EngineError:
    """The error of a model whose logits make no distribution."""
    return EngineError(
        "The model returned logits that are not numbers. Is its file damaged? `llamadiv models verify` tells."
    )


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
    surprisals = 0.0 - np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
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
