"""Completions drawn from a model of the lab, many at once.

What a step costs on a processor is not so much arithmetic as the number of operations and the bytes they read. So
`Decoder` has fewer and larger matrices than `Llama`, a row that has ended leaves the batch, and a token takes one
random number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from llama_diversity.lab.transformer import Block, Llama, rotate


class Completions(NamedTuple):
    """What was sampled: shapes (rows, tokens); after a row's end the mask is False and the ids are 0."""

    ids: Tensor
    mask: Tensor
    surprisals_nats: Tensor  # of the drawn token under the distribution it was drawn from


@torch.inference_mode()
def generate(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    end: int,
) -> Completions:
    """One completion of each prompt, until the token `end` (which is part of it) or `max_tokens`.

    Prompts may differ in length: all end in the same column. A row that has ended is computed no further.
    Raises ValueError where prompt and completion do not fit the context.
    """
    n_rows, longest = len(prompts), max(map(len, prompts))
    if longest + max_tokens > model.architecture.n_ctx:
        raise ValueError(f"{longest} + {max_tokens} tokens do not fit a context of {model.architecture.n_ctx}")
    device = model.token_embd.weight.device
    paddings = [longest - len(prompt) for prompt in prompts]
    given = torch.tensor([[0] * n + list(ids) for n, ids in zip(paddings, prompts, strict=True)], device=device)
    found = Completions(
        *(torch.zeros(n_rows, max_tokens, device=device, dtype=d) for d in (torch.long, torch.bool, None))
    )
    uniform = torch.rand(max_tokens, n_rows, dtype=_exact(device), generator=generator, device=device)
    rows = torch.arange(n_rows, device=device)  # those without an end, in the decoder's order
    decoder = Decoder(model, paddings, longest + max_tokens)
    logits = decoder.read(given)
    for at in range(max_tokens):
        p = F.softmax(logits / temperature, dim=-1)
        drawn = _drawn(p, uniform[at, rows])
        found.ids[rows, at], found.mask[rows, at] = drawn, True
        found.surprisals_nats[rows, at] = -p.gather(1, drawn[:, None])[:, 0].log()
        ended = drawn == end
        if ended.any():
            left = decoder.leave(ended)
            rows, drawn = rows[left], drawn[left]
        if not len(rows) or at == max_tokens - 1:
            break
        logits = decoder.read(drawn[:, None])
    return found


class Decoder:
    """The arithmetic of a model for rows that grow together, column by column.

    `paddings` says how many columns each row has before its first token. Only the difference of two positions enters
    attention, so a row may begin anywhere.
    """

    def __init__(self, model: Llama, paddings: Sequence[int], n_columns: int) -> None:
        a, weight = model.architecture, model.token_embd.weight
        self.model, self.end = model, 0
        self.begins = torch.tensor(paddings, device=weight.device)
        self.layers = [_layer(cast(Block, block)) for block in model.blk]
        self.vocabulary = weight * model.output_norm.weight
        shape = (a.n_layer, 2, len(paddings), a.n_head, n_columns, a.n_head_dim)
        self.cache = torch.empty(shape, device=weight.device)  # keys and values

    def read(self, ids: Tensor) -> Tensor:
        """Logits behind the last of the columns `ids`, shape (rows, columns), which are added to what was read."""
        n_rows, n_columns = ids.shape
        start, self.end = self.end, self.end + n_columns
        bias, rotation = self._bias(start), self.model.rotation[start : self.end]
        split = (n_rows, n_columns, 3, self.cache.shape[3], -1)
        x = self.model.token_embd(ids)
        for layer, (keys, values) in zip(self.layers, self.cache[..., : self.end, :], strict=True):
            query_key_value = F.linear(self._normed(x), layer.query_key_value).view(split).permute(2, 0, 3, 1, 4)
            query, keys[:, :, start:] = rotate(query_key_value[:2], rotation)
            values[:, :, start:] = query_key_value[2]
            mixed = F.scaled_dot_product_attention(query, keys, values, bias)
            x = x + F.linear(mixed.transpose(1, 2).flatten(2), layer.output)
            gate, up = F.linear(self._normed(x), layer.gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return F.linear(self._normed(x[:, -1]), self.vocabulary)

    def leave(self, ended: Tensor) -> Tensor:
        """Forget the rows that `ended`, shape (rows,); the last ones take their places. Which are where now."""
        n_left = int((~ended).sum())
        left = torch.arange(n_left, device=ended.device)
        gaps = ended[:n_left].nonzero()[:, 0]
        left[gaps] = n_left + (~ended[n_left:]).nonzero()[:, 0]
        known = self.cache[..., : self.end, :]
        known[:, :, gaps] = known[:, :, left[gaps]]
        self.cache, self.begins = self.cache[:, :, :n_left], self.begins[left]
        return left

    def _normed(self, x: Tensor) -> Tensor:
        """What RMSNorm gives before its weights, which are in the matrix behind it."""
        return x * (x.square().mean(-1, keepdim=True) + self.model.architecture.norm_epsilon).rsqrt()

    def _bias(self, start: int) -> Tensor:
        """What is added to the scores of the columns from `start` on, shape (rows, 1, columns, all columns): 0 where
        one sees another, -inf elsewhere. Padding sees itself, for a mean over nothing is no number.
        """
        columns = torch.arange(self.end, device=self.begins.device)
        own = columns[start:, None]
        seen = (columns <= own) & (columns >= self.begins[:, None, None]) | (columns == own)
        return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -math.inf)[:, None]


class _Layer(NamedTuple):
    """The matrices of a block, those that read the same in one, and its norms in those behind them."""

    query_key_value: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor


def _layer(block: Block) -> _Layer:
    mixing = torch.cat([block.attn_q.weight, block.attn_k.weight, block.attn_v.weight])
    gate_up = torch.cat([block.ffn_gate.weight, block.ffn_up.weight])
    return _Layer(
        mixing * block.attn_norm.weight,
        block.attn_output.weight,
        gate_up * block.ffn_norm.weight,
        block.ffn_down.weight,
    )


def _drawn(p: Tensor, uniform: Tensor) -> Tensor:
    """A token of each row, shape (rows,), by a number from 0 to 1: the first whose cumulative probability is above.

    torch.multinomial takes a random number for every token of the vocabulary, as long as a step of the model takes.
    """
    cumulative = p.cumsum(-1, dtype=uniform.dtype)
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return drawn.clamp(max=p.shape[1] - 1)


def _exact(device: torch.device) -> torch.dtype:
    """The type in which probabilities are added up; MPS has no other."""
    return torch.float32 if device.type == "mps" else torch.float64
