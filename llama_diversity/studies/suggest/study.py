"""`models suggest`: which pairs and ladders of the table fit this machine, and how long `reproduce` would take.

Nothing is fetched, nothing is stored. Speed is measured on a model that is here; on the pair that ships where there is
no other.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from llama_diversity import gguf, hub, registry, shelf
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.errors import LlamadivError
from llama_diversity.registry import ModelEntry, Registry
from llama_diversity.studies.drawing import Drawing, plan_cell
from llama_diversity.studies.paper.study import most_tokens
from llama_diversity.studies.session import Session
from llama_diversity.studies.speed import measure
from llama_diversity.studies.suggest.analysis import (
    FIXED_S,
    USABLE_SHARE,
    Bench,
    Machine,
    Speed,
    Suggestion,
    Suggestions,
    Taken,
    bits_per_weight,
    seconds,
    taken,
)

SHIPPED = "tiny-aligned"
BENCH_S = 3.0  # the last of several measurements takes at least so much, if the largest suffices
SIZES = (
    (16, 8),
    (16, 32),
    (64, 32),
    (64, 64),
    (256, 64),
    (1024, 64),
)  # samples and their longest, each some times more
LARGEST_BENCHED_BYTES = 1.5e9  # what is read, loaded and draws the first of these in some ten seconds
_PROMPT = "Once upon a time"


def suggest(session: Session, *, with_bench: bool) -> Suggestions:
    """Look, measure, and estimate. Raises RegistryError and what engines raise."""
    known, machine = registry.load(), look_at_machine()
    groups = list(_groups(known))
    bench = _measured(known, machine, session) if with_bench else None
    found, unknown = [], []
    for kind, name, entries in groups:
        every = [_taken(entry, entries) for entry in entries]
        if None in every:
            unknown.append(name)
        else:
            found.append(_suggestion(kind, name, entries, [one for one in every if one], machine, bench))
    return Suggestions(machine, bench, tuple(sorted(found, key=lambda one: one.memory_bytes)), tuple(unknown))


def _measured(known: Registry, machine: Machine, session: Session) -> Bench | None:
    """The speed; where no model can be opened here, what is known without one is still worth saying."""
    try:
        return _bench(_to_bench(known, machine), session)
    except LlamadivError as error:
        session.listener.say(f"No times, as nothing could be measured: {error}")
        return None


def look_at_machine() -> Machine:
    """Its memory, or what a container is allowed of it, and the disk where models would go."""
    cache = hub.cache_folder()
    there = next(place for place in (cache, *cache.parents) if place.exists())
    memory = min(float(physical_memory_bytes()), _allowed_bytes())
    return Machine(memory, USABLE_SHARE * memory, shutil.disk_usage(there).free, str(cache))


def _allowed_bytes() -> float:
    """What the kernel allows this group of processes (cgroup v2); without such a limit any number."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text("ascii"))
    except (OSError, ValueError):  # "max"
        return float("inf")


def _groups(known: Registry) -> Iterator[tuple[str, str, list[ModelEntry]]]:
    """Pairs and ladders whose models are files."""
    members = {("pair", pair.name): (pair.base, pair.aligned) for pair in known.pairs.values()}
    rungs = {("ladder", ladder.name): ladder.rungs for ladder in known.ladders.values()}
    for (kind, name), references in (*members.items(), *rungs.items()):
        try:
            entries = shelf.unique(known.find(one) for member in references for one in known.models_of(member))
        except LlamadivError:  # a path that leads nowhere now
            continue
        if all(entry.path or entry.repo for entry in entries):
            yield kind, name, entries


def _taken(entry: ModelEntry, group: Sequence[ModelEntry]) -> Taken | None:
    one = shelf.look(entry)
    if one.path is None:
        return taken(entry.file or "", entry.size_bytes, None, None, sibling_bytes=_of_sibling(entry, group))
    try:
        header = gguf.read_header(one.path)
    except LlamadivError:  # damaged: what is known of it without
        return taken(one.path.name, one.size_bytes, None, None)
    n_params = sum(_n_weights(tensor.shape) for tensor in header.tensors) if len(one.files) == 1 else None
    return taken(one.path.name, one.size_bytes, dict(header.metadata), n_params)


def _of_sibling(entry: ModelEntry, group: Sequence[ModelEntry]) -> int | None:
    """The size of another of the group that is quantised alike."""
    bits = bits_per_weight(entry.file or "")
    alike = (one for one in group if bits and bits == bits_per_weight(one.file or ""))
    return next((one.size_bytes for one in alike if one.size_bytes), None)


def _n_weights(shape: Sequence[int]) -> int:
    found = 1
    for length in shape:
        found *= length
    return found


def _suggestion(
    kind: str, name: str, entries: Sequence[ModelEntry], every: Sequence[Taken], machine: Machine, bench: Bench | None
) -> Suggestion:
    missing = [(entry, one) for entry, one in zip(entries, every, strict=True) if shelf.look(entry).path is None]
    fetch_bytes = sum(max(0.0, one.size_bytes - shelf.look(entry).partial_bytes) for entry, one in missing)
    memory_bytes = max(one.memory_bytes for one in every)  # one model at a time is in memory
    time_s = None
    if bench:
        speed = Speed(bench.tokens_per_second, bench.n_params)
        n_tokens = most_tokens(len(every)) // len(every)  # of each model
        time_s = FIXED_S + sum(seconds(n_tokens, one.n_params, speed) for one in every)
    return Suggestion(
        name,
        kind,
        f"llamadiv reproduce --{kind} {shlex.quote(name)}",
        not missing,
        fetch_bytes,
        memory_bytes,
        time_s,
        tuple(sorted({what for one in every for what in one.estimated})),
        _lacks(fetch_bytes, memory_bytes, machine),
    )


def _lacks(fetch_bytes: float, memory_bytes: float, machine: Machine) -> str | None:
    if memory_bytes > machine.usable_bytes:
        return "memory"
    return "disk" if fetch_bytes > machine.disk_free_bytes else None


# --- The bench -------------------------------------------------------------------------------------------------------


def _to_bench(known: Registry, machine: Machine) -> ModelEntry:
    """The largest model of the table that is here and quick to load; the one that ships where there is no other."""
    sizes: dict[str, int] = {}
    for entry in known.models.values():
        one = shelf.look(entry)
        if one.path is not None and entry.role != "embed" and one.size_bytes:
            sizes[entry.reference] = one.size_bytes
    most = min(LARGEST_BENCHED_BYTES, machine.usable_bytes)
    fitting = {name: size for name, size in sizes.items() if size <= most}
    return known.find(max(fitting, key=lambda name: fitting[name]) if fitting else SHIPPED)


def _bench(entry: ModelEntry, session: Session) -> Bench:
    """Its speed with all statistics, as `bench` measures it, drawn more and more until it takes long enough."""
    model, began_s = session.model(entry.reference), time.monotonic()
    with session.opened(model) as engine, session.listener.working(f"measuring {entry.reference}") as show:
        found = {"seconds": 0.0, "tokens_per_second": 0.0}
        for n, max_tokens in SIZES:
            if found["seconds"] < BENCH_S:
                cell = plan_cell(
                    engine,
                    model,
                    engine.prompt(_PROMPT),
                    arm="bench",
                    n=n,
                    max_tokens=max_tokens,
                    drawing=Drawing(),
                    layout=session.layout,
                )
                found = measure(engine, cell, show)
        n_params = engine.facts.n_params
    return Bench(entry.reference, found["tokens_per_second"], n_params, time.monotonic() - began_s)
