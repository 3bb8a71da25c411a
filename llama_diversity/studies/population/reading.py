"""What an output says of a persona: lines of labels and values, or a JSON object, as models write them.

Labels count by their letters and digits alone, so that case, bullets and Markdown do not matter. Never raises on what
a model wrote, and takes time linear in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from llama_diversity.studies.population.asking import is_text
from llama_diversity.studies.population.target import Target, Unreadable, letters

_MARKS = (":", "：", " - ", " – ")
_MOST_LABEL = 80  # characters; what is longer is a sentence
_LETTERS = re.compile(r"[^\W_]+")
_RULE = re.compile(r"\s*([-=_*#~])(?:\s*\1){2,}\s*|\s*```\w*\s*")
STATED = "probability"  # the folded label of the line in which a call states it
_MOST_JSON = 20_000  # characters of an object


def labelled(text: str, target: Target, *, begins_with: str | None = None) -> dict[str, str]:
    """What stands beside each field's label in the first persona of `text`; as written, not judged.

    `begins_with`: the text goes on behind the label of that field.

    >>> from llama_diversity.studies.population.target import Field
    >>> fields = (Field("age", "Age", {"1-99": 1.0}), Field("review", "Review"))
    >>> labelled("**Age:** 34\\n- Review: Good\\nand warm", Target("", fields, product="A cup"))
    {'age': '34', 'review': 'Good\\nand warm'}
    """
    names = _names(target)
    found = {} if begins_with else _from_json(text, names)
    return found or _from_lines(f"{target.field(begins_with).label}: {text}" if begins_with else text, target, names)


def _names(target: Target) -> dict[str, str]:
    """Folded label or name -> field."""
    return {letters(words): one.name for one in target.fields for words in (one.name, one.label)}


def _from_json(text: str, names: Mapping[str, str]) -> dict[str, str]:
    start = text.find("{")
    if start < 0:
        return {}
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start : start + _MOST_JSON])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    if len(value) == 1 and isinstance(next(iter(value.values())), dict):  # {"customer": {...}}
        value = next(iter(value.values()))
    found: dict[str, str] = {}
    for label, one in value.items():
        name = names.get(letters(label))
        if name and not isinstance(one, (dict, list)) and one is not None:
            found.setdefault(
                name, str(one).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )  # half an emoji
    return found


def _from_lines(text: str, target: Target, names: Mapping[str, str]) -> dict[str, str]:
    """Line by line, until a label comes again or a rule ends the persona; a text goes on over lines without a label."""
    found: dict[str, str] = {}
    current: str | None = None
    for line in text.splitlines():
        if _RULE.fullmatch(line[:200]):
            if found:
                break
            continue
        name, value = _pair(line, names)
        if name is not None:
            if found.get(name):
                break
            found[name], current = value or "", name
        elif value is not None:
            current = None  # a label, but of something that was not asked for
        elif current and line.strip() and (not found[current] or is_text(target.field(current))):
            found[current] = f"{found[current]}\n{line.strip()}".strip()
    return found


def _pair(line: str, names: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Field and value of a line with a label; (None, value) where the label is none of ours, (None, None) without."""
    if line.lstrip().startswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|", 1)]
        name = names.get(letters(cells[0]))
        return (name, cells[1].strip()) if name and len(cells) == 2 else (None, None)
    head = line[: _MOST_LABEL + 3]
    places = [(head.find(mark), mark) for mark in _MARKS if mark in head]
    if not places:
        return None, None
    at, mark = min(places)
    label, value = line[:at], line[at + len(mark) :]
    name = names.get(letters(re.sub(r"^\s*\d{1,3}[.)]\s*", "", label)))
    if name:
        return name, value.strip().removeprefix("**").strip()
    is_label = len(_LETTERS.findall(label)) <= 3 and label.strip()[:1].isupper()
    return None, value if is_label else None


def lacking(found: Mapping[str, str], order: Sequence[str], target: Target) -> str | None:
    """Why an output is no persona, in a few words; None where each field that was asked for is there."""
    if not any(found.get(name) for name in order):
        return "nothing that looks like a persona"
    missing = next((name for name in order if not found.get(name, "").strip()), None)
    return None if missing is None else f"no {target.field(missing).label}"


def restated(text: str, given: Mapping[str, str], target: Target) -> str | None:
    """In which field a text contradicts what it was given, by a line of its own; None where it does not."""
    said = _from_lines(text, target, _names(target))
    for name, value in given.items():
        if said.get(name):
            try:
                if target.field(name).read(said[name]).value != target.field(name).read(value).value:
                    return target.field(name).label
            except Unreadable:
                return target.field(name).label
    return None
