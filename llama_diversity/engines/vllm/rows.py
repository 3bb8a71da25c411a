"""What is drawn inside a server: requests of ours, their random numbers, and the statistics of every token they got.

Arrays only: no vLLM, no torch. A request draws sample `index` of a recipe, or reads given tokens one by one. Its token
at a position depends on its own numbers and that row of logits alone, so a row that is computed twice (a request set
aside and taken up again, a prompt read in pieces) simply replaces itself.
"""

from __future__ import annotations

import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llama_diversity.engines.draws import Float32, Int64, Look, Reducer, uniforms
from llama_diversity.errors import LlamadivError
from llama_diversity.records import TOKEN_DTYPE, Sampler, TokenStats

NAME = "llamadiv"  # of our part in a request's extra arguments
_FIRST_CAPACITY = 128  # tokens; doubled when needed
_MOST_ROWS = 256  # of tokens drawn before their statistics are made, as in `batching`
_MOST_REQUESTS = 16_384  # kept, far above what a server draws at once; of those that nobody fetched the oldest go


class Request:
    """One request of ours: what decides its tokens, and the rows they left."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.name = str(given["request"])
        self.forced: tuple[int, ...] | None = None
        self.sampler = Sampler()
        self.seed = self.index = 0
        if "forced" in given:
            self.forced = tuple(int(token) for token in given["forced"])
        else:
            self.seed, self.index = int(given["seed"]), int(given["index"])
            self.sampler = _sampler(json.dumps(given["sampler"], sort_keys=True))
            self._numbers = uniforms(self.seed, self.index, _FIRST_CAPACITY)
        self.rows = np.zeros(_FIRST_CAPACITY, TOKEN_DTYPE)
        self.n_rows = 0
        self.trouble = ""  # why a row of it is lacking for good

    @classmethod
    def of(cls, extra_args: Mapping[str, Any] | None) -> Request | None:
        """What a request's extra arguments say; None for somebody else's. Raises ValueError for what is malformed."""
        given = (extra_args or {}).get(NAME)
        if given is None:
            return None
        try:
            return cls(given)
        except (ArithmeticError, KeyError, TypeError, ValueError, LlamadivError) as error:
            raise ValueError(f"{NAME}: {error}") from error

    def number(self, position: int) -> float:
        """The uniform that draws the token at `position`."""
        if position >= len(self._numbers):
            self._numbers = uniforms(self.seed, self.index, 2 * position)
        return float(self._numbers[position])

    def kind(self, position: int) -> Sampler | None:
        """What its token at `position` is drawn with; None where it is given."""
        return None if self.forced is not None else self.sampler.at(is_first=position == 0)

    def keep(self, position: int, row: TokenStats) -> None:
        """The statistics of the token at `position`."""
        if position >= len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros(position, TOKEN_DTYPE)])
        self.rows[position] = row
        self.n_rows = max(self.n_rows, position + 1)


@functools.lru_cache(maxsize=64)
def _sampler(fields: str) -> Sampler:
    given = json.loads(fields)
    if not all(isinstance(value, (int, float)) for value in given.values() if value is not None):
        raise ValueError("a sampler is made of numbers")
    return Sampler(**{**given, "top_k": int(given.get("top_k", 0))})


Place = tuple[Request, int]  # a request and the position of its next token


class Drawn:
    """Draws for requests, and keeps their rows until they are fetched.

    `n_threads` share the passes over the vocabulary; settled with the first draw.
    """

    def __init__(self, *, n_threads: int = 1) -> None:
        self.n_threads = n_threads
        self._reducer: Reducer | None = None
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._undescribed: list[tuple[list[Place], Look]] = []
        self._n_undescribed = 0
        self._lock = threading.Lock()  # rows may be fetched by another thread than the one that draws

    def enter(self, request: Request) -> Request:
        """The request as it is known here: one that was set aside comes back to its own rows."""
        with self._lock:
            known = self._requests.setdefault(request.name, request)
            while len(self._requests) > _MOST_REQUESTS:
                self._requests.popitem(last=False)
            return known

    def draw(self, logits: Float32, places: Sequence[Place]) -> Int64:
        """The token of each place from its row of `logits`, shape (places, n_vocab); -1 where these are no numbers."""
        if self._reducer is None:
            self._reducer = Reducer(logits.shape[1], n_threads=self.n_threads)
        ids = np.full(len(places), -1)
        kinds: dict[Sampler | None, list[int]] = {}
        for row, (request, position) in enumerate(places):
            kinds.setdefault(request.kind(position), []).append(row)
        with self._lock:
            for sampler, rows in kinds.items():
                own = logits if len(rows) == len(logits) else logits[rows]
                self._draw_alike(own, sampler, [places[row] for row in rows], ids, rows)
            if self._n_undescribed >= _MOST_ROWS:
                self._describe()
        return ids

    def take(self, name: str, n: int) -> bytes | str:
        """The first `n` rows of the request of that name, which is forgotten.

        Where it lacks any of them, why that will always be so, or nothing: another try may have them.
        """
        with self._lock:
            self._describe()
            request = self._requests.pop(name, None)
            if request is None or request.n_rows < n or (request.rows["rank"][:n] == 0).any():
                return request.trouble if request else ""
            return request.rows[:n].tobytes()

    def _draw_alike(
        self, logits: Float32, sampler: Sampler | None, places: list[Place], ids: Int64, rows: list[int]
    ) -> None:
        """Draw rows of one sampler, or read given tokens; one that cannot be read leaves the others alone."""
        try:
            look = self._look(logits, sampler, places)
        except Exception as error:  # noqa: BLE001  whatever it is, the server and the requests of others go on
            if len(rows) == 1:
                places[0][0].trouble = str(error) or type(error).__name__
                return
            for at, row in enumerate(rows):
                self._draw_alike(logits[at : at + 1], sampler, [places[at]], ids, [row])
            return
        ids[rows] = look.ids
        self._undescribed.append((places, look))
        self._n_undescribed += len(places)

    def _look(self, logits: Float32, sampler: Sampler | None, places: list[Place]) -> Look:
        assert self._reducer is not None
        if sampler is None:
            targets = np.array([_given(request, at) for request, at in places])
            if not ((targets >= 0) & (targets < self._reducer.n_vocab)).all():
                raise ValueError(f"a token that was given is none of the {self._reducer.n_vocab} of this model")
            return self._reducer.look_at(logits, targets)
        return self._reducer.look(logits, np.array([request.number(at) for request, at in places]), sampler)

    def _describe(self) -> None:
        if not self._undescribed:
            return
        assert self._reducer is not None
        stats = self._reducer.describe([look for _, look in self._undescribed])
        places = (place for of_look, _ in self._undescribed for place in of_look)
        for row, (request, position) in zip(stats, places, strict=True):
            request.keep(position, row)
        self._undescribed.clear()
        self._n_undescribed = 0


def _given(request: Request, position: int) -> int:
    """The token to read at `position`; behind the last one, whatever the server computes too many, the last again."""
    assert request.forced is not None
    return request.forced[min(position, len(request.forced) - 1)]
