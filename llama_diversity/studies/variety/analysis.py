"""How varied are the outputs that can be used, and what do they cost?

Protocol: every output of every cell of a run (an arm, a prompt) is judged, thoughts left out. Of those that can be used
it is counted how many say the same as an earlier one, word for word or nearly (cosine NEAR or more with one that was
kept before it), and kinds as `coverage` counts them: equal texts, or texts of one meaning (complete linkage on the
embeddings of all cells together, KIND_CUT). Cost is in tokens as they were drawn, those of thoughts and of useless
outputs included:

    an output     T / N            T tokens of N outputs
    a usable one  T / V            V of them can be used
    the next new  (T / N) / (V / N * f1 / V) = T / f1      f1 kinds seen once: f1 / V is the chance that the next usable
                                   output is of a kind not seen (Good-Turing)

Intervals: Wilson's of shares; of tokens an output t; of the two ratios the jackknife over outputs on the log scale.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.metrics import clusters
from llama_diversity.metrics.coverage import Coverage, chao1, refined_coverage
from llama_diversity.metrics.indices import hill
from llama_diversity.metrics.inference import Estimate, Proportion, jackknifed, mean_interval, quantile, wilson
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.measuring.limits import LEAST_VALID

NEAR = 0.92  # cosine from which an output says nearly the same as another
Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Output(NamedTuple):
    """One output: its text without thoughts, all tokens that were drawn for it, and why it cannot be used."""

    text: str
    n_tokens: int
    flaw: str | None


class Price(NamedTuple):
    """Tokens, with a 95 % interval; None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


class Reason(NamedTuple):
    """Why outputs cannot be used, how many, and the first of them."""

    reason: str
    n: int
    example: str


@dataclass(frozen=True)
class Kinds:
    """Kinds of the usable outputs of a cell, and what the next new one costs."""

    counts: npt.NDArray[np.int64]
    coverage: Coverage
    at_least: Estimate  # Chao1
    effective: Estimate  # Hill, q = 2
    next_new: Price

    @property
    def n_seen(self) -> int:
        """Kinds with at least one output."""
        return int((self.counts > 0).sum())


@dataclass(frozen=True)
class Cell:
    """One cell. `n_near` and `by_meaning` are None where meanings were not told, or cannot be: `refused` says why."""

    n: int
    valid: Proportion
    reasons: tuple[Reason, ...]
    n_copies: int  # usable outputs whose very text was there before
    n_near: int | None  # further ones that say nearly what an earlier one says
    by_text: Kinds
    by_meaning: Kinds | None
    an_output: Price
    a_usable_one: Price
    refused: str = ""

    @property
    def kinds(self) -> Kinds:
        """By meaning where that was told, else by text."""
        return self.by_text if self.by_meaning is None else self.by_meaning


def analyse(
    outputs: Mapping[str, Sequence[Output]], vectors: Mapping[str, Vectors] | None, refused: Mapping[str, str]
) -> dict[str, Cell]:
    """Each cell, by its name. `vectors`: a row for each usable output; `refused`: cells whose meanings say nothing."""
    usable = {name: [one.text for one in some if one.flaw is None] for name, some in outputs.items()}
    by_text = _split(clusters.exact_classes([text for some in usable.values() for text in some]), usable)
    by_meaning: dict[str, Labels] = {}
    told = {name: some for name, some in usable.items() if vectors is not None and name not in refused}
    if vectors is not None and any(told.values()):
        rows = np.concatenate([vectors[name] for name in told if told[name]])
        by_meaning = _split(clusters.threshold_classes(rows, KIND_CUT), told)
    return {
        name: _cell(some, by_text[name], by_meaning.get(name), (vectors or {}).get(name), refused.get(name, ""))
        for name, some in outputs.items()
    }


def _split(labels: Labels, texts: Mapping[str, Sequence[str]]) -> dict[str, Labels]:
    """The labels of all cells, again by cell."""
    ends = np.cumsum([len(some) for some in texts.values()])
    return dict(zip(texts, np.split(np.asarray(labels, np.int64), ends[:-1]), strict=True))


def _cell(
    outputs: Sequence[Output], by_text: Labels, by_meaning: Labels | None, vectors: Vectors | None, refused: str
) -> Cell:
    tokens = np.array([one.n_tokens for one in outputs], np.float64)
    is_usable = np.array([one.flaw is None for one in outputs], np.bool_)
    firsts = np.sort(np.unique(by_text, return_index=True)[1])
    mean = mean_interval(tokens)
    return Cell(
        len(outputs),
        wilson(int(is_usable.sum()), len(outputs)),
        _reasons(outputs),
        len(by_text) - len(firsts),
        None if by_meaning is None or vectors is None else len(firsts) - _n_kept(vectors[firsts]),
        _kinds(by_text, tokens, is_usable),
        None if by_meaning is None else _kinds(by_meaning, tokens, is_usable),
        Price(mean.mean, _known(mean.low), _known(mean.high)),
        _ratio(tokens, int(is_usable.sum()), is_usable.astype(np.int64), "no output can be used"),
        refused,
    )


def _known(end: float) -> float | None:
    return max(end, 0.0) if math.isfinite(end) else None


def _reasons(outputs: Sequence[Output]) -> tuple[Reason, ...]:
    counts = Counter(one.flaw for one in outputs if one.flaw is not None)
    return tuple(
        Reason(flaw, n, next(one.text for one in outputs if one.flaw == flaw)) for flaw, n in counts.most_common()
    )


def _n_kept(vectors: Vectors) -> int:
    """How many of these rows are near to none that was kept before."""
    kept = np.empty_like(vectors)
    n = 0
    for row in vectors:
        if not n or float((kept[:n] @ row).max()) < NEAR:
            kept[n] = row
            n += 1
    return n


def _kinds(labels: Labels, tokens: npt.NDArray[np.float64], is_usable: npt.NDArray[np.bool_]) -> Kinds:
    counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    counts = counts[counts > 0].astype(np.int64)
    coverage = refined_coverage(counts)
    if len(labels) < LEAST_VALID:
        coverage = coverage._replace(low=None, high=None)
    sizes = np.bincount(labels)[labels] if len(labels) else np.zeros(0, np.int64)
    without = np.zeros(len(tokens), np.int64)  # kinds seen once that are lost without an output; -1: one is won
    without[is_usable] = (sizes == 1).astype(np.int64) - (sizes == 2)
    price = _ratio(tokens, int((counts == 1).sum()), without, "no kind was seen only once")
    return Kinds(counts, coverage, chao1(counts), hill(counts, 2), price)


def _ratio(tokens: npt.NDArray[np.float64], n: int, without: npt.NDArray[np.int64], why_none: str) -> Price:
    """All tokens over `n` of something, of which leaving out an output takes `without` away."""
    total = float(tokens.sum())
    if not n:
        return Price(None, None, None, why_none)
    left = n - without
    if len(tokens) < 2 or not left.all() or total == tokens.max():
        return Price(total / n, None, None, "too few for an interval")
    found = jackknifed(math.log(total / n), np.log((total - tokens) / left), len(tokens))
    if found.se is None:
        return Price(total / n, None, None, "too few for an interval")
    factor = math.exp(quantile(found.freedom) * found.se)
    return Price(total / n, total / n / factor, total / n * factor)
