"""What `--workers` means: where workers are."""

from __future__ import annotations

import os
import re

from llama_diversity.engines.fanout.lines import Place
from llama_diversity.errors import BadValue

MOST_PROCESSES = 256
MEANT = "it must be a number of processes, ray:ADDRESS, or addresses like http://host:8765, separated by commas"


def parse_workers(typed: str) -> tuple[Place, ...]:
    """The places that `typed` names, in its order. Raises BadValue.

    >>> [place.name for place in parse_workers("2")]
    ['worker 1', 'worker 2']
    """
    if re.fullmatch(r"\d{1,9}", typed, re.ASCII):
        n = int(typed)
        if not 1 <= n <= MOST_PROCESSES:
            raise BadValue("--workers", typed, f"start 1 to {MOST_PROCESSES} processes")
        if os.name == "nt":
            raise BadValue(
                "--workers", typed, "processes need Linux or macOS; start `llamadiv worker` and name its URL"
            )
        from llama_diversity.engines.fanout.processes import ProcessPlace

        return tuple(ProcessPlace(number) for number in range(1, n + 1))
    raise BadValue("--workers", typed, MEANT)
