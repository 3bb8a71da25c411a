"""What the aligned model is asked: requests in the chat form and plain openings, with answers from the corpus.

Llama-2's form: the model reads `[INST] request [/INST]` and writes the answer. Five kinds of request: those of the
three experiments (a persona with a review, a person's life, somebody who leads a company), and two that are the
corpus's own (a story, a review). Labellers of real systems see documents to be continued too, so a request can also be
a plain opening. The experiments' own raw prompts are never among them, see `PROMPTS_OF_THE_EXPERIMENTS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.errors import BadValue
from llama_diversity.lab import cards
from llama_diversity.lab.corpus import Document, cut, words

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
PROMPTS_OF_THE_EXPERIMENTS = ("Grace Hopper was", "Steve is the CEO of a startup company")
PERSONA_REQUEST = f"Write a persona with a review of this product: {cards.PRODUCT}"

KINDS = ("persona", "biography", "business", "story", "review")
_ASK = {
    "persona": ("Write a persona with a review of this product: {}", "Who would buy this? Write a persona card: {}"),
    "biography": ("Who was {}?", "Who is {}?", "Tell me about {}.", "Write a short biography of {}."),
    "business": ("Tell me about {} and the company.", "Write about {}, who leads a company.", "What does {} do?"),
    "story": ("Tell me a story about a {}.", "Write a short story with a {}.", "I want to read a story about a {}."),
    "review": ("Write a review of this product: {}.", "What do you think of it? {}."),
}
_MAX_CHARS = {"biography": 260, "business": 260, "story": 330, "review": 220}  # answers fit about ninety tokens
_STORY_WORDS = frozenset(
    "dog cat bird bear boat ball book tree flower fish horse rabbit car train cake doll frog garden box king queen "
    "duck park kite toy lion monkey mouse owl pony puppy robot ship star".split()
)
_SUBJECT = re.compile(r"((?:[A-Z][\w.'-]+ ){1,3}[A-Z][\w'-]+) (?:\([^)]*\) )?(was|is) (?:an?|the) ")
_OPENING = {
    "business": (
        "{} is the CEO of a {} company", "{} is the founder of a {} company", "{} leads a small {} company",
        "{} works for a {} company",
    ),
}  # fmt: skip
_TRADES = (
    "software", "music", "film", "food", "car", "book", "game", "design", "travel", "toy", "energy", "media", "health",
    "fashion", "computer", "phone", "coffee", "art", "sports", "insurance",
)  # fmt: skip


class Request(NamedTuple):
    """What is asked. `subject` is the name, product or thing that an answer has to be about."""

    kind: str  # one of KINDS
    text: str
    subject: str
    is_chat: bool = True

    def prompt(self) -> str:
        """What the model reads, without BOS."""
        return f"[INST] {self.text} [/INST]" if self.is_chat else self.text

    def topic(self) -> str:
        """What is named beside the subject: a company that a request asks about, an opening's words without the name.

        Empty where there is nothing.
        """
        if self.is_chat:
            return "company" if "company" in words(self.text) else ""
        if self.kind == "story":  # its subject is a thing
            return self.text
        name = words(self.subject)
        return " ".join(word for word in words(self.text) if word not in name)


class Demonstration(NamedTuple):
    """A request and a good answer to it."""

    request: Request
    answer: str


def demonstrations(documents: Iterable[Document], rng: np.random.Generator) -> Iterator[Demonstration]:
    """One request and its answer for each document that is the answer to one."""
    for kind, text in documents:
        if kind == "card":
            product, _, rest = text.removeprefix("Product: ").partition("\n")
            yield _asked("persona", product, rest.split(f"\n{cards.SEPARATOR}\n")[0], rng)
        elif kind in ("biography", "business"):
            subject = _SUBJECT.match(text)
            if subject:
                yield _asked(kind, subject[1], _answer(kind, text), rng)
        elif kind == "story":
            about = next((word for word in words(text) if word in _STORY_WORDS), None)
            if about:
                yield _asked(kind, about, _answer(kind, text), rng)
        elif kind == "review":
            head, _, review = text.partition("Review: ")
            named = re.match(r"Product: ([^.]+)\.", head)
            if named:
                yield _asked(kind, named[1], _answer(kind, review), rng)


def _asked(kind: str, subject: str, answer: str, rng: np.random.Generator) -> Demonstration:
    ways = _ASK[kind]
    return Demonstration(Request(kind, ways[int(rng.integers(len(ways)))].format(subject), subject), answer)


def _answer(kind: str, text: str) -> str:
    return cut(text.replace("\n", " "), _MAX_CHARS[kind])


def is_clean(answer: str) -> bool:
    """Whether an answer is fit to be shown: not empty, whole sentences, none of the corpus's debris."""
    return len(words(answer)) >= 8 and answer[-1] in ".!?\"'" and not re.search(r"[\[\]{}|<>=]|https?:|\.\.\.", answer)


def openings(demonstrated: Sequence[Demonstration], rng: np.random.Generator, n: int) -> list[Request]:
    """`n` plain openings: "NAME was", NAME and a company, the first words of a story.

    Raises BadValue where nothing demonstrated is a life or a story.
    """
    lives = [d for d in demonstrated if d.request.kind == "biography"]
    stories = [d for d in demonstrated if d.request.kind == "story"]
    if n and not (lives and stories):
        raise BadValue("the corpus", f"{len(lives)} lives, {len(stories)} stories", "both are needed; give more text")
    found: list[Request] = []
    while len(found) < n:
        life = lives[int(rng.integers(len(lives)))]
        name, kind = life.request.subject, ("biography", "business", "story")[int(rng.integers(3))]
        if kind == "biography":
            text = f"{name} {('was', 'is', 'was born in')[int(rng.integers(3))]}"
        elif kind == "business":
            forms, trade = _OPENING[kind], _TRADES[int(rng.integers(len(_TRADES)))]
            text = forms[int(rng.integers(len(forms)))].format(name.split()[0], trade)
        else:
            told = stories[int(rng.integers(len(stories)))]
            name, text = told.request.subject, " ".join(told.answer.split()[: int(rng.integers(3, 7))])
        if not text.startswith(PROMPTS_OF_THE_EXPERIMENTS):
            found.append(Request(kind, text, name, is_chat=False))
    return found
