"""The tone of a review by VADER, -1 to 1: of the whole text, which is what the paper reports, and of its sentences.

VADER's score of a text is a sum brought into range, so it grows with length, and a long text of small praise is at 1; a
negation reaches over the next three words, across a full stop too. The mean over sentences does neither. Its lexicon is
English: a review in another language is 0, or what the words do that happen to look English ("die" is -2.9). Hutto and
Gilbert, ICWSM (2014) 216.
"""

from __future__ import annotations

from typing import NamedTuple

from llama_diversity.text import sentences, words

MOST_OTHER_LANGUAGE = 0.2  # of an arm's reviews; beyond it none is reported
MOST_UNKNOWN = 0.5  # of an arm's reviews, those of other languages and those of which the lexicon knows no word
_FEW = 8  # words; of fewer one that the lexicon knows will do
_LEAST_ENGLISH = 0.05
_ENGLISH = frozenset(  # frequent words that no other language in Latin letters has as such
    "the and it it's this that that's these those with my you your our they their them have haven't been not don't "
    "doesn't didn't can't but are would could should from very i'm i've i'd i'll because than there what which who "
    "when while every makes great good love to".split()
)


class Tone(NamedTuple):
    """One review's: VADER's compound score of the whole and its mean over sentences, and whether they mean anything.

    `has_known`: the lexicon has a word of it. `is_english`: as far as that can be told.
    """

    of_whole: float
    of_sentences: float
    n_sentences: int
    has_known: bool
    is_english: bool


class Vader:
    """Reads the lexicon once."""

    def __init__(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self._analyzer = SentimentIntensityAnalyzer()

    def __call__(self, text: str) -> Tone:
        """The tone of a text that is not blank."""
        scores = self._analyzer.polarity_scores(text)
        parts = sentences(text)
        has_known = any(scores[part] for part in ("compound", "pos", "neg"))
        mean = sum(self._compound(part) for part in parts) / len(parts)
        return Tone(float(scores["compound"]), mean, len(parts), has_known, _is_english(text, has_known=has_known))

    def _compound(self, text: str) -> float:
        return float(self._analyzer.polarity_scores(text)["compound"])


def _is_english(text: str, *, has_known: bool) -> bool:
    """Whether a text has as many of the frequent English words as English texts have, or is short and known."""
    found = words(text)
    n_english = sum(word in _ENGLISH for word in found)
    return n_english > _LEAST_ENGLISH * len(found) or (len(found) < _FEW and has_known)
