"""What the knobs of RLHF do to diversity: many small PPO runs from one SFT model, each measured the same way.

Three knobs: beta (the price of leaving the SFT model), steps, and the number of preference labels that the reward model
learned from. Every run has a seed, and every row of the result is one measurement of one run. A row is on disk as soon
as it is known; the same call does only what is missing.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from llama_diversity.lab import align, ppo
from llama_diversity.lab.pretrain import BOS
from llama_diversity.lab.requests import PROMPTS_OF_THE_EXPERIMENTS
from llama_diversity.lab.reward import RewardModel
from llama_diversity.lab.transformer import Llama
from llama_diversity.lab.workshop import SFT_FILE, Workshop, sha256_of
from llama_diversity.metrics.inference import mean_interval
from llama_diversity.metrics.similarity import mean_cosine, tf_idf

ROWS_FILE = "sweep.jsonl"
MEASURES = ("score", "kl_nats", "entropy_bits", "tf_idf_cosine", "distinct_openings", "equal_openings")
KNOBS = ("beta", "steps", "labels")


@dataclass(frozen=True)
class Grid:
    """Which runs there are. `settings` hold for all but what a knob turns; steps are read off runs of its beta."""

    betas: tuple[float, ...] = (0.0, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0)
    steps: tuple[int, ...] = (10, 20, 40)
    labels: tuple[int, ...] = (50, 200, 800)  # prompts whose answers are compared
    seeds: tuple[int, ...] = (1, 2, 3)
    settings: ppo.Settings = field(
        default_factory=lambda: ppo.Settings(n_iterations=60, n_answers=32, max_tokens=64, answers_a_step=16)
    )
    n_completions: int = 100  # of each of the experiments' two prompts
    max_tokens: int = 64


class Run(NamedTuple):
    """One PPO run: what is turned, and from which seed."""

    knob: str  # "beta" or "labels"
    value: float
    seed: int


def runs(grid: Grid) -> list[Run]:
    """All of them, seed by seed, so that a sweep that is cut short has all values with fewer seeds."""
    found = []
    for seed in grid.seeds:
        found += [Run("beta", beta, seed) for beta in grid.betas]
        found += [Run("labels", n, seed) for n in grid.labels]
    return found


def sweep(
    shop: Workshop,
    grid: Grid,
    *,
    show: Callable[[float, str], None] = lambda share, words: None,
) -> list[dict[str, Any]]:
    """Do what is missing of `grid`, and give every row: knob, value, seed and MEASURES.

    Rows of the knob "steps" are measurements of the runs with the settings' own beta on their way. The SFT model itself
    is measured as steps 0, once for each seed.
    """
    path, recipe = shop.out / ROWS_FILE, _recipe_digest(shop, grid)
    everything = runs(grid)
    wanted = {(run.knob, run.value, run.seed) for run in everything}
    if grid.settings.beta in grid.betas:  # whose runs the steps are read off
        wanted |= {("steps", float(n), seed) for n in _all_steps(grid) for seed in grid.seeds}
    known = {(row["knob"], row["value"], row["seed"]): row for row in _read(path) if row["recipe"] == recipe}
    rows = [row for key, row in known.items() if key in wanted]
    sft = shop.load(SFT_FILE)[0]
    for position, run in enumerate(everything):
        if any(row["knob"] == run.knob and (row["value"], row["seed"]) == run[1:] for row in rows):
            continue

        def on_log(log: ppo.Log, position: int = position, run: Run = run) -> None:
            share = (position + log.iteration / grid.settings.n_iterations) / len(everything)
            reached = f"reward {log.reward:+.2f}, KL {log.kl_nats:.1f} nats"
            show(share, f"{run.knob} {run.value:g}, seed {run.seed}: {reached}")

        fresh = [{"recipe": recipe, **row} for row in _rows_of(shop, grid, run, sft, on_log)]
        _append(path, fresh)
        rows += fresh
    return rows


def _all_steps(grid: Grid) -> tuple[int, ...]:
    return (0, *grid.steps, grid.settings.n_iterations)


def _recipe_digest(shop: Workshop, grid: Grid) -> str:
    """Of what all rows have in common: a longer list of values or seeds only adds rows."""
    common = {
        "sft_sha256": sha256_of(shop.out / SFT_FILE),
        "settings": dataclasses.asdict(grid.settings),
        "steps": grid.steps,
        "plan": dataclasses.asdict(shop.plan),
        "n_completions": grid.n_completions,
        "max_tokens": grid.max_tokens,
    }
    return hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that an interruption broke off


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add a line for each row, after the end of a line that an interruption broke off."""
    broken = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * broken + "".join(json.dumps(row) + "\n" for row in rows))


def _rows_of(
    shop: Workshop, grid: Grid, run: Run, sft: Llama, on_log: Callable[[ppo.Log], None]
) -> Iterator[dict[str, Any]]:
    settings = dataclasses.replace(grid.settings, seed=run.seed)
    if run.knob == "beta":
        settings = dataclasses.replace(settings, beta=run.value)
        reward = align.load_reward(shop)
    else:
        reward = _reward_from_few(shop, int(run.value), run.seed)
    is_usual = run.knob == "beta" and run.value == grid.settings.beta
    on_the_way: dict[int, dict[str, float]] = {}

    def on_policy(n_done: int, policy: Llama) -> None:
        if is_usual and n_done in grid.steps:
            on_the_way[n_done] = measure(shop, policy, sft, grid, run.seed)

    if is_usual:
        on_the_way[0] = measure(shop, sft, sft, grid, run.seed)
    policy, _ = ppo.optimise(sft, reward, align.ppo_prompts(shop), settings, on_log=on_log, on_policy=on_policy)
    last = measure(shop, policy, sft, grid, run.seed)
    for n_done, measured in on_the_way.items():
        yield {"knob": "steps", "value": float(n_done), "seed": run.seed, **measured}
    if is_usual:
        yield {"knob": "steps", "value": float(settings.n_iterations), "seed": run.seed, **last}
    yield {**run._asdict(), "value": float(run.value), **last}


def _reward_from_few(shop: Workshop, n: int, seed: int) -> RewardModel:
    """A reward model from the labels of `n` prompts, which ones depends on `seed`; as many steps as one from all."""
    written, unseen = align.collected(shop)
    labelled = [one for one in written if align.ranked(shop, [one])]
    chosen = np.random.default_rng([seed, n]).permutation(len(labelled))[:n]
    passes = max(1, round(shop.plan.reward_passes * len(labelled) / max(1, len(chosen))))
    model, _ = align.reward_from(shop, [labelled[i] for i in chosen], unseen, passes=passes)
    return model.eval()


@torch.no_grad()
def measure(shop: Workshop, policy: Llama, sft: Llama, grid: Grid, seed: int) -> dict[str, float]:
    """What a policy does: MEASURES.

    `score` is the annotator's mean for held-out requests; `kl_nats` the KL to the SFT model of a whole answer to them,
    estimated from the answers; `entropy_bits` the mean token entropy of completions of Experiment 3's prompt;
    `tf_idf_cosine` the mean cosine of completions of Experiment 2's; `distinct_openings` how many different first three
    words those have, of `grid.n_completions`, and `equal_openings` the share of pairs of them with the same.
    """
    generator = torch.Generator(shop.device).manual_seed(seed)
    semantic, syntactic = PROMPTS_OF_THE_EXPERIMENTS
    about = align.judged(shop, policy, seed=seed, max_tokens=grid.settings.max_tokens)
    drawn = {}
    for prompt in (semantic, syntactic):
        ids = [[BOS, *shop.tokenizer.encode(prompt)]] * grid.n_completions
        drawn[prompt] = ppo.answer(policy, ids, max_tokens=grid.max_tokens, generator=generator)
    _, entropies, _ = ppo.compare(policy, sft, *drawn[syntactic])
    texts = [shop.tokenizer.decode(sequence[len(sequence) - n :]) for sequence, n in zip(*drawn[semantic], strict=True)]
    first_words = [" ".join(text.split()[:3]) for text in texts]
    return {
        "score": about["score"],
        "kl_nats": _kl_of_answers(shop, policy, sft, generator, grid.settings.max_tokens),
        "entropy_bits": float(np.mean(entropies)),
        "tf_idf_cosine": mean_cosine(tf_idf({"policy": texts})["policy"]).summary.mean,
        "distinct_openings": float(len(set(first_words))),
        "equal_openings": equal_share(first_words),
    }


def _kl_of_answers(shop: Workshop, policy: Llama, sft: Llama, generator: torch.Generator, max_tokens: int) -> float:
    rng = np.random.default_rng([shop.plan.seed, 7])
    asked = shop.requests(shop.unseen, min(64, shop.plan.n_held_out), rng)
    prompts = [[BOS, *shop.ids(request)] for request in asked]
    answers = ppo.answer(policy, prompts, max_tokens=max_tokens, generator=generator)
    kl_nats, _, _ = ppo.compare(policy, sft, *answers)
    return float(np.mean(kl_nats))


def equal_share(values: Sequence[str]) -> float:
    """The share of pairs i != j whose values are equal: unbiased, 0 where all differ, 1 where none does.

    Three of one and one of another: 3 * 2 of 4 * 3 pairs.

    >>> equal_share(["a", "a", "a", "b"])
    0.5
    """
    n = len(values)
    return sum(count * (count - 1) for count in collections.Counter(values).values()) / (n * (n - 1))


class Point(NamedTuple):
    """Mean over seeds of one measure at one value of one knob, with its 95 % t interval; nan for a single seed."""

    knob: str
    value: float
    measure: str
    mean: float
    low: float
    high: float
    n_seeds: int


def summarize_rows(rows: Sequence[dict[str, Any]]) -> list[Point]:
    """Every knob, value and measure, in order."""
    groups: dict[tuple[int, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((KNOBS.index(row["knob"]), row["value"]), []).append(row)
    points = []
    for (knob, value), some in sorted(groups.items(), key=lambda item: item[0]):
        for name in MEASURES:
            mean, low, high = mean_interval([row[name] for row in some])
            points.append(Point(KNOBS[knob], value, name, mean, low, high, len(some)))
    return points


HEADINGS = {
    "score": "annotator's score",
    "kl_nats": "KL of an answer, nats",
    "entropy_bits": "token entropy, bits",
    "tf_idf_cosine": "TF-IDF cosine",
    "distinct_openings": "distinct openings",
    "equal_openings": "pairs of equal openings",
}


def table(points: Sequence[Any]) -> str:
    """Markdown: a row for each value of each knob."""
    lines = [f"| knob | value | seeds | {' | '.join(HEADINGS.values())} |", f"|{'---|' * (3 + len(HEADINGS))}"]
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for point in points:
        rows.setdefault((point.knob, point.value), {})[point.measure] = point
    for (knob, value), row in rows.items():
        cells = [f"{p.mean:.3g} ({p.low:.3g} to {p.high:.3g})" for p in (row[name] for name in HEADINGS)]
        lines.append(f"| {knob} | {value:g} | {row['score'].n_seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)
