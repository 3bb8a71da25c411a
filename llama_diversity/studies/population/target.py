"""What a population is to be like: its fields and their shares, pairs of fields, and what no person may be.

It knows how one written value is read, and whether a rule bars a person. It refuses to know where a target was read
from (`load`), which joint distribution it has (`joint`), and how a model is asked (`asking`).

A *fixed* field has shares: of values, or of bins of whole numbers. A *free* field is written by the model. A *given*
field has one value for everybody. A *cell* is a value or a bin's name for each fixed field.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from llama_diversity.text import plain, words

VERSION = 1  # of the form of a target, as a file and as it is kept with a run
COLUMNS = ("weight", "cell", "arm", "sample", "kept", "why", "made up by")  # of the written people, beside their fields

_EDGES = " *_\"'`.,;:!()[]{}<>“”„‘’‚«»"  # what models write round a value
_LETTERS = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"(?:(?<!\w)[-−])?\d[\d.,]*(?:\s*(?:[-–—/]|to\b)\s*\d[\d.,]*)?")  # or a range of two
_WHOLE = re.compile(r"([-−]?)(\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.0+)?")  # int() has a limit of digits
_COMPARED = re.compile(r"(<=|>=|<|>|=|)\s*(-?\d{1,15})\s*(\+?)")
_BETWEEN = re.compile(r"(-?\d{1,15})\s*(?:[-–—]|to)\s*(-?\d{1,15})")


class Unreadable(Exception):
    """A written value that cannot be read; `str(error)` is the reason, the same for all values alike."""


class Read(NamedTuple):
    """A value as it is kept, and the key into the field's shares (None of a field without)."""

    value: str
    cell: str | None


class Bounds(NamedTuple):
    """Whole numbers from low to high, both included; None is open."""

    low: int | None
    high: int | None

    def holds(self, number: int) -> bool:
        """Whether `number` lies between them."""
        return (self.low is None or self.low <= number) and (self.high is None or number <= self.high)


class Bin(NamedTuple):
    """A named range of whole numbers, both ends included; `high` None: no end."""

    name: str
    low: int
    high: int | None

    def holds(self, number: int) -> bool:
        """Whether `number` lies in it."""
        return Bounds(self.low, self.high).holds(number)


def folded(text: str) -> str:
    """What two spellings of one value have in common: no case, single blanks, no marks round it; accents stay.

    >>> folded(' **Part-time**.'), folded("JOSÉ")
    ('part-time', 'josé')
    """
    return " ".join(plain(text).casefold().split()).strip(_EDGES)


def bounds(written: str) -> Bounds | None:
    """The whole numbers that a bin's name or a condition means, None where it means none.

    >>> bounds("18-29"), bounds("65+"), bounds("<18"), bounds("=7"), bounds("old")
    (Bounds(low=18, high=29), Bounds(low=65, high=None), Bounds(low=None, high=17), Bounds(low=7, high=7), None)
    """
    written = written.strip()
    if between := _BETWEEN.fullmatch(written):
        return Bounds(int(between[1]), int(between[2]))
    found = _COMPARED.fullmatch(written)
    if found is None or (found[1] and found[3]):
        return None
    number = int(found[2])
    if found[3] or found[1] in (">=", ">"):
        return Bounds(number + (found[1] == ">"), None)
    return Bounds(None, number - (found[1] == "<")) if found[1] in ("<=", "<") else Bounds(number, number)


def letters(label: str) -> str:
    """Letters and digits alone, in one case: what two ways of writing a label have in common.

    >>> letters("**Last name**"), letters("last_name")
    ('lastname', 'lastname')
    """
    return "".join(_LETTERS.findall(label)).casefold()


# ---- fields


@dataclasses.dataclass(frozen=True)
class Field:
    """What is known of everybody: a value of fixed shares, a free text, or one value for all.

    `shares` sum to 1 over values, or over the names of `bins` where the field is a whole number. `label` is how it is
    asked. `also`: further spellings of a value. `max_words` and `examples` belong to a free field; the examples stand
    in the worked examples of a form.
    """

    name: str
    label: str = ""
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    also: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    bins: tuple[Bin, ...] = ()
    given: str | None = None
    max_words: int | None = None
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.label:
            label = self.name.replace("_", " ")
            object.__setattr__(self, "label", label[:1].upper() + label[1:])

    @property
    def is_given(self) -> bool:
        """Whether everybody has the same value."""
        return self.given is not None

    @property
    def is_free(self) -> bool:
        """Whether the model writes what it likes."""
        return not self.shares and not self.is_given

    @property
    def is_number(self) -> bool:
        """Whether its values are whole numbers, its shares those of bins."""
        return bool(self.bins)

    def read(self, written: str) -> Read:
        """The value that a model wrote. Raises Unreadable.

        Of a number the first in the text, as digits; of a value any spelling that `folded` makes alike, or one of
        `also`; of a free text all of it without quotes round it, words counted as everywhere (a hyphen parts two).

        >>> age = Field("age", shares={"18-29": 0.4, "30+": 0.6}, bins=(Bin("18-29", 18, 29), Bin("30+", 30, None)))
        >>> age.read("34 years old"), Field("job").read(' "a  nurse" ')
        (Read(value='34', cell='30+'), Read(value='a nurse', cell=None))
        """
        if self.given is not None:
            return Read(self.given, None)
        if not written.strip():
            raise Unreadable(f"{self.name} is empty")
        if self.is_free:
            return self._text(written)
        return self._number(written) if self.is_number else self._value(written)

    def _text(self, written: str) -> Read:
        text = " ".join(written.split())
        for opening, closing in ('""', "''", "“”", "„“", "‘’", "«»"):
            if text.startswith(opening) and text.endswith(closing) and not {opening, closing} & set(text[1:-1]):
                text = text[1:-1].strip()
        if not text:
            raise Unreadable(f"{self.name} is empty")
        if self.max_words is not None and len(words(text)) > self.max_words:
            raise Unreadable(f"{self.name} has more than {self.max_words} words")
        return Read(text, None)

    def _number(self, written: str) -> Read:
        found = _NUMBER.search(written)
        whole = found and _WHOLE.fullmatch(found[0].rstrip(".,"))
        if not whole:
            raise Unreadable(f"{self.name} is no whole number")
        number = int(whole[2].replace(",", "")) * (-1 if whole[1] else 1)
        for one in self.bins:
            if one.holds(number):
                return Read(str(number), one.name)
        raise Unreadable(f"{self.name} is in none of the bins")

    def _value(self, written: str) -> Read:
        value = self._spellings.get(folded(written))
        if value is None:
            raise Unreadable(f"{self.name} is none of the values")
        return Read(value, value)

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """From the folded spelling to the value; a value's own goes before another's `also`."""
        also = {folded(one): value for value, others in self.also.items() for one in others}
        return also | {folded(value): value for value in self.shares}


# ---- pairs and rules


@dataclasses.dataclass(frozen=True)
class Pair:
    """Shares of two fields together, of all values of the first with all of the second; a pair left out has none."""

    of: tuple[str, str]
    table: Mapping[tuple[str, str], float]


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where all of `when` hold, none of `bars` may.

    Each names a field and the conditions of which one must hold: "<62", ">=18", "18-29", "x", "=x", or with stars for
    any letters, "retired*".
    """

    when: Mapping[str, tuple[str, ...]]
    bars: Mapping[str, tuple[str, ...]]
    why: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it names, each once."""
        return tuple(dict.fromkeys((*self.when, *self.bars)))

    def __str__(self) -> str:
        """The reason that was given, else the rule itself."""
        return self.why or f"if {_joined(self.when, ' and ')}, not {_joined(self.bars, ' or ')}"

    def barred_by(self, values: Mapping[str, str]) -> bool:
        """Whether a person with these values, as `Field.read` gives them, breaks the rule; one without a value doesn't.

        >>> rule = Rule({"age": ("<62",)}, {"job": ("retired*",)})
        >>> rule.barred_by({"age": "40", "job": "Retired nurse"}), rule.barred_by({"age": "70", "job": "retired"})
        (True, False)
        """
        return all(_is_met(values, *one) for one in self.when.items()) and any(
            _is_met(values, *one) for one in self.bars.items()
        )


def _joined(conditions: Mapping[str, tuple[str, ...]], word: str) -> str:
    return word.join(f"{name} {' or '.join(those)}" for name, those in conditions.items())


def _is_met(values: Mapping[str, str], name: str, conditions: Sequence[str]) -> bool:
    return name in values and any(meets(values[name], one) for one in conditions)


def meets(value: str, condition: str) -> bool:
    """Whether one value meets one condition of a rule: by its number where both are numbers, else as it is written."""
    limits = bounds(condition)
    if limits is not None and re.fullmatch(r"-?\d{1,15}", value):
        return limits.holds(int(value))
    if condition.lstrip().startswith(("<", ">")):
        return False
    condition = condition.strip().removeprefix("=")
    if "*" not in condition:
        return folded(condition) == folded(value)
    pieces = (" ".join(plain(piece).casefold().split(" ")) for piece in condition.strip().split("*"))
    return re.fullmatch(".*".join(map(re.escape, pieces)), folded(value), re.DOTALL) is not None


def all_meet(field: Field, cell: str, conditions: Sequence[str]) -> bool:
    """Whether whoever is in this cell of a fixed field meets one of the conditions.

    Of a bin every whole number must; the answer changes only at the ends of the conditions, so those are tried.

    >>> age = Field("age", shares={"18-29": 1.0}, bins=(Bin("18-29", 18, 29),))
    >>> all_meet(age, "18-29", ["<62"]), all_meet(age, "18-29", ["<25"]), all_meet(age, "18-29", ["<25", ">=25"])
    (True, False, True)
    """
    if not field.is_number:
        return any(meets(cell, one) for one in conditions)
    mine = next(one for one in field.bins if one.name == cell)
    limits = [limit for limit in map(bounds, conditions) if limit is not None]
    ends = [end for limit in limits for end in limit if end is not None]
    top = mine.high if mine.high is not None else max([mine.low, *ends]) + 1
    tried = {mine.low, top} | {end + step for end in ends for step in (-1, 0, 1)}
    return all(any(limit.holds(one) for limit in limits) for one in tried if mine.low <= one <= top)


# ---- the whole


@dataclasses.dataclass(frozen=True)
class Target:
    """The population to make. `source` "" says that no source was given; `remarks` say how a file was understood.

    `request` is a wording of one's own, with {product} and {fields} in it; None: ours.
    """

    title: str
    fields: tuple[Field, ...]
    source: str = ""
    product: str = ""
    request: str | None = None
    pairs: tuple[Pair, ...] = ()
    rules: tuple[Rule, ...] = ()
    remarks: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def fixed(self) -> tuple[Field, ...]:
        """The fields with shares, in order."""
        return tuple(one for one in self.fields if one.shares)

    @property
    def free(self) -> tuple[Field, ...]:
        """The fields that the model writes, in order."""
        return tuple(one for one in self.fields if one.is_free)

    def field(self, name: str) -> Field:
        """The field of that name. Raises KeyError."""
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, so that a run keeps what it was asked for; `from_dict` reads it."""
        return {
            "version": self.version,
            "title": self.title,
            "source": self.source,
            "product": self.product,
            "request": self.request,
            "fields": [_as_json(one) for one in self.fields],
            "pairs": [
                {"of": [*one.of], "table": [[*key, share] for key, share in one.table.items()]} for one in self.pairs
            ],
            "rules": [{"if": _lists(one.when), "not": _lists(one.bars), "why": one.why} for one in self.rules],
            "remarks": [*self.remarks],
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Target:
        """The target that `to_dict` kept."""
        return cls(
            kept["title"],
            tuple(_field(one) for one in kept["fields"]),
            kept["source"],
            kept["product"],
            kept["request"],
            tuple(
                Pair((one["of"][0], one["of"][1]), {(a, b): share for a, b, share in one["table"]})
                for one in kept["pairs"]
            ),
            tuple(Rule(_tuples(one["if"]), _tuples(one["not"]), one["why"]) for one in kept["rules"]),
            tuple(kept["remarks"]),
            kept["version"],
        )


def _as_json(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "label": field.label,
        "shares": dict(field.shares),
        "also": _lists(field.also),
        "bins": [[*one] for one in field.bins],
        "given": field.given,
        "max_words": field.max_words,
        "examples": [*field.examples],
    }


def _field(kept: Mapping[str, Any]) -> Field:
    bins = tuple(Bin(*one) for one in kept["bins"])
    return Field(**{**kept, "also": _tuples(kept["also"]), "bins": bins, "examples": tuple(kept["examples"])})


def _lists(values: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: [*those] for name, those in values.items()}


def _tuples(values: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(those) for name, those in values.items()}
