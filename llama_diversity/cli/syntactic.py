"""`llamadiv syntactic`: Experiment 3 of the paper on any pair of models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.options import (
    Common,
    Drawing,
    common_options,
    drawing_options,
    layout_options,
    read_text,
)
from llama_diversity.cli.resolve import resolve_arms, resolve_model
from llama_diversity.cli.session import ARMS, fill, opened, plan_arms, start_run
from llama_diversity.cli.terminal import console
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.experiments.syntactic import (
    MAX_TOKENS,
    MEASURES,
    N_FIGURE_TOKENS,
    N_SAMPLES,
    PROMPT,
    Arm,
    Result,
    analyse,
)
from llama_diversity.records import MAX_SAMPLES, Cell, seen_ids
from llama_diversity.render.files import write_whole
from llama_diversity.render.jsonl import finite, to_line
from llama_diversity.render.plots import (
    ArmSummary,
    BoxPlots,
    DifferenceSummary,
    EntropyStrip,
    StackedProbabilities,
    summary_table,
)
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.store import Store

_CHART_FORMATS = ("png", "svg", "pdf")
_HEADLINES = {
    "entropy_bits": "entropy of the whole vocabulary",
    "top5_raw_bits": "entropy of the five likeliest (Eq. 3.2)",
}


@click.command()
@click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]")
@click.option("--base", shell_complete=complete_model, help="The base model.")
@click.option("--aligned", shell_complete=complete_model, help="The aligned model.")
@click.option("-p", "--prompt", default=PROMPT, show_default=True, help="What both continue; `-` reads standard input.")
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Completions of each model.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest completion.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def syntactic(
    *,
    pair: str | None,
    base: str | None,
    aligned: str | None,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Experiment 3: how spread out are the next-token distributions of a base and an aligned model?

    Draws completions of one raw prompt from both and compares the entropies of their tokens, as the paper does and
    over the whole vocabulary. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv syntactic --pair llama-2-7b
    """
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise BadValue("-n", n_samples, f"ask for 1 to {MAX_SAMPLES:,} samples")
    models = [resolve_model(name, common=common) for name in resolve_arms(pair, base, aligned)]
    with Store.open(common.store) as store:
        cells = plan_arms(
            models,
            read_text(prompt),
            n=n_samples,
            max_tokens=max_tokens,
            drawing=drawing,
            layout=layout,
            common=common,
        )
        run_id = start_run(store)
        for model, cell in zip(models, cells, strict=True):
            with opened(model, layout, common) as engine:
                fill(cell, engine, store, run_id, common)
        store.finish_run(run_id)
        result = analyse({cell.arm: store.samples(cell.recipe.key, cell.n) for cell in cells})
        examples = {cell.arm: _example(result.arms[cell.arm], cell, store) for cell in cells}
    report = _as_json(result, cells, run_id)
    if out is not None:
        _write(out, result, examples, report, common)
    if common.json:
        click.echo(to_line(report))
    elif common.quiet:
        click.echo(run_id)
    else:
        console(common.color).print(_drawn(result, examples, cells))
        click.echo(visible(f"run {run_id}, kept in {common.store}"), err=True)


def _example(arm: Arm, cell: Cell, store: Store) -> tuple[ScoredToken, ...]:
    """The first tokens of the arm's first sample, as Figures 12 and 13 show them."""
    tokens = arm.example.tokens[:N_FIGURE_TOKENS]
    return scored_tokens(tokens, store.pieces(cell.recipe.vocab_digest, seen_ids(tokens)).__getitem__)


# ---- numbers


def _as_json(result: Result, cells: list[Cell], run_id: str) -> dict[str, Any]:
    arms = {}
    for cell in cells:
        arm = result.arms[cell.arm]
        arms[cell.arm] = {
            "model": cell.reference,
            **{name: finite(arm.measures[name]._asdict()) for name in MEASURES},
            "entropy_rate": finite(arm.entropy_rate._asdict()),
            "self_check_z": finite({"z": arm.self_check_z})["z"],
            "n_tokens": arm.n_tokens,
        }
    recipe = cells[0].recipe
    return {
        "arms": arms,
        "difference": {
            "definition": "aligned - base, 95 % Welch interval over completions",
            **{name: finite(result.difference[name]._asdict()) for name in MEASURES},
        },
        "prompt": recipe.prompt.text,
        "max_tokens": recipe.max_tokens,
        "seed": recipe.seed,
        "run": run_id,
    }


# ---- pictures


def _drawn(result: Result, examples: Mapping[str, tuple[ScoredToken, ...]], cells: list[Cell]) -> RenderableType:
    return Group(*_parts(result, examples, cells))


def _parts(
    result: Result, examples: Mapping[str, tuple[ScoredToken, ...]], cells: list[Cell]
) -> Iterator[RenderableType]:
    recipe = cells[0].recipe
    yield Text(visible(f"Prompt: {recipe.prompt.text}"))
    yield Text(visible(f"base {cells[0].reference}, aligned {cells[1].reference}, seed {recipe.seed}"))
    for name, words in _HEADLINES.items():
        yield Text()
        yield BoxPlots(
            {arm: result.arms[arm].completion_means[name] for arm in ARMS},
            title=f"Mean {words} of each completion",
            unit="bits per token",
        )
        yield _table(result, name)
    yield Text()
    title = f"first {N_FIGURE_TOKENS} tokens of sample 0"
    yield EntropyStrip(examples, title=f"Token entropies, {title}")
    yield Text()
    yield StackedProbabilities(examples, title=f"Probabilities of the likeliest tokens, {title}")
    yield Text()
    yield from _remarks(result)


def _table(result: Result, name: str) -> RenderableType:
    arms = [ArmSummary(arm, *result.arms[arm].measures[name]) for arm in ARMS]
    difference = DifferenceSummary("aligned - base", *result.difference[name])
    return summary_table(arms, difference, unit="bits")


def _remarks(result: Result) -> Iterator[Text]:
    for arm in ARMS:
        rate, z = result.arms[arm].entropy_rate, result.arms[arm].self_check_z
        spread = "" if math.isnan(rate.se_bits) else f" (se {rate.se_bits:.3f})"
        check = "needs two samples" if math.isnan(z) else f"z = {z:+.2f}"
        yield Text(f"{arm}: entropy rate {rate.bits_per_token:.3f} bits per token{spread}; self-check {check}")
    yield Text("One prompt: the result holds for this prompt, not for prompts in general.")


def _write(
    folder: Path,
    result: Result,
    examples: Mapping[str, tuple[ScoredToken, ...]],
    report: Mapping[str, Any],
    common: Common,
) -> None:
    """Figures 11 to 13 in three formats, and the numbers; the files' paths are said on stderr."""
    from llama_diversity.render import charts  # Altair is heavy and only needed for files

    recipe = f"n = {result.arms['base'].measures['entropy_bits'].n} completions of each model"
    first = f"first {N_FIGURE_TOKENS} tokens of sample 0"
    figures: dict[str, charts.Chart] = {
        "figure-11-mean-entropies": charts.entropy_box_plot(
            {arm: result.arms[arm].completion_means["entropy_bits"] for arm in ARMS},
            unit="mean entropy, bits per token",
            title="Mean token entropy of each completion",
            subtitle=f"whole vocabulary, {recipe}",
        ),
        "figure-11-mean-top5-entropies": charts.entropy_box_plot(
            {arm: result.arms[arm].completion_means["top5_raw_bits"] for arm in ARMS},
            unit="mean entropy of the five likeliest, bits per token",
            title="Mean top-five entropy of each completion (Eq. 3.2)",
            subtitle=recipe,
        ),
        "figure-12-token-entropies": charts.token_entropies(examples, title="Token entropies", subtitle=first),
        "figure-13-token-probabilities": charts.stacked_probabilities(
            examples, title="Probabilities of the five likeliest tokens", subtitle=first
        ),
    }
    for name, figure in figures.items():
        for kind in _CHART_FORMATS:
            charts.save_chart(figure, folder / f"{name}.{kind}")
    write_whole(folder / "syntactic.json", json.dumps(report, indent=1) + "\n")
    if not common.quiet:
        click.echo(visible(f"Figures and numbers are in {folder}"), err=True)
