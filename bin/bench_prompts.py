"""What bin/bench measures of many prompts: 48 of 300 tokens, the first 200 of them common, each continued once.

They are drawn together (`each`); one prompt of 300 tokens is continued as often, at as many sequences (`one`); and the
earlier code continues the first `EARLIER_PROMPTS` one after the other, in a process as long-lived (`earlier`). Tokens
drawn a second count all of the time but the making of contexts. One prompt is read once and 48 are not, so `each` is
held against `one` in tokens a second that went through the model: those drawn and those of prompts that had to be read.
Beside seconds on the clock there are those of the processor, which other programs change less.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import bench_earlier

N_PROMPTS, N_HEAD, N_PROMPT, PARALLEL = 48, 200, 300, 64
EARLIER_PROMPTS = 4
DRAWING = """
import dataclasses, hashlib, json, random, sys, time
from pathlib import Path
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import ModelRef, Recipe, Sampler

way, path, (n, n_head, n_prompt, parallel, max_tokens) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
engine = open_engine(ModelRef(path, "llamacpp", path, digest), EngineOptions(parallel=parallel))
plain = engine.prompt("x")

def ids(seed, length):
    return tuple(random.Random(seed).choices(range(3, engine.facts.n_vocab), k=length))

def recipe(number):
    prompt = dataclasses.replace(plain, ids=ids(-1, n_head) + ids(number, n_prompt - n_head))
    return Recipe("llamacpp", engine.build, digest, engine.facts.vocab_digest, prompt, Sampler(), number, max_tokens)

def steps(n, max_tokens):
    recipes = [dataclasses.replace(recipe(number), max_tokens=max_tokens) for number in range(n)]
    if way == "each":
        return engine.sample_each([(one, [0]) for one in recipes])
    if way == "one":
        return engine.sample(recipes[0], range(n))
    return (step for one in recipes for step in engine.sample(one, [0]))

list(steps(2, 2))
setup, before, cpu_before = engine.stopwatch.setup_seconds, time.perf_counter(), time.process_time()
drawn = sum(step.n_tokens for step in steps(n, max_tokens))
seconds = time.perf_counter() - before - (engine.stopwatch.setup_seconds - setup)
cpu_seconds = time.process_time() - cpu_before
read = {"each": n_head + n * (n_prompt - n_head), "one": n_prompt, "earlier": n * n_prompt}[way]
through = drawn + read
found = {"drawn": drawn / seconds, "through": through / seconds}
print(json.dumps({**found, "drawn_cpu": drawn / cpu_seconds, "through_cpu": through / cpu_seconds}))
"""


def measured(model: Path, earlier: Path, rounds: int, max_tokens: int) -> dict[str, float]:
    """Tokens a second of each way, and the ratios; medians over the rounds."""
    found = []
    for _ in range(rounds):
        row: dict[str, float] = {}
        for way, code, n in (
            ("each", bench_earlier.ROOT, N_PROMPTS),
            ("one", bench_earlier.ROOT, N_PROMPTS),
            ("earlier", earlier, EARLIER_PROMPTS),
        ):
            row |= {f"{way}_{name}": speed for name, speed in speeds(way, code, model, n, max_tokens).items()}
        found.append(row)
    return summary(found)


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    report = {f"{name}_tokens_per_second": statistics.median(row[name] for row in found) for name in found[0]}
    for other, what in (("earlier", "drawn"), ("one", "through")):
        for of in ("", "_cpu"):
            ratios = [row[f"each_{what}{of}"] / row[f"{other}_{what}{of}"] for row in found]
            report[f"ratio_to_{other}{of}"] = statistics.median(ratios)
    return report


def speeds(way: str, code: Path, model: Path, n: int, max_tokens: int) -> dict[str, float]:
    """Tokens drawn, and tokens that went through the model, a second on the clock and one of the processor."""
    sizes = map(str, (n, N_HEAD, N_PROMPT, PARALLEL, max_tokens))
    done = subprocess.run(
        [sys.executable, "-c", DRAWING, way, str(model), *sizes],
        env=bench_earlier.environment(code), cwd=code, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: drawing {way} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def table(found: dict[str, float]) -> list[str]:
    """Words on the report."""
    return [
        "",
        f"{N_PROMPTS} prompts of {N_PROMPT} tokens, {N_HEAD} of them common, each continued once: "
        f"{found['each_drawn_tokens_per_second']:.0f} tokens/s drawn; one after the other, earlier, "
        f"{found['earlier_drawn_tokens_per_second']:.0f}, ratio {found['ratio_to_earlier']:.1f}; through the model "
        f"{found['each_through_tokens_per_second']:.0f} tokens/s, with one prompt "
        f"{found['one_through_tokens_per_second']:.0f}, ratio {found['ratio_to_one']:.2f}",
        f"by seconds of the processor: {found['ratio_to_earlier_cpu']:.1f} and {found['ratio_to_one_cpu']:.2f}",
    ]
