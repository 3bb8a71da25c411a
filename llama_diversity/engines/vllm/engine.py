"""The engine over vLLM servers: words are here, the model is there, and what is drawn there is drawn by our plugin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from llama_diversity.engines import (
    AT_ONCE,
    Capabilities,
    EngineOptions,
    NextTokens,
    Rows,
    Step,
    Stopwatch,
)
from llama_diversity.engines.batching import Seats
from llama_diversity.engines.draws import Float32, unscored
from llama_diversity.engines.live import Live
from llama_diversity.engines.together import Together
from llama_diversity.engines.vllm.client import Cluster, Server
from llama_diversity.engines.vllm.drawing import Line, draw, read
from llama_diversity.engines.vllm.handshake import Hands, ask, require_alike, shake
from llama_diversity.engines.vllm.tokenizer import open_words
from llama_diversity.engines.words import BorrowedWords
from llama_diversity.errors import BadValue, EngineError, PromptTooLong
from llama_diversity.records import ModelRef, Prompt, Recipe, TokenStats
from llama_diversity.served import KEY_VARIABLE, Served

_MOST_THREADS = 512


class VllmEngine(BorrowedWords):
    """A model on one or several vLLM servers that run llamadiv's plugin."""

    def __init__(
        self,
        model: ModelRef,
        options: EngineOptions,
        *,
        on_load: Callable[[float], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        _refuse(model.reference, options)
        self.served = Served.from_json(model.location)
        self.words = open_words(model, self.served)
        self._options = options
        key = os.environ.get(KEY_VARIABLE)
        self.cluster = Cluster([Server(url, key) for url in self.served.urls], say=on_note)
        self.capabilities = Capabilities(full_distribution=False, scores_text=True, exact=False, grammars=False)
        self.ends = self.words.ends
        try:
            self.build, known = self._shaken(model)
        except BaseException:
            self.close()
            raise
        self.facts = self.words.facts(reference=model.reference, **known)
        self.fused: bool | None = None
        self.layout: Mapping[str, Any] = {}
        self.stopwatch = Stopwatch()
        if on_load is not None:
            on_load(1.0)

    def _shaken(self, model: ModelRef) -> tuple[str, dict[str, Any]]:
        """The build and what the servers know of the model, once they were asked. Raises EngineError."""
        self._hands = shake(self.cluster, model, self.served, self.words.n_vocab)
        told = self._hands.facts
        return self._hands.build, {
            "digest": str(told["digest"]),
            "description": f"{self.served.name} on {len(self.served.urls)} vLLM server(s)",
            "architecture": str(told.get("architecture", "unknown")),
            "n_params": int(told.get("n_params", 0)),
            "n_ctx_train": int(told["max_model_len"]),
            "notes": self._hands.notes,
        }

    # ---- numbers

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """Draw the samples `indices` of `recipe`, many at a time; they finish in any order."""
        return self.sample_each([(recipe, indices)])

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """The same of many recipes; servers share what their prompts begin with by themselves."""
        together = Together.of(works, n_ctx=self.facts.n_ctx_train)
        if together is None:
            return
        for recipe, _ in together.works:
            self._refuse_recipe(recipe)
        n_threads = min(self.n_threads, together.n_samples)
        self.layout = {"device": [self._device], "servers": len(self.cluster.live), "parallel": n_threads}
        yield from self._drawn(together, n_threads)

    def _drawn(self, together: Together, n_threads: int) -> Iterator[Step]:
        return draw(self._line, together, piece=self.piece, ends=self.ends, n_threads=n_threads)

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Statistics of `ids`, each given the ones before it; the first has no context."""
        return self._read([ids], on_progress)[0]

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[Float32]:
        """Surprisals of `texts`, equal ones once."""
        distinct = list(dict.fromkeys(texts))
        found = dict(zip(distinct, self._read(distinct, on_progress), strict=True))
        return [found[ids]["surprisal_bits"] for ids in texts]

    def _read(self, texts: Sequence[tuple[int, ...]], on_progress: Callable[[float], None] | None) -> list[TokenStats]:
        """Statistics of `texts`, which the servers read in pieces, all at once."""
        for ids in texts:
            self._check_length(ids)
        stats = [unscored(ids) for ids in texts]
        n_read, n_all = 0, sum(len(ids) - 1 for ids in texts if ids)
        for number, start, rows in read(self._line, texts, n_threads=self.n_threads) if n_all else ():
            stats[number][start : start + len(rows)] = rows
            n_read += len(rows)
            if on_progress is not None:
                on_progress(n_read / n_all)
        return stats

    def beside(self, ids: tuple[int, ...]) -> None:
        """Nothing: it is no mixture."""

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """Refused: whole distributions do not leave a server."""
        raise self._no_distribution()

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> Float32:
        """Refused, as `logits`."""
        raise self._no_distribution()

    def after(self, prompt: Prompt, *, longest: int) -> contextlib.AbstractContextManager[NextTokens]:
        """Refused, as `logits`."""
        raise self._no_distribution()

    def seats(self, together: Together, *, at_most: int | None = None) -> contextlib.AbstractContextManager[Seats]:
        """Refused, as `logits`."""
        raise self._no_distribution()

    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> contextlib.AbstractContextManager[Live]:
        """Refused, as `logits`."""
        raise self._no_distribution()

    def close(self) -> None:
        """Hang up, and free the vocabulary."""
        self.cluster.close()
        self.words.close()

    @property
    def n_threads(self) -> int:
        """Requests under way: what the servers draw at once, and a quarter more that wait for their turn."""
        at_once = self._at_once * len(self.cluster.live)
        return max(1, min(self._options.parallel or at_once + at_once // 4, _MOST_THREADS))

    @property
    def _at_once(self) -> int:
        """Sequences that a server draws together."""
        return int(self._hands.facts["max_num_seqs"])

    @property
    def _device(self) -> str:
        return str(self._hands.facts["settings"].get("device", "unknown"))

    @property
    def _line(self) -> Line:
        return Line(self.cluster, self.served.name, self._hands.boots, self._reshake)

    def _reshake(self, server: Server) -> None:
        """Look anew at a server that was started anew. Raises EngineError where it is another one now."""
        facts = ask(server, self.cluster)
        known = {name: self._hands.facts[name] for name in _known(self._hands)}
        require_alike(self.served.name, {f"{server.url} before": known, server.url: facts})
        self._hands.boots[server.url] = facts["boot"]

    def _refuse_recipe(self, recipe: Recipe) -> None:
        """Recipes that the servers cannot draw. Raises EngineError."""
        _refuse_recipe(self.facts.reference, recipe)

    def _check_length(self, ids: Sequence[int]) -> None:
        if len(ids) > self.facts.n_ctx_train:
            raise PromptTooLong(len(ids), 0, self.facts.n_ctx_train)

    def _no_distribution(self) -> EngineError:
        return EngineError(
            f"{self.facts.reference} is on a vLLM server, which tells statistics of each token but not the probability "
            "of every token that could be: this study needs those. Open the same model as a GGUF file."
        )


def _known(hands: Hands) -> list[str]:
    return [name for name in hands.facts if name not in ("boot", "max_num_seqs")]


def _refuse(reference: str, options: EngineOptions) -> None:
    """Options that a server cannot keep. Raises BadValue."""
    why = f"{reference} is on a vLLM server, whose arithmetic is its own; leave it out"
    for option, value, default in (
        ("--exact", options.exact, False),
        ("--kv-type", options.kv_type, "f16"),
        ("--flash-attention", options.flash_attention, None),
        ("--gpu-layers", options.n_gpu_layers, None),
    ):
        if value != default:
            raise BadValue(option, value, why)
    if options.parallel is not None and options.parallel < 1:
        raise BadValue("--parallel", options.parallel, "it must be at least 1")


def _refuse_recipe(reference: str, recipe: Recipe) -> None:
    if recipe.grammar is not None:
        raise EngineError(
            f"{reference} is on a vLLM server, where llamadiv's grammars are not known. Leave out --grammar."
        )
    if recipe.arithmetic is not None:
        raise EngineError(
            f"{reference} is on a vLLM server, where sets of spread out samples are not drawn. Leave out --arithmetic."
        )
