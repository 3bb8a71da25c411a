"""A call that gives several outputs at once: where each lies in it, which tokens are its own, what is stated of it.

Never raises on what a model wrote, and takes time linear in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.answers import Answer
from llama_diversity.records import Piece

_NUMBER = r"(?:\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})\s*%?"
_PROBABILITY = re.compile(rf"probability\W{{0,8}}({_NUMBER})", re.IGNORECASE)
_LINE = re.compile(rf"[^\S\n]*\W{{0,4}}probability\W{{0,8}}{_NUMBER}[^\S\n]*\W{{0,4}}[^\S\n]*(?:\n|\Z)", re.IGNORECASE)
_ASIDE = re.compile(rf"\A\s*[(\[]\s*(?:probability\W{{0,8}})?({_NUMBER})\s*[)\]]\W{{0,3}}|"
                    rf"[(\[]\s*(?:probability\W{{0,8}})?({_NUMBER})\s*[)\]]\s*\Z", re.IGNORECASE)  # fmt: skip
_ITEM = re.compile(r"^[^\S\n]*\**(\d{1,3})[.)]\**[^\S\n]+", re.MULTILINE)


class Block(NamedTuple):
    """One output of a call: where its text lies in the answer, and the probability that the model stated for it."""

    text: str
    start: int
    end: int
    probability: float | None


def blocks(text: str, tag: str) -> list[Block]:
    """The outputs of a call, each between <tag> and </tag>; the last one may lack its end where it was cut off.

    >>> blocks("<a>\\nProbability: 20 %\\nred\\n</a> and <a>blue", "a")[0].probability
    0.2
    """
    found = []
    starts = list(re.finditer(rf"<{tag}\b[^>]*>", text, re.IGNORECASE))
    ending = re.compile(rf"</{tag}\s*>", re.IGNORECASE)
    for at, begin in enumerate(starts):
        upto = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        end = ending.search(text, begin.end(), upto)
        until = end.start() if end else upto
        found.append(Block(text[begin.end() : until], begin.end(), until, _stated(text[begin.end() : until])))
    return found


def answers(text: str, tag: str) -> list[Block]:
    """The same of plain answers, without what is stated of them; a numbered list of two or more counts as well.

    A probability stands on a line of its own, or in brackets at either end of the answer.

    >>> [(one.text, one.probability) for one in answers("1. red (0.5)\\n2. blue (40 %)", "a")]
    [('red', 0.5), ('blue', 0.4)]
    >>> [(one.text, one.probability) for one in answers("<a>\\nProbability: 0.3\\nred\\n</a>", "a")]
    [('red', 0.3)]
    """
    return [_answer(text, one) for one in blocks(text, tag) or _items(text)]


def _items(text: str) -> list[Block]:
    """The items of a list that counts from 1; nothing of one alone."""
    starts: list[re.Match[str]] = []
    for one in _ITEM.finditer(text):
        if int(one[1]) == len(starts) + 1:
            starts.append(one)
    ends = [after.start() for _, after in pairwise(starts)]
    found = [(one.end(), end) for one, end in zip(starts, [*ends, len(text)], strict=False)]
    return [Block(text[start:end], start, end, None) for start, end in found] if len(found) > 1 else []


def _answer(text: str, block: Block) -> Block:
    """Without the line or the brackets in which a probability is stated, and without blanks around it."""
    start, end, stated = block.start, block.end, block.probability
    line = _LINE.search(text, start, end)
    aside = None if line else _ASIDE.search(text[start:end])
    if line and not text[start : line.start()].strip():
        start = line.end()
    elif line and not text[line.end() : end].strip():
        end = line.start()
    elif aside and aside[1]:
        stated, start = _share(aside[1]), start + aside.end()
    elif aside:
        stated, end = _share(aside[2]), start + aside.start()
    said = text[start:end]
    start += len(said) - len(said.lstrip())
    return Block(said.strip(), start, start + len(said.strip()), _stated(block.text) if stated is None else stated)


def _stated(text: str) -> float | None:
    """A probability as a model states it, 0 to 1; None where it states none."""
    match = _PROBABILITY.search(text)
    return None if match is None else _share(match[1])


def _share(words: str) -> float | None:
    value = float(words.rstrip("% ")) / (100 if words.endswith("%") else 1)
    return value if 0 <= value <= 1 else None


class Tokens(NamedTuple):
    """Where the tokens of an answer end: after each how many bytes of it there are. `skipped`: blanks before its text.

    >>> ends = np.array([1, 3, 6])
    >>> Tokens(ends, 0).begun("abcdef", 1, 3)  # the second token, which begins at byte 1 and ends at 3
    slice(1, 2, None)
    >>> Tokens(ends, 0).spoken("abcdef", 2, 3)  # the same, though it begins with a blank; and the one behind it
    slice(1, 3, None)
    """

    ends: npt.NDArray[np.int64]
    skipped: int

    @classmethod
    def of(cls, answer: Answer, pieces: Mapping[int, Piece]) -> Tokens:
        """Of an answer, with the pieces of its tokens."""
        n_bytes = np.cumsum([len(pieces[token].bytes) for token in answer.tokens["id"].tolist()], dtype=np.int64)
        return cls(n_bytes, len(answer.data) - len(answer.text.encode("utf-8", "surrogateescape")))

    def begun(self, text: str, start: int, end: int) -> slice:
        """The tokens that begin within these characters of the answer's text."""
        first, last = self._places(text, start, end)
        before = int(np.searchsorted(self.ends, first)) + 1 if first else 0
        return slice(before, int(np.searchsorted(self.ends, last)) + 1)

    def spoken(self, text: str, start: int, end: int) -> slice:
        """From the token with the first of these characters to the one that shows what stands behind the last.

        That one belongs to them as the end of sequence does to a whole answer: it decides that they end there.
        """
        first, last = self._places(text, start, end)
        return slice(*(int(at) for at in np.searchsorted(self.ends, [first, last], side="right") + [0, 1]))

    def _places(self, text: str, *characters: int) -> list[int]:
        return [self.skipped + len(text[:at].encode("utf-8", "surrogateescape")) for at in characters]
