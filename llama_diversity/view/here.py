"""Where in a text somebody stands, with a model that is open there: what the viewer's screens ask of studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llama_diversity.errors import BadValue
from llama_diversity.studies.branch.analysis import Distribution, Spelled
from llama_diversity.studies.branch.gathering import Sitting
from llama_diversity.studies.branch.specs import Ids, Place, place_of_origin
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentVocabularies
from llama_diversity.studies.viewed import Origin


class Judge(NamedTuple):
    """A model, and what it says may follow."""

    model: str
    distribution: Distribution


@dataclass(frozen=True)
class Here:
    """A place behind tokens of a text, and what may follow there; `said` is the token that the text has there."""

    place: Place
    stem: tuple[int, ...]
    said: int | None
    judge: Judge
    spelled: Spelled
    n: int  # how often a way goes on

    @property
    def words(self) -> str:
        """The text before it."""
        data = b"".join(self.spelled.pieces[token].bytes for token in self.stem)
        return self.place.prompt.rendered + data.decode("utf-8", "replace")

    def taking(self, ids: Sequence[int]) -> Ids:
        """The way that takes these tokens."""
        return Ids(self.stem, tuple(ids), self.said)


def stand(sitting: Sitting, origin: Origin, at: int, session: Session) -> Here:
    """Where the token `at` of a text stands, its model opened. Raises what models and stores raise, ModelChanged."""
    place = place_of_origin(origin, session)
    at -= place.n_typed
    if at < 0:
        raise BadValue("this token", "the first one", "no text is before it, so nothing else can be taken there")
    said = place.text[at] if at < len(place.text) else None  # an end is no token to go on behind
    return stand_behind(sitting, place, place.text[:at], said)


def stand_behind(sitting: Sitting, place: Place, stem: tuple[int, ...], said: int | None) -> Here:
    """The same behind any path."""
    looking = sitting.at(place)
    judge = Judge(place.model.reference, looking.distribution(stem))
    return Here(place, stem, said, judge, looking.spelled, looking.n)


def judged(sitting: Sitting, here: Here, model: str, session: Session) -> Judge:
    """What another model says of the same place. Raises DifferentVocabularies, and what models raise."""
    place = dataclasses.replace(here.place, model=session.model(model))
    mine, theirs = sitting.at(here.place).engine, sitting.at(place)
    if mine.facts.vocab_digest != theirs.engine.facts.vocab_digest:
        raise DifferentVocabularies(here.place.model.reference, model)
    return Judge(model, theirs.distribution(here.stem))
