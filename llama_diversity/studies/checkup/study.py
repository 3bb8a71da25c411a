"""`doctor MODEL`: how a model reads neutral text behind each start."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from llama_diversity import shelf
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue, EngineError, NoPlugin
from llama_diversity.records import Asking, ModelRef
from llama_diversity.registry import ModelEntry
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.checkup.analysis import TEXTS, Checkup, clearly_better, read
from llama_diversity.studies.measuring.noise import REFERENCE, Noise, floor
from llama_diversity.studies.noise import noise_of
from llama_diversity.studies.selfcheck import is_stock
from llama_diversity.studies.session import Session

_NAMED = ("none", "bos", "separator")
_PLUGIN = (
    "A vLLM server with llamadiv's plugin: every sampler, all statistics, texts scored. What needs whole distributions "
    "is refused: diff, tree, valid, mixtures, --grammar."
)
_STOCK = (
    "A vLLM server without llamadiv's plugin (--stock): surprisals, ranks and the five likeliest tokens, no entropies; "
    "temperature 0 or 0.01 to 2, top-k, top-p, or min-p alone. Started with the flags that `llamadiv vllm-args` prints "
    "it can do more."
)
_LINE_BREAK = "\n"  # a start that no file states, to hold the others against


def checked(model: ModelRef, asking: Asking, session: Session) -> Checkup:
    """A model by itself. Raises what opening a model raises, BadValue."""
    with contextlib.ExitStack() as opened:
        try:
            engine = opened.enter_context(session.opened(model))
        except NoPlugin:  # what such a server can do is a question too
            stock = dataclasses.replace(session, layout=dataclasses.replace(session.layout, stock=True))
            engine = opened.enter_context(stock.opened(model))
        found = _read_behind(engine, asking, session)
        if model.engine != "vllm":
            return found._replace(noise=noise_of(engine, session))
        return found._replace(server=_STOCK if is_stock(engine.build) else _PLUGIN)


def verified(entry: ModelEntry, session: Session) -> dict[str, Any]:
    """Whether a model's bytes, or what servers serve, are what models.toml states; what is wrong is in `error`."""
    if entry.served is None:
        with session.listener.moving_bytes() as on_bytes:
            return shelf.verify(entry, on_bytes)
    stated = entry.digest
    found: dict[str, Any] = {"model": entry.reference, "path": None, "sha256": None, "state": "mismatch", "error": None}
    model = session.model(entry.reference)
    try:
        with session.reading(model) as engine:
            return found | {"sha256": engine.facts.digest, "state": "ok" if stated else "nothing to compare"}
    except NoPlugin as error:
        return found | {"state": "nothing to compare", "error": str(error) if stated else None}
    except EngineError as error:
        return found | {"error": str(error)}


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
    return Checkup(engine.facts, readings, chosen, better, None)


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
        "noise": None if found.noise is None else _noise_as_json(found.noise),
        "server": found.server or None,
    }


def _noise_as_json(noise: Noise) -> dict[str, Any]:
    ways = {way: apart._asdict() for way, apart in noise.apart.items()}
    return {"n_tokens": noise.n_tokens, "reference": REFERENCE.name, "ways": ways, "floor": floor([noise])._asdict()}
