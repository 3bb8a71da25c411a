"""`llamadiv sample`: many completions of one prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import click
from click.core import ParameterSource
from rich.text import Text

from llama_diversity.answers import Reader
from llama_diversity.cli.options import (
    Common,
    common_options,
    drawing_options,
    layout_options,
    model_option,
    read_text,
    template_arg_option,
)
from llama_diversity.cli.terminal import console
from llama_diversity.decimals import counted
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.records import MAX_SAMPLES, Cell, Piece, Prompt, Sample, seen_ids
from llama_diversity.render.jsonl import sample_object, to_line
from llama_diversity.render.safe import visible
from llama_diversity.resolve import resolve_model
from llama_diversity.store import Store
from llama_diversity.studies.session import (
    Drawing,
    draw,
    in_order,
    opened,
    plan_cell,
    reading,
    say_unknown_start,
    start_run,
)
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
    show_prompt: bool,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Draw many completions of one prompt, with the exact statistics of every token.

    The prompt is decoded once. Samples are kept in the store: the same command again prints them without drawing, a
    larger -n draws the rest. Nothing is truncated unless you ask for it. A grammar changes the distribution: each token
    is drawn from those it allows next, by their renormalised probabilities.

    \b
    Example:
      llamadiv sample -m llama-2-7b -p "Grace Hopper was" -n 200 --max-tokens 128
    """
    if not 1 <= n_samples <= MAX_SAMPLES:  # said before a model is loaded for nothing
        raise BadValue("-n", n_samples, f"ask for 1 to {MAX_SAMPLES:,} samples")
    if chat and click.get_current_context().get_parameter_source("start") == ParameterSource.COMMANDLINE:
        raise click.UsageError("--start is for raw prompts: a chat template writes its own beginning. Give either.")
    asked: dict[str, Any] = {"chat": chat, "system": system, "template_args": template_args_of(template_args)}
    reference = resolve_model(model, common=common)
    if show_prompt:
        with reading(reference, layout, common) as engine:
            rendered = engine.prompt(read_text(prompt), **asked, asking=drawing.asking)
            _print_prompt(rendered, _start_of(engine, rendered, drawing, common), common)
        return
    with Store.open(common.store) as store, opened(reference, layout, common) as engine:
        rendered = engine.prompt(read_text(prompt), **asked, asking=drawing.asking)
        start = _start_of(engine, rendered, drawing, common)
        cell = plan_cell(
            engine,
            reference,
            rendered,
            arm="sample",
            n=n_samples,
            max_tokens=max_tokens,
            drawing=drawing,
            layout=layout,
            stop=stop,
            grammar=_grammar_text(grammar),
        )
        run_id = start_run(store)
        for drawn in in_order(cell, store, draw(cell, engine, store, run_id, common)):
            _print_sample(drawn, cell, store, common)
        store.finish_run(run_id)
    if not common.quiet:
        _print_footer(cell, start, run_id)
    elif not common.json:
        click.echo(run_id)


def _grammar_text(file: BinaryIO | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise BadValue("--grammar", file.name, "it must be a file of UTF-8 text") from error


def _start_of(engine: Engine, prompt: Prompt, drawing: Drawing, common: Common) -> str | None:
    """What a raw prompt begins with, as it is spelled; None for a rendered one."""
    if prompt.mode != "raw":
        return None
    say_unknown_start(engine, drawing.asking, common)
    return engine.start(drawing.asking).text


def _print_prompt(prompt: Prompt, start: str | None, common: Common) -> None:
    if common.json:
        click.echo(json.dumps({"mode": prompt.mode, "start": start, "rendered": prompt.rendered, "ids": prompt.ids}))
    else:
        click.echo(visible(prompt.rendered, newline="keep"))
        begins = "" if start is None else f"begins with {start_words(start)}, "
        click.echo(visible(f"{begins}{counted(len(prompt.ids), 'token')}: {' '.join(map(str, prompt.ids))}"), err=True)


def _print_sample(sample: Sample, cell: Cell, store: Store, common: Common) -> None:
    if common.json:
        pieces = store.pieces(cell.recipe.vocab_digest, seen_ids(sample.tokens))
        answer = _reader(cell, pieces).read(sample)
        described = sample_object(sample, pieces, neutral=cell.recipe.is_neutral, answer=answer)
        click.echo(to_line(described))
    elif not common.quiet:
        bits = float(sample.tokens["surprisal_bits"].mean())
        head = f"#{sample.index}  {counted(len(sample.tokens), 'token')}, {bits:.2f} bits/token, {sample.finish_reason}"
        out = console(common.color)
        out.print(Text(head, style="bold"))
        shown = visible(sample.text.decode("utf-8", "replace"), newline="keep", encoding=out.encoding)
        out.print(Text(shown), soft_wrap=not out.is_terminal)  # a file or a pipe gets the lines that the model wrote


def _reader(cell: Cell, pieces: Mapping[int, Piece]) -> Reader:
    controls = {token: piece.control for token, piece in pieces.items() if piece.control is not None}
    return Reader(cell.recipe.prompt, controls, lambda ids: pieces)


def _print_footer(cell: Cell, start: str | None, run_id: str) -> None:
    bounds = "" if cell.recipe.grammar is None else " within the grammar"
    begins = "" if start is None else f", behind {start_words(start)}"
    drawn = f"seed {cell.recipe.seed}"
    if cell.recipe.sampler.temperature == 0:
        drawn = "the likeliest token each time" + (", so all are alike" if cell.n > 1 else "")
    words = f"{counted(cell.n, 'sample')} of {cell.reference}{bounds}{begins}, {drawn}, run {run_id}"
    click.echo(visible(f"{words}; `llamadiv heatmap --run {run_id} --sample 0` colours one."), err=True)
