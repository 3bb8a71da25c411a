"""Whether what models say of somebody's company is about companies: the annotator's topic, 0 to 1, of raw openings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tiny_samples import table

import llama_diversity as ld
from llama_diversity.lab.annotator import Annotator
from llama_diversity.lab.corpus import Corpus
from llama_diversity.lab.requests import PROMPTS_OF_THE_EXPERIMENTS, Request, demonstrations, openings

STEVE = PROMPTS_OF_THE_EXPERIMENTS[1]
N_ANSWERS = 200  # to the experiment's prompt; as many to the other openings together
N_OPENINGS = 40
MAX_TOKENS = 64


def compared(files: Mapping[str, Path], built: Corpus) -> str:
    """A table: mean topic (standard error) of every file's answers to Experiment 3's prompt and to other openings.

    The other openings are of its kind, with first names out of held-out documents.
    """
    annotator = Annotator.from_corpus(built.train)
    asked = {f'"{STEVE}"': [Request("business", STEVE, "Steve", is_chat=False)], "other openings": of_others(built)}
    rows = []
    for what, requests in asked.items():
        n_each = N_ANSWERS // len(requests)
        topics = {name: topics_of(path, requests, n_each, annotator) for name, path in files.items()}
        cells = (f"{statistics.fmean(sum(found, [])):.2f} ({error(found):.2f})" for found in topics.values())
        rows.append((what, str(len(requests)), str(n_each), *cells))
    return table(("opening", "openings", "answers each", *files), rows)


def of_others(built: Corpus) -> list[Request]:
    """N_OPENINGS different ones, the same for the same corpus."""
    rng = np.random.default_rng(0)
    demonstrated = list(demonstrations(dict.fromkeys(built.held_out), rng))
    found: dict[str, Request] = {}
    while len(found) < N_OPENINGS:
        for one in openings(demonstrated, rng, N_OPENINGS):
            if one.kind == "business" and len(found) < N_OPENINGS:
                found[one.text] = one
    return list(found.values())


def topics_of(path: Path, requests: Sequence[Request], n_each: int, annotator: Annotator) -> list[list[float]]:
    """The topic of each answer, a list for each opening."""
    with ld.model(path) as model:
        return [
            [
                annotator.judge(request, one.text, ended=one.finish_reason == "stop").topic
                for one in model.sample(request.text, n=n_each, max_tokens=MAX_TOKENS, seed=0)
            ]
            for request in requests
        ]


def error(found: Sequence[Sequence[float]]) -> float:
    """Standard error of the mean: over answers of one opening, over the means of several."""
    units = found[0] if len(found) == 1 else [statistics.fmean(one) for one in found]
    return statistics.stdev(units) / math.sqrt(len(units))
