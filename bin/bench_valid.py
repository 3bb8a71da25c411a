"""What bin/bench measures of known sets: p of all 50 US states by one tree of answers, and each scored from its start.

In one process, in turn, with the same engine open. A score is of the usual spelling alone, and so is the tree `usual`;
`tree` follows other spellings too, as the command does. Both trees also add up where words end, and find what the order
of tokens allows. Beside seconds on the clock there are those of the processor, which other programs change less.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import bench_earlier

WAYS = ("tree", "usual", "scores")
SCRIPT = """
import hashlib, json, sys, time
from pathlib import Path
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import Asking, ModelRef
from llama_diversity.studies.valid.analysis import LEAST, plan, walk
from llama_diversity.studies.valid.sets import read_sets
from llama_diversity.studies.valid.vocabulary import Vocabulary

path, rounds, threads = sys.argv[1], *map(int, sys.argv[2:])
digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
engine = open_engine(ModelRef(path, "llamacpp", path, digest), EngineOptions(n_threads=threads or None))
[states] = read_sets(["states"])
vocabulary = Vocabulary([engine.piece(token) for token in range(engine.facts.n_vocab)], engine.ends)
prompts = {"raw": engine.prompt(states.raw[1])}
if engine.facts.has_chat_template:
    prompts["chat"] = engine.prompt(states.chat[1], chat=True)

def tokens(text):
    return engine.tokenize(text, Asking(start="none"))

def tree(prompt, least):
    made = plan(states.answers, vocabulary, tokens)
    with engine.after(prompt, longest=made.longest + 8) as after:
        return walk(after, made, least=least, longest=made.longest + 8).n_paths

def scores(prompt, blank):
    for name in states.answers.names:
        engine.score(prompt.ids + tokens(blank + name))
    return len(states.answers.names)

def timed(work, *given):
    before, cpu_before = time.perf_counter(), time.process_time()
    n = work(*given)
    return {"n": n, "seconds": time.perf_counter() - before, "cpu": time.process_time() - cpu_before}

found = []
for number in range(rounds + 1):  # the first one warms up
    for way, prompt in prompts.items():
        row = {"way": way, "n_prompt": len(prompt.ids)}
        row |= {name: timed(tree, prompt, least) for name, least in (("tree", LEAST), ("usual", 1))}
        found.append({**row, "scores": timed(scores, prompt, "" if way == "chat" else " ")})
print(json.dumps(found[len(prompts):]))
"""


def measured(model: Path, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Raw and, where the model has a template, by chat: seconds, and how many times as fast the tree is; medians."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model), str(rounds), str(threads)],
        env=bench_earlier.environment(bench_earlier.ROOT), cwd=bench_earlier.ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: known sets failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return {
        way: summary([row for row in found if row["way"] == way]) for way in dict.fromkeys(row["way"] for row in found)
    }


def summary(rows: list[dict]) -> dict[str, float]:
    """Medians of the rounds, and of their ratios."""
    report = {
        "prompt_tokens": rows[0]["n_prompt"],
        "beginnings": rows[0]["tree"]["n"],
        "answers": rows[0]["scores"]["n"],
        **{f"{name}_seconds": statistics.median(row[name]["seconds"] for row in rows) for name in WAYS},
    }
    for name, of in (("ratio", "seconds"), ("ratio_cpu", "cpu")):
        for way, suffix in (("tree", ""), ("usual", "_usual")):
            report[name + suffix] = statistics.median(row["scores"][of] / row[way][of] for row in rows)
    return report


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Words on the report."""
    return [
        "",
        *(
            f"valid, {one['answers']} US states, {way} prompt of {one['prompt_tokens']} tokens: one tree of "
            f"{one['beginnings']} beginnings {one['tree_seconds']:.2f} s, each scored from its start "
            f"{one['scores_seconds']:.2f} s, ratio {one['ratio']:.1f}, of the usual spellings alone "
            f"{one['ratio_usual']:.1f} ({one['ratio_cpu']:.1f} and {one['ratio_cpu_usual']:.1f} by the processor)"
            for way, one in found.items()
        ),
    ]
