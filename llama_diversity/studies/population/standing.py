"""Where an arm stands: how many people are usable, what is lacking, what it cost, and whether to go on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llama_diversity.decimals import counted
from llama_diversity.metrics.fit import out_of_reach
from llama_diversity.metrics.inference import wilson
from llama_diversity.studies.population.pipeline import Person
from llama_diversity.studies.population.target import Target
from llama_diversity.studies.population.ways import Way

MOST_EACH = 20  # outputs for each person wanted that the rest may take; an arm that needs more is given up
HOPELESS = 60  # outputs of which none is usable, after which an arm, or a cell that was given, is given up
_QUOTE = 160  # characters of an output that a reason shows

Cell = tuple[str, ...]


class Standing(NamedTuple):
    """Of one arm. `lacking`: what the cells that are given still lack, without those given up. `stop`: why it ends."""

    n_outputs: int
    n_usable: int
    n_tokens: float
    n_affordable: int  # outputs that the rest of the budget pays for
    lacking: Mapping[Cell, int]
    given_up: tuple[Cell, ...]
    is_enough: bool
    stop: str | None


def standing(
    people: Sequence[Person],
    target: Target,
    wanted: Mapping[Cell, int],
    *,
    has_cell: bool,
    n_tokens: float,
    budget_tokens: int,
    advice: str = "another model",
) -> Standing:
    """Of the people of an arm so far, in order; `n_tokens` is what they cost; `advice`: for where nobody is usable."""
    usable = [one for one in people if one.is_usable]
    n_wanted = sum(wanted.values())
    left = max(0.0, budget_tokens - n_tokens)
    n_affordable = int(left / max(1.0, n_tokens / max(1, len(people))))
    lacking, given_up = _lacks(people, wanted) if has_cell else ({}, ())
    is_enough = not lacking if has_cell else len(usable) >= n_wanted
    stop = None
    if not is_enough:
        is_hopeless = not usable and len(people) >= HOPELESS
        stop = _none_usable(people, advice) if is_hopeless else None
        stop = stop or (None if has_cell else _unreached(usable, target, n_wanted))
        stop = stop or _repeats(people, sum(lacking.values()) if has_cell else n_wanted - len(usable), n_wanted)
        if stop is None and n_affordable < 1:
            stop = f"the budget of {counted(budget_tokens, 'token')} is spent"
            stop += "" if usable or not people else f", and {_none_usable(people, advice)}"
    return Standing(len(people), len(usable), n_tokens, n_affordable, lacking, given_up, is_enough, stop)


def _lacks(people: Sequence[Person], wanted: Mapping[Cell, int]) -> tuple[dict[Cell, int], tuple[Cell, ...]]:
    """What each cell lacks, and the cells that are given up."""
    asked = Counter(one.output.cell for one in people)
    had = Counter(one.cell for one in people if one.is_usable)
    lacks = {cell: n - had[cell] for cell, n in wanted.items() if had[cell] < n}
    given_up = tuple(cell for cell in lacks if not had[cell] and asked[cell] >= HOPELESS)
    return {cell: n for cell, n in lacks.items() if cell not in given_up}, given_up


def _none_usable(people: Sequence[Person], advice: str) -> str:
    """What is wrong with them, what they wrote, and what to try."""
    [(why, n)] = Counter(one.why for one in people).most_common(1)
    example = " ".join(next(one for one in people if one.why == why).output.text.split())[:_QUOTE]
    said = f"none of {counted(len(people), 'output')} is usable, most often ({n}): {why}. It wrote: “{example}”"
    return f"{said}. Try {advice}"


def advice(way: Way, *, is_bound: bool) -> str:
    """What may help an arm of which nobody is usable. `is_bound`: a grammar forces whole people already."""
    several, form = way.mode == "verbalized", "a form in place of the chat template (--mode base, or form in --arm)"
    tries = ["another mode, which asks for one person at a time"] * several
    tries += ["--grammar, which forces whole people"] * (not is_bound and not several)
    tries += ["a lower -t", *[form] * (way.is_chat and not several), "a larger --max-tokens", "another model"]
    return f"{', '.join(tries[:-1])} or {tries[-1]}"


def _repeats(people: Sequence[Person], n_lacking: int, n_wanted: int) -> str | None:
    """What the later half of the outputs says of those to come: usable ones grow rarer where a model repeats itself."""
    later = people[len(people) // 2 :]
    n_new = sum(one.is_usable for one in later)
    most = wilson(n_new, len(later)).high if len(later) >= HOPELESS else None
    if most is None or n_lacking <= MOST_EACH * n_wanted * most:
        return None
    return (
        f"of the last {counted(len(later), 'output')} {n_new} brought somebody usable and new, so the {n_lacking:,} "
        f"who are lacking would take {math.ceil(n_lacking / most):,} or more. A higher -t, other examples or another "
        "model give more; a smaller -n is what this one has"
    )


def _unreached(usable: Sequence[Person], target: Target, n_wanted: int) -> str | None:
    """A value of a fixed field that is not written at all, or so seldom that its quota is out of reach."""
    for at, one in enumerate(target.fixed):
        seen = Counter(person.cell[at] for person in usable if person.cell)
        for value, share in one.shares.items():
            if share > 0 and out_of_reach(seen[value], len(usable), share, n_wanted).is_out:
                return (
                    f"this model does not write {one.label} {value}: {seen[value]} of {len(usable)} usable people, and "
                    f"the target has {100 * share:.0f} %. --mode quota gives it"
                )
    return None
