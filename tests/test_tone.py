"""The tone of reviews: VADER as the paper used it, its mean over sentences, and what it cannot know."""

from __future__ import annotations

import pytest

from llama_diversity.studies.measuring.tone import Vader


@pytest.fixture(scope="module")
def vader() -> Vader:
    return Vader()


def test_a_negation_does_not_reach_the_next_sentence(vader: Vader) -> None:
    """The issue's example: VADER has -0.3412 of the whole; "Good things happened." alone is 0.4404, the other 0."""
    found = vader("I did not go. Good things happened.")
    assert found.of_whole == -0.3412
    assert found.of_sentences == pytest.approx(0.4404 / 2)
    assert (found.n_sentences, found.has_known, found.is_english) == (2, True, True)


def test_the_mean_over_sentences_does_not_grow_with_length(vader: Vader) -> None:
    once, often = (vader("The coffee is nice. " * n) for n in (1, 200))
    assert often.of_whole > 0.99 > 0.5 > once.of_whole
    assert often.of_sentences == pytest.approx(once.of_sentences) == pytest.approx(once.of_whole)
    assert often.n_sentences == 200


OTHERS = {
    "French": "Très bonne machine, je la recommande à tous, le café est délicieux et bien chaud.",
    "French in few words": "Excellente machine à café!",
    "French with words that look English": "Super produit, je recommande vivement à tout le monde, excellent café.",
    "German, die": "Die Maschine ist wunderbar, ich bin sehr zufrieden und empfehle sie gerne weiter.",
    "Spanish, no": "Me encanta esta máquina, no puedo vivir sin ella, es perfecta para mi casa.",
    "Dutch": "De koffie is heerlijk en de machine werkt snel, ik kan niet meer zonder.",
    "Chinese": "这台咖啡机非常好，我很喜欢。",
    "signs": "!!! ---",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS.keys())
def test_other_languages(vader: Vader, text: str) -> None:
    assert not vader(text).is_english


@pytest.mark.parametrize(
    ("text", "has_known"),
    [
        ("Excellent!", True),
        ("I love this machine.", True),
        ("Terrible taste, and it broke after two days of use at home.", True),
        ("Great coffee 😀 every morning, my whole family enjoys it and so do our guests.", True),
        ("Five stars ★★★★★ The best.", True),
        ("It makes two cups and I keep it in the kitchen.", False),
        ("It never worked for me.", False),
    ],
)
def test_english(vader: Vader, text: str, has_known: bool) -> None:
    found = vader(text)
    assert (found.is_english, found.has_known) == (True, has_known)
