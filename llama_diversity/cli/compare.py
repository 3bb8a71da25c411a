"""`llamadiv compare`: which of several arms is more diverse, over one or many prompts; it says when it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, common_options, drawing_options, layout_options
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import give
from llama_diversity.engines import EngineOptions
from llama_diversity.studies.arms import Arm, Choice, resolve_choice
from llama_diversity.studies.compare.specs import ArmSpec, check_cuts, parse_arm
from llama_diversity.studies.compare.study import MAX_TOKENS, N_SAMPLES, Compare, check_pattern, resolve_spec
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.prompts import read_prompts
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Drawing
from llama_diversity.studies.study import check_n

# ---- the command


@click.command()
@arms_options
@click.option("--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm of your own; see above.")
@prompts_options
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Generations of each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest generation.")
@click.option("--prefix", type=click.IntRange(1), help="Judge the first so many tokens only.")
@click.option(
    "--equal-n", is_flag=True, help="Of arms of different n take the first of each, as many as the smallest has."
)
@click.option("--joint", is_flag=True, help="Report arms that differ in more than one part; the effect is a joint one.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@figure_options
@drawing_options
@layout_options
@common_options
def compare(
    *,
    choice: Choice,
    typed: tuple[str, ...],
    prompts: tuple[str, ...],
    file: str | None,
    prompt_set: str | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    equal_n: bool,
    joint: bool,
    valid: str | None,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Which of two or more arms is more diverse, and by how much? With intervals that hold, or the reason for none.

    An arm is NAME=MODEL and what differs, by commas: chat (ask through the chat template), template=MODEL (another
    model's), arg.KEY=VALUE (a value for it, like arg.enable_thinking=false: it does what --template-arg does in other
    commands), start=bos (what a raw prompt begins with), T=0.8, top_k=40, top_p=0.9, min_p=0.05, n=100, seed=1, and
    last system=TEXT. Arms that differ in the seed alone are one recipe twice: what `compare` says of those is chance.

    \b
    Examples:
      llamadiv compare --ladder tiny
      llamadiv compare --arm cold=tiny-base,T=0.7 --arm warm=tiny-base -p "Grace Hopper was"
    """
    check_n(n_samples, 2, "generations")
    check_pattern(valid)
    specs, arms = _arms(choice, typed, common)
    for spec in specs:
        check_cuts(f"--arm {spec.name}", spec.sampler, drawing.sampler)
    texts, words_of = read_prompts(prompts, file, prompt_set)
    one = Compare(specs, texts, words_of, n_samples, max_tokens, prefix, equal_n, joint, valid)
    named = choice.words() if not typed else [part for spec in specs for part in ("--arm", spec.word())]
    make_folder(out)
    with conducted([one], arms, named, drawing=drawing, layout=layout, common=common) as (run_id, [drawn]):
        result = one.shown(drawn)
    give(result, out=out, run_id=run_id, common=common)


def _arms(choice: Choice, typed: Sequence[str], common: Common) -> tuple[tuple[ArmSpec, ...], list[Arm]]:
    """The arms by --arm, or the raw models of a pair or ladder."""
    if not typed:
        found = resolve_choice(choice, common)
        return tuple(ArmSpec(arm.name, arm.model.reference) for arm in found), found
    if any(choice):
        raise click.UsageError("Name the arms by --arm, or by --pair, --base and --aligned, or --ladder.")
    specs = tuple(parse_arm(one) for one in typed)
    names = [spec.name for spec in specs]
    if len(specs) < 2 or len(set(names)) < len(names):
        raise click.UsageError("A comparison needs two arms or more, each with a name of its own: --arm NAME=MODEL.")
    return specs, [resolve_spec(spec, common) for spec in specs]
