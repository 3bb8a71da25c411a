"""How varied are the outputs that can be used, and what do they cost?

Protocol: every output of every cell of a run (an arm, a prompt; an arm alone where its asks are numbered) is judged,
thoughts left out. Of those that can be used it is counted how many say the same as an earlier one, word for word or
nearly (cosine NEAR or more with one that was kept before it), and kinds as `coverage` counts them: equal texts, or
texts of one meaning (complete linkage on the embeddings of all cells together, KIND_CUT). Cells compare by the
effective number of kinds that m usable outputs show, m of the cell with the fewest, LEAST_FOR_EFFECTIVE at least. Cost
is in tokens as they were drawn, those of thoughts and of useless outputs included: of an output, of a usable one, and
of the next new one.

Intervals: Wilson's of shares, t of tokens an output, of the others as `metrics.price` has them.
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
from llama_diversity.metrics.choice import Kept
from llama_diversity.metrics.coverage import Coverage, chao1, refined_coverage
from llama_diversity.metrics.inference import Estimate, Proportion, mean_interval, wilson
from llama_diversity.metrics.price import Bounded, effective_kinds, tokens_for_next, tokens_per_usable
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.measuring.limits import LEAST_FOR_EFFECTIVE, LEAST_VALID

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Output(NamedTuple):
    """One output: its text without thoughts, what was drawn for it, by every model of a mixture, and its flaw."""

    text: str
    n_tokens: int
    flaw: str | None


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
    effective: Bounded | None  # Hill, q = 2, among m; None in a cell that is too small for it
    next_new: Bounded

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
    an_output: Bounded
    a_usable_one: Bounded
    m: int  # outputs among which kinds are compared
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
    m = min((len(some) for some in usable.values() if len(some) >= LEAST_FOR_EFFECTIVE), default=0)
    return {
        name: _cell(some, by_text[name], by_meaning.get(name), (vectors or {}).get(name), refused.get(name, ""), m)
        for name, some in outputs.items()
    }


def _split(labels: Labels, texts: Mapping[str, Sequence[str]]) -> dict[str, Labels]:
    """The labels of all cells, again by cell."""
    ends = np.cumsum([len(some) for some in texts.values()])
    return dict(zip(texts, np.split(np.asarray(labels, np.int64), ends[:-1]), strict=True))


def _cell(
    outputs: Sequence[Output], by_text: Labels, by_meaning: Labels | None, vectors: Vectors | None, refused: str, m: int
) -> Cell:
    tokens = np.array([one.n_tokens for one in outputs], np.float64)
    is_usable = np.array([one.flaw is None for one in outputs], np.bool_)
    firsts = np.sort(np.unique(by_text, return_index=True)[1])
    mean = mean_interval(tokens)
    low, high = (max(end, 0.0) if math.isfinite(end) else None for end in (mean.low, mean.high))
    return Cell(
        len(outputs),
        wilson(int(is_usable.sum()), len(outputs)),
        _reasons(outputs),
        len(by_text) - len(firsts),
        None if by_meaning is None or vectors is None else sum(one is not None for one in Kept().add(vectors[firsts])),
        _kinds(by_text, tokens, is_usable, m),
        None if by_meaning is None else _kinds(by_meaning, tokens, is_usable, m),
        Bounded(mean.mean, low, high, len(outputs)),
        tokens_per_usable(tokens, is_usable),
        m,
        refused,
    )


def _reasons(outputs: Sequence[Output]) -> tuple[Reason, ...]:
    counts = Counter(one.flaw for one in outputs if one.flaw is not None)
    return tuple(
        Reason(flaw, n, next(one.text for one in outputs if one.flaw == flaw)) for flaw, n in counts.most_common()
    )


def _kinds(labels: Labels, tokens: npt.NDArray[np.float64], is_usable: npt.NDArray[np.bool_], m: int) -> Kinds:
    counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    counts = counts[counts > 0].astype(np.int64)
    coverage = refined_coverage(counts)
    if len(labels) < LEAST_VALID:
        coverage = coverage._replace(low=None, high=None)
    of_usable = iter(labels.tolist())
    kinds = [next(of_usable) if one else None for one in is_usable.tolist()]
    effective = effective_kinds(counts, m) if 0 < m <= len(labels) else None
    return Kinds(counts, coverage, chao1(counts), effective, tokens_for_next(tokens, kinds))
