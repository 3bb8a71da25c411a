"""A prompt that stays decoded while somebody looks at what may follow it and lets samples begin behind any path.

It knows no model library: what an engine keeps decoded is a `Kept`. One that keeps nothing, and decodes all anew each
time, is `Anew`; everything here says the same of both, but for the noise of the arithmetic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from llama_diversity.engines import Engine, NextTokens, Step, TokenPath, Works
from llama_diversity.engines.batching import Batch, Seats
from llama_diversity.engines.draws import Float32, Float64, Reducer, score_text, unscored
from llama_diversity.engines.together import Together
from llama_diversity.errors import EngineError
from llama_diversity.records import Prompt, TokenStats


class Kept(Protocol):
    """What an engine keeps of a prompt and of the paths behind it."""

    def after(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every next token, shape (len(paths), n_vocab)."""
        ...

    def rows(self, path: TokenPath) -> Iterator[tuple[int, Float32]]:
        """Logits before each token of a path that is not empty, in pieces: (tokens before the first row, rows)."""
        ...

    def seats(self, together: Together, *, at_most: int | None = None) -> AbstractContextManager[Seats]:
        """As `Engine.seats`, of recipes whose prompts begin with the one that is kept."""
        ...


class Live:
    """One prompt of one engine, for one caller at a time."""

    def __init__(self, engine: Engine, prompt: Prompt, kept: Kept, *, longest: int, reducer: Reducer) -> None:
        self.prompt = prompt
        self.kept = kept
        self.longest = longest
        self._engine = engine
        self._reducer = reducer
        self._drawing: Generator[Step, None, None] | None = None

    def after(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every token behind each of `paths`, shape (len(paths), n_vocab), natural logarithms.

        Of the raw distribution, as `Engine.after` has it; the empty path is the prompt itself.
        """
        for path in paths:
            self._check_path(path)
        return self.kept.after(paths)

    def read(self, path: TokenPath) -> TokenStats:
        """What the model says of the tokens of a path, each given those before it, shape (len(path),).

        As `Engine.score` has it of the prompt with the path behind it.
        """
        self._check_path(path)
        if not path:
            return unscored(())
        pieces = ((0, *piece) for piece in self.kept.rows(path))
        return score_text((-1, *path), pieces, self._reducer, None)[1:]  # -1: whatever is before the path

    def sample_each(self, works: Works) -> Iterator[Step]:
        """`Engine.sample_each` of recipes whose prompts are this one with a path behind it.

        No path is decoded twice, and the prompt not again. Whoever asks anew ends what was being drawn before.
        """
        if self._drawing is not None:
            self._drawing.close()
        self._drawing = self._steps(Together.of(works, n_ctx=self._engine.facts.n_ctx_train))
        return self._drawing

    def _steps(self, together: Together | None) -> Generator[Step, None, None]:
        if together is None:
            return
        self._check(together)
        with self.kept.seats(together) as seats:
            engine = self._engine
            completions = together.completions(piece=engine.piece, ends=engine.ends.__contains__)
            batch = Batch(seats, completions, together=together, reducer=self._reducer, stopwatch=engine.stopwatch)
            yield from batch.steps()

    def _check(self, together: Together) -> None:
        for recipe, _ in together.works:
            for asked, mine in zip(recipe.prompt.readings, self.prompt.readings, strict=True):
                n = len(mine.ids)
                if asked.ids[:n] != mine.ids:
                    raise ValueError("a prompt does not begin with the one that is kept")
                self._check_path(asked.ids[n:])
                self._check_length(len(asked.ids) - n + recipe.max_tokens)
        if together.recipe.grammar is not None:
            raise EngineError("What begins behind a path follows no grammar. `llamadiv sample` draws within one.")

    def _check_path(self, path: TokenPath) -> None:
        self._check_length(len(path))
        for token in path:
            if not 0 <= token < self._engine.facts.n_vocab:
                raise ValueError(f"no token is numbered {token}")

    def _check_length(self, n: int) -> None:
        if n > self.longest:
            raise ValueError(f"{n} tokens behind the prompt are more than the {self.longest} there is room for")


class Anew:
    """Nothing is kept: every path is decoded from its beginning, as for who asks the engine once."""

    def __init__(self, engine: Engine, prompt: Prompt, after: NextTokens, *, at_once: int) -> None:
        self._engine = engine
        self._prompt = prompt
        self._after = after
        self._at_once = at_once

    def after(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every next token, shape (len(paths), n_vocab)."""
        return self._after(paths)

    def rows(self, path: TokenPath) -> Iterator[tuple[int, Float32]]:
        """Logits before each token of a path, in pieces."""
        n_before = len(self._prompt.ids) - 1
        for _, start, logits in self._engine.logits([(*self._prompt.ids, *path)]):
            n_cut = min(max(0, n_before - start), len(logits))
            if n_cut < len(logits):
                yield start + n_cut - n_before, logits[n_cut:]

    def seats(self, together: Together, *, at_most: int | None = None) -> AbstractContextManager[Seats]:
        """The engine's own."""
        return self._engine.seats(together, at_most=min(at_most or self._at_once, self._at_once))


@contextlib.contextmanager
def anew(engine: Engine, prompt: Prompt, *, longest: int, at_once: int, reducer: Reducer) -> Iterator[Live]:
    """`Engine.live` of an engine that keeps nothing."""
    with engine.after(prompt, longest=longest) as after:
        yield Live(engine, prompt, Anew(engine, prompt, after, at_once=at_once), longest=longest, reducer=reducer)
