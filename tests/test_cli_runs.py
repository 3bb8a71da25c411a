"""`llamadiv runs`, as a user types it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scripted_work import cell_of, draw, fill, open_scripted

from llama_diversity.cli import main
from llama_diversity.records import Sampler
from llama_diversity.render.jsonl import sample_object
from llama_diversity.runner import run as draw_cell
from llama_diversity.store import Store

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "work" / "store.sqlite"
    monkeypatch.setenv("LLAMADIV_STORE", str(place))
    return place


@pytest.fixture
def runs(path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `llamadiv runs ...`: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["runs", *arguments])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


@pytest.fixture
def two_runs(path: Path) -> list[str]:
    """One run of base (6) and aligned (4), one of base again (9, so 6 shared) with an own recipe of 3."""
    base, aligned = open_scripted("base"), open_scripted("aligned")
    with Store.open(path) as store:
        first = fill(store, base, cell_of(base, 6))
        fill_into(store, first, aligned, 4)
        second = fill(store, base, cell_of(base, 9), cell_of(base, 3, seed=2, sampler=Sampler(temperature=0.5)))
    return [first, second]


def fill_into(store: Store, run_id: str, engine: object, n: int) -> None:
    for _ in draw_cell(cell_of(engine, n, arm="aligned"), engine, store, run_id):  # type: ignore[arg-type]
        pass


# ---- ls


def test_ls_of_nothing_says_where_it_looked(runs: Run, path: Path) -> None:
    code, out, err = runs("ls")
    assert (code, out) == (0, "")
    assert err == f"No runs in {path} yet. `llamadiv sample` makes one.\n"
    assert runs("ls", "--json") == (0, "[]\n", "")
    assert runs("ls", "-q") == (0, "", "")
    assert not path.exists()


def test_ls(runs: Run, two_runs: list[str]) -> None:
    code, out, err = runs("ls")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["run", "started", "models", "samples", "tokens", "command"]
    assert lines[1][0] == two_runs[0]
    assert lines[1][3:6] == ["base:", "scripted:base", "6/6"]
    assert lines[1][-2:] == ["llamadiv", "sample"]
    assert lines[2][:3] == ["aligned:", "scripted:aligned", "4/4"]
    assert [line[0] for line in lines[3:]] == [two_runs[1], "base:"]
    assert runs("ls", "-q")[1].split() == two_runs


def test_ls_json_counts_what_is_stored(runs: Run, two_runs: list[str], path: Path) -> None:
    with Store.open(path) as store:  # a run that was stopped before it drew a thing
        engine = open_scripted()
        store.add_cells(two_runs[1], [(cell_of(engine, 50, seed=9), {})])
    listed = json.loads(runs("ls", "--json")[1])
    assert [run["id"] for run in listed] == two_runs
    counts = [(cell["n_stored"], cell["n"]) for run in listed for cell in run["cells"]]
    assert counts == [(6, 6), (4, 4), (9, 9), (3, 3), (0, 50)]
    engine = open_scripted()
    assert listed[0]["cells"][0]["n_tokens"] == sum(len(s.tokens) for s in draw(engine, cell_of(engine, 6)))
    assert listed[0]["command"] == ["llamadiv", "sample"]
    assert listed[0]["finished"] > listed[0]["started"]


def test_hostile_names_are_shown_and_not_obeyed(runs: Run, path: Path) -> None:
    with Store.open(path) as store:
        run_id = store.start_run(command=["llamadiv", "sample", "\x1b[2J"], about={"\x1b": "\u202e"})
        engine = open_scripted()
        store.add_cells(run_id, [(cell_of(engine, 2, text="\x1b]0;pwn\x07", arm="\x1b[31m"), {})])
    for arguments in (("ls",), ("show", "last")):
        out = runs(*arguments)[1]
        assert "\x1b" not in out
        assert "⟨U+001B⟩[2J" in out


# ---- show


def test_show(runs: Run, two_runs: list[str]) -> None:
    code, out, _ = runs("show", two_runs[1])
    assert code == 0
    words = [line.split(maxsplit=1) for line in out.splitlines() if line]
    assert words[:2] == [["run", two_runs[1]], ["command", "llamadiv sample"]]
    shown = [tuple(line) for line in words]
    assert ("sampler", "temperature 1, nothing cut off") in shown
    assert ("sampler", "temperature 0.5, nothing cut off") in shown
    assert ("prompt", "raw, 3 tokens: She was") in shown
    assert ("seed", "2") in shown
    assert ("parallel", "3") in shown
    assert runs("show", "last", "-q")[1].strip() in two_runs


def test_show_json_has_the_whole_recipe(runs: Run, two_runs: list[str]) -> None:
    described = json.loads(runs("show", two_runs[0], "--json")[1])
    engine = open_scripted()
    recipe = cell_of(engine, 6).recipe
    assert described["cells"][0]["recipe"] == recipe.key
    assert json.dumps(described["recipes"][recipe.key], sort_keys=True, separators=(",", ":")) == recipe.to_json()
    assert described["cells"][0]["about"]["model"]["n_vocab"] == 290


def test_unknown_runs(runs: Run, two_runs: list[str]) -> None:
    wrong = two_runs[0][:-2] + "zz"
    code, out, err = runs("show", wrong)
    assert (code, out) == (2, "")
    assert err.startswith(f"llamadiv: There is no run called '{wrong}'. Did you mean ")
    assert two_runs[0] in err
    assert err.endswith("`llamadiv runs ls` lists them.\n")
    code, _, err = runs("show", "20")
    assert code == 2
    assert "2 run ids begin so" in err


def test_a_store_that_is_not_there(runs: Run, path: Path) -> None:
    for arguments in (("show", "last"), ("export", "last"), ("export", "--all")):
        code, out, err = runs(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith(f"llamadiv: There is no sample store at {path}.")
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("r1-#0", 2, "a sample's id is that of its recipe"),  # two recipes begin so
        ("#0", 2, "There is no sample called '#0'"),
        ("r1-0#x", 2, "a sample's id is that of its recipe"),
        ("KEY#99", 2, "There is no sample called"),
    ],
)
def test_a_sample_that_is_not_there(
    name: str, code: int, reason: str, runs: Run, path: Path, two_runs: list[str]
) -> None:
    with Store.open(path, read_only=True) as store:
        key = store.run(two_runs[0]).cells[0].recipe_key
    got, out, err = runs("show", name.replace("KEY", key))
    assert (got, out) == (code, "")
    assert reason in err


# ---- export


def test_export_jsonl_to_stdout(runs: Run, two_runs: list[str]) -> None:
    code, out, err = runs("export", two_runs[0])
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["arm"], line["index"]) for line in lines] == [
        *(("base", index) for index in range(6)),  # the second run drew more of this recipe; this one asked for six
        *(("aligned", index) for index in range(4)),
    ]
    engine = open_scripted()
    cell = cell_of(engine, 6)
    pieces = {id: engine.piece(id) for id in range(290)}
    for line, sample in zip(lines, draw(engine, cell), strict=False):
        origin = {"recipe": cell.recipe.key, "arm": "base", "model": "scripted:base"}
        assert line == {**origin, **sample_object(sample, pieces, neutral=True)}


def test_export_all_has_each_sample_once(runs: Run, two_runs: list[str]) -> None:
    lines = [json.loads(line) for line in runs("export", "--all")[1].splitlines()]
    assert len(lines) == 9 + 4 + 3
    assert len({(line["recipe"], line["index"]) for line in lines}) == 16
    # The pair of the sampler is there where it says something: three samples at temperature 0.5.
    assert sum("sampler_entropy_bits" in line["tokens"][0] for line in lines) == 3


def test_export_to_files(runs: Run, two_runs: list[str], tmp_path: Path) -> None:
    jsonl, parquet = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    assert runs("export", two_runs[0], "--out", str(jsonl)) == (0, f"10 samples in {jsonl}.\n", "")
    assert runs("export", two_runs[0], "--out", str(parquet), "-q") == (0, f"{parquet}\n", "")
    assert jsonl.read_text() == runs("export", two_runs[0])[1]
    n_tokens = sum(len(json.loads(line)["tokens"]) for line in jsonl.read_text().splitlines())
    assert pq.read_table(parquet).num_rows == n_tokens
    jsonl = tmp_path / "no-ending"
    again = runs("export", two_runs[0], "--out", str(jsonl), "--format", "parquet", "--json")[1]
    assert json.loads(again) == {"path": str(jsonl), "n_samples": 10}
    assert pq.read_table(jsonl).num_rows == n_tokens
    assert sorted(p.name for p in tmp_path.iterdir()) == ["no-ending", "out.jsonl", "out.parquet", "work"]


def test_export_csv_has_a_row_a_sample(runs: Run, two_runs: list[str], tmp_path: Path, path: Path) -> None:
    place = tmp_path / "samples.CSV"
    assert runs("export", two_runs[1], "--out", str(place))[0] == 0
    with place.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "arm", "model", "mode", "prompt", "sampler", "seed", "index", "text", "answer", "finish_reason", "n_tokens",
        "bits_per_token",
    ]  # fmt: skip
    assert [row["index"] for row in rows] == [*map(str, range(9)), *map(str, range(3))]
    assert [row["sampler"] for row in rows] == ["temperature=1"] * 9 + ["temperature=0.5"] * 3
    assert {(row["model"], row["prompt"], row["mode"]) for row in rows} == {("scripted:base", "She was", "raw")}
    with Store.open(path, read_only=True) as store:
        sample = store.sample(store.run(two_runs[1]).cells[0].recipe_key, 2)
    assert rows[2]["text"] == sample.text.decode()
    assert float(rows[2]["bits_per_token"]) == pytest.approx(np.mean(sample.tokens["surprisal_bits"], dtype=np.float64))
    with_tokens = runs("export", two_runs[1], "--format", "csv", "--tokens")[1]
    third = list(csv.DictReader(io.StringIO(with_tokens, newline="")))[2]
    assert json.loads(third["token_ids"]) == sample.tokens["id"].tolist()
    np.testing.assert_array_equal(np.float32(json.loads(third["entropy_bits"])), sample.tokens["entropy_bits"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "samples.xlsx"], "must end in .jsonl, .ndjson, .csv, .parquet"),
        (["--out", "samples.csv.gz"], "must end in"),
        (["--out", "samples.csv", "--format", "parquet"], "its name says csv, --format says parquet"),
        (["--out", "samples.jsonl", "--tokens"], "jsonl has the tokens by itself"),
        (["--format", "Parquet"], "name a file with --out"),
    ],
)
def test_export_refuses_names_that_say_something_else(
    arguments: list[str], words: str, runs: Run, two_runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = runs("export", two_runs[0], *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert [file.name for file in tmp_path.iterdir()] == ["work"]


def test_an_export_that_fails_leaves_the_old_file(runs: Run, two_runs: list[str], tmp_path: Path, path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    with Store.open(path) as store:
        key = store.run(two_runs[0]).cells[1].recipe_key
    raw = sqlite3.connect(path)
    raw.execute(
        "UPDATE samples SET statistics = x'00' WHERE idx = 3 AND recipe = (SELECT number FROM recipes WHERE key = ?)",
        (key,),
    )
    raw.commit()
    raw.close()
    code, _, err = runs("export", two_runs[0], "--out", str(out))
    assert code == 1
    assert f"sample 3 of recipe {key}" in err
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "work"]


def test_a_device_is_written_to_and_a_link_followed(runs: Run, two_runs: list[str], tmp_path: Path) -> None:
    assert runs("export", two_runs[0], "--out", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    assert runs("export", two_runs[0], "--out", str(link))[0] == 0
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 10


def test_export_says_what_is_wrong(runs: Run, two_runs: list[str], tmp_path: Path) -> None:
    for arguments, words in [
        ((), "Name one run, or say --all"),
        (("last", "--all"), "Name one run, or say --all"),
        (("last", "--format", "parquet"), "name a file with --out"),
    ]:
        code, out, err = runs("export", *arguments)
        assert (code, out) == (2, "")
        assert words in err
    nowhere = tmp_path / "nowhere" / "out.jsonl"
    code, _, err = runs("export", "last", "--out", str(nowhere))
    assert code == 1
    assert err == (f"llamadiv: {nowhere} cannot be written: No such file or directory. Name another file with --out.\n")


# ---- merge and rm


def test_merge(runs: Run, two_runs: list[str], tmp_path: Path, path: Path) -> None:
    engine = open_scripted()
    other = tmp_path / "other.sqlite"
    with Store.open(other) as store:
        fill(store, engine, cell_of(engine, 12))
    assert runs("merge", str(other)) == (0, f"{other}: 1 run and 3 samples added, 9 samples here already.\n", "")
    assert (
        json.loads(runs("merge", "--json", str(other), str(other))[1])
        == [{"path": str(other), "n_samples": 0, "n_known": 12, "n_runs": 0}] * 2
    )
    assert len(runs("ls", "-q")[1].split()) == 3
    code, _, err = runs("merge", str(path))
    assert code == 2
    assert "the store itself" in err


def test_rm_asks_first(runs: Run, two_runs: list[str]) -> None:
    code, out, err = runs("rm", two_runs[1])
    assert (code, out) == (2, "")
    assert "say --yes" in err
    assert runs("ls", "-q")[1].split() == two_runs


def test_rm_keeps_what_other_runs_share(runs: Run, two_runs: list[str]) -> None:
    # The second run alone asked for 6, 7, 8 of the shared recipe and for its own three.
    assert runs("rm", two_runs[1], "--yes") == (0, f"Removed run {two_runs[1]} and 6 samples.\n", "")
    assert runs("ls", "-q")[1].split() == [two_runs[0]]
    assert len(runs("export", two_runs[0])[1].splitlines()) == 10
    removed = json.loads(runs("rm", "last", "--yes", "--json")[1])
    assert removed == {"id": two_runs[0], "n_samples": 10}
    assert runs("rm", "last", "--yes")[0] == 2


@pytest.mark.parametrize(("answer", "expected"), [(b"n\n", b""), (b"y\n", b"Removed run ")])
def test_rm_on_a_terminal(answer: bytes, expected: bytes, two_runs: list[str], path: Path) -> None:
    leader, follower = pty.openpty()
    os.write(leader, answer)
    done = subprocess.run(
        [sys.executable, "-m", "llama_diversity", "runs", "rm", "last"],
        stdin=follower,
        capture_output=True,
        check=True,
    )
    os.close(leader)
    os.close(follower)
    assert done.stdout.startswith(expected)
    assert (b"Nothing was removed" in done.stderr) == (answer == b"n\n")
    with Store.open(path, read_only=True) as store:
        assert len(store.runs()) == (2 if answer == b"n\n" else 1)


def test_a_report_of_a_run_that_lost_an_arm_says_so(run: Callable, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    assert run("syntactic", "--pair", "scripted", "-n", 3, "--max-tokens", 4, "--store", store)[0] == 0
    with contextlib.closing(sqlite3.connect(store)) as raw:
        raw.execute("UPDATE run_cells SET arm = 'x' WHERE arm = 'syntactic/aligned'")
        raw.commit()
    code, _, error = run("report", "last", "--out", tmp_path / "report", "--store", store)
    assert code == 1
    assert "damaged (the run does not say what it asked of “aligned”)" in error


def test_one_token_is_no_tokens(run: Callable) -> None:
    code, out, error = run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "--max-tokens", 1)
    assert (code, "#0  1 token, " in out, "1 sample of " in error) == (0, True, True)
    assert "at most 1 token\n" in run("runs", "show", "last")[1]
    for command in (("syntactic",), ("semantic",), ("coverage", "--by", "text"), ("compare",)):
        code, out, _ = run(*command, "--pair", "scripted", "-p", "She", "-n", 2, "--max-tokens", 1)
        assert (code, "at most 1 token each" in " ".join(out.split())) == (0, True), command
