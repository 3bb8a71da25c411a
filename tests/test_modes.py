"""`coverage`: kinds seen and unseen by hand, planted kinds, too little seen, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.exhibits.modes import Facts, section
from llama_diversity.experiments.modes import analyse
from llama_diversity.render.exhibits import Remark, Table, files_of


def repeated(**counts: int) -> list[str]:
    return [text for text, n in counts.items() for _ in range(n)]


FACTS = Facts("She", {"base": "m", "aligned": "m"}, 8, "equal texts")


def test_kinds_by_text_are_counted_by_hand() -> None:
    """Counts (4, 2, 1, 1, 1, 1): refined coverage 0.621053, Chao1 8.7, 38 more for 95 %; (5, 3, 2): all seen."""
    found = analyse({"base": repeated(a=4, b=2, c=1, d=1, e=1, f=1), "aligned": repeated(x=5, y=3, z=2)}, None)
    base, aligned = found.arms["base"], found.arms["aligned"]
    assert sorted(base.counts[base.counts > 0].tolist()) == [1, 1, 1, 1, 2, 4]
    assert base.coverage.value == pytest.approx(0.621053, abs=1e-6)
    assert base.at_least.value == pytest.approx(8.7)
    assert base.more.generations == 38
    assert aligned.coverage.value == 1
    assert aligned.more.generations == 0
    assert found.m == 5
    assert found.at_m["base"].value == pytest.approx(3.753968, abs=1e-6)
    assert found.at_m["aligned"].value == pytest.approx(2.690476, abs=1e-6)
    assert found.kept["aligned"].share == pytest.approx(2.690476 / 3.753968, abs=1e-6)
    assert base.examples[0] == ("a", 4)
    assert [point.m for point in base.curve] == list(range(1, 11))
    assert base.curve[0].kinds == pytest.approx(1)
    assert base.curve[-1].kinds == pytest.approx(6)
    assert base.curve[4].coverage == pytest.approx(0.492063, abs=1e-6)


def test_kinds_by_meaning_are_formed_on_all_arms_together() -> None:
    """Two directions; base says both, aligned one of them: a kind has one label in both arms."""
    east, north = np.eye(2, dtype=np.float32)
    rows = {"base": np.stack([east, north] * 10), "aligned": np.stack([north] * 20)}
    found = analyse({arm: [f"{arm} {at}" for at in range(20)] for arm in rows}, rows)
    assert found.arms["base"].counts.tolist() == [10, 10]
    assert found.arms["aligned"].counts.tolist() == [0, 20]
    assert found.kept["aligned"].share == pytest.approx(1 / (2 * (1 - math.comb(10, 10) / math.comb(20, 10))))


def test_of_too_little_no_number_of_modes_is_given() -> None:
    found = analyse({"base": [str(at) for at in range(30)], "aligned": repeated(x=28, y=2)}, None)
    shown = section(found, FACTS, "llamadiv coverage")
    said = " ".join(one.text for one in shown.exhibits if isinstance(one, Remark))
    assert "base: mode count not reported: only " in said
    assert "the 30 kinds seen so far are a lower bound" in said
    assert "aligned: you have seen 100 %" in said
    assert "share below 9.5 %" in said  # 1 - 0.05^(1/30)
    [table] = [one for one in shown.exhibits if isinstance(one, Table) and one.name == "coverage-seen"]
    assert table.rows[0][5] is None
    assert table.rows[1][5] == 2
    assert {"coverage-curves.png", "coverage-curves.svg", "coverage-points.csv"} <= set(dict(files_of(shown)))


def test_the_command_and_its_report(run: Callable, tmp_path: Path) -> None:
    arms = ("--base", "scripted:base", "--aligned", "scripted:homing", "-p", "She was")
    typed = ("coverage", *arms, "-n", 60, "--max-tokens", 16, "--by", "text")
    code, out, err = run(*typed, "--json", "--out", tmp_path / "a")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    assert report["arms"]["aligned"]["counts"][0] > 35  # its sentence, four times in five
    assert report["arms"]["aligned"]["coverage"]["value"] > 0.7
    assert report["arms"]["base"]["coverage"]["value"] < 0.5
    again = json.loads(run("report", "last", "--json", "--out", tmp_path / "b")[1])["coverage"]
    assert {**again, "run": None} == {**report, "run": None}
    code, out, _ = run(*typed)
    assert "What has been seen" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("coverage", *arms, "-n", 20, "--max-tokens", 12)
    assert "texts of one meaning" in " ".join(out.split())


def test_bad_input_is_one_sentence(run: Callable) -> None:
    code, _, err = run("coverage", "--pair", "scripted", "-n", 1)
    assert (code, "ask for 2 to" in err) == (2, True)
