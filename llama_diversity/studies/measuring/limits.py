"""When a number must not be said, whatever the study: too few outputs, too much cut off, too little seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.coverage import more_generations, refined_coverage, two_digits

LEAST_PROMPTS = 5  # for a claim about prompts in general
LEAST_FOR_TAILS = 25  # completions, for estimates that rest on what is rare
FEW_FOR_TAILS = (
    f"Not reported below {LEAST_FOR_TAILS} generations: at n = 10 such estimates are off by a factor of 1.2 to 1.6."
)
LEAST_FOR_EFFECTIVE = 5  # outputs of an arm, for how many different ones there are in effect
LEAST_VALID = 20
MOST_TRUNCATED = 0.05
LEAST_COVERAGE = 0.5


def objection_to_class_entropy(arm: str, counts: npt.NDArray[np.int64]) -> str | None:
    """Why the class entropy of these counts of kinds must not be reported; None where it may."""
    if counts.sum() < LEAST_FOR_TAILS:
        return FEW_FOR_TAILS
    return _little_seen(arm, counts) if seen_share(counts) < LEAST_COVERAGE else None


def seen_share(counts: npt.NDArray[np.int64]) -> float:
    return refined_coverage(counts).value or 0.0


def _little_seen(arm: str, counts: npt.NDArray[np.int64]) -> str:
    """How far it is to go; of kinds that were all seen once even that is unknown."""
    n_kinds = int((counts > 0).sum())
    if n_kinds == counts.sum():
        return (
            f"Mode count not reported: no two of {arm}'s generations are of one kind, so how many kinds there are "
            f"cannot be told. More generations are needed; the {n_kinds} kinds seen so far are a lower bound."
        )
    more = more_generations(counts, 0.95).generations or 0
    return (
        f"Mode count not reported: only {100 * seen_share(counts):.0f} % of {arm}'s output mass has been seen. About "
        f"{two_digits(more):,} more generations are needed for 95 %; the {n_kinds} kinds seen so far are a lower bound."
    )
