"""Experiment 2: planted kinds are found, nothing breaks where there is little, and the files hold the rest."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.answers import Endings
from llama_diversity.render.exhibits import Remark, Table
from llama_diversity.render.folder import files_of
from llama_diversity.studies.measuring.kinds import t_sne
from llama_diversity.studies.semantic.analysis import Whole, whole
from llama_diversity.studies.semantic.exhibits import Facts, section

N = 60


def planted(seed: int = 0) -> Whole:
    """Base: directions all over a space of 24 axes. Aligned: three tight bundles, 30, 20 and 10 of 60."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(N, 24))
    centres = np.repeat(np.eye(24)[:3], (30, 20, 10), axis=0)
    aligned = centres + 0.02 * rng.normal(size=(N, 24))
    words = [f"w{i}" for i in range(200)]
    texts = {
        "base": [" ".join(rng.choice(words, 12)) for _ in range(N)],
        "aligned": [
            " ".join(rng.choice(words[20 * kind : 20 * kind + 8], 12)) for kind in np.repeat(range(3), (30, 20, 10))
        ],
    }
    return whole(texts, {"base": base.astype(np.float32), "aligned": aligned.astype(np.float32)})


def facts(arms: dict[str, str] | None = None, **changes: object) -> Facts:
    models = arms or {"base": "scripted:base", "aligned": "scripted:aligned"}
    known = {"prompt": "She", "max_tokens": 8, "n_truncated": dict.fromkeys(models, 0), "encoder": "an encoder"}
    return Facts(models=models, **{**known, **changes})  # type: ignore[arg-type]


def test_planted_kinds_are_counted_and_the_loss_is_the_planted_one() -> None:
    found = planted()
    kinds = found.classes.kinds["aligned"].counts
    assert sorted(kinds[kinds > 0].tolist()) == [10, 20, 30]
    # exp of the entropy of (1/2, 1/3, 1/6): 2^(1/2) 3^(1/3) 6^(1/6)
    assert found.classes.kinds["aligned"].effective.value == pytest.approx(2**0.5 * 3 ** (1 / 3) * 6 ** (1 / 6))
    assert found.own_k["aligned"][0].k == found.own_k["aligned"][1].k == 3
    # Pairs of different bundles are orthogonal: 1 - (30*29 + 20*19 + 10*9) / (60*59) = 0.62147
    assert found.distance["aligned"].value == pytest.approx(1 - (870 + 380 + 90) / 3540, abs=0.01)
    assert found.distance["base"].value == pytest.approx(1, abs=0.03)
    kept = found.distance_retained["aligned"]
    assert kept.low is not None
    assert kept.high is not None
    assert kept.low < (1 - 1340 / 3540) < kept.high < 0.8
    assert sum(occupied.counts.sum() for occupied in found.classes.occupancy.values()) == 2 * N
    assert found.spots is not None
    assert found.spots.shape == (2 * N, 2)


def test_the_map_keeps_bundles_apart_and_is_the_same_each_time() -> None:
    found = planted()
    assert found.spots is not None
    aligned = found.spots[N:]
    centres = [aligned[start:end].mean(axis=0) for start, end in ((0, 30), (30, 50), (50, 60))]
    nearest = [int(np.argmin([np.linalg.norm(spot - centre) for centre in centres])) for spot in aligned]
    assert nearest == [0] * 30 + [1] * 20 + [2] * 10
    assert np.array_equal(found.spots, planted().spots)  # type: ignore[arg-type]


def test_equal_vectors_have_one_place() -> None:
    assert t_sne(np.ones((5, 3)), perplexity=1.0).tolist() == [[0.0, 0.0]] * 5


@pytest.mark.parametrize(
    ("base", "aligned"),
    [
        (["a b c", "d e f"], ["a b", "a b"]),
        (["", "  ", "a"], ["", "", ""]),
        (["same words"] * 8, ["same words"] * 8),
        (["!!!"] * 3, ["???"] * 3),
        ([f"word{i}" for i in range(40)], ["x " * 500_000] + ["y"] * 39),
    ],
    ids=["two each", "empty", "all identical", "no words", "a million characters"],
)
def test_little_or_odd_text_is_described_and_breaks_nothing(base: list[str], aligned: list[str]) -> None:
    rng = np.random.default_rng(0)
    texts = {"base": base, "aligned": aligned}
    place = {text: rng.normal(size=6) for text in dict.fromkeys(base + aligned)}
    vectors = {arm: np.array([place[text] for text in some], np.float32) for arm, some in texts.items()}
    found = whole(texts, vectors)
    shown = section(found, facts(), "llamadiv semantic")
    assert {exhibit.name for exhibit in shown.exhibits if isinstance(exhibit, Table)} >= {"semantic-likeness"}
    assert found.texts["base"].n == len(base)
    assert all(content for _, content in files_of(shown))


def test_what_is_missing_or_cut_is_said() -> None:
    texts = {"base": ["", "a b", "c d", "e f"], "aligned": ["x y"] * 4}
    rows = {"base": np.eye(4, dtype=np.float32), "aligned": np.ones((4, 4), np.float32)}
    endings = {"base": Endings(4, 3, {"no text": 1}), "aligned": Endings(4)}
    known = facts(n_truncated={"base": 0, "aligned": 3}, endings=endings)
    shown = section(whole(texts, rows), known, "llamadiv semantic")
    said = " ".join(exhibit.text for exhibit in shown.exhibits if isinstance(exhibit, Remark))
    assert "base: 1 of 4 outputs are not valid and left out: no text (1)." in said
    assert "aligned: all 4 completions are identical" in said
    assert "aligned: 3 of 4 completions exceed what the encoder reads" in said


def test_model_text_cannot_become_a_formula_or_a_control_sequence(tmp_path: Path) -> None:
    texts = {"base": ["=1+1", "\x1b[2Jhello", "c"], "aligned": ["<script>alert(1)</script>", "b", "d"]}
    rows = {arm: np.eye(3, dtype=np.float32) for arm in texts}
    files = dict(files_of(section(whole(texts, rows), facts(), "llamadiv semantic")))
    [head, first, *_] = csv.reader(files["table-4-samples.csv"].decode().splitlines())
    assert head == ["base", "aligned"]
    assert first[0] == "'=1+1"
    assert b"\x1b" not in files["figure-10-map.svg"]


def scripted(run: Callable, *more: object) -> tuple[int, str, str]:
    return run(
        "semantic", "--base", "scripted:base", "--aligned", "scripted:attractor", "-p", "She", "--max-tokens", 24, *more
    )  # fmt: skip


def test_the_command_finds_the_narrow_chain_narrower(run: Callable, tmp_path: Path) -> None:
    code, out, _ = scripted(run, "-n", 40, "--json", "--out", tmp_path / "figures")
    assert code == 0
    report = json.loads(out)
    changed = report["differences"]["aligned"]
    assert changed["tf_idf_cosine"]["low"] > 0
    assert changed["mean_pairwise_distance_retained"]["high"] < 1
    assert report["arms"]["base"]["texts"]["n"] == 40
    assert report["command"].startswith("llamadiv semantic --base scripted:base")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names >= {
        "figure-10-map.png",
        "figure-10-map.svg",
        "figure-10-map.pdf",
        "semantic.json",
        "table-5-medoids.csv",
    }
    assert (tmp_path / "figures/figure-10-map.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_draws_nothing_and_says_the_same(run: Callable) -> None:
    first = json.loads(scripted(run, "-n", 6, "--json")[1])
    again = json.loads(scripted(run, "-n", 6, "--json")[1])
    assert {**first, "run": ""} == {**again, "run": ""}


@pytest.mark.model
def test_a_ladder_compares_every_stage_with_the_first(run: Callable) -> None:
    code, out, _ = run("semantic", "--ladder", "tiny", "-n", 4, "--max-tokens", 8, "--json")
    assert code == 0
    report = json.loads(out)
    assert set(report["arms"]) == {"base", "sft", "aligned"}
    assert {"sft", "aligned"} < set(report["differences"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-n", "1"), "completions, likeness needs two"),
        (("--ladder", "tiny", "--pair", "tiny"), "--ladder names all models by itself"),
        (("--ladder", "tniy"), "Did you mean tiny?"),
    ],
)
def test_bad_input_is_one_sentence(run: Callable, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run("semantic", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_the_terminal_has_tables_and_no_stray_colour_when_piped(run: Callable) -> None:
    code, out, err = scripted(run, "-n", 5)
    assert code == 0
    assert "How alike the completions of each model are" in out
    assert "minus base" in " ".join(out.split())
    assert "\x1b" not in out
    assert "run " in err


def test_no_effective_number_of_few_completions() -> None:
    """Three texts that are nearly orthogonal would be some sixty."""
    rows = np.random.default_rng(3).normal(size=(50, 384)).astype(np.float32)
    texts = {arm: [f"{arm}{at}" for at in range(n)] for arm, n in (("base", 24), ("aligned", 25))}
    found = whole(texts, {"base": rows[:24], "aligned": rows[24:49]})
    assert (found.vendi["base"].value, found.vendi_retained["aligned"].share) == (None, None)
    assert "Not reported below 25 generations" in (found.vendi["base"].reason or "")
    assert found.vendi["aligned"].value is not None
    assert found.result.words["base"].summary.mean == found.result.words["base"].summary.sd == 0  # no word in common
