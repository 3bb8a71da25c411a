"""Persona cards: the form is read back, what is none is refused with a reason, and the composed ones are wide."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

from llama_diversity.lab.cards import (
    MBTI,
    NATIONS,
    PRODUCT,
    Card,
    NoCard,
    Person,
    coffee_review,
    compose,
    document,
    parse,
)

CARD = Card("Ada", "Lovelace", "Female", 36, "British", "White", "INTP", "Still hot after a walk.")
PEOPLE = [Person("Ada", "Lovelace", "Female"), Person("Alan", "Turing", "Male"), Person("Grace", "Hopper", "Female")]


def test_a_card_is_eight_lines() -> None:
    assert CARD.text() == (
        "First name: Ada\nLast name: Lovelace\nGender: Female\nAge: 36\nNationality: British\nEthnicity: White\n"
        "Myers-Briggs type: INTP\nReview: Still hot after a walk."
    )


def test_a_card_is_read_back_in_any_order_case_and_spacing() -> None:
    lines = [f"  {line.upper()}  " for line in reversed(CARD.text().split("\n"))]
    lines = ["Here you are:", "---", *lines, "and more"]
    read = parse("\n".join(lines))
    assert (read.age, read.mbti, read.gender) == (36, "INTP", "Female")
    assert parse(CARD.text().replace("Myers-Briggs type:", "myers briggs Type :")) == CARD
    assert parse(CARD.text() + "\n---\nFirst name: Bob") == CARD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"age": "old"}, "age 'old' is not a number of years"),
        ({"age": "0"}, "age '0'"),
        ({"age": "111"}, "age '111'"),
        ({"age": "3.5"}, "age '3.5'"),
        ({"mbti": "ABCD"}, "'ABCD' is not a Myers-Briggs type"),
        ({"gender": "Coffee"}, "'Coffee' is not a gender"),
        ({"review": "Very good"}, "fewer than three words"),
        ({"nationality": " "}, "no Nationality"),
    ],
)
def test_what_is_no_card_is_refused_with_the_reason(change: dict[str, str], reason: str) -> None:
    with pytest.raises(NoCard, match=reason):
        parse(dataclasses.replace(CARD, **change).text())


def test_a_missing_line_is_named() -> None:
    with pytest.raises(NoCard, match="no Last name"):
        parse(CARD.text().replace("Last name: Lovelace\n", ""))


@pytest.mark.parametrize("between", ["---\n", ""])
def test_a_line_of_the_next_card_mends_nothing(between: str) -> None:
    with pytest.raises(NoCard, match="no Gender"):
        parse(CARD.text().replace("Gender: Female\n", "") + f"\n{between}{CARD.text()}")


def test_composed_cards_parse_and_follow_their_tables() -> None:
    rng, n = np.random.default_rng(0), 4000
    cards = [compose(rng, PEOPLE) for _ in range(n)]
    assert all(parse(card.text()) == card for card in cards)
    for name, weights in (("mbti", MBTI), ("nationality", {k: w for k, (w, _) in NATIONS.items()})):
        seen, total = collections.Counter(getattr(card, name) for card in cards), sum(weights.values())
        for value, weight in weights.items():
            p = weight / total
            assert abs(seen[value] - n * p) < 4.5 * np.sqrt(n * p * (1 - p)), value
    assert all(card.ethnicity in NATIONS[card.nationality][1] for card in cards)
    ages = [card.age for card in cards]
    assert min(ages) >= 16
    assert max(ages) <= 85
    assert 12 < np.std(ages) < 16


def test_a_card_on_another_product_has_one_of_its_reviews() -> None:
    rng = np.random.default_rng(0)
    assert {compose(rng, PEOPLE, ["It fits.", "Too long."]).review for _ in range(40)} == {"It fits.", "Too long."}


def test_reviews_of_the_machine_are_many_and_whole() -> None:
    rng = np.random.default_rng(1)
    reviews = [coffee_review(rng) for _ in range(2000)]
    assert len(set(reviews)) > 1500
    assert all(review[0].isupper() and review[-1] in ".!" and "{" not in review for review in reviews)


def test_a_document_is_the_product_and_its_cards() -> None:
    documents = [document(np.random.default_rng(seed), PEOPLE, {}) for seed in range(30)]
    assert document(np.random.default_rng(3), PEOPLE, {}) == documents[3]
    counts = set()
    for text in documents:
        product, _, rest = text.partition("\n")
        assert product == f"Product: {PRODUCT}"
        cards = rest.split("\n---\n")
        assert all(parse(card).text() == card for card in cards)
        counts.add(len(cards))
    assert counts == {1, 2, 3, 4}


def test_one_document_in_three_is_about_another_product() -> None:
    reviews = {"Dresses": ["It fits me well."] * 30, "Pants": ["Too long for me."] * 10}
    texts = [document(np.random.default_rng(seed), PEOPLE, reviews) for seed in range(900)]
    counts = collections.Counter(text.partition("\n")[0].removeprefix("Product: ") for text in texts)
    assert set(counts) == {PRODUCT, "Dresses", "Pants"}
    assert abs(counts[PRODUCT] - 600) < 4 * np.sqrt(900 * 2 / 9)  # false alarm 1 in 16,000; the seeds are fixed
    assert abs(counts["Dresses"] - 225) < 4 * np.sqrt(900 * 3 / 16)
    for text in texts:
        assert ("It fits me well." in text) == text.startswith("Product: Dresses")
