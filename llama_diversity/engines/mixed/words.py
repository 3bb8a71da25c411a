"""Word by word from one model or another: where words begin, which model the next one is from, and what may follow.

A text goes on within a word or begins another one, and only the next token tells which. So the model that a word is
from says with which probability it ends here and how it goes on; what a new word begins with is said by the model that
the rule chooses for it:

    q(t) = p_source(t)                              where t goes on within the word,
    q(t) = P_source(a word begins) p_route(t) / P_route(a word begins)    where t begins one.

Behind anything but a letter or digit every token begins a word, and q is the routed model's own row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.engines.draws import Float32, Float64, Mask
from llama_diversity.errors import BadValue
from llama_diversity.mixtures import Rule
from llama_diversity.records import Piece

BASE, ALIGNED = 0, 1
_BITS = 1 / math.log(2.0)
_NEVER = np.float32(-1e4)  # for -inf: exp of it is 0, and so is its product with that
_LEAST = 1e-300


class Vocabulary(NamedTuple):
    """What routing asks of tokens: which begin a word even behind a letter, which end in one, which are punctuation."""

    begins: Mask
    ends_inside: Mask
    is_punctuation: Mask

    @classmethod
    def of(cls, reference: str, n_vocab: int, piece: Callable[[int], Piece]) -> Vocabulary:
        """Raises BadValue where no token tells words apart."""
        texts = [piece(token).bytes for token in range(n_vocab)]
        if not any(text[:1].isspace() != text[-1:].isspace() for text in texts if len(text) > 1):
            raise BadValue(
                "the mixture", reference, "no token of these models begins or ends with a blank, so words cannot be "
                "told apart and routed; mix by lambda or linear"
            )  # fmt: skip
        letters = [text.decode("utf-8", "replace") for text in texts]
        return cls(
            np.array([not (text and _is_of_word(text[0])) for text in letters]),
            np.array([bool(text) and _is_of_word(text[-1]) for text in letters]),
            np.array([not text.strip() or not any(map(_is_of_word, text)) for text in letters]),
        )


def _is_of_word(character: str) -> bool:
    """Letters, digits, an apostrophe; and a byte that is a character only with those beside it."""
    return character.isalnum() or character in "'’\N{REPLACEMENT CHARACTER}"


class Place(NamedTuple):
    """Where a text stands: the probabilities that its last word is each model's, and whether it may go on."""

    owners: tuple[float, ...]
    is_inside: bool


BEGINNING = Place((1.0, 0.0), is_inside=False)


def routes(rule: Rule, rows: Sequence[Float32], log_masses: Sequence[Float64], vocabulary: Vocabulary) -> Float64:
    """The probability that a word that begins now is the base's; shape (rows,).

    `rows` and `log_masses`: of each model, shapes (rows, n_vocab) and (rows,).
    """
    base, log_mass = rows[BASE], log_masses[BASE]
    if rule.route == "random":
        return np.full(len(base), rule.number)
    if rule.route == "punctuation":
        return np.where(vocabulary.is_punctuation[rows[ALIGNED].argmax(axis=1)], 0.0, 1.0)
    if rule.route == "confidence":
        return np.where(np.exp(base.max(axis=1) - log_mass) < rule.number, 1.0, 0.0)
    return np.where(_entropies_bits(base, log_mass) > rule.number, 1.0, 0.0)


def _entropies_bits(rows: Float32, log_masses: Float64) -> Float64:
    found = np.empty(len(rows))
    for at, log_mass in enumerate(log_masses):  # a row of a large vocabulary fills a core's cache
        log_p = rows[at] - np.float32(log_mass)
        np.maximum(log_p, _NEVER, out=log_p)
        found[at] = -np.dot(np.exp(log_p), log_p) * _BITS
    return found


class Here(NamedTuple):
    """The rows of both models at one place, shape (n_vocab,) each, and the logs of their masses."""

    rows: Sequence[Float32]
    log_masses: Sequence[float]

    def p(self, model: int) -> Float32:
        """The probabilities of all tokens."""
        return np.asarray(np.exp(self.rows[model] - np.float32(self.log_masses[model])))


def here_of(rows: Sequence[Float32], log_masses: Sequence[Float64]) -> list[Here]:
    """Of each place its rows."""
    both = [one.tolist() for one in log_masses]
    return [Here([some[at] for some in rows], [one[at] for one in both]) for at in range(len(rows[0]))]


def following(here: Here, place: Place, route: float, vocabulary: Vocabulary) -> Float32:
    """The logits of what follows at `place`, shape (n_vocab,), where a new word is the base's with probability `route`.

    Where owner and route are known and one, it is that model's own row.
    """
    shares = (route, 1.0 - route)
    owners = place.owners if place.is_inside else shares
    if max(shares) == 1 and max(owners) == 1:
        return _known(here, owners.index(1.0), shares.index(1.0), vocabulary)
    p = [here.p(model).astype(np.float64) for model in (BASE, ALIGNED)]
    begins = vocabulary.begins if place.is_inside else np.ones_like(vocabulary.begins)
    stays = owners[0] * p[0] + owners[1] * p[1]
    ending = float(stays[begins].sum())
    fresh = [share * one / max(float(one[begins].sum()), _LEAST) for share, one in zip(shares, p, strict=True)]
    with np.errstate(divide="ignore"):
        return np.log(np.where(begins, ending * (fresh[0] + fresh[1]), stays)).astype(np.float32)


def _known(here: Here, owner: int, route: int, vocabulary: Vocabulary) -> Float32:
    """The same where both are certain, without leaving the logs."""
    if owner == route:
        return here.rows[owner]
    ending, beginning = (float(here.p(model)[vocabulary.begins].sum()) for model in (owner, route))
    if not (ending and beginning):
        return here.rows[owner]
    lift = np.float32(math.log(ending / beginning) - here.log_masses[route])
    return np.where(vocabulary.begins, here.rows[route] + lift, here.rows[owner] - np.float32(here.log_masses[owner]))


def after_token(here: Here, place: Place, route: float, token: int, vocabulary: Vocabulary) -> tuple[Place, int]:
    """Where the text stands behind `token`; and whose the token is, -1 where that is not known."""
    shares = (route, 1.0 - route)
    begins = not place.is_inside or bool(vocabulary.begins[token])
    prior = shares if begins else place.owners
    if max(prior) < 1:
        p = [here.p(model).astype(np.float64) for model in (BASE, ALIGNED)]
        all_new = [float(one[vocabulary.begins].sum()) if begins and place.is_inside else 1.0 for one in p]
        weights = [share * one[token] / max(new, _LEAST) for share, one, new in zip(prior, p, all_new, strict=True)]
        prior = tuple(float(one / sum(weights)) for one in weights) if sum(weights) else prior
    source = prior.index(1.0) if 1.0 in prior else -1
    return Place(prior, bool(vocabulary.ends_inside[token])), source
