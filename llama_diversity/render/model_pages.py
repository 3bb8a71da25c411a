"""Model files for a reader: lists as plain columns, a page of one. It knows what JSON has of them, and no disk.

What these functions give is not made safe for a terminal; whoever prints it does that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llama_diversity.decimals import readable_bytes

Described = Mapping[str, Any]
_WIDTH = 80  # columns of a terminal


def of_models(models: Sequence[Described], groups: Mapping[str, Sequence[Described]]) -> Iterator[str]:
    """The named models, and pairs and ladders where there are any."""
    rows = [
        (
            one["model"],
            one["role"] or "",
            one["family"] or "",
            _size(one["size_bytes"]),
            one["here"],
            one["licence"] or "",
        )
        for one in models
    ]
    yield from columns(("MODEL", "ROLE", "FAMILY", "SIZE", "HERE", "LICENCE"), rows, right=("SIZE", "HERE"))
    if groups:
        yield ""
        pairs = [(one["name"], one["base"], one["aligned"]) for one in groups["pairs"]]
        yield from columns(("PAIR", "BASE", "ALIGNED"), pairs)
    if groups.get("ladders"):
        yield ""
        yield from columns(("LADDER", "RUNGS"), list(_rungs(groups["ladders"])))


def _rungs(ladders: Sequence[Described]) -> Iterator[tuple[str, str]]:
    """A row a ladder; one that is too wide goes on in the next, without its name."""
    room = _WIDTH - max(len(one["name"]) for one in ladders) - 2
    for one in ladders:
        parts = textwrap.wrap(" > ".join(one["rungs"]), room, break_long_words=False, break_on_hyphens=False)
        yield from zip((one["name"], *[""] * (len(parts) - 1)), parts, strict=True)


def of_model(details: Described) -> Iterator[str]:
    """All that is known of one."""
    shown = {key: value for key, value in details.items() if value not in (None, [], 0)}
    if "size_bytes" in shown:
        shown["size_bytes"] = f"{shown['size_bytes']} ({_size(shown['size_bytes'])})"
    width = max(map(len, shown))
    for key, value in shown.items():
        yield f"{key:<{width}}  {', '.join(value) if isinstance(value, list) else value}"


def remarks_of_found(beside: Described) -> Iterator[str]:
    """What could not be read of other programs' models, and where none were found."""
    yield from beside["problems"]
    if not beside["found"]:
        nowhere = "no folder of Ollama, LM Studio, llama.cpp or Hugging Face tools is here"
        yield f"No models of other programs were found: {', '.join(beside['folders']) or nowhere}."


def of_found(found: Iterable[Described]) -> Iterator[str]:
    """What other programs keep, those that can be opened first."""
    whole = sorted(found, key=lambda one: one["problem"] is not None)
    rows = [(one["model"], _size(one["size_bytes"]), one["kind"], one["program"], _same(one)) for one in whole]
    yield from columns(("MODEL", "SIZE", "WHAT", "OF", "ALIAS"), rows, right=("SIZE",))


def _same(one: Described) -> str:
    """The alias with these bytes; with a question mark where nobody has compared them."""
    return str(one["alias"] or (f"{one['like']}?" if one["like"] else ""))


def of_plan(results: Iterable[Described]) -> Iterator[str]:
    """What would be fetched."""
    rows = [(one["model"], _size(one["size_bytes"]), _size(one["missing_bytes"]), one["from"]) for one in results]
    yield from columns(("MODEL", "SIZE", "TO FETCH", "FROM"), rows, right=("SIZE", "TO FETCH"))


def of_fetched(results: Iterable[Described]) -> Iterator[str]:
    """What was fetched, and who vouches for it."""
    for one in results:
        if one["path"] is None:
            yield f"{one['model']}: {one['from']}"
            continue
        verdict = f"sha256 as {one['stated_by']} states" if one["stated_by"] else "nobody states its sha256"
        yield f"{one['model']}: {_size(one['size_bytes'])}, {verdict}"
        yield f"  {one['path']}"


def of_verified(results: Iterable[Described]) -> Iterator[str]:
    """Which files are what they should be."""
    rows = [(one["model"], one["state"], f"{one['sha256'][:16]}…" if one["sha256"] else "") for one in results]
    yield from columns(("MODEL", "STATE", "SHA-256"), rows)


def of_removed(results: Iterable[Described]) -> Iterator[str]:
    """What was removed."""
    yield from columns(("MODEL", "FREED"), [(one["model"], _size(one["freed_bytes"])) for one in results])


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> Iterator[str]:
    """Columns as wide as their cells; not wrapped, so that a pipe gets whole lines."""
    from rich.cells import cell_len  # loads longer than a path is to print

    from llama_diversity.render.safe import visible

    safe = [header, *([visible(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*safe, strict=True)]
    for row in safe:
        cells = []
        for name, cell, width in zip(header, row, widths, strict=True):
            blanks = " " * (width - cell_len(cell))
            cells.append(blanks + cell if name in right else cell + blanks)
        yield "  ".join(cells).rstrip()


def _size(n_bytes: int | None) -> str:
    return "" if n_bytes is None else readable_bytes(n_bytes)
