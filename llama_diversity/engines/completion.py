"""One sample while it grows: the tokens drawn so far, the bytes they add up to, and when it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_diversity.engines.codes import first_code, next_code
from llama_diversity.engines.draws import uniforms
from llama_diversity.records import TOKEN_DTYPE, Piece, Prompt, Recipe, Sample, TokenStats

_FIRST_CAPACITY = 128  # tokens; doubled when needed, so that a huge --max-tokens costs nothing until it is used


class Completion:
    """Collects the tokens of sample `index` of `recipe`; `piece` and `ends` describe the vocabulary."""

    def __init__(
        self, recipe: Recipe, index: int, *, piece: Callable[[int], Piece], ends: Callable[[int], bool]
    ) -> None:
        self.index = index
        self.n_tokens = 0
        self.last_id = -1  # the token drawn last
        self.finish_reason: str | None = None
        self._recipe = recipe
        self._piece = piece
        self._ends = ends
        self._numbers = uniforms(recipe.seed, index, min(recipe.max_tokens, _FIRST_CAPACITY))
        self._code = None if recipe.arithmetic is None else first_code(recipe.seed, index, recipe.arithmetic)
        self._tokens = np.empty(len(self._numbers), TOKEN_DTYPE)
        self._n_described = 0
        self._beside: list[TokenStats] = []
        self._text = bytearray()
        self._stops = [text.encode("utf-8", "surrogateescape") for text in recipe.stop]
        self._longest_stop = max(map(len, self._stops), default=0)

    @property
    def place(self) -> tuple[str, int]:
        """What tells it from all others that are drawn: its recipe's key and its index."""
        return self._recipe.key, self.index

    @property
    def recipe(self) -> Recipe:
        """What it is a sample of."""
        return self._recipe

    @property
    def prompt(self) -> Prompt:
        """What is before it."""
        return self._recipe.prompt

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The tokens before it."""
        return self._recipe.prompt.ids

    @property
    def grammar(self) -> str:
        """What it must follow. Of a recipe that has one."""
        assert self._recipe.grammar is not None
        return self._recipe.grammar

    @property
    def prompt_text(self) -> str:
        """What was asked."""
        return self._recipe.prompt.text

    @property
    def number(self) -> float:
        """What decides the next token: a uniform of its own, or its code within a set."""
        if self.n_tokens == len(self._numbers):
            capacity = min(2 * self.n_tokens, self._recipe.max_tokens)
            self._numbers = uniforms(self._recipe.seed, self.index, capacity)
            self._tokens = np.resize(self._tokens, capacity)
        return float(self._numbers[self.n_tokens]) if self._code is None else self._code

    def carry(self, rest: float, share: float) -> None:
        """Take what is left of the code that drew the next token, before that is added."""
        self._code = next_code(rest, share, float(self._numbers[self.n_tokens]))

    def add(self, token_id: int) -> bool:
        """Take one drawn token, whose statistics `describe` brings; True when it ends the completion."""
        self.n_tokens += 1
        self.last_id = token_id
        added = self._piece(token_id).bytes
        self._text += added
        if self._ends(token_id) or (self._stops and self._cut_at_stop(len(added))):
            self.finish_reason = "stop"
        elif self.n_tokens == self._recipe.max_tokens:
            self.finish_reason = "length"
        return self.finish_reason is not None

    def describe(self, stats: TokenStats) -> None:
        """Take the statistics of the next tokens that have none yet, in order."""
        self._tokens[self._n_described : self._n_described + len(stats)] = stats
        self._n_described += len(stats)

    @property
    def described(self) -> TokenStats:
        """Its tokens so far that have statistics, which do not change any more."""
        return self._tokens[: self._n_described]

    def keep_beside(self, row: TokenStats) -> None:
        """Take what a mixture keeps of the last token, shape (1,)."""
        self._beside.append(row)

    def give_up(self) -> str:
        """End without a sample, since no token may follow; what was written so far."""
        self.finish_reason = "dead end"
        return self._text.decode("utf-8", "replace")

    def _cut_at_stop(self, n_added: int) -> bool:
        """Look for a stop string that the last token completed; the text ends before it, the tokens stay."""
        start = max(0, len(self._text) - n_added - self._longest_stop)
        found = [at for stop in self._stops if (at := self._text.find(stop, start)) >= 0]
        if found:
            del self._text[min(found) :]
        return bool(found)

    def to_sample(self) -> Sample:
        """The finished sample. Raises ValueError before its end, and before all its tokens are described."""
        if self.finish_reason is None or self._n_described < self.n_tokens:
            raise ValueError("the completion has not ended")
        tokens = self._tokens[: self.n_tokens].copy()
        beside = np.concatenate(self._beside) if self._beside else None
        return Sample(self._recipe.key, self.index, self.finish_reason, bytes(self._text), tokens, beside)
