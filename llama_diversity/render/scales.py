"""What a colour means: each quantity's value of a token, its step, the number written beside it, and its edges.

It knows token statistics and steps; it knows no colours and draws nothing. One rule holds for every quantity: step 0
is the likely token, and a token without a value has no step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from llama_diversity.decimals import decimals
from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import Piece, TokenStats
from llama_diversity.render.ramps import N_SIDE_STEPS, N_STEPS

Distribution = Literal["raw", "sampler"]

EDGE_TOLERANCE = 1e-9  # of a step: keeps a value at a printed edge in the step that the edge opens


class Alternative(NamedTuple):
    """One of the likeliest tokens at a position, and its raw probability."""

    piece: Piece
    probability: float


class ScoredToken(NamedTuple):
    """A token with its statistics, as TOKEN_DTYPE defines them: raw distribution, and what it was drawn from."""

    piece: Piece
    surprisal_bits: float
    entropy_bits: float = math.nan
    rank: int = 0
    alternatives: tuple[Alternative, ...] = ()
    sampler_surprisal_bits: float = math.nan
    sampler_entropy_bits: float = math.nan
    under_bits: tuple[float, ...] = ()  # of a mixture: its surprisal under each model alone
    source: int | None = None  # of a routed mixture: the number of the model that it came from
    varentropy_bits2: float = math.nan


def scored_tokens(
    stats: TokenStats, piece: Callable[[int], Piece], beside: TokenStats | None = None, *, has_alternatives: bool = True
) -> tuple[ScoredToken, ...]:
    """The rows of a TOKEN_DTYPE array with their pieces; `piece` is the engine's, `beside` a mixture's.

    Who needs no alternatives says so, and has the rest sooner.
    """
    plain = _plain_tokens(stats, piece, has_alternatives=has_alternatives)
    if beside is None:
        return plain
    return tuple(
        one._replace(
            under_bits=() if math.isnan(row["surprisals_bits"][0]) else tuple(row["surprisals_bits"].tolist()),
            source=int(row["source"]) if row["source"] >= 0 else None,
        )
        for one, row in zip(plain, beside, strict=True)
    )


def _plain_tokens(
    stats: TokenStats, piece: Callable[[int], Piece], *, has_alternatives: bool
) -> tuple[ScoredToken, ...]:
    names = ("id", "surprisal_bits", "entropy_bits", "rank", "top_ids", "top_surprisals_bits")
    more = ("sampler_surprisal_bits", "sampler_entropy_bits", "varentropy_bits2")
    columns = [stats[name].tolist() for name in (*names, *more)]  # far sooner than row by row
    return tuple(
        ScoredToken(
            piece=piece(token),
            surprisal_bits=surprisal,
            entropy_bits=entropy,
            rank=rank,
            alternatives=tuple(
                Alternative(piece(top_id), 2.0**-bits)
                for top_id, bits in zip(top_ids, top_bits, strict=True)
                if top_id >= 0 and math.isfinite(bits)
            )
            if has_alternatives
            else (),
            sampler_surprisal_bits=sampler_surprisal,
            sampler_entropy_bits=sampler_entropy,
            varentropy_bits2=varentropy,
        )
        for (token, surprisal, entropy, rank, top_ids, top_bits, sampler_surprisal, sampler_entropy, varentropy) in zip(
            *columns, strict=True
        )
    )


@dataclass(frozen=True)
class Scale(ABC):
    """Ten steps of one quantity. `maximum_bits` is where the colours end; numbers are not clipped."""

    name: ClassVar[str]
    diverging: ClassVar[bool] = False
    default_maximum_bits: ClassVar[float] = 16.0

    maximum_bits: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.maximum_bits) and self.maximum_bits > 0):
            raise BadValue("--maximum", self.maximum_bits, "it must be a positive number")

    def joint(self, values: Sequence[float]) -> float:
        """The value of several tokens that draw one glyph together: bits add up."""
        return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)

    def step(self, value: float) -> int | None:
        """0 for the likely to 9 for the unlikely; None for nan."""
        if math.isnan(value):
            return None
        return int(min(max(N_STEPS * self.share(value) + EDGE_TOLERANCE, 0), N_STEPS - 1))

    def share(self, value: float) -> float:
        """Where the value lies between the likely end, 0, and the maximum, 1."""
        return value / self.maximum_bits

    def number(self, value: float) -> str:
        """What is written beside the token: rounded, empty for nothing to say, "-" for no value."""
        if math.isnan(value):
            return "-"
        rounded = _rounded(value)
        return "" if rounded == "0" else rounded

    def exact(self, value: float) -> str:
        """The value with its unit, for a tooltip."""
        return "no value" if math.isnan(value) else f"{decimals(value, '.2f')} bits"

    @property
    def steps(self) -> range:
        """All steps, in order."""
        return range(N_STEPS)

    def edge(self, step: int) -> str:
        """The label of a step: its edge towards the likely end."""
        return f"{step * self.maximum_bits / N_STEPS:.4g}"

    def label(self, step: int) -> str:
        """What the legend writes on a step."""
        return self.edge(step) + ("+" if step == N_STEPS - 1 else "")

    @abstractmethod
    def sentence(self) -> str:
        """What is shown, in which unit, and where the colours end."""

    @abstractmethod
    def number_sentence(self) -> str:
        """How to read the numbers."""

    @abstractmethod
    def summary(self, values: Sequence[float]) -> str:
        """All tokens with a value in one clause, such as their total; empty where nothing useful adds up."""

    def _steps_sentence(self) -> str:
        return f"{N_STEPS} steps, maximum {self.maximum_bits:g} bits"


@dataclass(frozen=True)
class TokenScale(Scale):
    """A quantity that one token has under one model, in the raw distribution or in the one it was drawn from."""

    distribution: Distribution = "raw"

    @abstractmethod
    def value(self, token: ScoredToken) -> float:
        """The quantity of a token; nan where it has none."""


class Surprisal(TokenScale):
    """-log2 p of the token, in bits."""

    name = "surprisal"

    def value(self, token: ScoredToken) -> float:
        return token.surprisal_bits if self.distribution == "raw" else token.sampler_surprisal_bits

    def sentence(self) -> str:
        return f"surprisal = -log2 p of each token, in bits; {self._steps_sentence()}"

    def number_sentence(self) -> str:
        return "number: bits, rounded; none for 0"

    def summary(self, values: Sequence[float]) -> str:
        total = math.fsum(values)
        return f"{decimals(total, '.1f')} bits in all, {decimals(total / len(values), '.2f')} per token"


class Entropy(TokenScale):
    """How open the model was before the token, in bits."""

    name = "entropy"

    def value(self, token: ScoredToken) -> float:
        return token.entropy_bits if self.distribution == "raw" else token.sampler_entropy_bits

    def sentence(self) -> str:
        return f"entropy of the distribution before each token, in bits; {self._steps_sentence()}"

    def number_sentence(self) -> str:
        return "number: bits, rounded; none for 0"

    def summary(self, values: Sequence[float]) -> str:
        return f"{math.fsum(values) / len(values):.2f} bits per token on average"


class Rank(TokenScale):
    """How many tokens were at least as likely, on a log2 scale."""

    name = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distribution != "raw":
            raise BadValue("distribution", self.distribution, "ranks are kept of the raw distribution only")

    def value(self, token: ScoredToken) -> float:
        return float(token.rank) if token.rank > 0 else math.nan

    def joint(self, values: Sequence[float]) -> float:
        """Ranks do not add up: the largest one speaks for the glyph."""
        return math.nan if any(map(math.isnan, values)) else max(values)

    def share(self, value: float) -> float:
        return math.log2(value) / self.maximum_bits

    def number(self, value: float) -> str:
        return "" if value == 1 else super().number(value)

    def exact(self, value: float) -> str:
        return "no value" if math.isnan(value) else f"{value:.0f}"

    def edge(self, step: int) -> str:
        """The smallest rank of the step."""
        return f"{math.ceil(2 ** (step * self.maximum_bits / N_STEPS) - 1e-9)}"

    def sentence(self) -> str:
        return (
            "rank of each token, 1 = likeliest, on a log2 scale; "
            f"{N_STEPS} steps, maximum {2**self.maximum_bits:,.0f} ({self.maximum_bits:g} bits)"
        )

    def number_sentence(self) -> str:
        return "number: rank; none for 1"

    def summary(self, values: Sequence[float]) -> str:
        return f"{sum(value == 1 for value in values)} of them the likeliest"


class Probability(TokenScale):
    """p of the token; a high probability is step 0."""

    name = "probability"

    def value(self, token: ScoredToken) -> float:
        bits = token.surprisal_bits if self.distribution == "raw" else token.sampler_surprisal_bits
        return math.pow(2, -bits)

    def joint(self, values: Sequence[float]) -> float:
        """Probabilities of a chain multiply."""
        return math.prod(values)

    def share(self, value: float) -> float:
        return 1 - value

    def number(self, value: float) -> str:
        if math.isnan(value):
            return "-"
        percent = _rounded(100 * value)
        return "" if percent == "100" else percent

    def exact(self, value: float) -> str:
        return "no value" if math.isnan(value) else f"{value:.3g}"

    def edge(self, step: int) -> str:
        """The largest probability of the step."""
        return f"{1 - step / N_STEPS:.1g}"

    def label(self, step: int) -> str:
        return self.edge(step)

    def sentence(self) -> str:
        return f"probability of each token, linear; {N_STEPS} steps from 1 (likely) down to 0"

    def number_sentence(self) -> str:
        return "number: percent, rounded; none for 100"

    def summary(self, values: Sequence[float]) -> str:
        return f"{sum(value >= 0.5 for value in values)} of them at 0.5 or more"


class Difference(Scale):
    """Surprisal under the second model minus under the first, in bits; positive: less likely under the second."""

    name = "difference"
    diverging = True
    default_maximum_bits = 8.0

    def step(self, value: float) -> int | None:
        """-4 to 4, the nearest of nine equally spaced values from -maximum to +maximum; halves away from zero."""
        if math.isnan(value):
            return None
        size = min(N_SIDE_STEPS * abs(value) / self.maximum_bits + 0.5 + EDGE_TOLERANCE, N_SIDE_STEPS)
        return int(math.copysign(int(size), value))

    def number(self, value: float) -> str:
        number = super().number(value)
        return f"+{number}" if number and value > 0 else number

    def exact(self, value: float) -> str:
        return "no value" if math.isnan(value) else f"{decimals(value, '+.2f')} bits"

    @property
    def steps(self) -> range:
        return range(-N_SIDE_STEPS, N_SIDE_STEPS + 1)

    def edge(self, step: int) -> str:
        """The edge of the step towards zero, with its sign; zero has none."""
        if step == 0:
            return "0"
        return f"{math.copysign((abs(step) - 0.5) * self.maximum_bits / N_SIDE_STEPS, step):+.4g}"

    def label(self, step: int) -> str:
        return self.edge(step)

    def sentence(self) -> str:
        return (
            "difference in surprisal, B - A, in bits: + is less likely under B, - is likelier; "
            f"{N_SIDE_STEPS} steps either way, maximum {self.maximum_bits:g} bits"
        )

    def number_sentence(self) -> str:
        return "number: bits, rounded, with sign; none for 0"

    def summary(self, values: Sequence[float]) -> str:
        total = math.fsum(values)
        return f"{decimals(total, '+.1f')} bits in all, {decimals(total / len(values), '+.2f')} per token"


class Leaning(Difference, TokenScale):
    """Of a mixture: surprisal under its last model minus under its first, in bits; positive: the base's word."""

    name = "leaning"

    def value(self, token: ScoredToken) -> float:
        return token.under_bits[-1] - token.under_bits[0] if token.under_bits else math.nan

    def sentence(self) -> str:
        return (
            "leaning: surprisal under the last model of the mixture minus that under the first, in bits: + is likelier "
            f"under the first; {N_SIDE_STEPS} steps either way, maximum {self.maximum_bits:g} bits"
        )


class Source(Difference, TokenScale):
    """Of a routed mixture: which model a word came from."""

    name = "source"
    default_maximum_bits = 1.0

    def value(self, token: ScoredToken) -> float:
        return math.nan if token.source is None else (1.0 if token.source else -1.0)

    def joint(self, values: Sequence[float]) -> float:
        """The pieces of a glyph are one word's."""
        return values[0]

    def number(self, value: float) -> str:
        return "-" if math.isnan(value) else ("2" if value > 0 else "1")

    def exact(self, value: float) -> str:
        return "no value" if math.isnan(value) else f"model {self.number(value)}"

    @property
    def steps(self) -> range:
        return range(-N_SIDE_STEPS, N_SIDE_STEPS + 1, 2 * N_SIDE_STEPS)

    def edge(self, step: int) -> str:
        return "first model" if step < 0 else "second model"

    def sentence(self) -> str:
        return "which model of the routed mixture each word came from"

    def number_sentence(self) -> str:
        return "number: 1 is the first model named, 2 the second"

    def summary(self, values: Sequence[float]) -> str:
        return f"{sum(value < 0 for value in values)} of them from the first model"


OF_MIXTURES = {  # what only they have, and what to give
    Leaning.name: "only the tokens of a mixture have one: -m mix:BASE,ALIGNED,lambda=0.5",
    Source.name: "only the words of a routed mixture have one, under route=random:R those of its samples alone: "
    "-m mix:BASE,ALIGNED,route=confidence:0.5",
}
SCALES: dict[str, type[TokenScale]] = {
    scale.name: scale for scale in (Surprisal, Entropy, Rank, Probability, Leaning, Source)
}


def scales_of(tokens: Sequence[ScoredToken], chosen: TokenScale) -> tuple[TokenScale, ...]:
    """Every scale that `tokens` have values on, of the distribution of the `chosen` one, which keeps its maximum."""
    found: list[TokenScale] = []
    for name, kind in SCALES.items():
        if kind is Rank and chosen.distribution != "raw":
            continue
        scale = chosen if name == chosen.name else kind(kind.default_maximum_bits, chosen.distribution)
        if name not in OF_MIXTURES or not all(math.isnan(scale.value(token)) for token in tokens):
            found.append(scale)
    return tuple(found)


def scale_called(by: str, *, maximum_bits: float | None = None, distribution: Distribution = "raw") -> TokenScale:
    """The scale of a quantity, with its default maximum unless one is given. Raises UnknownName, BadValue."""
    if by not in SCALES:
        raise UnknownName("quantity", by, SCALES, list_command="llamadiv heatmap --help")
    kind = SCALES[by]
    return kind(kind.default_maximum_bits if maximum_bits is None else maximum_bits, distribution)


def _rounded(value: float) -> str:
    """Rounded half away from zero, as a reader would; "inf" for what a model forbids."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = math.floor(abs(value) + 0.5)
    return f"-{size}" if value < 0 and size else str(size)
