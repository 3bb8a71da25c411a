"""Trees of text on a page: lists that read without a script, and data for one that lets them open and close.

The list has the heaviest lines, as a terminal has them; the data all that a page has room for. The script (branches.js)
reads JSON and makes no markup of any text; every piece of it is made visible here. Nothing is fetched.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from llama_diversity.render.branches import GOES_ON, MOST_BRANCHES, Branch, Grown, words_of
from llama_diversity.render.exhibits import Branching
from llama_diversity.render.ramps import ARM_COLOURS, arm_place
from llama_diversity.render.safe import visible
from llama_diversity.render.token_data import as_percent


def branching_html(exhibit: Branching) -> str:
    """The trees of an exhibit, each under its heading, and their data."""
    note = f'<p class="note">{_text(exhibit.note)}</p>\n' if exhibit.note else ""
    trees = "".join(map(_still, exhibit.trees))
    data = json.dumps(branching_data(exhibit), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (
        f'<div class="exhibit branching" id="{escape(exhibit.name)}">\n<h3>{_text(exhibit.title)}</h3>\n'
        f'<div class="trees">{trees}</div>\n{note}'
        f'<script type="application/json">{data.replace("<", chr(92) + "u003c")}</script>\n</div>\n'
    )


def branching_data(exhibit: Branching) -> dict[str, Any]:
    """Of each tree its arm, the number of its colour, its heading and its branches.

    A branch is [text, percents, branches, told, texts], without empty ones at its end; percents are the tree's own, and
    behind it those of the other trees, null where a tree does not list it.
    """
    trees = [
        {
            "arm": visible(grown.arm),
            "colour": arm_place(grown.arm, at),
            "heading": visible(grown.heading),
            "branches": list(map(_branch, grown.branches)),
        }
        for at, grown in enumerate(exhibit.trees)
    ]
    return {"trees": trees}


def _branch(branch: Branch) -> list[Any]:
    percents = [as_percent(branch.probability)]
    percents += [None if one is None else as_percent(one) for one in branch.beside]
    texts = [visible(text) for text in branch.texts]
    written = [words_of(branch.pieces), percents, list(map(_branch, branch.branches)), visible(branch.told), texts]
    while not written[-1]:
        written.pop()
    return written


def _still(grown: Grown) -> str:
    """The heaviest lines as a list."""
    lines = _list(grown.branches, _least(grown.branches))
    return f'<div class="arm">\n<h4>{_text(grown.heading)}</h4>\n{lines}</div>\n'


def _least(branches: Sequence[Branch]) -> float:
    """The probability below which a branch has no line where there is no script."""
    weights: list[float] = []
    waiting = list(branches)
    while waiting:
        branch = waiting.pop()
        weights.append(branch.probability)
        waiting += branch.branches
    return sorted(weights, reverse=True)[:MOST_BRANCHES][-1] if weights else 0.0


def _list(branches: Sequence[Branch], least: float) -> str:
    lines = "".join(
        f'<li><span class="share">{as_percent(branch.probability)} %</span> '
        f'<span class="words">{escape(words_of(branch.pieces) or GOES_ON)}</span>{_list(branch.branches, least)}</li>\n'
        for branch in branches
        if branch.probability >= least
    )
    return f"<ul>\n{lines}</ul>\n" if lines else ""


@functools.cache
def branch_script() -> str:
    """What makes trees open and close, to stand behind them in a page, once."""
    return resources.files(__package__).joinpath("branches.js").read_text("utf-8")


def branch_style() -> str:
    """The rules of trees; they reach no further than these."""
    rules = resources.files(__package__).joinpath("branches.css").read_text("utf-8")
    colours = [f".branching .arm-{at} {{ background: {colour}; }}\n" for at, colour in enumerate(ARM_COLOURS)]
    return rules + "".join(colours)


def _text(text: str) -> str:
    return escape(visible(text))
