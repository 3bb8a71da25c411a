"""`llamadiv branch`: leave a text at a token, take another way, and let the model go on from there."""

from __future__ import annotations

import click

from llama_diversity.cli.complete import complete_model, complete_run
from llama_diversity.cli.options import read_text, template_arg_option
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.branch.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.branch.gathering import branch_of
from llama_diversity.studies.branch.specs import Taking, parse_way, place_of
from llama_diversity.studies.branch.study import ARM
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.sampling import Request
from llama_diversity.studies.words import template_args_of


@click.command()
@click.option("-m", "--model", envvar="LLAMADIV_MODEL", shell_complete=complete_model, help="The model of a prompt.")
@click.option("-p", "--prompt", help="What the model continues; `-` reads standard input less its last line break.")
@click.option("--chat", is_flag=True, help="Ask through the model's own chat template.")
@click.option("--system", help="A system message, with --chat.")
@template_arg_option
@click.option("--run", shell_complete=complete_run, help="Instead: a stored run, whose sample is the text.")
@click.option("--sample", type=click.IntRange(0), default=0, show_default=True, help="Which sample of it.")
@click.option("--arm", help="Which arm of it; the first one otherwise.")
@click.option("--at", type=click.IntRange(0), help="Leave the text behind its first so many tokens.")
@click.option("--then", multiple=True, metavar="TEXT", help="Go on there with TEXT; may be repeated.")
@click.option("--top", type=click.IntRange(0), default=0, help="Go on there with each of the likeliest so many tokens.")
@click.option(
    "--way", multiple=True, metavar="AT:ID,ID,...", help="Leave it at AT and take these token ids; may be repeated."
)
@click.option("--only", is_flag=True, help="Not also as the model itself goes on there.")
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Continuations of each way.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest continuation.")
@study_options
def branch(
    *,
    model: str | None,
    prompt: str | None,
    chat: bool,
    system: str | None,
    template_args: tuple[str, ...],
    run: str | None,
    sample: int,
    arm: str | None,
    at: int | None,
    then: tuple[str, ...],
    top: int,
    way: tuple[str, ...],
    only: bool,
    n_samples: int,
    max_tokens: int,
    work: Work,
) -> None:
    """Leave a text at a token, take something else, and let the model go on from there, N times.

    The text is a stored sample (--run), or a prompt: with --at the rest of its tokens. Each way has its exact
    probability, nothing sampled, and what followed is counted, with intervals. It is a run like any other: `heatmap
    --run`, `variety`, `runs export` and `report` take it, and `perturb --opening-of RUN` goes on with it.

    \b
    Examples:
      llamadiv branch -m tiny-aligned -p "Grace Hopper was" --then " a nurse" --top 3
      llamadiv branch --run last --sample 3 --at 5 --then " not"
    """
    request = None
    if prompt is not None:
        request = Request(read_text(prompt), chat, system, template_args_of(template_args))
    stored = None if run is None else (run, arm, sample)
    place = place_of(model, request, stored, at=at, asking=work.drawing.asking, session=work.session)
    make_folder(work.out)
    taking = Taking(at or 0 if stored else 0, then, top, tuple(map(parse_way, way)), goes_on=not only)
    study = branch_of(place, taking, n=n_samples, max_tokens=max_tokens, session=work.session)
    work.run_arms(study, [Arm(ARM, place.model)], place.model_words)
