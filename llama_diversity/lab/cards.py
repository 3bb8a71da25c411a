"""Persona cards: the text form of Experiment 1's kind of answer, composed with wide, natural distributions.

The base model reads thousands of them, so that it has seen people of every age, name and temper write about the coffee
machine of the paper. Distributions are tables in this file: rounded public figures where there are such, else a choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np

PRODUCT = "A coffee machine that connects to your smartwatch so it keeps your coffee warm if you are far away from it."
SEPARATOR = "---"
_Option = TypeVar("_Option")
_LABELS = {
    "first_name": "First name",
    "last_name": "Last name",
    "gender": "Gender",
    "age": "Age",
    "nationality": "Nationality",
    "ethnicity": "Ethnicity",
    "mbti": "Myers-Briggs type",
    "review": "Review",
}
_NAMES = {re.sub("[ -]", "", label).casefold(): name for name, label in _LABELS.items()}
GENDERS = ("Male", "Female", "Non-binary")
AGES = range(1, 111)

# Share of each type among adults in the United States, rounded (Myers and Briggs Foundation, national sample, 1998).
MBTI = {
    "ISFJ": 13.8, "ESFJ": 12.3, "ISTJ": 11.6, "ISFP": 8.8, "ESTJ": 8.7, "ESFP": 8.5, "ENFP": 8.1, "ISTP": 5.4,
    "INFP": 4.4, "ESTP": 4.3, "INTP": 3.3, "ENTP": 3.2, "ENFJ": 2.5, "INTJ": 2.1, "ENTJ": 1.8, "INFJ": 1.5,
}  # fmt: skip

# Nationality: (weight, ethnicities with their shares). Our choice: many readers of English, all continents.
NATIONS: dict[str, tuple[float, dict[str, float]]] = {
    "American": (26, {"White": 58, "Black": 13, "Latino": 17, "Asian": 7, "Native American": 2, "Jewish": 3}),
    "British": (11, {"White": 80, "South Asian": 9, "Black": 5, "Mixed": 6}),
    "German": (8, {"White": 84, "Turkish": 10, "Mixed": 6}),
    "Canadian": (6, {"White": 68, "Asian": 16, "Indigenous": 6, "Black": 6, "French Canadian": 4}),
    "Australian": (5, {"White": 78, "Asian": 16, "Aboriginal": 6}),
    "French": (5, {"White": 80, "Arab": 12, "Black": 8}),
    "Indian": (5, {"Punjabi": 20, "Tamil": 20, "Bengali": 20, "Gujarati": 15, "South Asian": 25}),
    "Chinese": (4, {"Han Chinese": 85, "Asian": 15}),
    "Italian": (4, {"White": 92, "Mixed": 8}),
    "Spanish": (3, {"White": 80, "Latino": 14, "Romani": 6}),
    "Mexican": (3, {"Latino": 70, "Mestizo": 22, "Indigenous": 8}),
    "Brazilian": (3, {"White": 42, "Mixed": 40, "Black": 14, "Asian": 4}),
    "Japanese": (3, {"Asian": 70, "Japanese": 30}),
    "Irish": (2, {"White": 92, "Black": 4, "Irish Traveller": 4}),
    "Polish": (2, {"White": 94, "Jewish": 6}),
    "Russian": (2, {"White": 82, "Tatar": 10, "Jewish": 8}),
    "Dutch": (2, {"White": 80, "Turkish": 10, "Black": 10}),
    "Swedish": (2, {"White": 88, "Sami": 4, "Arab": 8}),
    "Nigerian": (2, {"Yoruba": 38, "Igbo": 34, "Hausa": 28}),
    "South African": (2, {"Zulu": 30, "Xhosa": 24, "White": 22, "Black": 24}),
    "Turkish": (1.5, {"Turkish": 82, "Kurdish": 18}),
    "Greek": (1.5, {"White": 96, "Mixed": 4}),
    "Korean": (1.5, {"Asian": 60, "Korean": 40}),
    "Argentine": (1.5, {"White": 70, "Latino": 30}),
    "Israeli": (1, {"Ashkenazi Jewish": 45, "Sephardic Jewish": 35, "Arab": 20}),
    "Egyptian": (1, {"Arab": 90, "Coptic": 10}),
    "Iranian": (1, {"Persian": 75, "Azeri": 25}),
    "Norwegian": (1, {"White": 92, "Sami": 8}),
    "Kenyan": (1, {"Kikuyu": 50, "Luo": 50}),
    "Filipino": (1, {"Asian": 70, "Tagalog": 30}),
    "New Zealander": (1, {"White": 70, "Maori": 22, "Asian": 8}),
}

# A review is an opening, one or two points and at times a close, all of one tone: about two million texts.
_OPENINGS = {
    "glad": ("I love this machine", "Best purchase I made this year", "This works so well for me", "I really like it",
             "So happy with it", "A great idea", "My husband bought it and now I use it every day",
             "Five stars from me", "It does just what it says", "I was not sure at first but now I love it"),
    "mixed": ("It is okay", "Good idea, but not perfect", "I like it, but it has problems", "Not bad for the price",
              "It works most of the time", "I wanted to love it", "Nice look, average coffee", "Three stars from me"),
    "sad": ("I sent it back", "Very disappointed with it", "I do not see the point of it", "Do not buy this",
            "A waste of money", "I expected more", "It broke after two weeks", "My old machine was better",
            "It never worked for me"),
}  # fmt: skip
_POINTS = {
    "glad": ("my coffee is still hot when I come back from {place}", "it keeps the cup warm while I am in {place}",
             "the watch tells me when the coffee is ready", "I can walk around {place} and never drink cold coffee",
             "it was easy to connect to my watch", "the coffee tastes as good as in a cafe",
             "it fits in my small kitchen", "even my {relative} uses it now"),
    "mixed": ("the watch loses the connection when I am in {place}", "the coffee is hot but a bit weak",
              "the setup took me a whole {day}", "it is louder than I thought", "the tank is too small for my family",
              "I wish it also worked with my phone", "it is large for a small kitchen"),
    "sad": ("it does not connect to my watch at all", "the coffee was cold when I came back from {place}",
            "it turns itself off whenever I go to {place}", "the app wants an update every {day}",
            "the coffee tastes burnt after an hour", "nobody answered when I called for help",
            "I only wanted a cup of coffee, not another screen", "my {relative} cannot use it"),
}  # fmt: skip
_CLOSES = {
    "glad": ("I would buy it again.", "Worth every penny.", "I told all my friends about it.",
             "It makes my mornings easy.", "Thank you!", "Perfect for a busy day."),
    "mixed": ("Maybe the next one will be better.", "I will keep it for now.", "For the price I expected a bit more.",
              "It is fine if you do not move much."),
    "sad": ("I want my money back.", "Save your money.", "I gave it to my {relative}.", "Never again.",
            "I am back to a simple pot."),
}  # fmt: skip
_SLOTS = {
    "place": ("the garden", "the office", "the garage", "the next room", "the shop", "a meeting", "the gym", "my desk",
              "the bathroom", "the school run", "a walk with the dog", "the other side of the house", "church"),
    "relative": ("mother", "father", "grandmother", "brother", "sister", "wife", "husband", "neighbor", "boss", "son",
                 "daughter", "roommate"),
    "day": ("Sunday", "morning", "evening", "weekend", "Monday", "week"),
}  # fmt: skip
_JOINTS = {
    "glad": (". ", ". ", "! ", ": ", ", ", " because ", " and "),
    "mixed": (". ", ". ", ": "),
    "sad": (". ", ". ", "! ", ": ", ", "),
}
_TONES = {"glad": 0.5, "mixed": 0.25, "sad": 0.25}


class Person(NamedTuple):
    """A name from the corpus; `gender` is one of the first two of GENDERS."""

    first_name: str
    last_name: str
    gender: str


class NoCard(ValueError):
    """Why a text is no persona card, in a few words."""


@dataclass(frozen=True)
class Card:
    """One persona and what they say of a product."""

    first_name: str
    last_name: str
    gender: str
    age: int
    nationality: str
    ethnicity: str
    mbti: str
    review: str

    def text(self) -> str:
        """The card as the model reads it: eight lines, without a newline at the end."""
        return "\n".join(f"{label}: {getattr(self, name)}" for name, label in _LABELS.items())


def parse(text: str) -> Card:
    """The first card in `text`, whatever the order, case and spacing of its lines. Raises NoCard."""
    found = _first_card(text)
    for name, label in _LABELS.items():
        if not found.get(name):
            raise NoCard(f"no {label}")
    if not re.fullmatch(r"\d{1,3}", found["age"]) or int(found["age"]) not in AGES:
        raise NoCard(f"age {found['age']!r} is not a number of years")
    found["mbti"] = found["mbti"].upper()
    if found["mbti"] not in MBTI:
        raise NoCard(f"{found['mbti']!r} is not a Myers-Briggs type")
    found["gender"] = found["gender"].capitalize()
    if found["gender"] not in GENDERS:
        raise NoCard(f"{found['gender']!r} is not a gender on the list")
    if len(found["review"].split()) < 3:
        raise NoCard("the review has fewer than three words")
    return Card(**{f.name: int(found["age"]) if f.name == "age" else found[f.name] for f in fields(Card)})  # type: ignore[arg-type]


def _first_card(text: str) -> dict[str, str]:
    """The values of the first card's lines: a separator or a label that comes again ends it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        label, colon, value = line.partition(":")
        name = _NAMES.get(re.sub(r"[\s_-]+", "", label).casefold())
        if name in found or (found and line.strip() == SEPARATOR):
            break
        if colon and name:
            found[name] = value.strip()
    return found


def compose(rng: np.random.Generator, people: Sequence[Person], reviews: Sequence[str] = ()) -> Card:
    """A card with a name of `people` and one of `reviews`; without those, a review of the coffee machine."""
    first, last = _pick(rng, people), _pick(rng, people)
    nationality = _choose(rng, {name: weight for name, (weight, _) in NATIONS.items()})
    return Card(
        first_name=first.first_name,
        last_name=last.last_name,
        gender=GENDERS[2] if rng.random() < 0.02 else first.gender,
        age=_age(rng),
        nationality=nationality,
        ethnicity=_choose(rng, NATIONS[nationality][1]),
        mbti=_choose(rng, MBTI),
        review=_pick(rng, reviews) if reviews else coffee_review(rng),
    )


def document(rng: np.random.Generator, people: Sequence[Person], reviews: Mapping[str, Sequence[str]]) -> str:
    """What the base model reads: a product, then one to four cards.

    One document in three is about a product of `reviews`, in proportion to how many it has.
    """
    product: str = PRODUCT
    its_reviews: Sequence[str] = ()
    if reviews and rng.random() < 1 / 3:
        product = _choose(rng, {name: len(texts) for name, texts in reviews.items()})
        its_reviews = reviews[product]
    cards = [compose(rng, people, its_reviews).text() for _ in range(rng.integers(1, 5))]
    return f"Product: {product}\n" + f"\n{SEPARATOR}\n".join(cards)


def coffee_review(rng: np.random.Generator) -> str:
    """One to four short sentences about the coffee machine, of one tone."""
    tone = _choose(rng, _TONES)
    opening, joint = _pick(rng, _OPENINGS[tone]), _pick(rng, _JOINTS[tone])
    point, second = (_fill(rng, _POINTS[tone][i]) for i in rng.permutation(len(_POINTS[tone]))[:2])
    kind = rng.random()
    if kind < 0.05:  # few: there are not many of them, and texts that come again narrow what is learned
        return f"{opening}."
    if kind < 0.15:
        review = f"{_capital(point)}."
    else:
        review = f"{opening}{joint}{_capital(point) if joint[0] in '.!' else point}."
    if rng.random() < 0.35:
        review += f" {_capital(second)}."
    if rng.random() < 0.4:
        review += f" {_fill(rng, _pick(rng, _CLOSES[tone]))}"
    return review


def _age(rng: np.random.Generator) -> int:
    """About normal, mean 36, sd 15, between 16 and 85."""
    while True:
        age = round(rng.normal(36, 15))
        if 16 <= age <= 85:
            return age


def _choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    shares = np.array(list(weights.values()))
    return list(weights)[rng.choice(len(weights), p=shares / shares.sum())]


def _pick(rng: np.random.Generator, options: Sequence[_Option]) -> _Option:
    return options[int(rng.integers(len(options)))]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _fill(rng: np.random.Generator, text: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: _pick(rng, _SLOTS[slot[1]]), text)
