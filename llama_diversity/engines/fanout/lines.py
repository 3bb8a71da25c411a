"""What the driver knows of a worker's place: how to reach it, and when it is lost."""

from __future__ import annotations

from typing import Protocol

from llama_diversity.errors import EngineError


class WorkerLost(Exception):
    """A worker that died, does not answer, or cannot be reached: why, in words that follow its name."""


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
        """Whether we start it, so that it works as our options say; else as its own say."""
        ...

    def connect(self) -> Line:
        """Start it, or reach it. Raises WorkerLost, which may be tried again; Refused, which is not."""
        ...
