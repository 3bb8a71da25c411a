"""`llamadiv heatmap`: a text whose tokens are coloured by how likely a model finds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from llama_diversity.cli.complete import complete_model, complete_run
from llama_diversity.cli.options import Command, asking_options, common_options, read_text, reading_options, with_one
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.errors import BadUsage
from llama_diversity.records import Asking
from llama_diversity.render.heatmap import Looks, TokenPicture
from llama_diversity.render.ramps import RAMPS
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import SCALES
from llama_diversity.render.terminal import console
from llama_diversity.studies.session import Session
from llama_diversity.studies.subjects import (
    Subject,
    judges,
    picture_of_one,
    picture_of_two,
    read_subjects,
    stored_subject,
    subjects_as_json,
    write_pictures,
)
from llama_diversity.studies.words import start_words

_LOOKS = [
    click.option(
        "--palette",
        type=click.Choice(list(RAMPS)),
        default="magma",
        show_default=True,
        envvar="LLAMADIV_PALETTE",
        help="Colours; `paper` is red to green, as in Figure 14.",
    ),
    click.option(
        "--background",
        type=click.Choice(["dark", "light"]),
        default="dark",
        show_default=True,
        envvar="LLAMADIV_BACKGROUND",
        help="What the terminal's own background is.",
    ),
    click.option("--numbers", is_flag=True, help="Write each token's number beside it, with colours too."),
    click.option("--ascii", is_flag=True, help="Only ASCII marks."),
]


def _looks(palette: str, background: str, numbers: bool, ascii: bool) -> Looks:  # noqa: FBT001  Click passes by name
    return Looks(palette, numbers, ascii=ascii, background="light" if background == "light" else "dark")


def looks_options(command: Command) -> Command:
    """Add how coloured text looks; the command receives it as one argument `looks`."""
    return with_one(command, "looks", _looks, _LOOKS)


@click.command()
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    shell_complete=complete_model,
    help="The model that judges the text; a second one shows both and their difference.  [env: LLAMADIV_MODEL]",
)
@click.argument("text", required=False)
@click.option("--run", "run_name", shell_complete=complete_run, help="A stored run instead of a text, or `last`.")
@click.option(
    "--sample", "index", type=click.IntRange(0), default=0, show_default=True, help="Which sample of the run."
)
@click.option("--arm", help="Which arm of the run; the first one otherwise.")
@click.option("--by", type=click.Choice(list(SCALES)), default="surprisal", show_default=True, help="What is coloured.")
@click.option("--sampler", is_flag=True, help="The distribution the tokens were drawn from, not the raw one.")
@click.option("--maximum", type=float, help="Bits at which the scale ends.  [default: 16]")
@click.option("--maximum-difference", type=float, help="Bits at which the scale of a difference ends.  [default: 8]")
@click.option("--bars", is_flag=True, help="A line of bars under the text instead of colours.")
@click.option("--width", type=click.IntRange(20), help="Columns; the terminal's own otherwise.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Also write a picture.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page that can be asked.")
@looks_options
@asking_options
@reading_options
@common_options
def heatmap(
    *,
    models: tuple[str, ...],
    text: str | None,
    run_name: str | None,
    index: int,
    arm: str | None,
    by: str,
    sampler: bool,
    maximum: float | None,
    maximum_difference: float | None,
    bars: bool,
    width: int | None,
    svg: Path | None,
    html: Path | None,
    looks: Looks,
    asking: Asking,
    session: Session,
    output: Output,
) -> None:
    """Colour the tokens of TEXT, or of a stored sample, by how likely a model finds them.

    Two models show the same text under both, and the difference in bits of each token.

    \b
    Examples:
      llamadiv heatmap -m llama-2-7b "Grace Hopper was not a nurse."
      llamadiv heatmap -m llama-2-7b -m llama-2-7b-chat "Grace Hopper was not a nurse."
      llamadiv heatmap --run last --sample 3 --by entropy
    """
    if len(models) == 2 and (by != "surprisal" or sampler):
        raise BadUsage("Two models are compared by raw surprisal: leave out --by and --sampler.")
    if len(models) < 2 and maximum_difference is not None:
        raise BadUsage("--maximum-difference is for two models: give -m twice, or leave it out.")
    if run_name is None and (arm is not None or sampler or _is_typed("index")):
        raise BadUsage("--sample, --arm and --sampler are for a stored run: name it with --run, or leave them out.")
    subjects = _subjects(models, text, run_name, index, arm, asking, session)
    looks = dataclasses.replace(looks, style="bars" if bars else "color")
    if len(subjects) == 1:
        picture: TokenPicture = picture_of_one(subjects[0], by, maximum, looks, has_sampler=sampler)
    else:
        picture = picture_of_two(subjects, maximum, maximum_difference, looks)
    write_pictures(picture, svg=svg, html=html, width=width)
    if output.json:
        print_json(subjects_as_json(subjects))
    elif output.quiet:
        for path in filter(None, (svg, html)):
            click.echo(visible(str(path)))
    else:
        console(output.color, width=width).print(picture)
        for start in dict.fromkeys(subject.start for subject in subjects if subject.start is not None):
            say(f"The text begins with {start_words(start)}.")


def _is_typed(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) == ParameterSource.COMMANDLINE


def _subjects(
    models: Sequence[str],
    text: str | None,
    run_name: str | None,
    index: int,
    arm: str | None,
    asking: Asking,
    session: Session,
) -> list[Subject]:
    if run_name is not None:
        if text is not None or models:
            raise BadUsage("Give either a model and a text, or --run.")
        if _is_typed("start"):
            raise BadUsage("--start is for a text: what a stored sample began with is part of its run.")
        return [stored_subject(run_name, index, arm, session)]
    named = judges(models)
    if text is None or not named:
        raise BadUsage("Give a model and a text (-m MODEL TEXT), or a stored run (--run RUN --sample I).")
    return read_subjects([session.model(name) for name in named], read_text(text), asking, session)
