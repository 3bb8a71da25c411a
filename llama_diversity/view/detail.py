"""The token under the cursor: what it is, how likely it was, and what else could have stood there, under each arm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text as Line

from llama_diversity.decimals import decimals
from llama_diversity.records import Piece
from llama_diversity.render.cells import inline
from llama_diversity.render.plots import bar, fit
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.viewed import Abreast, Text
from llama_diversity.view.ink import BOLD, DIM, Drawn, cut, folded

_NAME, _NUMBER = 14, 6  # cells of an alternative's name, and of its probability
_NARROWEST = 32  # of a list of alternatives
_MOST_BYTES = 16


class Detail(Drawn):
    """Everything about one token."""

    DEFAULT_CSS = "Detail { width: 1fr; height: 9; }"

    abreast: Abreast | None = None
    arm = at = 0

    def follow(self, abreast: Abreast | None, arm: int, at: int) -> None:
        """Show another token."""
        self.abreast, self.arm, self.at = abreast, arm, at
        self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        if self.abreast is None or self.at >= len(self.abreast.texts[self.arm]):
            return []
        text = self.abreast.texts[self.arm]
        [token] = text.scored(self.at, self.at + 1)
        found = [self._head(text, token, width)]
        for words in self._numbers(text, token):
            found += folded(words, width)
        lists = [
            (self.abreast.texts[arm], self._alternatives(arm)) for arm in self.abreast.same_context(self.arm, self.at)
        ]
        if not any(some for _, some in lists):
            return [*found, Line("no alternatives are stored", DIM)]
        n_columns = max(1, min(len(lists), (width + 2) // (_NARROWEST + 2)))
        lists.sort(key=lambda one: one[0] is not text)  # the cursor's first
        for start in range(0, len(lists), n_columns):
            found += self._side_by_side(lists[start : start + n_columns], width, has_heads=len(lists) > 1)
        return found

    def _head(self, text: Text, token: ScoredToken, width: int) -> Line:
        line = Line(no_wrap=True)
        line.append(self._named(token.piece), BOLD)
        data = token.piece.bytes[:_MOST_BYTES].hex(" ").upper() + (".." if len(token.piece.bytes) > _MOST_BYTES else "")
        spelled = f"  bytes {data}" if data else "  no bytes"
        line.append(f"  token {self.at + 1} of {len(text)}, id {int(text.tokens['id'][self.at])}{spelled}", DIM)
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
        row = text.tokens[self.at]
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
        low, high = (float(text.bounds[name][self.at]) for name in ("least_entropy_bits", "most_entropy_bits"))
        return f"{_bits(low)} to {_bits(high)}"

    def _alternatives(self, arm: int) -> list[tuple[str, float, bool]]:
        """Name, probability, and whether it is what stands there; the last one is all others together."""
        assert self.abreast is not None
        text = self.abreast.texts[arm]
        [token] = text.scored(self.at, self.at + 1)
        if not token.alternatives:
            return []
        rows = [(self._short(one.piece), one.probability, one.piece == token.piece) for one in token.alternatives]
        if not any(is_here for _, _, is_here in rows):
            rows.append((self._short(token.piece), math.pow(2, -token.surprisal_bits), True))
        return [*rows, ("all but these five", text.left_over(self.at), False)]

    def _short(self, piece: Piece) -> str:
        return inline(piece, self.ink.marks)

    def _side_by_side(
        self, lists: Sequence[tuple[Text, Sequence[tuple[str, float, bool]]]], width: int, *, has_heads: bool
    ) -> Iterator[Line]:
        room = (width - 2 * (len(lists) - 1)) // len(lists)
        columns = [list(self._list(text, some, room, has_head=has_heads)) for text, some in lists]
        for row in range(max(map(len, columns))):
            line = Line(no_wrap=True)
            for at, column in enumerate(columns):
                part = column[row] if row < len(column) else Line("")
                line.append_text(part)
                if at < len(columns) - 1:
                    line.append(" " * (room - cell_len(part.plain) + 2))
            yield line

    def _list(
        self, text: Text, rows: Sequence[tuple[str, float, bool]], width: int, *, has_head: bool
    ) -> Iterator[Line]:
        canvas = self.ink.canvas(width)
        arm = 0 if self.abreast is None else self.abreast.texts.index(text)
        if has_head:
            yield Line(cut(self.ink.safe(text.arm), width), self.ink.arm(text.arm, arm))
        for number, (name, probability, is_here) in enumerate(rows, start=1):
            line = Line(no_wrap=True)
            line.append("> " if is_here else "  ", BOLD)
            is_rest = number == len(rows)
            style = DIM if is_rest else (BOLD if is_here else Style())
            line.append(fit(name, _NAME, canvas), style)
            line.append(f" {_share(probability):>{_NUMBER}} ", style)
            room = width - _NAME - _NUMBER - 4
            if room > 0 and math.isfinite(probability):
                line.append(
                    bar(min(1.0, probability), room, canvas), self.ink.arm(text.arm, arm) if not is_rest else DIM
                )
            yield line


def _bits(value: float) -> str:
    return "unknown" if math.isnan(value) else decimals(value, ".2f")


def _share(value: float) -> str:
    """A probability in four digits, or as a power where it is small."""
    return "?" if math.isnan(value) else (f"{value:.4f}" if value >= 0.00095 or not value else f"{value:.0e}")
