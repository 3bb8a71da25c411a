"""The reward model: the SFT model with a regression head on the last token, trained on preferences (paper, A2.2).

Bradley and Terry: the probability that the first of two answers is preferred is the logistic function of the difference
of their rewards; the loss is its negative logarithm, so only differences mean anything. All pairs of one prompt's
answers are learned in the same step (Ouyang et al. 2022, section 3.5): each answer is read once for all its pairs.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llama_diversity.lab.memory import keep_freed_memory
from llama_diversity.lab.pretrain import autocast
from llama_diversity.lab.transformer import Llama


class Ranking(NamedTuple):
    """Answers to one prompt as whole sequences (BOS, prompt, answer, EOS where it ended), and which are preferred."""

    sequences: list[list[int]]
    pairs: list[tuple[int, int]]  # places in `sequences`, the better one's first
    n_prompt: int  # tokens with which all of them begin, BOS among them


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
    rankings: Sequence[Ranking],
    *,
    passes: int = 2,
    prompts_a_step: int = 10,
    rate: float = 3e-4,
    seed: int = 1,
    on_report: Callable[[float, float], None] = lambda done, loss: None,
) -> None:
    """Fit `model` to `rankings`, with a rate that falls to nothing along a line; `on_report` hears share, loss."""
    keep_freed_memory()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(rankings)) for _ in range(passes)])
    for at in range(0, len(order), prompts_a_step):
        some = [rankings[i] for i in order[at : at + prompts_a_step]]
        optimiser.param_groups[0]["lr"] = rate * (1 - at / len(order)) * min(1.0, (at / prompts_a_step + 1) / 10)
        loss = bradley_terry_loss(*_rewards(model, some).unbind(1))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        on_report((at + len(some)) / len(order), float(loss.detach()))


def _rewards(model: RewardModel, rankings: Sequence[Ranking]) -> Tensor:
    with autocast(model.head.weight.device):
        return of_pairs(model(all_sequences(rankings)), rankings)


def all_sequences(rankings: Sequence[Ranking]) -> list[list[int]]:
    """Those of each prompt, one after the other."""
    return [sequence for ranking in rankings for sequence in ranking.sequences]


def of_pairs(numbers: Tensor, rankings: Sequence[Ranking]) -> Tensor:
    """From a number for each of `all_sequences` those of each pair, the better one's first: shape (pairs, 2)."""
    starts = itertools.accumulate((len(one.sequences) for one in rankings), initial=0)
    places = [[at + i for i in pair] for at, one in zip(starts, rankings, strict=False) for pair in one.pairs]
    return numbers[torch.tensor(places, device=numbers.device)]


def bradley_terry_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean of -log sigmoid(better - worse), in nats: log 2 for a model that cannot tell, 0 for a perfect one."""
    return -F.logsigmoid(better - worse).mean()


@torch.no_grad()
def accuracy(model: RewardModel, rankings: Sequence[Ranking], *, prompts_a_step: int = 16) -> float:
    """Share of pairs whose better answer gets the higher reward; 0.5 is chance."""
    parts = range(0, len(rankings), prompts_a_step)
    found = torch.cat([_rewards(model, rankings[at : at + prompts_a_step]) for at in parts])
    return float((found[:, 0] > found[:, 1]).float().mean())
