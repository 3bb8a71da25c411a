"""Section 5.1 in plain words: who says one thing again and again, and who returns to it when an opening is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from llama_diversity.decimals import counted, decimals
from llama_diversity.metrics.inference import proportion_difference
from llama_diversity.render.dots import Count, figure_of_dots
from llama_diversity.render.exhibits import Figure, Plain, Sentence
from llama_diversity.studies.perturb.analysis import LEAST_OPENINGS, LEAST_PROMPTS, Over
from llama_diversity.studies.plain import called, judged, listed, percent_of, quoted, sign_of, told

if TYPE_CHECKING:
    from llama_diversity.studies.perturb.exhibits import Facts

HABIT = (
    "One thing again and again: a meaning that a twentieth of a model's texts after an opening share, three at least."
)
_PARTS = 100  # dots of a panel


def plain(found: Mapping[str, Over], facts: Facts) -> Plain:
    """Who says one thing again and again, and who returns to it.

    `found`: at the first dose, over the openings with words of the aligned model's own, over all where none has.
    """
    said = [*_habits(found, facts), *_returns(found, facts), _scope(facts)]
    return told(said, facts.arms, name=_named)


def _named(arm: str) -> str:
    """An arm; the base model drawn colder is a control of its own.

    >>> _named("base, T 0.3")
    'the base model at temperature 0.3'
    """
    model, _, colder = arm.partition(", T ")
    return f"{called(model)} at temperature {colder}" if colder else called(model)


def _few(facts: Facts) -> str:
    """Why too few openings are there for a claim, as in the ledger; empty where there are enough."""
    n = sum(one.is_own for one in facts.places)
    what = f"{counted(n, 'opening')} in words of the aligned model's own"
    return f"{what} {'is' if n == 1 else 'are'} too few" if n < LEAST_OPENINGS else ""


def _habits(found: Mapping[str, Over], facts: Facts) -> Iterator[Sentence]:
    shares = {arm: one.with_attractors for arm, one in found.items()}
    if any(one.value is None for one in shares.values()):
        reason = next(iter(one.reason for one in shares.values() if one.value is None)) or "the texts cannot be read"
        yield Sentence(
            f"It cannot be told who says one thing again and again: {reason[:1].lower()}{reason[1:].rstrip('.')}.",
            "nothing",
        )
        return
    first = next(iter(shares))
    n = found[first].n_openings
    parts = {arm: f"{_named(arm)} after {one.k}" for arm, one in shares.items()}
    parts[first] = f"{_named(first)} says one thing again and again after {shares[first].k}"
    changes = {arm: proportion_difference(shares[first], one) for arm, one in shares.items() if arm != first}
    few = _few(facts)
    signs = {arm: None if few else sign_of(one.low, one.high) for arm, one in changes.items()}
    yield judged(
        f"Of {counted(n, 'opening')}",
        parts,
        signs,
        ("fewer", "more"),
        untold=few,
        term=HABIT,
        picture=_openings(found),
        name=_named,
    )


def _returns(found: Mapping[str, Over], facts: Facts) -> Iterator[Sentence]:
    there = {arm: one for arm, one in found.items() if one.returned.value is not None}
    if not there:
        return
    first = next(iter(found))
    nudge = _nudge(facts)
    parts: dict[str, str] = {}
    for arm, one in there.items():
        share = percent_of(one.returned.value or 0.0, one.returned.low, one.returned.high)
        verb = "" if parts else " return to what it says again and again"
        parts[arm] = f"{share} of the texts of {_named(arm)}{verb}"
    without = [_named(arm) for arm in found if arm not in there]
    rest = f"; {listed(without)} {'has' if len(without) == 1 else 'have'} nothing to return to" if without else ""
    few = _few(facts)
    for arm, one in there.items():
        if not few and one.n_returned < LEAST_OPENINGS:
            few = f"{_named(arm)} has something to return to after {counted(one.n_returned, 'opening')} only"
    if first not in there or len(there) < 2:
        yield Sentence(f"{nudge} {listed(list(parts.values()))}{rest}.", "nothing", HABIT)
        return
    changes = {arm: proportion_difference(there[first].returned, one.returned) for arm, one in there.items()}
    signs = {arm: None if few else sign_of(one.low, one.high) for arm, one in changes.items() if arm != first}
    words = ("less", "more")
    said = judged(nudge, parts, signs, words, untold=few, term=HABIT, picture=_returning(found), name=_named)
    yield said._replace(text=f"{said.text.rstrip('.')}{rest}.")


def _nudge(facts: Facts) -> str:
    opening = facts.places[0].first
    like = " and the like" if len(facts.places) > 1 else ""
    return f"When {quoted(opening.unchanged)} is changed to {quoted(opening.changed)}{like},"


def _scope(facts: Facts) -> Sentence:
    n = facts.n_prompts
    if n >= LEAST_PROMPTS:
        return Sentence(f"This is about prompts like these {n}.", "the scope")
    of = f"openings of {'this prompt' if n == 1 else f'these {n} prompts'}"
    return Sentence(
        f"This is about {'one opening' if len(facts.places) == 1 else of}, and not about others.", "the scope"
    )


def _returning(found: Mapping[str, Over]) -> Figure | None:
    there = {arm: one.returned.value for arm, one in found.items() if one.returned.value is not None}
    counts = [
        Count(arm, _PARTS * value, _PARTS, f"{decimals(_PARTS * value, '.0f')} of {_PARTS}")
        for arm, value in there.items()
    ]
    note = "A ring: one that does not. A model without such a thing is left out."
    return figure_of_dots("perturb-returned", "Filled: a text that returns to what is always said", counts, note)


def _openings(found: Mapping[str, Over]) -> Figure | None:
    counts = [
        Count(arm, float(one.with_attractors.k), one.n_openings, f"{one.with_attractors.k} of {one.n_openings}")
        for arm, one in found.items()
    ]
    title = "Filled: an opening after which a model says one thing again and again"
    return figure_of_dots("perturb-habits", title, counts, "A ring: an opening after which it does not.")
