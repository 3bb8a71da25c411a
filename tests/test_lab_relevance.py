"""How much a text is about what a prompt is about: by hand, and what says nothing."""

from __future__ import annotations

import math

import pytest

from llama_diversity.lab.relevance import Relevance, stems

SEA, LAND = "ship sails ocean", "horse runs field"


def test_stems_are_what_a_text_is_about() -> None:
    assert stems("The Ships of the company, and its 3 boats!") == ["ship", "company", "boat"]


def test_likeness_by_hand() -> None:
    """Ten documents of each kind, 30 words of a kind, each of the six words 10 times."""
    model = Relevance([f"{SEA} {n}" for n in range(10)] + [f"{LAND} {n}" for n in range(10)])
    # p(ocean | near) = (10 + 400 / 6) / (30 + 400), p(ocean) = 1 / 6; one word, and the four that say nothing.
    evidence = math.log((10 + 400 / 6) / 430 * 6) / (1 + 4)
    assert model.likeness("ship", "ocean") == pytest.approx(1 / (1 + math.exp(-3 * evidence)))
    assert model.likeness("ship", "ocean ocean sails") > model.likeness("ship", "ocean") > 0.5
    assert model.likeness("ship", "horse") < 0.5


def test_rare_words_of_the_prompt_count_more() -> None:
    """Eight documents share both words, eighty only the word that all have."""
    documents = [f"company ship ocean {n}" for n in range(8)] + [f"company horse field {n}" for n in range(80)]
    model = Relevance(documents)
    assert model.likeness("a ship company", "ocean") > 0.5 > model.likeness("a ship company", "field")
    assert model.likeness("a company", "ocean") == pytest.approx(0.5)


def test_the_order_of_the_documents_says_nothing() -> None:
    documents = [f"{SEA} {n}" for n in range(6)] + [f"ship {LAND} {n}" for n in range(6)]
    forwards, backwards = Relevance(documents), Relevance(documents[::-1])
    assert forwards.likeness("ship ocean", "sails") == pytest.approx(backwards.likeness("ship ocean", "sails"))


def test_what_is_unknown_says_nothing() -> None:
    model = Relevance([f"{SEA} {n}" for n in range(10)])
    assert model.likeness("ship", "") == model.likeness("ship", "zebra") == model.likeness("zebra", "ocean") == 0.5
    assert model.knows("the ships")
    assert not model.knows("the zebra")
    assert Relevance([]).likeness("ship", "ocean") == 0.5
    twice = Relevance([f"{SEA} {n}" for n in range(10)] * 2)
    assert twice.likeness("ship", "ocean") == pytest.approx(model.likeness("ship", "ocean"))
