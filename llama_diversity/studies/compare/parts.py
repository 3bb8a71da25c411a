"""In which parts two arms differ, and an arm in words: from what was typed and from the recipes that came of it."""

from __future__ import annotations

from collections.abc import Sequence

from llama_diversity.mixtures import raw_words
from llama_diversity.records import Recipe
from llama_diversity.render.samplers import sampler_words
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.words import arg_words, start_words

WAY = "way of asking"


def different(first: Recipe, other: Recipe) -> list[str]:
    """The parts in which two arms differ; "tokens" says that one text is read as two, by another rule or an option."""
    one, two = first.prompt, other.prompt
    asks_alike = (one.mode, one.rendered) == (two.mode, two.rendered)
    has_other_ids = asks_alike and first.vocab_digest == other.vocab_digest and one.ids != two.ids
    has_other_start = has_other_ids and one.mode == "raw" and (one.start != two.start or _ends_alike(one.ids, two.ids))
    return [
        name
        for name, differs in (
            ("weights", first.model_digest != other.model_digest),
            ("template", not asks_alike),
            ("start", has_other_start),
            ("tokens", has_other_ids and not has_other_start),
            ("sampler", first.sampler != other.sampler),
        )
        if differs
    ]


def asked_differently(spec: ArmSpec, other: ArmSpec, first: Recipe, second: Recipe) -> list[str]:
    """The same of arms that are asked in a way of their own, whose prompts differ word by word.

    Of an arm that writes by plans the first recipe is its planner's, so models and templates are told by their names.
    """
    has_plan = "plan" in (spec.ask, other.ask)
    has_other_weights = spec.model != other.model if has_plan else first.model_digest != second.model_digest
    one, two = ((each.is_chat, each.system, each.template_args, each.template) for each in (spec, other))
    own = first.prompt.template_digest, second.prompt.template_digest
    has_other_template = one != two or (spec.is_chat and (has_other_weights if has_plan else own[0] != own[1]))
    return [
        name
        for name, differs in (
            ("weights", has_other_weights),
            ("template", has_other_template),
            ("start", not has_plan and first.prompt.start != second.prompt.start),
            (WAY, spec.way != other.way),
            ("sampler", first.sampler != second.sampler),
        )
        if differs
    ]


def _ends_alike(one: Sequence[int], two: Sequence[int]) -> bool:
    n = min(len(one), len(two))
    return len(one) != len(two) and one[len(one) - n :] == two[len(two) - n :]


def described(spec: ArmSpec, recipe: Recipe) -> str:
    """An arm in words: model, way of asking, sampler."""
    start = recipe.prompt.start
    raw = "raw" if start is None else f"raw behind {start_words(start)}"
    way = raw if recipe.prompt.mode == "raw" else f"chat template{f' of {spec.template}' if spec.template else ''}"
    args = arg_words(recipe.prompt.template_args)
    unasked = raw_words(spec.planner or spec.model, recipe.prompt)
    args += [unasked] if unasked else []
    asked = [spec.way_words()] if spec.ask else []
    return ", ".join([spec.model, way, *args, *_system_words(spec, recipe), *asked, sampler_words(recipe.sampler)])


def _system_words(spec: ArmSpec, recipe: Recipe) -> list[str]:
    """The system text, where it is in the prompt: older versions let templates drop it."""
    if spec.system is None:
        return []
    is_there = spec.system.strip() in recipe.prompt.rendered
    return [f"system “{_shortened(spec.system)}”" if is_there else "without its system text, which the template drops"]


def _shortened(text: str) -> str:
    """At most 60 characters on a line; the end too, since system prompts often begin alike."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:40]} … {text[-17:]}"
