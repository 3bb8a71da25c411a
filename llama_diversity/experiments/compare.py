"""Is one arm more diverse than another? A comparison of many measures that says when it cannot tell, and why.

Protocol: n generations of every arm for every prompt (`measured`). The effect is the share kept, the arm's value over
the first arm's, on the log scale. The primary measure, declared before any data, is the mean pairwise distance of
meanings; p-values of all lines are adjusted after Holm. What must not be compared is refused (`refusals`).

Prompts are the population: from LEAST_PROMPTS on, differences are paired by prompt and the interval is a t interval
over prompts, the claim about prompts like these. With fewer it is one over generations, a claim about these prompts
alone; its degrees of freedom come from the kurtosis of what each generation adds (`inference.variance_freedom`), since
an arm that nearly always says one thing shows too little spread whenever its rare other outputs are missing.
"Equivalent" is said only where the 90 % interval lies within a tenth of equality (TOST).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.experiments.measured import PRIMARY, Case, Generations, Rules, case_of
from llama_diversity.experiments.refusals import objection
from llama_diversity.metrics.coverage import two_digits
from llama_diversity.metrics.inference import (
    Estimate,
    Proportion,
    equivalence,
    holm,
    jackknife_se,
    paired_t,
    quantile,
    summarize,
    two_sided_p,
    welch_freedom,
)

LEAST_PROMPTS = 5  # for a claim about prompts in general
MOST_LEFT_OUT = 0.2  # of the prompts, those without a value
MARGIN = math.log(1.1)
CEILING = 0.9  # of m, where kinds among m can hardly rise any more
WITHIN_MARGIN = "the 90 % interval lies within a tenth of equality"
INCLUDES_EQUALITY = "the interval includes equality"
NOT_AFTER_HOLM = "the interval leaves out equality, but not after Holm's adjustment for all lines"

Verdict = Literal["less diverse", "more diverse", "equivalent", "inconclusive", "not comparable"]
Pair = tuple[Estimate, Estimate]  # of the first arm and a later one


class Line(NamedTuple):
    """One measure of one arm against the first: the share kept with its 95 % interval, and what may be said of it."""

    measure: str
    arm: str
    verdict: Verdict
    first: float | None = None  # the first arm's value: over prompts a mean, geometric where none is 0
    value: float | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    log_se: float | None = None  # standard error of log(share)
    freedom: float | None = None  # its degrees of freedom; None: so many that the interval is a normal one
    p: float | None = None
    p_holm: float | None = None
    n_units: int = 0  # prompts or generations, as the claim says
    more: int | None = None  # further units of an undecided line that may settle it, about
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """All lines, in the order of MEASURES; of each arm what is valid; what the claim is about."""

    lines: tuple[Line, ...]
    valid: Mapping[str, Proportion]
    lengths: Mapping[str, float | None]  # mean tokens of a valid generation
    is_general: bool  # about prompts like these, not these alone
    n_prompts: int
    m_kinds: int  # outputs among which kinds are counted, on the prompt with the fewest
    m_words: int
    self_check: Mapping[str, float | None]  # z of each arm over all prompts
    counted_as_lost: tuple[Line, ...]  # the primary measure once more, invalid outputs counted, where shares differ


def compare(prompts: Sequence[Mapping[str, Generations]], rules: Rules) -> Result:
    """Every later arm against the first; `prompts` has the same arms, in one order, for each prompt."""
    first, *others = prompts[0]
    case = case_of(prompts, rules)
    lines = [_line(name, (first, arm), case.estimates(name), case) for name in case.measures() for arm in others]
    effective = case.effective()
    lost = [_line(PRIMARY, (first, arm), effective, case) for arm in others] if effective else []
    return Result(
        tuple(_adjusted(lines)),
        case.valid,
        {arm: _mean_length(case.of(arm)) for arm in prompts[0]},
        len(prompts) >= LEAST_PROMPTS,
        len(prompts),
        min(one.m_kinds for one in case.measured),
        min(one.m_words for one in case.measured),
        case.checks,
        tuple(_adjusted(lost)),
    )


def _mean_length(generations: Sequence[Generations]) -> float | None:
    lengths = np.concatenate([one.lengths for one in generations])
    return float(lengths.mean()) if len(lengths) else None


# ---- one line


def _line(name: str, arms: tuple[str, str], estimates: Sequence[Mapping[str, Estimate]], case: Case) -> Line:
    first, arm = arms
    pairs = [(one[first], one[arm]) for one in estimates]
    line = Line(name, arm, "not comparable", *_values(pairs))
    refused = objection(name, arms, case)
    if refused:
        line = line._replace(reason=refused.reason)
        return line._replace(first=None, value=None) if refused.hides else line
    line = _over_prompts(line, pairs) if len(pairs) >= LEAST_PROMPTS else _over_generations(line, pairs)
    if name == "kinds" and line.verdict == "equivalent":
        return _unless_at_ceiling(line, float(np.mean([one.m_kinds for one in case.measured])))
    return line


def _unless_at_ceiling(line: Line, m: float) -> Line:
    """Two arms whose outputs are nearly all of kinds of their own are equal in this number, and maybe in no other."""
    if min(line.first or 0.0, line.value or 0.0) < CEILING * m:
        return line
    reason = f"nearly all of {m:.0f} outputs are of kinds of their own in both arms, so this number can tell no more"
    return line._replace(verdict="inconclusive", reason=reason)


def _values(pairs: Sequence[Pair]) -> tuple[float | None, float | None]:
    """Of a single prompt its values, None and all; of several the geometric means, plain ones where there is a 0."""
    if len(pairs) == 1:
        return pairs[0][0].value, pairs[0][1].value
    known = _known(pairs)
    if not len(known):
        return None, None
    means = np.exp(np.log(known).mean(axis=0)) if known.all() else known.mean(axis=0)
    return float(means[0]), float(means[1])


def _known(pairs: Sequence[Pair]) -> npt.NDArray[np.float64]:
    """The values of the prompts where both arms have one, shape (prompts, 2)."""
    known = [(one.value, other.value) for one, other in pairs if one.value is not None and other.value is not None]
    return np.array(known, np.float64).reshape(-1, 2)


def _over_prompts(line: Line, pairs: Sequence[Pair]) -> Line:
    """The claim about prompts in general: log ratios paired by prompt, t with P - 1 degrees of freedom.

    A prompt on which an arm has none at all has no log ratio, and to leave it out would hide a collapse: then it is the
    ratio of the means over prompts, with the jackknife over prompts.
    """
    known = _known(pairs)
    left_out, n = len(pairs) - len(known), len(known)
    line = line._replace(n_units=n)
    if left_out > MOST_LEFT_OUT * len(pairs):
        reason = next(one.reason for pair in pairs for one in pair if one.reason)
        return line._replace(reason=f"{left_out} of {len(pairs)} prompts have no value: {reason}.")
    note = f"{left_out} of {len(pairs)} prompts have no value and are left out" if left_out else ""
    if known.all():
        found = paired_t(*np.log(known).T)
        mean, se = found.mean, found.se
    else:
        note = f"on {int((known == 0).any(axis=1).sum())} of {n} prompts an arm has none: ratio of means over prompts"
        sums = known.sum(axis=0)
        if not sums.any():
            return line._replace(reason="neither arm has any on any prompt")
        if not sums.all():
            spread = summarize(known[:, 0] - known[:, 1])
            return _of_none(line, (float(sums[0]), float(sums[1])), n * spread.se, freedom=n - 1)
        mean = math.log(sums[1] / sums[0])
        with np.errstate(divide="ignore"):
            left = np.log(sums - known)
        se = jackknife_se(left[:, 1] - left[:, 0]) if np.isfinite(left).all() else None
    if mean is None or not se:
        share = None if mean is None else math.exp(mean)
        reason = note or "no variation over the prompts; there is nothing to test"
        return line._replace(verdict="inconclusive", share=share, reason=reason)
    return _judged(line._replace(reason=note), mean, se, freedom=n - 1)


def _over_generations(line: Line, pairs: Sequence[Pair]) -> Line:
    """The claim about these prompts alone: jackknife over generations, the mean of the prompts' log ratios.

    Where an arm has none at all on a prompt it is the ratio of the means over prompts.
    """
    line = line._replace(n_units=min(one.n for pair in pairs for one in pair))
    known = _known(pairs)
    errors = np.array([[math.nan if one.se is None else one.se for one in pair] for pair in pairs])
    freedoms = [one.freedom for pair in pairs for one in pair]
    reason = next((one.reason for pair in pairs for one in pair if one.value is None), None)
    if reason is not None:
        return line._replace(reason=reason)
    if not known.any():
        return line._replace(reason="neither arm has any")
    if not known.all():
        sums = known.sum(axis=0)
        if not sums.all():
            se, freedom = math.sqrt((errors**2).sum()), welch_freedom((errors**2).ravel(), freedoms)
            return _of_none(line, (float(sums[0]), float(sums[1])), se, freedom=freedom)
        mean, variances = math.log(sums[1] / sums[0]), errors**2 / sums**2
    else:
        mean, variances = float(np.log(known[:, 1] / known[:, 0]).mean()), (errors / known / len(pairs)) ** 2
    se = math.sqrt(variances.sum())
    if not se > 0:  # nan where an arm has no standard error
        return line._replace(share=math.exp(mean), reason="no standard error is known for this number")
    return _judged(line, mean, se, freedom=welch_freedom(variances.ravel(), freedoms))


def _of_none(line: Line, sums: tuple[float, float], se: float, *, freedom: float) -> Line:
    """One of the arms has none at all, on any prompt: whether the other has, by the difference and its error."""
    difference = sums[1] - sums[0]
    reach = quantile(freedom) * se
    p = two_sided_p(difference / se, freedom) if se > 0 else None
    reason = "one arm has none at all: by the difference instead of the ratio"
    verdict: Verdict = "inconclusive"
    if p is not None and p < 0.05:
        verdict = "less diverse" if difference < 0 else "more diverse"
    if not sums[0]:
        return line._replace(verdict=verdict, p=p, reason=reason)
    return line._replace(verdict=verdict, share=0.0, low=0.0, high=reach / sums[0], p=p, reason=reason)


def _judged(line: Line, mean: float, se: float, *, freedom: float) -> Line:
    """The interval and the verdict before Holm's adjustment."""
    reach = quantile(freedom) * se
    line = line._replace(
        share=math.exp(mean), low=math.exp(mean - reach), high=math.exp(mean + reach),
        log_se=se, freedom=freedom if math.isfinite(freedom) else None, p=two_sided_p(mean / se, freedom),
    )  # fmt: skip
    found = equivalence(mean, se, freedom=freedom, margin=MARGIN)
    if found.verdict == "different":
        return line._replace(verdict="less diverse" if mean < 0 else "more diverse")
    if found.verdict == "equivalent":
        return _because(line._replace(verdict="equivalent"), WITHIN_MARGIN)
    return _because(line._replace(verdict="inconclusive"), INCLUDES_EQUALITY)


def _because(line: Line, reason: str) -> Line:
    """A further reason beside what is said already."""
    return line._replace(reason=f"{reason}; {line.reason}" if line.reason else reason)


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """Holm over all lines that were tested; a difference that does not survive it is inconclusive."""
    adjusted = holm([math.nan if line.p is None else line.p for line in lines]) if lines else np.zeros(0)
    n_tests = int(np.isfinite(adjusted).sum())
    found = []
    for line, p in zip(lines, adjusted.tolist(), strict=True):
        one = line if line.p is None else line._replace(p_holm=p)
        if one.p_holm is not None and one.verdict in ("less diverse", "more diverse") and one.p_holm >= 0.05:
            one = _because(one._replace(verdict="inconclusive"), NOT_AFTER_HOLM)
        is_undecided = any(why in one.reason for why in (INCLUDES_EQUALITY, NOT_AFTER_HOLM))
        if is_undecided and one.log_se and one.share:
            one = one._replace(more=_more(math.log(one.share), one.log_se, one.freedom, one.n_units, n_tests))
        found.append(one)
    return found


def _more(mean: float, se: float, freedom: float | None, n: int, n_tests: int) -> int | None:
    """Further units after which a line would be settled, about, if its share is as it is now.

    Settled: the interval leaves out equality also after Holm among `n_tests`, or the 90 % interval lies within the
    margin. Standard errors fall with the square root of the number, and degrees of freedom grow with it. None where not
    even a hundred times as many would do.

    >>> _more(-0.1, 0.1, None, 100, 1)  # (1.96 * 0.1 / 0.1)^2 = 3.84 times as many
    280
    """

    def is_settled(total: int) -> bool:
        error, degrees = se * math.sqrt(n / total), None if freedom is None else freedom * total / n
        differs = abs(mean) > quantile(degrees, 1 - 0.025 / n_tests) * error
        return differs or abs(mean) + quantile(degrees, 0.95) * error < MARGIN

    low, high = n, 100 * n  # not settled, settled: halve until neighbours
    if not is_settled(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_settled(middle) else (middle, high)
    return two_digits(high - n)
