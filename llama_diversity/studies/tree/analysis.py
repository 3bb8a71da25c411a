"""The heaviest openings of a prompt: best-first search over exact next-token distributions, with bounds on the rest.

An opening is a path of `depth` tokens, or a shorter one whose last token ends the sequence. The openings of a prompt
exclude each other and hold all probability between them. A path is at least as likely as anything it goes on with; so
once every path that was not followed up is lighter than the k-th heaviest opening found, those k are the heaviest
there are. It knows log-probabilities and token ids: no engine, no text.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
TokenPath = tuple[int, ...]
NextTokens = Callable[[Sequence[TokenPath]], Float64]  # paths -> log p of every next token, (paths, n_vocab)
PROMPT = "Grace Hopper was"
DEPTH = 12
K = 100
BUDGET = 2000
MOST_OPENINGS = 10_000
BATCH = 32  # paths followed up at once
DIVE_SHARE = 4  # a quarter of the budget goes to whole openings where the search would find none in time
N_KEPT = 1024  # children of a path that are listed at once; the tail is one item until its turn comes


class Opening(NamedTuple):
    """An opening, and the natural log of the probability of its first 1, 2, ... tokens."""

    ids: TokenPath
    log_probabilities: tuple[float, ...]

    @property
    def probability(self) -> float:
        """Of the whole opening."""
        return math.exp(self.log_probabilities[-1])


@dataclass(frozen=True)
class Tree:
    """The heaviest openings that were found, heaviest first: k of them, or all there are.

    `low` and `high` bound what the 1, 2, ..., k heaviest of all hold together; they are equal where `is_complete`.
    """

    openings: tuple[Opening, ...]
    n_certain: int  # so many of them are the heaviest of all, in order
    is_complete: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    largest_left: float  # no opening that is not listed is likelier
    n_expanded: int  # distributions that were asked for

    @property
    def mass(self) -> tuple[float, float]:
        """What the k heaviest hold: at least, at most."""
        return (self.low[-1] if self.low else 0.0), (self.high[-1] if self.high else 0.0)

    @property
    def mass_left(self) -> float:
        """What the openings that are not listed hold together."""
        return max(0.0, 1.0 - self.mass[0])


def grow(
    after: NextTokens,
    *,
    depth: int,
    k: int,
    budget: int,
    ends: frozenset[int],
    batch: int = BATCH,
    on_progress: Callable[[int], None] | None = None,
) -> Tree:
    """The k heaviest openings; `on_progress` hears how many paths were followed up, `budget` at most.

    Where three quarters of the budget do not suffice for certainty, the last one goes to the heaviest paths of each
    length in turn, so that there are whole openings to show and a lower bound that is worth something.

    Two tosses of a coin are four openings of 1/4 each:

    >>> tree = grow(lambda paths: np.log(np.full((len(paths), 2), 0.5)), depth=2, k=3, budget=9, ends=frozenset())
    >>> [opening.ids for opening in tree.openings], [round(mass, 9) for mass in tree.mass], tree.is_complete
    ([(0, 0), (0, 1), (1, 0)], [0.75, 0.75], True)
    """
    if min(depth, k, budget, batch) < 1:
        raise ValueError("depth, k, budget and batch are at least 1")
    search = _Search(after, depth, k, ends, on_progress or (lambda n_expanded: None))
    search.follow_up([_Request((), ())])
    _best_first(search, budget=budget - budget // DIVE_SHARE, batch=batch)
    if not search.is_complete:
        _dive(search, budget=budget, batch=batch)
        _best_first(search, budget=budget, batch=batch)
    return search.tree()


def _best_first(search: _Search, *, budget: int, batch: int) -> None:
    """Follow up the heaviest paths, whatever their length, until nothing more can matter or the budget is spent."""
    while requests := search.heaviest(min(batch, budget - search.n_expanded)):
        search.follow_up(requests)


def _dive(search: _Search, *, budget: int, batch: int) -> None:
    """A beam over the paths of each length, short ones first: what it leaves of its share goes to longer ones."""
    for length in range(1, search.depth):
        width = (budget - search.n_expanded) // (search.depth - length)
        requests = search.beam(length, width)
        for start in range(0, len(requests), batch):
            search.follow_up(requests[start : start + batch])


# ---- the search


class _Request(NamedTuple):
    """A path to be followed up, without the children that are listed already."""

    ids: TokenPath
    log_probabilities: tuple[float, ...]
    listed: tuple[Int64, ...] = ()


@dataclass
class _Node:
    """A path that was followed up: its likeliest children that can go on, heaviest first, and the tail of the rest."""

    request: _Request
    tokens: Int64
    logs: Float64  # of the probability of the path with each of `tokens`
    tail_log: float  # of the heaviest child that is not listed; -inf for none
    tail_mass: float
    is_open: Mask = field(init=False)  # not followed up

    def __post_init__(self) -> None:
        self.is_open = np.ones(len(self.tokens), np.bool_)

    def child(self, at: int) -> _Request:
        """Child number `at`, which counts as followed up from now on."""
        self.is_open[at] = False
        return _Request(
            (*self.request.ids, int(self.tokens[at])), (*self.request.log_probabilities, float(self.logs[at]))
        )

    def tail(self) -> _Request:
        """The path again, for the children behind those listed."""
        self.tail_log, self.tail_mass = -math.inf, 0.0
        return self.request._replace(listed=(*self.request.listed, self.tokens))


class _Search:
    """What was found: nodes, a heap of what to follow up next, and the k heaviest openings."""

    def __init__(
        self, after: NextTokens, depth: int, k: int, ends: frozenset[int], on_progress: Callable[[int], None]
    ) -> None:
        self.depth = depth
        self.n_expanded = 0
        self._after = after
        self._k = k
        self._ends = np.array(sorted(ends), np.int64)
        self._on_progress = on_progress
        self._nodes: list[_Node] = []
        # Of each node its heaviest child that has not had its turn: (-log p, ids of the child, node, place).
        self._heap: list[tuple[float, TokenPath, int, int]] = []
        # The lightest first, of equals the one with the larger ids: (log p, negated ids, opening).
        self._openings: list[tuple[float, TokenPath, Opening]] = []
        self._heaviest_dropped = -math.inf

    # ---- following up

    def follow_up(self, requests: Sequence[_Request]) -> None:
        """Ask for the distributions after all of `requests` and list what they lead to."""
        rows = self._after([request.ids for request in requests])
        for request, row in zip(requests, rows, strict=True):
            before = request.log_probabilities[-1] if request.log_probabilities else 0.0
            logs = row + before
            if len(request.ids) == self.depth - 1:
                self._keep_openings(request, logs, np.arange(len(logs)))
                continue
            if not request.listed:
                self._keep_openings(request, logs, self._ends)
            self._list_children(request, logs)
        self.n_expanded += len(requests)
        self._on_progress(self.n_expanded)

    def _keep_openings(self, request: _Request, logs: Float64, tokens: Int64) -> None:
        """Of the openings that end with one of `tokens` those among the k heaviest so far."""
        for at in _heaviest(logs[tokens], self._k + 1):
            token, log = int(tokens[at]), float(logs[tokens[at]])
            if log == -math.inf:
                return
            ids = (*request.ids, token)
            entry = (log, tuple(-one for one in ids), Opening(ids, (*request.log_probabilities, log)))
            if len(self._openings) < self._k:
                heapq.heappush(self._openings, entry)
                continue
            dropped = heapq.heappushpop(self._openings, entry)
            self._heaviest_dropped = max(self._heaviest_dropped, dropped[0])
            if dropped is entry:
                return  # those behind it are no heavier

    def _list_children(self, request: _Request, logs: Float64) -> None:
        """A node of the children that can go on, its heaviest in the heap."""
        logs = logs.copy()
        for gone in (self._ends, *request.listed):
            logs[gone] = -np.inf
        tokens = _heaviest(logs, N_KEPT)
        tokens = tokens[logs[tokens] > -np.inf]
        kept = logs[tokens]
        logs[tokens] = -np.inf
        tail_log = float(logs.max(initial=-np.inf))
        tail_mass = float(np.exp(logs).sum()) if tail_log > -np.inf else 0.0
        self._nodes.append(_Node(request, tokens, kept, tail_log, tail_mass))
        self._offer(len(self._nodes) - 1, 0)

    def _offer(self, number: int, at: int) -> None:
        """Put child `at` of a node into the heap, or its tail where `at` is behind the last one listed."""
        node = self._nodes[number]
        if at < len(node.tokens):
            entry = (-float(node.logs[at]), (*node.request.ids, int(node.tokens[at])), number, at)
        elif node.tail_log > -math.inf:
            entry = (-node.tail_log, node.request.ids, number, at)
        else:
            return
        heapq.heappush(self._heap, entry)

    # ---- what comes next

    @property
    def _threshold(self) -> float:
        """Log p of the k-th heaviest opening; what is not heavier need not be followed up."""
        return self._openings[0][0] if len(self._openings) == self._k else -math.inf

    @property
    def is_complete(self) -> bool:
        """Whether nothing in the heap can change the k heaviest openings any more."""
        return not self._heap or -self._heap[0][0] <= self._threshold

    def heaviest(self, n: int) -> list[_Request]:
        """The n heaviest paths that may still matter, out of the heap."""
        requests: list[_Request] = []
        while len(requests) < n and not self.is_complete:
            _, _, number, at = heapq.heappop(self._heap)
            node = self._nodes[number]
            if at == len(node.tokens):
                requests.append(node.tail())
                continue
            self._offer(number, at + 1)
            if node.is_open[at]:
                requests.append(node.child(at))
        return requests

    def beam(self, length: int, width: int) -> list[_Request]:
        """Of the `width` heaviest paths of `length` tokens those that were not followed up yet."""
        if width < 1:
            return []
        places = [
            (-float(node.logs[at]), (*node.request.ids, int(node.tokens[at])), number, at)
            for number, node in enumerate(self._nodes)
            if len(node.request.ids) == length - 1
            for at in range(min(width, len(node.tokens)))
        ]
        in_beam = [(self._nodes[number], at) for _, _, number, at in heapq.nsmallest(width, places)]
        return [node.child(at) for node, at in in_beam if node.is_open[at] and node.logs[at] > self._threshold]

    # ---- the result

    def tree(self) -> Tree:
        """What is known now."""
        openings = tuple(opening for _, _, opening in sorted(self._openings, reverse=True))
        masses = np.exp([opening.log_probabilities[-1] for opening in openings])
        open_logs = np.concatenate([node.logs[node.is_open] for node in self._nodes] + [[-np.inf]])
        heaviest_open = max(float(open_logs.max()), *(node.tail_log for node in self._nodes), -np.inf)
        is_complete = not self._nodes or heaviest_open <= self._threshold
        low = np.minimum(np.cumsum(masses), 1.0)
        high = low
        if not is_complete:
            items = np.concatenate([masses, np.exp(open_logs), *map(self._tail_items, self._nodes)])
            high = np.minimum(np.cumsum(-np.sort(-items)[: self._k]), 1.0)
        n_certain = sum(opening.log_probabilities[-1] >= heaviest_open for opening in openings)
        largest_left = math.exp(max(self._heaviest_dropped, heaviest_open))
        return Tree(
            openings=openings,
            n_certain=n_certain,
            is_complete=is_complete,
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            largest_left=largest_left,
            n_expanded=self.n_expanded,
        )

    def _tail_items(self, node: _Node) -> Float64:
        """The heaviest set of openings that a tail could hold, as far as its mass and its heaviest child tell."""
        if node.tail_log == -math.inf:
            return np.empty(0)
        heaviest = math.exp(node.tail_log)
        n = int(min(self._k, node.tail_mass // heaviest)) if heaviest else 0
        return np.array([heaviest] * n + [min(heaviest, max(0.0, node.tail_mass - n * heaviest))])


class Ranks(NamedTuple):
    """Where an opening may stand among the heaviest: from `first` to `last`, None for behind all that are listed."""

    first: int
    last: int | None


def possible_ranks(tree: Tree, closest_bits: Callable[[int], float], *, depth: int) -> list[Ranks]:
    """The ranks that each opening may have where close ones cannot be told apart; O(k^2 depth).

    `closest_bits`: below which difference of log2 p two openings are not told apart that differ in so many tokens,
    those of both counted; what they begin with alike was read once, so its error is the same.

    Probabilities 8, 7 and 1 in 16, each of one token, and a bound of 1 bit: the first two may be the other way round.

    >>> logs = [(np.log(p),) for p in (8 / 16, 7 / 16, 1 / 16)]
    >>> three = tuple(Opening((token,), log) for token, log in enumerate(logs))
    >>> tree = Tree(three, 3, True, (1.0,), (1.0,), 0.0, 1)
    >>> [tuple(ranks) for ranks in possible_ranks(tree, lambda n: 1.0, depth=1)]
    [(1, 2), (1, 2), (3, 3)]
    """
    n = len(tree.openings)
    bounds = np.array([closest_bits(apart) for apart in range(2 * depth + 1)])
    bits = np.array([one.log_probabilities[-1] for one in tree.openings]) / math.log(2)
    lengths = np.array([len(one.ids) for one in tree.openings], np.int64)
    ids = np.full((n, depth), -1, np.int64)
    for row, one in zip(ids, tree.openings, strict=True):
        row[: len(one.ids)] = one.ids
    left_bits = math.log2(tree.largest_left) if tree.largest_left > 0 else -math.inf
    found = []
    for at in range(n):
        alike = np.logical_and.accumulate(ids == ids[at], axis=1).sum(axis=1)
        common = np.minimum(alike, np.minimum(lengths, lengths[at]))
        is_close = np.abs(bits - bits[at]) < bounds[lengths + lengths[at] - 2 * common]
        first, last = at + 1 - int(is_close[:at].sum()), at + 1 + int(is_close[at + 1 :].sum())
        may_be_behind = left_bits > bits[at] - bounds[lengths[at] + depth]
        found.append(Ranks(first, None if may_be_behind else last))
    return found


def _heaviest(logs: Float64, n: int) -> Int64:
    """Places of the n largest, largest first; of equals the lower place first.

    >>> _heaviest(np.array([1.0, 3.0, 2.0, 3.0, 2.0]), 3).tolist()
    [1, 3, 2]
    """
    if n < len(logs):
        bound = np.partition(logs, len(logs) - n)[len(logs) - n]
        above, level = np.flatnonzero(logs > bound), np.flatnonzero(logs == bound)
        places = np.sort(np.concatenate([above, level[: n - len(above)]]))
    else:
        places = np.arange(len(logs))
    return np.asarray(places[np.argsort(-logs[places], kind="stable")])
