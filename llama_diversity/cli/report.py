"""`llamadiv report` shows a stored run again, `llamadiv reproduce` makes all of the paper: a page, files, a ledger."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.figure_options import folder_options
from llama_diversity.cli.options import Common, common_options, drawing_options, layout_options, template_arg_option
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.results import say_undrawn
from llama_diversity.cli.terminal import console
from llama_diversity.engines import EngineOptions
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.files import write_whole
from llama_diversity.render.folder import write_files
from llama_diversity.render.jsonl import to_line
from llama_diversity.render.report import to_page
from llama_diversity.render.safe import visible
from llama_diversity.store import Store
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.collapse.study import Collapse
from llama_diversity.studies.conduct import conducted, remembered, shown
from llama_diversity.studies.paper.study import _LEDGER, _ledger, _resized
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.results import Result, make_folder, write_json
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Drawing
from llama_diversity.studies.study import Experiment
from llama_diversity.studies.syntactic.study import Syntactic
from llama_diversity.studies.words import drawing_words, template_args_of, template_words


@click.command()
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@folder_options
@common_options
def report(*, run: str, out: Path | None, common: Common) -> None:
    """Write the report of a stored run: one page, and every figure and table as files.

    RUN is an id from `llamadiv runs ls`, the first characters of one, or `last`. Nothing is drawn and no model is
    loaded, except by `diff`, which reads texts with the models; of a run that was cut short the page has what is there,
    and says what is missing.

    \b
    Example:
      llamadiv report last --out report
    """
    with Store.open(common.store, read_only=True) as store:
        found = store.run(run)
        pairs = remembered(store, found, common)
        results = [shown(experiment, drawn) for experiment, drawn in pairs]
        results = [*_ledger(found, pairs, results), *results]
    folder = out or Path(f"report-{found.id}")
    _write(results, folder, common)
    _say(results, folder, found.id, common)


@click.command()
@arms_options
@click.option("-n", "n_samples", type=int, help="Samples of each experiment.  [default: as in the paper]")
@template_arg_option
@folder_options
@drawing_options
@layout_options
@common_options
def reproduce(
    *,
    choice: Choice,
    n_samples: int | None,
    template_args: tuple[str, ...],
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Run every experiment of the paper on a pair, and say line by line whether its findings hold.

    Writes one page, all figures and tables as files, and the ledger: each published number beside ours. Samples are
    kept: the same command again, or after an interruption, draws only what is missing.

    \b
    Example:
      llamadiv reproduce --pair llama-2-7b
    """
    args = template_args_of(template_args)
    words = [*choice.words(), *(["-n", str(n_samples)] if n_samples is not None else []), *template_words(args)]
    words += drawing_words(drawing)
    about = {_LEDGER: True, "command": shlex.join(["llamadiv", "reproduce", *words])}
    experiments: list[Experiment] = [Personas(template_args=args), Semantic(), Syntactic(), Perturb(), Collapse()]
    if n_samples is not None:
        experiments = [_resized(one, n_samples) for one in experiments]
    arms = resolve_choice(choice, common)
    make_folder(out)
    with conducted(
        experiments, arms, choice.words(), drawing=drawing, layout=layout, common=common, about=about, is_lenient=True
    ) as (
        run_id,
        drawn,
    ):
        pairs = list(zip(experiments, drawn, strict=True))
        results = [shown(experiment, one) for experiment, one in pairs]
        results = [*_ledger(drawn[0].store.run(run_id), pairs, results), *results]
    folder = out or Path(f"report-{run_id}")
    _write(results, folder, common)
    _say(results, folder, run_id, common)


# ---- where it goes


def _write(results: Sequence[Result], folder: Path, common: Common) -> None:
    """`index.html`, every figure and table, and NAME.json of each section."""
    undrawn: dict[str, list[str]] = {}
    with progress_line(common, "drawing figures") as show:
        for at, result in enumerate(results):
            undrawn.update(write_files(result.section, folder, common.form).undrawn)
            write_json({**result.report, "command": result.section.command}, folder / f"{result.section.name}.json")
            show((at + 1) / (len(results) + 1))
        sections = [result.section for result in results]
        title = sections[0].title if len(sections) == 1 else "llamadiv: what post-training took away"
        write_whole(folder / "index.html", to_page(sections, title))
    say_undrawn(undrawn)


def _say(results: Sequence[Result], folder: Path, run_id: str, common: Common) -> None:
    """On a terminal the ledger, or every section where there is none; all of them as JSON; where the files are."""
    if common.json:
        reports = {result.section.name: {**result.report, "command": result.section.command} for result in results}
        click.echo(to_line({**reports, "run": run_id, "out": str(folder)}))
    elif common.quiet:
        click.echo(visible(str(folder)))
    else:
        whole = results[:1] if results[0].section.name == _LEDGER else results
        console(common.color).print(Group(*(in_terminal(result.section) for result in whole)))
        click.echo(visible(f"The report is {folder / 'index.html'}; run {run_id}, kept in {common.store}"), err=True)
