"""The token under the cursor: what it is, how likely it was, and what else could have stood there, under each arm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text as Line

from llama_diversity.decimals import decimals
from llama_diversity.records import Piece
from llama_diversity.render.cells import inline
from llama_diversity.render.plots import bar, fit
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.viewed import Text
from llama_diversity.view.ink import BOLD, DIM, HERE, Drawn, cut, folded
from llama_diversity.view.keys import Keys, bindings, both
from llama_diversity.view.panels import Chosen, Spot, Times

_NAME, _NUMBER = 14, 6  # cells of an alternative's name, and of its probability
_NARROWEST = 32  # of a list of alternatives
_MOST_BYTES = 16


class Detail(Drawn):
    """Everything about one token. While it has the keys, one of the alternatives is marked to be chosen."""

    DEFAULT_CSS = "Detail { width: 1fr; height: 10; }"
    BINDINGS = bindings([Keys("up down", "another one", {"down": "mark(1)", "up": "mark(-1)"})]) + bindings(
        [
            Keys("enter", "take it", {"enter": "take"}),
            Keys("+ -", "go on more or less often", both("plus,equals_sign", "minus", "times")),
        ]
    )

    spot = Spot(None)
    marked: int | None = None

    def follow(self, spot: Spot) -> None:
        """Show another token."""
        self.spot = spot
        self.marked = None if self.marked is None else 0
        self.redraw()

    def enter(self) -> None:
        """Take the keys, to choose among the alternatives; at no other time are they given to it."""
        self.can_focus = True
        self.focus()
        self.marked = 0
        self.redraw()

    def leave(self) -> None:
        """Give the keys back."""
        self.blur()
        self.can_focus = False
        self.marked = None
        self.redraw()

    def action_mark(self, step: int) -> None:
        """Mark another alternative."""
        n = len(self._tokens())
        if n:
            self.marked = ((self.marked or 0) + step) % n
            self.redraw()

    def action_take(self) -> None:
        """Choose the one that is marked."""
        tokens = self._tokens()
        if self.marked is not None and self.marked < len(tokens):
            self.post_message(Chosen(self.spot, tokens[self.marked]))

    def action_times(self, step: int) -> None:
        """Go on more or less often from it."""
        self.post_message(Times(step))

    def _tokens(self) -> list[int]:
        """The stored alternatives in the text with the cursor, by id."""
        if self.spot.text is None or self.spot.at >= len(self.spot.text):
            return []
        return [token for token in self.spot.text.tokens["top_ids"][self.spot.at].tolist() if token >= 0]

    def lines(self, width: int, height: int) -> Sequence[Line]:
        abreast, at, text = self.spot.abreast, self.spot.at, self.spot.text
        if abreast is None or text is None or at >= len(text):
            return []
        [token] = text.scored(at, at + 1)
        found = [self._head(text, token, width)]
        for words in self._numbers(text, token):
            found += folded(words, width)
        lists = [
            _List(arm, abreast.texts[arm], self._rows(abreast.texts[arm]))
            for arm in abreast.same_context(self.spot.arm, at)
        ]
        lists.sort(key=lambda one: one.text is not text)  # the cursor's first
        if not any(one.rows for one in lists):
            return [*found, Line("no alternatives are stored", DIM)]
        n_columns = max(1, min(len(lists), (width + 2) // (_NARROWEST + 2)))
        for start in range(0, len(lists), n_columns):
            found += self._side_by_side(lists[start : start + n_columns], width, has_heads=len(lists) > 1)
        return found

    def _head(self, text: Text, token: ScoredToken, width: int) -> Line:
        line = Line(no_wrap=True)
        line.append(self._named(token.piece), BOLD)
        data = token.piece.bytes[:_MOST_BYTES].hex(" ").upper() + (".." if len(token.piece.bytes) > _MOST_BYTES else "")
        spelled = f"  bytes {data}" if data else "  no bytes"
        line.append(
            f"  token {self.spot.at + 1} of {len(text)}, id {int(text.tokens['id'][self.spot.at])}{spelled}", DIM
        )
        line.truncate(width)
        return line

    def _named(self, piece: Piece) -> str:
        shown = inline(piece, self.ink.marks)
        if piece.control is not None:
            return f"control token {shown}"
        return f'"{shown}"' if self.ink.marks.in_ascii else f"“{shown}”"

    def _numbers(self, text: Text, token: ScoredToken) -> Iterator[Line]:
        if math.isnan(token.surprisal_bits):
            yield Line("no value: nothing stood before it", DIM)
            return
        row = text.tokens[self.spot.at]
        parts = [f"surprisal {_bits(token.surprisal_bits)} bits (p {_share(math.pow(2, -token.surprisal_bits))})"]
        parts.append(f"entropy {self._entropy(text, token)}")
        if math.isfinite(row["varentropy_bits2"]):
            parts.append(f"varentropy {_bits(float(row['varentropy_bits2']))}")
        parts.append(f"rank {token.rank:,}")
        if text.is_drawn:
            own = _bits(token.sampler_surprisal_bits)
            parts.append(f"under the sampler {own}")
        yield Line(", ".join(parts))
        if token.under_bits:
            each = ", ".join(f"{at}: {_bits(bits)}" for at, bits in enumerate(token.under_bits, start=1))
            source = f"; it came from model {token.source + 1}" if token.source is not None else ""
            yield Line(f"surprisal under each model of the mixture {each}{source}")

    def _entropy(self, text: Text, token: ScoredToken) -> str:
        """As a number, or between its bounds where a server told no more."""
        if math.isfinite(token.entropy_bits):
            return _bits(token.entropy_bits)
        if text.bounds is None:
            return "unknown"
        low, high = (float(text.bounds[name][self.spot.at]) for name in ("least_entropy_bits", "most_entropy_bits"))
        return f"{_bits(low)} to {_bits(high)}"

    def _rows(self, text: Text) -> list[_Row]:
        """The stored alternatives, what stands there where that is none of them, and all others together."""
        at = self.spot.at
        [token] = text.scored(at, at + 1)
        if not token.alternatives:
            return []
        rows = [_Row(self._short(one.piece), one.probability, one.piece == token.piece) for one in token.alternatives]
        rest = _Row("all but these", text.left_over(at))
        if not any(one.is_here for one in rows):
            rows.append(_Row(self._short(token.piece), math.pow(2, -token.surprisal_bits), is_here=True))
        return [*rows, rest]

    def _short(self, piece: Piece) -> str:
        return inline(piece, self.ink.marks)

    def _side_by_side(self, lists: Sequence[_List], width: int, *, has_heads: bool) -> Iterator[Line]:
        room = (width - 2 * (len(lists) - 1)) // len(lists)
        columns = [list(self._column(one, room, has_head=has_heads)) for one in lists]
        for row in range(max(map(len, columns))):
            line = Line(no_wrap=True)
            for at, column in enumerate(columns):
                part = column[row] if row < len(column) else Line("")
                line.append_text(part)
                if at < len(columns) - 1:
                    line.append(" " * (room - cell_len(part.plain) + 2))
            yield line

    def _column(self, one: _List, width: int, *, has_head: bool) -> Iterator[Line]:
        canvas, arm = self.ink.canvas(width), self.ink.arm(one.text.arm, one.arm)
        if has_head:
            yield Line(cut(self.ink.safe(one.text.arm), width), arm)
        for number, row in enumerate(one.rows):
            line = Line(no_wrap=True)
            line.append("> " if row.is_here else "  ", BOLD)
            is_rest = number == len(one.rows) - 1
            style = DIM if is_rest else (BOLD if row.is_here else Style())
            if number == self.marked and one.arm == self.spot.arm:
                style = HERE
            line.append(fit(row.name, _NAME, canvas), style)
            line.append(f" {_share(row.probability):>{_NUMBER}} ", style)
            room = width - _NAME - _NUMBER - 4
            if room > 0 and math.isfinite(row.probability):
                line.append(bar(min(1.0, row.probability), room, canvas), DIM if is_rest else arm)
            yield line


class _Row(NamedTuple):
    """A token that could stand here, or all others together."""

    name: str
    probability: float
    is_here: bool = False


class _List(NamedTuple):
    """The alternatives under one arm."""

    arm: int
    text: Text
    rows: Sequence[_Row]


def _bits(value: float) -> str:
    return "unknown" if math.isnan(value) else decimals(value, ".2f")


def _share(value: float) -> str:
    """A probability in four digits, or as a power where it is small."""
    return "?" if math.isnan(value) else (f"{value:.4f}" if value >= 0.00095 or not value else f"{value:.0e}")
