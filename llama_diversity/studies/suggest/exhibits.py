"""What fits this machine, for a reader: a table of 80 columns with what to type, and why the others do not fit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from llama_diversity.decimals import readable_bytes
from llama_diversity.render.model_pages import columns
from llama_diversity.studies.suggest.analysis import FACTOR, Bench, Machine, Suggestion, Suggestions

_WIDTH = 80
_MARK = "~"  # before a number that is no more than estimated


def lines(found: Suggestions) -> Iterator[str]:
    """All of it; what these lines give is not made safe for a terminal."""
    yield from _machine(found.machine)
    yield from _method(found.bench)
    fitting = [one for one in found.found if one.lacks is None]
    yield from _table(fitting)
    for one in found.found:
        if one.lacks is not None:
            yield _why_not(one, found.machine)
    if found.unknown:
        names = ", ".join(found.unknown)
        yield from textwrap.wrap(f"Of unknown size (llamadiv models pull NAME --dry-run asks the hub): {names}", _WIDTH)


def _machine(machine: Machine) -> Iterator[str]:
    memory, disk = _size(machine.usable_bytes), _size(machine.disk_free_bytes)
    yield f"Memory that can be used: {memory}; disk free for models: {disk}."


def _method(bench: Bench | None) -> Iterator[str]:
    yield "MEMORY is a model's file and one sequence; more is used where there is more."
    if bench is None:
        return
    method = (
        f"TIME is for reproduce, every sample as long as it may become: by the {bench.tokens_per_second:,.0f} tokens/s "
        f"of {bench.model} and the numbers of weights. Take it within a factor of {FACTOR:g}."
    )
    yield from textwrap.wrap(method, _WIDTH, break_on_hyphens=False)


def _table(fitting: Sequence[Suggestion]) -> Iterator[str]:
    yield ""
    rows = [
        (
            "here" if one.is_here else _marked(_size(one.fetch_bytes), "size" in one.estimated),
            _marked(_size(one.memory_bytes), "memory" in one.estimated),
            "" if one.seconds is None else duration(one.seconds),
            one.command,
        )
        for one in fitting
    ]
    yield from columns(("FETCH", "MEMORY", "TIME", "TYPE"), rows, right=("FETCH", "MEMORY", "TIME"))


def _why_not(one: Suggestion, machine: Machine) -> str:
    if one.lacks == "memory":
        needs = _marked(_size(one.memory_bytes), "memory" in one.estimated)
        return f"{one.name} does not fit: it needs {needs} of memory."
    needs = _marked(_size(one.fetch_bytes), "size" in one.estimated)
    return f"{one.name} does not fit: it takes {needs} of disk, and {_size(machine.disk_free_bytes)} are free."


def duration(seconds: float) -> str:
    """Rounded as an estimate deserves.

    >>> duration(20), duration(400), duration(5000), duration(40_000), duration(500_000)
    ('1 min', '7 min', '1.4 h', '11 h', '6 days')
    """
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min"
    hours = seconds / 3600
    if hours < 72:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{hours / 24:.0f} days"


def _size(n_bytes: float) -> str:
    return readable_bytes(int(n_bytes))


def _marked(words: str, is_estimated: bool) -> str:  # noqa: FBT001  private, and named where it is called
    return f"{_MARK}{words}" if is_estimated else words
