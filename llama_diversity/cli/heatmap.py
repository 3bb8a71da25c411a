"""`llamadiv heatmap`: a text whose tokens are coloured by how likely a model finds them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from llama_diversity.cli.complete import complete_model, complete_run
from llama_diversity.cli.options import asking_options, common_options, read_text, reading_options
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import Asking
from llama_diversity.render.files import write_whole
from llama_diversity.render.heatmap import Looks, TokenPicture
from llama_diversity.render.html import to_html
from llama_diversity.render.ramps import RAMPS
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import SCALES
from llama_diversity.render.svg import to_svg
from llama_diversity.render.terminal import console
from llama_diversity.studies.session import Session
from llama_diversity.studies.subjects import (
    Subject,
    picture_of_one,
    picture_of_two,
    read_subjects,
    stored_subject,
    subjects_as_json,
)
from llama_diversity.studies.words import start_words

_EXPORT_WIDTH = 100


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
@click.option(
    "--palette",
    type=click.Choice(list(RAMPS)),
    default="magma",
    show_default=True,
    envvar="LLAMADIV_PALETTE",
    help="Colours; `paper` is red to green, as in Figure 14.",
)
@click.option(
    "--background",
    type=click.Choice(["dark", "light"]),
    default="dark",
    show_default=True,
    envvar="LLAMADIV_BACKGROUND",
    help="What the terminal's own background is.",
)
@click.option("--numbers", is_flag=True, help="Write each token's number beside it, with colours too.")
@click.option("--bars", is_flag=True, help="A line of bars under the text instead of colours.")
@click.option("--ascii", is_flag=True, help="Only ASCII marks.")
@click.option("--width", type=click.IntRange(20), help="Columns; the terminal's own otherwise.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Also write a picture.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page, numbers on hover.")
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
    palette: str,
    background: str,
    numbers: bool,
    bars: bool,
    ascii: bool,
    width: int | None,
    svg: Path | None,
    html: Path | None,
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
    looks = Looks(
        palette=palette,
        numbers=numbers,
        style="bars" if bars else "color",
        ascii=ascii,
        background="light" if background == "light" else "dark",
    )
    if len(subjects) == 1:
        picture: TokenPicture = picture_of_one(subjects[0], by, maximum, looks, has_sampler=sampler)
    else:
        picture = picture_of_two(subjects, maximum, maximum_difference, looks)
    _write(picture, svg, html, width)
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


def _write(picture: TokenPicture, svg: Path | None, html: Path | None, width: int | None) -> None:
    """The files that were asked for. Raises BadValue."""
    if svg is not None:
        write_whole(svg, to_svg(picture, width or _EXPORT_WIDTH))
    if html is not None:
        write_whole(html, to_html(picture, "Token heatmap"))


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
    # Not through Click, which would split the value of a repeatable option at blanks.
    models = models or tuple(filter(None, [os.environ.get("LLAMADIV_MODEL")]))
    if text is None or not models:
        raise BadUsage("Give a model and a text (-m MODEL TEXT), or a stored run (--run RUN --sample I).")
    if len(models) > 2:
        raise BadValue("-m", ", ".join(models), "one or two models can be shown")
    return read_subjects([session.model(name) for name in models], read_text(text), asking, session)
