"""`llamadiv variety`: how varied the outputs of a stored run are, and what a usable and a new one cost."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import common_options
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import give
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.variety.study import variety_of


@click.command()
@click.argument("run", metavar="[RUN]", default="last", shell_complete=complete_run)
@click.option("--valid", metavar="PATTERN", help="A regular expression that a usable output must contain.")
@click.option("--schema", type=click.Path(path_type=Path), help="A JSON schema: a usable output is JSON of it.")
@click.option(
    "--by", type=click.Choice(["meaning", "text"]), default="meaning", show_default=True, help="What makes a kind."
)
@figure_options
@common_options
def variety(
    *, run: str, valid: str | None, schema: Path | None, by: str, out: Path | None, session: Session, output: Output
) -> None:
    """How varied are the outputs of a stored run, which can be used, and what does the next new one cost in tokens?

    RUN is an id from `llamadiv runs ls`, the first characters of one, or `last`, also where it is left out; runs of
    `sample` too. Counts, for each prompt of each arm: usable outputs, with the reasons of the others; copies and near
    copies; kinds seen and unseen; tokens of an output, of a usable one and of the next new one. No model is loaded.

    \b
    Examples:
      llamadiv variety last --schema card.json
      llamadiv variety --valid "^[A-Z][a-z]+$" --by text
    """
    make_folder(out)
    give(variety_of(run, session, valid=valid, schema=schema, by=by), out=out, session=session, output=output)
