"""Workers that are processes: the numbers of one engine, whatever happens to a worker, and to the driver."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.fanout import crew as crews
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.dealing import Deal
from llama_diversity.engines.fanout.engine import FanOutEngine
from llama_diversity.engines.fanout.lines import Fixed, WorkerLost
from llama_diversity.engines.fanout.looking import differing, look
from llama_diversity.engines.fanout.processes import ProcessLine
from llama_diversity.engines.fanout.service import Service
from llama_diversity.engines.together import Tray
from llama_diversity.errors import BadValue, EngineError, LlamadivError, PromptTooLong
from llama_diversity.gguf import read_header
from llama_diversity.records import TOKEN_DTYPE, ModelRef, Recipe, Sample, Sampler
from llama_diversity.resolve import resolve_model

CHAIN = "scripted:base"


def recipe_of(engine: Any, model: ModelRef, text: str = "She was", **changes: Any) -> Recipe:
    made = Recipe(
        engine=model.engine,
        engine_build=engine.build,
        model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest,
        prompt=engine.prompt(text),
        sampler=Sampler(),
        seed=7,
        max_tokens=12,
        exact=changes.pop("exact", False),
    )
    return dataclasses.replace(made, **changes)


def as_bytes(samples: Sequence[Sample]) -> dict[tuple[str, int], tuple[str, bytes, bytes]]:
    found = {(s.recipe_key, s.index): (s.finish_reason, s.text, s.tokens.tobytes()) for s in samples}
    assert len(found) == len(samples)
    return found


def drawn(engine: Any, works: Sequence[tuple[Recipe, Sequence[int]]]) -> dict[tuple[str, int], Any]:
    return as_bytes([sample for step in engine.sample_each(works) for sample in step.finished])


class LocalLine:
    """A worker in this process, in the way of the processes; it may be lost after so many messages."""

    def __init__(self, lasts: float = float("inf"), change: Any = None) -> None:
        self.service = Service(lambda model, options, on_load: open_engine(model, options, on_load=on_load))
        self._left, self._change = lasts, change

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise WorkerLost("was lost")
        answer = self.service.answer(message)
        return self._change(answer) if self._change else answer

    def close(self) -> None:
        self.service.close()


@dataclasses.dataclass
class LocalPlace:
    """Starts such workers, one after the other as they are lost; then none."""

    name: str
    lines: Iterator[LocalLine]
    is_ours: bool = False

    def connect(self) -> LocalLine:
        line = next(self.lines, None)
        if line is None:
            raise WorkerLost("cannot be reached")
        return line


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine over workers in this process."""
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.01)
    opened: list[FanOutEngine] = []

    def make(*places: Any, reference: str = CHAIN, notes: list[str] | None = None) -> FanOutEngine:
        heard = [] if notes is None else notes
        monkeypatch.setattr("llama_diversity.engines.fanout.engine.workers_at", lambda typed: Fixed(places))
        options = EngineOptions(workers="2")
        engine = FanOutEngine(resolve_model(reference), options, on_note=heard.append)
        opened.append(engine)
        return engine

    yield make
    for engine in opened:
        engine.close()


def worker(name: str, *lasts: float) -> LocalPlace:
    """One that is lost after each of these numbers of messages, and then stays."""
    return LocalPlace(name, itertools.chain(map(LocalLine, lasts), (LocalLine() for _ in itertools.count())))


# ---- messages


def test_a_message_survives_with_its_arrays_and_bytes() -> None:
    tokens = np.zeros(3, TOKEN_DTYPE)
    tokens["entropy_bits"] = [0.5, np.nan, 2.0]
    rows = np.arange(6, dtype=np.float64).reshape(2, 3)
    message = {"a": [1, {"tokens": tokens}], "b": b"\x00\xff", "rows": rows, "none": None, "big": 2**63}
    found = wire.unpack(wire.pack(message))
    assert found["a"][1]["tokens"].tobytes() == tokens.tobytes()
    assert (found["b"], found["none"], found["big"]) == (b"\x00\xff", None, 2**63)
    assert (found["rows"] == rows).all()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"ldw1", b"xxxx\x02\x00\x00\x00{}", b"ldw1\xff\xff\xff\xff", wire.pack({"a": b"12"})[:-1],
        wire.pack({"a": b"12"}) + b"x", wire.pack({"a": 1}).replace(b'{\\"a\\": 1}', b"[0, 1234]"),
        wire.pack({"a": np.zeros(2, np.float32)}).replace(b"[2]", b"[3]"),
        wire.pack({"a": np.zeros(2, np.float32)}).replace(b"[2]", b"[-2]"),
        wire.pack({"a": np.zeros(2, np.float32)}).replace(b"f4", b"O8"),
        wire.pack({"a": b"1"}).replace(b": 0}", b": 9}"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_malformed(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.unpack(data)


def test_an_error_keeps_its_class_and_sentence() -> None:
    error = wire.to_error(wire.of_error(PromptTooLong(5, 6, 7)))
    assert isinstance(error, PromptTooLong)
    assert str(error) == str(PromptTooLong(5, 6, 7))
    assert type(wire.to_error({"kind": "SystemExit", "words": "No."})) is EngineError


def test_a_service_answers_what_is_malformed_with_a_sentence() -> None:
    service = Service(lambda model, options, on_load: open_engine(model, options))
    for message, words in (
        (b"nonsense", "The message is malformed"),
        (wire.pack({}), "speaks version None"),
        (wire.pack({"version": wire.VERSION}), "cannot be meant"),
        (wire.pack({"version": wire.VERSION, "do": "next", "call": 9, "wait_s": 0}), "knows nothing of that call"),
        (wire.pack({"version": wire.VERSION, "do": "begin", "verb": "eval", "with": {}}), "cannot be meant"),
        (wire.pack({"version": wire.VERSION, "do": "dance"}), "does not know how to 'dance'"),
    ):
        assert words in wire.unpack(service.answer(message))["error"]["words"]


# ---- dealing


def test_a_tray_ends_when_nothing_lies_there_and_goes_on_when_there_is_more() -> None:
    tray = Tray(5, [3])
    indices = iter(tray)
    assert (list(indices), list(indices), len(tray)) == ([3], [], 5)
    tray.put([4, 5])
    assert (tray.n_lying, list(indices)) == (2, [4, 5])


def test_a_deal_gives_every_index_once_and_takes_back_what_was_lost() -> None:
    with closing(open_engine(resolve_model(CHAIN), EngineOptions())) as engine:
        recipe = recipe_of(engine, resolve_model(CHAIN))
    deal = Deal([(recipe, range(1000))], n_workers=4, parallel=None)
    first = deal.take()[recipe]
    assert len(first) == 96  # of 250 each what is drawn at once and half as much again
    given = [*first]
    deal.give_back([(recipe.key, index) for index in (5, 3)])
    again = deal.take()[recipe]
    assert again[:2] == [3, 5]
    given += again[2:]
    assert deal.more(64) == []
    while fed := deal.more(0):
        given += fed
    assert sorted(given) == list(range(1000))
    assert len(fed) == 0
    assert not deal.take()


def test_many_recipes_are_dealt_in_shares_that_shrink() -> None:
    with closing(open_engine(resolve_model(CHAIN), EngineOptions())) as engine:
        recipes = [recipe_of(engine, resolve_model(CHAIN), seed=seed) for seed in range(200)]
    deal = Deal([(recipe, [0]) for recipe in recipes], n_workers=2, parallel=None)
    sizes = []
    while taken := deal.take():
        sizes.append(len(taken))
    assert (sum(sizes), sizes[0]) == (200, 50)
    assert sizes[-1] <= 16
    assert sizes == sorted(sizes, reverse=True)


# ---- one engine over workers


def test_all_verbs_give_what_one_engine_gives(at: Any) -> None:
    model = resolve_model(CHAIN)
    over = at(worker("a"), worker("b"))
    with closing(open_engine(model, EngineOptions())) as alone:
        assert (over.facts, over.build, over.ends, over.fused) == (alone.facts, alone.build, alone.ends, alone.fused)
        recipe = recipe_of(alone, model)
        others = [dataclasses.replace(recipe, seed=seed) for seed in range(50)]
        assert drawn(over, [(recipe, range(150))]) == drawn(alone, [(recipe, range(150))])
        assert over.layout["workers"] == 2
        assert drawn(over, [(one, [3]) for one in others]) == drawn(alone, [(one, [3]) for one in others])
        texts = [alone.tokenize(text) for text in ("She was a poet.", "He", "They are tall.")]
        for text in texts:
            assert over.score(text).tobytes() == alone.score(text).tobytes()
        for ours, theirs in zip(over.score_each(texts), alone.score_each(texts), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        pieces = [(rows.text, rows.start, rows.logits.tobytes()) for rows in over.logits(texts)]
        assert pieces == [(rows.text, rows.start, rows.logits.tobytes()) for rows in alone.logits(texts)]
        read = {"together": 2, "fused": False}
        assert over.reading(texts[0], **read).tobytes() == alone.reading(texts[0], **read).tobytes()
        paths = [(), (3,), (4, 5), (6,)]
        with over.after(recipe.prompt, longest=2) as ours, alone.after(recipe.prompt, longest=2) as theirs:
            np.testing.assert_array_equal(ours(paths), theirs(paths))
            assert ours([]).shape == (0, alone.facts.n_vocab)


@pytest.mark.model
def test_what_is_told_of_a_model_is_what_one_engine_tells(at: Any) -> None:
    over = at(worker("a"), reference="tiny-base")
    with closing(open_engine(resolve_model("tiny-base"), EngineOptions())) as alone:
        assert (over.facts, over.build, over.capabilities) == (alone.facts, alone.build, alone.capabilities)
        stated = read_header(Path(resolve_model("tiny-base").location)).metadata["general.file_type"]
        assert over.facts.description.endswith(gguf.LlamaFileType(stated).name.removeprefix("MOSTLY_"))


def test_what_the_models_of_a_mixture_say_is_told(at: Any) -> None:
    reference = "mix:scripted:base,scripted:aligned,lambda=0.5"
    over = at(worker("a"), reference=reference)
    with closing(open_engine(resolve_model(reference), EngineOptions())) as alone:
        text = alone.tokenize("She was a poet.")
        told, known = over.beside(text), alone.beside(text)
        assert told is not None
        assert known is not None
        assert (told.dtype, told.tobytes()) == (known.dtype, known.tobytes())
    one = at(worker("b"))
    assert one.beside(text) is None
    with pytest.raises(EngineError, match="takes no grammar"):
        one.fits('root ::= "a"', [])


def test_a_lost_worker_loses_nothing(at: Any) -> None:
    model, notes = resolve_model(CHAIN), list[str]()
    over = at(worker("a", 6, 9), worker("b", 7), notes=notes)
    with closing(open_engine(model, EngineOptions())) as alone:
        recipe = recipe_of(alone, model, max_tokens=40)
        assert drawn(over, [(recipe, range(400))]) == drawn(alone, [(recipe, range(400))])
    assert any("was lost. What it had in hand goes to the others." in note for note in notes)


def test_when_none_is_left_the_others_samples_are_kept(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolve_model(CHAIN)
    over = at(LocalPlace("a", iter([LocalLine(7)]), is_ours=True))
    recipe = recipe_of(over, model, max_tokens=200)
    found: list[Sample] = []
    steps = over.sample(recipe, range(5000))
    with pytest.raises(EngineError, match=r"No worker is left: a cannot be reached\."):
        found.extend(sample for step in steps for sample in step.finished)
    assert len(as_bytes(found)) == len(found) > 0


def test_workers_elsewhere_that_stay_away_are_waited_for_only_so_long(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    over = at(LocalPlace("a", iter([LocalLine(6)])))
    monkeypatch.setattr(crews, "_PATIENCE_SECONDS", 0.3)
    recipe = recipe_of(over, resolve_model(CHAIN), max_tokens=200)
    with pytest.raises(EngineError, match=r"No worker is left: a cannot be reached\."):
        drawn(over, [(recipe, range(5000))])


class Hanging(LocalLine):
    """Answers, but a call of its own never gets anywhere."""

    def post(self, message: bytes, *, timeout_s: float) -> bytes:
        if wire.unpack(message)["do"] == "next" and wire.unpack(message)["call"] > 1:
            return wire.pack({"frames": [], "is_done": False, "n_lying": 0, "share": 0.0})
        return super().post(message, timeout_s=timeout_s)


def test_a_worker_that_does_nothing_is_given_up(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, notes = resolve_model(CHAIN), list[str]()
    over = at(worker("a"), LocalPlace("idle", iter([Hanging()])), notes=notes)
    monkeypatch.setattr(crews, "_PATIENCE_SECONDS", 0.2)
    with closing(open_engine(model, EngineOptions())) as alone:
        recipe = recipe_of(alone, model)
        assert drawn(over, [(recipe, range(300))]) == drawn(alone, [(recipe, range(300))])
    assert any(note.startswith("idle has done nothing for ") for note in notes)


def test_a_worker_elsewhere_that_dies_of_its_work_again_and_again_is_given_up(at: Any) -> None:
    over = at(worker("a", *[4] * 50))
    recipe = recipe_of(over, resolve_model(CHAIN), max_tokens=200)
    with pytest.raises(EngineError, match=r"No worker is left: a was lost\."):
        drawn(over, [(recipe, range(5000))])


def test_a_worker_that_comes_late_takes_part(at: Any) -> None:
    model, notes = resolve_model(CHAIN), list[str]()
    gate = threading.Event()

    class Late(LocalPlace):
        def connect(self) -> LocalLine:
            if not gate.is_set():
                raise WorkerLost("cannot be reached")
            return LocalLine()

    over = at(worker("a"), Late("late", iter(())), notes=notes)
    assert notes == ["late cannot be reached; it is tried again as the work goes on."]
    recipe = recipe_of(over, model, max_tokens=60)
    steps = over.sample(recipe, range(3000))
    found = list(next(steps).finished)
    gate.set()
    for step in steps:
        found += step.finished
    assert len(as_bytes(found)) == 3000
    assert "late is back." in notes


@pytest.mark.parametrize("what", ["build", "digest"])
def test_a_worker_that_differs_is_refused_by_name(at: Any, what: str) -> None:
    def other(answer: bytes) -> bytes:
        said = wire.unpack(answer)
        frames = [wire.unpack(frame) for frame in said.get("frames", [])]
        for frame in frames:
            if "build" in frame and what == "build":
                frame["build"] = "another"
            if "facts" in frame and what == "digest":
                frame["facts"]["digest"] = "other weights"
        return wire.pack({**said, **({"frames": [wire.pack(frame) for frame in frames]} if frames else {})})

    odd = LocalPlace("odd", (LocalLine(change=other) for _ in itertools.count()))
    with pytest.raises(EngineError, match=f"(odd|even) disagrees with (even|odd) about the {what}"):
        at(worker("even"), odd)


def test_what_a_worker_refuses_is_raised_with_its_class(at: Any) -> None:
    over = at(worker("a"), worker("b"))
    recipe = recipe_of(over, resolve_model(CHAIN))
    with pytest.raises(EngineError, match="takes no grammar"):
        drawn(over, [(dataclasses.replace(recipe, grammar='root ::= "a"'), range(3))])
    with pytest.raises(PromptTooLong):
        drawn(over, [(dataclasses.replace(recipe, max_tokens=10**6), range(3))])
    with pytest.raises(EngineError, match="ids from 0 to"):
        over.score((1, 10**6))
    assert len(drawn(over, [(recipe, range(3))])) == 3  # and all go on


def test_a_drawing_that_is_given_up_leaves_the_workers_free(at: Any) -> None:
    over = at(worker("a"), worker("b"))
    recipe = recipe_of(over, resolve_model(CHAIN), max_tokens=500)
    steps = over.sample(recipe, range(10**5))
    next(steps)
    steps.close()
    assert len(drawn(over, [(dataclasses.replace(recipe, max_tokens=5), range(9))])) == 9


def test_a_model_that_cannot_be_opened_is_said_as_by_one_engine(at: Any, tmp_path: Path) -> None:
    with pytest.raises(LlamadivError) as alone:
        open_engine(ModelRef("x", "nowhere", "", ""), EngineOptions())
    with pytest.raises(LlamadivError) as over:
        open_engine(ModelRef("x", "nowhere", "", ""), EngineOptions(workers="2"))
    assert str(over.value) == str(alone.value)


@pytest.mark.parametrize("typed", ["0", "-1", "two", "", "257", "1.5", "2 "])
def test_workers_that_cannot_be_meant_are_refused(typed: str) -> None:
    with pytest.raises(BadValue, match="--workers"):
        EngineOptions(workers=typed)


def test_workers_are_looked_at_and_those_that_differ_are_named() -> None:
    def older(answer: bytes) -> bytes:
        return wire.pack({**wire.unpack(answer), "build": "llama-cpp-python 0.1"})

    places = [worker("a"), LocalPlace("old", iter([LocalLine(change=older)])), LocalPlace("gone", iter(()))]
    places.append(LocalPlace("odd", iter([LocalLine(change=lambda answer: b"")])))
    found = look(places)
    assert [one["name"] for one in found] == ["a", "old", "gone", "odd"]
    assert (found[0]["trouble"], found[2]["trouble"]) == (None, "cannot be reached")
    assert found[3]["trouble"].startswith("answers what cannot be read")
    assert found[0]["n_cores"] >= 1
    with closing(open_engine(resolve_model("tiny-base"), EngineOptions(vocabulary_only=True))) as engine:
        assert found[0]["build"] == engine.build
    [words] = differing(found)
    assert words.startswith("old has another build of llama.cpp than a: llama-cpp-python 0.1 there, ")


# ---- processes


def rows_of(store: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store)) as connection:
        return sorted(connection.execute("SELECT recipe, idx, n_tokens, finish_reason, text, statistics FROM samples"))


def test_processes_draw_what_one_does_though_one_is_killed(
    run: Any, run_alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real model under --exact, and byte for byte."""
    lines: list[ProcessLine] = []
    began = ProcessLine.__init__

    def noted(self: ProcessLine) -> None:
        began(self)
        lines.append(self)

    posted = ProcessLine.post

    def killed_once(self: ProcessLine, message: bytes, *, timeout_s: float) -> bytes:
        answer = posted(self, message, timeout_s=timeout_s)
        said = wire.unpack(answer)
        if self is lines[0] and any("finished" in wire.unpack(frame) for frame in said.get("frames", ())):
            os.kill(self.pid, signal.SIGKILL)
        return answer

    command = (
        "sample",
        "-m",
        "tiny-base",
        "-p",
        "She was",
        "-n",
        120,
        "--max-tokens",
        24,
        "--parallel",
        8,
        "--exact",
        "-q",
        "--store",
    )
    assert run_alone(*command, tmp_path / "alone.sqlite") == 0
    monkeypatch.setattr(ProcessLine, "__init__", noted)
    monkeypatch.setattr(ProcessLine, "post", killed_once)
    code, _, err = run(*command, tmp_path / "over.sqlite", "--workers", 2)
    assert (code, "Traceback" in err) == (0, False), err
    assert rows_of(tmp_path / "over.sqlite") == rows_of(tmp_path / "alone.sqlite")
    assert lines[0]._process.returncode == -signal.SIGKILL
    assert all(line._process.poll() is not None for line in lines)


def test_a_study_over_workers_is_the_same_study(run: Any, tmp_path: Path) -> None:
    command = ("compare", "--pair", "scripted", "-p", "She was", "-p", "He is", "-n", 20, "--max-tokens", 8, "--json")
    alone = json.loads(run(*command, "--store", tmp_path / "a.sqlite")[1])
    over = json.loads(run(*command, "--store", tmp_path / "b.sqlite", "--workers", 2)[1])
    assert {**over, "run": None, "command": None} == {**alone, "run": None, "command": None}
