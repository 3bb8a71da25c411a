"""The arms as they are typed, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.mixtures import split_parts
from llama_diversity.studies.arms import Arm, Choice, resolve_arms
from llama_diversity.studies.population.asking import is_text
from llama_diversity.studies.population.reading import STATED
from llama_diversity.studies.population.target import Target, letters
from llama_diversity.studies.population.ways import MODES, PLANNER, Way
from llama_diversity.studies.samplers import SAMPLER_KEYS, sampler_fields, sampler_parts
from llama_diversity.studies.session import Session

FORM = "form"  # a part of an arm: asked by a form though it has a chat template


class Typed(dict[str, Any]):
    """An arm as it is typed, before its model is looked at."""


def parse_way(text: str) -> Typed:
    """NAME=MODEL,mode=MODE and what differs. Raises BadValue.

    >>> parse_way("mine=tiny-aligned,mode=quota,T=0.8")
    {'name': 'mine', 'model': 'tiny-aligned', 'sampler': {'temperature': 0.8}, 'mode': 'quota'}
    """
    name, is_named, rest = text.partition("=")
    model, *parts = split_parts(rest)
    if not is_named or not name.strip() or not model.strip():
        raise BadValue("--arm", text, "write NAME=MODEL, for example mine=tiny-aligned,mode=quota")
    option = f"--arm {name.strip()}"
    typed = [part for part in parts if part.partition("=")[0] in SAMPLER_KEYS]
    found = Typed(name=name.strip(), model=model.strip(), sampler=sampler_fields(option, typed))
    for part in parts:
        key, _, value = part.partition("=")
        if part in typed:
            continue
        if part == FORM:
            found["is_form"] = True
            continue
        if key not in ("mode", "planner") or not value:
            allowed = f"a part is mode=MODE, {FORM}, planner=MODEL or {'=, '.join(SAMPLER_KEYS)}="
            raise BadValue(option, part, allowed)
        if key == "mode" and value not in MODES:
            raise BadValue(option, part, f"a mode is {', '.join(MODES)}")
        found[key] = value
    return found


def ways_of(
    model: str | None, choice: Choice, typed: Sequence[str], modes: Sequence[str], session: Session
) -> tuple[Way, ...]:
    """The arms by --arm, or by a model or a pair and the modes asked for. Raises BadUsage, and what models raise.

    One model writes in mode quota, through its template where it has one; of a pair the base continues forms and the
    aligned one is asked in every way.
    """
    if sum([bool(model), any(choice), bool(typed)]) > 1:
        raise BadUsage("Name the models in one way: -m MODEL, --pair NAME (or --base and --aligned), or --arm.")
    if choice.ladder:
        raise BadUsage("--ladder has no people yet: name its models by --arm NAME=MODEL,mode=MODE.")
    if typed and modes:
        raise BadUsage("An --arm says its mode itself: NAME=MODEL,mode=MODE. Leave out --mode.")
    if typed:
        found = [_typed_way(parse_way(one), session) for one in typed]
    elif model:
        found = [_way(mode, model, mode, session) for mode in modes or ("quota",)]
    else:
        base, aligned = resolve_arms(choice.pair, choice.base, choice.aligned)
        found = [
            _way(mode, base if mode == "base" else aligned, mode, session, base if mode == "plan" else None)
            for mode in modes or MODES
        ]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise BadUsage("Each arm needs a name of its own: --arm NAME=MODEL,mode=MODE.")
    return tuple(found)


def over_temperatures(ways: Sequence[Way], typed: str | None) -> tuple[Way, ...]:
    """Every arm at every temperature, each an arm of its own. Raises BadValue.

    >>> [one.name for one in over_temperatures([Way("a", "m", "base", False)], "0.7,1")]
    ['a T=0.7', 'a T=1']
    """
    if typed is None:
        return tuple(ways)
    parts = [part.strip() for part in typed.split(",")]
    fields = [sampler_fields("--frontier", [f"T={part}"]) for part in parts]
    if len({one["temperature"] for one in fields}) < 2 or len({one["temperature"] for one in fields}) < len(fields):
        raise BadValue("--frontier", typed, "give two temperatures or more, each once, by commas: 0.7,1,1.3")
    for way in ways:
        if "temperature" in way.sampler:
            raise BadValue("--frontier", typed, f"{way.name} has a temperature of its own; leave one out")
    return tuple(
        replace(way, name=f"{way.name} T={one['temperature']:g}", family=way.name, sampler={**way.sampler, **one})
        for way in ways
        for one in fields
    )


def arms_of(ways: Sequence[Way], session: Session) -> list[Arm]:
    """The models behind them, planners too."""
    found = []
    for one in ways:
        found.append(Arm(one.name, session.model(one.model)))
        if one.planner:
            found.append(Arm(one.name + PLANNER, session.model(one.planner)))
    return found


def check_ways(ways: Sequence[Way], target: Target) -> None:
    """Refuse what a target has no room for. Raises BadUsage."""
    if not target.product and (target.request is None or "{product}" in target.request):
        raise BadUsage("The target names no product. Say what it is: --product TEXT, or product = ... in the target.")
    for one in ways:
        if one.has_cell and not target.fixed:
            raise BadUsage(f"{one.name}: mode {one.mode} gives the fixed fields, and the target has none. Add one.")
        if one.has_cell and not target.free:
            raise BadUsage(
                f"{one.name}: mode {one.mode} leaves the free fields to the model, and the target has none. "
                "Add one: --free review, or fields.review = { free = true } in the target."
            )
        if one.mode == "verbalized" and any(letters(each.label) == STATED for each in target.fields):
            raise BadUsage(
                f"{one.name}: mode verbalized asks for a line “Probability” of its own, and the target has a field of "
                'that name. Give the field another label, such as label = "Chance".'
            )
        if one.mode == "plan" and not any(is_text(each) for each in target.free):
            raise BadUsage(
                f"{one.name}: mode plan lets another model write the texts, and the target has none. Give a free field "
                "more than 12 words, or leave out its max_words."
            )


def _typed_way(typed: Typed, session: Session) -> Way:
    mode = typed.get("mode", "quota")
    if (mode == "plan") != ("planner" in typed):
        raise BadUsage(f"--arm {typed['name']}: planner=MODEL belongs to mode=plan, and mode=plan needs one.")
    way = _way(typed["name"], typed["model"], mode, session, typed.get("planner"))
    if typed.get("is_form"):
        if mode not in ("base", "quota"):
            raise BadUsage(f"--arm {typed['name']}: a form asks for one person in mode base or quota.")
        way = replace(way, is_chat=False, is_form=mode != "base")
    return replace(way, sampler=typed["sampler"])


def _way(name: str, model: str, mode: str, session: Session, planner: str | None = None) -> Way:
    with session.reading(session.model(model)) as engine:
        has_template = engine.facts.has_chat_template
    if mode in ("aligned", "verbalized", "plan") and not has_template:
        raise BadUsage(
            f"Mode {mode} asks through a chat template, and {model} has none. Take --mode base or quota, which "
            "give it a form to continue."
        )
    if mode == "plan" and planner is None:
        raise BadUsage("Mode plan needs two models: --pair, or --arm NAME=MODEL,mode=plan,planner=MODEL.")
    return Way(name, model, mode, has_template and mode != "base", planner)


def way_words(ways: Sequence[Way], frontier: str | None = None) -> list[str]:
    """The arms as options of a command line."""
    words = [part for one in ways for part in ("--arm", way_word(one))]
    return words + ([] if frontier is None else ["--frontier", frontier])


def target_words(
    target: Path, weight: str | None, fields: Sequence[str], product: str | None = None, free: Sequence[str] = ()
) -> tuple[str, ...]:
    """The target as words of a command line."""
    options = [("--weight", weight), *(("--field", one) for one in fields)]
    options += [("--product", product), *(("--free", one) for one in free)]
    return (str(target), *(part for option, value in options if value for part in (option, value)))


def way_word(way: Way) -> str:
    """An arm as it is typed behind --arm."""
    parts = [f"{way.name}={way.model}", f"mode={way.mode}"]
    parts += [FORM] if way.is_form else []
    parts += [f"planner={way.planner}"] if way.planner else []
    return ",".join([*parts, *sampler_parts(way.sampler)])
