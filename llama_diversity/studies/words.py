"""Settings as options of a command line, and back: a result carries the command that makes it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_diversity.errors import BadValue
from llama_diversity.records import Asking
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.samplers import SETTINGS


def template_args_of(typed: Sequence[str], option: str = "--template-arg") -> str | None:
    """Values for a template as a JSON object with sorted keys, None for none; what is no JSON is text. Raises BadValue.

    >>> template_args_of(["enable_thinking=false", "reasoning_effort=low"])
    '{"enable_thinking": false, "reasoning_effort": "low"}'
    """
    found: dict[str, Any] = {}
    for one in typed:
        key, is_given, value = one.partition("=")
        if not is_given or not key.isidentifier():
            raise BadValue(option, one, "write KEY=VALUE, for example enable_thinking=false")
        if key in found:
            raise BadValue(option, one, f"{key} is there twice; leave one out")
        found[key] = _json_or_text(value)
    return json.dumps(found, sort_keys=True) if found else None


def template_words(args: str | None) -> list[str]:
    """The same as options of a command line."""
    return [word for one in arg_words(args) for word in ("--template-arg", one)]


def arg_words(args: str | None) -> list[str]:
    """Values for a template as KEY=VALUE: a text bare, where it would not be taken for something else."""
    given: dict[str, Any] = {} if args is None else json.loads(args)
    return [
        f"{key}={value if isinstance(value, str) and _json_or_text(value) == value else json.dumps(value)}"
        for key, value in given.items()
    ]


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def start_words(start: str) -> str:
    """What a raw text begins with, for a sentence.

    >>> start_words("<s>"), start_words("")
    ('“<s>”', 'nothing')
    """
    return f"“{start}”" if start else "nothing"


def drawing_words(drawing: Drawing) -> list[str]:
    """How a prompt is asked, sampler and seed as options of a command line: what differs, and always the seed."""
    words: list[str] = []
    for one in SETTINGS:
        value = getattr(drawing.sampler, one.name)
        words += [one.options[0], f"{value:g}"] if value != one.off else []
    words += ["--arithmetic"] if drawing.is_set else []
    return [*asking_words(drawing.asking), *words, "--seed", str(drawing.seed)]


def asking_words(asking: Asking) -> list[str]:
    """How a prompt is asked as options of a command line: what differs from the defaults."""
    words = ["--start", asking.start] if asking.start != Asking().start else []
    return [*words, *(["--control-tokens"] if asking.reads_control else [])]
