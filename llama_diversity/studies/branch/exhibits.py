"""Ways that leave a text as exhibits: their masses, what followed, the tree, and where each began to lead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Proportion
from llama_diversity.records import Piece
from llama_diversity.render.branches import GOES_ON, Branch, BranchTree, Grown, words_of
from llama_diversity.render.exhibits import (
    Branching,
    Exhibit,
    Figure,
    Remark,
    Section,
    Share,
    ShareBetween,
    Table,
    Tokens,
    Value,
    percent,
)
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.branch.analysis import Gone

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_MOST_FIRSTS = 8  # tokens of each way in the terminal's table
MOST_TEXTS = 32  # continuations of a way on a page
_QUOTED = 60  # characters of a text in a sentence


@dataclass(frozen=True)
class Facts:
    """What was asked of which model: the prompt, what each way is called, and the samples' pieces.

    `examples`: the tokens of the first sample of each way that has one; `texts`: its first MOST_TEXTS samples.
    `is_neutral`: samples are from the raw model.
    """

    prompt: str
    model: str
    labels: Mapping[int, str]
    pieces: Mapping[int, Piece]
    examples: Mapping[int, Sequence[ScoredToken]]
    n: int
    max_tokens: int
    tokenizer: str
    is_neutral: bool
    texts: Mapping[int, Sequence[str]]

    def before(self, gone: Gone) -> str:
        """What a way leaves, in one line: the end of the prompt and of the text."""
        return _end(f"{self.prompt}{words_of([one.piece for one in gone.way.stem])}")

    def taken(self, gone: Gone) -> str:
        """What it takes, in one line."""
        return words_of([one.piece for one in gone.way.taken])


def section(found: Sequence[Gone], facts: Facts, command: str) -> Section:
    """The whole result for a reader."""
    about = (
        f"{counted(len(found), 'way')} behind “{_end(facts.prompt)}” under {facts.model}, {facts.n} continuations of "
        f"each, at most {counted(facts.max_tokens, 'token')}. Masses are exact, of the raw model at temperature 1; "
        "shares are of the samples, with Wilson's 95 % intervals."
    )
    return Section("branch", "Where other ways lead", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Sequence[Gone], facts: Facts) -> Iterator[Exhibit]:
    yield Remark(headline(found, facts))
    if not facts.is_neutral:
        yield Remark(
            "The samples were not drawn from the raw model: their shares follow the sampler, the masses do not.",
            is_warning=True,
        )
    yield _ways(found, facts)
    yield _below(found, facts)
    yield _firsts(found, facts, in_terminal=True)
    yield _shares(found, facts)
    yield _branching(found, facts)
    if facts.examples:
        yield Tokens(
            "branch-tokens",
            "The first continuation of each way",
            GenerationsHeatmap(
                [(_heading(found[number], facts, number), tokens) for number, tokens in facts.examples.items()],
                tokenizer=facts.tokenizer,
                title="The first continuation of each way, coloured by surprisal",
            ),
        )
    yield _firsts(found, facts, in_terminal=False)


def headline(found: Sequence[Gone], facts: Facts) -> str:
    """What the heaviest way that takes something holds, in a sentence."""
    taking = [one for one in found if one.way.taken]
    if not taking:
        return f"No other way was taken: {counted(sum(one.n for one in found), 'continuation')} as the model goes on."
    most = max(taking, key=lambda one: one.taken)
    sentence = f"“{facts.taken(most)}” holds {_percent(most.taken)} of what may follow “{facts.before(most)}”"
    if most.share is None or most.share.value is None:
        return f"{sentence}."
    return f"{sentence}; {most.share.k} of {most.share.n} continuations began so."


def _ways(found: Sequence[Gone], facts: Facts) -> Table:
    several = len({one.way.stem for one in found}) > 1
    rows: list[tuple[Value, ...]] = [
        (
            facts.labels[number],
            *([facts.before(one)] if several else []),
            facts.taken(one) or GOES_ON,
            Share(one.taken),
            *([Share(one.mass)] if several else []),
            one.n,
            one.entropy_bits,
            one.mean_bits,
        )
        for number, one in enumerate(found)
    ]
    leaves, mass = (("leaves",), ("mass",)) if several else ((), ())
    return Table(
        "branch-ways",
        "The ways and what they hold",
        ("way", *leaves, "takes", "p", *mass, "n", "entropy", "bits/token"),
        tuple(rows),
        "p: exact probability of what the way takes, given the text before. "
        + ("Mass: of all of it, from the prompt on. " if several else "")
        + "Entropy: of what may follow the way, in bits. Bits/token: mean surprisal of its n continuations.",
    )


def _below(found: Sequence[Gone], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            facts.labels[number],
            facts.labels[one.above],
            None if one.expected is None else Share(one.expected),
            *_share(one.share),
            one.share.k,
            one.share.n,
        )
        for number, one in enumerate(found)
        if one.above is not None and one.share is not None
    ]
    return Table(
        "branch-below",
        "Ways that go on from others: exact, and sampled",
        ("way", "goes on from", "exact", "sampled", "95 % interval", "k", "n"),
        tuple(rows),
        "Exact: the probability that the other way goes on so. Sampled: k of its n continuations did.",
    )


def _firsts(found: Sequence[Gone], facts: Facts, *, in_terminal: bool) -> Table:
    """What came first; in the terminal the commonest of each way."""
    rows: list[tuple[Value, ...]] = [
        (
            facts.labels[number],
            words_of([facts.pieces[first.id]]),
            Share(first.probability),
            *([] if facts.is_neutral else [Share(first.drawn_with)]),
            *_share(first.share),
            first.share.k,
            first.share.n,
        )
        for number, one in enumerate(found)
        for first in (one.firsts[:_MOST_FIRSTS] if in_terminal else one.firsts)
    ]
    drawn = () if facts.is_neutral else ("drawn with",)
    return Table(
        "branch-firsts" if in_terminal else "branch-all-firsts",
        "What came first" if in_terminal else "All that came first",
        ("way", "token", "p", *drawn, "share", "95 % interval", "k", "n"),
        tuple(rows),
        f"The {_MOST_FIRSTS} commonest of each way. p: exact, of the raw model." if in_terminal else "",
        in_terminal=in_terminal,
    )


def _shares(found: Sequence[Gone], facts: Facts) -> Figure:
    """Exact probabilities and shares side by side, of ways below others and of first tokens."""
    points = [
        (f"{facts.labels[number]}: {words_of([facts.pieces[first.id]])} ({first.id})", first.drawn_with, first.share)
        for number, one in enumerate(found)
        for first in one.firsts[:_MOST_FIRSTS]
    ]

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.shares import Point, shares_panel

        shown = [
            Point(name, p, share.value, share.low, share.high)
            for name, p, share in points
            if share.value is not None and share.low is not None and share.high is not None
        ]
        return {"": shares_panel(shown)} if shown else {}

    return Figure(
        "branch-shares",
        "What came first, beside its exact probability",
        draw,
        "Bar: the exact probability that it was drawn with. Point: its share of the samples, with its 95 % interval.",
        terminal=_tree(found, facts),
    )


def _tree(found: Sequence[Gone], facts: Facts) -> RenderableType:
    """The ways below the prompt, each below the one that it goes on from."""
    return Group(
        Text("The ways, with their mass", style="bold"),
        BranchTree(visible(f"{facts.model}: {_end(facts.prompt)}"), _grown(found, facts)),
    )


def _branching(found: Sequence[Gone], facts: Facts) -> Branching:
    """The same for a page, where a way shows what followed it."""
    grown = Grown(facts.model, f"{facts.model}: {_end(facts.prompt)}", _grown(found, facts))
    note = f"Exact probabilities. A way that is chosen shows what followed it, {MOST_TEXTS} continuations at most."
    return Branching("branch-tree", "The ways, with their mass", (grown,), note)


def _grown(found: Sequence[Gone], facts: Facts) -> list[Branch]:
    below: dict[int | None, list[int]] = {}
    for number, one in enumerate(found):
        below.setdefault(one.above, []).append(number)

    def grown(number: int) -> Branch:
        one = found[number]
        tokens = one.way.tokens
        n_above = 0 if one.above is None else len(found[one.above].way.tokens)
        pieces = tuple(token.piece for token in tokens[n_above:])
        branches = [grown(at) for at in below.get(number, [])]
        return Branch(pieces, one.mass, branches, told=_told(number, one, facts), texts=tuple(facts.texts[number]))

    return [grown(at) for at in below.get(None, [])]


def _told(number: int, gone: Gone, facts: Facts) -> str:
    """A way in a sentence: what it is called, and how often the one above went on so."""
    share, expected = gone.share, gone.expected
    if gone.above is None or share is None or expected is None or share.low is None or share.high is None:
        return f"{facts.labels[number]}: {counted(gone.n, 'continuation')}."
    return (
        f"{facts.labels[number]}: {share.k} of {share.n} continuations of {facts.labels[gone.above]} began so (95 %: "
        f"{_percent(share.low)} to {_percent(share.high)}; exact {_percent(expected)}); "
        f"{counted(gone.n, 'continuation')} of its own."
    )


def _heading(gone: Gone, facts: Facts, number: int) -> str:
    return f"{facts.labels[number]}: …{facts.before(gone)[-24:]}{facts.taken(gone)} →"


def _share(found: Proportion | None) -> tuple[Value, Value]:
    if found is None or found.value is None or found.low is None or found.high is None:
        return None, None
    return Share(found.value), ShareBetween(found.low, found.high)


def _percent(p: float) -> str:
    return f"{percent(p, 3)} %" if p == 0 or p >= 1e-4 else f"2^{math.log2(p):.1f}"


def _end(text: str) -> str:
    """The end of a text, where it is long.

    >>> len(_end("a" * 100))
    60
    """
    return text if len(text) <= _QUOTED else f"…{text[1 - _QUOTED :]}"
