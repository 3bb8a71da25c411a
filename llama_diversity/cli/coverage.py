"""`llamadiv coverage`: how many kinds of output has each model for a prompt, seen and unseen?"""

from __future__ import annotations

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.options import completion_options, read_text
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.coverage.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.coverage.study import Coverage
from llama_diversity.studies.prompts import PROMPT


@click.command()
@arms_options
@completion_options(PROMPT, N_SAMPLES, MAX_TOKENS)
@click.option(
    "--by", type=click.Choice(["meaning", "text"]), default="meaning", show_default=True, help="What makes a kind."
)
@study_options
def coverage(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    by: str,
    work: Work,
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
    work.run_alone(one, choice)
