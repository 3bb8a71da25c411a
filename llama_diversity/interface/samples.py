"""Samples and scores as a researcher holds them: texts, token statistics as arrays and tables, coloured texts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from llama_diversity.answers import Answer, Reader
from llama_diversity.decimals import counted, decimals
from llama_diversity.errors import BadValue
from llama_diversity.interface.arguments import public
from llama_diversity.interface.tables import to_pandas
from llama_diversity.records import Piece, Prompt, Recipe, Sample, TokenStats
from llama_diversity.render.files import write_whole
from llama_diversity.render.heatmap import DifferenceHeatmap, GenerationsHeatmap, Looks, TokenPicture
from llama_diversity.render.heatmap import Heatmap as OneHeatmap
from llama_diversity.render.jsonl import Exported, sample_object
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import scored_tokens

if TYPE_CHECKING:
    import pyarrow as pa

    from llama_diversity.studies.scored import Scored

_SHOWN = 3  # samples in a picture of many

By = Literal["surprisal", "entropy", "rank", "probability", "leaning", "source"]


class Heatmap:
    """A coloured text: HTML in a notebook, colours in a terminal by rich's protocol, a file by `save`.

    >>> import llama_diversity as ld
    >>> ld.model("scripted:base").score("She was a nurse.").heatmap(by="entropy")
    <Heatmap by entropy of 'She was a nurse.'>
    """

    def __init__(self, picture: TokenPicture, what: str) -> None:
        self._picture, self._what = picture, what

    @public
    def save(self, path: str | Path) -> None:
        """Write it as its suffix says, .svg or .html: whole or not at all. Raises BadValue."""
        from llama_diversity.render.html import to_html
        from llama_diversity.render.svg import to_svg

        path = Path(path)
        if path.suffix == ".svg":
            write_whole(path, to_svg(self._picture, 100))
        elif path.suffix == ".html":
            write_whole(path, to_html(self._picture, "Token heatmap"))
        else:
            raise BadValue("path", str(path), "its name must end in .svg or .html")

    def _repr_html_(self) -> str:
        from llama_diversity.render.notebook import of_pictures

        return of_pictures([self._picture])

    def __rich__(self) -> TokenPicture:
        return self._picture

    def __repr__(self) -> str:
        return f"<Heatmap {self._what}>"


@dataclass(frozen=True, eq=False, repr=False)
class Completion:
    """One completion with its tokens.

    `text` is what it says, bytes that are no UTF-8 as replacement marks, and `bytes` the true ones. `tokens` is an
    array of shape (n_tokens,) with the fields of TOKEN_DTYPE: id, surprisal_bits, entropy_bits, varentropy_bits2, rank,
    top_ids and top_surprisals_bits (five each), and of what they were drawn from sampler_surprisal_bits and
    sampler_entropy_bits; all in bits of the raw model at temperature 1, but for the last two. Of a mixture, `beside`
    has its surprisals_bits under each model, shape (n_tokens, n_models), and of a routed one its source, else None.

    >>> import llama_diversity as ld
    >>> one = ld.model("scripted:base").sample("She was", n=1, max_tokens=6)[0]
    >>> one.tokens.shape, one.tokens["surprisal_bits"].dtype, len(one.pieces)
    ((6,), dtype('float32'), 6)
    """

    model: str
    index: int
    finish_reason: str  # "stop" or "length"
    bytes: bytes
    tokens: TokenStats = field(repr=False)
    _pieces: Mapping[int, Piece] = field(repr=False)
    _vocabulary: str = field(repr=False)
    beside: TokenStats | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """What it says."""
        return self.bytes.decode("utf-8", "replace")

    @property
    def pieces(self) -> list[str]:
        """Of each token what it adds to the text, a control token's name in angle brackets."""
        return [_spelled(self._pieces[int(one)]) for one in self.tokens["id"]]

    @public
    def heatmap(
        self,
        *,
        by: By = "surprisal",
        sampler: bool = False,
        maximum: float | None = None,
        palette: str = "magma",
        numbers: bool = False,
    ) -> Heatmap:
        """Its tokens coloured `by` surprisal, entropy, rank or probability; the parameters of `llamadiv heatmap`.

        Of a mixture's also `by` leaning (which model finds it likelier) and, of a routed one, source.

        Raises UnknownName, BadValue.
        """
        looks = Looks(palette=palette, numbers=numbers)
        picture = OneHeatmap(
            scored_tokens(self.tokens, self._pieces.__getitem__, self.beside),
            model=self.model,
            tokenizer=self._vocabulary,
            by=by,
            distribution="sampler" if sampler else "raw",
            maximum_bits=maximum,
            looks=looks,
        )
        return Heatmap(picture, f"by {by} of {_short(self.text)}")

    def _repr_html_(self) -> str:
        return self.heatmap()._repr_html_()

    def __rich__(self) -> TokenPicture:
        return self.heatmap().__rich__()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Completion {self.index} of {self.model}: {_short(self.text)}>"


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Sequence[Completion]):
    """Completions of one prompt, in the order of their indices; all in memory, some 70 bytes a token.

    `run` is the run's id in the store, `command` the command line that draws the same (None where only a call can).

    >>> import llama_diversity as ld
    >>> some = ld.model("scripted:base").sample("She was", n=20, max_tokens=8, seed=1)
    >>> some
    <Samples 20 of scripted:base for 'She was', at most 8 tokens, seed 1>
    >>> [len(one) for one in (some, some[:5], some.texts)]
    [20, 5, 20]
    """

    model: str
    recipe: Recipe
    _samples: tuple[Sample, ...]
    run: str
    command: str | None
    _pieces: Mapping[int, Piece]
    _controls: Mapping[int, str]

    @property
    def prompt(self) -> Prompt:
        """The prompt as the model saw it: `.rendered` is the whole text, `.ids` its tokens."""
        return self.recipe.prompt

    @property
    def texts(self) -> list[str]:
        """What each says; bytes that are no UTF-8 are replacement marks."""
        return [one.text.decode("utf-8", "replace") for one in self._samples]

    @property
    def answers(self) -> list[str | None]:
        """What each says outside of its thoughts, None where a thought never ends; of most models the texts."""
        return [None if one.is_thinking else one.text for one in map(self._answer, self._samples)]

    def to_arrow(self) -> pa.Table:
        """A pyarrow table with a row a token: recipe, model, index (of the sample), position, bytes, and TOKEN_DTYPE.

        >>> import llama_diversity as ld
        >>> some = ld.model("scripted:base").sample("She was", n=2, max_tokens=5)
        >>> some.to_arrow().num_rows
        10
        """
        from llama_diversity.render.parquet import table_of

        return table_of([Exported("sample", self.model, self.recipe, one, self._pieces) for one in self._samples])

    def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame. Raises ImportError where pandas is not installed."""
        return to_pandas(self.to_arrow())

    def to_dict(self) -> dict[str, Any]:
        """All of it as `llamadiv sample --json` has it, a list of samples under `samples`."""
        is_neutral = self.recipe.is_neutral
        described = [
            sample_object(one, self._pieces, neutral=is_neutral, answer=self._answer(one)) for one in self._samples
        ]
        return {"model": self.model, "prompt": self.prompt.text, "run": self.run, "samples": described}

    @public
    def heatmap(self, *, by: By = "surprisal", maximum: float | None = None, palette: str = "magma") -> Heatmap:
        """The first three, coloured; `some[i].heatmap()` shows any other. Raises UnknownName, BadValue."""
        picture = GenerationsHeatmap(
            [(f"#{one.index}", scored_tokens(one.tokens, self._pieces.__getitem__)) for one in self._samples[:_SHOWN]],
            tokenizer=self._vocabulary,
            by=by,
            maximum_bits=maximum,
            looks=Looks(palette=palette),
        )
        return Heatmap(picture, f"by {by} of {len(picture.generations)} samples")

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, at: int) -> Completion: ...
    @overload
    def __getitem__(self, at: slice) -> Samples: ...
    def __getitem__(self, at: int | slice) -> Completion | Samples:
        if isinstance(at, slice):
            return dataclasses.replace(self, _samples=self._samples[at])
        one = self._samples[at]
        return Completion(
            self.model, one.index, one.finish_reason, one.text, one.tokens, self._pieces, self._vocabulary, one.beside
        )

    def __iter__(self) -> Iterator[Completion]:
        return (self[at] for at in range(len(self)))

    @property
    def _vocabulary(self) -> str:
        return self.recipe.vocab_digest[:8]

    def _answer(self, sample: Sample) -> Answer:
        return self._reader.read(sample)

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self.recipe.prompt, self._controls, lambda ids: self._pieces)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_reader"}  # it is made again

    def _repr_html_(self) -> str:
        from llama_diversity.render.notebook import of_pictures

        return of_pictures([self.heatmap().__rich__()], self._title())

    def __rich__(self) -> TokenPicture:
        return self.heatmap().__rich__()

    def _title(self) -> str:
        asked = f"{counted(len(self), 'completion')} by {self.model} of {_short(self.prompt.text)}"
        left = f", the first {_SHOWN} of them" if len(self) > _SHOWN else ""
        return asked + left

    def __repr__(self) -> str:
        recipe = self.recipe
        seed = "greedy" if recipe.sampler.is_greedy else f"seed {recipe.seed}"
        longest = counted(recipe.max_tokens, "token")
        return f"<Samples {len(self)} of {self.model} for {_short(recipe.prompt.text)}, at most {longest}, {seed}>"


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """How likely a model finds a text.

    `total_bits` is its surprisal, `bits_per_byte` that over the bytes that have a context; `tokens` has shape
    (n_tokens,) and the fields of TOKEN_DTYPE (those of the sampler are nan: nothing was drawn); `start` is what
    precedes the text, as it is spelled.

    >>> import llama_diversity as ld
    >>> ld.model("scripted:base").score("She was a nurse.")
    <Score of 'She was a nurse.' by scripted:base: 24.22 bits, 1.514 bits per byte>
    """

    model: str
    text: str
    _vocabulary: str
    _scored: Scored

    @property
    def tokens(self) -> TokenStats:
        """The tokens' statistics, in bits."""
        return self._scored.tokens

    @property
    def pieces(self) -> list[str]:
        """Of each token what it adds to the text, a control token's name in angle brackets."""
        return [_spelled(self._scored.pieces[int(one)]) for one in self.tokens["id"]]

    @property
    def total_bits(self) -> float:
        """Summed surprisal of the tokens that have a context."""
        return self._scored.total_bits

    @property
    def bits_per_byte(self) -> float:
        """`total_bits` over the bytes of those tokens; nan where there are none."""
        return self._scored.bits_per_byte

    @property
    def start(self) -> str:
        """What precedes the text, as it is spelled; empty for nothing."""
        return self._scored.start

    @public
    def heatmap(
        self,
        *,
        by: By = "surprisal",
        against: Score | None = None,
        maximum: float | None = None,
        maximum_difference: float | None = None,
        palette: str = "magma",
        numbers: bool = False,
    ) -> Heatmap:
        """Its tokens coloured; with `against`, of the same text by another model, both and the difference in bits.

        Raises UnknownName, and BadValue where the two split the text into different tokens.
        """
        looks, mine = Looks(palette=palette, numbers=numbers), self._shown()
        if against is None:
            one = OneHeatmap(
                mine, model=self.model, tokenizer=self._vocabulary, by=by, maximum_bits=maximum, looks=looks
            )
            return Heatmap(one, f"by {by} of {_short(self.text)}")
        two = DifferenceHeatmap(
            against._shown(),
            mine,
            models=(against.model, self.model),
            tokenizer=self._vocabulary,
            maximum_bits=maximum,
            maximum_difference_bits=maximum_difference,
            looks=looks,
        )
        return Heatmap(two, f"of {_short(self.text)} under {against.model} and {self.model}")

    def _shown(self) -> Any:
        return scored_tokens(self.tokens, self._scored.pieces.__getitem__, self._scored.beside)

    def _repr_html_(self) -> str:
        return self.heatmap()._repr_html_()

    def __rich__(self) -> TokenPicture:
        return self.heatmap().__rich__()

    def __repr__(self) -> str:
        bits, rate = decimals(self.total_bits, ".2f"), decimals(self.bits_per_byte, ".3f")
        return f"<Score of {_short(self.text)} by {self.model}: {bits} bits, {rate} bits per byte>"


def _spelled(piece: Piece) -> str:
    return f"<{piece.control}>" if piece.control else piece.bytes.decode("utf-8", "replace")


def _short(text: str) -> str:
    """A text in quotes, on one line, at most 60 characters of it."""
    shown = visible(text)
    return repr(shown if len(shown) <= 60 else f"{shown[:57]}…")
