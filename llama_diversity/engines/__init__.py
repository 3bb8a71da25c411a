"""What an engine is, and the one table of engines.

An engine turns token ids into exact token statistics. Ids go in, ids come out; text exists at its edges only
(`prompt`, `piece`). It knows nothing of stores, experiments or terminals.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from llama_diversity.engines.start import Start
from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import N_TOP, Asking, ModelFacts, ModelRef, Piece, Prompt, Recipe, Sample, TokenStats

if TYPE_CHECKING:
    from llama_diversity.engines.batching import Seats
    from llama_diversity.engines.live import Live
    from llama_diversity.engines.together import Together

ENGINES = {
    "vllm": "llama_diversity.engines.vllm.engine:VllmEngine",
    "llamacpp": "llama_diversity.engines.llamacpp:LlamaCppEngine",
    "scripted": "llama_diversity.engines.scripted:ScriptedEngine",
    "mixed": "llama_diversity.engines.mixed.engine:MixedEngine",
}
STOCK_ENGINE = "llama_diversity.engines.vllm.stock:StockEngine"
FAN_OUT = "llama_diversity.engines.fanout.engine:FanOutEngine"

PLAIN = Asking()
AT_ONCE = 16  # continuations of a branch that grow together
TokenPath = tuple[int, ...]  # what follows a prompt
NextTokens = Callable[[Sequence[TokenPath]], npt.NDArray[np.float64]]
"""From paths to log p of every next token, natural logarithms of the raw distribution; shape (paths, n_vocab)."""


@dataclass(frozen=True)
class EngineOptions:
    """How the work is laid out; None leaves the choice to the engine. Of a recipe are `kv_type`, `exact` and `fused`.

    Raises BadValue where one option leaves another without effect: equal samples would get two recipes.
    """

    parallel: int | None = None
    n_threads: int | None = None
    n_gpu_layers: int | None = None
    flash_attention: bool | None = None
    kv_type: str = "f16"
    exact: bool = False
    memory_budget_bytes: int | None = None
    vocabulary_only: bool = False  # tokenise, render prompts and show pieces, without reading the weights
    workers: str | None = None  # where the work is done in place of this process, as `--workers` names it
    stock: bool = False  # of a server, by what any vLLM answers; in a recipe the build says so
    bounds: int | None = None  # of a stock server: the entropy between bounds from so many likeliest tokens

    def __post_init__(self) -> None:
        if self.workers is not None:
            from llama_diversity.engines.fanout.places import workers_at

            workers_at(self.workers)
        if self.exact and self.flash_attention is not None:
            given = "on" if self.flash_attention else "off"
            raise BadValue("--flash-attention", given, "--exact has its own; leave it out")
        if self.exact and self.n_gpu_layers:
            raise BadValue("--gpu-layers", self.n_gpu_layers, "--exact computes on the CPU alone; leave one out")
        if self.kv_type == "f32" and (self.exact or self.flash_attention):
            cause = "--exact" if self.exact else "--flash-attention"
            raise BadValue("--kv-type", "f32", f"{cause} reads the cache in half precision, as f16; choose one")
        if self.kv_type.startswith("q") and self.flash_attention is False:
            cause = "llama.cpp reads a quantised cache by flash attention alone"
            raise BadValue(
                "--kv-type", self.kv_type, f"{cause}: leave out --no-flash-attention, or take --kv-type f16 or f32"
            )
        if self.bounds is not None and not (self.stock and self.bounds >= N_TOP):
            needs = f"it must be at least {N_TOP}" if self.stock else "it bounds what --stock cannot know; add --stock"
            raise BadValue("--bounds", self.bounds, f"{needs}, or leave it out")

    @property
    def fused(self) -> bool | None:
        """Whether attention is to be fused (flash attention); None where the device supports it.

        The fused kernels read a cache in single precision as if it were in half.
        """
        return False if self.kv_type == "f32" else self.flash_attention

    @classmethod
    def of(cls, recipe: Recipe) -> EngineOptions:
        """What a recipe says of them. Older ones may name attention or cache where something overruled it."""
        is_halved = recipe.kv_type == "f32" and (recipe.exact or recipe.flash_attention)
        return cls(
            exact=recipe.exact,
            kv_type="f16" if is_halved else recipe.kv_type,
            flash_attention=None if recipe.exact or recipe.kv_type.startswith("q") else recipe.flash_attention,
            **_of_stock(recipe),
        )


STOCK = "stock"
"""A word of the build where a server is asked as it is; behind it, with bounds, `top` and how many tokens."""


def _of_stock(recipe: Recipe) -> dict[str, Any]:
    """What the build of a recipe on a server says of --stock and --bounds."""
    _, is_stock, rest = recipe.engine_build.partition(f" {STOCK}")
    if recipe.engine != "vllm" or not is_stock:
        return {}
    words = rest.split()
    return {"stock": True, "bounds": int(words[1]) if words[:1] == ["top"] else None}


@dataclass(frozen=True)
class Capabilities:
    """What an engine can promise. A caller that needs what is missing refuses instead of approximating."""

    full_distribution: bool
    scores_text: bool
    exact: bool
    grammars: bool  # a recipe's grammar can bound what is drawn


@dataclass(frozen=True, eq=False)
class Growing:
    """A sample that is not finished, and its tokens so far, shape (n,), TOKEN_DTYPE, which do not change any more."""

    recipe_key: str
    index: int
    tokens: TokenStats


def _none_seen() -> list[Growing]:
    """What an engine tells of unfinished samples that gets them whole."""
    return []


class Step(NamedTuple):
    """What one step of sampling produced: how many tokens were drawn, and the samples it finished.

    `growing`, called before the next step, tells of those that are under way. Their statistics are made for that, so
    ask as often as somebody looks, not at each step. Of workers and servers it tells nothing: they send whole samples.
    """

    n_tokens: int
    finished: list[Sample]
    growing: Callable[[], list[Growing]] = _none_seen


Works = Iterable[tuple[Recipe, Iterable[int]]]  # recipes, and of each the indices of the samples that are wanted
SampleEach = Callable[[Works], Iterator[Step]]


class Rows(NamedTuple):
    """Raw logits of a piece of a text, shape (rows, n_vocab): the first row follows the ids up to `start` inclusive.

    They are valid until the next piece is asked for, or the iterator is let go.
    """

    text: int  # its number among those asked
    start: int
    logits: npt.NDArray[np.float32]


@dataclass
class Stopwatch:
    """Seconds spent on making and freeing contexts, on decoding, and on turning logits into tokens and statistics."""

    setup_seconds: float = 0.0
    decode_seconds: float = 0.0
    sampling_seconds: float = 0.0


class Engine(Protocol):
    """The verbs of an engine. `layout` says how the last call was laid out (batch, context, threads, device)."""

    capabilities: Capabilities
    facts: ModelFacts
    ends: frozenset[int]  # the tokens that end a sequence
    build: str  # whatever may change a number: library version, kernel set
    fused: bool | None  # attention as a recipe records it: None where it is what the device does by itself
    layout: Mapping[str, Any]
    stopwatch: Stopwatch

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text. Raises BadValue where the model has no such token."""
        ...

    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]:
        """Ids of `text` as typed (control tokens stay text), behind its start."""
        ...

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` as a raw prompt, or rendered by the model's chat template. Raises TemplateError, BadValue.

        `template_args`: values for the template, a JSON object with sorted keys.
        """
        ...

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        ...

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """`sample_each` of one recipe."""
        ...

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """Draw samples of many recipes together, of each those indices; they finish in any order, each exactly once.

        The recipes share all but prompt, seed, length and stop strings. What their prompts begin with alike is read
        once. A sample does not depend on what is drawn beside it, but for the last digits of float arithmetic; with
        --exact not even there. A sample that the grammar leaves without a next token never finishes; the others do, and
        then EngineError names it. Raises PromptTooLong, OutOfMemory, EngineError, and BadValue for a malformed grammar.
        """
        ...

    def seats(self, together: Together, *, at_most: int | None = None) -> AbstractContextManager[Seats]:
        """What `sample_each` draws from, for whoever draws himself: sequences behind the prompts, `at_most` so many."""
        ...

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Teacher-forced statistics of `ids`, shape (len(ids),); nan for the first, which has no context."""
        ...

    def beside(self, ids: tuple[int, ...]) -> TokenStats | None:
        """Of a mixture what its models say of `ids`, shape (len(ids),), `beside_dtype`; nan for the first. Else None.

        `source` is -1 where no rule makes a word one model's for certain.
        """
        ...

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """The surprisals of `score` for each of `texts`, bits, shape (len(text),); nan for the first token.

        What texts begin with alike is read once; with --exact each text alone, to the same bits as `score`. An engine
        without a way of its own takes `shared.one_by_one`. Raises PromptTooLong before any work.
        """
        ...

    def fits(self, grammar: str, texts: Sequence[bytes]) -> list[bool]:
        """Which of `texts` are of a GBNF grammar as a whole; the model has no say in it, and needs no weights.

        Needs the capability grammars. Raises BadValue for a malformed grammar.
        """
        ...

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """Teacher-forced logits of `texts`, of each a row for all ids but the last, text after text, in pieces.

        The pieces depend on lengths, vocabulary and options alone: two engines that share these give the same ones, and
        can be read side by side. Needs the capabilities full_distribution and scores_text. Raises PromptTooLong before
        any work, EngineError.
        """
        ...

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> npt.NDArray[np.float32]:
        """Teacher-forced logits of all `ids` but the last, shape (len(ids) - 1, n_vocab), read in one of several ways.

        With `together` None in one pass as `logits` reads, else token by token in so many sequences at once that hold
        the same. `fused`: attention. Every way is an equally good reading; they differ by the noise of the arithmetic.
        """
        ...

    def after(self, prompt: Prompt, *, longest: int) -> AbstractContextManager[NextTokens]:
        """Within the block, what may follow the prompt and any paths behind it, of at most `longest` tokens each.

        The whole distribution, normalised in float64; the empty path is the prompt itself. The prompt is decoded once
        and paths are decoded together, so ask for many at a time. Raises PromptTooLong, OutOfMemory, EngineError.
        """
        ...

    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> AbstractContextManager[Live]:
        """Within the block the prompt stays decoded: what may follow it, and samples that begin behind any path.

        No path with what is drawn behind it has more than `longest` tokens; at most `at_once` samples grow together,
        fewer where memory is short. Needs the model in this process. Raises PromptTooLong, OutOfMemory, EngineError.
        """
        ...

    def close(self) -> None:
        """Free the model. Afterwards only `facts`, `build` and `layout` may be read."""
        ...


def text_bytes(text: str) -> bytes:
    """The bytes a text came from; what was not UTF-8 is a lone surrogate in it. Raises BadValue for any other half."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise BadValue("the text", text[error.start : error.end], "half of a UTF-16 pair has no bytes") from error


def open_engine(
    model: ModelRef,
    options: EngineOptions,
    *,
    on_load: Callable[[float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Engine:
    """Load `model` with the engine it names, or have workers load it.

    `on_load` hears the loaded share, 0 to 1; `on_note` what happens to workers. Raises ModelFileError, EngineError.
    """
    if model.engine not in ENGINES:
        raise UnknownName("engine", model.engine, ENGINES, list_command="llamadiv doctor")
    if options.stock and model.engine != "vllm":
        raise BadValue("--stock", model.reference, "it is no model on a server (vllm:URL/NAME); leave out --stock")
    if options.workers is not None and model.engine == "vllm":
        raise BadValue(
            "--workers", options.workers, f"{model.reference} is on servers, which do the work; leave it out"
        )
    found = ENGINES[model.engine] if options.workers is None else FAN_OUT
    found = STOCK_ENGINE if options.stock else found
    module_name, _, class_name = found.partition(":")
    made = getattr(importlib.import_module(module_name), class_name)
    heard: dict[str, Any] = {"on_load": on_load}
    if options.workers is not None or model.engine == "vllm":
        heard["on_note"] = on_note or _unheard
    engine: Engine = made(model, options, **heard)
    return engine


def _unheard(words: str) -> None:
    """Nobody listens."""
