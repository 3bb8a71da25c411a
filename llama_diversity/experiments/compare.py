"""Is one arm more diverse than another? A comparison of many measures that says when it cannot tell, and why.

Protocol: n generations of every arm for every prompt. Whatever is fitted (IDF, kinds) is fitted on all arms of a prompt
together; words are counted on a common token prefix, the longest of PREFIXES that fits. The effect is the share kept,
the arm's value over the first arm's, on the log scale. The primary measure, declared here before any data, is the mean
pairwise distance of meanings; p-values of all lines are adjusted after Holm.

Prompts are the population: from LEAST_PROMPTS on, differences are paired by prompt and the interval is a t interval
over prompts, the claim about prompts like these. With fewer the jackknife over generations gives a claim about these
prompts alone. "Equivalent" is said only where the 90 % interval lies within a tenth of equality (TOST).

Needs texts, their embeddings and token statistics; knows no models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.experiments.semantic import KIND_CUT
from llama_diversity.metrics import clusters
from llama_diversity.metrics.coverage import (
    chao_wang_jost_nats,
    more_generations,
    rarefied_richness,
    refined_coverage,
    two_digits,
)
from llama_diversity.metrics.entropy import bits_per_byte, entropy_rate
from llama_diversity.metrics.indices import corrected_vendi
from llama_diversity.metrics.inference import (
    Z_95,
    Estimate,
    Proportion,
    equivalence,
    holm,
    log_ratio,
    paired_t,
    self_check_z,
    wilson,
)
from llama_diversity.metrics.lexical import rarefied_types
from llama_diversity.metrics.similarity import mean_pairwise_distance, tf_idf

LEAST_PROMPTS = 5  # for a claim about prompts in general
LEAST_VALID, LEAST_FOR_TAILS = 20, 25
MOST_TRUNCATED = 0.05
LEAST_COVERAGE = 0.5
UNEQUAL_VALIDITY = 0.10
PREFIXES = (128, 64, 32, 16)
MARGIN = math.log(1.1)
LARGEST_Z = 4.0
PRIMARY = "distance"

Vectors = npt.NDArray[np.float32]
Verdict = Literal["less diverse", "more diverse", "equivalent", "inconclusive", "not comparable"]

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
    surprisal_bits: npt.NDArray[np.float64]  # under what they were drawn from
    entropy_bits: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    n_bytes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """What holds for all arms: the common prefix in tokens (None: none fits), and one vocabulary or not."""

    prefix: int | None
    has_one_vocabulary: bool = True


class Line(NamedTuple):
    """One measure of one arm against the first: the share kept with its 95 % interval, and what may be said of it."""

    measure: str
    arm: str
    verdict: Verdict
    first: float | None  # the first arm's value: over prompts the geometric mean
    value: float | None
    share: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n_units: int  # prompts or generations, as `claim` says
    more: int | None  # further units of an undecided line that may settle it, about
    reason: str


@dataclass(frozen=True)
class Result:
    """All lines, in the order of MEASURES; of each arm what is valid; what the claim is about."""

    lines: tuple[Line, ...]
    valid: Mapping[str, Proportion]
    lengths: Mapping[str, float]  # mean tokens of a valid generation
    is_general: bool  # about prompts like these, not these alone
    n_prompts: int
    self_check: Mapping[str, float]  # z of each arm over all prompts
    counted_as_lost: tuple[Line, ...]  # the primary measure once more, invalid outputs counted, where shares differ


def common_prefix(lengths: Mapping[str, Sequence[int]]) -> int | None:
    """The longest of PREFIXES that at least half of every arm's generations reach; None where none is.

    >>> common_prefix({"base": [128, 128], "aligned": [70, 20]}), common_prefix({"base": [3]})
    (64, None)
    """
    for prefix in PREFIXES:
        if all(2 * sum(n >= prefix for n in some) >= len(some) > 0 for some in lengths.values()):
            return prefix
    return None


def compare(prompts: Sequence[Mapping[str, Generations]], rules: Rules) -> Result:
    """Every later arm against the first; `prompts` has the same arms, in one order, for each prompt."""
    arms = list(prompts[0])
    kinds = [kinds_of(prompt) for prompt in prompts]
    found = [estimates(prompt, counts) for prompt, counts in zip(prompts, kinds, strict=True)]
    checks = {arm: self_check_z(np.concatenate([_excess(prompt[arm]) for prompt in prompts])) for arm in arms}
    valid = {arm: wilson(*_counted(prompts, arm)) for arm in arms}
    names = [name for name in MEASURES if name != ("bits_per_byte" if rules.has_one_vocabulary else "entropy")]
    lines = [
        _line(name, arm, arms[0], [one[name] for one in found], prompts, kinds, rules, checks)
        for name in names
        for arm in arms[1:]
    ]
    shares = [one.value or 0.0 for one in valid.values()]
    lost: list[Line] = []
    if max(shares) - min(shares) > UNEQUAL_VALIDITY:
        among_all = [
            {PRIMARY: {arm: _with_lost(one[PRIMARY][arm], prompt[arm]) for arm in arms}}
            for one, prompt in zip(found, prompts, strict=True)
        ]
        lost = [
            _line(PRIMARY, arm, arms[0], [one[PRIMARY] for one in among_all], prompts, kinds, rules, checks)
            for arm in arms[1:]
        ]
    return Result(
        tuple(_adjusted(lines)),
        valid,
        {arm: float(np.mean(np.concatenate([p[arm].lengths for p in prompts]) if prompts else [])) for arm in arms},
        len(prompts) >= LEAST_PROMPTS,
        len(prompts),
        checks,
        tuple(_adjusted(lost)),
    )


def _counted(prompts: Sequence[Mapping[str, Generations]], arm: str) -> tuple[int, int]:
    return sum(len(prompt[arm].texts) for prompt in prompts), sum(prompt[arm].n for prompt in prompts)


def _excess(one: Generations) -> npt.NDArray[np.float64]:
    return one.surprisal_bits - one.entropy_bits


def _with_lost(estimate: Estimate, one: Generations) -> Estimate:
    """A mean over pairs where a pair with an invalid output has no distance: times v(v-1) / n(n-1)."""
    v, n = len(one.texts), one.n
    if estimate.value is None or n < 2:
        return estimate
    factor = v * (v - 1) / (n * (n - 1))
    return estimate._replace(value=estimate.value * factor, se=None if estimate.se is None else estimate.se * factor)


# ---- one prompt

Estimates = dict[str, dict[str, Estimate]]  # measure -> arm -> estimate
Kinds = Mapping[str, npt.NDArray[np.int64]]  # arm -> counts of kinds formed on all arms


def estimates(prompt: Mapping[str, Generations], kinds: Kinds) -> Estimates:
    """Every measure of every arm, of one prompt; what is fitted is fitted on all arms."""
    m_kinds = max(1, min(int(counts.sum()) for counts in kinds.values()) // 2)
    m_types = min((sum(map(len, one.beginnings)) for one in prompt.values()), default=0) // 2
    rows = tf_idf({arm: one.texts for arm, one in prompt.items()})
    measures: dict[str, Callable[[str, Generations], Estimate]] = {
        "distance": lambda arm, one: mean_pairwise_distance(np.asarray(one.vectors, np.float64)),
        "vendi": lambda arm, one: corrected_vendi(one.vectors),
        "kinds": lambda arm, one: rarefied_richness(kinds[arm], m_kinds),
        "class_entropy": lambda arm, one: chao_wang_jost_nats(kinds[arm]),
        "words": lambda arm, one: mean_pairwise_distance(rows[arm]),
        "types": lambda arm, one: rarefied_types(one.beginnings, m_types) if m_types else _none(one, "no words"),
        "entropy": lambda arm, one: _rate(one),
        "bits_per_byte": lambda arm, one: (
            bits_per_byte(one.entropy_bits, one.n_bytes) if len(one.texts) else _none(one)
        ),
    }
    return {name: {arm: measure(arm, one) for arm, one in prompt.items()} for name, measure in measures.items()}


def _none(one: Generations, reason: str = "no valid generations") -> Estimate:
    return Estimate(None, None, len(one.texts), reason)


def kinds_of(prompt: Mapping[str, Generations]) -> dict[str, npt.NDArray[np.int64]]:
    """Counts of kinds formed on all arms of the prompt together."""
    pooled = np.concatenate([np.asarray(one.vectors, np.float64) for one in prompt.values()])
    names = [arm for arm, one in prompt.items() for _ in one.texts]
    if not len(names):
        return {arm: np.zeros(0, np.int64) for arm in prompt}
    found = clusters.occupancy(clusters.threshold_classes(pooled, KIND_CUT), names)
    return {arm: found[arm].counts if arm in found else np.zeros(0, np.int64) for arm in prompt}


def _rate(one: Generations) -> Estimate:
    if not len(one.lengths):
        return _none(one)
    rate = entropy_rate(one.entropy_bits, one.lengths)
    return Estimate(rate.bits_per_token, None if math.isnan(rate.se_bits) else rate.se_bits, len(one.lengths))


# ---- one line


def _line(
    name: str,
    arm: str,
    first: str,
    estimates: Sequence[Mapping[str, Estimate]],
    prompts: Sequence[Mapping[str, Generations]],
    kinds: Sequence[Kinds],
    rules: Rules,
    checks: Mapping[str, float],
) -> Line:
    pairs = [(one[first], one[arm]) for one in estimates]
    values = _mean([one.value for one, _ in pairs]), _mean([one.value for _, one in pairs])
    refused = objection(name, (first, arm), prompts, kinds, rules, checks)
    if refused:
        shown = (None, None) if _hides(refused) else values
        return Line(name, arm, "not comparable", *shown, None, None, None, None, None, 0, None, refused)
    if len(prompts) >= LEAST_PROMPTS:
        return _over_prompts(name, arm, pairs, values)
    return _over_generations(name, arm, pairs, values)


def _mean(values: Sequence[float | None]) -> float | None:
    """The value of a single prompt; of several the geometric mean of those above 0."""
    known = [value for value in values if value is not None]
    if len(values) == 1:
        return values[0]
    positive = [value for value in known if value > 0]
    return math.exp(sum(map(math.log, positive)) / len(positive)) if positive else None


def _hides(objection: str) -> bool:
    """Whether not even the values are to be shown: they would be wrong, not only uncertain."""
    return not objection.startswith(("Too few", "Not comparable"))


def objection(
    name: str,
    arms: Sequence[str],
    prompts: Sequence[Mapping[str, Generations]],
    kinds: Sequence[Kinds],
    rules: Rules,
    checks: Mapping[str, float],
) -> str:
    """Why this measure must not be compared; empty where it may."""
    both = [prompt[arm] for prompt in prompts for arm in arms]
    fewest = min(len(one.texts) for one in both)
    if fewest < LEAST_VALID:
        return f"Too few valid generations ({fewest}) for an interval. Point estimate only; no comparison."
    if name in ("vendi", "class_entropy") and fewest < LEAST_FOR_TAILS:
        return (
            f"Not reported below {LEAST_FOR_TAILS} generations: at n = 10 such estimates are off by 1.2 to 1.6 times."
        )
    if name in ("distance", "vendi", "kinds", "class_entropy"):
        return _of_meanings(name, arms, prompts, kinds)
    if name == "types":
        return _of_prefix(arms, prompts, rules)
    if name in ("entropy", "bits_per_byte"):
        return _of_tokens(arms, prompts, checks)
    return ""


def _of_meanings(
    name: str, arms: Sequence[str], prompts: Sequence[Mapping[str, Generations]], kinds: Sequence[Kinds]
) -> str:
    for arm in arms:
        n = sum(len(prompt[arm].texts) for prompt in prompts)
        cut = sum(prompt[arm].n_truncated for prompt in prompts)
        if cut > MOST_TRUNCATED * n:
            return (
                f"Similarity not reported: {100 * cut / n:.0f} % of {arm}'s texts exceed the encoder's 256 word "
                "pieces. Shorten with --prefix."
            )
    for arm in arms if name == "class_entropy" else ():
        counts = min((of_prompt[arm] for of_prompt in kinds), key=_seen)
        if _seen(counts) < LEAST_COVERAGE:
            return _little_seen(arm, counts)
    return ""


def _seen(counts: npt.NDArray[np.int64]) -> float:
    return refined_coverage(counts).value or 0.0


def _little_seen(arm: str, counts: npt.NDArray[np.int64]) -> str:
    seen = _seen(counts)
    more = more_generations(counts, 0.95).generations
    needed = f"About {two_digits(more)} more generations are needed for 95 %; the" if more else "The"
    return (
        f"Mode count not reported: only {100 * seen:.0f} % of {arm}'s output mass has been seen. {needed} "
        f"{int((counts > 0).sum())} kinds seen so far are a lower bound."
    )


def _of_prefix(arms: Sequence[str], prompts: Sequence[Mapping[str, Generations]], rules: Rules) -> str:
    if rules.prefix is None:
        return (
            f"Not comparable at any common length: fewer than half of an arm's generations reach {PREFIXES[-1]} tokens."
        )
    for arm in arms:
        n = sum(len(prompt[arm].texts) for prompt in prompts)
        short = n - sum(len(prompt[arm].beginnings) for prompt in prompts)
        if 2 * short > n:
            usable = common_prefix({one: [int(x) for p in prompts for x in p[one].lengths] for one in arms})
            return (
                f"Not comparable at {rules.prefix} tokens: {short} of {n} {arm} generations end before. "
                f"Longest usable prefix: {usable or 'none'}."
            )
    return ""


def _of_tokens(arms: Sequence[str], prompts: Sequence[Mapping[str, Generations]], checks: Mapping[str, float]) -> str:
    for arm in arms:
        if abs(checks[arm]) > LARGEST_Z:
            excess = np.concatenate([_excess(prompt[arm]) for prompt in prompts])
            tokens = sum(int(prompt[arm].lengths.sum()) for prompt in prompts)
            return (
                f"Entropy not reported: surprisal and entropy of {arm} disagree by "
                f"{float(excess.sum()) * math.log(2) / tokens:+.2f} nats per token (z = {checks[arm]:.1f}). The stored "
                "probabilities are not those the tokens were drawn from. Check sampler settings and token alignment."
            )
    return ""


Pair = tuple[Estimate, Estimate]


def _over_prompts(name: str, arm: str, pairs: Sequence[Pair], values: tuple[float | None, float | None]) -> Line:
    """The claim about prompts in general: log ratios paired by prompt, t with P - 1 degrees of freedom."""
    logs = np.array([[_log(one.value) for one in pair] for pair in pairs])
    found = paired_t(logs[:, 0], logs[:, 1])
    if found.mean is None or found.se is None or found.low is None or found.high is None:
        share = None if found.mean is None else math.exp(found.mean)
        reason = found.reason or "no variation over the prompts; there is nothing to test"
        return Line(name, arm, "inconclusive", *values, share, None, None, None, None, found.n_prompts, None, reason)
    return _judged(
        Line(
            name, arm, "inconclusive", *values,
            math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.p, None, found.n_prompts, None, "",
        ),
        found.mean, found.se, found.n_prompts - 1,
    )  # fmt: skip


def _log(value: float | None) -> float:
    return math.log(value) if value is not None and value > 0 else math.nan


def _over_generations(name: str, arm: str, pairs: Sequence[Pair], values: tuple[float | None, float | None]) -> Line:
    """The claim about these prompts alone: jackknife over generations, the mean of the prompts' log ratios."""
    ratios = [log_ratio(*pair) for pair in pairs]
    n = min(one.n for pair in pairs for one in pair)
    reason = next((one.reason for one in ratios if one.reason), None)
    if reason is not None:
        shares = [one.log_ratio for one in ratios if one.log_ratio is not None]
        share = math.exp(sum(shares) / len(shares)) if len(shares) == len(ratios) else None
        alike = all(one.value == 0 for pair in pairs for one in pair)
        if alike and name in ("distance", "words"):
            reason = "Both arms gave one identical output; there is nothing to test."
        return Line(name, arm, "not comparable", *values, share, None, None, None, None, n, None, reason)
    mean = sum(one.log_ratio or 0.0 for one in ratios) / len(ratios)
    se = math.sqrt(sum((one.se or 0.0) ** 2 for one in ratios)) / len(ratios)
    low, high = mean - Z_95 * se, mean + Z_95 * se
    p = math.erfc(abs(mean) / se / math.sqrt(2))
    line = Line(name, arm, "inconclusive", *values, math.exp(mean), math.exp(low), math.exp(high), p, None, n, None, "")
    return _judged(line, mean, se, math.inf)


def _judged(line: Line, mean: float, se: float, freedom: float) -> Line:
    """The verdict before Holm's adjustment, and how much more would settle an undecided line."""
    found = equivalence(mean, se, freedom=freedom, margin=MARGIN)
    if found.verdict == "equivalent":
        return line._replace(verdict="equivalent", reason="the 90 % interval lies within a tenth of equality")
    if found.verdict == "different":
        return line._replace(verdict="less diverse" if mean < 0 else "more diverse")
    return line._replace(more=_more(mean, se, line.n_units), reason="the interval includes equality")


def _more(mean: float, se: float, n: int) -> int | None:
    """Further units after which the interval leaves out equality, or lies within the margin, if the share is as it is.

    Standard errors fall with the square root of the number. None where not even a hundred times as many would do.

    >>> _more(-0.1, 0.1, 100)  # (1.96 * 0.1 / 0.1)^2 = 3.84 times as many
    280
    """
    ways = [(Z_95 * se / abs(mean)) ** 2] if mean else []
    if abs(mean) < MARGIN:
        ways.append((1.6448536269514722 * se / (MARGIN - abs(mean))) ** 2)
    factor = min(ways, default=math.inf)
    return two_digits(n * (factor - 1)) if 1 < factor <= 100 else None


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """Holm over all lines that were tested; a difference that does not survive it is inconclusive."""
    adjusted = holm([math.nan if line.p is None else line.p for line in lines]) if lines else np.zeros(0)
    found = []
    for line, p in zip(lines, adjusted.tolist(), strict=True):
        if line.p is None:
            found.append(line)
        elif line.verdict in ("less diverse", "more diverse") and p >= 0.05:
            reason = "the interval leaves out equality, but not after Holm's adjustment for all lines"
            found.append(line._replace(p_holm=p, verdict="inconclusive", reason=reason))
        else:
            found.append(line._replace(p_holm=p))
    return found
