"""The engine over workers: text here, numbers there. What a worker computes it computes as any engine does.

Tokens, prompts and pieces come from the vocabulary alone, which is open here. Samples are dealt to all workers; whole
texts go to one each. Under --exact, and wherever a reading does not depend on what is read beside it, every number is
bit for bit that of one engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_diversity.engines import (
    AT_ONCE,
    Capabilities,
    EngineOptions,
    NextTokens,
    Rows,
    Step,
    Stopwatch,
    TokenPath,
    open_engine,
)
from llama_diversity.engines.batching import Seats
from llama_diversity.engines.cores import physical_cores
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.crew import Crew, Said
from llama_diversity.engines.fanout.dealing import Deal
from llama_diversity.engines.fanout.jobs import Drawing, Question
from llama_diversity.engines.fanout.places import cautions, workers_at
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.engines.live import Live
from llama_diversity.engines.together import Together
from llama_diversity.engines.words import BorrowedWords
from llama_diversity.errors import EngineError
from llama_diversity.records import ModelRef, Prompt, Recipe, TokenStats

_CACHE_SHARE = 0.25  # of this machine's memory, for the caches of all its workers together
_names = itertools.count(1)


class FanOutEngine(BorrowedWords):
    """`model` on the workers that `options.workers` names."""

    def __init__(
        self,
        model: ModelRef,
        options: EngineOptions,
        *,
        on_load: Callable[[float], None] | None = None,
        on_note: Callable[[str], None] = lambda words: None,
    ) -> None:
        assert options.workers is not None
        places = workers_at(options.workers)
        alone = dataclasses.replace(options, workers=None)
        self.words = open_engine(model, dataclasses.replace(alone, vocabulary_only=True))
        self._options, self._is_mixture = options, bool(model.parts)
        self._crew: Crew | None = None
        self.facts = self.words.facts
        self.ends = self.words.ends
        self.capabilities = self.words.capabilities
        self.build, self.fused = self.words.build, self.words.fused
        self.layout: Mapping[str, Any] = {}
        self.stopwatch = Stopwatch()
        if options.vocabulary_only and places.are_all_here:
            return  # what is computed on this machine has this machine's build
        try:
            for words in cautions(places.now(alone)):
                on_note(words)
            here = of_each(alone, places.n_here) if places.n_here else alone
            self._crew = Crew(places, model, here, on_note=on_note, on_load=on_load)
            self._take_over(self._crew.standard)
        except BaseException:
            self.words.close()
            raise

    def _take_over(self, told: Said | None) -> None:
        """What workers say of the model; the vocabulary must be ours. Raises EngineError."""
        assert told is not None
        for what in ("digest", "vocab_digest", "n_ctx_train"):
            mine = getattr(self.facts, what)
            if told["facts"][what] != mine:
                raise EngineError(
                    f"{told['by']} has another {self.facts.reference} than this machine: its {what} is "
                    f"{told['facts'][what]!r}, here {mine!r}. Give both the same file."
                )
        read = told["facts"]  # with the weights, of which a description and a size are known
        self.facts = dataclasses.replace(
            self.facts, **{name: read[name] for name in ("description", "architecture", "n_params")}
        )
        self.build, self.fused = told["build"], told["fused"]
        self.capabilities = Capabilities(**told["capabilities"])

    @property
    def _workers(self) -> Crew:
        if self._crew is None:
            raise EngineError("This model was opened for its vocabulary only.")
        return self._crew

    # ---- numbers

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """Draw the samples `indices` of `recipe` on all workers."""
        return self.sample_each([(recipe, indices)])

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """The same of many recipes, dealt as workers come to an end."""
        listed = [(recipe, indices if isinstance(indices, range) else list(indices)) for recipe, indices in works]
        together = Together.of(listed, n_ctx=self.facts.n_ctx_train)
        if together is None:
            return
        crew = self._workers
        deal = Deal(
            [(recipe, indices) for recipe, indices in listed if indices],
            n_workers=max(1, len(crew.ready)),
            parallel=self._options.parallel,
        )
        watches: dict[str, Said] = {}

        def hear(frame: Said, by: str) -> None:
            watches[by] = frame["stopwatch"]
            self.layout = {**frame["layout"], "workers": len(crew.ready)}
            for name in ("setup_seconds", "decode_seconds", "sampling_seconds"):
                setattr(self.stopwatch, name, sum(one[name] for one in watches.values()) / len(watches))

        yield from Drawing(deal, crew, hear).steps()

    def seats(self, together: Together, *, at_most: int | None = None) -> contextlib.AbstractContextManager[Seats]:
        """Workers draw themselves."""
        raise EngineError("Workers draw samples themselves. Leave out --workers.")

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Statistics of `ids` by one worker."""
        stats: TokenStats = self._ask("score", {"ids": list(ids)}, on_progress).only
        return stats

    def beside(self, ids: tuple[int, ...]) -> TokenStats | None:
        """What the models of a mixture say of `ids`, by one worker; None of one model."""
        if not self._is_mixture:
            return None
        found: TokenStats = self._ask("beside", {"ids": list(ids)}).only
        return found

    def fits(self, grammar: str, texts: Sequence[bytes]) -> list[bool]:
        """Which of `texts` are of the grammar; that takes the vocabulary alone."""
        found: list[bool] = self.words.fits(grammar, texts)
        return found

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """Surprisals of `texts`, neighbours on one worker: they may begin alike."""
        shares = _shares(texts, len(self._workers.ready))
        told = dict.fromkeys(range(len(shares)), 0.0)

        def heard_of(number: int) -> Callable[[float], None]:
            def hear(share: float) -> None:
                told[number] = share
                if on_progress is not None:
                    on_progress(sum(told.values()) / len(told))

            return hear

        asked = [
            self._ask("score_each", {"texts": [list(ids) for ids in some]}, heard_of(number))
            for number, some in enumerate(shares)
        ]
        return [surprisals for question in asked for surprisals in question.only]

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """Logits text after text; as many texts are read ahead as there are workers."""
        waiting: list[tuple[int, Question]] = []
        for number, ids in enumerate([*texts, *[None] * len(self._workers.workers)]):
            if ids is not None:
                waiting.append((number, self._ask("logits", {"texts": [list(ids)]})))
            if number >= len(self._workers.workers) - 1 and waiting:
                first, question = waiting.pop(0)
                for frame in question.frames():
                    yield Rows(first, frame["rows"]["start"], frame["rows"]["logits"])

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> npt.NDArray[np.float32]:
        """Logits of `ids` read in one of several ways, by one worker."""
        said = {"ids": list(ids), "together": together, "fused": fused}
        logits: npt.NDArray[np.float32] = self._ask("reading", said).only
        return logits

    @contextlib.contextmanager
    def after(self, prompt: Prompt, *, longest: int) -> Iterator[NextTokens]:
        """What may follow the prompt; paths that are asked for together are shared out, neighbours on one worker."""
        behind = {"name": str(next(_names)), "prompt": wire.of_prompt(prompt), "longest": longest}

        def log_probabilities(paths: Sequence[TokenPath]) -> npt.NDArray[np.float64]:
            shares = _shares(paths, len(self._workers.ready))
            asked = [self._ask("paths", {**behind, "paths": [list(path) for path in some]}) for some in shares]
            found = [question.only for question in asked]
            return np.concatenate(found) if found else np.empty((0, self.facts.n_vocab))

        yield log_probabilities

    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> contextlib.AbstractContextManager[Live]:
        """Refused: what is looked at token by token is nearer than the network."""
        raise EngineError("Workers keep no prompt decoded for somebody who looks around in it. Leave out --workers.")

    def close(self) -> None:
        """Let the workers go."""
        if self._crew is not None:
            self._crew.close()
        self.words.close()

    def _ask(self, verb: str, said: Said, on_share: Callable[[float], None] | None = None) -> Question:
        return Question(verb, said, self._workers, on_share).ask()


def of_each(options: EngineOptions, n_workers: int) -> EngineOptions:
    """What each of so many workers of this machine is given of it."""
    n_threads = options.n_threads or max(1, physical_cores() // n_workers)
    budget = options.memory_budget_bytes or int(_CACHE_SHARE * physical_memory_bytes())
    return dataclasses.replace(options, n_threads=n_threads, memory_budget_bytes=budget // n_workers)


def _shares(items: Sequence[Any], n: int) -> list[Sequence[Any]]:
    """At most `n` runs of neighbours of about equal length, none empty.

    >>> _shares([1, 2, 3, 4, 5], 2), _shares([1], 3), _shares([], 2)
    ([[1, 2, 3], [4, 5]], [[1]], [])
    """
    size = -(-len(items) // max(1, n))
    return [items[at : at + size] for at in range(0, len(items), size)] if items else []
