"""The chain `people`: made-up customers, line by line, at known rates, so that what counts them can be checked.

An output is a refusal with probability REFUSES, else a gender, an age (no number with probability UNREADABLE), an
occupation and a review of three parts, each drawn by itself with the shares below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

REFUSES, UNREADABLE = 0.1, 0.05
GENDERS = {"female": 0.55, "male": 0.45}
AGES = {"24": 0.3, "37": 0.4, "55": 0.2, "71": 0.1}
OCCUPATIONS = {
    "nurse": 0.3, "bus driver": 0.2, "retired teacher": 0.1, "carpenter": 0.1, "farmer": 0.1, "student": 0.1,
    "shop assistant": 0.05, "software tester": 0.05,
}  # fmt: skip
PARTS = (
    (
        "It keeps the cup warm", "The lid leaks", "My watch lost it twice", "Setup took four minutes",
        "I would buy it again", "It is loud in the morning", "The app wants my address", "It looks good on the shelf",
    ),
    (
        " in our garden", " on the night shift", " at my mother's house", " in a small kitchen", " on the boat",
        " when it snows", " during long calls", " after the train ride",
    ),
    (
        ", and the dog is afraid of it.", ", which nobody told me before.", ", so I gave it to my brother.",
        ", but the colour is wrong.", " and I am glad of that.", ", as my neighbour had said.",
        ", though the handbook is thin.", ", and that is worth the money.",
    ),
)  # fmt: skip
_REFUSAL, _NO_AGE = "I would rather not make up anybody.", "Age: not so old\n"
_GENDER, _AGE, _OCCUPATION = "Gender: {}\n", "Age: {}\n", "Occupation: {}\n"
_REVIEW = "Review: {}"

WORDS = (
    _REFUSAL,
    *map(_GENDER.format, GENDERS),
    _NO_AGE,
    *map(_AGE.format, AGES),
    *map(_OCCUPATION.format, OCCUPATIONS),
    *map(_REVIEW.format, PARTS[0]),
    *PARTS[1],
    *PARTS[2],
)


def rows(n_vocab: int, *, first: int, end: int) -> npt.NDArray[np.float64]:
    """The distribution after each token, shape (n_vocab, n_vocab); WORDS begin at id `first`, `end` ends an output."""
    ids = {word: first + at for at, word in enumerate(WORDS)}
    found = np.zeros((n_vocab, n_vocab))
    genders = {_GENDER.format(one): (1 - REFUSES) * share for one, share in GENDERS.items()}
    ages = {_AGE.format(one): (1 - UNREADABLE) * share for one, share in AGES.items()}
    _put(found, ids, range(n_vocab), {_REFUSAL: REFUSES, **genders})
    _put(found, ids, [ids[one] for one in genders], {_NO_AGE: UNREADABLE, **ages})
    occupations = {_OCCUPATION.format(one): share for one, share in OCCUPATIONS.items()}
    _put(found, ids, [ids[one] for one in (_NO_AGE, *ages)], occupations)
    before: Sequence[str] = list(occupations)
    for part in ([_REVIEW.format(one) for one in PARTS[0]], *PARTS[1:]):
        _put(found, ids, [ids[one] for one in before], dict.fromkeys(part, 1 / len(part)))
        before = part
    for word in (_REFUSAL, *before):
        found[ids[word]] = 0
        found[ids[word], end] = 1
    return found


def _put(
    rows: npt.NDArray[np.float64], ids: Mapping[str, int], after: Sequence[int], shares: Mapping[str, float]
) -> None:
    rows[list(after)] = 0
    for word, share in shares.items():
        rows[list(after), ids[word]] = share
