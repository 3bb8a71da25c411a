"""`llamadiv score`: how likely a model finds a given text, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import click
import numpy as np
from rich.table import Table
from rich.text import Text

from llama_diversity.cli.options import (
    Common,
    asking_options,
    common_options,
    model_option,
    read_text,
    reading_options,
    start_words,
)
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.resolve import resolve_model
from llama_diversity.cli.session import opened, say_unknown_start
from llama_diversity.cli.terminal import console
from llama_diversity.decimals import counted, decimals
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece, TokenStats, seen_ids
from llama_diversity.render.jsonl import to_line, token_objects
from llama_diversity.render.safe import visible


class Scored(NamedTuple):
    """A text under a model: its tokens without what precedes them, their pieces, and the bytes they stand for."""

    tokens: TokenStats
    pieces: dict[int, Piece]
    n_bytes_scored: int
    start: str  # what precedes them, as it is spelled
    ids: tuple[int, ...]  # what was read, all of it

    @property
    def total_bits(self) -> float:
        """Summed surprisal of the tokens that have a context."""
        return float(np.nansum(self.tokens["surprisal_bits"], dtype=np.float64))

    @property
    def bits_per_byte(self) -> float:
        """`total_bits` over the bytes of the tokens that have a context; nan where there are none."""
        return self.total_bits / self.n_bytes_scored if self.n_bytes_scored else math.nan


def score_text(engine: Engine, text: str, asking: Asking, common: Common) -> Scored:
    """Score `text` on `engine`. Raises BadValue for an empty one, PromptTooLong."""
    if not text:
        raise BadValue("the text", "", "there is nothing to score")
    say_unknown_start(engine, asking, common)
    start = engine.start(asking)
    ids = engine.tokenize(text, asking)
    with progress_line(common, f"scoring {counted(len(ids), 'token')}") as on_progress:
        tokens = engine.score(ids, on_progress=on_progress)[len(start.ids) :]
    pieces = {token: engine.piece(token) for token in seen_ids(tokens)}
    return Scored(tokens, pieces, n_bytes_judged(tokens, pieces, text), start.text, ids)


def n_bytes_judged(tokens: TokenStats, pieces: Mapping[int, Piece], text: str) -> int:
    """Bytes of the tokens that have a context: what a tokenizer drops is no token's, and a first one may have none.

    The blank that SentencePiece puts before a text is its own: of a first token that is judged it does not count.
    """
    spelled = [pieces[int(row["id"])].bytes for row in tokens]
    judged = sum(len(some) for some, row in zip(spelled, tokens, strict=True) if not math.isnan(row["surprisal_bits"]))
    given = text.encode("utf-8", "surrogateescape")
    is_put_before = _n_blanks(b"".join(spelled)) > _n_blanks(given)
    return judged - (is_put_before and not math.isnan(tokens["surprisal_bits"][0]))


def _n_blanks(text: bytes) -> int:
    """How many blanks it begins with."""
    return len(text) - len(text.lstrip(b" "))


@click.command()
@model_option
@click.argument("text")
@asking_options
@reading_options
@common_options
def score(*, model: str, text: str, asking: Asking, layout: EngineOptions, common: Common) -> None:
    """Token statistics of TEXT under a model; `-` reads standard input less its last line break.

    Every token is judged given the ones before it, the first one given what texts begin with (--start).

    \b
    Example:
      llamadiv score -m llama-2-7b "Grace Hopper was a pioneer."
    """
    reference = resolve_model(model, common=common)
    with opened(reference, layout, common) as engine:
        scored = score_text(engine, read_text(text), asking, common)
    if common.json:
        totals = {"total_bits": scored.total_bits, "bits_per_byte": scored.bits_per_byte}
        known = {name: value if math.isfinite(value) else None for name, value in totals.items()}
        click.echo(
            to_line(
                {
                    "tokens": token_objects(scored.tokens, scored.pieces),
                    "n_bytes": scored.n_bytes_scored,
                    **known,
                    "start": scored.start,
                }
            )
        )
        return
    if not common.quiet:
        console(common.color).print(_table(scored))
    total, rate = decimals(scored.total_bits, ".2f"), decimals(scored.bits_per_byte, ".3f")
    judged = f"{rate} bits per byte" if scored.n_bytes_scored else "of no token: the first has no context"
    click.echo(f"{total} bits, {judged}")
    if not common.quiet:
        click.echo(visible(f"The text begins with {start_words(scored.start)}."), err=True)


def _table(scored: Scored) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("token", "surprisal, bits", "entropy, bits", "rank", "likeliest instead"):
        table.add_column(name, justify="left" if name.startswith(("token", "like")) else "right")
    for row in scored.tokens:
        best = int(row["top_ids"][0])
        table.add_row(
            Text(_shown(scored.pieces[int(row["id"])])),
            _number(float(row["surprisal_bits"])),
            _number(float(row["entropy_bits"])),
            str(row["rank"] or "-"),
            Text("" if best in (-1, int(row["id"])) else _shown(scored.pieces[best])),
        )
    return table


def _shown(piece: Piece) -> str:
    return (
        f"<{piece.control}>" if piece.control else repr(visible(piece.bytes.decode("utf-8", "backslashreplace")))[1:-1]
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else decimals(value, ".2f")
