"""Whether an output can be used: it answers, it has a pattern, it is JSON of a schema; and if not, why, in a few words.

Reasons are short and hold no words of the output, so that they can be counted. Needs texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_diversity.answers import Answer
from llama_diversity.errors import BadValue

_LONGEST = 60  # characters of what a schema asks, in a reason


@dataclass(frozen=True)
class Judge:
    """What a usable output must contain (`pattern`), and of which JSON it must be (`schema`); without them, have text.

    Raises BadValue for a pattern or a schema that is none; `named` is what a schema is called there.
    """

    pattern: str | None = None
    schema: Mapping[str, Any] | bool | None = None
    named: str = ""

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise BadValue("--valid", self.pattern, f"it is no regular expression: {error}") from error
        if self.schema is not None:
            object.__setattr__(self, "_validator", self._made())

    def _made(self) -> Any:
        from jsonschema import Draft202012Validator, SchemaError  # takes longer to load than most runs to judge
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind = validator_for(self.schema, default=Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            raise BadValue("--schema", self.named, f"it is no JSON schema: {error.message[:_LONGEST]}") from error
        return kind(self.schema, registry=Registry())  # what is not in the schema is not fetched

    def flaw(self, answer: Answer) -> str | None:
        """Why an output cannot be used; None where it can. Raises BadValue for a schema that refers to another."""
        found = answer.flaw or self._flaw(answer.text)
        if found is None or answer.is_thinking or not answer.is_cut_off:
            return found
        return f"{found}, cut off by --max-tokens"

    def _flaw(self, text: str) -> str | None:
        if self.pattern is not None and not re.search(self.pattern, text):
            return "does not have the pattern"
        return None if self.schema is None else self._flaw_of_json(text)

    def _flaw_of_json(self, text: str) -> str | None:
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return "JSON among other text" if _has_json(text) else "no JSON"
        try:
            error = best_match(self._validator.iter_errors(value))  # type: ignore[attr-defined]
        except Unresolvable as missing:
            raise BadValue("--schema", self.named, f"it refers to {missing.ref}, which is not in it") from missing
        return None if error is None else _reason(error)


def _has_json(text: str) -> bool:
    """Whether an object or an array stands somewhere in a text, such as in a fence of code."""
    opening = re.search(r"[{\[]", text)
    if opening is None:
        return False
    try:
        json.JSONDecoder().raw_decode(text, opening.start())
    except (ValueError, RecursionError):
        return False
    return True


def _reason(error: Any) -> str:
    """Where in the JSON, and what is asked there; the places of a list are one."""
    place = re.sub(r"\[\d+\]", "[]", error.json_path)
    if error.validator == "required":
        return f"{place}: {error.message}"
    asked = json.dumps(error.validator_value, ensure_ascii=False)
    return f"{place}: not {error.validator} {asked if len(asked) <= _LONGEST else f'{asked[:_LONGEST]}…'}"
