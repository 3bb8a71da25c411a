"""`llamadiv semantic`: Experiment 2 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from pathlib import Path

import click

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import common_options, completion_options, drawing_options, layout_options, read_text
from llama_diversity.cli.output import Output
from llama_diversity.cli.results import run_alone
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.semantic.analysis import N_SAMPLES
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session


@click.command()
@arms_options
@completion_options(PROMPT, N_SAMPLES, MAX_TOKENS)
@figure_options
@drawing_options
@layout_options
@common_options
def semantic(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    session: Session,
    output: Output,
) -> None:
    """Experiment 2: how alike are the completions of one prompt, and how many kinds of them are there?

    Compares words (TF-IDF) and meanings (sentence embeddings), draws the map of the paper's Figure 10, and counts
    kinds on classes that all models share. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv semantic --ladder tiny
    """
    experiment = Semantic(read_text(prompt), n_samples, max_tokens)
    run_alone(experiment, choice=choice, drawing=drawing, session=session, output=output, out=out)
