"""Ways of asking for an answer, beside the prompt alone: what a model is told, word for word. No model is known here.

What chance decides (seed words) comes from a stream of its own, keyed by seed, arm, prompt and the number of the ask:
what is asked before or after changes nothing, and neither does what an arm is called.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import resources

WAYS = {
    "verbalized": "k answers a call, each with the probability that the model states for it",
    "listed": "chains of k answers, each asked for with those before it listed",
    "seeded": "a word drawn at random stands in the request",
    "plan": "another model writes an idea in one line, this one answers with it in the request",
}
UNITS = {"verbalized": "call", "listed": "chain"}  # outputs of one are not independent
K, MOST_K = 5, 100
FORM_TOKENS = 24  # of a call for each answer: tags and the line of its probability
TAG = "answer"
PLAN_TOKENS = 32
PLAN_STOP, LIST_STOP = ("\n",), ("\n\n",)

_CALL = (
    "{prompt}\n\nGive {k} different answers to this. Write each between <answer> and </answer>, on its first line "
    "“Probability: ” and the probability, from 0 to 1, that you would give just this answer when asked once."
)
_LIST = "{prompt}\n\nThese answers were given already:\n{earlier}\n\nGive one that differs from all of them."
_RAW_LIST = "All different:\n\n{earlier}{at}. {prompt}"
_SEEDED = "{prompt}\n\nLet the word “{word}” give you an idea for it."
_RAW_SEEDED = "({word})\n\n{prompt}"
_PLAN = "Task: {prompt}\nAn idea for it, in one line:"
_PLANNED = "{prompt}\n\nUse this idea: {plan}"


def call(prompt: str, k: int) -> str:
    """A request for `k` answers at once, each with its probability."""
    return _CALL.format(prompt=prompt, k=k)


def listed(prompt: str, earlier: Sequence[str], *, is_chat: bool) -> str:
    """A request for an answer unlike `earlier` ones; raw a numbered list, which a base model continues.

    >>> listed("She was", [" a nurse"], is_chat=False)
    'All different:\\n\\n1. She was a nurse\\n\\n2. She was'
    """
    if not is_chat:
        items = "".join(f"{at}. {prompt}{one}\n\n" for at, one in enumerate(earlier, 1))
        return _RAW_LIST.format(prompt=prompt, earlier=items, at=len(earlier) + 1)
    items = "\n".join(f"- {one}" for one in earlier)
    return _LIST.format(prompt=prompt, earlier=items) if earlier else prompt


def seeded(prompt: str, word: str, *, is_chat: bool) -> str:
    """A request with a word in it; raw the word in brackets above the prompt."""
    return (_SEEDED if is_chat else _RAW_SEEDED).format(prompt=prompt, word=word)


def planning(prompt: str) -> str:
    """What a base model continues with a plan of one line."""
    return _PLAN.format(prompt=prompt)


def planned(prompt: str, plan: str) -> str:
    """A request with a plan in it."""
    return _PLANNED.format(prompt=prompt, plan=plan)


def drawn_word(words: Sequence[str], *key: object) -> str:
    """One of the words; `key` names the ask."""
    return words[random.Random(f"seed word {key!r}").randrange(len(words))]


def shipped_words() -> list[str]:
    """The words that ship, a line each."""
    return resources.files("llama_diversity").joinpath("data/seed_words.txt").read_text("utf-8").split()
