"""`llamadiv methods`: the methods section of a paper on a stored run, and BibTeX of what it rests on."""

from __future__ import annotations

import click

from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.options import common_options
from llama_diversity.cli.output import Output, print_json
from llama_diversity.render.safe import visible
from llama_diversity.studies.methods import methods_of
from llama_diversity.studies.session import Session


@click.command()
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--bibtex", "only_bibtex", is_flag=True, help="Only the BibTeX entries.")
@common_options
def methods(*, run: str, only_bibtex: bool, session: Session, output: Output) -> None:
    """Write the methods section of a paper on a stored run, with BibTeX of what it cites.

    RUN is an id from `llamadiv runs ls`, the first characters of one, or `last`. It needs no model: all comes from the
    run. With -q the text alone, with --json also the parts it is made of.

    \b
    Example:
      llamadiv methods last
    """
    found = methods_of(run, session)
    shown = [found.bibtex] if only_bibtex else [found.text] if output.quiet else [found.text, found.bibtex]
    if output.json:
        print_json(found.to_dict())
    else:
        click.echo(visible("\n\n".join(shown), newline="keep"))
