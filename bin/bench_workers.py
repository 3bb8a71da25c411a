"""What bin/bench measures of `--workers`: what it gains on a model, what it costs by itself, and the driver's memory.

Its own cost: workers whose engine sleeps for each sample and computes nothing draw a deal, beside one such engine that
draws a worker's part in one process; what takes longer is the fan-out. The gain: the tiny pair by two processes,
beside one of one thread, and by two actors of a Ray cluster that is started for it, where ray is installed. Memory:
the most that `llamadiv sample` holds, storing few samples and many.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import bench_earlier

from llama_diversity.cli import main
from llama_diversity.engines import EngineOptions, Step, open_engine
from llama_diversity.engines.fanout import processes
from llama_diversity.engines.scripted import ScriptedEngine
from llama_diversity.records import Recipe, Sampler
from llama_diversity.resolve import resolve_model

SAMPLES, SLEEPERS, SLEEP_SECONDS, LENGTH = 10_000, 8, 0.008, 64
TINY_SAMPLES, TINY_LENGTH = 256, 64
FEW, MANY, SHORT = 1_000, 100_000, 8


class Sleeper(ScriptedEngine):
    """Draws one sample for each recipe, and gives it again after a sleep."""

    seconds = SLEEP_SECONDS

    def sample_each(self, works):
        for recipe, indices in works:
            [drawn] = [one for step in super().sample_each([(recipe, [0])]) for one in step.finished]
            for index in indices:
                time.sleep(self.seconds)
                yield Step(len(drawn.tokens), [dataclasses.replace(drawn, index=index)])


def sleeper(model, options, *, on_load=None):
    return Sleeper(model, options, on_load=on_load)


def child(seconds: float) -> None:
    """A worker whose engines sleep."""
    Sleeper.seconds = seconds
    processes.open_engine = sleeper
    processes.child()


def workers_sleep(seconds: float) -> None:
    """Processes that are started from now on do."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_workers"
    processes._CHILD = f"{code}; bench_workers.child({seconds})"


def recipe_of(model, engine, length: int) -> Recipe:
    """That of a raw prompt."""
    prompt = engine.prompt("She was")
    return Recipe(
        model.engine, engine.build, engine.facts.digest, engine.facts.vocab_digest, prompt, Sampler(), 0, length
    )


def drawing_seconds(engine, recipe: Recipe, n: int) -> float:
    """Of so many samples, the first few not counted."""
    sum(len(step.finished) for step in engine.sample(recipe, range(n, n + SLEEPERS)))
    before = time.perf_counter()
    assert sum(len(step.finished) for step in engine.sample(recipe, range(n))) == n
    return time.perf_counter() - before


def sleeping(how: str) -> float:
    """Seconds of the deal on all workers, or of a worker's part alone."""
    model = resolve_model("scripted:base")
    workers_sleep(SLEEP_SECONDS)
    with closing(
        sleeper(model, EngineOptions()) if how == "alone" else open_engine(model, EngineOptions(workers=str(SLEEPERS)))
    ) as engine:
        n = SAMPLES // SLEEPERS if how == "alone" else SAMPLES
        return drawing_seconds(engine, recipe_of(model, engine, LENGTH), n)


def tiny(workers: str) -> float:
    """Seconds in which these workers, of one thread each, draw from both models of the tiny pair."""
    took = 0.0
    for name in ("tiny-base", "tiny-aligned"):
        model = resolve_model(name)
        with closing(open_engine(model, EngineOptions(workers=workers, n_threads=1))) as engine:
            took += drawing_seconds(engine, recipe_of(model, engine, TINY_LENGTH), TINY_SAMPLES)
    return took


def peak_bytes(n: str) -> float:
    """The most memory of `llamadiv sample` with two workers that do not sleep."""
    workers_sleep(0.0)
    with tempfile.TemporaryDirectory() as folder:
        command = ["sample", "-m", "scripted:base", "-p", "She was", "-n", n, "--max-tokens", str(SHORT), "-q"]
        with contextlib.suppress(SystemExit):
            main([*command, "--workers", "2", "--store", f"{folder}/store.sqlite"])
        with closing(sqlite3.connect(f"{folder}/store.sqlite")) as store:
            assert store.execute("SELECT count(*) FROM samples").fetchone() == (int(n),)
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def measured(rounds: int) -> dict[str, float]:
    """Medians of the ratios of single rounds."""
    ways = ["1", "2", *(["ray:local"] if importlib.util.find_spec("ray") else [])]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        took = {how: _alone("sleeping", how) for how in ("alone", "workers")}
        row = {"own_cost": took["workers"] / took["alone"] - 1}
        seconds = {way: _alone("tiny", way) for way in ways}
        row |= {f"gain_{way.partition(':')[0]}": seconds["1"] / seconds[way] for way in ways[1:]}
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    report = {name: statistics.median(values) for name, values in found.items()}
    few, many = (_alone("peak_bytes", str(n)) for n in (FEW, MANY))
    return {**report, "few_bytes": few, "many_bytes": many}


def _alone(what: str, how: str) -> float:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, what, how],
        env=bench_earlier.environment(bench_earlier.ROOT), stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: measuring workers failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def table(found: dict[str, float]) -> list[str]:
    """Words on the report."""
    names = {"gain_2": "two processes", "gain_ray": "two actors of ray:local"}
    gains = ", ".join(f"{word} {found[name]:.2f}" for name, word in names.items() if name in found)
    return [
        "",
        f"workers: {SLEEPERS} that sleep take {found['own_cost']:.1%} longer for {SAMPLES:,} samples than one for its "
        f"part. The tiny pair, times as fast as one process of one thread: {gains}. `sample` holds at most "
        f"{found['few_bytes'] / 1e6:.0f} MB for {FEW:,} samples, {found['many_bytes'] / 1e6:.0f} MB for {MANY:,}.",
    ]


if __name__ == "__main__":
    print(json.dumps({"sleeping": sleeping, "tiny": tiny, "peak_bytes": peak_bytes}[sys.argv[1]](sys.argv[2])))
