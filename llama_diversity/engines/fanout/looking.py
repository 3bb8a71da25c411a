"""What each worker is, before any of them has work: its machine, its program, what it serves, and who differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.clusters import RayPlace
from llama_diversity.engines.fanout.lines import Place, WorkerLost
from llama_diversity.engines.fanout.places import workers_at
from llama_diversity.errors import LlamadivError

_ANSWER_SECONDS = 60.0  # the library is loaded for it
_AT_ONCE = 16
_ALIKE = {"llamadiv": "version of llamadiv", "build": "build of llama.cpp"}


def look(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Of each place, in order: `name`, `trouble` (None where it answers), and what it says of itself.

    That is `host`, `pid`, `n_cores`, `memory_bytes`, `llamadiv` and `python` (versions), `build` (of llama.cpp), and
    `models` where it serves certain ones, `room` what it has of a node of a cluster. A worker of ours is started for
    it, and ended.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_look, places))


def look_at(typed: str) -> list[dict[str, Any]]:
    """The same of all that `--workers` names. Raises BadValue, EngineError."""
    return look(workers_at(typed).now(EngineOptions()))


def complaints(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What is wrong with them, a sentence each, and what to type against it."""
    lost = [one for one in found if one["trouble"] is not None]
    said = [
        (
            f"{one['name']} {one['trouble']}".removesuffix(".") + ".",
            "ray status" if one["name"].startswith("node ") else "llamadiv worker -m MODEL  # there",
        )
        for one in lost
    ]
    alike = (
        "bin/setup  # there: one version of llamadiv and one build of llama.cpp on all, or leave it out of --workers"
    )
    return [*said, *((words, alike) for words in differing(found))]


def words_of(one: Mapping[str, Any]) -> str:
    """What a worker is, in a line."""
    if one["trouble"] is not None:
        return str(one["trouble"])
    said = [
        f"{one['host']}, {one['n_cores']} cores, {one['memory_bytes'] / 1e9:.1f} GB",
        f"llamadiv {one['llamadiv']}, {one['build']}",
        *([f"{one['room']} of the node"] if "room" in one else []),
        *([f"serves {' and '.join(one['models'])}"] if "models" in one else []),
        *([f"{one['n_drivers']} open for drivers now"] if one.get("n_drivers") else []),
    ]
    return "; ".join(said)


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
    room = {"room": place.room} if isinstance(place, RayPlace) else {}
    return {"name": place.name, "trouble": None, **answer, **room}
