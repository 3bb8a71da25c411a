"""`llamadiv demo`: what it shows, on the pair that ships and on one whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_diversity.store import Store
from llama_diversity.studies.session import Session
from llama_diversity.studies.sources import stored_source

pytestmark = pytest.mark.model
ARMS = ("base", "aligned")

Run = Callable[..., tuple[int, str, str]]


def test_numbers_of_the_scripted_pair(run: Run) -> None:
    """The chains' entropies are known: aligned is narrower; both experiments and three intervals are there."""
    code, out, err = run("demo", "--pair", "scripted", "--json", "-q")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["models"] == {"base": "scripted:base", "aligned": "scripted:aligned"}
    assert report["experiments"]["semantic"]["prompt"] == "Grace Hopper was"
    assert set(report["measures"]) == {"entropy_bits", "tf_idf_cosine", "sbert_cosine"}
    for row in report["measures"].values():
        assert row["difference"]["mean"] == pytest.approx(row["aligned"]["mean"] - row["base"]["mean"])
        assert row["difference"]["low"] < row["difference"]["mean"] < row["difference"]["high"]
    assert report["measures"]["entropy_bits"]["difference"]["high"] < 0
    assert report["measures"]["entropy_bits"]["base"]["mean"] == pytest.approx(2.49, abs=0.1)  # the chain's own


@pytest.mark.parametrize("columns", [60, 80, 130])
def test_the_picture_has_both_texts_a_table_and_what_comes_next(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run("demo")
    assert code == 0
    for words in ("base: tiny-base", "aligned: tiny-aligned", "95 % interval", "Experiment 3", "Experiment 2"):
        assert words in out
    assert "  llamadiv view last" in out
    assert "llamadiv reproduce --pair llama-2-7b" in out
    assert max(map(len, out.splitlines())) <= columns
    both = [line for line in out.splitlines() if "base: tiny-base" in line and "aligned: tiny-aligned" in line]
    assert bool(both) == (columns >= 80)  # side by side where there is room


def test_what_it_offers_to_look_at_is_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`view last` reads the run that `demo` left."""
    monkeypatch.setenv("COLUMNS", "500")
    store = tmp_path / "kept here.sqlite"
    code, out, err = run("demo", "--pair", "scripted", "--store", store)
    assert code == 0
    assert f"  llamadiv view last --store '{store}'" in out
    with Store.open(store, read_only=True) as opened:
        last = opened.run("last")
    assert f"run {last.id}, kept in" in err
    assert last.finished is not None
    assert {cell.arm for cell in last.cells} == {f"{one}/{arm}" for one in ("syntactic", "semantic") for arm in ARMS}
    with stored_source("last", Session(named_store=store)):
        pass


def test_the_second_time_nothing_is_drawn(run: Run) -> None:
    first, second = (json.loads(run("demo", "--pair", "scripted", "--json")[1]) for _ in range(2))
    assert {**first, "run": None} == {**second, "run": None}
