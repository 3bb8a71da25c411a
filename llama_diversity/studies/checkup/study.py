"""`doctor MODEL`: how a model reads neutral text behind each start."""

from __future__ import annotations

from typing import Any

from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, ModelRef
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.checkup.analysis import TEXTS, Checkup, clearly_better, read
from llama_diversity.studies.measuring.noise import REFERENCE, Noise, floor
from llama_diversity.studies.noise import noise_of
from llama_diversity.studies.session import Session

_NAMED = ("none", "bos", "separator")
_LINE_BREAK = "\n"  # a start that no file states, to hold the others against


def checked(model: ModelRef, asking: Asking, session: Session) -> Checkup:
    """A model by itself. Raises what opening a model raises, BadValue."""
    with session.opened(model) as engine:
        return _read_behind(engine, asking, session)


def _read_behind(engine: Engine, asking: Asking, session: Session) -> Checkup:
    """The texts behind every start that the model has; of two that are one, the first name."""
    starts: dict[str, Asking] = {}
    known: dict[tuple[int, ...], str] = {}
    for name in dict.fromkeys((*_NAMED, _LINE_BREAK, asking.start)):
        try:
            ids = engine.start(Asking(name)).ids
        except BadValue:
            if name == asking.start:
                raise
            continue
        if ids not in known:
            known[ids] = name
            starts[name] = Asking(name)
    readings = {}
    with session.listener.working("reading neutral texts") as show:
        for at, (name, asked) in enumerate(starts.items()):
            readings[name] = read(engine.start(asked).text, [_bits(engine, text, asked) for text in TEXTS])
            show((at + 1) / len(starts))
    chosen = known[engine.start(asking).ids]
    better = clearly_better(readings, chosen)
    return Checkup(engine.facts, readings, chosen, better, noise_of(engine, session))


def _bits(engine: Engine, text: str, asking: Asking) -> list[float]:
    tokens = engine.score(engine.tokenize(text, asking))[len(engine.start(asking).ids) :]
    return [float(bits) for bits in tokens["surprisal_bits"]]


def checkup_as_json(found: Checkup) -> dict[str, Any]:
    """The same as JSON has it."""
    facts = found.facts
    return {
        "model": facts.reference,
        "description": facts.description,
        "adds_bos": facts.adds_bos,
        "ends": list(facts.ends),
        "has_chat_template": facts.has_chat_template,
        "notes": list(facts.notes),
        "starts": {
            name: {
                "start": one.start,
                "total_bits": sum(one.bits),
                "n_tokens": one.n_tokens,
                "bits": list(one.bits),
                **finite({"first_token_bits": sum(one.first_bits) / len(one.first_bits)}),
            }
            for name, one in found.readings.items()
        },
        "chosen": found.chosen,
        "clearly_better": {name: finite(excess._asdict()) for name, excess in found.better},
        "noise": _noise_as_json(found.noise),
    }


def _noise_as_json(noise: Noise) -> dict[str, Any]:
    ways = {way: apart._asdict() for way, apart in noise.apart.items()}
    return {"n_tokens": noise.n_tokens, "reference": REFERENCE.name, "ways": ways, "floor": floor([noise])._asdict()}
