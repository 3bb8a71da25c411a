"""A PDF as the drawer wrote it, put in order: equal pictures are then equal files.

The drawer numbers and writes the objects of a page (fonts, states of opacity) and names them in its dictionary of
resources in an order that is chance. Here an object is numbered when it is first met on the way from the root, and
references that stand below each other are sorted by their names. It knows the plain form that vl-convert writes: a
table of references, and one entry of a dictionary to a line.
"""

from __future__ import annotations

import re
from itertools import pairwise

_DOCUMENT = re.compile(
    rb"(?s)(?P<head>.*?\n)(?=\d+ 0 obj\n).*(?P<table>\bxref\n0 (?P<size>\d+)\n(?P<entries>.*))"
    rb"trailer\n(?P<trailer>.*)startxref\n\d+\n%%EOF\s*"
)
_OBJECT = re.compile(rb"(?s)(\d+) 0 obj\n(.*?)(\nstream\n.*)?\nendobj\s*\Z")  # number, dictionary, what flows
_REFERENCE = re.compile(rb"\b(\d+) 0 R\b")
_NEIGHBOURS = re.compile(rb"(?m)(?:^ +/\S+ \d+ 0 R\n){2,}")


def in_order(content: bytes) -> bytes:
    """The same document, the same bytes for each order of writing; as it is where it is written in another form."""
    document = _DOCUMENT.fullmatch(content)
    objects = _objects(content, document) if document else None
    if document is None or objects is None:
        return content
    dictionaries = {number: _sorted(dictionary) for number, (dictionary, _) in objects.items()}
    numbers: dict[bytes, int] = {}
    waiting = _REFERENCE.findall(document["trailer"])[::-1]
    while waiting:
        met = waiting.pop()
        if met not in numbers:
            numbers[met] = len(numbers) + 1
            waiting += _REFERENCE.findall(dictionaries[met])[::-1]
    return _written(document["head"], document["trailer"], numbers, dictionaries, objects)


def _objects(content: bytes, document: re.Match[bytes]) -> dict[bytes, tuple[bytes, bytes]] | None:
    """By its number, each object's dictionary and what flows behind it; None where one is written otherwise."""
    starts = sorted(int(entry[:10]) for entry in document["entries"].splitlines() if entry.rstrip().endswith(b"n"))
    found = {}
    for start, end in pairwise([*starts, document.start("table")]):
        written = _OBJECT.fullmatch(content, start, end)
        if written is None:
            return None
        found[written[1]] = (written[2], written[3] or b"")
    named = _REFERENCE.findall(b"\n".join([document["trailer"], *(dictionary for dictionary, _ in found.values())]))
    return found if found.keys() >= set(named) and len(found) + 1 == int(document["size"]) else None


def _sorted(dictionary: bytes) -> bytes:
    return _NEIGHBOURS.sub(lambda lines: b"".join(sorted(lines[0].splitlines(keepends=True))), dictionary)


def _written(
    head: bytes,
    trailer: bytes,
    numbers: dict[bytes, int],
    dictionaries: dict[bytes, bytes],
    objects: dict[bytes, tuple[bytes, bytes]],
) -> bytes:
    def renumbered(text: bytes) -> bytes:
        return _REFERENCE.sub(lambda found: b"%d 0 R" % numbers[found[1]], text)

    parts, starts, at = [head], [], len(head)
    for old, number in numbers.items():
        part = b"%d 0 obj\n%s%s\nendobj\n\n" % (number, renumbered(dictionaries[old]), objects[old][1])
        parts.append(part)
        starts.append(at)
        at += len(part)
    entries = b"".join(b"%010d 00000 n\r\n" % start for start in starts)
    table = b"xref\n0 %d\n0000000000 65535 f\r\n%s" % (len(starts) + 1, entries)
    trailer = re.sub(rb"/Size \d+", b"/Size %d" % (len(starts) + 1), renumbered(trailer))
    return b"".join(parts) + table + b"trailer\n" + trailer + b"startxref\n%d\n%%%%EOF" % at
