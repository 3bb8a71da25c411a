"""A target counted from people: a row a person, a column a field.

A column of whole numbers with more than 12 different ones becomes quarters, its decimals rounded; of others each value
is one, and a column with more than 50 is free text. Of the first four fields with shares those pairs are kept of which
every cell would hold five people by chance; what was never seen together then cannot be.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from llama_diversity.studies.population.checks import Malformed, check_field, check_names, fitting_pair, near
from llama_diversity.studies.population.target import Bin, Field, Pair, Target, folded

MOST_VALUES = 50
_MOST_NUMBERS = 12
_PAIRED, _EXPECTED = 4, 5
_DELIMITERS = (",", ";", "\t")
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d+)?")

Columns = Mapping[str, Sequence[str]]


def table_of_csv(text: str) -> dict[str, list[str]]:
    """Columns of a CSV, by its head; parted by whatever parts the head most. Blanks are squeezed. Raises Malformed."""
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [
            (reader.line_num, [" ".join(cell.split()) for cell in row]) for row in reader if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise Malformed(f"it cannot be read as a table: {error}") from error
    if len(rows) < 2:
        raise Malformed("there are no rows below its head" if rows else "it is empty")
    head = rows[0][1]
    twice = [name for name, n in Counter(head).items() if n > 1]
    if twice:
        raise Malformed(f"its head names {twice[0]!r} more than once")
    for line, row in rows[1:]:
        if len(row) != len(head):
            raise Malformed(f"line {line} has {len(row)} cells, and its head names {len(head)} columns")
    return {name: [row[at] for _, row in rows[1:]] for at, name in enumerate(head)}


class Person(NamedTuple):
    """A field, and the cell of each person in it, None of one without or of a free field."""

    field: Field
    cells: list[str | None]


def target_of_people(
    columns: Columns,
    title: str,
    *,
    weight: str | None = None,
    fields: Sequence[str] = (),
    pairs: Sequence[tuple[str, str]] | None = None,
) -> Target:
    """The margins and pairs of a table of people. Raises Malformed."""
    for name in [*fields, *([weight] if weight else []), *itertools.chain(*(pairs or ()))]:
        if name not in columns:
            raise Malformed(f"there is no column {name!r}{near(name, columns)}")
    chosen = list(dict.fromkeys(fields)) or [name for name in columns if name != weight]
    check_names(chosen)
    weights = _weights(columns, weight)
    remarks: list[str] = []
    counted = [_counted(name, columns[name], weights, remarks) for name in chosen]
    fixed = {one.field.name: one for one in counted if one.field.shares}
    wanted = pairs if pairs is not None else _default_pairs(list(fixed.values()))
    for name in itertools.chain(*wanted):
        if name not in fixed:
            raise Malformed(f"{name!r} has no shares, so it cannot be in a pair")
    found = tuple(_pair(fixed[a], fixed[b], weights) for a, b in wanted)
    return Target(title, tuple(one.field for one in counted), pairs=found, remarks=tuple(remarks))


def _weights(columns: Columns, weight: str | None) -> list[float]:
    n = len(next(iter(columns.values()), []))
    if weight is None:
        return [1.0] * n
    for row, one in enumerate(columns[weight], 1):
        if not _DECIMAL.fullmatch(one) or float(one) < 0:
            raise Malformed(f"the weight of person {row} is {one!r}; it must be a number from 0 on")
    weights = [float(one) for one in columns[weight]]
    if not any(weights):
        raise Malformed(f"all weights in {weight!r} are 0")
    return weights


def _counted(name: str, written: Sequence[str], weights: Sequence[float], remarks: list[str]) -> Person:
    known = [one for one in written if one]
    if not known:
        raise Malformed(f"the column {name!r} is empty; name the columns to use")
    if len(known) < len(written):
        remarks.append(
            f"{name} is empty for {len(written) - len(known)} of {len(written)} people; its shares are of the others"
        )
    if all(map(_DECIMAL.fullmatch, known)) and len(set(known)) > _MOST_NUMBERS:
        if any("." in one for one in known):
            remarks.append(f"{name} has decimals; they are rounded to whole numbers")
        return _quarters(name, [round(float(one)) if one else None for one in written], weights)
    usual: dict[str, str] = {}  # of spellings that differ by case and marks alone the most frequent
    for one, _ in Counter(known).most_common():
        usual.setdefault(folded(one) or one, one)
    if len(usual) > MOST_VALUES:
        remarks.append(f"{name} has {len(usual)} different values, so it is free text: the model writes it")
        return Person(Field(name), [None] * len(written))
    cells = [usual[folded(one) or one] if one else None for one in written]
    if len(usual) == 1:
        return Person(Field(name, given=next(iter(usual.values()))), [None] * len(written))
    return Person(check_field(Field(name, shares=_shares(name, cells, weights))), cells)


def _quarters(name: str, numbers: Sequence[int | None], weights: Sequence[float]) -> Person:
    """Bins that hold about a quarter of the people each, the last without an end."""
    known = np.array([one for one in numbers if one is not None])
    lows = sorted({int(known.min()), *(int(np.ceil(one)) for one in np.quantile(known, [0.25, 0.5, 0.75]))})
    highs = [low - 1 for low in lows[1:]]
    bins = [Bin(f"{low}-{high}" if low < high else f"{low}", low, high) for low, high in zip(lows, highs, strict=False)]
    bins.append(Bin(f"{lows[-1]}+", lows[-1], None))
    cells = [next(bin.name for bin in bins if bin.holds(one)) if one is not None else None for one in numbers]
    shares = _shares(name, cells, weights)
    if len(bins) == 1:
        raise Malformed(f"three quarters of the people have one number in {name!r}; leave the column out")
    return Person(
        check_field(Field(name, shares={one.name: shares[one.name] for one in bins}, bins=tuple(bins))), cells
    )


def _shares(name: str, cells: Sequence[str | None], weights: Sequence[float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for cell, weight in zip(cells, weights, strict=True):
        if cell is not None:
            sums[cell] = sums.get(cell, 0.0) + weight
    total = sum(sums.values())
    if not total:
        raise Malformed(f"whoever has a value in {name!r} weighs 0")
    return {cell: sums[cell] / total for cell in sorted(sums)}


def _default_pairs(people: Sequence[Person]) -> list[tuple[str, str]]:
    pairs = []
    for a, b in itertools.combinations(people[:_PAIRED], 2):
        n = sum(one is not None and other is not None for one, other in zip(a.cells, b.cells, strict=True))
        if n * min(a.field.shares.values()) * min(b.field.shares.values()) >= _EXPECTED:
            pairs.append((a.field.name, b.field.name))
    return pairs


def _pair(first: Person, second: Person, weights: Sequence[float]) -> Pair:
    """Counted of those who have both; raked to the margins, which more people stand behind."""
    sums: dict[tuple[str, str], float] = {}
    for a, b, weight in zip(first.cells, second.cells, weights, strict=True):
        if a is not None and b is not None:
            sums[a, b] = sums.get((a, b), 0.0) + weight
    total = sum(sums.values())
    if not total:
        raise Malformed(f"nobody has both {first.field.name} and {second.field.name}")
    return fitting_pair(first.field, second.field, {key: one / total for key, one in sums.items()}, slack=1.0)


def as_written(value: Any) -> str:
    """A cell of Parquet or JSON as CSV would hold it: nothing is empty, blanks are squeezed."""
    return "" if value is None or value != value else " ".join(str(value).split())
