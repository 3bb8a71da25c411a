"""How the experiments' commands end: files where they were asked for, then JSON, the run's id or the section itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from llama_diversity.answers import Endings
from llama_diversity.cli.options import Common, Drawing, start_words
from llama_diversity.cli.terminal import console
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Sampler
from llama_diversity.render import glyphs
from llama_diversity.render.exhibits import Section, in_terminal
from llama_diversity.render.files import write_whole
from llama_diversity.render.folder import write_report
from llama_diversity.render.jsonl import to_json, to_line
from llama_diversity.render.safe import visible


class Result(NamedTuple):
    """An experiment's result: for a reader, as JSON, and as the experiment's own type."""

    section: Section
    report: Mapping[str, Any]
    found: Any


def with_starts(result: Result, starts: Mapping[str, Sequence[str]]) -> Result:
    """`result` with what the raw prompts of each model began with; as it is where none was raw."""
    if not starts:
        return result
    said = {model: " or ".join(map(start_words, some)) for model, some in starts.items()}
    alike = len(set(said.values())) == 1
    words = next(iter(said.values())) if alike else "; ".join(f"{one} ({model})" for model, one in said.items())
    section = dataclasses.replace(result.section, about=f"{result.section.about} Raw prompts begin with {words}.")
    return result._replace(section=section, report={**result.report, "starts": dict(starts)})


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


def make_folder(out: Path | None) -> None:
    """Make the folder for results before hours of work, not after. Raises BadValue."""
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadValue("--out", str(out), f"it cannot be written ({error.strerror}); name another place") from error


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """The numbers as a file that a person can read too. Raises BadValue."""
    write_whole(path, to_json(report, indent=1) + "\n")


def drawing_words(drawing: Drawing) -> list[str]:
    """How a prompt is asked, sampler and seed as options of a command line: what differs, and always the seed."""
    neutral = Sampler()
    options = {"-t": "temperature", "--top-k": "top_k", "--top-p": "top_p", "--min-p": "min_p"}
    words: list[str] = []
    for option, name in options.items():
        value = getattr(drawing.sampler, name)
        words += [option, f"{value:g}"] if value != getattr(neutral, name) else []
    return [*asking_words(drawing.asking), *words, "--seed", str(drawing.seed)]


def asking_words(asking: Asking) -> list[str]:
    """How a prompt is asked as options of a command line: what differs from the defaults."""
    words = ["--start", asking.start] if asking.start != Asking().start else []
    return [*words, *(["--control-tokens"] if asking.reads_control else [])]


def endings_as_json(endings: Endings) -> dict[str, Any]:
    """How many outputs --max-tokens cut off, and why how many are not valid."""
    return {"cut_off": endings.n_cut_off, "not_valid": dict(endings.reasons)}
