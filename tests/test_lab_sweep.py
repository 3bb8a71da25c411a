"""The sweep: which runs there are, what is measured, that it goes on, and what is made of the rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from small_world import SMALL  # noqa: E402

from llama_diversity.lab import align, base, sweep, workshop  # noqa: E402
from llama_diversity.lab.ppo import Settings, compare  # noqa: E402
from llama_diversity.lab.pretrain import Schedule  # noqa: E402
from llama_diversity.lab.sweep import Grid, Run, runs, summarize_rows  # noqa: E402
from llama_diversity.lab.transformer import Llama  # noqa: E402

GRID = Grid(
    betas=(0.0, 0.05),
    steps=(1,),
    labels=(40,),
    seeds=(1, 2),
    settings=Settings(n_iterations=2, n_answers=8, max_tokens=20, answers_a_step=4),
    n_completions=12,
    max_tokens=12,
)
PLAN = workshop.Plan(sft=Schedule(256 * 8), n_preferences=80, n_held_out=20, ppo=Settings(max_tokens=40))


def test_a_cut_sweep_has_all_values_with_fewer_seeds() -> None:
    assert runs(GRID) == [
        Run("beta", 0.0, 1), Run("beta", 0.05, 1), Run("labels", 40, 1),
        Run("beta", 0.0, 2), Run("beta", 0.05, 2), Run("labels", 40, 2),
    ]  # fmt: skip


def test_a_policy_that_has_not_moved_has_no_kl() -> None:
    model = Llama(SMALL)
    model.initialise(torch.Generator().manual_seed(0))
    kl_nats, bits, n_tokens = compare(model, model, [[1, 5, 6, 2], [1, 5, 7, 8, 2]], [2, 3])
    assert kl_nats == [0.0, 0.0]
    assert n_tokens == [2, 3]
    assert bits == pytest.approx([math.log2(600)] * 2, abs=0.1)  # new weights: nearly uniform


def test_seeds_become_intervals() -> None:
    """2 -+ 2.484138 for 1, 2, 3 (two degrees of freedom); one seed has no interval."""
    measured = dict.fromkeys(sweep.MEASURES, 5.0)
    rows = [{"knob": "beta", "value": 0.1, "seed": n, **measured, "kl_nats": float(n)} for n in (1, 2, 3)]
    rows.append({"knob": "steps", "value": 0.0, "seed": 1, **measured})
    points = {(p.knob, p.measure): p for p in summarize_rows(rows)}
    assert points["beta", "kl_nats"][3:6] == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-6)
    assert points["beta", "kl_nats"].n_seeds == 3
    assert points["steps", "score"].mean == 5.0
    assert math.isnan(points["steps", "score"].low)


@pytest.mark.model
@pytest.mark.usefixtures("few_cards")
def test_the_command_writes_a_table_and_a_figure(
    run: Callable[..., tuple[int, str, str]], small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("lab", "sweep", "--corpus", small_world, "--out", tmp_path, "--seeds", 2, "--iterations", 2, "-q")
    code, _, err = run(*arguments)
    assert (code, "`llamadiv lab align` makes one" in err) == (2, True)
    base.grow(small_world, tmp_path, schedule=Schedule(256 * 8 * 10), architecture=SMALL)
    shop = workshop.Workshop(small_world, tmp_path, PLAN, device="cpu")
    align.fine_tune(shop)
    align.learn_reward(shop)
    monkeypatch.setattr(sweep, "Grid", lambda seeds: dataclasses.replace(GRID, seeds=seeds))
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith("|")][2:]
    assert [row.split("|")[1:4] for row in rows] == [
        [" beta ", " 0 ", " 2 "], [" beta ", " 0.05 ", " 2 "],
        [" steps ", " 0 ", " 2 "], [" steps ", " 1 ", " 2 "], [" steps ", " 2 ", " 2 "],
        [" labels ", " 40 ", " 2 "],
    ]  # fmt: skip
    assert (tmp_path / "sweep.md").read_text() in out
    assert (tmp_path / "sweep.svg").read_text().count("beta") > 1
    code, out, _ = run(*arguments, "--json")
    assert {point["knob"] for point in json.loads(out)} == {"beta", "steps", "labels"}
    code, out, _ = run(*arguments, "--beta", 0, "--json")  # the same rows, fewer of them
    assert {(point["knob"], point["value"]) for point in json.loads(out)} == {("beta", 0)}


@pytest.mark.model
@pytest.mark.usefixtures("few_cards")
def test_a_sweep_does_only_what_is_missing(small_world: Path, tmp_path: Path) -> None:
    base.grow(small_world, tmp_path, schedule=Schedule(256 * 8 * 10), architecture=SMALL)
    shop = workshop.Workshop(small_world, tmp_path, PLAN, device="cpu")
    align.fine_tune(shop)
    align.learn_reward(shop)
    said: list[str] = []
    one = dataclasses.replace(GRID, seeds=(1,))
    rows = sweep.sweep(shop, one, show=lambda share, words: said.append(words))
    assert {(row["knob"], row["value"]) for row in rows} == {
        ("beta", 0.0), ("beta", 0.05), ("labels", 40.0), ("steps", 0.0), ("steps", 1.0), ("steps", 2.0)
    }  # fmt: skip
    assert all(math.isfinite(row[name]) for row in rows for name in sweep.MEASURES)
    start = next(row for row in rows if row["knob"] == "steps" and row["value"] == 0)
    assert start["kl_nats"] == 0

    with (tmp_path / sweep.ROWS_FILE).open("a") as file:
        file.write('{"recipe": "cut off')  # as an interruption leaves it
    said.clear()
    assert sweep.sweep(shop, one, show=lambda share, words: said.append(words)) == rows
    assert said == []
    more = sweep.sweep(shop, GRID)
    assert more[: len(rows)] == rows
    assert len(more) == 2 * len(rows)
    kept = (tmp_path / sweep.ROWS_FILE).read_text().splitlines()
    assert len([json.loads(line) for line in kept if line.endswith("}")]) == 12
