"""Proximal policy optimisation of a language model against a reward model (paper, A2.3), small enough to read.

Written here rather than taken from TRL: the model is no `transformers` model, the losses are a few lines, and the tests
follow them by hand. The standard clipped objective, min(ratio A, clip(ratio) A); the paper's A2.3 writes min(ratio,
clip(ratio)) A, which differs where A < 0.

Eq. 5.2: the reward of a token is -beta (log pi - log pi_0) under the policy pi and the SFT model pi_0, and the last
token also gets the reward model's number, scaled so that the answers of the first iteration, the SFT model's own, have
mean 0 and standard deviation 1. Nothing is discounted. The value head reads the policy's hidden states and does not
change them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llama_diversity.errors import BadValue
from llama_diversity.lab.checkpoint import save_whole
from llama_diversity.lab.memory import keep_freed_memory
from llama_diversity.lab.pretrain import BOS, EOS, autocast
from llama_diversity.lab.reward import RewardModel, padded
from llama_diversity.lab.sampling import generate
from llama_diversity.lab.transformer import Llama

_TOKENS_AT_ONCE = 512  # through the vocabulary: what fits a processor's cache


@dataclass(frozen=True)
class Settings:
    """How the policy is optimised."""

    n_iterations: int = 100
    n_answers: int = 48  # of as many prompts, each iteration
    max_tokens: int = 96
    beta: float = 0.05  # nats of KL to the SFT model cost this much reward
    clip: float = 0.2
    gae_lambda: float = 0.95
    n_passes: int = 2  # over the answers of an iteration
    answers_a_step: int = 24
    rate: float = 1e-4
    value_rate: float = 1e-3
    seed: int = 1


class Log(NamedTuple):
    """One iteration: means over its answers or tokens, before its update."""

    iteration: int
    reward: float  # of the reward model, in standard deviations of the SFT model's answers
    kl_nats: float  # to the SFT model, of a whole answer
    entropy_bits: float  # of a token
    value_loss: float
    clipped_share: float  # of tokens whose ratio lay outside the clip
    length_tokens: float

    def words(self) -> str:
        """For a line of progress."""
        return f"PPO: reward {self.reward:+.2f}, KL {self.kl_nats:.1f} nats, {self.entropy_bits:.2f} bits a token"


class Rollout(NamedTuple):
    """Answers and what is known of them. Shapes (rows, width): everything is aligned with the token it speaks of."""

    ids: Tensor  # BOS, prompt, answer
    answers: Tensor  # bool: the tokens that the policy drew
    log_p: Tensor  # under the policy that drew them
    advantages: Tensor
    returns: Tensor


def optimise(
    sft: Llama,
    reward: RewardModel,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_log: Callable[[Log], None] = lambda log: None,
    on_policy: Callable[[int, Llama], None] = lambda n_done, policy: None,
) -> tuple[Llama, list[Log]]:
    """The optimised policy and a line of log for each iteration; goes on from a `checkpoint` of the same settings.

    Nothing depends on how many iterations there will be, so more of them continue what fewer began.
    `on_policy` sees the policy after each iteration, and how many are done.

    `prompts` are token ids without BOS. Raises BadValue for a checkpoint of other settings or of more iterations.
    """
    keep_freed_memory()
    learner = _Learner(sft, reward, settings)
    logs = learner.resume(checkpoint) if checkpoint else []
    for log in logs:
        on_log(log)
    for iteration in range(len(logs), settings.n_iterations):
        logs.append(learner.iterate(iteration, prompts))
        on_log(logs[-1])
        on_policy(iteration + 1, learner.policy)
        if checkpoint and (iteration + 1) % 10 == 0 or iteration + 1 == settings.n_iterations:
            learner.keep(checkpoint, logs)
    return learner.policy, logs


class _Learner:
    """Policy, value head, their optimiser, and what they are measured against."""

    def __init__(self, sft: Llama, reward: RewardModel, settings: Settings) -> None:
        self.settings, self.sft, self.reward = settings, sft, reward
        self.policy = copy.deepcopy(sft)
        n_embd, device = sft.architecture.n_embd, sft.token_embd.weight.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.value = nn.Sequential(nn.Linear(n_embd, n_embd), nn.GELU(), nn.Linear(n_embd, 1)).to(device)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(self.policy.parameters()), "lr": settings.rate},
                {"params": list(self.value.parameters()), "lr": settings.value_rate},
            ],
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=True,
        )
        self.scale: tuple[float, float] | None = None  # mean and standard deviation of the SFT model's rewards

    def iterate(self, iteration: int, prompts: Sequence[Sequence[int]]) -> Log:
        """Draw answers, judge them, and improve the policy on them."""
        s = self.settings
        rng = np.random.default_rng([s.seed, iteration])
        generator = torch.Generator(self.sft.token_embd.weight.device).manual_seed(int(rng.integers(2**62)))
        chosen = [[BOS, *prompts[i]] for i in rng.integers(len(prompts), size=s.n_answers)]
        sequences, answers = answer(self.policy, chosen, max_tokens=s.max_tokens, generator=generator)
        rollout, log = self._judge(iteration, sequences, answers)
        losses, clipped = [], []
        for _ in range(s.n_passes):
            order = rng.permutation(s.n_answers)
            for at in range(0, s.n_answers, s.answers_a_step):
                rows = torch.from_numpy(order[at : at + s.answers_a_step])
                value_loss, share = self._update(Rollout(*(part[rows] for part in rollout)))
                losses.append(value_loss)
                clipped.append(share)
        return log._replace(value_loss=float(np.mean(losses)), clipped_share=float(np.mean(clipped)))

    @torch.no_grad()
    def _judge(self, iteration: int, sequences: list[list[int]], answers: list[int]) -> tuple[Rollout, Log]:
        s, device = self.settings, self.sft.token_embd.weight.device
        ids, lengths = padded(sequences, device)
        drawn = last_tokens(lengths, answers, ids.shape[1])
        with autocast(device):
            rewards = self.reward(sequences)
            log_p, entropy, hidden = evaluate(self.policy, ids, drawn)
            log_p_sft, _, _ = evaluate(self.sft, ids, drawn, with_entropy=False)
        if self.scale is None:  # the policy still is the SFT model
            self.scale = (float(rewards.mean()), max(float(rewards.std()), 1e-6))
        scaled = (rewards - self.scale[0]) / self.scale[1]
        token_rewards = -s.beta * (log_p - log_p_sft)
        token_rewards[torch.arange(len(ids), device=device), lengths - 1] += scaled
        values = before_each(self.value(hidden.float())[..., 0])
        advantages = advantages_of(token_rewards, values, drawn, s.gae_lambda)
        returns = (advantages + values) * drawn
        n_tokens = drawn.sum()
        mean = (advantages * drawn).sum() / n_tokens
        sd = (((advantages - mean) * drawn).square().sum() / n_tokens).sqrt()
        rollout = Rollout(ids, drawn, log_p, (advantages - mean) / (sd + 1e-8) * drawn, returns)
        log = Log(
            iteration,
            reward=float(scaled.mean()),
            kl_nats=float((log_p - log_p_sft).sum() / len(ids)),
            entropy_bits=float(entropy.sum() / n_tokens) / math.log(2),
            value_loss=math.nan,
            clipped_share=math.nan,
            length_tokens=float(n_tokens / len(ids)),
        )
        return rollout, log

    def _update(self, part: Rollout) -> tuple[float, float]:
        """One step on some of the answers; the loss of the value head, and the share of tokens that were clipped."""
        with autocast(part.ids.device):
            log_p, _, hidden = evaluate(self.policy, part.ids, part.answers, with_entropy=False)
            values = before_each(self.value(hidden.detach().float())[..., 0])
        drawn = part.answers
        ratio = torch.exp((log_p - part.log_p)[drawn])
        policy_loss = clipped_loss(ratio, part.advantages[drawn], self.settings.clip)
        value_loss = F.mse_loss(values[drawn], part.returns[drawn])
        (policy_loss + 0.5 * value_loss).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        torch.nn.utils.clip_grad_norm_(self.value.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        outside = ((ratio - 1).abs() > self.settings.clip).float().mean()
        return float(value_loss.detach()), float(outside.detach())

    def keep(self, path: Path | None, logs: Sequence[Log]) -> None:
        """Write everything that another process needs to go on."""
        if path is None:
            return
        state = {
            "settings": dataclasses.asdict(self.settings),
            "logs": [list(log) for log in logs],
            "policy": self.policy.state_dict(),
            "value": self.value.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scale": self.scale,
        }
        save_whole(path, state)

    def resume(self, path: Path) -> list[Log]:
        """Take over what `keep` wrote; the log so far, empty where there is no file."""
        if not path.exists():
            return []
        state = torch.load(path, map_location=self.sft.token_embd.weight.device, weights_only=True)
        kept, wanted, n_done = state["settings"], dataclasses.asdict(self.settings), len(state["logs"])
        if {**kept, "n_iterations": 0} != {**wanted, "n_iterations": 0}:
            raise BadValue("the checkpoint", str(path), "it is of other settings; delete it to start anew")
        if n_done > wanted["n_iterations"]:
            allowed = f"{path} has {n_done} already; ask for as many, or delete it to start anew"
            raise BadValue("the number of iterations", wanted["n_iterations"], allowed)
        self.policy.load_state_dict(state["policy"])
        self.value.load_state_dict(state["value"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scale = state["scale"]
        return [Log(*row) for row in state["logs"]]


def answer(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> tuple[list[list[int]], list[int]]:
    """Prompt with answer for each prompt, which begins with BOS, and how many tokens of it are the answer."""
    drawn = generate(model, prompts, max_tokens=max_tokens, generator=generator, temperature=temperature, end=EOS)
    answers = [ids[mask].tolist() for ids, mask in zip(drawn.ids, drawn.mask, strict=True)]
    whole = [[*prompt, *ids] for prompt, ids in zip(prompts, answers, strict=True)]
    return whole, [len(ids) for ids in answers]


@torch.no_grad()
def compare(
    policy: Llama, sft: Llama, sequences: Sequence[Sequence[int]], n_answers: Sequence[int]
) -> tuple[list[float], list[float], list[int]]:
    """Of each sequence, whose last `n_answers` tokens the policy drew: log-ratio to the SFT model in nats (its mean is
    the KL divergence), mean token entropy of the policy in bits, and number of tokens.
    """
    ids, lengths = padded(sequences, policy.token_embd.weight.device)
    drawn = last_tokens(lengths, n_answers, ids.shape[1])
    log_p, entropy, _ = evaluate(policy, ids, drawn)
    log_p_sft, _, _ = evaluate(sft, ids, drawn, with_entropy=False)
    n_tokens = drawn.sum(1)
    bits = entropy.sum(1) / n_tokens / math.log(2)
    return (log_p - log_p_sft).sum(1).tolist(), bits.tolist(), n_tokens.tolist()


def evaluate(model: Llama, ids: Tensor, drawn: Tensor, *, with_entropy: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of each drawn token and entropy of the distribution it was drawn from, both in nats, zero
    elsewhere, shape (rows, width); and the hidden states, without meaning behind the last drawn token. The first
    column is never drawn. Without `with_entropy`, which takes as long as the log-probability, it is zero everywhere.
    """
    hidden = model.of_rows(ids, ids.shape[1] - drawn.flip(1).int().argmax(1))
    before, wanted = hidden[:, :-1][drawn[:, 1:]], ids[:, 1:][drawn[:, 1:]]
    log_p, entropy = torch.zeros(ids.shape, device=ids.device), torch.zeros(ids.shape, device=ids.device)
    parts = zip(torch.split(before, _TOKENS_AT_ONCE), torch.split(wanted, _TOKENS_AT_ONCE), strict=True)
    found = [_of_next(model.logits(states), following, with_entropy=with_entropy) for states, following in parts]
    log_p[drawn], entropy[drawn] = (torch.cat(one) for one in zip(*found, strict=True))
    return log_p, entropy, hidden


def _of_next(logits: Tensor, ids: Tensor, *, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """Log-probability of each row's id, and entropy of the row or 0; shapes (n,)."""
    log_p = F.log_softmax(logits, dim=-1)
    known = log_p.detach()
    entropy = -(known.exp() * known).sum(-1) if with_entropy else known.new_zeros(len(ids))
    return log_p.gather(1, ids[:, None])[:, 0], entropy


def last_tokens(lengths: Tensor, n_last: Sequence[int], width: int) -> Tensor:
    """Which of `width` columns hold the last `n_last` tokens of rows of these lengths: bool, shape (rows, width)."""
    columns = torch.arange(width, device=lengths.device)
    starts = lengths - torch.tensor(n_last, device=lengths.device)
    return (columns >= starts[:, None]) & (columns < lengths[:, None])


def before_each(states: Tensor) -> Tensor:
    """What stood in the column before: the value of the state in which a token was drawn. Shape (rows, width)."""
    return F.pad(states[:, :-1], (1, 0))


def advantages_of(rewards: Tensor, values: Tensor, drawn: Tensor, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates without discount, zero where nothing was drawn; all of shape (rows, width).

    delta_t = r_t + v_{t+1} - v_t, with no value behind the last token; A_t = delta_t + lambda A_{t+1}.
    """
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros(len(rewards), device=rewards.device)
    for at in reversed(range(rewards.shape[1])):
        here = drawn[:, at]
        delta = rewards[:, at] + next_value - values[:, at]
        advantages[:, at] = torch.where(here, delta + gae_lambda * next_advantage, 0.0)
        next_value = torch.where(here, values[:, at], next_value)
        next_advantage = torch.where(here, advantages[:, at], next_advantage)
    return advantages


def clipped_loss(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """-mean of min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)."""
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
