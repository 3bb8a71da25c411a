"""Recipes that are drawn together: what their prompts have in common, how long they are, and their samples in order."""

from __future__ import annotations

import os.path
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llama_diversity.engines.completion import Completion
from llama_diversity.errors import EngineError, PromptTooLong
from llama_diversity.records import Piece, Recipe


class Tray:
    """Indices of one recipe that come while it is drawn: `n` are expected, and taken is what lies there.

    Its iterator ends when nothing does, and goes on when there is more.
    """

    def __init__(self, n: int, indices: Iterable[int] = ()) -> None:
        self._n = n
        self._lying = deque(indices)

    def put(self, indices: Iterable[int]) -> None:
        """More of them; from another thread too."""
        self._lying.extend(indices)

    @property
    def n_lying(self) -> int:
        """How many wait to be taken."""
        return len(self._lying)

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        try:
            return self._lying.popleft()
        except IndexError:
            raise StopIteration from None


@dataclass(frozen=True)
class Together:
    """Recipes that share all but prompt, seed, length, stops and a grammar's text, with the indices wanted of each.

    The head is what all prompts begin with. One prompt is its own head; of several it ends a token before the shortest
    one at the latest, so that each has tokens of its own behind it.
    """

    works: tuple[tuple[Recipe, list[int] | range | Tray], ...]
    head: tuple[int, ...]
    n_own: int  # tokens of the longest prompt behind the head
    max_tokens: int  # behind the longest prompt, so that every sample has room
    is_apart: bool  # there are several prompts; to one model of a mixture they may be one

    @classmethod
    def of(cls, asked: Iterable[tuple[Recipe, Iterable[int]]], *, n_ctx: int) -> Together | None:
        """None where no sample is wanted. Raises PromptTooLong, EngineError for recipes that do not go together."""
        listed = [
            (recipe, indices if isinstance(indices, (Tray, range)) else list(indices)) for recipe, indices in asked
        ]
        works = tuple((recipe, indices) for recipe, indices in listed if len(indices))
        if not works:
            return None
        if len({recipe.kin for recipe, _ in works}) > 1:
            raise EngineError(
                "Recipes drawn together must share engine, sampler and arithmetic, and all or none have a grammar."
            )
        prompts = list(dict.fromkeys(recipe.prompt.ids for recipe, _ in works))
        is_apart = len({tuple(one.ids for one in recipe.prompt.readings) for recipe, _ in works}) > 1
        for recipe, _ in works:
            if len(recipe.prompt.ids) + recipe.max_tokens > n_ctx:
                which = recipe.prompt.text if len(prompts) > 1 else None
                raise PromptTooLong(len(recipe.prompt.ids), recipe.max_tokens, n_ctx, which=which)
        longest = max(map(len, prompts))
        total = max(len(recipe.prompt.ids) + recipe.max_tokens for recipe, _ in works)
        head = _head(prompts)
        return cls(works, head, longest - len(head), total - longest, is_apart)

    @property
    def recipe(self) -> Recipe:
        """One of them, for what they share."""
        return self.works[0][0]

    @property
    def grammars(self) -> list[str]:
        """Those of the recipes, each once; none where they are free."""
        return list(dict.fromkeys(recipe.grammar for recipe, _ in self.works if recipe.grammar is not None))

    @property
    def n_samples(self) -> int:
        return sum(len(indices) for _, indices in self.works)

    def completions(self, *, piece: Callable[[int], Piece], ends: Callable[[int], bool]) -> Iterator[Completion]:
        """All of them, recipe after recipe, each made when it is asked for; of a tray those that lie there then."""
        return map(lambda pair: Completion(*pair, piece=piece, ends=ends), _Pairs(self.works))


class _Pairs(Iterator[tuple[Recipe, int]]):
    """Recipe after recipe, each with its indices; behind the last one it ends, and goes on where a tray has more."""

    def __init__(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> None:
        self._left = deque((recipe, iter(indices)) for recipe, indices in works)

    def __next__(self) -> tuple[Recipe, int]:
        while True:
            recipe, indices = self._left[0]
            index = next(indices, None)
            if index is not None:
                return recipe, index
            if len(self._left) == 1:
                raise StopIteration
            self._left.popleft()


def _head(prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """
    >>> _head([(1, 5, 7), (1, 5, 8, 9)]), _head([(1, 5), (1, 5, 8)]), _head([(1, 5)]), _head([(1,), (2,)])
    ((1, 5), (1,), (1, 5), ())
    """
    common = tuple(os.path.commonprefix(prompts))
    return common if len(prompts) == 1 else common[: min(map(len, prompts)) - 1]
