"""`llamadiv collapse`: section 5.2 of the paper, why rewarding narrows, as a bandit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import common_options, seed_option
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import give
from llama_diversity.studies.collapse.analysis import RULES, Knobs
from llama_diversity.studies.collapse.study import Collapse
from llama_diversity.studies.session import Session


@click.command()
@click.option("--rule", type=click.Choice(list(RULES)), default="table", show_default=True, help="How logits change.")
@click.option("--beta", type=float, default=0.0, show_default=True, help="KL penalty of Eq. 5.2; 0 is none.")
@click.option("--eps", "clip", type=float, default=0.2, show_default=True, help="Where PPO clips the ratio.")
@click.option(
    "--epochs", "n_epochs", type=int, default=4, show_default=True, help="PPO's gradient steps on one response."
)
@click.option("--lr", "learning_rate", type=float, default=1.0, show_default=True, help="Learning rate.")
@click.option(
    "--value-step",
    type=float,
    default=1.0,
    show_default=True,
    help="1: the value is the last reward, as in Table 1; below, a moving average.",
)
@click.option("--steps", "n_steps", type=int, default=50, show_default=True, help="Responses drawn in each run.")
@click.option("--runs", "n_runs", type=int, default=200, show_default=True, help="Independent runs.")
@click.option("--third", is_flag=True, help="Add the paper's “Chad-Chat”: reward 1.5, at first drawn 1 in 100.")
@figure_options
@seed_option
@common_options
def collapse(*, third: bool, out: Path | None, session: Session, output: Output, **typed: Any) -> None:
    """Section 5.2: why does rewarding responses narrow a policy, and what holds against it?

    Shows Table 1 by its stated rule beside what the paper prints, then draws from the same bandit many times and
    compares where it ends with what the objective is best at. No model is loaded.

    \b
    Example:
      llamadiv collapse --rule ppo --beta 0.3 --third
    """
    knobs = Knobs(**typed)
    knobs.check_all_read()
    give(Collapse(knobs, third).result(), out=out, session=session, output=output)
