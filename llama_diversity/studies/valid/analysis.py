"""Exact validity and diversity on a known set of answers: no sampling, no embedding, no judge.

An output says an answer where it begins with it, behind one blank or none, and the word ends there: p(y) is the
probability of all such outputs, however the answer is spelled in tokens. Where two answers fit, the longer one is said.
Validity V is the sum of p over the set; diversity is exp(H) / n, with H the entropy of p given that the answer is
valid, so exp(H) is the effective number of answers. What is lost against saying all n alike is split in `order.py`.

It knows log-probabilities and tokens: no engine, no store.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.studies.valid.order import Run, Step, at_end, best, runs
from llama_diversity.studies.valid.vocabulary import Next, Texts, TokenPath, Vocabulary

Float64 = npt.NDArray[np.float64]
NextTokens = Callable[[Sequence[TokenPath]], Float64]  # paths -> log p of every next token, (paths, n_vocab)
Drawn = Callable[[Float64, bool], Float64]  # the same as a sampler draws; whether it is the first token
LEAST = 1e-4
BATCH = 32  # paths that are asked for together
N_INVALID = 10  # invalid beginnings that are kept


class Answers(NamedTuple):
    """The answers of a set in order, each in all the forms that count as it, without the blank before it."""

    forms: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> list[str]:
        """The first form of each."""
        return [forms[0] for forms in self.forms]


@dataclass(frozen=True)
class Plan:
    """What is looked for in one vocabulary: texts, whose answer each is, and how each may be spelled as usual.

    `usual` are spellings that are followed however unlikely they are, of each answer in the order of preference.
    """

    vocabulary: Vocabulary
    texts: Texts
    answer_of: tuple[int, ...]
    usual: tuple[tuple[TokenPath, ...], ...]  # none of an answer that the vocabulary has no tokens for

    @property
    def n(self) -> int:
        """Answers."""
        return len(self.usual)

    @property
    def longest(self) -> int:
        """Tokens of the longest usual spelling."""
        return max((len(path) for paths in self.usual for path in paths), default=0)


def plan(answers: Answers, vocabulary: Vocabulary, tokenize: Callable[[str], TokenPath]) -> Plan:
    """What to look for; `tokenize` is the model's own, of a text by itself, and raises BadValue where it cannot."""
    texts: list[str] = []
    answer_of: list[int] = []
    spellings = []
    for number, forms in enumerate(answers.forms):
        mine = [text for form in forms for text in (f" {form}", form)]
        texts += mine
        answer_of += [number] * len(mine)
        spellings.append(tuple(path for text in mine if (path := _usual(text, vocabulary, tokenize))))
    return Plan(vocabulary, Texts([text.encode() for text in texts], vocabulary), tuple(answer_of), tuple(spellings))


def _usual(text: str, vocabulary: Vocabulary, tokenize: Callable[[str], TokenPath]) -> TokenPath | None:
    """As the tokeniser spells it, some of which put a blank before a text; else in as few tokens as there can be."""
    for typed in (text, text.removeprefix(" ")):
        with contextlib.suppress(BadValue):  # no token for a letter
            ids = tokenize(typed)
            if b"".join(vocabulary.pieces[token].bytes for token in ids) == text.encode():
                return ids
    return vocabulary.spelled(text.encode())


class Beginning(NamedTuple):
    """The shortest beginning of an output that can no longer become a valid one, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Said:
    """What one prompt gives: p of each answer, what leaves the set, and what its order of tokens would allow."""

    p: tuple[float, ...]
    left_out: float  # spellings that were too unlikely to be followed hold at most so much
    invalid: tuple[Beginning, ...]  # the likeliest
    n_paths: int  # distributions that were asked for
    allowed: tuple[float, ...]  # p of each answer under the best weights that keep the order of tokens

    @property
    def validity(self) -> float:
        return validity(self.p)

    @property
    def entropy_bits(self) -> float:
        return entropy_bits(self.p)

    @property
    def effective(self) -> float:
        return 2**self.entropy_bits

    @property
    def diversity(self) -> float:
        return self.effective / len(self.p)

    @property
    def order_loss(self) -> float:
        return max(0.0, 1 - max(overlap(self.allowed), overlap(self.p)))

    @property
    def shape_loss(self) -> float:
        return max(0.0, overlap(self.allowed) - overlap(self.p))


def validity(p: Sequence[float]) -> float:
    """The sum of p over the set; range [0, 1]."""
    return math.fsum(p)


def entropy_bits(p: Sequence[float]) -> float:
    """Entropy of p given a valid answer, bits; nan where none is ever said.

    >>> entropy_bits([0.2, 0.2, 0.0]), entropy_bits([0.0])
    (1.0, nan)
    """
    total = validity(p)
    if total == 0:
        return math.nan
    return abs(-math.fsum(one / total * math.log2(one / total) for one in p if one > 0))


def overlap(p: Sequence[float]) -> float:
    """With saying all answers alike and nothing else: (sum of sqrt(p / n))^2; range [0, 1], and 1 for that alone.

    It is validity times the diversity of order 1/2 that the answers have given a valid one.

    >>> round(overlap([0.5, 0.5]), 9), round(overlap([0.4, 0.4]), 9), round(overlap([0.9, 0.0, 0.0]), 9)
    (1.0, 0.8, 0.3)
    """
    return math.fsum(math.sqrt(one / len(p)) for one in p) ** 2


# ---- the walk


@dataclass
class _Node:
    """A beginning of a usual spelling: the tokens that go on, the answer that it is, and what its order allows.

    `ordered` waits for what the tokens behind it allow; where none go on `step` is known at once.
    """

    children: dict[int, None] = field(default_factory=dict)
    answer: int | None = None
    ordered: Sequence[Run] = ()
    step: Step | None = None


class _Waiting(NamedTuple):
    """A beginning that is still to be followed, as tokens and as it reads, and its probability."""

    path: TokenPath
    text: bytes
    p: float


class _Walk:
    """What the beginnings that were followed have given so far."""

    def __init__(self, plan: Plan, root: Float64, *, least: float, longest: int) -> None:
        self.plan, self.least, self.longest = plan, least, longest
        self.trie: dict[TokenPath, _Node] = {(): _Node()}
        for answer, paths in enumerate(plan.usual):
            if paths:
                self._place(max(paths, key=lambda path: float(root[path[0]])), answer)
        self.said = np.zeros(len(plan.texts.texts))  # of each text, with whatever longer one it begins
        self.left_out = 0.0
        self.invalid: dict[str, float] = {}

    def _place(self, path: TokenPath, answer: int) -> None:
        """The usual spelling of an answer: of those there are the one that begins likeliest."""
        for n, token in enumerate(path):
            self.trie[path[:n]].children[token] = None
            self.trie.setdefault(path[: n + 1], _Node())
        self.trie[path].answer = answer

    def follow(self, one: _Waiting, raw: Float64, drawn: Float64) -> Iterator[_Waiting]:
        """What may stand behind a beginning: texts that end there, longer beginnings, and what is none of the texts.

        `raw` and `drawn`: log p of the next token in the model and as the sampler draws.
        """
        after = self.plan.texts.after(one.text)
        p = one.p * np.exp(drawn)
        if after.complete is not None:
            self.said[after.complete] += p[self.plan.vocabulary.stops].sum()
        for token, numbers in after.finishes.items():
            self.said[list(numbers)] += p[token]
        node = self.trie.get(one.path)
        if node is not None:
            self._rank(node, raw, after)
        for token, longer in after.goes_on.items():
            is_usual = node is not None and token in node.children
            if is_usual or (p[token] >= self.least and len(one.path) < self.longest):
                yield _Waiting((*one.path, token), longer, float(p[token]))
            else:
                self.left_out += float(p[token])
        if not self.plan.texts.has_said(one.text):
            self._note_invalid(one.text, p, after)

    def _rank(self, node: _Node, raw: Float64, after: Next) -> None:
        """The order of a step, as far as it matters; answers in other spellings than the usual one do not."""
        stops = None if node.answer is None else self.plan.vocabulary.stops
        neutral = [token for token in (*after.goes_on, *after.finishes) if token not in node.children]
        if stops is not None and not node.children:
            node.step = at_end(raw, stops, neutral)
        else:
            node.ordered = runs(raw, list(node.children), stops, neutral)

    def _note_invalid(self, text: bytes, p: Float64, after: Next) -> None:
        p[[*after.goes_on, *after.finishes]] = 0
        if after.complete is not None:
            p[self.plan.vocabulary.stops] = 0
        for token in np.argpartition(p, -min(N_INVALID, len(p)))[-N_INVALID:].tolist():
            piece = self.plan.vocabulary.pieces[token]
            if p[token] > 0:
                read = (text + piece.bytes).decode("utf-8", "replace") + (piece.control or "")
                self.invalid[read] = self.invalid.get(read, 0.0) + float(p[token])

    def p(self) -> list[float]:
        """Of each answer: what says a longer text too does not say the shorter one."""
        own = self.said.copy()
        for number, shorter in enumerate(self.plan.texts.within):
            if shorter is not None:
                own[shorter] -= self.said[number]
        found = np.zeros(self.plan.n)
        np.add.at(found, list(self.plan.answer_of), np.maximum(own, 0.0))
        return found.tolist()

    def allowed(self) -> list[float]:
        """p of each answer under the best weights in order, from the answers up and from the prompt down."""
        for path in sorted(self.trie, key=len, reverse=True):
            node = self.trie[path]
            below = {token: self._step((*path, token)).value for token in node.children}
            node.step = node.step or best(node.ordered, below)
        found = [0.0] * self.plan.n
        reach: dict[TokenPath, float] = {(): 1.0}
        for path in sorted(self.trie, key=len):
            node, step = self.trie[path], self._step(path)
            for token in node.children:
                reach[(*path, token)] = reach[path] * step.weights.get(token, 0.0)
            if node.answer is not None:
                found[node.answer] = reach[path] * step.stop
        return found

    def _step(self, path: TokenPath) -> Step:
        step = self.trie[path].step
        assert step is not None
        return step


def walk(
    after: NextTokens,
    plan: Plan,
    *,
    drawn: Drawn | None = None,
    least: float = LEAST,
    longest: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Said:
    """Follow all spellings of the answers: the usual ones to their ends, others while they are likelier than `least`.

    `after` gives the model's own log p, `drawn` makes of it what a sampler draws from (None: that itself). A path has
    at most `longest` tokens, which no usual spelling may exceed. `on_progress` hears how many paths were asked for,
    and how many there are so far.
    """
    drawn = drawn or (lambda rows, is_first: rows)
    root = after([()])
    found = _Walk(plan, root[0], least=least, longest=longest)
    waiting = list(found.follow(_Waiting((), b"", 1.0), root[0], drawn(root, True)[0]))
    n_paths = 1
    while waiting:
        some, waiting = waiting[-BATCH:], waiting[:-BATCH]  # the deepest first, whose beginnings are still at hand
        raw = after([one.path for one in some])
        for one, row, heated in zip(some, raw, drawn(raw, False), strict=True):
            waiting += found.follow(one, row, heated)
        n_paths += len(some)
        if on_progress is not None:
            on_progress(n_paths, n_paths + len(waiting))
    invalid = sorted(found.invalid.items(), key=lambda one: -one[1])[:N_INVALID]
    return Said(
        tuple(found.p()),
        found.left_out,
        tuple(Beginning(*one) for one in invalid),
        n_paths,
        tuple(found.allowed()),
    )


def oracle(plan: Plan) -> Said:
    """What the walk makes of an oracle that keeps exactly the answers, and says them all alike: (1, 1), no loss.

    At each beginning a token is as likely as it has answers behind it, in their first spelling. Answers that the
    vocabulary cannot spell are said by nobody, so that diversity stays below 1 by their share.
    """
    plan = replace(plan, usual=tuple(paths[:1] for paths in plan.usual))
    spelled = [path for paths in plan.usual for path in paths]
    below: dict[TokenPath, Counter[int]] = {}
    used = {token for path in spelled for token in path}
    end = next(int(token) for token in np.flatnonzero(plan.vocabulary.stops) if token not in used)
    for path in spelled:
        for n, token in enumerate((*path, end)):
            below.setdefault(path[:n], Counter())[token] += 1

    def after(paths: Sequence[TokenPath]) -> Float64:
        rows = np.full((len(paths), len(plan.vocabulary.pieces)), -np.inf)
        for row, path in zip(rows, paths, strict=True):
            tokens, counts = zip(*below[path].items(), strict=True)
            row[list(tokens)] = np.log(counts) - math.log(sum(counts))
        return rows

    return walk(after, plan, least=0.5 / plan.n, longest=plan.longest)
