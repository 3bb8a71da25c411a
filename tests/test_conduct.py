"""How a study is conducted: it asks again and again, on what was drawn, until it has nothing left to ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llama_diversity.errors import Interrupted, Unfit
from llama_diversity.records import Cell
from llama_diversity.render.exhibits import Section
from llama_diversity.store import Store
from llama_diversity.studies import conduct
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.results import Result
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import STUDIES, Ask, Drawn, Study

MODEL = Choice(base="scripted:base", aligned="scripted:aligned")


@dataclass(frozen=True)
class Rounds(Study):
    """Asks for twice as many as before until it has ten."""

    name: ClassVar[str] = "rounds"
    title: ClassVar[str] = "Rounds"
    needs_encoder: ClassVar[bool] = False
    first: int = 2

    def options(self) -> list[str]:
        return []

    def asks(self, arms: tuple[str, ...]) -> list[Ask]:
        return [Ask("round 1", arms[0], "She was", self.first, 4, repeat=1)]

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        if sum(drawn.n_stored(label) for label in drawn.cells) >= 10:
            return []
        number = len(drawn.cells)
        ask = self.asks(tuple(drawn.arms))[0]
        return [ask._replace(label=f"round {number + 1}", n=self.first * 2**number, repeat=number + 1)]

    def show(self, drawn: Drawn) -> Result:
        sizes = [drawn.n_stored(label) for label in drawn.cells]
        return Result(Section(self.name, self.title, "", drawn.command, ()), {"sizes": sizes}, None)


class Parts(Rounds):
    shows_parts: ClassVar[bool] = True


class Stubborn(Rounds):
    def asks_next(self, drawn: Drawn) -> list[Ask]:
        return self.asks(tuple(drawn.arms))


class Barren(Rounds):
    def asks_next(self, drawn: Drawn) -> list[Ask]:
        raise Unfit("Nothing follows from this.")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(named_store=tmp_path / "s.sqlite")


def run(study: Study, session: Session) -> Result:
    return conduct.run(study, resolve_choice(MODEL, session), drawing=Drawing(), session=session)


def remembered(study: type[Study], session: Session, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setitem(STUDIES, "rounds", f"{__name__}:{study.__name__}")
    with Store.open(session.store, read_only=True) as store:
        [(one, drawn)] = conduct.remembered(store, store.run("last"), session)
        return conduct.shown(one, drawn)


def text_of(result: Result) -> str:
    return " ".join(exhibit.text for exhibit in result.section.exhibits)


def test_it_asks_until_nothing_is_left_to_ask(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Rounds(), session).report["sizes"] == [2, 4, 8]  # 2 and 6 are too few, 14 are enough
    assert remembered(Rounds, session, monkeypatch).report["sizes"] == [2, 4, 8]
    assert run(Rounds(first=12), session).report["sizes"] == [12]


def cut_between_rounds(study: Study, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw two rounds of three; nothing that was asked is missing."""
    planned = conduct._Work.planned

    def interrupted(work: conduct._Work, name: str, asks: list[Ask]) -> list[conduct._Planned]:
        if asks and asks[0].label == "round 3":
            raise Interrupted("Interrupted.")
        return planned(work, name, asks)

    with monkeypatch.context() as patch:
        patch.setattr(conduct._Work, "planned", interrupted)
        with pytest.raises(Interrupted):
            run(study, session)


def test_a_run_cut_between_two_rounds_says_so(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_between_rounds(Rounds(), session, monkeypatch)
    cut = remembered(Rounds, session, monkeypatch)
    assert "too little to analyse" in text_of(cut)
    assert cut.report == {"missing": {}}
    parts = remembered(Parts, session, monkeypatch)
    assert parts.report["sizes"] == [2, 4]
    assert text_of(parts).startswith("More was to be asked. `llamadiv rounds")
    assert run(Rounds(), session).report["sizes"] == [2, 4, 8]  # and the same command goes on


def test_what_leaves_nothing_to_ask_says_why(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unfit, match="Nothing follows"):
        run(Barren(), session)
    assert "Not made: Nothing follows from this." in text_of(remembered(Barren, session, monkeypatch))


def test_a_label_is_asked_once(session: Session) -> None:
    with pytest.raises(ValueError, match="'round 1' is asked a second time"):
        run(Stubborn(), session)


@dataclass(frozen=True)
class Many(Rounds):
    """Thirty prompts, each asked `each` times."""

    each: int = 1

    def asks(self, arms: tuple[str, ...]) -> list[Ask]:
        words = ["She was", "He is", "Someone met a"]
        return [Ask(f"{at}", arms[at % 2], words[at % 3], self.each, 2 + at % 4, repeat=at) for at in range(30)]

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        return []


@pytest.mark.parametrize(("each", "sizes"), [(1, [15, 15]), (2, [1] * 30)])
def test_cells_of_one_sample_are_drawn_together(
    session: Session, monkeypatch: pytest.MonkeyPatch, each: int, sizes: list[int]
) -> None:
    fill, seen = conduct.fill, list[int]()

    def counting(cells: list[Cell], *others: Any) -> None:
        seen.append(len(cells))
        fill(cells, *others)

    monkeypatch.setattr(conduct, "fill", counting)
    assert run(Many(each=each), session).report["sizes"] == [each] * 30
    assert seen == sizes
    run(Many(each=each), session)  # all of it is there
    assert seen == sizes
    with Store.open(session.store, read_only=True) as store:
        cells = store.run("last").cells
        assert [cell.arm for cell in cells] == [f"rounds/{at}" for at in (*range(0, 30, 2), *range(1, 30, 2))]
        assert all(cell.about["layout"] for cell in cells)  # kept from the run that drew
