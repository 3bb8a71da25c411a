"""A sampler as it is typed for one arm, T=0.7,top_k=40, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from llama_diversity.errors import BadValue
from llama_diversity.records import Sampler
from llama_diversity.studies.drawing import refuse_cuts_of_greedy

SAMPLER_KEYS = {"T": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}


def sampler_parts(fields: Mapping[str, float]) -> list[str]:
    """Fields of a sampler as they are typed.

    >>> sampler_parts({"temperature": 0.7, "top_k": 40})
    ['T=0.7', 'top_k=40']
    """
    names = {value: key for key, value in SAMPLER_KEYS.items()}
    return [f"{names[key]}={value:g}" for key, value in fields.items()]


def parse_sampler(text: str) -> dict[str, float]:
    """The fields of a sampler as typed for --sampler. Raises BadValue.

    >>> parse_sampler("T=0.7,top_k=40")
    {'temperature': 0.7, 'top_k': 40}
    """
    return sampler_fields("--sampler", text.split(","))


def check_cuts(option: str, changed: Mapping[str, float], typed: Sampler) -> None:
    """Refuse what cuts tokens off where an arm, whose fields are `changed`, is greedy, as the options are refused.

    Cuts that were typed for all arms are not those of a greedy one: its recipe is without them. Raises BadValue.
    """
    temperature = changed.get("temperature", typed.temperature)
    names = {value: key for key, value in SAMPLER_KEYS.items()}
    for name, value in changed.items():
        with under(option, f"{names[name]}={value:g}"):
            refuse_cuts_of_greedy(Sampler(**{"temperature": temperature, name: value}))  # type: ignore[arg-type]


def sampler_fields(option: str, parts: Sequence[str]) -> dict[str, float]:
    """Parts as T=0.7 by the names of the sampler's fields. Raises BadValue."""
    found: dict[str, float] = {}
    for part in parts:
        key = part.partition("=")[0]
        if key not in SAMPLER_KEYS:
            raise BadValue(option, part, f"a part is {'=, '.join(SAMPLER_KEYS)}=")
        if SAMPLER_KEYS[key] in found:
            raise BadValue(option, part, f"{key} is there twice; leave one out")
        found[SAMPLER_KEYS[key]] = number_of(option, part, int if key == "top_k" else float)
        with under(option, part):
            Sampler(**{SAMPLER_KEYS[key]: found[SAMPLER_KEYS[key]]})  # type: ignore[arg-type]  # top_k is an int
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
