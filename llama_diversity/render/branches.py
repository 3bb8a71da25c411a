"""A tree of text for the terminal: where the heaviest openings of a prompt part, each branch with its probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from rich.tree import Tree

from llama_diversity.records import Piece
from llama_diversity.render.cells import Marks, inline

MOST_BRANCHES = 12
JOINED = 0.9  # a lone branch that holds so much of the one before goes on in its line


@dataclass
class Branch:
    """Tokens behind those of the branch before, and the probability of all of them together."""

    pieces: tuple[Piece, ...]
    probability: float
    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True)
class WeightedPath:
    """A path of tokens, and the probability of its first 1, 2, ... tokens."""

    pieces: Sequence[Piece]
    probabilities: Sequence[float]


def branches_of(paths: Sequence[WeightedPath], most: int = MOST_BRANCHES) -> list[Branch]:
    """The `most` heaviest beginnings of `paths` as a tree, heaviest first."""
    weights: dict[tuple[Piece, ...], float] = {}
    for path in paths:
        for n, probability in enumerate(path.probabilities, start=1):
            weights[tuple(path.pieces[:n])] = probability
    # A beginning is at least as likely as what it goes on with, so parents come before their children.
    heaviest = sorted(weights, key=lambda pieces: (-weights[pieces], len(pieces)))
    found: dict[tuple[Piece, ...], Branch] = {(): Branch((), 1.0)}
    for pieces in heaviest:
        n_lines = sum(len(branch.branches) != 1 or not _goes_on(branch) for branch in found.values())
        if n_lines > most:
            break
        branch = Branch(pieces[-1:], weights[pieces])
        found[pieces[:-1]].branches.append(branch)
        found[pieces] = branch
    return [_joined(branch) for branch in found[()].branches]


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
            label.append(words_of(branch.pieces, marks), style="not dim")
            self._grow(tree.add(label), branch.branches, marks)
