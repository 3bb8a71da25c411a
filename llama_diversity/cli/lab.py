"""`llamadiv lab`: grow small models on this machine, stage by stage."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import click

from llama_diversity.cli.options import Common, common_options
from llama_diversity.cli.progress import worded_progress
from llama_diversity.errors import LlamadivError

EXTRA = ("torch", "sentencepiece", "gguf")


@click.group()
def lab() -> None:
    """Grow small models of your own, to see what each stage of training does to diversity."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise LlamadivError(f"The lab needs {', '.join(missing)}. Install it: pip install 'llama-diversity[lab]'")


@lab.command()
@click.option(
    "--corpus", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder with the text files."
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for model and checkpoint."
)
@click.option(
    "--tokens", type=click.IntRange(1), default=30_000_000, show_default=True, help="How much to train, in tokens."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True, help="Where."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of weights and order.")
@common_options
def base(*, corpus: Path, out: Path, tokens: int, device: str, seed: int, common: Common) -> None:
    """Grow a base model of 3.4 million parameters; the same command continues what was cut short.

    Two CPU cores do about 6,000 tokens a second: five million tokens, one pass through the text, take a quarter of an
    hour.

    \b
    Example:
      llamadiv lab base --corpus texts --out grown --tokens 5000000
    """
    from llama_diversity.lab.base import MODEL_FILE, grow
    from llama_diversity.lab.pretrain import Report, Schedule
    from llama_diversity.lab.transformer import Architecture

    schedule = Schedule(tokens, seed=seed)
    with worded_progress(common, "base") as show:

        def on_report(report: Report) -> None:
            n_left = (report.n_steps - report.step) * schedule.rows_a_step * Architecture.n_ctx
            minutes_left = n_left / report.tokens_per_second / 60
            show(report.step / report.n_steps, f"{report.bits_per_token:.2f} bits a token, {minutes_left:.0f} min left")

        report = grow(
            corpus, out, schedule=schedule, device=device, on_stage=lambda words: show(0.0, words), on_report=on_report
        )
    if common.json:
        click.echo(json.dumps(report))
        return
    for kind, quality in report["held_out"].items():
        click.echo(
            f"{kind:<14}{quality['bits_per_byte']:6.2f} bits a byte, {quality['n_documents']} held-out documents"
        )
    for name, bits_per_byte in report["held_out_baselines_bits_per_byte"].items():
        click.echo(f"{name:<14}{bits_per_byte:6.2f} bits a byte, for comparison")
    click.echo(f"\nWritten: {out / MODEL_FILE}\nTry it:  llamadiv sample -m {out / MODEL_FILE} -p 'Grace Hopper was'")
