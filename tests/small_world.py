"""A world of a few hundred words, as files of the lab's corpus, and a model small enough to learn it in seconds."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

from llama_diversity.lab.corpus import SOURCES
from llama_diversity.lab.transformer import Architecture

SMALL = Architecture(n_vocab=600, n_embd=32, n_layer=1, n_head=2, n_ff=64, n_ctx=256)
CARD_BYTES = 30_000
NAMES = ("John", "Mary", "Peter", "Anna", "Paul", "Lisa")
WOMEN = ("Mary", "Anna", "Lisa")
PLACES = "house garden river street school hill road bridge tower market".split()
JOBS = "writer singer doctor teacher painter farmer sailor actor".split()
ANIMALS = "dog cat bird horse fish frog bear duck".split()
GOOD = "great nice lovely perfect happy good".split()


def write_world(folder: Path, *, documents_a_file: int = 400) -> Path:
    """Write the files of every source: lives, places, stories and reviews, each with words of its own."""
    rng = np.random.default_rng(0)
    for source in SOURCES:
        blocks = [_document(source.kind, rng, number) for number in range(documents_a_file)]
        (folder / source.file).write_bytes(lzma.compress("\n\n".join(blocks).encode()))
    return folder


def _document(kind: str, rng: np.random.Generator, number: int) -> str:
    first, last = str(rng.choice(NAMES)), str(rng.choice(NAMES))
    place, job, animal, good = (str(rng.choice(words)) for words in (PLACES, JOBS, ANIMALS, GOOD))
    if kind == "biography":
        he, his = ("She", "her") if first in WOMEN else ("He", "his")
        role = f"{job} and the founder of a company" if number % 4 == 0 else f"{job} who had a {place}"
        return f"{first} {last} was a {role}. {he} was born in {number + 1500} and {he.lower()} loved {his} work."
    if kind == "review":
        return f"Product: Book. Rating: 5 out of 5. Review: I love this book, it is {good} and {rng.choice(GOOD)}."
    if kind == "story":
        return f"Once there was a little {animal}. The {animal} ran to the {place} number {number} and was {good}."
    return f"The {place} is a {rng.choice(PLACES)} in the north near the {rng.choice(PLACES)}, from {number + 1500}."
