"""Is one arm more diverse than another? A comparison of many measures that says when it cannot tell, and why.

Protocol: n generations of every arm for every prompt (`measured`). The effect is the share kept, the arm's value over
that of its reference, on the log scale. Every arm is set against one reference, or all pairs are compared. The primary
measure, declared before any data, is the mean pairwise distance of meanings; p-values of all lines of all pairs are
adjusted after Holm. What must not be compared is refused (`refusals`).

Prompts are the population: from LEAST_PROMPTS on, differences are paired by prompt and the interval is a t interval
over prompts, the claim about prompts like these. With fewer it is one over generations, a claim about these prompts
alone. Each end of it has degrees of freedom of its own (`inference.part_of`): an arm that nearly always says one thing
has its spread from a few other outputs, and may have shown more of them than it should have.
"Equivalent" is said only where the 90 % interval lies within a tenth of equality (TOST).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from llama_diversity.answers import Endings
from llama_diversity.metrics.coverage import two_digits
from llama_diversity.metrics.inference import (
    Contrast,
    Estimate,
    Float64,
    Part,
    Proportion,
    holm,
    jackknife_se,
    paired_t,
    part_of,
    summarize,
)
from llama_diversity.studies.compare.measured import (
    PRIMARY,
    Case,
    Generations,
    Measured,
    Price,
    Rules,
    case_of,
    measured,
)
from llama_diversity.studies.compare.refusals import objection
from llama_diversity.studies.measuring.kinds import CEILING, ends_of_kinds
from llama_diversity.studies.measuring.limits import LEAST_PROMPTS

MOST_LEFT_OUT = 0.2  # of the prompts, those without a value
MARGIN = math.log(1.1)
WITHIN_MARGIN = "the 90 % interval lies within a tenth of equality"
INCLUDES_EQUALITY = "the interval includes equality"
NOT_AFTER_HOLM = "the interval leaves out equality, but not after Holm's adjustment for all lines"
Verdict = Literal["less diverse", "more diverse", "equivalent", "inconclusive", "not comparable"]
Pair = tuple[str, str]  # a reference and the arm that is set against it
Both = tuple[Estimate, Estimate]  # values of reference and arm on one prompt


class Line(NamedTuple):
    """One measure of an arm against a reference: the share kept with its 95 % interval, and what may be said of it."""

    measure: str
    arm: str
    reference: str
    verdict: Verdict
    reference_value: float | None = None  # over prompts a mean, geometric where none is 0
    value: float | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    log_se: float | None = None  # standard error of log(share)
    p: float | None = None
    p_holm: float | None = None
    n_units: int = 0  # prompts or generations, as the claim says
    more: int | None = None  # further units of an undecided line that may settle it, about
    reason: str = ""


def branching(bits: float) -> float:
    """Among how many equally likely tokens a choice is as open as one of so many bits."""
    return float(2.0**bits)


def ends_of_value(line: Line) -> tuple[float | None, float | None]:
    """Between what the arm's value lies if the reference's is as it is: that times the ends of the share."""
    if line.reference_value is None or line.low is None or line.high is None:
        return None, None
    return line.reference_value * line.low, line.reference_value * line.high


class _Judged(NamedTuple):
    """A line, and the contrast of logarithms that it comes from, where there is one."""

    line: Line
    contrast: Contrast | None = None

    def because(self, verdict: Verdict, reason: str) -> _Judged:
        """Another verdict, and a further reason beside what is said already."""
        said = f"{reason}; {self.line.reason}" if self.line.reason else reason
        return self._replace(line=self.line._replace(verdict=verdict, reason=said))


class OfPrompt(NamedTuple):
    """The value of one measure of one arm on one prompt, the prompt by its number from 1."""

    arm: str
    prompt: int
    measure: str
    estimate: float | None
    se: float | None  # over generations
    n: int
    reason: str | None = None  # why there is none


@dataclass(frozen=True)
class Result:
    """All lines, in the order of MEASURES; of each arm what is valid; what the claim is about."""

    lines: tuple[Line, ...]
    by_prompt: tuple[OfPrompt, ...]
    valid: Mapping[str, Proportion]
    lengths: Mapping[str, float | None]  # mean tokens of a valid generation
    is_general: bool  # about prompts like these, not these alone
    n_prompts: int
    m_kinds: tuple[int, ...]  # outputs among which kinds are counted, by prompt
    m_words: tuple[int, ...]
    self_check: Mapping[str, float | None]  # z of each arm over all prompts
    counted_as_lost: tuple[Line, ...]  # the primary measure once more, invalid outputs counted, where shares differ
    by_letter: Mapping[str, float]  # of each arm the share of letters that count as words, their script has no blanks
    endings: Mapping[str, Endings]  # of each arm what was cut off, and why how many are not valid
    prices: Mapping[str, Price]
    n_units: Mapping[str, int]  # of arms whose outputs come in calls or chains how many there are, on all prompts


def compare(prompts: Iterable[Mapping[str, Generations]], rules: Rules, pairs: Sequence[Pair] | None = None) -> Result:
    """Measure prompt by prompt, each of which has the same arms in one order, and judge; see `judge`."""
    return judge([measured(prompt) for prompt in prompts], rules, pairs)


def judge(prompts: Sequence[Measured], rules: Rules, pairs: Sequence[Pair] | None = None) -> Result:
    """What was measured of every prompt, compared: `pairs`, or every later arm against the first."""
    case = case_of(prompts, rules)
    first, *others = case.arms
    pairs = [(first, arm) for arm in others] if pairs is None else pairs
    lines = [_line(name, pair, case.estimates(name), case) for name in case.measures() for pair in pairs]
    effective = case.effective()
    lost = [_line(PRIMARY, pair, effective, case) for pair in pairs] if effective else []
    return Result(
        tuple(_adjusted(lines)),
        by_prompt(case),
        case.valid,
        {arm: _mean_length(case, arm) for arm in case.arms},
        len(prompts) >= LEAST_PROMPTS,
        len(prompts),
        tuple(one.m_kinds for one in prompts),
        tuple(one.m_words for one in prompts),
        case.checks,
        tuple(_adjusted(lost)),
        {arm: case.cutting(arm).by_letter for arm in case.arms},
        case.endings(),
        {arm: case.price(arm) for arm in case.arms},
        {arm: sum(len(one.sizes) for one in case.units(arm)) for arm in case.arms if case.units(arm)},
    )


def _mean_length(case: Case, arm: str) -> float | None:
    lengths = np.concatenate([one.lengths for one in case.of(arm)])
    return float(lengths.mean()) if len(lengths) else None


def by_prompt(case: Case) -> tuple[OfPrompt, ...]:
    """Every value of every arm on every prompt; what must not be shown of an arm has the reason in its place."""
    found = []
    for name in case.measures():
        refused = {arm: objection(name, (arm,), case) for arm in case.arms}
        for number, of_arm in enumerate(case.estimates(name), start=1):
            for arm, one in of_arm.items():
                why = refused[arm]
                if why and why.hides:
                    found.append(OfPrompt(arm, number, name, None, None, one.n, why.reason))
                else:
                    found.append(OfPrompt(arm, number, name, one.value, one.se, one.n, one.reason))
    return tuple(found)


# ---- one line


def _line(name: str, pair: Pair, estimates: Sequence[Mapping[str, Estimate]], case: Case) -> _Judged:
    reference, arm = pair
    pairs = [(one[reference], one[arm]) for one in estimates]
    line = Line(name, arm, reference, "not comparable", *_values(pairs))
    refused = objection(name, pair, case)
    if refused:
        line = line._replace(reason=refused.reason)
        return _Judged(line._replace(reference_value=None, value=None) if refused.hides else line)
    found = _over_prompts(line, pairs) if len(pairs) >= LEAST_PROMPTS else _over_generations(line, pairs)
    if name == "kinds" and found.line.low is not None and found.line.high is not None:
        low, high = ends_of_kinds(found.line.low, found.line.high, max(one.m_kinds for one in case.measured))
        found = found._replace(line=found.line._replace(low=low, high=high))
    if name == "kinds" and found.line.verdict == "equivalent":
        m = float(np.mean([one.m_kinds for one in case.measured]))
        if min(line.reference_value or 0.0, line.value or 0.0) >= CEILING * m:
            # Two arms whose outputs are nearly all of kinds of their own are equal in this, and maybe in nothing else.
            said = f"nearly all of {m:.0f} outputs are kinds of their own in both arms, so this number can tell no more"
            return _Judged(found.line._replace(verdict="inconclusive", reason=said))
    return found


def _values(pairs: Sequence[Both]) -> tuple[float | None, float | None]:
    """Of a single prompt its values, None and all; of several the geometric means, plain ones where there is a 0."""
    if len(pairs) == 1:
        return pairs[0][0].value, pairs[0][1].value
    known = _known(pairs)
    if not len(known):
        return None, None
    means = np.exp(np.log(known).mean(axis=0)) if known.all() else known.mean(axis=0)
    return float(means[0]), float(means[1])


def _known(pairs: Sequence[Both]) -> Float64:
    """The values of the prompts where both arms have one, shape (prompts, 2)."""
    known = [(one.value, other.value) for one, other in pairs if one.value is not None and other.value is not None]
    return np.array(known, np.float64).reshape(-1, 2)


def _over_prompts(line: Line, pairs: Sequence[Both]) -> _Judged:
    """The claim about prompts in general: log ratios paired by prompt, t with P - 1 degrees of freedom.

    A prompt on which an arm has none at all has no log ratio, and to leave it out would hide a collapse: then it is the
    ratio of the means over prompts, with the jackknife over prompts.
    """
    known = _known(pairs)
    left_out, n = len(pairs) - len(known), len(known)
    line = line._replace(n_units=n)
    if left_out > MOST_LEFT_OUT * len(pairs):
        reason = next(one.reason for pair in pairs for one in pair if one.reason)
        return _Judged(line._replace(reason=f"{left_out} of {len(pairs)} prompts have no value: {reason}."))
    note = f"{left_out} of {len(pairs)} prompts have no value and are left out" if left_out else ""
    if known.all():
        found = paired_t(*np.log(known).T)
        mean, se = found.mean, found.se
    else:
        note = f"on {int((known == 0).any(axis=1).sum())} of {n} prompts an arm has none: ratio of means over prompts"
        sums = known.sum(axis=0)
        if not sums.any():
            return _Judged(line._replace(reason="neither arm has any on any prompt"))
        if not sums.all():
            spread = summarize(known[:, 0] - known[:, 1])
            change = Contrast(float(sums[1] - sums[0]), (Part(n * spread.se, n - 1, n - 1),), is_log=False)
            return _by_difference(line, float(sums[0]), change)
        mean = math.log(sums[1] / sums[0])
        with np.errstate(divide="ignore"):
            left = np.log(sums - known)
        se = jackknife_se(left[:, 1] - left[:, 0]) if np.isfinite(left).all() else None
    if mean is None or not se:
        share = None if mean is None else math.exp(mean)
        reason = note or "no variation over the prompts; there is nothing to test"
        return _Judged(line._replace(verdict="inconclusive", share=share, reason=reason))
    return _judged(line._replace(reason=note), Contrast(mean, (Part(se, n - 1, n - 1),)))


def _over_generations(line: Line, pairs: Sequence[Both]) -> _Judged:
    """The claim about these prompts alone, from each generation's errors: the mean of the prompts' log ratios.

    Where an arm has none at all on a prompt it is the ratio of the means over prompts, and the difference where it has
    none on any.
    """
    line = line._replace(n_units=min(one.n for pair in pairs for one in pair))
    known = _known(pairs)
    reason = next((one.reason for pair in pairs for one in pair if one.value is None), None)
    if reason is not None:
        return _Judged(line._replace(reason=reason))
    if not known.any():
        return _Judged(line._replace(reason="neither arm has any"))
    if known.all():
        mean = float(np.log(known[:, 1] / known[:, 0]).mean())
        contrast = Contrast(mean, _parts(pairs, known, 1 / len(pairs)))
    else:
        first, second = (float(one) for one in known.sum(axis=0))
        if not (first and second):
            change = Contrast(second - first, _parts(pairs, np.ones_like(known)), is_log=False)
            return _by_difference(line, first, change)
        contrast = Contrast(math.log(second / first), _parts(pairs, np.broadcast_to([first, second], known.shape)))
    if not contrast.has_error:
        share = math.exp(contrast.value)
        return _Judged(line._replace(share=share, reason="no standard error is known for this number"))
    return _judged(line, contrast)


def _parts(pairs: Sequence[Both], scales: Float64, weight: float = 1.0) -> tuple[Part, ...]:
    """Second arms minus first ones, errors divided by their scales, shape (prompts, 2)."""
    return tuple(
        part_of(one, sign * weight, float(scale))
        for pair, of_pair in zip(pairs, scales, strict=True)
        for one, sign, scale in zip(pair, (-1, 1), of_pair, strict=True)
    )


def _by_difference(line: Line, first: float, change: Contrast) -> _Judged:
    """One of the arms has none at all, on any prompt: whether the other has, by the difference and its error."""
    p = change.p() if change.has_error else None
    verdict: Verdict = "inconclusive"
    if p is not None and p < 0.05:
        verdict = "less diverse" if change.value < 0 else "more diverse"
    reason = "one arm has none at all: by the difference instead of the ratio"
    line = line._replace(verdict=verdict, p=p, reason=reason)
    if not first:
        return _Judged(line)
    share, low, high = (max(0.0, 1 + one / first) for one in (change.value, *change.limits()))
    return _Judged(line._replace(share=share, low=low, high=high))


def _judged(line: Line, contrast: Contrast) -> _Judged:
    """The interval and the verdict before Holm's adjustment."""
    low, high = contrast.factors()
    line = line._replace(share=math.exp(contrast.value), low=low, high=high, log_se=contrast.se, p=contrast.p())
    found = _Judged(line, contrast)
    if _is_within_margin(contrast):
        return found.because("equivalent", WITHIN_MARGIN)
    if low > 1 or high < 1:
        return found._replace(line=line._replace(verdict="less diverse" if high < 1 else "more diverse"))
    return found.because("inconclusive", INCLUDES_EQUALITY)


def _is_within_margin(contrast: Contrast) -> bool:
    """Two one-sided tests at 5 %."""
    low, high = contrast.limits(0.90)
    return -MARGIN < low and high < MARGIN


def _adjusted(judged: Sequence[_Judged]) -> list[Line]:
    """Holm over all lines that were tested; a difference that does not survive it is inconclusive."""
    adjusted = holm([math.nan if one.line.p is None else one.line.p for one in judged]) if judged else np.zeros(0)
    n_tests = int(np.isfinite(adjusted).sum())
    found = []
    for one, p in zip(judged, adjusted.tolist(), strict=True):
        if one.line.p is not None:
            one = one._replace(line=one.line._replace(p_holm=p))
            if p >= 0.05 and one.line.verdict in ("less diverse", "more diverse"):
                one = one.because("inconclusive", NOT_AFTER_HOLM)
        is_undecided = any(why in one.line.reason for why in (INCLUDES_EQUALITY, NOT_AFTER_HOLM))
        more = _more(one.contrast, one.line.n_units, n_tests) if is_undecided and one.contrast else None
        found.append(one.line._replace(more=more))
    return found


def _more(contrast: Contrast, n: int, n_tests: int) -> int | None:
    """Further units after which a line would be settled, about, if its share is as it is now.

    Settled: the interval leaves out equality also after Holm among `n_tests`, or the 90 % interval lies within the
    margin. None where not even a hundred times as many would do.

    >>> _more(Contrast(-0.1, (Part(0.1),)), 100, 1)  # (1.96 * 0.1 / 0.1)^2 = 3.84 times as many
    280
    """

    def is_settled(total: int) -> bool:
        then = contrast.of_more(total / n)
        low, high = then.limits(1 - 0.05 / n_tests)
        return low > 0 or high < 0 or _is_within_margin(then)

    low, high = n, 100 * n  # not settled, settled: halve until neighbours
    if not is_settled(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_settled(middle) else (middle, high)
    return two_digits(high - n)
