"""What the commands that draw samples share: open a model, plan a cell, fill the store with progress, read it back."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_diversity import __version__, hub
from llama_diversity.cli.options import Common, Drawing
from llama_diversity.cli.progress import progress_line, sampling_progress
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.errors import EngineError, LlamadivError, PartialRun
from llama_diversity.records import Cell, ModelRef, Prompt, Recipe, Sample
from llama_diversity.runner import run
from llama_diversity.store import Store


class DifferentVocabularies(LlamadivError):
    """Token-level numbers of two tokenizers do not compare."""

    def __init__(self, base: str, aligned: str) -> None:
        super().__init__(
            f"Token-level comparison refused: {base} and {aligned} use different vocabularies. "
            "Choose a pair of one family: `llamadiv models ls` lists them."
        )


@contextlib.contextmanager
def opened(model: ModelRef, options: EngineOptions, common: Common) -> Iterator[Engine]:
    """The engine of `model`, with a progress line while it loads; closed afterwards, so that one model is in memory."""
    with progress_line(common, f"loading {model.reference}") as on_load:
        engine = open_engine(model, options, on_load=on_load)
    with contextlib.closing(engine):
        if model.engine == "llamacpp":  # what was opened must be what was hashed
            hub.require_unchanged(hub.model_files(Path(model.location)))
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
    """The cell of `n` samples of `prompt` on `model`. Raises BadValue."""
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
