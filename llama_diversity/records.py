"""The nouns everybody shares: frozen, without behaviour beyond checking and hashing themselves.

A *recipe* is everything that determines the distribution of a sample. Its hash plus the sample's index is the
sample's primary key: resume, growth, sharing, merging and replay all follow from that. How the work was laid out
(batch, threads, device) is not part of the recipe; it goes to the run record.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue

RECIPE_TAG = "r1"  # changes with the canonical form or the digest, so that a change is detectable
N_TOP = 5
LEAST_TEMPERATURE = 1e-4
MAX_SAMPLES = 10**7  # their indices alone take 1 GB while they are drawn

TOKEN_DTYPE = np.dtype(
    [
        ("id", "<i4"),
        ("surprisal_bits", "<f4"),
        ("entropy_bits", "<f4"),
        ("varentropy_bits2", "<f4"),
        ("rank", "<i4"),
        ("top_ids", "<i4", (N_TOP,)),
        ("top_surprisals_bits", "<f4", (N_TOP,)),
        ("sampler_surprisal_bits", "<f4"),
        ("sampler_entropy_bits", "<f4"),
    ]
)
"""Statistics of one drawn token, 68 bytes.

`surprisal_bits` is -log2 p of the token under the raw model at T = 1 over the whole vocabulary; `entropy_bits` and
`varentropy_bits2` describe that distribution; `rank` is 1 for the likeliest token. `top_ids` are the five likeliest
tokens (ties: the lower id first), padded with -1 where the vocabulary is smaller, and `top_surprisals_bits` their
-log2 p (inf in the padding). The `sampler_` pair describes the distribution the token was really drawn from: what a
grammar allows next, renormalised, then the sampler. Without a grammar and with a neutral sampler it equals the raw
pair, and in scored text it is nan, since nothing was drawn. A token without a context (the first one of a model
without BOS) has nan everywhere and rank 0.
"""

BOUNDS_DTYPE = np.dtype([("least_entropy_bits", "<f4"), ("most_entropy_bits", "<f4")])
"""Between which the entropy of a token's raw distribution lies, where a server tells its likeliest tokens alone."""

_HEAT = "it must be 0 (greedy) or a number from 0.0001 to 10000"
_SHARE = "it must lie between 0 (off) and 1"
_UP_TO_100 = "it must lie between 0 (off) and 100"
_ABOVE_0 = "it must lie above 0 and at most at 100"

TokenStats = npt.NDArray[Any]  # shape (n_tokens,), dtype TOKEN_DTYPE


def beside_dtype(n_models: int) -> np.dtype[Any]:
    """What a mixture of so many models keeps of a token beside its statistics.

    `surprisals_bits`: -log2 p of the token under each model alone, in the mixture's order; `source`: which of them a
    routed token came from, -1 where the models are mixed token by token.
    """
    return np.dtype([("surprisals_bits", "<f4", (n_models,)), ("source", "<i4")])


@dataclass(frozen=True)
class Sampler:
    """How the next token is drawn: temperature first, then top-n-sigma, top-k, top-p, min-p and XTC.

    Each acts on what the one before left; a grammar leaves tokens out before all of them. Neutral (the default) is pure
    softmax sampling, the paper's Eq. 3.1. `temperature` 0 is greedy, ties to the lower id; the first token is drawn at
    `first_temperature` where that is given. `dynatemp_range` R makes of the temperature T one from T - R to T + R:
    max(0, T - R) + (T + R - max(0, T - R)) h^`dynatemp_exponent`, at least 0.0001, where h in [0, 1] is the raw
    distribution's entropy over that of as many equal tokens (llama.cpp's dynatemp); not at the first token where that
    has its own. `top_n_sigma` n keeps z >= max z - n sd(z) of the raw logits, whatever the temperature. Top-p keeps the
    smallest set of likeliest tokens that reaches p. XTC: with probability `xtc_probability`, of the tokens with
    p > `xtc_threshold` all but the least likely are left out (of equals the highest id stays); since that coin is
    independent of all else, tokens are drawn from the mixture (1 - c) p + c p_cut. `top_k` 0, `top_p` 1, `min_p` 0,
    `top_n_sigma` 0, `xtc_probability` 0 and `dynatemp_range` 0 are off.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    first_temperature: float | None = None
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1

    def __post_init__(self) -> None:
        no_two = "it must lie above 0 and below 0.5, from where on no two tokens can be above it"
        for option, value, is_meant, meant in (
            ("--temperature", self.temperature, _is_heat(self.temperature), _HEAT),
            ("--top-k", self.top_k, self.top_k >= 0, "it must be 0 (off) or a positive number"),
            ("--top-p", self.top_p, 0 < self.top_p <= 1, "it must lie above 0 and at most at 1 (off)"),
            ("--min-p", self.min_p, 0 <= self.min_p <= 1, _SHARE),
            ("--first-temperature", self.first_temperature, _is_heat(self.first_temperature), _HEAT),
            ("--dynatemp-range", self.dynatemp_range, 0 <= self.dynatemp_range <= 100, _UP_TO_100),
            ("--dynatemp-exponent", self.dynatemp_exponent, 0 < self.dynatemp_exponent <= 100, _ABOVE_0),
            ("--top-n-sigma", self.top_n_sigma, 0 <= self.top_n_sigma <= 100, _UP_TO_100),
            ("--xtc-probability", self.xtc_probability, 0 <= self.xtc_probability <= 1, _SHARE),
            ("--xtc-threshold", self.xtc_threshold, 0 < self.xtc_threshold < 0.5, no_two),
        ):
            if not is_meant:
                raise BadValue(option, value, meant)

    @property
    def is_neutral(self) -> bool:
        """True when tokens are drawn from the raw distribution itself."""
        return self == Sampler()

    @property
    def is_greedy(self) -> bool:
        """True when nothing is drawn: the likeliest token each time."""
        return self.temperature == 0 and not self.first_temperature

    def at(self, *, is_first: bool) -> Sampler:
        """What one token is drawn with, the first of a completion or a later one: it has no temperature of its own."""
        if self.first_temperature is None:
            return self
        if not is_first:
            return dataclasses.replace(self, first_temperature=None)
        heat = self.first_temperature
        return dataclasses.replace(
            self, temperature=heat, first_temperature=None, dynatemp_range=0.0, dynatemp_exponent=1.0
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields that are hashed and stored: of those that came later only what is not off.

        So recipes from before there were such keep their keys.
        """
        named = dataclasses.fields(self)
        fields = {one.name: getattr(self, one.name) for one in named}
        return {one.name: fields[one.name] for at, one in enumerate(named) if at < 4 or fields[one.name] != one.default}


def _is_heat(value: float | None) -> bool:
    return value is None or value == 0 or LEAST_TEMPERATURE <= value <= 1e4


def seen_ids(tokens: TokenStats) -> set[int]:
    """Every token id that `tokens` mentions: those drawn and the likeliest ones."""
    return {*tokens["id"].tolist(), *tokens["top_ids"].ravel().tolist()} - {-1}


class Piece(NamedTuple):
    """One token of a vocabulary: the bytes it adds to a text, and for a control token its name (it adds none)."""

    bytes: bytes
    control: str | None = None


@dataclass(frozen=True)
class ModelRef:
    """A model that can be opened: what the user called it, which engine, where it is, and the digest of its bytes."""

    reference: str
    engine: str  # a key of engines.ENGINES
    location: str  # a file path for llamacpp, a chain's name for scripted
    digest: str  # sha256 of the file; for scripted, of the chain's definition
    chat_template: str | None = None  # in place of the file's own, "" for none; None where that one holds
    start: str | None = None  # what models.toml says its documents begin with, as in `Asking`
    parts: tuple[ModelRef, ...] = ()  # the models of a mixture; of these `location` holds the rule

    @property
    def weights(self) -> str:
        """What tells its weights from others of its engine: the digest, or of a chain that has none yet its name."""
        return self.digest or self.location


def twins(models: Sequence[ModelRef]) -> tuple[ModelRef, ModelRef] | None:
    """The first two of `models` that are the same weights, under one name or two; None where all differ."""
    pairs = itertools.combinations(models, 2)
    same = ((a, b) for a, b in pairs if (a.engine, a.weights) == (b.engine, b.weights))
    return next(same, None)


@dataclass(frozen=True)
class ModelFacts:
    """What an engine knows of the model it opened; `digest` identifies the weights, `vocab_digest` the vocabulary."""

    reference: str
    digest: str
    vocab_digest: str
    description: str
    architecture: str
    n_vocab: int
    n_params: int
    n_ctx_train: int
    adds_bos: bool
    has_chat_template: bool
    start: str = ""  # what a raw text begins with where nothing else is asked for, as it is spelled
    ends: tuple[str, ...] = ()  # the tokens that end a text, as they are spelled
    notes: tuple[str, ...] = ()  # what about the file changes the meaning of numbers, a sentence each


@dataclass(frozen=True)
class Asking:
    """How a text becomes a prompt, beside the text itself.

    `start` is what precedes a raw text: `none`, `bos`, `separator` (the token between documents in pretraining), `auto`
    (the BOS where the model wants one, else the separator, else nothing), or any other text, in which control tokens
    count. With `reads_control` those in the text itself count too; else they are letters like any others.
    """

    start: str = "auto"
    reads_control: bool = False


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model sees it: `text` is what was asked, `rendered` what was tokenised, `ids` what is decoded.

    `template_args`: what the chat template was given besides the messages, as a JSON object with sorted keys. `start`:
    what precedes a raw text, as it is spelled, where that is not the plain rule: a BOS where the model wants one, else
    nothing. `others`: what the other models of a mixture read, in their order, where that is not the same; this is what
    its model number `reader` reads.
    """

    text: str
    rendered: str
    ids: tuple[int, ...]
    mode: str = "raw"  # or "chat"
    template_digest: str | None = None
    frozen_date: str | None = None
    template_args: str | None = None
    start: str | None = None
    others: tuple[Prompt, ...] = ()
    reader: int = 0

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Prompt:
        """The prompt of what JSON gives back."""
        others = tuple(map(cls.of_fields, fields.get("others", ())))
        return cls(**{**fields, "ids": tuple(fields["ids"]), "others": others})

    @property
    def alone(self) -> Prompt:
        """The same for one model."""
        return dataclasses.replace(self, others=(), reader=0) if self.others else self

    @property
    def readings(self) -> tuple[Prompt, ...]:
        """What each model of a mixture reads, in their order; one, where all read the same."""
        return (*self.others[: self.reader], self.alone, *self.others[self.reader :])

    def with_path(self, ids: tuple[int, ...], text: str) -> Prompt:
        """The same with tokens behind it, and the text that they spell: what follows a path that was taken.

        >>> after = Prompt("She", "<s>She", (0, 5)).with_path((7, 9), " was not")
        >>> after.text, after.rendered, after.ids
        ('She was not', '<s>She was not', (0, 5, 7, 9))
        """
        if not ids:
            return self
        return dataclasses.replace(
            self,
            text=self.text + text,
            rendered=self.rendered + text,
            ids=(*self.ids, *ids),
            others=tuple(one.with_path(ids, text) for one in self.others),
        )

    def of(self, model: int) -> Prompt:
        """What the model of this number in a mixture reads."""
        return self.readings[model] if self.others else self


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the distribution of a sample; equal recipes have equal `key`."""

    engine: str
    engine_build: str
    model_digest: str
    vocab_digest: str
    prompt: Prompt
    sampler: Sampler
    seed: int
    max_tokens: int
    stop: tuple[str, ...] = ()
    exact: bool = False
    kv_type: str = "f16"
    flash_attention: bool | None = None  # other kernels, other last digits; None where the device supports it
    grammar: str | None = None  # GBNF, root rule `root`: tokens it forbids next are left out before the sampler
    mixture: str | None = None  # of several models: their digests and the rule, a JSON object with sorted keys
    arithmetic: int | None = None  # of samples that are one set of so many, by stratified codes: no estimate of a model

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise BadValue("--max-tokens", self.max_tokens, "it must be at least 1")
        if not 0 <= self.seed < 2**64:
            raise BadValue("--seed", self.seed, "it must lie between 0 and 2**64 - 1")
        if any(not text for text in self.stop):
            raise BadValue("--stop", "", "a stop string must not be empty")
        if self.grammar is not None and not self.grammar.strip():
            raise BadValue("--grammar", self.grammar, "it must hold a rule called root; leave it out for no grammar")
        if self.arithmetic is not None and (self.arithmetic < 2 or self.sampler.is_greedy):
            raise BadValue(
                "--arithmetic", self.arithmetic, "spread out are two samples or more that are drawn; leave it out"
            )

    @property
    def kin(self) -> tuple[object, ...]:
        """What recipes must share to be drawn together: all but prompt, seed, length, stops and the grammar's text."""
        weights = (self.engine, self.engine_build, self.model_digest, self.vocab_digest)
        bounds = (self.grammar is None, self.arithmetic is None)
        return (*weights, self.sampler, self.exact, self.kv_type, self.flash_attention, *bounds)

    @property
    def is_neutral(self) -> bool:
        """True when tokens are drawn from the raw distribution itself: no grammar, a neutral sampler."""
        return self.grammar is None and self.sampler.is_neutral

    def to_json(self) -> str:
        """The canonical form that is hashed and stored: sorted keys, no blanks, ASCII; no grammar, no such key."""
        fields = {**_fields(self), "prompt": _fields(self.prompt), "sampler": self.sampler.to_dict()}
        prompt = fields["prompt"]
        prompt["others"] = [_stated(_fields(one), *_OF_MIXTURES, *_LATER) for one in self.prompt.others]
        _stated(fields, "grammar", "mixture", "arithmetic")
        _stated(prompt, *_OF_MIXTURES, *_LATER)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        return cls(
            **{
                **fields,
                "prompt": Prompt.of_fields(fields["prompt"]),
                "sampler": Sampler(**fields["sampler"]),
                "stop": tuple(fields["stop"]),
            }
        )

    @functools.cached_property
    def key(self) -> str:
        """`r1-` and 32 hex digits: the recipe's primary key."""
        return f"{RECIPE_TAG}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:32]}"


_OF_MIXTURES = ("others", "reader")
_LATER = ("template_args", "start")  # what prompts had from some version on


def _stated(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields without those of `names` that hold nothing: recipes from before there were such keep their keys."""
    for name in names:
        if not fields[name] and fields[name] != "":
            del fields[name]
    return fields


def _fields(one: Prompt | Recipe) -> dict[str, Any]:
    """As `asdict`, which copies every id of a prompt: of thousands of recipes that takes many seconds."""
    return {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}


@dataclass(frozen=True)
class Sample:
    """One completion: its index within the recipe, the tokens drawn (end-of-sequence included) and its bytes.

    `text` holds the bytes before a stop string; control tokens add nothing to it. `finish_reason` is "stop"
    (end of sequence or stop string) or "length".
    """

    recipe_key: str
    index: int
    finish_reason: str
    text: bytes
    tokens: TokenStats = field(repr=False)
    beside: TokenStats | None = field(default=None, repr=False)  # of a mixture, shape (n_tokens,), `beside_dtype`
    bounds: TokenStats | None = field(default=None, repr=False)  # of a stock server, shape (n_tokens,), BOUNDS_DTYPE

    @property
    def id(self) -> str:
        """What `llamadiv runs show` finds it by: "r1-...#3"."""
        return f"{self.recipe_key}#{self.index}"


@dataclass(frozen=True)
class Cell:
    """A piece of work: samples 0..n-1 of one recipe, drawn on the model called `reference`."""

    arm: str
    reference: str
    recipe: Recipe
    n: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_SAMPLES:
            raise BadValue("-n", self.n, f"ask for 1 to {MAX_SAMPLES:,} samples")
        if self.recipe.arithmetic not in (None, self.n):
            raise BadValue("-n", self.n, f"the set has {self.recipe.arithmetic}; another number is another set")


_NUMBER_OF_ASK = re.compile(r" #\d+(?: of cell \d+)?(?=$|, )")


def without_number(arm: str) -> str:
    """The name of an arm that was asked many things once each, without the number of the ask.

    >>> without_number("population/a #3 of cell 12, written"), without_number("population/a #0"), without_number("base")
    ('population/a, written', 'population/a', 'base')
    """
    return _NUMBER_OF_ASK.sub("", arm)
