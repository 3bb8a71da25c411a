"""The variety of a run as exhibits: what can be used, and why the rest cannot; copies and kinds; what they cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llama_diversity.decimals import counted
from llama_diversity.metrics.choice import NEAR
from llama_diversity.metrics.price import Bounded
from llama_diversity.render.exhibits import Between, Exhibit, Remark, Section, Share, Table, Value
from llama_diversity.studies.measuring.limits import LEAST_FOR_EFFECTIVE, LEAST_VALID
from llama_diversity.studies.variety.analysis import Cell

MOST_REASONS = 5  # of a cell; --json has all
_SHOWN = 80  # characters of an example


@dataclass(frozen=True)
class Facts:
    """Which run, what its cells were asked, what is usable and what a kind is, in words, and what it lacks."""

    run: str
    models: Mapping[str, str]  # by cell
    usable: str
    kind: str
    lacks: Mapping[str, str] = field(default_factory=dict)  # by cell, in words


def section(found: Mapping[str, Cell], facts: Facts, command: str) -> Section:
    """All of it for a reader."""
    n = sum(cell.n for cell in found.values())
    about = (
        f"{counted(n, 'stored output')} of run {facts.run} ({', '.join(dict.fromkeys(facts.models.values()))}), "
        f"{counted(len(found), 'cell')}, thoughts left out. Usable: {facts.usable}. A kind: {facts.kind}."
    )
    return Section(
        "variety",
        "How varied is what was drawn, and what does it cost?",
        about,
        command,
        tuple(_exhibits(found, facts)),
    )


def _exhibits(found: Mapping[str, Cell], facts: Facts) -> Iterator[Exhibit]:
    for name, words in facts.lacks.items():
        yield Remark(f"{name}: {words}", is_warning=True)
    yield _usable(found)
    yield _reasons(found)
    for name, cell in found.items():
        if not cell.valid.k:
            said = "; ".join(f"{one.reason} ({one.n})" for one in cell.reasons)
            wrote = _short(cell.reasons[0].example)
            says = f" The first output is “{wrote}”." if wrote else ""
            yield Remark(f"{name}: none of {counted(cell.n, 'output')} can be used: {said}.{says}", is_warning=True)
        if cell.refused:
            yield Remark(f"{cell.refused} Kinds of {name} are equal texts.", is_warning=True)
    able = {name: cell for name, cell in found.items() if cell.valid.k}
    if able:
        yield _kinds(able)
        yield _costs(able)


def _usable(found: Mapping[str, Cell]) -> Table:
    return Table(
        "variety-usable",
        "What can be used",
        ("cell", "n", "usable", "share", "95 % interval, %", "copies", "with near ones"),
        tuple(
            (name, cell.n, cell.valid.k, _share(cell.valid.value), *_percent(cell), *_copies(cell))
            for name, cell in found.items()
        ),
        f"Copies: usable outputs whose text was there before; near: cosine {NEAR:g} or more with one that was kept.",
    )


def _copies(cell: Cell) -> tuple[Value, Value]:
    n = cell.valid.k
    if not n:
        return None, None
    return Share(cell.n_copies / n), None if cell.n_near is None else Share((cell.n_copies + cell.n_near) / n)


def _percent(cell: Cell) -> tuple[Value]:
    low, high = cell.valid.low, cell.valid.high
    return (None if low is None or high is None else Between(100 * low, 100 * high),)


def _share(value: float | None) -> Share | None:
    return None if value is None else Share(value)


def _reasons(found: Mapping[str, Cell]) -> Table:
    return Table(
        "variety-reasons",
        "Why the rest cannot",
        ("cell", "reason", "n", "the first one"),
        tuple(
            (name, one.reason, one.n, _short(one.example))
            for name, cell in found.items()
            for one in cell.reasons[:MOST_REASONS]
        ),
    )


def _short(text: str) -> str:
    return textwrap.shorten(text, _SHOWN, placeholder=" …") or text[:_SHOWN].strip()


def _kinds(found: Mapping[str, Cell]) -> Table:
    rows = []
    for name, cell in found.items():
        kinds, n = cell.kinds, cell.valid.k
        low, high = kinds.coverage.low, kinds.coverage.high
        rows.append(
            (
                name,
                kinds.n_seen,
                None if kinds.n_seen == n else kinds.at_least.value,
                None if kinds.n_seen == n else _share(kinds.coverage.value),
                None if low is None or high is None or kinds.n_seen == n else Between(100 * low, 100 * high),
                None if kinds.effective is None else kinds.effective.value,
                None if kinds.effective is None else _between(kinds.effective),
            )
        )
    m = max(cell.m for cell in found.values())
    return Table(
        "variety-kinds",
        "How varied it is",
        (
            "cell", "kinds", "at least", "seen", "95 % interval, %",
            "effective kinds", "95 % interval",
        ),
        tuple(rows),
        "At least: kinds there are, Chao1. Seen: the share of what is drawn that is of the kinds seen; not given where "
        f"no kind was seen twice, no interval below {LEAST_VALID} outputs. Effective kinds: Hill's number of order 2 "
        + (f"that {m} usable outputs show, so that cells compare." if m else f"needs {LEAST_FOR_EFFECTIVE} outputs."),
    )  # fmt: skip


def _costs(found: Mapping[str, Cell]) -> Table:
    rows = []
    for name, cell in found.items():
        row: list[Value] = [name]
        for price in (cell.an_output, cell.a_usable_one, cell.kinds.next_new):
            row += [price.value, _between(price)]
        rows.append(tuple(row))
    return Table(
        "variety-cost",
        "What it costs, in tokens",
        ("cell", "an output", "95 % interval", "a usable one", "95 % interval ", "the next new one", "95 % interval  "),
        tuple(rows),
        "Tokens as drawn, thoughts and useless outputs included. The next new one: all tokens over the kinds seen "
        "once, whose share is the chance that the next usable output is of a kind not seen (Good-Turing); ∞ where no "
        "kind was seen only once.",
    )


def _between(price: Bounded) -> Between | None:
    return None if price.low is None or price.high is None else Between(price.low, price.high)
