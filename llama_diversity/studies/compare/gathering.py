"""What one arm is asked for one prompt, by its way of asking, and its outputs as they are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from llama_diversity.answers import Answer
from llama_diversity.mixtures import priced
from llama_diversity.records import Recipe, Sample
from llama_diversity.studies.compare import asking
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.measuring.calls import Tokens, answers
from llama_diversity.studies.study import Ask, Drawn

PLANNER = " (planner)"  # behind an arm's name: the model that plans
NO_FORM, TOO_FEW, NO_PLAN = "no answer in the form asked for", "fewer answers than the call asked for", "no plan"


class Question(NamedTuple):
    """A prompt, with its number, to an arm: `n` outputs of at most `max_tokens` each; of `seed` seed words come."""

    spec: ArmSpec
    number: int
    text: str
    n: int
    max_tokens: int
    seed: int

    @property
    def label(self) -> str:
        """Of what is asked several times in the same words."""
        return label(self.spec.name, self.number)

    @property
    def plans(self) -> str:
        """Of what the planner is asked."""
        return f"{self.label}, plan"

    @property
    def first(self) -> str:
        """The first label that is asked."""
        if self.spec.ask == "plan":
            return self.plans
        return self.once(0) if self.spec.ask == "seeded" and not self.spec.has_one_word else self.label

    def once(self, at: int) -> str:
        """Of what is asked once, in words of its own."""
        return f"{self.label} #{at}"

    def later(self, chain: int, at: int) -> str:
        """Of the answer `at` of a chain, the first is 0."""
        return f"{self.once(chain)}, answer {at + 1}"


def label(arm: str, number: int) -> str:
    """The cell of an arm and a prompt."""
    return f"{arm}, prompt {number}"


class Output(NamedTuple):
    """One output: what it answers, the cell it is of, its call or chain (else a number of its own), and its price.

    `n_tokens` were written for it; what that costs, tokens written and read, counts every model of a mixture.
    `flaw`: why the way of asking gave no answer. `stated`: the probability that the model stated for it.
    """

    answer: Answer
    label: str
    unit: int
    n_tokens: float
    n_written: float
    n_prompt_tokens: float
    flaw: str | None = None
    stated: float | None = None


# ---- what is asked


def asks(one: Question) -> list[Ask]:
    """What an arm is asked first."""
    spec = one.spec
    if spec.ask == "plan":
        plan = Ask(
            one.plans, spec.name + PLANNER, asking.planning(one.text), one.n, asking.PLAN_TOKENS, stop=asking.PLAN_STOP
        )
        return [plan._replace(sampler=spec.sampler, repeat=_repeat(spec))]
    if spec.ask == "seeded" and not spec.has_one_word:
        return [_ask(one, one.once(at), _seeded(one, at), at) for at in range(one.n)]
    n = spec.n_asks(one.n)
    if spec.ask == "verbalized":
        longest = spec.k * (one.max_tokens + asking.FORM_TOKENS)
        called = _ask(one, one.label, asking.call(one.text, spec.k))
        return [called._replace(n=n, max_tokens=longest, is_shortened=True)]
    text = one.text
    if spec.ask == "listed":
        text = asking.listed(text, (), is_chat=spec.is_chat)
    elif spec.ask == "seeded":
        text = _seeded(one, 0)
    return [_ask(one, one.label, text)._replace(n=n)]


def asks_next(one: Question, drawn: Drawn) -> Iterator[Ask]:
    """What it is asked once all that was asked so far is there."""
    if one.spec.ask == "listed":
        for chain, said in _chains(one, drawn).items():
            name = one.later(chain, len(said))
            if len(said) < one.spec.k and name not in drawn.cells:
                earlier = [each.answer.text.strip() for each in said if each.answer.flaw is None]
                yield _ask(one, name, asking.listed(one.text, earlier, is_chat=one.spec.is_chat), chain, len(said))
    if one.spec.ask == "plan":
        for at, (_, answer) in _by_index(one.plans, drawn).items():
            if answer.flaw is None and one.once(at) not in drawn.cells:
                yield _ask(one, one.once(at), asking.planned(one.text, answer.text.strip()), at)


def _ask(one: Question, name: str, text: str, *at: int) -> Ask:
    spec = one.spec
    return Ask(
        name,
        spec.name,
        text,
        1,
        one.max_tokens,
        is_chat=spec.is_chat,
        stop=asking.LIST_STOP if spec.ask == "listed" and not spec.is_chat else (),
        system=spec.system,
        template_args=spec.template_args,
        sampler=spec.sampler,
        asking=None if spec.start is None else {"start": spec.start},
        # One seed draws the same random numbers for every recipe, and what is compared must be independent.
        repeat=_repeat(spec, *at),
    )


def _repeat(spec: ArmSpec, *at: int) -> int:
    """The arm's own seed; of a way of asking another for every ask: two of one text are to be independent."""
    if spec.ask is None:
        return spec.seed
    return int.from_bytes(hashlib.sha256(json.dumps([spec.seed, spec.ask, *at]).encode()).digest()[:8], "big")


def _seeded(one: Question, at: int) -> str:
    spec = one.spec
    words = spec.word_list.splitlines() or asking.shipped_words()
    arm = spec.word().partition("=")[2]  # all but its name
    word = asking.drawn_word(words, one.seed, arm, one.text, *([] if spec.has_one_word else [at]))
    return asking.seeded(one.text, word, is_chat=spec.is_chat)


# ---- what was drawn


def outputs(one: Question, drawn: Drawn) -> Iterator[Output]:
    """The outputs of an arm for a prompt, in order, a few in memory at a time."""
    if one.spec.ask == "verbalized":
        for at, (sample, answer) in enumerate(drawn.read(one.label)):
            yield from _of_call(one, drawn, at, sample, answer)
    elif one.spec.ask == "listed":
        for said in _chains(one, drawn).values():
            yield from said
    elif one.spec.ask == "plan":
        yield from _planned(one, drawn)
    elif one.first == one.label:
        recipe = drawn.recipe(one.label)
        for at, (sample, answer) in enumerate(drawn.read(one.label)):
            yield Output(answer, one.label, at, *_cost(recipe, sample))
    else:
        for at in range(one.n):
            yield from _once(one.once(at), at, drawn)


def _once(name: str, unit: int, drawn: Drawn) -> Iterator[Output]:
    """The output of what was asked once; none where it is not there."""
    if name in drawn.cells:
        for sample, answer in drawn.read(name):
            yield Output(answer, name, unit, *_cost(drawn.recipe(name), sample))


def _cost(recipe: Recipe, sample: Sample) -> tuple[int, int, int]:
    """Tokens of a sample, and what it costs."""
    return len(sample.tokens), *priced(recipe, len(sample.tokens))


def _by_index(name: str, drawn: Drawn) -> dict[int, tuple[Sample, Answer]]:
    return {sample.index: (sample, answer) for sample, answer in drawn.read(name)}


def _chains(one: Question, drawn: Drawn) -> dict[int, list[Output]]:
    """The answers of each chain so far, up to the first that is not there."""
    recipe = drawn.recipe(one.label)
    found = {}
    for chain, (sample, answer) in _by_index(one.label, drawn).items():
        said = [Output(answer, one.label, chain, *_cost(recipe, sample))]
        for at in range(1, one.spec.k):
            more = list(_once(one.later(chain, at), chain, drawn))
            if not more:
                break
            said += more
        found[chain] = said
    return found


def _planned(one: Question, drawn: Drawn) -> Iterator[Output]:
    """Answers by plans, at the price of both; where there is no plan no answer was asked for."""
    recipe = drawn.recipe(one.plans)
    for at, (sample, plan) in _by_index(one.plans, drawn).items():
        price = _cost(recipe, sample)
        if plan.flaw is not None:
            nothing = Answer("", b"", plan.tokens[:0])
            yield Output(nothing, one.plans, at, *price, NO_PLAN)
        for each in _once(one.once(at), at, drawn):
            own = each.n_tokens, each.n_written, each.n_prompt_tokens
            n_tokens, n_written, n_prompt_tokens = (a + b for a, b in zip(price, own, strict=True))
            yield each._replace(n_tokens=n_tokens, n_written=n_written, n_prompt_tokens=n_prompt_tokens)


def _of_call(one: Question, drawn: Drawn, at: int, sample: Sample, answer: Answer) -> Iterator[Output]:
    """The k outputs of a call, which share its price; those that it lacks too."""
    k, recipe = one.spec.k, drawn.recipe(one.label)
    found = answers(answer.text, asking.TAG)[:k]
    tokens = Tokens.of(answer, drawn.store.pieces(recipe.vocab_digest, set(answer.tokens["id"].tolist())))
    n_tokens, n_written, n_prompt_tokens = (n / k for n in _cost(recipe, sample))
    price = (n_tokens, n_written, n_prompt_tokens)
    for block in found:
        own = answer.tokens[tokens.spoken(answer.text, block.start, block.end)]
        is_cut_off = answer.is_cut_off and not answer.text[block.end :].strip()
        said = Answer(block.text, block.text.encode("utf-8", "surrogateescape"), own, is_cut_off)
        yield Output(said, one.label, at, *price, stated=block.probability)
    flaw = TOO_FEW if found else answer.flaw or NO_FORM
    for _ in range(k - len(found)):
        yield Output(Answer("", b"", answer.tokens[:0]), one.label, at, *price, flaw=flaw)


def unparsed(one: Question, drawn: Drawn) -> Iterator[str]:
    """What calls wrote that hold no answer in the form asked for."""
    if one.spec.ask == "verbalized":
        yield from (each.text for each in drawn.answering(one.label) if not answers(each.text, asking.TAG))
