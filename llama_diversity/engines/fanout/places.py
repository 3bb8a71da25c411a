"""What `--workers` means: where workers are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from llama_diversity.engines.fanout.lines import Fixed, Place, Places
from llama_diversity.errors import BadValue

MOST_PROCESSES = 256
MEANT = "it must be a number of processes, ray:ADDRESS, or addresses like http://host:8765, separated by commas"

_CLUSTER = re.compile(r"ray:(local|(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5})", re.ASCII)


def workers_at(typed: str) -> Places:
    """Where `typed` says that workers are. Raises BadValue.

    >>> workers_at("ray:10.0.0.5:6379").address
    '10.0.0.5:6379'
    """
    if not typed.startswith("ray:"):
        return Fixed(parse_workers(typed))
    cluster = _CLUSTER.fullmatch(typed)
    if cluster is None:
        meant = "name the cluster's head, as in ray:10.0.0.5:6379, or ray:local to start one"
        raise BadValue("--workers", typed, meant)
    from llama_diversity.engines.fanout.clusters import RayPlaces

    return RayPlaces(cluster[1])


def parse_workers(typed: str) -> tuple[Place, ...]:
    """The places that `typed` names, in its order. Raises BadValue.

    >>> [place.name for place in parse_workers("1,http://gpu,https://gpu")]
    ['worker 1', 'http://gpu:8765', 'https://gpu:443']
    """
    places: list[Place] = []
    for part in typed.split(","):
        if re.fullmatch(r"\d{1,9}", part, re.ASCII) and not any(place.is_ours for place in places):
            places += _processes(part)
        elif "://" in part:
            from llama_diversity.engines.fanout.http import HttpPlace

            places.append(HttpPlace.of(part))
        else:
            raise BadValue("--workers", typed, MEANT)
    twice = next((place.name for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise BadValue("--workers", typed, f"it names {twice} twice; name each worker once")
    return tuple(places)


def cautions(places: Sequence[Place]) -> list[str]:
    """What a user should know of the ways there."""
    found = (getattr(place, "caution", None) for place in places)
    return [words for words in found if words]


def _processes(typed: str) -> list[Place]:
    n = int(typed)
    if not 1 <= n <= MOST_PROCESSES:
        raise BadValue("--workers", typed, f"start 1 to {MOST_PROCESSES} processes")
    if os.name == "nt":
        raise BadValue("--workers", typed, "processes need Linux or macOS; start `llamadiv worker` and name its URL")
    from llama_diversity.engines.fanout.processes import ProcessPlace

    return [ProcessPlace(number) for number in range(1, n + 1)]
