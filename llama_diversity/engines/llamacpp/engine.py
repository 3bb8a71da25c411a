"""The engine over llama.cpp: facts of a file, text to ids, and the statistics of what is sampled or scored."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np

from llama_diversity.engines import (
    AT_ONCE,
    PLAIN,
    Capabilities,
    EngineOptions,
    NextTokens,
    Rows,
    Step,
    Stopwatch,
    TokenPath,
)
from llama_diversity.engines.batching import Seats, draw
from llama_diversity.engines.cores import Threads, physical_cores, steady
from llama_diversity.engines.draws import Float32, Float64, Reducer, score_text
from llama_diversity.engines.layout import (
    BYTES_PER_VALUE,
    MAX_PARALLEL,
    Layout,
    Work,
    choose,
    memory_for_cache,
    no_room,
)
from llama_diversity.engines.live import Live
from llama_diversity.engines.llamacpp.build import plain_build
from llama_diversity.engines.llamacpp.context import (
    EXACT_ROWS,
    N_UBATCH,
    Context,
    Exactness,
    NoContext,
    has_state,
    open_context,
)
from llama_diversity.engines.llamacpp.grammar import LlamaCppGrammar, Vocabulary
from llama_diversity.engines.llamacpp.held import PATHS_EXACT, PATHS_HELD, PATHS_WITH_STATE, Held
from llama_diversity.engines.llamacpp.invariance import Kernels, kernels_for
from llama_diversity.engines.llamacpp.library import (
    devices,
    forget_complaints,
    fuses_attention,
    initialise,
    warned,
)
from llama_diversity.engines.llamacpp.loading import check, known_by, load, make_exact
from llama_diversity.engines.llamacpp.notes import notes_of
from llama_diversity.engines.llamacpp.paths import Paths
from llama_diversity.engines.llamacpp.shared import surprisals
from llama_diversity.engines.llamacpp.tokenizer import Tokenizer
from llama_diversity.engines.llamacpp.trial import Cost, measured
from llama_diversity.engines.shared import Tree, one_by_one, plan
from llama_diversity.engines.start import Start
from llama_diversity.engines.together import Together
from llama_diversity.engines.words import Words
from llama_diversity.errors import BadValue, EngineError, PromptTooLong
from llama_diversity.records import Asking, ModelFacts, ModelRef, Piece, Prompt, Recipe, TokenStats

_SCORE_BYTES = 64 << 20  # logits held while scoring


class LlamaCppEngine:
    """One GGUF model in memory. Close it before opening the next: a laptop holds one 7B model at a time."""

    def __init__(
        self, model: ModelRef, options: EngineOptions, *, on_load: Callable[[float], None] | None = None
    ) -> None:
        if options.exact:
            make_exact(computes=not options.vocabulary_only)
        initialise()
        self.capabilities = Capabilities(full_distribution=True, scores_text=True, exact=True, grammars=True)
        self.layout: Mapping[str, Any] = {}
        self.stopwatch = Stopwatch()
        self._options = options
        self._gpus = [] if options.exact or options.n_gpu_layers == 0 else [d for d in devices() if d["is_gpu"]]
        if options.n_gpu_layers and not self._gpus:
            raise BadValue("--gpu-layers", options.n_gpu_layers, "llama.cpp finds no graphics processor; leave it out")
        self._n_threads = options.n_threads or physical_cores()
        self._threads = steady(options.n_threads) if options.n_threads else Threads(self._n_threads)
        self._path = Path(model.location)
        self._kernels = self._find_kernels(model.digest)
        self._model, self._known_cost = load(
            self._path,
            model.digest,
            options,
            n_gpu_layers=self._n_gpu_layers,
            on_load=on_load,
            plain=self._kernels is not None and not self._kernels.are_own,
        )
        notes = notes_of(warned())
        self._has_state = has_state(self._model)
        self._exactness = self._exactness_of(self._kernels)
        self._vocab = C.llama_model_get_vocab(self._model)
        self._tokenizer = Tokenizer(self._vocab, self._meta, known_by(self._path, model.digest))
        self._n_vocab = self._tokenizer.n_vocab
        self.ends = self._tokenizer.ends
        # On a GPU the passes over the vocabulary are the bottleneck, and its host's cores are idle.
        self._reducer = Reducer(self._n_vocab, n_threads=min(8, self._n_threads) if self._gpus else 1)
        template = self._own_template() if model.chat_template is None else model.chat_template
        self._words = Words(self._tokenizer, model.reference, template=template, documents=model.start)
        self.facts = self._read_facts(model, notes)
        self.build = self._describe_build()
        self.fused = None if options.fused and not self._gpus else options.fused  # a CPU does it by itself

    # ---- what --exact rests on

    def _find_kernels(self, digest: str) -> Kernels | None:
        """Those of --exact for this file. Raises EngineError where there are none, ModelFileError."""
        if not self._options.exact:
            return None
        check(self._path, digest)  # before another process tries it
        return kernels_for(self._path, digest, self._options.kv_type, n_threads=self._n_threads)

    def _exactness_of(self, kernels: Kernels | None) -> Exactness | None:
        return kernels and Exactness(1 if self._has_state else EXACT_ROWS, kernels.lone_cells)

    # ---- what the file says

    @property
    def _n_gpu_layers(self) -> int:
        if self._options.exact:
            return 0
        return -1 if self._options.n_gpu_layers is None else self._options.n_gpu_layers

    def _meta(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(4096)
        length = C.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None

    def _read_facts(self, model: ModelRef, notes: tuple[str, ...]) -> ModelFacts:
        buffer = ctypes.create_string_buffer(256)
        C.llama_model_desc(self._model, buffer, len(buffer))
        return ModelFacts(
            reference=model.reference,
            digest=model.digest,
            vocab_digest=self._tokenizer.digest,
            description=buffer.value.decode("utf-8", "replace"),
            architecture=self._meta("general.architecture") or "unknown",
            n_vocab=self._n_vocab,
            n_params=C.llama_model_n_params(self._model),
            n_ctx_train=int(self._meta(f"{self._meta('general.architecture')}.context_length") or 0),
            adds_bos=self._tokenizer.stated.adds_bos,
            has_chat_template=self._words.has_template,
            start=self._words.usual_start(),
            ends=self._words.ends,
            notes=notes,
        )

    def _describe_build(self) -> str:
        way = " token by token" if self._exactness and self._exactness.chunk_rows == 1 else ""
        bits = f" {self._kernels.name}" if self._kernels and self._kernels.name else ""
        return f"{plain_build(self._gpus, self._options.n_gpu_layers)}{way}{bits}"

    # ---- text

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text asked so."""
        return self._words.start(asking)

    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]:
        """Ids of `text` as typed, behind its start."""
        return self._words.tokenize(text, asking)

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` behind its start, or as the user's turn of the model's own chat template."""
        return self._words.prompt(text, chat=chat, system=system, template_args=template_args, asking=asking)

    def _own_template(self) -> str:
        """The chat template in the file, "" where there is none."""
        found = C.llama_model_chat_template(self._model, None)
        return "" if found is None else found.decode("utf-8", "replace")

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        return self._tokenizer.pieces[token_id]

    # ---- numbers

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """Draw the samples `indices` of `recipe`, many at a time; they finish in any order."""
        return self.sample_each([(recipe, indices)])

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """The same of many recipes, each behind its own prompt."""
        self._need_weights()
        together = Together.of(works, n_ctx=self.facts.n_ctx_train)
        if together is None:
            return
        yield from draw(self, together, self._reducer)

    @contextlib.contextmanager
    def seats(self, together: Together, *, at_most: int | None = None) -> Iterator[Seats]:
        """A context for what is drawn together, its head decoded."""
        self._need_weights()
        recipe = together.recipe
        if recipe.exact != self._options.exact:
            raise EngineError("The recipe and the engine disagree about --exact.")
        work = self._work(
            recipe.kv_type,
            n_prompt=len(together.head),
            n_own=together.n_own,
            max_tokens=together.max_tokens,
            n_samples=min(together.n_samples, at_most or together.n_samples),
        )
        with (
            self._following(together.grammars) as grammar,
            self._open_context(work, kv_type=recipe.kv_type, fused=self._fused) as (context, layout),
        ):
            behind_head = context.prefill(together.head) if together.head else None
            yield Seats(context, None if together.is_apart else behind_head, layout.parallel, grammar)

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Statistics of `ids` under the model, each given the ones before it; the first has no context."""
        return score_text(ids, self.logits([ids]), self._reducer, on_progress)

    def beside(self, ids: tuple[int, ...]) -> TokenStats | None:
        """Nothing: it is one model."""
        return None

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[Float32]:
        """Surprisals of `texts`, common beginnings once; with --exact and in recurrent models each text alone."""
        self._need_weights()
        self._check_lengths(texts)
        if self._options.exact or self._has_state or len(texts) < 2:
            return one_by_one(self.score, texts, on_progress)
        tree = Tree(texts)
        planned = plan(tree, most_rows=self._score_rows, most_slots=MAX_PARALLEL)
        if not planned.passes:
            return [np.full(len(ids), np.nan, np.float32) for ids in texts]
        layout = Layout(parallel=planned.n_slots, unified=True, n_ctx=planned.n_cells)
        kv_type = self._options.kv_type
        with contextlib.closing(self._context(layout, kv_type=kv_type, fused=self._fused_if_asked)) as context:
            self.layout = self._record(layout, context, kv_type=kv_type)
            return surprisals(context, tree, planned, self._reducer, on_progress)

    def fits(self, grammar: str, texts: Sequence[bytes]) -> list[bool]:
        """Which of `texts` llama.cpp reads as a whole of the grammar."""
        with self._following([grammar]) as following:
            assert following is not None
            return [following.fits(grammar, text) for text in texts]

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """Logits of `texts` as they are read, one after the other in one context.

        Several in one batch would be no faster on a CPU: every row attends, masked, over the cells of all of them.
        """
        self._need_weights()
        longest = self._check_lengths(texts)
        if longest < 2:
            return
        rows = self._score_rows
        layout = Layout(parallel=1, unified=True, n_ctx=2 * longest)  # twice: a lonely row may get a twin
        kv_type = self._options.kv_type
        with contextlib.closing(self._context(layout, kv_type=kv_type, fused=self._fused_if_asked)) as context:
            self.layout = self._record(layout, context, kv_type=kv_type)
            for number, ids in enumerate(texts):
                context.forget()
                for start, logits in context.score_rows(ids[:-1], rows):
                    yield Rows(number, start, logits)

    def _check_lengths(self, texts: Sequence[tuple[int, ...]]) -> int:
        """The length of the longest, 0 for none. Raises PromptTooLong."""
        longest = max(map(len, texts), default=0)
        if longest > self.facts.n_ctx_train:
            raise PromptTooLong(longest, 0, self.facts.n_ctx_train)
        return longest

    @property
    def _score_rows(self) -> int:
        """Rows of logits that are held while a text is scored."""
        return min(N_UBATCH, max(2, _SCORE_BYTES // (4 * self._n_vocab)))

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> Float32:
        """Logits of `ids` in one pass (None), or token by token in `together` sequences that hold the same."""
        self._need_weights()
        work = self._work("f16", n_prompt=1, max_tokens=len(ids) - 1, n_samples=together or 1)
        work.check_length()
        layout = work.layout(work.n_samples, unified=False)
        with contextlib.closing(self._context(layout, kv_type="f16", fused=fused)) as context:
            if together is None:
                return np.concatenate([np.array(rows) for _, rows in context.score_rows(ids[:-1], N_UBATCH)])
            steps = enumerate(ids[:-1])
            return np.array([np.array(context.decode([id_] * together, [at] * together)[0]) for at, id_ in steps])

    @contextlib.contextmanager
    def after(self, prompt: Prompt, *, longest: int) -> Iterator[NextTokens]:
        """The whole distribution after paths behind one prompt, each decoded from where it parts from others.

        With --exact and in recurrent models each starts at the prompt and is decoded token by token, as a sample is.
        """
        self._need_weights()
        shares = not (self._options.exact or self._has_state)
        work = self._work(
            self._options.kv_type,
            n_prompt=len(prompt.ids),
            max_tokens=max(1, longest),
            n_samples=MAX_PARALLEL,
            shares=shares,
        )
        with self._open_context(work, kv_type=self._options.kv_type, fused=self._fused_if_asked) as (context, layout):
            first_row = context.prefill(prompt.ids)
            paths = Paths(
                context, first_row, n_prompt=len(prompt.ids), n_slots=layout.parallel, keeps=shares and layout.unified
            )

            def log_probabilities(asked: Sequence[TokenPath]) -> Float64:
                before = time.perf_counter()
                if any(len(path) > longest for path in asked):
                    raise ValueError(f"a path is longer than {longest} tokens")
                found = paths.log_probabilities(asked)
                self.stopwatch.decode_seconds += time.perf_counter() - before
                return found

            yield log_probabilities

    @contextlib.contextmanager
    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> Iterator[Live]:
        """A context that keeps the prompt, some paths behind it, and room for samples.

        They share cells, but for --exact, where each has a strip of its own: there fewer paths are held.
        """
        self._need_weights()
        exact, kv_type = self._options.exact, self._options.kv_type
        work = self._work(
            kv_type,
            n_prompt=len(prompt.ids),
            max_tokens=longest,
            n_samples=at_once,
            shares=not exact,
            n_held=PATHS_EXACT if exact else PATHS_WITH_STATE if self._has_state else PATHS_HELD,
        )
        with self._open_context(work, kv_type=kv_type, fused=self._fused) as (context, layout):
            can_cut = layout.unified and not self._has_state and not C.llama_model_n_swa(self._model)
            first_row = context.prefill(prompt.ids)
            held = Held(context, first_row, work=work, layout=layout, can_cut=can_cut, kv_type=kv_type)
            yield Live(self, prompt, held, longest=longest, reducer=self._reducer)

    def close(self) -> None:
        """Free the model and the threads."""
        if self._model is not None:
            self._reducer.close()
            C.llama_model_free(self._model)
            self._model = None

    @contextlib.contextmanager
    def _following(self, grammars: Sequence[str]) -> Iterator[LlamaCppGrammar | None]:
        if not grammars:
            yield None
            return
        with contextlib.closing(LlamaCppGrammar(grammars, self._described, n_threads=self._n_threads)) as following:
            yield following

    @functools.cached_property
    def _described(self) -> Vocabulary:
        return Vocabulary(self._vocab, self._tokenizer.pieces, self.ends)

    # ---- contexts

    def _need_weights(self) -> None:
        if self._options.vocabulary_only:
            raise EngineError("This model was opened for its vocabulary only.")

    def _work(self, kv_type: str, **asked: Any) -> Work:
        """What has to fit, with what a token and a sequence cost; states are float32 whatever `kv_type` is."""
        return Work(
            **asked,
            n_ctx_model=self.facts.n_ctx_train,
            n_vocab=self._n_vocab,
            exact=self._options.exact,
            kv_bytes_per_token=self._cost.token_bytes * BYTES_PER_VALUE[kv_type] / BYTES_PER_VALUE["f16"],
            state_bytes=self._cost.sequence_bytes,
            most_parallel=self._kernels.most_rows if self._kernels else MAX_PARALLEL,
        )

    @functools.cached_property
    def _cost(self) -> Cost:
        """What was measured when the file was first opened, or is measured now."""
        if self._known_cost is not None:
            return self._known_cost
        forget_complaints()
        cost = measured(self._model, C)
        if cost is None:
            raise NoContext
        return cost

    @contextlib.contextmanager
    def _open_context(self, work: Work, *, kv_type: str, fused: bool | None) -> Iterator[tuple[Context, Layout]]:
        """A context for `work`; where the choice is ours and the device refuses, half as many sequences, and so on."""
        before = time.perf_counter()
        budget, ceiling = self._memory_bytes()
        layout = choose(work, parallel=self._options.parallel, budget_bytes=budget, ceiling_bytes=ceiling)
        while True:
            try:
                context = self._context(layout, kv_type=kv_type, fused=fused)
                break
            except NoContext as refusal:
                if not refusal.for_memory:
                    raise
                if self._options.parallel is not None or layout.parallel == 1:
                    fits = layout.parallel // 2
                    raise no_room(work, wanted=layout.parallel, fits=fits, ceiling_bytes=ceiling) from refusal
                layout = work.layout(layout.parallel // 2, unified=layout.unified)
        self.layout = self._record(layout, context, kv_type=kv_type)
        self.stopwatch.setup_seconds += time.perf_counter() - before
        try:
            yield context, layout
        finally:
            before = time.perf_counter()
            context.close()
            self.stopwatch.setup_seconds += time.perf_counter() - before

    @property
    def _fused(self) -> bool | None:
        """Whether attention is fused; None where that is supported."""
        return True if self._options.exact else self._options.fused

    @property
    def _fused_if_asked(self) -> bool:
        """The same where precision counts for more than speed: the fused kernel adds up in half precision.

        A quantised cache has no other kernel, and is read by the fused one here too.
        """
        return self._fused or False

    def _memory_bytes(self) -> tuple[float, float]:
        """What the KV cache may take when the choice is ours, and what it can take at most."""
        if self._gpus:
            free = float(sum(d["free_bytes"] for d in devices() if d["is_gpu"]))
            budget, ceiling = 0.8 * free, free
        else:
            budget, ceiling = memory_for_cache(C.llama_model_size(self._model))
        return self._options.memory_budget_bytes or budget, ceiling

    def _context(self, layout: Layout, *, kv_type: str, fused: bool | None) -> Context:
        """A context in `layout`; `fused` is flash attention, None where it is supported. Raises NoContext."""
        return open_context(
            self._model,
            layout,
            kv_type=kv_type,
            fused=fused,
            threads=self._threads,
            exact=self._exactness,
            # On a GPU whole strips are copied where they are; a recurrent state is small anyway.
            copies_cells=not (layout.unified or self._gpus or self._has_state),
        )

    def _record(self, layout: Layout, context: Context, *, kv_type: str) -> dict[str, Any]:
        return {
            "device": [gpu["name"] for gpu in self._gpus] or ["CPU"],
            "n_gpu_layers": self._n_gpu_layers if self._gpus else 0,
            "exact": self._options.exact,
            "parallel": layout.parallel,
            "kv_layout": "unified" if layout.unified else "streams",
            "kv_type": kv_type,
            "n_ctx": int(C.llama_n_ctx(context.pointer)),
            "n_batch": int(C.llama_n_batch(context.pointer)),
            "n_ubatch": int(C.llama_n_ubatch(context.pointer)),
            "n_threads": self._n_threads,
            "flash_attention": fuses_attention(),
        }
