"""A checkup as a reader gets it: what a file states, how it reads behind each start, and its noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from llama_diversity.records import ModelFacts
from llama_diversity.render.exhibits import written
from llama_diversity.render.safe import visible
from llama_diversity.studies.checkup.analysis import TEXTS, Checkup
from llama_diversity.studies.measuring.noise import REFERENCE, Noise, floor
from llama_diversity.studies.words import start_words


def page(found: Checkup, *, is_short: bool) -> Iterator[RenderableType]:
    """All of it for a terminal, or the advice alone."""
    if not is_short:
        yield stated(found.facts)
        for table in (readings_table(found), *([noise_table(found.noise)] if found.noise else [])):
            yield table
            yield ""
    lines = [*advice(found), noise_words(found.noise) if found.noise else found.server]
    yield Text("\n".join(visible(line) for line in lines))


def stated(facts: ModelFacts) -> Text:
    """What the file says of itself."""
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


def readings_table(found: Checkup) -> Table:
    """How the texts read behind each start."""
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


def advice(found: Checkup) -> Iterator[str]:
    """Whether another start is clearly better."""
    yield "Bits: all tokens but the first of each text, which has no context behind nothing."
    for name, excess in found.better:
        yield (
            f"Behind {start_words(found.readings[found.chosen].start)} the texts take {excess.mean:.1f} bits more each "
            f"than behind {start_words(found.readings[name].start)} (95 %: {excess.low:.1f} to {excess.high:.1f}). "
            "A start is no setting to be tuned; but look whether the file's own is the one the model was trained with."
        )
    if not found.better:
        yield "No start that was tried reads the texts clearly better than the chosen one."


def noise_table(noise: Noise) -> Table:
    """How far the readings of one text lie apart."""
    title = f"Noise of the arithmetic: {noise.n_tokens} tokens read in other ways than {REFERENCE.name}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("bits, absolute differences")
    for heading in ("surprisal, mean", "most", "entropy, mean", "KL"):
        table.add_column(heading, justify="right")
    for way, apart in noise.apart.items():
        numbers = (apart.surprisal_mean_bits, apart.surprisal_most_bits, apart.entropy_mean_bits, apart.kl_bits)
        table.add_row(way, *map(written, numbers))
    return table


def noise_words(noise: Noise) -> str:
    """What is no finding between two models."""
    least = floor([noise])
    return (
        f"The arithmetic alone moves the surprisal of a token by {written(least.surprisal_mean_bits)} bits on average "
        f"and makes a KL of {written(least.kl_bits)} bits per token; less than that between two models is no finding."
    )
