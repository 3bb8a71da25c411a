"""The heaviest openings of a prompt as exhibits: what they hold of all probability, curve, tree and list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from llama_diversity.decimals import counted
from llama_diversity.records import Piece
from llama_diversity.render.branches import (
    MOST_ON_PAGE,
    BranchTree,
    Grown,
    WeightedPath,
    branches_of,
    compared,
    weights_of,
    words_of,
)
from llama_diversity.render.exhibits import (
    Branching,
    Exhibit,
    Figure,
    Remark,
    Section,
    Share,
    Table,
    Value,
    percent,
    written,
)
from llama_diversity.render.safe import visible
from llama_diversity.studies.measuring.noise import Floor
from llama_diversity.studies.tree.analysis import Opening, Ranks, Tree, possible_ranks

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

N_SHOWN = 10  # openings of each arm in the terminal


@dataclass(frozen=True)
class Facts:
    """What was asked, and of whom; `pieces` has every token of the openings of an arm, `floors` its arithmetic's."""

    prompt: str
    models: Mapping[str, str]
    pieces: Mapping[str, Mapping[int, Piece]]
    depth: int
    k: int
    budget: int
    floors: Mapping[str, Floor]

    def ranks(self, arm: str, tree: Tree) -> list[Ranks]:
        """Of each opening, as far as the arithmetic tells them apart."""
        return possible_ranks(tree, self.floors[arm].opening_bits, depth=self.depth)

    def words(self, arm: str, opening: Opening) -> str:
        """An opening in one line."""
        return words_of([self.pieces[arm][token] for token in opening.ids])


def section(trees: Mapping[str, Tree], facts: Facts, command: str) -> Section:
    """The whole result for a reader."""
    models = ", ".join(f"{arm} ({model})" for arm, model in facts.models.items())
    about = (
        f"Best-first search over exact next-token distributions after “{facts.prompt}”, raw, temperature 1, whole "
        f"vocabulary: {models}. An opening is {counted(facts.depth, 'token')}, or fewer where it ends the text. "
        "Nothing is sampled. Two openings that spell the same text in other tokens count apart."
    )
    return Section("tree", "The heaviest openings", about, command, tuple(_exhibits(trees, facts)))


def headline(trees: Mapping[str, Tree], facts: Facts) -> str:
    """What the k likeliest openings hold of each arm's mass, in a sentence."""
    shares = [f"{_between(*tree.mass)} of {arm}'s mass" for arm, tree in trees.items()]
    what = (
        f"{facts.k} likeliest {facts.depth}-token openings" if facts.k > 1 else f"likeliest {facts.depth}-token opening"
    )
    return f"The {what} {'hold' if facts.k > 1 else 'holds'} {_listed(shares)}."


def _between(low: float, high: float) -> str:
    shown = f"{percent(low, 3)} %", f"{percent(high, 3)} %"
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _exhibits(trees: Mapping[str, Tree], facts: Facts) -> Iterator[Exhibit]:
    yield Remark(headline(trees, facts))
    for arm, tree in trees.items():
        yield from _remarks(arm, tree, facts)
    yield _masses(trees)
    yield _curves(trees, facts)
    yield _branching(trees, facts)
    yield _heaviest(trees, facts)
    yield _all(trees, facts)


def _remarks(arm: str, tree: Tree, facts: Facts) -> Iterator[Remark]:
    n = len(tree.openings)
    if not tree.is_complete:
        yield Remark(
            f"{arm}: the budget of {counted(facts.budget, 'path')} was spent before the search was done. Certain: "
            f"{_certain(tree)}. The mass of the {facts.k} likeliest lies between the two bounds, and no opening that "
            f"is not listed holds more than {percent(tree.largest_left, 3)} %. A larger --budget narrows this.",
            is_warning=True,
        )
    elif n < facts.k:
        yield Remark(f"{arm}: there {'is' if n == 1 else 'are'} only {counted(n, 'opening')} of positive probability.")

    factor = 2 ** facts.floors[arm].opening_bits(facts.depth)
    if factor > 1:
        yield Remark(
            f"{arm}: the arithmetic alone moves the probability of {counted(facts.depth, 'token')} by a factor of up "
            f"to {written(factor)} (95 %). Openings that are closer are in no order: their ranks are ranges."
        )


def _certain(tree: Tree) -> str:
    if tree.n_certain == 0:
        return "none of the openings"
    return "the first opening" if tree.n_certain == 1 else f"the first {tree.n_certain} openings"


def _masses(trees: Mapping[str, Tree]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            arm,
            100 * tree.mass[0],
            100 * tree.mass[1],
            f"{tree.n_certain} of {len(tree.openings)}",
            100 * tree.largest_left,
            tree.n_expanded,
        )
        for arm, tree in trees.items()
    ]
    return Table(
        "tree-mass",
        "What the likeliest openings hold, and what is left",
        ("arm", "at least, %", "at most, %", "certain", "largest left, %", "paths"),
        tuple(rows),
        "Probability of all listed openings together, and the most that any as many could hold. Certain: how many of "
        "those listed are surely the heaviest. Largest left: no other opening holds more. Paths: distributions that "
        "were asked for.",
    )


def _curves(trees: Mapping[str, Tree], facts: Facts) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.mass_curves import MassCurve, mass_panel

        return {
            "": mass_panel(
                {
                    arm: MassCurve(tree.low, tree.high, [facts.words(arm, opening) for opening in tree.openings])
                    for arm, tree in trees.items()
                }
            )
        }

    return Figure(
        "tree-curve",
        "How much the 1, 2, 3, ... likeliest openings hold together",
        draw,
        "A line stops where no more openings are listed. Band: between what is found and what could still be there.",
        terminal=_branches(trees, facts),
    )


def _branches(trees: Mapping[str, Tree], facts: Facts) -> RenderableType:
    parts: list[RenderableType] = [Text("Where the listed openings part", style="bold")]
    for arm, paths in _paths(trees, facts).items():
        parts.append(BranchTree(visible(f"{arm}: {facts.prompt}"), branches_of(paths)))
    parts.append(Text("Heaviest beginnings with their probability; most of them go on in other ways too.", style="dim"))
    return Group(*parts)


def _branching(trees: Mapping[str, Tree], facts: Facts) -> Branching:
    """The same for a page, which has room for more, and for what other arms give to a beginning."""
    paths = _paths(trees, facts)
    weights = {arm: weights_of(some) for arm, some in paths.items()}
    grown = [
        Grown(
            arm,
            f"{arm}: {facts.prompt}",
            compared(branches_of(some, MOST_ON_PAGE), [weights[other] for other in weights if other != arm]),
        )
        for arm, some in paths.items()
    ]
    note = (
        "Heaviest beginnings with their exact probability. Where an arm lists no such beginning it may still have one."
    )
    return Branching("tree-branches", "Where the listed openings part", tuple(grown), note)


def _paths(trees: Mapping[str, Tree], facts: Facts) -> dict[str, list[WeightedPath]]:
    return {
        arm: [
            WeightedPath(
                [facts.pieces[arm][token] for token in opening.ids], np.exp(opening.log_probabilities).tolist()
            )
            for opening in tree.openings
        ]
        for arm, tree in trees.items()
    }


def _heaviest(trees: Mapping[str, Tree], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (arm, _written_ranks(ranks), Share(opening.probability), Share(mass), facts.words(arm, opening))
        for arm, tree in trees.items()
        for opening, mass, ranks in zip(tree.openings[:N_SHOWN], tree.low, facts.ranks(arm, tree), strict=False)
    ]
    return Table(
        "tree-heaviest",
        "The heaviest openings",
        ("arm", "rank", "p", "together", "opening"),
        tuple(rows),
        f"The first {N_SHOWN} of each arm.",
    )


def _written_ranks(ranks: Ranks) -> str:
    """
    >>> [_written_ranks(ranks) for ranks in (Ranks(1, 1), Ranks(2, 4), Ranks(3, None))]
    ['1', '2 to 4', '3 or later']
    """
    if ranks.last is None:
        return f"{ranks.first} or later"
    return str(ranks.first) if ranks.first == ranks.last else f"{ranks.first} to {ranks.last}"


def _all(trees: Mapping[str, Tree], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            arm,
            rank,
            ranks.first,
            ranks.last,
            opening.probability,
            mass,
            "yes" if rank <= tree.n_certain else "no",
            len(opening.ids),
            " ".join(map(str, opening.ids)),
            facts.words(arm, opening),
        )
        for arm, tree in trees.items()
        for rank, (opening, mass, ranks) in enumerate(
            zip(tree.openings, tree.low, facts.ranks(arm, tree), strict=True), start=1
        )
    ]
    return Table(
        "tree-openings",
        "All listed openings",
        ("arm", "rank", "rank from", "rank to", "probability", "cumulative", "certain", "tokens", "ids", "opening"),
        tuple(rows),
        "Certain: no opening that was not found can be heavier, but for the arithmetic. Rank from and to: what it "
        "leaves open, without an end where openings that are not listed may be as heavy.",
        in_terminal=False,
    )
