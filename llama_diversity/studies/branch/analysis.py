"""Ways that leave a text: what each holds of all probability, and what followed those that were gone.

A text is tokens behind a prompt. A way leaves it behind some of them, its stem, and takes tokens of its own; taking
none, it goes on from there as the model does. Its mass is the exact probability, under the raw model at temperature 1,
that a completion of the prompt begins with it: a product over its tokens, nothing sampled. What followed is sampled:
the share of a way's samples that begin so, with Wilson's 95 % interval, beside the probability they were drawn with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Proportion, wilson
from llama_diversity.records import Piece, TokenStats

N_SAMPLES = 16  # of each way
MAX_TOKENS = 48
MOST_WAYS = 200

Path = tuple[int, ...]  # token ids behind the prompt


@dataclass(frozen=True)
class Token:
    """A token of a text or way: what it adds (what is no UTF-8 as lone surrogates), and p given all before it."""

    id: int
    text: str
    control: str | None
    probability: float

    @classmethod
    def of(cls, piece: Piece, row: Any) -> Token:
        """From its statistics, a row of TOKEN_DTYPE."""
        said = piece.bytes.decode("utf-8", "surrogateescape")
        return cls(int(row["id"]), said, piece.control, 2.0 ** -float(row["surprisal_bits"]))

    @property
    def piece(self) -> Piece:
        """Its bytes, or its name."""
        return Piece(self.text.encode("utf-8", "surrogateescape"), self.control)


def text_of(tokens: Sequence[Token]) -> str:
    """What tokens add to a text; bytes that are no UTF-8 together are lone surrogates.

    >>> text_of([Token(7, " caf", None, 0.5), Token(8, "\\udcc3", None, 1.0), Token(9, "\\udca9", None, 1.0)])
    ' café'
    """
    return b"".join(one.piece.bytes for one in tokens).decode("utf-8", "surrogateescape")


def mass(tokens: Sequence[Token]) -> float:
    """The probability of all of them, one after the other.

    >>> mass([Token(1, "a", None, 0.5), Token(2, "b", None, 0.25)]), mass([])
    (0.125, 1)
    """
    return math.prod(one.probability for one in tokens)


@dataclass(frozen=True)
class Way:
    """Leaves a text behind its `stem`, and takes tokens where it `said` another one, if it said anything there."""

    stem: tuple[Token, ...] = ()
    taken: tuple[Token, ...] = ()
    said: Token | None = None

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All of it from the prompt on."""
        return (*self.stem, *self.taken)

    @property
    def path(self) -> Path:
        """Their ids."""
        return tuple(one.id for one in self.tokens)

    @classmethod
    def of_fields(cls, stem: Sequence[Any], taken: Sequence[Any], said: Mapping[str, Any] | None) -> Way:
        """The same after JSON."""
        return cls(
            tuple(Token(**one) for one in stem),
            tuple(Token(**one) for one in taken),
            None if said is None else Token(**said),
        )


class First(NamedTuple):
    """A token that some samples of a way begin with: under the model, as it was drawn, and how often it came."""

    id: int
    probability: float
    drawn_with: float
    share: Proportion


@dataclass(frozen=True)
class Gone:
    """A way with what followed it.

    `above` is the number of the way that it goes on from, the longest that it begins with; `share` is that of the
    samples of that way which begin with what it takes, and `expected` the probability of that. None where nothing is
    above. `entropy_bits` is that of the distribution behind the way; nan where nothing was drawn.
    """

    way: Way
    mass: float
    taken: float  # the probability of what it takes, given the text before
    above: int | None
    share: Proportion | None
    expected: float | None
    n: int
    firsts: tuple[First, ...]  # the commonest first; of equals the likelier
    entropy_bits: float
    mean_bits: float


def analyse(ways: Sequence[Way], samples: Mapping[int, Sequence[TokenStats]]) -> list[Gone]:
    """Every way with what followed; `samples` are tokens by the way's number.

    A token of probability 1/2 was taken, and 3 of 4 samples from before it began with it:

    >>> from llama_diversity.records import TOKEN_DTYPE
    >>> rows = [np.zeros(1, TOKEN_DTYPE) for _ in range(4)]
    >>> for row, token in zip(rows, (7, 7, 7, 8)):
    ...     row["id"], row["surprisal_bits"], row["sampler_surprisal_bits"] = token, 1.0, 1.0
    >>> [_, gone] = analyse([Way(), Way((), (Token(7, "a", None, 0.5),))], {0: rows, 1: []})
    >>> gone.mass, gone.above, gone.share.value, gone.expected
    (0.5, 0, 0.75, 0.5)
    """
    paths = [way.path for way in ways]
    found = []
    for number, (way, path) in enumerate(zip(ways, paths, strict=True)):
        tokens, mine = way.tokens, samples.get(number, ())
        above = _above(number, paths)
        share = expected = None
        if above is not None:
            rest = path[len(paths[above]) :]
            share = _share(rest, samples.get(above, ()))
            expected = mass(tokens[len(paths[above]) :])
        found.append(
            Gone(
                way,
                mass(tokens),
                mass(way.taken),
                above,
                share,
                expected,
                len(mine),
                _firsts(mine),
                float(mine[0]["entropy_bits"][0]) if mine else math.nan,
                _mean_bits(mine),
            )
        )
    return found


def _above(number: int, paths: Sequence[Path]) -> int | None:
    """The longest of the other ways that this one goes on from; of equal ones the first."""
    path = paths[number]
    beginnings = [at for at, one in enumerate(paths) if len(one) < len(path) and one == path[: len(one)]]
    return max(beginnings, key=lambda at: len(paths[at]), default=None)


def _share(rest: Path, samples: Sequence[TokenStats]) -> Proportion:
    k = sum(tuple(one["id"][: len(rest)].tolist()) == rest for one in samples)
    return wilson(k, len(samples))


def _firsts(samples: Sequence[TokenStats]) -> tuple[First, ...]:
    counts = Counter(int(one["id"][0]) for one in samples)
    rows = {int(one["id"][0]): one[0] for one in samples}
    found = [
        First(
            token,
            2.0 ** -float(rows[token]["surprisal_bits"]),
            2.0 ** -float(rows[token]["sampler_surprisal_bits"]),
            wilson(k, len(samples)),
        )
        for token, k in counts.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.share.k, -one.probability, one.id)))


def _mean_bits(samples: Sequence[TokenStats]) -> float:
    if not samples:
        return math.nan
    return float(np.concatenate([one["surprisal_bits"] for one in samples]).mean(dtype=np.float64))


# ---- a whole distribution


@dataclass(frozen=True)
class Distribution:
    """What may follow a path: log p of every token, natural logarithms, shape (n_vocab,), of the raw model."""

    log_p: npt.NDArray[np.float64]

    def probability(self, token: int) -> float:
        """Of one token, in [0, 1]."""
        return math.exp(float(self.log_p[token]))

    def rank(self, token: int) -> int:
        """1 for the likeliest; equals share the best rank.

        >>> Distribution(np.log([0.2, 0.5, 0.3])).rank(0)
        3
        """
        return 1 + int((self.log_p > self.log_p[token]).sum())

    @property
    def entropy_bits(self) -> float:
        """-sum p log2 p.

        >>> Distribution(np.log([0.5, 0.25, 0.25])).entropy_bits
        1.5
        """
        p = np.exp(self.log_p)
        return float(-(p * np.where(p > 0, self.log_p, 0.0)).sum() / math.log(2))

    def order(self) -> npt.NDArray[np.int64]:
        """All tokens, the likeliest first; of equals the lower id."""
        return np.argsort(-self.log_p, kind="stable")


class Spelled:
    """All tokens of a vocabulary as texts, to look for some among them."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self._texts = [one.control or one.bytes.decode("utf-8", "replace") for one in pieces]
        self._folded = [one.lower() for one in self._texts]

    def matching(self, wanted: str) -> npt.NDArray[np.int64]:
        """Which tokens have `wanted` in what they add, or in the name of a control token; ids, ascending.

        Letters count alike in both cases where `wanted` is in lower case. A blank at the start of `wanted` counts.

        >>> Spelled([Piece(b" she"), Piece(b"She"), Piece(b"her"), Piece(b"", "</s>")]).matching("she").tolist()
        [0, 1]
        >>> Spelled([Piece(b" she"), Piece(b"She"), Piece(b"", "</s>")]).matching(" she").tolist()
        [0]
        """
        texts = self._folded if wanted == wanted.lower() else self._texts
        return np.array([at for at, text in enumerate(texts) if wanted in text], np.int64)
