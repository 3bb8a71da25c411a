"""`llamadiv bench`: how fast this machine samples a model, statistics included."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import click

from llama_diversity.cli.options import (
    Common,
    Drawing,
    common_options,
    layout_options,
    model_option,
    read_text,
    seed_option,
)
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.resolve import resolve_model
from llama_diversity.cli.session import opened, plan_cell
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.records import Cell, Sampler
from llama_diversity.render.jsonl import to_line


@click.command()
@model_option
@click.option("-n", "n_samples", type=click.IntRange(1), default=64, show_default=True, help="How many completions.")
@click.option("--max-tokens", type=click.IntRange(1), default=64, show_default=True, help="Longest completion.")
@click.option("-p", "--prompt", default="Once upon a time", show_default=True, help="What to continue.")
@seed_option
@layout_options
@common_options
def bench(
    *, model: str, n_samples: int, max_tokens: int, prompt: str, seed: int, layout: EngineOptions, common: Common
) -> None:
    """Measure the speed of sampling a model, with all token statistics; nothing is stored.

    \b
    Example:
      llamadiv bench -m llama-2-7b --parallel 32 -n 64
    """
    reference = resolve_model(model, common=common)
    with opened(reference, layout, common) as engine:
        cell = plan_cell(
            engine,
            reference,
            engine.prompt(read_text(prompt)),
            arm="bench",
            n=n_samples,
            max_tokens=max_tokens,
            drawing=Drawing(Sampler(), seed),
            layout=layout,
        )
        with progress_line(common, "sampling") as on_progress:
            result = measure(engine, cell, on_progress)
    if common.json:
        click.echo(to_line(result))
    else:
        click.echo(
            f"{result['tokens_per_second']:,.0f} tokens/s: {result['generated_tokens']} tokens in "
            f"{result['seconds']:.2f} s, {result['parallel']} at once; "
            f"{result['decode_share']:.0%} decoding, {result['sampling_share']:.0%} sampling"
        )


def measure(engine: Engine, cell: Cell, on_progress: Callable[[float], None]) -> dict[str, float]:
    """Time the drawing of the whole cell, prompt included; making and freeing the KV cache is a figure of its own."""
    warm_up = dataclasses.replace(cell.recipe, max_tokens=2)
    for _ in engine.sample(warm_up, range(min(2, cell.n))):
        pass
    watch, start = dataclasses.replace(engine.stopwatch), time.perf_counter()
    n_tokens = n_finished = 0
    for step in engine.sample(cell.recipe, range(cell.n)):
        n_tokens += step.n_tokens
        n_finished += len(step.finished)
        on_progress(n_finished / cell.n)
    setup_seconds = engine.stopwatch.setup_seconds - watch.setup_seconds
    seconds = time.perf_counter() - start - setup_seconds
    return {
        "parallel": engine.layout["parallel"],
        "generated_tokens": n_tokens,
        "seconds": seconds,
        "tokens_per_second": n_tokens / seconds,
        "decode_share": (engine.stopwatch.decode_seconds - watch.decode_seconds) / seconds,
        "sampling_share": (engine.stopwatch.sampling_seconds - watch.sampling_seconds) / seconds,
        "setup_seconds": setup_seconds,
    }
