"""`llamadiv valid`: exact validity and diversity on sets of which every valid answer is known."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import asking_options, common_options, reading_options
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import give
from llama_diversity.records import Asking
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.valid.analysis import LEAST
from llama_diversity.studies.valid.study import asked


@click.command()
@click.option("-m", "--model", shell_complete=complete_model, help="One model by itself, asked raw.")
@arms_options
@click.option("--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm of your own, as in compare.")
@click.option("--set", "named", multiple=True, metavar="NAME|FILE", help="A set that ships, or a file.  [default: all]")
@click.option("--least", type=float, default=LEAST, show_default=True, help="Rarer spellings are not followed.")
@figure_options
@asking_options
@reading_options
@common_options
def valid(
    *, model: str | None, choice: Choice, typed: tuple[str, ...], named: tuple[str, ...], least: float,
    out: Path | None, asking: Asking, session: Session, output: Output,
) -> None:  # fmt: skip
    """How often is an answer valid, and how evenly are the valid ones said? Exact, where all of them are known.

    Sets: digits (or digits-N-SUM), months, weekdays, states, elements, countries, primes, and files of your own.
    Nothing is sampled: the probability of every answer is added up over its spellings. What is lost against saying all
    alike is split into order, which no temperature and no cut wins back, and shape. Results are kept.

    \b
    Examples:
      llamadiv valid --pair tiny --set months
      llamadiv valid --arm cold=tiny-base,T=0.5 --arm half=mix:tiny-base,tiny-aligned,lambda=0.5
      llamadiv valid -m tiny-base --set planets.toml
    """
    result = asked(
        model, typed, choice, named, least=least, asking=asking, session=session, before=lambda: make_folder(out)
    )
    give(result, out=out, session=session, output=output)
