"""`llamadiv score`: how likely a model finds a given text, token by token."""

from __future__ import annotations

import click

from llama_diversity.cli.options import asking_options, common_options, model_option, read_text, reading_options
from llama_diversity.cli.output import Output, print_json
from llama_diversity.records import Asking
from llama_diversity.render.terminal import console
from llama_diversity.render.token_table import token_table
from llama_diversity.studies.scored import score_text
from llama_diversity.studies.session import Session
from llama_diversity.studies.words import start_words


@click.command()
@model_option
@click.argument("text")
@asking_options
@reading_options
@common_options
def score(*, model: str, text: str, asking: Asking, session: Session, output: Output) -> None:
    """Token statistics of TEXT under a model; `-` reads standard input less its last line break.

    Every token is judged given the ones before it, the first one given what texts begin with (--start).

    \b
    Example:
      llamadiv score -m llama-2-7b "Grace Hopper was a pioneer."
    """
    with session.opened(session.model(model)) as engine:
        scored = score_text(engine, read_text(text), asking, session)
    if output.json:
        print_json(scored.to_dict())
        return
    if not output.quiet:
        console(output.color).print(token_table(scored.tokens, scored.pieces))
    click.echo(scored.words)
    output.remark(f"The text begins with {start_words(scored.start)}.")
