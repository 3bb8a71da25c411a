"""Probabilities that a model states of its answers, set against those that the same model gives them when asked once.

They are computed after sampling, by teacher forcing: the model is opened for it, and what it said is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from llama_diversity import cache
from llama_diversity.errors import LlamadivError
from llama_diversity.metrics.stated import none_stated, stated_probabilities
from llama_diversity.studies.compare import gathering
from llama_diversity.studies.compare.exhibits import Against
from llama_diversity.studies.compare.gathering import Question
from llama_diversity.studies.likelihood import log_probabilities
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import MOST_ANALYSED, Drawn


class _Said(NamedTuple):
    """An answer of a call, with the numbers of its prompt and its call."""

    prompt: int
    call: int
    text: str
    stated: float | None


def against_exact(questions: Sequence[Question], drawn: Drawn) -> Against:
    """Of all answers of an arm, asked for in calls, which probabilities were stated and how these stand to exact ones.

    Of a stored run whose model is not here any more: why there is none.
    """
    said = [one for question in questions for one in _said(question, drawn)]
    known = [one for one in said if one.stated is not None]
    try:
        exact = _exact(questions, known, drawn)
    except LlamadivError as error:
        return Against(len(said), len(known), none_stated(len(known), str(error)))
    found = stated_probabilities(
        [one.stated or 0.0 for one in known],
        [exact[one.prompt, one.text] for one in known],
        [one.prompt * MOST_ANALYSED + one.call for one in known],
        [one.prompt for one in known],
    )
    return Against(len(said), len(known), found)


def _said(question: Question, drawn: Drawn) -> Iterator[_Said]:
    for one in gathering.outputs(question, drawn):
        if one.flaw is None and one.answer.flaw is None:
            yield _Said(question.number, one.unit, one.answer.text.strip(), one.stated)


def _exact(questions: Sequence[Question], said: Sequence[_Said], drawn: Drawn) -> Mapping[tuple[int, str], float]:
    """log p of each text as the answer to its plain prompt, from the cache where it was computed before."""
    wanted = {question.number: sorted({one.text for one in said if one.prompt == question.number})
              for question in questions}  # fmt: skip
    recipe, session, spec = drawn.recipe(questions[0].label), drawn.session, questions[0].spec
    of_model = (recipe.model_digest, recipe.engine_build, spec.template, spec.system, spec.template_args)
    texts = [(one.text, wanted[one.number]) for one in questions]
    parts = ("stated", repr(of_model), repr(session.layout), repr(texts))
    return cache.kept(parts, lambda: dict(_computed(questions, wanted, session)))


def _computed(
    questions: Sequence[Question], wanted: Mapping[int, Sequence[str]], session: Session
) -> Iterator[tuple[tuple[int, str], float]]:
    spec = questions[0].spec
    with session.reading(session.model(spec.template or spec.model)) as renderer:
        prompts = [
            renderer.prompt(one.text, chat=True, system=spec.system, template_args=spec.template_args)
            for one in questions
        ]
    with (
        session.opened(session.model(spec.model)) as engine,
        session.listener.working(f"exact probabilities of what {spec.name} said") as show,
    ):
        for at, (one, prompt) in enumerate(zip(questions, prompts, strict=True)):
            texts = wanted[one.number]
            for text, value in zip(texts, log_probabilities(engine, prompt, texts), strict=True):
                yield (one.number, text), value
            show((at + 1) / len(questions))
