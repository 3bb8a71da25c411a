"""`frontier`: quality against diversity for families of settings, and which of them is worth its cost, if any is."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from llama_diversity import registry
from llama_diversity.answers import Answer
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import Cell
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.arms import Arm, Choice
from llama_diversity.studies.arms import named as named_of
from llama_diversity.studies.compare.gathering import outputs
from llama_diversity.studies.compare.measured import PRIMARY
from llama_diversity.studies.compare.parts import described
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.compare.study import ENCODER, Compare, check_pairs, resolve_specs
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.frontier import analysis
from llama_diversity.studies.frontier.analysis import DIVERSITIES, LEAST_PROMPTS, QUALITIES
from llama_diversity.studies.frontier.exhibits import Facts, section
from llama_diversity.studies.frontier.gathering import Asked, gathered
from llama_diversity.studies.frontier.specs import families_of, reference_of, usual
from llama_diversity.studies.prompts import Prompts
from llama_diversity.studies.results import Result
from llama_diversity.studies.samplers import check_cuts
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn, Method

N_SAMPLES, MAX_TOKENS = 20, 64
READER = "tiny-base"  # ships with the package and has a token of every byte: reads grammars for any model


@dataclass(frozen=True)
class Frontier(Compare):
    """n outputs of every setting for every prompt, the reference first."""

    name: ClassVar[str] = "frontier"
    title: ClassVar[str] = "What does diversity cost?"

    n: int = N_SAMPLES
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name -> its settings
    scorers: Mapping[str, str] = field(default_factory=dict)  # role -> model
    known: str | None = None  # the file of valid answers
    answers: tuple[str, ...] = ()  # what it held
    grammar_file: str | None = None
    grammar: str | None = None  # what it held: GBNF
    quality: str = "topic"
    diversity: str = PRIMARY
    delta: float = QUALITIES["topic"].delta

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Frontier:
        given = dict(settings)
        specs = tuple(ArmSpec(**one) for one in given.pop("specs"))
        given |= {name: tuple(given[name]) for name in ("prompts", "prompt_words", "answers")}
        return cls(specs=specs, **given)

    def check_settings(self) -> None:
        super().check_settings()
        if len(self.prompts) < LEAST_PROMPTS:
            raise BadUsage(
                f"Half of the prompts choose a setting and the other half judge it: name {LEAST_PROMPTS} prompts or "
                f"more, not {len(self.prompts)}."
            )
        needs = {
            "validity": ("--valid, --known or --grammar", self._says_what_is_valid),
            **{role: (f"--{role}", role in self.scorers) for role in ("base", "aligned", "scorer")},
        }
        option, is_there = needs.get(self.quality, ("", True))
        if not is_there:
            raise BadValue("--quality", self.quality, f"it needs {option}")
        if self.delta < 0:
            raise BadValue("--delta", self.delta, "it must not be negative: it says how much worse is not worse")

    def check(self, cells: Sequence[Cell]) -> None:
        """Families may differ in whatever they like: what is compared is what they give, not why."""
        check_pairs(self.n, len(self.specs))

    def check_arms(self, arms: Sequence[Arm], drawing: Drawing, session: Session) -> None:
        """Every scorer is there, and tells the probability of a given text."""
        super().check_arms(arms, drawing, session)
        for reference in self.scorers.values():
            with session.reading(session.model(reference)) as engine:
                if not engine.capabilities.scores_text:
                    raise BadValue("--scorer", reference, "it does not score a given text; choose a GGUF model")

    def options(self) -> list[str]:
        changed = {"-n": "n", "--max-tokens": "max_tokens", "--valid": "valid", "--known": "known"}
        changed |= {"--grammar": "grammar_file", "--diversity": "diversity"}
        scorer = self.scorers.get("scorer")
        words = [*self.prompt_words, *self.differing(changed), *(["--scorer", scorer] if scorer else [])]
        return [*words, "--quality", self.quality, "--delta", f"{self.delta:g}"]

    def family_of(self) -> dict[str, str | None]:
        """Of every setting its family, of the reference none."""
        of = {setting: family for family, some in self.families.items() for setting in some}
        return {spec.name: of.get(spec.name) for spec in self.specs}

    def is_valid(self) -> Callable[[str], bool] | None:
        """What a valid output is, beyond that there is text; None where nothing says so."""
        if self.answers:
            known = {one.casefold() for one in self.answers}
            return lambda text: text.strip().casefold() in known
        if self.grammar is not None:
            return self._of_grammar.__getitem__
        if self.valid is not None:
            pattern = re.compile(self.valid)
            return lambda text: pattern.search(text) is not None
        return None

    @property
    def _says_what_is_valid(self) -> bool:
        return bool(self.answers) or self.grammar is not None or self.valid is not None

    @functools.cached_property
    def _of_grammar(self) -> dict[str, bool]:
        """Of the texts that were drawn, which are of the grammar; `show` asks about all of them at once."""
        return {}

    def _read_by_grammar(self, drawn: Drawn) -> None:
        if self.grammar is None:
            return
        every = (each for one in self.questions() for each in outputs(one, drawn))
        texts = sorted({each.answer.text for each in every} | {""})
        with drawn.session.reading(drawn.session.model(READER)) as engine:
            for read in (str, str.strip):  # as it is, or without the blanks around it
                fit = engine.fits(self.grammar, [read(text).encode("utf-8", "surrogateescape") for text in texts])
                for text, is_fit in zip(texts, fit, strict=True):
                    self._of_grammar[text] = self._of_grammar.get(text, False) or is_fit

    def flaw(self, answer: Answer) -> str | None:
        """Why it has no part in diversity: an output that is not valid has not won any."""
        is_valid = self.is_valid()
        return "not valid" if answer.flaw is None and is_valid and not is_valid(answer.text) else answer.flaw

    def show(self, drawn: Drawn) -> Result:
        self._read_by_grammar(drawn)
        asked = Asked(self.scorers, self.is_valid(), self.family_of())
        read = gathered(self, drawn, asked)
        found = analysis.judge(read.settings, analysis.Rules(self.quality, self.diversity, self.delta))
        facts = Facts(
            arms={spec.name: described(spec, drawn.recipe(self.question(spec, 0).first)) for spec in self.specs},
            prompts=self.prompts,
            n=self.n,
            max_tokens=self.max_tokens,
            scorers=self.scorers,
            encoder=ENCODER,
            valid=self._valid_words(),
            texts=read.texts,
            doubts=read.doubts,
        )
        return Result(section(found, facts, drawn.command), self._as_json(found, facts, drawn.digest()), found)

    def _valid_words(self) -> str:
        if self.answers:
            return f"one of the {len(self.answers)} answers of {self.known}"
        if self.grammar is not None:
            return f"as a whole of the grammar of {self.grammar_file}"
        return f"contains {self.valid}" if self.valid is not None else ""

    def method(self) -> Method:
        quality = QUALITIES[self.quality]
        return Method(
            f"Settings of {len(self.families)} families were drawn, each with as many outputs a prompt as the smallest "
            f"number of tokens of all pays for. A setting was chosen on the odd prompts, the most diverse of those "
            f"whose quality was not worse than that of “{self.specs[0].name}” by {self.delta:g}, and judged on the "
            "even ones.",
            {
                f"quality ({quality.title})": "mean over prompts",
                f"diversity ({DIVERSITIES[self.diversity]})": "as `compare` measures it, mean over prompts",
                "coverage of the plane": "area that a family's settings dominate, as a share of a stated box",
                "share of the Pareto set": "of the settings that no other one beats in both, those of a family",
            },
            "Differences have 95 % t intervals over prompts, paired; areas and shares the interval of prompts "
            "drawn again with replacement.",
            rests_on=("encoder",),
        )

    def _as_json(self, found: analysis.Result, facts: Facts, inputs: str) -> dict[str, Any]:
        return {
            "verdict": facts.verdict(found),
            "holds": found.holds,
            "best": as_json(found.best),
            "claimed_on_all_prompts": as_json(found.claimed),
            "choices": [as_json(one) for one in found.choices],
            "points": [
                {
                    "setting": one.name,
                    "family": one.family,
                    "is": facts.arms[one.name],
                    "quality": finite(one.quality._asdict()),
                    "diversity": finite(one.diversity._asdict()),
                    "on_front": one.is_on_front,
                    "reason": one.reason,
                    "measures": finite(found.means[one.name]),
                }
                for one in found.points
            ],
            "families": [
                {
                    "family": one.name,
                    "coverage": finite(one.area._asdict()),
                    "share_of_front": None if one.of_front is None else finite(one.of_front._asdict()),
                }
                for one in found.families
            ],
            "box": {"worst": list(found.corner), "best": list(found.top)},
            "quality": self.quality,
            "diversity": self.diversity,
            "delta": self.delta,
            "scorers": dict(self.scorers),
            "prompts": list(self.prompts),
            "prompts_used": list(found.used),
            "n": self.n,
            "encoder": ENCODER,
            "inputs": inputs,
        }


def as_json(one: analysis.Choice) -> dict[str, Any]:
    """A choice, with what is claimed where it was made and what the other prompts say."""
    halves = {"claimed_where_chosen": one.there, "held_out": one.held_out}
    return {
        "family": one.family,
        "setting": one.setting,
        **{
            name: None if half is None else {axis: finite(value._asdict()) for axis, value in half._asdict().items()}
            for name, half in halves.items()
        },
    }


# ---- from what was typed to a study


def frontier_of(
    choice: Choice,
    named: Prompts,
    drawing: Drawing,
    session: Session,
    *,
    families: Sequence[str] = (),
    reference: str | None = None,
    scorer: str | None = None,
    quality: str | None = None,
    delta: float | None = None,
    known: Path | None = None,
    grammar: Path | None = None,
    **settings: Any,
) -> tuple[Frontier, list[Arm], list[str]]:
    """The study, its arms, and the options that name them. Raises BadUsage, BadValue, UnknownName.

    The quality that is not named is validity where something says what is valid, else the scorer's, else the topic's.
    """
    base, aligned, scorer = _models(choice, scorer, is_pair=any(choice) or not families)
    typed = tuple(families) or usual(str(base), str(aligned))
    against = reference_of(reference, aligned)
    found = families_of(typed)
    specs = (against, *(spec for family in found for spec in family.settings))
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise BadUsage(f"--reference {against.name} has the name of a setting; give it another.")
    for spec in specs:
        check_cuts(f"--family {spec.name}", spec.sampler, drawing.sampler)
    scorers = {"base": base or _base_of(against.model), "aligned": aligned or against.model, "scorer": scorer}
    rules = [
        option
        for option, given in (("--valid", settings.get("valid")), ("--known", known), ("--grammar", grammar))
        if given
    ]
    if len(rules) > 1:
        raise BadUsage(f"One thing says what is valid, and {' and '.join(rules)} are given: leave all but one out.")
    answers = () if known is None else _lines(known)
    chosen = quality or ("validity" if rules else "scorer" if scorer else "topic")
    study = Frontier(
        specs=specs,
        prompts=named.texts,
        prompt_words=named.words,
        prompt_source=dict(named.source),
        families={one.name: [spec.name for spec in one.settings] for one in found},
        scorers={role: model for role, model in scorers.items() if model},
        known=None if known is None else str(known),
        answers=answers,
        grammar_file=None if grammar is None else str(grammar),
        grammar=None if grammar is None else _grammar(grammar, session),
        seed=drawing.seed,
        quality=chosen,
        delta=QUALITIES[chosen].delta if delta is None else delta,
        **settings,
    )
    study.check_settings()
    words = [*choice.words(), *(word for one in families for word in ("--family", one))]
    words += ["--reference", reference] if reference else []
    return study, resolve_specs(specs, session), words


def _models(choice: Choice, scorer: str | None, *, is_pair: bool) -> tuple[str | None, str | None, str | None]:
    """Base, aligned and a third scorer; of a ladder its ends and the stage in its middle."""
    if not is_pair:
        return None, None, scorer
    first, *between, last = (reference for _, reference in named_of(choice))
    return first, last, scorer or (between[len(between) // 2] if between else None)


def _base_of(aligned: str) -> str | None:
    """The base of a pair whose aligned model this is; None where no pair that has a name has it."""
    return next((pair.base for pair in registry.load().pairs.values() if pair.aligned == aligned), None)


def _grammar(file: Path, session: Session) -> str:
    """The grammar of a file. Raises BadValue, also where it is none."""
    text = _text("--grammar", file, "name a GBNF file")
    with session.reading(session.model(READER)) as engine:
        engine.fits(text, [])
    return text


def _text(option: str, file: Path, advice: str) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise BadValue(option, str(file), f"it cannot be read ({reason}); {advice}") from error


def _lines(file: Path) -> tuple[str, ...]:
    """The answers of a file, one a line. Raises BadValue."""
    lines = [line.strip() for line in _text("--known", file, "name a file of one answer a line").splitlines()]
    found = tuple(dict.fromkeys(line for line in lines if line))
    if not found:
        raise BadValue("--known", str(file), "there is no answer in it")
    return found
