"""`llamadiv demo`: what post-training costs, shown in a minute on the pair that ships with llamadiv."""

from __future__ import annotations

import click
from rich.console import Group

from llama_diversity.cli.complete import complete_pair
from llama_diversity.cli.options import common_options, drawing_options, layout_options
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.render.terminal import console
from llama_diversity.studies.arms import DEFAULT_PAIR, Choice, resolve_choice
from llama_diversity.studies.demo.exhibits import picture
from llama_diversity.studies.demo.study import demonstrate
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.session import Session
from llama_diversity.studies.words import start_words


@click.command()
@click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]")
@drawing_options
@layout_options
@common_options
def demo(*, pair: str | None, drawing: Drawing, session: Session, output: Output) -> None:
    """See in a minute what post-training costs, on the pair of models that ships with llamadiv.

    Runs Experiment 3 (token entropies, 100 completions of each model) and half of Experiment 2 (how alike 100
    completions are). Needs no network where the sentence encoder is installed, as bin/setup does. Samples are kept:
    the second time it only draws the picture.

    \b
    Example:
      llamadiv demo
    """
    choice = Choice(pair)
    found = demonstrate(resolve_choice(choice, session), drawing=drawing, session=session, words=choice.words())
    if output.json:
        print_json(found.to_dict())
    elif output.quiet:
        click.echo(found.run)
    else:
        shown = picture(pair or DEFAULT_PAIR, found.rows, found.heatmap, found.plain, session.named_store)
        console(output.color).print(Group(*shown))
        starts = [start for some in found.starts.values() for start in some]
        begins = " or ".join(map(start_words, dict.fromkeys(starts)))
        say(f"Prompts begin with {begins}; run {found.run}, kept in {session.store}")
