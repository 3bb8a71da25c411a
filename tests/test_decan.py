"""`decan`: what the scorer reads, its numbers against closed forms and a plain reading of every order, and refusals."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from test_llamacpp import opened
from test_scripted import open_scripted

from llama_diversity.engines import PLAIN, Engine
from llama_diversity.metrics.decan import balanced_orders
from llama_diversity.studies.decan.analysis import Codes, analyse
from llama_diversity.studies.decan.gathering import Reader, Task

Run = Callable[..., tuple[int, str, str]]
PAIR = ("--base", "scripted:base", "--aligned", "scripted:aligned")
SMALL = (*PAIR, "-p", "She was", "-p", "He", "-n", 5, "--max-tokens", 6)


# ---- what is read


def spelled(engine: Engine, ids: Sequence[int]) -> str:
    pieces = [engine.piece(token) for token in ids]
    return b"".join(piece.bytes if piece.control is None else piece.control.encode() for piece in pieces).decode()


def task(engine: Engine, form: str, answers: Sequence[str], orders: np.ndarray, *, longest: int = 100) -> Task:
    reader = Reader(engine, PLAIN, form, longest)
    leads = [reader.before("She", k) for k in range(1, len(answers) + 1)]
    return Task(leads, [reader.answer(text) for text in answers], orders)


def test_both_forms_word_for_word() -> None:
    engine, orders = open_scripted("base"), np.array([[[1, 0]]])
    texts = [spelled(engine, ids) for ids in task(engine, "continued", [" was a nurse. \n", "is"], orders).texts()]
    assert texts == [
        "<s>She was a nurse.",
        "<s>Sheis",
        "<s>Sheis\n\nShe was a nurse.",
        "<s>She was a nurse.\n\nShe was a nurse.",
    ]
    texts = [spelled(engine, ids) for ids in task(engine, "listed", ["\n was old", "is "], orders).texts()]
    twice = "<s>She\n\n1. was old\n\n2. was old"
    assert texts == ["<s>She\n\n1. was old", "<s>She\n\n1. is", "<s>She\n\n1. is\n\n2. was old", twice]


def test_long_answers_are_cut_and_their_bytes_counted() -> None:
    reader = Reader(open_scripted("base"), PLAIN, "continued", 2)
    assert reader.answer(" was a nurse")[1:] == (len(" was a"), True)
    assert reader.answer(" was a")[1:] == (len(" was a"), False)


@pytest.mark.model
def test_a_blank_of_the_tokenizer_is_no_byte_of_an_answer(tiny_model: Path) -> None:
    """SentencePiece puts a blank before a text: if an answer begins with one it is that, else it is no part of it."""
    with opened(tiny_model, vocabulary_only=True) as engine:
        reader = Reader(engine, PLAIN, "continued", 100)
        for text in (" was a nurse", "n't a nurse", "é"):
            given = reader.answer(text)
            assert spelled(engine, given.ids) == f" {text.removeprefix(' ')}"
            assert given.n_bytes == len(text.encode())


# ---- numbers


def plainly(
    engine: Engine, prompt: tuple[int, ...], between: tuple[int, ...], answers: Sequence[str], given: Task
) -> Codes:
    """The same by a plain loop: every order scored from its start, the bits of its last tokens summed."""
    ids = [one.ids for one in given.answers]
    n_bytes = [len(text.encode()) for text in answers]

    def last(order: Sequence[int]) -> float:
        text = prompt
        for k, at in enumerate(order):
            text += (between if k else ()) + ids[at]
        bits = engine.score(text)["surprisal_bits"].astype(np.float64)
        return float(bits[len(text) - len(ids[order[-1]]) :].sum()) / n_bytes[order[-1]]

    codes = np.array(
        [[[last(order[: k + 1]) for k in range(len(order))] for order in one] for one in given.orders.tolist()]
    )
    alone = np.array([last([at]) for at in range(len(ids))])
    return Codes(alone, codes, last([0, 0]), np.array(n_bytes), np.zeros(len(ids), np.bool_))


@pytest.mark.model
def test_equal_to_a_plain_reading_of_every_order_on_ten_sets(tiny_model: Path) -> None:
    """Four answers, 8 orders, each beginning scored from its start; a_n is the plain mean of those that are last."""
    said = [" was a nurse.", " is quiet and old", " met a poet!", " became", " saw the sea", " is not a thief", " ran"]
    sets = list(itertools.combinations(said, 4))[:10]
    orders, weights = balanced_orders(4, 8, np.random.default_rng(0))
    with opened(tiny_model) as engine:
        prompt, between = engine.prompt("She").ids, engine.tokenize("\n\nShe")[1:]
        for answers in sets:
            one = task(engine, "continued", answers, orders)
            mine = one.codes(engine.score_each(one.texts()))
            theirs = plainly(engine, prompt, between, answers, one)
            for name in ("alone", "codes", "copied", "n_bytes"):
                np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=5e-3, err_msg=name)
            found = analyse({"arm": {1: mine}}, {1: orders}, weights).arms["arm"]
            a_n = np.mean([theirs.codes[:, :, -1] @ weights])
            c = 2 ** -theirs.alone.mean()
            expected = {"a_n": a_n, "a_1": theirs.alone.mean(), "coherence": c, "decan": c * a_n}
            for name, value in expected.items():
                assert found.measures[name].mean == pytest.approx(value, abs=5e-3), name


def test_a_chain_forgets() -> None:
    """Behind "She", or a number and its dot, every place is alike: a_k is flat, and what it is the chain's rows tell.

    "She" is followed by a verb, " was" with 6/13 and 1/512 of strays, 4 bytes; then " a" behind a verb.
    """
    engine, (orders, weights) = open_scripted("base"), balanced_orders(3, 6, np.random.default_rng(0))
    answers = [" was a nurse", " is old", " met"]
    for form in ("continued", "listed"):
        one = task(engine, form, answers, orders)
        found = analyse({"arm": {1: one.codes(engine.score_each(one.texts()))}}, {1: orders}, weights)
        curve = [at.mean for at in found.arms["arm"].curve]
        assert curve == pytest.approx([curve[0]] * 3, abs=1e-5)
        assert found.copy == pytest.approx(1, abs=1e-5)
        assert found.is_blind
        assert found.arms["arm"].se_orders == pytest.approx(0, abs=1e-7)
    one = task(engine, "continued", [" was"] * 2, np.array([[[0, 1]]] * 2))
    codes = one.codes(engine.score_each(one.texts()))
    n_vocab = engine.facts.n_vocab
    p = (511 / 512) * 6 / 13 + 1 / 512 / n_vocab
    assert codes.codes == pytest.approx(np.full((2, 1, 2), -math.log2(p) / 4), abs=1e-5)


def test_numbers_from_code_lengths_by_hand() -> None:
    """Two answers, both orders in each of two sets; arm b's answers are copies, which a good scorer takes for nothing.

    a, first prompt: alone 2 and 4, behind the other 1 and 3: a_1 3, a_n 2, C 1/8, D 1/4; second: 1 and 1, a_n 1,
    C 1/2, D 1/2. b: a_n 0 on both, alone 1: C 1/2, D 0.
    """
    orders = np.array([[[0, 1], [1, 0]]] * 2)
    n_bytes, whole = np.array([5, 7]), np.zeros(2, np.bool_)
    a = {
        1: Codes(np.array([2.0, 4.0]), np.array([[[2.0, 3.0], [4.0, 1.0]]] * 2), 0.5, n_bytes, whole),
        4: Codes(np.array([1.0, 1.0]), np.ones((2, 2, 2)), 0.5, n_bytes, whole),
    }
    copies = Codes(np.ones(2), np.array([[[1.0, 0.0], [1.0, 0.0]]] * 2), 0.0, n_bytes, ~whole)
    found = analyse({"a": a, "b": {1: copies, 4: copies}}, {1: orders, 4: orders}, np.array([0.5, 0.5]))
    assert (found.n, found.n_sets, found.n_orders) == (2, 2, 4)
    means = {name: one.mean for name, one in found.arms["a"].measures.items()}
    assert means == {"a_n": 1.5, "a_1": 2.0, "fall": 0.5, "coherence": (1 / 8 + 1 / 2) / 2, "decan": 3 / 8}
    assert [one.number for one in found.arms["a"].prompts] == [1, 4]
    assert [at.mean for at in found.arms["b"].curve] == [1, 0]
    against = found.differences["b"]
    assert (against["a_n"].change.mean, against["a_n"].ratio) == (-1.5, 0)
    half = 12.706205 * 0.5  # differences -2 and -1: se 1/2, t of one degree of freedom
    assert against["a_n"].change.low == pytest.approx(-1.5 - half, abs=1e-5)
    assert found.copy == (0.5 + 0.5) / (2 + 1 + 1 + 1)
    assert (found.arms["b"].share_cut, found.arms["b"].mean_bytes) == (1, 6)


# ---- the command


def test_the_command_writes_all_and_reads_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = ("--store", tmp_path / "store.sqlite")
    code, out, error = run("decan", *SMALL, *store, "--out", tmp_path / "out", "--json")
    assert code == 0, error
    report = json.loads(out)
    assert report["form"] == "continued"
    assert (report["n"], report["orders"], report["sets"], report["scorer"]) == (5, 32, 4, "scripted:base")
    assert report["arms"]["base"]["fall"]["mean"] == pytest.approx(0, abs=1e-6)
    assert len(report["arms"]["base"]["curve"]) == 5
    files = {path.name for path in (tmp_path / "out").iterdir()}
    tables = ("a-k", "by-prompt", "differences", "read", "values")
    assert {f"decan-{name}.csv" for name in tables} | {"decan.json", "index.html", "decan-curve.svg"} <= files

    def never(*_: object, **__: object) -> None:
        raise AssertionError("read a second time")

    monkeypatch.setattr("llama_diversity.engines.scripted.ScriptedEngine.score_each", never)
    assert run("decan", *SMALL, *store)[0] == 0
    code, out, error = run("report", "last", *store, "--out", tmp_path / "again", "--json")
    assert code == 0, error
    assert json.loads(out)["decan"]["arms"] == report["arms"]


def test_a_chain_as_scorer_is_told_to_be_blind(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("decan", *SMALL, "--store", tmp_path / "s.sqlite")
    assert code == 0
    assert "does not see that answers repeat each other" in " ".join(out.split())


def test_arms_that_chat_are_listed(run: Run, tmp_path: Path) -> None:
    arms = ("--arm", "raw=scripted:base", "--arm", "chat=scripted:aligned,chat")
    asked = ("-p", "Who is she?", "-n", 4, "--max-tokens", 8, "--store", tmp_path / "s.sqlite", "--json")
    code, out, error = run("decan", *arms, *asked)
    assert code == 0, error
    report = json.loads(out)
    assert report["form"] == "listed"
    assert report["arms"]["raw"]["a_n"] == {"mean": report["arms"]["raw"]["a_n"]["mean"], "low": None, "high": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-n", 1), "-n is 1"),
        (("--permutations", 0), "--permutations is 0; it must lie between 1 and 1000"),
        (("--cut", 0), "--cut is 0; read at least 1 token of an answer"),
        (("-n", 2000), "-n is 2000; 2000 answers of 6 tokens and what stands before them have"),
        (("-n", 900, "--cut", 20), "-n 3"),
    ],
)
def test_what_no_scorer_can_read_is_refused_before_sampling(
    words: tuple[object, ...], said: str, run: Run, tmp_path: Path
) -> None:
    code, out, error = run("decan", *SMALL, *words, "--store", tmp_path / "s.sqlite")
    assert (code, out) == (2, "")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("b=scripted:aligned,n=7", "--arm b is 'n=7'; of every arm as many answers are read: say -n"),
        ("b=scripted:aligned,chat", "b's answers do not go on from their prompt"),
    ],
)
def test_arms_that_do_not_fit_are_refused(arm: str, said: str, run: Run, tmp_path: Path) -> None:
    arms = ("--arm", "a=scripted:base", "--arm", arm, "--form", "continued")
    code, _, error = run("decan", *arms, "--store", tmp_path / "s.sqlite")
    assert code == 2
    assert said in error
