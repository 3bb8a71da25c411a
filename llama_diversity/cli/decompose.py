"""`llamadiv decompose`: how much of a loss is the weights', how much the prompt format's, and of what else is named?"""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import typed_pair
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, common_options, drawing_options, layout_options, template_arg_option
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import give
from llama_diversity.engines import EngineOptions
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.arms import Arm, check_different, resolve_arms
from llama_diversity.studies.compare.specs import check_cuts, parse_sampler
from llama_diversity.studies.compare.study import (
    MAX_TOKENS,
    N_SAMPLES,
    check_pattern,
    resolve_spec,
)
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.decompose.study import Decompose, _check_starts, _words, combinations
from llama_diversity.studies.prompts import read_prompts
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Drawing
from llama_diversity.studies.study import check_n
from llama_diversity.studies.words import template_args_of, template_words


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
@figure_options
@drawing_options
@layout_options
@common_options
def decompose(
    *,
    pair: str | None,
    base: str | None,
    aligned: str | None,
    quantised: tuple[str, str] | None,
    starts: tuple[str, str] | None,
    sampler: str | None,
    template_args: tuple[str, ...],
    prompts: tuple[str, ...],
    file: str | None,
    prompt_set: str | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    valid: str | None,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
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
    check_n(n_samples, 2, "generations")
    check_pattern(valid)
    pair = typed_pair(pair, base, aligned)
    models = resolve_arms(pair, base, aligned)
    check_different([resolve_model(model, common=common) for model in models])
    cut = {} if sampler is None else parse_sampler(sampler)
    check_cuts("--sampler", cut, drawing.sampler)
    _check_starts(starts, template_args)
    args = template_args_of(template_args)
    specs = combinations(models, cut, quantised, args, starts)
    one = Decompose(
        specs,
        *read_prompts(prompts, file, prompt_set),
        n_samples,
        max_tokens,
        prefix,
        valid=valid,
        is_quantised=quantised is not None,
        has_starts=starts is not None,
    )
    named = {"--pair": pair, "--base": base, "--aligned": aligned, "--sampler": sampler}
    words = [*_words(named, {"--quantised": quantised, "--starts": starts}), *template_words(args)]
    arms: list[Arm] = [resolve_spec(spec, common) for spec in specs]
    make_folder(out)
    with conducted([one], arms, words, drawing=drawing, layout=layout, common=common) as (run_id, [drawn]):
        result = one.shown(drawn)
    give(result, out=out, run_id=run_id, common=common)
