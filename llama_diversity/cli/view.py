"""`llamadiv view`: texts token by token, with keys."""

from __future__ import annotations

import click

from llama_diversity.cli.complete import complete_model, complete_run
from llama_diversity.cli.heatmap import looks_options
from llama_diversity.cli.options import asking_options, common_options, reading_options
from llama_diversity.cli.output import Output
from llama_diversity.errors import BadUsage
from llama_diversity.installation import require_extra
from llama_diversity.records import Asking
from llama_diversity.render.heatmap import Looks
from llama_diversity.render.terminal import is_screen
from llama_diversity.studies.session import Session
from llama_diversity.studies.sources import named_source, scored_source, stored_source
from llama_diversity.studies.subjects import judges


@click.command()
@click.option("-m", "--model", "models", multiple=True, shell_complete=complete_model, help="A model that reads TEXT.")
@click.option("-p", "--prompt", help="The text, as other commands take it.")
@click.argument("subject", metavar="RUN|TEXT", required=False, shell_complete=complete_run)
@looks_options
@asking_options
@reading_options
@common_options
def view(
    *,
    models: tuple[str, ...],
    prompt: str | None,
    subject: str | None,
    looks: Looks,
    asking: Asking,
    session: Session,
    output: Output,
) -> None:
    """Look at texts token by token: why each one, and what else could have stood there.

    RUN is a stored run: an id from `llamadiv runs ls`, the first characters of one, or `last`. With -m a TEXT is read
    by that model, with a second -m by both, side by side. `?` lists the keys, and `q` leaves.

    \b
    Examples:
      llamadiv view last
      llamadiv view -m tiny-base -m tiny-aligned -p "Grace Hopper was not a nurse."
    """
    named = [session.model(one) for one in (judges(models) if models else ())]
    found = named_source(named, subject, prompt, session)
    if output.json or output.quiet or not is_screen():
        raise BadUsage(
            "`view` fills a terminal and takes keys. Elsewhere `llamadiv heatmap` prints tokens in colours or as JSON, "
            "and `llamadiv runs show` a stored run."
        )
    require_extra("view", "The viewer", ["textual"])
    from llama_diversity.view.app import look

    with scored_source(named, found, asking, session) if named else stored_source(found, session) as source:
        look(source, looks, output.color, session)
