"""`llamadiv personas`: Experiment 1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from llama_diversity.cli.arms import Arm, Choice, arms_options, resolve_choice
from llama_diversity.cli.encoding import texts_of
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options
from llama_diversity.cli.results import drawing_words, give
from llama_diversity.cli.session import fill, opened, plan_cell, reading, start_run
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.exhibits.personas import Facts, section
from llama_diversity.experiments import personas as experiment
from llama_diversity.experiments.persona_examples import REQUEST, document
from llama_diversity.records import MAX_SAMPLES, Cell
from llama_diversity.render.jsonl import finite
from llama_diversity.store import Store


@click.command()
@arms_options
@click.option("-n", "n_samples", type=int, default=experiment.N_SAMPLES, show_default=True, help="Personas of each.")
@click.option("--max-tokens", type=int, default=experiment.MAX_TOKENS, show_default=True, help="Longest completion.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def personas(
    *,
    choice: Choice,
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Experiment 1: how varied are the customers that a model makes up, and what do they say of a product?

    The base model continues a form with two worked examples, in ten versions; the others are asked through their chat
    template. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv personas --pair llama-2-7b
    """
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise BadValue("-n", n_samples, f"ask for 1 to {MAX_SAMPLES:,} personas")
    arms = resolve_choice(choice, common)
    with Store.open(common.store) as store:
        planned = [
            _planned(arm, n_samples, max_tokens, drawing, layout, common, is_base=position == 0)
            for position, arm in enumerate(arms)
        ]
        run_id = start_run(store)
        for cells in planned:
            for cell in cells:
                store.add_cell(run_id, cell, about={})  # a run that is cut short knows what it lacks
        for arm, cells in zip(arms, planned, strict=True):
            with opened(arm.model, layout, common) as engine:
                for cell in cells:
                    fill(cell, engine, store, run_id, common)
        store.finish_run(run_id)
        texts = {
            arm.name: [text for cell in cells for text in texts_of(list(store.samples(cell.recipe.key, cell.n)))]
            for arm, cells in zip(arms, planned, strict=True)
        }
    result = experiment.analyse(texts, forms=[arms[0].name])
    facts = Facts(
        {arm.name: arm.model.reference for arm in arms},
        {arm.name: _asked(cells) for arm, cells in zip(arms, planned, strict=True)},
    )
    command = _command(choice, n_samples, max_tokens, drawing)
    shown = section(result, facts, command)
    give(shown, _as_json(result, facts), out=out, run_id=run_id, common=common)


def _planned(
    arm: Arm, n: int, max_tokens: int, drawing: Drawing, layout: EngineOptions, common: Common, *, is_base: bool
) -> list[Cell]:
    """A cell for each form of the base model, in turn; one cell for a model that is asked.

    A model whose context has no room for `max_tokens` gets what room there is.
    """
    cells = []
    with reading(arm.model, layout, common) as engine:
        for number in range(experiment.N_DOCUMENTS if is_base else 1):
            n_here = len(range(number, n, experiment.N_DOCUMENTS)) if is_base else n
            if not n_here:
                continue
            if is_base:
                prompt = engine.prompt(document(number, n_examples=experiment.N_EXAMPLES))
            else:
                prompt = engine.prompt(REQUEST, chat=True)
            room = engine.facts.n_ctx_train - len(prompt.ids)
            cells.append(
                plan_cell(
                    engine,
                    arm.model,
                    prompt,
                    arm=f"{arm.name}, form {number}" if is_base else arm.name,
                    n=n_here,
                    max_tokens=max(1, min(max_tokens, room)),
                    drawing=drawing,
                    layout=layout,
                    stop=experiment.STOP if is_base else (),
                )
            )
    return cells


def _asked(cells: Sequence[Cell]) -> str:
    n = sum(cell.n for cell in cells)
    longest = min(cell.recipe.max_tokens for cell in cells)
    way = "the chat template" if cells[0].recipe.prompt.mode == "chat" else f"{len(cells)} forms with worked examples"
    return f"{n} by {way}, at most {longest} tokens"


def _command(choice: Choice, n: int, max_tokens: int, drawing: Drawing) -> str:
    """The command line that makes the same again, with what differs from the defaults."""
    typed = ["llamadiv", "personas", *choice.words()]
    typed += ["-n", str(n)] if n != experiment.N_SAMPLES else []
    typed += ["--max-tokens", str(max_tokens)] if max_tokens != experiment.MAX_TOKENS else []
    return shlex.join([*typed, *drawing_words(drawing)])


def _as_json(found: experiment.Result, facts: Facts) -> dict[str, Any]:
    arms = {
        name: {
            "model": facts.models[name],
            "n": arm.n,
            "valid": arm.valid._asdict(),
            "reasons": dict(arm.reasons),
            "fields": {
                field: {
                    "counts": dict(one.counts),
                    "entropy_nats": one.entropy_nats._asdict(),
                    "rarefied": {"m": found.m, **one.rarefied._asdict()},
                    "concentration": one.concentration._asdict(),
                    "coverage": one.coverage._asdict(),
                }
                for field, one in arm.fields.items()
            },
            "numbers": {number: finite(summary._asdict()) for number, summary in arm.summaries.items()},
        }
        for name, arm in found.arms.items()
    }
    differences = {
        name: {
            "retained": {
                field: {**one._asdict(), "p_holm": found.adjusted_p[name][field]} for field, one in fields.items()
            },
            "numbers": {number: finite(one._asdict()) for number, one in found.differences[name].items()},
        }
        for name, fields in found.retained.items()
    }
    return {"arms": arms, "differences": differences}
