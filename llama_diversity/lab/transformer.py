"""A small Llama in torch: the same arithmetic as llama.cpp's `llama` architecture, to be trained and then exported.

RMSNorm before each part, rotary positions on neighbouring pairs of dimensions (llama.cpp's order, so that nothing is
permuted on export), SwiGLU, no biases, the embedding shared with the output layer.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

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

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self._attend(self.attn_norm(x), rotation)
        h = self.ffn_norm(x)
        fed: Tensor = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + fed

    def _attend(self, h: Tensor, rotation: Tensor) -> Tensor:
        n_rows, n_tokens, n_embd = h.shape
        split = (n_rows, n_tokens, self.n_head, n_embd // self.n_head)
        query, key, value = (map_(h).view(split).transpose(1, 2) for map_ in (self.attn_q, self.attn_k, self.attn_v))
        mixed = attend_causally(rotate(query, rotation), rotate(key, rotation), value)
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

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states, shape (rows, tokens, n_embd), of `ids`, shape (rows, tokens)."""
        x = self.token_embd(ids)
        rotation = self.rotation[: ids.shape[1]]
        for block in self.blk:
            x = block(x, rotation)
        normed: Tensor = self.output_norm(x)
        return normed

    def of_rows(self, ids: Tensor, lengths: Tensor, *, at_once: int = 8) -> Tensor:
        """Hidden states as in `forward`, of rows that end after `lengths`, shape (rows,); those behind mean nothing.

        Rows of like length are computed together and only as far as they reach, so that little is spent on padding.
        Widths are multiples of 16, because a processor's kernels are made anew for each.
        """
        n_columns, order, parts = ids.shape[1], lengths.argsort(), []
        ids = F.pad(ids, (0, -n_columns % 16))
        for rows in torch.split(order, at_once):
            width = min(-(-int(lengths[rows[-1]]) // 16) * 16, self.architecture.n_ctx)
            parts.append(F.pad(self(ids[rows, :width]), (0, 0, 0, n_columns - width)))
        return torch.cat(parts).index_select(0, order.argsort())

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32, shape (..., n_vocab)."""
        return F.linear(hidden, self.token_embd.weight).float()

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def attend_causally(query: Tensor, key: Tensor, value: Tensor, *, block: int = 128) -> Tensor:
    """Each token's mean of the values up to its own, weighted by softmax(query key / sqrt(d)); all (..., tokens, d).

    On a processor a block of tokens at a time, each with the tokens before its end: torch's own function takes twice
    as long there. It is used elsewhere.
    """
    n_tokens = query.shape[-2]
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mixed = []
    for start in range(0, n_tokens, block):
        end = min(start + block, n_tokens)
        scores = query[..., start:end, :] @ key[..., :end, :].mT
        unseen = torch.full((end - start, end), -math.inf, device=query.device).triu(start + 1)
        weights = torch.add(unseen, scores, alpha=query.shape[-1] ** -0.5).softmax(-1)
        mixed.append(weights.to(value.dtype) @ value[..., :end, :])
    return torch.cat(mixed, dim=-2)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbouring dimensions by its token's angle; x: (..., tokens, n_head_dim)."""
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():  # one operation where torch.compile fuses many
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
    else:
        (a, b), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


def _rotation(architecture: Architecture) -> Tensor:
    """(n_ctx, n_head_dim / 2, 2): cosine and sine of position times frequency."""
    powers = torch.arange(0, architecture.n_head_dim, 2, dtype=torch.float64) / architecture.n_head_dim
    angles = torch.arange(architecture.n_ctx, dtype=torch.float64)[:, None] * architecture.rope_base**-powers
    return torch.stack((angles.cos(), angles.sin()), dim=-1).float()
