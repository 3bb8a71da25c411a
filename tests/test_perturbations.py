"""Changes of an opening: each kind and dose by hand, what cannot be changed, and how often typing errors fall."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import random
from collections import Counter

import pytest

from llama_diversity.errors import BadValue
from llama_diversity.studies.perturb import perturbations
from llama_diversity.studies.perturb.perturbations import (
    KINDS,
    MOST_COMPARED,
    NEIGHBOURS,
    Insert,
    NothingToChange,
    Opening,
    Perturbation,
    Replace,
    SwapToken,
    Typos,
    edit_share,
    first_sentences,
    from_settings,
)

PROMPT = "Grace Hopper was"
SAID = " born in 1906. She was a pioneer. He was old."
WHOLE = "Grace Hopper was born in 1906. She was a pioneer."  # its first two sentences: ten words
TOKENS = [(b" born", b" a"), (b" in", b" on"), (b" 19", b" New"), (b"06", b"10"), (b".", b","), (b" She", b" He")]
TOKENS += [(b" was", b" won"), (b" a", b" the"), (b" pioneer", b" nurse"), (b".", b"!"), (b" He", b" It")]
TOKENS += [(b" was old.", b" ran.")]


# ---- the first two sentences


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("", ""),
        ("One. Two. Three.", "One. Two."),
        ("One. Two.", "One. Two."),  # nothing follows
        ("One. Two ", "One. Two "),  # one end only: byte for byte
        ('"One!" \n\n He said (two?)\nThree.', '"One!" \n\n He said (two?)'),
        ("3.5 is 3.5. Ja! Nein", "3.5 is 3.5. Ja!"),  # no blank, no end
    ],
)
def test_the_opening_is_cut_from_two_sentences(text: str, opening: str) -> None:
    assert first_sentences(text) == opening


# ---- replace


@pytest.mark.parametrize(
    ("completion", "change", "dose", "opening"),
    [
        (SAID, Replace(), 1, ("Grace Hopper was born in 1906. She was", "Grace Hopper was born in 1906. She was not")),
        (SAID, Replace(), 2, (PROMPT + " born in 1906. She was", "Grace Hopper was not born in 1906. She was not")),
        (" a washed-up swimmer. She washes", Replace(), 1, ("Grace Hopper was", "Grace Hopper was not")),
        ("", Replace("was", "is"), 1, ("Grace Hopper was", "Grace Hopper is")),
        (", oh, née Murray.", Replace("née", "ex-"), 1, ("Grace Hopper was, oh, née", "Grace Hopper was, oh, ex-")),
        (", oh, née.", Replace(",", ";"), 2, ("Grace Hopper was, oh,", "Grace Hopper was; oh;")),  # no letters
        (" 😀 was\nhere", Replace("was", ""), 2, ("Grace Hopper was 😀 was", "Grace Hopper 😀")),
        (" 1 (one).", Replace("(one)", r"\1"), 1, ("Grace Hopper was 1 (one)", r"Grace Hopper was 1 \1")),  # no regex
    ],
)  # fmt: skip
def test_the_last_words_are_replaced(completion: str, change: Replace, dose: int, opening: tuple[str, str]) -> None:
    assert change.opening(PROMPT, completion, dose=dose) == opening


@pytest.mark.parametrize(
    ("old", "dose", "message"),
    [
        ("swam", 1, "'swam' does not occur in the opening 'Grace Hopper was born in 1906. She was a pioneer.'. Name"),
        ("Hop", 1, "Name words that do: --replace OLD NEW"),
        ("opper", 1, "does not occur"),
        ("Was", 1, "does not occur"),
        ("old", 1, "does not occur"),  # in the third sentence
        ("was", 3, "has only 2 of the 3 'was' to change. Lower the dose"),
    ],
)
def test_words_that_are_not_there_cannot_be_replaced(old: str, dose: int, message: str) -> None:
    with pytest.raises(NothingToChange, match=message):
        Replace(old, "x").opening(PROMPT, SAID, dose=dose)


# ---- insert


@pytest.mark.parametrize(
    ("change", "dose", "opening"),
    [
        (Insert("not", 3), 1, ("Grace Hopper was", "Grace Hopper was not")),
        (Insert("not", 3), 2, ("Grace Hopper was", "Grace Hopper was not not")),
        (Insert("Brewster", 1), 1, ("Grace", "Grace Brewster")),
        (Insert("bold", -1), 1, (PROMPT + " born in 1906. She was a", PROMPT + " born in 1906. She was a bold")),
        (Insert("x", -9), 3, ("Grace", "Grace x x x")),
        (Insert("And", 10), 1, (WHOLE, WHOLE + " And")),
        (Insert(", née 小林,", 2), 1, ("Grace Hopper", "Grace Hopper, née 小林,")),
        (Insert("\n\tnot \n", 3), 2, ("Grace Hopper was", "Grace Hopper was\n\tnot\n\tnot")),
    ],
)  # fmt: skip
def test_text_is_inserted_like_a_list_does_with_words(change: Insert, dose: int, opening: tuple[str, str]) -> None:
    assert change.opening(PROMPT, SAID, dose=dose) == opening
    words = WHOLE.split()
    words.insert(change.at, change.text)
    if change.text.isalpha() and dose == 1:
        assert " ".join(words).startswith(opening[1])


def test_what_stands_before_the_insertion_stays_byte_for_byte() -> None:
    assert Insert("x", 3).opening("  A\t b\n\n", "\u00a0c d") == ("  A\t b\n\n\u00a0c", "  A\t b\n\n\u00a0c x")
    assert Insert("x", 1).opening("word", "") == ("word", "word x")


@pytest.mark.parametrize("at", [0, 11, -10, -11])
def test_a_position_outside_the_opening_is_refused(at: int) -> None:
    allowed = f"--at is {at}; by the number of words in the opening it can be 1 to 10, or -1 to -9 from the end"
    with pytest.raises(BadValue, match=allowed):
        Insert("x", at).opening(PROMPT, SAID)


def test_one_word_leaves_one_position_and_none_leaves_nothing() -> None:
    with pytest.raises(BadValue, match=r"it can be 1\.$"):
        Insert("x", -1).opening("word", "")
    with pytest.raises(NothingToChange, match="has no word"):
        Insert("x", 1).opening("", " \n")


# ---- swap a token


@pytest.mark.parametrize(
    ("at", "dose", "opening"),
    [
        (0, 1, ("Grace Hopper was born", "Grace Hopper was a")),
        (3, 1, ("Grace Hopper was born in 1906", "Grace Hopper was born in 1910")),
        (3, 2, ("Grace Hopper was born in 1906", "Grace Hopper was born in New10")),
        (3, 4, ("Grace Hopper was born in 1906", "Grace Hopper was a on New10")),
        (-1, 1, (WHOLE, PROMPT + " born in 1906. She was a pioneer!")),
        (-2, 2, (PROMPT + " born in 1906. She was a pioneer", PROMPT + " born in 1906. She was the nurse")),
        (-10, 1, ("Grace Hopper was born", "Grace Hopper was a")),
    ],
)
def test_tokens_become_the_likeliest_other_ones(at: int, dose: int, opening: tuple[str, str]) -> None:
    assert SwapToken(at).opening(PROMPT, SAID, dose=dose, tokens=TOKENS) == opening


def test_characters_may_be_spread_over_tokens() -> None:
    # The emoji is F0 9F 98 80, its last token another one (F0 9F 98 82); half of it reads as one replacement character.
    tokens = [(b" \xf0\x9f", b" ok"), (b"\x98\x80", b"\x98\x82")]
    assert SwapToken(-1).opening("I am", " 😀", tokens=tokens) == ("I am 😀", "I am 😂")
    assert SwapToken(0).opening("I am", " 😀", tokens=tokens) == ("I am \ufffd", "I am ok")
    # A completion that ends amid a character, and a first token that goes on with the prompt's last word.
    assert SwapToken(-1).opening("I a", "m \ufffd", tokens=[(b"m ", b"te"), (b"\xf0\x9f", b"!")]) == (
        "I am \ufffd",
        "I am !",
    )


def test_tokens_behind_the_text_are_no_choice() -> None:
    """The text ends before a stop string, whose tokens are still there, and the end of the sequence adds none."""
    tokens = [(b" yes", b" no"), (b"\n", b"!"), (b"", b"\n")]
    assert SwapToken(-1).opening("I say", " yes", tokens=tokens) == ("I say yes", "I say no")
    with pytest.raises(BadValue, match=r"--swap-token is 1; .* can be 0\.$"):
        SwapToken(1).opening("I say", " yes", tokens=tokens)


@pytest.mark.parametrize("at", [10, 11, -11])
def test_a_token_outside_the_opening_is_refused(at: int) -> None:
    with pytest.raises(BadValue, match=f"--swap-token is {at}; .* 0 to 9, or -1 to -10 from the end"):
        SwapToken(at).opening(PROMPT, SAID, tokens=TOKENS)


def test_tokens_that_cannot_be_swapped() -> None:
    with pytest.raises(NothingToChange, match="Only 2 of the 3 tokens to swap"):
        SwapToken(1).opening(PROMPT, SAID, dose=3, tokens=TOKENS)
    for other in (b"", b" born"):
        with pytest.raises(NothingToChange, match="in place of token 0 would not read differently"):
            SwapToken(1).opening(PROMPT, " born in", dose=2, tokens=[(b" born", other), (b" in", b" on")])
    with pytest.raises(NothingToChange, match="no token of the completion"):
        SwapToken(0).opening(PROMPT, "")
    with pytest.raises(NothingToChange, match="no token of the completion"):
        SwapToken(0).opening("One. Two.", " Three", tokens=[(b" Three", b" Four")])


def test_tokens_of_another_completion_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="not the tokens of the completion"):
        SwapToken(0).opening(PROMPT, " born", tokens=[(b" bred", b" a")])
    with pytest.raises(ValueError, match="not the tokens of the completion"):
        SwapToken(0).opening(PROMPT, " born")


# ---- typing errors


def test_ways_of_mistyping() -> None:
    """Four ways for an n before g, at [0, 1/4) and so on; h j b m lie around n. Three without a neighbour or a swap."""
    mistyped = perturbations._mistyped
    ways = (0.0, 0.24, 0.25, 0.5, 0.75, 0.999)
    neighbours = (0, 0, 0, 0.3, 0, 0)
    found = [mistyped("n", "g", way, neighbour) for way, neighbour in zip(ways, neighbours, strict=True)]
    assert found == [("", ""), ("", ""), ("nn", ""), ("j", ""), ("", "n"), ("", "n")]
    assert [mistyped("N", "", way, 0.999) for way in (0.3, 0.4, 0.7)] == [("", ""), ("NN", ""), ("M", "")]
    assert [mistyped("l", "l", way, 0) for way in (0.3, 0.4, 0.7)] == [("", ""), ("ll", ""), ("o", "")]
    assert [mistyped("é", "g", way, 0) for way in (0.3, 0.4, 0.7)] == [("", ""), ("éé", ""), ("", "é")]
    assert [mistyped("é", "", way, 0) for way in (0.4, 0.6)] == [("", ""), ("éé", "")]


def test_neighbours_touch_each_other() -> None:
    assert set(NEIGHBOURS["g"]) == set("tyfhvb")
    assert set(NEIGHBOURS["Q"]) == set("WA")
    assert set(NEIGHBOURS["m"]) == set("njk")
    assert len(NEIGHBOURS) == 52
    assert all(letter in NEIGHBOURS[near] for letter, around in NEIGHBOURS.items() for near in around)


def test_swapped_letters_go_behind_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """a is swapped; a and b are: b waits for c, and a for b. What cannot be swapped is doubled here."""

    def swap(letter: str, following: str, way: float, neighbour: float) -> tuple[str, str]:
        return ("", letter) if following else (2 * letter, "")

    monkeypatch.setattr(perturbations, "_mistyped", swap)
    assert Typos(1.0).opening("ab, abc d", "").changed == "bba, ccba dd"


def test_only_letters_of_the_first_sentences_are_mistyped() -> None:
    opening = Typos(1.0).opening("1. 2 e\u0301? ", "Never this.")
    assert opening.unchanged == "1. 2 e\u0301?"
    assert opening.changed in ("1. 2 ?", "1. 2 e\u0301e\u0301?")  # with its accent, one letter without a neighbour


def test_the_same_seed_makes_the_same_typos() -> None:
    """As drawn when this was written: Philox keyed by the seed. A change here changes everybody's openings."""
    assert Typos(0.1).opening(PROMPT, SAID) == (WHOLE, "race Hoppper was born on 1906. Shr aws a pioneer.")
    changed = {Typos(0.3, seed).opening(PROMPT, SAID).changed for seed in range(50)}
    assert len(changed) == 50
    # letter by letter, so that what follows changes nothing before
    longer = Typos(0.1).opening(PROMPT, " born in 1906, and more").changed
    assert longer.startswith(Typos(0.1).opening(PROMPT, " born in 1906,").changed)


def test_typos_of_a_lower_dose_stay_at_a_higher_one() -> None:
    """Letters that stand alone show each typo by itself. 2,000 at a rate of 0.05: 100 hits expected, then 200, ..."""
    text = " ".join("abcdefghij" * 200)
    before: dict[int, str] = {}
    for dose in (1, 2, 3, 19, 20, 21):
        typed = Typos(0.05, seed=3).opening(text, "", dose=dose).changed.split(" ")
        pairs = enumerate(zip(typed, text.split(" "), strict=True))
        hits = {at: word for at, (word, letter) in pairs if word != letter}
        assert before.items() <= hits.items()
        assert len(hits) > len(before) or dose == 21
        before = hits
    assert len(before) == 2_000  # 20 times 0.05 is every letter, and more is no more


def test_the_rate_is_kept_over_ten_thousand_letters() -> None:
    """Each is hit with 0.05: 500 of 10,000, standard error 21.8; within 4 of them (6 in 100,000 by chance)."""
    text = " ".join("a" * 10_000)
    assert sum(word != "a" for word in Typos(0.05).opening(text, "").changed.split(" ")) == pytest.approx(500, abs=87)
    assert sum(word != "a" for word in Typos(0.05).opening(text, "", dose=4).changed.split(" ")) == pytest.approx(
        2000, abs=160
    )  # standard error sqrt(10,000 * 0.2 * 0.8) = 40


def test_the_four_ways_are_equally_frequent() -> None:
    """10,000 words "ab", a alone hit in 0.05 * 0.95 of them: 475, a quarter each way 118.75, standard error 10.8."""
    typed = Counter(Typos(0.05, seed=1).opening("ab " * 10_000, "").changed.split(" "))
    ways = {"left out": typed["b"], "doubled": typed["aab"], "swapped": typed["ba"]}
    ways["neighbour"] = sum(typed[near + "b"] for near in NEIGHBOURS["a"])
    for way, times in ways.items():
        assert times == pytest.approx(118.75, abs=43), way


@pytest.mark.parametrize("text", ["", "1906 😀 ...", "a"])
def test_chance_may_hit_nothing(text: str) -> None:
    with pytest.raises(NothingToChange, match="Raise the rate: --typos RATE"):
        Typos(1e-9).opening(text, "")


# ---- all kinds


ALL: list[tuple[Perturbation, list[str]]] = [
    (Replace("was", "is not"), ["--replace", "was", "is not"]),
    (Insert("no, ", -2), ["--insert", "no, ", "--at", "-2"]),
    (SwapToken(-1), ["--swap-token", "-1"]),
    (Typos(0.05, seed=7), ["--typos", "0.05"]),
    (Typos(1), ["--typos", "1"]),
    (Typos(1 / 3), ["--typos", "0.3333333333333333"]),  # six digits would be another rate
]


@pytest.mark.parametrize(("change", "words"), ALL, ids=str)
def test_kinds_survive_json_and_know_their_options(change: Perturbation, words: list[str]) -> None:
    fields = json.loads(json.dumps(dataclasses.asdict(change)))
    assert from_settings(change.name, fields) == change
    assert type(from_settings(change.name, fields)) is KINDS[change.name]
    assert change.words() == words


def test_the_table_of_kinds_is_keyed_by_their_names() -> None:
    assert list(KINDS) == ["replace", "insert", "swap-token", "typos"]
    with pytest.raises(BadValue, match="'shuffle'; it must be one of replace, insert, swap-token, typos"):
        from_settings("shuffle", {})


@pytest.mark.parametrize(("change", "words"), ALL, ids=str)
def test_a_dose_is_at_least_one(change: Perturbation, words: list[str]) -> None:
    with pytest.raises(BadValue, match="--dose is 0; it must be at least 1"):
        change.opening(PROMPT, SAID, dose=0, tokens=TOKENS)


@pytest.mark.parametrize(("change", "words"), ALL, ids=str)
def test_every_dose_has_the_same_unchanged_opening(change: Perturbation, words: list[str]) -> None:
    first, second = (change.opening(PROMPT, SAID, dose=dose, tokens=TOKENS) for dose in (1, 2))
    assert first.unchanged == second.unchanged
    assert (PROMPT + SAID).startswith(first.unchanged)
    assert first.changed != first.unchanged
    assert (first.changed == second.changed) == (change == Typos(1))  # beyond every letter there is none


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("replace", {"old": "", "new": "x"}, "--replace is ''; the word to change must not be empty"),
        ("replace", {"old": "x", "new": "x"}, "--replace is 'x'; what it becomes must be something else"),
        ("insert", {"text": "", "at": 1}, "--insert is ''; the text to insert must not be empty"),
        ("insert", {"text": " \n", "at": 1}, "the text to insert must not be empty"),
        ("typos", {"rate": 0.0}, "--typos is 0.0; it must lie above 0 and at most at 1"),
        ("typos", {"rate": 1.01}, "--typos is 1.01"),
        ("typos", {"rate": math.nan}, "--typos is nan"),
        ("typos", {"rate": 0.1, "seed": -1}, "--seed is -1; it must lie between 0 and"),
        ("typos", {"rate": 0.1, "seed": 2**64}, "--seed is 18446744073709551616"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(name: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        from_settings(name, fields)


def test_the_largest_seed_is_one() -> None:
    assert Typos(1.0, seed=2**64 - 1).opening(PROMPT, SAID).changed != Typos(1.0).opening(PROMPT, SAID).changed


# ---- how much was changed


@pytest.mark.parametrize(
    ("unchanged", "changed", "edits"),
    [
        ("kitten", "sitting", 3),  # k to s, e to i, g behind
        ("was", "was not", 4),
        ("She was", "She", 4),
        ("abc", "abc", 0),
        ("abc", "xyz", 3),
        ("ab", "ba", 2),
        ("aaa", "aa", 1),
        ("a", "aba", 2),  # the common beginning and the common end overlap
        ("😀 é", "😂 é", 1),  # characters, not bytes
        ("", "", None),
        ("", "abc", None),
    ],
)
def test_the_edit_share_is_the_distance_by_the_unchanged_length(
    unchanged: str, changed: str, edits: int | None
) -> None:
    expected = math.nan if edits is None else edits / len(unchanged)
    assert edit_share(Opening(unchanged, changed)) == pytest.approx(expected, nan_ok=True)


def test_the_edit_share_agrees_with_the_definition() -> None:
    @functools.cache
    def distance(first: str, second: str) -> int:
        if not first or not second:
            return len(first) + len(second)
        replaced = distance(first[1:], second[1:]) + (first[0] != second[0])
        return min(replaced, distance(first[1:], second) + 1, distance(first, second[1:]) + 1)

    rng = random.Random(5)
    for _ in range(300):
        first, second = ("".join(rng.choices("abc", k=rng.randint(1, 9))) for _ in range(2))
        assert edit_share(Opening(first, second)) * len(first) == pytest.approx(distance(first, second))


def test_the_edit_share_is_undefined_where_too_much_differs() -> None:
    apart = MOST_COMPARED
    assert edit_share(Opening("a" * apart, "b" * apart)) == 1
    assert math.isnan(edit_share(Opening("a" * (apart + 1), "b")))
    long = "x" * 10_000  # what is common at both ends does not count
    assert edit_share(Opening(long + "was" + long, long + "is" + long)) == pytest.approx(2 / 20_003)
