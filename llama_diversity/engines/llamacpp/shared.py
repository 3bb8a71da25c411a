"""The tree of texts' common beginnings, read in one context whose sequences take over each other's cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_diversity.engines.draws import Float32, Reducer
from llama_diversity.engines.llamacpp.context import Context
from llama_diversity.engines.shared import Pass, Plan, Tree


def surprisals(
    context: Context, tree: Tree, plan: Plan, reducer: Reducer, on_progress: Callable[[float], None] | None
) -> list[Float32]:
    """Of each text of `tree` -log2 p of its tokens, each given those before it; nan for the first."""
    bits = np.full(len(tree.tokens), np.nan, np.float32)
    for number, one in enumerate(plan.passes, start=1):
        _read(context, tree, one, reducer, bits)
        if on_progress is not None:
            on_progress(number / len(plan.passes))
    return [bits[path] for path in tree.paths]


def _read(context: Context, tree: Tree, one: Pass, reducer: Reducer, bits: Float32) -> None:
    """One pass: the logits behind each of its nodes tell the bits of all that follow it in any text."""
    for stretch in one.stretches:
        context.take_over(stretch.slot, stretch.source, stretch.start)
    read = [(node, stretch.slot) for stretch in one.stretches for node in stretch.nodes]
    logits = context.decode(
        [tree.tokens[node] for node, _ in read], [tree.depths[node] - 1 for node, _ in read], [slot for _, slot in read]
    )
    following = [(row, child) for row, (node, _) in enumerate(read) for child in tree.children[node]]
    rows, children = np.array(following).T
    bits[children] = reducer.surprisals(logits, rows, np.array([tree.tokens[child] for _, child in following]))
    for slot in one.freed:
        context.drop(slot)
