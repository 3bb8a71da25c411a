"""Samples below each other, each token in its colour, while they grow and afterwards; and the tree of the ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.segment import Segment
from rich.text import Text as Line
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from llama_diversity.decimals import decimals
from llama_diversity.records import Piece, TokenStats
from llama_diversity.render.branches import words_of
from llama_diversity.render.exhibits import percent
from llama_diversity.render.scales import Scale, scored_tokens
from llama_diversity.render.typeset import Typeset
from llama_diversity.studies.branch.analysis import Gone
from llama_diversity.studies.viewed import scale_of
from llama_diversity.view.ink import BOLD, DIM, HERE, Drawn, Ink, cut

_MARGIN = 5  # cells of a sample's number
_ALL_COLUMNS = 58  # cells of a tree from which there is room for the mass and what was seen, beside what is taken


class _Shown:
    """One sample: its tokens so far, set into lines, with the step of each."""

    def __init__(self, ink: Ink, pieces: Sequence[Piece], scale: Scale, width: int) -> None:
        self.tokens: TokenStats = np.zeros(0)
        self.is_done = False
        self._ink, self._pieces, self._scale = ink, pieces, scale
        self._values: list[float] = []
        has_numbers = ink.has_numbers
        self._typeset = Typeset(
            [], width, ink.marks, scale=scale if has_numbers else None, values=self._some if has_numbers else None
        )

    def _some(self, start: int, end: int) -> list[float]:
        return self._values[start:end]

    def grow(self, tokens: TokenStats, *, is_done: bool) -> None:
        """Take the tokens that are there now, which begin with those before."""
        self.is_done = is_done
        if len(tokens) > len(self._values):
            new = scored_tokens(tokens[len(self._values) :], self._pieces.__getitem__)
            self._values += [self._scale.value(one) for one in new]  # type: ignore[attr-defined]
            self.tokens = tokens
            self._typeset.grow([self._pieces[token] for token in tokens["id"].tolist()])

    @property
    def n_lines(self) -> int:
        """How many lines it takes, one at least."""
        while not self._typeset.is_whole:
            self._typeset.line(self._typeset.n_lines)
        return max(1, self._typeset.n_lines)

    def line_of(self, token: int) -> int:
        """The line on which a token stands."""
        return self._typeset.spot(token).line

    def segments(self, number: int, here: int | None) -> Iterator[Segment]:
        """One of its lines, with the token `here` under the cursor."""
        for span in self._typeset.line(number):
            cell = span.cell
            values = self._values[cell.first : cell.first + cell.n_tokens]
            step = self._scale.step(values[0] if len(values) == 1 else self._scale.joint(values))
            is_here = here is not None and cell.first == here and (cell.small or cell.n_tokens == 1)
            yield Segment(span.text, HERE if is_here else self._ink.token(span.kind, step, self._scale))


class Samples(Widget):
    """The samples of one way."""

    DEFAULT_CSS = "Samples { width: 1fr; height: 1fr; }"

    class Moved(Message):
        """The cursor stands elsewhere."""

    def __init__(self, ink: Ink) -> None:
        super().__init__()
        self.ink = ink
        self.quantity = "surprisal"
        self.has_cursor = False
        self.row = self.at = 0
        self._pieces: Sequence[Piece] = ()
        self._tokens: dict[int, tuple[TokenStats, bool]] = {}
        self._shown: dict[int, _Shown] = {}
        self._top = 0

    def begin(self, pieces: Sequence[Piece]) -> None:
        """Other samples, of which there are none yet."""
        self._pieces = pieces
        self._tokens.clear()
        self._shown.clear()
        self.row = self.at = self._top = 0
        self.refresh()

    def take(self, samples: Mapping[int, TokenStats], *, are_done: bool) -> None:
        """Samples by number, with the tokens they have now."""
        for number, tokens in samples.items():
            if number not in self._tokens or not self._tokens[number][1]:
                self._tokens[number] = (tokens, are_done)
                if number in self._shown:
                    self._shown[number].grow(tokens, is_done=are_done)
        self.refresh()

    @property
    def numbers(self) -> list[int]:
        """The samples that are there, in order."""
        return sorted(self._tokens)

    @property
    def n_done(self) -> int:
        """How many are finished."""
        return sum(is_done for _, is_done in self._tokens.values())

    @property
    def tokens(self) -> TokenStats:
        """Those of the sample under the cursor."""
        return self._tokens[self.numbers[self.row]][0]

    def colour(self, step: int, names: Sequence[str]) -> Scale:
        """Colour by another of these quantities."""
        self.quantity = names[(names.index(self.quantity) + step) % len(names)]
        self._shown.clear()
        self.refresh()
        return scale_of(self.quantity)

    def go(self, row: int, at: int) -> None:
        """Put the cursor on a token of a sample."""
        if self._tokens:
            self.row = max(0, min(row, len(self._tokens) - 1))
            self.at = max(0, min(at, len(self.tokens) - 1))
        self.refresh()
        self.post_message(self.Moved())

    def on_resize(self) -> None:
        """Set everything anew, to the new width."""
        self._shown.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if y == 0:
            self._scroll()
        width = self.size.width
        rest = self._top + y
        for row, number in enumerate(self.numbers):
            shown = self._set(number)
            n_lines = shown.n_lines
            if rest < n_lines:
                margin = f"{number}".rjust(_MARGIN - 2) + ("  " if shown.is_done else " ~")
                has_cursor = self.has_cursor and row == self.row
                head = Segment(margin if rest == 0 else " " * _MARGIN, BOLD if has_cursor else DIM)
                line = shown.segments(rest, self.at if has_cursor else None)
                return Strip([head, *line]).adjust_cell_length(width)
            rest -= n_lines
        return Strip.blank(width)

    def _scroll(self) -> None:
        """Keep the cursor's line in sight."""
        numbers = self.numbers
        if not self.has_cursor or not numbers:
            return
        line = sum(self._set(number).n_lines for number in numbers[: self.row])
        line += self._set(numbers[self.row]).line_of(self.at)
        self._top = min(line, max(self._top, line - self.size.height + 1))

    def _set(self, number: int) -> _Shown:
        if number not in self._shown:
            width = max(8, self.size.width - _MARGIN)
            shown = self._shown[number] = _Shown(self.ink, self._pieces, scale_of(self.quantity), width)
            tokens, is_done = self._tokens[number]
            shown.grow(tokens, is_done=is_done)
        return self._shown[number]


class Growth(NamedTuple):
    """How many samples of a way there are, of how many."""

    n: int
    of: int


class Tree(Drawn):
    """The ways, each below the one that it goes on from, with what they hold and what was seen of it."""

    DEFAULT_CSS = "Tree { height: auto; max-height: 10; }"

    def __init__(self, ink: Ink) -> None:
        super().__init__(ink)
        self.found: Sequence[Gone] = ()
        self.at = 0  # the number of a way
        self.growing: dict[int, Growth] = {}

    def show(self, found: Sequence[Gone], at: int) -> None:
        """Other ways, or more of what followed them."""
        self.found, self.at = found, at
        self.growing.clear()
        self.redraw(layout=True)

    def grow(self, number: int, growth: Growth) -> None:
        """So many samples of a way are there by now."""
        self.growing[number] = growth
        self.redraw()

    def order(self) -> list[tuple[int, int]]:
        """Numbers of the ways in the order of the lines, with how deep each is."""
        below: dict[int | None, list[int]] = {}
        for number, one in enumerate(self.found):
            below.setdefault(one.above, []).append(number)

        def walk(above: int | None, depth: int) -> Iterator[tuple[int, int]]:
            for number in sorted(below.get(above, []), key=lambda at: -self.found[at].mass):
                yield number, depth
                yield from walk(number, depth + 1)

        return list(walk(None, 0))

    def lines(self, width: int, height: int) -> Sequence[Line]:
        order = self.order()
        places = [number for number, _ in order]
        n_rows = max(1, height - 1) if height else len(order)
        top = max(0, places.index(self.at) - n_rows + 1) if self.at in places else 0
        words = "       p     mass  began so (95 %)     n  takes" if width >= _ALL_COLUMNS else "       p     n  takes"
        heading = Line(cut(words, width), DIM, no_wrap=True)
        return [heading, *(self._line(number, depth, width) for number, depth in order[top : top + n_rows])]

    def _line(self, number: int, depth: int, width: int) -> Line:
        one = self.found[number]
        growth = self.growing.get(number, Growth(one.n, one.n))
        n = f"{growth.n}" if growth.n == growth.of else f"{growth.n}/{growth.of}"
        p = one.taken if one.expected is None else one.expected
        more = f" {_percent(one.mass):>8}  {_seen(one):<15}" if width >= _ALL_COLUMNS else ""
        line = Line(f"{_percent(p):>8}{more} {n:>5}  ", no_wrap=True)
        line.append("  " * depth + ("- " if self.ink.marks.in_ascii else "─ "), DIM)
        taken = words_of([token.piece for token in one.way.tokens[self._n_above(one) :]], self.ink.marks)
        line.append(taken or "(as it goes on)", HERE if number == self.at else BOLD)
        line.truncate(width)
        return line

    def _n_above(self, one: Gone) -> int:
        return len(one.way.stem) if one.above is None else len(self.found[one.above].way.path)


def _percent(p: float) -> str:
    return f"{percent(p, 3)}%" if p == 0 or p >= 1e-4 else f"{p:.0e}"


def _seen(one: Gone) -> str:
    """The share of the way above that began so, and what it should be."""
    share = one.share
    if share is None or share.value is None or share.low is None or share.high is None:
        return ""
    low, high = (decimals(100 * value, ".0f") for value in (share.low, share.high))
    return f"{share.k}/{share.n} {low}-{high}%"
