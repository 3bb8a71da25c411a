"""The outputs of an arm as they are stored: which ask wrote what, at what cost in tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llama_diversity.answers import Answer
from llama_diversity.mixtures import priced
from llama_diversity.studies.measuring.calls import Block, Tokens, blocks
from llama_diversity.studies.population import asking
from llama_diversity.studies.population.asking import TAG, Number
from llama_diversity.studies.population.pipeline import Output
from llama_diversity.studies.population.reading import labelled, lacking
from llama_diversity.studies.population.target import Unreadable
from llama_diversity.studies.population.ways import Way
from llama_diversity.studies.study import Drawn

if TYPE_CHECKING:
    from llama_diversity.studies.population.study import Population

NO_TAGS = "no persona between tags"


def label(way: Way, number: Number, *, is_written: bool = False) -> str:
    """Of an ask; of a plan and of what is written by it there are two."""
    return f"{way.name} #{number}{_WRITTEN if is_written else ''}"


_WRITTEN = ", written"


def numbers(way: Way, drawn: Drawn) -> list[Number]:
    """The asks of an arm so far, in the order in which their outputs count."""
    found = []
    for one in drawn.cells:
        name, _, rest = one.rpartition(" #")
        if name == way.name and not rest.endswith(_WRITTEN):
            at, _, cell = rest.partition(" of cell ")
            found.append(Number(int(at), int(cell) if cell else None))
    return sorted(found, key=lambda one: (one.at, one.cell or 0))


class Plan(NamedTuple):
    """What a base model planned. `why`: it cannot be followed, None where it can."""

    values: Mapping[str, str]
    trait: str
    why: str | None


def planned(study: Population, way: Way, number: Number, drawn: Drawn) -> Plan:
    """The plan of one ask."""
    target, asked = asking.planning(study.target), study.asked(way, number)
    [answer] = drawn.answers(label(way, number))
    said = labelled(answer.text, target, begins_with=asked.begins_with)
    why = answer.flaw or lacking(said, asked.order, target)
    values: dict[str, str] = {}
    try:
        values = {} if why else {name: target.field(name).read(said[name]).value for name in asked.order}
    except Unreadable as error:
        why = str(error)
    return Plan(values, values.pop("trait", ""), why and f"no plan: {why}")


def outputs(study: Population, way: Way, number: Number, drawn: Drawn) -> Iterator[Output]:
    """The personas of one ask, or why there is none."""
    names, asked, flaw = [label(way, number)], study.asked(way, number), None
    if not drawn.n_stored(names[0]):
        return
    if way.mode == "plan":
        plan = planned(study, way, number, drawn)
        flaw = plan.why
        if flaw is None:
            names.append(label(way, number, is_written=True))
            if names[1] not in drawn.cells or not drawn.n_stored(names[1]):
                return
            asked = study.written(way, number, plan)
    costs = [_cost(one, drawn) for one in names]
    name, (_, _, answer) = names[-1], costs[-1]
    first = Output(
        sample=f"{drawn.cells[name].recipe_key}#0",
        label=name,
        call=number,
        text=answer.text,
        flaw=flaw or answer.flaw,
        asked=asked,
        n_tokens=sum(tokens for tokens, _, _ in costs),
        n_prompt_tokens=sum(prompt for _, prompt, _ in costs),
        cell=study.cell_of(number),
        seconds=_seconds([drawn.cells[one].about.get("seconds_a_sample") for one in names]),
    )
    yield from _personas(first, answer, _tokens(name, answer, drawn)) if way.mode == "verbalized" else [first]


def _cost(name: str, drawn: Drawn) -> tuple[int, int, Answer]:
    """Tokens of a sample, thoughts and all, and of its prompt, by every model of a mixture; and what it answers."""
    [(sample, answer)] = drawn.read(name)
    return *priced(drawn.recipe(name), len(sample.tokens)), answer


def _seconds(each: Sequence[float | None]) -> float | None:
    """All of them together; None where one is not known."""
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


def _tokens(name: str, answer: Answer, drawn: Drawn) -> Tokens:
    return Tokens.of(answer, drawn.store.pieces(drawn.recipe(name).vocab_digest, set(answer.tokens["id"].tolist())))


def _personas(first: Output, answer: Answer, tokens: Tokens) -> list[Output]:
    """Those of a call, which share its tokens."""
    found = blocks(answer.text, TAG)
    if not found:
        return [first._replace(flaw=first.flaw or NO_TAGS)]
    n = len(found)
    shared = first._replace(
        flaw=None,
        n_tokens=first.n_tokens / n,
        n_prompt_tokens=first.n_prompt_tokens / n,
        seconds=None if first.seconds is None else first.seconds / n,
    )
    return [shared._replace(text=one.text, stated=one.probability, bits=_bits(one, answer, tokens)) for one in found]


def _bits(block: Block, answer: Answer, tokens: Tokens) -> float | None:
    """Bits of a block, given what stands before it; None where it has no token of its own, or was cut off."""
    own = tokens.begun(answer.text, block.start, block.end)
    if own.start >= own.stop or own.stop > len(answer.tokens):
        return None
    return float(answer.tokens["surprisal_bits"][own].sum(dtype=np.float64))
