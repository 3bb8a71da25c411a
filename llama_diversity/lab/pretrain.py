"""Training a model to continue text: rows of whole documents, Muon and AdamW, one learning-rate cycle, checkpoints.

The same loop grows the base model (all documents) and the SFT model (loss on the answers alone).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from llama_diversity.lab.checkpoint import save_whole
from llama_diversity.lab.memory import keep_freed_memory
from llama_diversity.lab.muon import Muon
from llama_diversity.lab.transformer import Llama

BOS, EOS = 1, 2
_IGNORED = -100  # a target without loss
_FEWEST = 3  # ids of the shortest document, with BOS and EOS

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Schedule:
    """How a model is trained. Rates rise over the first `warmup` of all steps and fall along a cosine to `floor`."""

    n_tokens: int  # in all, over as many passes as that takes
    rows_a_step: int = 8
    muon_rate: float = 0.02  # matrices of the layers
    adam_rate: float = 0.004  # embedding and norms
    weight_decay: float = 0.1
    warmup: float = 0.02
    floor: float = 0.02
    seed: int = 1

    def rate(self, done: float) -> float:
        """Factor on the rates after the share `done` of all steps."""
        if done < self.warmup:
            return (done + 1e-3) / (self.warmup + 1e-3)
        cosine = 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
        return self.floor + (1 - self.floor) * cosine


class Text(NamedTuple):
    """One document as token ids without BOS and EOS; the loss counts from token `scored_from` on."""

    ids: Int16
    scored_from: int = 0


class Report(NamedTuple):
    """Where training stands."""

    step: int
    n_steps: int
    bits_per_token: float  # mean over the steps since the last report
    tokens_per_second: float


def device_for(choice: str = "auto") -> torch.device:
    """The device named, or the best there is."""
    if choice != "auto":
        return torch.device(choice)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pack(texts: Sequence[Text], n_ctx: int, rng: np.random.Generator) -> tuple[Int16, npt.NDArray[np.bool_]]:
    """One pass through `texts` in random order: rows of `n_ctx` + 1 ids, and which of them are targets.

    A row begins with BOS and holds document after document, each as BOS ids EOS. The document that does not fit is cut,
    and its rest waits for another pass, where the rows fall differently: so every row starts as a prompt does.
    """
    width = n_ctx + 1
    rows, targets = [], []
    row, target, used = np.zeros(width, np.int16), np.zeros(width, np.bool_), 0
    for index in rng.permutation(len(texts)):
        ids, scored_from = texts[index]
        whole = np.concatenate(([BOS], ids, [EOS])).astype(np.int16)[: width - used]
        row[used : used + len(whole)] = whole
        target[used + 1 + scored_from : used + len(whole)] = True
        used += len(whole)
        if used > width - _FEWEST:
            rows.append(row)
            targets.append(target)
            row, target, used = np.zeros(width, np.int16), np.zeros(width, np.bool_), 0
    if used:
        rows.append(row)
        targets.append(target)
    return np.stack(rows), np.stack(targets)


def batches(texts: Sequence[Text], n_ctx: int, schedule: Schedule) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless steps: inputs and targets, each (rows_a_step, n_ctx) int64; the same ones for the same seed."""
    passes = 0
    rows = np.empty((0, n_ctx + 1), np.int16)
    wanted = np.empty((0, n_ctx + 1), np.bool_)
    while True:
        while len(rows) < schedule.rows_a_step:
            more, also = pack(texts, n_ctx, np.random.default_rng([schedule.seed, passes]))
            rows, wanted = np.concatenate((rows, more)), np.concatenate((wanted, also))
            passes += 1
        step, scored = rows[: schedule.rows_a_step].astype(np.int64), wanted[: schedule.rows_a_step]
        rows, wanted = rows[schedule.rows_a_step :], wanted[schedule.rows_a_step :]
        targets = np.where(scored, step, _IGNORED)[:, 1:]
        yield torch.from_numpy(step[:, :-1].copy()), torch.from_numpy(targets.copy())


def train(
    model: Llama,
    texts: Sequence[Text],
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    on_report: Callable[[Report], None] | None = None,
    report_every: int = 20,
    checkpoint_every: int = 200,
    max_seconds: float | None = None,
    until: float = 1.0,
    fuse: bool = False,
) -> bool:
    """Train `model` where it is; False when it stopped before the end: after `max_seconds`, or the share `until`.

    `fuse` has torch.compile fuse operations first: a minute once; needs a C++ compiler. It gains next
    to nothing on AMD cores with bfloat16, half as much again on Intel ones with AMX (docs/lab-log.md).

    With a `checkpoint` the state is kept there every `checkpoint_every` steps, and training goes on from it. A model
    cut short is the same as one that was not, up to the order of floating-point sums.
    """
    n_ctx = model.architecture.n_ctx
    n_steps = max(1, schedule.n_tokens // (schedule.rows_a_step * n_ctx))
    optimisers = _optimisers(model, schedule)
    first = _resume(checkpoint, model, optimisers, schedule) if checkpoint else 0
    started, since, losses = time.perf_counter(), time.perf_counter(), []
    device = model.token_embd.weight.device
    loss_of = torch.compile(_loss, fullgraph=True, dynamic=False) if fuse else _loss
    keep_freed_memory()
    model.train()
    for step, (inputs, targets) in enumerate(batches(texts, n_ctx, schedule)):
        if step < first:
            continue
        if step >= until * n_steps:
            break
        for optimiser, rate in optimisers:
            optimiser.param_groups[0]["lr"] = rate * schedule.rate(step / n_steps)
        with autocast(device):
            loss = loss_of(model, inputs.to(device), targets.to(device))
        losses.append(_step(model, loss, [o for o, _ in optimisers]))
        if on_report is not None and (step + 1) % report_every == 0:
            now = time.perf_counter()
            speed = len(losses) * inputs.numel() / (now - since)
            on_report(Report(step + 1, n_steps, float(np.mean(losses)) / math.log(2), speed))
            since, losses = now, []
        out_of_time = max_seconds is not None and time.perf_counter() - started > max_seconds
        if checkpoint and (out_of_time or (step + 1) % checkpoint_every == 0):
            _keep(checkpoint, model, optimisers, schedule, step + 1)
        if out_of_time:
            return False
    if checkpoint:
        _keep(checkpoint, model, optimisers, schedule, step)
    return step == n_steps


def _optimisers(model: Llama, schedule: Schedule) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the layers, AdamW for the rest, each with its own rate."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and name.startswith("blk.")]
    rest = [p for name, p in model.named_parameters() if p.dim() == 1 or not name.startswith("blk.")]
    dtype = torch.bfloat16 if fast_bfloat16(matrices[0].device) else torch.float32
    muon = Muon(matrices, lr=schedule.muon_rate, weight_decay=schedule.weight_decay, dtype=dtype)
    adam = torch.optim.AdamW(rest, lr=schedule.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, schedule.muon_rate), (adam, schedule.adam_rate)]


def _loss(model: Llama, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss per target, in nats."""
    logits = model.logits(model(inputs))
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)


def _step(model: Llama, loss: Tensor, optimisers: Sequence[torch.optim.Optimizer]) -> float:
    """One step of all optimisers down the gradient of `loss`; its value."""
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


def autocast(device: torch.device) -> Any:
    """bfloat16 multiplication where the device is fast at it."""
    if not fast_bfloat16(device):
        return contextlib.nullcontext()  # a disabled autocast makes torch.compile start over at every step
    return torch.autocast(device.type, torch.bfloat16)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively; elsewhere it is slower than float32."""
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())


def _keep(
    path: Path, model: Llama, optimisers: Sequence[tuple[torch.optim.Optimizer, float]], schedule: Schedule, step: int
) -> None:
    state = {
        "schedule": dataclasses.asdict(schedule),
        "step": step,
        "model": model.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser, _ in optimisers],
    }
    save_whole(path, state)


def _resume(
    path: Path, model: Llama, optimisers: Sequence[tuple[torch.optim.Optimizer, float]], schedule: Schedule
) -> int:
    """Load a checkpoint of the same schedule; the number of steps it had done, 0 where there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.token_embd.weight.device, weights_only=True)
    if state["schedule"] != dataclasses.asdict(schedule):
        raise ValueError(f"{path} is the checkpoint of another schedule; delete it to start anew")
    model.load_state_dict(state["model"])
    for (optimiser, _), kept in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(kept)
    return int(state["step"])


@torch.no_grad()
def total_bits(model: Llama, texts: Sequence[Text], *, rows: int = 16) -> float:
    """Bits that the model needs for all scored tokens of `texts` and their EOS, each text alone after BOS.

    A text longer than the context is cut, and what is cut is not counted.
    """
    n_ctx, device = model.architecture.n_ctx, model.token_embd.weight.device
    model.eval()
    total = 0.0
    by_length = sorted(texts, key=lambda text: len(text.ids))
    for at in range(0, len(by_length), rows):
        group = by_length[at : at + rows]
        width = min(n_ctx, len(group[-1].ids) + 1)
        inputs, targets = np.zeros((len(group), width), np.int64), np.full((len(group), width), _IGNORED, np.int64)
        for row, (ids, scored_from) in enumerate(group):
            n = min(width, len(ids) + 1)
            inputs[row, :n] = np.concatenate(([BOS], ids))[:n]
            targets[row, scored_from:n] = np.concatenate((ids, [EOS]))[scored_from:n]
        logits = model.logits(model(torch.from_numpy(inputs).to(device)))
        wanted = torch.from_numpy(targets).to(device).flatten()
        total += float(F.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=_IGNORED, reduction="sum"))
    model.train()
    return total / math.log(2)
