"""Does the answer survive? Answers by hand, searches against full enumeration and closed forms, the command."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scripted_work import open_scripted

from llama_diversity.engines import EngineOptions, TokenPath, open_engine
from llama_diversity.engines.scripted import EOS, transition, vocabulary
from llama_diversity.metrics.inference import wilson
from llama_diversity.records import ModelRef
from llama_diversity.studies.reframe.analysis import LEAST, analyse, attractors_of, count
from llama_diversity.studies.reframe.answers import (
    FUNCTION_WORDS,
    Place,
    Rule,
    Vocabulary,
    at_end,
    first_place,
    key_of,
    prefix_of,
    read_on,
)
from llama_diversity.studies.reframe.search import CLOSE, Answers, Bounds, search
from llama_diversity.studies.reframe.specs import shipped
from llama_diversity.text import words, words_so_far

ENDS = frozenset({1})


# ---- what an answer is


@pytest.mark.parametrize(
    ("prompt", "continuation", "n_words", "expected"),
    [
        ("Grace Hopper was", " a nurse. ", 1, ("nurse",)),
        ("Grace Hopper was", " Hopper was the nurse who", 1, ("nurse",)),  # the prompt's words are passed over
        ("Grace Hopper was", "n't a nurse.", 1, ("nurse",)),  # "wasn't" began in the prompt
        ("Grace Hopper was", " not a nurse.", 1, ("not",)),
        ("Grace Hopper was", " a kind old nurse ", 2, ("kind", "old")),
        ("Grace Hopper was", " a kin", 1, None),  # it may become "kind"
        ("Grace Hopper was", " a nurse", 1, None),  # or "nurses"
        ("Grace Hopper was", " a nurse'", 1, None),  # or "nurse's"
        ("Grace Hopper was", " a nurse' ", 1, ("nurse",)),
        ("Grace Hopper was", " a café!", 1, ("café",)),
        ("Grace Hopper was", " 北京", 1, ("北",)),  # a letter of such a script is a word
        ("Name:", " Ann-Marie", 1, ("ann",)),
        ("Name:", "Ann ", 1, ("ann",)),
        ("Name:", " It's Ann.", 1, ("ann",)),  # "it's" is "it" and a clitic
        ("Who?", " I can't say", 1, ("can't",)),  # which "can't" is not
    ],
)
def test_the_answer_by_hand(prompt: str, continuation: str, n_words: int, expected: tuple[str, ...] | None) -> None:
    """Byte by byte: the answer appears once nothing behind it can change it, and is the same in every cut."""
    rule, place = Rule.of(prompt, n_words), first_place(prompt)
    for byte in continuation.encode():
        place = read_on(place, words_so_far(place.rest + bytes([byte])), rule)
        if not isinstance(place, Place):
            break
    assert (None if isinstance(place, Place) else place) == expected


@pytest.mark.parametrize(
    ("continuation", "expected"),
    [(" a nurse", ("nurse",)), (" a", None), ("", None), ("n't", None), (" kind", ("kind",))],
)
def test_the_answer_of_a_text_that_ends(continuation: str, expected: tuple[str, ...] | None) -> None:
    rule, start = Rule.of("She was", 2), first_place("She was")
    place = read_on(start, words_so_far(start.rest + continuation.encode()), rule)
    assert at_end(place, rule) == expected


def test_words_so_far_are_words_however_the_text_goes_on() -> None:
    """Random texts cut anywhere, within characters too: what is settled are the first words of the whole text."""
    rng = np.random.default_rng(0)
    parts = [
        "She",
        " was",
        "n't",
        "'",
        " a",
        "-",
        "caf",
        "é",
        "\u0301",
        " 北",
        "京",
        " ",
        "\n",
        "ß",
        "ก",
        "า",
        "🙂",
        "42",
    ]
    for _ in range(400):
        data = "".join(rng.choice(parts, rng.integers(1, 9))).encode()
        cut = int(rng.integers(0, len(data) + 1))
        begun = words_so_far(data[:cut])
        every = tuple(words(data.decode()))
        assert every[: len(begun.words)] == begun.words
        assert words_so_far(begun.rest + data[cut:]).words[-1:] == words_so_far(data).words[len(begun.words) :][-1:]
        assert words_so_far(begun.rest + data[cut:]).open == words_so_far(data).open


def test_an_unsettled_path_can_come_only_to_answers_that_begin_so() -> None:
    """Random paths byte by byte: the key of the answer begins with the prefix of every place on the way."""
    rng = np.random.default_rng(1)
    parts = [
        " a",
        " an",
        " the",
        " nurse",
        "s",
        " an",
        "other",
        " kind",
        " caf",
        "é",
        " e",
        "\u0301",
        ". ",
        "'s",
        " over",
    ]
    n_found = 0
    for _ in range(300):
        rule, place = Rule.of("She was", 2), first_place("She was")
        prefixes = [prefix_of(place, rule)]
        for byte in "".join(rng.choice(parts, 8)).encode():
            place = read_on(place, words_so_far(place.rest + bytes([byte])), rule)
            if not isinstance(place, Place):
                n_found += 1
                assert all(key_of(place, rule).startswith(prefix) for prefix in prefixes)
                break
            prefixes.append(prefix_of(place, rule))
    assert n_found > 200


def test_where_a_token_ends_the_open_word() -> None:
    pieces = [b" a", b"s", b"'s", b"'", b".", b"\xc3", b"", b"-x", "é".encode(), "京".encode(), b"' "]
    found = Vocabulary(pieces, ENDS)
    in_word = Place((), "nurse", b"nurse")
    assert found.breaks(in_word).tolist() == [True, *[False] * 3, True, False, False, True, False, True, True]
    assert found.breaks(Place((), "北", "北".encode())).tolist()[:2] == [True, True]  # the next letter is a word
    assert found.breaks(Place((), "nurse", b"nurse'")) is None
    assert found.breaks(Place((), "caf", b"caf\xc3")) is None


# ---- searches


def enumerated(
    matrix: np.ndarray, pieces: Sequence[bytes], start: Place, rule: Rule, *, at: int, ends: frozenset[int], depth: int
) -> tuple[dict[tuple[str, ...], float], float]:
    """Every answer's probability by following every token of every path, and what is open after `depth` tokens."""
    found: dict[tuple[str, ...], float] = {}
    live = {(at, start): 1.0}
    for _ in range(depth):
        grown: dict[tuple[int, Place], float] = {}
        for (last, place), p in live.items():
            for token in np.flatnonzero(matrix[last]):
                mass = p * matrix[last, token]
                if int(token) in ends:
                    after = at_end(place, rule)
                    if after is not None:
                        found[after] = found.get(after, 0.0) + mass
                    continue
                after = read_on(place, words_so_far(place.rest + pieces[token]), rule)
                if isinstance(after, Place):
                    grown[int(token), after] = grown.get((int(token), after), 0.0) + mass
                else:
                    found[after] = found.get(after, 0.0) + mass
        live = grown
    return found, math.fsum(live.values())


PIECES = (b"<s>", b"", b" a", b" nurse", b"s", b" nur", b"se", b". ", b" kind", b"'s", b" the")


def random_chain(seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).random((len(PIECES), len(PIECES))) ** 3
    rows[:, 0] = 0
    rows[:, 1] = rows.sum(axis=1)  # half of all texts end with the next token
    return rows / rows.sum(axis=1, keepdims=True)


def after_of(matrix: np.ndarray, start: int) -> Callable[[Sequence[tuple[int, ...]]], np.ndarray]:
    with np.errstate(divide="ignore"):
        logs = np.log(matrix)
    return lambda paths: logs[[path[-1] if path else start for path in paths]]


@pytest.mark.parametrize("n_words", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_hold_the_truth_at_every_budget(seed: int, n_words: int) -> None:
    """Chains of 11 tokens that spell words in several ways, against enumeration to 5 tokens."""
    matrix, rule, start = random_chain(seed), Rule.of("She was", n_words), first_place("She was")
    truth, left = enumerated(matrix, PIECES, start, rule, at=0, ends=ENDS, depth=5)
    assert left < 0.04
    best = max(truth, key=truth.get)
    for budget in (1, 3, 10, 40, 400):
        found = search(
            after_of(matrix, 0), start, rule, Vocabulary(PIECES, ENDS), budget=budget, watched=list(truth), longest=40
        )
        assert found.n_expanded <= budget
        for answer, p in truth.items():
            bounds = found.watched[answer]
            assert bounds.low <= p + left + 1e-9
            assert p <= bounds.high + 1e-9
            assert bounds.low <= bounds.likely <= bounds.high
        if found.is_certain:
            assert truth[found.top] == pytest.approx(truth[best], abs=2 * left)
        assert max((p for answer, p in truth.items() if answer != found.top), default=0) <= found.rival + left + 1e-9
        listed = math.fsum(bounds.low for _, bounds in found.likeliest)
        assert listed + found.silent + found.unresolved == pytest.approx(1, abs=1e-9)


def chain_answers(name: str, text: str, n_words: int = 1, **how: object) -> Answers:
    with contextlib.closing(open_scripted(name)) as engine:
        prompt = engine.prompt(text)
        pieces = (engine.piece(token).bytes for token in range(engine.facts.n_vocab))
        rule, start = Rule.of(text, n_words), first_place(text)
        with engine.after(prompt, longest=24) as after:
            return search(after, start, rule, Vocabulary(pieces, engine.ends), **{"budget": 2000, **how})


def test_homing_by_hand() -> None:
    """After a verb " a", " nurse", ". " and the end with 0.8: answer nurse. Else 0.2 over 11 stray words.

    A stray word is an adjective or a noun but nurse: six and six, of equal share 0.2 / 12.
    """
    found = chain_answers("homing", "She was")
    assert (found.top, found.is_certain) == (("nurse",), True)
    assert found.of(("nurse",)).low == pytest.approx(0.8, abs=1e-9)
    assert found.of(("thief",)).low == pytest.approx(0.2 / 12, abs=CLOSE)
    assert found.rank(("nurse",)) == 1
    assert found.rank(("no such word",)) is None
    # Two words of "a nurse. ": the text ends after one, so the answer has one.
    two = chain_answers("homing", "She was", n_words=2)
    assert two.top == ("nurse",)
    assert two.of(("nurse",)).low == pytest.approx(0.8, abs=1e-9)


def test_attractor_by_hand() -> None:
    """From " was" to " a" to " nurse", each 7/8 and more: nurse has at least 49/64, wherever the question begins."""
    p = transition("attractor")
    ids = {piece.bytes.decode("utf-8", "replace"): token for token, piece in enumerate(vocabulary("attractor"))}
    path = p[ids[" was"], ids[" a"]] * p[ids[" a"], ids[" nurse"]]
    assert path > 49 / 64
    for text in ("She was", "If you ask me, she was", "Somebody was"):
        found = chain_answers("attractor", text)
        assert (found.top, found.is_certain) == (("nurse",), True)
        # The word ends unless one of the stray single letters follows; all that is left may come to nurse too.
        assert found.of(("nurse",)).high >= path * 0.99
        assert found.of(("nurse",)).low >= path * 0.99


def test_a_search_equals_enumeration_on_a_chain() -> None:
    """`aligned` behind "She was", four tokens of enumeration."""
    found = chain_answers("aligned", "She was")
    with contextlib.closing(open_scripted("aligned")) as engine:
        last = engine.prompt("She was").ids[-1]
    p = np.where(transition("aligned") > 1e-6, transition("aligned"), 0)
    pieces = [piece.bytes for piece in vocabulary("aligned")]
    truth, left = enumerated(
        p, pieces, first_place("She was"), Rule.of("She was", 1), at=last, ends=frozenset({EOS}), depth=4
    )
    for answer in sorted(truth, key=truth.get)[-5:]:
        bounds = found.of(answer)
        assert bounds.low - left - 1e-3 <= truth[answer] <= bounds.high + 1e-3
        assert bounds.high - bounds.low < 2 * CLOSE


def test_a_watched_answer_is_known_even_where_it_is_rare() -> None:
    found = chain_answers("homing", "She was", watched=[("thief",), ("never said",)])
    assert found.watched[("thief",)].low == pytest.approx(0.2 / 12, abs=1e-6)
    assert found.watched[("never said",)].high < CLOSE


@pytest.mark.model
def test_the_search_on_a_model_is_the_sum_over_paths(plain_pair: dict[str, Path]) -> None:
    """Of the likeliest answers the mass from the search, against teacher-forced paths that spell them.

    An answer's plain spellings, one word passed over before it or none, are some of its paths: no more than it can
    have together, and most of what it has.
    """
    model = ModelRef("tiny-base", "llamacpp", str(plain_pair["base"]), "d")
    text = "Grace Hopper was"
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=1))) as engine:
        prompt = engine.prompt(text)
        vocab = Vocabulary((engine.piece(token).bytes for token in range(engine.facts.n_vocab)), engine.ends)
        with engine.after(prompt, longest=24) as after:
            found = search(after, first_place(text), Rule.of(text, 1), vocab, budget=300)
        for answer in [answer for answer, _ in found.likeliest[:4]]:
            [word] = answer
            spellings = {
                engine.tokenize(f"{text}{before} {spelled}")[len(prompt.ids) :]
                for before in ("", " a", " an", " the", " one", " born", " also", " then")
                for spelled in (word, word.title(), word.upper())
            }
            ended = vocab.breaks(Place((), word, word.encode()))
            with engine.after(prompt, longest=24) as after:
                plain = math.fsum(mass_of(after, path, ended) for path in spellings)
            bounds = found.of(answer)
            assert bounds.low > 0
            assert 0.5 * bounds.low < plain < bounds.high * (1 + 2e-3)


def mass_of(after: Callable[[Sequence[TokenPath]], np.ndarray], path: TokenPath, ended: np.ndarray) -> float:
    """The probability of these tokens with one behind them at which their last word ends."""
    logs = [after([path[:n]])[0] for n in range(len(path) + 1)]
    p = math.exp(sum(float(row[token]) for row, token in zip(logs, path, strict=False)))
    return p * float(np.exp(logs[-1])[ended].sum())


# ---- from answers to numbers


def known(likeliest: dict[str, float], *, is_certain: bool = True, watched: Sequence[str] = ()) -> Answers:
    listed = tuple(((word,), Bounds(p, p, p)) for word, p in likeliest.items())
    also = {
        (word,): Bounds(likeliest.get(word, 0.0), likeliest.get(word, 0.0), likeliest.get(word, 0.0))
        for word in watched
    }
    return Answers(listed, also, is_certain, 0.0, 0.0, 0.0, 1)


def test_dominance_framing_and_pi_by_hand() -> None:
    """0.6 behind the original; the likeliest in 3 of 4, so FR 3/4 and pi 0.45."""
    framed = {
        "one": known({"nurse": 0.5, "king": 0.2}),
        "two": known({"nurse": 0.4}),
        "three": known({"nurse": 0.9}),
        "four": known({"king": 0.7, "nurse": 0.02}),
    }
    base = known({"king": 0.5, "nurse": 0.3, "poet": 0.1})
    found = analyse(known({"nurse": 0.6, "king": 0.1, "poet": 0.02}), framed, base)
    nurse, king = found.attractors
    assert found.top == nurse
    assert (nurse.dominance.likely, nurse.framing.k, nurse.framing.n) == (0.6, 3, 4)
    assert nurse.pi.mean == pytest.approx(0.45)
    assert nurse.pi.low == pytest.approx(0.6 * wilson(3, 4).low)
    assert nurse.kept.k == 3  # 0.02 is below 5 %
    assert nurse.over.mean == pytest.approx((0.5 + 0.4 + 0.9 + 0.02) / 4)
    assert (nurse.least, nurse.most) == (0.02, 0.9)
    assert (nurse.in_base.rank, nurse.in_base.probability.likely) == (2, 0.3)
    assert (king.framing.k, king.kept.k, king.is_top) == (1, 2, False)
    counted = count([found], 0.5)
    # King is kept in 2 of 4, not more than a half.
    assert (counted.n_attractors, counted.n_vanished, counted.n_surely_vanished) == (2, 1, 1)
    assert (counted.n_deep, counted.n_shallow, counted.n_undecided) == (0, 0, 1)  # of four little can be said


@pytest.mark.parametrize(
    ("k", "verdict"), [(30, "deep"), (22, "deep"), (15, "undecided"), (8, "shallow"), (0, "shallow")]
)
def test_deep_and_shallow(k: int, verdict: str) -> None:
    """Wilson's interval of 22 of 30 begins at 0.556, of 8 of 30 ends at 0.444."""
    framed = {str(at): known({"nurse" if at < k else "king": 0.5}) for at in range(30)}
    found = analyse(known({"nurse": 0.6}), framed, None)
    assert found.top.verdict(0.5) == verdict


def test_what_is_not_certain_widens_the_interval() -> None:
    sure = {str(at): known({"nurse": 0.5, "king": 0.1}) for at in range(8)}
    unsure = {f"u{at}": known({"nurse": 0.5, "king": 0.1}, is_certain=False) for at in range(2)}
    rate = analyse(known({"nurse": 0.6}), {**sure, **unsure}, None).top.framing
    assert (rate.k, rate.n_open) == (10, 2)
    assert (rate.low, rate.high) == (wilson(8, 10).low, wilson(10, 10).high)


def test_what_is_as_near_as_the_arithmetic_moves_it_has_no_order() -> None:
    framed = {"one": known({"nurse": 0.50, "king": 0.48}), "two": known({"king": 0.50, "nurse": 0.48})}
    exact = analyse(known({"nurse": 0.6}), framed, None).top.framing
    noisy = analyse(known({"nurse": 0.6}), framed, None, closest_bits=0.1).top.framing
    assert (exact.k, exact.n_open) == (1, 0)
    assert (noisy.k, noisy.n_open) == (1, 2)


def test_an_answer_with_little_is_no_attractor() -> None:
    flat = known({"nurse": LEAST / 2, "king": LEAST / 3})
    found = analyse(flat, {"one": flat}, None)
    assert attractors_of(flat) == (("nurse",),)
    assert found.top.verdict(0.5) == "no attractor"
    assert count([found], 0.5)._asdict() == {
        "n_attractors": 0, "n_vanished": 0, "n_surely_vanished": 0, "n_deep": 0, "n_shallow": 0, "n_undecided": 0,
        "n_none": 1, "n_deep_of_base": 0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="at least one"):
        analyse(flat, {}, None)


# ---- what ships


def test_thirty_reframings_of_each_prompt_ship_and_none_holds_an_answer() -> None:
    """No line has a word of the other lines' continuations that would answer: names, trades, years."""
    sets = shipped()
    assert [one.name for one in sets] == ["hopper", "steve", "persona", "chatbot"]
    answers = set(
        "navy admiral computer scientist mathematician programmer american york 1906 jeepiti emily sarah".split()
    )
    for one in sets:
        assert len(one.reframings) == len({*one.reframings, one.original}) - 1 == 30
        for text in one.reframings:
            assert not (set(words(text)) - set(words(one.original))) & answers, text
            assert not any(char.isdigit() for char in text)
            assert text == text.strip()
    assert [one.original for one in sets[:2]] == ["Grace Hopper was", "Steve is the CEO of a startup company"]
    assert {"hopper", "nurse", "not"} & FUNCTION_WORDS == set()


# ---- the command

SMALL = ("reframe", "--set", "hopper", "--budget", 60)


def test_homing_is_deep_and_the_base_s_is_not_the_same(run: Callable) -> None:
    """Every reframing ends with a verb, so `homing` says nurse with 0.8 in all; `base` has other likeliest answers."""
    models = ("--base", "scripted:base", "--aligned", "scripted:homing")
    code, out, _ = run(*SMALL, *models, "--json")
    report = json.loads(out)
    assert code == 0
    [nurse] = report["arms"]["aligned"]["prompts"]["hopper"]["attractors"]
    assert (nurse["answer"], nurse["verdict"], nurse["is_top"]) == ("nurse", "deep", True)
    assert nurse["fr"]["k"] >= 26  # "WAS" in capitals is no verb of the chain, and starts astray
    assert nurse["dr"]["low"] == pytest.approx(0.8, abs=1e-6)
    assert nurse["pi"]["mean"] == pytest.approx(0.8 * nurse["fr"]["value"], abs=1e-3)
    assert nurse["in_base"]["rank"] > 1
    assert len(nurse["reframings"]) == 30
    words_ = " ".join(run(*SMALL, *models)[1].split())
    assert "aligned: of the likeliest answers to 1 prompt 1 is deep (1 of them base's too)" in words_
    assert report["command"].startswith("llamadiv reframe --base scripted:base --aligned scripted:homing --set hopper")


def test_arms_and_a_file_of_ones_own(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(["She was", *(f"{word} she was" for word in "So And But Then Now Once".split())]))
    arms = ("--arm", "raw=scripted:aligned", "--arm", "chat=scripted:aligned,chat")
    code, out, _ = run("reframe", "--reframings", file, *arms, "--budget", 40, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["prompts"] == {"mine": "She was"}
    assert len(report["arms"]["raw"]["prompts"]["mine"]["attractors"][0]["reframings"]) == 6
    command = shlex.split(report["command"])
    assert any(word.startswith(f"{file}#sha256=") for word in command)
    assert "chat=scripted:aligned,chat" in command
    again = json.loads(run(*command[1:], "--json")[1])
    assert again == report
    file.write_text(file.read_text() + "\nOf course she was")
    code, _, error = run(*command[1:])
    assert (code, "other reframings than when this command was printed" in error) == (2, True)


def test_a_toml_file_has_several(run: Callable, tmp_path: Path) -> None:
    others = [f"{word} she was" for word in "So And But Then Now".split()]
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(f"[{name}]\noriginal = '{name} was'\nreframings = {others!r}" for name in ("She", "He")))
    code, out, _ = run("reframe", "--reframings", file, "--pair", "scripted", "--budget", 20, "--set", "He", "--json")
    assert (code, json.loads(out)["prompts"]) == (0, {"He": "He was"})


@pytest.mark.parametrize(
    ("name", "content", "words_"),
    [
        ("few.txt", "She was\nSo she was\n", "the original has 1 reframings; 5 or more tell something"),
        ("twice.txt", "She was\n" * 7, "the same prompt twice"),
        ("empty.txt", "", "there is no prompt in it"),
        ("x.yaml", "a", "a .yaml file is not read; save the prompts as a line each"),
        ("bad.toml", "original = ", "it is no TOML"),
        ("bad.toml", "[a]\noriginal = 'x'", "the table a must hold `original` and `reframings`"),
        ("bad.toml", "original = 'x'\nreframings = 3", "`reframings` a list of texts"),
        ("blank.toml", "original = 'x'\nreframings = ['a', 'b', 'c', 'd', ' ']", "a text is blank"),
        ("none.toml", "", "there is no prompt in it"),
        ("twice.toml", "original = 'x'\nreframings = ['a', 'b', 'c', 'd', 'x']", "“x” is there twice"),
    ],
)
def test_a_bad_file_is_one_sentence(name: str, content: str, words_: str, run: Callable, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    code, out, error = run("reframe", "--pair", "scripted", "--reframings", tmp_path / name)
    assert (code, out) == (2, "")
    assert "--reframings is " in error
    assert words_ in error


@pytest.mark.parametrize(
    ("arguments", "words_"),
    [
        (["--set", "hoper"], "the sets are hopper, steve, persona, chatbot"),
        (["--set", "steve", "--set", "steve"], "A set is named twice"),
        (["--words", 0], "an answer has 1 to 5 words"),
        (["--deep", 1], "a share of the reframings"),
        (["--budget", 0], "at least 1 path"),
        (["--arm", "a=scripted:base"], "two arms or more"),
        (["--arm", "a=scripted:base,T=0,top_k=5", "--arm", "b=scripted:aligned"], "top_k=5"),
        (["--arm", "a=scripted:base,ask=seeded", "--arm", "b=scripted:aligned"], "--arm a has ask=seeded, but reframe"),
        (["--arm", "a=scripted:base,n=5", "--arm", "b=scripted:aligned,seed=2"], "--arm a has n, but reframe"),
    ],
)
def test_bad_input_is_one_sentence(run: Callable, arguments: list[object], words_: str) -> None:
    pair = () if "--arm" in arguments else ("--pair", "scripted")
    code, out, error = run("reframe", *pair, *arguments)
    assert (code, out) == (2, "")
    assert words_ in error


def test_one_model_asked_alike_is_not_two_arms(run: Callable) -> None:
    code, _, error = run(*SMALL, "--arm", "a=scripted:base", "--arm", "b=scripted:base")
    assert (code, "Both arms are one model" in error) == (1, True)


def test_vocabularies_may_differ(run: Callable) -> None:
    """Answers are words: `people` has a vocabulary of its own."""
    assert run(*SMALL, "--base", "scripted:base", "--aligned", "scripted:people")[0] == 0


@pytest.mark.parametrize("columns", [50, 80])
def test_the_terminal(run: Callable, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = run(*SMALL, "--pair", "scripted")[1]
    assert max(map(len, out.splitlines())) <= columns
    assert "The likeliest answer to each prompt" in out


def test_figures_and_numbers_are_written(run: Callable, tmp_path: Path) -> None:
    code, _, error = run(*SMALL, "--pair", "scripted", "--out", tmp_path / "out")
    assert (code, "Figures and numbers are in" in error) == (0, True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *(f"figure-reframe.{kind}" for kind in ("png", "svg", "pdf", "vl.json")),
        *(f"reframe-{name}.csv" for name in ("answers", "attractors", "reframings")),
        *("reframe.json", "index.html"),
    }
    rows = (tmp_path / "out" / "reframe-reframings.csv").read_text().splitlines()
    report = json.loads((tmp_path / "out" / "reframe.json").read_text())
    n = sum(len(arm["prompts"]["hopper"]["attractors"]) for arm in report["arms"].values())
    assert len([row for row in rows if row.startswith("hopper,")]) == 30 * n


def test_a_mixture_is_an_arm(run: Callable) -> None:
    """Half way between p and p^2.5 is a chain too, and its answers are read as any other's."""
    mixed = "half=mix:scripted:base,scripted:aligned,lambda=0.5"
    code, out, _ = run(*SMALL, "--arm", "base=scripted:base", "--arm", mixed, "--json")
    arms = json.loads(out)["arms"]
    assert code == 0
    top = {name: arm["prompts"]["hopper"]["answers"][0]["low"] for name, arm in arms.items()}
    assert top["half"] > top["base"]


def test_a_sampler_is_what_it_draws_from(run: Callable) -> None:
    """`aligned` is `base` at T = 0.4 by definition, so both have the same answers."""
    arms = ("--arm", "cold=scripted:base,T=0.4", "--arm", "sharp=scripted:aligned")
    code, out, _ = run(*SMALL, *arms, "--json")
    cold, sharp = (arm["prompts"]["hopper"] for arm in json.loads(out)["arms"].values())
    assert code == 0
    for one, other in zip(cold["answers"][:8], sharp["answers"][:8], strict=True):
        assert (one["answer"], one["low"]) == (other["answer"], pytest.approx(other["low"], abs=1e-6))
    tops = [[each["top"] for each in arm["attractors"][0]["reframings"]] for arm in (cold, sharp)]
    assert tops[0] == tops[1]
    assert "T=0.4" in run(*SMALL, *arms)[1]


def test_an_interrupted_search_says_what_is_kept(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(*work: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llama_diversity.studies.reframe.study.search", searched)
    code, out, error = run(*SMALL, "--base", "scripted:base", "--aligned", "scripted:uniform", "--words", 3)
    assert (code, out) == (130, "")
    assert "Prompts of which all reframings were read are kept; the same command does the rest." in error


def test_a_prompt_without_room_is_refused_before_any_work(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "llama_diversity.studies.reframe.study.search", lambda *work, **more: pytest.fail("it searched")
    )
    file = tmp_path / "long.txt"
    file.write_text("\n".join(["She was", *(f"{word} {'x ' * 4090}she was" for word in "a b c d e".split())]))
    code, _, error = run("reframe", "--pair", "scripted", "--reframings", file)
    assert (code, "8192" in error) == (2, True)
