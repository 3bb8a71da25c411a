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
from llama_diversity.engines.mixed.rows import log_masses
from llama_diversity.errors import BadValue
from llama_diversity.mixtures import Rule
from llama_diversity.records import Piece

BASE, ALIGNED = 0, 1
_BITS = 1 / math.log(2.0)


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


def routes(rule: Rule, rows: Sequence[Float32], vocabulary: Vocabulary) -> Float64:
    """The probability that a word that begins now is the base's; shape (rows,)."""
    base = rows[BASE]
    if rule.route == "random":
        return np.full(len(base), rule.number)
    if rule.route == "punctuation":
        return np.where(vocabulary.is_punctuation[rows[ALIGNED].argmax(axis=1)], 0.0, 1.0)
    if rule.route == "confidence":
        return np.where(np.exp(base.max(axis=1) - log_masses(base)) < rule.number, 1.0, 0.0)
    return np.where(_entropies_bits(base) > rule.number, 1.0, 0.0)


def _entropies_bits(rows: Float32) -> Float64:
    x = rows.astype(np.float64) - log_masses(rows)[:, None]
    return np.asarray(-(np.exp(x) * np.where(np.isneginf(x), 0.0, x)).sum(axis=1) * _BITS)


def following(rows: Sequence[Float32], place: Place, route: float, vocabulary: Vocabulary) -> Float32:
    """The logits of what follows at `place`, shape (n_vocab,), where a new word is the base's with probability `route`.

    `rows`: one of each model, shape (n_vocab,). Where owner and route are known and one, it is that model's own row.
    """
    shares = (route, 1.0 - route)
    owners = place.owners if place.is_inside else shares
    certain = [model for model in (BASE, ALIGNED) if shares[model] == 1 and owners[model] == 1]
    if certain:
        return rows[certain[0]]
    p = [np.exp(row - log_mass) for row, log_mass in zip(*_normal(rows), strict=True)]
    begins = vocabulary.begins if place.is_inside else np.ones_like(vocabulary.begins)
    stays = sum((owner * one for owner, one in zip(owners, p, strict=True)), start=np.zeros(len(begins)))
    ending = float(stays[begins].sum())
    chosen = [share * one / max(float(one[begins].sum()), 1e-300) for share, one in zip(shares, p, strict=True)]
    with np.errstate(divide="ignore"):
        return np.log(np.where(begins, ending * (chosen[0] + chosen[1]), stays)).astype(np.float32)


def after_token(
    rows: Sequence[Float32], place: Place, route: float, token: int, vocabulary: Vocabulary
) -> tuple[Place, int]:
    """Where the text stands behind `token`; and whose the token is, -1 where that is not known."""
    shares = (route, 1.0 - route)
    begins = not place.is_inside or bool(vocabulary.begins[token])
    prior = shares if begins else place.owners
    if max(prior) < 1:
        p = [float(np.exp(row[token] - log_mass)) for row, log_mass in zip(*_normal(rows), strict=True)]
        if begins and place.is_inside:
            parts = [np.exp(row - log_mass)[vocabulary.begins] for row, log_mass in zip(*_normal(rows), strict=True)]
            p = [one / max(float(part.sum()), 1e-300) for one, part in zip(p, parts, strict=True)]
        weights = [share * one for share, one in zip(prior, p, strict=True)]
        total = sum(weights)
        prior = tuple(one / total for one in weights) if total else prior
    source = prior.index(1.0) if 1.0 in prior else -1
    return Place(prior, bool(vocabulary.ends_inside[token])), source


def _normal(rows: Sequence[Float32]) -> tuple[list[Float64], list[float]]:
    wide = [row.astype(np.float64) for row in rows]
    return wide, [float(log_masses(row[None])[0]) for row in rows]
