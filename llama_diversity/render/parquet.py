"""Samples as a Parquet file, one row a token, for pandas, Polars, DuckDB and R. Undefined numbers stay nan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llama_diversity.records import N_TOP, TOKEN_DTYPE
from llama_diversity.render.jsonl import Exported

TOKENS_PER_GROUP = 50_000  # what is in memory at once, about 10 MB

_LABEL = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("recipe", _LABEL),
        ("arm", _LABEL),
        ("model", _LABEL),
        ("index", pa.int64()),  # of the sample
        ("position", pa.int32()),  # of the token within it
        ("finish_reason", _LABEL),
        ("id", pa.int32()),
        ("bytes", pa.binary()),
        ("control", pa.string()),
        ("surprisal_bits", pa.float32()),
        ("entropy_bits", pa.float32()),
        ("varentropy_bits2", pa.float32()),
        ("rank", pa.int32()),
        ("top_ids", pa.list_(pa.int32(), N_TOP)),
        ("top_surprisals_bits", pa.list_(pa.float32(), N_TOP)),
        ("sampler_surprisal_bits", pa.float32()),
        ("sampler_entropy_bits", pa.float32()),
        ("under_bits", pa.list_(pa.float32())),  # of a mixture: surprisal under each model alone; else null
        ("source", pa.int8()),  # of a routed one: the number of the token's model; else null
    ]
)


def write_parquet(file: IO[bytes], samples: Iterable[Exported]) -> int:
    """Write all tokens of `samples`, a group of rows at a time, and return how many samples there were."""
    n_samples = 0
    with pq.ParquetWriter(file, SCHEMA) as writer:
        for group in _groups(samples):
            writer.write_table(table_of(group))
            n_samples += len(group)
    return n_samples


def _groups(samples: Iterable[Exported]) -> Iterator[list[Exported]]:
    group: list[Exported] = []
    n_tokens = 0
    for exported in samples:
        group.append(exported)
        n_tokens += len(exported.sample.tokens)
        if n_tokens >= TOKENS_PER_GROUP:
            yield group
            group, n_tokens = [], 0
    if group:
        yield group


def table_of(group: list[Exported]) -> pa.Table:
    """All tokens of `group`, a row each, as SCHEMA has them."""
    if not group:
        return SCHEMA.empty_table()
    tokens = np.concatenate([exported.sample.tokens for exported in group])
    pieces = [exported.pieces[id] for exported in group for id in exported.sample.tokens["id"].tolist()]
    lengths = [len(exported.sample.tokens) for exported in group]
    columns: dict[str, Any] = {
        "recipe": _repeated([exported.sample.recipe_key for exported in group], lengths),
        "arm": _repeated([exported.arm for exported in group], lengths),
        "model": _repeated([exported.reference for exported in group], lengths),
        "index": np.repeat([exported.sample.index for exported in group], lengths),
        "position": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        "finish_reason": _repeated([exported.sample.finish_reason for exported in group], lengths),
        "bytes": [piece.bytes for piece in pieces],
        "control": [piece.control for piece in pieces],
        "under_bits": [bits for exported in group for bits in _under_bits(exported)],
        "source": [number for exported in group for number in _sources(exported)],
    }
    for name in TOKEN_DTYPE.names or ():
        column = np.ascontiguousarray(tokens[name])
        columns[name] = pa.FixedSizeListArray.from_arrays(column.ravel(), N_TOP) if column.ndim > 1 else column
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _under_bits(exported: Exported) -> list[list[float] | None]:
    beside = exported.sample.beside
    return [None] * len(exported.sample.tokens) if beside is None else beside["surprisals_bits"].tolist()


def _sources(exported: Exported) -> list[int | None]:
    beside = exported.sample.beside
    if beside is None:
        return [None] * len(exported.sample.tokens)
    return [number if number >= 0 else None for number in beside["source"].tolist()]


def _repeated(labels: list[str | None], lengths: list[int]) -> pa.Array:
    """Each label `length` times, as a dictionary column."""
    encoded = pa.array(labels, pa.string()).dictionary_encode()
    rows = np.repeat(np.arange(len(labels)), lengths)
    return encoded.take(pa.array(rows))
