"""`llamadiv reframe`: does the likeliest answer survive when the question is put otherwise?"""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import asking_options, common_options, reading_options
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import give
from llama_diversity.records import Asking
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.compare.specs import arm_words, specs_of
from llama_diversity.studies.reframe.analysis import BUDGET, DEEP, N_WORDS
from llama_diversity.studies.reframe.specs import read_sets
from llama_diversity.studies.reframe.study import Question, run
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Session


@click.command()
@arms_options
@click.option(
    "--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm as in `compare`, without n and seed."
)
@click.option(
    "--set", "sets", multiple=True, help="A prompt that ships (hopper, steve, persona, chatbot).  [default: all]"
)
@click.option("--reframings", "file", help="A file of yours: the original, then its other ways; .toml has several.")
@click.option("--words", type=int, default=N_WORDS, show_default=True, help="Words of an answer.")
@click.option("--deep", type=float, default=DEEP, show_default=True, help="Share of reframings a deep one survives.")
@click.option("--budget", type=int, default=BUDGET, show_default=True, help="Paths followed up at most, per prompt.")
@figure_options
@asking_options
@reading_options
@common_options
def reframe(
    *,
    choice: Choice,
    typed: tuple[str, ...],
    sets: tuple[str, ...],
    file: str | None,
    words: int,
    deep: float,
    budget: int,
    out: Path | None,
    asking: Asking,
    session: Session,
    output: Output,
) -> None:
    """Does the likeliest answer to a prompt survive when the question is put otherwise?

    Thirty reframings of each of the paper's prompts ship. Probabilities of answers are exact: nothing is sampled.

    \b
    Examples:
      llamadiv reframe --pair tiny
      llamadiv reframe --arm raw=tiny-aligned --arm chat=tiny-aligned,chat --set hopper
    """
    question = Question(*read_sets(sets, file), words, deep, budget, asking)
    specs = specs_of(choice, typed)
    named = arm_words(specs, choice, is_typed=bool(typed))
    result = run(question, specs, session=session, words=named, before=lambda: make_folder(out))
    give(result, out=out, session=session, output=output)
