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

from llama_diversity.metrics.inference import (
    Estimate,
    Float64,
    Int64,
    Summary,
    jackknife_se,
    quantile,
    summarize,
    undefined,
)

# ---- one step ----


class StepStatistics(NamedTuple):
    """What one row of logits says of the token drawn from it, and of the choice there was."""

    surprisal_bits: float
    entropy_bits: float
    varentropy_bits2: float


def step_statistics(logits: npt.ArrayLike, token: int) -> StepStatistics:
    """Surprisal of a token, entropy and varentropy of the distribution: from raw logits, shape (V,), at T = 1.

    p by a float64 log-softmax; surprisal s = -log2 p(token), range [0, inf); entropy H = sum p s over the whole
    vocabulary, range [0, log2 V], larger is more open; varentropy sum p (s - H)^2, at least 0: the variance of the
    surprisal of a draw. One certain token: H 0; all alike: H log2 V; varentropy 0 for both. 0 log 0 is 0, so -inf may
    stand for a forbidden token, but such a token cannot have been drawn: ValueError. Exact at its prefix, which is
    itself drawn. The plain way, beside the fast one of the engines. O(V).
    Shannon, Bell Syst. Tech. J. 27 (1948) 379; varentropy: Kontoyiannis and Verdu, IEEE Trans. Inf. Theory 60 (2014)
    777.

    (1/2, 1/4, 1/8, 1/8): s = 1, 2, 3, 3; H = 1/2 + 1/2 + 3/8 + 3/8; (0.75^2 / 2 + 0.25^2 / 4 + 2 * 1.25^2 / 8) bits^2.

    >>> [round(number, 6) for number in step_statistics(np.log([1 / 2, 1 / 4, 1 / 8, 1 / 8]), 1)]
    [2.0, 1.75, 0.6875]
    """
    row = np.asarray(logits, np.float64)
    if row.ndim != 1 or not 0 <= token < len(row):
        raise ValueError("one row of logits, and the number of a token in it")
    largest = row.max()
    if not np.isfinite(largest):  # nan is the largest wherever it stands
        raise ValueError("logits are numbers, or -inf for a forbidden token, and allow at least one token")
    shifted = row - largest
    surprisals = (math.log(np.exp(shifted).sum()) - shifted) / math.log(2)
    if surprisals[token] == np.inf:
        raise ValueError(f"token {token} has probability 0: it was not drawn from this row")
    there = surprisals < np.inf
    probabilities, known = np.exp2(-surprisals[there]), surprisals[there]
    entropy = float(probabilities @ known)
    return StepStatistics(float(surprisals[token]), entropy, float(probabilities @ (known - entropy) ** 2))


class TopEntropy(NamedTuple):
    """Entropy of the likeliest tokens, one value per token of the text."""

    raw_bits: Float64
    renormalized_bits: Float64
    mass: Float64


def top_entropy(top_surprisals_bits: npt.ArrayLike) -> TopEntropy:
    """Shannon entropy of the five likeliest tokens, as they are (raw) and rescaled to sum to one (renormalized).

    raw = -sum p log2 p over the five (the paper's Eq. 3.2), mass m = sum p, renormalized = raw / m + log2 m.
    `top_surprisals_bits`: -log2 p, shape (tokens, 5), inf where the vocabulary is smaller; a row of nothing but inf, or
    of more than 1 in all, is no distribution: ValueError. raw lies in [0, 2.322] and first rises, then falls as a
    distribution flattens, so it can reverse the true order: no direction. renormalized lies in [0, log2 5], larger is
    more open; it saturates there. Both lie at or below the entropy of the whole vocabulary. Reproduction only: the
    full-vocabulary entropy is the result. O(tokens).

    Five equal tokens out of ten: p = 0.1, raw = 5 * 0.1 * log2 10 = 1.661, renormalized = log2 5 = 2.322.

    >>> raw, renormalized, mass = top_entropy(np.full((1, 5), np.log2(10)))
    >>> round(float(raw[0]), 6), round(float(renormalized[0]), 6), round(float(mass[0]), 6)
    (1.660964, 2.321928, 0.5)
    """
    surprisals = np.asarray(top_surprisals_bits, dtype=np.float64)
    probabilities = np.exp2(-surprisals)
    mass = probabilities.sum(axis=-1)
    if not ((mass > 0) & (mass <= 1 + 1e-4)).all():  # nan fails both
        raise ValueError("these are not the likeliest tokens of a distribution: no mass, more than 1, or nan")
    terms = np.multiply(probabilities, surprisals, where=probabilities > 0, out=np.zeros_like(surprisals))
    raw = terms.sum(axis=-1)
    return TopEntropy(raw, np.maximum(raw / mass + np.log2(mass), 0.0), mass)


class Rate(NamedTuple):
    """A ratio of sums over generations, per token."""

    bits_per_token: float
    se_bits: float


def entropy_rate(sums_bits: npt.ArrayLike, lengths: npt.ArrayLike) -> Rate:
    """Entropy per token over generations: h = sum B / sum N, with B the summed entropies and N the tokens of each.

    Range [0, log2 V], larger is more open. Weighs tokens alike, not generations, as a mean of their means would; no
    bias beyond the 1/n of any ratio. The standard error is the textbook one of a ratio,
    se^2 = sum (B - h N)^2 / (n (n - 1) mean(N)^2), nan for one generation. Where lengths vary it is too small: of the
    true variance se^2 has 0.52 to 0.79 at n = 5, 0.64 to 0.91 at 10, 0.74 to 0.95 at 20, 0.86 to 1 at 50, least
    where long generations are also the open ones; with equal lengths all of it. Below 50 generations take the interval
    of `branching_factor`. No tokens: nan. An infinite sum (a divergence may have one) makes h infinite, without se.
    O(generations). Cochran, Sampling Techniques (1977), chapter 6.

    B = (10, 40), N = (10, 20): h = 50 / 30; residuals (-6.667, 6.667); se^2 = 88.889 / (2 * 1 * 225).

    >>> rate = entropy_rate([10, 40], [10, 20])
    >>> round(rate.bits_per_token, 6), round(rate.se_bits, 6)
    (1.666667, 0.444444)
    """
    sums, tokens = _per_generation(sums_bits, lengths)
    if np.isposinf(sums).any() and tokens.any():
        return Rate(math.inf, math.nan)
    return Rate(*_ratio(sums, tokens))


def _per_generation(sums: npt.ArrayLike, sizes: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Both as rows of one number a generation, or ValueError; a sum may be infinite."""
    numbers, counts = np.asarray(sums, np.float64), np.asarray(sizes, np.float64)
    if numbers.ndim != 1 or numbers.shape != counts.shape:
        raise ValueError("one sum and one size for each generation")
    if not ((numbers > -np.inf) & (counts >= 0) & (counts < np.inf)).all():  # nan fails each
        raise ValueError("sums are numbers, and the sizes of generations are counted")
    return numbers, counts


def _finite(sums: npt.ArrayLike, sizes: npt.ArrayLike) -> tuple[Float64, Float64]:
    numbers, counts = _per_generation(sums, sizes)
    if np.isinf(numbers).any():
        raise ValueError("the entropy of a text is finite")
    return numbers, counts


def _ratio(sums: Float64, sizes: Float64) -> tuple[float, float]:
    """sum of sums / sum of sizes, and its standard error: nan for one generation, both nan where the sizes are 0."""
    n = len(sums)
    if not sizes.any():
        return math.nan, math.nan
    h = float(sums.sum() / sizes.sum())
    if n < 2:
        return h, math.nan
    squares = ((sums - h * sizes) ** 2).sum()
    return h, float(np.sqrt(squares / (n * (n - 1) * sizes.mean() ** 2)))


def _jackknife_se_of_ratio(sums: Float64, sizes: Float64) -> float | None:
    """As `_ratio`'s, from the ratio without each generation; None where one of them holds all."""
    others = sizes.sum() - sizes
    if not others.all():
        return None
    return jackknife_se((sums.sum() - sums) / others)


class BranchingFactor(NamedTuple):
    """2^ of an entropy rate in bits with its 95 % interval; None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def branching_factor(sums_bits: npt.ArrayLike, lengths: npt.ArrayLike) -> BranchingFactor:
    """To how many equally likely tokens the choice at a step amounts: 2^h, h the `entropy_rate` of a prompt.

    Range [1, V], larger is more open: one certain continuation 1, uniform V. Never a mean of 2^ of each generation,
    which is another and larger thing; over prompts likewise the mean of h first. The interval is that of h, then 2^,
    its lower end at least 1: the jackknife over generations, whose variance is 1 to 1.1 times the true one, with a t
    quantile of n - 1 degrees. It covers 90 to 95 % at n = 5, 92 to 95 at 10, 93 to 95 at 20, 94 to 95 at 50, and 86 to
    90 where long generations are also the open ones; the standard error of `entropy_rate` with a normal quantile would
    cover 70 to 88 at n = 5. One generation: no interval; no tokens: undefined. O(generations). Published branching
    factors are of prefix means: `prefix_mean_curve`.

    B = (10, 40) nats, N = (10, 20): exp(50 / 30).

    >>> round(branching_factor(np.array([10, 40]) / np.log(2), [10, 20]).value, 6)
    5.29449
    """
    sums, tokens = _finite(sums_bits, lengths)
    n = len(sums)
    if not tokens.any():
        return BranchingFactor(None, None, None, n, "no tokens were drawn")
    h, _ = _ratio(sums, tokens)
    if n < 2:
        return BranchingFactor(2.0**h, None, None, n, "one generation gives no interval")
    se = _jackknife_se_of_ratio(sums, tokens)
    if se is None:
        return BranchingFactor(2.0**h, None, None, n, "one generation holds all tokens, which gives no interval")
    half = quantile(n - 1) * se
    with np.errstate(over="ignore"):  # a wide interval of few generations has no upper end
        high = float(np.exp2(h + half))
    return BranchingFactor(2.0**h, min(2.0**h, max(1.0, 2.0 ** (h - half))), high, n)


def bits_per_byte(sums_bits: npt.ArrayLike, n_bytes: npt.ArrayLike) -> Estimate:
    """Entropy per byte of text: sum B / sum of the bytes of the texts. Larger is more open.

    Range [0, inf). The only number of this level that compares models of different tokenizers. Standard error as that
    of `entropy_rate`, so as much too small below 50 generations; none for one generation. Bias of order 1/n, that of a
    ratio. No bytes: undefined. O(generations).

    >>> bits_per_byte([10, 20], [8, 16]).value
    1.25
    """
    sums, sizes = _finite(sums_bits, n_bytes)
    n = len(sums)
    if not sizes.any():
        return undefined(n, "the texts have no bytes" if n else "no generations")
    value, se = _ratio(sums, sizes)
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

    Range [0, inf), larger is more open; grows with the length of the generations, so compare equal limits of length. A
    (Monte Carlo) and B (stepwise, Rao-Blackwell) are both unbiased, if the tokens were drawn from the scored
    distribution itself, and neither always varies less. A - B has mean 0, so A - beta (A - B) is unbiased as well; beta
    = Cov(A, A - B) / Var(A - B) comes from the other four of five folds, which keeps it so: with many generations no
    worse than either. Generation i is in fold i mod 5, so `mixed` and `beta`, and they alone, change with the order of
    the generations: give them in the order of their index, then the result is reproducible. Where A - B never varies
    beta is 0. KL(p, q) likewise: A the sum of log p(y) / q(y) of the tokens drawn from p, B the sum of the KLs of the
    steps. Sums that are nan or infinite: ValueError. O(generations).
    Control variates: Owen, Monte Carlo theory, methods and examples (2013), chapter 8.

    Ten generations, B = 3 always and A = 3 -+ 1: beta 1, so the mix is B.

    >>> found = sequence_totals([2, 4, 2, 4, 2, 4, 2, 4, 2, 4], [3] * 10)
    >>> found.beta, found.mixed.mean, found.mixed.se
    (1.0, 3.0, 0.0)
    """
    drawn, stepwise = np.asarray(drawn_sums, np.float64), np.asarray(stepwise_sums, np.float64)
    if drawn.ndim != 1 or drawn.shape != stepwise.shape:
        raise ValueError("one sum of each kind for each generation")
    if not (np.isfinite(drawn).all() and np.isfinite(stepwise).all()):
        raise ValueError("sums are finite: a token of probability 0 cannot have been drawn")
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
    """Mean of the value at step t, one array of values for each generation.

    Range and direction are those of the values: for entropies [0, log2 V] bits, larger is more open. Unbiased for the
    generations that reach step t, which are not all: where the open ones end early the curve falls without any of them
    narrowing. The standard error is sd / sqrt(live), so it has live - 1 degrees of freedom. A value that is nan or
    infinite makes its own step so. O(values).

    Step 0 has 1 and 3, step 1 only the 3 of the first.

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
    """Mean of the mean over steps 0 to t of each generation still running: smoother than the local mean.

    Range and direction as in `local_mean_curve`, survivors and unbiasedness too. Of a curve that falls it falls later,
    since it remembers the beginning: say which of the two is shown. 2^ of it, for entropies in bits, is how published
    branching factors are computed (arXiv:2506.17871). O(values).

    Prefix means 1, 2 and 3: step 0 has 1 and 3, step 1 only 2.

    >>> prefix_mean_curve([[1.0, 3.0], [3.0]]).mean.tolist()
    [2.0, 2.0]
    """
    rows = [np.asarray(values, np.float64) for values in generations]
    return local_mean_curve([np.cumsum(row) / np.arange(1, len(row) + 1) for row in rows])


def eos_hazard(generations: Sequence[npt.ArrayLike]) -> Curve:
    """Mean probability of ending at step t over the generations still running; p(EOS) of each step of each generation.

    Range [0, 1]; it says where texts end, not how diverse they are. Unbiased for the generations that reach step t:
    where the chance differs between generations the curve falls as only the long ones are left (survivors), though no
    chance changes, so show the live count beside it. O(values).
    Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data (2002), chapter 1.

    Step 0 has 0.1 and 0.3, step 1 only 0.5.

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

    KL = sum p (log p - log q), range [0, inf], infinite where q is 0 and p is not; JS in [0, 1]; equal rows 0. Larger
    is more different, in no direction: a model that narrows and one that opens both differ. Same tokenizer, same
    prompt ids. Exact at its prefix; summed over the steps of texts drawn from the base, KL estimates that of whole
    texts without bias; the reverse one needs texts drawn from the aligned model. -inf stands for probability 0; nan:
    ValueError. O(steps V).
    Kullback and Leibler, Ann. Math. Stat. 22 (1951) 79; Lin, IEEE Trans. Inf. Theory 37 (1991) 145.

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
    with np.errstate(over="ignore"):  # exp of large logits
        totals = np.exp(logs).sum(axis=-1)
    if not (np.abs(totals - 1) <= 1e-3).all():  # nan anywhere in a row makes its total nan, which fails
        raise ValueError("rows are natural logarithms of probabilities that sum to 1, not logits, and none is nan")
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
    shape (thresholds, steps). Range [0, 1], larger is more of the base closed off; it grows with the threshold, which
    is a choice: show several. Exact at its prefix. Equal models have a small mass, not 0, and quantisation moves the
    tails: the control is the base against itself at another quantisation. -inf stands for probability 0; nan:
    ValueError. O(thresholds steps V). Defined here.

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
    the rest, p_k the least of the known. The sharp lower end packs the rest into tokens of p_k and one remainder. Both
    sharp ends are reached by some distribution, so no more can be said. Range [0, log2 V], larger is more open.
    `top_surprisals_bits`: -log2 p, shape (steps, k), inf where there is no token. k = V: all ends are H. O(steps k).
    Derived here: entropy is least where the rest is packed, most where it is even.

    (.5, .2, .1, .05, .05), V = 32,000: 1.728771 + .1 log2 20 and + .1 log2 319,950.

    >>> known = -np.log2([[0.5, 0.2, 0.1, 0.05, 0.05]])
    >>> [round(float(end[0]), 6) for end in top_k_bounds(known, 32_000)]
    [2.160964, 2.160964, 3.55752]
    """
    surprisals = np.atleast_2d(np.asarray(top_surprisals_bits, np.float64))
    there = surprisals != np.inf  # nan, too, which the top entropy refuses
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
