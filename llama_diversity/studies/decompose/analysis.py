"""How much of a loss of diversity is the weights', how much the prompt format's, the quantisation's, the sampler's?

Protocol: a full factorial design, every combination of the factors an arm, n generations of each for every prompt. On
the log scale the main effect of a factor is the mean, over all settings of the others, of log(value with it) -
log(value without), so that in a 2 x 2 total = weights * template; an interaction of two is the difference of the effect
of one with the other and without it: the factor by which each is worth more in the other's presence.
Effects are shown as factors: 0.49 says that about half is kept. Intervals as in a comparison: over prompts from
LEAST_PROMPTS on, else over generations, for these prompts alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llama_diversity.answers import Endings
from llama_diversity.metrics.inference import Contrast, Estimate, Part, Proportion, holm, part_of, summarize
from llama_diversity.studies.compare.analysis import MOST_LEFT_OUT, OfPrompt, by_prompt
from llama_diversity.studies.compare.measured import PRIMARY, Generations, Measured, Rules, case_of, measured
from llama_diversity.studies.compare.refusals import objection
from llama_diversity.studies.measuring.kinds import ends_of_kinds
from llama_diversity.studies.measuring.limits import LEAST_PROMPTS

Design = Mapping[str, Mapping[str, bool]]  # arm -> factor -> whether the arm has it


class Effect(NamedTuple):
    """One effect on one measure as a factor with its 95 % interval; None where undefined, with the reason."""

    measure: str
    name: str  # "weights", "weights x template", "total"
    factor: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""


class Result(NamedTuple):
    """All effects, the values of the arms they come from, what is valid, and what the claim is about."""

    effects: tuple[Effect, ...]
    values: Mapping[str, Mapping[str, float | None]]  # measure -> arm -> mean over prompts, geometric where none is 0
    is_general: bool
    n_prompts: int
    valid: Mapping[str, Proportion]
    self_check: Mapping[str, float | None]  # z of each arm over all prompts
    m_kinds: tuple[int, ...]  # outputs among which kinds are counted, by prompt
    m_words: tuple[int, ...]
    counted_as_lost: tuple[Effect, ...]  # on the primary measure, invalid outputs counted, where valid shares differ
    by_letter: Mapping[str, float]  # of each arm the share of letters that count as words, their script has no blanks
    endings: Mapping[str, Endings]  # of each arm what was cut off, and why how many are not valid
    by_prompt: tuple[OfPrompt, ...]


def contrasts(design: Design) -> dict[str, dict[str, float]]:
    """Of each effect the weight of each arm's log value: main effects, interactions of two, and the total.

    >>> cells = {"a": {"w": False, "t": False}, "b": {"w": False, "t": True},
    ...          "c": {"w": True, "t": False}, "d": {"w": True, "t": True}}
    >>> contrasts(cells)["w"], contrasts(cells)["w x t"]["a"], contrasts(cells)["total"]["d"]
    ({'a': -0.5, 'b': -0.5, 'c': 0.5, 'd': 0.5}, 1.0, 1.0)
    """
    factors = list(next(iter(design.values())))
    half = len(design) / 2
    signs = {arm: {name: 1.0 if has[name] else -1.0 for name in factors} for arm, has in design.items()}
    found = {name: {arm: sign[name] / half for arm, sign in signs.items()} for name in factors}
    for one, other in itertools.combinations(factors, 2):
        found[f"{one} x {other}"] = {arm: 2 * sign[one] * sign[other] / half for arm, sign in signs.items()}
    none = next(arm for arm, has in design.items() if not any(has.values()))
    every = next(arm for arm, has in design.items() if all(has.values()))
    found["total"] = {arm: float(arm == every) - float(arm == none) for arm in design}
    return found


def decompose(prompts: Iterable[Mapping[str, Generations]], rules: Rules, design: Design) -> Result:
    """Measure prompt by prompt, each of which has the same arms in one order, and tell effects apart."""
    return tell_apart([measured(prompt) for prompt in prompts], rules, design)


def tell_apart(prompts: Sequence[Measured], rules: Rules, design: Design) -> Result:
    """Every effect on every measure; `design` is complete: all combinations of its factors."""
    case = case_of(prompts, rules)
    effects: list[Effect] = []
    values: dict[str, dict[str, float | None]] = {}
    for name in case.measures():
        refused = objection(name, tuple(design), case)
        shown = [] if refused and refused.hides else case.estimates(name)
        values[name] = {arm: _typical([one[arm].value for one in shown]) for arm in design}
        found = _effects(name, design, case.estimates(name), refused.reason if refused else "")
        if name == "kinds":
            found = _within_m(found, design, max(one.m_kinds for one in case.measured))
        effects += found
    effective, refused = case.effective(), objection(PRIMARY, tuple(design), case)
    lost = _effects(PRIMARY, design, effective, refused.reason if refused else "") if effective else []
    is_general = len(prompts) >= LEAST_PROMPTS
    return Result(
        tuple(_adjusted(effects)),
        values,
        is_general,
        len(prompts),
        case.valid,
        case.checks,
        tuple(one.m_kinds for one in prompts),
        tuple(one.m_words for one in prompts),
        tuple(_adjusted(lost)),
        {arm: case.cutting(arm).by_letter for arm in design},
        case.endings(),
        by_prompt(case),
    )


def _effects(name: str, design: Design, prompts: Sequence[Mapping[str, Estimate]], refused: str) -> list[Effect]:
    if refused:
        return [Effect(name, effect, None, reason=refused) for effect in contrasts(design)]
    return [_effect(name, effect, weights, prompts) for effect, weights in contrasts(design).items()]


def _effect(name: str, effect: str, weights: Mapping[str, float], prompts: Sequence[Mapping[str, Estimate]]) -> Effect:
    used = {arm: weight for arm, weight in weights.items() if weight}
    known = [prompt for prompt in prompts if all(_is_positive(prompt[arm]) for arm in used)]
    left_out = len(prompts) - len(known)
    has_none = any(prompt[arm].value == 0 for prompt in prompts for arm in used)
    if left_out > (MOST_LEFT_OUT * len(prompts) if len(prompts) >= LEAST_PROMPTS and not has_none else 0):
        # On the log scale there is no effect where an arm has nothing, and to leave that out would hide a collapse.
        reasons = [prompt[arm].reason for prompt in prompts for arm in used]
        reason = next(filter(None, reasons), "an arm has no diversity at all")
        many = f"{left_out} of {len(prompts)} prompts have no factor: " if len(prompts) > 1 else ""
        return Effect(name, effect, None, reason=f"{many}{reason}")
    logs = []
    parts = []
    for prompt in known:
        cells = [(weight, prompt[arm]) for arm, weight in used.items()]
        logs.append(sum(weight * math.log(cell.value or 1.0) for weight, cell in cells))
        parts += [part_of(cell, weight / len(known), cell.value or 1.0) for weight, cell in cells]
    note = f"{left_out} of {len(prompts)} prompts have no value and are left out" if left_out else ""
    if len(prompts) >= LEAST_PROMPTS:
        found = _over_prompts(name, effect, logs)
        return found._replace(reason=note) if note else found
    contrast = Contrast(sum(logs) / len(logs), tuple(parts))
    if not contrast.has_error:  # nan where an arm has no standard error
        return Effect(name, effect, math.exp(contrast.value), reason="no standard error is known")
    return _interval(name, effect, contrast)


def _within_m(effects: Sequence[Effect], design: Design, m: int) -> list[Effect]:
    """Every arm has 1 to m kinds: main effects and total end at 1/m and m, an interaction, a ratio of two, at m^2."""
    powers = {name: sum(max(0.0, one) for one in weights.values()) for name, weights in contrasts(design).items()}
    return [_held(one, m, powers[one.name]) for one in effects]


def _held(effect: Effect, m: int, power: float) -> Effect:
    if effect.low is None or effect.high is None:
        return effect
    low, high = ends_of_kinds(effect.low, effect.high, m, power)
    return effect._replace(low=low, high=high)


def _is_positive(cell: Estimate) -> bool:
    return cell.value is not None and cell.value > 0


def _over_prompts(name: str, effect: str, logs: Sequence[float]) -> Effect:
    found = summarize(logs)
    if found.n < 2 or not found.se > 0:
        return Effect(
            name, effect, math.exp(found.mean) if found.n else None, reason="fewer than two prompts that differ"
        )
    return _interval(name, effect, Contrast(found.mean, (Part(found.se, found.n - 1, found.n - 1),)))


def _interval(name: str, effect: str, contrast: Contrast) -> Effect:
    return Effect(name, effect, math.exp(contrast.value), *contrast.factors(), contrast.p())


def _typical(values: Sequence[float | None]) -> float | None:
    """The geometric mean of what is known; the plain one where there is a 0, which must not be left out."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return math.exp(sum(map(math.log, known)) / len(known)) if all(known) else sum(known) / len(known)


def _adjusted(effects: Sequence[Effect]) -> list[Effect]:
    """Holm over all effects that were tested."""
    adjusted = holm([math.nan if one.p is None else one.p for one in effects])
    return [one if one.p is None else one._replace(p_holm=p) for one, p in zip(effects, adjusted.tolist(), strict=True)]
