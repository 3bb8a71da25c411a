"""`llamadiv bench`: how fast this machine samples a model, statistics included."""

from __future__ import annotations

import click

from llama_diversity.cli.options import common_options, layout_options, model_option, read_text, seed_option
from llama_diversity.cli.output import Output, print_json
from llama_diversity.studies.session import Session
from llama_diversity.studies.speed import speed_of, words_of


@click.command()
@model_option
@click.option("-n", "n_samples", type=click.IntRange(1), default=64, show_default=True, help="How many completions.")
@click.option("--max-tokens", type=click.IntRange(1), default=64, show_default=True, help="Longest completion.")
@click.option("-p", "--prompt", default="Once upon a time", show_default=True, help="What to continue.")
@seed_option
@layout_options
@common_options
def bench(
    *, model: str, n_samples: int, max_tokens: int, prompt: str, seed: int, session: Session, output: Output
) -> None:
    """Measure the speed of sampling a model, with all token statistics; nothing is stored.

    \b
    Example:
      llamadiv bench -m llama-2-7b --parallel 32 -n 64
    """
    text = read_text(prompt)
    result = speed_of(session.model(model), text, n=n_samples, max_tokens=max_tokens, seed=seed, session=session)
    print_json(result) if output.json else click.echo(words_of(result))
