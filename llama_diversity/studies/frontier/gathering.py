"""What is measured of every setting on every prompt: diversity as `compare` has it, quality by several measures.

Settings are held to one budget of tokens a prompt, the smallest that any of them drew for it: each has as many outputs
as that pays for at its own mean length, the first of them. The mean, and not a running sum, decides how many, so that
it does not depend on the order of the outputs and long ones are not left out more often than short ones. A token of a
mixture counts once there, as one token of text; what outputs cost counts every model that reads and writes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import cache
from llama_diversity.answers import Answer
from llama_diversity.engines import Engine
from llama_diversity.metrics.inference import Float64
from llama_diversity.metrics.lexical import repeated_share
from llama_diversity.records import ModelRef
from llama_diversity.studies.compare.gathering import Output
from llama_diversity.studies.compare.measured import Measured, Tally, self_check
from llama_diversity.studies.compare.study import Compare, Reading
from llama_diversity.studies.frontier.analysis import DIVERSITIES, Setting
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.measuring.limits import MOST_TRUNCATED
from llama_diversity.studies.measuring.self_check import LARGEST_Z
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn
from llama_diversity.text import words


class Continuation(NamedTuple):
    """What follows a prompt, under a model: its bits and bytes, from the first token that is not the prompt's own."""

    bits: float
    n_bytes: int


Scores = Mapping[str, Mapping[tuple[str, str], Continuation]]  # role -> (prompt, output) -> under that model


class Asked(NamedTuple):
    """What the quality measures need beside the outputs: who scores by role, what is valid, to whom settings belong."""

    scorers: Mapping[str, str]
    is_valid: Callable[[str], bool] | None
    families: Mapping[str, str | None]  # setting -> family, None for the reference


def affordable(tokens: Mapping[str, Sequence[float]]) -> dict[str, int]:
    """How many outputs of each setting the smallest sum of tokens pays for at its own mean length; one at least.

    Sums 40 and 100 of 4 outputs each: 4, and 40 / 25 = 1.6, so 1.

    >>> affordable({"short": [10, 10, 10, 10], "long": [20, 30, 20, 30]})
    {'short': 4, 'long': 1}
    """
    budget = min(sum(some) for some in tokens.values())
    return {name: max(1, int(budget * len(some) / max(1, sum(some)) + 1e-9)) for name, some in tokens.items()}


def within_budget(study: Compare, read: Reading) -> dict[str, int]:
    """By question how many outputs are judged. What was written for an output counts, its thoughts and plan too."""
    fewer: dict[str, int] = {}
    for number in range(len(study.prompts)):
        every = [study.question(spec, number) for spec in study.specs]
        fewer |= affordable({one.label: [each.n_tokens for each in read.outputs(one)] for one in every})
    return fewer


class Gathered(NamedTuple):
    """Every setting with its values; by setting and prompt the outputs that were judged; what numbers are in doubt."""

    settings: list[Setting]
    texts: Mapping[str, Sequence[Sequence[str]]]
    doubts: list[str]


def gathered(study: Compare, drawn: Drawn, asked: Asked) -> Gathered:
    """All that was drawn, measured."""
    read = study.reading(drawn)
    read = read._replace(fewer=within_budget(study, read))
    with drawn.session.listener.working("measuring diversity") as show:
        measured = list(read.prompts(show))
    outputs = {
        spec.name: [list(read.outputs(study.question(spec, number))) for number in range(len(study.prompts))]
        for spec in study.specs
    }
    answers = {name: [[_answer(one) for one in some] for some in mine] for name, mine in outputs.items()}
    scores = scored(study, drawn, asked.scorers, answers)
    topics = _topics(study, drawn, answers)
    settings = [
        Setting(
            name,
            asked.families[name],
            {**_quality(study, answers[name], asked, scores), "topic": topics[name]},
            _diversity(measured, name),
            _floats([len(some) for some in mine]),
            _floats([sum(one.n_written for one in some) for some in mine]),
            _floats([sum(one.n_prompt_tokens for one in some) for some in mine]),
        )
        for name, mine in outputs.items()
    ]
    texts = {name: [[one.text for one in some] for some in mine] for name, mine in answers.items()}
    return Gathered(settings, texts, list(_doubts({name: [one.tallies[name] for one in measured] for name in texts})))


def _answer(one: Output) -> Answer:
    """What an output answers: nothing where the way of asking gave no answer."""
    return one.answer if one.flaw is None else one.answer._replace(text="")


def _doubts(tallies: Mapping[str, Sequence[Tally]]) -> Iterator[str]:
    """Why numbers may mean little: texts that the encoder cannot read, or only begins; a self-check that fails."""
    yield from unread_arms(
        {name: float(np.mean([one.unread for one in some])) for name, some in tallies.items()}
    ).values()
    for name, some in tallies.items():
        n, n_truncated = sum(one.n_valid for one in some), sum(one.n_truncated for one in some)
        if n_truncated > MOST_TRUNCATED * n:
            yield f"{100 * n_truncated / n:.0f} % of {name}'s outputs exceed the encoder: lower --max-tokens."
        z = self_check(some)
        if z is not None and abs(z) > LARGEST_Z:
            yield f"Surprisal and entropy of {name} disagree (z = {z:.1f}): tokens were drawn from something else."


def _diversity(measured: Sequence[Measured], arm: str) -> dict[str, Float64]:
    values = {name: [one.estimates[name][arm].value for one in measured] for name in DIVERSITIES}
    return {name: _floats(some) for name, some in values.items()}


def _floats(values: Sequence[float | None]) -> Float64:
    return np.array([math.nan if one is None else one for one in values], np.float64)


def _quality(study: Compare, mine: Sequence[Sequence[Answer]], asked: Asked, scores: Scores) -> dict[str, Float64]:
    """All measures but the one that needs the other prompts; `mine`: the outputs of one setting by prompt."""
    found = {
        "finished": _floats([_mean([not one.is_cut_off for one in some]) for some in mine]),
        "loops": _floats([_mean([loop_of(one.text) for one in some if one.flaw is None]) for some in mine]),
    }
    if asked.is_valid is not None:
        is_valid = asked.is_valid
        found["validity"] = _floats([_mean([one.flaw is None and is_valid(one.text) for one in some]) for some in mine])
    for role, of_text in scores.items():
        found[role] = _floats(
            [_bits_per_byte(of_text, prompt, some) for prompt, some in zip(study.prompts, mine, strict=True)]
        )
    return found


def loop_of(text: str) -> float:
    """The share of its four-word sequences that stood in it before; 0 of a text that has none.

    >>> loop_of("on and on and on and on"), loop_of("short")
    (0.5, 0.0)
    """
    share = repeated_share(words(text))
    return 0.0 if math.isnan(share) else share


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _bits_per_byte(
    of_text: Mapping[tuple[str, str], Continuation], prompt: str, answers: Sequence[Answer]
) -> float | None:
    """Of all outputs together, so that a long one counts more than a short one."""
    found = [of_text[prompt, one.text] for one in answers if one.flaw is None]
    n_bytes = sum(one.n_bytes for one in found)
    return sum(one.bits for one in found) / n_bytes if n_bytes else None


def _topics(study: Compare, drawn: Drawn, answers: Mapping[str, Sequence[Sequence[Answer]]]) -> dict[str, Float64]:
    """By setting and prompt, how much nearer its outputs are to their prompt than to the other prompts."""
    encoder = drawn.encoder()
    prompts = encoder.embed(study.prompts).vectors
    found = {}
    for name, mine in answers.items():
        values = []
        for number, some in enumerate(mine):
            texts = [one.text for one in some if one.flaw is None]
            values.append(_mean(nearer(encoder.embed(texts).vectors, prompts, number)) if texts else None)
        found[name] = _floats(values)
    return found


def nearer(outputs: npt.NDArray[np.float32], prompts: npt.NDArray[np.float32], number: int) -> list[float]:
    """Of each output its cosine to prompt `number`, less its mean cosine to the others; rows have length 1.

    >>> two = np.eye(2, dtype=np.float32)
    >>> nearer(two, two, 0)  # one output is the prompt itself, the other the other prompt
    [1.0, -1.0]
    """
    cosines = np.asarray(outputs, np.float64) @ np.asarray(prompts, np.float64).T
    others = np.delete(cosines, number, axis=1)
    found: list[float] = (cosines[:, number] - others.mean(axis=1)).tolist()
    return found


# ---- outputs under other models


def scored(
    study: Compare, drawn: Drawn, scorers: Mapping[str, str], answers: Mapping[str, Sequence[Sequence[Answer]]]
) -> dict[str, dict[tuple[str, str], Continuation]]:
    """Every different output behind its raw prompt under every scorer; kept by what each read."""
    by_prompt = [pair for mine in answers.values() for pair in zip(study.prompts, mine, strict=True)]
    texts = sorted({(prompt, one.text) for prompt, some in by_prompt for one in some if one.flaw is None})
    found = {}
    for role, reference in scorers.items():
        model = drawn.session.model(reference)
        with drawn.session.reading(model) as engine:
            parts = ("continued", cache.code_digest(), engine.facts.digest, engine.build, repr(texts))
        some = cache.kept(parts, functools.partial(_under, model, texts, drawn.session))
        found[role] = dict(zip(texts, some, strict=True))
    return found


def _under(model: ModelRef, texts: Sequence[tuple[str, str]], session: Session) -> list[Continuation]:
    with session.opened(model) as engine, session.listener.working(f"scoring under {model.reference}") as show:
        return continued(engine, texts, show)


def continued(
    engine: Engine, texts: Sequence[tuple[str, str]], on_progress: Callable[[float], None] = lambda share: None
) -> list[Continuation]:
    """Raw prompts and what follows them, each pair read as one text by the engine's own tokens, behind its own start.

    A token that belongs to both, where the model joins the end of the one and the beginning of the other, counts whole.
    Raises PromptTooLong, EngineError.
    """
    starts = {prompt: engine.tokenize(prompt) for prompt, _ in texts}
    read = [engine.tokenize(prompt + text) for prompt, text in texts]
    first = [max(1, _n_alike(starts[prompt], ids)) for (prompt, _), ids in zip(texts, read, strict=True)]
    surprisals = engine.score_each(read, on_progress=on_progress)
    bits = [float(some[at:].sum(dtype=np.float64)) for some, at in zip(surprisals, first, strict=True)]
    sizes = {token: len(engine.piece(token).bytes) for ids in read for token in set(ids)}
    n_bytes = [sum(sizes[token] for token in ids[at:]) for ids, at in zip(read, first, strict=True)]
    return [Continuation(some, n) for some, n in zip(bits, n_bytes, strict=True)]


def _n_alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
