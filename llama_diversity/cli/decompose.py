"""`llamadiv decompose`: how much of a loss is the weights', how much the prompt format's, and of what else is named?"""

from __future__ import annotations

from typing import Any

import click

from llama_diversity.cli.arms import typed_pair
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.options import template_arg_option
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.compare.study import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.decompose.study import decompose_of
from llama_diversity.studies.prompts import Prompts, shipped
from llama_diversity.studies.words import template_args_of


@click.command()
@click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]")
@click.option("--base", shell_complete=complete_model, help="The base model.")
@click.option("--aligned", shell_complete=complete_model, help="The aligned model; its chat template is the factor.")
@click.option(
    "--quantised",
    nargs=2,
    metavar="BASE ALIGNED",
    shell_complete=complete_model,
    help="A further factor: these files of the same two models, at another quantisation.",
)
@click.option(
    "--starts",
    nargs=2,
    metavar="ONE OTHER",
    help="In place of the template, which only chat prompts have: what raw prompts begin with, as in --start.",
)
@click.option("--sampler", metavar="T=0.7[,...]", help="A further factor: this sampler, or that of the options below.")
@template_arg_option
@prompts_options
@click.option("-n", "n", type=int, default=N_SAMPLES, show_default=True, help="Generations of each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest generation.")
@click.option("--prefix", type=click.IntRange(1), help="Judge the first so many tokens only.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@study_options
def decompose(
    *,
    pair: str | None,
    base: str | None,
    aligned: str | None,
    template_args: tuple[str, ...],
    named: Prompts | None,
    work: Work,
    **asked: Any,
) -> None:
    """How much of the loss of diversity is the weights', and how much the prompt format's?

    Draws all four combinations of the base and the aligned weights, asked raw and through the aligned model's chat
    template, and tells their effects apart. --quantised and --sampler add a factor each, to eight or sixteen arms.
    --starts asks raw only, and tells what prompts begin with in place of the template.

    \b
    Examples:
      llamadiv decompose --pair tiny --sampler T=0.7
      llamadiv decompose --base b-Q8_0.gguf --aligned a-Q8_0.gguf --quantised b-Q4_K_M.gguf a-Q4_K_M.gguf
    """
    choice, args = Choice(typed_pair(pair, base, aligned), base, aligned), template_args_of(template_args)
    work.run_arms(*decompose_of(choice, named or shipped(), work.drawing, work.session, template_args=args, **asked))
