"""The first persona in an output of a language model: a form, a list, a table, JSON or prose, as models write them.

Reads lines of labels and values (`persona_labels` knows the labels, `persona_values` the values) and JSON objects.
Where lines give less than a whole persona, what sentences state is added (`persona_prose`); what stands beside a label
goes before. Never raises, and takes time linear in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_diversity.studies.personas import values as values
from llama_diversity.studies.personas.labels import MAX_LABEL, NAME, OTHER, WEAK, meaning
from llama_diversity.studies.personas.languages import not_english
from llama_diversity.studies.personas.prose import found_in_prose

FIELDS = ("first_name", "last_name", "gender", "age", "nationality", "ethnicity", "mbti", "review")
_WORDS = {"first_name": "first name", "last_name": "last name", "mbti": "Myers-Briggs type"}
_SEPARATOR = re.compile(r"\s*([-=_*])(?:\s*\1){2,}\s*")
_END_OF_BLOCK = re.compile(r"\s{0,40}(?:```|[}\]]\s{0,40},?\s{0,40}$)")  # a code fence, a bracket alone on its line
_BEFORE_JSON_LABEL = re.compile(r'([,{])\s{0,40}(?="[^"\n]{1,80}"\s{0,40}:)')
_MOST_JSON = 20_000  # characters of an object that trailing commas are looked for in
_Pair = tuple[str, str]


@dataclass(frozen=True)
class Persona:
    """One customer and what they say of the product."""

    first_name: str
    last_name: str
    gender: str
    age: int
    nationality: str
    ethnicity: str
    mbti: str
    review: str
    written: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)  # fields before they were read


@dataclass(frozen=True)
class Rejected:
    """Why an output holds no whole persona, in a few words, and what of it could be read."""

    reason: str
    fields: Mapping[str, str]


def parse(text: str, *, begins_with: str | None = None) -> Persona | Rejected:
    """The first persona of `text`. `begins_with`: the text goes on behind the label of that field.

    Valid: all eight fields; age a whole number of years, one Myers-Briggs type, a review of three words or more.

    >>> parse("no").reason
    'nothing that looks like a persona'
    """
    if not text.strip():
        return Rejected("the text is empty", {})
    found = _read(text, begins_with)
    if isinstance(found, Rejected):
        return Rejected(not_english(text) or found.reason, found.fields)
    return found


def _read(text: str, begins_with: str | None) -> Persona | Rejected:
    found = {} if begins_with else _from_json(text)
    if len(found) < 2:
        if "{" in text:  # an object that cannot be read as a whole: its labels are put on lines of their own
            text = _BEFORE_JSON_LABEL.sub(r"\1\n", text)
        found = _from_lines(f"{begins_with}: {text}" if begins_with else text)
        judged = _judged(found)
        if isinstance(judged, Persona) or begins_with:  # a form that goes on has no prose
            return judged
        found = _with_prose(text, judged.fields)
    return _judged(found)


def _with_prose(text: str, labelled: Mapping[str, str]) -> dict[str, str]:
    """What stands beside labels, and what sentences state; "Her type is INFP and she says:" looks like a label."""
    stated = found_in_prose(text, labelled)
    if "mbti" in stated and not values.mbti_types(labelled.get("mbti", "")):
        labelled = {name: value for name, value in labelled.items() if name != "mbti"}
    return {**stated, **labelled}


def _judged(found: Mapping[str, str]) -> Persona | Rejected:
    kept = {name: found[name] for name in FIELDS if name in found and not values.is_nothing(found[name])}
    if len(kept) < 2:
        return Rejected("nothing that looks like a persona", kept)
    read: dict[str, Any] = {}
    for name in FIELDS:
        if name not in kept:
            return Rejected(f"no {_WORDS.get(name, name)}", kept)
        try:
            read[name] = _value(name, kept[name])
        except values.Unreadable as reason:
            return Rejected(str(reason), kept)
    return Persona(**read, written={name: values.trimmed(kept[name]) for name in FIELDS if name != "review"})


def _value(name: str, text: str) -> str | int:
    if name == "review":
        return values.review(text)
    text = values.trimmed(text)
    if name == "age":
        return values.age(text)
    known = {
        "gender": values.gender,
        "nationality": values.nationality,
        "ethnicity": values.ethnicity,
        "mbti": values.mbti,
    }.get(name, values.name)
    return known(text)


class _Form:
    """Takes labelled values in their order, until a label comes again."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def take(self, field: str, value: str) -> str | None:
        """Keep a value; the field it belongs to, OTHER, or None where the persona is over."""
        if field == WEAK:
            field = "mbti" if values.mbti_types(value) else OTHER
        if field == OTHER:
            return OTHER
        if field == NAME:
            first, last = values.split_name(value)
            if "first_name" in self.found and "last_name" in self.found:
                return None
            self.found.setdefault("first_name", first)
            self.found.setdefault("last_name", last)
            return NAME
        if field in self.found and (self.found[field] or not value):
            return None
        self.found[field] = value
        return field


# ---- lines


def _from_lines(text: str) -> dict[str, str]:
    form, current = _Form(), None
    review: list[str] = []
    for line in text.splitlines():
        if _SEPARATOR.fullmatch(line[:200]) and len(line) <= 200:
            if form.found:
                break
            continue
        pair = _pair(line)
        if pair:
            current = form.take(*pair)
            if current is None:
                break
        elif _END_OF_BLOCK.match(line):
            current = None
        elif current == "review":
            review.append(line)
        elif line.strip():
            _put_under(current, line, form.found)
    if review and "review" in form.found:
        form.found["review"] = "\n".join([form.found["review"], *review])
    return form.found


def _put_under(label: str | None, line: str, found: dict[str, str]) -> None:
    """The value of a label that stood alone on the line before."""
    if label in FIELDS and not found[label]:
        found[label] = line
    elif label == NAME and not found.get("first_name"):
        found["first_name"], found["last_name"] = values.split_name(line)


def _pair(line: str) -> _Pair | None:
    """The field and value of a line with a label, None for any other line."""
    head = line[: MAX_LABEL + 2]
    if head.lstrip().startswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|", 1)]
        field = meaning(cells[0])
        return (field, cells[1]) if field and len(cells) == 2 else None
    for mark in (":", "：", " - ", " – "):
        if mark in head:
            label, _, value = line.partition(mark)
            field = meaning(label)
            if field:
                return field, _beside(label, value)
            break
    bare = head.strip().strip("*#").strip()  # "## Review" alone on its line
    field = meaning(bare) if line.strip() == head.strip() and head.strip()[:1] in {"*", "#"} else None
    return (field, "") if field else None


def _beside(label: str, value: str) -> str:
    """A value without the marks it shares with its label: "**Age:** 32", "**Age: 32**", `"age": "32",`."""
    value = value.strip()
    if label.lstrip().startswith('"'):
        return _json_string(value)
    for mark in ("**", "__"):
        if label.count(mark) % 2:
            return value.removeprefix(mark).strip() if value.startswith(mark) else value.removesuffix(mark).strip()
    return value


# ---- JSON


def _json_string(value: str) -> str:
    """What stands beside a label in an object that cannot be read as a whole; a string that was cut off as it is."""
    try:
        string, end = json.JSONDecoder(strict=False).raw_decode(value)
    except (ValueError, RecursionError):
        return value.removesuffix('",').strip()
    is_whole = isinstance(string, str) and not value[end:].strip(" \t,}]")
    return string if is_whole else value.removesuffix('",').strip()


def _from_json(text: str) -> dict[str, str]:
    start = text.find("{")
    if start == -1:
        return {}
    form = _Form()
    for label, value in _flat(_decoded(text[start:])):
        field = meaning(label)
        if field and form.take(field, value) is None:
            break
    return form.found


def _decoded(text: str) -> Any:
    decoder = json.JSONDecoder(strict=False)
    mended = re.sub(r",(\s{0,40}[}\]])", r"\1", text[:_MOST_JSON]).replace("“", '"').replace("”", '"')
    for form in (text, mended):
        try:
            return decoder.raw_decode(form)[0]
        except (ValueError, RecursionError):
            continue
    return {}


def _flat(tree: Any, depth: int = 0) -> Iterator[_Pair]:
    """Labels and plain values of an object, what is nested in it included; of a list the first element alone."""
    if isinstance(tree, list):
        yield from _flat(tree[0], depth + 1) if tree and depth < 5 else ()
    elif isinstance(tree, dict):
        for label, value in tree.items():
            if isinstance(value, dict | list):
                yield from _flat(value, depth + 1) if depth < 5 else ()
            else:
                yield label, "" if value is None else str(value)
