"""The exact probability of a text as the whole answer to a prompt: its tokens, and then an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_diversity.engines import Engine
from llama_diversity.errors import EngineError
from llama_diversity.records import Asking, Prompt

_NOTHING_BEFORE = "none"


def log_probabilities(engine: Engine, prompt: Prompt, texts: Sequence[str]) -> list[float]:
    """log p of each text behind `prompt`, natural logarithms, in [-inf, 0]: of the raw model at T = 1.

    Of the one way in which the tokenizer spells it, and with any token that ends a text behind it: a lower bound of the
    text's probability, near it. Raises EngineError, PromptTooLong.
    """
    if not (engine.capabilities.full_distribution and engine.capabilities.scores_text):
        raise EngineError(f"{engine.facts.reference} does not tell the probability of a given text.")
    ends = np.array(sorted(engine.ends))
    n_prompt = len(prompt.ids)
    whole = [(*prompt.ids, *_ids(engine, prompt, text), int(ends[0])) for text in texts]
    found = [0.0] * len(texts)
    for rows in engine.logits(whole):
        ids = whole[rows.text]
        first = max(n_prompt - 1 - rows.start, 0)
        logits = rows.logits[first:].astype(np.float64)
        of_all = np.logaddexp.reduce(logits, axis=1) if len(logits) else np.zeros(0)
        for place, (row, total) in enumerate(zip(logits, of_all, strict=True), rows.start + first + 1):
            is_end = place == len(ids) - 1
            found[rows.text] += float(np.logaddexp.reduce(row[ends]) if is_end else row[ids[place]]) - float(total)
    return found


def _ids(engine: Engine, prompt: Prompt, text: str) -> tuple[int, ...]:
    """The tokens of a text behind the prompt, as they are where both are read together, else by itself."""
    together = engine.tokenize(prompt.rendered + text, Asking(_NOTHING_BEFORE, reads_control=True))
    if together[: len(prompt.ids)] == prompt.ids and len(together) > len(prompt.ids):
        return together[len(prompt.ids) :]
    return engine.tokenize(text, Asking(_NOTHING_BEFORE))
