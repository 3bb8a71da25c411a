"""`llamadiv frontier`: quality against diversity for families of settings, and the verdict, which may be none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.frontier.analysis import DIVERSITIES, QUALITIES
from llama_diversity.studies.frontier.study import MAX_TOKENS, N_SAMPLES, frontier_of
from llama_diversity.studies.prompts import Prompts, shipped


@click.command()
@arms_options
@click.option("--family", "typed", multiple=True, metavar="NAME=MODEL,KEY=A/B/...", help="Settings; see above.")
@click.option("--reference", metavar="NAME=MODEL[,...]", help="Held against; an arm.  [default: the aligned model]")
@prompts_options
@click.option("-n", "n", type=int, default=N_SAMPLES, show_default=True, help="Outputs of each prompt, at most.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest output.")
@click.option("--quality", type=click.Choice(list(QUALITIES)), help="The axis that decides; see above.")
@click.option(
    "--diversity", type=click.Choice(list(DIVERSITIES)), default="distance", show_default=True, help="The other."
)
@click.option("--delta", type=float, help="How much worse is not worse.  [default: by quality]")
@click.option("--scorer", shell_complete=complete_model, help="A third model whose bits per byte are a quality.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@click.option("--known", type=click.Path(path_type=Path), help="A file of all valid outputs, one a line.")
@click.option("--grammar", type=click.Path(path_type=Path), help="GBNF that a valid output is of; nothing is forced.")
@study_options
def frontier(*, choice: Choice, typed: tuple[str, ...], named: Prompts | None, work: Work, **asked: Any) -> None:
    """Which setting wins diversity at which quality? Families of settings in one plane, and a verdict that may be none.

    A family is an arm as in `compare` with one list of values, slashes between them; every family has as many. Without
    any there are four of the pair: temperature, min-p, top-p, and mixtures with the base. Half of the prompts choose a
    setting, the other half judge it. The quality that decides is validity where --valid, --known or --grammar says what
    is valid, else the bits under --scorer, else `topic`: how much nearer an output is to its own prompt than to others.

    \b
    Examples:
      llamadiv frontier --pair tiny --scorer tiny-sft
      llamadiv frontier --family heat=tiny-aligned,T=1/1.3/1.6 --reference aligned=tiny-aligned --set questions
    """
    study, arms, words = frontier_of(choice, named or shipped(), work.drawing, work.session, families=typed, **asked)
    work.run_arms(study, arms, words)
