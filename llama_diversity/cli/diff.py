"""`llamadiv diff`: the same texts under a base model and what became of it, token by token."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from llama_diversity.cli.arms import arms_options
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.results import give
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue, Interrupted
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.diff.analysis import MAX_TOKENS, N_SAMPLES, PROMPT
from llama_diversity.studies.diff.study import Diff, _above_words, _given, _result, _text_words, read_by, same_tokens
from llama_diversity.studies.divergence import BLOCKED_ABOVE
from llama_diversity.studies.results import make_folder, with_starts
from llama_diversity.studies.session import (
    Drawing,
)
from llama_diversity.studies.study import check_n
from llama_diversity.studies.words import asking_words

_OF_DRAWING = ("prompt", "n_samples", "max_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "parallel")


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
@figure_options
@drawing_options
@layout_options
@common_options
def diff(
    *,
    text: str | None,
    choice: Choice,
    prompt: str | None,
    n_samples: int | None,
    max_tokens: int | None,
    above: float,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
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
    if not 0 <= above < 1:
        raise BadValue("--blocked-above", above, "it must be a probability from 0 to below 1")
    arms = resolve_choice(choice, common)
    if text is not None:
        _check_no_drawing()
        options = [*choice.words(), *_above_words(above), *asking_words(drawing.asking)]
        command = shlex.join(["llamadiv", "diff", *options, *_text_words(text)])
        try:
            given, start = _given(read_text(text), arms, drawing.asking, layout, common)
            make_folder(out)
            read = read_by(arms, given, above=above, layout=layout, common=common)
            found = _result(read, arms, None, Diff(above=above), command)
            found = with_starts(found, {arm.model.reference: [start] for arm in arms})
            give(found, out=out, run_id=None, common=common)
        except (click.Abort, KeyboardInterrupt) as error:
            raise Interrupted("Interrupted. Nothing is kept of a text; the same command starts again.") from error
        return
    one = Diff(
        PROMPT if prompt is None else read_text(prompt),
        N_SAMPLES if n_samples is None else n_samples,
        MAX_TOKENS if max_tokens is None else max_tokens,
        above,
    )
    check_n(one.n, Diff.least, "completions")
    same_tokens(one.prompt, arms, drawing.asking, layout, common, max_tokens=one.max_tokens)
    make_folder(out)
    with conducted([one], arms, choice.words(), drawing=drawing, layout=layout, common=common) as (run_id, [drawn]):
        result = with_starts(one.measured(drawn, arms, layout), drawn.starts())
    give(result, out=out, run_id=run_id, common=common)


def _check_no_drawing() -> None:
    """Of a text that is given nothing is drawn: an option that says how would be ignored. Raises UsageError."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in _OF_DRAWING and context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option.opts[-1]} is for the base model's own completions, and of a TEXT none are drawn. Give either."
            )
