"""A grammar (GBNF) of whole personas, made from the fields: what a model then writes is no longer what it would say."""

from __future__ import annotations

from collections.abc import Sequence

from llama_diversity.studies.population.asking import Asked, is_text
from llama_diversity.studies.population.target import Bin, Field, Target

_OLDEST_SPAN = 29  # above the first of an open bin
_MOST_LETTERS = 8  # of a word, on average with its blank
_SHORT, _LONG = 60, 400  # characters of a free field, where no number of words is given


def grammar(asked: Asked, target: Target) -> str:
    """The lines that `asked` wants, each once and in its order; values as the target has them."""
    parts = []
    for at, name in enumerate(asked.order):
        field = target.field(name)
        label = f"{field.label}:" if at or asked.begins_with is None else ""
        parts.append(f"{_quoted(label + ' ')} {_value(field)} {_quoted(chr(10))}")
    return f"root ::= {' '.join(parts)}\n"


def _value(field: Field) -> str:
    if field.is_number:
        return f"({' | '.join(_numbers(field.bins))})"
    if not field.is_free:
        return f"({' | '.join(_quoted(value) for value in field.shares)})"
    most = _LONG if is_text(field) else _SHORT
    if field.max_words is not None:
        most = min(most, field.max_words * _MOST_LETTERS)
    return rf"[^\x00-\x1f\x7f \"] [^\x00-\x1f\x7f\"]{{1,{max(1, most - 1)}}}"


def _numbers(bins: Sequence[Bin]) -> list[str]:
    found = []
    for one in bins:
        high = one.low + _OLDEST_SPAN if one.high is None else one.high
        found += [_quoted(str(number)) for number in range(one.low, high + 1)]
    return found


def _quoted(text: str) -> str:
    escapes: dict[str, str | int | None] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return f'"{text.translate(str.maketrans(escapes))}"'
