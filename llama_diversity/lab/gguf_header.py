"""What every Llama in GGUF says of itself: its dimensions and a SentencePiece vocabulary. Needs the `gguf` package."""

from __future__ import annotations

from collections.abc import Sequence

import gguf


def add_dimensions(
    writer: gguf.GGUFWriter,
    *,
    n_vocab: int,
    n_ctx: int,
    n_embd: int,
    n_layer: int,
    n_ff: int,
    n_head: int,
    n_head_kv: int,
    norm_epsilon: float = 1e-5,
) -> None:
    """Write the dimensions of a Llama whose heads are rotated whole."""
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv)
    writer.add_layer_norm_rms_eps(norm_epsilon)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_vocab_size(n_vocab)


def add_vocabulary(
    writer: gguf.GGUFWriter, pieces: Sequence[bytes], scores: Sequence[float], types: Sequence[int]
) -> None:
    """Write a SentencePiece vocabulary with Llama-2's conventions: unknown 0, BOS 1 before every text, EOS 2."""
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(pieces))
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(types))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
