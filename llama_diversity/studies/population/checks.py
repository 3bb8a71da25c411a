"""What every form of a target is held against: names that can be columns, values that differ, shares that sum to 1."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from llama_diversity.metrics.raking import Contradiction, Margin, fitted
from llama_diversity.studies.population.target import COLUMNS, Bin, Field, Pair, bounds, folded, letters

_SLACK = 0.005  # of a sum of shares, and of a pair's margin: what rounding leaves
_LEAST_COUNTED = 1000  # whole numbers of a table that sum to more are people
_MOST_NAME = 60


class Malformed(ValueError):
    """What is wrong with a target, to go on behind its name and a colon; `next_step` where it is not to correct it."""

    def __init__(self, reason: str, next_step: str = "") -> None:
        super().__init__(reason)
        self.next_step = next_step


def near(name: str, known: Iterable[str]) -> str:
    """What may have been meant, and what there is, as the end of a sentence."""
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (there {'is' if len(listed) == 1 else 'are'} {', '.join(listed[:20]) or 'none'})"


def check_names(names: Iterable[str]) -> None:
    """Raises Malformed for a name that no column can have, or that another is mistaken for."""
    seen: dict[str, str] = {}
    for name in names:
        is_odd = not name or name != name.strip() or not name.isprintable() or set(name) & set(",;:\"'{}")
        if is_odd or len(name) > _MOST_NAME or name[0] in "=+-@" or not folded(name):
            raise Malformed(
                f"a field is called {name[:80]!r}, which CSV or JSON cannot hold safely; use up to {_MOST_NAME} "
                "letters, digits, blanks and _"
            )
        key = folded(name.replace("_", " "))
        if key in COLUMNS:
            raise Malformed(
                f"a field is called {name!r}, as a column that is written beside the fields ({', '.join(COLUMNS)}); "
                "give it another name" + ("; the weights of a table are named by --weight" if key == "weight" else "")
            )
        if key in seen:
            raise Malformed(f"the fields {seen[key]!r} and {name!r} cannot be told apart; rename one")
        seen[key] = name


def check_labels(fields: Iterable[Field]) -> None:
    """Raises Malformed for two fields of which a model's answer would not say which is meant."""
    seen: dict[str, str] = {}
    for one in fields:
        for words in {letters(one.name), letters(one.label)}:
            if seen.setdefault(words, one.name) != one.name:
                raise Malformed(f"the fields {seen[words]!r} and {one.name!r} have one label or name; change it")


def check_field(field: Field) -> Field:
    """The field, if its values can be told apart. Raises Malformed."""
    if set(field.label) & set(":\r\n") or not field.label.isprintable():
        raise Malformed(f"the label of {field.name}, {field.label!r}, must be one line without a colon")
    seen: dict[str, str] = {}
    also = [(value, one) for value, those in field.also.items() for one in those]
    for value, spelling in [*zip(field.shares, field.shares, strict=True), *also]:
        if not folded(spelling) or not spelling.isprintable():
            raise Malformed(f"{field.name} has the value {spelling!r}, in which there is nothing to read")
        if seen.setdefault(folded(spelling), value) != value:
            raise Malformed(f"{field.name} has {seen[folded(spelling)]!r} and {value!r}, both written {spelling!r}")
    if field.shares and len(field.shares) < 2:
        raise Malformed(f'{field.name} has one value for everybody; write fields.{field.name} = "{[*field.shares][0]}"')
    return field


def normalised(shares: Mapping[Any, Any], what: str, *, counts: bool = False) -> dict[Any, float]:
    """Shares of 1: from such or percent, which rounding may leave beside it, or of a table counts. Raises Malformed."""
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or share < 0:
            raise Malformed(f"{what} gives {key!r} the share {share!r}; it must be a number from 0 on")
    total = math.fsum(shares.values())
    is_count = counts and total > _LEAST_COUNTED and all(float(one).is_integer() for one in shares.values())
    if not is_count and not any(abs(total / whole - 1) <= _SLACK for whole in (1, 100)):
        raise Malformed(f"the shares of {what} sum to {total:.6g}; they must sum to 1, or to 100 in percent")
    return {key: share / total for key, share in shares.items()}


def bins_of(name: str, written: Iterable[str]) -> tuple[Bin, ...]:
    """Bins of whole numbers by their names. Raises Malformed where they overlap or leave out a number between them."""
    bins = []
    for one in written:
        limits = bounds(one)
        if limits is None or (limits.high is not None and limits.high < (limits.low or 0)):
            raise Malformed(f"the bin {one!r} of {name} is no range of whole numbers, such as 18-29, 65+ or <18")
        bins.append(Bin(one, limits.low or 0, limits.high))
    ordered = sorted(bins, key=lambda one: one.low)
    for below, above in zip(ordered, ordered[1:], strict=False):
        if below.high is None or below.high >= above.low:
            raise Malformed(f"the bins {below.name!r} and {above.name!r} of {name} overlap")
        if below.high + 1 < above.low:
            raise Malformed(
                f"between the bins {below.name!r} and {above.name!r} of {name} {below.high + 1} to {above.low - 1} are "
                "left out; give them a bin, with a share of 0 where nobody is to be"
            )
    return tuple(bins)


def cell_of(field: Field, written: str) -> str:
    """The value or bin of a field that a table names. Raises Malformed."""
    for value in field.shares:
        spellings = (value, *field.also.get(value, ()))
        if folded(written) in map(folded, spellings) or (field.is_number and bounds(written) == bounds(value)):
            return value
    raise Malformed(f"{written!r} is no value of {field.name}{near(written, field.shares)}")


def fitting_pair(first: Field, second: Field, table: Mapping[tuple[str, str], Any], *, slack: float = _SLACK) -> Pair:
    """A pair whose margins are those of its fields: what rounding left is raked away, more is refused. Malformed."""
    what = f"the pair {first.name} and {second.name}"
    shares = normalised(table, what, counts=True)
    dense = np.array([[shares.get((a, b), 0.0) for b in second.shares] for a in first.shares])
    for field, sums in ((first, dense.sum(axis=1)), (second, dense.sum(axis=0))):
        for value, summed in zip(field.shares, map(float, sums), strict=True):
            if abs(summed - field.shares[value]) > slack:
                raise Malformed(
                    f"{what} contradicts the margin of {field.name}: {value!r} sums to {100 * summed:.4g} % in the one "
                    f"and is {100 * field.shares[value]:.4g} % in the other"
                )
    margins = [
        Margin(f"the margin of {field.name}", (axis,), np.array([*field.shares.values()]))
        for axis, field in enumerate((first, second))
    ]
    try:
        dense = fitted(dense, margins, within=1e-12)  # so that the joint's margins agree to 1e-9
    except Contradiction as error:
        raise Malformed(f"{what} contradicts {' and '.join(one.name for one in margins)}") from error
    keys = [(a, b) for a in first.shares for b in second.shares]
    return Pair((first.name, second.name), dict(zip(keys, map(float, dense.ravel()), strict=True)))
