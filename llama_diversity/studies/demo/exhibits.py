"""The first look as a reader gets it: two texts in colour, three rows, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from llama_diversity.decimals import decimals
from llama_diversity.metrics.inference import Difference, Summary
from llama_diversity.render.safe import visible

_QUANTITIES = {
    "entropy_bits": ("Experiment 3: entropy, bits", "spread of the next token"),
    "tf_idf_cosine": ("Experiment 2: TF-IDF cosine", "likeness of the words"),
    "sbert_cosine": ("Experiment 2: SBERT cosine", "likeness of the meanings"),
}


class Row(NamedTuple):
    """One quantity of both arms and their difference."""

    base: Summary
    aligned: Summary
    difference: Difference


def picture(pair: str, rows: Mapping[str, Row], heatmap: RenderableType) -> Iterator[RenderableType]:
    """What `demo` shows, from top to bottom."""
    yield Text(visible(f"What did post-training take away? The pair {pair}, base against aligned."))
    yield Text()
    yield heatmap
    yield Text()
    yield _table(rows)
    yield Text()
    yield Text("Entropy: mean over a completion's tokens. Cosine: mean over pairs of completions, IDF of both arms.")
    yield Text("Intervals are over completions, not over pairs. One prompt each: no claim about others.")
    for name, row in rows.items():
        yield Text(f"- {_verdict(name, row)}")
    yield Text()
    yield from _next_steps()


def _table(rows: Mapping[str, Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("base", "aligned", "aligned - base", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, (base, aligned, difference) in rows.items():
        table.add_row(
            _QUANTITIES[name][0],
            decimals(base.mean, ".3f"),
            decimals(aligned.mean, ".3f"),
            decimals(difference.mean, "+.3f"),
            f"{decimals(difference.low, '+.3f')} to {decimals(difference.high, '+.3f')}",
        )
    return table


def _verdict(name: str, row: Row) -> str:
    """What the interval says, in words."""
    words = _QUANTITIES[name][1]
    if row.difference.low > 0:
        return f"{words}: larger after post-training"
    if row.difference.high < 0:
        return f"{words}: smaller after post-training"
    return f"{words}: no difference that {row.base.n} completions could show"


def _next_steps() -> Iterator[Text]:
    yield Text("Next, with the paper's own models (8.2 GB, once):")
    yield Text("  llamadiv models pull llama-2-7b && llamadiv syntactic --pair llama-2-7b")
    yield Text("What each number means: docs/method.md. How the tiny pair was grown: docs/lab.md.")
