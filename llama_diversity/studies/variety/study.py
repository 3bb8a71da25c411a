"""`variety` of a stored run: reads the store, loads no model but the sentence encoder."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llama_diversity import cache, embed
from llama_diversity.errors import BadValue
from llama_diversity.mixtures import priced
from llama_diversity.records import without_number
from llama_diversity.render.jsonl import finite
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.drawing import NoEstimate
from llama_diversity.studies.measuring.kinds import KIND_CUT, MOST_BY_MEANING
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.measuring.limits import MOST_TRUNCATED
from llama_diversity.studies.results import Result
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn
from llama_diversity.studies.variety import analysis
from llama_diversity.studies.variety.exhibits import Facts, section
from llama_diversity.studies.variety.judging import Judge


def variety_of(run: str, session: Session, *, valid: str | None, schema: Path | None, by: str) -> Result:
    """The outputs of a run, judged and counted. `by`: "meaning" or "text" tells kinds.

    Raises BadValue, UnknownName, NoEncoder and what a store raises.
    """
    judge = Judge(valid, None if schema is None else _read(schema), str(schema))
    with Store.open(session.store, read_only=True) as store:
        stored = store.run(run)
        if any(store.recipe(cell.recipe_key).arithmetic is not None for cell in stored.cells):
            raise NoEstimate(f"Run {stored.id} is")
        drawn = _drawn(store, stored, session, by)
        outputs: dict[str, list[analysis.Output]] = {}
        for name in drawn.cells:
            if drawn.n_stored(name):
                outputs.setdefault(without_number(name), []).extend(_outputs(drawn, name, judge))
        if not outputs:
            raise BadValue("RUN", stored.id, "nothing of it is stored yet; run its command again, or name another run")
        lacks = _lacks(drawn)
    vectors, refused = _told(drawn, outputs) if by == "meaning" else (None, {})
    found = cache.called(analysis.analyse, outputs, vectors, refused)
    kind = "equal texts"
    if by == "meaning":
        kind = f"texts of one meaning (cosine {KIND_CUT:g} or more between all pairs, by {embed.REPO})"
    models = {without_number(name): cell.reference for name, cell in drawn.cells.items()}
    facts = Facts(stored.id, models, _usable(judge), kind, lacks)
    words = [*(["--valid", valid] if valid else []), *(["--schema", str(schema)] if schema else [])]
    words += ["--by", "text"] if by == "text" else []
    command = shlex.join(["llamadiv", "variety", stored.id, *words])
    return Result(section(found, facts, command), _as_json(found, facts), found, run=stored.id)


def _lacks(drawn: Drawn) -> dict[str, str]:
    """By arm what is not drawn yet, in words."""
    missing: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for name, cell in drawn.cells.items():
        wanted[without_number(name)] += cell.n
    for name, n in drawn.lacks().items():
        missing[without_number(name)] += n
    return {name: f"{n} of {wanted[name]} outputs are not drawn yet" for name, n in missing.items() if n}


def _read(path: Path) -> Any:
    """A schema as JSON. Raises BadValue."""
    try:
        read = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadValue("--schema", str(path), f"it cannot be read ({error.strerror}); name another file") from error
    except (ValueError, RecursionError) as error:
        raise BadValue("--schema", str(path), f"it is no JSON: {error}") from error
    if not isinstance(read, Mapping | bool):
        raise BadValue("--schema", str(path), "it is no JSON schema: that is an object")
    return read


def _drawn(store: Store, run: Run, session: Session, by: str) -> Drawn:
    """The cells of a run by name. Raises BadValue, NoEncoder."""
    if not run.cells:
        raise BadValue("RUN", run.id, "it holds no samples; `llamadiv runs ls` lists runs and what they hold")
    if by == "meaning" and sum(cell.n for cell in run.cells) > MOST_BY_MEANING:
        raise BadValue(
            "--by", by, f"kinds by meaning compare all pairs, of {MOST_BY_MEANING:,} outputs at most; say text"
        )
    place = session.encoder() if by == "meaning" else None
    return Drawn({}, "", "", _by_name(run), store, place, session)


def _by_name(run: Run) -> dict[str, RunCell]:
    """Where one arm was asked several things, with the recipe."""
    arms = [cell.arm for cell in run.cells]
    return {cell.arm if arms.count(cell.arm) == 1 else f"{cell.arm} {cell.recipe_key[:11]}": cell for cell in run.cells}


def _outputs(drawn: Drawn, name: str, judge: Judge) -> Iterator[analysis.Output]:
    recipe = drawn.recipe(name)
    for sample, answer in drawn.read(name):
        n_written, _ = priced(recipe, len(sample.tokens))
        yield analysis.Output(answer.text, n_written, judge.flaw(answer))


def _told(
    drawn: Drawn, outputs: Mapping[str, list[analysis.Output]]
) -> tuple[dict[str, analysis.Vectors], dict[str, str]]:
    """Vectors of the usable outputs of each cell, and why some say nothing of meanings."""
    texts = {name: [one.text for one in some if one.flaw is None] for name, some in outputs.items()}
    embedded = drawn.embedded(texts)
    refused = {
        name: f"Meanings not told: {100 * one.n_truncated / len(texts[name]):.0f} % of {name}'s texts exceed the "
        "encoder's 256 word pieces."
        for name, one in embedded.items()
        if one.n_truncated > MOST_TRUNCATED * len(texts[name])
    }
    return (
        {name: one.vectors for name, one in embedded.items()},
        {**unread_arms({name: one.unread for name, one in embedded.items()}), **refused},
    )


def _usable(judge: Judge) -> str:
    asked = [f"it contains what “{judge.pattern}” finds"] if judge.pattern is not None else []
    asked += [f"it is JSON of the schema {judge.named}"] if judge.schema is not None else []
    return " and ".join(asked) or "it has text"


def _as_json(found: Mapping[str, analysis.Cell], facts: Facts) -> dict[str, Any]:
    return {
        "usable": facts.usable,
        "kind": facts.kind,
        "cells": {name: {"model": facts.models[name], **_cell_as_json(cell)} for name, cell in found.items()},
    }


def _cell_as_json(cell: analysis.Cell) -> dict[str, Any]:
    kinds = {"text": cell.by_text, **({} if cell.by_meaning is None else {"meaning": cell.by_meaning})}
    return {
        "n": cell.n,
        "valid": cell.valid._asdict(),
        "reasons": [one._asdict() for one in cell.reasons],
        "copies": cell.n_copies,
        "near_copies": cell.n_near,
        **({"meanings_not_told": cell.refused} if cell.refused else {}),
        "kinds": {
            way: {
                "seen": one.n_seen,
                "counts": sorted(one.counts.tolist(), reverse=True),
                "coverage": one.coverage._asdict(),
                "chao1": one.at_least._asdict(),
                "effective": None if one.effective is None else {**finite(one.effective._asdict()), "among": cell.m},
                "tokens_of_the_next_new": finite(one.next_new._asdict()),
            }
            for way, one in kinds.items()
        },
        "tokens_of_an_output": cell.an_output._asdict(),
        "tokens_of_a_usable_one": finite(cell.a_usable_one._asdict()),
    }
