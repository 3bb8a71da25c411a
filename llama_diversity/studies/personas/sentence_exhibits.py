"""The sentences of the reviews as exhibits: how many clusters, Figure 9, Tables 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from llama_diversity.render.exhibits import Exhibit, Figure, Remark, Table, Value
from llama_diversity.studies.personas.sentences import N_NEAREST, Clusters

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


def sentence_exhibits(found: Clusters) -> Iterator[Exhibit]:
    """All that there is to show of the sentences; a remark where there are none."""
    if not found.sentences:
        yield Remark("There is no sentence of a valid review to cluster.", is_warning=True)
        return
    yield _counts(found)
    if found.spots is not None:
        yield _figure_9(found)
    for position, arm in enumerate(found.own):
        yield _samples(found, arm, position)


def _counts(found: Clusters) -> Table:
    return Table(
        "personas-sentence-clusters",
        "How many clusters do the sentences of the reviews form?",
        ("arm", "sentences", "by silhouette", "by gap statistic", "effective pooled clusters"),
        tuple(
            (arm, found.arms.count(arm), own.by_silhouette.k, own.by_gap.k, found.effective[arm].value)
            for arm, own in found.own.items()
        ),
        "k of each arm alone, as in the paper, which does not say how it was chosen; the silhouette cannot say 1. Only "
        f"the last column compares: classes of all sentences together ({found.pooled.k or 1} by the gap statistic).",
    )


def _figure_9(found: Clusters) -> Figure:
    note = (
        f"t-SNE, perplexity {found.perplexity or 0:g}, of all sentences together, coloured by the arm's own k-means "
        "cluster; grey: the other models. A picture only."
    )

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render import maps

        assert found.spots is not None
        labels = [label for own in found.own.values() for label in own.labels.tolist()]
        spots = [
            maps.Spot(float(x), float(y), float("nan"), label, text)
            for (x, y), label, text in zip(found.spots, labels, found.sentences, strict=True)
        ]
        return {
            f"{arm} (n = {found.arms.count(arm)})": maps.cluster_panel(
                [spot for spot, of in zip(spots, found.arms, strict=True) if of == arm],
                [spot for spot, of in zip(spots, found.arms, strict=True) if of != arm],
                pick=f"sentences_{position}",
            )
            for position, arm in enumerate(found.own)
        }

    return Figure("figure-9-sentences", "Figure 9: map of the reviews' sentences", draw, note)


def _samples(found: Clusters, arm: str, position: int) -> Table:
    own = found.own[arm]
    said = [text for text, of in zip(found.sentences, found.arms, strict=True) if of == arm]
    rows: list[tuple[Value, ...]] = []
    for label, places in enumerate(own.nearest):
        different = list(dict.fromkeys(said[place] for place in places))[:N_NEAREST]
        rows.append((label + 1, own.sizes[label], " · ".join(different)))
    return Table(
        f"table-{position + 2}-sentences-{arm.replace(' ', '-')}"
        if position < 2
        else f"table-sentences-{position + 1}",
        f"{f'Table {position + 2}: s' if position < 2 else 'S'}entences of each review cluster, {arm}",
        ("cluster", "sentences", "nearest to the centroid first"),
        tuple(rows),
        in_terminal=False,
    )
