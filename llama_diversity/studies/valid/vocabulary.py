"""What the tokens of a vocabulary spell, and how they go on with one of several texts.

A word goes on with a letter, a mark or a digit; anything else ends it: a blank, a sign, the end of the text. Bytes that
are no whole character count as going on, since they may become a letter.
"""

from __future__ import annotations

import bisect
import functools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.records import Piece

Mask = npt.NDArray[np.bool_]
TokenPath = tuple[int, ...]
_OF_A_WORD = "LMN"  # classes of Unicode: letters, marks, numbers


def goes_on(data: bytes) -> bool:
    """Whether bytes behind a word belong to it.

    >>> [goes_on(text.encode()) for text in ("s", "1", "é", " is", ".", "-", "”")]
    [True, True, True, False, False, False, False]
    >>> goes_on(b"\\xc3"), goes_on(b"")
    (True, False)
    """
    for n in range(1, min(4, len(data)) + 1):
        try:
            return unicodedata.category(data[:n].decode())[0] in _OF_A_WORD
        except UnicodeDecodeError:
            continue
    return bool(data)


class Next(NamedTuple):
    """What may stand behind a beginning: tokens that keep it one of the texts, and tokens that finish a text.

    Finished is a text by a token that holds its end and what cannot be a part of the word; `complete` says which text
    the beginning itself is, so that any token finishes it that does not go on with a word.
    """

    goes_on: dict[int, bytes]  # token -> the longer beginning
    finishes: dict[int, tuple[int, ...]]  # token -> numbers of texts
    complete: int | None


class Vocabulary:
    """The tokens by what they spell; `ends` end a text whatever they spell."""

    def __init__(self, pieces: Sequence[Piece], ends: frozenset[int]) -> None:
        self.pieces = pieces
        self.ids: dict[bytes, list[int]] = {}
        for token, piece in enumerate(pieces):
            if piece.bytes and piece.control is None and token not in ends:
                self.ids.setdefault(piece.bytes, []).append(token)
        self._sorted = sorted(self.ids)
        stops = (
            token in ends or piece.control is not None or not goes_on(piece.bytes) for token, piece in enumerate(pieces)
        )
        self.stops: Mask = np.fromiter(stops, bool, len(pieces))  # tokens behind a word that do not go on with it

    def beginning_with(self, text: bytes) -> Iterator[bytes]:
        """What longer pieces there are that begin with `text`."""
        for at in range(bisect.bisect_right(self._sorted, text), len(self._sorted)):
            if not self._sorted[at].startswith(text):
                return
            yield self._sorted[at]

    def spelled(self, text: bytes) -> TokenPath | None:
        """`text` in as few tokens as there can be, of equally few the longest first; None where there are none."""
        fewest: list[TokenPath | None] = [None] * len(text) + [()]
        for at in reversed(range(len(text))):
            ways = [
                (self.ids[text[at:end]][0], *rest)
                for end in range(len(text), at, -1)
                if text[at:end] in self.ids and (rest := fewest[end]) is not None
            ]
            fewest[at] = min(ways, key=len, default=None)
        return fewest[0]


class Texts:
    """Texts that an output may begin with, told apart by where their words end: "Niger" is not in "Nigeria"."""

    def __init__(self, texts: Sequence[bytes], vocabulary: Vocabulary) -> None:
        self.texts = texts
        self._vocabulary = vocabulary
        self._order = sorted(range(len(texts)), key=texts.__getitem__)
        self._sorted = [texts[at] for at in self._order]
        self.after = functools.cache(self._after)

    def _starting(self, beginning: bytes) -> list[int]:
        found = []
        for at in range(bisect.bisect_left(self._sorted, beginning), len(self._sorted)):
            if not self._sorted[at].startswith(beginning):
                break
            found.append(self._order[at])
        return found

    def _after(self, beginning: bytes) -> Next:
        longer: dict[int, bytes] = {}
        finishing: dict[int, tuple[int, ...]] = {}
        complete = None
        ids = self._vocabulary.ids
        for number in self._starting(beginning):
            rest = self.texts[number][len(beginning) :]
            if not rest:
                complete = number
                continue
            for n in range(1, len(rest) + 1):
                longer |= dict.fromkeys(ids.get(rest[:n], ()), beginning + rest[:n])
            for piece in self._vocabulary.beginning_with(rest):
                if not goes_on(piece[len(rest) :]):
                    for token in ids[piece]:
                        finishing[token] = (*finishing.get(token, ()), number)
        return Next(longer, finishing, complete)

    @functools.cached_property
    def within(self) -> list[int | None]:
        """Of each text the longest other one that whoever says it says too: "Guinea" of "Guinea-Bissau"."""
        by_text = {text: number for number, text in enumerate(self.texts)}
        return [
            next(
                (
                    by_text[text[:n]]
                    for n in range(len(text) - 1, 0, -1)
                    if text[:n] in by_text and not goes_on(text[n:])
                ),
                None,
            )
            for text in self.texts
        ]

    def has_said(self, beginning: bytes) -> bool:
        """Whether it holds a whole text and more, so that leaving the others is no mistake."""
        return any(beginning[:n] in self._known and not goes_on(beginning[n:]) for n in range(1, len(beginning)))

    @functools.cached_property
    def _known(self) -> frozenset[bytes]:
        return frozenset(self.texts)
