"""GGUF files with something wrong, each as a user might meet it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf

from llama_diversity.lab.random_gguf import SHAPES, Shape, write_model


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


def endless_context(path: Path) -> None:
    """A model that claims a context of a million tokens, so that a KV cache can be asked for that fits nowhere."""
    shape = Shape(n_embd=64, n_layer=2, n_ff=64, n_head=4, n_head_kv=4, n_ctx=1 << 20)
    write_model(path, shape, n_vocab=300, quantization="F16")


def with_template(template: str | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16", chat_template=template)

    return write
