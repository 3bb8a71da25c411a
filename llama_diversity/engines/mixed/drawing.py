"""Drawing from a mixture: contexts in step, and the row that each sample goes on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from llama_diversity.engines.batching import Mixer, Seats
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.draws import Float32, Float64, uniforms
from llama_diversity.engines.mixed.rows import beside, masses, mixed_beside
from llama_diversity.engines.mixed.words import (
    BASE,
    BEGINNING,
    Here,
    Place,
    Vocabulary,
    after_token,
    following,
    here_of,
    routes,
)
from llama_diversity.engines.together import Together
from llama_diversity.mixtures import Rule
from llama_diversity.records import Prompt, beside_dtype

_COINS = 1  # the number of a sample's stream of coins; that of its tokens is 0


class MixedSlots:
    """The slots of all models: what one does all do, each behind a prompt of its own length."""

    def __init__(self, seats: Sequence[Seats], together: Together) -> None:
        self._seats = seats
        self._prompt = together.recipe.prompt  # the only one, where there are not several
        self._lags = np.zeros(
            (len(seats), seats[-1].parallel), np.int64
        )  # tokens its prompt is longer than the one in front
        self.first_rows: list[Float32] | None = None
        if not together.is_apart:
            self.first_rows = [_row(one.first_row) for one in seats]

    def fork(self, slot: int) -> None:
        """Let `slot` begin right after the prompt."""
        self._lags[:, slot] = self._lag(self._prompt)
        for one in self._seats:
            one.slots.fork(slot)

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> list[Float32]:
        """Let each of `slots` begin right after a prompt; the logits that follow, of each model."""
        found = []
        for number, one in enumerate(self._seats):
            if one.first_row is None:
                rows = one.slots.begin(slots, [prompt.of(number) for prompt in prompts])
                assert isinstance(rows, np.ndarray)
                found.append(rows)
            else:  # to this model they are all one
                for slot in slots:
                    one.slots.fork(slot)
                found.append(np.repeat(_row(one.first_row).reshape(1, -1), len(slots), axis=0))
        for slot, prompt in zip(slots, prompts, strict=True):
            self._lags[:, slot] = self._lag(prompt)
        return found

    def move(self, source: int, target: int) -> None:
        """Continue in slot `target` what `source` holds."""
        self._lags[:, target] = self._lags[:, source]
        for one in self._seats:
            one.slots.move(source, target)

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> list[Float32]:
        """Feed one token to each slot of every model; the logits that follow, of each model."""
        found = []
        for one, lags in zip(self._seats, self._lags[:, : len(tokens)], strict=True):
            rows = one.slots.decode(tokens, (np.asarray(positions) + lags).tolist())
            assert isinstance(rows, np.ndarray)
            found.append(rows)
        return found

    def _lag(self, prompt: Prompt) -> list[int]:
        found = [len(one.ids) - len(prompt.ids) for one in prompt.readings]
        return found if prompt.others else found * len(self._seats)


def _row(row: Any) -> Float32:
    assert isinstance(row, np.ndarray)
    return row


def mixer_of(rule: Rule, n_models: int, vocabulary: Callable[[], Vocabulary]) -> Mixer:
    """What mixes rows after `rule`."""
    return _ByWord(rule, vocabulary()) if rule.is_routed else _ByToken(rule, n_models)


class _ByToken:
    """Logits or probabilities added up, token by token."""

    def __init__(self, rule: Rule, n_models: int) -> None:
        self._rule = rule
        self._dtype = beside_dtype(n_models)
        self._rows: Sequence[Float32] = ()
        self._log_masses: list[Float64] = []
        self._at: dict[Completion, int] = {}
        self._room: Float32 = np.empty((0, 0), np.float32)  # kept: fresh memory costs as much as the arithmetic

    def mixed(self, completions: Sequence[Completion], rows: Sequence[Float32]) -> Float32:
        """The logits that each goes on with, valid until the next call."""
        self._rows, self._at = rows, {one: at for at, one in enumerate(completions)}
        if len(self._room) < len(completions):
            self._room = np.empty_like(rows[0])
        found, self._log_masses = mixed_beside(self._rule, rows, self._room[: len(completions)])
        return found

    def follow(self, completions: Sequence[Completion], token_ids: Sequence[int]) -> None:
        """Keep how surprising each token is to each model."""
        at_rows = [self._at[one] for one in completions]
        kept = beside(self._rows, self._log_masses, at_rows, token_ids, self._dtype)
        for at, one in enumerate(completions):
            one.keep_beside(kept[at : at + 1])


class _ByWord:
    """Every word from one of two models."""

    def __init__(self, rule: Rule, vocabulary: Vocabulary) -> None:
        self._rule = rule
        self._vocabulary = vocabulary
        self._dtype = beside_dtype(2)
        self._here: list[Here] = []
        self._rows: Sequence[Float32] = ()
        self._log_masses: list[Float64] = []
        self._at: dict[Completion, int] = {}
        self._shares: list[float] = []
        self._places: WeakKeyDictionary[Completion, Place] = WeakKeyDictionary()  # one that ended is forgotten
        self._coins: WeakKeyDictionary[Completion, list[float]] = WeakKeyDictionary()

    def mixed(self, completions: Sequence[Completion], rows: Sequence[Float32]) -> Float32:
        """The logits that each goes on with; a coin of its own decides where the rule is a rate."""
        self._rows, self._at = rows, {one: at for at, one in enumerate(completions)}
        self._log_masses = [masses(some) for some in rows]
        self._here = here_of(rows, self._log_masses)
        self._shares = routes(self._rule, rows, self._log_masses, self._vocabulary).tolist()
        if self._rule.route == "random":
            self._shares = [float(self._coin(one) < self._rule.number) for one in completions]
        found = np.empty_like(rows[BASE])
        for at, (one, share) in enumerate(zip(completions, self._shares, strict=True)):
            place = self._places.setdefault(one, BEGINNING)
            found[at] = following(self._here[at], place, share, self._vocabulary)
        return found

    def follow(self, completions: Sequence[Completion], token_ids: Sequence[int]) -> None:
        """Keep whose each token is, and how surprising to each model."""
        at_rows = [self._at[one] for one in completions]
        kept = beside(self._rows, self._log_masses, at_rows, token_ids, self._dtype)
        for number, (one, token) in enumerate(zip(completions, token_ids, strict=True)):
            at = self._at[one]
            self._places[one], kept["source"][number] = after_token(
                self._here[at], self._places[one], self._shares[at], token, self._vocabulary
            )
            one.keep_beside(kept[number : number + 1])

    def _coin(self, completion: Completion) -> float:
        """The uniform for the word that may begin now, from a stream beside that of the tokens."""
        coins = self._coins.get(completion, [])
        if len(coins) <= completion.n_tokens:
            n = min(max(64, 2 * completion.n_tokens), completion.recipe.max_tokens)
            coins = uniforms(completion.recipe.seed, completion.index, n, stream=_COINS).tolist()
            self._coins[completion] = coins
        return coins[completion.n_tokens]
