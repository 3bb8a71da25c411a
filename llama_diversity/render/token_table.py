"""A text's tokens as a table: what each costs, and what would have been likelier."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from llama_diversity.decimals import decimals
from llama_diversity.records import Piece, TokenStats
from llama_diversity.render.safe import visible


def token_table(tokens: TokenStats, pieces: Mapping[int, Piece]) -> Table:
    """A row a token; a dash where one has no context."""
    table = Table(box=None, pad_edge=False)
    for name in ("token", "surprisal, bits", "entropy, bits", "rank", "likeliest instead"):
        table.add_column(name, justify="left" if name.startswith(("token", "like")) else "right")
    for row in tokens:
        best = int(row["top_ids"][0])
        table.add_row(
            Text(_shown(pieces[int(row["id"])])),
            _number(float(row["surprisal_bits"])),
            _number(float(row["entropy_bits"])),
            str(row["rank"] or "-"),
            Text("" if best in (-1, int(row["id"])) else _shown(pieces[best])),
        )
    return table


def _shown(piece: Piece) -> str:
    return (
        f"<{piece.control}>" if piece.control else repr(visible(piece.bytes.decode("utf-8", "backslashreplace")))[1:-1]
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else decimals(value, ".2f")
