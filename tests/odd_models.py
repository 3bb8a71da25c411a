"""GGUF files with something wrong, each as a user might meet it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from llama_diversity.lab.gguf_header import add_dimensions, add_vocabulary
from llama_diversity.lab.random_gguf import SHAPES, Shape, vocabulary, write_model


def missing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.touch()


def folder(path: Path) -> None:
    path.mkdir()


def not_gguf(path: Path) -> None:
    path.write_text("<html>404</html>")


def truncated(path: Path) -> None:
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_in_header(path: Path) -> None:
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    path.write_bytes(path.read_bytes()[:200])


def unknown_architecture(path: Path) -> None:
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    path.write_bytes(path.read_bytes().replace(b"llama", b"lhama", 2))


def _header_only(path: Path, architecture: str, *, tokenizer: bool) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_relative_attn_buckets_count(32)
    if tokenizer:
        writer.add_tokenizer_model("llama")
        writer.add_token_list([b"<unk>", b"<s>", b"</s>", b"a"])
        writer.add_token_scores([0.0, 0.0, 0.0, -1.0])
        writer.add_token_types([2, 3, 3, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary_only(path: Path) -> None:
    _header_only(path, "llama", tokenizer=True)


def no_tokenizer(path: Path) -> None:
    _header_only(path, "llama", tokenizer=False)


def encoder(path: Path) -> None:
    _header_only(path, "t5", tokenizer=True)


def without_numbers(path: Path) -> None:
    """Weights of which one is nan, as a failed conversion leaves them: no logit is a number."""
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F32", chat_template=None)
    norm = next(tensor for tensor in gguf.GGUFReader(path, "r+").tensors if tensor.name == "output_norm.weight")
    norm.data[0] = np.nan
    norm.data.flush()


def with_pre_tokenizer(name: str) -> Callable[[Path], None]:
    """A byte-pair vocabulary and nothing else, cut for its tokens in the way `name`."""

    def write(path: Path) -> None:
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(64)
        writer.add_embedding_length(64)
        writer.add_block_count(1)
        writer.add_feed_forward_length(64)
        writer.add_head_count(4)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name)
        writer.add_token_list([b"a", b"b", b"ab"])
        writer.add_token_merges(["a b"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


def with_spare_tokens(path: Path) -> None:
    """Ten more tokens than the weights have rows."""
    _with_vocabulary(path, *vocabulary(310))


def without_bytes(path: Path) -> None:
    """Letters and what merges from them, no tokens for single bytes."""
    pieces, scores, types = (values[:3] + values[259:] for values in vocabulary(300 + 256))
    _with_vocabulary(path, pieces, scores, types)


def _with_vocabulary(path: Path, pieces: list[bytes], scores: list[float], types: list[int]) -> None:
    """A model of 300 rows with this vocabulary."""
    fields = ("n_ctx", "n_embd", "n_layer", "n_ff", "n_head", "n_head_kv")
    writer = gguf.GGUFWriter(path, "llama")
    add_dimensions(writer, n_vocab=300, **{field: getattr(SHAPES["tiny"], field) for field in fields})
    add_vocabulary(writer, pieces, scores, types)
    whole = path.with_suffix(".whole")
    write_model(whole, SHAPES["tiny"], n_vocab=300, quantization="F16")
    for tensor in gguf.GGUFReader(whole).tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def endless_context(path: Path) -> None:
    """A model that claims a context of a million tokens, so that a KV cache can be asked for that fits nowhere."""
    shape = Shape(n_embd=64, n_layer=2, n_ff=64, n_head=4, n_head_kv=4, n_ctx=1 << 20)
    write_model(path, shape, n_vocab=300, quantization="F16")


def with_template(template: str | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16", chat_template=template)

    return write
