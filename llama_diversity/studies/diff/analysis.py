"""Does post-training block what the base model would say? Two models read the same texts, token by token.

Protocol: texts (one that is given, or the base model's own completions of "Grace Hopper was", raw, at T = 1) are
teacher-forced under both models of one vocabulary, with the same ids. At every step both distributions are known
whole, so divergences, entropies and blocked mass are exact; only the prefixes are a sample. This measures what section
6 of Mohammadi 2024 says and does not count: "many token trajectories become blocked".

A token is blocked at q where its base probability is above p (0.01 unless told otherwise: a token the base model really
uses) and its aligned probability below q. Blocked mass is the base probability of such tokens at a step; the share of
drawn tokens that are blocked has the same expectation and more noise; a text is blocked where it holds one such token.
The reverse control swaps the models at the same prefixes: what differs without being blocked moves both.

One temperature: the share of KL(aligned, base) that is gone where the base has its best temperature. 1 says that
post-training sharpened the base and did no more; what is left is a change that no temperature makes.

Units: a value is the sum over all texts over the number of their tokens, and texts are the replicates: its standard
error is that of a ratio. (A mean of the texts' own means would not do: how long a text is depends on what was drawn, so
the share of drawn tokens would differ from the mass even on average.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.entropy import entropy_rate, local_mean_curve
from llama_diversity.metrics.inference import Float64, Int64, Proportion, quantile, wilson
from llama_diversity.studies.measuring.divergence import THRESHOLDS, Steps
from llama_diversity.studies.measuring.noise import Floor
from llama_diversity.studies.measuring.sharpening import OfText, Sharpening, explained

N_SAMPLES = 50
HEADLINE = 1e-4  # the threshold that sentences speak of

# ---- from texts to estimates

MEASURES = (
    "kl_bits",
    "reverse_kl_bits",
    "js_bits",
    "base_entropy_bits",
    "aligned_entropy_bits",
    "entropy_change_bits",
    "base_surprisal_bits",
    "aligned_surprisal_bits",
    "surprisal_change_bits",
)


class PerToken(NamedTuple):
    """Sum over the texts over the number of tokens, its standard error and 95 % t interval, and the number of texts.

    nan where undefined: the last three numbers for one text, for an infinite value, and the ends for a share in which
    no text differs from another.
    """

    value: float
    se: float
    low: float
    high: float
    n: int


class Blocked(NamedTuple):
    """What is blocked at one threshold."""

    below: float
    mass: PerToken
    reverse_mass: PerToken
    excess_mass: PerToken  # mass - reverse_mass, paired by text: above 0 more is blocked than differs either way
    of_tokens: PerToken  # share of the tokens that stand there
    texts: Proportion  # texts that hold at least one


class Band(NamedTuple):
    """A mean of KL by position, its 95 % t interval from 0 up (nan for one text), and how many texts reach it."""

    mean: Float64
    low: Float64
    high: Float64
    live: Int64


class Comparison(NamedTuple):
    """One model held against the base."""

    measures: Mapping[str, PerToken]
    blocked: tuple[Blocked, ...]
    kl: Band
    reverse_kl: Band
    n_texts: int
    n_tokens: int
    first: Steps  # of the first text
    sharpening: Sharpening | None = None  # None: nothing to explain, or not asked for

    def sharpening_above(self, noise: Floor) -> Sharpening | None:
        """What one temperature explains, where there is more to explain than the arithmetic makes; else None."""
        kl = self.measures["reverse_kl_bits"]
        return self.sharpening if (kl.value if math.isnan(kl.low) else kl.low) > noise.kl_bits else None

    def at(self, below: float) -> Blocked:
        """What is blocked at a threshold of the grid."""
        return next(one for one in self.blocked if one.below == below)


def analyse(
    texts: Sequence[Steps], thresholds: Sequence[float] = THRESHOLDS, *, log_sums: Sequence[Float64] | None = None
) -> Comparison:
    """Estimates from the steps of each text, at least one token in each. Raises ValueError without texts.

    `log_sums` of the base, of each text, tell what one temperature explains.
    """
    if not texts or not all(len(steps.kl_bits) for steps in texts):
        raise ValueError("at least one text, and a token in each")
    return Comparison(
        measures={name: _measure(name, [getattr(steps, name) for steps in texts]) for name in MEASURES},
        blocked=tuple(_blocked(texts, at, below) for at, below in enumerate(thresholds)),
        kl=_band([steps.kl_bits for steps in texts]),
        reverse_kl=_band([steps.reverse_kl_bits for steps in texts]),
        n_texts=len(texts),
        n_tokens=sum(len(steps.kl_bits) for steps in texts),
        first=texts[0],
        sharpening=None if log_sums is None else _sharpening(texts, log_sums),
    )


def _sharpening(texts: Sequence[Steps], log_sums: Sequence[Float64]) -> Sharpening | None:
    every = []
    for steps, sums in zip(texts, log_sums, strict=True):
        entropy, kl = (math.log(2) * float(bits.sum()) for bits in (steps.aligned_entropy_bits, steps.reverse_kl_bits))
        every.append(OfText(sums, entropy, entropy + kl))
    return explained(every, [len(steps.kl_bits) for steps in texts])


def _blocked(texts: Sequence[Steps], at: int, below: float) -> Blocked:
    return Blocked(
        below,
        mass=_share([steps.blocked_mass[at] for steps in texts]),
        reverse_mass=_share([steps.reverse_blocked_mass[at] for steps in texts]),
        excess_mass=_share([steps.blocked_mass[at] - steps.reverse_blocked_mass[at] for steps in texts], least=-1.0),
        of_tokens=_share([steps.is_blocked[at] for steps in texts]),
        texts=wilson(sum(bool(steps.is_blocked[at].any()) for steps in texts), len(texts)),
    )


def per_token(texts: Sequence[npt.NDArray[Any]]) -> PerToken:
    """The values of each text as one estimate; values that are nan do not count, nor do texts that have no others.

    (1, 2) and (3,): 6 / 3 = 2; residuals 3 - 4 and 3 - 2, so se^2 = 2 / (2 * 1 * 1.5^2) = 0.444444; 2 -+ 12.706205 se.

    >>> [round(number, 6) for number in per_token([np.array([1.0, 2.0]), np.array([3.0])])]
    [2.0, 0.666667, -6.470803, 10.470803, 2]
    """
    known = [values[~np.isnan(values)] for values in texts]
    known = [values for values in known if len(values)]
    n = len(known)
    if not n:
        return PerToken(math.nan, math.nan, math.nan, math.nan, 0)
    with np.errstate(invalid="ignore"):  # inf - inf: an infinite value has no interval
        value, se = entropy_rate([float(values.sum()) for values in known], [len(values) for values in known])
    half = quantile(n - 1) * se if n > 1 else math.nan
    return PerToken(value, se, value - half, value + half, n)


def _measure(name: str, texts: Sequence[npt.NDArray[Any]]) -> PerToken:
    """As `per_token`; an interval ends where the measure does: changes alone go below 0, JS to 1."""
    found = per_token(texts)
    least = -math.inf if name.endswith("change_bits") else 0.0
    return found._replace(low=max(found.low, least), high=min(found.high, 1.0 if name == "js_bits" else math.inf))


def _share(texts: Sequence[npt.NDArray[Any]], *, least: float = 0.0) -> PerToken:
    """As `per_token`, within [least, 1]; no width where all texts agree says nothing, so then there is no interval."""
    found = per_token([values.astype(np.float64) for values in texts])
    if found.se == 0:
        return found._replace(low=math.nan, high=math.nan)
    return found._replace(low=max(found.low, least), high=min(found.high, 1.0)) if found.n > 1 else found


def _band(generations: Sequence[Float64]) -> Band:
    from scipy.special import stdtrit  # heavy, and needed only here

    with np.errstate(invalid="ignore"):
        curve = local_mean_curve(generations)
        freedom = np.where(curve.live > 1, curve.live - 1.0, np.nan)
        half: Any = stdtrit(freedom, 0.975) * curve.se
    return Band(curve.mean, np.maximum(curve.mean - half, 0.0), curve.mean + half, curve.live)
