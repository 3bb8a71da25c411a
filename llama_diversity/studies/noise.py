"""The noise floor of a model's arithmetic, measured once for its file and this build, and kept."""

from __future__ import annotations

from llama_diversity import cache
from llama_diversity.engines import Engine
from llama_diversity.studies.measuring.divergence import BLOCKED_ABOVE
from llama_diversity.studies.measuring.noise import N_TOKENS, REFERENCE, TEXT, WAYS, Noise, analyse
from llama_diversity.studies.session import Session


def noise_of(engine: Engine, session: Session, *, above: float = BLOCKED_ABOVE) -> Noise:
    """How far the readings of one text lie apart; `above` bounds what can be blocked, as in `diff`."""
    ids = engine.tokenize(TEXT)[: min(N_TOKENS, engine.facts.n_ctx_train)]
    parts = ("noise", cache.code_digest(), engine.facts.digest, engine.build, repr((ids, above)))
    return cache.kept(parts, lambda: _measured(engine, ids, session, above))


def _measured(engine: Engine, ids: tuple[int, ...], session: Session, above: float) -> Noise:
    with session.listener.working(f"measuring the noise of {engine.facts.reference}") as show:
        readings = {}
        for number, way in enumerate((REFERENCE, *WAYS), start=1):
            readings[way.name] = engine.reading(ids, together=way.together, fused=way.is_fused)
            show(number / (1 + len(WAYS)))
    return analyse(readings.pop(REFERENCE.name), readings, ids[1:], above=above)
