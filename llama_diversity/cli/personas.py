"""`llamadiv personas`: Experiment 1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.options import read_text, template_arg_option
from llama_diversity.cli.results import Csv, Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.personas import analysis
from llama_diversity.studies.personas.examples import PRODUCT
from llama_diversity.studies.personas.exhibits import people_csv
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.words import template_args_of


@click.command()
@arms_options
@click.option("-n", "n_samples", type=int, default=analysis.N_SAMPLES, show_default=True, help="Personas of each.")
@click.option("--max-tokens", type=int, default=analysis.MAX_TOKENS, show_default=True, help="Longest completion.")
@click.option(
    "--product", default=PRODUCT, help="What is reviewed; `-` reads it.  [default: the paper's coffee machine]"
)
@click.option("--grammar", is_flag=True, help="Force whole forms; this changes what is measured.")
@template_arg_option
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Also write every output as a row, valid or not; `-` writes the rows alone.",
)
@study_options
def personas(
    *,
    choice: Choice,
    n_samples: int,
    max_tokens: int,
    product: str,
    grammar: bool,
    template_args: tuple[str, ...],
    csv: Path | None,
    work: Work,
) -> None:
    """Experiment 1: how varied are the customers that a model makes up, and what do they say of a product?

    The base model continues a form with two worked examples, in ten versions; the others are asked through their chat
    template. Samples are kept: the same command again draws nothing.

    \b
    Examples:
      llamadiv personas --pair llama-2-7b
      llamadiv personas --product "A bicycle lock that opens by itself." --csv people.csv
    """
    one = Personas(n_samples, max_tokens, grammar, template_args_of(template_args), read_text(product))
    rows = None if csv is None else Csv(csv, lambda found: people_csv(found.rows))
    work.run_alone(one, choice, rows)
