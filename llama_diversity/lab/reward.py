"""The reward model: the SFT model with a regression head on the last token, trained on preferences (paper, A2.2).

Bradley and Terry: the probability that the first of two answers is preferred is the logistic function of the difference
of their rewards; the loss is its negative logarithm, so only differences mean anything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llama_diversity.lab.memory import keep_freed_memory
from llama_diversity.lab.pretrain import autocast
from llama_diversity.lab.transformer import Llama


class Preference(NamedTuple):
    """Two whole sequences (BOS, prompt, answer, EOS where it ended) with the same prompt, the better one first."""

    better: list[int]
    worse: list[int]


class RewardModel(nn.Module):
    """A language model's body and one number for each sequence."""

    def __init__(self, body: Llama) -> None:
        super().__init__()
        self.body = copy.deepcopy(body)
        self.head = nn.Linear(body.architecture.n_embd, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """The reward of each sequence, shape (n,)."""
        device = self.head.weight.device
        ids, lengths = padded(sequences, device)
        last = self.body.of_rows(ids, lengths)[torch.arange(len(ids), device=device), lengths - 1]
        rewards: Tensor = self.head(last)[:, 0].float()
        return rewards


def padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids of shape (n, longest), zeros behind the end, and the lengths."""
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids.to(device), lengths


def train_reward(
    model: RewardModel,
    preferences: Sequence[Preference],
    *,
    passes: int = 2,
    pairs_a_step: int = 24,
    rate: float = 3e-4,
    seed: int = 1,
    on_report: Callable[[float, float], None] = lambda done, loss: None,
) -> None:
    """Fit `model` to `preferences`, with a rate that falls to nothing along a line; `on_report` hears share, loss."""
    keep_freed_memory()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(preferences)) for _ in range(passes)])
    steps = range(0, len(order), pairs_a_step)
    for at in steps:
        some = [preferences[i] for i in order[at : at + pairs_a_step]]
        optimiser.param_groups[0]["lr"] = rate * (1 - at / len(order)) * min(1.0, (at / pairs_a_step + 1) / 10)
        loss = bradley_terry_loss(*_rewards(model, some))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        on_report((at + len(some)) / len(order), float(loss.detach()))


def _rewards(model: RewardModel, preferences: Sequence[Preference]) -> tuple[Tensor, Tensor]:
    n = len(preferences)
    with autocast(model.head.weight.device):
        rewards = model([*(p.better for p in preferences), *(p.worse for p in preferences)])
    return rewards[:n], rewards[n:]


def bradley_terry_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean of -log sigmoid(better - worse), in nats: log 2 for a model that cannot tell, 0 for a perfect one."""
    return -F.logsigmoid(better - worse).mean()


@torch.no_grad()
def accuracy(model: RewardModel, preferences: Sequence[Preference], *, pairs_a_step: int = 32) -> float:
    """Share of pairs whose better answer gets the higher reward; 0.5 is chance."""
    right = 0
    for at in range(0, len(preferences), pairs_a_step):
        better, worse = _rewards(model, preferences[at : at + pairs_a_step])
        right += int((better > worse).sum())
    return right / len(preferences)
