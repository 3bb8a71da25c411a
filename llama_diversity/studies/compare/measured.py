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
from llama_diversity.metrics.coverage import chao_wang_jost_nats, rarefied_richness
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
from llama_diversity.studies.compare.clustered import (
    Mask,
    Units,
    halves,
    most_of_half,
    over_units,
    relative_error_of_share,
    share_valid,
)
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
    units: Units | None = None  # where several outputs come in one call or chain
    written: float = 0.0  # tokens that were written for all n, valid or not
    prompted: float = 0.0  # tokens of their prompts


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
    units: Units | None
    written: float
    prompted: float

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
            one.units,
            one.written,
            one.prompted,
        )


class Price(NamedTuple):
    """Tokens of an output, valid or not: written, and of its prompt; means over `n` outputs."""

    written: float
    prompted: float
    n: int


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

    def units(self, arm: str) -> list[Units]:
        """Of each prompt the calls or chains of one arm; nothing where each output is asked for by itself."""
        return [one.units for one in self.of(arm) if one.units is not None]

    def price(self, arm: str) -> Price:
        """What an output of one arm costs."""
        some = self.of(arm)
        n = sum(one.n for one in some)
        return Price(sum(one.written for one in some) / n, sum(one.prompted for one in some) / n, n)

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
    valid = {
        arm: share_valid(case.units(arm))
        if case.units(arm)
        else wilson(sum(x.n_valid for x in some), sum(x.n for x in some))
        for arm, some in every.items()
    }
    return case._replace(valid=valid, checks={arm: self_check(some) for arm, some in every.items()})


def common_prefix(lengths: Mapping[str, Sequence[int]]) -> int | None:
    """The longest of PREFIXES that at least half of every arm's generations reach; None where none is.

    An arm that has none at all has no part in it: of that nothing is compared, and the others are.

    >>> common_prefix({"base": [128, 128], "aligned": [70, 20]}), common_prefix({"base": [3]})
    (64, None)
    """
    there = [some for some in lengths.values() if some]
    for prefix in PREFIXES if there else ():
        if all(2 * sum(n >= prefix for n in some) >= len(some) for some in there):
            return prefix
    return None


def measured(prompt: Mapping[str, Generations]) -> Measured:
    """Every measure of every arm."""
    labels = _labels_of(prompt)
    n_kinds = 1 + max((int(some.max(initial=-1)) for some in labels.values()), default=-1)
    kinds = {arm: np.bincount(some, minlength=n_kinds) for arm, some in labels.items()}
    there = [one for one in prompt.values() if one.texts]  # of an arm without any nothing is compared
    m_kinds = max(1, min((_half(one) for one in there), default=1))
    m_words = min((sum(map(len, one.beginnings)) for one in there), default=0) // 2
    rows = tf_idf({arm: [" ".join(some) for some in one.beginnings] for arm, one in prompt.items()})
    bits = [(x.entropy_bits, x.lengths) for x in prompt.values()]
    of_bytes = [(x.entropy_bits, x.n_bytes) for x in prompt.values()]
    found: Estimates = {name: {} for name in MEASURES}
    for arm, one in prompt.items():
        counts = kinds[arm]
        of_arm = {
            "distance": _distance(np.asarray(one.vectors, np.float64), has_rare=bool((counts == 1).any())),
            "vendi": _vendi(one.vectors),
            "kinds": _kinds(one, labels[arm], counts, m_kinds),
            "class_entropy": chao_wang_jost_nats(counts),
            "words": _distance(rows[arm]),
            "types": _types(one, m_words),
            "entropy": _rate(one, one.lengths, bits),
            "bits_per_byte": _rate(one, one.n_bytes, of_bytes),
        }
        if one.units is not None:
            of_arm |= _by_unit(one, one.units, of_arm, Given(labels[arm], rows[arm], m_words))
        for name, estimate in of_arm.items():
            found[name][arm] = estimate
    return Measured({arm: Tally.of(one) for arm, one in prompt.items()}, found, kinds, m_kinds, m_words)


class Given(NamedTuple):
    """What all arms of a prompt give one of them: kinds of its outputs, rows of its beginnings, how many words."""

    labels: Int64
    rows: Any
    m_words: int


def _half(one: Generations) -> int:
    """Of how many outputs two independent looks are to be had."""
    return len(one.texts) // 2 if one.units is None else most_of_half(one.units.of_valid)


def _by_unit(one: Generations, units: Units, found: Mapping[str, Estimate], given: Given) -> dict[str, Estimate]:
    """The same values with errors over calls or chains; of kinds they are so already."""
    vectors = np.asarray(one.vectors, np.float64)

    def types(some: Mask) -> float | None:
        left = [words for words, stays in zip(one.beginnings, some, strict=True) if stays]
        return rarefied_types(left, given.m_words).value if given.m_words else None

    of_outputs: dict[str, Callable[[Mask], float | None]] = {
        "distance": lambda some: mean_pairwise_distance(vectors[some]).value,
        "vendi": lambda some: corrected_vendi(vectors[some]).value,
        "class_entropy": lambda some: chao_wang_jost_nats(np.bincount(given.labels[some])).value,
        "entropy": lambda some: _ratio(one.entropy_bits[some], one.lengths[some]),
        "bits_per_byte": lambda some: _ratio(one.entropy_bits[some], one.n_bytes[some]),
    }
    of_beginnings: dict[str, Callable[[Mask], float | None]] = {
        "words": lambda some: mean_pairwise_distance(given.rows[some]).value,
        "types": types,
    }
    return {
        **{name: over_units(found[name], value, units.of_valid) for name, value in of_outputs.items()},
        **{name: over_units(found[name], value, units.of_beginnings) for name, value in of_beginnings.items()},
    }


def _kinds(one: Generations, labels: Int64, counts: Int64, m: int) -> Estimate:
    """Kinds among m; of calls in whole ones taken at random."""
    if one.units is None:
        return kinds_among(one.vectors, counts, m)
    units = one.units.of_valid
    if one.units.n < 2:
        return _none(one, "fewer than two calls with a valid output")
    given = over_units(
        rarefied_richness(counts, m), lambda some: rarefied_richness(np.bincount(labels[some]), m).value, units
    )
    found = kinds_among(one.vectors, counts, m, parts=lambda chance: halves(chance, units, m), given=given)
    return found._replace(n=given.n)


def _ratio(sums: Float64, sizes: Int64) -> float | None:
    return float(sums.sum() / sizes.sum()) if sizes.sum() else None


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
    if not m or not one.beginnings:
        return _none(one, "no words")
    estimate = rarefied_types(one.beginnings, m)
    if any(some != one.beginnings[0] for some in one.beginnings):
        return estimate
    return _unsure(estimate, m / len(one.beginnings))  # of that one's words so many are among m


def _none(one: Generations, reason: str = "no valid generations") -> Estimate:
    return Estimate(None, None, len(one.texts), reason)


def _labels_of(prompt: Mapping[str, Generations]) -> dict[str, Int64]:
    """The kind of each output, formed on all arms of the prompt together."""
    sizes = [len(one.texts) for one in prompt.values()]
    if not sum(sizes):
        return {arm: np.zeros(0, np.int64) for arm in prompt}
    labels = clusters.threshold_classes(np.concatenate([one.vectors for one in prompt.values()]), KIND_CUT)
    return dict(zip(prompt, np.split(labels, np.cumsum(sizes)[:-1]), strict=True))


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
    of_share = math.sqrt((1 - v / n) / v) if one.units is None else relative_error_of_share(one.units)
    relative = [estimate.se / estimate.value, 2 * of_share]
    freedom = welch_freedom(np.square(relative), [estimate.freedom, None]) if any(relative) else None
    return estimate._replace(
        value=value, se=value * math.hypot(*relative), freedom=freedom, unseen=estimate.unseen * kept
    )


def self_check(tallies: Sequence[Tally]) -> float | None:
    """z of the summed surprisal minus entropy: by its sample error or by its known one, whichever accuses less.

    Of generations that nearly all took one path the sample error is next to nothing, and says nothing. Within -+ 999;
    None for fewer than two, and where a server told no entropies.
    """
    excess = excess_bits(tallies)
    variances = np.concatenate([one.excess_variance_bits2 for one in tallies])
    if len(excess) < 2 or np.isnan(excess).any():
        return None
    found = min(self_check_z(excess), martingale_z(excess, variances), key=abs)
    return max(-999.0, min(999.0, found))


def excess_bits(tallies: Sequence[Tally]) -> Float64:
    """Surprisal minus entropy of every generation."""
    return np.concatenate([one.excess_bits for one in tallies])
