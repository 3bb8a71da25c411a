"""What a shell offers after Tab: names of models, pairs, ladders and runs, each with a few words.

It is asked in the middle of a command line, so it loads little: no sample, no digest, no header of a model.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from llama_diversity import neighbours, registry
from llama_diversity.storefile import LAST_RUN, headlines

Offer = tuple[str, str]  # a value, and the words shown beside it
_MOST_RUNS = 1000


def models() -> Iterator[Offer]:
    """Aliases, and the models of other programs that go by a name."""
    for entry in registry.load().entries():
        yield entry.reference, ", ".join(word for word in (entry.role, entry.licence) if word)
    for one in neighbours.look().found:
        if one.can_be_opened and neighbours.is_neighbour(one.reference):
            yield one.reference, one.program


def pairs() -> Iterator[Offer]:
    """With their models."""
    for pair in registry.load().pairs.values():
        yield pair.name, f"{pair.base} and {pair.aligned}"


def ladders() -> Iterator[Offer]:
    """With their rungs."""
    for ladder in registry.load().ladders.values():
        yield ladder.name, ", ".join(ladder.rungs)


def runs(store: Path) -> Iterator[Offer]:
    """Those of a store, the newest first, with what was typed. Raises StoreError."""
    for run in headlines(store, _MOST_RUNS, timeout_s=0.2).newest:
        yield run.id, shlex.join(run.command)
    yield LAST_RUN, "the newest run"
