"""The text that the small pair grows on: public documents chosen by vocabulary, and persona cards.

A model of a few million parameters becomes fluent where the words are few (TinyStories showed it), so a document is
kept when nearly all its words are among the most frequent ones. The same files and seed give the same corpus, and which
side of the held-out split a document falls on depends on its text alone.
"""

from __future__ import annotations

import collections
import hashlib
import lzma
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llama_diversity.errors import BadValue
from llama_diversity.lab import cards

N_FREQUENT = 10_000  # word forms
CARD_BYTES = 2_500_000
BUSINESS = re.compile(
    r"\b(CEO|chief executive|start-?ups?|entrepreneurs?|business(?:man|woman|people|person)|co-founder|"
    r"founder (?:and|of) (?:[\w'-]+ ){0,4}(?:company|corporation|firm|brand|business)|"
    r"(?:is|was) an? (?:[\w'-]+ ){0,4}(?:company|corporation|manufacturer|retailer|firm))\b"
)
BUSINESS_SHARE, BUSINESS_REPEATS = 0.82, 4  # text on companies and who leads them is rare: take it easily, and often
# The encyclopedia's short lives are mostly of people who play, swim, ride or race; uncapped, so are the model's.
SPORT = re.compile(
    r"\b(player|play(?:s|ed|ing)?|(?:foot|basket|base|hand|volley|soft)ball(?:er)?|swimm(?:er|ing)|cricket(?:er)?|"
    r"cyclist|badminton|midfielder|defender|goalkeeper|forward|rugby|hockey|tennis|golfer|athletes?|runner|sprinter|"
    r"rower|boxer|wrestler|rac(?:ing|er)|rid(?:es|er)|coach|skier|skater|gymnast|judoka|championships?|olympics?|league|"
    r"lacrosse|curler|jockey|sailor|canoeist|fencer|jumper|thrower|triathlete|club|team)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


class Source(NamedTuple):
    """Where documents of one kind come from, and which are kept."""

    kind: str
    file: str
    frequent_share: float  # of a document's words
    max_chars: int  # cut at the last end of a sentence before
    max_bytes: int | None = None  # of all documents together, so that the kinds are balanced
    is_sport: bool | None = None  # whether the first sentence is about sport; None: either


SOURCES = (
    Source("biography", "wiki_bios_trim1500.txt.xz", 0.86, 700, is_sport=False),
    Source("biography", "wiki_bios_trim1500.txt.xz", 0.89, 700, 800_000, is_sport=True),
    Source("encyclopedia", "wiki_other_lead.txt.xz", 0.93, 600, 3_500_000),
    Source("plot", "wiki_plots.txt.xz", 0.91, 1200, 1_500_000),
    Source("story", "tinystories_truecased.txt.xz", 0.96, 1800),
    Source("review", "womens_clothing_reviews.txt.xz", 0.97, 700, 3_500_000),
    Source("review", "nltk_product_reviews.txt.xz", 0.95, 700),
)


class Document(NamedTuple):
    """One text and what it is."""

    kind: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents to train on, in no order that means anything, and documents that are never trained on."""

    train: list[Document]
    held_out: list[Document]

    def statement(self) -> dict[str, Any]:
        """Documents, bytes and words of each kind on both sides, and a digest of it all."""
        digest = hashlib.sha256()
        counts: dict[str, dict[str, dict[str, int]]] = {"train": {}, "held_out": {}}
        for side, documents in (("train", self.train), ("held_out", self.held_out)):
            for kind, text in documents:
                digest.update(f"{side}\0{kind}\0{text}\0".encode())
                row = counts[side].setdefault(kind, {"documents": 0, "bytes": 0, "words": 0})
                row["documents"] += 1
                row["bytes"] += len(text.encode())
                row["words"] += len(words(text))
        return {**counts, "sha256": digest.hexdigest()}


def build(folder: Path, *, seed: int = 1, held_out_share: float = 0.02) -> Corpus:
    """The corpus from the files of `folder`. Raises BadValue naming the file that is missing."""
    files = dict.fromkeys(source.file for source in SOURCES)
    raw = {file: [tidy(text) for text in read_documents(_existing(folder / file))] for file in files}
    frequent = frequent_words(text for texts in raw.values() for text in texts)
    chosen: list[Document] = []
    for source in SOURCES:
        chosen += choose(source, raw[source.file], frequent)
    people = find_people(raw["wiki_bios_trim1500.txt.xz"])
    trained = (d.text for d in chosen if d.kind == "review" and _fraction(d.text) >= held_out_share)
    chosen += _cards(np.random.default_rng(seed), people, short_reviews(trained))  # none of them held out
    train, held_out = [], []
    for document in dict.fromkeys(chosen):  # a text twice in the files is one document
        if _fraction(document.text) < held_out_share:
            held_out.append(document)
        else:
            train += [document] * (BUSINESS_REPEATS if document.kind == "business" else 1)
    return Corpus(train, held_out)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise BadValue("the corpus", str(path), "there is no such file; docs/lab.md says where the text comes from")
    return path


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def read_documents(path: Path) -> list[str]:
    """The documents of a file, plain or .xz, UTF-8: blocks with a blank line between them."""
    data = path.read_bytes()
    text = (lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8")
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


def words(text: str) -> list[str]:
    """Word forms, casefolded."""
    return _WORD.findall(text.casefold())


def frequent_words(texts: Iterable[str], n: int = N_FREQUENT) -> frozenset[str]:
    """The `n` most frequent word forms, ties by the alphabet."""
    counts = collections.Counter(word for text in texts for word in words(text))
    return frozenset(sorted(counts, key=lambda word: (-counts[word], word))[:n])


def frequent_share(text: str, frequent: frozenset[str]) -> float:
    """Share of the words of `text` that are in `frequent`; 0 for a text without words."""
    found = words(text)
    return sum(word in frequent for word in found) / len(found) if found else 0.0


def choose(source: Source, texts: Iterable[str], frequent: frozenset[str]) -> Iterator[Document]:
    """The documents of one source that are kept, in the order of their digests once a limit of bytes applies."""
    n_bytes = 0
    for text in sorted(texts, key=_fraction) if source.max_bytes else texts:
        whole = cut(_REPAIRS.get(source.kind, str)(text), source.max_chars)
        if len(words(whole)) < 8 or _BROKEN.search(whole):
            continue
        if source.is_sport is not None and source.is_sport != is_about_sport(whole):
            continue
        share = frequent_share(whole, frequent)
        if source.kind in {"biography", "encyclopedia"} and share >= BUSINESS_SHARE and BUSINESS.search(whole):
            yield Document("business", whole)
        elif share >= source.frequent_share and (source.max_bytes is None or n_bytes < source.max_bytes):
            n_bytes += len(whole.encode())
            yield Document(source.kind, whole)


def is_about_sport(text: str) -> bool:
    """Whether the first sentence has a word of sport.

    >>> is_about_sport("Ann Lee is a former swimmer. She writes."), is_about_sport("Ann Lee is a writer. She swims.")
    (True, False)
    """
    return bool(SPORT.search(re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]))


def tidy(text: str) -> str:
    """One form of everything: composed characters, single spaces, no brackets around nothing or foreign script."""
    text = unicodedata.normalize("NFC", text).replace("}}", "").replace("{{", "")
    text = re.sub(r"\s*\((?:[^()]*[^\x00-\u024f\u2010-\u201f][^()]*|[\s,;]*)\)", "", text)
    for wrong, right in _MISREAD.items():
        text = text.replace(wrong, right)
    text = re.sub(r"[ \t]+([,.;:!?)])", r"\1", text).replace("( ", "(")
    text = re.sub(r"([!?])\.(?=\s|$)", r"\1", text)  # a title with its own mark and a full stop
    text = re.sub(r" (n't|'(?:s|m|re|ve|ll|d))\b", r"\1", text)  # words that a tokenizer took apart
    return re.sub(r"[ \t]+", " ", text).strip()


# UTF-8 that was read as Windows-1252; the shortest last
_MISREAD = {
    "\u00e2\u20ac\u2122": "'",
    "\u00e2\u20ac\u02dc": "'",
    "\u00e2\u20ac\u0153": '"',
    "\u00e2\u20ac\u00a6": "...",
    "\u00e2\u20ac\u201c": "-",
    "\u00e2\u20ac\u201d": "-",
    "\u00e2\u20ac": '"',
}


def sentence_case(text: str) -> str:
    """Capitals where a sentence begins and for "I"; reviews are often typed without."""
    text = re.sub(r"\bi\b(?=[ ']|$)", "I", text)
    return re.sub(r"(?:^|[.!?:] )[a-z]", lambda start: start[0].upper(), text)


def finish(text: str) -> str:
    """`text` without the sentence that its source broke off (it cut at some 500 characters), or with a full stop."""
    if re.search(r"[.!?][\"')]*$", text):
        return text
    return cut(text, len(text) - 1) if len(text) >= _CUT_SHORT else text + "."


_SPOKEN = re.compile(r'(?<=[?!]" )(?:Asked|Said|Replied|Cried|Shouted|Exclaimed)\b')
_CUT_SHORT = 480  # characters
_REPAIRS: dict[str, Callable[[str], str]] = {
    "review": lambda text: finish(sentence_case(text)),
    "story": lambda text: finish(_SPOKEN.sub(lambda verb: verb[0].lower(), text)),
}
_BROKEN = re.compile(r"^(?:is|was|are|were) ")  # the name is lost


def cut(text: str, max_chars: int) -> str:
    """`text` up to the last end of a sentence within `max_chars`; empty where there is none."""
    if len(text) <= max_chars:
        return text
    ends = [end.end() for end in re.finditer(r"[.!?][\"']?(?=\s|$)", text[:max_chars])]
    return text[: ends[-1]] if ends else ""


_NAME = re.compile(r"([A-Z][a-z]{2,11}) (?:[A-Z][\w.]* )?([A-Z][a-z]{2,13}) (?:\([^)]*\) )?(?:was|is) ")
_TITLES = {"Sir", "Dame", "Lord", "Lady", "Saint", "Prince", "Princess", "King", "Queen", "Pope", "Abu", "The"}
_FEWEST_NAMESAKES, _FEWEST_REVIEWS = 2, 100


def find_people(biographies: Iterable[str]) -> list[cards.Person]:
    """Names of people whose biography says "he" or "she" clearly, and whose first name another one of them has."""
    people = []
    for text in biographies:
        name = _NAME.match(text)
        found = collections.Counter(words(text))
        he, she = found["he"] + found["his"], found["she"] + found["her"]
        if name and name[1] not in _TITLES and max(he, she) >= 2 and min(he, she) * 4 <= max(he, she):
            people.append(cards.Person(name[1], name[2], "Male" if he > she else "Female"))
    namesakes = collections.Counter((person.first_name, person.gender) for person in people)
    return [person for person in people if namesakes[person.first_name, person.gender] >= _FEWEST_NAMESAKES]


def short_reviews(reviews: Iterable[str], max_chars: int = 200) -> dict[str, list[str]]:
    """The first sentence or two of each review that has an end within `max_chars`, by product.

    Products with few of them are left out: a card's review is one of many.
    """
    found: dict[str, list[str]] = {}
    for text in reviews:
        head, _, review = text.partition("Review: ")
        product = re.match(r"Product: ([^.]+)\.", head)
        short = cut(review.replace("\n", " "), max_chars)
        if product and len(words(short)) >= 4 and short[-1] in ".!?":
            found.setdefault(product[1], []).append(short)
    return {product: texts for product, texts in found.items() if len(texts) >= _FEWEST_REVIEWS}


def _cards(
    rng: np.random.Generator, people: Sequence[cards.Person], reviews: Mapping[str, Sequence[str]]
) -> Iterator[Document]:
    n_bytes = 0
    balanced = _balanced(rng, people)
    while n_bytes < CARD_BYTES and balanced:
        text = cards.document(rng, balanced, reviews)
        n_bytes += len(text.encode())
        yield Document("card", text)


def _balanced(rng: np.random.Generator, people: Sequence[cards.Person]) -> list[cards.Person]:
    """As many women as men: the encyclopedia writes about men four times as often."""
    groups = [[person for person in people if person.gender == gender] for gender in cards.GENDERS[:2]]
    n = min(map(len, groups))
    return [group[i] for group in groups for i in rng.permutation(len(group))[:n]]
