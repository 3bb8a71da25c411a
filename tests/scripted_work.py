"""Cells of scripted models and token statistics with realistic bits: what the tests of store and runner work on."""

from __future__ import annotations

import numpy as np

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.scripted import ScriptedEngine
from llama_diversity.records import N_TOP, TOKEN_DTYPE, Cell, ModelRef, Prompt, Recipe, Sample, Sampler, TokenStats
from llama_diversity.runner import run
from llama_diversity.store import Store


def open_scripted(name: str = "base", *, parallel: int | None = None) -> ScriptedEngine:
    return ScriptedEngine(ModelRef(f"scripted:{name}", "scripted", name, ""), EngineOptions(parallel=parallel))


def cell_of(
    engine: ScriptedEngine,
    n: int,
    *,
    text: str = "She was",
    seed: int = 1,
    max_tokens: int = 64,
    sampler: Sampler = Sampler(),  # noqa: B008  frozen
    stop: tuple[str, ...] = (),
    arm: str = "base",
) -> Cell:
    recipe = Recipe(
        engine="scripted",
        engine_build=engine.build,
        model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest,
        prompt=engine.prompt(text),
        sampler=sampler,
        seed=seed,
        max_tokens=max_tokens,
        stop=stop,
    )
    return Cell(arm, engine.facts.reference, recipe, n)


def draw(engine: ScriptedEngine, cell: Cell) -> list[Sample]:
    """All samples of the cell in the order of their indices, without a store."""
    steps = engine.sample(cell.recipe, range(cell.n))
    return sorted((sample for step in steps for sample in step.finished), key=lambda sample: sample.index)


def fill(store: Store, engine: ScriptedEngine, *cells: Cell) -> str:
    """Run the cells as one command would, and return the run's id."""
    run_id = store.start_run(command=["llamadiv", "sample"], about={"llamadiv": "0"})
    for cell in cells:
        for _ in run(cell, engine, store, run_id):
            pass
    store.finish_run(run_id)
    return run_id


def same(one: Sample, other: Sample) -> bool:
    """Equal to the last bit; nan equals nan."""
    return (
        (one.recipe_key, one.index, one.finish_reason, one.text)
        == (other.recipe_key, other.index, other.finish_reason, other.text)
    ) and one.tokens.tobytes() == other.tokens.tobytes()


def recipe_without_engine(seed: int = 0) -> Recipe:
    return Recipe("scripted", "build", "model", "vocabulary", Prompt("a", "a", (1,)), Sampler(), seed, 1000)


def realistic_stats(n: int, rng: np.random.Generator, *, neutral: bool = True) -> TokenStats:
    """Statistics as a large model leaves them: heavy-tailed ids and ranks, floats whose mantissas are noise."""
    tokens = np.zeros(n, TOKEN_DTYPE)
    ids = np.minimum(rng.pareto(0.6, (n, 1 + N_TOP)) * 50, 128_255).astype(np.int32)
    tokens["id"], tokens["top_ids"] = ids[:, 0], ids[:, 1:]
    tokens["top_surprisals_bits"] = np.sort(rng.gamma(2, 2.5, (n, N_TOP)), axis=1)
    tokens["surprisal_bits"] = rng.gamma(2, 2, n)
    tokens["entropy_bits"] = rng.gamma(2, 1.5, n)
    tokens["varentropy_bits2"] = rng.gamma(2, 3, n)
    tokens["rank"] = 1 + np.minimum(rng.pareto(0.8, n), 128_000)
    for twin, raw in (("sampler_surprisal_bits", "surprisal_bits"), ("sampler_entropy_bits", "entropy_bits")):
        tokens[twin] = tokens[raw] if neutral else rng.gamma(2, 2, n)
    return tokens
