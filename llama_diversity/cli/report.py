"""`llamadiv report` shows a stored run again, `llamadiv reproduce` makes all of the paper: a page, files, a ledger."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Group

from llama_diversity import registry
from llama_diversity.cli.arms import Choice, arms_options, resolve_choice
from llama_diversity.cli.collapse import Collapse
from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.experiment import Drawn, Experiment, check_n, conducted, remembered, shown
from llama_diversity.cli.figure_options import folder_options
from llama_diversity.cli.options import (
    Common,
    Drawing,
    common_options,
    drawing_options,
    layout_options,
    template_arg_option,
    template_args_of,
    template_words,
)
from llama_diversity.cli.personas import Personas
from llama_diversity.cli.perturb import Perturb
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.results import Result, drawing_words, make_folder, say_undrawn, write_json
from llama_diversity.cli.semantic import Semantic
from llama_diversity.cli.syntactic import Syntactic
from llama_diversity.cli.terminal import console
from llama_diversity.engines import EngineOptions
from llama_diversity.exhibits.ledger import Facts, ledger_as_json, section
from llama_diversity.experiments.ledger import Made, absent, entries
from llama_diversity.records import Recipe
from llama_diversity.render.exhibits import in_terminal
from llama_diversity.render.files import write_whole
from llama_diversity.render.folder import write_files
from llama_diversity.render.jsonl import to_line
from llama_diversity.render.report import to_page
from llama_diversity.render.safe import visible
from llama_diversity.store import Run, Store

_LEDGER = "ledger"
_PAPER_PAIR = "llama-2-7b"


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


def _resized(experiment: Experiment, n: int) -> Experiment:
    """The same experiment with `n` samples of each ask; what draws none stays as it is."""
    if not any(field.name == "n" for field in dataclasses.fields(experiment)):  # type: ignore[arg-type]
        return experiment
    check_n(n, max(one.least for one in (Personas, Semantic, Syntactic, Perturb)), "samples")
    resized: Experiment = dataclasses.replace(experiment, n=n)  # type: ignore[type-var]
    return resized


# ---- the ledger


def _ledger(run: Run, pairs: Sequence[tuple[Experiment, Drawn]], results: Sequence[Result]) -> list[Result]:
    """The ledger of a run of `reproduce`: of the first and the last arm. Of other runs none."""
    if not run.about.get(_LEDGER):
        return []
    found = {experiment.name: result.found for (experiment, _), result in zip(pairs, results, strict=True)}
    drawn = {experiment.name: one for experiment, one in pairs}
    arms = drawn["personas"].arms
    base, aligned = next(iter(arms)), list(arms)[-1]
    people = found["personas"]
    paper = registry.load().pair(_PAPER_PAIR)
    made = Made(
        base,
        aligned,
        is_paper_pair=(arms[base], arms[aligned]) == (paper.base, paper.aligned) and _is_as_in_paper(pairs),
        personas=people and people.personas,
        sentences=people and people.sentences,
        semantic=found["semantic"],
        syntactic=found["syntactic"],
        perturb=found["perturb"],
    )
    facts = Facts(
        arms[base], arms[aligned], made.is_paper_pair, list(_deviations(run, drawn, base, aligned)), absent(made)
    )
    lines = entries(made)
    return [Result(section(lines, facts, run.about["command"]), ledger_as_json(lines, facts), lines)]


def _is_as_in_paper(pairs: Sequence[tuple[Experiment, Drawn]]) -> bool:
    """Whether all was sampled as the paper says and as often: else numbers that depend on it are not compared."""
    return all(
        type(experiment)() == experiment and (not drawn.cells or _is_plain(drawn.recipe(next(iter(drawn.cells)))))
        for experiment, drawn in pairs
    )


def _is_plain(recipe: Recipe) -> bool:
    """Whether it is the model's own distribution, behind the BOS that its file asks for."""
    return recipe.is_neutral and recipe.prompt.start is None


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _deviations(run: Run, drawn: Mapping[str, Drawn], base: str, aligned: str) -> Iterator[tuple[str, str, str]]:
    """What the paper did, or left unsaid, and what was done in this run."""
    models = drawn["personas"].arms
    for arm, paper in ((base, "Llama-2-7B-text"), (aligned, "Llama-2-7B-chat")):
        about: Mapping[str, Any] = next(
            (cell.about["model"] for cell in run.cells if cell.reference == models[arm]), {}
        )
        description = str(about.get("description", "")).replace("?B ", "")
        yield f"model, {arm}", f"{paper}, precision unsaid", f"{models[arm]}: {description}"
    every = {name: [one.recipe(label) for label in one.cells] for name, one in drawn.items() if one.cells}
    if "semantic" in every:
        recipe = every["semantic"][0]
        sampler = recipe.sampler
        cuts = f"T {sampler.temperature:g}, top-k {sampler.top_k}, top-p {sampler.top_p:g}, min-p {sampler.min_p:g}"
        yield "sampler", "softmax at T = 1, nothing cut off", "the same" if sampler.is_neutral else cuts
        yield "engine", "unsaid", f"{recipe.engine}, {recipe.engine_build}"
    chat = next((one.prompt.template_digest for one in every.get("personas", []) if one.prompt.template_digest), None)
    if chat:
        yield "Experiment 1, chat template", "that of the SFT stage", f"that of the file, sha256 {chat[:8]}"
    longest = ", ".join(f"{name} {_range([one.max_tokens for one in some])}" for name, some in every.items())
    yield "longest outputs, tokens", "personas and perturbed unsaid, 128, 64", longest


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
