"""`llamadiv semantic`: Experiment 2 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.options import completion_options, read_text
from llama_diversity.cli.results import Work, study_options
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.semantic.analysis import N_SAMPLES
from llama_diversity.studies.semantic.study import Semantic


@click.command()
@arms_options
@completion_options(PROMPT, N_SAMPLES, MAX_TOKENS)
@study_options
def semantic(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    work: Work,
) -> None:
    """Experiment 2: how alike are the completions of one prompt, and how many kinds of them are there?

    Compares words (TF-IDF) and meanings (sentence embeddings), draws the map of the paper's Figure 10, and counts
    kinds on classes that all models share. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv semantic --ladder tiny
    """
    experiment = Semantic(read_text(prompt), n_samples, max_tokens)
    work.run_alone(experiment, choice)
