"""`decompose`: how much of a loss is the weights', how much the prompt format's, and of what else is named?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import Cell
from llama_diversity.render.safe import visible
from llama_diversity.studies.arms import Arm, Choice, check_different, resolve_arms
from llama_diversity.studies.compare.gathering import label
from llama_diversity.studies.compare.measured import Rules
from llama_diversity.studies.compare.parts import described, different
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.compare.study import (
    ENCODER,
    Compare,
    NotComparable,
    by_prompt_as_json,
    check_pairs,
    measuring,
    prefix_words,
    resolve_specs,
)
from llama_diversity.studies.decompose import analysis
from llama_diversity.studies.decompose.exhibits import Facts, section
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.prompts import Prompts
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.samplers import check_cuts, parse_sampler
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn, Method
from llama_diversity.studies.words import template_words


@dataclass(frozen=True)
class Decompose(Compare):
    """All combinations of weights, template and, where they are named, quantisation and sampler, for every prompt."""

    name: ClassVar[str] = "decompose"
    title: ClassVar[str] = "Where is the diversity lost?"

    is_quantised: bool = False  # whether quantisation is a factor
    has_starts: bool = False  # whether the start of raw prompts is one, in the place of the template

    def check(self, cells: Sequence[Cell]) -> None:
        """Nothing of a full design is unattributable, but no two arms may be one recipe."""
        check_pairs(self.n, len(self.specs))
        recipes = {cell.arm: cell.recipe for cell in cells}
        keys = [(spec.name, recipes[label(spec.name, 0)]) for spec in self.specs]
        half = len(keys) // 2
        factors = {half >> place: factor for place, factor in enumerate(self.factors())}
        for (at, (name, one)), (to, (other, two)) in itertools.combinations(enumerate(keys), 2):
            if not different(one, two):
                changed = [factor for bit, factor in factors.items() if (at ^ to) & bit]  # arms count in binary
                said = "The factor {} changes" if len(changed) == 1 else "The factors {} together change"
                raise NotComparable(
                    f"{said.format(' and '.join(changed))} nothing: {name} and {other} are one model, prompt and "
                    "sampler."
                )

    def show(self, drawn: Drawn) -> Result:
        read = self.reading(drawn)
        with drawn.session.listener.working("decomposing") as show:
            found = analysis.tell_apart(list(read.prompts(show)), read.rules, self.design())
        facts = Facts(
            arms={spec.name: described(spec, drawn.recipe(label(spec.name, 0))) for spec in self.specs},
            factors=self.factors(),
            prompts=self.prompts,
            n=read.n,
            max_tokens=self.max_tokens,
            prefix=prefix_words(read.rules) + (", which alone is judged" if self.prefix else ""),
            encoder=ENCODER,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts, read.rules, drawn.digest()), found)

    def method(self) -> Method:
        factors = "; ".join(f"{name}: {words}" for name, words in self.factors().items())
        return (
            super()
            .method()
            ._replace(
                design=f"All combinations of the factors were drawn ({factors}). Effects are factors: main effects, "
                "interactions of two and the total, each a contrast of logarithms.",
                correction="p was adjusted after Holm.",
            )
        )

    def design(self) -> dict[str, dict[str, bool]]:
        """Which factors each arm has: the arms count in binary, as `combinations` makes them."""
        names = list(self.factors())
        return {
            spec.name: {name: bool(at >> (len(names) - 1 - place) & 1) for place, name in enumerate(names)}
            for at, spec in enumerate(self.specs)
        }

    def factors(self) -> dict[str, str]:
        """The factors in words, in the order of the arms."""
        first, last = self.specs[0], self.specs[-1]
        unquantised = self.specs[len(self.specs) // 2]  # the first of the aligned
        words = {"weights": f"{first.model} or {unquantised.model}"}
        if self.has_starts:
            words["start"] = f"raw prompts begin with {first.start} or {last.start}"
        else:
            words["template"] = "raw or the chat template of the latter"
        if self.is_quantised:
            other = 2 if last.sampler else 1  # the first arm that differs in the file alone
            files = [self.specs[at].model for at in (other, other + len(self.specs) // 2)]
            words["quantisation"] = f"those files or {' and '.join(files)}"
        if last.sampler:
            cut = ", ".join(f"{name} {value:g}" for name, value in last.sampler.items())
            words["sampler"] = f"as typed or {cut}"
        return words


def decompose_of(
    choice: Choice,
    named: Prompts,
    drawing: Drawing,
    session: Session,
    *,
    sampler: str | None = None,
    quantised: tuple[str, str] | None = None,
    template_args: str | None = None,
    starts: tuple[str, str] | None = None,
    **settings: Any,
) -> tuple[Decompose, list[Arm], list[str]]:
    """The study, its arms, and the options that name them; `settings` are fields. Raises BadUsage, BadValue, OneModel,
    UnknownName.
    """
    models = resolve_arms(choice.pair, choice.base, choice.aligned)
    cut = {} if sampler is None else parse_sampler(sampler)
    check_cuts("--sampler", cut, drawing.sampler)
    study = Decompose(
        specs=combinations(models, cut, quantised, template_args, starts),
        prompts=named.texts,
        prompt_words=named.words,
        prompt_source=dict(named.source),
        is_quantised=quantised is not None,
        has_starts=starts is not None,
        **settings,
    )
    study.check_settings()
    check_different([session.model(model) for model in models])
    words = [*choice.words(), *factor_words(sampler, quantised, template_args, starts)]
    return study, resolve_specs(study.specs, session), words


def factor_words(
    sampler: str | None,
    quantised: tuple[str, str] | None = None,
    template_args: str | None = None,
    starts: tuple[str, str] | None = None,
) -> list[str]:
    """The factors as options of a command line."""
    words = ["--sampler", sampler] if sampler else []
    words += [*(["--quantised", *quantised] if quantised else []), *template_words(template_args)]
    return [*words, *(["--starts", *starts] if starts else [])]


def combinations(
    models: tuple[str, str],
    sampler: dict[str, float],
    quantised: tuple[str, str] | None = None,
    template_args: str | None = None,
    starts: tuple[str, str] | None = None,
) -> tuple[ArmSpec, ...]:
    """The arms of the full design, the one without any factor first, the one with all of them last.

    Raises BadValue, BadUsage.
    """
    if starts is not None and (not all(starts) or starts[0] == starts[1]):
        raise BadValue("--starts", " ".join(starts), "name two that differ, like none bos")
    if starts is not None and template_args:
        raise BadUsage("--starts asks raw only, so there is no template to give arguments to. Give either.")
    specs = []
    for (role, *files), is_other, at, cut in itertools.product(
        zip(("base", "aligned"), models, quantised or ("", ""), strict=True),
        (False, True),
        (0, 1) if quantised else (0,),
        ({}, sampler) if sampler else ({},),
    ):
        ending = f"{', quantised' if at else ''}{', cut' if cut else ''}"
        if starts is not None:
            name = f"{role} start {visible(starts[is_other])}{ending}"
            specs.append(ArmSpec(name, files[at], sampler=dict(cut), start=starts[is_other]))
        else:
            name = f"{role} {'chat' if is_other else 'raw'}{ending}"
            of_chat: dict[str, Any] = {"template": models[1], "template_args": template_args} if is_other else {}
            specs.append(ArmSpec(name, files[at], is_other, sampler=dict(cut), **of_chat))
    return tuple(specs)


def _as_json(found: analysis.Result, facts: Facts, rules: Rules, inputs: str) -> dict[str, Any]:
    return {
        "effects": [one._asdict() for one in found.effects],
        "counted_as_lost": [one._asdict() for one in found.counted_as_lost],
        "values": {name: dict(of_arm) for name, of_arm in found.values.items()},
        "arms": {
            arm: {
                "is": words,
                "valid": found.valid[arm]._asdict(),
                **endings_as_json(found.endings[arm]),
                "self_check_z": found.self_check[arm],
                "letters_counted_as_words": found.by_letter[arm],
            }
            for arm, words in facts.arms.items()
        },
        "by_prompt": by_prompt_as_json("decompose", found.by_prompt, facts.prompts),
        "factors": dict(facts.factors),
        "claim": "prompts like these" if found.is_general else "these prompts",
        "prompts": list(facts.prompts),
        "n": facts.n,
        **measuring(rules, found.m_kinds, found.m_words),
        "inputs": inputs,
    }
