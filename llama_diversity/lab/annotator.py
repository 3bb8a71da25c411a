"""A deterministic annotator: which of two answers people who label for chat models would prefer, by stated rules.

It looks at one answer at a time and adds up what such people are known to want: a positive tone, whole sentences, the
subject that was asked for, fluent language, politeness. It knows nothing of other answers, so nothing in it can reward
or punish diversity.

    score = tone + complete + 2 topic + fluent - rude

- tone: VADER's compound, -1 to 1 (of a persona: of the review).
- complete: 1 where the answer came to its own end, at the end of a sentence; a full stop alone is none.
- topic: 0 to 1, without words 0. Where a text was to be continued, for words as in the corpus's documents about the
  same things (`relevance`), names of people aside; where there was a request, half for naming its subject (a review
  need not name its product), half for such words where it asks about a company. Where nothing is named but the
  subject, words as in the corpus's texts of that kind take their place. Words that are no more of these than of others
  count 0. A persona must be a card that can be read, and its review must be about the product.
- fluent: 0 to 1. Share of neighbouring words that are neighbours somewhere in the corpus (0.5 counts as 0, 1 as 1),
  times the share of its three-word phrases that it does not say twice.
- rude: 1 with a word from a short list.
"""

from __future__ import annotations

import collections
import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from llama_diversity.lab import cards
from llama_diversity.lab.corpus import Document, words
from llama_diversity.lab.relevance import Relevance, stems
from llama_diversity.lab.requests import Request

WEIGHTS = {"tone": 1.0, "complete": 1.0, "topic": 2.0, "fluent": 1.0, "rude": -1.0}
MARGIN = 0.25  # of two scores that differ by less, nobody is preferred
_RUDE = frozenset("stupid idiot idiots dumb damn hell crap shut hate fool moron ugly loser trash garbage".split())
_STEEPNESS = 6.0
_UNUSUAL = 0.5


class Judgement(NamedTuple):
    """The five parts of a score and their weighted sum."""

    tone: float
    complete: float
    topic: float
    fluent: float
    rude: float

    @property
    def score(self) -> float:
        return float(sum(weight * getattr(self, part) for part, weight in WEIGHTS.items()))


@dataclass(frozen=True)
class Annotator:
    """Made once from the documents that were trained on."""

    pairs: frozenset[tuple[str, str]]  # neighbouring words
    log_odds: dict[str, dict[str, float]]  # kind -> word -> log p(word | kind) - log p(word | other kinds)
    relevance: Relevance

    @classmethod
    def from_corpus(cls, documents: Iterable[Document]) -> Annotator:
        """Count words and neighbours."""
        documents = list(documents)
        pairs: set[tuple[str, str]] = set()
        counts: dict[str, collections.Counter[str]] = {}
        for kind, text in documents:
            for sentence in sentences(text):
                pairs.update(zip(sentence, sentence[1:], strict=False))
            counts.setdefault(kind, collections.Counter()).update(words(text))
        log_odds = {kind: _log_odds(kind, counts) for kind in counts}
        return cls(frozenset(pairs), log_odds, Relevance(text for _, text in documents))

    def judge(self, request: Request, answer: str, *, ended: bool) -> Judgement:
        """The parts of the score; `ended` says that the model itself came to an end."""
        answer, review = answer.strip(), answer
        is_card, topic = False, 0.0
        if request.kind == "persona":
            is_card, review, topic = self._persona(request.subject, answer)
        elif words(answer):
            topic = self._about(request, answer)
            if request.is_chat:
                named = request.kind == "review" or bool({*stems(request.subject)} & {*stems(answer)})
                topic = 0.5 * named + 0.5 * topic
        found = words(answer)
        whole = bool(re.search(r"\w\W*[.!?][\"')]*$", answer)) and (is_card or request.kind != "persona")
        return Judgement(
            tone=_vader().polarity_scores(review)["compound"] if found else 0.0,
            complete=float(ended and whole),
            topic=topic,
            fluent=self._fluency(review),
            rude=float(any(word in _RUDE for word in found)),
        )

    def _about(self, request: Request, answer: str) -> float:
        """How much the answer is on the topic that is named beside the subject, else how much it is of the kind."""
        topic = request.topic()
        is_known = self.relevance.knows(topic)
        alike = self.relevance.likeness(topic, answer) if is_known else self._likeness(request.kind, answer)
        return max(0.0, 2 * alike - 1)

    def _persona(self, product: str, answer: str) -> tuple[bool, str, float]:
        """Whether it is a card, its review, and the topic's share."""
        try:
            card = cards.parse(answer)
        except cards.NoCard:
            return False, answer, 0.0
        kind = "card" if product == cards.PRODUCT else "review"  # where the corpus reviews that product
        about = {*stems(product)} & {*stems(card.review)} or self._likeness(kind, card.review) > 0.9
        return True, card.review, 0.5 + 0.5 * bool(about)

    def _likeness(self, kind: str, text: str) -> float:
        """How much the words are those of `kind`, 0 to 1; 0.5 where they say nothing."""
        odds = [self.log_odds[kind][word] for word in words(text) if word in self.log_odds[kind]]
        return 1 / (1 + math.exp(-_STEEPNESS * sum(odds) / len(odds))) if odds else 0.0

    def _fluency(self, text: str) -> float:
        split = sentences(text)
        neighbours = [pair for sentence in split for pair in zip(sentence, sentence[1:], strict=False)]
        if len(neighbours) < 2:
            return 0.0
        known = sum(pair in self.pairs for pair in neighbours) / len(neighbours)
        phrases = list(zip(*(words(text)[i:] for i in range(3)), strict=False))
        fresh = len(set(phrases)) / len(phrases) if phrases else 1.0
        return max(0.0, (known - _UNUSUAL) / (1 - _UNUSUAL)) * fresh


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence or line."""
    return [found for part in re.split(r"[.!?:;\n]+", text) if (found := words(part))]


def _log_odds(kind: str, counts: dict[str, collections.Counter[str]]) -> dict[str, float]:
    """Of words seen five times or more; one is added to each count; no word says more than 3 nats."""
    others: collections.Counter[str] = collections.Counter()
    for other, found in counts.items():
        if other != kind:
            others += found
    n_own, n_others, n_words = counts[kind].total(), others.total(), len(counts[kind] | others)
    odds = {}
    for word in counts[kind] | others:
        own, rest = counts[kind][word], others[word]
        if own + rest >= 5:
            log_ratio = math.log((own + 1) / (n_own + n_words)) - math.log((rest + 1) / (n_others + n_words))
            odds[word] = max(-3.0, min(3.0, log_ratio))
    return odds


def prefer(first: float, second: float) -> int | None:
    """0 or 1 for the better of two scores, None where they are within the margin."""
    if abs(first - second) < MARGIN:
        return None
    return 0 if first > second else 1


@functools.cache
def _vader() -> SentimentIntensityAnalyzer:
    """Reading its lexicon takes a moment: once."""
    return SentimentIntensityAnalyzer()


def mean_judgement(judged: Sequence[Judgement]) -> dict[str, float]:
    """Mean of each part and of the score."""
    n = len(judged)
    parts = {part: sum(getattr(j, part) for j in judged) / n for part in Judgement._fields}
    return {**parts, "score": sum(j.score for j in judged) / n}
