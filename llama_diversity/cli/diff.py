"""`llamadiv diff`: the same texts under a base model and what became of it, token by token."""

from __future__ import annotations

import click
from click.core import ParameterSource

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.options import read_text
from llama_diversity.cli.results import Work, give, study_options
from llama_diversity.errors import BadUsage
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.diff.analysis import N_SAMPLES
from llama_diversity.studies.diff.study import Diff, run_given
from llama_diversity.studies.measuring.divergence import BLOCKED_ABOVE
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.results import make_folder
from llama_diversity.studies.samplers import SETTINGS

_OF_DRAWING = ("prompt", "n_samples", "max_tokens", *(one.name for one in SETTINGS), "seed", "parallel")


@click.command()
@click.argument("text", required=False)
@arms_options
@click.option(
    "-p",
    "--prompt",
    help=f"What the base model continues; `-` reads standard input less its last line break.  [default: {PROMPT}]",
)
@click.option("-n", "n_samples", type=int, help=f"Completions of the base model.  [default: {N_SAMPLES}]")
@click.option("--max-tokens", type=int, help=f"Longest completion.  [default: {MAX_TOKENS}]")
@click.option(
    "--blocked-above",
    "above",
    type=float,
    default=BLOCKED_ABOVE,
    show_default=True,
    help="Base probability from which on a token can be blocked; 0 counts all.",
)
@study_options
def diff(
    *,
    text: str | None,
    choice: Choice,
    prompt: str | None,
    n_samples: int | None,
    max_tokens: int | None,
    above: float,
    work: Work,
) -> None:
    """How far apart are two models at each token, and what does post-training block?

    Reads TEXT (`-`: standard input less its last line break), or without it the base model's own completions, with
    both models: exact KL both ways, entropies and surprisals token by token, and how much of what the base would say
    the aligned model all but forbids. Both models are in memory together. Samples are kept: the same command again
    draws nothing.

    \b
    Examples:
      llamadiv diff --pair llama-2-7b
      llamadiv diff "Grace Hopper was not a nurse."
    """
    if text is not None:
        _check_no_drawing()
        Diff(above=above).check_settings()
        result = run_given(
            read_text(text),
            resolve_choice(choice, work.session),
            asking=work.drawing.asking,
            session=work.session,
            above=above,
            words=choice.words(),
            typed=text,
            before=lambda: make_folder(work.out),
        )
        give(result, out=work.out, session=work.session, output=work.output)
        return
    one = Diff(
        PROMPT if prompt is None else read_text(prompt),
        N_SAMPLES if n_samples is None else n_samples,
        MAX_TOKENS if max_tokens is None else max_tokens,
        above,
    )
    work.run_alone(one, choice)


def _check_no_drawing() -> None:
    """Of a text that is given nothing is drawn: an option that says how would be ignored. Raises BadUsage."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in _OF_DRAWING and context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE:
            raise BadUsage(
                f"{option.opts[-1]} is for the base model's own completions, and of a TEXT none are drawn. Give either."
            )
