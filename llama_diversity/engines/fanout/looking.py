"""What each worker is, before any of them has work: its machine, its program, what it serves, and who differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import Place, WorkerLost
from llama_diversity.errors import LlamadivError

_ANSWER_SECONDS = 60.0  # the library is loaded for it
_AT_ONCE = 16
_ALIKE = {"llamadiv": "version of llamadiv", "build": "build of llama.cpp"}


def look(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Of each place, in order: `name`, `trouble` (None where it answers), and what it says of itself.

    That is `host`, `pid`, `n_cores`, `memory_bytes`, `llamadiv` and `python` (versions), `build` (of llama.cpp), and
    `models` where it serves certain ones. A worker of ours is started for it, and ended.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_look, places))


def differing(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each that is not as the first one that answers: their samples would belong to two recipes."""
    there = [one for one in found if one["trouble"] is None]
    return [
        f"{one['name']} has another {word} than {there[0]['name']}: {one[what]} there, {there[0][what]} here."
        for what, word in _ALIKE.items()
        for one in there[1:]
        if one[what] != there[0][what]
    ]


def _look(place: Place) -> dict[str, Any]:
    try:
        with closing(place.connect()) as line:
            message = wire.pack({"version": wire.VERSION, "do": "look"})
            answer = wire.unpack(line.post(message, timeout_s=_ANSWER_SECONDS))
        if "error" in answer:
            raise WorkerLost(f"refuses: {answer['error']['words']}")
    except wire.Malformed as error:
        return {"name": place.name, "trouble": f"answers what cannot be read: {error}"}
    except (WorkerLost, LlamadivError) as error:
        return {"name": place.name, "trouble": str(error)}
    return {"name": place.name, "trouble": None, **answer}
