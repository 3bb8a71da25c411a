"""Sentences of errors as a script reads them: what is an option on a command line is a parameter here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from llama_diversity.errors import LlamadivError

# Command lines stay as they are: what stands in backticks, and what follows the command's name.
_OPTION = re.compile(
    r"`[^`]*`|llamadiv [^.]*|(?<![\w-])(?:--(?P<long>[a-z]+(?:-[a-z]+)*)|-(?P<short>[npk]))\b(?P<value> (?=[A-Z]{2}))?"
)
_NAMES = {
    "p": "prompt",
    "arm": "arms",
    "family": "families",
    "template-arg": "template_args",
    "joint": "joint=True",
    "equal-n": "equal_n=True",
}


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Within it, or around a function as its decorator, errors name parameters."""
    try:
        yield
    except LlamadivError as error:
        error.args = (reworded(str(error)),)
        raise


def reworded(sentence: str) -> str:
    """The sentence with parameters in place of options.

    >>> reworded("--max-tokens is 0; it must be at least 1. `llamadiv sample --help` says more.")
    'max_tokens is 0; it must be at least 1. `llamadiv sample --help` says more.'
    >>> reworded("Name the models: either --pair NAME, or --base MODEL --aligned MODEL.")
    'Name the models: either pair=NAME, or base=MODEL aligned=MODEL.'
    """
    return _OPTION.sub(_parameter, sentence).replace("he same command", "he same call")


def _parameter(found: re.Match[str]) -> str:
    option = found["long"] or found["short"]
    if option is None:
        return found[0]
    return _NAMES.get(option, option.replace("-", "_")) + ("=" if found["value"] else "")
