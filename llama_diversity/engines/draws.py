"""From rows of logits to drawn tokens and their exact statistics; the same code for every engine.

This file knows arrays only: no model, no text. One row is one context; its statistics describe the raw softmax at
T = 1 over the whole vocabulary, computed in float32 within a block or segment of tokens and in float64 across them.

A draw is the inverse CDF in order of token ids: the first token whose cumulative probability exceeds u. The uniform u
comes from a counter-based stream keyed by (seed, sample index) and indexed by position, so a sample's choices do not
depend on its slot, its neighbours or the engine. Each row is reduced by itself: its result is bit for bit the same
whether it comes alone or with others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.engines.laws import dynamic, law, shrinkage, sigma_floor
from llama_diversity.errors import EngineError
from llama_diversity.records import N_TOP, TOKEN_DTYPE, Sampler, TokenStats

BLOCK = 128
_MOST_JOINED = 8  # blocks in a segment
_FEWEST_SEGMENTS = 16  # well above N_TOP, so that the N_TOP-th largest of their maxima bounds few tokens
_CHUNK_BYTES = 256 * 1024  # rows worked on at once; their buffers stay in a core's cache
_MOST_LIKELIEST = 64  # tokens a row kept for `describe`; more only where logits are equal
_PAD = np.finfo(np.float32).min  # a logit that is never drawn, yet finite, so that 0 * _PAD is 0 and not nan
_NEVER_DRAWN = np.float32(-1e4)  # exp of it is 0 even in float64
_BITS = 1 / np.log(2.0)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def uniforms(seed: int, index: int, n: int, *, stream: int = 0) -> Float64:
    """The first `n` numbers in [0, 1) of sample `index`'s own stream; a longer stream begins with the shorter one.

    Philox keyed by (seed, index), 53 bits each. Two indices never share a stream; a sample has others by number.

    >>> bool((uniforms(7, 3, 64) == uniforms(7, 3, 128)[:64]).all())
    True
    """
    key, counter = np.array([seed, index], dtype=np.uint64), np.array([0, 0, 0, stream], dtype=np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(n)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def score_text(
    ids: tuple[int, ...],
    pieces: Iterable[tuple[int, int, Float32]],
    reducer: Reducer,
    on_progress: Callable[[float], None] | None,
) -> TokenStats:
    """`Engine.score` of one text from the pieces that `Engine.logits` reads it in."""
    stats = unscored(ids)
    for _, start, logits in pieces:
        those = slice(start + 1, start + 1 + len(logits))
        stats[those] = reducer.score(logits, np.array(ids[those]))
        if on_progress is not None:
            on_progress((start + len(logits)) / (len(ids) - 1))
    return stats


def sampled(log_p: Float64, sampler: Sampler, *, is_first: bool) -> Float64:
    """The distribution that `sampler` draws from, as natural logarithms, of rows of the model's own log p.

    `log_p`: shape (rows, n_vocab), -inf for what may not be drawn; each row needs a finite one. The result has its
    shape, each row normalised, -inf where a token is cut off. `is_first`: the rows are before the first token of a
    completion. It is what `Reducer.look` draws from, in float64.

    >>> half = np.log([[0.5, 0.3, 0.2]])
    >>> np.exp(sampled(half, Sampler(top_k=2), is_first=False)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    one = sampler.at(is_first=is_first)
    found = np.full(log_p.shape, -np.inf)
    for row, out in zip(log_p, found, strict=True):
        if one.temperature == 0:
            out[row.argmax()] = 0.0
            continue
        ids, masses = law(row, one)
        out[ids] = np.log(masses) - np.log(masses.sum())
    return found


def unscored(ids: Sequence[int]) -> TokenStats:
    """Rows for tokens without a context: nan everywhere, rank 0, no top tokens; shape (len(ids),)."""
    stats = np.zeros(len(ids), TOKEN_DTYPE)
    for name in TOKEN_DTYPE.names or ():
        if TOKEN_DTYPE[name].base.kind == "f":
            stats[name] = np.nan
    stats["id"], stats["top_ids"], stats["top_surprisals_bits"] = ids, -1, np.inf
    return stats


class _Moments(NamedTuple):
    """What the passes over the vocabulary tell of each row's distribution; x = logit - row maximum, e = exp(x)."""

    mean_x: Float64  # (rows,): sum of e x / Z
    mean_x_squared: Float64  # (rows,): sum of e x^2 / Z
    log_mass: Float64  # (rows,): log Z

    @classmethod
    def of(cls, x: Float32, mass: Float64) -> _Moments:
        """From the segments' sums of e x and e x^2, shape (rows, 2, segments), and Z."""
        means = np.add.reduce(x, axis=2, dtype=np.float64) / mass[:, None]
        return cls(means[:, 0], means[:, 1], np.log(mass))

    @property
    def entropy_bits(self) -> Float64:
        return np.asarray(np.maximum(self.log_mass - self.mean_x, 0.0) * _BITS)

    @property
    def varentropy_bits2(self) -> Float64:
        return np.asarray(np.maximum(self.mean_x_squared - self.mean_x**2, 0.0) * _BITS**2)

    def surprisal_bits(self, x: Float64) -> Float64:
        """-log2 p of tokens of these x, shape (rows,) or (rows, k), never below 0."""
        log_mass = self.log_mass if x.ndim == 1 else self.log_mass[:, None]
        return np.asarray(np.maximum(log_mass - x, 0.0) * _BITS)


class _Likeliest(NamedTuple):
    """Tokens of some rows, all of them that reach a bound: the N_TOP likeliest of each row and a few more, unsorted."""

    rows: Int64
    ids: Int64  # ascending within a row; padding has ids too
    values: Float32  # their logits

    def sorted(self, n_rows: int) -> _Likeliest:
        """The N_TOP likeliest of each row alone, best first, ties to the lower id."""
        comparable = np.maximum(self.values, _PAD)  # a forbidden token's -inf ties with padding: the lower id first
        best_first = np.lexsort((-comparable, self.rows))  # stable, and ids ascend within a row
        of_each = np.searchsorted(self.rows, np.arange(n_rows))[:, None] + np.arange(N_TOP)
        kept = best_first[of_each.ravel()]
        return _Likeliest(self.rows[kept], self.ids[kept], self.values[kept])


class _Place(NamedTuple):
    """Where the numbers lay that drew tokens, as cumulative probabilities cut up the unit interval."""

    rest: Float64  # (rows,): within the token's part, from 0 to 1
    share: Float64  # (rows,): that part's length, the probability of the token


class Look(NamedTuple):
    """What a look at rows of logits leaves: the tokens, and all that their statistics need of the logits.

    `Reducer.describe` makes statistics of many looks at once, since its calls cost the same for few rows.
    """

    ids: Int64  # (rows,): the tokens drawn or given
    values: Float32  # (rows,): their logits
    n_likelier: Int64  # (rows,): tokens strictly likelier; -1 where `likeliest` holds them all
    maximum: Float32  # (rows,)
    mass: Float64  # (rows,): Z
    x: Float32  # (rows, 2, segments), as in _Sums
    likeliest: _Likeliest
    sampler_bits: tuple[Float64, Float64] | None  # surprisal and entropy as drawn; None where they are the raw ones
    place: _Place | None = None  # where the numbers lay; None where nobody asked


class _Sums(NamedTuple):
    """Where the passes leave their results, one row for each row of logits."""

    segment_maxima: Float32  # (rows, segments): largest logit of each segment of neighbouring tokens
    maximum: Float32  # (rows,)
    mass: Float32  # (rows, blocks): sums of e
    x: Float32  # (rows, 2, segments): sums of e x and of e x^2
    upto: Float64  # (rows, blocks): sum of e over each block and all before; the last is Z

    @classmethod
    def empty(cls, n_rows: int, shape: _Shape) -> _Sums:
        return cls(
            np.empty((n_rows, shape.n_segments), np.float32),
            np.empty(n_rows, np.float32),
            np.empty((n_rows, shape.n_blocks), np.float32),
            np.empty((n_rows, 2, shape.n_segments), np.float32),
            np.empty((n_rows, shape.n_blocks)),
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
        """As `look`, described at once: shape (rows,), TOKEN_DTYPE."""
        return self.describe([self.look(logits, numbers, sampler, allowed)])

    def look(
        self,
        logits: Float32,
        numbers: Float64,
        sampler: Sampler,
        allowed: Mask | None = None,
        *,
        has_place: bool = False,
    ) -> Look:
        """Draw one token a row with `numbers` (uniforms, shape (rows,)).

        `logits`: shape (rows, n_vocab), float32, C-contiguous; not kept. `allowed`, of the same shape, leaves its true
        tokens to the sampler, with their probabilities renormalised; each row must allow one of finite logit. With
        `has_place` it is told where the numbers lay. Raises EngineError when a row holds nan or no finite logit.
        """
        logits = self._whole_blocks(logits)
        raw = self._sums(logits)
        if allowed is None and sampler.is_neutral:
            chosen, place = self._inverse_cdf(logits, raw, numbers, has_place=has_place)
            return self._look(logits, raw, chosen, None)._replace(place=place)
        open_to, maximum = (logits, raw.maximum) if allowed is None else self._bounded(logits, allowed)
        if sampler.temperature == 0:
            chosen = open_to.argmax(axis=1)  # the first maximum: the lower id
            surprisal_bits = entropy_bits = np.zeros(len(logits))
            place = _Place(numbers, np.ones(len(logits)))  # nothing was drawn
        elif (sampler.top_k, sampler.top_p, sampler.min_p) == (0, 1.0, 0.0):
            heated, sums = self._heated(open_to, maximum, sampler, raw if allowed is None else None)
            chosen, place = self._inverse_cdf(heated, sums, numbers, has_place=has_place)
            moments = _Moments.of(sums.x, sums.upto[:, -1])
            x = heated[np.arange(len(heated)), chosen].astype(np.float64) - sums.maximum
            surprisal_bits, entropy_bits = moments.surprisal_bits(x), moments.entropy_bits
        else:
            rows = open_to[:, : self.n_vocab]
            drawn = [_draw_sorted(row, u, sampler) for row, u in zip(rows, numbers, strict=True)]
            chosen = np.array([d.token_id for d in drawn])
            surprisal_bits = np.array([d.surprisal_bits for d in drawn])
            entropy_bits = np.array([d.entropy_bits for d in drawn])
            place = _Place(np.array([d.rest for d in drawn]), np.exp2(-surprisal_bits))
        return self._look(logits, raw, chosen, (surprisal_bits, entropy_bits))._replace(place=place)

    def score(self, logits: Float32, targets: npt.NDArray[np.integer[Any]]) -> TokenStats:
        """As `look_at`, described at once: shape (rows,), TOKEN_DTYPE."""
        return self.describe([self.look_at(logits, targets)])

    def look_at(self, logits: Float32, targets: npt.NDArray[np.integer[Any]]) -> Look:
        """A look at the given tokens `targets`, shape (rows,), under `logits` as in `look`; nothing is drawn."""
        logits = self._whole_blocks(logits)
        nothing = np.full(len(logits), np.nan)
        return self._look(logits, self._sums(logits), targets.astype(np.int64), (nothing, nothing))

    def surprisals(self, logits: Float32, rows: Int64, targets: Int64) -> Float64:
        """-log2 p of the tokens `targets`, each behind one of `rows` of `logits`; the same bits as `score` has."""
        logits = self._whole_blocks(logits)
        sums = self._sums(logits)
        x = logits[rows, targets].astype(np.float64) - sums.maximum[rows]
        return _Moments.of(sums.x[rows], sums.upto[rows, -1]).surprisal_bits(x)

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

    def _heated(self, logits: Float32, maximum: Float32, sampler: Sampler, sums: _Sums | None) -> tuple[Float32, _Sums]:
        """Logits of what a sampler draws from that needs no order of tokens, and their sums.

        `sums`: of the logits, where they are known.
        """
        heat: Any = np.float32(sampler.temperature)
        if sampler.dynatemp_range:
            heat = self._dynamic(logits, sums or self._sums(logits), sampler)[:, None]
        with np.errstate(over="ignore"):
            heated = (logits - maximum[:, None]) / heat
        np.maximum(heated, _NEVER_DRAWN, out=heated)  # near T = 0, padding and forbidden tokens go to -inf
        if sampler.top_n_sigma > 0:
            self._for_chunks(len(logits), lambda _, rows: self._cut_below(logits, heated, rows, sampler.top_n_sigma))
        sums = self._sums(heated)
        if sampler.xtc_probability > 0 and self._mix(heated, sums, sampler):
            sums = self._sums(heated)
        return heated, sums

    def _dynamic(self, logits: Float32, sums: _Sums, sampler: Sampler) -> Float32:
        """The temperature of each row by its entropy over the tokens that are not forbidden."""
        n_open = np.count_nonzero(logits[:, : self.n_vocab] > -np.inf, axis=1)
        entropy = _Moments.of(sums.x, sums.upto[:, -1]).entropy_bits
        return np.asarray(dynamic(sampler, entropy / np.log2(np.maximum(n_open, 2)))).astype(np.float32)

    def _cut_below(self, logits: Float32, heated: Float32, rows: slice, n: float) -> None:
        """Let no token of `heated` be drawn that lies more than `n` standard deviations below the largest logit."""
        for row in range(rows.start, rows.stop):
            floor = sigma_floor(logits[row, : self.n_vocab], n)
            np.copyto(heated[row], _NEVER_DRAWN, where=logits[row] < np.float64(floor))

    def _mix(self, heated: Float32, sums: _Sums, sampler: Sampler) -> bool:
        """Turn `heated` into the logits of XTC's mixture, where it changes any row; whether it does."""
        bound = sums.maximum + np.log(sampler.xtc_threshold * sums.upto[:, -1]).astype(np.float32)
        rows, ids = (heated > bound[:, None]).nonzero()
        is_one_of_many = np.bincount(rows, minlength=len(heated))[rows] > 1
        rows, ids = rows[is_one_of_many], ids[is_one_of_many]
        if not len(rows):
            return False
        likeliest_first = np.lexsort((ids, -heated[rows, ids], rows))
        rows, ids = rows[likeliest_first], ids[likeliest_first]
        has_next = rows[:-1] == rows[1:]  # all but the last of each row are left out by the cut
        rows, ids = rows[:-1][has_next], ids[:-1][has_next]
        left, gone = self._parted(heated, sums, rows, ids)
        with np.errstate(divide="ignore"):
            less = np.log(shrinkage(left / (left + gone), sampler.xtc_probability))
        heated[rows, ids] = np.maximum(heated[rows, ids] + less[rows], _NEVER_DRAWN)
        return True

    def _parted(self, logits: Float32, sums: _Sums, rows: Int64, ids: Int64) -> tuple[Float64, Float64]:
        """Of each row the mass of all but its tokens in `ids`, and theirs; `rows` says whose each is.

        Their blocks are added up anew: what is left may be small beside what goes.
        """
        n_rows, n_blocks = sums.mass.shape
        places, place = np.unique(rows * n_blocks + ids // BLOCK, return_inverse=True)
        owners = places // n_blocks
        inside = np.exp(logits.reshape(-1, BLOCK)[places].astype(np.float64) - sums.maximum[owners, None])
        gone = np.bincount(rows, inside[place, ids % BLOCK], n_rows)
        inside[place, ids % BLOCK] = 0
        others = sums.mass.astype(np.float64)
        others.reshape(-1)[places] = 0
        left = others.sum(axis=1) + np.bincount(owners, inside.sum(axis=1), n_rows)
        return np.asarray(left), np.asarray(gone)

    def _sums(self, logits: Float32) -> _Sums:
        sums = _Sums.empty(len(logits), self._shape)
        self._for_chunks(len(logits), lambda workspace, rows: workspace.reduce(logits, sums, rows))
        if not math.isfinite(sums.x[:, 0].sum()):  # a model may forbid tokens with -inf
            for row in np.flatnonzero(~np.isfinite(sums.x[:, 0].sum(axis=1))):
                self._workspaces[0].reduce(logits, sums, slice(row, row + 1), lifted=True)
        np.cumsum(sums.mass, axis=1, out=sums.upto)
        if not math.isfinite(sums.upto[:, -1].sum()):
            raise not_numbers()
        return sums

    def _for_chunks(self, n_rows: int, work: Callable[[_Workspace, slice], None]) -> None:
        """Do `work` on all rows, a cacheful at a time, each thread with a workspace of its own."""
        chunks = [slice(at, min(at + self._chunk_rows, n_rows)) for at in range(0, n_rows, self._chunk_rows)]

        def share(worker: int) -> None:
            with np.errstate(invalid="ignore"):  # 0 * -inf, which `_sums` mends; a thread has a state of its own
                for chunk in chunks[worker :: len(self._workspaces)]:
                    work(self._workspaces[worker], chunk)

        if self._pool is None:
            share(0)
        else:
            list(self._pool.map(share, range(len(self._workspaces))))

    def _inverse_cdf(
        self, logits: Float32, sums: _Sums, numbers: Float64, *, has_place: bool
    ) -> tuple[Int64, _Place | None]:
        """First the block in which the cumulative mass passes u Z, then the token within it."""
        rows, upto = np.arange(len(logits)), sums.upto
        target = _below(numbers * upto[:, -1], upto)
        block = (upto > target[:, None]).argmax(axis=1)
        before = np.where(block > 0, upto[rows, block - 1], 0.0)
        mass = upto[rows, block] - before
        inside = logits.reshape(len(logits), self._shape.n_blocks, BLOCK)[rows, block]
        within = np.cumsum(np.exp(inside - sums.maximum[:, None], dtype=np.float64), axis=1)
        # The block's float32 mass and the float64 masses inside differ in the last digits: stretch one to the other,
        # so that rounding cannot push the choice past the block.
        target = _below((target - before) * within[:, -1] / mass, within)
        at = (within > target[:, None]).argmax(axis=1)
        place = None
        if has_place:
            lower = np.where(at > 0, within[rows, at - 1], 0.0)
            size = within[rows, at] - lower
            place = _Place((target - lower) / size, size / within[:, -1] * mass / upto[:, -1])
        return block * BLOCK + at, place

    def _look(self, logits: Float32, sums: _Sums, chosen: Int64, sampler_bits: tuple[Float64, Float64] | None) -> Look:
        """What is needed of the logits while they are there."""
        likeliest, bound = self._likeliest(logits, sums.segment_maxima)
        values = logits[np.arange(len(logits)), chosen]
        is_many = len(likeliest.ids) > _MOST_LIKELIEST * len(logits)  # equal logits: too many to keep
        n_likelier = self._count_likelier(logits, values, np.full_like(bound, np.inf) if is_many else bound)
        if is_many:
            likeliest = likeliest.sorted(len(logits))
        return Look(chosen, values, n_likelier, sums.maximum, sums.upto[:, -1], sums.x, likeliest, sampler_bits)

    def _likeliest(self, logits: Float32, segment_maxima: Float32) -> tuple[_Likeliest, Float32]:
        """The likeliest tokens of each row, and the logit, shape (rows,), that all of a row's reach and no others do.

        The N_TOP-th largest of the segments' maxima is a bound: so many tokens reach it, and they are all found in the
        few segments whose maximum does.
        """
        n_segments, segment = segment_maxima.shape[1], self._shape.segment
        maxima = np.maximum(segment_maxima, _PAD)  # a forbidden token's -inf counts as padding
        bound = np.partition(maxima, n_segments - N_TOP, axis=1)[:, -N_TOP]
        looked_at = (maxima >= bound[:, None]).ravel().nonzero()[0]
        values = logits.reshape(-1, segment)[looked_at]
        comparable = np.maximum(values, _PAD)
        found = (comparable >= bound[looked_at // n_segments, None]).ravel().nonzero()[0]
        at, offsets = np.divmod(found, segment)
        rows, ids = np.divmod(looked_at[at] * segment + offsets, self._shape.width)
        return _Likeliest(rows, ids, values.ravel()[found]), bound

    def _count_likelier(self, logits: Float32, values: Float32, bound: Float32) -> Int64:
        """Of each row the tokens with a larger logit than `values`; -1 where that is no less than `bound`."""
        counts = np.full(len(logits), -1)
        is_beyond = (values < bound).tolist()

        def count(workspace: _Workspace, rows: slice) -> None:
            for row in range(rows.start, rows.stop):
                if is_beyond[row]:  # only the whole row tells
                    counts[row] = np.count_nonzero(logits[row, : self.n_vocab] > values[row])

        if any(is_beyond):
            self._for_chunks(len(logits), count)
        return counts

    # ---- assembling

    def describe(self, looks: Sequence[Look]) -> TokenStats:
        """The statistics of all rows of `looks`, one behind the other; shape (rows,), TOKEN_DTYPE."""
        ids, values, n_likelier, maximum, mass, x = (
            np.concatenate([look[field] for look in looks]) for field in range(6)
        )  # fmt: skip
        n_rows = len(ids)
        starts = np.cumsum([0, *(len(look.ids) for look in looks)])
        likeliest = _Likeliest(
            np.concatenate([look.likeliest.rows + start for look, start in zip(looks, starts, strict=False)]),
            np.concatenate([look.likeliest.ids for look in looks]),
            np.concatenate([look.likeliest.values for look in looks]),
        )
        is_likelier = likeliest.values > values[likeliest.rows]
        n_found = np.bincount(likeliest.rows[is_likelier], minlength=n_rows)
        top = likeliest.sorted(n_rows)
        top_ids = np.where(top.ids < self.n_vocab, top.ids, -1).reshape(n_rows, N_TOP)
        moments = _Moments.of(x, mass)
        top_x = top.values.reshape(n_rows, N_TOP).astype(np.float64) - maximum[:, None]
        stats = np.empty(n_rows, TOKEN_DTYPE)
        stats["id"] = ids
        stats["surprisal_bits"] = moments.surprisal_bits(values.astype(np.float64) - maximum)
        stats["entropy_bits"] = moments.entropy_bits
        stats["varentropy_bits2"] = moments.varentropy_bits2
        stats["rank"] = 1 + np.where(n_likelier < 0, n_found, n_likelier)
        stats["top_ids"] = top_ids
        stats["top_surprisals_bits"] = np.where(top_ids >= 0, moments.surprisal_bits(top_x), np.inf)
        for number, name in enumerate(("surprisal_bits", "entropy_bits")):
            stats[f"sampler_{name}"] = stats[name]  # the same numbers, to the last bit, unless drawn otherwise
            for look, start in zip(looks, starts, strict=False):
                if look.sampler_bits is not None:
                    stats[f"sampler_{name}"][start : start + len(look.ids)] = look.sampler_bits[number]
        return stats


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
    rest: float  # as in _Place


def _draw_sorted(row: Float32, number: float, sampler: Sampler) -> _Drawn:
    """One draw from a distribution whose tokens had to be sorted."""
    ids, masses = law(row, sampler)
    upto = masses.cumsum()
    position = min(int((upto <= number * upto[-1]).sum()), len(ids) - 1)
    probabilities = masses / upto[-1]
    surprisals = 0.0 - np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return _Drawn(
        int(ids[position]),
        float(surprisals[position] * _BITS),
        float((probabilities * surprisals).sum() * _BITS),
        float((number * upto[-1] - (upto[position - 1] if position else 0.0)) / masses[position]),
    )
