"""What a page's script needs of a heatmap, as JSON: each token's statistics and alternatives, and every colouring.

All that the script shows is rounded here (bits to two decimals, percent to three digits), and steps are those of the
scales, so that the script computes nothing. It knows numbers and drawn text; it knows no markup.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from llama_diversity.records import Piece
from llama_diversity.render.cells import Marks, TokenCell, inline
from llama_diversity.render.heatmap import TokenPicture
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import Scale, ScoredToken
from llama_diversity.render.token_pages import Block, Judged, Legend, View

Number = int | float | str | None  # None is undefined, "∞" infinite

NOTHING = "-"  # in place of a step: no value, no colour
_PLAIN = Marks(dots=False)  # a token as its bytes read, where they can be read
_INFINITE = "∞"


def token_json(picture: TokenPicture) -> str:
    """The data of a picture for an element of a page: no text in it can end the element."""
    data = json.dumps(token_data(picture), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return data.replace("<", "\\u003c")


def token_data(picture: TokenPicture) -> dict[str, Any]:
    """The texts under each model, a view for all that can be coloured, and every piece that is named in them.

    Where there are several texts, each has its block; where there is one, it is in all of them. `first` is the number
    of the view that is looked at first.
    """
    pieces = _Pieces()
    texts = picture.texts
    views = picture.views(Marks(), numbers=picture.looks.numbers)
    cells: dict[int, Sequence[TokenCell]] = {}
    for view in views:
        for place, block in zip(view.places, view.page.blocks, strict=True):
            cells[place if len(texts) > 1 else 0] = block.cells
    return {
        "texts": [_text(judged, cells[at], pieces) for at, judged in enumerate(texts)],
        "views": [_view(view, picture) for view in views],
        "first": [view.scale.name for view in views].index(picture.first_view),
        "pieces": pieces.written,
    }


def step_class(step: int, scale: Scale, palette: str) -> str:
    """The name of a step on a page: its colours are rules of the page's style."""
    if not scale.diverging:
        return f"{palette}-{step}"
    return f"below-{-step}" if step < 0 else f"above-{step}"


class _Pieces:
    """Every token once, in the order in which they are met.

    A string is a token whose bytes are its UTF-8; [drawn, hex] one that is drawn otherwise than its bytes read;
    [drawn] a control token, which has none.
    """

    def __init__(self) -> None:
        self.written: list[str | list[str]] = []
        self._places: dict[Piece, int] = {}

    def place(self, piece: Piece) -> int:
        if piece not in self._places:
            self._places[piece] = len(self.written)
            self.written.append(_written(piece))
        return self._places[piece]


def _written(piece: Piece) -> str | list[str]:
    if piece.control is not None:
        return [inline(piece)]
    drawn = inline(piece, _PLAIN)
    return drawn if drawn.encode() == piece.bytes else [inline(piece), piece.bytes.hex()]


def _text(judged: Sequence[Judged], cells: Sequence[TokenCell], pieces: _Pieces) -> dict[str, Any]:
    """A text: its pieces, which of them share a glyph ([first, how many]), and its statistics under each model."""
    first = judged[0].tokens
    text: dict[str, Any] = {
        "tokens": [pieces.place(token.piece) for token in first],
        "models": [_model(one, pieces) for one in judged],
    }
    if groups := [[cell.first, cell.n_tokens] for cell in cells if cell.n_tokens > 1]:
        text["groups"] = groups
    if len(judged) == 2:
        pairs = zip(first, judged[1].tokens, strict=True)
        text["difference"] = _bits(b.surprisal_bits - a.surprisal_bits for a, b in pairs)
    return text


def _model(judged: Judged, pieces: _Pieces) -> dict[str, Any]:
    """A column a statistic; `top` has of each token [piece, percent, piece, percent, ...], the likeliest first."""
    tokens = judged.tokens
    model: dict[str, Any] = {
        "heading": visible(judged.heading),
        "surprisal": _bits(token.surprisal_bits for token in tokens),
        "percent": [as_percent(2.0**-token.surprisal_bits) for token in tokens],
        "entropy": _bits(token.entropy_bits for token in tokens),
        "varentropy": _bits(token.varentropy_bits2 for token in tokens),
        "rank": [token.rank or None for token in tokens],
        "top": [_likeliest(token, pieces) for token in tokens],
    }
    if judged.distribution == "sampler":
        model["sampler_surprisal"] = _bits(token.sampler_surprisal_bits for token in tokens)
        model["sampler_entropy"] = _bits(token.sampler_entropy_bits for token in tokens)
    if any(token.under_bits for token in tokens):
        model["under"] = [_bits(token.under_bits) for token in tokens]
    if any(token.source is not None for token in tokens):
        model["source"] = [None if token.source is None else token.source + 1 for token in tokens]
    return model


def _likeliest(token: ScoredToken, pieces: _Pieces) -> list[Number]:
    found: list[Number] = []
    for alternative in token.alternatives:
        found += [pieces.place(alternative.piece), as_percent(alternative.probability)]
    return found


def _view(view: View, picture: TokenPicture) -> dict[str, Any]:
    """A colouring: its legend, and of each block that it shows one digit a cell, which counts the steps."""
    [legend] = view.page.legends
    blocks = dict(zip(map(str, view.places), view.page.blocks, strict=True))
    written: dict[str, Any] = {
        "name": view.scale.name,
        **_legend(legend, picture.looks.palette),
        "blocks": {place: _steps(block) for place, block in blocks.items()},
    }
    if picture.looks.numbers:
        written["numbers"] = {place: _numbers(block) for place, block in blocks.items()}
    return written


def _legend(legend: Legend, palette: str) -> dict[str, Any]:
    scale = legend.scale
    return {
        "ramp": [[step_class(step, scale, palette), scale.label(step)] for step in scale.steps],
        "above": [visible(sentence) for sentence in legend.above],
        "below": [visible(sentence) for sentence in legend.below],
    }


def _steps(block: Block) -> str:
    steps = [cell.step for cell in block.cells]
    return "".join(NOTHING if step is None else str(block.scale.steps.index(step)) for step in steps)


def _numbers(block: Block) -> list[str]:
    return ["".join(part.text for part in cell.parts if part.kind == "number") for cell in block.cells]


def _bits(values: Iterable[float]) -> list[Number]:
    return [_rounded(value, f"{value:.2f}") for value in values]


def as_percent(probability: float) -> Number:
    """A probability in percent, three digits of it.

    >>> as_percent(0.5), as_percent(0.04126), as_percent(0.000488), as_percent(float("nan"))
    (50, 4.13, 0.0488, None)
    """
    return _rounded(probability, f"{100 * probability:.3g}")


def _rounded(value: float, written: str) -> Number:
    """A value as short as JSON has it: 11 for 11.0, and 0 for -0.0."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return _INFINITE if value > 0 else f"-{_INFINITE}"
    number = float(written)
    return int(number) if number == int(number) else number
