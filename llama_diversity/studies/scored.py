"""A text under a model: its tokens with their statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from llama_diversity.decimals import counted, decimals
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece, TokenStats, seen_ids
from llama_diversity.render.jsonl import finite, token_objects
from llama_diversity.studies.session import Session


class Scored(NamedTuple):
    """A text under a model: its tokens without what precedes them, their pieces, and the bytes they stand for."""

    tokens: TokenStats
    pieces: dict[int, Piece]
    n_bytes_scored: int
    start: str  # what precedes them, as it is spelled
    ids: tuple[int, ...]  # what was read, all of it
    beside: TokenStats | None = None  # of a mixture: what its models say of them

    @property
    def total_bits(self) -> float:
        """Summed surprisal of the tokens that have a context."""
        return float(np.nansum(self.tokens["surprisal_bits"], dtype=np.float64))

    @property
    def bits_per_byte(self) -> float:
        """`total_bits` over the bytes of the tokens that have a context; nan where there are none."""
        return self.total_bits / self.n_bytes_scored if self.n_bytes_scored else math.nan

    @property
    def words(self) -> str:
        """Both in a few words."""
        rate = f"{decimals(self.bits_per_byte, '.3f')} bits per byte"
        judged = rate if self.n_bytes_scored else "of no token: the first has no context"
        return f"{decimals(self.total_bits, '.2f')} bits, {judged}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        totals = finite({"total_bits": self.total_bits, "bits_per_byte": self.bits_per_byte})
        tokens = token_objects(self.tokens, self.pieces, beside=self.beside)
        return {"tokens": tokens, "n_bytes": self.n_bytes_scored, **totals, "start": self.start}


def score_text(engine: Engine, text: str, asking: Asking, session: Session) -> Scored:
    """Score `text` on `engine`. Raises BadValue for an empty one, PromptTooLong."""
    if not text:
        raise BadValue("the text", "", "there is nothing to score")
    session.note_unknown_start(engine, asking)
    start = engine.start(asking)
    ids = engine.tokenize(text, asking)
    with session.listener.working(f"scoring {counted(len(ids), 'token')}") as on_progress:
        tokens = engine.score(ids, on_progress=on_progress)[len(start.ids) :]
        beside = engine.beside(ids)
    pieces = {token: engine.piece(token) for token in seen_ids(tokens)}
    said = None if beside is None else beside[len(start.ids) :]
    return Scored(tokens, pieces, n_bytes_judged(tokens, pieces, text), start.text, ids, said)


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
