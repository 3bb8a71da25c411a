"""Sets of which every valid answer is known: those that ship, strings of digits with a given sum, and a file's.

A file is TOML (`raw` and `chat` prompts, or `prompt` for both, and `answers`), JSON Lines (a set a line, by the same
names), or plain text: the prompt in the first line, an answer in each other one.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from llama_diversity.errors import BadValue
from llama_diversity.studies.valid.analysis import Answers

OPTION = "--set"
DIGITS = "digits"
N_DIGITS, DIGIT_SUM = 3, 9
_MOST_STRINGS = 2000
_MOST_BYTES = 16 * 2**20
_NAMES = {"title", "raw", "chat", "prompt", "answers", "initial", "name"}


@dataclass(frozen=True)
class AnswerSet:
    """A set by its name: the wordings that ask for one of its answers, and these; `word` names it to --set."""

    name: str
    title: str
    raw: tuple[str, ...]
    chat: tuple[str, ...]
    answers: Answers
    word: str

    def prompts(self, *, is_chat: bool) -> tuple[str, ...]:
        """The wordings for one way of asking."""
        return self.chat if is_chat else self.raw


def read_sets(named: Sequence[str]) -> tuple[AnswerSet, ...]:
    """The sets of names, of `digits-N-SUM` and of files, in order; all that ship where none is named. Raises BadValue.

    >>> [(one.name, len(one.answers.names)) for one in read_sets(["months", "digits-2-3"])]
    [('months', 12), ('digits-2-3', 4)]
    """
    found = [one for name in named or shipped() for one in _named(name)]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise BadValue(OPTION, name, "it is there twice; leave one out, or give it another name")
    return tuple(found)


def shipped() -> list[str]:
    """The names of the sets that ship."""
    return list(_shipped())


def _shipped() -> dict[str, Any]:
    return tomllib.loads(resources.files("llama_diversity").joinpath("data/valid.toml").read_text("utf-8"))


def _named(name: str) -> Iterator[AnswerSet]:
    if name == DIGITS or (spec := re.fullmatch(rf"{DIGITS}-(\d+)-(\d+)", name)):
        n, total = (N_DIGITS, DIGIT_SUM) if name == DIGITS else map(int, spec.groups())  # type: ignore[union-attr]
        yield _digits(name, n, total)
    elif name in _shipped():
        yield _made(name, _shipped()[name], word=name, value=name)
    elif Path(name).is_file():
        yield from _of_file(Path(name))
    else:
        raise BadValue(OPTION, name, f"it is no file, and the sets are {', '.join(shipped())}, {DIGITS}-N-SUM")


def _digits(name: str, n: int, total: int) -> AnswerSet:
    if not 1 <= n <= 6 or not 0 <= total <= 9 * n:
        raise BadValue(OPTION, name, "N is 1 to 6 digits, and SUM at most 9 for each")
    strings = ["".join(map(str, one)) for one in itertools.product(range(10), repeat=n) if sum(one) == total]
    if len(strings) > _MOST_STRINGS:
        raise BadValue(OPTION, name, f"{len(strings):,} strings have this sum, and at most {_MOST_STRINGS:,} are asked")
    given = {key: _filled(value, n, total) for key, value in _shipped()[DIGITS].items()}
    return _made(name, {**given, "answers": strings}, word=name, value=name)


def _filled(value: Any, n: int, total: int) -> Any:
    return value.format(n=n, sum=total) if isinstance(value, str) else [one.format(n=n, sum=total) for one in value]


# ---- files


def _of_file(path: Path) -> Iterator[AnswerSet]:
    if path.stat().st_size > _MOST_BYTES:
        raise BadValue(OPTION, str(path), f"it has more than {_MOST_BYTES // 2**20} MiB")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(OPTION, str(path), f"byte {error.start} is no UTF-8; save it as UTF-8") from error
    suffix, value = path.suffix.casefold(), str(path)
    if suffix == ".toml":
        try:
            yield _made(path.stem, tomllib.loads(text), word=value, value=value)
        except tomllib.TOMLDecodeError as error:
            raise BadValue(OPTION, value, f"it is no TOML: {error}") from error
    elif suffix in (".jsonl", ".ndjson"):
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if not lines:
            raise BadValue(OPTION, value, "it is empty; a line is a set with prompt and answers")
        for number, line in lines:
            yield _of_line(path, number, line, is_alone=len(lines) == 1)
    elif suffix in ("", ".txt"):
        prompt, *answers = text.splitlines() or [""]
        yield _made(path.stem, {"prompt": prompt, "answers": [one for one in answers if one]}, word=value, value=value)
    else:
        raise BadValue(OPTION, value, f"a {suffix} file is not read; write .toml, .jsonl or .txt")


def _of_line(path: Path, number: int, line: str, *, is_alone: bool) -> AnswerSet:
    where = f"{path}, line {number}"
    try:
        given = json.loads(line)
    except ValueError as error:
        raise BadValue(OPTION, where, f"it is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadValue(OPTION, where, 'a line is {"prompt": ..., "answers": [...]}')
    name = given.get("name", path.stem if is_alone else f"{path.stem}-{number}")
    return _made(name, given, word=str(path), value=where)


# ---- what a set must be


def _made(name: Any, given: Mapping[str, Any], *, word: str, value: str) -> AnswerSet:
    """A set from what was written, `value` in messages. Raises BadValue."""
    for key in given:
        if key not in _NAMES:
            raise BadValue(OPTION, value, f"“{key}” is unknown; there are {', '.join(sorted(_NAMES))}")
    both = _texts(given.get("prompt", []), "prompt", value)
    raw, chat = (_texts(given.get(key, []), key, value) or both for key in ("raw", "chat"))
    if not raw and not chat:
        raise BadValue(OPTION, value, "it has no prompt; write raw, chat or prompt")
    if given.get("initial", "as given") not in ("as given", "either"):
        raise BadValue(OPTION, value, 'initial is "either" or is left out')
    forms = _forms(given.get("answers"), value, either=given.get("initial") == "either")
    title = given.get("title", name)
    if not isinstance(title, str) or not isinstance(name, str) or not name:
        raise BadValue(OPTION, value, "title and name are texts")
    return AnswerSet(name, title, raw, chat, Answers(forms), word)


def _texts(written: Any, key: str, value: str) -> tuple[str, ...]:
    texts = [written] if isinstance(written, str) else written
    if not isinstance(texts, list) or not all(isinstance(one, str) and one.strip() for one in texts):
        raise BadValue(OPTION, value, f"{key} is a text or a list of texts, none of them empty")
    if len(set(texts)) < len(texts):
        raise BadValue(OPTION, value, f"{key} has the same wording twice")
    return tuple(texts)


def _forms(written: Any, value: str, *, either: bool) -> tuple[tuple[str, ...], ...]:
    if not isinstance(written, list) or not written:
        raise BadValue(OPTION, value, "it has no answers; write all that are valid")
    forms = [_of_answer(one, value, either=either) for one in written]
    if len(forms) < 2:
        raise BadValue(OPTION, value, "a set has two answers or more: of one there is no diversity")
    first: dict[str, int] = {}
    for number, some in enumerate(forms):
        for form in some:
            if first.setdefault(form, number) != number:
                raise BadValue(OPTION, value, f"the answer “{form}” is there twice; leave one out")
    return tuple(forms)


def _of_answer(written: Any, value: str, *, either: bool) -> tuple[str, ...]:
    forms = [written] if isinstance(written, str) else written
    if not isinstance(forms, list) or not forms or not all(isinstance(one, str) for one in forms):
        raise BadValue(OPTION, value, f"{written!r} is no answer; it is a text, or a list of its forms")
    for form in forms:
        if not form.strip():
            raise BadValue(OPTION, value, "an answer is empty")
        if form != form.strip() or not form.isprintable():
            raise BadValue(OPTION, value, f"the answer {form!r} has blanks around it, or a line break")
    if either:
        forms = [way for form in forms for way in (form, _other_initial(form))]
    return tuple(dict.fromkeys(forms))


def _other_initial(form: str) -> str:
    """
    >>> _other_initial("gold"), _other_initial("Gold"), _other_initial("7")
    ('Gold', 'gold', '7')
    """
    return form[0].swapcase() + form[1:]
