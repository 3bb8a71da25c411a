"""Reading a TARGET: TOML or JSON of our own form, a demography as TinyTroupe has it, or a table of people.

What is wrong is said with the file and the place in it, and nothing is guessed: a name that is not known, shares that
do not add up, and a pair that denies a margin are refused.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from llama_diversity.errors import BadTarget
from llama_diversity.studies.population.checks import (
    Malformed,
    bins_of,
    cell_of,
    check_field,
    check_labels,
    check_names,
    fitting_pair,
    near,
    normalised,
)
from llama_diversity.studies.population.people import as_written, table_of_csv, target_of_people
from llama_diversity.studies.population.target import VERSION, Field, Pair, Rule, Target, Unreadable, bounds, meets

_KEYS = ("version", "title", "source", "product", "request", "fields", "pairs", "rules")
_FIELD_KEYS = ("values", "bins", "also", "free", "max_words", "examples", "label", "given")
_DISTRIBUTION = "_distribution"
_PEOPLE = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_MOST_BYTES = 256 * 2**20


def load_target(
    path: str | Path,
    *,
    weight: str | None = None,
    fields: Sequence[str] = (),
    pairs: Sequence[tuple[str, str]] | None = None,
    product: str | None = None,
    free: Sequence[str] = (),
) -> Target:
    """The target in a file, by its suffix. `weight`, `fields` and `pairs` choose columns of a table of people.

    `product` goes before that of the file; `free` names fields that the model writes, beside those of the file.

    Raises BadTarget.
    """
    path = Path(path)
    try:
        found = _loaded(path, weight, fields, pairs)
        check_names([*(one.name for one in found.fields), *free])
        found = replace(found, fields=(*found.fields, *map(Field, free)), product=(product or found.product).strip())
        check_labels(found.fields)
        return found
    except Malformed as error:
        raise BadTarget(path, str(error), next_step=error.next_step or _next_step(path)) from error


def _loaded(path: Path, weight: str | None, fields: Sequence[str], pairs: Sequence[tuple[str, str]] | None) -> Target:
    """By the suffix. Raises Malformed."""
    if path.suffix.casefold() in _PEOPLE:
        return target_of_people(_people(path), path.stem, weight=weight, fields=fields, pairs=pairs)
    if weight is not None or fields or pairs is not None:
        raise Malformed("a weight, fields and pairs are chosen of a table of people, and this is none")
    return _of_json(path) if path.suffix.casefold() == ".json" else _of_form(_toml(path), path)


def _next_step(path: Path) -> str:
    if path.exists():
        return "Correct it, then run the command again."
    return "`llamadiv population init --to FILE` writes one to start from."


# ---- files


def _decoded(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Malformed(f"it is larger than {_MOST_BYTES >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Malformed(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise Malformed("it is no UTF-8; save it as UTF-8") from error
    if "\0" in text:
        raise Malformed("it holds null characters; save it as UTF-8")
    if not text.strip():
        raise Malformed("it is empty; `llamadiv population init` writes one to start from")
    return text


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_decoded(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Malformed(
            f"it is no TOML: {error}; of people the name ends in .csv, .jsonl or .parquet, of JSON in .json"
        ) from error


def _json(text: str, what: str) -> Any:
    def once(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        if len(set(keys)) < len(keys):
            raise Malformed(f"{what} names {next(key for key in keys if keys.count(key) > 1)!r} more than once")
        return dict(found)

    try:
        return json.loads(text, object_pairs_hook=once)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is no JSON: {error}") from error


def _people(path: Path) -> dict[str, list[str]]:
    suffix = path.suffix.casefold()
    if suffix == ".parquet":
        return _parquet(path)
    text = _decoded(path)
    if suffix in (".csv", ".tsv"):
        return table_of_csv(text)
    rows = [_json(line, f"line {at}") for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise Malformed("its lines must be JSON objects, a person each")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [as_written(row.get(name)) for row in rows] for name in names}


def _parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise Malformed(f"it cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not any(table.values()):
        raise Malformed("it holds no people")
    return {name: [as_written(one) for one in column] for name, column in table.items()}


# ---- a demography


def _of_json(path: Path) -> Target:
    found = _json(_decoded(path), "it")
    if not isinstance(found, dict):
        raise Malformed("it must be a JSON object; of people, a JSON object a line, the name ends in .jsonl")
    if "fields" in found:
        return _of_form(found, path)
    names = [key for key in found if key.endswith(_DISTRIBUTION)]
    if not names:
        raise Malformed(f"it has neither `fields` nor keys that end in `{_DISTRIBUTION}`")
    fields, unused = [], []
    for key, value in found.items():
        if key in names:
            fields.append(_distribution(key.removesuffix(_DISTRIBUTION), value))
        elif isinstance(value, str | int | float) and not isinstance(value, bool) and key not in ("title", "source"):
            fields.append(Field(key, given=as_written(value)))  # the same for everybody, told to the model
        elif key not in ("title", "source"):
            unused.append(key)
    check_names(one.name for one in fields)
    remarks = (f"not used, since they are neither shares nor one value: {', '.join(unused)}",) if unused else ()
    title, source = (_text(found, key, "") for key in ("title", "source"))
    return Target(title or path.stem, tuple(map(check_field, fields)), source=source, remarks=remarks)


def _distribution(name: str, shares: Any) -> Field:
    if not isinstance(shares, dict) or not shares:
        raise Malformed(f"{name}{_DISTRIBUTION} must be an object of values and their shares")
    bins = bins_of(name, shares) if all(map(bounds, shares)) else ()
    return Field(name, shares=normalised(shares, name), bins=bins)


# ---- our own form


def _of_form(found: Mapping[str, Any], path: Path) -> Target:
    version = found.get("version", VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise Malformed(f"its version is {version!r}; it must be {VERSION}")
    if version > VERSION:
        raise Malformed(f"it is of version {version}, and this llamadiv knows up to {VERSION}", "Upgrade llamadiv.")
    _only(found, _KEYS, "the target")
    written = found.get("fields")
    if not isinstance(written, dict) or not written:
        raise Malformed(
            "it has no fields; write for instance fields.gender = { values = { female = 0.51, male = 0.49 } }"
        )
    check_names(written)
    fields = {name: check_field(_field(name, one)) for name, one in written.items()}
    return Target(
        _text(found, "title", path.stem),
        tuple(fields.values()),
        _text(found, "source", ""),
        _text(found, "product", ""),
        _request(found),
        tuple(_pair(one, fields, path.parent) for one in _list(found, "pairs")),
        tuple(_rule(one, fields) for one in _list(found, "rules")),
    )


def _only(found: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in found:
        if key not in known:
            raise Malformed(f"{what} has the unknown key {key!r}{near(key, known)}")


def _text(found: Mapping[str, Any], key: str, default: str) -> str:
    value = found.get(key, default)
    if not isinstance(value, str):
        raise Malformed(f"{key} must be text, not {value!r}")
    return value.strip()


def _list(found: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Malformed(f"{key} must be a list of tables, as in {key} = [ {{ ... }} ]")
    return value


def _request(found: Mapping[str, Any]) -> str | None:
    if "request" not in found:
        return None
    request = _text(found, "request", "")
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(request) if name is not None}
    except ValueError as error:
        raise Malformed(f"request cannot be filled in: {error}") from error
    if "fields" not in names or names - {"fields", "product"}:
        raise Malformed("request must hold {fields}, may hold {product}, and nothing else in braces")
    return request


def _field(name: str, written: Any) -> Field:
    if isinstance(written, str | int | float) and not isinstance(written, bool):
        written = {"given": str(written)}
    if not isinstance(written, dict):
        raise Malformed(f"fields.{name} must be a table such as {{ free = true }}")
    _only(written, _FIELD_KEYS, f"fields.{name}")
    kinds = [key for key in ("values", "bins", "given") if key in written] + ["free"] * (written.get("free") is True)
    if len(kinds) != 1:
        raise Malformed(
            f"fields.{name} must have one of values, bins, given and free = true, not {' and '.join(kinds) or 'none'}"
        )
    label, kind = _text(written, "label", ""), kinds[0]
    if kind == "given":
        return Field(name, label, given=as_written(written["given"]))
    if kind == "free":
        return _free(name, label, written)
    shares = written[kind]
    if not isinstance(shares, dict) or not shares:
        raise Malformed(f"fields.{name}.{kind} has no shares; write for instance {{ a = 0.6, b = 0.4 }}")
    shares = {as_written(key): share for key, share in shares.items()}
    bins = bins_of(name, shares) if kind == "bins" else ()
    return Field(name, label, normalised(shares, f"fields.{name}"), _also(name, written, shares), bins)


def _free(name: str, label: str, written: Mapping[str, Any]) -> Field:
    most, examples = written.get("max_words"), written.get("examples", [])
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise Malformed(f"fields.{name}.max_words must be a whole number from 1 on, not {most!r}")
    field = Field(name, label, max_words=most, examples=_texts(examples, f"fields.{name}.examples"))
    for one in field.examples:
        try:
            field.read(one)
        except Unreadable as error:
            raise Malformed(f"an example does not fit its field: {error}") from error
    return field


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise Malformed(f"{what} must be a list of texts")
    return tuple(map(as_written, value))


def _also(name: str, written: Mapping[str, Any], shares: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    also = written.get("also", {})
    if not isinstance(also, dict):
        raise Malformed(f"fields.{name}.also must be a table of lists")
    for value in also:
        if value not in shares:
            raise Malformed(f"fields.{name}.also names {value!r}, which is no value of it{near(value, shares)}")
    return {value: _texts(those, f"fields.{name}.also") for value, those in also.items()}


# ---- pairs and rules


def _known(name: Any, fields: Mapping[str, Field], what: str) -> Field:
    if not isinstance(name, str) or name not in fields:
        raise Malformed(f"{what} names {name!r}, which is no field{near(str(name), fields)}")
    return fields[name]


def _pair(written: Mapping[str, Any], fields: Mapping[str, Field], folder: Path) -> Pair:
    _only(written, ("of", "table"), "a pair")
    of, table = written.get("of"), written.get("table")
    if not isinstance(of, list) or len(of) != 2 or of[0] == of[1]:
        raise Malformed(f'a pair must name two fields, as in of = ["age", "gender"], not {of!r}')
    first, second = (_known(name, fields, "a pair") for name in of)
    for one in (first, second):
        if not one.shares:
            raise Malformed(f"a pair names {one.name}, which has no shares")
    if isinstance(table, str):
        try:
            rows = _rows_of_table(table_of_csv(_decoded(folder / table)), first, second)
        except Malformed as error:
            raise Malformed(f"the table {table!r}: {error}") from error
    elif isinstance(table, dict) and table and all(isinstance(one, dict) for one in table.values()):
        rows = [(a, b, share) for a, row in table.items() for b, share in row.items()]
    elif isinstance(table, list) and all(isinstance(one, list) and len(one) == 3 for one in table):
        rows = [(str(a), str(b), share) for a, b, share in table]
    else:
        raise Malformed(
            f"the table of the pair {first.name} and {second.name} must be a file of CSV, or rows of shares"
        )
    return fitting_pair(first, second, _cells(rows, first, second))


def _rows_of_table(columns: Mapping[str, list[str]], first: Field, second: Field) -> list[tuple[str, str, Any]]:
    """A table by its form: a row a pair of values, or the values of one field down and of the other across."""
    names = list(columns)
    if len(names) == 3 and {first.name, second.name} < set(names):
        share = next(name for name in names if name not in (first.name, second.name))
        pairs = zip(columns[first.name], columns[second.name], columns[share], strict=True)
        return [(a, b, _number(one)) for a, b, one in pairs]
    down, *across = names
    return [(a, b, _number(one)) for b in across for a, one in zip(columns[down], columns[b], strict=True) if one]


def _number(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        raise Malformed(f"{written!r} is no number") from None


def _cells(rows: Sequence[tuple[str, str, Any]], first: Field, second: Field) -> dict[tuple[str, str], Any]:
    """Shares by values of the first and the second field, whichever way round the rows have them."""

    def is_first(written: str) -> bool:
        try:
            return bool(cell_of(first, written))
        except Malformed:
            return False

    is_turned = bool(rows) and not is_first(rows[0][0]) and is_first(rows[0][1])
    table: dict[tuple[str, str], Any] = {}
    for row in rows:
        a, b = (row[1], row[0]) if is_turned else (row[0], row[1])
        key = (cell_of(first, a), cell_of(second, b))
        if key in table:
            raise Malformed(f"{key[0]!r} with {key[1]!r} has two shares")
        table[key] = row[2]
    return table


def _rule(written: Mapping[str, Any], fields: Mapping[str, Field]) -> Rule:
    _only(written, ("if", "not", "why"), "a rule")
    when, bars = (_conditions(written, key, fields) for key in ("if", "not"))
    return Rule(when, bars, _text(written, "why", ""))


def _conditions(written: Mapping[str, Any], key: str, fields: Mapping[str, Field]) -> dict[str, tuple[str, ...]]:
    found = written.get(key)
    if not isinstance(found, dict) or not found:
        raise Malformed(f"a rule must say {key} = {{ ... }}, fields and their conditions")
    conditions: dict[str, tuple[str, ...]] = {}
    for name, those in found.items():
        field = _known(name, fields, "a rule")
        conditions[name] = _texts(str(those) if isinstance(those, int) else those, f"{key} of a rule")
        for one in conditions[name]:
            if not _can_hold(field)(one):
                raise Malformed(f"a rule says {name} {one!r}, which nobody can be{near(one, field.shares)}")
    return conditions


def _can_hold(field: Field) -> Callable[[str], bool]:
    """Whether a condition can be met by some value of the field; of a free one nobody knows."""
    if field.is_number:
        return lambda condition: bounds(condition) is not None
    return lambda condition: not field.shares or any(meets(value, condition) for value in field.shares)
