"""What bin/bench measures of the lab's training beside an earlier commit: pretraining under `--fuse`, and PPO.

Pretraining is of a fresh model of the usual size on texts from a chain of Markov, the same in both trees, so that the
losses after the same steps can be compared. PPO goes on from tiny-sft with the settings of `lab align` and a reward
model that has learned nothing: what answers are worth costs no time. Contestants take turns, each in a process of its
own. What compiles and warms up is left out.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_earlier

EARLIER = "245685c"  # before training was one compiled graph
STEPS, WARM_STEPS = 16, 8
ITERATIONS, WARM_ITERATIONS = 4, 2
PRETRAINING = """
import json, statistics, sys
import numpy as np
import torch
from llama_diversity.lab.pretrain import Schedule, Text, train
from llama_diversity.lab.transformer import Architecture, Llama

steps, warm = map(int, sys.argv[1:])
rng = np.random.default_rng(1)
likely = rng.integers(3, 4096, (4096, 20))  # what may follow each token

def text():
    ids = [int(rng.integers(3, 4096))]
    for choice in rng.integers(20, size=rng.integers(60, 200)):
        ids.append(int(likely[ids[-1], choice]))
    return Text(np.array(ids, np.int16))

model = Llama(Architecture())
model.initialise(torch.Generator().manual_seed(1))
reports, schedule = [], Schedule(steps * 8 * 512)
train(model, [text() for _ in range(2000)], schedule, fuse=True, on_report=reports.append, report_every=warm)
speed = statistics.median(report.tokens_per_second for report in reports[1:])
print(json.dumps({"tokens_per_second": speed, "bits_per_token": reports[-1].bits_per_token}))
"""
PPO = """
import json, statistics, sys, time
import torch
from llama_diversity.lab.ppo import Settings, optimise
from llama_diversity.lab.reward import RewardModel
from llama_diversity.lab.transformer import Architecture, Llama

path, iterations, warm = sys.argv[1], *map(int, sys.argv[2:])
kept = torch.load(path)
sft = Llama(Architecture(**kept["architecture"]))
sft.load_state_dict(kept["weights"])
logs, times = [], [time.perf_counter()]

def on_log(log):
    logs.append(log)
    times.append(time.perf_counter())

optimise(sft, RewardModel(sft), kept["prompts"], Settings(iterations, max_tokens=100), on_log=on_log)
took = [after - before for before, after in zip(times, times[1:])][warm:]
print(json.dumps({
    "seconds": statistics.median(took),
    "tokens": statistics.mean(log.length_tokens for log in logs[warm:]),
    "entropy_bits": logs[0].entropy_bits,
}))
"""
NAMES = ("Anna Miller", "John Carter", "Maria Lopez", "David Brown", "Helen Jones", "Peter Weiss", "Laura King")
ASKED = (
    "[INST] Who was {name}? [/INST]",
    "[INST] Write a short biography of {name}. [/INST]",
    "[INST] Write about {name}, who leads a company. [/INST]",
    "[INST] Tell me a story about a {thing}. [/INST]",
    "[INST] Write a review of this product: {product}. [/INST]",
    "[INST] Write a persona with a review of this product: {product} [/INST]",
    "{name} was born in",
    "{name} is the CEO of a software company",
    "Once upon a time, there was a {thing}",
)
THINGS = ("dog", "boat", "tree", "horse", "ball", "cat", "fish")
PRODUCTS = ("Silk dress in navy", "Espresso machine with milk frother", "Slim jeans")


def measured(earlier: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both trees and of the round-by-round ratios: tokens a second, and seconds of an iteration of PPO."""
    trees = {"now": bench_earlier.ROOT, "earlier": earlier}
    found: dict[str, list[dict[str, dict[str, float]]]] = {"pretraining": [], "ppo": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "sft.pt"
        write_work(work)
        scripts = {
            "pretraining": (PRETRAINING, STEPS, WARM_STEPS),
            "ppo": (PPO, work, ITERATIONS, WARM_ITERATIONS),
        }
        for _ in range(rounds):
            for part, (script, *given) in scripts.items():
                found[part].append({name: said(code, script, *given) for name, code in trees.items()})
    ratios = {"pretraining": "tokens_per_second", "ppo": "seconds"}
    return {part: summary(rows, ratios[part]) for part, rows in found.items()}


def summary(rows: list[dict[str, dict[str, float]]], ratio_of: str) -> dict[str, float]:
    """Medians over the rounds."""
    report = {
        f"{name}_{number}": statistics.median(row[name][number] for row in rows)
        for name in ("now", "earlier")
        for number in rows[0][name]
    }
    report["to_earlier"] = statistics.median(row["now"][ratio_of] / row["earlier"][ratio_of] for row in rows)
    return report


def write_work(path: Path) -> None:
    """tiny-sft as torch weights, which any commit can read, and prompts such as `lab align` makes, as ids."""
    import torch

    from llama_diversity.engines import EngineOptions, open_engine
    from llama_diversity.lab.export import read_gguf
    from llama_diversity.records import Asking, ModelRef

    file = bench_earlier.ROOT / "llama_diversity" / "data" / "tiny-sft.gguf"
    model, _ = read_gguf(file)
    texts = [
        form.format(name=name, thing=THINGS[i], product=PRODUCTS[i % len(PRODUCTS)])
        for i, name in enumerate(NAMES)
        for form in ASKED
    ]
    engine = open_engine(
        ModelRef("tiny-sft", "llamacpp", str(file), hashlib.sha256(file.read_bytes()).hexdigest()), EngineOptions()
    )
    prompts = [list(engine.tokenize(text, Asking(start="none"))) for text in texts]
    engine.close()
    torch.save({"architecture": model.architecture.as_dict(), "weights": model.state_dict(), "prompts": prompts}, path)


def said(code: Path, script: str, *given: object) -> dict[str, float]:
    """The numbers that a script prints, with the package from `code`."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, given)],
        env=bench_earlier.environment(code), cwd=code, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: training failed:\n{done.stderr[-2000:]}")
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Words on the report."""
    trained, ppo = found["pretraining"], found["ppo"]
    return [
        "",
        f"pretraining with --fuse: {trained['now_tokens_per_second']:.0f} tokens/s, earlier "
        f"{trained['earlier_tokens_per_second']:.0f}, ratio {trained['to_earlier']:.2f}; after {STEPS} steps "
        f"{trained['now_bits_per_token']:.3f} bits a token, earlier {trained['earlier_bits_per_token']:.3f}",
        f"PPO: {ppo['now_seconds']:.2f} s an iteration, earlier {ppo['earlier_seconds']:.2f}, ratio "
        f"{ppo['to_earlier']:.2f}; answers of {ppo['now_tokens']:.0f} and {ppo['earlier_tokens']:.0f} tokens, "
        f"at first of {ppo['now_entropy_bits']:.2f} and {ppo['earlier_entropy_bits']:.2f} bits a token",
    ]
