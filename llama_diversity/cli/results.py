"""How the experiments' commands end: files where they were asked for, then JSON, the run's id or the section itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from llama_diversity.cli.options import Common
from llama_diversity.cli.terminal import console
from llama_diversity.render import glyphs
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.folder import write_report
from llama_diversity.render.jsonl import to_line
from llama_diversity.render.safe import visible
from llama_diversity.studies.results import Result, write_json


def give(result: Result, *, out: Path | None, run_id: str | None, common: Common) -> None:
    """Print the result; with `out` also write figures, tables, `index.html` and NAME.json there.

    The command line that makes it again and the run's id, where samples were drawn, are added to the report.
    """
    section = result.section
    report = {**result.report, "command": section.command, **({"run": run_id} if run_id else {})}
    if out is not None:
        written = write_report(section, out, common.form)
        write_json(report, out / f"{section.name}.json")
        say_undrawn(written.undrawn)
        if not common.quiet:
            click.echo(visible(f"Figures and numbers are in {out}"), err=True)
    if common.json:
        click.echo(to_line(report))
    elif common.quiet:
        if run_id or out:
            click.echo(run_id or visible(str(out)))
    else:
        console(common.color).print(in_terminal(section))
        if run_id:
            click.echo(visible(f"run {run_id}, kept in {common.store}"), err=True)


def say_undrawn(undrawn: Mapping[str, Sequence[str]]) -> None:
    """One sentence on stderr about characters that are boxes in the figures named, where there are any."""
    if undrawn:
        click.echo(visible(glyphs.sentence(undrawn)), err=True)
