"""In which order samples stand and which are left out; what that takes is worked out in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llama_diversity.studies.viewed import Keys, Source, Wish


class Order:
    """The rows of the arm in view as they are wanted, and how far that is worked out."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.of = (0, 0)  # question and arm
        self.wish = Wish()
        self.rows: Sequence[int] = range(0)
        self._share: float | None = None
        self._trouble = ""

    @property
    def is_plain(self) -> bool:
        """Whether all samples stand in their own order, which takes no work."""
        return self.wish == Wish()

    @property
    def words(self) -> str:
        """How the samples stand, for a reader."""
        if self._trouble:
            return self._trouble
        orders = {} if self._source.arranger is None else self._source.arranger.orders
        words = orders.get(self.wish.order, "in order") + (", backwards" if self.wish.is_reversed else "")
        if self.wish.words:
            words += f", {len(self.rows):,} with “{self.wish.words}”"
        return words if self._share is None else f"{words}: {self._share:.0%} read"

    def place_of(self, row: int) -> int | None:
        """Where a row stands; None where it is left out."""
        if isinstance(self.rows, range):
            return row if row in self.rows else None
        at = np.flatnonzero(np.asarray(self.rows) == row)
        return int(at[0]) if len(at) else None

    def step(self, row: int, step: int) -> int | None:
        """The row so many places on from a row, not beyond the ends; None where there is none."""
        if not len(self.rows):
            return None
        place = self.place_of(row)
        return int(self.rows[0 if place is None else max(0, min(place + step, len(self.rows) - 1))])

    def show(self, question: int, arm: int) -> bool:
        """Another arm is in view; whether its order must be worked out."""
        is_same = self.of == (question, arm)
        self.of = (question, arm)
        n = self._source.n_rows(question, arm) if self._source.questions else 0
        if self.is_plain or not is_same:
            self.rows = range(n)
        return not (self.is_plain or is_same)

    def want(self, wish: Wish) -> bool:
        """Another order; whether it must be worked out."""
        self.wish, self._trouble = wish, ""
        if self.is_plain:
            self._share = None
            self.rows = range(self._source.n_rows(*self.of) if self._source.questions else 0)
        return not self.is_plain

    def next_order(self) -> str:
        """The order behind the present one."""
        names = ["number"] if self._source.arranger is None else list(self._source.arranger.orders)
        return names[(names.index(self.wish.order) + 1) % len(names)]

    def tell(self, share: float | None) -> None:
        """How far the work is; None where it is at its end."""
        self._share = share

    def refuse(self, sentence: str) -> None:
        """It cannot be had."""
        self._share, self._trouble = None, sentence
        self.wish = self.wish._replace(order="number", words="", is_reversed=False)
        self.rows = range(self._source.n_rows(*self.of) if self._source.questions else 0)

    def take(self, keys: Keys) -> None:
        """What was worked out."""
        self._share, self.rows = None, self._source.rows_of(*self.of, keys)

    def work(self, of: tuple[int, int], wish: Wish, told: Callable[[float], None]) -> Keys:
        """Work one out; for a thread. Raises what `Arranging.arrange` raises."""
        assert self._source.arranger is not None
        return self._source.arranger.arrange(*of, wish, told)
