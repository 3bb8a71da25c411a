"""Words, n-grams and sentences: what counts as one, that nothing is lost, and that time grows with length only."""

from __future__ import annotations

import random
import re
import time
import unicodedata

import pytest

from llama_diversity.text import beginning, cutting, ngrams, plain, sentences, words

WORDS = {
    "case, one letter, digits": ("I paid A Dollar in 1999", ["i", "paid", "a", "dollar", "in", "1999"]),
    "apostrophes": ("don't 'quoted' dogs' rock'n'roll", ["don't", "quoted", "dogs", "rock'n'roll"]),
    "typographic apostrophe": ("don’t ‘quoted’", ["don't", "quoted"]),
    "hyphens, dots, underscores": ("well-known U.S. snake_case", ["well", "known", "u", "s", "snake_case"]),
    "casefold, not lower": ("STRASSE Straße ΣΊΣΥΦΟΣ", ["strasse", "strasse", "σίσυφοσ"]),
    "decomposed letters": ("cafe\u0301 CAFÉ", ["café", "café"]),
    "combining vowels": ("हिन्दी में", ["हिन्दी", "में"]),
    "Cyrillic, Arabic with vowels": ("Привет мир كِتَاب", ["привет", "мир", "كِتَاب"]),
    "Han, each letter a word": ("北京是中国的首都，", list("北京是中国的首都")),
    "Han beside Latin and digits": ("iPhone手机2024年的OK", ["iphone", *"手机", "2024", *"年的", "ok"]),
    "Kana, with a long vowel and iteration": ("ラーメンを食べる人々", list("ラーメンを食べる人々")),
    "Kana of half width": ("ｶﾞﾝﾊﾞﾙ", list("ガンバル")),
    "Latin of full width": ("ＡＢＣ abc", ["abc", "abc"]),
    "Thai, vowels and tones with their letter": ("ที่นี่น้ำดี", ["ที่", "นี่", "น้ำ", "ดี"]),
    "Thai digits are one number": ("๒๕๖๗", ["๒๕๖๗"]),
    "Lao": ("ສະບາຍດີ", ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]),
    "Khmer, a letter below another": ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្មែ", "រ"]),
    "Burmese, a letter below another": ("မြန်မာ သင်္ဘော", ["မြ", "န်", "မာ", "သ", "င်္ဘော"]),
    "Javanese": ("ꦗꦮ", ["ꦗ", "ꦮ"]),
    "Tibetan has a mark between syllables": ("བོད་སྐད།", ["བོད", "སྐད"]),
    "Korean and Vietnamese have blanks": ("서울은 수도 Việt Nam", ["서울은", "수도", "việt", "nam"]),
    "Korean in parts": (unicodedata.normalize("NFD", "서울은 수도"), ["서울은", "수도"]),
    "invisible characters": ("co\u00adop \ufeffa\u2060b m\u200ci", ["coop", "ab", "mi"]),
    "a zero-width space parts words": ("a\u200bb", ["a", "b"]),
    "other apostrophes": ("donʼt don‘t don´t don＇t", ["don't"] * 4),
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


def test_one_spelling() -> None:
    """Written in hand: what looks the same is the same, and what ASCII has is left as it is."""
    assert plain("Jose\u0301") == plain("Jos\u00e9") == "Jos\u00e9"
    assert {plain(one) for one in ("O’Neill", "OʼNeill", "O\u00ad'Neill", "\u200eO＇Neill\ufeff")} == {"O'Neill"}
    assert plain("x² ½ ™ ，") == "x² ½ ™ ，"  # not NFKC, which makes letters of signs
    assert plain("a`b\x00") == "a`b\x00"


def test_a_text_up_to_a_word() -> None:
    assert [beginning("Well, I can't!", n) for n in (0, 1, 3, 9)] == ["Well, I can't!", "Well", "Well, I can't"] + [
        "Well, I can't!"
    ]
    assert beginning("北京，是 中国", 3) == "北京，是"
    for text in ("Straße İzmir ŉ don’t", "สวัสดี ab 你好"):
        for n in range(1, len(words(text)) + 1):
            assert words(beginning(text, n)) == words(text)[:n]


def test_how_words_were_cut() -> None:
    """Two letters of Han and eight of Latin; 41 letters are no word, 40 may be one."""
    assert cutting([words("北京 telegram")]) == (0.2, 0.0)
    assert cutting([["x" * 41], ["y" * 40, "z"]]) == (0.0, 0.5)
    assert cutting([words("ที่ ๒๕")]) == (0.6, 0.0)  # the letter with two marks, and two digits
    assert cutting([[], words("...")]) == cutting([]) == (0.0, 0.0)


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
    "यह अच्छा है।| बहुत अच्छा।|हाँ॥| هل هذا جيد؟| جی۔|ہاں",
    "他说：“你好。|你呢？”|然后走了！？|好",
    "「はい。」と彼は言った。|『行く！』ってそう｡|３．５です．|はい",
    "မင်္ဂလာပါ။|ကောင်းတယ်။| ចាស។|ទេ៕| Բարեւ։| ሰላም።|አዎ፧|እሺ",
    "สวัสดีครับ ผมชอบมาก ดีจริงๆ",
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
