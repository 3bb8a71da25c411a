"""The first persona of an output in prose: "Meet Sarah Johnson, a 34-year-old White American woman. She writes: ...".

Reads names where somebody is introduced, and words for a person only where they are said of that person: behind the
name, "I am", "she is" or "her age is", up to the first word that it does not know. So a daughter's age, French press
and white wine are nobody's age, nationality or ethnicity, and a pronoun alone is no gender. What is not stated is not
found. Never raises; looks for a persona in the first 20,000 characters alone, and takes time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from llama_diversity.studies.personas import values as values
from llama_diversity.studies.personas.labels import NAME, meaning

_MOST = 20_000  # characters in which a persona is looked for
_MOST_STATEMENT, _MOST_STATEMENTS = 400, 100  # characters of one sentence, and sentences
_MOST_NAME_WORDS = 6
# ---- where somebody is introduced

_WHO = "woman|man|person|persona|customer|lady|gentleman|girl|boy|user|reviewer|individual"
_INTRODUCTION = re.compile(
    r"\b(?:meet|introducing|persona:|(?:my|her|his|their|the\s(?:persona|customer|reviewer)(?:['’]s)?)\s(?:full\s)?name\sis"
    rf"|name['’]s|(?:{_WHO}),?\s(?:named|called)|i\sam|i['’]m|this\sis)\s{{1,3}}",
    re.IGNORECASE,
)
_BY_DESCRIPTION = re.compile(rf"(?:{_WHO}),?\s(?:named|called)\s{{1,3}}$", re.IGNORECASE)
_MAY_BE_ANYBODY = re.compile(r"(?:i\sam|i['’]m|this\sis)\s{1,3}$", re.IGNORECASE)  # "I am American"
_AT_A_LINE = re.compile(r"\n[\s\d.#>*)-]{0,20}$")
_MAY_BEGIN = re.compile(r"(?:^|\b(?:by|from)\s|[.!?:]\s{1,3}|\n\s{0,9})[*_\"“]?(?=[^\W\d_])")
_ARTICLE = re.compile(r"\ban?\s", re.IGNORECASE)
_NAME_WORD = re.compile(r"\s{0,2}([^\W\d_]+(?:['’.-][^\W\d_]+){0,4}\.?)")
_DESCRIBES = re.compile(r"[*_\"”]?\s?(?:,\s|\s(?:is|am)\s|\(|[–—]\s)")
_NO_NAMES = frozenset("i i'm i’m hi hello hey meet introducing here this persona customer reviewer review".split())
_TITLES = frozenset("mr mrs ms miss mx dr prof".split())
# ---- what is said of them

_I_AM = re.compile(r"\b(?:i\sam|i['’]m|i\sidentify\sas)\s", re.IGNORECASE)
_THEY_ARE = re.compile(
    r"(?:^|[.!?\n]\s{0,9})(?:(?:she\sis|she['’]s|he\sis|he['’]s|they\sare|they['’]re|(?:she|he|they)\sidentif(?:y|ies)\sas"
    r"|as(?=\san?\s))\s|(?=an?\s\d))",
    re.IGNORECASE,
)
_SOMEBODY_ELSE = re.compile(
    r"\b(?:(?:my|her|his|their)\s(?:\w{1,20}\s){0,2}?(?:mother|father|mom|mum|dad|parent|friend|boss|neighbou?r|colleague)"
    r"|son|daughter|husband|wife|spouse|partner|sister|brother|child|children|kid|baby|girlfriend|boyfriend|fianc[ée]e?"
    r"|roommate|dog|cat|puppy)s?\b",
    re.IGNORECASE,
)
_OWNED = re.compile(
    r"\b(?:my|her|his|their|whose)\s((?:[\w'/()-]+\s){0,4}?[\w'/()-]+)\s(?:is|are)\s(?:an?\s)?(?=([^.,;\n()]{1,80}))",
    re.IGNORECASE,
)
_DESCENT = re.compile(
    r"\bof\s((?:[^\W\d_]+\s){1,4}?)(?:descent|heritage|ancestry|ethnicity|ethnic\sbackground)\b", re.IGNORECASE
)
_NATIONALITY = re.compile(r"\b(?:of|holds|with)\s((?:[^\W\d_]+\s){1,3}?)(?:nationality|citizenship)\b", re.IGNORECASE)
_END_OF_SENTENCE = re.compile(r"[.!?](?:\s|$)|\n\n")
_TOKEN = re.compile(
    r"(?:[^\W\d_]\.){2,6}|\d+(?:\.\d+)?(?:\s?[-–—]\s?\d+)?s?|[^\W\d_]+(?:['’][^\W\d_]+)*|[^\s\w*~`\"“”„«»‐‑-]"
)
_SIDE_BY_SIDE = frozenset(", ( ) / & – — and".split())
_PERSONS = frozenset("person individual citizen national adult customer user resident professional consumer".split())
_PASSED_OVER = (
    _SIDE_BY_SIDE
    | _PERSONS
    | frozenset(
        ": a an the is am are i i'm i’m she she's he he's they who also both as aged age at old young middle elderly"
        " proud self described identified identify identifies being currently retired single married divorced widowed"
        " busy tech savvy".split()
    )
)
# What may follow "American" and still leave it said of a person: not "teacher", "restaurant" or "press".
_LEAVES_A_PERSON = (
    _SIDE_BY_SIDE
    | _PERSONS
    | frozenset(
        ". ! ? ; : with who from in living based of by named called that working whose currently ethnically"
        " software marketing graphic nurse engineer designer developer manager accountant lawyer attorney doctor"
        " physician scientist researcher journalist writer author photographer entrepreneur consultant analyst"
        " programmer architect electrician carpenter mechanic farmer pharmacist dentist librarian barista freelance"
        " freelancer project product data web university college stay".split()
    )
)
_GENDERS = {
    **{word: word for word in "woman man female male girl boy lady gentleman guy nonbinary genderqueer".split()},
    **dict.fromkeys("mother mom mum grandmother widow businesswoman housewife she/her".split(), "woman"),
    **dict.fromkeys("father dad grandfather widower businessman he/him".split(), "man"),
    **{words: words for words in ("trans woman", "trans man", "transgender woman", "transgender man")},
    **dict.fromkeys(("non binary", "they/them", "gender fluid", "genderfluid"), "non-binary"),
    **{f"cis{rest} {word}": word for rest in ("", "gender") for word in ("woman", "man")},
}
_ATTRIBUTES = values.PEOPLE_WORDS | values.GROUP_WORDS | frozenset(_GENDERS)
# Groups of Americans: "African American" says both. Not so "Native American" and "Latin American".
_AMERICANS = frozenset(key for key in values.GROUP_WORDS if key.endswith(" american")) - {
    "native american",
    "latin american",
    "indigenous american",
}
# ---- what they say

_LABEL = re.compile(
    r"\b(?:reviews?|testimonial|feedback|comments?|opinion|own\swords|thoughts|verdict)\b[^.:\n\"“]{0,60}:\s{0,9}",
    re.IGNORECASE,
)
_VERB = (
    r"\b(?:writes|wrote|write|says|said|say|shares|shared|states|stated|comments|commented|raves|raved|reports|reported"
    r"|explains|explained|exclaims|exclaimed|thinks|think|posted|(?:has|had|have)\s(?:this\s|the\sfollowing\s)?to\ssay)\b"
)
_QUOTES = {opening: closing for opening, closing in values.QUOTES.items() if opening != "'"}
_SAYING = re.compile(rf"{_VERB}[^.!?\n:\"“„«]{{0,60}}(?::\s{{0,9}}|,?\s{{1,3}}(?=[{''.join(_QUOTES)}]))", re.IGNORECASE)
_SAID = re.compile(rf"[,.!?][\"”»],?\s(?:\w{{1,30}}\s){{0,3}}?{_VERB}", re.IGNORECASE)
_SPEAKERS = frozenset("she he they i who and ,".split())
_WORD_OR_COMMA = re.compile(r"[^\W\d_]+(?:[’'-][^\W\d_]+)*|,")
_BEFORE_QUOTE = re.compile(r"[\s*_>]{0,9}")
_END_OF_REVIEW = re.compile(r"\n\s{0,9}(?:([-=_*])(?:[ \t]?\1){2,80}[ \t]{0,9}(?=\n|$)|```)")


class _Introduced(NamedTuple):
    """Somebody's name, where their introduction begins, and where what is said of them does."""

    name: str
    start: int
    end: int


class _Said(NamedTuple):
    """A review, and from where to where in the text it stands with what announces it."""

    text: str
    start: int
    end: int


def found_in_prose(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """Fields that the text states of the first person whom it introduces; `known`: those that labels gave.

    >>> found_in_prose("I'm Kenji Mori, a 71 year old Japanese man.", {})
    {'first_name': 'Kenji', 'last_name': 'Mori', 'age': '71', 'nationality': 'Japanese', 'gender': 'man'}
    """
    text = _plain(text[:_MOST])
    people = list(_introduced(text))
    first = people[0] if people else None
    text = text[: _next_begins(text, people)]
    found = _names(first, known)
    said = None if known.get("review") else _review(text, {**found, **known}, first.end if first else 0)
    about = _about(text, said, _plain(known.get("review", "")))
    for field, value in _facts(about, first, {**found, **known}):
        found.setdefault(field, value)
    types = values.mbti_types(about)
    if types:
        found["mbti"] = "/".join(types)
    if said:
        found["review"] = said.text
    return found


def _plain(text: str) -> str:
    return text.replace("**", "").replace("__", "")


def _next_begins(text: str, people: list[_Introduced]) -> int:
    """Where a line introduces somebody else."""
    for one in people[1:]:
        is_other = values.split_name(one.name)[0] != values.split_name(people[0].name)[0]
        if is_other and _AT_A_LINE.search(text, max(0, one.start - 21), one.start):
            return one.start
    return len(text)


def _names(first: _Introduced | None, known: Mapping[str, str]) -> dict[str, str]:
    if first is None or known.get("first_name"):
        return {}
    names = dict(zip(("first_name", "last_name"), values.split_name(first.name), strict=True))
    return {field: name for field, name in names.items() if name}


def _about(text: str, said: _Said | None, review: str) -> str:
    """The text without the review."""
    if said:
        return f"{text[: said.start]}\n{text[said.end :]}"
    start = text.find(review[:60]) if review else -1
    return text[:start] if start >= 0 else text


# ---- names


def _introduced(text: str) -> Iterator[_Introduced]:
    """Everybody with a name, in the text's order."""
    places = [(match.end(), match.start(), match[0]) for match in _INTRODUCTION.finditer(text)]
    places += [(match.end(), match.end(), "") for match in _MAY_BEGIN.finditer(text)]
    for at, start, by in sorted(places):
        name, end = _name_at(text, at)
        if name and _is_introduced(name, by, text, end):
            if _BY_DESCRIPTION.search(by):  # "a 34-year-old woman named": begins with what is said
                start = _sentence_begins(text, start)
                end = max((match.start() for match in _ARTICLE.finditer(text, start, at)), default=end)
            yield _Introduced(name, start, end)


def _is_introduced(name: str, by: str, text: str, end: int) -> bool:
    """Whether words that look like a name are one: somebody is introduced before them, or described behind them."""
    words = [word.rstrip(".").casefold() for word in name.split()]
    n_words = sum(word not in _TITLES for word in words)
    if not by:
        is_described = n_words >= 2 and _NO_NAMES.isdisjoint(words) and _DESCRIBES.match(text, end)
        return bool(is_described and next(_attributes(_TOKEN.findall(text, end, end + 100)), None))
    if _MAY_BE_ANYBODY.search(by):
        return not _is_attribute(name) and (n_words >= 2 or (n_words == 1 and text[end : end + 1] == ","))
    return n_words > 0


def _name_at(text: str, at: int) -> tuple[str, int]:
    """The words of a name that stand here, in capitals all but particles ("de la Cruz"), and where they end."""
    words: list[str] = []
    end = place = at + (text[at : at + 1] in set('*_"“'))
    while len(words) < _MOST_NAME_WORDS:
        match = _NAME_WORD.match(text, place)
        if not match or (words and "\n" in match[0]) or not _is_of_name(match[1], is_first=not words):
            break
        word, end = match[1], match.end()
        place = end
        if word.endswith(".") and len(word) > 2 and word[:-1].casefold() not in _TITLES:  # the sentence's full stop
            words.append(word[:-1])
            end -= 1
            break
        words.append(word)
    while words and words[-1] in values.PARTICLES:
        words.pop()
    return " ".join(words), end


def _is_of_name(word: str, *, is_first: bool) -> bool:
    return word[0].isupper() or (not is_first and (word in values.PARTICLES or not word[0].islower()))


def _is_attribute(name: str) -> bool:
    """Whether what looks like a name is a word for a people, a group, a gender or a type: "I am American"."""
    words = name.casefold().rstrip(".").split()
    return bool({words[0], " ".join(words[:2])} & _ATTRIBUTES or values.mbti_types(words[0]))


# ---- facts


def _facts(text: str, first: _Introduced | None, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Field and value of all that is said of the person, in the text's order."""
    starts = {match.end() for match in _I_AM.finditer(text)}
    starts |= {match.end() for match in _THEY_ARE.finditer(text) if not _follows_another(text, match.start())}
    if first:
        starts.add(first.end)
    names = [known.get(field, "") for field in ("first_name", "last_name")]
    if names[0] and len(names[0]) <= 40 and len(names[1]) <= 40:
        named = re.compile(rf"\b{re.escape(names[0])}(?:\s{re.escape(names[1])})?(?=,\s|\sis\s|\s\()")
        starts |= {match.end() for match in named.finditer(text)}
    for start in sorted(starts)[:_MOST_STATEMENTS]:
        statement = text[start : start + _MOST_STATEMENT]
        yield from _attributes(_TOKEN.findall(statement))
        yield from _of_origin(statement)
    yield from _owned(text)


def _follows_another(text: str, at: int) -> bool:
    """Whether the sentence that ends here names a son, a husband or a friend, whom "he is" may mean."""
    return _SOMEBODY_ELSE.search(text, _sentence_begins(text, at), at) is not None


def _sentence_begins(text: str, at: int) -> int:
    """Where the sentence begins that goes on up to here, a bounded way back."""
    start = max(0, at - _MOST_STATEMENT)
    return max(start, *(text.rfind(mark, start, at) + 1 for mark in ".!?\n"))


def _of_origin(statement: str) -> Iterator[tuple[str, str]]:
    """ "Of Korean descent", "holds Canadian citizenship", in the sentence that begins here."""
    end = _END_OF_SENTENCE.search(statement)
    sentence = (statement[: end.start()] if end else statement).replace("-", " ")
    for field, pattern in (("ethnicity", _DESCENT), ("nationality", _NATIONALITY)):
        match = pattern.search(sentence)
        words = match[1].split() if match else []
        if any(word[0].isupper() for word in words) or " ".join(words) in values.GROUP_WORDS:
            yield field, " ".join(words)


def _owned(text: str) -> Iterator[tuple[str, str]]:
    """ "Her nationality is American": labels within a sentence."""
    for match in _OWNED.finditer(text):
        field = meaning(match[1])
        value = re.split(r"\s(?:and|but|while|with)\s", match[2], maxsplit=1)[0]
        if field in {"gender", "age", "nationality", "ethnicity", "first_name", "last_name"} and value.strip():
            yield field or "", value
        elif field == NAME:
            yield from zip(("first_name", "last_name"), values.split_name(value), strict=True)


def _attributes(tokens: list[str]) -> Iterator[tuple[str, str]]:
    """What stands in a row of words for a person, up to the first word that is none."""
    small = [token.casefold().replace(".", "") or token for token in tokens] + [""] * 5
    at, is_group = 0, False
    while at < len(tokens):
        n_words, fields = _attribute(tokens, small, at, is_group=is_group)
        yield from fields
        is_group = small[at] == "ethnically"
        if not (n_words or is_group or small[at] in _PASSED_OVER or values.mbti_types(small[at])):
            return
        at += max(n_words, 1)


def _attribute(tokens: list[str], small: list[str], at: int, *, is_group: bool) -> tuple[int, list[tuple[str, str]]]:
    """How many words a value takes that begins here, and what it says; 0 where none begins."""
    n_words, age = _age(small, at)
    if n_words:
        return n_words, [("age", age)]
    pronouns = _GENDERS.get("".join(small[at : at + 3])) if small[at + 1] == "/" else None
    if pronouns:
        return 3, [("gender", pronouns)]
    for n_words in (4, 3, 2, 1):
        key = " ".join(small[at : at + n_words])
        if key in _GENDERS:
            return n_words, [("gender", _GENDERS[key])]
        if key in values.GROUP_WORDS or (is_group and key in values.PEOPLE_WORDS):
            group = [("ethnicity", " ".join(tokens[at : at + n_words]))]
            group += [("nationality", "American")] if key in _AMERICANS else []
            return (n_words, group) if _is_of_person(small, at + n_words) else (0, [])
        if key in values.PEOPLE_WORDS:
            return _people(tokens, small, at, n_words)
    return 0, []


def _people(tokens: list[str], small: list[str], at: int, n_words: int) -> tuple[int, list[tuple[str, str]]]:
    """A nationality with what belongs to it: "Mexican-American" is one."""
    end = at + n_words
    while end < len(tokens):
        more = next((n for n in (2, 1) if " ".join(small[end : end + n]) in values.PEOPLE_WORDS), 0)
        if not more:
            break
        end += more
    if not _is_of_person(small, end):
        return 0, []
    return end - at, [("nationality", " ".join(tokens[at:end]))]


def _is_of_person(small: list[str], at: int) -> bool:
    """Whether what stands behind a word for a people or a group leaves it said of a person: "American nurse"."""
    word, pair = small[at], " ".join(small[at : at + 2])
    is_attribute = word in _ATTRIBUTES or pair in _ATTRIBUTES or bool(values.mbti_types(word)) or word.isdecimal()
    return is_attribute or not word or word in _LEAVES_A_PERSON


def _age(small: list[str], at: int) -> tuple[int, str]:
    """How many words an age takes that begins here, and the age: "34 years old", or "34" before a mark."""
    end = at
    while end < at + 2 and values.is_number_word(small[end]):
        end += 1
    if end == at:
        if not small[at][:1].isdecimal():
            return 0, ""
        end += 1
    number, unit = " ".join(small[at:end]), small[end]
    if unit in {"year", "years", "yr", "yrs", "yo"}:
        n_more = 2 if small[end + 1] in {"old", "young"} else 3 if small[end + 1 : end + 3] == ["of", "age"] else 1
        return end + n_more - at, number
    if small[end : end + 3] == ["y", "/", "o"]:
        return end + 3 - at, number
    is_bare = not unit or unit in _SIDE_BY_SIDE or unit in {".", "!", ";", ":", "with", "from"} or unit in _GENDERS
    return (end - at, number) if is_bare else (0, "")


# ---- reviews


def _review(text: str, known: Mapping[str, str], start: int) -> _Said | None:
    """What the person says of the product: behind a label in a line, or what they are said to write or say."""
    label = _LABEL.search(text, start)
    names = {known[field] for field in ("first_name", "last_name") if field in known}
    saying = next((one for one in _SAYING.finditer(text, start) if _is_by(text, one.start(), names)), None)
    labelled = _said_at(text, label) if label else None
    spoken = _said_at(text, saying) if saying else None
    if labelled and spoken:
        return spoken if spoken.start < labelled.start < spoken.end else labelled
    return labelled or spoken or _quoted_before(text, start)


def _is_by(text: str, at: int, names: set[str]) -> bool:
    """Whether one of the three words before a verb is the person: "she", their name, or the comma behind it."""
    words = _WORD_OR_COMMA.findall(text, max(0, at - 40), at)[-3:]
    return any(word.casefold() in _SPEAKERS or word in names for word in words)


def _said_at(text: str, announced: re.Match[str]) -> _Said:
    at = announced.end()
    opening = _BEFORE_QUOTE.match(text, at)
    place = opening.end() if opening else at
    end = _closing(text, place)
    if end is not None:
        return _Said(text[place + 1 : end], announced.start(), end + 1)
    stop = _END_OF_REVIEW.search(text, at)
    end = stop.start() if stop else len(text)
    return _Said(text[at:end], announced.start(), end)


def _closing(text: str, at: int) -> int | None:
    """Where the quote that opens here ends; None where none opens or it was cut off. Quotes within it have pairs."""
    mark = text[at : at + 1]
    closing = _QUOTES.get(mark)
    if closing is None:
        return None
    depth = 1
    for match in re.compile(f"[{mark}{closing}]").finditer(text, at + 1):
        before, behind = text[match.start() - 1], text[match.end() : match.end() + 1]
        if before == "\n":  # a paragraph of the same quote
            continue
        if mark == closing:
            opens = (before.isspace() or before in "(—") and bool(behind.strip())
        else:
            opens = match[0] == mark
        is_apostrophe = closing == "’" and behind.isalnum()
        depth += 0 if is_apostrophe else 1 if opens else -1
        if depth == 0:
            return match.start()
    return None


def _quoted_before(text: str, start: int) -> _Said | None:
    """ "I love it," says Sarah."""
    said = _SAID.search(text, start)
    if not said:
        return None
    closing = said.start() + 1
    opening = max(text.rfind(mark, 0, closing) for mark in '"“«')
    if opening < start:
        return None
    return _Said(text[opening + 1 : closing].removesuffix(","), opening, said.end())
