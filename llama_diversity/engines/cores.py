"""How many threads pay: the cores that this process may use and that nobody else computes on, looked at as it goes.

Threads that compute one model wait for each other some hundred times a token. Where one of them shares its core with
another program, all wait for it, so a thread more is then a loss: two of them beside one busy program draw less than
one does. Which cores are taken is read from the system's own account of busy time, on Linux; elsewhere all count as
free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_WINDOW_SECONDS = 0.2  # between two looks: the account is kept in hundredths
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # what a container may use: "max 100000", or microseconds of so many


def physical_cores() -> int:
    """Cores this process may use: two hardware threads of one core count once, and a container's quota bounds them."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text().strip() if path.exists() else str(cpu))
    return max(1, min(len(siblings), _quota_cores(_QUOTA)))


def _quota_cores(path: Path) -> int:
    """The cores that a control group's quota amounts to, begun ones counted whole; many where there is none."""
    try:
        quota, period = path.read_text().split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no control group, or its quota is "max"
        return 1 << 16


class Account(NamedTuple):
    """Seconds since some start: of the clock, of all programs on the CPUs of this process, and of this process."""

    wall: float
    everybody: float
    own: float


def account() -> Account | None:
    """The account as it stands now; None where the system keeps none."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        cpus = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        everybody = sum(_busy_ticks(line) for line in lines if line.split(" ", 1)[0] in cpus)
        return Account(time.monotonic(), everybody / os.sysconf("SC_CLK_TCK"), time.process_time())
    except (AttributeError, OSError, ValueError):  # no such file, or other columns, or no such call
        return None


def _busy_ticks(line: str) -> int:
    """Ticks of one CPU spent on programs; those that give way to all others ("nice") do not count."""
    user, _nice, system, _idle, _waiting, interrupts, soft_interrupts = map(int, line.split()[1:8])
    return user + system + interrupts + soft_interrupts


class Threads:
    """Of at most `most` threads as many as have a core for themselves, never less than one."""

    def __init__(self, most: int, *, look: Callable[[], Account | None] = account) -> None:
        self.most = most
        self._look = look
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else most
        self._before = look() if most > 1 else None
        self._now = most

    def count(self) -> int:
        """How many to compute with from here on."""
        before = self._before
        if before is None or time.monotonic() - before.wall < _WINDOW_SECONDS:
            return self._now
        after = self._before = self._look()
        if after is not None:
            others = (after.everybody - before.everybody - (after.own - before.own)) / (after.wall - before.wall)
            self._now = max(1, min(self.most, int(self._cores - others + 0.5)))
        return self._now


def steady(number: int) -> Threads:
    """As many threads whatever others do."""
    return Threads(number, look=lambda: None)
