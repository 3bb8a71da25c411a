"""The people as a file: a table for spreadsheets and pandas, or the form that a neighbouring tool reads.

Every file says that the people are made up, and by which model. SynthPanel, now called Althing: a YAML list of
personas, each with a name and a background. EDSL: one agent a line, `{"traits": {...}}`, behind the header without
which its reader takes the first agent for one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity.errors import BadValue
from llama_diversity.render.csv import Lines, guarded
from llama_diversity.render.files import write_whole
from llama_diversity.studies.population.analysis import Arm, Result
from llama_diversity.studies.population.init import starting_text
from llama_diversity.studies.population.target import Target

NOTE = "These people are made up by a language model; none of them exists."
MADE_UP = "made_up_by"
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # which YAML has escaped alone


class Row(NamedTuple):
    """One person of a file: the fields, and what stands beside them."""

    values: Mapping[str, str]
    beside: Mapping[str, Any]


def rows(found: Result, target: Target, *, every: bool = False) -> list[Row]:
    """The chosen people of all arms, arm by arm; `every`: all outputs, those that were lost with the reason."""
    return [row for arm in found.arms.values() for row in _of_arm(arm, target, every=every)]


def _of_arm(arm: Arm, target: Target, *, every: bool) -> list[Row]:
    chosen = set(arm.chosen.numbers)
    found = []
    for number, one in enumerate(arm.people):
        if number not in chosen and not every:
            continue
        why = "" if number in chosen else one.why or "more than enough of this cell"
        beside = {
            "weight": arm.weights.get(number, 1.0 if one.is_usable else None),
            "cell": " / ".join(one.cell or ()),
            "arm": arm.way.name,
            "sample": one.output.sample,
            "kept": "yes" if number in chosen else "no",
            "why": why,
            MADE_UP: arm.way.model,
        }
        found.append(Row({each.name: one.values.get(each.name, "") for each in target.fields}, beside))
    return found


def write_people(path: Path, some: Sequence[Row], target: Target) -> None:
    """Write a file, in the form that its name says. Raises BadValue."""
    write_whole(path, _form_of(path)(some, target))


def check_name(path: Path) -> None:
    """Refuse a name that says no form, before any work. Raises BadValue."""
    _form_of(path)


def _form_of(path: Path) -> Callable[[Sequence[Row], Target], bytes | str]:
    forms: dict[str, Callable[[Sequence[Row], Target], bytes | str]] = {
        ".edsl.jsonl": _edsl,
        ".csv": _csv,
        ".jsonl": _jsonl,
        ".parquet": _parquet,
        ".yaml": _yaml,
        ".yml": _yaml,
    }
    for ending, form in forms.items():
        if path.name.lower().endswith(ending):
            return form
    raise BadValue("--to", str(path), f"its form is told by its end: {', '.join(forms)}")


def _flat(row: Row, target: Target) -> dict[str, Any]:
    """One row of a table, numbers as numbers."""
    values: dict[str, Any] = dict(row.values)
    for one in target.fields:
        if one.is_number:
            values[one.name] = int(values[one.name]) if values[one.name].lstrip("-").isdecimal() else None
    return {**values, **row.beside}


def _csv(some: Sequence[Row], target: Target) -> str:
    text = io.StringIO()
    heads = [*(one.name for one in target.fields), *(some[0].beside if some else ())]
    table = csv.DictWriter(Lines(text), heads, lineterminator=Lines.END)
    table.writeheader()
    for row in some:
        table.writerow({name: _cell(value) for name, value in _flat(row, target).items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """As a spreadsheet takes it: nothing for None, and no text as a formula."""
    return "" if value is None else guarded(value) if isinstance(value, str) else value


def _jsonl(some: Sequence[Row], target: Target) -> str:
    return "".join(json.dumps(_flat(row, target), ensure_ascii=False) + "\n" for row in some)


def _edsl(some: Sequence[Row], target: Target) -> str:
    lines = [json.dumps({"__header__": True, "edsl_class_name": "AgentList", "n_agents": len(some)}) + "\n"]
    for row in some:
        traits = {name: value for name, value in _flat(row, target).items() if name in row.values or name == MADE_UP}
        lines.append(json.dumps({"traits": traits}, ensure_ascii=False) + "\n")
    return "".join(lines)


def _parquet(some: Sequence[Row], target: Target) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_flat(row, target) for row in some])
    about = {"note": NOTE, "title": target.title, "source": target.source or "no source given"}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **about}), buffer)
    return buffer.getvalue()


def _yaml(some: Sequence[Row], target: Target) -> str:
    """JSON strings are YAML too, but for some characters; so every value is quoted as JSON has it."""
    lines = [f"# {NOTE}", "personas:"]
    for number, row in enumerate(some, 1):
        values = _flat(row, target)
        name = values.get("name") or f"{row.beside['arm']} {number}"
        lines.append(f"  - name: {_scalar(name)}")
        lines += [f"    {key}: {_scalar(values[key])}" for key in ("age", "occupation") if values.get(key)]
        background = "; ".join(
            f"{one.label}: {values[one.name]}"
            for one in target.fields
            if one.name not in ("name", "age", "occupation") and values[one.name] not in ("", None)
        )
        lines.append(f"    background: {_scalar(background)}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    return _UNPRINTABLE.sub(lambda one: f"\\u{ord(one[0]):04x}", json.dumps(value, ensure_ascii=False))


def write_start(path: Path) -> None:
    """A target to start from, into a new file. Raises BadValue where there is one, and what writing raises."""
    if path.exists():
        raise BadValue("--to", str(path), "it is there already; name another file")
    write_whole(path, starting_text())
