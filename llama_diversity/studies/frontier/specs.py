"""A family of settings as it is typed, NAME=ARM with one list of values, and the families of a pair by default."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.mixtures import is_mixture
from llama_diversity.studies.compare.specs import ArmSpec, parse_arm

_LIST = re.compile(r"(?P<key>[a-z][\w.]*)=(?P<values>[^/]+(?:/[^/]+)+)", re.ASCII | re.IGNORECASE)
_NO_LISTS = ("template", "start", "words", "planner")  # their values may hold slashes
REFERENCE = "aligned"


@dataclass(frozen=True)
class Family:
    """A family: its name and one arm for each value, in the order typed."""

    name: str
    settings: tuple[ArmSpec, ...]
    typed: str


def family_of(text: str) -> Family:
    """A family as typed. Raises BadValue.

    >>> [one.name for one in family_of("heat=tiny-aligned,T=0.5/1").settings]
    ['heat T=0.5', 'heat T=1']
    """
    asked, is_system, system = text.partition(",system=")
    name, is_named, rest = (part.strip() for part in asked.partition("="))
    if not is_named or not name or "," in name or not rest:
        raise BadValue("--family", text, "write NAME=MODEL and one list of values: heat=tiny-aligned,T=0.5/0.7/1/1.3")
    option = f"--family {name}"
    parts = rest.split(",")
    lists = [at for at, part in enumerate(parts) if at and _values(part)]
    if len(lists) != 1:
        found = " and ".join(parts[at] for at in lists) or "none"
        raise BadValue(option, text, f"it needs one list of values, like T=0.5/0.7/1, and has {found}")
    [at] = lists
    key, values = parts[at].partition("=")[0], _values(parts[at])
    if len(set(values)) < len(values):
        raise BadValue(option, parts[at], "a value is there twice; leave one out")
    settings = []
    for value in values:
        arm = ",".join([*parts[:at], f"{key}={value}", *parts[at + 1 :]]) + is_system + system
        settings.append(_setting(option, name, key, value, arm))
    return Family(name, tuple(settings), text)


def _values(part: str) -> list[str]:
    """The values of a list, none of another part; route=random:0.2/0.4 says its kind once."""
    found = _LIST.fullmatch(part)
    if found is None or found["key"] in _NO_LISTS:
        return []
    first, *others = found["values"].split("/")
    kind, is_kind, _ = first.rpartition(":")
    return [first, *(f"{kind}:{one}" if is_kind and ":" not in one else one for one in others)]


def _setting(option: str, family: str, key: str, value: str, arm: str) -> ArmSpec:
    """One setting. Its random numbers are its own, by its name: two settings of one recipe are not one sample."""
    try:
        spec = parse_arm(f"{family}={arm}")
    except BadValue as error:
        raise BadValue(option, f"{key}={value}", str(error).partition("; ")[2].removesuffix(".")) from error
    if spec.n is not None:
        raise BadValue(option, f"n={spec.n}", "settings share one budget of tokens; -n holds for all of them")
    name = f"{family} {key}={value}"
    seed = spec.seed or int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return dataclasses.replace(spec, name=name, seed=seed)


def families_of(typed: Sequence[str]) -> tuple[Family, ...]:
    """The families as typed, each with as many settings. Raises BadValue, BadUsage."""
    families = tuple(map(family_of, typed))
    names = [one.name for one in families]
    if len(set(names)) < len(names):
        raise BadUsage(f"Each family needs a name of its own; these are {', '.join(names)}.")
    if len({len(one.settings) for one in families}) > 1:
        sizes = ", ".join(f"{one.name} {len(one.settings)}" for one in families)
        raise BadUsage(
            f"Families need the same number of settings, or the one with more has more chances: {sizes}. Add values to "
            "the shorter lists or take some from the longer ones."
        )
    return families


def reference_of(typed: str | None, aligned: str | None) -> ArmSpec:
    """What every setting is set against: an arm as typed, or the raw aligned model. Raises BadValue, BadUsage."""
    if typed is None and aligned is None:
        raise BadUsage(f"Name what settings are set against: --reference {REFERENCE}=MODEL, or a pair.")
    if typed is None:
        return ArmSpec(REFERENCE, str(aligned))
    try:
        return parse_arm(typed)
    except BadValue as error:
        raise BadValue("--reference", typed, str(error).partition("; ")[2].removesuffix(".")) from error


def usual(base: str, aligned: str) -> tuple[str, ...]:
    """Four families of a pair, four settings each: hotter, two cuts of a hot sampler, and the way back to the base.

    Raises BadUsage for a mixture, between which and a model there is no way.
    """
    for one in filter(is_mixture, (base, aligned)):
        raise BadUsage(
            f"The usual families hold a way from the aligned model back to the base, and {one} is a mixture, which "
            f"cannot be mixed again. Name families: --family heat={aligned},T=1.15/1.3/1.5."
        )
    return (
        f"heat={aligned},T=1.15/1.3/1.5/1.8",
        f"min-p={aligned},T=1.8,min_p=0.02/0.05/0.1/0.2",
        f"top-p={aligned},T=1.8,top_p=0.8/0.9/0.95/0.98",
        f"dial=mix:{base},{aligned},lambda=0.2/0.4/0.6/0.8",
    )
