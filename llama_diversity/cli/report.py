"""`llamadiv report` shows a stored run again, `llamadiv reproduce` makes all of the paper: a page, files, a ledger."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Group

from llama_diversity import browser
from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.figure_options import folder_options
from llama_diversity.cli.options import common_options, drawing_options, layout_options, template_arg_option
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.cli.results import say_undrawn
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.safe import visible
from llama_diversity.render.terminal import console
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.paper.study import Report, check_n_of_all, recall
from llama_diversity.studies.paper.study import reproduce as reproduced
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.session import Session
from llama_diversity.studies.words import template_args_of

_open_option = click.option(
    "--open/--no-open", "opens", default=None, help="Show the page in a browser.  [default: where there is a screen]"
)


@click.command()
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@folder_options
@_open_option
@common_options
def report(*, run: str, out: Path | None, opens: bool | None, session: Session, output: Output) -> None:
    """Write the report of a stored run: one page, and every figure and table as files.

    RUN is an id from `llamadiv runs ls`, the first characters of one, or `last`. Nothing is drawn and no model is
    loaded, except by `diff`, which reads texts with the models; of a run that was cut short the page has what is there,
    and says what is missing.

    \b
    Example:
      llamadiv report last --out report
    """
    _give(recall(run, session), out, session, output, opens=opens)


@click.command()
@arms_options
@click.option("-n", "n_samples", type=int, help="Samples of each experiment.  [default: as in the paper]")
@template_arg_option
@folder_options
@_open_option
@drawing_options
@layout_options
@common_options
def reproduce(
    *,
    choice: Choice,
    n_samples: int | None,
    template_args: tuple[str, ...],
    out: Path | None,
    opens: bool | None,
    drawing: Drawing,
    session: Session,
    output: Output,
) -> None:
    """Run every experiment of the paper on a pair, and say line by line whether its findings hold.

    Writes one page, all figures and tables as files, and the ledger: each published number beside ours. Samples are
    kept: the same command again, or after an interruption, draws only what is missing. A pair that is not here is
    fetched first, once you have said yes.

    \b
    Example:
      llamadiv reproduce --pair llama-2-7b
    """
    check_n_of_all(n_samples)
    args = template_args_of(template_args)
    arms = resolve_choice(choice, session)
    make_folder(out)
    made = reproduced(arms, drawing=drawing, session=session, n=n_samples, template_args=args, words=choice.words())
    _give(made, out, session, output, opens=opens)


def _give(report: Report, out: Path | None, session: Session, output: Output, *, opens: bool | None) -> None:
    """Write it all, and print the ledger, or every section where there is none; where the files are; open the page."""
    folder = out or Path(f"report-{report.run}")
    with session.listener.working("drawing figures") as show:
        written = report.save(folder, output.form, show)
    say_undrawn(written.undrawn)
    if output.json:
        print_json({**report.to_dict(), "out": str(folder)})
    elif output.quiet:
        click.echo(visible(str(folder)))
    else:
        whole = report.results[:1] if report.has_ledger else report.results
        console(output.color).print(Group(*(in_terminal(result.section) for result in whole)))
        say(f"The report is {folder / 'index.html'}; run {report.run}, kept in {session.store}")
    page = folder / "index.html"
    asked = browser.has_screen() and not (output.json or output.quiet) if opens is None else opens
    if asked and not browser.open_page(page):
        output.remark(f"No browser was found that could show {page}.")
