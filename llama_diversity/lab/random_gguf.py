"""Llama-shaped GGUF files with random weights, made on the spot for benchmarks and tests.

Speed does not depend on what the weights say, and arithmetic can be checked on any weights. Needs the `gguf` package
(extra `dev`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from llama_diversity.lab.gguf_header import add_dimensions, add_vocabulary


@dataclass(frozen=True)
class Shape:
    """The dimensions of a Llama."""

    n_embd: int
    n_layer: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_ctx: int = 4096


SHAPES = {
    "tiny": Shape(n_embd=64, n_layer=2, n_ff=192, n_head=4, n_head_kv=2, n_ctx=1024),
    "42m": Shape(n_embd=512, n_layer=8, n_ff=1376, n_head=8, n_head_kv=8),
    "260m": Shape(n_embd=1024, n_layer=16, n_ff=2688, n_head=16, n_head_kv=16),
    "1b": Shape(n_embd=2048, n_layer=22, n_ff=5632, n_head=32, n_head_kv=4),
    "7b": Shape(n_embd=4096, n_layer=32, n_ff=11008, n_head=32, n_head_kv=32),
}

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role | upper }}] {{ message.content }} [/]{% endfor %}"
)


def write_model(
    path: Path,
    shape: Shape,
    *,
    n_vocab: int,
    quantization: str = "Q4_0",
    seed: int = 0,
    spread: float = 1.0,
    chat_template: str | None = CHAT_TEMPLATE,
    max_tensors: int = 0,
) -> None:
    """Write a model with `n_vocab` tokens to `path`.

    `quantization` is F32, F16, Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0. `spread` scales the output weights: larger makes
    peaked distributions. With `max_tensors` it is split into files of so many, named after `path`, behind a first one
    that has none.
    """
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=max_tensors, small_first_shard=max_tensors > 0)
    add_dimensions(writer, n_vocab=n_vocab, **dataclasses.asdict(shape))
    add_vocabulary(writer, *vocabulary(n_vocab))
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    _add_tensors(writer, shape, n_vocab=n_vocab, quantization=quantization, seed=seed, spread=spread)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(n_vocab: int) -> tuple[list[bytes], list[float], list[int]]:
    """A SentencePiece vocabulary as Llama-2 has it: three control tokens, 256 bytes, then pieces that merge.

    Pieces, scores and llama.cpp's token types, `n_vocab` of each.
    """
    pieces: list[bytes] = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    kinds = gguf.TokenType
    types: list[int] = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256]
    pieces += itertools.islice(_pieces(), max(0, n_vocab - len(pieces)))
    types += [kinds.NORMAL] * (len(pieces) - len(types))
    return pieces[:n_vocab], [-float(rank) for rank in range(n_vocab)], types[:n_vocab]


def _pieces() -> Iterator[bytes]:
    """Single letters first, then every longer string over them, each made of pieces that came before."""
    letters = ["\u2581"] + [chr(code) for code in range(0x21, 0x7F)]
    level = list(letters)
    while True:
        yield from (piece.encode() for piece in level)
        level = [piece + letter for piece in level for letter in letters[1:]]


def _add_tensors(
    writer: gguf.GGUFWriter, shape: Shape, *, n_vocab: int, quantization: str, seed: int, spread: float
) -> None:
    generator = np.random.default_rng(seed)
    n_kv = shape.n_embd // shape.n_head * shape.n_head_kv
    matrices = {"token_embd": (n_vocab, shape.n_embd), "output": (n_vocab, shape.n_embd)}
    for layer in range(shape.n_layer):
        block = f"blk.{layer}."
        matrices[block + "attn_q"] = matrices[block + "attn_output"] = (shape.n_embd, shape.n_embd)
        matrices[block + "attn_k"] = matrices[block + "attn_v"] = (n_kv, shape.n_embd)
        matrices[block + "ffn_gate"] = matrices[block + "ffn_up"] = (shape.n_ff, shape.n_embd)
        matrices[block + "ffn_down"] = (shape.n_embd, shape.n_ff)
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{norm}.weight", np.ones(shape.n_embd, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(shape.n_embd, np.float32))
    for name, size in matrices.items():
        scale = (spread if name == "output" else 1.0) / np.sqrt(size[1])
        data = _random_matrix(generator, size, scale=scale, quantization=quantization)
        kind = gguf.GGMLQuantizationType[quantization]
        writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)


def _random_matrix(
    generator: np.random.Generator, size: tuple[int, int], *, scale: float, quantization: str
) -> npt.NDArray[np.generic]:
    if quantization == "Q4_0" and size[0] * size[1] > 1 << 20:
        return _random_q4(generator, size, scale=scale)
    weights = generator.standard_normal(size, dtype=np.float32) * np.float32(scale)
    if quantization in ("F32", "F16"):
        return weights.astype({"F32": np.float32, "F16": np.float16}[quantization])
    return gguf.quants.quantize(weights, gguf.GGMLQuantizationType[quantization])


def _random_q4(generator: np.random.Generator, size: tuple[int, int], *, scale: float) -> npt.NDArray[np.uint8]:
    """Random Q4_0 blocks written directly: quantising billions of random numbers would take many minutes.

    A block is a float16 scale and 16 bytes holding 32 four-bit values minus 8, whose standard deviation is 4.6.
    """
    n_blocks = size[0] * size[1] // 32
    blocks = np.empty((n_blocks, 18), np.uint8)
    blocks[:, :2] = np.array([scale / 4.6], np.float16).view(np.uint8)
    blocks[:, 2:] = np.frombuffer(generator.bytes(n_blocks * 16), np.uint8).reshape(n_blocks, 16)
    return blocks.reshape(size[0], -1)
