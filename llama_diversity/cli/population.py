"""`llamadiv population`: N usable customers that fit a target, and what each one costs."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.output import print_json, say
from llama_diversity.cli.results import Work, give, study_options
from llama_diversity.decimals import counted
from llama_diversity.render.safe import visible
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.conduct import run
from llama_diversity.studies.population.files import check_name, rows, write_people, write_start
from llama_diversity.studies.population.init import starting_text
from llama_diversity.studies.population.load import load_target
from llama_diversity.studies.population.specs import (
    arms_of,
    check_ways,
    over_temperatures,
    target_words,
    way_words,
    ways_of,
)
from llama_diversity.studies.population.study import MAX_TOKENS, N_PEOPLE, PER_CALL, Population
from llama_diversity.studies.population.ways import MODES
from llama_diversity.studies.results import check_file, make_folder

INIT = "init"


@click.command()
@click.argument("target")
@click.option("-m", "--model", help="One model; it writes in mode quota where no --mode is given.")
@arms_options
@click.option("--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm of your own; see above.")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice(list(MODES)), help="A way of asking; may be repeated."
)
@click.option("-n", "n_people", type=int, default=N_PEOPLE, show_default=True, help="People of each arm.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest persona.")
@click.option(
    "--budget", type=int, metavar="TOKENS", help="Most tokens of an arm.  [default: 20 times -n and --max-tokens]"
)
@click.option("--per-call", type=int, default=PER_CALL, show_default=True, help="Personas of a verbalized call.")
@click.option(
    "--grammar", is_flag=True, help="Force whole personas by a grammar of the fields; this changes what is measured."
)
@click.option("--price", type=float, help="Price of a million tokens that are written, to have it in money.")
@click.option("--weight", metavar="COLUMN", help="The column of weights, where TARGET is a table of people.")
@click.option("--field", "fields", multiple=True, metavar="COLUMN", help="A column of it to take; may be repeated.")
@click.option("--product", metavar="TEXT", help="The product, where TARGET names none, or another one.")
@click.option(
    "--free", multiple=True, metavar="NAME", help="A field for the model to write, like review; may be repeated."
)
@click.option("--frontier", metavar="T,T,...", help="Every arm at these temperatures: which costs least, which varies?")
@click.option(
    "--to",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the people: .csv, .jsonl, .parquet, .yaml (SynthPanel) or .edsl.jsonl (EDSL); may be repeated.",
)
@click.option("--every", is_flag=True, help="Into these files all outputs, those that were lost with the reason.")
@click.option("--show-prompt", is_flag=True, help="Print what each arm is asked first, and draw nothing.")
@study_options
def population(
    *,
    target: str,
    model: str | None,
    choice: Choice,
    typed: tuple[str, ...],
    modes: tuple[str, ...],
    n_people: int,
    max_tokens: int,
    budget: int | None,
    per_call: int,
    grammar: bool,
    price: float | None,
    weight: str | None,
    fields: tuple[str, ...],
    product: str | None,
    free: tuple[str, ...],
    frontier: str | None,
    to: tuple[Path, ...],
    every: bool,
    show_prompt: bool,
    work: Work,
) -> None:
    """N usable customers of a product that fit a population, drawn until there are enough, and what each one costs.

    TARGET says which people are wanted: a TOML file (`llamadiv population init --to target.toml` writes one to start
    from), TinyTroupe's JSON, or a CSV or Parquet file of people. Modes: base continues forms with worked examples;
    aligned is asked through its chat template; verbalized writes several a call; quota is given the fixed fields, drawn
    from the target, and writes the rest; plan lets a base model plan and an aligned one write. An arm is
    NAME=MODEL,mode=MODE, and by commas form, planner=MODEL, T=0.8 and the other options of the sampler as
    `compare` has them: top_k=40, xtc_probability=0.5. The people are made up.

    \b
    Examples:
      llamadiv population init --to target.toml
      llamadiv population target.toml -m llama-2-7b-chat -n 200 --to people.csv
      llamadiv population target.toml --pair llama-2-7b -n 100 --price 0.20
    """
    if target == INIT:
        _print_start(to)
        return
    loaded = load_target(Path(target), weight=weight, fields=fields, product=product, free=free)
    asked = ways_of(model, choice, typed, modes, work.session)
    ways = over_temperatures(asked, frontier)
    check_ways(ways, loaded)
    one = Population(
        loaded,
        ways,
        target_words(Path(target), weight, fields, product, free),
        n_people,
        max_tokens,
        budget,
        per_call,
        is_bound=grammar,
        price=price,
        seed=work.drawing.seed,
    )
    one.check_settings()
    if show_prompt:
        _print_prompts(one, work)
        return
    for path in to:
        check_name(path)
        check_file(path, "--to")
    make_folder(work.out)
    arms = arms_of(ways, work.session)
    result = run(one, arms, drawing=work.drawing, session=work.session, words=way_words(asked, frontier))
    for path in to:
        some = rows(result.found, loaded, every=every)
        write_people(path, some, loaded)
        work.output.remark(f"{counted(len(some), 'row')} in {path}")
    give(result, out=work.out, session=work.session, output=work.output)


def _print_start(to: tuple[Path, ...]) -> None:
    """A TARGET to start from, on standard output or into new files."""
    for path in to:
        write_start(path)
        say(f"A target to start from is in {path}")
    if not to:
        click.echo(starting_text(), nl=False)


def _print_prompts(one: Population, work: Work) -> None:
    """What each arm's first ask is, as the model sees it."""
    shown = one.first_prompts(work.drawing.asking, work.session)
    if work.output.json:
        print_json({arm: {"mode": prompt.mode, "rendered": prompt.rendered} for arm, prompt in shown.items()})
        return
    for arm, prompt in shown.items():
        say(f"{arm}, {counted(len(prompt.ids), 'token')}:")
        click.echo(visible(prompt.rendered, newline="keep"))
