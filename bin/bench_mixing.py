"""What bin/bench measures of mixtures: two models of one shape and vocabulary, mixed halfway and routed word by word.

A mixture decodes with both, so the limit is the harmonic sum of the speeds that each has alone, 1 / (1 / a + 1 / b).
All are in one process and take turns; tokens a second count all of the time but the making of contexts, as `llamadiv
bench` does. The naive loop holds two `llama_cpp.Llama` objects and mixes their logits a token at a time in numpy,
without any statistics.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from llama_diversity import paths
from llama_diversity.lab.random_gguf import SHAPES, write_model

RULES = ("lambda=0.5", "linear=0.5", "route=entropy:3")
MIXING = """
import json, sys, time
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import Recipe, Sampler
from llama_diversity.resolve import resolve_model

base, aligned, *rest = sys.argv[1:]
(parallel, max_tokens, rounds, threads), rules = map(int, rest[:4]), rest[4:]
options = EngineOptions(parallel=parallel, n_threads=threads or None)
names = {"base": base, "aligned": aligned, **{rule: f"mix:{base},{aligned},{rule}" for rule in rules}}
engines = {way: open_engine(resolve_model(name), options) for way, name in names.items()}

def speed(engine, max_tokens):
    prompt = engine.prompt("Once upon a time")
    recipe = Recipe("e", engine.build, "d", engine.facts.vocab_digest, prompt, Sampler(), 0, max_tokens)
    setup = engine.stopwatch.setup_seconds
    before = time.perf_counter()
    drawn = sum(step.n_tokens for step in engine.sample(recipe, range(parallel)))
    return drawn / (time.perf_counter() - before - (engine.stopwatch.setup_seconds - setup))

for engine in engines.values():
    speed(engine, 2)
print(json.dumps([{way: speed(engine, max_tokens) for way, engine in engines.items()} for _ in range(rounds)]))
"""
NAIVE_LOOP = """
import sys, time
import numpy as np
from llama_cpp import Llama
base, aligned, (max_tokens, threads) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
models = [Llama(path, n_ctx=512, logits_all=True, n_gpu_layers=-1, n_threads=threads or None, verbose=False)
          for path in (base, aligned)]
rng = np.random.default_rng(0)

def draw(n):
    ids = models[0].tokenize(b"Once upon a time")
    for model in models:
        model.reset()
        model.eval(ids)
    for _ in range(n):
        z = sum(0.5 * model.scores[model.n_tokens - 1].astype(np.float64) for model in models)
        p = np.exp(z - z.max())
        token = int(rng.choice(len(p), p=p / p.sum()))
        for model in models:
            model.eval([token])

draw(2)
before = time.perf_counter()
draw(max_tokens)
print(max_tokens / (time.perf_counter() - before))
"""


def pair(shape: str, n_vocab: int) -> tuple[Path, Path]:
    """Two models with random weights, kept in the cache."""
    found = []
    for seed in (0, 1):
        path = paths.cache_dir() / "bench" / f"{shape}-{n_vocab}-q4_0-{seed}.gguf"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            write_model(unfinished, SHAPES[shape], n_vocab=n_vocab, seed=seed)
            unfinished.replace(path)
        found.append(path)
    return found[0], found[1]


def measured(
    models: tuple[Path, Path], parallels: list[int], max_tokens: int, rounds: int, threads: int
) -> dict[str, dict[str, float]]:
    """By sequences at once: tokens a second of each alone and mixed, the share of the limit, the naive loop."""
    found = {}
    for parallel in parallels:
        sizes = map(str, (parallel, max_tokens, rounds, threads))
        rows = json.loads(output(MIXING, *map(str, models), *sizes, *RULES))
        naive = float(output(NAIVE_LOOP, *map(str, models), str(max_tokens), str(threads)))
        report = {way: statistics.median(row[way] for row in rows) for way in rows[0]} | {"naive": naive}
        for rule in RULES:
            limits = [row[rule] * (1 / row["base"] + 1 / row["aligned"]) for row in rows]
            report[f"{rule} to the limit"] = statistics.median(limits)
        report["ratio_to_naive"] = report[RULES[0]] / naive
        found[str(parallel)] = report
    return found


def output(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: mixing failed:\n{done.stderr[-2000:]}")
    return done.stdout


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Words on the report."""
    lines = ["", "two models mixed, tokens/s, and as a share of the harmonic sum of both alone"]
    for parallel, row in found.items():
        mixes = ", ".join(f"{rule} {row[rule]:.0f} ({row[f'{rule} to the limit']:.2f})" for rule in RULES)
        lines.append(
            f"{parallel:>3} sequences: alone {row['base']:.0f} and {row['aligned']:.0f}; {mixes}; "
            f"two Llama objects {row['naive']:.1f}, ratio {row['ratio_to_naive']:.1f}"
        )
    return lines
