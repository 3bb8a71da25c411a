"""`llamadiv lab`: grow small models on this machine, stage by stage."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.options import Common, common_options
from llama_diversity.cli.progress import worded_progress
from llama_diversity.errors import LlamadivError

PREFERENCES, ITERATIONS, BETA = 2000, 120, 0.01  # what the tiny pair was aligned with
EXTRA = ("torch", "sentencepiece", "gguf")


@click.group()
def lab() -> None:
    """Grow small models of your own, to see what each stage of training does to diversity."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise LlamadivError(f"The lab needs {', '.join(missing)}. Install it: pip install 'llama-diversity[lab]'")


corpus_option = click.option(
    "--corpus", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder with the text files."
)
out_option = click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for models and checkpoints."
)
tokens_option = click.option(
    "--tokens", type=click.IntRange(1), default=30_000_000, show_default=True, help="How much to train, in tokens."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True, help="Where."
)
fuse_option = click.option(
    "--fuse", is_flag=True, help="torch.compile: a minute once, then a third faster on a CPU; needs a C++ compiler."
)
seed_option = click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of weights and order.")


@lab.command()
@corpus_option
@out_option
@tokens_option
@device_option
@fuse_option
@seed_option
@common_options
def base(*, corpus: Path, out: Path, tokens: int, device: str, fuse: bool, seed: int, common: Common) -> None:
    """Grow a base model of 3.4 million parameters; the same command continues what was cut short.

    Two CPU cores do 2,000 to 6,000 tokens a second: five million tokens, one pass through the text, take a quarter of
    an hour to three quarters.

    \b
    Example:
      llamadiv lab base --corpus texts --out grown --tokens 5000000
    """
    report = _grow_base(corpus, out, tokens, device, seed, common, fuse=fuse)
    if common.json:
        click.echo(json.dumps(report))
    else:
        _say_base(report)
        _say_written(out, "tiny-base-f16.gguf")


@lab.command()
@corpus_option
@out_option
@click.option(
    "--preferences", type=click.IntRange(20), default=PREFERENCES, show_default=True, help="Pairs of answers."
)
@click.option("--iterations", type=click.IntRange(1), default=ITERATIONS, show_default=True, help="Of PPO.")
@click.option("--beta", type=click.FloatRange(0), default=BETA, show_default=True, help="Price of a nat of KL.")
@device_option
@fuse_option
@seed_option
@common_options
def align(
    *,
    corpus: Path,
    out: Path,
    preferences: int,
    iterations: int,
    beta: float,
    device: str,
    fuse: bool,
    seed: int,
    common: Common,
) -> None:
    """Align the base model in --out: fine-tuning, preferences, a reward model, PPO.

    Some forty minutes on two CPU cores; the same command continues what was cut short.

    \b
    Example:
      llamadiv lab align --corpus texts --out grown
    """
    report = _align(corpus, out, preferences, iterations, beta, device, seed, common, fuse=fuse)
    if common.json:
        click.echo(json.dumps(report))
    else:
        _say_aligned(report)
        _say_written(out, "tiny-aligned-f16.gguf")


@lab.command()
@corpus_option
@out_option
@tokens_option
@device_option
@fuse_option
@seed_option
@common_options
def grow(*, corpus: Path, out: Path, tokens: int, device: str, fuse: bool, seed: int, common: Common) -> None:
    """Grow the whole pair from text files: what `base` and `align` do, with their defaults.

    \b
    Example:
      llamadiv lab grow --corpus texts --out grown
    """
    first = _grow_base(corpus, out, tokens, device, seed, common, fuse=fuse)
    second = _align(corpus, out, PREFERENCES, ITERATIONS, BETA, device, seed, common, fuse=fuse)
    if common.json:
        click.echo(json.dumps({"base": first, "aligned": second}))
    else:
        _say_base(first)
        _say_aligned(second)
        _say_written(out, "tiny-aligned-f16.gguf")


@lab.command()
@corpus_option
@out_option
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs for each value.")
@click.option("--iterations", type=click.IntRange(1), default=60, show_default=True, help="Of PPO, in each run.")
@device_option
@common_options
def sweep(*, corpus: Path, out: Path, seeds: int, iterations: int, device: str, common: Common) -> None:
    """Turn the knobs of RLHF and measure what they do to diversity: beta, steps, preference labels.

    Needs the stages of `lab align` in --out. There are ten runs for each seed, and the same command continues. Writes a
    table, the rows and a figure.

    \b
    Example:
      llamadiv lab sweep --corpus texts --out grown
    """
    from llama_diversity.lab import align as stages
    from llama_diversity.lab import sweep as knobs

    grid = knobs.Grid(seeds=tuple(range(1, seeds + 1)))
    grid = dataclasses.replace(
        grid,
        settings=dataclasses.replace(grid.settings, n_iterations=iterations),
        steps=tuple(step for step in grid.steps if step < iterations),
    )
    with worded_progress(common, "sweep") as show:
        show(0.0, "choosing documents")
        shop = stages.Workshop(corpus, out, stages.plan_of(out), device=device)
        points = knobs.summarize_rows(knobs.sweep(shop, grid, show=show))
    _write_sweep(out, points, seeds)
    if common.json:
        click.echo(json.dumps([point._asdict() for point in points]).replace("NaN", "null"))
        return
    click.echo(_sweep_table(points))
    click.echo(f"\nWritten: {out / 'sweep.svg'}, {out / 'sweep.md'}")


_MEASURES = {
    "score": "annotator's score",
    "kl_nats": "KL of an answer, nats",
    "entropy_bits": "token entropy, bits",
    "tf_idf_cosine": "TF-IDF cosine",
    "distinct_openings": "distinct openings",
    "equal_openings": "pairs of equal openings",
}


def _sweep_table(points: Sequence[Any]) -> str:
    """Markdown: a row for each value of each knob."""
    lines = [f"| knob | value | seeds | {' | '.join(_MEASURES.values())} |", f"|{'---|' * (3 + len(_MEASURES))}"]
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for point in points:
        rows.setdefault((point.knob, point.value), {})[point.measure] = point
    for (knob, value), row in rows.items():
        cells = [f"{p.mean:.3g} ({p.low:.3g} to {p.high:.3g})" for p in (row[name] for name in _MEASURES)]
        lines.append(f"| {knob} | {value:g} | {row['score'].n_seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _write_sweep(out: Path, points: Sequence[Any], seeds: int) -> None:
    from llama_diversity.render import charts
    from llama_diversity.render.files import write_whole

    panels: dict[tuple[str, str], list[charts.SweepPoint]] = {}
    for point in points:
        panel = panels.setdefault((point.knob, _MEASURES[point.measure]), [])
        panel.append(charts.SweepPoint(point.value, point.mean, point.low, point.high))
    title = "What the knobs of RLHF do to a model of 3.4 million parameters"
    figure = charts.sweep_panels(panels, title=title, subtitle=f"mean of {seeds} seeds, bars: 95 % t interval")
    for kind in ("svg", "png"):
        charts.save_chart(figure, out / f"sweep.{kind}")
    write_whole(out / "sweep.md", _sweep_table(points) + "\n")


def _grow_base(
    corpus: Path, out: Path, tokens: int, device: str, seed: int, common: Common, *, fuse: bool
) -> dict[str, Any]:
    from llama_diversity.lab.base import grow
    from llama_diversity.lab.pretrain import Schedule

    schedule = Schedule(tokens, seed=seed)
    with worded_progress(common, "base") as show:
        return grow(
            corpus,
            out,
            schedule=schedule,
            device=device,
            fuse=fuse,
            on_stage=lambda words: show(0.0, words),
            on_report=_shown(show, schedule.rows_a_step),
        )


def _align(
    corpus: Path,
    out: Path,
    preferences: int,
    iterations: int,
    beta: float,
    device: str,
    seed: int,
    common: Common,
    *,
    fuse: bool,
) -> dict[str, Any]:
    from llama_diversity.lab import align as stages
    from llama_diversity.lab.ppo import Log, Settings

    settings = Settings(n_iterations=iterations, beta=beta, max_tokens=stages.MAX_TOKENS, seed=seed)
    plan = stages.Plan(n_preferences=preferences, ppo=settings, seed=seed)
    plan = dataclasses.replace(plan, sft=dataclasses.replace(plan.sft, seed=seed))
    with worded_progress(common, "align") as show:
        show(0.0, "choosing documents")
        shop = stages.Workshop(corpus, out, plan, device=device)
        stages.fine_tune(shop, on_report=_shown(show, plan.sft.rows_a_step), fuse=fuse)
        reward = stages.learn_reward(shop, show=show)

        def on_log(log: Log) -> None:
            words = f"PPO: reward {log.reward:+.2f}, KL {log.kl_nats:.1f} nats, {log.entropy_bits:.2f} bits a token"
            show((log.iteration + 1) / iterations, words)

        return stages.reinforce(shop, reward, on_log=on_log)


def _shown(show: Callable[[float, str], None], rows_a_step: int) -> Callable[[Any], None]:
    """A hearer of training reports that shows them."""
    from llama_diversity.lab.transformer import Architecture

    def on_report(report: Any) -> None:
        n_left = (report.n_steps - report.step) * rows_a_step * Architecture.n_ctx
        minutes_left = n_left / report.tokens_per_second / 60
        show(report.step / report.n_steps, f"{report.bits_per_token:.2f} bits a token, {minutes_left:.0f} min left")

    return on_report


def _say_base(report: Mapping[str, Any]) -> None:
    for kind, quality in report["held_out"].items():
        click.echo(
            f"{kind:<14}{quality['bits_per_byte']:6.2f} bits a byte, {quality['n_documents']} held-out documents"
        )
    for name, bits_per_byte in report["held_out_baselines_bits_per_byte"].items():
        click.echo(f"{name:<14}{bits_per_byte:6.2f} bits a byte, for comparison")


def _say_aligned(report: Mapping[str, Any]) -> None:
    reward = report["reward_model"]
    click.echo(f"reward model  right about {reward['held_out_accuracy']:.1%} of {reward['n_held_out']} held-out pairs")
    for stage, row in report["held_out_judgement"].items():
        click.echo(f"{stage:<14}score {row['score']:.2f} (se {row['score_se']:.2f}) on {row['n']} held-out requests")


def _say_written(out: Path, file: str) -> None:
    click.echo(f"\nWritten: {out / file}\nTry it:  llamadiv sample -m {out / file} -p 'Grace Hopper was'")
