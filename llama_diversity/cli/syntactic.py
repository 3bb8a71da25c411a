"""`llamadiv syntactic`: Experiment 3 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.options import completion_options, read_text
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.syntactic.analysis import MAX_TOKENS, N_SAMPLES, PROMPT
from llama_diversity.studies.syntactic.study import Syntactic


@click.command()
@arms_options
@completion_options(PROMPT, N_SAMPLES, MAX_TOKENS)
@study_options
def syntactic(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    work: Work,
) -> None:
    """Experiment 3: how spread out are the next-token distributions of a base and an aligned model?

    Draws completions of one raw prompt from each and compares the entropies of their tokens, as the paper does and
    over the whole vocabulary. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv syntactic --pair llama-2-7b
    """
    one = Syntactic(read_text(prompt), n_samples, max_tokens)
    work.run_alone(one, choice)
