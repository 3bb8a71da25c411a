"""The values of a persona: what a model wrote beside a label, trimmed, checked and brought to one spelling.

Knows nothing of where a value stood. Each function takes the text of one field; those that can refuse raise Unreadable
with a reason of a few words. Only what the tables here name is changed: every other value keeps the model's words, but
for hyphens, the spelling of its letters and the decoration around them, and what cannot be seen in it goes. Which
values are one is told by `folded`, which knows no capitals.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from llama_diversity.studies.personas.peoples import PEOPLES
from llama_diversity.text import is_letter_without_blanks, plain

_WORD = re.compile(r"[^\W_]+")
_TAG = re.compile(r"</?(?:b|i|u|em|strong|p|br|span|code|td|tr|li|ul|div)\s?/?>", re.IGNORECASE)  # no script among them
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"
_SPACE = " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\u00a0\u2028\u2029\u202f\u3000" + _INVISIBLE
_DECORATION = _SPACE + '*_`~|"“”„«»,;'
QUOTES = {'"': '"', "“": "”", "”": "”", "„": "“", "«": "»", "‘": "’", "'": "'"}  # opening: closing
MBTI_TYPES = frozenset(map("".join, itertools.product("EI", "NS", "FT", "JP")))
MIN_AGE, MAX_AGE = 0, 120
MIN_REVIEW_WORDS = 3
_NOTHING = frozenset(
    "n/a|unknown|not specified|unspecified|not provided|not available|not applicable|not stated|not mentioned|not given"
    "|undisclosed|none|null|nil|undefined|tbd|to be determined|insert name|your name|male/female|female/male|m/f|f/m"
    "|male or female|xxx".split("|")
)
_GENDERS = {
    word: gender
    for gender, words in {
        "Male": "male m man boy guy gentleman masculine he|him he|him|his cis|male cis|man cisgender|male "
        "cisgender|man",
        "Female": "female f woman girl lady feminine she|her she|her|hers cis|female cis|woman cisgender|female "
        "cisgender|woman",
        "Non-binary": "nonbinary non|binary nb enby genderqueer gender|queer genderfluid gender|fluid they|them "
        "they|them|theirs nonbinary|person non|binary|person gender|nonconforming gender|non|conforming",
    }.items()
    for word in words.split()
}
_GROUPS = {
    "White": "caucasian|white caucasian|caucasian white|white american|european american|white european american"
    "|non hispanic white|white non hispanic|anglo american",
    "Black": "african american|black american|afro american|black african american|african american black"
    "|black or african american|african american or black",
    "Latino": "hispanic|latina|latinx|latine|latino hispanic|hispanic latino|hispanic or latino|latino or hispanic"
    "|latina hispanic|hispanic latina|hispanic or latina|latin|latin american|hispanic american|latino american"
    "|latina american|latino a",
    "Asian": "asian american",
    "Native American": "american indian|native american indian|indigenous american|american indian or alaska native",
    "Arab": "arabic|arab american",
    "Jewish": "jew|jewish american",
    "Ashkenazi Jewish": "ashkenazi|ashkenazi jew|ashkenazic jewish",
    "Sephardic Jewish": "sephardi|sephardic|sephardi jewish|sephardic jew",
    "Mixed": "mixed race|biracial|multiracial|multi racial|bi racial|mixed heritage|mixed ethnicity|multiethnic"
    "|multi ethnic|mixed race biracial",
    "Han Chinese": "han",
}
_GROUP_NAMES = {name: group for group, names in _GROUPS.items() for name in names.split("|")}
# How a text may name a people or a group in the middle of a sentence, where no label says what a word is.
_NAMES_OF_PERSONS = frozenset("georgia jordan chad mali trinidad cyprus finn scot roc trini guinea".split())
PEOPLE_WORDS = frozenset(
    name for people, names in PEOPLES.items() for name in (people.casefold(), *names) if name not in _NAMES_OF_PERSONS
)
GROUP_WORDS = frozenset(
    [
        *_GROUP_NAMES,
        *map(str.casefold, _GROUPS),
        *"igbo yoruba hausa akan ashanti zulu xhosa kikuyu kurdish tamil malayali punjabi bengali gujarati maori māori"
        " quechua mestizo mestiza sami roma romani tatar berber amazigh pashtun persian hmong slavic inuit métis creole"
        " polynesian melanesian indigenous scandinavian african".split(),
        *"south asian|east asian|southeast asian|south east asian|central asian|west asian|middle eastern"
        "|pacific islander|native hawaiian|afro caribbean|afro latina|afro latino|afro brazilian|black caribbean"
        "|black african".split("|"),
    ]
)
_BEFORE_AGE = frozenset("she he they is are i am i'm age aged a".split())
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_NUMBER_WORDS = {
    word: number for number, word in enumerate(f"zero one two three four five six seven eight nine {_TEENS}".split())
} | {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_TITLES = frozenset("mr mrs ms miss mx dr prof professor sir dame madam".split())
_SUFFIXES = frozenset("jr sr ii iii iv md phd esq".split())
PARTICLES = frozenset(
    "de da do dos das del della di la le el al bin bint ibn ben van von der den ten ter zu af av y e".split()
)


class Unreadable(ValueError):
    """Why a text is no value of its field, in a few words that may stand in a table."""


def trimmed(text: str) -> str:
    """A short value without what is around it: spaces, quotes, Markdown, tags of form, a note in brackets, a full stop.

    >>> trimmed(' **"Emily" (she/her)**. '), trimmed("Jones Jr."), trimmed("<script>x</script>")
    ('Emily', 'Jones Jr.', '<script>x</script>')
    """
    for _ in range(4):  # as many layers as were ever seen, and a bound
        before = text
        text = _without_tags(text.strip(_DECORATION))
        text = _without_quotes(text)
        text = _without_note(_without_full_stop(text))
        if text == before:
            break
    return text


def _without_tags(text: str) -> str:
    start = _TAG.match(text)
    text = text[start.end() :] if start else text
    open_tag = text.rfind("<")
    return text[:open_tag] if open_tag >= 0 and _TAG.fullmatch(text, open_tag) else text


def _without_quotes(text: str) -> str:
    return text[1:-1] if len(text) > 1 and QUOTES.get(text[0]) == text[-1] else text


def _without_full_stop(text: str) -> str:
    """Not after an abbreviation: "J.", "Jr.", "U.S."."""
    last = text.rpartition(" ")[2]
    return text[:-1] if last.endswith(".") and last.count(".") == 1 and len(last) > 3 else text


def _without_note(text: str) -> str:
    """Without a last part in round or square brackets; what stands wholly in round ones is taken out of them."""
    closing = text[-1:]
    opening = {")": "(", "]": "["}.get(closing)
    start = text.rfind(opening) if opening else -1
    if start > 0 and text[start - 1].isspace():
        return text[:start]
    return text[1:-1] if start == 0 and closing == ")" else text


def is_nothing(text: str) -> bool:
    """Whether a value only holds the place of one: empty, "N/A", "unknown", "[insert name]", "...".

    >>> is_nothing("[First name]"), is_nothing("?"), is_nothing("Na")
    (True, True, False)
    """
    text = text.strip(_DECORATION)
    bare = text.rstrip(".").casefold()
    if bare in _NOTHING or text == "NA" or not any(map(_says_something, text)):
        return True
    closing = {"[": "]", "{": "}", "<": ">"}.get(text[0])
    if closing is None:
        return False
    end = text.find(closing)
    return end == -1 or not text[end:].strip(closing)


def _says_something(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char) == "So"  # an emoji is an answer


def split_name(text: str) -> tuple[str, str]:
    """First and last word of a whole name; particles stay with the last, titles and middle names are left out.

    >>> split_name("Dr. Maria A. de la Cruz, MD"), split_name("Jones, Emily"), split_name("Emily")
    (('Maria', 'de la Cruz'), ('Emily', 'Jones'), ('Emily', ''))
    """
    head, comma, tail = trimmed(text).partition(",")
    words = [word for word in _name_words(head) if _letters(word) not in _TITLES]
    given = [word for word in _name_words(tail) if _letters(word) not in _SUFFIXES and word[0].isalpha()]
    if comma and len(words) == 1 and given:
        return given[0], words[0]
    while len(words) > 2 and _letters(words[-1]) in _SUFFIXES:
        words.pop()
    if len(words) < 2:
        return (words[0] if words else ""), ""
    start = len(words) - 1
    while start > 1 and words[start - 1] in PARTICLES:
        start -= 1
    return words[0], " ".join(words[start:])


def _name_words(text: str) -> list[str]:
    return [word for word in text.split() if word[0] not in '(["“']


def _letters(word: str) -> str:
    return word.rstrip(".").replace(".", "").casefold()


def age(text: str) -> int:
    """Whole years, MIN_AGE to MAX_AGE: "32", "32 years old", "thirty-two". Raises Unreadable for ranges and "30s".

    >>> age("She is 32 years old."), age("thirty-two"), age("32 (born in 1990)")
    (32, 32, 32)
    """
    words = re.split(r"[(,;\[]", text.casefold(), maxsplit=1)[0].split()
    words = list(itertools.dropwhile(_BEFORE_AGE.__contains__, words))
    years = _years(words)
    if years is None:
        digits, point, rest = "".join(words).rstrip(".").partition(".")
        is_fraction = digits.isdecimal() and point and rest.isdecimal()
        raise Unreadable(f"age {shortened(text)} is not a {'whole ' if is_fraction else ''}number")
    if not MIN_AGE <= years <= MAX_AGE:
        raise Unreadable(f"age {shortened(text)} is not between {MIN_AGE} and {MAX_AGE}")
    return years


def _years(words: list[str]) -> int | None:
    """The number that the words begin with, if no other one follows and what follows speaks of years."""
    if not words:
        return None
    number, unit = _digits_of(words[0]) or (None, "")
    rest = words[1:]
    if number is None:
        number, n_words = _spelled(words)
        rest = words[n_words:]
    if any(char.isdecimal() for word in rest for char in word):
        return None
    following = [word for word in (unit.lstrip("-"), *rest) if word.strip(".")]
    return number if not following or following[0].startswith("y") or number is None else None


def _digits_of(word: str) -> tuple[int, str] | None:
    """The number a word begins with, and what is behind it. A longer one than four digits is cut: it is no age."""
    sign = -1 if word[0] in "-−" else 1
    digits = "".join(itertools.takewhile(str.isdecimal, word.lstrip("-−")))
    if not digits:
        return None
    behind = word.lstrip("-−")[len(digits) :]
    return sign * int(digits.lstrip("0")[:4] or "0"), behind.removesuffix(".").removeprefix(".0")


def _spelled(words: list[str]) -> tuple[int | None, int]:
    """A number below a hundred in words, "thirty", "thirty-two" or "thirty two", and how many words it took."""
    parts = words[0].rstrip(".").split("-")
    tens = _NUMBER_WORDS.get(parts[0])
    if tens is None:
        return None, 0
    if len(parts) > 1 and parts[1].startswith("year"):  # "thirty-year-old"
        return tens, 1
    ones = parts[1:2] or words[1:2]
    one = _NUMBER_WORDS.get(ones[0].rstrip("."), 0) if ones else 0
    if tens >= 20 and 0 < one < 10:
        is_plain = all(part in {"year", "years", "old"} for part in parts[2:])
        return (tens + one if is_plain else None), (1 if len(parts) > 1 else 2)
    return (None, 1) if len(parts) > 1 else (tens, 1)


def is_number_word(text: str) -> bool:
    """Whether the last word of a text is, or may become, part of a number in words."""
    words = _WORD.findall(text.casefold())
    return bool(words) and words[-1] in _NUMBER_WORDS


def gender(text: str) -> str:
    """Male, Female or Non-binary for the usual words, pronouns among them; any other answer as it is written."""
    for part in (text, text.partition(",")[0]):
        known = _GENDERS.get("|".join(_WORD.findall(part.casefold())))
        if known:
            return known
    return text


def name(text: str) -> str:
    """A name in one spelling of its letters, without what cannot be seen; capitals are as they were written.

    >>> name("Jose\\u0301  O’Neill"), name("\\u200eAn\\u200bna\\ufeff")
    ("José O'Neill", 'Anna')
    """
    return " ".join(plain(text).replace("\u200b", "").split())


def folded(text: str) -> str:
    """What two spellings of one value have in common: JOSÉ and José, non-binary and Non-Binary.

    >>> folded("JOSÉ") == folded("Jose\\u0301"), folded("José") == folded("Jose")
    (True, False)
    """
    return unicodedata.normalize("NFC", name(text).casefold())


def nationality(text: str) -> str:
    """The word for a people, by the table of `peoples`: USA is American. Hyphens are read as spaces.

    >>> nationality("u.s. citizen"), nationality("Chinese-american"), nationality("england")
    ('American', 'Chinese American', 'British')
    """
    return _normalised(name(text), _countries(), ("citizen", "national", "citizenship", "nationality"))


def ethnicity(text: str) -> str:
    """The name of a group, by the table above: Caucasian is White. Equal parts around a slash are named once.

    >>> ethnicity("White/Caucasian"), ethnicity("hispanic"), ethnicity("of Korean descent")
    ('White', 'Latino', 'Korean')
    """
    return _normalised(name(text), _ethnicities(), ("descent", "heritage", "ancestry", "origin", "ethnicity"))


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    return {_key(one): people for people, names in PEOPLES.items() for one in (people, *names)}


@lru_cache(maxsize=1)
def _ethnicities() -> dict[str, str]:
    return {_key(one): group for one, group in ({group: group for group in _GROUPS} | _GROUP_NAMES).items()}


def _normalised(text: str, table: Mapping[str, str], endings: tuple[str, ...]) -> str:
    parts = [_normalised_part(part, table, endings) for part in (text, *text.split("/"))]
    if _key(text) in table or "/" not in text:
        return parts[0]
    return "/".join(dict.fromkeys(part for part in parts[1:] if part))


def _normalised_part(text: str, table: Mapping[str, str], endings: tuple[str, ...]) -> str:
    words = text.replace("-", " ").replace("‑", " ").split()
    if len(words) > 1 and words[0].casefold() in {"a", "an", "the", "of", "from"}:
        words = words[1:]
    if len(words) > 1 and words[-1].casefold() in endings:
        words = words[:-1]
    key = _key(" ".join(words))
    return table.get(key) or table.get(key.removesuffix("s")) or " ".join(map(_capitalised, words))


def _key(text: str) -> str:
    """How the tables spell a name: small letters without accents, no full stops, words apart by one space."""
    letters = unicodedata.normalize("NFD", text.casefold().replace(".", "").replace("-", " ").replace("/", " "))
    bare = "".join(char for char in letters if not "\u0300" <= char <= "\u036f")
    return " ".join(unicodedata.normalize("NFC", bare).split())


def _capitalised(word: str) -> str:
    if word.casefold() in {"of", "and", "or", "the"}:
        return word.casefold()
    return word.capitalize() if word.islower() or word.isupper() else word


def mbti_types(text: str) -> list[str]:
    """The Myers-Briggs types among the words of a text, in capitals, each once: "enfp-T" is ENFP."""
    words = (word.upper() for word in _WORD.findall(text))
    return list(dict.fromkeys(word for word in words if word in MBTI_TYPES))


def mbti(text: str) -> str:
    """The one type that a text names.

    >>> mbti("The Advocate (infj-T)")
    'INFJ'
    """
    types = mbti_types(text)
    if len(types) > 1:
        raise Unreadable(f"Myers-Briggs type {shortened(text)} names {len(types)}")
    if not types:
        raise Unreadable(f"{shortened(text)} is not a Myers-Briggs type")
    return types[0]


def review(text: str) -> str:
    """A review as it is written, without the quotes or emphasis it stands in as a whole."""
    text = text.strip()
    for _ in range(4):
        inner = _unwrapped(text)
        if inner == text:
            break
        text = inner.strip()
    if n_words(text, at_most=MIN_REVIEW_WORDS) < MIN_REVIEW_WORDS:
        raise Unreadable("the review has fewer than three words")
    return text


def _unwrapped(text: str) -> str:
    """Without one pair of marks around the whole; an opening one whose partner was cut off goes alone."""
    opening = text[:1]
    if opening in {"*", "_"}:
        return text[1:-1] if len(text) > 1 and text[-1] == opening else text
    closing = QUOTES.get(opening)
    if closing is None:
        return text
    first = text.find(closing, 1)
    if first == -1:
        return text[1:]
    is_whole = text[-1] == closing and (first == len(text) - 1 or _stands_within(text, first, closing))
    return text[1:-1] if is_whole else text


def _stands_within(text: str, first: int, closing: str) -> bool:
    """Whether the first closing mark belongs to a quote within the quote, or is an apostrophe, and does not end it."""
    if closing in {"'", "’"}:
        return True
    opening = text[0]
    return text[first - 1].isspace() if opening == closing else 0 < text.find(opening, 1) < first


def n_words(text: str, *, at_most: int) -> int:
    """Words with a letter or digit in them, counted up to `at_most`; of scripts without spaces every letter is one."""
    n = 0
    for word in text.split():
        n += any(map(str.isalnum, word))
        if n < at_most and not word.isascii():
            n += max(0, sum(char.isalpha() and _counts_alone(char) for char in word) - 1)
        if n >= at_most:
            break
    return n


def _counts_alone(char: str) -> bool:
    return unicodedata.east_asian_width(char) == "W" or is_letter_without_blanks(char)


def shortened(text: str) -> str:
    """A value for a reason: on one line, in quotes, at most 24 characters of it."""
    return repr(text if len(text) <= 24 else text[:23] + "…")
