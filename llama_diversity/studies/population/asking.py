"""What a model is asked for one persona: forms that go on behind worked examples, requests, and calls for several.

Everything that chance decides here (the cell of a quota, the examples, the order of fields and of values) is drawn from
a stream of its own, keyed by the seed and the number of the ask: what is asked before or after changes nothing, and a
larger -n asks the same first. Knows the target and texts; no model.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from llama_diversity.studies.population.joint import Joint
from llama_diversity.studies.population.target import Field, Target

SEPARATOR = "---"
N_EXAMPLES = 2
_MOST_TRIES = 100  # to find worked examples that no rule bars
LONG_WORDS = 12  # a free field that may have more, or any number, is a text, and stands last
_OLDEST_SPAN = 29  # years that an open bin reaches above its first
TAG = "customer"
REQUEST = "Make up one customer who says something about this product: {product}\n\n{fields}"
CALL = (
    "Make up {k} different customers who say something about this product: {product}\n\n"
    "Write each between <customer> and </customer>, the first line the probability, from 0 to 1, that you would write "
    "just this customer when asked for one.\n\n{fields}"
)

_TRAITS = (
    "impatient", "thrifty", "curious", "forgetful", "generous", "suspicious", "cheerful", "exact", "shy", "stubborn",
    "playful", "anxious", "proud", "gentle", "blunt", "dreamy", "loyal", "restless", "modest", "sarcastic",
)  # fmt: skip
_TRAIT = Field("trait", "Trait", max_words=3, examples=_TRAITS)


class Number(NamedTuple):
    """Which ask of an arm: the how-manieth it is, of its cell where cells are given."""

    at: int
    cell: int | None = None

    def __str__(self) -> str:
        return str(self.at) if self.cell is None else f"{self.at} of cell {self.cell}"


class Asked(NamedTuple):
    """One ask. `given`: what the model was told of this persona, by field; `examples`: those that its form shows.

    `begins_with`: the field whose label ends the form, so that the output goes on with its value.
    """

    text: str
    order: tuple[str, ...]  # of the fields that it is to write
    given: Mapping[str, str]
    examples: tuple[Mapping[str, str], ...] = ()
    begins_with: str | None = None


def form(target: Target, joint: Joint | None, chance: random.Random, given: Mapping[str, str]) -> Asked:
    """A form with worked examples drawn anew, which a base model continues with the fields that are not `given`."""
    order, n_given = _ordered(target, chance, given)
    examples = _examples(target, joint, chance) if _has_examples(target) else ()
    cards = [_card(target, order, one) for one in examples]
    known = [f"{target.field(name).label}: {given[name]}" for name in order[:n_given]]
    begun = "\n".join([*known, f"{target.field(order[n_given]).label}:"])
    text = f"Product: {target.product}\n{SEPARATOR}\n" + f"\n{SEPARATOR}\n".join([*cards, begun])
    return Asked(text, tuple(order[n_given:]), given, examples, order[n_given])


def request(target: Target, chance: random.Random, given: Mapping[str, str], trait: str | None = None) -> Asked:
    """A request for one persona, for a model that chats."""
    order, n_given = _ordered(target, chance, given)
    told = [f"{target.field(name).label}: {given[name]}" for name in order[:n_given]]
    told += [] if trait is None else [f"{_TRAIT.label}: {trait}"]
    words = ["This is known of the customer:", *told, ""] if told else []
    words += ["Answer with these lines, and nothing else:"]
    words += [_line_asked(target.field(name), chance) for name in order[n_given:]]
    text = _filled(target.request or REQUEST, target, "\n".join(words))
    return Asked(text, tuple(order[n_given:]), given)


def planning(target: Target) -> Target:
    """What a base model plans of a persona: all fields but the texts, and one trait."""
    fields = (*(one for one in target.fields if not is_text(one)), _TRAIT)
    return replace(target, fields=fields, rules=())


def call(target: Target, chance: random.Random, k: int, given: Mapping[str, str]) -> Asked:
    """A request for `k` personas at once, each with the probability that the model states for it."""
    order, n_given = _ordered(target, chance, given)
    told = [f"All of them have {target.field(name).label}: {given[name]}" for name in order[:n_given]]
    lines = [_line_asked(target.field(name), chance) for name in order[n_given:]]
    words = [*told, "Each has these lines:", "Probability: a number from 0 to 1", *lines]
    text = _filled(CALL.replace("{k}", str(k)), target, "\n".join(words))
    return Asked(text, tuple(order[n_given:]), given)


def stream(seed: int, arm: str, number: str) -> random.Random:
    """The chance of one ask. It is of an arm's name too, so that two arms are not asked for the same people."""
    return random.Random(f"population {seed} {arm} {number}")


def values_in(target: Target, joint: Joint, cell: Sequence[str], chance: random.Random) -> dict[str, str]:
    """Values of a cell of the joint, numbers drawn evenly within their bins."""
    return {name: _within(target.field(name), value, chance) for name, value in zip(joint.fields, cell, strict=True)}


def givens(target: Target) -> dict[str, str]:
    """What everybody has in common."""
    return {one.name: one.given for one in target.fields if one.given is not None}


def _within(field: Field, value: str, chance: random.Random) -> str:
    for one in field.bins:
        if one.name == value:
            high = one.low + _OLDEST_SPAN if one.high is None else one.high
            return str(chance.randint(one.low, high))
    return value


def _ordered(target: Target, chance: random.Random, given: Mapping[str, str]) -> tuple[list[str], int]:
    """The names of the fields, shuffled: the given ones first, texts last; and how many are given."""
    names = [one.name for one in target.fields]
    chance.shuffle(names)
    names.sort(key=lambda name: 0 if name in given else 2 if is_text(target.field(name)) else 1)  # stable
    return names, sum(name in given for name in names)


def is_text(field: Field) -> bool:
    """Whether it holds sentences, not a word or two."""
    return field.is_free and (field.max_words is None or field.max_words > LONG_WORDS)


def _has_examples(target: Target) -> bool:
    return all(one.examples for one in target.free)


def _examples(target: Target, joint: Joint | None, chance: random.Random) -> tuple[dict[str, str], ...]:
    """Worked examples: cells of the target, and of each free field other texts of those that the target has for it.

    None shows whom a rule bars; no examples at all where every one that was drawn does.
    """
    for _ in range(_MOST_TRIES):
        found = [
            givens(target) | (values_in(target, joint, joint.draw(chance.random()), chance) if joint else {})
            for _ in range(N_EXAMPLES)
        ]
        for one in target.free:
            texts = chance.sample(one.examples, min(N_EXAMPLES, len(one.examples)))
            for at, card in enumerate(found):
                card[one.name] = texts[at % len(texts)]
        if not any(rule.barred_by(card) for rule in target.rules for card in found):
            return tuple(found)
    return ()


def _card(target: Target, order: Sequence[str], values: Mapping[str, str]) -> str:
    return "\n".join(f"{target.field(name).label}: {values[name]}" for name in order)


def free_words(field: Field) -> str:
    """What a request says of a field that the model is to write."""
    most = "" if field.max_words is None else f", at most {field.max_words} words"
    return f"{'one or two sentences' if is_text(field) else 'a few words'}{most}"


def _line_asked(field: Field, chance: random.Random) -> str:
    """A line of the request: the label, and what is to stand behind it."""
    if field.is_number:
        low = min(one.low for one in field.bins)
        ends = [one.high for one in field.bins]
        bounds = f"{low} or more" if None in ends else f"{low} to {max(end for end in ends if end is not None)}"
        return f"{field.label}: a whole number, {bounds}"
    if field.is_free:
        return f"{field.label}: {free_words(field)}"
    values = list(field.shares)
    chance.shuffle(values)
    return (
        f"{field.label}: {', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else f"{field.label}: {values[0]}"
    )


def _filled(wording: str, target: Target, fields: str) -> str:
    """The wording with the target's own words, which may hold braces themselves."""
    before, mark, after = wording.partition("{fields}")
    return (
        before.replace("{product}", target.product)
        + (fields if mark else "")
        + after.replace("{product}", target.product)
    )
