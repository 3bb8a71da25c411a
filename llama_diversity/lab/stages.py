"""The stages of the tiny pair, each from its settings to its report, and what is said of them while they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from llama_diversity.lab import align, base, recipes, sweep
from llama_diversity.lab.ppo import Log, Settings
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.lab.transformer import Architecture
from llama_diversity.lab.workshop import MAX_TOKENS, Plan, Show, Workshop


def grow_base(
    corpus: Path, out: Path, *, tokens: int, device: str, seed: int, fuse: bool, show: Show
) -> dict[str, Any]:
    """A base model from text files; continues what was cut short."""
    schedule = Schedule(tokens, seed=seed)
    return base.grow(
        corpus,
        out,
        schedule=schedule,
        device=device,
        fuse=fuse,
        on_stage=lambda words: show(0.0, words),
        on_report=_heard(show, schedule.rows_a_step),
    )


def align_base(
    corpus: Path,
    out: Path,
    *,
    preferences: int,
    iterations: int,
    beta: float,
    device: str,
    seed: int,
    fuse: bool,
    show: Show,
) -> dict[str, Any]:
    """Fine-tuning, preferences, a reward model and PPO on the base model in `out`; continues what was cut short."""
    settings = Settings(n_iterations=iterations, beta=beta, max_tokens=MAX_TOKENS, seed=seed)
    plan = Plan(n_preferences=preferences, ppo=settings, seed=seed)
    plan = dataclasses.replace(plan, sft=dataclasses.replace(plan.sft, seed=seed))
    show(0.0, "choosing documents")
    shop = Workshop(corpus, out, plan, device=device)
    align.fine_tune(shop, on_report=_heard(show, plan.sft.rows_a_step), fuse=fuse)
    reward = align.learn_reward(shop, show=show)

    def on_log(log: Log) -> None:
        show((log.iteration + 1) / iterations, log.words())

    return align.reinforce(shop, reward, on_log=on_log)


def grow_pair(
    corpus: Path,
    out: Path,
    *,
    tokens: int,
    preferences: int,
    iterations: int,
    beta: float,
    device: str,
    seed: int,
    fuse: bool,
    working: Callable[[str], AbstractContextManager[Show]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both, one after the other."""
    with working("base") as show:
        first = grow_base(corpus, out, tokens=tokens, device=device, seed=seed, fuse=fuse, show=show)
    with working("align") as show:
        second = align_base(
            corpus,
            out,
            preferences=preferences,
            iterations=iterations,
            beta=beta,
            device=device,
            seed=seed,
            fuse=fuse,
            show=show,
        )
    return first, second


def grow_recipes(
    corpus: Path,
    out: Path,
    *,
    beta: float,
    device: str,
    seed: int | None,
    fuse: bool,
    show: Show,
) -> dict[str, Any]:
    """Fine-tuning on narrow and on varied answers, and DPO; needs the stages of `align_base` in `out`, and without
    `seed` has theirs. Continues what was cut short.
    """
    plan = align.plan_of(out)
    show(0.0, "choosing documents")
    shop = Workshop(corpus, out, plan, device=device)
    usual = recipes.Plan(seed=plan.seed if seed is None else seed)
    siblings = recipes.Siblings(shop, dataclasses.replace(usual, dpo=dataclasses.replace(usual.dpo, beta=beta)))
    show(0.0, "choosing answers")
    _, about_sets = siblings.answer_sets()
    stages = {}
    for name in ("narrow", "varied"):
        stages[f"sft-{name}"] = siblings.fine_tune(name, on_report=_heard(show, Schedule.rows_a_step, name), fuse=fuse)
    stages["dpo"] = siblings.prefer(show=show)
    show(1.0, "measuring PPO's model beside them")
    return recipes.report_of(stages, about_sets, siblings.aligned())


def sweep_knobs(
    corpus: Path,
    out: Path,
    *,
    seeds: int,
    iterations: int,
    betas: Sequence[float],
    labels: Sequence[int],
    device: str,
    show: Show,
) -> list[Any]:
    """The points of the knobs of RLHF over so many seeds; needs the stages of `align_base` in `out`.

    Where neither `betas` nor `labels` are named, every knob is turned; else those that are.
    """
    grid = sweep.Grid(seeds=tuple(range(1, seeds + 1)))
    if betas or labels:
        grid = dataclasses.replace(grid, betas=tuple(betas), labels=tuple(labels))
    grid = dataclasses.replace(
        grid,
        settings=dataclasses.replace(grid.settings, n_iterations=iterations),
        steps=tuple(step for step in grid.steps if step < iterations),
    )
    show(0.0, "choosing documents")
    shop = Workshop(corpus, out, align.plan_of(out), device=device)
    return sweep.summarize_rows(sweep.sweep(shop, grid, show=show))


def _heard(show: Show, rows_a_step: int, name: str = "") -> Callable[[Any], None]:
    """A hearer of training reports that shows them, with the name of the stage."""
    head = f"{name}: " if name else ""

    def on_report(report: Any) -> None:
        n_left = (report.n_steps - report.step) * rows_a_step * Architecture.n_ctx
        minutes_left = n_left / report.tokens_per_second / 60
        words = f"{head}{report.bits_per_token:.2f} bits a token, {minutes_left:.0f} min left"
        show(report.step / report.n_steps, words)

    return on_report
