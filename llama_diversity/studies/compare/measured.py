"""What is measured of one prompt: n generations of every arm, and each measure of diversity with its standard error.

Whatever is fitted (IDF, kinds) is fitted on all arms of the prompt together; words are counted on a common prefix, the
longest of PREFIXES that half of every arm's generations reach. A prompt is measured by itself and its texts dropped:
what is kept of them for all prompts together is a `Tally`, a few numbers a generation.

Needs texts, their embeddings and token statistics; knows no models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.answers import Endings
from llama_diversity.metrics import clusters
from llama_diversity.metrics.coverage import chao_wang_jost_nats
from llama_diversity.metrics.indices import corrected_vendi
from llama_diversity.metrics.inference import (
    Z_95,
    Estimate,
    Float64,
    Int64,
    Proportion,
    jackknifed,
    martingale_z,
    self_check_z,
    welch_freedom,
    wilson,
)
from llama_diversity.metrics.lexical import rarefied_types
from llama_diversity.metrics.similarity import mean_pairwise_distance, tf_idf
from llama_diversity.studies.measuring.kinds import KIND_CUT, kinds_among
from llama_diversity.text import Cutting, Letters

PREFIXES = (128, 64, 32, 16)
PRIMARY = "distance"
UNEQUAL_VALIDITY = 0.10
Vectors = npt.NDArray[np.float32]
MEASURES = {  # name -> what it is; larger is more diverse in all of them
    "distance": "meanings, distance *",
    "vendi": "meanings, Vendi 2",
    "kinds": "kinds among m",
    "class_entropy": "class entropy, nats",
    "words": "words, distance",
    "types": "words among m",
    "entropy": "entropy, bits/token",
    "bits_per_byte": "bits per byte",
}


class Generations(NamedTuple):
    """One arm's generations of one prompt: the valid ones, in order; sums over a generation's tokens are in bits.

    `beginnings`: the words of the first tokens, as many as the common prefix, of every valid generation that has them.
    """

    n: int  # drawn, valid or not
    texts: Sequence[str]
    vectors: Vectors  # of the texts, shape (n valid, d)
    n_truncated: int  # texts of which the encoder saw the beginning only
    beginnings: Sequence[Sequence[str]]
    surprisal_bits: Float64  # under what they were drawn from
    entropy_bits: Float64
    excess_variance_bits2: Float64  # of surprisal - entropy, as the distributions say
    lengths: Int64
    prefix_lengths: Int64  # in the unit of the common prefix
    n_bytes: Int64
    unread: float = 0.0  # share of the texts' characters that the encoder cannot read
    endings: Endings = Endings()


@dataclass(frozen=True)
class Rules:
    """What holds for all arms: the common prefix (None: none fits), in tokens of one vocabulary, else in words."""

    prefix: int | None
    has_one_vocabulary: bool = True

    @property
    def unit(self) -> str:
        """What the prefix is counted in."""
        return "tokens" if self.has_one_vocabulary else "words"


Estimates = dict[str, dict[str, Estimate]]  # measure -> arm -> estimate
Kinds = Mapping[str, Int64]  # arm -> counts of kinds formed on all arms


class Tally(NamedTuple):
    """What is kept of an arm's generations of a prompt once they are measured: the valid ones, in order, without texts.

    Sums over a generation's tokens are in bits.
    """

    n: int  # drawn, valid or not
    n_valid: int
    n_texts: int  # different ones
    n_truncated: int
    unread: float
    n_reach: int  # that have the common prefix
    n_with_words: int  # of these, those with a word in it
    letters: Letters  # of the words in it
    excess_bits: Float64  # surprisal - entropy
    excess_variance_bits2: Float64
    lengths: Int64
    prefix_lengths: Int64
    endings: Endings

    @classmethod
    def of(cls, one: Generations) -> Tally:
        """Of these."""
        return cls(
            one.n,
            len(one.texts),
            len(set(one.texts)),
            one.n_truncated,
            one.unread,
            len(one.beginnings),
            sum(map(bool, one.beginnings)),
            Letters.of(one.beginnings),
            one.surprisal_bits - one.entropy_bits,
            one.excess_variance_bits2,
            one.lengths,
            one.prefix_lengths,
            one.endings,
        )


class Measured(NamedTuple):
    """All measures of all arms of one prompt; kinds are those among `m_kinds`, words those among `m_words`."""

    tallies: Mapping[str, Tally]
    estimates: Estimates
    kinds: Kinds
    m_kinds: int
    m_words: int


class Case(NamedTuple):
    """All that is to be compared: what was measured by prompt, and of every arm validity and self-check."""

    measured: Sequence[Measured]
    rules: Rules
    valid: Mapping[str, Proportion]
    checks: Mapping[str, float | None]

    @property
    def arms(self) -> list[str]:
        """The arms in their order."""
        return list(self.measured[0].tallies)

    def endings(self) -> dict[str, Endings]:
        """Of each arm how its outputs end on all prompts, and why some are not valid."""
        return {arm: Endings.together(one.endings for one in self.of(arm)) for arm in self.arms}

    def of(self, arm: str) -> list[Tally]:
        """What is known of one arm's generations on every prompt."""
        return [one.tallies[arm] for one in self.measured]

    def cutting(self, arm: str) -> Cutting:
        """How the words of one arm's beginnings were found."""
        return Letters.together(one.letters for one in self.of(arm)).cutting

    def measures(self) -> list[str]:
        """The measures in their order; bits per byte stand for entropy where there is more than one vocabulary."""
        return [name for name in MEASURES if name != ("bits_per_byte" if self.rules.has_one_vocabulary else "entropy")]

    def estimates(self, measure: str) -> list[Mapping[str, Estimate]]:
        """One measure by prompt."""
        return [one.estimates[measure] for one in self.measured]

    def effective(self) -> list[Mapping[str, Estimate]]:
        """The primary measure by prompt, invalid outputs counted as lost; nothing where valid shares hardly differ."""
        shares = [one.value or 0.0 for one in self.valid.values()]
        if max(shares) - min(shares) <= UNEQUAL_VALIDITY:
            return []
        return [
            {arm: with_lost(estimate, one.tallies[arm]) for arm, estimate in one.estimates[PRIMARY].items()}
            for one in self.measured
        ]


def case_of(prompts: Iterable[Measured], rules: Rules) -> Case:
    """What was measured of all prompts, which have the same arms in one order."""
    case = Case(list(prompts), rules, {}, {})
    every = {arm: case.of(arm) for arm in case.arms}
    valid = {arm: wilson(sum(x.n_valid for x in some), sum(x.n for x in some)) for arm, some in every.items()}
    return case._replace(valid=valid, checks={arm: self_check(some) for arm, some in every.items()})


def common_prefix(lengths: Mapping[str, Sequence[int]]) -> int | None:
    """The longest of PREFIXES that at least half of every arm's generations reach; None where none is.

    >>> common_prefix({"base": [128, 128], "aligned": [70, 20]}), common_prefix({"base": [3]})
    (64, None)
    """
    for prefix in PREFIXES:
        if all(2 * sum(n >= prefix for n in some) >= len(some) > 0 for some in lengths.values()):
            return prefix
    return None


def measured(prompt: Mapping[str, Generations]) -> Measured:
    """Every measure of every arm."""
    kinds = _kinds_of(prompt)
    m_kinds = max(1, min(int(counts.sum()) for counts in kinds.values()) // 2)
    m_words = min((sum(map(len, one.beginnings)) for one in prompt.values()), default=0) // 2
    rows = tf_idf({arm: [" ".join(some) for some in one.beginnings] for arm, one in prompt.items()})
    measures: dict[str, Callable[[str, Generations], Estimate]] = {
        "distance": lambda arm, one: _distance(
            np.asarray(one.vectors, np.float64), has_rare=bool((kinds[arm] == 1).any())
        ),
        "vendi": lambda arm, one: _vendi(one.vectors),
        "kinds": lambda arm, one: kinds_among(one.vectors, kinds[arm], m_kinds),
        "class_entropy": lambda arm, one: chao_wang_jost_nats(kinds[arm]),
        "words": lambda arm, one: _distance(rows[arm]),
        "types": lambda arm, one: _types(one, m_words),
        "entropy": lambda arm, one: _rate(one, one.lengths, [(x.entropy_bits, x.lengths) for x in prompt.values()]),
        "bits_per_byte": lambda arm, one: _rate(
            one, one.n_bytes, [(x.entropy_bits, x.n_bytes) for x in prompt.values()]
        ),
    }
    found = {name: {arm: measure(arm, one) for arm, one in prompt.items()} for name, measure in measures.items()}
    return Measured({arm: Tally.of(one) for arm, one in prompt.items()}, found, kinds, m_kinds, m_words)


UNSEEN = 0.25  # of what one output unlike all others would change: a smaller standard error has seen none such


def _unsure(estimate: Estimate, change: float, *, has_rare: bool = True) -> Estimate:
    """Outputs that are nearly all equal show next to no spread, but are not certain to go on so.

    Where the standard error is far below what one output unlike all others would make of it, `change`, or where no kind
    was seen once only (not `has_rare`), none such was seen, and some may have been missed. That one has been seen shows
    in a larger error.
    """
    if estimate.se is None or estimate.value is None or (has_rare and estimate.se >= UNSEEN * change):
        return estimate
    return estimate._replace(unseen=change)


def _distance(vectors: Any, *, has_rare: bool = True) -> Estimate:
    """One output at a distance of 1 from all others changes a mean over pairs d by 2 (1 - d) / n."""
    estimate = mean_pairwise_distance(vectors)
    return _unsure(estimate, 2 * max(0.0, 1 - (estimate.value or 0.0)) / max(1, estimate.n), has_rare=has_rare)


def _vendi(vectors: Vectors) -> Estimate:
    """The same output takes 2/n of the mean squared cosine, whose inverse this is.

    What few such outputs add to 1 is a count, k of them where the error is sqrt k, and has not the even error that the
    logarithm of a count has: of k seen L/2 + sqrt(z^2 k + (L/2)^2) more may have been missed, L = 3.69 of none. For k
    from 1 to 4 that is 4.5, 5.2, 5.7 and 6.2, where Poisson's exact limits are 4.6, 5.2, 5.8 and 6.2.
    """
    estimate = corrected_vendi(vectors)
    if estimate.se is None or estimate.value is None:
        return estimate
    change = 2 * estimate.value / estimate.n
    k = (estimate.se / change) ** 2
    return estimate._replace(unseen=change * (0.5 + math.sqrt(0.25 + k * (Z_95 / -math.log(0.025)) ** 2)))


def _types(one: Generations, m: int) -> Estimate:
    """Different words among m; where all beginnings are equal it is as if one might have had other words."""
    if not m:
        return _none(one, "no words")
    estimate = rarefied_types(one.beginnings, m)
    if any(some != one.beginnings[0] for some in one.beginnings):
        return estimate
    return _unsure(estimate, m / len(one.beginnings))  # of that one's words so many are among m


def _none(one: Generations, reason: str = "no valid generations") -> Estimate:
    return Estimate(None, None, len(one.texts), reason)


def _kinds_of(prompt: Mapping[str, Generations]) -> dict[str, Int64]:
    """Counts of kinds formed on all arms of the prompt together."""
    names = [arm for arm, one in prompt.items() for _ in one.texts]
    if not len(names):
        return {arm: np.zeros(0, np.int64) for arm in prompt}
    pooled = np.concatenate([one.vectors for one in prompt.values()])
    found = clusters.occupancy(clusters.threshold_classes(pooled, KIND_CUT), names)
    return {arm: found[arm].counts if arm in found else np.zeros(0, np.int64) for arm in prompt}


def _rate(one: Generations, sizes: Int64, pooled: Sequence[tuple[Float64, Int64]]) -> Estimate:
    """Bits per token or byte with the jackknife's error, which at n = 20 is nearer the truth than the formula's.

    `pooled`: bits and sizes of all arms, among which is the generation most unlike this arm's.
    """
    if not sizes.sum():
        return _none(one)
    bits, others = one.entropy_bits, sizes.sum() - sizes
    rate = float(bits.sum() / sizes.sum())
    if not others.all():
        return Estimate(rate, None, len(sizes))
    change = max(float((some - rate * of_each).max(initial=0)) for some, of_each in pooled) / float(sizes.sum())
    return _unsure(jackknifed(rate, (bits.sum() - bits) / others, len(sizes)), change)


def with_lost(estimate: Estimate, one: Tally) -> Estimate:
    """A mean over pairs where a pair with an invalid output has no distance: times v(v-1) / n(n-1).

    v varies too: to first order v^2 has the relative variance 4 (1 - v/n) / v, whatever the valid ones say.
    """
    v, n = one.n_valid, one.n
    if not estimate.value or estimate.se is None or n < 2:
        return estimate
    kept = v * (v - 1) / (n * (n - 1))
    value = estimate.value * kept
    relative = [estimate.se / estimate.value, 2 * math.sqrt((1 - v / n) / v)]
    freedom = welch_freedom(np.square(relative), [estimate.freedom, None]) if any(relative) else None
    return estimate._replace(
        value=value, se=value * math.hypot(*relative), freedom=freedom, unseen=estimate.unseen * kept
    )


def self_check(tallies: Sequence[Tally]) -> float | None:
    """z of the summed surprisal minus entropy: by its sample error or by its known one, whichever accuses less.

    Of generations that nearly all took one path the sample error is next to nothing, and says nothing. Within -+ 999;
    None for fewer than two.
    """
    excess = excess_bits(tallies)
    variances = np.concatenate([one.excess_variance_bits2 for one in tallies])
    if len(excess) < 2:
        return None
    found = min(self_check_z(excess), martingale_z(excess, variances), key=abs)
    return max(-999.0, min(999.0, found))


def excess_bits(tallies: Sequence[Tally]) -> Float64:
    """Surprisal minus entropy of every generation."""
    return np.concatenate([one.excess_bits for one in tallies])
