"""What can be told of samples without reading them: which there are, how they begin, how likely they are as a whole.

All of it for as many samples as are asked for, so that a run of any size is looked through in little memory.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import StoreDamaged
from llama_diversity.store.statistics import ids_of, surprisal_of

_AT_ONCE = 200  # samples, or keys, in one query
_STATISTICS_AT_ONCE = 16  # those of long samples are large


class Glance(NamedTuple):
    """A sample from outside, with its index within the recipe. `text` are its first bytes."""

    number: int
    n_tokens: int
    finish_reason: str
    text: bytes


class Sum(NamedTuple):
    """How likely a sample is as a whole: -log2 p of its tokens under the raw model, over those that have one."""

    number: int
    n_tokens: int
    bits: float
    n_judged: int


class Glances(ABC):
    """What a store tells of samples at a glance."""

    path: Path

    @abstractmethod
    def _rows(self, query: str, *values: Any) -> list[Any]:
        """What a query finds. Raises StoreError."""

    def version(self) -> int:
        """A number that is another one once another connection has written."""
        [(found,)] = self._rows("PRAGMA data_version")
        return int(found)

    def indices(self, recipe_key: str, n: int) -> list[int]:
        """Those of the indices 0..n-1 that are stored, ascending."""
        rows = self._rows(
            "SELECT idx FROM samples JOIN recipes ON recipe = number WHERE key = ? AND idx < ? ORDER BY idx",
            recipe_key,
            n,
        )
        return [self._whole(index, recipe_key) for (index,) in rows]

    def glances(self, recipe_key: str, indices: Sequence[int], n_bytes: int) -> dict[int, Glance]:
        """The samples of these indices from outside, with the first `n_bytes` of their texts."""
        found = {}
        for start in range(0, len(indices), _AT_ONCE):
            some = indices[start : start + _AT_ONCE]
            rows = self._rows(
                "SELECT idx, n_tokens, finish_reason, substr(text, 1, ?) FROM samples"
                f" JOIN recipes ON recipe = number WHERE key = ? AND idx IN ({', '.join('?' * len(some))})",
                n_bytes,
                recipe_key,
                *some,
            )
            found.update({row[0]: self._glance(recipe_key, row) for row in rows})
        return found

    def sums(self, recipe_key: str, indices: Sequence[int]) -> dict[int, Sum]:
        """How likely each of the samples of these indices is as a whole; of a few at once the statistics are read."""
        found = {}
        for index, surprisal in self._columns(recipe_key, indices, surprisal_of):
            known = surprisal[surprisal == surprisal]  # not nan
            found[index] = Sum(index, len(surprisal), float(known.sum(dtype="f8")), len(known))
        return found

    def ids(self, recipe_key: str, indices: Sequence[int]) -> dict[int, npt.NDArray[np.int32]]:
        """The tokens of the samples of these indices, by id."""
        return dict(self._columns(recipe_key, indices, ids_of))

    def _columns(
        self, recipe_key: str, indices: Sequence[int], column_of: Callable[[bytes, int], npt.NDArray[Any]]
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """A column of the statistics of each of these samples, a few in memory at a time."""
        for start in range(0, len(indices), _STATISTICS_AT_ONCE):
            some = indices[start : start + _STATISTICS_AT_ONCE]
            rows = self._rows(
                "SELECT idx, n_tokens, statistics FROM samples JOIN recipes ON recipe = number"
                f" WHERE key = ? AND idx IN ({', '.join('?' * len(some))})",
                recipe_key,
                *some,
            )
            for index, n_tokens, statistics in rows:
                try:
                    column = column_of(statistics, n_tokens)
                except (ValueError, TypeError) as error:
                    raise StoreDamaged(self.path, f"sample {index} of recipe {recipe_key}: {error}") from error
                yield index, column

    def prompts(self, recipe_keys: Sequence[str]) -> dict[str, str]:
        """The text that each recipe asks, some recipes in memory at a time."""
        found = {}
        keys = list(dict.fromkeys(recipe_keys))
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            rows = self._rows(f"SELECT key, canonical FROM recipes WHERE key IN ({', '.join('?' * len(some))})", *some)
            for key, canonical in rows:
                try:
                    found[key] = str(json.loads(canonical)["prompt"]["text"])
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise StoreDamaged(self.path, f"recipe {key} cannot be read") from error
        lost = next((key for key in keys if key not in found), None)
        if lost is not None:
            raise StoreDamaged(self.path, f"recipe {lost} is not there")
        return found

    def _glance(self, recipe_key: str, row: tuple[int, int, str, bytes]) -> Glance:
        index, n_tokens, finish_reason, text = row
        if not (isinstance(n_tokens, int) and isinstance(finish_reason, str) and isinstance(text, bytes)):
            raise StoreDamaged(self.path, f"sample {index} of recipe {recipe_key} cannot be read")
        return Glance(self._whole(index, recipe_key), n_tokens, finish_reason, text)

    def _whole(self, index: object, recipe_key: str) -> int:
        if not (isinstance(index, int) and index >= 0):
            raise StoreDamaged(self.path, f"recipe {recipe_key} has a sample {index!r}")
        return index
