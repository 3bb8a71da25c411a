"""`llamadiv coverage`: how many kinds of output has each model for a prompt, seen and unseen?"""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import common_options, completion_options, drawing_options, layout_options, read_text
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import run_alone
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.coverage.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.coverage.study import Coverage
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.prompts import PROMPT
from llama_diversity.studies.session import Session


@click.command()
@arms_options
@completion_options(PROMPT, N_SAMPLES, MAX_TOKENS)
@click.option(
    "--by", type=click.Choice(["meaning", "text"]), default="meaning", show_default=True, help="What makes a kind."
)
@figure_options
@drawing_options
@layout_options
@common_options
def coverage(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    by: str,
    out: Path | None,
    drawing: Drawing,
    session: Session,
    output: Output,
) -> None:
    """How many kinds of output has each model for a prompt, seen and unseen, and how many more outputs would show them?

    Draws completions, puts them into kinds by meaning (or equal text), and says which share of each model's output mass
    has been seen. The prompt is asked raw, so no chat template takes part and none can be given values (`compare --arm`
    asks through one). Samples are kept: the same command again draws nothing, a larger -n draws the rest.

    \b
    Example:
      llamadiv coverage --ladder tiny
    """
    one = Coverage(read_text(prompt), n_samples, max_tokens, by)
    run_alone(one, choice=choice, drawing=drawing, session=session, output=output, out=out)
