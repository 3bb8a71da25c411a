"""Scripts without blanks in `compare`, `semantic` and the metrics: letters are words, or the line is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llama_diversity.metrics.lexical import distinct, homogenization, self_bleu
from llama_diversity.studies.compare.analysis import Line, Result, compare
from llama_diversity.studies.compare.measured import Generations, Rules
from llama_diversity.studies.coverage import analysis as modes
from llama_diversity.studies.personas import values as values
from llama_diversity.studies.perturb.analysis import undoes
from llama_diversity.studies.perturb.perturbations import Insert, Replace
from llama_diversity.studies.phrases import letters_that_are_words
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.text import words

WORDS = [f"w{number}" for number in range(60)]
HAN = [chr(0x4E00 + 40 * number) for number in range(60)]
THAI = [chr(0x0E01 + number % 40) + chr(0x0E34 + number // 40) for number in range(60)]
LENGTH = 24


def drawn(seed: int, spread: float, n: int = 40) -> list[list[int]]:
    """Sentences of LENGTH words of sixty, the first ones likelier; the smaller the spread, the fewer come."""
    law = np.exp(-np.arange(60) / spread)
    return np.random.default_rng(seed).choice(60, (n, LENGTH), p=law / law.sum()).tolist()


def spelled(sentences: Sequence[Sequence[int]], alphabet: Sequence[str], between: str) -> list[str]:
    return [between.join(alphabet[number] for number in some) + between for some in sentences]


def generations(texts: Sequence[str], seed: int) -> Generations:
    """Vectors and statistics are the same whatever the script is."""
    rng, n = np.random.default_rng(seed), len(texts)
    bits = rng.normal(100, 10, n)
    return Generations(
        n, texts, rng.normal(size=(n, 8)).astype(np.float32), 0, [words(text) for text in texts], bits, bits,
        np.full(n, 64.0), np.full(n, LENGTH), np.full(n, LENGTH), np.full(n, 4 * LENGTH),
    )  # fmt: skip


def compared(first: Sequence[str], second: Sequence[str]) -> Result:
    return compare([{"first": generations(first, 1), "second": generations(second, 2)}], Rules(16))


def line(found: Result, measure: str) -> Line:
    return next(one for one in found.lines if one.measure == measure)


@pytest.mark.parametrize(("alphabet", "between"), [(HAN, ""), (HAN, "，"), (THAI, ""), (THAI, "\u200b")])
def test_a_sentence_without_blanks_compares_as_its_twin_with_blanks(alphabet: Sequence[str], between: str) -> None:
    """Word for letter the same sentences: words and types have the same share and verdict, which is a loss."""
    wide, narrow = drawn(1, 30.0), drawn(2, 4.0)
    found = compared(spelled(wide, alphabet, between), spelled(narrow, alphabet, between))
    twin = compared(spelled(wide, WORDS, " "), spelled(narrow, WORDS, " "))
    for measure in ("words", "types"):
        one, other = line(found, measure), line(twin, measure)
        assert one.verdict == other.verdict == "less diverse"
        assert (one.share, one.low, one.high) == pytest.approx((other.share, other.low, other.high), rel=1e-9)
    assert found.by_letter == {"first": 1.0, "second": 1.0}
    assert twin.by_letter == {"first": 0.0, "second": 0.0}
    assert (
        "100 % of first's letters and 100 % of second's letters" in next(letters_that_are_words(found.by_letter)).text
    )
    assert not list(letters_that_are_words(twin.by_letter))


def test_every_metric_of_words_sees_the_letters() -> None:
    """Two of three letters shared: 4 different ones of 6; BLEU has 2/3, 1/2 and 0.1 of the trigram."""
    documents = [words("北京城"), words("北京市")]
    assert distinct(documents).value == pytest.approx(4 / 6)
    assert self_bleu(documents).value == pytest.approx((2 / 3 * 1 / 2 * 0.1) ** (1 / 3))
    assert homogenization(documents).value == pytest.approx(2 / 3)


def test_real_chinese_sentences_differ_in_their_words() -> None:
    """Of two sentences four letters are the same: before, the two had no word in common."""
    one, other = words("北京是中国的首都，"), words("上海是中国的城市。")
    assert len(set(one) & set(other)) == 4


def test_words_that_cannot_be_told_are_refused() -> None:
    """Runs of 50 letters, here of Latin; nothing else is refused for it."""
    runs = [text.replace(" ", "") for text in spelled(drawn(3, 30.0), ["xy"] * 60, " ")]
    found = compared(spelled(drawn(1, 30.0), WORDS, " "), runs)
    for measure in ("words", "types"):
        one = line(found, measure)
        assert (one.verdict, one.value) == ("not comparable", None)
        assert "100 % of second's letters stand in runs of more than 40" in one.reason
    assert line(found, "distance").verdict != "not comparable"


def test_words_are_not_compared_with_letters() -> None:
    wide = drawn(1, 30.0)
    found = compared(spelled(wide, WORDS, " "), spelled(wide, HAN, ""))
    assert "100 % of second's and 0 % of first's letters" in line(found, "words").reason
    mixed = [f"{text} 好" for text in spelled(wide, WORDS, " ")]
    assert line(compared(spelled(wide, WORDS, " "), mixed), "words").verdict != "not comparable"


def test_texts_without_a_word_do_not_make_a_comparison() -> None:
    signs = ["😀 !! ★"] * 35 + spelled(drawn(1, 30.0, n=5), WORDS, " ")
    found = line(compared(spelled(drawn(2, 30.0), WORDS, " "), signs), "words")
    assert found.verdict == "not comparable"
    assert "Too few generations (5) hold a word within the common prefix" in found.reason


def test_meanings_that_the_encoder_cannot_read_are_not_compared() -> None:
    """Half of the second arm's characters: no measure of meanings, all others as they were."""
    texts = spelled(drawn(1, 30.0), WORDS, " "), spelled(drawn(2, 30.0), WORDS, " ")
    first, second = (generations(some, seed) for seed, some in enumerate(texts))
    found = compare([{"first": first, "second": second._replace(unread=0.5)}], Rules(16))
    for measure in ("distance", "vendi", "kinds", "class_entropy"):
        assert "the encoder reads English, and 50 % of second's text is nothing" in line(found, measure).reason
        assert line(found, measure).verdict == "not comparable"
    assert line(found, "words").verdict != "not comparable"
    readable = compare([{"first": first, "second": second._replace(unread=0.1)}], Rules(16))
    assert line(readable, "distance").verdict != "not comparable"


def test_no_kinds_by_meaning_of_what_the_encoder_cannot_read() -> None:
    texts = {"base": ["a", "b"] * 15, "aligned": ["c", "c"] * 15}
    vectors = {arm: np.eye(4, dtype=np.float32)[[ord(text) - 97 for text in some]] for arm, some in texts.items()}
    found = modes.analyse(texts, vectors, {}, {"base": 0.1, "aligned": 0.9})
    assert list(found.arms) == ["base"]
    assert "90 % of aligned's text" in found.refused["aligned"]
    assert "aligned" in modes.analyse(texts, None, None, {"aligned": 0.9}).arms  # equal texts need no encoder


def test_semantic_has_no_meanings_of_what_the_encoder_cannot_read() -> None:
    texts = {arm: spelled(drawn(seed, 30.0, n=8), WORDS, " ") for seed, arm in enumerate(("base", "aligned"))}
    vectors = {arm: np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32) for arm in texts}
    found = semantic.whole(texts, vectors, unread={"base": 0.0, "aligned": 0.9})
    assert found.distance["aligned"].value is found.vendi["aligned"].value is None
    assert found.distance["base"].value is not None
    assert found.distance_retained["aligned"].share is None
    assert np.isnan(found.result.meanings_differences["aligned"]).all()
    assert not np.isnan(found.result.words_differences["aligned"]).any()


def test_an_opening_is_changed_behind_letters() -> None:
    """Neither the word that is changed nor a continuation has blanks around it."""
    change = Replace("是", "不是").opening("北京是中国", "的首都，是好的。")
    assert change == ("北京是中国的首都，是", "北京是中国的首都，不是")
    assert Insert("也", 2).opening("北京是中国", "") == ("北京", "北京也")
    assert Insert("also", -1).opening("Beijing is 好的", "") == ("Beijing is 好", "Beijing is 好 also")
    pairs = [("北京", "是"), ("ดี", "มาก"), ("She was not", "ed")]
    assert [undoes(opening, text) for opening, text in pairs] == [False, False, True]


@pytest.mark.parametrize("review", ["很好用", "ดีมาก", "とても良い", "정말 아주 좋아요", "It is good"])
def test_a_review_of_three_words_or_letters_is_one(review: str) -> None:
    assert values.review(review) == review


def test_semantic_gives_no_difference_of_words_and_letters() -> None:
    wide = drawn(1, 30.0, n=6)
    vectors = {arm: np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) for arm in ("base", "aligned")}
    alike = {"base": spelled(wide, HAN, ""), "aligned": spelled(drawn(2, 4.0, n=6), HAN, "")}
    assert semantic.analyse(alike, vectors).words_differences["aligned"].mean > 0
    found = semantic.analyse({**alike, "base": spelled(wide, WORDS, " ")}, vectors)
    assert np.isnan(found.words_differences["aligned"]).all()
    assert "100 % of aligned's and 0 % of base's" in found.words_unfit["aligned"]
