"""Trees of text: where the heaviest openings of a prompt part, each branch with its probability.

Here is what they hold and how a terminal shows them; branch_pages.py shows them on a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from rich.tree import Tree

from llama_diversity.records import Piece
from llama_diversity.render.cells import Marks, inline

MOST_BRANCHES, MOST_ON_PAGE = 12, 150  # lines of a tree
GOES_ON = "(as it goes on)"  # what stands for a branch without tokens
JOINED = 0.9  # a lone branch that holds so much of the one before goes on in its line


@dataclass
class Branch:
    """Tokens behind those of the branch before, and the probability of all of them together.

    What only a page has room for: `beside`, the same probability under other models, None where it is not known;
    `told`, a sentence; and `texts`, what followed in samples.
    """

    pieces: tuple[Piece, ...]
    probability: float
    branches: list[Branch] = field(default_factory=list)
    beside: tuple[float | None, ...] = ()
    told: str = ""
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grown:
    """The tree of one arm, below what it begins with."""

    arm: str
    heading: str
    branches: Sequence[Branch]


Weights = Mapping[tuple[Piece, ...], float]  # beginnings of paths, and their probability


@dataclass(frozen=True)
class WeightedPath:
    """A path of tokens, and the probability of its first 1, 2, ... tokens."""

    pieces: Sequence[Piece]
    probabilities: Sequence[float]


def weights_of(paths: Sequence[WeightedPath]) -> dict[tuple[Piece, ...], float]:
    """Every beginning of the paths with its probability."""
    return {
        tuple(path.pieces[:n]): probability
        for path in paths
        for n, probability in enumerate(path.probabilities, start=1)
    }


def branches_of(paths: Sequence[WeightedPath], most: int = MOST_BRANCHES) -> list[Branch]:
    """The `most` heaviest beginnings of `paths` as a tree, heaviest first."""
    weights = weights_of(paths)
    # A beginning is at least as likely as what it goes on with, so parents come before their children.
    heaviest = sorted(weights, key=lambda pieces: (-weights[pieces], len(pieces)))
    found: dict[tuple[Piece, ...], Branch] = {(): Branch((), 1.0)}
    n_lines = 1
    for pieces in heaviest:
        if n_lines > most:
            break
        branch, above = Branch(pieces[-1:], weights[pieces]), found[pieces[:-1]]
        n_lines -= not _goes_on(above)
        above.branches.append(branch)
        found[pieces] = branch
        n_lines += 1 + (not _goes_on(above))
    return [_joined(branch) for branch in found[()].branches]


def compared(branches: Sequence[Branch], others: Sequence[Weights], above: tuple[Piece, ...] = ()) -> list[Branch]:
    """The same branches, each with its probability under `others`, where these list that beginning.

    >>> a, b = Piece(b"a"), Piece(b"b")
    >>> [branch] = compared([Branch((a,), 0.5, [Branch((b,), 0.25)])], [{(a,): 0.75}])
    >>> branch.beside, branch.branches[0].beside
    ((0.75,), (None,))
    """
    found = []
    for branch in branches:
        path = (*above, *branch.pieces)
        beside = tuple(weights.get(path) for weights in others)
        found.append(replace(branch, branches=compared(branch.branches, others, path), beside=beside))
    return found


def _goes_on(branch: Branch) -> bool:
    return len(branch.branches) == 1 and branch.branches[0].probability >= JOINED * branch.probability


def _joined(branch: Branch) -> Branch:
    """The branch with what goes on in its line."""
    pieces = branch.pieces
    while _goes_on(branch):
        branch = branch.branches[0]
        pieces += branch.pieces
    return Branch(pieces, branch.probability, [_joined(one) for one in branch.branches])


def words_of(pieces: Sequence[Piece], marks: Marks | None = None) -> str:
    r"""Tokens as text in one line: characters that several tokens make are whole, what is no text is marked.

    >>> words_of([Piece(b" caf"), Piece(b"\xc3"), Piece(b"\xa9"), Piece(b"\xe2\x96"), Piece(b"", "</s>")])
    ' café⟨E2 96⟩⟨/s⟩'
    """
    marks = marks or Marks(dots=False)
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].control is piece.control is None:
            joined[-1] = Piece(joined[-1].bytes + piece.bytes)
        else:
            joined.append(piece)
    return "".join(inline(piece, marks) for piece in joined)


class BranchTree:
    """The branches under a heading, a line each, cut where the terminal ends."""

    def __init__(self, heading: str, branches: Sequence[Branch]) -> None:
        self.heading = heading
        self.branches = branches

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = Marks(encoding=options.encoding, dots=False)
        tree = Tree(Text(self.heading, style="bold"))
        self._grow(tree, self.branches, marks)
        yield tree

    def _grow(self, tree: Tree, branches: Sequence[Branch], marks: Marks) -> None:
        for branch in branches:
            label = Text(f"{100 * branch.probability:.3g} % ", style="dim", no_wrap=True, overflow="ellipsis")
            label.append(words_of(branch.pieces, marks) or GOES_ON, style="not dim")
            self._grow(tree.add(label), branch.branches, marks)
