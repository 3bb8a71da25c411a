"""Chat templates: a model's own Jinja template, rendered by us in a sandbox with a frozen date.

Never a template by guess: a model without one has no chat. The template comes out of a downloaded file, so it is
treated as hostile: no attribute of Python is within its reach, its output is bounded and so is its time. Nor is it
believed: what is asked, and the system text where there is one, must come out of it whole, or the prompt is refused.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from llama_diversity.errors import BadValue, TemplateError

FROZEN_DATE = "2024-07-26"  # templates that print today's date would change the prompt daily
_LONGEST_CHARACTERS = 1_000_000
_LONGEST_SECONDS = 5.0
_ASK_RAW = "where chat was asked for (--chat, or chat in --arm) leave it out"  # `decompose` asks for none, and chats
_MARKS = {"user": "llamadivMark0User", "system": "llamadivMark0System"}
_GIVEN = frozenset(["messages", "add_generation_prompt", "bos_token", "eos_token"])  # no values of these are taken
_WORDS = {"user": "what is asked", "system": "the system text"}
_SHOWN_PARTS = re.compile(r"""['"]type['"]: ?['"]text['"]""")  # a list of parts printed as such, not read
_LONGEST_SHOWN = 60  # characters of a text that an error repeats


class Part(NamedTuple):
    """A piece of a prompt: the template's own, or a text as it was given to it."""

    text: str
    is_template: bool


class Rendered(NamedTuple):
    """A prompt in pieces, in order: `text` is all of it."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """What the model reads, before it is tokenised."""
        return "".join(part.text for part in self.parts)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, without what makes something huge in one step: no clock ends that before it is done."""

    intercepted_binops = frozenset(["*", "**"])

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.filters["batch"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`left * right` or `left ** right`. Raises SecurityError for what would be too large."""
        if _size_of(operator, left, right) > _LONGEST_CHARACTERS:
            raise SecurityError(f"{operator} would make too large a value")
        return super().call_binop(context, operator, left, right)


def _size_of(operator: str, left: Any, right: Any) -> int:
    """About how many characters, items or bits the result has; 0 where that is sure to be little."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        return bits * abs(right) if operator == "**" else bits + right.bit_length()
    many, times = (right, left) if isinstance(left, int) else (left, right)
    return len(many) * times if isinstance(many, str | list | tuple) and isinstance(times, int) else 0


class Chat:
    """One chat template with the names of the model's special tokens. Raises TemplateError when it does not compile."""

    def __init__(self, template: str, *, bos: str, eos: str) -> None:
        self._source = template
        self.digest = hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
        # As transformers gives them: `tools is not none` must be false, and is true of what is undefined.
        self._names = {"bos_token": bos, "eos_token": eos, "tools": None, "documents": None}
        self._frames: dict[
            tuple[bool, str | None], tuple[_Form, list[str]]
        ] = {}  # by whether a system speaks, and args
        environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _GenerationTag],
            optimized=False,  # it would compute constants, however large, while it compiles, before any clock runs
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=_refuse, strftime_now=_frozen_time, namespace=_Namespace)
        try:
            self._template = environment.from_string(template)
        except (JinjaError, RecursionError, MemoryError) as error:
            raise _broken(error) from error

    def render(self, user: str, *, system: str | None = None, args: str | None = None) -> Rendered:
        """The prompt that asks `user` and opens the assistant's turn; `args` are further values, a JSON object.

        Blanks around a text may be lost, nothing else. Raises TemplateError, also where the template has no place for a
        text or changes it, and BadValue for a value that it does not read.
        """
        given = self._checked({} if args is None else json.loads(args))
        texts = {"user": user} if system is None else {"system": system, "user": user}
        key = system is None, args
        if key not in self._frames:  # what is asked is no part of it
            self._frames[key] = self._marked(texts, given)
        form, marked = self._frames[key]
        rendered = self._rendered(texts, form, given)
        for chosen in itertools.product(*map(_trimmed, texts.values())):
            parts = _filled(marked, dict(zip(texts, chosen, strict=True)))
            if "".join(part.text for part in parts) == rendered:
                return Rendered(parts)
        return Rendered(tuple(_found(rendered, marked, texts)))

    def _checked(self, args: dict[str, Any]) -> dict[str, Any]:
        for name, value in args.items():
            if name in _GIVEN:
                raise BadValue("--template-arg", f"{name}={value}", f"{name} is given to every template as it is")
            if not re.search(rf"(?<![\w.'\"]){re.escape(name)}\b", self._source):
                raise BadValue("--template-arg", f"{name}={value}", "the chat template reads no value of that name")
        return args

    def _marked(self, texts: Mapping[str, str], args: Mapping[str, Any]) -> tuple[_Form, list[str]]:
        """How the texts must be given to come out, and what the template writes around and between their marks."""
        marks = {kind: _MARKS[kind] for kind in texts}
        refusal: TemplateError | None = None
        for form in _FORMS:
            try:
                rendered = self._rendered(marks, form, args)
            except TemplateError as error:
                refusal = refusal or error
                continue
            marked = re.split(f"({'|'.join(marks.values())})", rendered)
            lost = [kind for kind, mark in marks.items() if mark not in marked]
            if not lost and not (any(form) and _SHOWN_PARTS.search(rendered)):
                return form, marked
            refusal = refusal or (_missing(lost[-1], texts, rendered) if lost else None)
        raise refusal or _lost([*texts][-1])

    def _rendered(self, texts: Mapping[str, str], form: _Form, args: Mapping[str, Any]) -> str:
        messages = [
            {"role": kind, "content": [{"type": "text", "text": text}] if getattr(form, kind) else text}
            for kind, text in texts.items()
        ]
        outcome: list[str | BaseException] = []
        # A template may loop for ever without writing anything. A daemon thread cannot be stopped, but it can be left.
        worker = threading.Thread(target=self._render_into, args=(outcome, messages, args), daemon=True)
        worker.start()
        worker.join(_LONGEST_SECONDS)
        if not outcome:
            raise TemplateError(
                f"The chat template ran longer than {_LONGEST_SECONDS:g} seconds. Name another model, or {_ASK_RAW}."
            )
        if isinstance(outcome[0], BaseException):
            raise _broken(outcome[0]) from outcome[0]
        return outcome[0]

    def _render_into(
        self, outcome: list[str | BaseException], messages: list[dict[str, Any]], args: Mapping[str, Any]
    ) -> None:
        try:
            parts: list[str] = []
            length = 0
            given = {**self._names, **args, "messages": messages, "add_generation_prompt": True}
            for part in self._template.generate(given):
                parts.append(part)
                length += len(part)
                if length > _LONGEST_CHARACTERS:
                    raise TemplateError(f"it wrote more than {_LONGEST_CHARACTERS:,} characters")
            outcome.append("".join(parts))
        except BaseException as error:  # noqa: BLE001  whatever a foreign template raises is handed to the caller
            outcome.append(error)


# ---- what came out of what was put in


class _Form(NamedTuple):
    """Whether a message's content is given as a list of parts, as some templates want it, or as text."""

    user: bool
    system: bool


_FORMS = (_Form(False, False), _Form(True, True), _Form(True, False), _Form(False, True))


def _trimmed(text: str) -> list[str]:
    """The text as it is, and without the blanks or line breaks that templates take away at either end."""
    lefts = [text, text.lstrip("\n"), text.lstrip()]
    return list(dict.fromkeys(one for left in lefts for one in (left, left.rstrip("\n"), left.rstrip())))


def _filled(marked: Sequence[str], texts: Mapping[str, str]) -> tuple[Part, ...]:
    """The pieces of a marked prompt with `texts` in place of their marks; empty ones are left out."""
    kinds = {_MARKS[kind]: text for kind, text in texts.items()}
    parts = (Part(kinds.get(piece, piece), piece not in kinds) for piece in marked)
    return tuple(part for part in parts if part.text)


def _found(rendered: str, marked: Sequence[str], texts: Mapping[str, str]) -> Iterator[Part]:
    """The texts in a prompt whose frame depends on them, where they stand in it as often as their marks do."""
    at = 0
    cores = {_MARKS[kind]: (kind, text.strip()) for kind, text in texts.items()}
    for mark, (kind, core) in cores.items():
        if core and rendered.count(core) != marked.count(mark):
            raise _changed(kind, core)
    for kind, core in (cores[piece] for piece in marked if piece in cores and cores[piece][1]):
        place = rendered.find(core, at)
        if place < 0:  # in another order than their marks
            raise _changed(kind, core)
        yield from ([Part(rendered[at:place], True)] if place > at else [])
        yield Part(core, False)
        at = place + len(core)
    if at < len(rendered):
        yield Part(rendered[at:], True)


def _missing(kind: str, texts: Mapping[str, str], rendered: str) -> TemplateError:
    """Why the mark of a text is not in a prompt: it is there in other letters, large ones for instance, or not."""
    is_there = _MARKS[kind].casefold() in rendered.casefold()
    return _changed(kind, texts[kind]) if is_there else _lost(kind)


def _lost(kind: str) -> TemplateError:
    if kind == "system":
        return TemplateError(
            "The chat template has no place for a system text: it would not reach the model. Put it into the prompt "
            "itself, or leave it out (--system, or system= in --arm)."
        )
    return TemplateError(
        "The chat template loses what is asked: it does not come out of it, neither as a text nor as a list of parts. "
        f"Name another template for this model in models.toml, or {_ASK_RAW}."
    )


def _changed(kind: str, text: str) -> TemplateError:
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return TemplateError(
        f"The chat template changes {_WORDS[kind]}: {shown!r} does not come out of it as it is. Ask in other words, "
        f"name another template for this model in models.toml, or {_ASK_RAW}."
    )


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
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Any) -> Any:
        return caller()


class _Namespace(Namespace):
    """Jinja's own, which takes names of Python's too; templates have no business with those."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that a template may call a name `self`
        named = dict(*args[1:], **kwargs)
        _check_names(named)
        Namespace.__init__(args[0], named)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_names([name])
        super().__setitem__(name, value)


def _check_names(names: Iterable[object]) -> None:
    for name in names:
        if str(name).startswith("_"):
            raise SecurityError(f"a namespace has no place for {name!r}")


def _to_json(
    value: Any,
    *,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(f"it says: {message}")


def _frozen_time(form: str) -> str:
    return datetime.datetime.fromisoformat(FROZEN_DATE).strftime(form)


def _broken(error: BaseException) -> TemplateError:
    said = f"{type(error).__name__}: {error}" if not isinstance(error, TemplateError) else str(error)
    return TemplateError(f"The chat template cannot be used: {said}. Name another model, or {_ASK_RAW}.")
