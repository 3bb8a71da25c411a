"""`llamadiv lab`: grow small models on this machine, stage by stage, and blend two."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.options import Command, common_options, with_options
from llama_diversity.cli.output import Output
from llama_diversity.installation import require_extra
from llama_diversity.render import lab_pages as pages
from llama_diversity.studies.session import Session

PREFERENCES, ITERATIONS, BETA = 2000, 120, 0.05
EXTRA = ("torch", "sentencepiece", "gguf")


@click.group()
@click.pass_context
def lab(context: click.Context) -> None:
    """Grow small models of your own, to see what each stage of training does to diversity."""
    require_extra("lab", "The lab", ["gguf"] if context.invoked_subcommand == "blend" else EXTRA)


_folder = click.Path(file_okay=False, path_type=Path)
_PLACE = [
    click.option("--corpus", required=True, type=_folder, help="Folder with the text files."),
    click.option("--out", required=True, type=_folder, help="Folder for models and checkpoints."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True, help="Where."
    ),
]
tokens_option = click.option(
    "--tokens", type=click.IntRange(1), default=50_000_000, show_default=True, help="How much to train, in tokens."
)
fuse_option = click.option(
    "--fuse", is_flag=True, help="torch.compile first, a minute once; try whether it pays. Needs a C++ compiler."
)
seed_option = click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of weights and order.")


def place_options(command: Command) -> Command:
    """Add the folders and the device that every stage needs."""
    decorated: Command = with_options(command, _PLACE)
    return decorated


@lab.command()
@place_options
@tokens_option
@fuse_option
@seed_option
@common_options
def base(*, corpus: Path, out: Path, session: Session, output: Output, **how: Any) -> None:
    """Grow a base model of 3.4 million parameters; the same command continues what was cut short.

    Two CPU cores do 2,000 to 8,000 tokens a second: six million tokens, one pass through the text, take a quarter of an
    hour to three quarters.

    \b
    Example:
      llamadiv lab base --corpus texts --out grown --tokens 5000000
    """
    from llama_diversity.lab.stages import grow_base

    with session.listener.working("base") as show:
        report = grow_base(corpus, out, **how, show=show)
    _give(output, report, pages.of_base(report), pages.written(out / "tiny-base-f16.gguf"))


@lab.command()
@place_options
@click.option(
    "--preferences",
    type=click.IntRange(20),
    default=PREFERENCES,
    show_default=True,
    help="Prompts whose answers are compared.",
)
@click.option("--iterations", type=click.IntRange(1), default=ITERATIONS, show_default=True, help="Of PPO.")
@click.option("--beta", type=click.FloatRange(0), default=BETA, show_default=True, help="Price of a nat of KL.")
@fuse_option
@seed_option
@common_options
def align(*, corpus: Path, out: Path, session: Session, output: Output, **how: Any) -> None:
    """Align the base model in --out: fine-tuning, preferences, a reward model, PPO.

    Some half an hour on one or two CPU cores; the same command continues what was cut short.

    \b
    Example:
      llamadiv lab align --corpus texts --out grown
    """
    from llama_diversity.lab.stages import align_base

    with session.listener.working("align") as show:
        report = align_base(corpus, out, **how, show=show)
    _give(output, report, pages.of_aligned(report), pages.written(out / "tiny-aligned-f16.gguf"))


@lab.command()
@place_options
@tokens_option
@fuse_option
@seed_option
@common_options
def grow(*, corpus: Path, out: Path, tokens: int, session: Session, output: Output, **how: Any) -> None:
    """Grow the whole pair from text files: what `base` and `align` do, with their defaults.

    \b
    Example:
      llamadiv lab grow --corpus texts --out grown
    """
    from llama_diversity.lab.stages import grow_pair

    usual: dict[str, Any] = {"preferences": PREFERENCES, "iterations": ITERATIONS, "beta": BETA}
    first, second = grow_pair(corpus, out, tokens=tokens, **usual, **how, working=session.listener.working)
    lines = pages.of_base(first), pages.of_aligned(second), pages.written(out / "tiny-aligned-f16.gguf")
    _give(output, {"base": first, "aligned": second}, *lines)


@lab.command()
@place_options
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs for each value.")
@click.option("--iterations", type=click.IntRange(1), default=60, show_default=True, help="Of PPO, in each run.")
@click.option("--beta", "betas", type=click.FloatRange(0), multiple=True, help="Values of beta.  [default: seven]")
@click.option("--labels", type=click.IntRange(20), multiple=True, help="Prompts with labels.  [default: 50, 200, 800]")
@common_options
def sweep(*, corpus: Path, out: Path, seeds: int, session: Session, output: Output, **how: Any) -> None:
    """Turn the knobs of RLHF and measure what they do to diversity: beta, steps, preference labels.

    Needs the stages of `lab align` in --out. There are ten runs for each seed, or as many as --beta and --labels name,
    and the same command continues. Writes a table, the rows and a figure.

    \b
    Examples:
      llamadiv lab sweep --corpus texts --out grown
      llamadiv lab sweep --corpus texts --out grown --beta 0 --beta 0.01 --beta 0.1 --beta 0.3
    """
    from llama_diversity.lab.stages import sweep_knobs
    from llama_diversity.lab.sweep import HEADINGS, table

    with session.listener.working("sweep") as show:
        points = sweep_knobs(corpus, out, seeds=seeds, **how, show=show)
    pages.save_sweep(points, HEADINGS, table(points), out, n_seeds=seeds)
    if output.json:
        click.echo(json.dumps([point._asdict() for point in points]).replace("NaN", "null"))
        return
    click.echo(table(points))
    click.echo(f"\nWritten: {out / 'sweep.svg'}, {out / 'sweep.md'}")


@lab.command()
@click.argument("a", shell_complete=complete_model)
@click.argument("b", shell_complete=complete_model)
@click.option("--alpha", type=float, required=True, help="How much of B: 0 is A, 1 is B; from -0.5 to 1.5.")
@click.option("--shallow", type=float, help="How much in the first block; it grows evenly to --alpha in the last.")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The GGUF file to write.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@common_options
def blend(
    *, a: str, b: str, alpha: float, shallow: float | None, to: Path, force: bool, session: Session, output: Output
) -> None:
    """Write a model between A and B, weight by weight: (1 - alpha) A + alpha B, or beyond them.

    For two files of one shape and vocabulary in F32, F16, BF16 or Q8_0; metadata and chat template are B's. Compare
    blends with the ends that --alpha 0 and 1 write: Q8_0 is quantised anew, so these are not the files themselves.

    \b
    Example:
      llamadiv lab blend tiny-base tiny-aligned --alpha 0.5 --to half.gguf
    """
    from llama_diversity.lab.blend import Rule, blended

    rule = Rule(alpha, shallow)
    with session.listener.working("blending") as show:
        report = blended(session.model(a), session.model(b), rule, to, force=force, show=show)
    output.answer(report, [report["path"]], pages.of_blend(report))


@lab.command()
@place_options
@click.option("--beta", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True,
              help="Of DPO: price of a nat of log-ratio.")  # fmt: skip
@fuse_option
@click.option("--seed", type=click.IntRange(0), help="Of the order of training.  [default: as of the stages in --out]")
@common_options
def recipes(*, corpus: Path, out: Path, session: Session, output: Output, **how: Any) -> None:
    """Grow three siblings of the aligned model: which part of the recipe costs diversity, the data or the algorithm?

    Fine-tuning on a narrow and on a varied set of answers, as many and as long, and DPO on the pairs that PPO's reward
    model learned from. Needs the stages of `lab align` in --out; the same command continues what was cut short.

    \b
    Example:
      llamadiv lab recipes --corpus texts --out grown
    """
    from llama_diversity.lab.stages import grow_recipes

    with session.listener.working("recipes") as show:
        report = grow_recipes(corpus, out, **how, show=show)
    _give(output, report, pages.of_recipes(report, out))


def _give(output: Output, report: Any, *parts: Iterable[str]) -> None:
    click.echo(json.dumps(report) if output.json else "\n".join(line for part in parts for line in part))
