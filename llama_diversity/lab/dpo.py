"""Direct preference optimisation: a policy from preferences, with no reward model and no sampling between.

Rafailov and others, 2023 (arXiv 2305.18290), Eq. 7. With the log-ratio r(y) = log pi(y | x) - log pi_0(y | x) of the
policy pi to the SFT model pi_0, summed over the answer's tokens, the loss of a pair is -log sigmoid(beta (r(better) -
r(worse))): Bradley and Terry's with beta r in place of a reward. What the pair has in common, its prompt, is only read.
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
from torch import Tensor

from llama_diversity.errors import BadValue
from llama_diversity.lab.checkpoint import save_whole
from llama_diversity.lab.memory import keep_freed_memory
from llama_diversity.lab.ppo import evaluate, last_tokens
from llama_diversity.lab.pretrain import autocast
from llama_diversity.lab.reward import Ranking, all_sequences, bradley_terry_loss, of_pairs, padded
from llama_diversity.lab.transformer import Llama

_KEPT_EVERY = 20  # steps


@dataclass(frozen=True)
class Settings:
    """How the policy is optimised. The rate rises over ten steps and falls to nothing along a line."""

    beta: float = 0.1  # price of a nat of log-ratio
    n_passes: int = 1
    prompts_a_step: int = 10  # with all pairs of their answers
    rate: float = 1e-4
    seed: int = 1


class Log(NamedTuple):
    """One step: means over its pairs, before its update."""

    step: int
    loss_nats: float
    accuracy: float  # share of pairs whose better answer has the higher log-ratio
    better_nats: float  # log-ratio of the better answers to the SFT model
    worse_nats: float


def optimise(
    sft: Llama,
    rankings: Sequence[Ranking],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_log: Callable[[Log, int], None] = lambda log, n_steps: None,
) -> tuple[Llama, list[Log]]:
    """The optimised policy and a line of log for each step; goes on from a `checkpoint` of the same settings.

    The SFT model's log-probabilities are computed once. `on_log` also hears how many steps there will be. Raises
    BadValue for a checkpoint of other settings and for a beta that is not above 0.
    """
    if not 0 < settings.beta < math.inf:
        raise BadValue("--beta", settings.beta, "it must be above 0: without a price nothing holds the policy")
    keep_freed_memory()
    policy = copy.deepcopy(sft)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.0)
    logs = _resume(checkpoint, policy, optimiser, settings) if checkpoint else []
    reference = torch.split(log_p_of(sft, rankings), [len(one.pairs) for one in rankings])
    rng = np.random.default_rng(settings.seed)
    order = np.concatenate([rng.permutation(len(rankings)) for _ in range(settings.n_passes)])
    steps = range(0, len(order), settings.prompts_a_step)
    for log in logs:
        on_log(log, len(steps))
    for step in range(len(logs), len(steps)):
        rows = order[steps[step] : steps[step] + settings.prompts_a_step]
        optimiser.param_groups[0]["lr"] = settings.rate * (1 - step / len(steps)) * min(1.0, (step + 1) / 10)
        ratios = _log_p(policy, [rankings[i] for i in rows]) - torch.cat([reference[i] for i in rows])
        loss = loss_of(ratios, settings.beta)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        logs.append(_log_of(step, float(loss.detach()), ratios.detach()))
        on_log(logs[-1], len(steps))
        if checkpoint and ((step + 1) % _KEPT_EVERY == 0 or step + 1 == len(steps)):
            _keep(checkpoint, policy, optimiser, settings, logs)
    return policy, logs


def loss_of(ratios: Tensor, beta: float) -> Tensor:
    """Mean of -log sigmoid(beta (r(better) - r(worse))), in nats, of log-ratios of shape (n, 2), the better first.

    log 2 where the policy is the SFT model.
    """
    return bradley_terry_loss(beta * ratios[:, 0], beta * ratios[:, 1])


def log_p_of(model: Llama, rankings: Sequence[Ranking], *, prompts_a_batch: int = 16) -> Tensor:
    """log p in nats of both answers of each pair given the prompt, the better first: shape (pairs, 2), no gradients."""
    with torch.no_grad():
        starts = range(0, len(rankings), prompts_a_batch)
        return torch.cat([_log_p(model, rankings[at : at + prompts_a_batch]) for at in starts])


def held_out(policy: Llama, sft: Llama, rankings: Sequence[Ranking], beta: float) -> dict[str, float]:
    """How well the policy, taken as a reward model, knows pairs that it has not seen: implicit accuracy and loss.

    0.5 is chance. A pair of equal log-ratios counts as wrong.
    """
    ratios = log_p_of(policy, rankings) - log_p_of(sft, rankings)
    log = _log_of(0, float(loss_of(ratios, beta)), ratios)
    return {"n": len(ratios), **{name: value for name, value in log._asdict().items() if name != "step"}}


def _log_p(model: Llama, rankings: Sequence[Ranking]) -> Tensor:
    device = model.token_embd.weight.device
    ids, lengths = padded(all_sequences(rankings), device)
    n_answers = [len(sequence) - one.n_prompt for one in rankings for sequence in one.sequences]
    with autocast(device):
        log_p, _, _ = evaluate(model, ids, last_tokens(lengths, n_answers, ids.shape[1]), with_entropy=False)
    return of_pairs(log_p.sum(1), rankings)


def _log_of(step: int, loss: float, ratios: Tensor) -> Log:
    better, worse = ratios[:, 0], ratios[:, 1]
    accuracy = float((better > worse).float().mean())
    return Log(step, loss, accuracy, float(better.mean()), float(worse.mean()))


def _keep(path: Path, policy: Llama, optimiser: torch.optim.Optimizer, settings: Settings, logs: Sequence[Log]) -> None:
    """Write everything that another process needs to go on."""
    state = {
        "settings": dataclasses.asdict(settings),
        "logs": [list(log) for log in logs],
        "policy": policy.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    save_whole(path, state)


def _resume(path: Path, policy: Llama, optimiser: torch.optim.Optimizer, settings: Settings) -> list[Log]:
    """Take over what `_keep` wrote; the log so far, empty where there is no file."""
    if not path.exists():
        return []
    state = torch.load(path, map_location=policy.token_embd.weight.device, weights_only=True)
    if state["settings"] != dataclasses.asdict(settings):
        raise BadValue("the checkpoint", str(path), "it is of other settings; delete it to start anew")
    policy.load_state_dict(state["policy"])
    optimiser.load_state_dict(state["optimiser"])
    return [Log(*row) for row in state["logs"]]
