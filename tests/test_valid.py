"""Exact validity and diversity on known sets: closed forms, all spellings by hand, the order of tokens, refusals."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scripted_work import open_scripted

from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.scripted import transition
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece
from llama_diversity.studies.valid import study as study_of_valid
from llama_diversity.studies.valid.analysis import Answers, Plan, Said, entropy_bits, oracle, overlap, plan, walk
from llama_diversity.studies.valid.exhibits import OfSet
from llama_diversity.studies.valid.order import INVALID, STOPS, Run, best, runs
from llama_diversity.studies.valid.sets import read_sets, shipped
from llama_diversity.studies.valid.vocabulary import Vocabulary, goes_on

TINY = 1e-300  # every spelling is followed


def vocabulary(*words: str) -> Vocabulary:
    """Token 0 ends the text, the others spell `words`."""
    return Vocabulary([Piece(b"", "</s>"), *(Piece(word.encode()) for word in words)], frozenset({0}))


def planned(vocab: Vocabulary, *answers: str | tuple[str, ...]) -> Plan:
    forms = tuple((one,) if isinstance(one, str) else one for one in answers)
    return plan(Answers(forms), vocab, lambda text: ())


def alike(*p: float) -> Callable[[Sequence[tuple[int, ...]]], np.ndarray]:
    """The same next token after every path."""
    assert sum(p) == pytest.approx(1)
    with np.errstate(divide="ignore"):
        row = np.log(np.array(p))
    return lambda paths: np.array([row] * len(paths))


# ---- what an output says, by hand


def test_one_and_eleven_by_hand() -> None:
    """End .4, "1" .3, "11" .1, "." .2, the same behind every path, so a word ends with probability .6.

    p("1") = .3 x .6; p("11") = (.1 + .3 x .3) x .6; "." is the likeliest invalid beginning, and then "111": what has
    begun with 11 and goes on with either, (.1 + .09) x .4, in two tokens each.
    """
    found = walk(alike(0.4, 0.3, 0.1, 0.2), planned(vocabulary("1", "11", "."), "1", "11"), least=TINY, longest=9)
    assert found.p == pytest.approx((0.18, 0.114), rel=1e-12)
    assert found.validity == pytest.approx(0.294)
    assert found.left_out == 0
    by_text = {one.text: one.probability for one in found.invalid}
    assert by_text["</s>"] == pytest.approx(0.4)
    assert by_text["."] == pytest.approx(0.2)
    assert by_text["111"] == pytest.approx(0.19 * 0.3 + 0.3 * 0.1)  # 11 and 1; and 1 and 11
    assert by_text["1111"] == pytest.approx(0.19 * 0.1)
    assert sum(by_text.values()) + found.validity == pytest.approx(1)


def test_a_longer_answer_is_not_the_shorter_one() -> None:
    """Tokens "Guinea" .5, "-Bissau" .2, "n" .1, "-" .1, end .1.

    Guinea and then no letter: .5 x (.2 + .1 + .1). Of these Guinea-Bissau: .5 x .2 and a word's end again, .4.
    """
    vocab = vocabulary("Guinea", "-Bissau", "n", "-")
    found = walk(alike(0.1, 0.5, 0.2, 0.1, 0.1), planned(vocab, "Guinea", "Guinea-Bissau"), least=TINY, longest=9)
    assert found.p == pytest.approx((0.2 - 0.04, 0.04), rel=1e-12)
    assert {one.text for one in found.invalid} == {"</s>", "-Bissau", "n", "-", "Guinean", "GuineaGuinea"}


def test_words_end_within_a_token() -> None:
    """ "Mali." ends it in one token, "Malian" does not; behind " Mali" any token that is no letter."""
    vocab = vocabulary("Mali.", "Malian", " Mali", "a", " ")
    found = walk(alike(0.1, 0.3, 0.2, 0.1, 0.1, 0.2), planned(vocab, "Mali", "Malaga"), least=TINY, longest=9)
    # "Mali." .3; " Mali" and then the end, " Mali" or " ": .1 (.1 + .1 + .2); " " and "Mali.": .2 x .3.
    assert found.p == pytest.approx((0.3 + 0.04 + 0.06, 0.0), rel=1e-12)


def test_forms_of_one_answer_are_added_up() -> None:
    vocab = vocabulary("Czechia", "Czech", " Republic", "Chad")
    answers = (("Czechia", "Czech Republic"), "Chad")
    found = walk(alike(0.2, 0.3, 0.1, 0.2, 0.2), planned(vocab, *answers), least=TINY, longest=9)
    # A word ends by the end or " Republic": .4. Czechia .3 x .4; Czech Republic .1 x .2 x .4; Chad .2 x .4.
    assert found.p == pytest.approx((0.12 + 0.008, 0.08), rel=1e-12)


def test_letters_marks_and_halves_of_letters_go_on() -> None:
    assert [goes_on(text.encode()) for text in ("é", "²", "\u0301", "字", "’", "\n")] == [True] * 4 + [False] * 2
    assert goes_on("é".encode()[:1])


# ---- a chain, all spellings


def spelled_by_hand(matrix: np.ndarray, pieces: Sequence[Piece], text: bytes, last: int) -> float:
    """The probability that a chain that stands at `last` says `text` and then ends the word: over all segmentations."""
    if not text:
        ends = [one for one, piece in enumerate(pieces) if not goes_on(piece.bytes)]
        return float(matrix[last, ends].sum())
    total = 0.0
    for token, piece in enumerate(pieces):
        if piece.bytes and text.startswith(piece.bytes):
            total += matrix[last, token] * spelled_by_hand(matrix, pieces, text[len(piece.bytes) :], token)
        elif piece.bytes.startswith(text) and not goes_on(piece.bytes[len(text) :]):
            total += matrix[last, token]
    return total


@pytest.mark.parametrize("name", ["base", "aligned", "homing"])
def test_a_scripted_chain_over_all_spellings(name: str) -> None:
    nouns = ("nurse", "sailor", "king")
    with contextlib.closing(open_scripted(name)) as engine:
        pieces = [engine.piece(token) for token in range(engine.facts.n_vocab)]
        made = planned(Vocabulary(pieces, engine.ends), *nouns)
        prompt = engine.prompt("She was a")
        with engine.after(prompt, longest=9) as log_p:
            found = walk(log_p, made, least=1e-40, longest=9)
    for noun, p in zip(nouns, found.p, strict=True):
        by_hand = sum(
            spelled_by_hand(transition(name), pieces, text.encode(), prompt.ids[-1]) for text in (noun, f" {noun}")
        )
        assert p == pytest.approx(by_hand, rel=1e-9)
    if name == "homing":  # after "a" surely " nurse", then surely ". "
        assert found.p == (1.0, 0.0, 0.0)


# ---- validity, diversity, and what is lost


def test_the_numbers_of_two_answers_by_hand() -> None:
    """a .5, x .3, b .2, and then surely the end. V = .7; overlap (sqrt .5 + sqrt .2)^2 / 2 = (.7 + 2 sqrt .1) / 2.

    In order the best is sqrt(w) proportional to (1, 1/2, 1/2), overlap 1.5 / 2: w = (2/3, 1/6, 1/6).
    """
    vocab = vocabulary("a", "x", "b")

    def log_p(paths: Sequence[tuple[int, ...]]) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log([[1.0, 0, 0, 0] if path else [0, 0.5, 0.3, 0.2] for path in paths])

    found = walk(log_p, planned(vocab, "a", "b"), least=TINY, longest=3)
    assert found.p == pytest.approx((0.5, 0.2))
    assert found.validity == pytest.approx(0.7)
    h = -(5 / 7 * math.log2(5 / 7) + 2 / 7 * math.log2(2 / 7))
    assert (found.entropy_bits, found.effective, found.diversity) == pytest.approx((h, 2**h, 2**h / 2))
    assert found.allowed == pytest.approx((2 / 3, 1 / 6))
    assert found.order_loss == pytest.approx(0.25)
    assert found.shape_loss == pytest.approx(0.75 - (0.7 + 2 * math.sqrt(0.1)) / 2)
    assert 1 - found.order_loss - found.shape_loss == pytest.approx(overlap(found.p))


def test_ranked_first_but_uneven_is_shape_alone() -> None:
    vocab = vocabulary("a", "b", "x")

    def log_p(paths: Sequence[tuple[int, ...]]) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log([[1.0, 0, 0, 0] if path else [0, 0.6, 0.3, 0.1] for path in paths])

    found = walk(log_p, planned(vocab, "a", "b"), least=TINY, longest=3)
    assert found.order_loss == 0
    assert found.allowed == pytest.approx((0.5, 0.5))
    assert found.shape_loss == pytest.approx(1 - (0.9 + 2 * math.sqrt(0.18)) / 2)


def random_world(seed: int) -> tuple[Plan, Callable[[Sequence[tuple[int, ...]]], np.ndarray], Vocabulary]:
    """Five answers of one and two tokens, one of them the beginning of others, and a random row for every path."""
    vocab = vocabulary("a", "b", "c", "d", ".", ",", " ")
    made = planned(vocab, "a", "ab", "ac", "bd", "c")

    def log_p(paths: Sequence[tuple[int, ...]]) -> np.ndarray:
        rows = [np.random.default_rng((seed, *path)).random(len(vocab.pieces)) ** 3 for path in paths]
        return np.log([row / row.sum() for row in rows])

    return made, log_p, vocab


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_and_no_cut_gets_beyond_what_the_order_allows(seed: int) -> None:
    """Of usual spellings alone; the allowed weights reach the bound, and keep the order of every step."""
    made, log_p, _ = random_world(seed)
    found = walk(log_p, made, least=1.0, longest=2)
    bound = overlap(found.allowed)
    assert overlap(found.p) <= bound + 1e-9
    for temperature, k in itertools.product((0.3, 1, 3, 1e3), range(1, 9)):

        def heated(rows: np.ndarray, is_first: bool, t: float = temperature, k: int = k) -> np.ndarray:  # noqa: FBT001
            rows = rows / t
            rows[rows < np.sort(rows, axis=1)[:, -k][:, None]] = -np.inf
            return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))

        other = walk(log_p, made, drawn=heated, least=1.0, longest=2)
        assert overlap(other.p) <= bound + 1e-9
        assert other.allowed == pytest.approx(found.allowed)  # of the model's own order, whatever is drawn from


@pytest.mark.parametrize("seed", range(4))
def test_the_best_weights_of_a_step_are_those_of_a_slow_search(seed: int) -> None:
    """Mixtures of uniform cuts are all the weights that fall along the ranks: a general optimiser over these."""
    from scipy.optimize import minimize

    random = np.random.default_rng(seed)
    kinds = random.permutation([7, 8, 9, *[INVALID] * 4, *[STOPS] * (3 if seed % 2 else 0)])
    below = {7: 0.3, 8: 1.0, 9: 0.8}
    ordered = [Run(int(kind), 1) for kind in kinds]

    def lost(z: np.ndarray) -> float:
        shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        w = (shares[None, :] * np.tril(np.ones((len(z), len(z)))).T / np.arange(1, len(z) + 1)).sum(axis=1)
        going_on = sum(math.sqrt(w[at]) * below[kind] for at, kind in enumerate(kinds) if kind >= 0)
        return -going_on - math.sqrt(w[kinds == STOPS].sum())

    slow = min(minimize(lost, random.normal(size=len(kinds)), method="BFGS").fun for _ in range(4))
    assert best(ordered, below).value == pytest.approx(-slow, rel=1e-5)


def test_the_order_of_equal_and_of_impossible_tokens() -> None:
    with np.errstate(divide="ignore"):
        row = np.log([0.4, 0.4, 0.2, 0.0])
    assert runs(row, [1], None, []) == [Run(1, 1), Run(INVALID, 1)]  # of equally likely ones the valid one first
    assert runs(row, [2], None, [0]) == [Run(INVALID, 1), Run(2, 1)]  # 0 spells an answer in another way
    assert runs(row, [3], None, []) == []
    assert best([], {3: 1.0}).value == 0


def test_an_oracle_reaches_the_corner() -> None:
    vocab = vocabulary("1", "11", ".", "Guinea", "-Bissau", "-")
    found = oracle(planned(vocab, "1", "11", "Guinea", "Guinea-Bissau"))
    assert (found.validity, found.diversity) == pytest.approx((1, 1), abs=1e-12)
    assert (found.order_loss, found.shape_loss) == pytest.approx((0, 0), abs=1e-12)


def test_answers_without_tokens_are_never_said() -> None:
    made = planned(vocabulary("a", "b"), "a", "b", "ä")
    found = oracle(made)
    assert found.p == pytest.approx((0.5, 0.5, 0.0))
    assert OfSet((found,), found).n_spelled == 2
    assert OfSet((found,), found).is_sound
    assert not OfSet((found,), Said((0.5, 0.4, 0.0), 0.0, (), 1, (0.5, 0.5, 0.0))).is_sound


def test_nothing_valid_has_no_diversity() -> None:
    assert math.isnan(entropy_bits([0.0, 0.0]))
    assert overlap([0.0, 0.0]) == 0


# ---- the tiny pair


@pytest.fixture(scope="module")
def tiny(plain_pair: dict[str, Path]) -> Engine:
    from llama_diversity.resolve import resolve_model

    with contextlib.closing(open_engine(resolve_model(str(plain_pair["base"])), EngineOptions(n_threads=1))) as engine:
        yield engine


def test_usual_spellings_are_what_score_says_of_them(tiny: Engine) -> None:
    """Each answer read by itself: exp of minus its surprisals, times the mass of what does not go on with a word."""
    [months] = read_sets(["months"])
    pieces = Vocabulary([tiny.piece(token) for token in range(tiny.facts.n_vocab)], tiny.ends)
    made = plan(months.answers, pieces, lambda text: tiny.tokenize(text, Asking(start="none")))
    prompt = tiny.prompt(months.raw[0])
    with tiny.after(prompt, longest=made.longest) as log_p:
        found = walk(log_p, made, least=1.0, longest=made.longest)
    for month, p in zip(months.answers.names, found.p, strict=True):
        ids = tiny.tokenize(f"{prompt.text} {month}")
        bits = tiny.score(ids)["surprisal_bits"][len(prompt.ids) :].sum(dtype=np.float64)
        [last] = [rows.logits[-1].astype(np.float64) for rows in tiny.logits([(*ids, ids[-1])])]
        stops = np.exp(last - last.max()) @ pieces.stops / np.exp(last - last.max()).sum()
        assert p == pytest.approx(2.0**-bits * stops, rel=2e-3)
    assert found.left_out > 0


def test_all_spellings_of_a_word_by_brute_force(tiny: Engine) -> None:
    """May: every way to cut " May" and "May" into tokens of the vocabulary, each read by itself."""
    pieces = Vocabulary([tiny.piece(token) for token in range(tiny.facts.n_vocab)], tiny.ends)
    made = planned(pieces, "May", "June")
    prompt = tiny.prompt("She was born in the month of")
    with tiny.after(prompt, longest=9) as log_p:
        found = walk(log_p, made, least=TINY, longest=9)

    def cuts(text: bytes) -> list[tuple[int, ...]]:
        ends = range(1, len(text) + 1)
        ways = [(one, *rest) for n in ends for one in pieces.ids.get(text[:n], ()) for rest in cuts(text[n:])]
        return ways if text else [()]

    total = 0.0
    for ids in (*cuts(b" May"), *cuts(b"May")):
        whole = (*prompt.ids, *ids)
        [logits] = [np.array(rows.logits, np.float64) for rows in tiny.logits([(*whole, 0)])]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        total += p[range(len(prompt.ids) - 1, len(whole) - 1), ids].prod() * p[-1, pieces.stops].sum()
    crossing = [piece for piece in pieces.ids for end in (b" May", b"May", b"ay", b"y") if piece.startswith(end)]
    assert [piece for piece in crossing if piece not in (b"ay", b"y", b" May") and not goes_on(piece[-1:])] == []
    assert len(cuts(b" May")) > 3
    assert found.p[0] == pytest.approx(total, rel=2e-3)
    assert found.left_out == 0


# ---- the command

SET = 'prompt = "She was a"\nanswers = ["nurse", ["sailor", "seaman"], "king"]\n'


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text(SET, "utf-8")
    return path


def test_the_command_and_its_files(run: Callable, jobs: Path, tmp_path: Path) -> None:
    arms = ("--arm", "wide=scripted:base", "--arm", "sharp=scripted:aligned,chat", "--set", jobs)
    code, out, _ = run("valid", *arms, "--json", "--out", tmp_path / "files")
    assert code == 0
    report = json.loads(out)
    wide = report["arms"]["wide"]["sets"]["jobs"]
    assert (wide["n_answers"], wide["n_spelled"]) == (3, 3)
    assert wide["oracle"] == pytest.approx({"validity": 1.0, "diversity": 1.0}, abs=1e-9)
    assert wide["validity"] == pytest.approx(sum(wide["wordings"][0]["p"].values()))
    assert wide["validity"] + wide["order_loss"] > 0
    assert (
        report["command"] == f"llamadiv valid --arm wide=scripted:base --arm sharp=scripted:aligned,chat --set {jobs}"
    )
    rows = list(csv.DictReader((tmp_path / "files/valid-answers.csv").read_text("utf-8").splitlines()))
    assert [row["answer"] for row in rows] == ["nurse", "sailor", "king"] * 2
    assert float(rows[0]["probability"]) == wide["wordings"][0]["p"]["nurse"]
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names >= {"valid-plane.svg", "valid-sets.csv", "valid-wordings.csv", "valid.json", "index.html"}


def test_a_page_of_80_columns_and_the_same_from_the_cache(
    run: Callable, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("valid", "-m", "scripted:base", "--set", jobs)
    code, out, _ = run(*words)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "model: 22." in out
    assert "jobs" in out
    monkeypatch.setattr(study_of_valid, "walk", lambda *work, **named: pytest.fail("it asked the model again"))
    assert run(*words)[1] == out


def test_greedy_says_one_answer(run: Callable, jobs: Path) -> None:
    """Behind "She was a" the likeliest token is " nurse" (8/17 x 5/21), before " quiet" (8/17 x 3/14)."""
    report = json.loads(run("valid", "--arm", "greedy=scripted:base,T=0", "--set", jobs, "--json")[1])
    said = report["arms"]["greedy"]["sets"]["jobs"]
    assert said["wordings"][0]["p"] == {"nurse": 1.0, "sailor": 0.0, "king": 0.0}
    assert (said["validity"], said["effective"]) == (1.0, 1.0)
    plain = json.loads(run("valid", "-m", "scripted:base", "--set", jobs, "--json")[1])["arms"]["model"]["sets"]["jobs"]
    assert said["order_loss"] == pytest.approx(plain["order_loss"])  # the model's own


def test_nothing_valid_is_no_diversity_anywhere(run: Callable, tmp_path: Path) -> None:
    """Greedy behind " a" says nurse, so of two other answers none."""
    (tmp_path / "none.toml").write_text("raw = ['She was a', 'He was a']\nanswers = ['king', 'child']", "utf-8")
    words = ("valid", "--arm", "greedy=scripted:base,T=0", "--set", tmp_path / "none.toml", "--out", tmp_path / "out")
    report = json.loads(run(*words, "--json")[1])["arms"]["greedy"]
    assert report["sets"]["none"]["validity"] == 0
    assert report["sets"]["none"]["diversity"] is None
    assert report["mean"]["effective"] is None
    assert "greedy: 0 % of its outputs are valid answers, spread like – of the answers" in " ".join(
        run(*words)[1].split()
    )


def test_a_cut_by_hand(run: Callable, jobs: Path) -> None:
    """The two likeliest behind " a" are " nurse" (8/17 x 5/21) and " quiet" (8/17 x 3/14)."""
    report = json.loads(run("valid", "--arm", "cut=scripted:base,top_k=2", "--set", jobs, "--json")[1])
    p = report["arms"]["cut"]["sets"]["jobs"]["wordings"][0]["p"]
    with contextlib.closing(open_scripted("base")) as engine:
        [last] = engine.tokenize(" a", Asking(start="none"))
        row = transition("base")[last]
        nurse, quiet = (engine.tokenize(word, Asking(start="none"))[0] for word in (" nurse", " quiet"))
    assert set(np.argsort(row)[-2:].tolist()) == {nurse, quiet}
    assert row[nurse] / (row[nurse] + row[quiet]) == pytest.approx(5 / 21 / (5 / 21 + 3 / 14), rel=1e-2)
    assert p["nurse"] == pytest.approx(row[nurse] / (row[nurse] + row[quiet]))
    assert p["king"] == 0


def test_a_temperature_of_the_first_token_alone(run: Callable, jobs: Path) -> None:
    """Behind " a" as at T = 0, behind " nurse" as the model says: any end of a word."""
    report = json.loads(run("valid", "--arm", "a=scripted:base,first_T=0", "--set", jobs, "--json")[1])
    p = report["arms"]["a"]["sets"]["jobs"]["wordings"][0]["p"]
    with contextlib.closing(open_scripted("base")) as engine:
        [nurse] = engine.tokenize(" nurse", Asking(start="none"))
        stops = [one for one in range(engine.facts.n_vocab) if not goes_on(engine.piece(one).bytes)]
    assert p["nurse"] == pytest.approx(transition("base")[nurse, stops].sum())
    assert p["nurse"] < 1
    assert p["sailor"] == 0


def test_a_mixture_is_an_arm_like_any_other(run: Callable, jobs: Path) -> None:
    """The geometric mean of a chain with itself sharpened: all of one end is that end."""
    arms = ("--arm", "end=scripted:aligned", "--arm", "mix=mix:scripted:base,scripted:aligned,lambda=1")
    report = json.loads(run("valid", *arms, "--set", jobs, "--json")[1])
    end, mixed = (report["arms"][name]["sets"]["jobs"]["wordings"][0]["p"] for name in ("end", "mix"))
    assert mixed == pytest.approx(end, rel=1e-4)


def test_digits_months_and_the_rest_are_what_they_say() -> None:
    sizes = {one.name: len(one.answers.names) for one in read_sets(())}
    assert sizes == {"digits": 55, "months": 12, "weekdays": 7, "states": 50, "elements": 118, "countries": 249,
                     "primes": 25}  # fmt: skip
    assert list(sizes) == shipped()
    by_name = {one.name: one for one in read_sets(())}
    assert all(sum(map(int, one)) == 9 and len(one) == 3 for one in by_name["digits"].answers.names)
    assert by_name["elements"].answers.forms[12] == ("aluminium", "Aluminium", "aluminum", "Aluminum")
    assert read_sets(["digits-2-3"])[0].answers.names == ["03", "12", "21", "30"]
    assert read_sets(["digits-2-3"])[0].raw[0] == "A string of 2 digits whose digits add up to 3 is"
    for one in by_name.values():
        assert len(one.raw) == len(one.chat) == 3
        assert not any(text.endswith(" ") for text in one.raw)


def test_files_of_lines_and_of_json(tmp_path: Path) -> None:
    (tmp_path / "planets.txt").write_text("A planet is\nMars\nVenus\n\n", "utf-8")
    [planets] = read_sets([str(tmp_path / "planets.txt")])
    assert (planets.raw, planets.chat, planets.answers.names) == (("A planet is",), ("A planet is",), ["Mars", "Venus"])
    lines = [{"prompt": "A", "answers": ["x", "y"]}, {"name": "b", "chat": ["B"], "answers": [["x", "z"], "y"]}]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    one, two = read_sets([str(tmp_path / "two.jsonl")])
    assert (one.name, two.name, two.raw, two.answers.forms) == ("two-1", "b", (), (("x", "z"), ("y",)))


BAD_SETS = {
    "prompt = 3\nanswers = ['a', 'b']": "prompt is a text or a list of texts",
    "answers = ['a', 'b']": "it has no prompt; write raw, chat or prompt",
    "prompt = 'x'": "it has no answers; write all that are valid",
    "prompt = 'x'\nanswers = ['a']": "a set has two answers or more",
    "prompt = 'x'\nanswers = ['a', '']": "an answer is empty",
    "prompt = 'x'\nanswers = ['a', 'b', 'a']": "the answer “a” is there twice; leave one out",
    "prompt = 'x'\nanswers = ['a', ['b', 'a']]": "the answer “a” is there twice; leave one out",
    "prompt = 'x'\nanswers = ['a', ' b']": "the answer ' b' has blanks around it",
    "prompt = 'x'\nanswers = ['a', 3]": "3 is no answer; it is a text, or a list of its forms",
    "prompt = 'x'\nanswers = 'a'\nweights = [1]": "“weights” is unknown",
    "prompt = ['x', 'x']\nanswers = ['a', 'b']": "prompt has the same wording twice",
    "prompt = ": "it is no TOML",
}


@pytest.mark.parametrize(("text", "said"), BAD_SETS.items())
def test_sets_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(text, "utf-8")
    with pytest.raises(BadValue, match="--set") as refused:
        read_sets([str(tmp_path / "bad.toml")])
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "scripted:base", "--set", "moons"), "it is no file, and the sets are digits, months"),
        (("-m", "scripted:base", "--set", "digits-9-1"), "N is 1 to 6 digits"),
        (("-m", "scripted:base", "--set", "digits-6-27"), "strings have this sum, and at most 2,000 are asked"),
        (("-m", "scripted:base", "--set", "months", "--set", "months"), "it is there twice"),
        (("-m", "scripted:base", "--least", "0"), "--least is 0.0; it is a probability above 0, at most 1."),
        (("-m", "scripted:base", "--pair", "tiny"), "Name one model by -m, or arms by --arm"),
        (("--arm", "a=scripted:base,n=30"), "--arm a is 'n=30'; nothing is sampled here; leave it out."),
        (("--arm", "a=scripted:base,seed=3"), "--arm a is 'seed=3'; nothing is sampled here; leave it out."),
        (("--arm", "a=scripted:base,T=0,top_k=3"), "--arm a is 'top_k=3'"),
        (("--arm", "a=scripted:base,ask=listed"), "--arm a is 'ask=listed'; such an output is no answer by itself"),
        (("--arm", "a=scripted:base,chat", "--set", "months"), "has no chat template"),
    ],
)
def test_what_it_refuses(run: Callable, options: tuple[object, ...], said: str) -> None:
    code, out, err = run("valid", *options)
    assert code != 0
    assert out == ""
    assert said in " ".join(err.split())
    assert err.count("\n") == 1


def test_a_raw_set_asked_by_chat(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "raw.toml").write_text("raw = 'x'\nanswers = ['a', 'b']", "utf-8")
    err = run("valid", "--arm", "a=scripted:aligned,chat", "--set", tmp_path / "raw.toml")[2]
    assert "--set is 'raw'; it has no chat prompt, and the arm a asks chat." in err


def test_a_pair_of_the_environment_gives_way(run: Callable, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMADIV_PAIR", "tiny")
    report = json.loads(run("valid", "-m", "scripted:base", "--set", jobs, "--json")[1])
    assert list(report["arms"]) == ["model"]


def test_an_interrupted_run_says_what_is_kept(run: Callable, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*work: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study_of_valid, "walk", stop)
    code, _, err = run("valid", "-m", "scripted:base", "--set", jobs)
    assert (code, err) == (130, "llamadiv: Interrupted. What was finished is kept; the same command does the rest.\n")
