"""`llamadiv sample`: many completions of one prompt."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

import click
from click.core import ParameterSource

from llama_diversity.cli.options import (
    common_options,
    drawing_options,
    layout_options,
    model_option,
    read_text,
    template_arg_option,
)
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.errors import BadUsage
from llama_diversity.records import Sample
from llama_diversity.render import sample_pages as pages
from llama_diversity.render.terminal import console
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.sampling import Rendered, Request, Sampling, check_n, grammar_of, rendered, sampling
from llama_diversity.studies.session import Session
from llama_diversity.studies.words import start_words, template_args_of


@click.command()
@model_option
@click.option(
    "-p", "--prompt", required=True, help="What to continue; `-` reads standard input less its last line break."
)
@click.option("-n", "n_samples", type=int, default=10, show_default=True, help="How many completions.")
@click.option("--max-tokens", type=int, default=64, show_default=True, help="Longest completion.")
@click.option("--chat", is_flag=True, help="Ask through the model's own chat template.")
@click.option("--system", help="A system message, with --chat.")
@template_arg_option
@click.option("--stop", multiple=True, help="End a completion before this text; may be repeated.")
@click.option("--grammar", type=click.File("rb"), help="Draw only texts of this grammar (a GBNF file, rule `root`).")
@click.option("--arithmetic", is_flag=True, help="Draw the N as one set, spread out by stratified codes.")
@click.option("--show-prompt", is_flag=True, help="Print the prompt as the model sees it, and draw nothing.")
@drawing_options
@layout_options
@common_options
def sample(
    *,
    model: str,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    chat: bool,
    system: str | None,
    template_args: tuple[str, ...],
    stop: tuple[str, ...],
    grammar: BinaryIO | None,
    arithmetic: bool,
    show_prompt: bool,
    drawing: Drawing,
    session: Session,
    output: Output,
) -> None:
    """Draw many completions of one prompt, with the exact statistics of every token.

    The prompt is decoded once. Samples are kept in the store: the same command again prints them without drawing, a
    larger -n draws the rest. Nothing is truncated unless you ask for it. A grammar changes the distribution: each token
    is drawn from those it allows next, by their renormalised probabilities. With --arithmetic the N texts differ more
    than independent ones (arXiv 2210.15458): a way to draw a set, and never an estimate of the model's diversity.

    \b
    Example:
      llamadiv sample -m llama-2-7b -p "Grace Hopper was" -n 200 --max-tokens 128
    """
    check_n(n_samples)  # said before a model is read for nothing
    if chat and click.get_current_context().get_parameter_source("start") == ParameterSource.COMMANDLINE:
        raise BadUsage("--start is for raw prompts: a chat template writes its own beginning. Give either.")
    args, reference = template_args_of(template_args), session.model(model)
    request = Request(read_text(prompt), chat, system, args)
    if show_prompt:
        _print_prompt(rendered(reference, request, drawing.asking, session), output)
        return
    with sampling(
        reference,
        request,
        n=n_samples,
        max_tokens=max_tokens,
        drawing=dataclasses.replace(drawing, is_set=arithmetic),
        session=session,
        stop=stop,
        grammar=None if grammar is None else grammar_of(grammar),
    ) as samples:
        for one in samples:
            _print_sample(one, samples, output)
    if not output.quiet:
        coloured = f"`llamadiv heatmap --run {samples.run} --sample 0` colours one."
        say(f"{samples.words}, run {samples.run}; {coloured}")
    elif not output.json:
        click.echo(samples.run)


def _print_prompt(shown: Rendered, output: Output) -> None:
    prompt, start = shown
    if output.json:
        print_json(pages.prompt_as_json(prompt, start))
        return
    for text, words in pages.of_prompt(prompt, "" if start is None else f"begins with {start_words(start)}, "):
        click.echo(text)
        say(words)


def _print_sample(sample: Sample, samples: Sampling, output: Output) -> None:
    if output.json:
        print_json(samples.to_dict(sample))
    elif not output.quiet:
        out = console(output.color)
        for line in pages.lines_of_sample(sample, out):
            out.print(line, soft_wrap=not out.is_terminal)  # a file or a pipe gets the lines that the model wrote
