"""Where the texts of a viewer come from: a run of the store, or a text that was typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from llama_diversity.errors import BadUsage
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


def named_source(models: Sequence[ModelRef], subject: str | None, prompt: str | None, session: Session) -> str:
    """The run or the text that is named, in either way, if it is one. Raises BadUsage, UnknownName, StoreError."""
    if subject is not None and prompt is not None:
        raise BadUsage("Name one text: behind -p, or without it.")
    if prompt is not None and not models:
        raise BadUsage("A text needs a model that reads it: add -m MODEL.")
    found = subject if prompt is None else prompt
    if found is None:
        raise BadUsage("Name what to look at: a stored run (`last` is the newest), or a text (-m MODEL -p TEXT).")
    if not models:
        with Store.open(session.store, read_only=True, timeout_s=WAIT_S) as store:
            store.run(found)
    return found


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
