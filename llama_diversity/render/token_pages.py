"""What a heatmap shows before anybody draws it: blocks of cells, how to read them, what is told of each token.

Terminal, SVG and HTML draw the same pages. It knows scales and cells; it knows no colours and no lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from llama_diversity.records import Piece
from llama_diversity.render.cells import Marks, TokenCell, inline, small_mark
from llama_diversity.render.scales import Distribution, Scale, ScoredToken

DISTRIBUTIONS = {
    "raw": "raw distribution (temperature 1, whole vocabulary)",
    "sampler": "the sampler's distribution (what the tokens were drawn from)",
}


class Block(NamedTuple):
    """One text with its values; the heading is empty where there is nothing to tell apart."""

    heading: str
    cells: tuple[TokenCell, ...]
    scale: Scale


class Legend(NamedTuple):
    """How to read blocks of one scale: sentences, the ramp, more sentences."""

    scale: Scale
    above: tuple[str, ...]
    below: tuple[str, ...]


class Page(NamedTuple):
    """All that a picture shows."""

    title: str
    blocks: tuple[Block, ...]
    legends: tuple[Legend, ...]


class View(NamedTuple):
    """A picture coloured by one quantity: which of its blocks then say something, and these."""

    places: tuple[int, ...]
    page: Page

    @property
    def scale(self) -> Scale:
        """What is coloured."""
        return self.page.legends[0].scale


class Judged(NamedTuple):
    """A text's tokens as one model judges them; the heading says which."""

    heading: str
    tokens: tuple[ScoredToken, ...]
    distribution: Distribution = "raw"  # which was looked at


def legend_of(
    scale: Scale,
    source: tuple[str, ...],
    cells: Sequence[TokenCell],
    marks: Marks,
    *,
    numbers: bool,
) -> Legend:
    """How to read `cells` of one scale; `source` says whose values they are."""
    below = [scale.number_sentence()] if numbers else []
    if any(cell.small for cell in cells):
        mark = small_mark(marks).text
        below.append(f"{mark} one token of several that make the glyph before it, which has their joint value")
    n_without = sum(math.isnan(cell.value) for cell in cells if cell.n_tokens == 1)
    if n_without:
        have = "token has" if n_without == 1 else "tokens have"
        below.append(f"{n_without} {have} no value (nothing stood before, or nothing was drawn): no colour")
    return Legend(scale, (scale.sentence(), *source), tuple(below))


def summary(scale: Scale, values: Sequence[float]) -> str:
    """All tokens that have a value, in one clause."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "no token has a value"
    count = "1 token" if len(known) == 1 else f"{len(known)} tokens"
    return f"{count}: {scale.summary(known)}"


def tooltip(token: ScoredToken, distribution: Distribution) -> str:
    """All that is kept of a token, a line each: its name, its statistics, the likeliest in its place."""
    lines = [named(token.piece)]
    if math.isnan(token.surprisal_bits):
        lines.append("no value")
    else:
        lines.append(f"surprisal {token.surprisal_bits:.2f} bits (p = {math.pow(2, -token.surprisal_bits):.3g})")
        lines.append(f"entropy {token.entropy_bits:.2f} bits, rank {token.rank}")
    if distribution == "sampler":
        lines.append(
            f"under the sampler: surprisal {token.sampler_surprisal_bits:.2f} bits, "
            f"entropy {token.sampler_entropy_bits:.2f} bits"
        )
    if token.under_bits:
        lines.append(f"under each model: {', '.join(f'{bits:.2f}' for bits in token.under_bits)} bits")
    if token.source is not None:
        lines.append(f"from model {token.source + 1}")
    lines.extend(f"{alternative.probability:.4f}  {named(alternative.piece)}" for alternative in token.alternatives)
    return "\n".join(lines)


def named(piece: Piece) -> str:
    """A token in a sentence."""
    return f"“{inline(piece)}”" if piece.control is None else f"control token {inline(piece)}"
