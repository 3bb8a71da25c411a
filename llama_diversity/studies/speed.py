"""How fast a model is sampled, statistics included."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from llama_diversity.engines import Engine
from llama_diversity.records import Cell, ModelRef
from llama_diversity.studies.drawing import Drawing, plan_cell
from llama_diversity.studies.session import Session


def measure(engine: Engine, cell: Cell, on_progress: Callable[[float], None]) -> dict[str, float]:
    """Time the drawing of the whole cell, prompt included; making and freeing the KV cache is a figure of its own."""
    warm_up = dataclasses.replace(cell.recipe, max_tokens=2)
    for _ in engine.sample(warm_up, range(min(2, cell.n))):
        pass
    watch, start = dataclasses.replace(engine.stopwatch), time.perf_counter()
    n_tokens = n_finished = 0
    for step in engine.sample(cell.recipe, range(cell.n)):
        n_tokens += step.n_tokens
        n_finished += len(step.finished)
        on_progress(n_finished / cell.n)
    setup_seconds = engine.stopwatch.setup_seconds - watch.setup_seconds
    seconds = time.perf_counter() - start - setup_seconds
    return {
        "parallel": engine.layout["parallel"],
        "generated_tokens": n_tokens,
        "seconds": seconds,
        "tokens_per_second": n_tokens / seconds,
        "decode_share": (engine.stopwatch.decode_seconds - watch.decode_seconds) / seconds,
        "sampling_share": (engine.stopwatch.sampling_seconds - watch.sampling_seconds) / seconds,
        "setup_seconds": setup_seconds,
    }


def speed_of(model: ModelRef, text: str, *, n: int, max_tokens: int, seed: int, session: Session) -> dict[str, float]:
    """How fast `n` samples of a raw prompt are drawn; nothing is stored. Raises what engines raise, BadValue."""
    with session.opened(model) as engine:
        cell = plan_cell(
            engine,
            model,
            engine.prompt(text),
            arm="bench",
            n=n,
            max_tokens=max_tokens,
            drawing=Drawing(seed=seed),
            layout=session.layout,
        )
        with session.listener.working("sampling") as show:
            return measure(engine, cell, show)


def words_of(measured: Mapping[str, float]) -> str:
    """What `measure` found, in a sentence."""
    return (
        f"{measured['tokens_per_second']:,.0f} tokens/s: {measured['generated_tokens']} tokens in "
        f"{measured['seconds']:.2f} s, {measured['parallel']} at once; "
        f"{measured['decode_share']:.0%} decoding, {measured['sampling_share']:.0%} sampling"
    )
