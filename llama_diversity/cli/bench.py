"""`llamadiv bench`: how fast this machine samples a model, statistics included."""

from __future__ import annotations

import click

from llama_diversity.cli.options import Common, common_options, layout_options, model_option, read_text, seed_option
from llama_diversity.cli.progress import progress_line
from llama_diversity.engines import EngineOptions
from llama_diversity.records import Sampler
from llama_diversity.render.jsonl import to_line
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.session import Drawing, opened, plan_cell
from llama_diversity.studies.speed import measure


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
