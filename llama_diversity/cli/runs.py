"""`llamadiv runs`: what the sample store holds, and how to take it elsewhere or throw it away."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.options import common_options
from llama_diversity.cli.output import Output, is_confirmed, print_json, say
from llama_diversity.decimals import counted
from llama_diversity.errors import BadUsage
from llama_diversity.render.run_pages import page_of_run, page_of_sample, table_of_runs
from llama_diversity.render.safe import visible
from llama_diversity.render.terminal import console
from llama_diversity.store import Run, Store
from llama_diversity.studies.session import Session
from llama_diversity.studies.stored import described_run, described_runs, described_sample, export_samples

_WIDE = 100  # columns from which `runs ls` has room for the commands
_PIPE_WIDTH = 1000  # nothing is cut off or wrapped for want of columns where nobody looks


_run_argument = click.argument("run", metavar="RUN", shell_complete=complete_run)


@click.group()
def runs() -> None:
    """List, show, export, merge and remove stored runs.

    RUN is an id from `runs ls`, the first characters of one, or `last`.
    """


@runs.command()
@common_options
def ls(session: Session, output: Output) -> None:
    """List all runs, oldest first."""
    described = described_runs(session)
    if output.json or output.quiet:
        output.answer(described, [run["id"] for run in described], [])
    elif described:
        out = console(output.color, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        out.print(table_of_runs(described, with_commands=out.width >= _WIDE))
    else:
        say(f"No runs in {session.store} yet. `llamadiv sample` makes one.")


@runs.command()
@_run_argument
@common_options
def show(run: str, session: Session, output: Output) -> None:
    """Show one run in full, with its recipes and layout.

    Where RUN is the id of a sample (RECIPE#NUMBER, as `personas --csv` has it), show that sample.
    """
    if "#" in run:
        _show_sample(run, session, output)
        return
    described, recipes = described_run(run, session)
    output.answer(described, [described["id"]], page_of_run(described, recipes))


def _show_sample(name: str, session: Session, output: Output) -> None:
    described, recipes = described_sample(name, session)
    output.answer(described, [described["sample"]], page_of_sample(described, *recipes.values()))


@runs.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--all", "everything", is_flag=True, help="Every sample in the store, each once.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet"], case_sensitive=False),
    help="jsonl, csv: a line a sample; parquet: a row a token.  [default: by the name of --out, else jsonl]",
)
@click.option("--tokens", is_flag=True, help="In a CSV, the tokens of each sample too, as JSON lists.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.  [default: stdout]")
@common_options
def export(
    *,
    run: str | None,
    everything: bool,
    form: str | None,
    tokens: bool,
    out: Path | None,
    session: Session,
    output: Output,
) -> None:
    """Write samples as JSONL, CSV or Parquet.

    Those of RUN, or with --all those of the whole store. JSONL and Parquet have the statistics of each token, a CSV
    has them with --tokens. Of a model that thinks JSONL and CSV also have the answer, the text without thoughts. Bits
    are -log2 p under the raw model at temperature 1.

    \b
    Examples:
      llamadiv runs export last --out samples.parquet
      llamadiv runs export last --out samples.csv
    """
    if everything == (run is not None):
        raise BadUsage("Name one run, or say --all and no run.")
    n_samples = export_samples(run, out, form, sys.stdout.buffer, session, with_tokens=tokens)
    if out is not None:
        words = f"{counted(n_samples, 'sample')} in {out}."
        output.answer({"path": str(out), "n_samples": n_samples}, [str(out)], [words])


@runs.command()
@click.argument("others", metavar="OTHER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options
def merge(others: tuple[Path, ...], session: Session, output: Output) -> None:
    """Take over the runs of other store files.

    The same sample is stored once, so merging again, or merging what two machines both drew, is harmless.
    """
    merged = []
    with Store.open(session.store) as store:
        for other in others:
            counts = store.merge(other)
            merged.append({"path": str(other), **counts._asdict()})
            if not (output.json or output.quiet):
                added = f"{counted(counts.n_runs, 'run')} and {counted(counts.n_samples, 'sample')} added"
                click.echo(f"{visible(str(other))}: {added}, {counted(counts.n_known, 'sample')} here already.")
    if output.json:
        print_json(merged)


@runs.command()
@_run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(run: str, yes: bool, session: Session, output: Output) -> None:  # noqa: FBT001  Click passes by name
    """Remove a run and the samples only it asks for."""
    with Store.open(session.store) as store:
        found = store.run(run)
        if not yes and not _is_confirmed(found):
            say("Nothing was removed.")
            return
        n_removed = store.remove_run(found.id)
    words = f"Removed run {found.id} and {counted(n_removed, 'sample')}."
    output.answer({"id": found.id, "n_samples": n_removed}, [found.id], [words])


def _is_confirmed(run: Run) -> bool:
    question = f"Remove run {run.id} ({visible(shlex.join(run.command))}) and the samples only it asks for?"
    return is_confirmed(question, "There is no terminal to ask on; say --yes to remove the run.")
