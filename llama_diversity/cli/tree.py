"""`llamadiv tree`: the heaviest openings of a prompt under each model, and the mass they hold."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import asking_options, common_options, prompt_option, read_text, reading_options
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import give
from llama_diversity.records import Asking
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.tree.analysis import BUDGET, DEPTH, PROMPT, K
from llama_diversity.studies.tree.study import Question, run


@click.command()
@arms_options
@prompt_option(PROMPT)
@click.option("--depth", type=int, default=DEPTH, show_default=True, help="Tokens of an opening.")
@click.option("-k", "k", type=int, default=K, show_default=True, help="How many openings, the likeliest first.")
@click.option("--budget", type=int, default=BUDGET, show_default=True, help="Paths that are followed up at most.")
@figure_options
@asking_options
@reading_options
@common_options
def tree(
    *,
    choice: Choice,
    prompt: str,
    depth: int,
    k: int,
    budget: int,
    out: Path | None,
    asking: Asking,
    session: Session,
    output: Output,
) -> None:
    """The likeliest openings of a prompt under each model, and how much of all probability they hold.

    Best-first search over exact next-token distributions: nothing is sampled. The list is exact where the budget
    suffices; where it does not, bounds say what is certain and what could still be there. Searches are kept: the same
    command again loads no model.

    \b
    Examples:
      llamadiv tree --pair tiny
      llamadiv tree --depth 4 -k 20 -p "The nurse said that"
    """
    question = Question(read_text(prompt), depth, k, budget, asking)
    question.check_settings()
    arms = resolve_choice(choice, session)
    result = run(question, arms, session=session, words=choice.words(), before=lambda: make_folder(out))
    give(result, out=out, session=session, output=output)
