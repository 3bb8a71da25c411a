"""How the experiments' commands end: files where they were asked for, then JSON, the run's id or the section itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.options import Common, Drawing
from llama_diversity.cli.terminal import console
from llama_diversity.records import Sampler
from llama_diversity.render.exhibits import Section, in_terminal, write_report
from llama_diversity.render.files import write_whole
from llama_diversity.render.jsonl import to_line
from llama_diversity.render.safe import visible


def give(section: Section, report: Mapping[str, Any], *, out: Path | None, run_id: str, common: Common) -> None:
    """Print the result; with `out` also write figures, tables, `index.html` and NAME.json there.

    The command line that makes it again and the run's id are added to the report.
    """
    report = {**report, "command": section.command, "run": run_id}
    if out is not None:
        write_report(section, out)
        write_whole(out / f"{section.name}.json", json.dumps(report, indent=1) + "\n")
        if not common.quiet:
            click.echo(visible(f"Figures and numbers are in {out}"), err=True)
    if common.json:
        click.echo(to_line(report))
    elif common.quiet:
        click.echo(run_id)
    else:
        console(common.color).print(in_terminal(section))
        click.echo(visible(f"run {run_id}, kept in {common.store}"), err=True)


def drawing_words(drawing: Drawing) -> list[str]:
    """Sampler and seed as options of a command line: what differs from the neutral sampler, and always the seed."""
    neutral = Sampler()
    options = {"-t": "temperature", "--top-k": "top_k", "--top-p": "top_p", "--min-p": "min_p"}
    words: list[str] = []
    for option, name in options.items():
        value = getattr(drawing.sampler, name)
        words += [option, f"{value:g}"] if value != getattr(neutral, name) else []
    return [*words, "--seed", str(drawing.seed)]
