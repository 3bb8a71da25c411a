"""The context of work: where samples are kept, how engines are laid out, and who hears what is going on.

With it what draws samples has in common: open a model, plan a cell, fill the store, read it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_diversity import __version__, digests, embed, hub
from llama_diversity.cli.encoding import say
from llama_diversity.cli.options import Common
from llama_diversity.cli.progress import progress_line, sampling_progress
from llama_diversity.cli.session import say_once
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.errors import BadValue, EngineError, LlamadivError, PartialRun
from llama_diversity.records import Asking, Cell, ModelRef, Prompt, Recipe, Sample, Sampler
from llama_diversity.runner import run
from llama_diversity.store import Store


@dataclass(frozen=True)
class Drawing:
    """How a prompt is asked, how tokens are drawn, and from which seed."""

    sampler: Sampler
    seed: int
    asking: Asking = Asking()


def refuse_cuts_of_greedy(sampler: Sampler) -> None:
    """The likeliest token survives every cut, so they would change nothing. Raises BadValue."""
    if sampler.temperature == 0:
        for option, value, off in (
            ("--top-k", sampler.top_k, 0),
            ("--top-p", sampler.top_p, 1.0),
            ("--min-p", sampler.min_p, 0.0),
        ):
            if value != off:
                raise BadValue(option, value, "at temperature 0 the likeliest token is taken anyway; leave it out")


class DifferentVocabularies(LlamadivError):
    """Token-level numbers of two tokenizers do not compare."""

    def __init__(self, base: str, aligned: str) -> None:
        super().__init__(
            f"Token-level comparison refused: {base} and {aligned} use different vocabularies. "
            "Choose a pair of one family: `llamadiv models ls` lists them."
        )


class DifferentTokens(LlamadivError):
    """Token-level numbers of models that read one text as different tokens do not compare."""

    def __init__(self, base: str, aligned: str, mine: Sequence[int], theirs: Sequence[int]) -> None:
        n = min(len(mine), len(theirs))
        way = (
            "They begin it differently: give both one start, as with --start none."
            if len(mine) != len(theirs) and tuple(mine[len(mine) - n :]) == tuple(theirs[len(theirs) - n :])
            else "Where they begin it differently, --start gives both one start; where they split it differently, as "
            "conversions with other pre-tokenizers do, choose two of one kind."
        )
        super().__init__(
            f"Token-level comparison refused: {base} and {aligned} have one vocabulary, but read the same text as "
            f"different tokens, {_listed(mine)} and {_listed(theirs)}. {way}"
        )


def _listed(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids[:6])) + (" …" if len(ids) > 6 else "")


def say_unknown_start(engine: Engine, asking: Asking, common: Common) -> None:
    """Say so where nobody states what texts begin with, so that they begin with nothing."""
    if asking.start == Asking().start and not engine.start(asking).ids:
        say_once(
            f"{engine.facts.reference}: neither its file nor models.toml says what separated documents in pretraining, "
            "so raw prompts begin with nothing. --start names something.",
            common,
        )


@contextlib.contextmanager
def opened(model: ModelRef, options: EngineOptions, common: Common) -> Iterator[Engine]:
    """The engine of `model`, with a progress line while it loads; closed afterwards, so that one model is in memory."""
    with progress_line(common, f"loading {model.reference}") as on_load:
        engine = open_engine(model, options, on_load=on_load)
    for note in engine.facts.notes:
        say_once(f"{model.reference}: {note}", common)
    with contextlib.closing(engine):
        if model.engine == "llamacpp":  # what was opened must be what was hashed
            digests.require_unchanged(hub.model_files(Path(model.location)))
        yield engine


@contextlib.contextmanager
def reading(model: ModelRef, options: EngineOptions, common: Common) -> Iterator[Engine]:
    """As `opened`, but without the weights: enough to tokenise, render prompts and plan."""
    with opened(model, dataclasses.replace(options, vocabulary_only=True), common) as engine:
        yield engine


def plan_cell(
    engine: Engine,
    model: ModelRef,
    prompt: Prompt,
    *,
    arm: str,
    n: int,
    max_tokens: int,
    drawing: Drawing,
    layout: EngineOptions,
    stop: Sequence[str] = (),
    grammar: str | None = None,
) -> Cell:
    """The cell of `n` samples of `prompt` on `model`. Raises BadValue.

    What greedy decoding does not read, a seed and what cuts tokens off, is no part of the recipe: with another seed it
    draws the same, so that is the same recipe.
    """
    recipe = Recipe(
        engine=model.engine,
        engine_build=engine.build,
        model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest,
        prompt=prompt,
        sampler=drawing.sampler,
        seed=drawing.seed,
        max_tokens=max_tokens,
        stop=tuple(stop),
        exact=layout.exact,
        kv_type=layout.kv_type,
        flash_attention=engine.fused,
        grammar=grammar,
    )
    if recipe.sampler.temperature == 0:
        recipe = dataclasses.replace(recipe, seed=0, sampler=Sampler(temperature=0.0))
    return Cell(arm, model.reference, recipe, n)


def fill(cell: Cell, engine: Engine, store: Store, run_id: str, common: Common) -> None:
    """Draw what `store` lacks of `cell`, with progress."""
    for _ in draw(cell, engine, store, run_id, common):
        pass


def draw(cell: Cell, engine: Engine, store: Store, run_id: str, common: Common) -> Iterator[Sample]:
    """Draw what `store` lacks of `cell`, with progress; each new sample is yielded once it is stored."""
    try:
        with sampling_progress(common, f"sampling {cell.reference}") as on_progress:
            yield from run(cell, engine, store, run_id, on_progress=on_progress)
    except EngineError as error:
        n_stored = store.counts(cell.recipe.key, cell.n).n_samples
        if not n_stored:
            raise
        raise PartialRun(f"{error} {n_stored} of {cell.n} samples are kept; the same command continues.") from error


def in_order(cell: Cell, store: Store, drawn: Iterator[Sample]) -> Iterator[Sample]:
    """All samples of `cell` by index, each as soon as those before it exist. Holds indices, not samples."""
    waiting = set(store.missing(cell.recipe.key, cell.n))
    index = 0
    for sample in drawn:
        waiting.discard(sample.index)
        while index < cell.n and index not in waiting:
            yield store.sample(cell.recipe.key, index)
            index += 1
    for left in range(index, cell.n):
        yield store.sample(cell.recipe.key, left)


def start_run(store: Store, about: Mapping[str, Any] | None = None) -> str:
    """A run record for the command that was typed, with what else there is to say `about` it."""
    versions = {"llamadiv": __version__, "python": platform.python_version(), "machine": platform.platform()}
    return store.start_run(command=["llamadiv", *sys.argv[1:]], about={**versions, **(about or {})})


def find_encoder(common: Common) -> embed.Place:
    """Where the sentence encoder is; fetched, which is said, where it is nowhere. Raises NoEncoder.

    Whether its vectors can be kept is found out now, and said where they cannot.
    """
    place = embed.find() or embed.fetch(say, offline=common.offline)
    trouble = embed.cache_trouble()
    if trouble is None:
        return place
    say(trouble)
    return place._replace(keeps=False)
