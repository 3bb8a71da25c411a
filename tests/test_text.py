"""Words, n-grams and sentences: what counts as one, that nothing is lost, and that time grows with length only."""

from __future__ import annotations

import random
import re
import time
import unicodedata

import pytest

from llama_diversity.text import ngrams, sentences, words

WORDS = {
    "case, one letter, digits": ("I paid A Dollar in 1999", ["i", "paid", "a", "dollar", "in", "1999"]),
    "apostrophes": ("don't 'quoted' dogs' rock'n'roll", ["don't", "quoted", "dogs", "rock'n'roll"]),
    "typographic apostrophe": ("don’t ‘quoted’", ["don't", "quoted"]),
    "hyphens, dots, underscores": ("well-known U.S. snake_case", ["well", "known", "u", "s", "snake_case"]),
    "casefold, not lower": ("STRASSE Straße ΣΊΣΥΦΟΣ", ["strasse", "strasse", "σίσυφοσ"]),
    "decomposed letters": ("cafe\u0301 CAFÉ", ["café", "café"]),
    "combining vowels": ("हिन्दी में", ["हिन्दी", "में"]),
    "Cyrillic, Arabic with vowels": ("Привет мир كِتَاب", ["привет", "мир", "كِتَاب"]),
    "no words": ("", []),
    "signs only": (" ... 😀 ★★★ --- ", []),
    "emoji part words": ("good😀bad", ["good", "bad"]),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.values(), ids=WORDS.keys())
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFC", word) for word in expected]


def test_ascii_and_other_texts_follow_one_rule() -> None:
    """A text with one letter beyond ASCII takes another path; the words before it stay the same."""
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("ab_9' -.,A\n\t\"", k=30))
        assert words(f"{text} é") == [*words(text), "é"]


def test_ngrams() -> None:
    assert ngrams("a b c d".split(), 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert ngrams("a b".split(), 2) == [("a", "b")]
    assert ngrams("a b".split(), 1) == [("a",), ("b",)]
    assert ngrams("a b".split(), 3) == ngrams([], 1) == []
    with pytest.raises(ValueError, match="at least one token"):
        ngrams(["a"], 0)


SENTENCES = [  # a bar stands where a sentence ends
    "I love it.| It works great!| Would you buy it?| Yes",
    "Mr. and Mrs. Lee met Dr. J. K. Smith at St. Mary's.| Prof. Lee was there vs. Mr. So.",
    "She moved to the U.S. in May.| He lives in the U.S.| The rent is high in the U.S. Army.",
    "Use it daily, e.g. at noon, i.e. after lunch, etc. and so on.| I like pens, caps, etc.| They last.",
    "It closes at 5 p.m. on Sundays.| It opens at 9 a.m.| We came early.| He has a Ph.D. in physics.",
    "I work at Apple Inc. in Ohio.| She works at Apple Inc.| The pay is fine.",
    "It costs $3.50, not 4.25.| Version 2.0.1 is out.| See www.example.com.| Node.js too.",
    "No.| I would not.| See No. 5 and Fig. 3.| Nothing on p. 7 helps.",
    "Well... maybe it works.| I waited...| Nothing came.| Hmm… I think so… no.",
    "What?!| No way!!!| Really!?| Yes?| ok.",
    'He said "Go."| Then he left.| "Stop!" she cried.| “Why?” asked Ann.| ‘Fine.’| (It was.)| (Was it?) he thought.',
    "Great! 😀| Loved it 😍| Will buy again.| I ❤️ New York.| Thanks :)| It fits. ;)| Five stars ★★★★★| The best.",
    "Nice!! 👍🏽👍🏽| Good. . .| Wow ! !| End",
    "1. Great sound.| 2. Poor fit.| a. It broke.",
    "It is **great!**| *Buy it.*| _Now._ ok",
    "I sat in the sun.| it was fun.| plan b.| vitamin C.| It helps.",
    "你好。|我很好！|真的吗？」|是",
    "यह अच्छा है।| बहुत अच्छा।| هل هذا جيد؟| نعم",
    "Bought it for my wife.She likes it",
    "★★★★★ The best.| It lasts.",
    "(?) is a mark, not a sentence.| So is it (!) inside one.",
]


@pytest.mark.parametrize("marked", SENTENCES, ids=lambda marked: marked[:24])
def test_sentences(marked: str) -> None:
    assert sentences(marked.replace("|", "")) == [sentence.strip() for sentence in marked.split("|")]


def test_every_line_break_ends_a_sentence() -> None:
    assert sentences("a\nb\r\nc\n\n\n  d\u2028e\x85f\x0bg") == list("abcdefg")
    assert sentences("Dr.\nNo") == ["Dr.", "No"]


def test_no_sentences_and_sentences_without_words() -> None:
    assert sentences("") == sentences(" \n\t ") == []
    assert sentences("...") == ["..."]
    assert sentences("*** !!! ***") == ["*** !!! ***"]
    assert sentences("Good. ***") == ["Good. ***"]


def test_nothing_but_blanks_is_lost() -> None:
    rng = random.Random(1)
    pieces = [*"aI9.!?…\"'”)(*😀★\n \t-。", " ", " ", ". ", "Dr", " The ", "U.S", "é", "\r\n", "...", " :) "]
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randrange(40)))
        found = sentences(text)
        assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)
        assert all(sentence == sentence.strip() and sentence and "\n" not in sentence for sentence in found)


@pytest.mark.parametrize("unit", ["Dr. ", "! (", "a.", "I. ", '! "', "a", ". . ", ".  " * 50, "(."])
def test_time_grows_with_length_only(unit: str) -> None:
    """Four times the text takes four times as long; sixteen times would be quadratic. Nine lies between."""
    assert seconds(unit, 400_000) < 9 * max(seconds(unit, 100_000), 0.01)


def seconds(unit: str, length: int) -> float:
    """The better of two, so that a pause of the machine does not count."""
    text = unit * (length // len(unit))
    taken = []
    for _ in range(2):
        begin = time.process_time()
        sentences(text)
        words(text)
        taken.append(time.process_time() - begin)
    return min(taken)
