"""Samples that are still to be drawn, dealt so that all workers are busy until the last of them.

Of one recipe a worker gets as many as it can draw at once and some more, and is fed as it takes them; of many recipes
it gets a share that shrinks as fewer are left. What a lost worker had comes back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from llama_diversity.engines.layout import PREFERRED_PARALLEL
from llama_diversity.records import Recipe, Sample

_FEWEST = 16  # of many recipes in one share: fewer leave the sequences of a worker empty


class _Indices:
    """Indices that are left of one recipe, in order; those that come back go first. Of a range none is made early."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._fresh, self._n_fresh = iter(indices), len(indices)
        self._back: list[int] = []

    def __len__(self) -> int:
        return self._n_fresh + len(self._back)

    def pop(self) -> int:
        """The next one."""
        if self._back:
            return self._back.pop()
        self._n_fresh -= 1
        return next(self._fresh)

    def push(self, index: int) -> None:
        """Before all others."""
        self._back.append(index)


class Deal:
    """The indices that are left of each recipe; thread-safe."""

    def __init__(self, works: Iterable[tuple[Recipe, Sequence[int]]], *, n_workers: int, parallel: int | None) -> None:
        self._lock = threading.Lock()
        self._left = {recipe.key: (recipe, _Indices(indices)) for recipe, indices in works}
        self._n_left = sum(len(indices) for _, indices in self._left.values())
        self.n_workers = n_workers  # that there are now
        self._parallel = parallel or PREFERRED_PARALLEL
        self.n_open = self._n_left  # neither finished nor given up

    @property
    def is_single(self) -> bool:
        """Whether there is one recipe only."""
        return len(self._left) == 1

    @property
    def share(self) -> int:
        """How many of those that are left each worker would draw."""
        return -(-self._n_left // self.n_workers)

    def take(self) -> dict[Recipe, list[int]]:
        """What a worker begins with; empty where nothing is left."""
        with self._lock:
            if self.is_single:
                wanted = min(self.share, self._parallel + self._parallel // 2)
            else:
                wanted = self._n_left if self.n_workers == 1 else max(_FEWEST, -(-self.share // 2))
            taken: dict[Recipe, list[int]] = {}
            for recipe, indices in self._left.values():
                while indices and wanted:
                    taken.setdefault(recipe, []).append(indices.pop())
                    wanted, self._n_left = wanted - 1, self._n_left - 1
            return taken

    def more(self, n_lying: int) -> list[int]:
        """What a worker of the one recipe is fed, now that so many wait for a free sequence there."""
        with self._lock:
            if not self.is_single or n_lying > self._parallel // 2 or not self._n_left:
                return []
            wanted = min(self._parallel, max(1, self.share // 2))
            if n_lying >= wanted:  # towards the end each gets few at a time
                return []
            ((_, indices),) = self._left.values()
            fed = [indices.pop() for _ in range(min(wanted, len(indices)))]
            self._n_left -= len(fed)
            return fed

    def finished(self, samples: Iterable[Sample]) -> None:
        """They are drawn."""
        with self._lock:
            self.n_open -= sum(1 for _ in samples)

    def give_up(self, n: int) -> None:
        """So many cannot be drawn."""
        with self._lock:
            self.n_open -= n

    def give_back(self, taken: Iterable[tuple[str, int]]) -> None:
        """Recipe keys and indices that another worker shall draw, before all else."""
        with self._lock:
            for key, index in sorted(taken, reverse=True):
                self._left[key][1].push(index)
                self._n_left += 1
