"""What the scorer reads: answers behind their prompt in one of two forms, as token ids; and their code lengths.

"continued": each answer goes on from the prompt, which stands before each of them: PROMPT ANSWER, a blank line, PROMPT
ANSWER, and so on. "listed": the prompt once, then numbered answers: PROMPT, a blank line, "1." ANSWER, a blank line,
"2." ANSWER, and so on. Either is raw text behind the scorer's start. Prompt, separators and answers are made into ids
apart, so that an answer has the same ids wherever it stands; blanks at its end are left out, when listed those at its
beginning are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import cache
from llama_diversity.engines import Engine, EngineOptions, text_bytes
from llama_diversity.records import Asking
from llama_diversity.studies.decan.analysis import Codes, Floats

FORMS = ("continued", "listed")
_READING = "1"  # another number reads everything anew

Ids = tuple[int, ...]


class Given(NamedTuple):
    """An answer as the scorer is given it: its ids, the bytes they spell, and whether more of it was cut away."""

    ids: Ids
    n_bytes: int
    is_cut: bool


@dataclass(frozen=True)
class Reader:
    """Makes ids of texts, in one form, of at most `longest` tokens an answer."""

    engine: Engine
    asking: Asking
    form: str
    longest: int

    def before(self, prompt: str, k: int) -> Ids:
        """What stands before the k-th answer, from 1; the first time behind the scorer's start."""
        if k == 1:
            begin = self.engine.prompt(prompt, asking=self.asking).ids
            return begin if self.form == "continued" else begin + self._ids("\n\n1.")
        return self._ids(f"\n\n{prompt}" if self.form == "continued" else f"\n\n{k}.")

    def answer(self, text: str) -> Given:
        """An answer with text; a blank of the tokenizer's own at its beginning is none of it."""
        text = f" {text.strip()}" if self.form == "listed" else text.rstrip()
        ids = self._ids(text)
        if self._n_blanks(ids) > _n_blanks(text) and text.startswith(" "):
            ids = self._ids(text[1:])
        own_blank = self._n_blanks(ids) - _n_blanks(text)
        kept = ids[: self.longest]
        n_bytes = len(self._spelled(kept)) - max(0, own_blank)
        return Given(kept, max(1, n_bytes), len(kept) < len(ids))

    def _ids(self, text: str) -> Ids:
        return self.engine.tokenize(text, self.asking)[len(self.engine.start(self.asking).ids) :]

    def _spelled(self, ids: Ids) -> bytes:
        return b"".join(self.engine.piece(token).bytes for token in ids)

    def _n_blanks(self, ids: Ids) -> int:
        spelled = self._spelled(ids)
        return len(spelled) - len(spelled.lstrip(b" "))


def _n_blanks(text: str) -> int:
    data = text_bytes(text)
    return len(data) - len(data.lstrip(b" "))


@dataclass(frozen=True)
class Task:
    """The answers of one arm to one prompt in all orders: what is to be read, and where in it the answers lie."""

    leads: Sequence[Ids]  # before the first, the second, ... answer
    answers: Sequence[Given]
    orders: npt.NDArray[np.int64]  # (sets, m, n)

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return sum(map(len, self.leads)) + sum(len(one.ids) for one in self.answers)

    def texts(self) -> list[Ids]:
        """Each answer alone behind the prompt, then every order, then the first answer behind itself."""
        read = [[at] for at in range(len(self.answers))] + self._orders() + [[0, 0]]
        return [sum((self.leads[k] + self.answers[at].ids for k, at in enumerate(one)), ()) for one in read]

    def _orders(self) -> list[list[int]]:
        return [list(one) for one in self.orders.reshape(-1, len(self.answers)).tolist()]

    def codes(self, surprisals: Sequence[npt.NDArray[np.float32]]) -> Codes:
        """Bits per byte, from the surprisals of `texts`."""
        n = len(self.answers)
        n_bytes = np.array([one.n_bytes for one in self.answers], np.int64)
        alone = np.array([self._at(bits, [at])[0] for at, bits in enumerate(surprisals[:n])])
        codes = np.array([self._at(bits, one) for one, bits in zip(self._orders(), surprisals[n:-1], strict=True)])
        copied = float(self._at(surprisals[-1], [0, 0])[1])
        is_cut = np.array([one.is_cut for one in self.answers])
        return Codes(
            alone / n_bytes,
            codes.reshape(self.orders.shape) / n_bytes[self.orders],
            copied / float(n_bytes[0]),
            n_bytes,
            is_cut,
        )

    def _at(self, bits: npt.NDArray[np.float32], order: Sequence[int]) -> Floats:
        """Bits of each answer of an order."""
        found, position = [], 0
        for k, at in enumerate(order):
            position += len(self.leads[k])
            end = position + len(self.answers[at].ids)
            found.append(float(bits[position:end].sum(dtype=np.float64)))
            position = end
        return np.array(found)

    def key(self, engine: Engine, layout: EngineOptions) -> tuple[str, ...]:
        """All that its code lengths depend on."""
        facts = engine.facts
        arithmetic = repr((engine.build, engine.fused, layout.exact, layout.kv_type))
        what = repr((self.leads, [one.ids for one in self.answers], self.orders.tolist()))
        return "decan", _READING, facts.digest, facts.vocab_digest, arithmetic, what


class _Missing(Exception):
    """The code lengths are not kept."""


def known(parts: tuple[str, ...]) -> Codes | None:
    """Code lengths that were made before."""

    def missing() -> Codes:
        raise _Missing

    try:
        return cache.kept(parts, missing)
    except _Missing:
        return None


def read(task: Task, parts: tuple[str, ...], engine: Engine, show: Callable[[float], None]) -> Codes:
    """Read a task with a loaded scorer, and keep its code lengths."""
    return cache.kept(parts, lambda: task.codes(engine.score_each(task.texts(), on_progress=show)))
