"""What a viewer looks at: texts token by token, side by side, and where they come from. It knows no terminal.

A `Source` has one or more questions, each with the arms that answered it, each with rows, which are texts. A text that
was typed is one question with one row and an arm for each model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from llama_diversity.records import TOKEN_DTYPE, Asking, Piece, TokenStats
from llama_diversity.render import scales
from llama_diversity.render.scales import (
    OF_MIXTURES,
    SCALES,
    Difference,
    Leaning,
    Scale,
    ScoredToken,
    TokenScale,
    scale_called,
    scored_tokens,
)

Keys = npt.NDArray[np.int64]  # of samples: numbers that stay theirs when others come
Told = Callable[[float], None]  # hears the share that is done; may raise to stop


@dataclass(frozen=True, eq=False)
class Text:
    """One text under one model, with the statistics of its tokens.

    `tokens`, `beside` and `bounds` are as in `records.Sample`, shape (n,); `pieces` says what each token seen in them
    looks like. `heading` names the arm and what of it this is; `ending` says why a sample ended, if it has ended.
    """

    arm: str
    model: str
    tokens: TokenStats
    pieces: Mapping[int, Piece]
    vocabulary: str
    heading: str = ""
    prompt: str = ""
    ending: str = ""
    beside: TokenStats | None = None
    bounds: TokenStats | None = None
    is_drawn: bool = False  # by a sampler, whose own statistics the tokens have

    @classmethod
    def missing(cls, arm: str) -> Text:
        """What stands beside a text that an arm has no partner of."""
        return cls(arm, arm, np.zeros(0, TOKEN_DTYPE), {}, "", heading="none of this number")

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def spelled(self) -> list[Piece]:
        """The piece of every token, in order."""
        return [self.pieces[token] for token in self.tokens["id"].tolist()]

    def scored(self, start: int, end: int, *, has_alternatives: bool = True) -> tuple[ScoredToken, ...]:
        """The tokens from `start` to before `end`, as scales and pictures take them."""
        beside = None if self.beside is None else self.beside[start:end]
        return scored_tokens(self.tokens[start:end], self.pieces.__getitem__, beside, has_alternatives=has_alternatives)

    @functools.cached_property
    def total_bits(self) -> float:
        """Summed surprisal of the tokens that have a context."""
        return float(np.nansum(self.tokens["surprisal_bits"], dtype=np.float64))

    @functools.cached_property
    def n_judged(self) -> int:
        """How many tokens have a context."""
        return int((~np.isnan(self.tokens["surprisal_bits"])).sum())

    def left_over(self, at: int) -> float:
        """Raw probability of all tokens but the stored alternatives, before the token `at`; nan where none is known."""
        bits = self.tokens["top_surprisals_bits"][at]
        known = bits[np.isfinite(bits)].astype(np.float64)
        return max(0.0, 1 - float(np.exp2(-known).sum())) if len(known) else math.nan


class Row(NamedTuple):
    """What a list says of a text: its row, its number in its cell, and how likely it is as a whole."""

    row: int
    number: int
    n_tokens: int
    ending: str
    text: str  # its beginning
    bits: float

    @property
    def bits_per_token(self) -> float:
        """Of its tokens, each the same."""
        return self.bits / self.n_tokens if self.n_tokens else math.nan


class Wish(NamedTuple):
    """How an arm's samples are wanted: in which order, and with which words in their texts, in any case."""

    order: str = "number"
    words: str = ""
    is_reversed: bool = False


class Labels(NamedTuple):
    """A number for each of some samples, -1 for none, and what the numbers are of, in words."""

    keys: Keys
    numbers: Keys
    words: str

    def of(self, keys: Keys) -> list[int]:
        """Those of these samples; -1 for one that is not among them."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        found = np.where(self.keys[at] == keys, self.numbers[at], -1) if len(self.keys) else np.full(len(keys), -1)
        return [int(one) for one in found]


class Map(NamedTuple):
    """Where samples lie on a map of meanings: key by key a place, nan for none, shape (n, 2)."""

    keys: Keys
    spots: npt.NDArray[np.float64]


class Alike(NamedTuple):
    """Of an arm the sample that shares the longest beginning with another one, and how many tokens that is.

    No key where the arm has no sample whose tokens are those of the same vocabulary.
    """

    key: int | None
    n_shared: int


class Arranging(Protocol):
    """What brings the samples of a source into an order. It reads for itself, so a thread may call it."""

    @property
    def orders(self) -> Mapping[str, str]:
        """By name, what each puts first."""

    def arrange(self, question: int, arm: int, wish: Wish, told: Told) -> Keys:
        """The samples of an arm as they are wanted. Raises what a store raises, and what `told` does."""

    def labels(self, question: int, arm: int, order: str) -> Labels | None:
        """What was found out for an order that sorts by labels; None where nothing was yet."""

    def alike(self, question: int, arm: int, key: int, told: Told) -> Sequence[Alike]:
        """Of each arm the sample that begins most like one of an arm; itself of its own. Raises as `arrange`."""

    def maps(self, question: int, told: Told) -> Sequence[Map]:
        """Of each arm where its samples lie. Raises as `arrange`, and where there can be no map."""


class Origin(NamedTuple):
    """Where a text is from, for who wants to go on from it: a sample of a run, or a text that a model read."""

    model: str
    run: str = ""
    arm: str = ""
    number: int = 0
    text: str = ""
    asking: Asking = Asking()


class Source(Protocol):
    """Where texts come from. All numbers of questions, arms and rows are from 0."""

    title: str
    panels: Sequence[str]  # names of what can be opened beside its texts
    arranger: Arranging | None

    @property
    def questions(self) -> Sequence[str]:
        """What was asked, in words; empty where nothing was asked yet."""

    def arms(self, question: int) -> Sequence[str]:
        """The names of those that answered it."""

    def n_rows(self, question: int, arm: int) -> int:
        """How many texts an arm has."""

    def text(self, question: int, arm: int, row: int) -> Text:
        """One of them. Raises what a store raises."""

    def partner(self, question: int, arm: int, row: int, other: int) -> int | None:
        """The row of another arm that stands beside a row: the one with its number; None where there is none."""

    def origin(self, question: int, arm: int, row: int) -> Origin:
        """Where one of them is from."""

    def rows(self, question: int, arm: int) -> Keys:
        """The key of each text of an arm, ascending."""

    def rows_of(self, question: int, arm: int, keys: Keys) -> list[int]:
        """The rows with these keys, in their order; of those that are gone none."""

    def listed(self, question: int, arm: int, rows: Sequence[int]) -> list[Row]:
        """What a list says of these rows. Raises what a store raises."""

    def refresh(self) -> bool:
        """Look whether there is more than before; whether there is."""


class ScoredTexts:
    """A text that was typed, under one model or several."""

    panels: Sequence[str] = ()
    arranger: Arranging | None = None

    def __init__(self, texts: Sequence[Text], typed: str, asking: Asking) -> None:
        self._texts = tuple(texts)
        self._typed, self._asking = typed, asking
        self.title = "a text under " + " and ".join(text.model for text in texts)
        self.questions: Sequence[str] = ("",)

    def arms(self, question: int) -> Sequence[str]:
        """The models."""
        return [text.arm for text in self._texts]

    def n_rows(self, question: int, arm: int) -> int:
        """One."""
        return 1

    def text(self, question: int, arm: int, row: int) -> Text:
        """The text under that model."""
        return self._texts[arm]

    def partner(self, question: int, arm: int, row: int, other: int) -> int | None:
        """The same text."""
        return row

    def origin(self, question: int, arm: int, row: int) -> Origin:
        """The text, for that model."""
        return Origin(self._texts[arm].model, text=self._typed, asking=self._asking)

    def rows(self, question: int, arm: int) -> Keys:
        """One."""
        return np.zeros(1, np.int64)

    def rows_of(self, question: int, arm: int, keys: Keys) -> list[int]:
        """The one."""
        return [0 for key in keys if key == 0]

    def listed(self, question: int, arm: int, rows: Sequence[int]) -> list[Row]:
        """The one, without its words."""
        text = self._texts[arm]
        return [Row(0, 0, len(text), text.ending, "", text.total_bits)]

    def refresh(self) -> bool:
        """What was read stays as it is."""
        return False


class Abreast:
    """Texts that stand side by side: what they can be coloured by, and how far they are the same."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts = tuple(texts)
        self._shared: dict[tuple[int, int], int] = {}

    def shared(self, one: int, other: int) -> int:
        """How many tokens two of the texts both begin with."""
        if (one, other) not in self._shared:
            self._shared[one, other] = _n_shared(self.texts[one], self.texts[other])
        return self._shared[one, other]

    @functools.cached_property
    def quantities(self) -> list[str]:
        """Names of the scales that some token has a value on."""
        found = [name for name in SCALES if name not in OF_MIXTURES]
        if any(self.shared(0, other) for other in range(1, len(self.texts))):
            found.append(Difference.name)
        beside = [text.beside for text in self.texts if text.beside is not None]
        if beside:
            found.append(Leaning.name)
        if any((one["source"] >= 0).any() for one in beside):
            found.append(scales.Source.name)
        return found

    def values(self, arm: int, scale: Scale, start: int, end: int) -> list[float]:
        """The quantity of the tokens from `start` to before `end` of one of the texts; nan where a token has none.

        A difference is that of the text's own arm less the first one's, of the first arm the second's less its own, and
        there is one only where both texts are the same so far.
        """
        end = min(end, len(self.texts[arm]))
        if isinstance(scale, TokenScale):
            return [scale.value(token) for token in self.texts[arm].scored(start, end, has_alternatives=False)]
        other = max(1, arm)
        n = max(start, min(self.shared(0, other), end))
        first, second = (self.texts[at].tokens["surprisal_bits"][start:n].astype(np.float64) for at in (0, other))
        known: list[float] = (second - first).tolist()
        return known + [math.nan] * (end - n)

    @functools.cached_property
    def parting(self) -> int | None:
        """The first token at which not all of the texts are the same; None where none is, and of empty ones."""
        there = [at for at, text in enumerate(self.texts) if len(text)]
        n = min((self.shared(there[0], other) for other in there), default=0)
        return n if any(len(self.texts[at]) != n for at in there) else None

    def same_context(self, arm: int, at: int) -> list[int]:
        """The arms, `arm` among them, whose texts have a token `at` and are the same before it."""
        return [
            other
            for other, text in enumerate(self.texts)
            if at < len(text) and (other == arm or self.shared(arm, other) >= at)
        ]


def scale_of(name: str) -> Scale:
    """The scale of a quantity, with its default maximum. Raises UnknownName."""
    return Difference(Difference.default_maximum_bits) if name == Difference.name else scale_called(name)


def _n_shared(one: Text, other: Text) -> int:
    if one is other:
        return len(one)
    pairs = enumerate(zip(one.spelled, other.spelled, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


# ---- where to go


def next_word(text: Text, at: int, step: int) -> int:
    """The token that begins the next word, or with `step` -1 the one before; `at` itself where there is none."""
    places = range(at + 1, len(text)) if step > 0 else range(at - 1, -1, -1)
    return next((place for place in places if begins_word(text.spelled, place)), at)


def begins_word(spelled: Sequence[Piece], at: int) -> bool:
    """Whether a token begins a word: behind a blank, with one, or as a control token."""
    piece, before = spelled[at], spelled[at - 1] if at else Piece(b"", "")
    if piece.control is not None or before.control is not None:
        return True
    return bool(piece.bytes.strip()) and (piece.bytes[:1].isspace() or before.bytes[-1:].isspace())


def next_surprise(found: Sequence[float] | Any, at: int, step: int, least: float) -> int | None:
    """The next token whose value is `least` or more, either way of zero, or with `step` -1 the one before."""
    with np.errstate(invalid="ignore"):
        places = np.flatnonzero(np.abs(np.asarray(found, np.float64)) >= least)
    there = places[places > at] if step > 0 else places[places < at][::-1]
    return int(there[0]) if len(there) else None
