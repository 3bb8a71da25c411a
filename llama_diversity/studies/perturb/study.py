"""`perturb`: section 5.1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from llama_diversity.answers import Endings
from llama_diversity.errors import BadUsage, BadValue, LlamadivError
from llama_diversity.metrics import clusters
from llama_diversity.records import Sample, seen_ids
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.branch.gathering import openings_taken
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.perturb import analysis
from llama_diversity.studies.perturb.exhibits import Facts, Spot, section
from llama_diversity.studies.perturb.perturbations import (
    NothingToChange,
    Opening,
    Perturbation,
    Replace,
    Taken,
    edit_share,
    from_settings,
)
from llama_diversity.studies.prompts import Prompts, shipped
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Ask, Drawn, Method, NoAnswer, Study, check_n

_N_SHOWN_TOKENS = 40
_PLACE = re.compile(r"(?P<way>.*), prompt (?P<prompt>\d+), opening (?P<opening>\d+), unchanged")

_ASKED = re.compile(r"(?P<place>.*, prompt \d+, opening \d+), .*")


class OlderRun(LlamadivError):
    """A run made when there was one opening only."""

    def __init__(self) -> None:
        super().__init__(
            "This run of `perturb` is of an earlier version, which had one opening only. The same command makes it "
            "again; `llamadiv runs export` writes its samples out."
        )


class Place(NamedTuple):
    """One opening: the number of its prompt, and its own number among all, both from 1."""

    prompt: int
    opening: int

    def label(self, way: str, what: str) -> str:
        """The ask of one way."""
        return f"{way}, prompt {self.prompt}, opening {self.opening}, {what}"


class Way(NamedTuple):
    """One arm at one temperature; None is the typed one."""

    name: str
    arm: str
    temperature: float | None

    @property
    def sampler(self) -> dict[str, float] | None:
        """What it changes of the typed sampler."""
        return None if self.temperature is None else {"temperature": self.temperature}


def taken_in(run: str, session: Session) -> Taken:
    """The openings that a run of `branch` has. Raises UnknownName, BadValue, what a store raises."""
    run_id, found = openings_taken(run, session)
    openings = tuple(Opening(one.unchanged, one.changed) for one in found)
    return Taken(run_id, tuple(one.prompt for one in found), openings)


def default_prompts() -> tuple[str, ...]:
    """The paper's prompt, and the first of the openings that ship."""
    return (analysis.PROMPT, *shipped().texts)[: analysis.N_PROMPTS]


def perturb_of(
    change: Perturbation | None, opening_of: str | None, named: Prompts | None, session: Session, **how: Any
) -> Perturb:
    """The study of a change of completions, or of openings that were taken by hand. Raises BadUsage, `taken_in`'s."""
    if opening_of is None:
        texts, words, source = named or Prompts(default_prompts(), ())
        return Perturb(change or Replace(), prompts=texts, prompt_words=words, prompt_source=dict(source), **how)
    if change is not None or named is not None:
        raise BadUsage("--opening-of has openings and their prompts: leave out what changes them, and other prompts.")
    taken = taken_in(opening_of, session)
    return Perturb(taken, prompts=tuple(dict.fromkeys(taken.prompts)), **how)


@dataclass(frozen=True)
class Perturb(Study):
    """The last arm's completions give openings; every arm continues each as it is and changed, in each dose.

    The base does so also at a low temperature. With `Taken` openings are given, and no completion is asked for.
    """

    name: ClassVar[str] = "perturb"
    title: ClassVar[str] = "Section 5.1: does it find its way back?"
    least: ClassVar[int] = analysis.LEAST_EACH

    change: Perturbation | Taken = Replace()
    doses: tuple[int, ...] = (1,)
    prompts: tuple[str, ...] = field(default_factory=default_prompts)
    prompt_words: tuple[str, ...] = ()  # the options that named the prompts
    n: int = analysis.N_SAMPLES
    n_openings: int | None = None
    max_tokens: int = analysis.MAX_TOKENS
    prompt_source: Mapping[str, str] = field(default_factory=dict)  # as `Prompts` has it

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Perturb:
        """The inverse of `asdict` after JSON; the kind of change is told by its fields. Raises OlderRun."""
        given = dict(settings)
        if "prompts" not in given:
            raise OlderRun
        kind, fields = given.pop("kind"), given.pop("change")
        change = Taken.of_fields(**fields) if kind == Taken.name else from_settings(kind, fields)
        given.setdefault("prompt_source", {})
        doses, prompts, words = (tuple(given.pop(name)) for name in ("doses", "prompts", "prompt_words"))
        return cls(change, doses, prompts, words, **given)

    def prompt_origin(self) -> Mapping[str, str]:
        return self.prompt_source

    def method(self) -> Method:
        doses = f" in doses of {', '.join(map(str, self.doses))}" if self.doses != (1,) else ""
        source = "the last arm's own completions" if not isinstance(self.change, Taken) else "ways gone by hand"
        return Method(
            f"Openings were taken from {source} and changed "
            f"({' '.join(self.change.words())}{doses}); every arm continued each as it was and changed, the base also "
            f"at temperature {analysis.LOW_TEMPERATURE:g}. Only what follows the opening is judged.",
            {
                "attractors": f"kinds of an arm's continuations of an unchanged opening (complete linkage, cosine "
                f"{KIND_CUT:g}) that hold 5 % of them, three at least, learned from the even samples",
                "returned": "share of the changed continuations within the spread of an attractor",
                "excess surprisal": "changed minus unchanged mean surprisal, token by token",
                "disturbance": "share of the changed continuations with a token among the first five more surprising "
                "than 95 % of the unchanged ones' at its place, less that of the unchanged ones",
                "tokens until calm": "median number of tokens until three in a row are inside that band again",
            },
            "Intervals (95 %) are over openings, from five prompts on over prompts: Wilson's of shares, else t.",
            rests_on=("encoder",),
        )

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "kind": self.change.name}

    def check_settings(self) -> None:
        check_n(self.n, self.least, "continuations")
        if isinstance(self.change, Taken) and self.doses != (1,):
            raise BadUsage("What was taken by hand has one size: leave out --dose, or --opening-of.")
        if self.n_openings is not None and not 1 <= self.n_openings * self.least <= self.n:
            allowed = f"each needs {self.least} continuations, so -n {self.n} has room for 1 to"
            raise BadValue("--openings", self.n_openings, f"{allowed} {self.n // self.least}")

    def options(self) -> list[str]:
        words = self.change.words() if self.change != Replace() else []
        words += ["--dose", ",".join(map(str, self.doses))] if self.doses != (1,) else []
        changed = {"-n": "n", "--openings": "n_openings", "--max-tokens": "max_tokens"}
        return [*words, *self.prompt_words, *self.differing(changed)]

    def least_of(self, label: str) -> int:
        return 1 if label.startswith("completions") else self.least

    @property
    def wanted(self) -> int:
        """How many openings to look for: as many as can have enough continuations."""
        return self.n_openings or max(1, min(analysis.N_OPENINGS, self.n // analysis.LEAST_EACH))

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        if isinstance(self.change, Taken):
            return self._continuations([Way(arm, arm, None) for arm in arms], self._given(self.change))
        prompts = self.prompts if self.wanted > 1 else self.prompts[:1]
        n, length = math.ceil(self.n / len(prompts)), min(self.max_tokens, analysis.COMPLETION_TOKENS)
        return [
            Ask(_completions(at), arms[-1], prompt, n, length, repeat=0) for at, prompt in enumerate(prompts, start=1)
        ]

    def most_tokens_next(self, n_arms: int) -> int:
        """Of the second round, at most: each way continues openings as they are and in each dose."""
        return (n_arms + 1) * (1 + len(self.doses)) * self.n * self.max_tokens

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        if len(drawn.cells) > len(self.asks(tuple(drawn.arms))):
            return []
        if isinstance(self.change, Taken):
            return self._continuations(
                [way for way in self._ways(drawn) if way.temperature is not None], self._given(self.change)
            )
        return self._continuations(self._ways(drawn), self._openings(drawn))

    def _continuations(self, ways: Sequence[Way], openings: Sequence[tuple[Place, list[Opening]]]) -> list[Ask]:
        """What every way is asked: each opening as it is, and changed."""
        n = self.n // len(openings)
        return [
            Ask(
                place.label(way.name, side),
                way.arm,
                text,
                n,
                self.max_tokens,
                sampler=way.sampler,
                repeat=_repeat(self.prompts[place.prompt - 1], doses[0].unchanged, side),
            )
            for place, doses in openings
            for way in ways
            for side, text in [("unchanged", doses[0].unchanged), *self._changed(doses)]
        ]

    def _openings(self, drawn: Drawn) -> list[tuple[Place, list[Opening]]]:
        """Of each dose the openings that completions give, one of every prompt before a second one of any.

        The paper's prompt comes first, then what has words of the model's own, then prompts alone.
        """
        found = {at: self._of_prompt(drawn, at) for at in range(1, len(self.asks(tuple(drawn.arms))) + 1)}
        kept = {at: some for at, some in found.items() if isinstance(some, list)}
        if not kept:
            raise next(some for some in found.values() if not isinstance(some, list))
        rounds = [
            (not self._is_own(at, some[turn]), turn, at) for at, some in kept.items() for turn in range(len(some))
        ]
        first = min(kept)
        order = [(first, 0)] + [(at, turn) for _, turn, at in sorted(rounds) if (at, turn) != (first, 0)]
        return [(Place(at, number), kept[at][turn]) for number, (at, turn) in enumerate(order[: self.wanted], start=1)]

    def _given(self, change: Taken) -> list[tuple[Place, list[Opening]]]:
        """The openings that were taken by hand, as many as there is room for."""
        most = self.n_openings or self.n // self.least
        return [
            (Place(self.prompts.index(prompt) + 1, number), [opening])
            for number, (prompt, opening) in enumerate(zip(change.prompts, change.openings, strict=True), start=1)
        ][:most]

    def _of_prompt(self, drawn: Drawn, at: int) -> list[list[Opening]] | LlamadivError:
        """The different openings of one prompt, those with words of the model's own first; or why there is none."""
        change = self.change
        assert not isinstance(change, Taken)
        found: dict[str, list[Opening]] = {}
        refusal: LlamadivError = NothingToChange("There is no completion to change", next_step="Ask for more with -n.")
        try:
            completed = list(drawn.answered(_completions(at)))
        except NoAnswer as error:
            return error
        for sample in completed:
            said, tokens = sample.text.decode("utf-8", "replace"), _pieces(drawn, _completions(at), sample)
            try:
                doses = [change.opening(self.prompts[at - 1], said, dose=dose, tokens=tokens) for dose in self.doses]
                found.setdefault(doses[0].unchanged, doses)
            except (NothingToChange, BadValue) as error:  # of another completion it may be possible
                refusal = error
        return sorted(found.values(), key=lambda doses: not self._is_own(at, doses)) or refusal

    def _is_own(self, at: int, doses: Sequence[Opening]) -> bool:
        return len(doses[0].unchanged) > len(self.prompts[at - 1])

    def _ways(self, drawn: Drawn) -> list[Way]:
        """Every arm, and the base once more at a low temperature, unless it is as low already."""
        base, *others = drawn.arms
        cold = analysis.LOW_TEMPERATURE
        first = next(iter(drawn.cells))  # asked with the typed sampler
        typed = drawn.recipe(first).sampler.temperature
        control = [Way(f"{base}, T {cold:g}", base, cold)] if typed > cold else []
        return [Way(base, base, None), *control, *(Way(arm, arm, None) for arm in others)]

    def _changed(self, openings: Sequence[Opening]) -> list[tuple[str, str]]:
        return [(_changed(dose), opening.changed) for dose, opening in zip(self.doses, openings, strict=True)]

    def attracted(self, drawn: Drawn, label: str) -> Mapping[int, int]:
        asked = _ASKED.fullmatch(label)
        if asked is None:
            return {}
        home = f"{asked['place']}, unchanged"
        said = {name: list(drawn.answered(name)) for name in dict.fromkeys((home, label))}
        texts = {name: [one.text.decode("utf-8", "replace") for one in some] for name, some in said.items()}
        vectors = {name: one.vectors for name, one in drawn.embedded(texts).items()}
        opening = drawn.recipe(home).prompt.text
        whole = np.array([not analysis.undoes(opening, text) for text in texts[home]], np.bool_)
        places = analysis.attractors_of(vectors[home][whole][0::2])  # as they are learned for the report
        classes = clusters.return_share(vectors[label], places).classes.tolist()
        return {one.index: place for one, place in zip(said[label], classes, strict=True)}

    def show(self, drawn: Drawn) -> Result:
        ways, labels = self._ways(drawn), ["unchanged", *map(_changed, self.doses)]
        places = _places(drawn, ways[0])
        said = {at: [drawn.recipe(at.label(ways[0].name, label)).prompt.text for label in labels] for at in places}
        cells = {way.name: {at: [at.label(way.name, label) for label in labels] for at in places} for way in ways}
        sides, unread = _sides(drawn, cells, said)
        singles = {at: self._analysed({way.name: sides[way.name][at] for way in ways}, unread) for at in places}
        found = {dose: _over(places, [singles[at][dose] for at in places]) for dose in self.doses}
        first = self.doses[0]
        own = [at for at in places if len(said[at][0]) > len(self.prompts[at.prompt - 1])]
        facts = Facts(
            places=[
                Spot(
                    self.prompts[at.prompt - 1],
                    {dose: Opening(said[at][0], text) for dose, text in zip(self.doses, said[at][1:], strict=True)},
                    at in own,
                    singles[at][first],
                )
                for at in places
            ],
            n_prompts=len({at.prompt for at in places}),
            arms={way.name: _words(drawn, way, places[0]) for way in ways},
            n=self.n // len(places),
            max_tokens=self.max_tokens,
            tokenizer=drawn.recipe(places[0].label(ways[-1].name, "unchanged")).vocab_digest[:8],
            examples=[
                (
                    f"{way.name}: …{opening[-24:]} →",
                    drawn.first_tokens(places[0].label(way.name, label), _N_SHOWN_TOKENS),
                )
                for label, opening in zip(labels[:2], said[places[0]][:2], strict=True)
                for way in ways
            ],
            is_given=isinstance(self.change, Taken),
            endings={
                way: _endings(drawn, [label for some in of_way.values() for label in some])
                for way, of_way in cells.items()
            },
            unread=unread,
        )
        judged = own or places
        outcome = analysis.Outcome(_over(judged, [singles[at][first] for at in judged]), len(own), len(places))
        told = section(found, facts, drawn.command, outcome.arms)
        return Result(told, _as_json(found, facts, outcome), outcome)

    def _analysed(
        self, sides: Mapping[str, Sequence[analysis.Side]], unread: Mapping[str, str]
    ) -> dict[int, dict[str, analysis.Arm]]:
        """All arms after one opening, by dose."""
        return {
            dose: analysis.analyse({name: (of_arm[0], of_arm[place]) for name, of_arm in sides.items()}, unread)
            for place, dose in enumerate(self.doses, start=1)
        }


def _sides(
    drawn: Drawn, cells: Mapping[str, Mapping[Place, Sequence[str]]], said: Mapping[Place, Sequence[str]]
) -> tuple[dict[str, dict[Place, list[analysis.Side]]], dict[str, str]]:
    """By way and opening the continuations of the opening as it is and in every dose; which ways go unread, and why."""
    samples = {
        way: {label: list(drawn.answered(label)) for labels in of_way.values() for label in labels}
        for way, of_way in cells.items()
    }
    texts = {
        way: {label: [one.text.decode("utf-8", "replace") for one in some] for label, some in of_way.items()}
        for way, of_way in samples.items()
    }
    embedded = drawn.embedded({way: [one for some in of_way.values() for one in some] for way, of_way in texts.items()})
    found: dict[str, dict[Place, list[analysis.Side]]] = {}
    for way, of_way in cells.items():
        ends = np.cumsum([len(some) for some in texts[way].values()])[:-1]
        rows = dict(zip(texts[way], np.split(embedded[way].vectors, ends), strict=True))
        found[way] = {
            at: [
                analysis.Side(opening, texts[way][label], rows[label], [one.tokens for one in samples[way][label]])
                for opening, label in zip(said[at], labels, strict=True)
            ]
            for at, labels in of_way.items()
        }
    return found, unread_arms({way: one.unread for way, one in embedded.items()})


def _endings(drawn: Drawn, labels: Sequence[str]) -> Endings:
    """How all continuations of one way end."""
    return Endings.together(Endings.of_thoughts(drawn.answers(label)) for label in labels)


def _completions(prompt: int) -> str:
    return f"completions of prompt {prompt}"


def _places(drawn: Drawn, way: Way) -> list[Place]:
    """The openings of a run, in order."""
    found = [_PLACE.fullmatch(label) for label in drawn.cells]
    return sorted(
        (Place(int(one["prompt"]), int(one["opening"])) for one in found if one and one["way"] == way.name),
        key=lambda place: place.opening,
    )


def _over(places: Sequence[Place], singles: Sequence[Mapping[str, analysis.Arm]]) -> dict[str, analysis.Over]:
    """Every arm over openings."""
    groups = [at.prompt for at in places]
    return {arm: analysis.over_openings([one[arm] for one in singles], groups) for arm in singles[0]}


def _changed(dose: int) -> str:
    return "changed" if dose == 1 else f"changed {dose} times"


def _repeat(prompt: str, opening: str, side: str) -> int:
    """Which random numbers a continuation has: by what it continues, not by where that stands among others.

    Two openings may become one text when they are changed, and an opening may be the prompt that was completed: each
    has numbers of its own, for a model says the same to the same text with the same ones.
    """
    return int.from_bytes(hashlib.sha256(json.dumps([prompt, opening, side]).encode()).digest()[:8], "big")


def _words(drawn: Drawn, way: Way, at: Place) -> str:
    return f"{drawn.arms[way.arm]}, T {drawn.recipe(at.label(way.name, 'unchanged')).sampler.temperature:g}"


def _pieces(drawn: Drawn, label: str, sample: Sample) -> list[tuple[bytes, bytes]]:
    """Of each token of a completion what it says, and what the likeliest other one would have said."""
    pieces = drawn.store.pieces(drawn.recipe(label).vocab_digest, seen_ids(sample.tokens))
    found = []
    for token in sample.tokens:
        others = [at for at in token["top_ids"].tolist() if at not in (-1, int(token["id"]))]
        said = next((pieces[at] for at in others if pieces[at].control is None), pieces[int(token["id"])])
        found.append((pieces[int(token["id"])].bytes, said.bytes))
    return found


def _as_json(
    found: Mapping[int, Mapping[str, analysis.Over]], facts: Facts, outcome: analysis.Outcome
) -> dict[str, Any]:
    first = next(iter(found))
    return {
        "arms": {
            arm: {**_over_as_json(one, facts.arms[arm]), **endings_as_json(facts.endings[arm])}
            for arm, one in found[first].items()
        },
        "own_openings": {
            "n": outcome.n_own,
            "arms": {arm: _over_as_json(one, facts.arms[arm]) for arm, one in outcome.arms.items()},
        },
        "doses": {
            str(dose): {
                arm: {
                    "returned": one.returned._asdict(),
                    "disturbed": one.disturbed._asdict(),
                    "calm_after_tokens": one.calm._asdict(),
                }
                for arm, one in arms.items()
            }
            for dose, arms in found.items()
        },
        "openings": [
            {
                "prompt": spot.prompt,
                "is_own": spot.is_own,
                "doses": {
                    str(dose): {**opening._asdict(), **finite({"edit_share": edit_share(opening)})}
                    for dose, opening in spot.openings.items()
                },
                "arms": {arm: _arm_as_json(one) for arm, one in spot.arms.items()},
            }
            for spot in facts.places
        ],
        "n_of_an_opening": facts.n,
        "max_tokens": facts.max_tokens,
    }


def _over_as_json(arm: analysis.Over, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "openings": arm.n_openings,
        "openings_judged": arm.n_returned,
        "with_attractors": arm.with_attractors._asdict(),
        "disturbance": arm.disturbance._asdict(),
        **_common_as_json(arm),
    }


def _arm_as_json(arm: analysis.Arm) -> dict[str, Any]:
    return {"n_attractors": arm.n_attractors, **_common_as_json(arm)}


def _common_as_json(arm: analysis.Arm | analysis.Over) -> dict[str, Any]:
    return {
        "in_attractors": arm.in_attractors._asdict(),
        "returned": arm.returned._asdict(),
        "n_undone": {"unchanged": arm.n_undone[0], "changed": arm.n_undone[1]},
        "disturbed": arm.disturbed._asdict(),
        "disturbed_unchanged": arm.disturbed_unchanged._asdict(),
        "calm_after_tokens": arm.calm._asdict(),
        "unchanged_bits": list(arm.unchanged_bits),
        "changed_bits": list(arm.changed_bits),
        "excess_bits": [finite(difference._asdict()) for difference in arm.excess_bits],
    }
