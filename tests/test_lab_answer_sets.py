"""The narrow and the varied set: as many, as long, one rule for all kinds, and one of them narrow."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sentencepiece")

from llama_diversity.errors import BadValue
from llama_diversity.lab.answer_sets import AnswerSets, choose, describe
from llama_diversity.lab.requests import KINDS, Demonstration, Request

WORDS = [[f"{letter}{number}" for number in range(12)] for letter in ("red", "blue", "green", "black")]


def pool(n_a_kind: int, seed: int = 0) -> list[Demonstration]:
    """Answers of 6 to 15 words: of each kind about four topics, each with words of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for kind in KINDS:
        for number in range(n_a_kind):
            topic = WORDS[number % len(WORDS)]
            answer = " ".join(rng.choice(topic, rng.integers(6, 16))) + f" {kind}{number}."
            found.append(Demonstration(Request(kind, f"Say {kind}.", kind), answer))
    return found


def length_of(text: str) -> int:
    return len(text.split())


def test_both_sets_are_as_many_and_as_long_of_each_kind_and_have_no_answer_twice() -> None:
    sets = choose(pool(400), 50, length_of)
    for some in sets:
        assert len({one.answer for one in some}) == len(some) == 50 * len(KINDS)
        assert [one.request.kind for one in some] == [kind for kind in KINDS for _ in range(50)]
    about = describe(sets, length_of)
    for kind in KINDS:
        narrow, varied = about["narrow"][kind], about["varied"][kind]
        assert narrow["n"] == varied["n"] == 50
        assert abs(narrow["answer_tokens"] / varied["answer_tokens"] - 1) <= 0.02
        lengths = [sorted(length_of(o.answer) for o in some if o.request.kind == kind) for some in sets]
        assert lengths[0] == lengths[1]


def test_the_narrow_set_is_of_one_topic_and_the_varied_one_of_all() -> None:
    sets = choose(pool(800), 40, length_of)
    about = describe(sets, length_of)
    for kind in KINDS:
        topics = [{o.answer.split()[0].strip("0123456789") for o in some if o.request.kind == kind} for some in sets]
        assert [len(found) for found in topics] == [1, 4]
        narrow, varied = about["narrow"][kind], about["varied"][kind]
        assert narrow["tf_idf_cosine"] > 2 * varied["tf_idf_cosine"]
        assert narrow["distinct_words"] < varied["distinct_words"]


def test_lengths_are_those_of_the_pool() -> None:
    some = pool(400)
    sets = choose(some, 50, length_of)
    mean = float(np.mean([length_of(one.answer) for one in some]))
    for chosen in sets:
        assert np.mean([length_of(one.answer) for one in chosen]) == pytest.approx(mean, rel=0.03)


def test_the_order_of_the_pool_changes_nothing() -> None:
    some = pool(200)
    assert choose(some, 20, length_of) == choose(some[::-1], 20, length_of)


def test_another_seed_draws_other_sets() -> None:
    first, again, other = (choose(pool(200), 20, length_of, seed=seed) for seed in (1, 1, 2))
    assert first == again
    for name in AnswerSets._fields:
        assert {one.answer for one in getattr(first, name)} != {one.answer for one in getattr(other, name)}


def test_what_is_said_of_two_answers_by_hand() -> None:
    """Two equal bags of words have cosine 1; two without a common word 0."""
    asked = Request("story", "Tell me.", "dog")
    narrow = [Demonstration(asked, "a dog ran"), Demonstration(asked, "ran a dog")]
    varied = [Demonstration(asked, "a dog ran"), Demonstration(asked, "birds sing today")]
    about = describe(AnswerSets(narrow, varied), length_of)
    assert about["narrow"]["story"]["tf_idf_cosine"] == pytest.approx(1)
    assert about["varied"]["story"]["tf_idf_cosine"] == pytest.approx(0)
    told = {what: about["varied"]["story"][what] for what in ("n", "answer_tokens", "request_tokens", "n_in_both")}
    assert told == {"n": 2, "answer_tokens": 6, "request_tokens": 8, "n_in_both": 1}
    assert (about["narrow"]["story"]["n_words"], about["narrow"]["story"]["distinct_words"]) == (6, 3)


def test_a_pool_of_which_a_narrow_set_would_be_most_is_refused() -> None:
    with pytest.raises(BadValue, match="there are 20 clean answers"):
        choose(pool(20), 11, length_of)
