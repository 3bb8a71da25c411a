"""`llamadiv compare`: which of several arms is more diverse, over one or many prompts; it says when it cannot tell."""

from __future__ import annotations

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.compare.specs import specs_of
from llama_diversity.studies.compare.study import MAX_TOKENS, N_SAMPLES, PAIRS, Compare, arms_of
from llama_diversity.studies.prompts import Prompts, shipped
from llama_diversity.studies.samplers import check_cuts


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
@click.option("--reference", metavar="NAME", help="The arm that the others are set against.  [default: the first]")
@click.option(
    "--pairs",
    type=click.Choice(PAIRS),
    default="reference",
    show_default=True,
    help="With the reference, or all.",
)
@click.option("--joint", is_flag=True, help="Report arms that differ in more than one part; the effect is a joint one.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@study_options
def compare(
    *,
    choice: Choice,
    typed: tuple[str, ...],
    named: Prompts | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    equal_n: bool,
    reference: str | None,
    pairs: str,
    joint: bool,
    valid: str | None,
    work: Work,
) -> None:
    """Which of two or more arms is more diverse, and by how much? With intervals that hold, or the reason for none.

    An arm is NAME=MODEL and what differs, by commas: chat (ask through the chat template), template=MODEL (another
    model's), arg.KEY=VALUE (a value for it, like arg.enable_thinking=false: it does what --template-arg does in other
    commands), start=bos (what a raw prompt begins with), T=0.8 and the other options of the sampler (first_T,
    dynatemp_range, dynatemp_exponent, top_n_sigma, top_k, top_p, min_p, xtc_probability, xtc_threshold), n=100, seed=1,
    and last system=TEXT. Arms that differ in the seed alone are one recipe twice: what is said of those is chance.

    ask=verbalized,k=5 asks for 5 answers a call, each with its probability; ask=listed,k=5 for one after the other, the
    earlier ones listed; ask=seeded puts a random word into each request (words=FILE: of yours; word=same: one for all,
    the control); ask=plan,planner=MODEL has another model plan. The price of each in tokens is shown.

    \b
    Examples:
      llamadiv compare --ladder tiny
      llamadiv compare --arm cold=tiny-base,T=0.7 --arm warm=tiny-base -p "Grace Hopper was"
    """
    specs = specs_of(choice, typed)
    for spec in specs:
        check_cuts(f"--arm {spec.name}", spec.sampler, work.drawing.sampler)
    texts, words_of, source = named or shipped()
    one = Compare(
        specs,
        texts,
        words_of,
        n_samples,
        max_tokens,
        prefix,
        equal_n,
        joint,
        valid,
        reference,
        pairs,
        dict(source),
        seed=work.drawing.seed,
    )
    one.check_settings()
    work.run_arms(one, *arms_of(specs, choice, work.session, is_typed=bool(typed)))
