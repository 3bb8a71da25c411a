"""Where the texts of a viewer come from: a run of the store, or a text that was typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from llama_diversity.records import Asking, ModelRef
from llama_diversity.store import Store
from llama_diversity.studies.arranging import Arranger
from llama_diversity.studies.browsing import WAIT_S, StoredRun
from llama_diversity.studies.session import Session
from llama_diversity.studies.subjects import Subject, read_subjects
from llama_diversity.studies.viewed import ScoredTexts, Source, Text


@contextlib.contextmanager
def stored_source(run: str, session: Session) -> Iterator[Source]:
    """A run of the store, open while it is looked at. Raises UnknownName, BadValue, what a store raises."""
    with Store.open(session.store, read_only=True, timeout_s=WAIT_S) as store:
        found = StoredRun(store, run)
        found.arranger = Arranger(store.path, found.run.id)
        yield found


@contextlib.contextmanager
def scored_source(models: Sequence[ModelRef], text: str, asking: Asking, session: Session) -> Iterator[Source]:
    """A text under one model or two, which are closed by then. Raises what `read_subjects` raises."""
    yield ScoredTexts([_scored(one) for one in read_subjects(models, text, asking, session)], text, asking)


def _scored(one: Subject) -> Text:
    return Text(
        arm=one.model,
        model=one.model,
        tokens=one.tokens,
        pieces=one.pieces,
        vocabulary=one.vocabulary,
        prompt=one.start or "",
        beside=one.beside,
    )
