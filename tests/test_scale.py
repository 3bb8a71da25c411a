"""What docs/scale.md says of shards: stores of their own, merged, are the single run."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from llama_diversity.store import Store

PROMPTS = ("She was", "He is", "They are")


def test_shards_by_prompt_are_the_single_run(run: Any, tmp_path: Path) -> None:
    command = ("compare", "--pair", "scripted", "-n", 20, "--max-tokens", 8)
    shards = [tmp_path / f"shard-{number}.sqlite" for number in range(3)]
    for shard, prompt in zip(shards, PROMPTS, strict=True):
        assert run(*command, "-p", prompt, "-q", "--store", shard)[0] == 0
    for _ in range(2):
        assert run("runs", "merge", *shards, "--store", tmp_path / "all.sqlite")[0] == 0
    whole = (*command, *(word for prompt in PROMPTS for word in ("-p", prompt)), "--json", "--store")
    before = n_samples(tmp_path / "all.sqlite")
    merged = json.loads(run(*whole, tmp_path / "all.sqlite")[1])
    single = json.loads(run(*whole, tmp_path / "single.sqlite")[1])
    assert {**merged, "run": None} == {**single, "run": None}
    assert before == n_samples(tmp_path / "all.sqlite") == n_samples(tmp_path / "single.sqlite") == 120


def n_samples(path: Path) -> int:
    """All that a store holds."""
    with closing(Store.open(path, read_only=True)) as store:
        [(count,)] = store._rows("SELECT count(*) FROM samples")
        return int(count)
