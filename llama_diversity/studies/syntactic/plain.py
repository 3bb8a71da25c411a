"""Experiment 3 in plain words: among how many tokens a model chooses at each step."""

from __future__ import annotations

from collections.abc import Mapping

from llama_diversity.decimals import counted, decimals
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence
from llama_diversity.studies.plain import A_TOKEN, called, judged, quoted, ranged, scope, sign_of, told
from llama_diversity.studies.syntactic.analysis import Result


def plain(found: Result, prompt: str, models: Mapping[str, str]) -> Plain:
    """What the entropies say; nothing where an arm drew no token."""
    said = choices(found, prompt)
    return Plain() if said is None else told([said, scope(prompt)], models)


def choices(found: Result, prompt: str) -> Sentence | None:
    """The choice at a step as one among so many equally likely tokens: 2 to the power of the entropy rate."""
    arms = {arm: one.choices for arm, one in found.arms.items()}
    if any(one.value is None for one in arms.values()):
        return None
    numbers = {arm: ranged(one.value or 0.0, one.low, one.high, edges=(1.0,)) for arm, one in arms.items()}
    first = next(iter(arms))
    parts = {arm: f"{called(arm)} {number}" for arm, number in numbers.items()}
    parts[first] = f"{called(first)} has in effect {numbers[first]} equally likely next tokens"
    signs = {
        arm: sign_of(changed["entropy_bits"].low, changed["entropy_bits"].high)
        for arm, changed in found.differences.items()
    }
    fewest = min(one.n for one in found.arms.values())
    untold = f"{counted(fewest, 'completion')} of each, or they are all alike"
    return judged(
        f"After {quoted(prompt)}",
        parts,
        signs,
        ("fewer", "more"),
        untold=untold,
        term=A_TOKEN,
        picture=_picture(found),
    )


def _picture(found: Result) -> Figure | None:
    values = {arm: one.choices.value or 0.0 for arm, one in found.arms.items()}
    counts = [Count(arm, value, None, f"{decimals(value, '.2g')} in effect") for arm, value in values.items()]
    note = "Some tokens are likelier than others; the choice is as open as one among so many equal ones."
    return figure_of_dots("syntactic-choices", "Filled: a token that may come next, all equally likely", counts, note)
