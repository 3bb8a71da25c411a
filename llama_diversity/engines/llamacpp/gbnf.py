"""What llama.cpp's grammar parser does not survive, found before it is asked. It reads GBNF, and judges no more.

llama.cpp reports most mistakes, but some end the process: a rule that comes back to itself behind something that may
be empty, brackets nested without end, and a reference to a token, which its two halves read differently. Others it
passes over: what follows a NUL, and a limit of more than 2000. Text that is no GBNF passes here, for llama.cpp to name
what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_DEEPEST = 100  # brackets
_FURTHEST = 2000  # repetitions
_TOKEN = re.compile(
    r"""(?P<skipped>[ \t\r\n]+|\#[^\r\n]*)
    |(?P<empty>""|\[\^?\])
    |(?P<text>"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\.)
    |(?P<reference>!?<[^>]*>)
    |(?P<rule>[A-Za-z0-9-]+)(?=[ \t]*::=)
    |(?P<name>[A-Za-z0-9-]+)
    |(?P<repeats>[*?+]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})
    |(?P<sign>::=|[|()])""",
    re.VERBOSE | re.DOTALL,
)


def objection(grammar: str) -> str | None:
    """Why llama.cpp must not be given `grammar`, as the end of a sentence; None where it may.

    >>> objection('root ::= "yes" | "no"') is None
    True
    >>> objection('root ::= blank root "x" | "y"\\nblank ::= " "*')
    "the rule 'root' comes back to itself before it reads a character (left recursion)"
    """
    if not grammar:  # to llama.cpp it is no grammar at all, and all is allowed
        return "it must hold a rule called root"
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in grammar):
        return "it must be UTF-8 text without NUL characters"
    tokens = list(_tokens(grammar))
    references = [word for kind, word in tokens if kind == "reference"]
    if references:
        return f"it must spell the text of a token where it says {references[0]}"
    far = [word for kind, word in tokens if kind == "repeats" and any(map(_is_far, re.findall(r"\d+", word)))]
    if far:
        return f"it must not count beyond {_FURTHEST}, as in {far[0]}: llama.cpp would take that for no limit"
    depth = deepest = 0
    for _, word in tokens:
        depth += {"(": 1, ")": -1}.get(word, 0)
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        return f"it must not nest brackets deeper than {_DEEPEST}"
    rule = _left_recursive(_read(tokens))
    return f"the rule {rule!r} comes back to itself before it reads a character (left recursion)" if rule else None


def _is_far(number: str) -> bool:
    digits = number.lstrip("0")
    return len(digits) > len(str(_FURTHEST)) or int(digits or 0) > _FURTHEST


def _tokens(grammar: str) -> Iterator[tuple[str, str]]:
    """(kind, word) up to the end, or to what is no GBNF."""
    at = 0
    while found := _TOKEN.match(grammar, at):
        at = found.end()
        if found.lastgroup and found.lastgroup != "skipped":
            yield found.lastgroup, found[0]


# ---- left recursion


@dataclass
class _Item:
    """A part of a sequence: text (no name), or what the rule or group called `name` gives."""

    name: str | None
    may_be_empty: bool = False
    is_repeated: bool = False


_Rules = dict[str, list[list[_Item]]]  # rule or group -> its alternatives, each a sequence


def _read(tokens: Sequence[tuple[str, str]]) -> _Rules:
    """The rules as written; a group is a rule of its own, named after the rule it stands in and its number."""
    rules: _Rules = {"": [[]]}
    around = [""]  # the rule that is being read, and within it the groups
    for kind, word in tokens:
        sequence = rules[around[-1]][-1]
        if kind == "rule":
            rules[word] = [[]]
            around = [word]
        elif word == "(":
            name = f"{around[0]}({len(rules)}"
            rules[name] = [[]]
            sequence.append(_Item(name))
            around.append(name)
        elif word == ")" and len(around) > 1:
            around.pop()
        elif word == "|":
            rules[around[-1]].append([])
        elif kind == "repeats" and sequence:
            sequence[-1].may_be_empty |= word[0] in "*?" or re.match(r"\{\s*0*\s*[,}]", word) is not None
            sequence[-1].is_repeated |= word != "?"
        elif kind in ("text", "empty", "name"):
            sequence.append(_Item(word if kind == "name" else None, may_be_empty=kind == "empty"))
    return rules


def _left_recursive(rules: _Rules) -> str | None:
    """A rule that can stand first in itself with something behind: llama.cpp would expand it for ever."""
    empty = _empty_ones(rules)
    first: dict[str, set[str]] = {name: set() for name in rules}  # what can stand first in it
    followed = []  # of those pairs the ones with something behind
    for name, alternatives in rules.items():
        for sequence in alternatives:
            for at, item in enumerate(sequence):
                if item.name in rules:
                    first[name].add(item.name)
                    if item.is_repeated or sequence[at + 1 :]:
                        followed.append((name, item.name))
                if not _may_be_empty(item, empty):
                    break
    return next((name.partition("(")[0] for name, part in followed if name in _reachable(part, first)), None)


def _empty_ones(rules: _Rules) -> set[str]:
    """The rules that may be empty, however indirectly."""
    empty: set[str] = set()
    while True:
        more = {
            name
            for name, alternatives in rules.items()
            if any(all(_may_be_empty(item, empty) for item in sequence) for sequence in alternatives)
        }
        if more == empty:
            return empty
        empty = more


def _may_be_empty(item: _Item, empty: set[str]) -> bool:
    return item.may_be_empty or item.name in empty


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    """`start` and all that follows from it, step by step."""
    reached, waiting = {start}, [start]
    while waiting:
        new = edges[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached
