"""What the driver knows of a worker's place: how to reach it, and when it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llama_diversity.engines import EngineOptions
from llama_diversity.errors import EngineError


class WorkerLost(Exception):
    """A worker that died, does not answer, or cannot be reached: why, in words that follow its name."""


class WorkerGone(WorkerLost):
    """One that cannot come back: its machine has left."""


class Refused(EngineError):
    """A worker that must not take part, and is not tried again: why, in words that follow its name."""


class Line(Protocol):
    """A worker that can be talked to. One message at a time."""

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        """Its answer. Raises WorkerLost."""
        ...

    def close(self) -> None:
        """Let it go: a worker of ours ends, one elsewhere stays."""
        ...


class Place(Protocol):
    """Where a worker is, or can be started."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def is_ours(self) -> bool:
        """Whether we start it: one that dies again and again is then given up."""
        ...

    def connect(self) -> Line:
        """Start it, or reach it. Raises WorkerLost, which may be tried again; Refused, which is not."""
        ...


class Places(Protocol):
    """Where workers are, as `--workers` names it."""

    @property
    def n_here(self) -> int:
        """How many are processes of this machine, and share its cores and memory."""
        ...

    @property
    def are_all_here(self) -> bool:
        """Whether all are, and so have this machine's build."""
        ...

    @property
    def may_grow(self) -> bool:
        """Whether more may come while the work goes on."""
        ...

    def now(self, options: EngineOptions) -> Sequence[Place]:
        """The places that there are, for work laid out so. Those that are equal are the same. Raises EngineError."""
        ...


@dataclass(frozen=True)
class Fixed:
    """Places that are all named."""

    places: tuple[Place, ...]

    may_grow = False

    @property
    def n_here(self) -> int:
        """Those that we start."""
        return sum(place.is_ours for place in self.places)

    @property
    def are_all_here(self) -> bool:
        """Whether we start all."""
        return self.n_here == len(self.places)

    def now(self, options: EngineOptions) -> Sequence[Place]:
        """All of them."""
        return self.places
