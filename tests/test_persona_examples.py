"""The worked examples that the base model is shown: who they are, in which layout, how often each."""

from __future__ import annotations

from collections import Counter

import pytest

from llama_diversity.lab import cards
from llama_diversity.studies.personas.examples import EXAMPLES, LABELS, PRODUCT, document, request
from llama_diversity.studies.personas.parser import Persona, parse
from llama_diversity.studies.personas.values import MBTI_TYPES


def shown(text: str) -> list[tuple[str, ...]]:
    """The cards of a document, but for the one that is only begun."""
    head, _, body = text.partition("\n")
    assert head == f"Product: {PRODUCT}"
    *whole, begun = body.split("\n---\n")
    assert begun == "First name:"
    return [tuple(line.partition(": ")[2] for line in card.split("\n")) for card in whole]


def test_the_product_is_that_of_the_cards() -> None:
    assert PRODUCT == cards.PRODUCT
    assert request() == "Write a persona with a review of this product: " + PRODUCT


def test_another_product_has_a_heading_of_its_own() -> None:
    """The examples are of the coffee machine, and say so: not one of them is under the other product."""
    usual, other = document(3), document(3, product="A lock, 2 kg")
    cards_of, _, begun = usual.rpartition("\n---\nFirst name:")
    assert (other, begun) == (f"{cards_of}\n\nProduct: A lock, 2 kg\nFirst name:", "")
    assert document(3, product=PRODUCT) == usual
    assert document(3, n_examples=0, product="A lock") == "Product: A lock\nFirst name:"
    assert request("A lock") == "Write a persona with a review of this product: A lock"


def test_examples_are_varied() -> None:
    assert len(EXAMPLES) == len(set(EXAMPLES)) == 24
    first, last, _, ages, _, _, types, reviews = zip(*EXAMPLES, strict=True)
    assert len(set(first)) == len(set(last)) == len(set(reviews)) == 24
    assert (min(map(int, ages)), max(map(int, ages))) == (16, 84)
    assert set(types) == MBTI_TYPES
    assert max(Counter(types).values()) == 2  # 24 people, 16 types


@pytest.mark.parametrize("number", range(12))
def test_the_layout_is_that_of_the_cards(number: int) -> None:
    text = document(number)
    one = cards.parse(text)
    values = shown(text)[0]
    assert (one.first_name, one.last_name, one.gender, str(one.age)) == values[:4]
    assert (one.nationality, one.ethnicity, one.mbti, one.review) == values[4:]
    assert text.startswith(f"Product: {PRODUCT}\n{one.text()}\n---\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[0])
def test_each_example_is_a_persona(example: tuple[str, ...]) -> None:
    lines = "\n".join(f"{label}: {value}" for label, value in zip(LABELS, example, strict=True))
    got = parse(lines)
    assert isinstance(got, Persona)
    assert (got.first_name, got.last_name, got.age, got.review) == (*example[:2], int(example[3]), example[7])


@pytest.mark.parametrize("seed", [0, 1])
def test_twelve_documents_show_each_example_once(seed: int) -> None:
    seen = [card for number in range(12) for card in shown(document(number, seed=seed))]
    assert sorted(seen) == sorted(EXAMPLES)


def test_the_rotation_goes_round() -> None:
    assert document(12) == document(0)
    assert document(0) == document(0, seed=0) != document(0, seed=1)
    assert [len(shown(document(5, n_examples=n))) for n in (0, 1, 3)] == [0, 1, 3]
