"""The first look as a reader gets it: two texts in colour, three rows, and what they say in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from llama_diversity.decimals import decimals
from llama_diversity.metrics.inference import Difference, Summary
from llama_diversity.render.exhibits import Plain, plain_in_terminal
from llama_diversity.render.safe import visible
from llama_diversity.studies.plain import told
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.semantic import plain as meanings
from llama_diversity.studies.syntactic import analysis as syntactic
from llama_diversity.studies.syntactic import plain as tokens

_QUANTITIES = {
    "entropy_bits": "Experiment 3: entropy, bits",
    "tf_idf_cosine": "Experiment 2: TF-IDF cosine",
    "sbert_cosine": "Experiment 2: SBERT cosine",
}


class Row(NamedTuple):
    """One quantity of both arms and their difference."""

    base: Summary
    aligned: Summary
    difference: Difference


def in_short(alike: semantic.Result, entropies: syntactic.Result, prompts: tuple[str, str]) -> Plain:
    """Both experiments in plain sentences; `prompts` are theirs."""
    found = [meanings.alike(alike, prompts[0]), tokens.choices(entropies, prompts[1])]
    return told([one for one in found if one is not None], {})


def picture(
    pair: str, rows: Mapping[str, Row], heatmap: RenderableType, plain: Plain, store: Path | None
) -> Iterator[RenderableType]:
    """What `demo` shows, from top to bottom; `store` is the file that was named to keep the run."""
    yield Text(visible(f"What did post-training take away? The pair {pair}, base against aligned."))
    yield Text()
    yield heatmap
    yield Text()
    yield _table(rows)
    yield Text()
    yield Text("Entropy: mean over a completion's tokens. Cosine: mean over pairs of completions, IDF of both arms.")
    yield Text("Intervals are over completions, not over pairs. One prompt each: no claim about others.")
    yield from plain_in_terminal(plain)
    yield from _next_steps(store)


def _table(rows: Mapping[str, Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("base", "aligned", "aligned - base", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, (base, aligned, difference) in rows.items():
        table.add_row(
            _QUANTITIES[name],
            decimals(base.mean, ".3f"),
            decimals(aligned.mean, ".3f"),
            decimals(difference.mean, "+.3f"),
            f"{decimals(difference.low, '+.3f')} to {decimals(difference.high, '+.3f')}",
        )
    return table


def _next_steps(store: Path | None) -> Iterator[Text]:
    yield Text("Look into these texts, token by token, with keys:")
    yield Text(visible("  llamadiv view last" + (f" --store {shlex.quote(str(store))}" if store else "")))
    yield Text("Next, a real pair (290 MB, asks before it fetches), or the paper's own (8.2 GB):")
    yield Text("  llamadiv reproduce --pair smollm2-135m")
    yield Text("  llamadiv reproduce --pair llama-2-7b")
    yield Text("What each number means: docs/method.md. How the tiny pair was grown: docs/lab.md.")
