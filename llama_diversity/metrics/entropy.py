"""Token-level entropy from stored per-token statistics: arrays in, numbers out. Bits unless the name says nats.

A generation has at each step t a surprisal s_t and an entropy H_t; sums run over every step at which a token was drawn,
that of the end-of-sequence token included. All of it holds for tokens drawn from the distribution that is scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.inference import Z_95, Estimate, Float64, Int64, Summary, summarize, undefined


class TopEntropy(NamedTuple):
    """Entropy of the likeliest tokens, one value per token of the text."""

    raw_bits: Float64
    renormalized_bits: Float64
    mass: Float64


def top_entropy(top_surprisals_bits: npt.ArrayLike) -> TopEntropy:
    """Shannon entropy of the five likeliest tokens, as they are (raw) and rescaled to sum to one (renormalized).

    raw = -sum p log2 p over the five (the paper's Eq. 3.2), mass m = sum p, renormalized = raw / m + log2 m.
    `top_surprisals_bits`: -log2 p, shape (tokens, 5), inf where the vocabulary is smaller. raw lies in [0, 2.322] and
    first rises, then falls as a distribution flattens, so it can reverse the true order; renormalized lies in
    [0, log2 5]. Reproduction only: the full-vocabulary entropy is the result.

    Five equal tokens out of ten: p = 0.1, raw = 5 * 0.1 * log2 10 = 1.661, renormalized = log2 5 = 2.322.

    >>> raw, renormalized, mass = top_entropy(np.full((1, 5), np.log2(10)))
    >>> round(float(raw[0]), 6), round(float(renormalized[0]), 6), round(float(mass[0]), 6)
    (1.660964, 2.321928, 0.5)
    """
    surprisals = np.asarray(top_surprisals_bits, dtype=np.float64)
    probabilities = np.exp2(-surprisals)
    terms = np.multiply(probabilities, surprisals, where=probabilities > 0, out=np.zeros_like(surprisals))
    raw, mass = terms.sum(axis=-1), probabilities.sum(axis=-1)
    return TopEntropy(raw, np.maximum(raw / mass + np.log2(mass), 0.0), mass)


class Rate(NamedTuple):
    """A ratio of sums over generations, per token."""

    bits_per_token: float
    se_bits: float


def entropy_rate(sums_bits: npt.ArrayLike, lengths: npt.ArrayLike) -> Rate:
    """Entropy per token over generations: h = sum B / sum N, with B the summed entropies and N the tokens of each.

    Range [0, log2 V]. The standard error is that of a ratio, se^2 = sum (B - h N)^2 / (n (n - 1) mean(N)^2); nan for
    one generation. Unlike a mean of completion means, it weighs tokens, not completions, equally.

    B = (10, 40), N = (10, 20): h = 50 / 30; residuals (-6.667, 6.667); se^2 = 88.889 / (2 * 1 * 225).

    >>> rate = entropy_rate([10, 40], [10, 20])
    >>> round(rate.bits_per_token, 6), round(rate.se_bits, 6)
    (1.666667, 0.444444)
    """
    h, se = _ratio(sums_bits, lengths)
    return Rate(h, se)


def _ratio(sums: npt.ArrayLike, sizes: npt.ArrayLike) -> tuple[float, float]:
    """sum of sums / sum of sizes over generations, and its standard error, nan for one generation."""
    numbers, counts = np.asarray(sums, np.float64), np.asarray(sizes, np.float64)
    n = len(numbers)
    h = numbers.sum() / counts.sum()
    if n < 2:
        return float(h), math.nan
    squares = ((numbers - h * counts) ** 2).sum()
    return float(h), float(np.sqrt(squares / (n * (n - 1) * counts.mean() ** 2)))


class BranchingFactor(NamedTuple):
    """exp of an entropy rate with its 95 % interval; None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def branching_factor(sums_bits: npt.ArrayLike, lengths: npt.ArrayLike) -> BranchingFactor:
    """To how many equally likely tokens the choice at a step amounts: 2^h, h the `entropy_rate` of a prompt.

    Range [1, V]: one certain continuation 1, uniform V. The interval is that of h, then 2^. Never a mean of 2^ of each
    generation, which is another and larger thing; over prompts likewise the mean of h first. One generation: no
    interval; none: undefined. Published branching factors are of prefix means: `prefix_mean_curve`.

    B = (10, 40) nats, N = (10, 20): exp(50 / 30).

    >>> round(branching_factor(np.array([10, 40]) / np.log(2), [10, 20]).value, 6)
    5.29449
    """
    n = len(np.asarray(lengths))
    if not np.sum(lengths):
        return BranchingFactor(None, None, None, n, "no tokens were drawn")
    h, se = _ratio(sums_bits, lengths)
    if n < 2:
        return BranchingFactor(2.0**h, None, None, n, "one generation gives no interval")
    return BranchingFactor(2.0**h, 2.0 ** (h - Z_95 * se), 2.0 ** (h + Z_95 * se), n)


def bits_per_byte(sums_bits: npt.ArrayLike, n_bytes: npt.ArrayLike) -> Estimate:
    """Entropy per byte of text: sum B / sum of the bytes of the texts. Larger is more open.

    Range [0, inf). The only number of this level that compares models of different tokenizers. Standard error as that
    of `entropy_rate`, none for one generation. No bytes: undefined.

    >>> bits_per_byte([10, 20], [8, 16]).value
    1.25
    """
    n = len(np.asarray(n_bytes))
    if not np.sum(n_bytes):
        return undefined(n, "the texts have no bytes" if n else "no generations")
    value, se = _ratio(sums_bits, n_bytes)
    return Estimate(value, None if math.isnan(se) else se, n)


# ---- totals of a generation ----

N_FOLDS = 5


class Totals(NamedTuple):
    """The expected total of a generation, estimated three ways, in the unit of the sums.

    `mixed` is A - beta (A - B) with beta fitted on other generations, `mixed_sums` its value for each generation and
    `beta` the mean of those fitted; nan below ten generations.
    """

    monte_carlo: Summary
    stepwise: Summary
    mixed: Summary
    beta: float
    mixed_sums: Float64


def sequence_totals(drawn_sums: npt.ArrayLike, stepwise_sums: npt.ArrayLike) -> Totals:
    """Entropy of whole generations: from A = sum of surprisals, B = sum of entropies, and the best mix of them.

    A (Monte Carlo) and B (stepwise, Rao-Blackwell) are both unbiased, if the tokens were drawn from the scored
    distribution itself, and neither always varies less. A - B has mean 0, so A - beta (A - B) is unbiased as well; beta
    = Cov(A, A - B) / Var(A - B) comes from the other four of five folds (generation i is in fold i mod 5), which keeps
    it so: with many generations no worse than either. Where A - B never varies beta is 0. KL(p, q) likewise: A the sum
    of log p(y) / q(y) of the tokens drawn from p, B the sum of the KLs of the steps. O(generations).

    Ten generations, B = 3 always and A = 3 -+ 1: beta 1, so the mix is B.

    >>> found = sequence_totals([2, 4, 2, 4, 2, 4, 2, 4, 2, 4], [3] * 10)
    >>> found.beta, found.mixed.mean, found.mixed.se
    (1.0, 3.0, 0.0)
    """
    drawn, stepwise = np.asarray(drawn_sums, np.float64), np.asarray(stepwise_sums, np.float64)
    if drawn.ndim != 1 or drawn.shape != stepwise.shape:
        raise ValueError("one sum of each kind for each generation")
    n = len(drawn)
    slopes = np.full(n, math.nan)
    if n >= 2 * N_FOLDS:
        folds = np.arange(n) % N_FOLDS
        for fold in range(N_FOLDS):
            slopes[folds == fold] = _slope(drawn[folds != fold], (drawn - stepwise)[folds != fold])
    mixed = drawn - slopes * (drawn - stepwise)
    beta = float(slopes.mean()) if n else math.nan
    return Totals(summarize(drawn), summarize(stepwise), summarize(mixed), beta, mixed)


def _slope(values: Float64, excess: Float64) -> float:
    """Cov / Var, 0 where the excess varies only by rounding."""
    deviations = excess - excess.mean()
    squares = float(deviations @ deviations)
    if squares <= 1e-12 * (1 + float(values @ values)):
        return 0.0
    return float((values - values.mean()) @ deviations) / squares


# ---- curves over position ----


class Curve(NamedTuple):
    """At each step the mean over the generations still running, its standard error (nan for one), and their number.

    Those still running are not a sample of all: read no curve without `live`. It stops where none is left.
    """

    mean: Float64
    se: Float64
    live: Int64


def local_mean_curve(generations: Sequence[npt.ArrayLike]) -> Curve:
    """Mean of the value at step t, one array of values for each generation; O(values).

    >>> local_mean_curve([[1.0, 3.0], [3.0]])
    Curve(mean=array([2., 3.]), se=array([ 1., nan]), live=array([2, 1]))
    """
    rows = [np.asarray(values, np.float64) for values in generations]
    if any(row.ndim != 1 for row in rows):
        raise ValueError("one row of values for each generation")
    values = np.concatenate([np.empty(0), *rows])
    steps = np.concatenate([np.empty(0, np.int64), *(np.arange(len(row)) for row in rows)])
    live = np.bincount(steps)
    mean = np.bincount(steps, values) / live
    squares = np.bincount(steps, (values - mean[steps]) ** 2)
    freedom = live * (live - 1)
    se = np.sqrt(np.divide(squares, freedom, where=freedom > 0, out=np.full(len(live), math.nan)))
    return Curve(mean, se, live)


def prefix_mean_curve(generations: Sequence[npt.ArrayLike]) -> Curve:
    """Mean of the mean over steps 0 to t: smoother than the local mean, and falling more slowly. O(values).

    2^ of it, for entropies in bits, is how published branching factors are computed (arXiv:2506.17871).

    >>> prefix_mean_curve([[1.0, 3.0], [3.0]]).mean.tolist()
    [2.0, 2.0]
    """
    rows = [np.asarray(values, np.float64) for values in generations]
    return local_mean_curve([np.cumsum(row) / np.arange(1, len(row) + 1) for row in rows])


def eos_hazard(generations: Sequence[npt.ArrayLike]) -> Curve:
    """Mean probability of ending at step t over the generations still running; p(EOS) of each step of each generation.

    Range [0, 1]. Those that would have ended early are gone: show the live count beside it. O(values).

    >>> eos_hazard([[0.1, 0.5], [0.3]]).mean.tolist()
    [0.2, 0.5]
    """
    probabilities = np.concatenate([np.empty(0), *(np.asarray(row, np.float64) for row in generations)])
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities of ending lie in [0, 1]")
    return local_mean_curve(generations)


# ---- two models at the same prefixes ----

BLOCKED_BELOW = 1e-4


class Divergence(NamedTuple):
    """How two models differ at each step, shape (steps,): different, which does not say less diverse."""

    kl_bits: Float64
    reverse_kl_bits: Float64
    js_bits: Float64


def step_divergence(base: npt.ArrayLike, aligned: npt.ArrayLike) -> Divergence:
    """KL(base, aligned), KL(aligned, base) and Jensen-Shannon divergence of rows of natural log-probabilities (V wide).

    KL = sum p (log p - log q), range [0, inf], infinite where q is 0 and p is not; JS in [0, 1]; equal rows 0. Same
    tokenizer, same prompt ids. Summed over the steps of texts drawn from the base, KL estimates that of whole texts;
    the reverse one needs texts drawn from the aligned model. O(steps V).

    p = (.5, .3, .2), q = (.9, .09999, .00001): .5 log2 (.5/.9) + .3 log2 (.3/.09999) + .2 log2 (.2/.00001).

    >>> rows = np.log([[0.5, 0.3, 0.2]]), np.log([[0.9, 0.09999, 0.00001]])
    >>> [round(float(value[0]), 6) for value in step_divergence(*rows)]
    [2.909076, 0.60456, 0.179476]
    """
    p, q = _log_rows(base), _log_rows(aligned)
    if p.shape != q.shape:
        raise ValueError("both models give a row over the same vocabulary at each step")
    middle = np.logaddexp(p, q) - math.log(2)
    js = (_kl_bits(p, middle) + _kl_bits(q, middle)) / 2
    return Divergence(_kl_bits(p, q), _kl_bits(q, p), js)


def _log_rows(rows: npt.ArrayLike) -> Float64:
    logs = np.atleast_2d(np.asarray(rows, np.float64))
    if np.abs(np.exp(logs).sum(axis=-1) - 1).max(initial=0) > 1e-3:
        raise ValueError("rows are natural logarithms of probabilities that sum to 1, not logits")
    return logs


def _kl_bits(p: Float64, q: Float64) -> Float64:
    there = p > -np.inf
    ratios = np.subtract(p, q, where=there, out=np.zeros_like(p))
    terms = np.multiply(np.exp(p), ratios, where=there, out=np.zeros_like(p))
    kl: Float64 = np.maximum(terms.sum(axis=-1) / math.log(2), 0)
    return kl


def blocked_mass(base: npt.ArrayLike, aligned: npt.ArrayLike, thresholds: npt.ArrayLike = (BLOCKED_BELOW,)) -> Float64:
    """Share of the base's probability on tokens to which the aligned model gives less than a threshold.

    sum_v p_base(v) [p_aligned(v) < threshold], from rows of natural log-probabilities at prefixes drawn from the base;
    shape (thresholds, steps). Range [0, 1]; equal models have a small mass, not 0, and quantisation moves the tails:
    the control is the base against itself at another quantisation. O(thresholds steps V).

    (.5, .3, .2) and (.9, .09999, .00001): only the last token is below 0.0001, the last two are below 0.1.

    >>> rows = np.log([[0.5, 0.3, 0.2]]), np.log([[0.9, 0.09999, 0.00001]])
    >>> blocked_mass(*rows, [1e-4, 0.1]).round(6).tolist()
    [[0.2], [0.5]]
    """
    p, q = _log_rows(base), _log_rows(aligned)
    if p.shape != q.shape:
        raise ValueError("both models give a row over the same vocabulary at each step")
    limits = np.asarray(thresholds, np.float64)
    if limits.ndim != 1 or not ((limits > 0) & (limits <= 1)).all():
        raise ValueError("thresholds are a row of probabilities above 0")
    mass, below = np.exp(p), np.log(limits)
    return np.array([np.where(q < limit, mass, 0).sum(axis=-1) for limit in below]).reshape(len(limits), len(p))


# ---- only the likeliest tokens known ----


class EntropyBounds(NamedTuple):
    """Between what the whole entropy lies, one value a step; `sharp_low_bits` is the best possible lower end."""

    low_bits: Float64
    sharp_low_bits: Float64
    high_bits: Float64


def top_k_bounds(top_surprisals_bits: npt.ArrayLike, vocabulary_size: int) -> EntropyBounds:
    """Bounds of the entropy where a server tells only its k likeliest tokens: publish the interval, never its middle.

    H_top + r log 1/min(p_k, r) <= H <= H_top + r log (V - k)/r, with H_top = -sum p log p of the known, r the mass of
    the rest, p_k the least of the known. The sharp lower end packs the rest into tokens of p_k and one remainder.
    `top_surprisals_bits`: -log2 p, shape (steps, k), inf where there is no token. k = V: all ends are H. O(steps k).

    (.5, .2, .1, .05, .05), V = 32,000: 1.728771 + .1 log2 20 and + .1 log2 319,950.

    >>> known = -np.log2([[0.5, 0.2, 0.1, 0.05, 0.05]])
    >>> [round(float(end[0]), 6) for end in top_k_bounds(known, 32_000)]
    [2.160964, 2.160964, 3.55752]
    """
    surprisals = np.atleast_2d(np.asarray(top_surprisals_bits, np.float64))
    there = np.isfinite(surprisals)
    known = there.sum(axis=-1)
    if not known.all() or (known > vocabulary_size).any():
        raise ValueError("at each step at least one token is known, and not more than the vocabulary holds")
    top, _, mass = top_entropy(surprisals)
    least = np.exp2(-np.where(there, surprisals, -np.inf).max(axis=-1))
    unknown = vocabulary_size - known
    rest = np.where(unknown > 0, np.maximum(1 - mass, 0), 0)
    if (mass > 1 + 1e-4).any() or (rest > unknown * least * (1 + 1e-4) + 1e-4).any():
        raise ValueError("these are not the likeliest tokens of a distribution over this vocabulary")
    full = np.floor(rest / least) * least
    packed = full * -np.log2(least) + _bits(rest - full, 1)
    return EntropyBounds(top + _bits(rest, np.maximum(rest / least, 1)), top + packed, top + _bits(rest, unknown))


def _bits(mass: Float64, tokens: npt.ArrayLike) -> Float64:
    """Entropy terms of a mass spread evenly over so many tokens: mass log2 (tokens / mass), 0 for none."""
    some = mass > 0
    logs: Float64 = np.log2(np.divide(tokens, mass, where=some, out=np.ones_like(mass)))
    return mass * logs
