"""What stands beside a sample: of each other arm the one of its number, or the one that begins most like it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from llama_diversity.decimals import counted
from llama_diversity.studies.viewed import Alike, Source, Text


class Beside:
    """Whether samples are aligned by a shared beginning, and what is known of the sample in view."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.is_alike = False  # else by number
        self.of: tuple[int, int, int] | None = None  # question, arm and key of the sample that the others are like
        self.found: Sequence[Alike] | None = None  # of each arm; None while they are looked for
        self._share: float | None = None

    @property
    def words(self) -> str:
        """How samples are aligned, for a reader; nothing where it is by number."""
        if not self.is_alike:
            return ""
        return "aligned by shared beginning" + ("" if self._share is None else f": {self._share:.0%} read")

    def rows(self, question: int, arm: int, row: int) -> list[int | None]:
        """The row of each arm, as far as is known; by number until then."""
        arms = range(len(self._source.arms(question)))
        if self.is_alike and self.found is not None and self.of == self._named(question, arm, row):
            return [row if at == arm else self._row(question, at) for at in arms]
        return [row if at == arm else self._source.partner(question, arm, row, at) for at in arms]

    def partner(self, question: int, arm: int, row: int, other: int) -> int | None:
        """The row of another arm that stands beside a row now."""
        if self.is_alike and self.found is not None and self.of is not None and self.of[0] == question:
            return self._row(question, other)
        return self._source.partner(question, arm, row, other)

    def headed(self, arm: int, text: Text) -> Text:
        """A text whose heading says how far it is the same."""
        if not self.is_alike or self.found is None or self.of is None or arm == self.of[1]:
            return text
        one = self.found[arm]
        shared = "another tokenizer" if one.key is None else f"{counted(one.n_shared, 'token')} shared"
        return dataclasses.replace(text, heading=f"{text.heading}, {shared}" if one.key is not None else shared)

    def look_at(self, question: int, arm: int, row: int) -> bool:
        """Another sample is in view; whether what is like it must be looked for."""
        named = self._named(question, arm, row)
        if not self.is_alike or named is None or self.of == named:
            return False
        self.of, self.found, self._share = named, None, 0.0
        return True

    def turn(self) -> None:
        """By number, or by beginning."""
        self.is_alike = not self.is_alike
        self.of = self.found = self._share = None

    def tell(self, share: float) -> None:
        """How far the samples are read."""
        self._share = share

    def take(self, found: Sequence[Alike] | None) -> None:
        """What was found; None where it cannot be had."""
        self.found, self._share = found, None

    def work(self, of: tuple[int, int, int], told: Callable[[float], None]) -> Sequence[Alike]:
        """Look for what is like a sample; for a thread. Raises what `Arranging.alike` raises."""
        assert self._source.arranger is not None
        return self._source.arranger.alike(*of, told)

    def _named(self, question: int, arm: int, row: int) -> tuple[int, int, int] | None:
        keys = self._source.rows(question, arm)
        return (question, arm, int(keys[row])) if 0 <= row < len(keys) else None

    def _row(self, question: int, arm: int) -> int | None:
        key = None if self.found is None else self.found[arm].key
        if key is None:
            return None
        there = self._source.rows_of(question, arm, np.array([key], np.int64))
        return there[0] if there else None
