"""The map of meanings: a letter an arm where its samples lie, and a cursor that goes from spot to spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.style import Style
from rich.text import Text as Line
from textual import events

from llama_diversity.errors import LlamadivError
from llama_diversity.studies.viewed import Map
from llama_diversity.view.background import in_background
from llama_diversity.view.ink import BOLD, DIM, HERE, folded
from llama_diversity.view.keys import bindings
from llama_diversity.view.panels import PANELS, Open, Panel, Spot

_GROUP = "mapping"
_IN_VIEW, _SEVERAL = "@", "*"
WHAT = (
    "A map of what the samples mean (t-SNE of sentence vectors): neighbours mean alike. Distances are only roughly "
    "kept, and far ones say little."
)


class Point(NamedTuple):
    """A sample: its arm, its key there, and where it lies."""

    arm: int
    key: int
    x: float
    y: float


class MeaningMap(Panel):
    """The map. Its cursor stands on a sample; several may share a place."""

    BINDINGS = bindings(PANELS["map"].keys)

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.points: list[Point] | None = None  # None while they are worked out
        self.at = 0  # the point under the cursor
        self._cells: list[tuple[int, int]] = []  # of each point, column and row
        self._spot = Spot(None)
        self._question: int | None = None
        self._share = 0.0
        self._trouble = ""

    def on_unmount(self) -> None:
        """Stop what is worked out."""
        self.app.workers.cancel_group(self.screen, _GROUP)

    def follow(self, spot: Spot) -> None:
        """Another sample is shown: the cursor goes there."""
        before, self._spot = self._spot, spot
        if spot.question != self._question:
            self._question = spot.question
            self._load()
        elif (spot.arm, spot.row) != (before.arm, before.row):
            self._to_the_sample()

    def _load(self) -> None:
        question, arranger = self._spot.question, self.source.arranger
        self.points, self._trouble, self._share = None, "", 0.0
        if arranger is None:
            return
        in_background(
            self.viewer,
            _GROUP,
            lambda told: arranger.maps(question, told),
            heard=self._hear,
            done=lambda maps: self._take(question, maps),
            refused=self._refuse,
        )

    def _hear(self, share: float) -> None:
        self._share = share
        self.redraw()

    def _refuse(self, sentence: str) -> None:
        self._trouble = sentence
        self.redraw()

    def _take(self, question: int, maps: Sequence[Map]) -> None:
        if question == self._question:
            self.points = [
                Point(arm, int(key), float(x), float(y))
                for arm, one in enumerate(maps)
                for key, (x, y) in zip(one.keys, one.spots, strict=True)
                if np.isfinite(x) and np.isfinite(y)
            ]
            self._to_the_sample()

    def _to_the_sample(self) -> None:
        here = self._in_view()
        self.at = 0 if here is None else here
        self.redraw()

    def _in_view(self) -> int | None:
        """The point of the sample in view; one that has no meaning, or is beyond the first ones, has none."""
        if self.points is None or self._spot.row >= self.source.n_rows(self._spot.question, self._spot.arm):
            return None
        keys = self.source.rows(self._spot.question, self._spot.arm)
        wanted = (self._spot.arm, int(keys[self._spot.row]))
        return next((at for at, one in enumerate(self.points) if one[:2] == wanted), None)

    # ---- what is drawn

    def lines(self, width: int, height: int) -> Sequence[Line]:
        if self.points is None:
            words = self._trouble or f"Working out what the samples mean: {self._share:.0%}"
            return folded(Line(self.ink.safe(words)), width)
        foot = folded(Line(WHAT, DIM), width)
        room = max(3, height - 2 - len(foot))
        self._cells = cells_of(self.points, width, room)
        return [self._head(width), *self._drawn(width, room), self._named(width), *foot]

    def _head(self, width: int) -> Line:
        line = Line(no_wrap=True)
        for arm, name in enumerate(self.source.arms(self._spot.question)):
            line.append(f"{_letter(arm)} {self.ink.safe(name)}  ", self.ink.arm(name, arm))
        line.append(f"{_SEVERAL} several  {_IN_VIEW} in view", DIM)
        line.truncate(width)
        return line

    def _drawn(self, width: int, height: int) -> list[Line]:
        assert self.points is not None
        arms: dict[tuple[int, int], Counter[int]] = {}
        for cell, point in zip(self._cells, self.points, strict=True):
            arms.setdefault(cell, Counter())[point.arm] += 1
        in_view = self._in_view()
        names = self.source.arms(self._spot.question)
        lines = []
        for row in range(height):
            line = Line(no_wrap=True)
            for column in range(width):
                some = arms.get((column, row))
                if some is None:
                    line.append(" ")
                    continue
                mark, style = _SEVERAL, BOLD
                if len(some) == 1:
                    [arm] = some
                    mark, style = _letter(arm), self.ink.arm(names[arm], arm)
                if in_view is not None and self._cells[in_view] == (column, row):
                    mark, style = _IN_VIEW, style + BOLD
                line.append(mark, HERE if self._cells[self.at] == (column, row) else style)
            lines.append(line)
        return lines

    def _named(self, width: int) -> Line:
        """The sample under the cursor, in words."""
        if not self.points:
            return Line("no sample has a place on it")
        point = self.points[self.at]
        name = self.source.arms(self._spot.question)[point.arm]
        line = Line(f"{self.ink.safe(name)} ", self.ink.arm(name, point.arm), no_wrap=True)
        try:
            rows = self.source.rows_of(self._spot.question, point.arm, np.array([point.key], np.int64))
            for row in self.source.listed(self._spot.question, point.arm, rows):
                n_here = self._cells.count(self._cells[self.at])
                more = f" ({n_here} in this place)" if n_here > 1 else ""
                line.append(f"{row.number:,}{more}: {self.ink.safe(row.text[: 2 * width])}", Style())
        except LlamadivError as error:
            line.append(self.ink.safe(str(error)))
        line.truncate(width)
        return line

    # ---- what keys do

    def action_go(self, across: int, down: int) -> None:
        """To the nearest spot that way."""
        if self.points and self._cells:
            place = nearest(self._cells, self._cells[self.at], across, down)
            if place is not None:
                self.at = self._cells.index(place)
                self.redraw()

    def action_next(self) -> None:
        """To the next sample in the same place."""
        if self.points and self._cells:
            here = self._cells[self.at]
            same = [at for at, cell in enumerate(self._cells) if cell == here]
            self.at = same[(same.index(self.at) + 1) % len(same)]
            self.redraw()

    def action_take(self) -> None:
        """Show the sample under the cursor."""
        if self.points:
            point = self.points[self.at]
            question = self._spot.question
            for row in self.source.rows_of(question, point.arm, np.array([point.key], np.int64)):
                self.post_message(Open(question, point.arm, row))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is, if there is a sample."""
        if (event.x, event.y - 1) in self._cells:
            self.at = self._cells.index((event.x, event.y - 1))
            self.redraw()


def _letter(arm: int) -> str:
    """An arm's mark: A, B, ..., Z, then again."""
    return chr(ord("A") + arm % 26)


def cells_of(points: Sequence[Point], width: int, height: int) -> list[tuple[int, int]]:
    """Column and row of each point, up drawn upwards; as far apart across as down, cells being twice as high as wide.

    >>> cells_of([Point(0, 0, 0.0, 0.0), Point(0, 1, 1.0, 1.0)], 9, 5)
    [(0, 4), (8, 0)]
    """
    if not points:
        return []
    x, y = (np.array([getattr(one, name) for one in points]) for name in "xy")
    spans = [float(np.ptp(one)) or 1.0 for one in (x, y)]
    scale = min((width - 1) / spans[0], 2 * (height - 1) / spans[1])
    columns = np.rint((x - x.min()) * scale).astype(int)
    rows = np.rint((y.max() - y) * scale / 2).astype(int)
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def nearest(cells: Sequence[tuple[int, int]], here: tuple[int, int], across: int, down: int) -> tuple[int, int] | None:
    """The nearest place in a direction, within half a right angle of it; failing that, anywhere on that side.

    >>> nearest([(0, 0), (4, 1), (2, 5), (1, 9)], (0, 0), 1, 0), nearest([(0, 0), (4, 1)], (0, 0), -1, 0)
    ((4, 1), None)
    """
    found = []
    for cell in set(cells):
        dx, dy = cell[0] - here[0], 2 * (cell[1] - here[1])
        ahead, aside = (dx * across, abs(dy)) if across else (dy * down, abs(dx))
        if ahead > 0:
            found.append((aside > ahead, dx * dx + dy * dy, cell))
    return min(found)[2] if found else None
