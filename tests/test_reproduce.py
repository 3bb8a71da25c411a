"""`reproduce` and `report`: the whole paper on scripted chains, an interruption, and the same report after all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import altair as alt
import pytest

from llama_diversity.render import charts
from llama_diversity.render.exhibits import Figure, Section
from llama_diversity.render.folder import Written
from llama_diversity.studies import conduct
from llama_diversity.studies.paper import study as paper
from llama_diversity.studies.plain import UNFINISHED
from llama_diversity.studies.syntactic.study import Syntactic

Run = Callable[..., tuple[int, str, str]]

PAIR = ("--base", "scripted:base", "--aligned", "scripted:homing")
SECTIONS = ["ledger", "personas", "semantic", "syntactic", "perturb", "collapse"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def differing(one: Path, other: Path) -> list[str]:
    """The names of files that only one of two folders has, or that hold other bytes in each."""
    ones, others = contents(one), contents(other)
    return sorted(name for name in {*ones, *others} if ones.get(name) != others.get(name))


@pytest.fixture
def cut_short() -> Iterator[Callable[[int | None], None]]:
    """After so many cells the next one is interrupted, half way; None: never again."""
    fill = conduct.fill

    def after(n_cells: int | None) -> None:
        left = [n_cells if n_cells is not None else 10**9]

        def interrupted(cells: Any, engine: Any, store: Any, run_id: str, common: Any) -> None:
            if left[0] <= 0:
                halves = [dataclasses.replace(cell, n=max(1, cell.n // 2)) for cell in cells]
                fill(halves, engine, store, run_id, common)
                raise KeyboardInterrupt
            left[0] -= len(cells)
            fill(cells, engine, store, run_id, common)

        patch.setattr(conduct, "fill", interrupted)

    with pytest.MonkeyPatch.context() as patch:
        yield after


def test_the_whole_paper_on_scripted_chains(run: Run, tmp_path: Path) -> None:
    code, out, err = run("reproduce", *PAIR, "-n", 12, "--out", tmp_path / "r", "--json")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    assert {name for name in report if name in SECTIONS} == set(SECTIONS)
    names = set(contents(tmp_path / "r"))
    figures = {
        "figure-10-map", "figure-11-mean-entropies", "figure-12-token-entropies", "figure-13-token-probabilities",
    }  # fmt: skip
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "svg", "pdf")} <= names
    assert not any(name.startswith("figure-1-") for name in names)  # chains make no personas: nothing to draw of them
    assert {"figure-14-tokens.svg", "table-4-samples.csv", "table-5-medoids.csv", "ledger.csv"} <= names
    assert {f"{name}.json" for name in SECTIONS} <= names
    lines = {entry["id"]: entry for entry in report["ledger"]["entries"]}
    assert lines["E3.entropy"]["verdict"] == "same direction"
    assert {entry["verdict"] for entry in lines.values()} <= {"agrees", "same direction", "differs", "not comparable"}
    assert lines["E1.mbti"]["verdict"] == "not comparable"  # chains make no personas
    page = (tmp_path / "r" / "index.html").read_text("utf-8")
    for name in SECTIONS:
        assert f'<section id="{name}">' in page


def test_interrupted_then_continued_it_is_the_same_report(
    run: Run, tmp_path: Path, cut_short: Callable[[int | None], None]
) -> None:
    command = ("reproduce", *PAIR, "-n", 12)
    stores = {name: ("--store", tmp_path / f"{name}.sqlite") for name in ("whole", "broken")}
    assert run(*command, *stores["whole"], "--out", tmp_path / "whole")[0] == 0

    cut_short(14)  # of 10 forms and one cell of each other experiment, the base's, then the aligned model's
    code, _, err = run(*command, *stores["broken"], "--out", tmp_path / "broken")
    assert code == 130
    assert not contents(tmp_path / "broken")
    code, out, _ = run("report", "last", *stores["broken"], "--out", tmp_path / "partial", "--json")
    assert code == 0
    partial = json.loads(out)
    assert partial["syntactic"]["missing"] == {"aligned": 6}
    assert "missing" not in partial["semantic"]
    page = (tmp_path / "partial" / "index.html").read_text("utf-8")
    assert "Samples are missing" in page
    assert [one["text"] for one in partial["plain"]][-1] == UNFINISHED.text
    assert "Not there yet, so without lines: " in page

    cut_short(None)
    run(*command, *stores["broken"], "--out", tmp_path / "broken")
    assert differing(tmp_path / "broken", tmp_path / "whole") == []
    with pytest.MonkeyPatch.context() as patch:  # vectors, analyses and pictures made anew, as another machine does
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        run("report", "last", *stores["broken"], "--out", tmp_path / "again")
    assert differing(tmp_path / "again", tmp_path / "whole") == []


@pytest.mark.parametrize("n_cells", [0, 1, 2, 3])
def test_every_interruption_of_perturb_can_be_reported(
    run: Run, tmp_path: Path, cut_short: Callable[[int | None], None], n_cells: int
) -> None:
    cut_short(n_cells)
    assert run("perturb", *PAIR, "-p", "She was", "-n", 8, "--max-tokens", 8)[0] == 130
    code, out, err = run("report", "last", "--out", tmp_path, "--json")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)["perturb"]
    assert report["missing"]
    assert "too little to analyse" in (tmp_path / "index.html").read_text("utf-8")


def test_a_report_of_one_experiment_is_what_the_command_wrote(run: Run, tmp_path: Path) -> None:
    run("semantic", *PAIR, "-n", 12, "--max-tokens", 12, "--out", tmp_path / "first")
    code, out, _ = run("report", "last", "--out", tmp_path / "second")
    assert code == 0
    assert "Experiment 2" in out
    assert differing(tmp_path / "first", tmp_path / "second") == [
        "semantic.json"
    ]  # the one that was drawn names its run


def test_settings_survive_the_store(run: Run, tmp_path: Path) -> None:
    options = ("-p", "She was", "--typos", 0.4, "--dose", "1,2", "-n", 9, "--max-tokens", 7, "--seed", 3, "-t", 0.8)
    code, first, _ = run("perturb", *PAIR, *options, "--json")
    assert code == 0
    again = json.loads(run("report", "last", "--out", tmp_path, "--json")[1])["perturb"]
    assert {**json.loads(first), "run": None} == {**again, "run": None}


def test_what_has_no_experiment_is_one_sentence(run: Run) -> None:
    run("sample", "-m", "scripted:base", "-p", "She", "-n", 2)
    code, _, err = run("report", "last")
    assert code == 1
    assert "holds samples but no experiment" in err
    assert run("report", "nothing")[0] == 2


@pytest.mark.parametrize("n", [0, 3, -1])
def test_too_few_samples_are_refused(run: Run, n: int) -> None:
    code, _, err = run("reproduce", *PAIR, "-n", n)
    assert code == 2
    assert "ask for 8 to" in err


def test_every_figure_is_valid_vega_lite(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Altair's own validation is off where reports are made; here every panel and chart is validated."""
    sections: list[Section] = []

    def keep(report: paper.Report, *where: object) -> Written:
        sections.extend(one.section for one in report.results)
        return Written()

    monkeypatch.setattr(paper.Report, "save", keep)
    assert run("reproduce", *PAIR, "-n", 8, "--out", tmp_path)[0] == 0
    figures = [one for section in sections for one in section.exhibits if isinstance(one, Figure)]
    assert len(figures) >= 7  # chains make no personas, whose figures are left out
    for figure in figures:
        for panel in figure.panels.values():
            alt.Chart.from_dict(panel)
        alt.VConcatChart.from_dict(charts.side_by_side(figure.panels, title=figure.title, subtitle=figure.note))


def test_a_run_that_draws_nothing_still_knows_model_and_layout(run: Run) -> None:
    for _ in range(2):
        assert run("syntactic", "--pair", "scripted", "-n", 3, "--max-tokens", 4)[0] == 0
    first, second = json.loads(run("runs", "ls", "--json")[1])
    assert [cell["about"] for cell in first["cells"]] == [cell["about"] for cell in second["cells"]]
    assert all(cell["about"]["layout"] and cell["about"]["model"]["description"] for cell in second["cells"])


def test_models_that_cannot_have_an_experiment_get_the_others(run: Run, tmp_path: Path) -> None:
    """No chat template: no personas. The report says so, at once and later."""
    arms = ("--base", "scripted:homing", "--aligned", "scripted:uniform")
    code, out, err = run("reproduce", *arms, "-n", 12, "--out", tmp_path / "a", "--json")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    assert "has no chat template" in report["personas"]["unfit"]
    assert report["semantic"]["arms"]
    assert "personas" in report["ledger"]["absent"]
    assert json.loads(run("report", "last", "--out", tmp_path / "b", "--json")[1])["personas"] == report["personas"]
    assert (tmp_path / "a/index.html").read_bytes() == (tmp_path / "b/index.html").read_bytes()
    code, _, err = run("personas", *arms, "-n", 4)
    assert (code, "cannot be asked" in err) == (1, True)


def test_nothing_to_perturb_costs_no_other_result(run: Run, tmp_path: Path) -> None:
    arms = ("--base", "scripted:uniform", "--aligned", "scripted:coin")
    code, out, _ = run("reproduce", *arms, "-n", 12, "--out", tmp_path / "a", "--json")
    assert code == 0
    report = json.loads(out)
    assert "perturb" in report["ledger"]["absent"] or report["perturb"]["arms"]
    again = json.loads(run("report", "last", "--out", tmp_path / "b", "--json")[1])
    assert again["perturb"] == report["perturb"]


@dataclass(frozen=True)
class _AskedToThink(Syntactic):
    needs_one_vocabulary: ClassVar[bool] = False
    prompt: str = "[Who]"
    max_tokens: int = 2


def test_a_model_that_only_thinks_gets_the_other_experiments(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every output of one experiment ends inside a thought: the report says so and holds the others."""
    monkeypatch.setattr(paper, "Syntactic", _AskedToThink)
    arms = ("--base", "scripted:base", "--aligned", "scripted:thinking")
    code, out, err = run("reproduce", *arms, "-n", 12, "--out", tmp_path / "a", "--json")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    assert "None of the 12 outputs of aligned answers anything" in report["syntactic"]["unfit"]
    assert report["semantic"]["arms"]
    assert "syntactic" in report["ledger"]["absent"]
    assert json.loads(run("report", "last", "--out", tmp_path / "b", "--json")[1])["syntactic"] == report["syntactic"]


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in ("reproduce", "semantic", "compare"):
        code, _, err = run(command, *PAIR, "--out", tmp_path / "file" / "x")
        assert (code, "it cannot be written" in err) == (2, True)
        assert err.endswith("(Not a directory); name another place.\n")
    assert json.loads(run("runs", "ls", "--json")[1]) == []
