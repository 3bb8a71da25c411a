"""Many texts that share beginnings: each beginning is one node of a tree, and is read once. It knows no model library.

The tree is read in passes. A pass takes stretches of tokens that no other text leaves, each in a slot that holds what
precedes it; those deepest in the tree go first, so that few tokens are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.records import TokenStats

Float32 = npt.NDArray[np.float32]
_TOGETHER = 32  # rows that fill a pass: others beside them would be held, and looked at by every row, for longer
_DEEPEST = 32  # slots that suffice without others beside them: what waits has at most half of what its parent has below


def one_by_one(
    score: Callable[[tuple[int, ...]], TokenStats],
    texts: Sequence[tuple[int, ...]],
    on_progress: Callable[[float], None] | None = None,
) -> list[Float32]:
    """`Engine.score_each` by the engine's `score`, equal texts once: where no beginnings are shared."""
    found: dict[tuple[int, ...], Float32] = {}
    distinct = list(dict.fromkeys(texts))
    for number, ids in enumerate(distinct, start=1):
        found[ids] = score(ids)["surprisal_bits"]
        if on_progress is not None:
            on_progress(number / len(distinct))
    return [found[ids] for ids in texts]


class Tree:
    """The beginnings of `texts`: node 0 is the empty one, each other adds one token to its parent."""

    def __init__(self, texts: Sequence[tuple[int, ...]]) -> None:
        self.tokens, self.depths = [-1], [0]
        self.children: list[list[int]] = [[]]
        self.paths: list[list[int]] = []  # of each text its nodes, the first token's first
        known: dict[tuple[int, int], int] = {}
        for ids in texts:
            node, path = 0, []
            for token in ids:
                child = known.get((node, token))
                if child is None:
                    child = known[node, token] = self._added(node, token)
                path.append(node := child)
            self.paths.append(path)
        sizes = [1] * len(self.tokens)
        for node in range(len(self.tokens) - 1, -1, -1):  # a child has a larger number than its parent
            sizes[node] += sum(sizes[child] for child in self.children[node])
            self.children[node].sort(key=sizes.__getitem__)

    def _added(self, parent: int, token: int) -> int:
        node = len(self.tokens)
        self.tokens.append(token)
        self.depths.append(self.depths[parent] + 1)
        self.children[parent].append(node)
        self.children.append([])
        return node

    def read_below(self, node: int) -> list[int]:
        """The children that must be read themselves, as something follows them, the one with most below it last."""
        return [child for child in self.children[node] if self.children[child]]


class Stretch(NamedTuple):
    """Nodes one behind the other that are read in one pass, in a slot that takes over what precedes them."""

    nodes: Sequence[int]
    slot: int
    source: int | None  # the slot that holds what precedes; None for nothing
    start: int  # position of its first token: so many tokens precede it


class Pass(NamedTuple):
    """What is read together, and the slots that nobody needs afterwards."""

    stretches: list[Stretch]
    freed: list[int]


@dataclass(frozen=True)
class Plan:
    """All passes over a tree, in which never more than `n_slots` slots and `n_cells` tokens are held."""

    passes: list[Pass]
    n_slots: int
    n_cells: int


class _Waiting(NamedTuple):
    """Nodes that can be read next: behind the end of the stretch `parent`, None for the empty beginning."""

    first: int
    parent: int | None


class _Held:
    """A stretch that is held: its slot, its length, how many others have yet to begin behind it, and to end."""

    def __init__(self, slot: int, n: int, n_begin: int, parent: int | None) -> None:
        self.slot, self.n, self.parent = slot, n, parent
        self.n_begin = self.n_alive = n_begin


def plan(tree: Tree, *, most_rows: int, most_slots: int) -> Plan:
    """How `tree` is read, `most_rows` tokens a pass at most."""
    return _Planner(tree, most_rows, most_slots).plan()


class _Planner:
    def __init__(self, tree: Tree, most_rows: int, most_slots: int) -> None:
        self._tree, self._most_rows, self._most_slots = tree, most_rows, most_slots
        self._waiting = [_Waiting(node, None) for node in reversed(tree.read_below(0))]
        self._held: list[_Held] = []
        self._free = list(range(most_slots - 1, -1, -1))
        self._n_cells = self._most_cells = self._n_slots = 0

    def plan(self) -> Plan:
        passes = []
        while self._waiting:
            passes.append(self._next())
        return Plan(passes, self._n_slots, self._most_cells)

    def _next(self) -> Pass:
        """The next pass: the last that wait, as long as few rows are together; a slot must be left for each."""
        stretches: list[Stretch] = []
        first, n_rows = len(self._held), 0
        while self._waiting and n_rows < min(_TOGETHER, self._most_rows):
            nodes = self._nodes_from(self._waiting[-1].first)
            if n_rows and (n_rows + len(nodes) > self._most_rows or len(self._free) <= _DEEPEST):
                break
            stretches.append(self._begun(self._waiting.pop(), nodes))
            n_rows += len(nodes)
        begun = range(first, len(self._held))
        self._n_cells += n_rows
        self._most_cells = max(self._most_cells, self._n_cells)
        self._n_slots = max(self._n_slots, self._most_slots - len(self._free))
        for number, stretch in reversed(list(zip(begun, stretches, strict=True))):
            below = self._tree.read_below(stretch.nodes[-1])
            self._waiting += [_Waiting(node, number) for node in reversed(below)]
        return Pass(stretches, self._freed(begun))

    def _nodes_from(self, node: int) -> list[int]:
        nodes = [node]
        while len(nodes) < self._most_rows and len(below := self._tree.read_below(nodes[-1])) == 1:
            nodes += below
        return nodes

    def _begun(self, waiting: _Waiting, nodes: Sequence[int]) -> Stretch:
        parent = None if waiting.parent is None else self._held[waiting.parent]
        slot = self._free.pop()
        self._held.append(_Held(slot, len(nodes), len(self._tree.read_below(nodes[-1])), waiting.parent))
        if parent is not None:
            parent.n_begin -= 1
        return Stretch(nodes, slot, None if parent is None else parent.slot, self._tree.depths[nodes[0]] - 1)

    def _freed(self, begun: Sequence[int]) -> list[int]:
        """The slots behind which nothing begins any more; cells go once nothing that began behind them is left."""
        touched = dict.fromkeys(one for number in begun for one in (number, self._held[number].parent))
        freed = [self._held[one].slot for one in touched if one is not None and self._held[one].n_begin == 0]
        self._free += freed
        for number in begun:
            self._let_go(number)
        return freed

    def _let_go(self, number: int | None) -> None:
        while number is not None and self._held[number].n_alive == 0:
            self._n_cells -= self._held[number].n
            number = self._held[number].parent
            if number is not None:
                self._held[number].n_alive -= 1
