"""Where the names of control tokens stand in a text that a user wrote, and are to stay text."""

from __future__ import annotations

import re
from collections.abc import Iterable


def cut(text: str, names: Iterable[str]) -> list[str]:
    """`text` at the names in it, the longer one first; the odd parts are names.

    >>> cut("a</s>b", ["</s>"])
    ['a', '</s>', 'b']
    """
    found = sorted({name for name in names if name and name in text}, key=lambda name: (-len(name), name))
    return re.split(f"({'|'.join(map(re.escape, found))})", text) if found else [text]
