"""`llamadiv tree`: the heaviest openings of a prompt under each model, and the mass they hold."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, asking_options, common_options, read_text, reading_options
from llama_diversity.cli.results import give
from llama_diversity.engines import EngineOptions
from llama_diversity.records import Asking, Piece
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.noise import Floor
from llama_diversity.studies.results import Result, make_folder, with_starts
from llama_diversity.studies.tree.analysis import BUDGET, DEPTH, PROMPT, K, Tree
from llama_diversity.studies.tree.exhibits import Facts, section
from llama_diversity.studies.tree.study import Question, _as_json, _check, _check_arms, _grown, _interruptible


@click.command()
@arms_options
@click.option(
    "-p",
    "--prompt",
    default=PROMPT,
    show_default=True,
    help="What all continue; `-` reads standard input less its last line break.",
)
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
    layout: EngineOptions,
    common: Common,
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
    _check(depth, k, budget)
    question = Question(read_text(prompt), depth, k, budget, asking)
    arms = resolve_choice(choice, common)
    trees: dict[str, Tree] = {}
    pieces: dict[str, Mapping[int, Piece]] = {}
    floors: dict[str, Floor] = {}
    with _interruptible(trees):
        starts = _check_arms(arms, question, layout, common)
        make_folder(out)
        for arm in arms:
            (trees[arm.name], floors[arm.name]), pieces[arm.name] = _grown(arm, question, layout, common)
        models = {arm.name: arm.model.reference for arm in arms}
        facts = Facts(question.prompt, models, pieces, depth, k, budget, floors)
        command = shlex.join(["llamadiv", "tree", *choice.words(), *question.words()])
        result = Result(section(trees, facts, command), _as_json(trees, facts), trees)
        give(with_starts(result, starts), out=out, run_id=None, common=common)
