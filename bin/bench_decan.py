"""What bin/bench measures of `decan`: ten answers read in random orders, sharing beginnings, beside every order alone.

The answers are drawn by the model itself. `score_each` reads all orders of two sets, and `score` reads as many of the
same orders from their start as a round has time for: the ratio is of seconds an order. Beside it how far apart single
orders and whole sets put a_n: 25 independent orders have the variance of one over 25, two sets that of a set over two.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import bench_earlier

N_ANSWERS, ALONE = 10, 3
LENGTHS = (10, 45, 100)  # tokens of an answer; what does not fit the context is left out
READING = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.metrics.decan import balanced_orders
from llama_diversity.records import ModelRef, Recipe, Sampler

path, (n, length, n_alone, threads) = sys.argv[1], map(int, sys.argv[2:])
digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
engine = open_engine(ModelRef(path, "llamacpp", path, digest), EngineOptions(n_threads=threads or None))
prompt = engine.prompt("Once upon a time")
if len(prompt.ids) + n * length > engine.facts.n_ctx_train:
    sys.exit(print("{}"))
recipe = Recipe("llamacpp", engine.build, digest, engine.facts.vocab_digest, prompt, Sampler(), 0, length)
samples = [one for step in engine.sample(recipe, range(4 * n)) for one in step.finished]
longest = sorted(samples, key=lambda one: (-len(one.tokens), one.index))[:n]
answers = [tuple(one.tokens["id"].tolist()) for one in sorted(longest, key=lambda one: one.index)]
n_bytes = [max(1, len(one.text)) for one in sorted(longest, key=lambda one: one.index)]
orders, weights = balanced_orders(n, 25, np.random.default_rng(0))

def text(order):
    return prompt.ids + tuple(token for at in order for token in answers[at])

texts = [text(order) for order in orders.reshape(-1, n).tolist()]
engine.score(texts[0][:9])
before = time.perf_counter()
bits = engine.score_each(texts)
shared = time.perf_counter() - before
before = time.perf_counter()
alone = [engine.score(one)["surprisal_bits"] for one in texts[:n_alone]]
seconds = (time.perf_counter() - before) / n_alone * len(texts)
apart = max(float(np.abs(one[1:] - other[1:]).max()) for one, other in zip(alone, bits))
lasts = orders.reshape(-1, n)[:, -1]
a_n = np.array([row[-len(answers[at]):].sum() / n_bytes[at] for row, at in zip(bits, lasts)]).reshape(len(orders), -1)
of_sets = float((a_n @ weights).var(ddof=1))
of_one = float(a_n.var(axis=1) @ np.ones(len(orders)) / len(orders))
print(json.dumps({
    "orders": len(texts), "tokens": len(texts[0]), "shared_seconds": shared, "alone_seconds": seconds,
    "ratio": seconds / shared, "bits_apart": apart, "variance_of_an_order": of_one, "variance_of_a_set": of_sets,
}))
"""


def measured(model: Path, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """By tokens of an answer; medians over the rounds."""
    found = {}
    for length in LENGTHS:
        rows = [_round(model, length, threads) for _ in range(rounds)]
        found[str(length)] = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {length: row for length, row in found.items() if row}


def _round(model: Path, length: int, threads: int) -> dict[str, float]:
    sizes = map(str, (N_ANSWERS, length, ALONE, threads))
    done = subprocess.run(
        [sys.executable, "-c", READING, str(model), *sizes],
        env=bench_earlier.environment(bench_earlier.ROOT), cwd=bench_earlier.ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: reading orders failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Words on the report."""
    lines = [""]
    for length, row in found.items():
        lines.append(
            f"decan, {N_ANSWERS} answers of {length} tokens, {row['orders']:.0f} orders: {row['shared_seconds']:.2f} s,"
            f" each order from its start {row['alone_seconds']:.2f} s, ratio {row['ratio']:.2f}; at most "
            f"{row['bits_apart']:.4f} bits apart. Variance of a_n: of an order {row['variance_of_an_order']:.2g}, of a "
            f"set {row['variance_of_a_set']:.2g}"
        )
    return lines
