"""How the studies' commands run and end: files where they were asked for, then JSON, the run's id or the section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.cli.terminal import console
from llama_diversity.render import glyphs
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.safe import visible
from llama_diversity.studies.arms import Arm, Choice, resolve_choice
from llama_diversity.studies.conduct import run
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.results import Result, make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Study


def run_alone(
    study: Study, *, choice: Choice, drawing: Drawing, session: Session, output: Output, out: Path | None
) -> None:
    """The whole command of one study of a pair or ladder."""
    study.check_settings()  # before files of models are read
    arms = resolve_choice(choice, session)
    run_arms(study, arms, choice.words(), drawing=drawing, session=session, output=output, out=out)


def run_arms(
    study: Study,
    arms: Sequence[Arm],
    words: Sequence[str],
    *,
    drawing: Drawing,
    session: Session,
    output: Output,
    out: Path | None,
) -> None:
    """The same of arms that are resolved; `words` name them."""
    make_folder(out)
    result = run(study, arms, drawing=drawing, session=session, words=words)
    give(result, out=out, session=session, output=output)


def give(result: Result, *, out: Path | None, session: Session, output: Output) -> None:
    """Print the result; with `out` also write figures, tables, `index.html` and NAME.json there."""
    if out is not None:
        say_undrawn(result.save(out, output.form).undrawn)
        output.remark(f"Figures and numbers are in {out}")
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
