"""`llamadiv perturb`: section 5.1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from typing import Any

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.complete import complete_run
from llama_diversity.cli.prompts import prompts_options
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.perturb import analysis
from llama_diversity.studies.perturb.perturbations import change_of
from llama_diversity.studies.perturb.study import perturb_of
from llama_diversity.studies.prompts import Prompts


class _Doses(click.ParamType[tuple[int, ...]]):
    """Sizes of the change, "1,2,4"."""

    name = "1,2,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if not all(part.strip().isdecimal() and 1 <= int(part) <= 1000 for part in parts):
            self.fail(f"{value!r} is no list of numbers from 1 on, like 1,2,4.", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


@click.command()
@arms_options
@prompts_options
@click.option(
    "--replace",
    nargs=2,
    metavar="OLD NEW",
    help="Change the last OLD of the first two sentences.  [default: was, was not]",
)
@click.option("--insert", metavar="TEXT", help="Put TEXT into the opening instead; --at says where.")
@click.option("--at", type=int, metavar="K", help="With --insert: behind the first K words.")
@click.option("--swap-token", type=int, metavar="K", help="Instead: another token for number K of the completion.")
@click.option("--typos", type=float, metavar="RATE", help="Instead: mistype this share of the opening's letters.")
@click.option(
    "--opening-of", metavar="RUN", shell_complete=complete_run, help="Instead: the openings of a run of `branch`."
)
@click.option("--dose", type=_Doses(), default=(1,), help="Sizes of the change, like 1,2,4.  [default: 1]")
@click.option(
    "-n",
    "n_samples",
    type=int,
    default=analysis.N_SAMPLES,
    show_default=True,
    help="Continuations of each arm.",
)
@click.option("--openings", type=int, help=f"Openings to spread them over.  [default: {analysis.N_OPENINGS}]")
@click.option("--max-tokens", type=int, default=analysis.MAX_TOKENS, show_default=True, help="Longest continuation.")
@study_options
def perturb(
    *,
    choice: Choice,
    named: Prompts | None,
    replace: tuple[str, str] | None,
    insert: str | None,
    at: int | None,
    swap_token: int | None,
    typos: float | None,
    opening_of: str | None,
    dose: tuple[int, ...],
    n_samples: int,
    openings: int | None,
    max_tokens: int,
    work: Work,
) -> None:
    """Section 5.1: nudge a model off its path; does it find its way back to what it always says?

    Takes openings from the aligned model's own completions of the paper's prompt and of the shipped openings, or of
    prompts of yours, changes them, and lets every model continue both, and the base model also at temperature 0.3. The
    openings are the units: `--openings 1` is the paper's single one. All is asked raw: no chat template takes part, and
    none can be given values. Samples are kept: the same command again draws nothing.

    \b
    Examples:
      llamadiv perturb --replace competed slept
      llamadiv perturb --typos 0.05 --dose 1,2,4
    """
    typed = change_of(replace, insert, at, swap_token, typos, work.drawing.seed)
    how = {"doses": dose, "n": n_samples, "n_openings": openings, "max_tokens": max_tokens}
    work.run_alone(perturb_of(typed, opening_of, named, work.session, **how), choice)
