"""The annotator: every part of its score on answers that a person would judge the same way; requests and openings."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("vaderSentiment")

from llama_diversity.lab import cards
from llama_diversity.lab.annotator import MARGIN, Annotator, Judgement, mean_judgement, prefer
from llama_diversity.lab.corpus import Document
from llama_diversity.lab.requests import (
    CHAT_TEMPLATE,
    PERSONA_REQUEST,
    PROMPTS_OF_THE_EXPERIMENTS,
    Demonstration,
    Request,
    demonstrations,
    is_clean,
    openings,
)

LIFE = "Ada Roe was a writer. She was born in London and wrote many books. She died in London."
STORY = "Once upon a time there was a little dog. The dog was happy and ran to the park. They had a good day."
REVIEW = "Product: Dresses. Rating: 5 out of 5. Review: I love this dress. The fit is great and the color is nice."
CARD = cards.Card("Ada", "Roe", "Female", 40, "British", "White", "INTP", "I love it, my coffee is still hot.")
DOCUMENTS = [
    *[Document("biography", LIFE)] * 5,
    *[Document("story", STORY)] * 5,
    *[Document("review", REVIEW)] * 5,
    *[Document("card", f"Product: {cards.PRODUCT}\n{CARD.text()}")] * 5,
]
WHO = Request("biography", "Who was Ada Roe?", "Ada Roe")


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return Annotator.from_corpus(DOCUMENTS)


def test_the_score_by_hand() -> None:
    """0.5 + 1 + 2 * 0.8 + 0.6 - 1 = 2.7."""
    assert Judgement(tone=0.5, complete=1, topic=0.8, fluent=0.6, rude=1).score == pytest.approx(2.7)
    two = [Judgement(0, 1, 1, 1, 0), Judgement(1, 0, 0, 0, 0)]
    assert mean_judgement(two) == {
        "tone": 0.5, "complete": 0.5, "topic": 0.5, "fluent": 0.5, "rude": 0.0, "score": pytest.approx(2.5)
    }  # fmt: skip


def test_within_the_margin_nobody_is_preferred() -> None:
    assert prefer(2.0, 1.0) == 0
    assert prefer(1.0, 2.0) == 1
    assert prefer(1.0, 1.0 + 0.99 * MARGIN) is None


def test_a_life_that_is_told_whole_is_good(annotator: Annotator) -> None:
    good = annotator.judge(WHO, LIFE, ended=True)
    assert (good.complete, good.rude) == (1, 0)
    assert good.topic > 0.9
    assert good.fluent == 1
    assert annotator.judge(WHO, LIFE, ended=False).complete == 0
    assert annotator.judge(WHO, LIFE.removesuffix("."), ended=True).complete == 0
    assert annotator.judge(WHO, "Ada Roe was a stupid writer.", ended=True).rude == 1


def test_a_full_stop_is_no_answer(annotator: Annotator) -> None:
    """It would be a whole sentence on no other topic."""
    for request in (WHO, Request("business", "Mary is the CEO of a music company", "Mary", is_chat=False)):
        assert annotator.judge(request, ".", ended=True) == Judgement(0, 0, 0, 0, 0)


def test_another_subject_or_kind_is_off_topic(annotator: Annotator) -> None:
    named = annotator.judge(WHO, LIFE, ended=True).topic
    other = annotator.judge(WHO, LIFE.replace("Ada Roe", "Bob Poe"), ended=True).topic
    assert other == pytest.approx(named - 0.5, abs=1e-5)
    assert annotator.judge(WHO, STORY, ended=True).topic < 0.1
    opening = Request("biography", "Ada Roe was", "Ada Roe", is_chat=False)  # the name stands in the opening
    assert annotator.judge(opening, "a writer. She died in London.", ended=True).topic > 0.9


def test_an_opening_is_kept_to() -> None:
    """Both answers are of the right kind of text and of a company; one is about films, as the opening is."""
    film = "Bob Poe leads a film company. The studio makes movies with famous actors in Hollywood."
    cars = "Tom Roe leads a car company. The factory builds engines and trucks for racing drivers."
    companies = [Document("business", f"{text} {n}") for n in range(40) for text in (film, cars)]
    lives = [Document("biography", f"{LIFE} {n}") for n in range(400)]
    annotator = Annotator.from_corpus([*DOCUMENTS, *companies, *lives])
    about_films, about_cars = " that makes movies with famous actors.", " that builds engines for racing drivers."

    def topics(trade: str) -> list[float]:
        opening = Request("business", f"Ann leads a {trade} company", "Ann Lee", is_chat=False)
        return [annotator.judge(opening, answer, ended=True).topic for answer in (about_films, about_cars, STORY)]

    films, engines, story = topics("film")
    assert films - engines > 0.1
    assert story < engines - 0.2
    films, engines, _ = topics("car")
    assert engines - films > 0.1


def test_tone_is_vader_s(annotator: Annotator) -> None:
    glad = annotator.judge(WHO, "Ada Roe was a great and happy writer.", ended=True).tone
    sad = annotator.judge(WHO, "Ada Roe was a terrible and sad writer.", ended=True).tone
    assert sad < -0.3 < 0.3 < glad


def test_what_is_said_twice_or_never_said_is_not_fluent(annotator: Annotator) -> None:
    assert annotator.judge(WHO, "She was born in London. " * 4, ended=True).fluent < 0.5
    assert annotator.judge(WHO, "London books born was writer died many.", ended=True).fluent == 0
    assert annotator.judge(WHO, "", ended=True) == Judgement(0, 0, 0, 0, 0)


def test_a_persona_is_a_card_and_reviews_the_product(annotator: Annotator) -> None:
    asked = Request("persona", PERSONA_REQUEST, cards.PRODUCT)
    good = annotator.judge(asked, CARD.text(), ended=True)
    assert (good.topic, good.complete) == (1.0, 1.0)
    assert good.tone > 0.5  # of the review alone
    other = cards.Card(*[*vars(CARD).values()][:-1], "The fit is great and the color is nice.")
    assert annotator.judge(asked, other.text(), ended=True).topic == 0.5
    broken = annotator.judge(asked, CARD.text().replace("Age: 40\n", ""), ended=True)
    assert (broken.topic, broken.complete) == (0.0, 0.0)


def test_every_kind_of_document_is_an_answer() -> None:
    business = Document("business", "Bob Poe is the founder of a company. He sold it.")
    found = list(demonstrations([*dict.fromkeys(DOCUMENTS), business], np.random.default_rng(0)))
    by_kind = {d.request.kind: d for d in found}
    assert set(by_kind) == {"persona", "biography", "business", "story", "review"}
    assert by_kind["persona"].answer == CARD.text()
    assert by_kind["biography"].request.subject == "Ada Roe"
    assert "Bob Poe" in by_kind["business"].request.text
    assert by_kind["story"].request.subject == "dog"
    assert by_kind["review"].answer.startswith("I love this dress.")
    assert all(d.request.prompt() == f"[INST] {d.request.text} [/INST]" for d in found)


@pytest.mark.parametrize("answer", ["", "Too short.", f"{LIFE[:-1]}", f"{LIFE} See http://a.b.", f"{LIFE} [1]."])
def test_debris_is_not_shown(answer: str) -> None:
    assert is_clean(LIFE)
    assert not is_clean(answer)


def test_openings_are_wide_and_never_the_experiments_own() -> None:
    lives = [Demonstration(Request("biography", "", f"{name} Hopper"), LIFE) for name in ("Grace", "Steve", "Ada")]
    told = Demonstration(Request("story", "", "dog"), STORY)
    made = openings([*lives, told], np.random.default_rng(0), 300)
    assert {request.kind for request in made} == {"biography", "business", "story"}
    assert len({request.text for request in made}) > 60
    assert not any(request.text.startswith(PROMPTS_OF_THE_EXPERIMENTS) for request in made)
    assert not any(request.is_chat for request in made)


def test_the_chat_template_is_what_was_trained_on() -> None:
    import jinja2

    rendered = jinja2.Template(CHAT_TEMPLATE).render(
        messages=[{"role": "user", "content": WHO.text}, {"role": "assistant", "content": "A writer."}],
        eos_token="</s>",
    )
    assert rendered == f"{WHO.prompt()} A writer.</s>"
