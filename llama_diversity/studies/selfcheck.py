"""Whether a server draws from the probabilities that it tells: seen in its samples, without any entropy.

Of each token drawn neutrally let p1 be what the server tells of its likeliest token, and m5 of its five likeliest. Then
1[it is the likeliest] - p1 and 1[it is one of the five] - m5 have mean 0 whatever came before: their sums are
martingales, also where samples end when they please, with variances sum p1 (1 - p1) and sum m5 (1 - m5). So has, with
more power against another temperature, b - E b, where b is the surprisal of a token of the five, and of all others one
bit more than the fifth's. Where a server draws at another temperature than it is asked to, these sums grow with the
number of tokens, and their standard deviations only with its root.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.engines import STOCK
from llama_diversity.errors import NoEntropies
from llama_diversity.records import Cell, Recipe, TokenStats
from llama_diversity.store import Store
from llama_diversity.studies.session import Session

SURE = 4.5  # standard deviations: by chance once in fifty thousand checks
_MOST_BITS = 100.0  # a probability of 0, so that it stays a number
Floats = npt.NDArray[Any]


class Tally(NamedTuple):
    """What was drawn, counted or in bits, and what should have been."""

    n: float
    due: float
    variance: float

    @property
    def z(self) -> float:
        """Standard deviations above what was due; 0 where nothing could vary."""
        return (self.n - self.due) / math.sqrt(self.variance) if self.variance > 0 else 0.0


class Tallies(NamedTuple):
    """Of the likeliest token, of the five likeliest, and of the bits that are known of."""

    one: Tally
    five: Tally
    bits: Tally

    @property
    def worst(self) -> float:
        """The largest distance from what was due, standard deviations."""
        return max(abs(tally.z) for tally in self)


def tallies(tokens: TokenStats) -> Tallies:
    """Of drawn tokens in any order.

    Four tokens, the likeliest of which has 1/2 and came three times; nothing else is known:

    >>> from llama_diversity.engines.draws import unscored
    >>> four = unscored([7, 7, 8, 7])
    >>> four["top_ids"][:, 0], four["top_surprisals_bits"][:, 0] = 7, 1.0
    >>> tallies(four).one
    Tally(n=3.0, due=2.0, variance=1.0)
    """
    bits = np.minimum(tokens["top_surprisals_bits"].astype(np.float64), _MOST_BITS)
    p = np.exp2(-bits)
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1.0)
    is_top = tokens["top_ids"] == tokens["id"][:, None]
    is_any, m5, other = is_top.any(axis=1), p.sum(axis=1), bits[:, -1] + 1
    mean = (p * bits).sum(axis=1) + (1 - m5) * other
    square = (p * bits**2).sum(axis=1) + (1 - m5) * other**2
    came = np.where(is_any, (is_top * bits).sum(axis=1), other)
    return Tallies(
        _tally(is_top[:, 0], p[:, 0], p[:, 0] * (1 - p[:, 0])),
        _tally(is_any, m5, m5 * (1 - m5)),
        _tally(came, mean, np.maximum(square - mean**2, 0.0)),
    )


def _tally(came: Floats, due: Floats, variance: Floats) -> Tally:
    return Tally(float(came.sum()), float(due.sum()), float(variance.sum()))


def check(cells: Iterable[Cell], store: Store, session: Session) -> None:
    """Tell the listener of each model on stock servers whose samples of `cells` are not what the server tells."""
    keys: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if _is_checked(cell.recipe):
            keys.setdefault(cell.reference, {})[cell.recipe.key] = cell
    for reference, some in keys.items():
        sentence = _strayed([one.tokens for key, cell in some.items() for one in store.samples(key, cell.n)])
        if sentence is not None:
            session.listener.say(f"{reference}: {sentence}")


def require_entropies(cells: Iterable[Cell], study: str) -> None:
    """Raises NoEntropies where cells are drawn on a stock server."""
    for cell in cells:
        if is_stock(cell.recipe.engine_build):
            raise NoEntropies(cell.reference, study)


def is_stock(build: str) -> bool:
    """Whether an engine's build is a server that tells no entropies."""
    return build.startswith("vllm ") and f" {STOCK}" in build


def _is_checked(recipe: Recipe) -> bool:
    return is_stock(recipe.engine_build) and recipe.is_neutral


def _strayed(tokens: Sequence[TokenStats]) -> str | None:
    """What is wrong with drawn tokens; None where nothing is."""
    if not tokens:
        return None
    found = tallies(np.concatenate(tokens))
    if found.worst <= SURE:
        return None
    one, five, bits = found
    return (
        "the server does not draw from the probabilities that it tells. Its likeliest token came "
        f"{one.n:,.0f} times where {one.due:,.1f} were due (z = {one.z:.1f}), one of the five likeliest {five.n:,.0f} "
        f"times where {five.due:,.1f} were (z = {five.z:.1f}), and of their bits z is {bits.z:.1f}, in "
        f"{sum(map(len, tokens)):,} tokens. Something changes its temperature or its logits unsaid, and these samples "
        "are not the model's: see what it was started with."
    )
