"""What the answer to a prompt is: the first words of the continuation that say something the prompt does not.

Words are those of `text.words`. Passed over are function words (articles, pronouns, prepositions, conjunctions,
auxiliaries, and what only opens an answer) and the words of the original prompt, which an answer may repeat; negations
count. What the prompt's own last word goes on with is no word of the answer. Tokens spell texts in many ways, so an
answer is a set of token paths: this module says which, path by path; it knows no probabilities and no model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.text import SoFar, is_letter_without_blanks, words, words_so_far

Answer = tuple[str, ...]  # the words; fewer than asked for where the text ends before
ENDED = "∎"  # stands behind the words of an answer that ended early, where answers are told apart by their beginnings

FUNCTION_WORDS = frozenset(
    "a an the this that these those such same other another each every either some any all both few many much more "
    "most one ones i me my mine myself you your yours yourself he him his himself she her hers herself it its "
    "itself we us our ours they them their theirs themselves who whom whose which what when where why how there "
    "here then now also too just only even still yet already very really quite so as than like be am is are was "
    "were been being do does did done doing have has had having will would shall should can could may might must "
    "ought of in on at by for with about against between into through during before after above below to from up "
    "down out off over under again further and but or nor if because while until though although whether since "
    "unless upon within without among around across along behind beside besides beyond near toward towards per via "
    "sure certainly course okay ok well yeah oh ah hello hi please let lets".split()
)
_CLITICS = frozenset("s re ve ll d m".split())  # behind an apostrophe; "n't" negates and is none


@dataclass(frozen=True)
class Rule:
    """How many words an answer has, and which are passed over."""

    n_words: int
    passed: frozenset[str]
    _beginnings: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = frozenset(word[:n] for word in self.passed for n in range(len(word) + 1))
        object.__setattr__(self, "_beginnings", starts)

    @classmethod
    def of(cls, original: str, n_words: int) -> Rule:
        """The rule for a prompt and all that it is put otherwise as.

        >>> rule = Rule.of("Grace Hopper was", 1)
        >>> [word for word in ("the", "hopper", "hopper's", "nurse", "wasn't") if not rule.passes(word)]
        ['nurse', "wasn't"]
        """
        return cls(n_words, FUNCTION_WORDS | frozenset(words(original)))

    def passes(self, word: str) -> bool:
        """Whether a whole word is passed over."""
        stem, _, clitic = word.partition("'")
        return word in self.passed or (stem in self.passed and clitic in _CLITICS)

    def may_pass(self, begun: str) -> bool:
        """Whether a word that begins so may be passed over in the end."""
        return begun in self._beginnings or begun.partition("'")[0] in self.passed


class Place(NamedTuple):
    """Where a path stands: the words of the answer so far, and the word it is within.

    `is_prompts`: that word began in the prompt, so it is none of the answer's.
    """

    done: Answer
    open: str
    rest: bytes
    is_prompts: bool = False


def first_place(prompt_end: str) -> Place:
    """Behind a prompt that ends with this text: within its last word, where it ends with one.

    >>> first_place("She was"), first_place("Name: ")
    (Place(done=(), open='was', rest=b'was', is_prompts=True), Place(done=(), open='', rest=b'', is_prompts=False))
    """
    so_far = words_so_far(prompt_end.encode("utf-8", "surrogateescape"))
    return Place((), so_far.open, so_far.rest, bool(so_far.open))


def read_on(place: Place, so_far: SoFar, rule: Rule) -> Place | Answer:
    """Where a path stands whose `rest` and next token are `so_far`, or its answer where that is settled.

    >>> read_on(Place((), "", b""), words_so_far(b" a nurse. "), Rule.of("She was", 1))
    ('nurse',)
    """
    found, is_prompts = so_far.words, place.is_prompts
    if is_prompts and found:
        found, is_prompts = found[1:], False
    done = place.done + tuple(word for word in found if not rule.passes(word))
    return done[: rule.n_words] if len(done) >= rule.n_words else Place(done, so_far.open, so_far.rest, is_prompts)


def at_end(place: Place, rule: Rule) -> Answer | None:
    """The answer of a text that ends here; None where it says nothing new."""
    is_word = bool(place.open) and not place.is_prompts and not rule.passes(place.open)
    return (*place.done, place.open) if is_word else place.done or None


def completes(place: Place, rule: Rule) -> bool:
    """Whether the answer is settled once the word that is open ends."""
    return at_end(place, rule) is not None and len(at_end(place, rule) or ()) == rule.n_words


# ---- which answers a path can still come to: those whose key begins with the path's


def key_of(answer: Answer, rule: Rule) -> str:
    """By which answers are told apart."""
    return " ".join(map(_spelled, answer if len(answer) == rule.n_words else (*answer, ENDED)))


def prefix_of(place: Place, rule: Rule) -> str:
    """What the keys of all answers begin with that a path here can come to.

    >>> rule = Rule.of("She was", 2)
    >>> [prefix_of(Place(("kind",), open, b""), rule) for open in ("", "th", "nur")]
    ['kind ', 'kind ', 'kind nur']
    """
    before = "".join([f"{_spelled(word)} " for word in place.done]) if place.done else ""
    if not place.open or place.is_prompts or rule.may_pass(place.open):
        return before
    return before + _spelled(place.open).rstrip(_MARKS)


_MARKS = "".join(chr(code) for code in range(0x300, 0x370))


def _spelled(word: str) -> str:
    """Letters and their accents apart, so that a letter begins the one with an accent."""
    return word if word.isascii() else unicodedata.normalize("NFD", word)


# ---- a whole vocabulary at once


class Vocabulary:
    """What every token adds to a text, and where it ends a word."""

    def __init__(self, pieces: Iterable[bytes], ends: frozenset[int]) -> None:
        self.pieces = tuple(pieces)
        self.ends = np.array(sorted(ends), np.int64)
        self._read: dict[tuple[bytes, int], SoFar] = {}
        self._breaks: dict[bytes, npt.NDArray[np.bool_]] = {}

    def so_far(self, rest: bytes, token: int) -> SoFar:
        """The words of `rest` and the token behind it."""
        key = rest, token
        if key not in self._read:
            self._read[key] = words_so_far(rest + self.pieces[token])
        return self._read[key]

    def breaks(self, place: Place) -> npt.NDArray[np.bool_] | None:
        """Of each token whether it ends the open word, whatever that is; None where it takes each token by itself."""
        if place.rest != place.open.encode() or not place.open or place.open[-1] in _TAKES_NEXT:
            return None
        like = "北" if is_letter_without_blanks(place.open[-1]) else "x"
        data = like.encode()
        if data not in self._breaks:
            read = (words_so_far(data + piece) for piece in self.pieces)
            self._breaks[data] = np.array([bool(one.words) and one.words[0] == like for one in read], np.bool_)
        return self._breaks[data]

    def clear(self) -> None:
        """Forget what was read behind words; what tokens are by themselves is kept."""
        self._read = {key: found for key, found in self._read.items() if not key[0]}


_TAKES_NEXT = "\u1039\u17d2\u1a60\u1b44\ua9c0"


def shown(answer: Sequence[str]) -> str:
    """For a reader; an answer of no word is none."""
    return " ".join(answer) or "nothing"
