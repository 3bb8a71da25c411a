"""How the studies' commands run and end: files where they were asked for, then JSON, the run's id or the section."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import common_options, drawing_options, layout_options, with_one
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.errors import BadUsage
from llama_diversity.render import glyphs
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.files import write_whole
from llama_diversity.render.safe import visible
from llama_diversity.render.terminal import console
from llama_diversity.studies.arms import Arm, Choice, resolve_choice
from llama_diversity.studies.conduct import run
from llama_diversity.studies.drawing import Drawing, NoEstimate
from llama_diversity.studies.results import Result, check_file, make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Study

Command = TypeVar("Command", bound=Callable[..., Any])
STDOUT = Path("-")


class Csv(NamedTuple):
    """A file of rows beside a result, `-` for standard output, and what makes its text of what a study found."""

    path: Path
    text_of: Callable[[Any], str]


@dataclass(frozen=True)
class Work:
    """What every study's command is given beside its own options."""

    out: Path | None
    drawing: Drawing
    session: Session
    output: Output

    def run_alone(self, study: Study, choice: Choice, csv: Csv | None = None) -> None:
        """The whole command of one study of a pair or ladder."""
        study.check_settings()  # before files of models are read
        if csv is not None:
            _check(csv, self.output)
        self.run_arms(study, resolve_choice(choice, self.session), choice.words(), csv)

    def run_arms(self, study: Study, arms: Sequence[Arm], words: Sequence[str], csv: Csv | None = None) -> None:
        """The same of arms that are resolved; `words` name them."""
        make_folder(self.out)
        result = run(study, arms, drawing=self.drawing, session=self.session, words=words)
        give(result, out=self.out, session=self.session, output=self.output, csv=csv)


def study_options(command: Command) -> Command:
    """Add what every study's command has: where figures go, how samples are drawn, the machine, the answer's form.

    The command receives them as one argument `work`.
    """
    options = [figure_options, drawing_options, _not_of_a_set, layout_options, common_options]
    return with_one(command, "work", Work, options)


def _refuse_set(context: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: FBT001  Click calls it so
    if value:
        raise NoEstimate("A study does not take")


_not_of_a_set = click.option("--arithmetic", is_flag=True, hidden=True, expose_value=False, callback=_refuse_set)


def _check(csv: Csv, output: Output) -> None:
    if csv.path != STDOUT:
        check_file(csv.path, "--csv")
    elif output.json:
        raise BadUsage("Standard output takes the rows or the JSON: name a file with --csv, or leave --json out.")


def give(result: Result, *, out: Path | None, session: Session, output: Output, csv: Csv | None = None) -> None:
    """Print the result; with `out` also write figures, tables, `index.html` and NAME.json there, and the rows."""
    if out is not None:
        say_undrawn(result.save(out, output.form).undrawn)
        output.remark(f"Figures and numbers are in {out}")
    if csv is not None and csv.path == STDOUT:
        sys.stdout.buffer.write(csv.text_of(result.found).encode())
        return
    if csv is not None:
        write_whole(csv.path, csv.text_of(result.found))
        output.remark(f"All outputs are rows of {csv.path}")
    if output.json:
        print_json(result.to_dict())
    elif output.quiet:
        if result.run or out:
            click.echo(result.run or visible(str(out)))
    else:
        console(output.color).print(in_terminal(result.section))
        if result.run:
            say(f"run {result.run}, kept in {session.store}")


def say_undrawn(undrawn: Mapping[str, Sequence[str]]) -> None:
    """One sentence about characters that are boxes in the figures named, where there are any."""
    if undrawn:
        say(glyphs.sentence(undrawn))
