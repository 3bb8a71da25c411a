"""The house as docs/design.md draws it: its files exist, its example runs, and a study needs no terminal."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_architecture import ALLOWED

from llama_diversity.errors import BadUsage, BadValue, LlamadivError, Unfit
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.conduct import run as conduct
from llama_diversity.studies.coverage.study import Coverage
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.results import Result
from llama_diversity.studies.session import Listener, Session
from llama_diversity.studies.study import STUDIES
from llama_diversity.studies.syntactic.study import Syntactic
from llama_diversity.studies.tree import study as tree

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/design.md").read_text("utf-8")
CHAINS = Choice(base="scripted:base", aligned="scripted:aligned")


def test_the_files_of_the_page_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", PAGE))
    assert len(named) > 20
    folders = [
        ROOT,
        ROOT / "llama_diversity",
        ROOT / "llama_diversity/studies",
        ROOT / "llama_diversity/studies/perturb",
        ROOT / "llama_diversity/render",
    ]
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []


def test_the_page_and_the_tree_of_the_readme_name_every_part() -> None:
    studies = {path.name for path in (ROOT / "llama_diversity/studies").glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in studies if f"`{name}`" not in PAGE) == []
    parts = {path.name for path in (ROOT / "llama_diversity").glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in (ROOT / "llama_diversity").glob("*/__init__.py")}
    tree = re.search(r"## Files\n\n```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    assert (
        sorted(name for name in parts | folders if not re.search(rf"^  {re.escape(name)} ", tree, re.MULTILINE)) == []
    )
    picture = PAGE.partition("## A room")[0]
    assert sorted(name for name in folders if name not in picture) == []


def test_the_example_of_the_page_runs_without_click() -> None:
    """In a process of its own: nothing of the command line is loaded, and nothing is said but what it prints."""
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", f"{example}\nimport sys; print('click' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    command, shown, has_click = done.stdout.splitlines()
    words = "--base scripted:base --aligned scripted:aligned -n 20 --max-tokens 8 --seed 1"
    assert command == f"llamadiv syntactic {words}"
    assert 2.0 < float(shown.split()[0]) < 3.0
    assert "syntactic-entropies" in shown
    assert "figure-11-mean-entropies" in shown
    assert (has_click, done.stderr) == ("False", "")


def test_every_way_to_add_something_runs_as_it_stands() -> None:
    """All blocks behind the first in one process, in order; they state by `assert` what comes of them."""
    _, *blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == len(re.findall(r"^### ", PAGE, re.MULTILINE)) == 5
    assert all("assert " in block for block in blocks)
    program = "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_picture_agrees_with_the_imports() -> None:
    """No module imports a part that the picture draws above its own."""
    picture = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
    levels = [re.findall(r"^(?:\w+(?:/|\.py)\s+)+", floor, re.MULTILINE) for floor in picture.split("  |\n")]
    floor_of = {
        name: level for level, rows in enumerate(levels) for row in rows for name in re.findall(r"(\w+)(?:/|\.py)", row)
    }
    assert len(floor_of) == 16
    climbs = {
        (part, other)
        for part, others in ALLOWED.items()
        for other in others
        if part in floor_of and other in floor_of and floor_of[other] < floor_of[part]
    }
    assert climbs == set()


class Hearer(Listener):
    """Keeps the titles of what it hears."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def working(self, title: str):
        self.titles.append(title)
        return super().working(title)

    def sampling(self, title: str):
        self.titles.append(title)
        return super().sampling(title)


def test_a_listener_hears_of_the_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    heard = Hearer()
    session = Session(named_store=tmp_path / "s.sqlite", listener=heard)
    study = Coverage(n=20, max_tokens=4, by="text")
    result = conduct(study, resolve_choice(CHAINS, session), drawing=Drawing(), session=session)
    assert {"loading scripted:base", "sampling 2 models", "counting kinds"} <= set(heard.titles)
    assert heard.titles.count("sampling 2 models") == 1  # all cells together
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "s.sqlite").exists()
    assert result.run
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.run = "other"
    again = conduct(study, resolve_choice(CHAINS, session), drawing=Drawing(), session=session)
    assert {**again.to_dict(), "run": result.run} == result.to_dict()


def test_a_result_says_what_it_is_and_saves_itself(tmp_path: Path) -> None:
    session = Session(named_store=tmp_path / "s.sqlite")
    result = conduct(Syntactic(n=4, max_tokens=4), resolve_choice(CHAINS, session), drawing=Drawing(), session=session)
    assert isinstance(result, Result)
    assert repr(result).startswith("<Experiment 3: how spread out are the next tokens? `llamadiv syntactic -n 4")
    assert set(result.tables) == {"syntactic-entropies", "syntactic-checks"}
    written = result.save(tmp_path / "out")
    assert {"index.html", "syntactic-entropies.csv"} <= {path.name for path in written.paths}
    assert (tmp_path / "out/syntactic.json").exists()


def test_what_cannot_be_is_refused_by_plain_errors(tmp_path: Path) -> None:
    session = Session(named_store=tmp_path / "s.sqlite")
    arms = resolve_choice(CHAINS, session)
    with pytest.raises(BadValue, match="-n is 0; ask for 1 to"):
        conduct(Syntactic(n=0), arms, drawing=Drawing(), session=session)
    with pytest.raises(BadValue, match="--depth is 0"):
        tree.run(tree.Question(depth=0), arms, session=session)
    with pytest.raises(BadUsage, match="--ladder names all models by itself"):
        resolve_choice(Choice(pair="scripted", ladder="scripted"), session)
    others = resolve_choice(Choice(base="scripted:base", aligned="scripted:coin"), session)
    with pytest.raises(Unfit, match="different vocabularies"):
        conduct(Syntactic(n=2), others, drawing=Drawing(), session=session)
    assert issubclass(Unfit, LlamadivError)
    assert not (tmp_path / "report").exists()


def test_every_study_of_the_table_says_what_it_is() -> None:
    for name, place in STUDIES.items():
        module, _, attribute = place.partition(":")
        __import__(module)
        study = getattr(sys.modules[module], attribute)
        assert study.name == name
        assert dataclasses.is_dataclass(study)
        assert study.title
