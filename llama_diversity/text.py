"""Words, sentences and n-grams of one document: what every lexical metric counts.

Rules for the whole package, in one place, so that two numbers about one text speak of the same tokens. Nothing here
crosses the border of a document. The rules know scripts that separate words by blanks; a Chinese or Thai sentence is
one word. All functions are linear in the length of the text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# ---- words ----

_ASCII_WORD = re.compile(r"\w+(?:'\w+)*", re.ASCII)
_MARK_CODES = (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))  # where Unicode has combining marks


def words(text: str) -> list[str]:
    """Words of a text, casefolded, those of one letter included; a hyphen separates, an apostrophe inside does not.

    A word is a run of letters, digits, underscores and the marks that combine with them; a typographic apostrophe
    counts as the plain one, and composed and decomposed letters are the same. No words: an empty list.

    >>> words("I can't; a B-52!"), words("Ça can’t")
    (['i', "can't", 'a', 'b', '52'], ['ça', "can't"])
    """
    folded = text.casefold()
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    return _unicode_word().findall(unicodedata.normalize("NFC", folded).replace("’", "'"))


@lru_cache(maxsize=1)
def _unicode_word() -> re.Pattern[str]:
    r"""Python's \w leaves combining marks out, which would cut Hindi words at their vowels."""
    marks = [code for code in _MARK_CODES if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me")]
    ranges = itertools.groupby(enumerate(marks), lambda pair: pair[1] - pair[0])  # equal along consecutive codes
    runs = [[code for _, code in run] for _, run in ranges]
    letter = rf"[\w{''.join(f'{chr(run[0])}-{chr(run[-1])}' for run in runs)}]"
    return re.compile(rf"\w{letter}*(?:'\w{letter}*)*")


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
_STOP = "[.!?…؟۔।॥]"
_WIDE_STOP = "[。！？]"  # no blank follows it
_SMILEY = r"[:;]-?[()DP]"
_MORE = rf"(?:\s+(?:(?:{_STOP}|{_EMOJI})+{_CLOSERS}|{_SMILEY})(?=\s|$))*"  # "! !" and emoji belong to what they end
_FACE = rf"(?P<emoji>{_EMOJI}+|(?<=\s){_SMILEY}(?=\s|$))"
_STOPS = re.compile(rf"(?:(?:{_STOP}|{_WIDE_STOP})+(?P<closed>{_CLOSERS})|{_FACE}){_EMOJI}*{_MORE}")
_NEXT_WORD = re.compile(r"\s*[\"'“‘«‹(\[{¿¡*_#-]*(\w*(?:['’]\w+)?)")
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
    word follows that begins sentences, and after "..." or a closing quote only where a capital letter follows. Rules
    for English, good enough to count and to compare; a text of one kind is cut alike in both arms.

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
    if re.match(_WIDE_STOP, stop[0]):
        return True
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
