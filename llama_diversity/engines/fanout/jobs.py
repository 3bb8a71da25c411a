"""What workers are asked to do: draw samples of a deal until none is left, or answer one question."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_diversity.engines import Step
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.crew import Crew, Said
from llama_diversity.engines.fanout.dealing import Deal
from llama_diversity.errors import EngineError, LlamadivError

_POLL_SECONDS = 0.2
_MOST_STEPS = 64  # that wait for whoever stores them


@dataclass
class Drawing:
    """The drawing of a deal by all workers together."""

    deal: Deal
    crew: Crew
    on_frame: Callable[[Said, str], None]
    errors: list[LlamadivError] = field(default_factory=list)
    is_cancelled: bool = False
    _steps: queue.Queue[Step] = field(default_factory=lambda: queue.Queue(_MOST_STEPS))

    def steps(self) -> Iterator[Step]:
        """What workers draw, as it comes; an empty step now and then where nothing does. Then the first error."""
        n_jobs = 0
        try:
            while self.deal.n_open or not self._steps.empty():
                while n_jobs < len(self.crew.workers):  # of which more may come
                    self.crew.put(DrawingJob(self))
                    n_jobs += 1
                self.deal.n_workers = max(1, len(self.crew.ready))
                try:
                    yield self._steps.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    self.crew.require_some()
                    yield Step(0, [])
            if self.errors:
                raise self.errors[0]
        finally:
            self.is_cancelled = True
            self.crew.forget_jobs()

    def put(self, step: Step) -> None:
        """Let it be stored; waits while much is."""
        while not self.is_cancelled:
            try:
                return self._steps.put(step, timeout=_POLL_SECONDS)
            except queue.Full:
                continue


@dataclass
class DrawingJob:
    """A worker's part in it: it takes what is left when it begins, and comes back for more."""

    drawing: Drawing
    _taken: set[tuple[str, int]] = field(default_factory=set)
    _recipe_key: str = ""  # of a single one
    _n_finished: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the drawing still goes on."""
        return not self.drawing.is_cancelled

    def request(self) -> tuple[str, Said] | None:
        """Recipes, and the indices to begin with; None where nothing is left."""
        deal = self.drawing.deal
        expected, taken = deal.share, deal.take()
        if not taken:
            return None
        self._taken = {(recipe.key, index) for recipe, indices in taken.items() for index in indices}
        self._recipe_key = next(iter(taken)).key
        self._n_finished = 0
        said = {
            "recipes": [recipe.to_json() for recipe in taken],
            "indices": list(taken.values()),
            "n": max(expected, len(self._taken)),
        }
        return "sample", said

    def heard(self, frame: Said, by: str) -> None:
        """Samples that are finished."""
        samples = [wire.to_sample(said) for said in frame["finished"]]
        fresh = [sample for sample in samples if (sample.recipe_key, sample.index) in self._taken]
        if len(fresh) < len(samples):
            raise EngineError("the worker drew what it was not asked for")
        self._taken -= {(sample.recipe_key, sample.index) for sample in fresh}
        self._n_finished += len(fresh)
        self.drawing.on_frame(frame, by)
        self.drawing.put(Step(int(frame["n_tokens"]), fresh))
        self.drawing.deal.finished(fresh)

    def more(self, n_lying: int) -> Sequence[int]:
        """Further indices of the one recipe."""
        fed = self.drawing.deal.more(n_lying)
        self._taken |= {(self._recipe_key, index) for index in fed}
        return fed

    def show(self, share: float) -> None:
        """Samples tell how far they are."""

    def done(self, error: LlamadivError | None) -> None:
        """What it did not finish is given up where the worker refused it, else left to others."""
        if error is None and self._taken and not self._n_finished and self.is_wanted:
            error = EngineError("A worker ended without a sample, and without saying why.")
        if error is not None:
            self.drawing.errors.append(error)
            self.drawing.deal.give_up(len(self._taken))
        else:
            self.drawing.deal.give_back(self._taken)
        self._taken = set()
        self._again()

    def given_back(self) -> None:
        """The worker was lost."""
        self.drawing.deal.give_back(self._taken)
        self._taken = set()
        self._again()

    def _again(self) -> None:
        if self.is_wanted:
            self.drawing.crew.put(self)


@dataclass
class Question:
    """One call of a verb, whichever worker answers; frames that were heard are not given twice."""

    verb: str
    said: Said
    crew: Crew
    on_share: Callable[[float], None] | None = None
    is_wanted: bool = True
    _frames: queue.Queue[Said | LlamadivError | None] = field(default_factory=lambda: queue.Queue(4))
    _n_heard: int = 0
    _n_now: int = 0

    def ask(self) -> Question:
        """Let a worker begin with it."""
        self.crew.put(self)
        return self

    def frames(self) -> Iterator[Said]:
        """The answer, as it comes. Raises what the worker raised, EngineError where none is left."""
        try:
            while True:
                try:
                    frame = self._frames.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    self.crew.require_some()
                    continue
                if frame is None:
                    return
                if isinstance(frame, LlamadivError):
                    raise frame
                yield frame
        finally:
            self.is_wanted = False

    @property
    def only(self) -> Any:
        """The answer of one frame with one value."""
        ((value,),) = [frame.values() for frame in self.frames()]
        return value

    def request(self) -> tuple[str, Said]:
        """The question, from its beginning."""
        self._n_now = 0
        return self.verb, self.said

    def heard(self, frame: Said, by: str) -> None:
        """A part of the answer; after a loss the first ones are known."""
        self._n_now += 1
        if self._n_now > self._n_heard:
            self._n_heard = self._n_now
            self._put(frame)

    def more(self, n_lying: int) -> Sequence[int]:
        """Nothing."""
        return ()

    def show(self, share: float) -> None:
        """How far the worker is."""
        if self.on_share is not None:
            self.on_share(share)

    def done(self, error: LlamadivError | None) -> None:
        """The answer is complete, or there is none."""
        self._put(error)

    def given_back(self) -> None:
        """Another worker shall answer."""
        if self.is_wanted:
            self.crew.put_back(self)

    def _put(self, frame: Said | LlamadivError | None) -> None:
        while self.is_wanted:
            try:
                return self._frames.put(frame, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
