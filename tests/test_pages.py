"""What the pages of docs/ tell a reader to type is typed here, and what they say of it is looked at."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Ran = tuple[int, str, str]


def blocks(name: str) -> list[tuple[int, list[str]]]:
    """The commands of a page, block by block, each with the exit code that the page states; 0 where it states none."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    found = re.findall(r"(?:<!-- exits with (\d+) -->\n\n)?```sh\n(.*?)```", text, re.DOTALL)
    return [(int(code or 0), body.splitlines()) for code, body in found]


def files_of(name: str, folder: Path) -> None:
    """Write the files that a page shows: each is named in backticks at the end of the paragraph before it."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    found = re.findall(r"`(\w+[.]\w+)`:\n\n```(?:text|json)\n(.*?)```", text, re.DOTALL)
    assert found
    for file, content in found:
        (folder / file).write_text(content, "utf-8")


@pytest.fixture
def typed(run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Types every command of a page, one after the other; what all of them printed."""
    monkeypatch.chdir(tmp_path)

    def typed(name: str) -> str:
        printed = []
        for code, commands in blocks(name):
            for command in commands:
                program, *arguments = shlex.split(command)
                assert program == "llamadiv"
                ended, out, err = run(*arguments)
                assert ended == code, f"{command}\n{err}"
                printed += [out, err]
        return " ".join("\n".join(printed).split())

    return typed


@pytest.mark.model
def test_the_page_for_researchers(typed, tmp_path):
    printed = typed("researcher.md")
    assert (tmp_path / "study/index.html").exists()
    assert (tmp_path / "samples.parquet").exists()
    text = (ROOT / "docs/researcher.md").read_text("utf-8")
    table = text.partition("## Refusals you will meet")[2].partition("\n\n<!--")[0]
    phrases = [row.split(" | ")[0].strip("| ") for row in table.splitlines() if row.startswith("| ")][1:]
    expected = " ".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").glob("test_*.py")))
    assert len(phrases) == 8
    assert [phrase for phrase in phrases if phrase not in printed and phrase not in expected] == []
    for sure in phrases[:6]:  # whatever the models say; the others are for long texts, and for texts that end early
        assert sure in printed


@pytest.mark.model
def test_the_page_for_makers_of_personas(typed, tmp_path):
    files_of("personas.md", tmp_path)
    printed = typed("personas.md")
    assert (tmp_path / "customers.csv").read_text("utf-8").count("tiny-") >= 60
    for word in (
        "valid",
        "same",
        "coverage",
        "kept",
        "sample: none of 20 outputs can be used: no JSON",
    ):
        assert word in printed


def test_the_page_on_populations(typed, tmp_path):
    printed = typed("population.md")
    assert (tmp_path / "people.csv").read_text("utf-8").count("scripted:people") == 24
    for word in ("usable", "chosen", "no source given", "made up by a language model"):
        assert word in printed


@pytest.mark.model
def test_the_grammars_of_the_page_hold(typed, run, tmp_path, monkeypatch):
    """All that is drawn is of the grammar, as an expression of our own has it, and `variety` finds it usable."""
    monkeypatch.chdir(tmp_path)
    files_of("personas.md", tmp_path)
    commands = [one for _, some in blocks("personas.md") for one in some]
    patterns = {
        "card.gbnf": r'\{"name": "[A-Z][a-z]{1,11}( [A-Z][a-z]{1,11})?", "age": [1-9][0-9]\}',
        "answer.gbnf": r"(Yes|No|I do not know), because [a-z]+( [a-z]+){2,7}\.",
    }
    for file, pattern in patterns.items():
        at, command = next((at, one) for at, one in enumerate(commands) if f"--grammar {file}" in one)
        _, out, _ = run(*shlex.split(command.removesuffix(" -q"))[1:], "--json")
        drawn = [json.loads(line) for line in out.splitlines()]
        whole = [one for one in drawn if one["finish_reason"] == "stop"]
        assert len(drawn) == 20
        assert len(whole) >= 10  # the others were cut off
        assert [one["text"] for one in whole if not re.fullmatch(pattern, one["text"])] == []
        found = json.loads(run(*shlex.split(commands[at + 1])[1:], "--by", "text", "--json")[1])["cells"]["sample"]
        young = sum(one["n"] for one in found["reasons"] if one["reason"] == "$.age: not minimum 18")
        assert found["valid"]["k"] + young == len(whole)


@pytest.mark.model
def test_the_page_for_the_curious(typed, run):
    typed("curious.md")
    command = next(one for _, some in blocks("curious.md") for one in some if " coverage " in one)
    arms = json.loads(run(*shlex.split(command)[1:], "--json")[1])["arms"]
    seen = {arm: (one["kinds_seen"], one["coverage"]["value"] or 0) for arm, one in arms.items()}
    assert seen["base"][0] > 1.2 * seen["aligned"][0]  # of as many texts, and of more kinds still less has been seen
    assert seen["base"][1] < seen["aligned"][1]
    narrowed, held = (
        json.loads(run(*shlex.split(one)[1:], "--json")[1])["policies"]["final_mean"]["Jeepiti"]
        for _, some in blocks("curious.md")
        for one in some
        if " collapse" in one
    )
    assert narrowed > 0.95 > 0.85 > held
