"""`coverage`: kinds seen and unseen by hand, planted kinds, too little seen, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.errors import Interrupted
from llama_diversity.records import Cell
from llama_diversity.render.exhibits import Figure, Remark, Table
from llama_diversity.render.folder import files_of
from llama_diversity.studies import conduct
from llama_diversity.studies.coverage.analysis import Result, analyse
from llama_diversity.studies.coverage.exhibits import Facts, section


def remarks(found: Result) -> str:
    return " ".join(one.text for one in section(found, FACTS, "llamadiv coverage").exhibits if isinstance(one, Remark))


def tables(found: Result) -> dict[str, Table]:
    shown = section(found, FACTS, "llamadiv coverage").exhibits
    return {one.name: one for one in shown if isinstance(one, Table)}


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
    assert base.examples[0] == ("a", 4)
    assert [point.m for point in base.curve] == list(range(1, 11))
    assert base.curve[0].kinds == pytest.approx(1)
    assert base.curve[4].kinds == pytest.approx(3.753968, abs=1e-6)
    assert aligned.curve[4].kinds == pytest.approx(2.690476, abs=1e-6)
    assert base.curve[-1].kinds == pytest.approx(6)
    assert base.curve[4].coverage == pytest.approx(0.492063, abs=1e-6)


def test_kinds_by_meaning_are_formed_on_all_arms_together() -> None:
    """Two directions; base says both, aligned one of them: a kind has one label in both arms."""
    east, north = np.eye(2, dtype=np.float32)
    rows = {"base": np.stack([east, north] * 10), "aligned": np.stack([north] * 20)}
    found = analyse({arm: [f"{arm} {at}" for at in range(20)] for arm in rows}, rows)
    assert found.arms["base"].counts.tolist() == [10, 10]
    assert found.arms["aligned"].counts.tolist() == [0, 20]
    assert found.kept["aligned"].share == pytest.approx(1 / (2 * (1 - math.comb(10, 10) / math.comb(20, 10))), abs=1e-5)


def test_of_too_little_no_number_of_modes_is_given() -> None:
    """28 kinds once and one twice: A = 29 * 28 / (29 * 28 + 2), 1 - 28/30 A = 0.0690. (28, 2): f1 0, f2 1, all seen."""
    found = analyse({"base": repeated(twice=2) + [str(at) for at in range(28)], "aligned": repeated(x=28, y=2)}, None)
    said = remarks(found)
    assert "base: mode count not reported: only 7 % of this model's output mass has been seen. About " in said
    assert "the 29 kinds seen so far are a lower bound" in said
    # Half width 1.96 sqrt(2) / 30 = 0.0924.
    assert "aligned: you have seen 100 % of what this prompt gives (95 %: 91 to 100 %). A kind" in said
    assert "share below 9.5 %" in said  # 1 - 0.05^(1/30)
    table = tables(found)["coverage-seen"]
    assert table.headings == ("arm", "n", "cut off", "kinds", "seen, %", "95 % interval", "at least")
    assert [row[6] for row in table.rows] == [None, 2]
    assert table.rows[1][5] == pytest.approx((100 - 9.24, 100), abs=0.01)
    shown = section(found, FACTS, "llamadiv coverage")
    assert {"coverage-curves.png", "coverage-curves.svg", "coverage-points.csv"} <= set(dict(files_of(shown)))


def test_nearly_all_is_not_called_all() -> None:
    """One kind seen once and one twice of 1,000: A = 999 / 1001, 1 - A / 1000 = 0.9990; of the other arm none once."""
    found = analyse({"base": repeated(x=500, y=497, z=2, w=1), "aligned": repeated(x=990, y=5, z=2, w=3)}, None)
    said = remarks(found)
    assert "base: you have seen 99.9 % of what this prompt gives" in said
    assert "aligned: you have seen 100 % of" in said


def test_the_curve_begins_at_one_kind_exactly() -> None:
    for seed in range(30):
        counts = np.random.default_rng(seed).integers(1, 9, 12).tolist()
        found = analyse({"base": repeated(**{f"k{at}": n for at, n in enumerate(counts)})}, None)
        assert found.arms["base"].curve[0].kinds == 1


def test_nothing_is_extrapolated_from_kinds_that_were_all_seen_once() -> None:
    found = analyse({"base": [str(at) for at in range(30)], "aligned": repeated(x=28, y=2)}, None)
    base = found.arms["base"]
    assert (base.coverage.value, base.at_least.value, base.more.generations) == (None, None, None)
    assert base.coverage.reason == base.at_least.reason == base.more.reason == "all singletons"
    assert base.coverage.high == pytest.approx(2 * math.log(20) / 30)  # no repeat among 30 bounds it
    said = remarks(found).split("aligned: ")[0]
    assert "base: mode count not reported: no two of 30 outputs are of one kind" in said
    assert "More generations are needed; the 30 kinds seen so far, each once, are a lower bound." in said
    assert "output mass has been seen" not in said
    assert "About" not in said
    assert tables(found)["coverage-seen"].rows[0][4] is None
    at_equal = tables(found)["coverage-compared"].rows[1]
    assert (at_equal[0], at_equal[2:]) == ("at equal coverage", (None, None, None, None))


@pytest.mark.parametrize("n", [2, 5, 19])
def test_of_fewer_than_20_outputs_there_are_points_only(n: int) -> None:
    found = analyse({"base": [str(at) for at in range(n)], "aligned": ["x"] * n}, None)
    assert (found.m, found.kept, found.at_m, found.at_coverage) == (None, {}, {}, {})
    for one in found.arms.values():
        assert (one.coverage.low, one.coverage.high, one.more.generations) == (None, None, None)
        assert [point.se for point in one.curve] == [None] * n
    said = remarks(found)
    assert said.count(f"Too few valid generations ({n}) for an interval. Point estimate only; no comparison.") == 2
    assert "you have seen" not in said
    assert f"aligned: 1 kind in {n} outputs." in said
    assert f"the {n} kinds seen so far, each once, are a lower bound" in said
    assert "coverage-compared" not in tables(found)
    assert [row[5] for row in tables(found)["coverage-seen"].rows] == [None, None]
    enough = analyse({"base": [str(at) for at in range(20)], "aligned": ["x"] * 20}, None)
    assert (enough.m, list(enough.kept)) == (10, ["aligned"])
    assert enough.arms["aligned"].coverage.low == pytest.approx(0.05 ** (1 / 20))
    assert enough.arms["aligned"].more.generations == 0


def test_kinds_of_beginnings_are_refused() -> None:
    """Of 40 outputs 2 may be longer than the encoder reads, one in twenty; 3 are too many: 7.5 %, written 8 %."""
    rows = np.eye(40, 50, dtype=np.float32)
    texts = {arm: [f"{arm} {at}" for at in range(40)] for arm in ("base", "aligned")}
    vectors = {"base": rows, "aligned": rows[[0] * 40]}
    allowed = analyse(texts, vectors, {"base": 2, "aligned": 0})
    assert (allowed.refused, list(allowed.kept)) == ({}, ["aligned"])
    refused = analyse(texts, vectors, {"base": 3, "aligned": 0})
    sentence = (
        "Similarity not reported: 8 % of base's texts exceed the encoder's 256 word pieces. Shorten with --max-tokens, "
        "or count equal texts with --by text."
    )
    assert refused.refused == {"base": sentence}
    assert list(refused.arms) == ["aligned"]
    assert refused.kept == {}  # the first arm has nothing to be compared with
    assert remarks(refused).startswith(sentence)
    assert "No comparison" in remarks(refused)
    assert [row[0] for row in tables(refused)["coverage-seen"].rows] == ["aligned"]
    nothing = analyse(texts, vectors, {"base": 40, "aligned": 40})
    assert tables(nothing) == {}
    assert remarks(nothing).count("Similarity not reported: 100 %") == 2
    by_text = analyse(texts, None, {"base": 40, "aligned": 40})
    assert (list(by_text.arms), by_text.refused) == (["base", "aligned"], {})


def test_the_figure_has_one_legend_and_dashes_that_differ() -> None:
    found = analyse({"base": repeated(a=20, b=10, c=5), "aligned": repeated(x=30, y=5)}, None)
    [figure] = [one for one in section(found, FACTS, "").exhibits if isinstance(one, Figure)]
    for chart in figure.panels.values():
        *bands, lines = chart["layer"]
        assert all("color" not in band["encoding"] for band in bands)
        colour, dashes = lines["encoding"]["color"], lines["encoding"]["strokeDash"]
        assert colour["legend"] == dashes["legend"]
        assert colour["legend"]["symbolType"] == "stroke"
        assert colour["scale"]["domain"] == dashes["scale"]["domain"] == ["base", "aligned"]
        assert dashes["scale"]["range"] == [[1, 0], [7, 4]]


def test_the_command_and_its_report(run: Callable, tmp_path: Path) -> None:
    arms = ("--base", "scripted:base", "--aligned", "scripted:homing", "-p", "She was")
    typed = ("coverage", *arms, "-n", 60, "--max-tokens", 16, "--by", "text")
    code, out, err = run(*typed, "--json", "--out", tmp_path / "a")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    assert report["arms"]["aligned"]["counts"][0] > 35  # its sentence, four times in five
    assert report["arms"]["aligned"]["coverage"]["value"] > 0.64  # less three standard errors of 0.05
    assert report["arms"]["base"]["coverage"]["high"] < 0.5
    again = json.loads(run("report", "last", "--json", "--out", tmp_path / "b")[1])["coverage"]
    assert {**again, "run": None} == {**report, "run": None}
    code, out, _ = run(*typed)
    assert "What has been seen" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("coverage", *arms, "-n", 20, "--max-tokens", 12)
    assert "texts of one meaning" in " ".join(out.split())


def test_texts_that_the_encoder_cuts_are_not_counted_by_meaning(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.minilm.MAX_WORD_PIECES", 4)
    typed = ("coverage", "--pair", "scripted", "-p", "She was", "-n", 20, "--max-tokens", 12)
    report = json.loads(run(*typed, "--json")[1])
    assert set(report["arms"]["base"]) == {"model", "n", "cut_off", "not_valid", "reason"}
    assert report["arms"]["base"]["reason"].endswith("or count equal texts with --by text.")
    assert report["differences"] == {}
    assert set(json.loads(run(*typed, "--json", "--by", "text")[1])["differences"]) == {"aligned"}


def test_arms_are_drawn_independently_and_one_recipe_is_no_two_arms(run: Callable) -> None:
    words = ("-p", "She was", "-n", 3, "--max-tokens", 4, "--by", "text")
    assert run("coverage", "--base", "scripted:base", "--aligned", "scripted:homing", *words)[0] == 0
    shown = json.loads(run("runs", "show", "last", "--json")[1])
    assert len({recipe["seed"] for recipe in shown["recipes"].values()}) == 2
    code, _, err = run("coverage", "--base", "scripted:coin", "--aligned", "scripted:coin", *words)
    assert (code, "Both arms are one model (scripted:coin)" in err) == (1, True)
    assert len(json.loads(run("runs", "ls", "--json")[1])) == 1


def test_few_outputs_on_a_page(run: Callable) -> None:
    code, out, _ = run("coverage", "--pair", "scripted", "-n", 5, "--max-tokens", 8, "--by", "text")
    assert code == 0
    assert "Point estimate only; no comparison." in " ".join(out.split())
    assert "you have seen" not in " ".join(out.split())
    assert "none" not in out.split("\n\n")[1].split("Seen:")[0]


def test_bad_input_is_one_sentence(run: Callable) -> None:
    code, _, err = run("coverage", "--pair", "scripted", "-n", 1)
    assert (code, "ask for 2 to" in err) == (2, True)
    code, _, err = run("coverage", "--pair", "scripted", "-n", 6000)
    assert (code, "ask for 2 to 5,000, or for equal texts, --by text" in err) == (2, True)
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_what_is_typed_beats_the_pair_of_the_environment(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMADIV_PAIR", "no-such-pair")
    asked = ("-n", 4, "--max-tokens", 2, "--by", "text", "--json", "-q")
    code, out, _ = run("coverage", "--base", "scripted:base", "--aligned", "scripted:coin", *asked)
    assert (code, json.loads(out)["arms"]["aligned"]["model"]) == (0, "scripted:coin")
    code, _, error = run("coverage", "--base", "scripted:base", *asked)
    assert (code, "either --pair NAME" in error) == (2, True)
    code, _, error = run("coverage", "--ladder", "no-such-ladder", *asked)
    assert "no-such-ladder" in error
    code, _, error = run("compare", "--arm", "b=no-such-model", "--arm", "c=scripted:coin")
    assert "no-such-model" in error
    code, _, error = run("decompose", "--base", "no-such-model", "--aligned", "scripted:coin")
    assert "no-such-model" in error
    assert "no-such-pair" in run("coverage", *asked)[2]
    monkeypatch.setenv("LLAMADIV_PAIR", "scripted")
    assert run("coverage", *asked)[0] == 0
    typed = ("--pair", "scripted", "--base", "scripted:base", "--aligned", "scripted:coin")
    assert run("coverage", *typed, *asked)[0] == 2  # both typed


def test_ctrl_c_says_what_is_kept_of_the_whole_run(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(cells: list[Cell], *others: object) -> None:
        if cells[0].reference == "scripted:coin":
            raise Interrupted("Interrupted: 0 of 4 samples (coverage/aligned) are kept.")
        real(cells, *others)

    real = conduct.fill
    monkeypatch.setattr(conduct, "fill", fill)
    models = ("--base", "scripted:base", "--aligned", "scripted:coin")
    code, _, error = run("coverage", *models, "-n", 4, "--max-tokens", 2, "-q")
    assert code == 130
    assert error.startswith("llamadiv: Interrupted: 4 of the 8 samples of this run are kept in ")


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (1, 30, "of aligned are kinds of their own, the most that 15 can show: their number is a lower bound; what "
         "aligned keeps is a lower bound too."),
        (30, 1, "of base are kinds of their own, the most that 15 can show: their number is a lower bound; what others "
         "keep of base's kinds is an upper bound."),
        (30, 30, "of base and aligned are kinds of their own, the most that 15 can show: their number is a lower "
         "bound, and that the arms are nearly equal in it says nothing of how many kinds they have."),
        (2, 3, ""),
    ],
)  # fmt: skip
def test_a_number_of_kinds_at_its_ceiling_is_a_lower_bound(first: int, other: int, said: str) -> None:
    """30 outputs of 1, 2, 3 or 30 kinds; m is 15."""
    texts = {arm: [f"{arm} {at % n}" for at in range(30)] for arm, n in (("base", first), ("aligned", other))}
    found = remarks(analyse(texts, None))
    assert (f"Nearly all of 15 outputs {said}" in found) if said else ("Nearly all" not in found)
