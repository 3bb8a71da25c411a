"""Quality against diversity over families of settings: what is on the front, and what may be claimed of the best one.

Protocol: every setting of every family, and one reference, answer the same prompts, each with as many outputs as the
same budget of tokens pays for. A setting stands in the plane at its means over prompts, in raw units. A setting is
chosen on the odd prompts: the most diverse of those whose 95 % interval of quality, less the reference's, lies above
-delta there. It is judged on the even prompts, which took no part in the choice: it holds where its quality is not
worse by delta there either and its diversity exceeds the reference's, both by 95 % t intervals over prompts, paired.
Where none qualifies, or the one chosen does not hold, the verdict is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.frontier import RESAMPLES, Booleans, OverPrompts, dominated_area, over_prompts, unbeaten
from llama_diversity.metrics.inference import Float64, Int64, Interval, mean_interval
from llama_diversity.studies.compare.measured import MEASURES

LEAST_PROMPTS = 10  # five to choose on, five to judge on
MOST_LEFT_OUT = 0.2  # of the prompts, those where a setting has no value


class Quality(NamedTuple):
    """A measure of quality: what it is, whether more is better, the usual margin, and its ends, worst and best."""

    title: str
    is_more_better: bool
    delta: float
    worst: float
    best: float


QUALITIES = {
    "validity": Quality("valid, share", True, 0.05, 0.0, 1.0),
    "topic": Quality("on topic, cosine", True, 0.02, 0.0, 1.0),
    "base": Quality("under base, bits per byte", False, 0.1, 8.0, 0.0),
    "aligned": Quality("under aligned, bits per byte", False, 0.1, 8.0, 0.0),
    "scorer": Quality("under the scorer, bits per byte", False, 0.1, 8.0, 0.0),
    "loops": Quality("loops, share repeated", False, 0.05, 1.0, 0.0),
    "finished": Quality("finished, share", True, 0.05, 0.0, 1.0),
}
UNIT_MEASURES = ("distance", "words")  # diversities that lie between 0 and 1
DIVERSITIES = {name: title.removesuffix(" *") for name, title in MEASURES.items()}


@dataclass(frozen=True)
class Setting:
    """One setting, or with no family the reference; by measure its values on every prompt, nan where there is none."""

    name: str
    family: str | None
    quality: Mapping[str, Float64]
    diversity: Mapping[str, Float64]
    n_outputs: Float64  # within the budget, by prompt
    n_tokens: Float64  # written for these, by every model of a mixture
    n_prompt_tokens: Float64  # read for these, likewise


@dataclass(frozen=True)
class Rules:
    """By which two measures, and how much worse than the reference quality may be."""

    quality: str
    diversity: str
    delta: float


class Point(NamedTuple):
    """Where a setting stands over all prompts; `reason`: why it stands nowhere."""

    name: str
    family: str | None
    quality: Interval
    diversity: Interval
    is_on_front: bool = False
    reason: str = ""


class Against(NamedTuple):
    """A setting less the reference on some prompts: quality in its raw unit, better is more; diversity."""

    quality: Interval
    diversity: Interval


class Choice(NamedTuple):
    """What was chosen of a family on the odd prompts, what is claimed there, and what the even ones say of it."""

    family: str
    setting: str | None
    there: Against | None = None  # on the prompts that chose
    held_out: Against | None = None


class Family(NamedTuple):
    """What a family holds of the plane, and how much of the Pareto set is its own; by itself over all prompts."""

    name: str
    area: OverPrompts
    of_front: OverPrompts | None  # None for all families together


@dataclass(frozen=True)
class Result:
    """All of it; `best` is the choice over all families, which the verdict is about."""

    rules: Rules
    points: tuple[Point, ...]
    families: tuple[Family, ...]
    choices: tuple[Choice, ...]
    best: Choice
    holds: bool
    claimed: Choice  # by the same rule, chosen and reported on all prompts: what half of them is kept from
    corner: tuple[float, float]  # of the box, quality and diversity in raw units: the worst, and the best
    top: tuple[float, float]
    used: tuple[int, ...]  # the prompts that all settings in the plane have values on, from 1
    means: Mapping[str, Mapping[str, float]]  # setting -> measure -> mean over the prompts where there is a value
    settings: tuple[Setting, ...]


def judge(settings: Sequence[Setting], rules: Rules, *, resamples: int = RESAMPLES) -> Result:
    """The plane and the verdict; the first of `settings` is the reference."""
    sign = 1.0 if QUALITIES[rules.quality].is_more_better else -1.0
    raw = np.array([[one.quality[rules.quality], one.diversity[rules.diversity]] for one in settings], np.float64)
    missing: Booleans = np.asarray(~np.isfinite(raw).all(axis=1), np.bool_)  # (settings, prompts)
    is_out = missing.mean(axis=1) > MOST_LEFT_OUT
    used = np.flatnonzero(~missing[~is_out].any(axis=0))
    better = raw[:, :, used] * np.array([sign, 1.0])[:, None]  # (settings, 2, prompts): more is better in both
    better[is_out] = math.nan
    kept = [at for at, one in enumerate(settings) if one.family is not None and not is_out[at]]
    on_front = np.zeros(len(settings), np.bool_)
    on_front[kept] = unbeaten(better[kept].mean(axis=2))
    corner, top = _box(better[kept], rules)
    choices, best = _choices(settings, better, used, rules, kept)
    differences = better - better[0]
    all_chosen = _chosen(differences, kept, rules.delta)
    claimed = Choice("all families", None)
    if all_chosen is not None:
        claimed = claimed._replace(setting=settings[all_chosen].name, there=_against(differences[all_chosen]))
    return Result(
        rules,
        tuple(
            _point(one, better[at], sign, missing[at], is_on_front=bool(on_front[at]))
            for at, one in enumerate(settings)
        ),
        tuple(_families(settings, better, kept, corner, top, resamples)),
        choices,
        best,
        best.held_out is not None and holds(best.held_out, rules.delta),
        claimed,
        (sign * corner[0], corner[1]),
        (sign * top[0], top[1]),
        tuple(int(at) + 1 for at in used),
        {one.name: _means(one) for one in settings},
        tuple(settings),
    )


def _means(one: Setting) -> dict[str, float]:
    return {
        name: float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else math.nan
        for name, values in {**one.quality, **one.diversity}.items()
    }


def _point(one: Setting, better: Float64, sign: float, missing: Booleans, *, is_on_front: bool) -> Point:
    """In raw units again."""
    if np.isnan(better).any() or not better.shape[-1]:
        nowhere = Interval(math.nan, math.nan, math.nan)
        reason = f"no value on {int(missing.sum())} of {len(missing)} prompts"
        return Point(one.name, one.family, nowhere, nowhere, reason=reason)
    quality, diversity = mean_interval(better[0]), mean_interval(better[1])
    if sign < 0:
        quality = Interval(-quality.mean, -quality.high, -quality.low)
    return Point(one.name, one.family, quality, diversity, is_on_front)


def _box(better: Float64, rules: Rules) -> tuple[tuple[float, float], tuple[float, float]]:
    """Corner and top, more is better in both: the ends of the measures, of a diversity without one the largest seen."""
    quality = QUALITIES[rules.quality]
    sign = 1.0 if quality.is_more_better else -1.0
    most = 1.0
    if rules.diversity not in UNIT_MEASURES and better.size:
        most = float(better[:, 1].mean(axis=-1).max()) or 1.0
    return (sign * quality.worst, 0.0), (sign * quality.best, most)


# ---- what a family holds


def _families(
    settings: Sequence[Setting],
    better: Float64,
    kept: Sequence[int],
    corner: tuple[float, float],
    top: tuple[float, float],
    resamples: int,
) -> list[Family]:
    """Every family, and all of them together; an area lies in the box, whatever its interval."""
    if not kept or not better.shape[-1]:
        return []
    values = np.moveaxis(better[kept], 2, 0)  # (prompts, settings, 2)
    names = [settings[at].family or "" for at in kept]

    def area(means: Float64) -> Float64:
        return dominated_area(means, corner, top)

    def covered(mine: Booleans) -> OverPrompts:
        found = over_prompts(area, values[:, mine], resamples=resamples)
        return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))

    found = []
    for family in dict.fromkeys(names):
        mine = np.array([name == family for name in names])
        owned = over_prompts(_owned_by(mine), values, is_count=True, resamples=resamples)
        found.append(Family(family, covered(mine), owned))
    return [*found, Family("all families", covered(np.ones(len(names), np.bool_)), None)]


def _owned_by(mine: Booleans) -> Callable[[Float64], Float64]:
    """The share of the Pareto set that these settings are, by means of shape (draws, settings, 2)."""

    def share(means: Float64) -> Float64:
        front = unbeaten(means)
        owned: Float64 = front[:, mine].sum(axis=1) / front.sum(axis=1)
        return owned

    return share


# ---- what is chosen, and what of it holds


def _choices(
    settings: Sequence[Setting], better: Float64, used: Int64, rules: Rules, kept: Sequence[int]
) -> tuple[tuple[Choice, ...], Choice]:
    """Of each family, and of all together."""
    odd = used % 2 == 0  # prompts count from 1
    differences = better - better[0]
    families = list(dict.fromkeys(one.family for one in settings if one.family is not None))
    found = []
    for family in [*families, None]:
        mine = [at for at in kept if family in (None, settings[at].family)]
        chosen = _chosen(differences[:, :, odd], mine, rules.delta)
        name = "all families" if family is None else family
        if chosen is None:
            found.append(Choice(name, None))
            continue
        there, held_out = (_against(differences[chosen][:, half]) for half in (odd, ~odd))
        found.append(Choice(name, settings[chosen].name, there, held_out))
    return tuple(found[:-1]), found[-1]


def _chosen(differences: Float64, mine: Sequence[int], delta: float) -> int | None:
    """The most diverse of those that are not worse by `delta`; None where none is."""
    fit = [at for at in mine if mean_interval(differences[at][0]).low > -delta]
    return max(fit, key=lambda at: float(differences[at][1].mean()), default=None)


def _against(differences: Float64) -> Against:
    return Against(mean_interval(differences[0]), mean_interval(differences[1]))


def holds(found: Against, delta: float) -> bool:
    """Whether quality is not worse by `delta` and diversity is larger, both beyond their intervals.

    >>> holds(Against(Interval(0.0, -0.01, 0.01), Interval(0.1, 0.05, 0.15)), 0.02)
    True
    """
    return found.quality.low > -delta and found.diversity.low > 0
