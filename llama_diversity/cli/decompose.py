"""`llamadiv decompose`: how much of a loss is the weights', how much the prompt format's, and of what else is named?"""

from __future__ import annotations

import click

from llama_diversity.cli.arms import typed_pair
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.options import template_arg_option
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice, check_different, resolve_arms
from llama_diversity.studies.compare.study import MAX_TOKENS, N_SAMPLES, resolve_specs
from llama_diversity.studies.decompose.study import Decompose, combinations, factor_words
from llama_diversity.studies.prompts import Prompts, shipped
from llama_diversity.studies.samplers import check_cuts, parse_sampler
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
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Generations of each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest generation.")
@click.option("--prefix", type=click.IntRange(1), help="Judge the first so many tokens only.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@study_options
def decompose(
    *,
    pair: str | None,
    base: str | None,
    aligned: str | None,
    quantised: tuple[str, str] | None,
    starts: tuple[str, str] | None,
    sampler: str | None,
    template_args: tuple[str, ...],
    named: Prompts | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    valid: str | None,
    work: Work,
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
    pair = typed_pair(pair, base, aligned)
    models = resolve_arms(pair, base, aligned)
    cut = {} if sampler is None else parse_sampler(sampler)
    check_cuts("--sampler", cut, work.drawing.sampler)
    args = template_args_of(template_args)
    specs = combinations(models, cut, quantised, args, starts)
    texts, words_of, source = named or shipped()
    one = Decompose(
        specs,
        texts,
        words_of,
        n_samples,
        max_tokens,
        prefix,
        valid=valid,
        is_quantised=quantised is not None,
        has_starts=starts is not None,
        prompt_source=dict(source),
    )
    one.check_settings()
    check_different([work.session.model(model) for model in models])
    arms = resolve_specs(specs, work.session)
    words = [*Choice(pair, base, aligned).words(), *factor_words(sampler, quantised, args, starts)]
    work.run_arms(one, arms, words)
