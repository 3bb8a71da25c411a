"""What a file is, judged by its header before llama.cpp sees it; and what becomes of a first opening that dies."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import odd_models
import other_architectures
import pytest

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.llamacpp import trial
from llama_diversity.engines.llamacpp.kinds import check_kind, check_tokens, why_refused
from llama_diversity.engines.llamacpp.spelling import Spelling
from llama_diversity.errors import BadValue, ModelFileError
from llama_diversity.gguf import read_header
from llama_diversity.lab.random_gguf import SHAPES, vocabulary, write_model
from llama_diversity.records import ModelRef

pytestmark = pytest.mark.model


def header_of(
    path: Path,
    architecture: str = "llama",
    *,
    metadata: dict[str, object] | None = None,
    tensors: tuple[str, ...] = ("token_embd.weight", "blk.0.attn_norm.weight"),
    tokens: tuple[str, ...] = ("a", "b"),
) -> Path:
    """A file of the format that holds what is named and no model."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_token_list(list(tokens))
    for key, value in (metadata or {}).items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}[type(value)]
        add(key, value)
    for name in tensors:
        writer.add_tensor(name, np.ones((len(tokens), 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"architecture": "bert"}, "a model of the architecture bert encodes text and does not continue it"),
        ({"architecture": "gemma-embedding"}, "gemma-embedding encodes text"),
        ({"architecture": "t5"}, "t5 has an encoder that reads the whole text first"),
        ({"architecture": "llada"}, "llada writes by diffusion"),
        ({"architecture": "wavtokenizer-dec"}, "makes sound"),
        ({"architecture": "clip"}, "projector"),
        ({"architecture": "eagle3"}, "draft head"),
        ({"architecture": "controlvector"}, "control vector"),
        ({"metadata": {"general.type": "adapter"}}, "an adapter .LoRA.*llama-export-lora"),
        ({"metadata": {"general.type": "mmproj"}}, "projector"),
        ({"metadata": {"general.type": "imatrix"}}, "importance matrix"),
        ({"metadata": {"llama.attention.causal": False}}, "every token sees the whole text"),
        ({"architecture": "qwen3", "metadata": {"qwen3.pooling_type": 3}}, "an embedding model"),
        ({"architecture": "qwen3", "metadata": {"qwen3.pooling_type": 4}}, "a reranking model"),
        ({"metadata": {"llama.block_count": 1, "llama.nextn_predict_layers": 1}}, "draft head"),
        ({"tensors": ("token_embd.weight", "blk.40.nextn.eh_proj.weight")}, "draft head"),
        ({"metadata": {"tokenizer.ggml.model": "none"}}, "no tokenizer"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_model_is_refused_by_what_it_is(made: dict[str, object], reason: str, tmp_path: Path) -> None:
    header = read_header(header_of(tmp_path / "odd.gguf", **made))
    with pytest.raises(ModelFileError, match=reason):
        check_kind([header])


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"llama.attention.causal": True},
        {"llama.pooling_type": 0},
        {"general.type": "model"},
        {"llama.block_count": 2, "llama.nextn_predict_layers": 1},
        {"llama.attention.causal": "no", "llama.pooling_type": "4", "general.type": 7},  # damaged: llama.cpp says so
    ],
)
def test_what_may_be_a_model_is_left_to_llamacpp(metadata: dict[str, object], tmp_path: Path) -> None:
    check_kind([read_header(header_of(tmp_path / "model.gguf", metadata=metadata))])


def test_the_commands_refuse_an_embedding_model(tmp_path: Path, run: Callable) -> None:
    header_of(tmp_path / "embed.gguf", "gemma-embedding")
    for command in (
        ("sample", "-m", tmp_path / "embed.gguf", "-p", "a"),
        ("score", "-m", tmp_path / "embed.gguf", "a"),
    ):
        code, out, error = run(*command)
        assert (code, out) == (1, "")
        assert "encodes text and does not continue it. Choose a text-generation model." in error


def test_a_vocabulary_that_repeats_a_token_is_refused(tmp_path: Path) -> None:
    """The guard alone: the file holds nothing else."""
    repeated = read_header(header_of(tmp_path / "odd.gguf", tokens=("a", "b", "", "", "a")))
    with pytest.raises(ModelFileError, match="holds the token 'a' twice, as 0 and as 4"):
        check_tokens(repeated)
    check_tokens(read_header(header_of(tmp_path / "good.gguf", tokens=("a", "b", "", ""))))


# ---- why llama.cpp refused a file


def reason_for(path: Path) -> str:
    with pytest.raises(ModelFileError) as refused:
        open_engine(ModelRef("odd", "llamacpp", str(path), "d"), EngineOptions())
    return str(refused.value)


def rewritten(path: Path, old: bytes, new: bytes) -> Path:
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    content = path.read_bytes()
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))
    return path


def with_type(path: Path, number: int) -> Path:
    """A model whose first matrix is said to be stored in the type `number`."""
    name = b"token_embd.weight"
    shape = (2).to_bytes(4, "little") + SHAPES["tiny"].n_embd.to_bytes(8, "little") + (300).to_bytes(8, "little")
    F16 = 1
    return rewritten(path, name + shape + F16.to_bytes(4, "little"), name + shape + number.to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1000, ("does not know (number 1000)", "Upgrade llama-cpp-python.")),
        (31, ("Q4_0_4_4, which llama.cpp no longer reads", "Choose a file of the model in Q4_0.")),
    ],
)
def test_types_of_weights(number: int, words: tuple[str, ...], tmp_path: Path) -> None:
    said = reason_for(with_type(tmp_path / "odd.gguf", number))
    assert "its weights token_embd.weight are stored in" in said
    assert all(word in said for word in words)
    assert "Download" not in said


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (b"\x01\0\0\0", ("GGUF version 1", "Choose a newer file")),
        (b"\x04\0\0\0", ("GGUF version 4", "Upgrade llama-cpp-python.")),
        (b"\0\0\0\x03", ("byte order",)),
    ],
)
def test_versions_and_byte_order(version: bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    said = reason_for(rewritten(tmp_path / "odd.gguf", b"GGUF\x03\0\0\0", b"GGUF" + version))
    assert all(word in said for word in words)
    assert "Download" not in said


def test_a_pre_tokenizer_that_is_too_new(tmp_path: Path) -> None:
    odd_models.with_pre_tokenizer("from-2031")(tmp_path / "odd.gguf")
    said = reason_for(tmp_path / "odd.gguf")
    assert "does not know how it cuts text for its tokens (from-2031). Upgrade llama-cpp-python." in said


def test_a_vocabulary_that_does_not_match_the_weights(tmp_path: Path) -> None:
    odd_models.with_spare_tokens(tmp_path / "odd.gguf")
    said = reason_for(tmp_path / "odd.gguf")
    assert "its vocabulary has 310 tokens and its weights are made for 300. Convert the model again" in said


def test_a_vocabulary_is_not_opened_where_the_model_is_refused(tmp_path: Path) -> None:
    header_of(tmp_path / "odd.gguf", tokens=())
    odd_models.with_spare_tokens(tmp_path / "spare.gguf")
    for name in ("odd.gguf", "spare.gguf"):
        with pytest.raises(ModelFileError):
            open_engine(ModelRef("odd", "llamacpp", str(tmp_path / name), "d"), EngineOptions(vocabulary_only=True))


def test_words_of_llamacpp_that_nobody_foresaw_are_passed_on(tmp_path: Path) -> None:
    header = read_header(header_of(tmp_path / "odd.gguf"))
    reason = why_refused([header], "strange", "strange")
    assert reason.reason == "llama.cpp cannot load it (strange)"
    assert "Download" not in reason.next_step


# ---- what a vocabulary cannot spell


def test_a_text_that_cannot_be_spelled_is_refused_before_it_is_tokenised(tmp_path: Path) -> None:
    odd_models.without_bytes(tmp_path / "letters.gguf")
    reference = ModelRef("letters", "llamacpp", str(tmp_path / "letters.gguf"), "d")
    engine = open_engine(reference, EngineOptions(vocabulary_only=True))
    assert engine.tokenize("plain words")[0] == 1
    spelling = Spelling(engine._vocab)
    for text in ("é", "a\nb", "\x00", "\udcff"):
        with pytest.raises(BadValue, match="no token for this, nor for its bytes"):
            spelling.check(text.encode("utf-8", "surrogateescape"))
    engine.close()


# ---- the first opening


def test_a_first_opening_measures_what_a_sequence_costs(tiny_model: Path) -> None:
    # 2 layers, 2 heads of 16 for keys and for values, 2 bytes each: 256; 12 bytes say where a token stands.
    outcome = trial.attempt(tiny_model, n_bytes=1, decodes=True)
    assert outcome == trial.Outcome(True, trial.Cost(256 + 12, outcome.cost.sequence_bytes))
    assert 0 <= outcome.cost.sequence_bytes < 100
    assert trial.attempt(tiny_model, n_bytes=1, decodes=False) == trial.Outcome(True, None)
    assert trial.attempt(tiny_model.parent / "nowhere", n_bytes=1, decodes=True) == trial.Outcome(False, None)


def test_recurrent_layers_cost_a_state_for_each_sequence_and_nothing_for_its_tokens(tmp_path: Path) -> None:
    # 2 layers, float32: a convolution of 128 channels that remembers 3 steps, and 16 states of each channel.
    other_architectures.write_mamba(tmp_path / "mamba.gguf")
    cost = trial.attempt(tmp_path / "mamba.gguf", n_bytes=1, decodes=True).cost
    assert cost.token_bytes == 0
    assert 0 <= cost.sequence_bytes - 2 * 4 * (3 * 128 + 16 * 128) < 100


def test_of_a_hybrid_each_layer_costs_what_it_is(tmp_path: Path) -> None:
    # One layer of attention: 4 heads of 16 for keys and for values, 2 bytes each. One convolution of 64 channels that
    # remembers 2 steps in float32.
    other_architectures.write_lfm2(tmp_path / "lfm2.gguf")
    cost = trial.attempt(tmp_path / "lfm2.gguf", n_bytes=1, decodes=True).cost
    assert cost.token_bytes == 4 * 16 * 2 * 2 + 12
    assert 0 <= cost.sequence_bytes - 64 * 2 * 4 < 150


def test_a_child_that_dies_makes_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "fine.gguf", SHAPES["tiny"], n_vocab=300, quantization="F16", seed=77)
    dies = tmp_path / "python"
    dies.write_text('#!/bin/sh\necho "/src/llama-vocab.cpp:1: GGML_ASSERT(a == b) failed" >&2\nkill -ABRT $$\n')
    dies.chmod(dies.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(dies))
    said = reason_for(tmp_path / "fine.gguf")
    assert "did not survive opening it (SIGABRT, llama-vocab.cpp:1: GGML_ASSERT(a == b) failed)" in said
    monkeypatch.undo()
    open_engine(ModelRef("fine", "llamacpp", str(tmp_path / "fine.gguf"), "d"), EngineOptions()).close()


def test_a_file_is_opened_in_a_child_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time there is no Python to start one with."""
    write_model(tmp_path / "once.gguf", SHAPES["tiny"], n_vocab=300, quantization="F16", seed=78)
    reference = ModelRef("once", "llamacpp", str(tmp_path / "once.gguf"), "d")
    open_engine(reference, EngineOptions(vocabulary_only=True)).close()
    dies = tmp_path / "python"
    dies.write_text("#!/bin/sh\nkill -ABRT $$\n")
    dies.chmod(dies.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(dies))
    open_engine(reference, EngineOptions()).close()
    write_model(tmp_path / "once.gguf", SHAPES["tiny"], n_vocab=300, quantization="F16", seed=79)
    assert "did not survive" in reason_for(tmp_path / "once.gguf")


def test_the_vocabulary_of_the_tests_has_every_byte() -> None:
    assert all(f"<0x{byte:02X}>".encode() in vocabulary(300)[0] for byte in range(256))
