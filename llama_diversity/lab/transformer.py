"""A small Llama in torch: the same arithmetic as llama.cpp's `llama` architecture, to be trained and then exported.

RMSNorm before each part, rotary positions on neighbouring pairs of dimensions (llama.cpp's order, so that nothing is
permuted on export), SwiGLU, no biases, the embedding shared with the output layer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """The dimensions of the model; the defaults make 3.4 million parameters."""

    n_vocab: int = 4096
    n_embd: int = 192
    n_layer: int = 6
    n_head: int = 6
    n_ff: int = 512
    n_ctx: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def n_head_dim(self) -> int:
        return self.n_embd // self.n_head

    def as_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far, one pair of (rows, heads, n_ctx, n_head_dim) a layer."""

    keys: list[Tensor]
    values: list[Tensor]


class Block(nn.Module):
    """One layer. The linear maps carry llama.cpp's names, which makes export a walk over the parameters."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        n_embd, n_ff = architecture.n_embd, architecture.n_ff
        self.n_head = architecture.n_head
        self.attn_norm = nn.RMSNorm(n_embd, eps=architecture.norm_epsilon)
        self.attn_q = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_k = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_v = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_output = nn.Linear(n_embd, n_embd, bias=False)
        self.ffn_norm = nn.RMSNorm(n_embd, eps=architecture.norm_epsilon)
        self.ffn_gate = nn.Linear(n_embd, n_ff, bias=False)
        self.ffn_up = nn.Linear(n_embd, n_ff, bias=False)
        self.ffn_down = nn.Linear(n_ff, n_embd, bias=False)

    def forward(self, x: Tensor, rotation: Tensor, cached: tuple[Tensor, Tensor] | None, start: int) -> Tensor:
        x = x + self._attend(self.attn_norm(x), rotation, cached, start)
        h = self.ffn_norm(x)
        fed: Tensor = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + fed

    def _attend(self, h: Tensor, rotation: Tensor, cached: tuple[Tensor, Tensor] | None, start: int) -> Tensor:
        n_rows, n_tokens, n_embd = h.shape
        split = (n_rows, n_tokens, self.n_head, n_embd // self.n_head)
        query, key, value = (map_(h).view(split).transpose(1, 2) for map_ in (self.attn_q, self.attn_k, self.attn_v))
        query, key = rotate(query, rotation), rotate(key, rotation)
        if cached is not None:
            for kept, new in zip(cached, (key, value), strict=True):
                kept[:, :, start : start + n_tokens] = new
            key, value = (kept[:, :, : start + n_tokens].to(query.dtype) for kept in cached)
        # One new token sees all that came before; several at once come only at the start.
        if n_tokens == 1:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = attend_causally(query, key, value)
        output: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(n_rows, n_tokens, n_embd))
        return output


class Llama(nn.Module):
    """The model: `forward` gives the last hidden states, `logits` turns them into logits over the vocabulary."""

    rotation: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.token_embd = nn.Embedding(architecture.n_vocab, architecture.n_embd)
        self.blk = nn.ModuleList(Block(architecture) for _ in range(architecture.n_layer))
        self.output_norm = nn.RMSNorm(architecture.n_embd, eps=architecture.norm_epsilon)
        self.register_buffer("rotation", _rotation(architecture), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights: normal, sd 0.02, the maps that write to the residual stream smaller with depth."""
        shrink = (2 * self.architecture.n_layer) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                sd = 0.02 * (shrink if name.endswith(("attn_output.weight", "ffn_down.weight")) else 1.0)
                nn.init.normal_(parameter, std=sd, generator=generator)

    def forward(self, ids: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        """Hidden states, shape (rows, tokens, n_embd), of `ids`, shape (rows, tokens), which begin at `start`.

        With a `cache` the tokens before `start` are read from it, and those of `ids` are added.
        """
        x = self.token_embd(ids)
        rotation = self.rotation[start : start + ids.shape[1]]
        for index, block in enumerate(self.blk):
            cached = None if cache is None else (cache.keys[index], cache.values[index])
            x = block(x, rotation, cached, start)
        normed: Tensor = self.output_norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32, shape (..., n_vocab)."""
        return F.linear(hidden, self.token_embd.weight).float()

    def new_cache(self, n_rows: int, n_tokens: int) -> Cache:
        """Room for `n_tokens` tokens in each of `n_rows` rows."""
        a = self.architecture
        shape, device = (n_rows, a.n_head, n_tokens, a.n_head_dim), self.token_embd.weight.device
        keys, values = ([torch.zeros(shape, device=device) for _ in range(a.n_layer)] for _ in range(2))
        return Cache(keys, values)

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def attend_causally(query: Tensor, key: Tensor, value: Tensor, *, block: int = 128) -> Tensor:
    """Each token's mean of the values up to its own, weighted by softmax(query key / sqrt(d)); all (..., tokens, d).

    On a processor a block of tokens at a time, each with the tokens before its end: torch's own function takes twice
    as long there. It is used elsewhere.
    """
    n_tokens = query.shape[-2]
    if query.device.type != "cpu" or n_tokens <= block:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mixed = []
    for start in range(0, n_tokens, block):
        end = min(start + block, n_tokens)
        scores = query[..., start:end, :] @ key[..., :end, :].mT
        seen = torch.arange(end, device=query.device) <= torch.arange(start, end, device=query.device)[:, None]
        weights = torch.where(seen, scores.float() * query.shape[-1] ** -0.5, -math.inf).softmax(-1)
        mixed.append(weights.to(value.dtype) @ value[..., :end, :])
    return torch.cat(mixed, dim=-2)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbouring dimensions by its token's angle; x: (..., tokens, n_head_dim)."""
    pairs = x.view(*x.shape[:-1], -1, 2)
    cos, sin = rotation[..., 0].to(x.dtype), rotation[..., 1].to(x.dtype)
    turned = (pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 0] * sin + pairs[..., 1] * cos)
    return torch.stack(turned, dim=-1).flatten(-2)


def _rotation(architecture: Architecture) -> Tensor:
    """(n_ctx, n_head_dim / 2, 2): cosine and sine of position times frequency."""
    powers = torch.arange(0, architecture.n_head_dim, 2, dtype=torch.float64) / architecture.n_head_dim
    angles = torch.arange(architecture.n_ctx, dtype=torch.float64)[:, None] * architecture.rope_base**-powers
    return torch.stack((angles.cos(), angles.sin()), dim=-1).float()


class Completions(NamedTuple):
    """What was sampled: shapes (rows, tokens); after a row's end the mask is False and the ids are 0."""

    ids: Tensor
    mask: Tensor
    surprisals_nats: Tensor  # of the drawn token under the distribution it was drawn from


@torch.no_grad()
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

    Prompts may differ in length: a row begins to draw where its own prompt ends, while others still read theirs.
    Raises ValueError where prompt and completion do not fit the context.
    """
    n_rows, lengths = len(prompts), [len(prompt) for prompt in prompts]
    if max(lengths) + max_tokens > model.architecture.n_ctx:
        raise ValueError(f"{max(lengths)} + {max_tokens} tokens do not fit a context of {model.architecture.n_ctx}")
    device = model.token_embd.weight.device
    shortest, width = min(lengths), max(lengths) + max_tokens
    given = torch.zeros(n_rows, width, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        given[row, : len(prompt)] = torch.tensor(prompt, device=device)
    starts = torch.tensor(lengths, device=device)
    surprisals = torch.zeros(n_rows, width, device=device)
    mask = torch.zeros(n_rows, width, dtype=torch.bool, device=device)
    live = torch.ones(n_rows, dtype=torch.bool, device=device)
    cache = model.new_cache(n_rows, width)
    hidden = model(given[:, :shortest], cache)[:, -1]
    for at in range(shortest, width):
        log_p = F.log_softmax(model.logits(hidden) / temperature, dim=-1)
        drawn = torch.multinomial(log_p.exp(), 1, generator=generator)
        draws = live & (at >= starts) & (at < starts + max_tokens)
        given[:, at] = torch.where(draws, drawn[:, 0], given[:, at])
        mask[:, at] = draws
        surprisals[:, at] = -log_p.gather(1, drawn)[:, 0] * draws
        live = live & ~(draws & (drawn[:, 0] == end)) & (at < starts + max_tokens - 1)
        if not live.any() or at == width - 1:
            break
        hidden = model(given[:, at : at + 1], cache, start=at)[:, -1]
    columns = starts[:, None] + torch.arange(max_tokens, device=device)
    kept = mask.gather(1, columns)
    return Completions(given.gather(1, columns) * kept, kept, surprisals.gather(1, columns))
