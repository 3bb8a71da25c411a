"""Does an answer survive when the question is put otherwise? A test of attractors (arXiv 2609.09901).

Protocol: one prompt and n ways of putting it otherwise. Of each the probability of every answer (`answers.py` says what
one is) is read from exact next-token distributions (`search.py`): nothing is sampled. An answer that has 5 % or more
behind the original prompt is an attractor there, as in `perturb`.

Dominance DR: the probability of an answer behind the original. Framing rate FR: the share of the other n in which it is
the likeliest answer too. pi = DR FR. The likeliest answer is deep where the interval of its FR lies above a stated
share (one half), shallow where it lies below, and undecided between. An attractor has vanished where it still is one,
with 5 % or more, in no more than that share of the reframings.

The reframings are the units: Wilson's interval is one over ways of putting the question such as these. They were
written, not drawn, so it is as good as they are unlike each other. Where a search ends before the likeliest answer is
certain, both outcomes count at their own end of the interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llama_diversity.metrics.inference import Interval, mean_interval, wilson
from llama_diversity.studies.reframe.answers import Answer
from llama_diversity.studies.reframe.search import Answers, Bounds

LEAST = 0.05  # the probability of an attractor
DEEP = 0.5  # the share of reframings beyond which one is deep
N_WORDS = 1
BUDGET = 1000
LEAST_REFRAMINGS = 5
DEEP_WORD, SHALLOW_WORD, UNDECIDED = "deep", "shallow", "undecided"


class Rate(NamedTuple):
    """A share of the reframings, 95 % interval: `k` of `n` as far as is likely, `n_sure` surely, `n_open` maybe."""

    value: float
    low: float
    high: float
    k: int
    n: int
    n_sure: int
    n_open: int

    def verdict(self, share: float) -> str:
        """Deep, shallow or undecided by a share.

        >>> Rate(0.9, 0.74, 0.97, 27, 30, 27, 0).verdict(0.5), Rate(0.5, 0.33, 0.67, 15, 30, 15, 0).verdict(0.5)
        ('deep', 'undecided')
        """
        return DEEP_WORD if self.low > share else SHALLOW_WORD if self.high < share else UNDECIDED


class Framed(NamedTuple):
    """One answer behind one reframing; None where a search ended before it was certain."""

    text: str
    probability: Bounds
    top: Answer | None  # the likeliest answer, as far as is known
    is_top: bool | None
    is_attractor: bool | None


class Elsewhere(NamedTuple):
    """The same answer of another arm, behind the original prompt."""

    probability: Bounds
    rank: int | None  # None: behind all that are listed


class Attractor(NamedTuple):
    """An answer of one arm to one prompt, with 5 % or more behind the original, or the likeliest if none has."""

    answer: Answer
    is_top: bool  # behind the original
    dominance: Bounds  # DR
    framing: Rate  # FR
    kept: Rate  # share of the reframings in which it has 5 % or more
    over: Interval  # its mean probability over the reframings, t interval
    least: float  # the least of the reframings' probabilities, and the most
    most: float
    framed: tuple[Framed, ...]
    in_base: Elsewhere | None  # None: this is the base

    @property
    def is_one(self) -> bool:
        """Whether it has 5 % or more behind the original."""
        return self.dominance.likely >= LEAST

    @property
    def pi(self) -> Interval:
        """DR FR, the interval that of FR, DR being known."""
        dr = self.dominance
        return Interval(dr.likely * self.framing.value, dr.low * self.framing.low, dr.high * self.framing.high)

    def verdict(self, share: float) -> str:
        """Of a likeliest answer that is an attractor: deep, shallow or undecided; of one with less “no attractor”."""
        return self.framing.verdict(share) if self.is_one else "no attractor"


class OfPrompt(NamedTuple):
    """One arm and one prompt: the original's answers, and its attractors, the likeliest first."""

    original: Answers
    attractors: tuple[Attractor, ...]
    n_certain: int  # reframings of which the likeliest answer is certain
    n_expanded: int

    @property
    def top(self) -> Attractor | None:
        """The likeliest answer."""
        return next((one for one in self.attractors if one.is_top), None)


class Count(NamedTuple):
    """Over all prompts of an arm: its attractors, those that vanished; its likeliest answers by verdict."""

    n_attractors: int
    n_vanished: int
    n_surely_vanished: int  # whatever is not certain
    n_deep: int
    n_shallow: int
    n_undecided: int
    n_none: int  # prompts whose likeliest answer is no attractor
    n_deep_of_base: int  # deep ones that are attractors of the base too


def attractors_of(original: Answers) -> tuple[Answer, ...]:
    """The answers with 5 % or more, the likeliest first; where none has, the likeliest."""
    found = tuple(answer for answer, bounds in original.likeliest if bounds.likely >= LEAST)
    return found or tuple(answer for answer, _ in original.likeliest[:1])


def analyse(
    original: Answers, framed: Mapping[str, Answers], base: Answers | None, *, closest_bits: float = 0.0
) -> OfPrompt:
    """One arm's answers to a prompt against those to its reframings, by their texts; `base`: the base's to the prompt.

    Two answers nearer than `closest_bits` of log2 p have no order, by the arithmetic. Raises ValueError without
    reframings.
    """
    if not framed:
        raise ValueError("at least one reframing")
    return OfPrompt(
        original,
        tuple(_attractor(answer, original, framed, base, 2.0**closest_bits) for answer in attractors_of(original)),
        sum(one.is_certain for one in framed.values()),
        original.n_expanded + sum(one.n_expanded for one in framed.values()),
    )


def _attractor(
    answer: Answer, original: Answers, framed: Mapping[str, Answers], base: Answers | None, factor: float
) -> Attractor:
    each = tuple(_framed(answer, text, found, factor) for text, found in framed.items())
    probabilities = [one.probability.likely for one in each]
    over = mean_interval(probabilities)
    return Attractor(
        answer=answer,
        is_top=answer == original.top,
        dominance=original.of(answer),
        framing=_rate([one.is_top for one in each], [one.top == answer for one in each]),
        kept=_rate([one.is_attractor for one in each], [one.probability.likely >= LEAST for one in each]),
        over=Interval(over.mean, max(over.low, 0.0), min(over.high, 1.0)),
        least=min(probabilities),
        most=max(probabilities),
        framed=each,
        in_base=None if base is None else Elsewhere(base.of(answer), base.rank(answer)),
    )


def _framed(answer: Answer, text: str, found: Answers, factor: float) -> Framed:
    """`factor`: by which two probabilities have to differ to be in an order."""
    bounds = found.of(answer)
    first, second = (*(known.low for _, known in found.likeliest[:2]), 0.0, 0.0)[:2]
    is_top: bool | None = None
    if found.top == answer and found.is_certain and second * factor <= first:
        is_top = True
    elif found.top not in (answer, None) and bounds.high * factor < first:
        is_top = False
    is_attractor = True if bounds.low >= LEAST else False if bounds.high < LEAST else None
    return Framed(text, bounds, found.top, is_top, is_attractor)


def _rate(known: Sequence[bool | None], likely: Sequence[bool]) -> Rate:
    """Wilson's interval, from as few as are certain to as many as may be.

    >>> rate = _rate([True, True, None, False], [True, True, True, False])
    >>> rate.value, rate.k, rate.n_open, rate.low == wilson(2, 4).low, rate.high == wilson(3, 4).high
    (0.75, 3, 1, True, True)
    """
    n, k, n_sure, n_open = len(known), sum(likely), known.count(True), known.count(None)
    low, high = wilson(n_sure, n).low, wilson(n_sure + n_open, n).high
    assert low is not None
    assert high is not None
    return Rate(k / n, low, high, k, n, n_sure, n_open)


def count(found: Sequence[OfPrompt], share: float) -> Count:
    """What one arm's prompts come to. `share`: as for a deep one."""
    every = [one for prompt in found for one in prompt.attractors if one.is_one]
    tops = [prompt.top for prompt in found if prompt.top is not None]
    verdicts = [one.verdict(share) for one in tops]
    deep = [one for one in tops if one.verdict(share) == DEEP_WORD and one.in_base is not None]
    return Count(
        n_attractors=len(every),
        n_vanished=sum(one.kept.value <= share for one in every),
        n_surely_vanished=sum(one.kept.n_sure + one.kept.n_open <= share * one.kept.n for one in every),
        n_deep=verdicts.count(DEEP_WORD),
        n_shallow=verdicts.count(SHALLOW_WORD),
        n_undecided=verdicts.count(UNDECIDED),
        n_none=len(found) - sum(one.is_one for one in tops),
        n_deep_of_base=sum(one.in_base is not None and one.in_base.probability.likely >= LEAST for one in deep),
    )


def mean_rate(found: Sequence[OfPrompt]) -> float:
    """The mean FR of the likeliest answers that are attractors; nan for none."""
    rates = [one.top.framing.value for one in found if one.top is not None and one.top.is_one]
    return math.fsum(rates) / len(rates) if rates else math.nan
