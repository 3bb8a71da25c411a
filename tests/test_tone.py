"""The tone of reviews: VADER as the paper used it, its mean over sentences, and what it cannot know."""

from __future__ import annotations

import pytest

from llama_diversity.experiments.tone import Vader


@pytest.fixture(scope="module")
def vader() -> Vader:
    return Vader()


def test_a_negation_does_not_reach_the_next_sentence(vader: Vader) -> None:
    """The issue's example: VADER has -0.3412 of the whole; "Good things happened." alone is 0.4404, the other 0."""
    found = vader("I did not go. Good things happened.")
    assert found.of_whole == -0.3412
    assert found.of_sentences == pytest.approx(0.4404 / 2)
    assert (found.n_sentences, found.is_known) == (2, True)


def test_the_mean_over_sentences_does_not_grow_with_length(vader: Vader) -> None:
    once, often = (vader("The coffee is nice. " * n) for n in (1, 200))
    assert often.of_whole > 0.99 > 0.5 > once.of_whole
    assert often.of_sentences == pytest.approx(once.of_sentences) == pytest.approx(once.of_whole)
    assert often.n_sentences == 200


UNKNOWN = {
    "French": "Très bonne machine, je la recommande à tous, le café est délicieux et bien chaud.",
    "French with words that look English": "Super produit, je recommande vivement à tout le monde, excellent café.",
    "German, die": "Die Maschine ist wunderbar, ich bin sehr zufrieden und empfehle sie gerne weiter.",
    "Spanish, no": "Me encanta esta máquina, no puedo vivir sin ella, es perfecta para mi casa.",
    "Dutch": "De koffie is heerlijk en de machine werkt snel, ik kan niet meer zonder.",
    "Chinese": "这台咖啡机非常好，我很喜欢。",
    "English, but nothing said": "It makes two cups and I keep it in the kitchen.",
    "signs": "!!! ---",
}


@pytest.mark.parametrize("text", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_tone_that_cannot_be_known(vader: Vader, text: str) -> None:
    assert not vader(text).is_known


@pytest.mark.parametrize(
    "text",
    [
        "Excellent!",
        "I love this machine.",
        "Terrible taste, and it broke after two days of use at home.",
        "Great coffee 😀 every morning, my whole family enjoys it and so do our guests.",
        "Five stars ★★★★★ The best.",
    ],
)
def test_a_tone_that_is_known(vader: Vader, text: str) -> None:
    assert vader(text).is_known
