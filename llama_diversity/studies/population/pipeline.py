"""From outputs to usable people: every loss counted, with its reason, and the choice of those that are wanted.

An output goes through the STEPS in order and is lost at the first that it does not pass. What came first is kept: of
two alike the later one is lost. Knows the target and texts; vectors are given to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics.choice import Kept, far_apart
from llama_diversity.studies.population.asking import Asked, Number, free_words, is_text
from llama_diversity.studies.population.reading import labelled, lacking, restated
from llama_diversity.studies.population.target import Target, Unreadable
from llama_diversity.text import words

STEPS = ("read", "known", "rules", "no copy", "no twin", "no near twin")  # what an output must pass, in order
_LEAST_COPIED = 4  # words that a text of an example or a request must have to be recognised as copied

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


class Output(NamedTuple):
    """What a model wrote of one persona. `flaw`: why there is nothing to read, None where there is.

    `call`: the ask that it is an answer to; the personas of one call share it. `cell`: the one that was given.
    """

    sample: str  # its id, as `runs show` takes it
    label: str  # of the ask
    call: Number
    text: str
    flaw: str | None
    asked: Asked
    n_tokens: float  # its share of the tokens of its call
    n_prompt_tokens: float
    cell: tuple[str, ...] | None = None
    stated: float | None = None  # the probability that a verbalized call states for it
    bits: float | None = None  # -log2 of the exact probability of its words, given what stands before
    seconds: float | None = None  # its share of the time in which it was drawn; None where a run was cut meanwhile


@dataclass(frozen=True)
class Person:
    """One output, and what became of it.

    `values`: every field as it goes into a table; `cell`: values of the fixed fields as the target has them; `lost`:
    the step that it did not pass, None where it is usable; `twin`: the one before it that it is too like.
    """

    output: Output
    values: Mapping[str, str] = field(default_factory=dict)
    cell: tuple[str, ...] | None = None
    lost: str | None = None
    why: str = ""
    twin: int | None = None
    contradicts: str | None = None  # the given field that its text states otherwise

    @property
    def is_usable(self) -> bool:
        return self.lost is None


class Funnel(NamedTuple):
    """How many outputs are left after each of STEPS, from all that were drawn; and why how many were lost at each."""

    n_drawn: int
    left: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, int]  # reason -> the number of one output lost by it

    @property
    def n_usable(self) -> int:
        return self.left[STEPS[-1]]


def judge(outputs: Sequence[Output], target: Target, embed: Embed) -> list[Person]:
    """What becomes of each output, in their order."""
    return without_twins([read(one, target) for one in outputs], target, embed)


def funnel(people: Sequence[Person]) -> Funnel:
    """The losses of `people`, step by step."""
    reasons: dict[str, Counter[str]] = {step: Counter() for step in STEPS}
    examples: dict[str, int] = {}
    for number, one in enumerate(people):
        if one.lost is not None:
            reasons[one.lost][one.why] += 1
            examples.setdefault(one.why, number)
    left, n = {}, len(people)
    for step in STEPS:
        n -= sum(reasons[step].values())
        left[step] = n
    return Funnel(len(people), left, {step: dict(some.most_common()) for step, some in reasons.items()}, examples)


def persona_text(values: Mapping[str, str], target: Target) -> str:
    """What tells one persona from another by meaning: its texts, or all that was free to be written."""
    free = [one for one in target.free if one.name in values]
    texts = [one for one in free if is_text(one)] or free
    return "\n".join(values[one.name] for one in texts)


# ---- one output


def read(output: Output, target: Target) -> Person:
    """What becomes of an output by itself, whatever the others are."""
    if output.flaw is not None:
        return Person(output, lost="read", why=output.flaw)
    said = labelled(output.text, target, begins_with=output.asked.begins_with)
    why = lacking(said, output.asked.order, target)
    written = {name: said[name] for name in output.asked.order if said.get(name, "").strip()}
    if why is not None:
        return Person(output, {**output.asked.given, **written}, lost="read", why=why)
    try:
        values, cell = _known({**output.asked.given, **written}, target)
    except Unreadable as error:
        return Person(output, {**output.asked.given, **written}, lost="known", why=str(error))
    person = Person(output, values, cell, contradicts=restated(output.text, output.asked.given, target))
    broken = next((rule for rule in target.rules if rule.barred_by(values)), None)
    if broken is not None:
        return replace(person, lost="rules", why=broken.why or "against a rule")
    copied = _copied(values, output.asked.examples, target)
    if copied is not None:
        return replace(person, lost="no copy", why=f"{copied} copied from a worked example")
    echoed = _echoed(values, target)
    return replace(person, lost="no copy", why=f"{echoed} copied from the request") if echoed else person


def _known(written: Mapping[str, str], target: Target) -> tuple[dict[str, str], tuple[str, ...]]:
    """The values as the target has them, and the cell. Raises Unreadable."""
    values, cell = {}, []
    for one in target.fields:
        read = one.read(written[one.name])
        values[one.name] = read.value
        if not one.is_free and not one.is_given:
            cell.append(str(read.cell))
    return values, tuple(cell)


def _copied(values: Mapping[str, str], examples: Sequence[Mapping[str, str]], target: Target) -> str | None:
    """The label of a text that is a worked example's, word for word; or of all free fields together."""
    for example in examples:
        same = [one for one in target.free if words(values[one.name]) == words(example.get(one.name, ""))]
        long = next((one for one in same if len(words(values[one.name])) >= _LEAST_COPIED), None)
        if long is not None:
            return long.label
        if same and len(same) == len(target.free):
            return "all"
    return None


def _echoed(values: Mapping[str, str], target: Target) -> str | None:
    """The label of a field that holds nothing but words by which the request describes fields."""
    asked = {word for one in target.free for word in words(free_words(one))}
    said = {one.label: words(values[one.name]) for one in target.free}
    return next((label for label, some in said.items() if len(some) >= _LEAST_COPIED and asked.issuperset(some)), None)


# ---- one beside the others


def without_twins(people: Sequence[Person], target: Target, embed: Embed) -> list[Person]:
    """The same without those that say again what an earlier one said; people without any words of their own may."""
    if not target.free:
        return list(people)
    found = list(people)
    first: dict[Any, int] = {}
    for number, one in enumerate(people):
        if one.is_usable:
            key = tuple(tuple(words(one.values[each.name])) or one.values[each.name] for each in target.fields)
            earlier = first.setdefault(key, number)
            if earlier != number:
                found[number] = replace(one, lost="no twin", why="the same as another", twin=earlier)
    alone = [number for number, one in enumerate(found) if one.is_usable]
    vectors = embed([persona_text(found[number].values, target) for number in alone])
    for number, near in zip(alone, Kept().add(vectors), strict=True):
        if near is not None:
            why = "says what another says"
            found[number] = replace(found[number], lost="no near twin", why=why, twin=alone[near])
    return found


def calls_of(people: Sequence[Person]) -> list[int]:
    """Which call each is of, from 0 on."""
    calls = {label: at for at, label in enumerate(dict.fromkeys(one.output.label for one in people))}
    return [calls[one.output.label] for one in people]


def kinds(people: Sequence[Person]) -> list[int | None]:
    """The kind of each person who is well-formed, the same for those who are alike; None of others."""
    found: list[int | None] = []
    for number, one in enumerate(people):
        if one.is_usable:
            found.append(number)
        else:
            found.append(None if one.twin is None else found[one.twin])
    return found


# ---- the choice


class Choice(NamedTuple):
    """Which of the usable ones are taken, by number, ascending; and what each cell lacks of what it should have."""

    numbers: tuple[int, ...]
    lacking: Mapping[tuple[str, ...], int]


def choose(people: Sequence[Person], wanted: Mapping[tuple[str, ...], int], target: Target, embed: Embed) -> Choice:
    """Of every cell as many as are wanted, those farthest from each other; no cell is filled from another."""
    by_cell: dict[tuple[str, ...], list[int]] = {cell: [] for cell in wanted}
    for number, one in enumerate(people):
        if one.is_usable and one.cell in by_cell:
            by_cell[one.cell].append(number)
    chosen: list[int] = []
    for cell, numbers in by_cell.items():
        if len(numbers) <= wanted[cell] or not target.free:
            chosen += numbers[: wanted[cell]]
        else:
            vectors = embed([persona_text(people[number].values, target) for number in numbers])
            chosen += [numbers[at] for at in far_apart(vectors, wanted[cell])]
    lacks = {cell: wanted[cell] - len(numbers) for cell, numbers in by_cell.items() if len(numbers) < wanted[cell]}
    return Choice(tuple(sorted(chosen)), lacks)
