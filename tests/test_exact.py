"""--exact, through the command line and in fresh processes: the same bytes in every layout, and after any kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import other_architectures
import pytest

from llama_diversity.lab.random_gguf import SHAPES, write_model

pytestmark = pytest.mark.model
LLAMADIV = [sys.executable, "-m", "llama_diversity"]


def command(model: Path, store: Path, *, n: int, max_tokens: int, parallel: object = 16, threads: int = 2) -> list[str]:
    options = ["-n", str(n), "--max-tokens", str(max_tokens), "--parallel", str(parallel), "--threads", str(threads)]
    return [
        *LLAMADIV,
        "sample",
        "-m",
        str(model),
        "-p",
        "Once upon",
        "--exact",
        "--json",
        "--store",
        str(store),
        *options,
    ]


def lines_of(arguments: list[str]) -> list[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_same_bytes_in_every_layout(tiny_model: Path, tmp_path: Path) -> None:
    outputs = []
    for number, (parallel, threads) in enumerate([(1, 1), (2, 2), (7, 1), (32, 2), ("auto", 2)]):
        store = tmp_path / f"{number}.sqlite"
        outputs.append(lines_of(command(tiny_model, store, n=40, max_tokens=30, parallel=parallel, threads=threads)))
    assert len(outputs[0]) == 40
    assert [json.loads(line)["index"] for line in outputs[0]] == list(range(40))
    for output in outputs[1:]:
        assert output == outputs[0]


def test_scores_of_sampled_text_are_the_sampled_statistics(tiny_model: Path, tmp_path: Path) -> None:
    """Bit for bit: teacher forcing and sampling run the same kernels. The text must tokenise to the ids drawn."""
    checked = 0
    for line in lines_of(command(tiny_model, tmp_path / "store.sqlite", n=60, max_tokens=6)):
        sample = json.loads(line)
        text = "Once upon" + sample["text"]
        if "text_hex" in sample or sample["finish_reason"] == "stop" or "\x00" in text:
            continue
        scored = json.loads("".join(lines_of([*LLAMADIV, "score", "-m", str(tiny_model), "--exact", "--json", text])))
        ids = [token["id"] for token in sample["tokens"]]
        if [token["id"] for token in scored["tokens"][-len(ids) :]] == ids:
            assert scored["tokens"][-len(ids) :] == sample["tokens"]
            checked += 1
        if checked == 2:
            return
    assert checked, "no sample tokenised to its own ids"


IN_ANY_BATCH = """
import sys
from pathlib import Path
from test_llamacpp import drawn, opened, recipe

for path in map(Path, sys.argv[1:]):
    first = None
    for parallel in (1, 2, 11):
        with opened(path, exact=True, n_threads=1, parallel=parallel) as engine:
            asked = recipe(engine, text="some words to begin with, more than a window", max_tokens=24, exact=True)
            samples = drawn(engine, asked, range(11))
            bits = {index: sample.tokens.tobytes() for index, sample in samples.items()}
            first = first or bits
            assert bits == first, (path, parallel)
            for sample in samples.values():
                scored = engine.score(asked.prompt.ids + tuple(sample.tokens["id"].tolist()))[len(asked.prompt.ids) :]
                for name in ("surprisal_bits", "entropy_bits", "top_surprisals_bits"):
                    assert (scored[name] == sample.tokens[name]).all(), (path, parallel, name)
"""


MANY_PROMPTS = """
import sys
from dataclasses import replace
from pathlib import Path
from test_llamacpp import OPENINGS, drawn, drawn_each, opened, recipe

for path in map(Path, sys.argv[1:]):
    first = None
    for parallel in (1, 4, 16):
        with opened(path, exact=True, n_threads=1, parallel=parallel) as engine:
            texts = [*OPENINGS[:9], OPENINGS[3], "x", "long words " * 9]
            asked = [recipe(engine, text=text, seed=seed, exact=True, max_tokens=9) for seed, text in enumerate(texts)]
            found = {}
            if first is None:
                first = {(one.key, at): drawn(engine, one, [at])[at].tokens.tobytes() for one in asked for at in (0, 2)}
            for some in (asked[::2], asked[1::2]):
                found |= drawn_each(engine, [(one, [2, 0]) for one in some])
            together = drawn_each(engine, [(one, [0, 2]) for one in reversed(asked)])
            for these in (found, together):
                assert {place: sample.tokens.tobytes() for place, sample in these.items()} == first, (path, parallel)
            if parallel == 4:
                grammars = "root ::= [^a]*", "root ::= [^b]*"
                bound = [replace(one, grammar=grammars[at % 2]) for at, one in enumerate(asked[:6])]
                alone = {(one.key, 0): drawn(engine, one, [0])[0].tokens.tobytes() for one in bound}
                together = drawn_each(engine, [(one, [0]) for one in bound])
                assert {place: sample.tokens.tobytes() for place, sample in together.items()} == alone, path
"""


def assert_runs(script: str, *paths: Path) -> None:
    """In a process of its own, since --exact is chosen once a process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_models_with_a_state_are_exact_too(tmp_path: Path) -> None:
    """Recurrent layers and convolutions compute a row apart from several of one sequence: there rows come singly."""
    paths = []
    for name in ("mamba", "lfm2", "qwen35", "qwen3next"):
        paths.append(tmp_path / f"{name}.gguf")
        getattr(other_architectures, f"write_{name}")(paths[-1])
    assert_runs(IN_ANY_BATCH, *paths)
    assert_runs(MANY_PROMPTS, *paths[:2])


def test_many_prompts_together_are_what_each_is_alone(tiny_model: Path, tmp_path: Path) -> None:
    """Bit for bit, however they are grouped and ordered: half precision needs twins for lone rows, 8 bits do not."""
    write_model(tmp_path / "q8.gguf", SHAPES["tiny"], n_vocab=300, quantization="Q8_0", spread=3.0)
    assert_runs(MANY_PROMPTS, tiny_model, tmp_path / "q8.gguf")


def test_killed_at_twenty_moments_and_resumed(tiny_model: Path, tmp_path: Path) -> None:
    """The dead process's samples count, the rest is drawn, none twice, and all equal an uninterrupted run."""
    whole = lines_of(command(tiny_model, tmp_path / "whole.sqlite", n=500, max_tokens=12))
    store = tmp_path / "killed.sqlite"
    moments = random.Random(0)  # a kill comes after so many reported samples, or that much later
    seen: set[int] = set()
    for _ in range(20):
        process = subprocess.Popen(command(tiny_model, store, n=500, max_tokens=12), stdout=subprocess.PIPE, text=True)
        wanted = moments.choice([0, 1, 17, len(seen) + 5, len(seen) + 40])
        reported = [json.loads(line)["index"] for line, _ in zip(process.stdout, range(wanted), strict=False)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        seen |= set(reported)
        assert seen <= stored_indices(store)
    assert 0 < len(stored_indices(store)) < 500 or len(seen) == 500
    resumed = lines_of(command(tiny_model, store, n=500, max_tokens=12))
    assert [json.loads(line)["index"] for line in resumed] == list(range(500))
    assert resumed == whole


def stored_indices(store: Path) -> set[int]:
    """Of the store as the dead left it, read here: the tables are there once a sample is."""
    if not store.exists():
        return set()
    with contextlib.closing(sqlite3.connect(store)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return {index for (index,) in connection.execute("SELECT idx FROM samples")}
    return set()
