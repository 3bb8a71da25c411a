"""Which field of a persona a label names: "**2. Customer's First Name**" is the first name, "Occupation" is none.

One table of labels as models write them, compared by letters and digits alone, so that case, spaces, hyphens,
underscores, numbering, bullets, Markdown, tags and emoji do not matter. Knows nothing of lines or values.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_LABEL = 80  # characters; what is longer is a sentence
OTHER = "other"  # a label, but of something that a persona here has no field for
NAME = "name"  # first and last name in one
WEAK = "weak"  # a Myers-Briggs type where the value holds one, else OTHER: "Personality: warm"
WORD = re.compile(r"[^\W_]+")
_TAG_OR_NOTE = re.compile(r"<[^<>]*>|\([^()]*\)")
_LABELS = {
    "first_name": "first name|given name|forename|first names|given names",
    "last_name": "last name|surname|family name|last names|surnames",
    NAME: "name|full name|persona name|customer name|first and last name|complete name|name and surname"
    "|first name last name",
    "gender": "gender|sex|gender identity",
    "age": "age|age in years|current age",
    "nationality": "nationality|nationalities|citizenship|country of origin",
    "ethnicity": "ethnicity|ethnicities|race|race ethnicity|ethnicity race|ethnic background|ethnic group|ethnic origin"
    "|ethnic identity|race or ethnicity",
    "mbti": "personality type|16 personalities type",
    "review": "review|reviews|review text|review body|review content|review comment|comment|comments|feedback"
    "|testimonial|product review|customer review|written review|full review|product feedback|customer feedback"
    "|opinion|review of product|sample review|example review|coffee machine review|review message",
    WEAK: "personality|type|temperament|character|character type",
    OTHER: "company name|product name|brand name|pet name|middle name|nickname|username|user name|screen name"
    "|name of product|maiden name|occupation|job|job title|profession|career|work|employer|industry|location|city"
    "|country|state|hometown|residence|place of residence|lives in|living situation|address|education|education level"
    "|income|annual income|income level|salary|household income|marital status|relationship status|family|family status"
    "|children|hobbies|interests|hobbies and interests|hobbies interests|lifestyle|background|bio|biography|about"
    "|description|persona description|product description|goals|pain points|challenges|motivations|motivation"
    "|personality traits|traits|rating|ratings|review rating|overall rating|product rating|star rating|stars|score"
    "|date|review date|date of review|title|review title|headline|review headline|product|products|verified purchase"
    "|email|e mail|phone|religion|language|languages|sexual orientation|pronouns|preferred pronouns|height|weight"
    "|hair color|eye color|appearance|birthday|date of birth|birth date|dob|birthplace|place of birth|zodiac sign"
    "|technology|devices|social media|platform|tags|category|note|notes|disclaimer|explanation|analysis|sentiment"
    "|purchase date|would recommend|recommend|image|photo|avatar|id|persona id",
}
_FIELDS = {
    "".join(label.split()): field for field, labels in _LABELS.items() for label in re.split(r"\s*\|\s*", labels)
}
_OWNERS = frozenset("the customer customers persona personas user reviewer client buyer my her his their s".split())
_NO_TYPES = frozenset("description traits explanation meaning profile characteristics".split())  # "MBTI traits"
_BEHIND_REVIEW = frozenset("of by for from on about in".split())


def exact(words: list[str]) -> str | None:
    """The field that these small words name, all of them, with nothing before or behind."""
    return _FIELDS.get("".join(words))


@lru_cache(maxsize=4096)
def meaning(label: str) -> str | None:
    """The field that a label names, NAME, WEAK or OTHER; None for what is no label.

    >>> meaning("- **First Name"), meaning("Myers-Briggs (MBTI) Type"), meaning("Emily's review"), meaning("Sure")
    ('first_name', 'mbti', 'review', None)
    """
    if len(label) > MAX_LABEL:
        return None
    words = WORD.findall(_TAG_OR_NOTE.sub(" ", label).casefold()) or WORD.findall(label.casefold())
    while words and words[-1].isdecimal():  # "Review 1"
        words.pop()
    while words and not exact(words) and (len(words[0]) == 1 or words[0].isdecimal() or words[0] in _OWNERS):
        words.pop(0)
    return exact(words) or _by_content(words, label.casefold())


def _by_content(words: list[str], label: str) -> str | None:
    """For the two fields that are labelled with whole phrases."""
    joined = "".join(words)
    if ("mbti" in joined or "myersbriggs" in joined) and len(words) <= 8:
        return OTHER if _NO_TYPES & set(words) else "mbti"
    if "mbti" in label and not words:
        return "mbti"
    if "review" not in words or "persona" in words or len(words) > 12:
        return None
    place = words.index("review")
    is_owned = place >= 2 and words[place - 1] == "s" and words[place - 2] not in {"let", "here", "that"}
    return "review" if is_owned or (place == 0 and words[1] in _BEHIND_REVIEW) else None
