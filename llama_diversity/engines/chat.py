"""Chat templates: a model's own Jinja template, rendered by us in a sandbox with a frozen date.

Never a template by guess: a model without one has no chat. The template comes out of a downloaded file, so it is
treated as hostile: no attribute of Python is within its reach, its output is bounded and so is its time.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llama_diversity.errors import TemplateError

FROZEN_DATE = "2024-07-26"  # templates that print today's date would change the prompt daily
_LONGEST_CHARACTERS = 1_000_000
_LONGEST_SECONDS = 5.0
_ASK_RAW = "where chat was asked for (--chat, or chat in --arm) leave it out"  # `decompose` asks for none, and chats


class Chat:
    """One chat template with the names of the model's special tokens. Raises TemplateError when it does not compile."""

    def __init__(self, template: str, *, bos: str, eos: str) -> None:
        self.digest = hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
        self._names = {"bos_token": bos, "eos_token": eos}
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=_refuse, strftime_now=_frozen_time)
        try:
            self._template = environment.from_string(template)
        except (JinjaError, RecursionError, MemoryError) as error:
            raise _broken(error) from error

    def render(self, user: str, *, system: str | None = None) -> str:
        """The prompt that asks `user` and opens the assistant's turn. Raises TemplateError."""
        messages = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": user})
        outcome: list[str | BaseException] = []
        # A template may loop for ever without writing anything. A daemon thread cannot be stopped, but it can be left.
        worker = threading.Thread(target=self._render_into, args=(outcome, messages), daemon=True)
        worker.start()
        worker.join(_LONGEST_SECONDS)
        if not outcome:
            raise TemplateError(
                f"The chat template ran longer than {_LONGEST_SECONDS:g} seconds. Name another model, or {_ASK_RAW}."
            )
        if isinstance(outcome[0], BaseException):
            raise _broken(outcome[0]) from outcome[0]
        return outcome[0]

    def _render_into(self, outcome: list[str | BaseException], messages: list[dict[str, str]]) -> None:
        try:
            parts: list[str] = []
            length = 0
            for part in self._template.generate(messages=messages, add_generation_prompt=True, **self._names):
                parts.append(part)
                length += len(part)
                if length > _LONGEST_CHARACTERS:
                    raise TemplateError(f"it wrote more than {_LONGEST_CHARACTERS:,} characters")
            outcome.append("".join(parts))
        except BaseException as error:  # noqa: BLE001  whatever a foreign template raises is handed to the caller
            outcome.append(error)


def no_template(reference: str) -> TemplateError:
    """The error for asking a model that was not trained to chat."""
    return TemplateError(
        f"{reference} has no chat template: it continues raw text and cannot be asked. Name a model that has one, or "
        f"{_ASK_RAW}."
    )


class _GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}` marks the assistant's words for training; here it prints its body."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, *, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(f"it says: {message}")


def _frozen_time(form: str) -> str:
    return datetime.datetime.fromisoformat(FROZEN_DATE).strftime(form)


def _broken(error: BaseException) -> TemplateError:
    said = f"{type(error).__name__}: {error}" if not isinstance(error, TemplateError) else str(error)
    return TemplateError(f"The chat template cannot be used: {said}. Name another model, or {_ASK_RAW}.")
