"""Experiment 2 as exhibits: likeness, the map of Figure 10, classes, Tables 4 and 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llama_diversity.answers import Endings
from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Difference, Retained, Summary
from llama_diversity.metrics.similarity import Similarity
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Table, Value
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.measuring.limits import MOST_TRUNCATED
from llama_diversity.studies.phrases import letters_that_are_words, why_left_out
from llama_diversity.studies.semantic.analysis import Whole
from llama_diversity.studies.semantic.plain import plain

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

N_SHOWN = 3  # completions of each arm in Table 4, as in the paper


@dataclass(frozen=True)
class Facts:
    """What was asked, and of whom; `n_truncated` counts completions that the encoder cut."""

    prompt: str
    models: Mapping[str, str]
    max_tokens: int
    n_truncated: Mapping[str, int]
    encoder: str
    endings: Mapping[str, Endings] = field(default_factory=dict)


def section(found: Whole, facts: Facts, command: str) -> Section:
    """The whole experiment for a reader."""
    n = ", ".join(f"{texts.n} of {arm} ({facts.models[arm]})" for arm, texts in found.texts.items())
    about = (
        f"Completions of “{facts.prompt}”, raw, at most {counted(facts.max_tokens, 'token')} each: {n}. Whole "
        f"completions are embedded by {facts.encoder}. One prompt: the result holds for this prompt, not for prompts "
        "in general."
    )
    exhibits = tuple(_exhibits(found, facts))
    title = "Experiment 2: how alike are the completions?"
    return Section("semantic", title, about, command, exhibits, plain(found, facts.prompt, facts.models))


def _exhibits(found: Whole, facts: Facts) -> Iterator[Exhibit]:
    yield from _warnings(found, facts)
    yield from letters_that_are_words({arm: one.by_letter for arm, one in found.cutting.items()})
    yield from (Remark(reason, is_warning=True) for reason in dict.fromkeys(found.result.words_unfit.values()))
    yield _likeness(found)
    yield _retained(found)
    if found.spots is not None:
        yield _figure_10(found)
    yield _cluster_counts(found)
    yield from _classes(found)
    yield _table_4(found)


def _warnings(found: Whole, facts: Facts) -> Iterator[Remark]:
    yield from why_left_out(facts.endings)
    for arm, texts in found.texts.items():
        if texts.n_repeated == texts.n - 1 > 0:
            yield Remark(f"{arm}: all {texts.n} completions are identical.", True)
        cut = facts.n_truncated[arm]
        if cut:
            much = " Similarity of meanings is of beginnings only." if cut > MOST_TRUNCATED * texts.n else ""
            yield Remark(f"{arm}: {cut} of {texts.n} completions exceed what the encoder reads.{much}", bool(much))
        if arm in found.unreadable:
            yield Remark(f"{found.unreadable[arm]} Leave aside all that rests on embeddings.", True)


# ---- likeness

_MEASURES = ("TF-IDF", "TF-IDF, own IDF", "SBERT")


def _likeness(found: Whole) -> Table:
    kinds: tuple[Mapping[str, Similarity], ...] = (found.result.words, found.own_idf, found.result.meanings)
    differences: tuple[Mapping[str, Difference], ...] = (
        found.result.words_differences,
        {},  # another IDF in each arm: no difference is to be had
        found.result.meanings_differences,
    )
    rows = []
    for name, measured, changed in zip(_MEASURES, kinds, differences, strict=True):
        for arm in found.texts:
            summary = measured[arm].summary
            rows.append((name, arm, *_spread(summary), *_change(changed.get(arm))))
    return Table(
        "semantic-likeness",
        "How alike the completions of each model are",
        ("measure", "arm", "mean", "sd", "se", "n", f"minus {next(iter(found.texts))}", "95 % interval"),
        tuple(rows),
        "Mean cosine over pairs of different completions; sd of the completions' own means (the paper's sd); se of a "
        "mean over pairs, completions independent. Only the pooled IDF compares.",
    )


def _spread(summary: Summary) -> tuple[Value, ...]:
    return summary.mean, summary.sd, summary.se, summary.n


def _change(difference: Difference | None) -> tuple[Value, Value]:
    return (None, None) if difference is None else (difference.mean, Between(difference.low, difference.high))


def _retained(found: Whole) -> Table:
    first = next(iter(found.distance))
    rows: list[tuple[Value, ...]] = []
    for name, estimates, retained in (
        ("distance (primary)", found.distance, found.distance_retained),
        ("Vendi 2, corrected", found.vendi, found.vendi_retained),
    ):
        for arm, estimate in estimates.items():
            rows.append((name, arm, estimate.value, estimate.se, *_share(retained.get(arm))))
    reasons = {e.reason for e in (*found.distance.values(), *found.vendi.values()) if e.reason}
    return Table(
        "semantic-retained",
        f"What is left of {first}'s diversity of meaning",
        ("measure", "arm", "value", "se", "retained", "95 % interval"),
        tuple(rows),
        " ".join(
            [
                "Distance: mean of 1 - cosine over pairs of embeddings. Vendi: effective number of completions.",
                f"Retained: the arm's value divided by {first}'s.",
                *sorted(reasons),
            ]
        ),
    )


def _share(retained: Retained | None) -> tuple[Value, Value]:
    if retained is None or retained.low is None or retained.high is None:
        return (None if retained is None else retained.share), None
    return retained.share, Between(retained.low, retained.high)


# ---- Figure 10


def _figure_10(found: Whole) -> Figure:
    assert found.spots is not None
    scores = _scores(found)
    note = (
        f"t-SNE, perplexity {found.perplexity:g}, of all completions together; grey: the other models. A picture only."
    )

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render import maps

        assert found.spots is not None
        spots = [
            maps.Spot(float(x), float(y), float(score), int(cluster), text)
            for (x, y), score, cluster, text in zip(found.spots, scores, found.classes.labels, found.kept, strict=True)
        ]
        known = scores[np.isfinite(scores)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        return {
            f"{arm} (n = {found.arms.count(arm)})": maps.map_panel(
                [spot for spot, of in zip(spots, found.arms, strict=True) if of == arm],
                [spot for spot, of in zip(spots, found.arms, strict=True) if of != arm],
                quantity="TF-IDF cosine to the others",
                low=low,
                high=high,
                pick=f"cluster_{position}",
            )
            for position, arm in enumerate(found.texts)
        }

    return Figure("figure-10-map", "Figure 10: map of the completions, coloured by how alike they are", draw, note)


def _scores(found: Whole) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Each kept completion's mean cosine to the others of its arm; nan for one without words."""
    scores = np.full(len(found.kept), np.nan)
    has_words = np.array([any(character.isalnum() or character == "_" for character in text) for text in found.kept])
    for arm in found.texts:
        of_arm = np.flatnonzero((np.array(found.arms) == arm) & has_words)
        own = found.result.words[arm].of_each
        if len(own) == len(of_arm):
            scores[of_arm] = own
    return scores


# ---- classes


def _cluster_counts(found: Whole) -> Table:
    rows: list[tuple[Value, ...]] = [
        ("all arms together", found.classes.by_silhouette.k, found.classes.by_gap.k, found.classes.by_gap.n)
    ]
    rows += [(f"{arm} alone", silhouette.k, gap.k, gap.n) for arm, (silhouette, gap) in found.own_k.items()]
    stable = found.classes.stability
    words = f"stability {stable.value:.2f}" if stable.value is not None else f"stability undefined: {stable.reason}"
    if stable.warning:
        words += f"; {stable.warning}, so no number of them is to be given"
    return Table(
        "semantic-cluster-counts",
        "How many clusters?",
        ("completions of", "by silhouette", "by gap statistic", "n"),
        tuple(rows),
        "The silhouette cannot say 1. Of an arm alone k measures spread, not diversity; only pooled classes compare. "
        f"Pooled k-means with the gap statistic's k: {words} (adjusted Rand index of 20 subsamples).",
    )


def _classes(found: Whole) -> Iterator[Table]:
    rows = [
        (
            arm,
            found.classes.occupancy[arm].effective.value,
            int((found.classes.kinds[arm].counts > 0).sum()),
            found.classes.kinds[arm].effective.value,
            int(found.classes.kinds[arm].counts.max(initial=0)),
            int(found.classes.kinds[arm].counts.sum()),
        )
        for arm in found.texts
        if arm in found.classes.kinds
    ]
    yield Table(
        "semantic-kinds",
        "Kinds of completions in each model",
        ("arm", "effective clusters", "kinds", "effective kinds", "in the largest kind", "n"),
        tuple(rows),
        f"Clusters: pooled k-means. Kinds: pooled complete linkage, all pairs of a kind have a cosine of "
        f"{KIND_CUT:g} or more. Effective: exp of the entropy of the shares; plug-in, for equal n.",
    )
    yield Table(
        "table-5-medoids",
        "Table 5: a typical completion of each cluster, and how many of each model are in it",
        ("cluster", *found.texts, "medoid"),
        tuple(
            (
                label + 1,
                *(
                    int(found.classes.occupancy[arm].counts[label]) if arm in found.classes.occupancy else 0
                    for arm in found.texts
                ),
                _line(found.kept[medoid]),
            )
            for label, medoid in enumerate(found.classes.medoids)
        ),
        "The medoid is the completion nearest to all others of its cluster.",
    )


def _table_4(found: Whole) -> Table:
    shown = {arm: [text for text, of in zip(found.kept, found.arms, strict=True) if of == arm] for arm in found.texts}
    return Table(
        "table-4-samples",
        "Table 4: the first completions of each model",
        tuple(found.texts),
        tuple(
            tuple(_line(texts[at]) if at < len(texts) else None for texts in shown.values()) for at in range(N_SHOWN)
        ),
    )


def _line(text: str, most: int = 220) -> str:
    """The beginning of a completion, in one line."""
    words = " ".join(text[: 4 * most].split())
    return words if len(words) <= most else f"{words[: most - 1]}…"
