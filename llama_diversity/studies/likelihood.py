"""The exact probability of a text as the whole answer to a prompt: its tokens, and then an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_diversity.engines import Engine, TokenPath
from llama_diversity.records import Asking, Prompt

_TOGETHER = 32  # texts that are read side by side


def log_probabilities(engine: Engine, prompt: Prompt, texts: Sequence[str]) -> list[float]:
    """log p of each text behind `prompt`, natural logarithms, in [-inf, 0]: of the raw model at T = 1.

    With a blank before it or without, which is no other answer; of each the one way in which the tokenizer spells it,
    and with any token that ends a text behind it: no more than the probability of the text, and near it. Raises
    PromptTooLong, OutOfMemory, EngineError.
    """
    ways = {text: {ids_behind(engine, prompt, begun) for begun in (text, f" {text}")} for text in texts}
    paths = sorted(set().union(*ways.values()))
    found = dict(zip(paths, _of_paths(engine, prompt, paths), strict=True))
    return [float(np.logaddexp.reduce([found[path] for path in ways[text]])) for text in texts]


def _of_paths(engine: Engine, prompt: Prompt, paths: Sequence[TokenPath]) -> list[float]:
    """log p of each path and an end behind it."""
    ends = np.array(sorted(engine.ends), np.int64)
    found = [0.0] * len(paths)
    with engine.after(prompt, longest=max(map(len, paths), default=1)) as after:
        for start in range(0, len(paths), _TOGETHER):
            some = range(start, min(start + _TOGETHER, len(paths)))
            for depth in range(1 + max(len(paths[at]) for at in some)):
                live = [at for at in some if depth <= len(paths[at])]
                for at, row in zip(live, after([paths[at][:depth] for at in live]), strict=True):
                    is_end = depth == len(paths[at])
                    found[at] += float(np.logaddexp.reduce(row[ends]) if is_end else row[paths[at][depth]])
    return found


def ids_behind(engine: Engine, prompt: Prompt, text: str) -> TokenPath:
    """The tokens of a text behind the prompt, as they are where both are read together, else by itself."""
    alone = Asking(start="none", reads_control=True)
    before, together = engine.tokenize(prompt.rendered, alone), engine.tokenize(prompt.rendered + text, alone)
    n = len(before)
    return together[n:] if together[:n] == before else engine.tokenize(text, Asking(start="none"))
