"""Words, sentences and n-grams of one document: what every lexical metric counts.

Rules for the whole package, in one place, so that two numbers about one text speak of the same tokens. Nothing here
crosses the border of a document. All functions are linear in the length of the text.

Scripts that do not part words by blanks (Chinese, Japanese, Thai, Lao, Khmer, Burmese and the like) are cut by letters:
each letter with the marks it carries counts as a word, as is usual for BLEU of Chinese. Dictionaries would find words,
but each its own, they differ from version to version, and what a model makes up is in none of them.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

# ---- spelling ----

_APOSTROPHES = "’‘‛ʼʻ´＇"
_INVISIBLE = (  # soft hyphen, joiners, marks of direction, byte order mark; a zero-width space parts words and stays
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\u3164\ufeff"
)
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0000, 0xE01F0))  # of variants of a letter, and tags


def plain(text: str) -> str:
    """One spelling of what looks the same: NFC, one apostrophe, letters of usual width, nothing invisible.

    >>> plain("Jose\\u0301"), plain("O’Ne\\u00adill"), plain("ＡＢＣ")
    ('José', "O'Neill", 'ABC')
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_spellings()))


@lru_cache(maxsize=1)
def _spellings() -> dict[int, str | None]:
    """Of characters the one that stands for them, None for none."""
    usual = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFDD)}
    widths = {code: one for code, one in usual.items() if one.isalnum() or unicodedata.category(one) == "Mn"}
    nothing: dict[int, str | None] = dict.fromkeys((*map(ord, _INVISIBLE), *_SELECTORS))
    return {**widths, **nothing, **dict.fromkeys(map(ord, _APOSTROPHES), "'")}


# ---- words ----

_ASCII_WORD = re.compile(r"\w+(?:'\w+)*", re.ASCII)
_MARK_CODES = (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))  # where Unicode has combining marks
_WITHOUT_BLANKS = (  # first and last code of the scripts that part no words
    (0x0E01, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF), (0x1A00, 0x1AAF), (0xAA80, 0xAADF), (0x11700, 0x1174F),  # Tai Le to Tai Tham, Buginese, Ahom
    (0x1B00, 0x1B7F), (0x1BC0, 0x1BFF), (0xA980, 0xA9DF),  # Balinese, Batak, Javanese
    (0x2E80, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x1AFF0, 0x1B16F),  # Kana, Bopomofo
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Han
    (0xA000, 0xA4CF), (0x16FE0, 0x18DFF), (0x1B170, 0x1B2FF),  # Yi; Tangut, Khitan, Nushu
)  # fmt: skip
_TAKES_NEXT = "\u1039\u17d2\u1a60\u1b44\ua9c0"  # behind these a letter is written below the one before
_AM = "\u0e33\u0eb3"  # vowels that count as letters, but belong to the letter before


def words(text: str) -> list[str]:
    """Words of a text, casefolded, those of one letter included; a hyphen separates, an apostrophe inside does not.

    A word is a run of letters, digits, underscores and the marks that combine with them, as `plain` spells it; of
    scripts without blanks each letter with its marks is one. No words: an empty list.

    >>> words("I can't; a B-52!"), words("Ça can’t"), words("3月に東京へ")
    (['i', "can't", 'a', 'b', '52'], ['ça', "can't"], ['3', '月', 'に', '東', '京', 'へ'])
    """
    folded = text.casefold()
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    return _unicode_word().findall(plain(folded))


class SoFar(NamedTuple):
    """The words of a text that is not at its end: those that nothing behind it can change, and one that may go on.

    `rest`: the bytes that in place of all of the text would be gone on with alike.
    """

    words: tuple[str, ...]
    open: str  # empty where the text ends between words
    rest: bytes


def words_so_far(data: bytes) -> SoFar:
    """`words` of the beginning of a text, which may end within a word and within a character.

    >>> words_so_far(b"A nurse, a na"), words_so_far("Caf\u00e9".encode()[:-1])
    (SoFar(words=('a', 'nurse', 'a'), open='na', rest=b'na'), SoFar(words=(), open='caf', rest=b'caf\xc3'))
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    folded = decoder.decode(data).casefold()
    pending, _ = decoder.getstate()
    folded = folded if folded.isascii() else plain(folded)
    found = list((_ASCII_WORD if folded.isascii() else _unicode_word()).finditer(folded))
    behind = folded[found[-1].end() :] if found else "-"
    if behind not in ("", "'"):  # an apostrophe is of the word where a letter follows
        return SoFar(tuple(one[0] for one in found), "", pending)
    last = found.pop()[0]
    return SoFar(tuple(one[0] for one in found), last, (last + behind).encode() + pending)


def beginning(text: str, n_words: int) -> str:
    """A text up to the end of its word number `n_words`, as `plain` spells it; all of it where there are fewer.

    >>> beginning("Well, I can't go.", 3)
    "Well, I can't"
    """
    text = plain(text)
    found = next(itertools.islice(_unicode_word().finditer(text), n_words - 1, None), None) if n_words > 0 else None
    return text if found is None else text[: found.end()]


def ends_between_words(text: str) -> list[int]:
    """Where one may cut a text behind a word: before blanks and at the end, and behind letters that part no words.

    >>> ends_between_words("She was. "), ends_between_words("北京，是 ok")
    ([3, 8], [1, 3, 4, 7])
    """
    ends = []
    for piece in re.finditer(r"\S+", text):
        starts = [piece.start() + word.start() for word in _unicode_word().finditer(piece[0])]
        ends += [at for at in starts[1:] if is_letter_without_blanks(text[at]) or _parts_no_words(text, at)]
        ends.append(piece.end())
    return ends


def _parts_no_words(text: str, at: int) -> bool:
    """Whether the last letter before a place is of a script without blanks; marks and signs are passed over."""
    before = next((char for char in reversed(text[max(0, at - 9) : at]) if char.isalnum()), "")
    return is_letter_without_blanks(before)


@lru_cache(maxsize=1)
def _unicode_word() -> re.Pattern[str]:
    r"""Python's \w leaves combining marks out, which would cut Hindi words at their vowels."""
    marks = [code for code in _MARK_CODES if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me")]
    mark = f"[{_AM}{_of_codes(marks)}]"
    alone = rf"(?!\d)(?=\w)[{''.join(f'{chr(first)}-{chr(last)}' for first, last in _WITHOUT_BLANKS)}]"
    others = rf"(?:(?!{alone})\w{mark}*)+"
    return re.compile(rf"{alone}{mark}*(?:(?<=[{_TAKES_NEXT}]){alone}{mark}*)*|{others}(?:'{others})*")


def _of_codes(codes: Sequence[int]) -> str:
    """Increasing codes as ranges within the brackets of a pattern."""
    ranges = itertools.groupby(enumerate(codes), lambda pair: pair[1] - pair[0])  # equal along consecutive codes
    runs = [[code for _, code in run] for _, run in ranges]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


class Cutting(NamedTuple):
    """How the words of some texts were found: shares of all their letters, digits and marks."""

    by_letter: float  # that stand in scripts without blanks, where each letter counts as a word
    uncut: float  # that stand in runs too long for a word: nothing is known of where words end there


LONGEST_WORD = 40  # letters; the longest compounds in use have fewer


class Letters(NamedTuple):
    """Letters, digits and marks of words by how the words were found: counts, which add up over texts."""

    n: int
    by_letter: int
    uncut: int

    @classmethod
    def of(cls, documents: Iterable[Sequence[str]]) -> Letters:
        """Of documents, lists of words. O(words)."""
        total = by_letter = uncut = 0
        for word in itertools.chain.from_iterable(documents):
            total += len(word)
            uncut += len(word) if len(word) > LONGEST_WORD else 0
            by_letter += len(word) if is_letter_without_blanks(word) else 0
        return cls(total, by_letter, uncut)

    @classmethod
    def together(cls, some: Iterable[Letters]) -> Letters:
        """Of all their texts."""
        every = list(some)
        return cls(sum(one.n for one in every), sum(one.by_letter for one in every), sum(one.uncut for one in every))

    @property
    def cutting(self) -> Cutting:
        """The same as shares, of 0 where there is no word."""
        return Cutting(self.by_letter / self.n, self.uncut / self.n) if self.n else Cutting(0.0, 0.0)


def cutting(documents: Iterable[Sequence[str]]) -> Cutting:
    """How documents, lists of words, were cut; shares of 0 where there is no word. O(words).

    >>> cutting([words("北京 is"), words("x" * 96)])
    Cutting(by_letter=0.02, uncut=0.96)
    """
    return Letters.of(documents).cutting


def is_letter_without_blanks(word: str) -> bool:
    """Whether one of `words`, or a character, is a letter of a script that parts no words; an empty one is none."""
    return not (word.isascii() or word[0].isdecimal()) and any(
        first <= ord(word[0]) <= last for first, last in _WITHOUT_BLANKS
    )


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of one document in their order; none where it has fewer than n tokens.

    >>> ngrams(["a", "b", "a"], 2)
    [('a', 'b'), ('b', 'a')]
    """
    if n < 1:
        raise ValueError("an n-gram has at least one token")
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


# ---- sentences ----

_EMOJI = "[\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f\U000e0020-\U000e007f]"
_CLOSERS = "[\"'”’»›)\\]}*_」』）]*"
_STOP = "[.!?…]"
_SURE_STOP = "[。！？｡．؟۔।॥։።፧။។៕܀]"  # nothing else than a stop, so that no blank need follow
_SMILEY = r"[:;]-?[()DP]"
_MORE = (  # "! !" and emoji belong to what they end
    rf"(?:\s+(?:(?:{_STOP}|{_SURE_STOP}|{_EMOJI})+{_CLOSERS}|{_SMILEY})(?=\s|$))*"
)
_FACE = rf"(?P<emoji>{_EMOJI}+|(?<=\s){_SMILEY}(?=\s|$))"
_STOPS = re.compile(rf"(?:(?:{_STOP}|{_SURE_STOP})+(?P<closed>{_CLOSERS})|{_FACE}){_EMOJI}*{_MORE}")
_NEXT_WORD = re.compile(r"\s*[\"'“‘«‹(\[{¿¡*_#-]*(\w*(?:['’]\w+)?)")
_GOES_ON = re.compile(r"(?<=[」』])(?:と|って)|(?<=．)\d")  # 「はい。」と言う, ３．５
_LINES = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")

_LOOK_BACK = 24  # characters before a stop in which its word is looked for; no abbreviation is longer
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")  # U.S, p.m, Ph.D
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_ENUMERATOR = re.compile(r"\W*(?:\d{1,3}|[A-Za-z])")  # "1." and "(a." at the beginning of a line
_NEVER_LAST = frozenset(
    "mr mrs ms mx dr prof gen rep sen gov capt cpt lt col sgt cmdr adm hon rev fr messrs mme mlle vs cf viz e.g eg i.e "
    "al ca approx".split()
)
_MAYBE_LAST = frozenset(
    "jr sr st ste mt ft ave blvd rd etc inc ltd co corp llc bros dept hr hrs oz lb lbs sq "
    "jan feb apr jun jul aug sep sept oct nov dec tue tues thu thur thurs fri".split()
)
_BEFORE_NUMBER = frozenset("no nos nr fig figs vol vols p pp ch sec art eq ref ed".split())
_STARTERS = frozenset(  # words that begin sentences, and seldom go on after an abbreviation with a capital letter
    "the this that these those there here it its it's i i'm i've i'd i'll we we're we've you your he she they my our "
    "his her their a an and but or so if when while although because since after before as at for from in on with "
    "what who why how where which not no never now then also however overall highly definitely will would can "
    "could should do don't does did is are was were have has had all any some most many both each every "
    "great good very really love loved just please thanks".split()
)


def sentences(text: str) -> list[str]:
    """Sentences of a text in their order, stripped; what is not blank is kept, and nothing else.

    A line break ends a sentence; so do . ! ? and their runs before a blank, with the quotes, brackets and emoji that
    close it. Not after titles and initials (Dr., J. K.), inside numbers, after "U.S.", "etc." and the like unless a
    word follows that begins sentences, and after "..." or a closing quote only where a capital letter follows. Stops
    that are nothing else (。 । ؟ ။ and the like) need no blank. Rules for English, good enough to count and to compare;
    a text of one kind is cut alike in both arms. Thai and Lao have no stops: a line is a sentence.

    >>> sentences('Dr. Smith paid $3.50 in the U.S. last week. "Great!" he said... Would buy again! 😀')
    ['Dr. Smith paid $3.50 in the U.S. last week.', '"Great!" he said...', 'Would buy again! 😀']
    """
    return [sentence for line in _LINES.split(text) for sentence in _of_line(line)]


def _of_line(line: str) -> list[str]:
    cuts = [0]
    word = _next_word_at(line, 0)
    for stop in _STOPS.finditer(line):
        if word < stop.start() and _ends(line, cuts[-1], stop):
            cuts.append(stop.end())
            word = _next_word_at(line, stop.end())
    if word < len(line) or len(cuts) == 1:
        cuts.append(len(line))
    cuts[-1] = len(line)  # stray marks at the end belong to the last sentence
    pieces = [line[start:end].strip() for start, end in itertools.pairwise(cuts)]
    return [piece for piece in pieces if piece]


def _next_word_at(line: str, start: int) -> int:
    """Where the next letter or digit is; without one, the end. A sentence holds at least one."""
    found = _LETTER_OR_DIGIT.search(line, start)
    return found.start() if found else len(line)


def _ends(line: str, start: int, stop: re.Match[str]) -> bool:
    """Whether a sentence that began at `start` ends with the match `stop`."""
    if stop.end() == len(line):
        return True
    if re.search(_SURE_STOP, stop[0]):
        return not _GOES_ON.match(line, stop.end())
    if not line[stop.end()].isspace():
        return False
    following = _NEXT_WORD.match(line, stop.end())
    word = following[1] if following else ""
    if stop["emoji"]:
        return word[:1].isupper() and _begins_sentences(word)
    if stop[0][0] == "." and not stop[0].startswith(".."):
        return _period_ends(line, start, stop, word)
    if stop[0][0] in ".…":
        return word[:1].isupper() and word != "I" and not word.startswith(("I'", "I’"))
    return not (stop["closed"] and word[:1].islower())


def _period_ends(line: str, start: int, stop: re.Match[str], following: str) -> bool:
    if stop["closed"] and following[:1].islower():
        return False
    if stop.start() - start < _LOOK_BACK and _ENUMERATOR.fullmatch(line[start : stop.start()].strip()):
        return False
    before = line[max(start, stop.start() - _LOOK_BACK) : stop.start()].split()
    word = before[-1].lstrip("\"'“‘«‹([{*_") if before else ""
    lower = word.lower()
    if lower in _NEVER_LAST:
        return False
    if lower in _BEFORE_NUMBER:
        return not following[:1].isdigit()
    initial = len(word) == 1 and word.isupper()
    if initial or lower in _MAYBE_LAST or _DOTTED.fullmatch(word):
        return following[:1].isupper() and _begins_sentences(following)
    return True


def _begins_sentences(word: str) -> bool:
    return word.lower().replace("’", "'") in _STARTERS
