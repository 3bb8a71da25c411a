"""Small random models that are no plain Llama.

Recurrent: Mamba. With a sliding window: Gemma 2. Hybrids of attention with short convolutions (LFM2) and with gated
delta nets (Qwen 3.5, and Qwen 3 Next, which has experts too).
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, VOCABULARY = 64, 2, 400
HEADS, HEAD_WIDTH = 4, 16
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


def write_lfm2(path: Path) -> None:
    writer = _begin(path, "lfm2")
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv([0, HEADS])  # none: a convolution
    writer.add_uint32("lfm2.shortconv.l_cache", 3)
    draw = _Weights(writer, output_norm="token_embd_norm.weight")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        draw.ones(block + "attn_norm.weight", WIDTH)
        draw.ones(block + "ffn_norm.weight", WIDTH)
        if layer == 0:
            draw.matrix(block + "shortconv.conv.weight", WIDTH, 3)
            draw.matrix(block + "shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
            draw.matrix(block + "shortconv.out_proj.weight", WIDTH, WIDTH)
        else:
            draw.attention(block)
        draw.feed_forward(block)
    draw.finish()


def write_qwen35(path: Path) -> None:
    _write_delta_net(path, "qwen35")


def write_qwen3next(path: Path) -> None:
    _write_delta_net(path, "qwen3next")


def _write_delta_net(path: Path, architecture: str) -> None:
    state, key_heads, value_heads, kernel = 16, 2, 4, 4
    inner, n_experts = value_heads * state, 4
    channels = 2 * key_heads * state + inner
    has_experts = architecture == "qwen3next"
    gates = [("ba", 2 * value_heads)] if has_experts else [("beta", value_heads), ("alpha", value_heads)]
    writer = _begin(path, architecture)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_rope_dimension_sections([3, 3, 2, 0])
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_group_count(key_heads)
    writer.add_ssm_time_step_rank(value_heads)
    writer.add_uint32(f"{architecture}.full_attention_interval", LAYERS)  # the last layer attends
    if has_experts:
        writer.add_expert_count(n_experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(WIDTH)
        writer.add_expert_shared_feed_forward_length(WIDTH)
    draw = _Weights(writer)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        draw.ones(block + "attn_norm.weight", WIDTH)
        draw.ones(block + "post_attention_norm.weight", WIDTH)
        if layer == LAYERS - 1:
            draw.attention(block, queries=2)  # the second half is a gate
        else:
            draw.matrix(block + "attn_qkv.weight", channels, WIDTH)
            draw.matrix(block + "attn_gate.weight", inner, WIDTH)
            draw.matrix(block + "ssm_conv1d.weight", channels, kernel)
            draw.vector(block + "ssm_dt.bias", value_heads)
            writer.add_tensor(block + "ssm_a", -np.arange(1, value_heads + 1, dtype=np.float32))
            for name, n_rows in gates:
                draw.matrix(f"{block}ssm_{name}.weight", n_rows, WIDTH)
            draw.ones(block + "ssm_norm.weight", state)
            draw.matrix(block + "ssm_out.weight", WIDTH, inner)
        if has_experts:
            draw.experts(block, n_experts)
        else:
            draw.feed_forward(block)
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
    def __init__(self, writer: gguf.GGUFWriter, *, output_norm: str = "output_norm.weight") -> None:
        self._writer = writer
        self._generator = np.random.default_rng(0)
        self.matrix("token_embd.weight", VOCABULARY, WIDTH, scale=1.0)
        self.ones(output_norm, WIDTH)

    def attention(self, block: str, *, queries: int = 1) -> None:
        for name, n_rows in (("q", queries * WIDTH), ("k", WIDTH), ("v", WIDTH), ("output", WIDTH)):
            self.matrix(f"{block}attn_{name}.weight", n_rows, WIDTH)
        for name in ("q", "k"):
            self.ones(f"{block}attn_{name}_norm.weight", HEAD_WIDTH)

    def feed_forward(self, block: str) -> None:
        self.matrix(block + "ffn_gate.weight", 2 * WIDTH, WIDTH)
        self.matrix(block + "ffn_down.weight", WIDTH, 2 * WIDTH)
        self.matrix(block + "ffn_up.weight", 2 * WIDTH, WIDTH)

    def experts(self, block: str, n_experts: int) -> None:
        self.matrix(block + "ffn_gate_inp.weight", n_experts, WIDTH)
        self.vector(block + "ffn_gate_inp_shexp.weight", WIDTH)
        for name in ("gate", "up", "down"):
            weights = self._generator.standard_normal((n_experts, WIDTH, WIDTH), dtype=np.float32)
            self._writer.add_tensor(f"{block}ffn_{name}_exps.weight", weights * np.float32(1 / np.sqrt(WIDTH)))
            self.matrix(f"{block}ffn_{name}_shexp.weight", WIDTH, WIDTH)

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
