"""How samples read in JSON and Parquet: true bytes, unrounded numbers, and null where there is no number."""

from __future__ import annotations

import io
import itertools
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from scripted_work import cell_of, draw, open_scripted, realistic_stats

from llama_diversity.records import TOKEN_DTYPE, Piece, Sample
from llama_diversity.render.jsonl import Exported, export_line, sample_object, to_line, token_objects
from llama_diversity.render.parquet import TOKENS_PER_GROUP, write_parquet

PIECES = {7: Piece(b" caf"), 8: Piece(b"\xc3"), 1: Piece(b"", "</s>")}


def rows(*ids: int) -> np.ndarray:
    tokens = np.zeros(len(ids), TOKEN_DTYPE)
    tokens["id"] = ids
    tokens["surprisal_bits"], tokens["entropy_bits"], tokens["varentropy_bits2"] = 2.5, 1.25, 0.5
    tokens["rank"] = 3
    tokens["top_ids"], tokens["top_surprisals_bits"] = -1, np.inf
    tokens["top_ids"][:, :2], tokens["top_surprisals_bits"][:, :2] = [8, 1], [1, 3]
    tokens["sampler_surprisal_bits"], tokens["sampler_entropy_bits"] = 0.75, 0.25
    return tokens


def test_a_token_by_hand() -> None:
    numbers = {"surprisal_bits": 2.5, "entropy_bits": 1.25, "varentropy_bits2": 0.5, "rank": 3}
    top = [{"id": 8, "p": 0.5}, {"id": 1, "p": 0.125}]  # 2^-1 and 2^-3; the padding is left out
    assert token_objects(rows(7, 1), PIECES) == [
        {"id": 7, "bytes": "20636166", **numbers, "top": top},
        {"id": 1, "bytes": "", "control": "</s>", **numbers, "top": top},
    ]
    own = {"sampler_surprisal_bits": 0.75, "sampler_entropy_bits": 0.25}
    assert token_objects(rows(8), PIECES, neutral=False) == [{"id": 8, "bytes": "c3", **numbers, **own, "top": top}]


def test_what_is_no_number_is_null() -> None:
    tokens = rows(7)
    for name in ("surprisal_bits", "entropy_bits", "varentropy_bits2", "sampler_surprisal_bits"):
        tokens[name] = np.nan
    tokens["rank"], tokens["top_ids"] = 0, -1
    tokens["sampler_entropy_bits"] = np.inf
    [token] = token_objects(tokens, PIECES, neutral=False)
    names = ("surprisal_bits", "entropy_bits", "varentropy_bits2", "rank", "sampler_entropy_bits")
    assert [token[name] for name in names] == [None] * 5
    assert token["top"] == []
    assert "NaN" not in to_line(token)
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_line(math.nan)


def test_numbers_are_unrounded() -> None:
    tokens = realistic_stats(50, np.random.default_rng(0))
    pieces = dict.fromkeys(tokens["id"].tolist(), Piece(b"x"))
    for row, token in zip(tokens, json.loads(to_line(token_objects(tokens, pieces))), strict=True):
        assert np.float32(token["entropy_bits"]) == row["entropy_bits"]
        assert np.float32(token["surprisal_bits"]) == row["surprisal_bits"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("café".encode(), {"text": "café"}),
        (b"caf\xc3", {"text": "caf\ufffd", "text_hex": "636166c3"}),
        ("a\ufffd".encode(), {"text": "a\ufffd"}),  # a true replacement mark is valid UTF-8
        (b"", {"text": ""}),
    ],
)
def test_text_that_is_not_utf8_keeps_its_bytes(text: bytes, expected: dict[str, str]) -> None:
    described = sample_object(Sample("r1-k", 4, "stop", text, rows(7)), PIECES, neutral=True)
    assert {name: described[name] for name in described if name.startswith("text")} == expected
    assert (described["index"], described["finish_reason"], len(described["tokens"])) == (4, "stop", 1)


def test_a_line_cannot_command_a_terminal() -> None:
    line = to_line({"text": "\x1b[2J\x7f\x9b\u202e\n"})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"text": "\x1b[2J\x7f\x9b\u202e\n"}


def exported(n: int, *, name: str = "base", max_tokens: int = 64) -> list[Exported]:
    engine = open_scripted(name)
    pieces = {id: engine.piece(id) for id in range(engine.facts.n_vocab)}
    cell = cell_of(engine, n, max_tokens=max_tokens)
    return [Exported("base", "scripted:base", cell.recipe, sample, pieces) for sample in draw(engine, cell)]


def test_a_line_of_export_names_its_origin() -> None:
    [one] = exported(1)
    line = json.loads(export_line(one))
    assert list(line) == ["recipe", "arm", "model", "index", "text", "finish_reason", "tokens"]
    assert (line["recipe"], line["arm"], line["model"]) == (one.sample.recipe_key, "base", "scripted:base")
    joined = b"".join(bytes.fromhex(token["bytes"]) for token in line["tokens"])
    assert joined == one.sample.text


def test_parquet_holds_every_token_once() -> None:
    samples = exported(30)
    file = io.BytesIO()
    assert write_parquet(file, iter(samples)) == 30
    table = pq.read_table(file).to_pylist()
    assert [(row["index"], row["position"]) for row in table] == [
        (one.sample.index, position) for one in samples for position in range(len(one.sample.tokens))
    ]
    expected = np.concatenate([one.sample.tokens for one in samples])
    for name in TOKEN_DTYPE.names or ():
        assert np.array_equal(np.array([row[name] for row in table], expected[name].dtype), expected[name])
    assert b"".join(row["bytes"] for row in table) == b"".join(one.sample.text for one in samples)
    assert {row["control"] for row in table if row["bytes"] == b""} == {"</s>"}
    assert {(row["recipe"], row["arm"], row["model"]) for row in table} == {
        (samples[0].sample.recipe_key, "base", "scripted:base")
    }


def test_parquet_is_written_in_groups_of_bounded_size() -> None:
    [one] = exported(1, name="coin", max_tokens=1000)
    file = io.BytesIO()
    write_parquet(file, itertools.repeat(one, 130))
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(groups) == 130_000
    assert groups == [50_000, 50_000, 30_000] == [TOKENS_PER_GROUP] * 2 + [130_000 - 2 * TOKENS_PER_GROUP]


def test_parquet_of_nothing_is_a_table_without_rows() -> None:
    file = io.BytesIO()
    assert write_parquet(file, iter(())) == 0
    assert pq.read_table(file).num_rows == 0
