"""Where figures go and what form they have, for every command that writes some: --out and the options of print."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from llama_diversity.cli.options import with_options
from llama_diversity.errors import BadValue
from llama_diversity.render.print_form import PrintForm, points_of

Command = TypeVar("Command", bound=Callable[..., Any])

_FORM = [
    click.option("--width", metavar="LENGTH", help="Width of figures on paper, like 84mm (also cm, in, pt, px)."),
    click.option(
        "--font-size",
        type=float,
        metavar="POINTS",
        help="Size of the text of figures on paper.  [default: 7 with --width, else 12]",
    ),
    click.option("--no-caption", is_flag=True, help="Leave title and caption out of the pictures, for print."),
]


def figure_options(command: Command) -> Command:
    """Add --out, a folder that need not be given, and the form of figures, which goes into `output`."""
    folder = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=folder, help="Also write figures and numbers there.")(_formed(command, True))


def folder_options(command: Command) -> Command:
    """As `figure_options` for a command that always writes a folder."""
    folder = click.Path(path_type=Path, file_okay=False)
    option = click.option("--out", type=folder, help="The folder to write.  [default: report-RUN]")
    return option(_formed(command, False))


def _formed(command: Command, needs_out: bool) -> Command:  # noqa: FBT001  # private, and named where it is called
    @functools.wraps(command)
    def with_form(
        *args: Any, out: Path | None, width: str | None, font_size: float | None, no_caption: bool, **kwargs: Any
    ) -> Any:
        given = {"--width": width, "--font-size": font_size, "--no-caption": no_caption or None}
        for option, value in given.items():
            if needs_out and out is None and value is not None:
                raise BadValue(option, value, "it shapes the files of figures; name a folder for them with --out")
        form = PrintForm(None if width is None else points_of(width), font_size, has_caption=not no_caption)
        return command(*args, out=out, figure_form=form, **kwargs)

    decorated: Command = with_options(with_form, _FORM)
    return decorated
