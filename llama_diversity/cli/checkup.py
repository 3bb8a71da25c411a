"""`llamadiv doctor MODEL`: what a file states, how the model reads neutral text behind each start, and its noise."""

from __future__ import annotations

from rich.text import Text

from llama_diversity.cli.output import Output, print_json
from llama_diversity.records import Asking
from llama_diversity.render.safe import visible
from llama_diversity.render.terminal import console
from llama_diversity.studies.checkup.exhibits import advice, noise_table, noise_words, readings_table, stated
from llama_diversity.studies.checkup.study import checked, checkup_as_json
from llama_diversity.studies.session import Session


def check_model(model: str, asking: Asking, session: Session, output: Output) -> None:
    """Print what a file states and how it reads behind each start. Raises what opening a model raises, BadValue."""
    found = checked(session.model(model), asking, session)
    if output.json:
        print_json(checkup_as_json(found))
        return
    target = console(output.color)
    if not output.quiet:
        target.print(stated(found.facts))
        for table in (readings_table(found), *([noise_table(found.noise)] if found.noise else [])):
            target.print(table)
            target.print()
    lines = [*advice(found), noise_words(found.noise) if found.noise else found.server]
    target.print(Text("\n".join(visible(line) for line in lines)), soft_wrap=True)
