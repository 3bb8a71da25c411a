"""`branch` as a function: a text is left at a token, and the model goes on another way."""

from __future__ import annotations

from collections.abc import Sequence

from llama_diversity.errors import BadUsage
from llama_diversity.interface.arguments import public
from llama_diversity.interface.found import Found
from llama_diversity.interface.models import Model, alone
from llama_diversity.interface.sessions import current
from llama_diversity.interface.studies import asking_of, drawing_of
from llama_diversity.studies import conduct
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.branch.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.branch.gathering import branch_of
from llama_diversity.studies.branch.specs import Taking, parse_way, place_of
from llama_diversity.studies.branch.study import ARM
from llama_diversity.studies.sampling import Request


@public
def branch(
    model: Model | str | None = None,
    prompt: str | None = None,
    *,
    run: str | None = None,
    sample: int = 0,
    arm: str | None = None,
    at: int | None = None,
    then: str | Sequence[str] = (),
    top: int = 0,
    way: str | Sequence[str] = (),
    only: bool = False,
    n: int = N_SAMPLES,
    max_tokens: int = MAX_TOKENS,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    first_temperature: float | None = None,
    dynatemp_range: float = 0.0,
    dynatemp_exponent: float = 1.0,
    top_n_sigma: float = 0.0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    seed: int = 0,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """Leave a text at a token, take something else, and let the model go on from there, `n` times.

    The text is a stored sample (`run`, with `arm` and the number `sample`), or a prompt of `model`: with `at` the rest
    of its tokens. It is left behind its first `at` tokens, for each text in `then`, for the `top` likeliest tokens, and
    as the model itself goes on there, unless `only`; a `way` names token ids, "5,31:7" for what stays and what is
    taken. Each way has its exact probability, nothing sampled, and what followed is counted, with intervals.

    Raises BadUsage, BadValue, PromptTooLong, ModelChanged, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.branch("scripted:base", "She", then=" was", n=4, max_tokens=6)
    >>> [round(one["mass"], 4) for one in found.to_dict()["ways"]]
    [1, 0.4606]
    """
    session, stops = current("branch"), (then,) if isinstance(then, str) else tuple(then)
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    with alone():
        place = place_of(
            None if model is None else str(model.reference if isinstance(model, Model) else model),
            None if prompt is None else _request(model, prompt),
            None if run is None else (run, arm, sample),
            at=at,
            asking=drawing.asking,
            session=session,
        )
        ways = (way,) if isinstance(way, str) else tuple(way)
        taking = Taking(at or 0 if place.is_stored else 0, stops, top, tuple(map(parse_way, ways)), goes_on=not only)
        study = branch_of(place, taking, n=n, max_tokens=max_tokens, session=session)
        arms = [Arm(ARM, place.model)]
        return Found(conduct.run(study, arms, drawing=drawing, session=session, words=place.model_words))


def _request(model: Model | str | None, prompt: str) -> Request:
    """How the prompt is asked. Raises BadUsage."""
    chat = model._chat if isinstance(model, Model) else None
    if chat is None:
        return Request(prompt)
    if chat.template is not None:
        raise BadUsage("A branch is asked through the model's own chat template: leave template out of chat().")
    return Request(prompt, chat=True, system=chat.system, template_args=chat.template_args)
