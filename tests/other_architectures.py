"""Small random models that are no plain Llama: a recurrent one (Mamba) and one with a sliding window (Gemma 2)."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, VOCABULARY = 64, 2, 400
WINDOW = 8


def write_mamba(path: Path) -> None:
    inner, state, rank, kernel = 2 * WIDTH, 16, 4, 4
    writer = _begin(path, "mamba")
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    draw = _Weights(writer)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        draw.ones(block + "attn_norm.weight", WIDTH)
        draw.matrix(block + "ssm_in.weight", 2 * inner, WIDTH)
        draw.matrix(block + "ssm_conv1d.weight", inner, kernel)
        draw.vector(block + "ssm_conv1d.bias", inner)
        draw.matrix(block + "ssm_x.weight", rank + 2 * state, inner)
        draw.matrix(block + "ssm_dt.weight", inner, rank)
        draw.vector(block + "ssm_dt.bias", inner)
        writer.add_tensor(block + "ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)))
        draw.ones(block + "ssm_d", inner)
        draw.matrix(block + "ssm_out.weight", WIDTH, inner)
    draw.finish()


def write_gemma2(path: Path) -> None:
    heads, head_width = 4, 16
    writer = _begin(path, "gemma2")
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    writer.add_sliding_window(WINDOW)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    draw = _Weights(writer)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            draw.ones(f"{block}{norm}.weight", WIDTH)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            draw.matrix(f"{block}{name}.weight", WIDTH, WIDTH)
        draw.matrix(block + "ffn_gate.weight", 2 * WIDTH, WIDTH)
        draw.matrix(block + "ffn_up.weight", 2 * WIDTH, WIDTH)
        draw.matrix(block + "ffn_down.weight", WIDTH, 2 * WIDTH)
    draw.finish()


def _begin(path: Path, architecture: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    pieces = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    pieces += [f"w{number}".encode() for number in range(VOCABULARY - len(pieces))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(rank) for rank in range(VOCABULARY)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    return writer


class _Weights:
    def __init__(self, writer: gguf.GGUFWriter) -> None:
        self._writer = writer
        self._generator = np.random.default_rng(0)
        self.matrix("token_embd.weight", VOCABULARY, WIDTH, scale=1.0)
        self.ones("output_norm.weight", WIDTH)

    def matrix(self, name: str, n_rows: int, n_columns: int, *, scale: float = 1.0) -> None:
        weights = self._generator.standard_normal((n_rows, n_columns), dtype=np.float32)
        self._writer.add_tensor(name, weights * np.float32(scale / np.sqrt(n_columns)))

    def vector(self, name: str, length: int) -> None:
        self._writer.add_tensor(name, self._generator.standard_normal(length, dtype=np.float32) * np.float32(0.1))

    def ones(self, name: str, length: int) -> None:
        self._writer.add_tensor(name, np.ones(length, np.float32))

    def finish(self) -> None:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()
