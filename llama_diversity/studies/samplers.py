"""What of a sampler can be set: as options of a command line, and as it is typed for one arm, T=0.7,top_k=40."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from llama_diversity.errors import BadValue
from llama_diversity.records import Sampler
from llama_diversity.studies.drawing import why_idle


class Setting(NamedTuple):
    """A field of the sampler: how it is typed for all arms and for one of them, and what it does, in a few words."""

    name: str
    key: str  # for one arm
    options: tuple[str, ...]
    kind: type[int] | type[float]
    meaning: str

    @property
    def off(self) -> float | None:
        """The value that changes nothing."""
        value: float | None = getattr(Sampler(), self.name)
        return value


def _setting(name: str, meaning: str, kind: type[int] | type[float] = float) -> Setting:
    return Setting(name, name, (f"--{name.replace('_', '-')}",), kind, meaning)


SETTINGS = (  # in the order in which they act
    Setting("temperature", "T", ("-t", "--temperature"), float, "1, the default, is the model itself, 0 is greedy."),
    Setting("first_temperature", "first_T", ("--first-temperature",), float, "The temperature of the first token."),
    _setting("dynatemp_range", "Temperature give or take R, by the entropy; 0 is off."),
    _setting("dynatemp_exponent", "Above 1 the cooler end of that range for longer."),
    _setting("top_n_sigma", "Keep logits >= the largest - N of their standard deviations; 0 is off."),
    _setting("top_k", "Keep the K likeliest; 0 is off.", int),
    _setting("top_p", "Keep the likeliest up to mass P; 1 is off."),
    _setting("min_p", "Keep p >= P * the largest p; 0 is off."),
    _setting("xtc_probability", "How often to drop all tokens above XTC's threshold but the last; 0 is off."),
    _setting("xtc_threshold", "The p above which XTC drops, 0.1 by default."),
)
SAMPLER_KEYS = {one.key: one.name for one in SETTINGS}
_KINDS = {one.name: one.kind for one in SETTINGS}
_KEYS = {one.name: one.key for one in SETTINGS}


def sampler_parts(fields: Mapping[str, float]) -> list[str]:
    """Fields of a sampler as they are typed.

    >>> sampler_parts({"temperature": 0.7, "top_k": 40})
    ['T=0.7', 'top_k=40']
    """
    return [f"{_KEYS[name]}={value:g}" for name, value in fields.items()]


def parse_sampler(text: str) -> dict[str, float]:
    """The fields of a sampler as typed for --sampler. Raises BadValue.

    >>> parse_sampler("T=0.7,top_k=40")
    {'temperature': 0.7, 'top_k': 40}
    """
    return sampler_fields("--sampler", text.split(","))


def check_cuts(option: str, changed: Mapping[str, float], typed: Sampler) -> None:
    """Refuse of an arm, whose fields are `changed`, what changes nothing, as the options are refused.

    What was typed for all arms is not judged here: the recipe of an arm that it does not change is without it. Raises
    BadValue.
    """
    sampler = dataclasses.replace(typed, **changed)  # type: ignore[arg-type]  # top_k is an int
    off = {one.name: one.off for one in SETTINGS}
    for name, value in changed.items():
        why = why_idle(sampler, name)
        if why is not None and value != off[name]:
            raise BadValue(option, f"{_KEYS[name]}={value:g}", why)


def sampler_fields(option: str, parts: Sequence[str]) -> dict[str, float]:
    """Parts as T=0.7 by the names of the sampler's fields. Raises BadValue."""
    found: dict[str, float] = {}
    for part in parts:
        key = part.partition("=")[0]
        if key not in SAMPLER_KEYS:
            raise BadValue(option, part, f"a part is {'=, '.join(SAMPLER_KEYS)}=")
        name = SAMPLER_KEYS[key]
        if name in found:
            raise BadValue(option, part, f"{key} is there twice; leave one out")
        found[name] = number_of(option, part, _KINDS[name])
        with under(option, part):
            Sampler(**{name: found[name]})  # type: ignore[arg-type]  # top_k is an int
    return found


def number_of(option: str, part: str, kind: type[int] | type[float]) -> float:
    """The number behind the `=` of a part. Raises BadValue."""
    try:
        return kind(part.partition("=")[2])
    except ValueError as error:
        raise BadValue(option, part, "it needs a number") from error


@contextlib.contextmanager
def under(option: str, part: str) -> Iterator[None]:
    """Within it a value is refused under the name by which it was typed."""
    try:
        yield
    except BadValue as error:
        raise BadValue(option, part, str(error).partition("; ")[2].removesuffix(".")) from error
