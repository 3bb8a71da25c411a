"""Token statistics as they lie in the store: a blob a sample, lossless. docs/store.md describes it for other tools.

This file knows arrays and bytes, no SQL. Rows of float32 hardly compress; sorted by the place of each byte they do,
for neighbouring rows have like exponents and unlike mantissas.
"""

from __future__ import annotations

import zlib

import numpy as np

from llama_diversity.records import TOKEN_DTYPE, TokenStats

_ALL_COLUMNS = 1  # the first byte of a blob
_RAW_COLUMNS = 2  # without the sampler's pair, which equals the raw pair
_TWINS = (("sampler_surprisal_bits", "surprisal_bits"), ("sampler_entropy_bits", "entropy_bits"))
_N_BYTES = {_ALL_COLUMNS: TOKEN_DTYPE.itemsize, _RAW_COLUMNS: TOKEN_DTYPE.itemsize - 8}  # the pair comes last
_FAST = 1  # the compression level: 9 saves 3 % more and takes eight times as long


def pack_statistics(tokens: TokenStats) -> bytes:
    """Token statistics as a blob: one tag byte, then zlib over all first bytes of the rows, all second bytes, ..."""
    # Compared as integers: nan equals nan, and 0 differs from -0.
    is_neutral = all(np.array_equal(tokens[one].view("<u4"), tokens[other].view("<u4")) for one, other in _TWINS)
    tag = _RAW_COLUMNS if is_neutral else _ALL_COLUMNS
    rows = np.ascontiguousarray(tokens).view(np.uint8).reshape(len(tokens), TOKEN_DTYPE.itemsize)
    return bytes([tag]) + zlib.compress(rows[:, : _N_BYTES[tag]].T.tobytes(), _FAST)


def unpack_statistics(blob: bytes, n_tokens: int) -> TokenStats:
    """The inverse of `pack_statistics`, bit for bit. Raises ValueError on a blob that is damaged."""
    tag = blob[0] if blob else 0
    if tag not in _N_BYTES:
        raise ValueError(f"its statistics begin with {tag}, which no version wrote")
    n_bytes = n_tokens * _N_BYTES[tag]
    unzip = zlib.decompressobj()
    try:
        columns = unzip.decompress(blob[1:], n_bytes + 1)  # a damaged blob must not swell beyond what it claims
    except zlib.error as error:
        raise ValueError(f"its statistics cannot be decompressed, {error}") from error
    if len(columns) != n_bytes or not unzip.eof:
        raise ValueError(f"its statistics are not those of {n_tokens} tokens")
    rows = np.empty((n_tokens, TOKEN_DTYPE.itemsize), np.uint8)
    rows[:, : _N_BYTES[tag]] = np.frombuffer(columns, np.uint8).reshape(_N_BYTES[tag], n_tokens).T
    tokens: TokenStats = rows.reshape(-1).view(TOKEN_DTYPE)
    if tag == _RAW_COLUMNS:
        for one, other in _TWINS:
            tokens[one].view("<u4")[:] = tokens[other].view("<u4")  # as integers: copying a float may change a nan
    return tokens
