"""`llamadiv decan`: what a reader of all other answers still learns from one, and how likely answers are."""

from __future__ import annotations

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.compare.specs import specs_of
from llama_diversity.studies.compare.study import arms_of
from llama_diversity.studies.decan.analysis import MAX_TOKENS, N_ANSWERS, PERMUTATIONS
from llama_diversity.studies.decan.gathering import FORMS
from llama_diversity.studies.decan.study import Decan
from llama_diversity.studies.prompts import Prompts, shipped
from llama_diversity.studies.samplers import check_cuts


@click.command()
@arms_options
@click.option("--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm as in `compare`.")
@prompts_options
@click.option("--scorer", shell_complete=complete_model, help="Who reads.  [default: the model of the first arm]")
@click.option("-n", type=int, default=N_ANSWERS, show_default=True, help="Answers to each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest answer.")
@click.option("--permutations", type=int, default=PERMUTATIONS, show_default=True, help="Orders, or a few more.")
@click.option(
    "--form", type=click.Choice(FORMS), help="How answers are laid out.  [default: listed where an arm chats]"
)
@click.option("--cut", type=int, help="Tokens of an answer that are read.  [default: --max-tokens, or what fits]")
@study_options
def decan(*, choice: Choice, typed: tuple[str, ...], named: Prompts | None, work: Work, **settings: object) -> None:
    """Does a reader who has seen the other answers to a prompt still learn something from one more?

    A scorer reads the answers in random orders. a_n: bits per byte of the last behind all others; C: how likely answers
    are behind the prompt alone; their product D (Decan) beside them, which alone would mix the two up.

    \b
    Examples:
      llamadiv decan --ladder tiny
      llamadiv decan --arm cold=tiny-base,T=0.7 --arm warm=tiny-base --scorer tiny-aligned
    """
    specs = specs_of(choice, typed)
    for spec in specs:
        check_cuts(f"--arm {spec.name}", spec.sampler, work.drawing.sampler)
    texts, words_of, source = named or shipped()
    one = Decan(specs, texts, words_of, prompt_source=dict(source), seed=work.drawing.seed, **settings)  # type: ignore[arg-type]
    one.check_settings()
    work.run_arms(one, *arms_of(specs, choice, work.session, is_typed=bool(typed)))
