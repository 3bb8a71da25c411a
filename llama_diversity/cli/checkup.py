"""`llamadiv doctor MODEL`: what a file states, how the model reads neutral text behind each start, and its noise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from llama_diversity.cli.options import Common
from llama_diversity.cli.terminal import console
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.records import Asking
from llama_diversity.render.exhibits import written
from llama_diversity.render.jsonl import finite
from llama_diversity.render.safe import visible
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.checkup.analysis import TEXTS
from llama_diversity.studies.checkup.study import Checkup, _read_behind
from llama_diversity.studies.noise import REFERENCE, Noise, floor, noise_of
from llama_diversity.studies.session import opened
from llama_diversity.studies.words import start_words


def check_model(model: str, asking: Asking, common: Common) -> None:
    """Print what a file states and how it reads behind each start. Raises what opening a model raises, BadValue."""
    reference = resolve_model(model, common=common)
    with opened(reference, EngineOptions(), common) as engine:
        found = _read_behind(engine, asking, common)
        noise = noise_of(engine, common)
        if common.json:
            click.echo(json.dumps({**_as_json(engine, found), "noise": _noise_as_json(noise)}))
            return
        target = console(common.color)
        if not common.quiet:
            target.print(_stated(engine))
            for table in (_table(found), _noise_table(noise)):
                target.print(table)
                target.print()
        lines = [*_advice(found), _noise_words(noise)]
        target.print(Text("\n".join(visible(line) for line in lines)), soft_wrap=True)


def _stated(engine: Engine) -> Text:
    facts = engine.facts
    page = Text(f"{visible(facts.reference)}\n", "bold")
    for name, value in (
        ("what it is", facts.description),
        ("raw prompts begin with", start_words(facts.start)),
        ("wants a BOS", "yes" if facts.adds_bos else "no"),
        ("texts end at", " ".join(facts.ends) or "nothing"),
        ("chat template", "yes" if facts.has_chat_template else "no"),
    ):
        page.append(f"  {name:26}{visible(value)}\n", "not bold")
    for note in facts.notes:
        page.append(f"  {visible(note)}\n", "not bold")
    return page


def _table(found: Checkup) -> Table:
    table = Table(box=None, pad_edge=False, title=f"Surprisal of {len(TEXTS)} neutral texts", title_justify="left")
    for heading in ("--start", "begins with", "bits", "bits per token", "first token, bits"):
        table.add_column(heading, justify="right" if "bits" in heading else "left")
    for name, one in found.readings.items():
        total = sum(one.bits)
        first = sum(one.first_bits) / len(one.first_bits)
        table.add_row(
            Text(visible(name) + (" (chosen)" if name == found.chosen else "")),
            Text(visible(start_words(one.start))),
            f"{total:.1f}",
            f"{total / one.n_tokens:.3f}",
            "-" if math.isnan(first) else f"{first:.1f}",
        )
    return table


def _advice(found: Checkup) -> Iterator[str]:
    yield "Bits: all tokens but the first of each text, which has no context behind nothing."
    for name, excess in found.better:
        yield (
            f"Behind {start_words(found.readings[found.chosen].start)} the texts take {excess.mean:.1f} bits more each "
            f"than behind {start_words(found.readings[name].start)} (95 %: {excess.low:.1f} to {excess.high:.1f}). "
            "A start is no setting to be tuned; but look whether the file's own is the one the model was trained with."
        )
    if not found.better:
        yield "No start that was tried reads the texts clearly better than the chosen one."


def _noise_table(noise: Noise) -> Table:
    title = f"Noise of the arithmetic: {noise.n_tokens} tokens read in other ways than {REFERENCE.name}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("bits, absolute differences")
    for heading in ("surprisal, mean", "most", "entropy, mean", "KL"):
        table.add_column(heading, justify="right")
    for way, apart in noise.apart.items():
        numbers = (apart.surprisal_mean_bits, apart.surprisal_most_bits, apart.entropy_mean_bits, apart.kl_bits)
        table.add_row(way, *map(written, numbers))
    return table


def _noise_words(noise: Noise) -> str:
    least = floor([noise])
    return (
        f"The arithmetic alone moves the surprisal of a token by {written(least.surprisal_mean_bits)} bits on average "
        f"and makes a KL of {written(least.kl_bits)} bits per token; less than that between two models is no finding."
    )


def _noise_as_json(noise: Noise) -> dict[str, Any]:
    ways = {way: apart._asdict() for way, apart in noise.apart.items()}
    return {"n_tokens": noise.n_tokens, "reference": REFERENCE.name, "ways": ways, "floor": floor([noise])._asdict()}


def _as_json(engine: Engine, found: Checkup) -> dict[str, Any]:
    facts = engine.facts
    return {
        "model": facts.reference,
        "description": facts.description,
        "adds_bos": facts.adds_bos,
        "ends": list(facts.ends),
        "has_chat_template": facts.has_chat_template,
        "notes": list(facts.notes),
        "starts": {
            name: {
                "start": one.start,
                "total_bits": sum(one.bits),
                "n_tokens": one.n_tokens,
                "bits": list(one.bits),
                **finite({"first_token_bits": sum(one.first_bits) / len(one.first_bits)}),
            }
            for name, one in found.readings.items()
        },
        "chosen": found.chosen,
        "clearly_better": {name: finite(excess._asdict()) for name, excess in found.better},
    }
