"""Token statistics as they lie in the store: a blob a sample, lossless. docs/store.md describes it for other tools.

This file knows arrays and bytes, no SQL. Rows of float32 hardly compress; sorted by the place of each byte they do,
for neighbouring rows have like exponents and unlike mantissas.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.records import BOUNDS_DTYPE, TOKEN_DTYPE, TokenStats, beside_dtype

_ALL_COLUMNS = 1  # the first byte of a blob
_RAW_COLUMNS = 2  # without the sampler's pair, which equals the raw pair
_MIXED_COLUMNS = 3  # all, then those of a mixture's models; the second byte of the blob is how many these are
_BOUNDED_COLUMNS = 4  # all, then the bounds of an entropy that a server did not tell
_TWINS = (("sampler_surprisal_bits", "surprisal_bits"), ("sampler_entropy_bits", "entropy_bits"))
_N_BYTES = {_ALL_COLUMNS: TOKEN_DTYPE.itemsize, _RAW_COLUMNS: TOKEN_DTYPE.itemsize - 8}  # the pair comes last
_MOST_MODELS = 16
_FAST = 1  # the compression level: 9 saves 3 % more and takes eight times as long


def pack_statistics(tokens: TokenStats, beside: TokenStats | None = None, bounds: TokenStats | None = None) -> bytes:
    """Token statistics as a blob: one tag byte, then zlib over all first bytes of the rows, all second bytes, ..."""
    if bounds is not None:
        both = np.hstack([_bytes_of(tokens), _bytes_of(bounds)])
        return bytes([_BOUNDED_COLUMNS]) + zlib.compress(both.T.tobytes(), _FAST)
    if beside is not None:
        n_models = beside.dtype["surprisals_bits"].shape[0]
        both = np.hstack([_bytes_of(tokens), _bytes_of(beside)])
        return bytes([_MIXED_COLUMNS, n_models]) + zlib.compress(both.T.tobytes(), _FAST)
    # Compared as integers: nan equals nan, and 0 differs from -0.
    is_neutral = all(np.array_equal(tokens[one].view("<u4"), tokens[other].view("<u4")) for one, other in _TWINS)
    tag = _RAW_COLUMNS if is_neutral else _ALL_COLUMNS
    return bytes([tag]) + zlib.compress(_bytes_of(tokens)[:, : _N_BYTES[tag]].T.tobytes(), _FAST)


class Unpacked(NamedTuple):
    """What `pack_statistics` was given."""

    tokens: TokenStats
    beside: TokenStats | None = None
    bounds: TokenStats | None = None


def unpack_statistics(blob: bytes, n_tokens: int) -> Unpacked:
    """The inverse of `pack_statistics`, bit for bit. Raises ValueError on a blob that is damaged."""
    tag = blob[0] if blob else 0
    if tag == _MIXED_COLUMNS:
        return Unpacked(*_unpack_mixed(blob, n_tokens))
    if tag == _BOUNDED_COLUMNS:
        own, bounds = _halves(blob[1:], n_tokens, BOUNDS_DTYPE)
        return Unpacked(own, bounds=bounds)
    if tag not in _N_BYTES:
        raise ValueError(f"its statistics begin with {tag}, which no version wrote")
    rows = np.empty((n_tokens, TOKEN_DTYPE.itemsize), np.uint8)
    rows[:, : _N_BYTES[tag]] = _unzipped(blob[1:], n_tokens, _N_BYTES[tag])
    tokens: TokenStats = rows.reshape(-1).view(TOKEN_DTYPE)
    if tag == _RAW_COLUMNS:
        for one, other in _TWINS:
            tokens[one].view("<u4")[:] = tokens[other].view("<u4")  # as integers: copying a float may change a nan
    return Unpacked(tokens)


def surprisal_of(blob: bytes, n_tokens: int) -> npt.NDArray[np.float32]:
    """The surprisal column alone, shape (n_tokens,). Raises as `_column_of`."""
    return _column_of("surprisal_bits", blob, n_tokens)


def ids_of(blob: bytes, n_tokens: int) -> npt.NDArray[np.int32]:
    """The tokens alone, by id, shape (n_tokens,). Raises as `_column_of`."""
    return _column_of("id", blob, n_tokens)


def _column_of(name: str, blob: bytes, n_tokens: int) -> npt.NDArray[Any]:
    """One of the first columns alone, shape (n_tokens,): the first bytes of the rows, so the rest is not unpacked.

    Raises ValueError on a blob that is damaged where it is read; what lies behind may be damaged all the same.
    """
    tag = blob[0] if blob else 0
    if tag not in (*_N_BYTES, _MIXED_COLUMNS, _BOUNDED_COLUMNS):
        raise ValueError(f"its statistics begin with {tag}, which no version wrote")
    kind, first = TOKEN_DTYPE.fields[name][:2]  # type: ignore[index]  # it has fields
    end = first + kind.itemsize
    try:
        columns = zlib.decompressobj().decompress(blob[2 if tag == _MIXED_COLUMNS else 1 :], n_tokens * end)
    except zlib.error as error:
        raise ValueError(f"its statistics cannot be decompressed, {error}") from error
    if len(columns) != n_tokens * end:
        raise ValueError(f"its statistics are not those of {n_tokens} tokens")
    rows = np.frombuffer(columns, np.uint8).reshape(end, n_tokens)[first:].T
    return np.ascontiguousarray(rows).reshape(-1).view(kind)


def _unpack_mixed(blob: bytes, n_tokens: int) -> tuple[TokenStats, TokenStats]:
    n_models = blob[1] if len(blob) > 1 else 0
    if not 1 <= n_models <= _MOST_MODELS:
        raise ValueError(f"its statistics are of {n_models} models, which no version mixed")
    return _halves(blob[2:], n_tokens, beside_dtype(n_models))


def _halves(packed: bytes, n_tokens: int, kind: np.dtype[Any]) -> tuple[TokenStats, TokenStats]:
    """Rows of statistics, and of `kind` beside them."""
    rows = _unzipped(packed, n_tokens, TOKEN_DTYPE.itemsize + kind.itemsize)
    own, other = np.split(rows, [TOKEN_DTYPE.itemsize], axis=1)
    return (
        np.ascontiguousarray(own).reshape(-1).view(TOKEN_DTYPE),
        np.ascontiguousarray(other).reshape(-1).view(kind),
    )


def _bytes_of(rows: TokenStats) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def _unzipped(stream: bytes, n_tokens: int, n_columns: int) -> npt.NDArray[np.uint8]:
    """The bytes of the rows, shape (n_tokens, n_columns)."""
    n_bytes = n_tokens * n_columns
    unzip = zlib.decompressobj()
    try:
        columns = unzip.decompress(stream, n_bytes + 1)  # a damaged blob must not swell beyond what it claims
    except zlib.error as error:
        raise ValueError(f"its statistics cannot be decompressed, {error}") from error
    if len(columns) != n_bytes or not unzip.eof:
        raise ValueError(f"its statistics are not those of {n_tokens} tokens")
    return np.frombuffer(columns, np.uint8).reshape(n_columns, n_tokens).T
