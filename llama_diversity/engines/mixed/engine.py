"""The engine over several engines: each keeps its own contexts, and what it draws from is their mixture."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from llama_diversity.engines import (
    AT_ONCE,
    PLAIN,
    Capabilities,
    Engine,
    EngineOptions,
    NextTokens,
    Rows,
    Step,
    Stopwatch,
    TokenPath,
    open_engine,
)
from llama_diversity.engines.batching import Seats, draw
from llama_diversity.engines.draws import Float32, Float64, Reducer, score_text
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.engines.live import Kept, Live
from llama_diversity.engines.mixed.drawing import MixedSlots, mixer_of
from llama_diversity.engines.mixed.rows import beside, masses, mixed
from llama_diversity.engines.mixed.words import (
    BEGINNING,
    Here,
    Place,
    Vocabulary,
    after_token,
    following,
    here_of,
    routes,
)
from llama_diversity.engines.shared import one_by_one
from llama_diversity.engines.start import Start
from llama_diversity.engines.together import Together
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.mixtures import Rule
from llama_diversity.records import (
    Asking,
    ModelFacts,
    ModelRef,
    Piece,
    Prompt,
    Recipe,
    TokenStats,
    beside_dtype,
)

_BUILD = "mixed 2"  # changes with the arithmetic of a mixture
_CACHE_SHARE = 0.25  # of the machine's memory, for the caches of all models together


class MixedEngine:
    """Several models in memory, and the mixture of their next-token distributions that `model.location` describes."""

    def __init__(
        self, model: ModelRef, options: EngineOptions, *, on_load: Callable[[float], None] | None = None
    ) -> None:
        self.rule = Rule.from_json(model.location)
        self._reference = model.reference
        if options.memory_budget_bytes is None and all(one.engine == "llamacpp" for one in model.parts):
            share = int(_CACHE_SHARE * physical_memory_bytes() / len(model.parts))
            options = dataclasses.replace(options, memory_budget_bytes=share)
        self.parts: list[Engine] = []
        with contextlib.ExitStack() as opened:
            for number, part in enumerate(model.parts):
                heard = on_load and _share(on_load, number, len(model.parts))
                self.parts.append(opened.enter_context(contextlib.closing(open_engine(part, options, on_load=heard))))
            self._require_one_vocabulary()
            self.facts = self._facts(model)
            if self.rule.is_routed:
                _ = self._words  # refuses a vocabulary without words
            opened.pop_all()
        self.stopwatch = Stopwatch()
        for engine in self.parts:  # what each spends is the mixture's
            engine.stopwatch = self.stopwatch
        first = self.parts[0]
        self.capabilities = Capabilities(
            *(all(getattr(one.capabilities, name) for one in self.parts) for name in Capabilities.__annotations__)
        )
        self.ends = frozenset().union(*(one.ends for one in self.parts))
        builds = list(dict.fromkeys(one.build for one in self.parts))
        self.build = f"{_BUILD}: {' and '.join(builds)}"
        self.fused = first.fused
        self.layout: Mapping[str, Any] = {}
        self._reducer = Reducer(first.facts.n_vocab)

    def _require_one_vocabulary(self) -> None:
        first = self.parts[0].facts
        for part in self.parts[1:]:
            if part.facts.vocab_digest != first.vocab_digest:
                raise BadValue(
                    "the mixture",
                    self._reference,
                    f"{first.reference} and {part.facts.reference} have different vocabularies, so their tokens cannot "
                    "be mixed; choose models of one family (`llamadiv models ls`)",
                )

    def _facts(self, model: ModelRef) -> ModelFacts:
        facts = [part.facts for part in self.parts]
        names = " and ".join(one.reference for one in facts)
        return dataclasses.replace(
            facts[0],
            reference=model.reference,
            digest=model.digest,
            description=f"mixture of {names}, {self.rule.word()}",
            architecture="mixture",
            n_params=sum(one.n_params for one in facts),
            n_ctx_train=min(one.n_ctx_train for one in facts),
            has_chat_template=any(one.has_chat_template for one in facts),
            ends=tuple(dict.fromkeys(name for one in facts for name in one.ends)),
            notes=tuple(dict.fromkeys(f"{one.reference}: {note}" for one in facts for note in one.notes)),
        )

    @functools.cached_property
    def _words(self) -> Vocabulary:
        return Vocabulary.of(self._reference, self.facts.n_vocab, self.piece)

    # ---- text

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text, for the first model."""
        return self.parts[0].start(asking)

    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]:
        """Ids of `text` as the first model reads it."""
        return self.parts[0].tokenize(text, asking)

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` as each model reads it: with `chat` through its own template, and raw where it has none.

        In front stands the longest of the templates' readings, for who asks how and how long it was asked.
        """
        if not chat or not self.facts.has_chat_template:
            asked = [
                one.prompt(text, chat=chat, system=system, template_args=template_args, asking=asking)
                for one in self.parts
            ]
        else:
            asked = [
                one.prompt(text, chat=True, system=system, template_args=template_args, asking=asking)
                if one.facts.has_chat_template
                else one.prompt(text, asking=asking)
                for one in self.parts
            ]
        if len({one.ids for one in asked}) == 1:
            return asked[0]
        front = max(range(len(asked)), key=lambda one: (asked[one].mode == "chat", len(asked[one].ids)))
        others = (*asked[:front], *asked[front + 1 :])
        return dataclasses.replace(asked[front], others=others, reader=front)

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        return self.parts[0].piece(token_id)

    # ---- drawing

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """`sample_each` of one recipe."""
        return self.sample_each([(recipe, indices)])

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """Draw from the mixture; what was drawn all models read."""
        together = Together.of(works, n_ctx=self.facts.n_ctx_train)
        if together is None:
            return
        yield from draw(self, together, self._reducer)

    @contextlib.contextmanager
    def seats(self, together: Together, *, at_most: int | None = None) -> Iterator[Seats]:
        """The seats of all models side by side; as many sequences as the one with the fewest has."""
        with self.side_by_side([part.seats for part in self.parts], together, at_most=at_most) as seats:
            yield seats

    @contextlib.contextmanager
    def side_by_side(
        self, seated: Sequence[Callable[..., AbstractContextManager[Seats]]], together: Together, *, at_most: int | None
    ) -> Iterator[Seats]:
        """The seats that each model is asked for, as those of the mixture."""
        with contextlib.ExitStack() as opened:
            seats: list[Seats] = []
            for number, (part, seat) in enumerate(zip(self.parts, seated, strict=True)):
                mine = _as_read_by(together, number, n_ctx=part.facts.n_ctx_train)
                seats.append(opened.enter_context(seat(mine, at_most=at_most)))
                at_most = seats[-1].parallel
            self.layout = {**self.parts[0].layout, "parallel": at_most, "mixes": [p.layout for p in self.parts]}
            slots = MixedSlots(seats, together)
            yield Seats(
                slots,
                slots.first_rows,
                seats[-1].parallel,
                seats[0].grammar,
                mixer_of(self.rule, len(self.parts), lambda: self._words),
            )

    # ---- reading

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Statistics of `ids` under the mixture; where a word's model is drawn by chance, over both."""
        return score_text(ids, self.logits([ids]), self._reducer, on_progress)

    def beside(self, ids: tuple[int, ...]) -> TokenStats:
        """What each model says of `ids`, and of a routed mixture whose each word is, where that is certain."""
        found = np.zeros(len(ids), beside_dtype(len(self.parts)))
        found["surprisals_bits"][:1], found["source"] = np.nan, -1
        place = BEGINNING
        for pieces in zip(*(part.logits([ids]) for part in self.parts), strict=True):
            rows, start = [piece.logits for piece in pieces], pieces[0].start
            those = slice(start + 1, start + 1 + len(rows[0]))
            log_masses = [masses(some) for some in rows]
            found[those] = beside(rows, log_masses, range(len(rows[0])), ids[those], found.dtype)
            if self.rule.is_routed:
                shares = routes(self.rule, rows, log_masses, self._words).tolist()
                for at, (here, share) in enumerate(zip(here_of(rows, log_masses), shares, strict=True), start + 1):
                    place, found["source"][at] = after_token(here, place, share, ids[at], self._words)
        return found

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[Float32]:
        """The surprisals of `score`, text by text."""
        return one_by_one(self.score, texts, on_progress)

    def fits(self, grammar: str, texts: Sequence[bytes]) -> list[bool]:
        """By the vocabulary, which is one."""
        return self.parts[0].fits(grammar, texts)

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """The mixture's logits, as the models read the texts side by side."""
        places: dict[int, Place] = {}
        for pieces in zip(*(part.logits(texts) for part in self.parts), strict=True):
            text, start = pieces[0].text, pieces[0].start
            rows = [piece.logits for piece in pieces]
            ids = texts[text][start + 1 : start + 1 + len(rows[0])]
            mixture, places[text] = self._read(rows, ids, places.get(text, BEGINNING))
            yield Rows(text, start, mixture)

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> Float32:
        """The mixture of the models' readings."""
        rows = [part.reading(ids, together=together, fused=fused) for part in self.parts]
        return self._read(rows, ids[1:], BEGINNING)[0]

    def _read(self, rows: Sequence[Float32], ids: Sequence[int], place: Place) -> tuple[Float32, Place]:
        """The mixture of rows that follow each other, before each of `ids`; and where the text stands behind them."""
        if not self.rule.is_routed:
            return np.ascontiguousarray(mixed(self.rule, rows)), place
        found = np.empty_like(rows[0])
        log_masses = [masses(some) for some in rows]
        share = routes(self.rule, rows, log_masses, self._words).tolist()
        for at, (here, token) in enumerate(zip(here_of(rows, log_masses), ids, strict=True)):
            found[at] = following(here, place, share[at], self._words)
            place, _ = after_token(here, place, share[at], token, self._words)
        return found, place

    @contextlib.contextmanager
    def after(self, prompt: Prompt, *, longest: int) -> Iterator[NextTokens]:
        """What may follow under the mixture; where a word's model is drawn by chance, over both."""
        with contextlib.ExitStack() as opened:
            asked = [
                opened.enter_context(part.after(prompt.of(number), longest=longest))
                for number, part in enumerate(self.parts)
            ]
            if not self.rule.is_routed:
                yield lambda paths: _normal(mixed(self.rule, [_single(one(paths)) for one in asked]))
            else:
                yield _Walk(asked, self.rule, self._words).log_probabilities

    @contextlib.contextmanager
    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> Iterator[Live]:
        """What every model keeps, mixed. Raises EngineError for a mixture that gives each word to one model."""
        if self.rule.is_routed:
            raise EngineError(
                f"In {self._reference} each word is one model's, and a path that is taken by hand does not say whose. "
                "Name a mixture by lambda, or one of its models."
            )
        with contextlib.ExitStack() as opened:
            kept = [
                opened.enter_context(part.live(prompt.of(number), longest=longest, at_once=at_once)).kept
                for number, part in enumerate(self.parts)
            ]
            yield Live(self, prompt, _MixedKept(self, kept), longest=longest, reducer=self._reducer)

    def close(self) -> None:
        """Free the models."""
        self._reducer.close()
        for part in self.parts:
            part.close()


class _MixedKept:
    """What the models of a mixture keep of one prompt."""

    def __init__(self, engine: MixedEngine, kept: Sequence[Kept]) -> None:
        self._engine = engine
        self._kept = kept

    def after(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every next token under the mixture, shape (len(paths), n_vocab)."""
        return _normal(mixed(self._engine.rule, [_single(one.after(paths)) for one in self._kept]))

    def rows(self, path: TokenPath) -> Iterator[tuple[int, Float32]]:
        """Logits before each token of a path, as the models read it side by side."""
        for pieces in zip(*(one.rows(path) for one in self._kept), strict=True):
            rows = mixed(self._engine.rule, [rows for _, rows in pieces])
            yield pieces[0][0], np.ascontiguousarray(rows)

    def seats(self, together: Together, *, at_most: int | None = None) -> AbstractContextManager[Seats]:
        """Those of all models, side by side."""
        return self._engine.side_by_side([one.seats for one in self._kept], together, at_most=at_most)


class _Walk:
    """Routed paths: what may follow one depends on whose its last word is, so on every token before."""

    def __init__(self, asked: Sequence[NextTokens], rule: Rule, words: Vocabulary) -> None:
        self._asked = asked
        self._rule = rule
        self._words = words
        self._places: dict[TokenPath, Place] = {(): BEGINNING}

    def log_probabilities(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every next token, shape (paths, n_vocab)."""
        for n in range(max(map(len, paths), default=0)):
            here = list(
                dict.fromkeys(path[:n] for path in paths if len(path) > n and path[: n + 1] not in self._places)
            )
            known = dict(zip(here, self._rows(here), strict=True))
            for path in {path[: n + 1] for path in paths if path[:n] in known and len(path) > n}:
                rows, share = known[path[:n]]
                self._places[path], _ = after_token(rows, self._places[path[:n]], share, path[n], self._words)
        found = [
            following(rows, self._places[path], share, self._words)
            for path, (rows, share) in zip(paths, self._rows(paths), strict=True)
        ]
        return _normal(np.array(found, np.float32))

    def _rows(self, paths: Sequence[TokenPath]) -> list[tuple[Here, float]]:
        """What both models say behind each path, and the chance that a word that begins there is the base's."""
        if not paths:
            return []
        rows = [_single(one(paths)) for one in self._asked]
        log_masses = [masses(some) for some in rows]
        shares = routes(self._rule, rows, log_masses, self._words).tolist()
        return list(zip(here_of(rows, log_masses), shares, strict=True))


def _as_read_by(together: Together, number: int, *, n_ctx: int) -> Together:
    """The same works with the prompts that one model reads."""
    works = [
        (dataclasses.replace(recipe, prompt=recipe.prompt.of(number)), indices) for recipe, indices in together.works
    ]
    found = Together.of(works, n_ctx=n_ctx)
    assert found is not None
    return found


def _share(heard: Callable[[float], None], number: int, n: int) -> Callable[[float], None]:
    """Hears how far one of n models is, and tells how far all are."""
    return lambda share: heard((number + share) / n)


def _single(rows: Float64) -> Float32:
    return rows.astype(np.float32)


def _normal(logits: Float32) -> Float64:
    """log p in float64, shape (rows, n_vocab)."""
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))
