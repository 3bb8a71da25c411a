"""Models that think before they answer, in every command: the draft is never read, and what it lost is said."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ASKED = ("-p", "Who?", "-n", 40, "--max-tokens", 16)
ARMS = ("--arm", "a=scripted:thinking,chat", "--arm", "b=scripted:thinking,chat,T=0.9")


def report(run: Callable, *arguments: object) -> dict:
    code, out, error = run(*arguments, "--json")
    assert code == 0, error
    return json.loads(out)


def test_samples_show_the_answer_beside_the_whole_text(run: Callable) -> None:
    code, out, _ = run("sample", "-m", "scripted:thinking", "--chat", *ASKED, "--json")
    assert code == 0
    samples = [json.loads(line) for line in out.splitlines()]
    thought = {"Hm. ", "Name: Draft\n"}
    assert all(
        any(sample["text"].startswith(piece) for piece in thought) for sample in samples
    )  # the marks add nothing
    closed = [sample for sample in samples if any(one.get("control") == "</think>" for one in sample["tokens"])]
    assert 20 < len(closed) < 40
    for sample in samples:
        if sample not in closed:
            assert sample["answer"] is None
        elif sample["answer"] is not None:
            assert sample["text"].endswith(sample["answer"])
            assert not any(piece in sample["answer"] for piece in thought)


def test_compare_judges_answers_and_counts_thoughts_that_were_cut_off(run: Callable) -> None:
    found = report(run, "compare", *ARMS, *ASKED)
    for arm in found["arms"].values():
        lost = arm["not_valid"]["cut off while thinking"]
        assert 0 < lost < 20
        assert arm["valid"]["k"] + sum(arm["not_valid"].values()) == 40
        assert arm["cut_off"] >= lost
        assert arm["mean_tokens"] < 11  # 16, less two marks and on average four of the thought
    assert not any("Draft" in json.dumps(line) for line in found["lines"])
    said = " ".join(run("compare", *ARMS, *ASKED)[1].split())
    assert "outputs are not valid and left out: cut off while thinking (" in said
    assert "Raise --max-tokens, or turn thinking off" in said


def test_what_valid_asks_for_is_looked_for_in_the_answer(run: Callable) -> None:
    found = report(run, "compare", *ARMS, *ASKED, "--valid", "Draft")
    for arm in found["arms"].values():
        assert arm["valid"]["k"] == 0
        assert set(arm["not_valid"]) <= {"not what --valid asks for", "cut off while thinking", "no text"}


def test_coverage_and_semantic_leave_open_thoughts_out(run: Callable) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:thinking", "-p", "[Who]", "-n", 40)
    found = report(run, "coverage", *models, "--by", "text", "--max-tokens", 16)["arms"]
    lost = found["aligned"]["not_valid"]["cut off while thinking"]
    assert found["aligned"]["n"] == 40 - lost
    assert found["base"]["not_valid"] == {}
    said = run("coverage", *models, "--by", "text", "--max-tokens", 16)[1]
    assert "Draft" not in said
    assert "cut off" in said
    alike = report(run, "semantic", *models, "--max-tokens", 16)["arms"]["aligned"]
    assert alike["texts"]["n_empty"] >= alike["not_valid"]["cut off while thinking"] > 0


@pytest.mark.parametrize(
    ("command", "label"), [("coverage", "aligned"), ("semantic", "aligned"), ("perturb", "completions")]
)
def test_outputs_that_all_end_inside_their_thought(run: Callable, command: str, label: str) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:thinking", "-p", "[Who]", "-n", 20, "--max-tokens", 2)
    code, out, error = run(command, *models, *(["--by", "text"] if command == "coverage" else []))
    assert (code, out) == (1, "")
    assert re.search(
        rf"None of the 20 outputs of {label}.* answers anything: cut off while thinking \(20\)\. Raise --max-tokens",
        error,
    )
    assert "--template-arg" not in error  # a raw prompt has no template, and the command no such option


@pytest.mark.parametrize("command", ["personas", "reproduce"])
def test_personas_are_not_read_out_of_drafts(command: str, run: Callable) -> None:
    if command == "reproduce":  # of which only the option is tried here
        code, _, error = run("reproduce", "--pair", "scripted", "--template-arg", "x")
        assert (code, "write KEY=VALUE" in error) == (2, True)
        return
    found = report(run, "personas", "--base", "scripted:base", "--aligned", "scripted:thinking", "-n", 20)
    assert found["arms"]["aligned"]["valid"]["k"] == 0
    code, _, error = run(
        "personas", "--aligned", "scripted:thinking", "--base", "scripted:base", "--template-arg", "x=1"
    )
    assert (code, "the chat template reads no value of that name" in error) == (2, True)


def test_perturb_leaves_open_thoughts_out_and_counts_them(run: Callable) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:thinking", "-p", "[Who]", "--openings", 1, "-n", 24)
    asked = ("perturb", *models, "--max-tokens", 8, "--replace", "[Who]", "Oh [Who]")
    arms = report(run, *asked)["arms"]
    lost = arms["aligned"]["not_valid"]["cut off while thinking"]
    assert 0 < lost < 24
    assert (arms["base"]["not_valid"], arms["aligned"]["returned"]["n"] <= 24) == ({}, True)
    said = " ".join(run(*asked)[1].split())
    assert f"aligned: {lost} of 48 outputs are not valid and left out: cut off while thinking ({lost})." in said


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_has_the_answer_where_it_is_not_the_text(run: Callable, tmp_path: Path) -> None:
    drawn = run("sample", "-m", "scripted:thinking", "--chat", *ASKED, "--json")[1]
    samples = [json.loads(line) for line in drawn.splitlines()]
    exported = [json.loads(line) for line in run("runs", "export", "last")[1].splitlines()]
    assert [one["answer"] for one in exported] == [one["answer"] for one in samples]
    assert {None} < {one["answer"] for one in exported}
    assert run("runs", "export", "last", "--out", tmp_path / "s.csv")[0] == 0
    rows = rows_of(tmp_path / "s.csv")
    assert [row["answer"] for row in rows] == [one["answer"] or "" for one in samples]
    run("sample", "-m", "scripted:base", "-p", "She", "-n", 3, "--max-tokens", 4)
    assert all("answer" not in json.loads(line) for line in run("runs", "export", "last")[1].splitlines())
    run("runs", "export", "last", "--out", tmp_path / "b.csv")
    assert all(row["answer"] == row["text"] for row in rows_of(tmp_path / "b.csv"))
