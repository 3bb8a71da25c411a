"""Experiment 3 of the paper: how spread out are the next-token distributions of the models?

Protocol (Mohammadi 2024, sections 3.3 and 4.3): the prompt "Steve is the CEO of a startup company", raw for every
model, 100 completions of at most 64 tokens each at T = 1. Per token the entropy of the five likeliest tokens
(Eq. 3.2); per completion its mean; per model mean and standard deviation over completions. The paper leaves open
whether the five were renormalised and in which unit, so all four variants are reported, beside what we stand behind:
the entropy of the whole vocabulary. Token = step at which a token was drawn, the end of sequence included.

Needs stored samples only. Refuses when surprisal and entropy disagree, because then the stored probabilities are not
those the tokens were drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from llama_diversity.errors import LlamadivError
from llama_diversity.metrics.entropy import BranchingFactor, Rate, branching_factor, entropy_rate, top_entropy
from llama_diversity.metrics.inference import (
    Difference,
    Summary,
    martingale_z,
    self_check_z,
    summarize,
    welch_difference,
)
from llama_diversity.records import Sample, TokenStats
from llama_diversity.studies.measuring.self_check import LARGEST_Z, excess_variance_bits2

PROMPT = "Steve is the CEO of a startup company"
N_SAMPLES = 100
MAX_TOKENS = 64
N_FIGURE_TOKENS = 16  # Figures 12 and 13 show that many tokens of one sample
MEASURES = (
    "top5_raw_bits",
    "top5_raw_nats",
    "top5_renormalized_bits",
    "top5_renormalized_nats",
    "entropy_bits",
    "surprisal_bits",
    "top5_mass",
)


class InconsistentStatistics(LlamadivError):
    """The self-check failed: stored probabilities and drawn tokens do not belong together."""

    def __init__(self, arm: str, excess_bits_per_token: float, z: float) -> None:
        nats = excess_bits_per_token * math.log(2)
        super().__init__(
            f"Entropy of the {arm} arm not reported: surprisal and entropy disagree by {nats:+.2f} nats per token "
            f"(z = {z:.1f}). The stored probabilities are not those the tokens were drawn from. "
            "Check sampler settings and token alignment."
        )


@dataclass(frozen=True)
class Arm:
    """One model's side: a Summary of completion means per measure, the entropy rate, the self-check and one sample."""

    measures: Mapping[str, Summary]
    completion_means: Mapping[str, tuple[float, ...]]
    entropy_rate: Rate
    self_check_z: float
    n_tokens: int
    example: Sample
    choices: BranchingFactor = BranchingFactor(None, None, None, 0, "not computed")
    is_all_alike: bool = False  # several completions came, and all are one: their spread says nothing of others

    @property
    def n(self) -> int:
        """Its completions."""
        return len(self.completion_means["surprisal_bits"])


@dataclass(frozen=True)
class Result:
    """All arms, and of every later one the difference to the first, for each measure.

    A difference to an arm whose completions are all alike has an interval as wide as others that did not come would
    make it; between two such arms it has none.
    """

    arms: Mapping[str, Arm]
    differences: Mapping[str, Mapping[str, Difference]]


def analyse(samples: Mapping[str, Iterable[Sample]]) -> Result:
    """Compare the arms, every later one with the first. Raises InconsistentStatistics; ValueError without samples."""
    arms = {name: summarize_arm(name, stream) for name, stream in samples.items()}
    first, *others = arms
    differences = {
        arm: {name: _difference(arms[first], arms[arm], name, _ends(arms.values(), name)) for name in MEASURES}
        for arm in others
    }
    return Result(arms, differences)


def _ends(arms: Iterable[Arm], measure: str) -> tuple[float, float]:
    """The least and the largest mean of any completion."""
    every = [value for arm in arms for value in arm.completion_means[measure]]
    return min(every), max(every)


def _difference(first: Arm, arm: Arm, measure: str, ends: tuple[float, float]) -> Difference:
    """Welch's, and beside it what may have been missed of an arm whose completions are all alike.

    Of n that are all alike -log(0.025) = 3.69 others may have been missed (Poisson's exact limit, as in a comparison),
    each as unlike as the most unlike completion of all arms: that far its mean may be off, up and down. The reaches of
    both arms are squared and summed.
    """
    found = welch_difference(first.measures[measure], arm.measures[measure])
    alike = [one for one in (first, arm) if one.is_all_alike]
    if len(alike) == 2:
        return Difference(found.mean, math.nan, math.nan, math.nan)
    if not alike:
        return found
    one, mean = alike[0], alike[0].measures[measure].mean
    share = min(1.0, -math.log(0.025) / one.n)
    up, down = (share * max(0.0, reach) for reach in (ends[1] - mean, mean - ends[0]))
    below, above = (up, down) if one is first else (down, up)
    low = found.mean - math.hypot(found.mean - found.low, below)
    return found._replace(low=low, high=found.mean + math.hypot(found.high - found.mean, above))


def summarize_arm(name: str, samples: Iterable[Sample]) -> Arm:
    """One pass over an arm's samples; keeps a handful of numbers for each, and the first sample for the figures."""
    means: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    entropies, lengths, excesses, variances = [], [], [], []
    example: Sample | None = None
    is_all_alike = True
    for sample in samples:
        example = example or sample
        is_all_alike = is_all_alike and np.array_equal(sample.tokens["id"], example.tokens["id"])
        for measure, value in completion_means(sample.tokens).items():
            means[measure].append(value)
        entropies.append(float(sample.tokens["entropy_bits"].sum(dtype=np.float64)))
        lengths.append(len(sample.tokens))
        excesses.append(_excess_bits(sample.tokens))
        variances.append(excess_variance_bits2(sample.tokens))
    if example is None:
        raise ValueError(f"the {name} arm has no samples")
    z = self_check_z(excesses)
    if not math.isnan(z):  # of few or nearly equal completions their own spread says little: the known one must agree
        z = min(z, martingale_z(excesses, variances), key=abs)
    if abs(z) > LARGEST_Z:
        raise InconsistentStatistics(name, sum(excesses) / sum(lengths), z)
    is_all_alike = is_all_alike and len(lengths) > 1
    rate = entropy_rate(entropies, lengths)
    choices = branching_factor(entropies, lengths)
    if is_all_alike:
        choices = choices._replace(low=None, high=None, reason="all completions are alike")
    return Arm(
        measures={measure: summarize(values) for measure, values in means.items()},
        completion_means={measure: tuple(values) for measure, values in means.items()},
        # Completions that are all alike know of no error, which is not to have none.
        entropy_rate=rate._replace(se_bits=math.nan) if is_all_alike else rate,
        self_check_z=z,
        n_tokens=sum(lengths),
        example=example,
        choices=choices,
        is_all_alike=is_all_alike,
    )


def completion_means(tokens: TokenStats) -> dict[str, float]:
    """The mean of each measure over the tokens of one completion."""
    top = top_entropy(tokens["top_surprisals_bits"])
    raw, renormalized = float(top.raw_bits.mean()), float(top.renormalized_bits.mean())
    return {
        "top5_raw_bits": raw,
        "top5_raw_nats": raw * math.log(2),
        "top5_renormalized_bits": renormalized,
        "top5_renormalized_nats": renormalized * math.log(2),
        "entropy_bits": float(tokens["entropy_bits"].mean(dtype=np.float64)),
        "surprisal_bits": float(tokens["surprisal_bits"].mean(dtype=np.float64)),
        "top5_mass": float(top.mass.mean()),
    }


def _excess_bits(tokens: TokenStats) -> float:
    """Summed surprisal minus entropy under the distribution the tokens were drawn from."""
    surprisal = tokens["sampler_surprisal_bits"].sum(dtype=np.float64)
    return float(surprisal - tokens["sampler_entropy_bits"].sum(dtype=np.float64))
