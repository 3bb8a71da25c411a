"""The chain `answers`: one of four colours, or a call of several with a stated probability each, at known rates.

From anywhere it answers directly with probability DIRECT, a colour by ANSWERS, and stops; else it writes a call: a
colour by ANSWERS between tags, before it the probability that STATED has for it, and another one with probability MORE.
Within a call colours stand behind a blank, so that they are other tokens than those of direct answers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ANSWERS = {"red": 0.4, "green": 0.3, "blue": 0.2, "grey": 0.1}
STATED = {"red": 0.5, "green": 0.3, "blue": 0.4, "grey": 0.1}
DIRECT, MORE = 0.5, 0.9
_BEGIN, _END, _LINE = "<answer>\n", "\n</answer>\n", "Probability: {:g}\n"

WORDS = (_BEGIN, _END, *ANSWERS, *(f" {one}" for one in ANSWERS), *map(_LINE.format, STATED.values()))


def rows(n_vocab: int, *, first: int, end: int) -> npt.NDArray[np.float64]:
    """The distribution after each token, shape (n_vocab, n_vocab); WORDS begin at id `first`, `end` ends an output."""
    ids = {word: first + at for at, word in enumerate(WORDS)}
    found = np.zeros((n_vocab, n_vocab))
    found[:, ids[_BEGIN]] = 1 - DIRECT
    for one, share in ANSWERS.items():
        found[:, ids[one]] = DIRECT * share
    for word in WORDS:
        found[ids[word]] = 0
    for one, share in ANSWERS.items():
        line = ids[_LINE.format(STATED[one])]
        found[ids[one], end] = 1
        found[ids[_BEGIN], line] = share
        found[line, ids[f" {one}"]] = 1
        found[ids[f" {one}"], ids[_END]] = 1
    found[ids[_END], [ids[_BEGIN], end]] = MORE, 1 - MORE
    return found
