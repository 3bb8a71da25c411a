"""The workers of one engine: each is reached or started, opens the model, and takes one job after another.

A worker that is lost gives its job back, and is tried again later; a job is lost with no worker. What workers must
agree on, they are asked when they open the model; one that differs is refused by name.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import Line, Place, Places, Refused, WorkerGone, WorkerLost
from llama_diversity.errors import EngineError, LlamadivError
from llama_diversity.records import ModelRef

_ANSWER_SECONDS = 60.0  # within which any message must be answered
_PATIENCE_SECONDS = 600.0  # without a token or a part of the model loaded, a worker hangs
_WAIT_SECONDS = 1.0
_LEAVE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_LOOK_SECONDS = 5.0  # between looks whether there are more workers
_MOST_LOSSES = 3  # in a row without any work done; then a worker of ours is not started again
_MOST_LOSSES_ELSEWHERE = 10  # likewise of one that was there and had work each time
_UNMEANT = (KeyError, TypeError, ValueError, AttributeError, IndexError)  # of an answer that is none of ours

Said = dict[str, Any]


class Job(Protocol):
    """What one worker does at a time."""

    def request(self) -> tuple[str, Said] | None:
        """The verb and what goes with it, of a job that comes back what is left; None where nothing is."""
        ...

    def heard(self, frame: Said, by: str) -> None:
        """A frame of the answer, and the worker's name."""
        ...

    def more(self, n_lying: int) -> Sequence[int]:
        """What else the worker is to be fed, now that so much waits there."""
        ...

    def show(self, share: float) -> None:
        """How far the worker says it is, 0 to 1."""
        ...

    def done(self, error: LlamadivError | None) -> None:
        """The worker has ended it, or refused it with `error`."""
        ...

    def given_back(self) -> None:
        """The worker was lost with it."""
        ...

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        ...


@dataclass
class Worker:
    """One place, and what stands there."""

    place: Place
    number: int
    line: Line | None = None
    engine: int = 0
    told: Said | None = None  # what it said of itself; None until it is ready
    share: float = 0.0  # of the model loaded
    trouble: str | None = None  # why it is not there
    is_refused: bool = False
    n_losses: int = 0
    is_late: bool = False  # it came while the work went on, and nobody has heard of it yet
    error: LlamadivError | None = None  # with which it refused the model

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.place.name

    @property
    def refusal(self) -> EngineError:
        """That it does not take part, and why."""
        return EngineError(f"{self.name} {self.trouble}.")


class Crew:
    """Starts the workers, each in a thread that looks after it, and hands them jobs."""

    def __init__(
        self,
        places: Places,
        model: ModelRef,
        options: EngineOptions,
        *,
        on_note: Callable[[str], None],
        on_load: Callable[[float], None] | None = None,
    ) -> None:
        self._places, self._model, self._options = places, model, options
        self._on_note, self._on_load = on_note, on_load
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._is_closed = False
        self._last_ready_s = time.monotonic()
        self.standard: Said | None = None  # what all must agree on
        self.workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._welcome(places.now(options))
        try:
            self._await_first()
        except BaseException:
            self.close()
            raise
        if places.may_grow:
            threading.Thread(target=self._look_around, daemon=True).start()

    @property
    def ready(self) -> list[Worker]:
        """Those that can work now."""
        return [one for one in self.workers if one.told is not None]

    def put(self, job: Job) -> None:
        """Let some worker do it."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def put_back(self, job: Job) -> None:
        """Let another worker do it before all else."""
        with self._changed:
            self._jobs.appendleft(job)
            self._changed.notify_all()

    def forget_jobs(self) -> None:
        """Nobody waits any more for what no worker has begun."""
        with self._changed:
            self._jobs.clear()

    def require_some(self) -> None:
        """Raises EngineError where no worker is left that could come back, or none has for a long time."""
        with self._changed:
            now_s = time.monotonic()
            if self.ready:
                self._last_ready_s = now_s
            is_hopeful = any(not one.is_refused for one in self.workers)
            if is_hopeful and now_s - self._last_ready_s < _PATIENCE_SECONDS:
                return
        raise EngineError(f"No worker is left: {self._troubles()}")

    def close(self) -> None:
        """Let all of them go."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
        for worker, thread in zip(self.workers, self._threads, strict=True):  # none is added any more
            thread.join(2 * _WAIT_SECONDS)
            line = worker.line
            if thread.is_alive() and line is not None:  # it does not answer; what waits for it is told so
                line.close()
                thread.join(2 * _WAIT_SECONDS)

    # ---- who belongs to it

    def _welcome(self, places: Sequence[Place]) -> None:
        """Look after those that are new."""
        with self._changed:
            known = [one.place for one in self.workers]
            for place in places:
                if place not in known and not self._is_closed:
                    worker = Worker(place, len(self.workers), is_late=self.standard is not None)
                    thread = threading.Thread(target=self._look_after, args=(worker,), daemon=True)
                    self.workers.append(worker)
                    self._threads.append(thread)
                    thread.start()

    def _look_around(self) -> None:
        """Welcome those that come while the work goes on, until the crew is closed."""
        while not self._is_closed:
            with contextlib.suppress(LlamadivError):  # those that are there say what is wrong
                self._welcome(self._places.now(self._options))
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, timeout=_LOOK_SECONDS)

    # ---- the beginning

    def _await_first(self) -> None:
        """Wait until each worker is ready or known to be absent. Raises EngineError where none is, or they disagree."""
        with self._changed:
            while not all(one.told or one.trouble for one in self.workers):
                self._changed.wait(_WAIT_SECONDS)
                if self._on_load:
                    self._on_load(sum(one.told is not None or one.share for one in self.workers) / len(self.workers))
            if not self.ready:
                for one in self.workers:
                    if one.error is not None:
                        raise one.error if not isinstance(one.error, Refused) else one.refusal
                raise EngineError(f"No worker can be had: {self._troubles()}")
            refused = [one for one in self.workers if one.error is not None]
            if refused:
                raise refused[0].refusal
        for one in self.workers:
            if one.trouble:
                self._on_note(f"{one.name} {one.trouble}; it is tried again as the work goes on.")

    def _troubles(self) -> str:
        return "; ".join(f"{one.name} {one.trouble}" for one in self.workers if one.trouble) + "."

    # ---- one worker

    def _look_after(self, worker: Worker) -> None:
        """Reach it, let it work, and when it is lost reach it again, until the crew is closed."""
        pause_s = _FIRST_PAUSE_SECONDS
        while not self._is_closed and not worker.is_refused:
            try:
                self._reach(worker)
                pause_s = _FIRST_PAUSE_SECONDS
                self._work(worker)
            except WorkerLost as lost:
                self._lose(worker, lost)
            except LlamadivError as error:
                self._refuse(worker, error)
            except _UNMEANT as error:
                self._lose(worker, WorkerLost(f"answers what cannot be meant: {type(error).__name__}: {error}"))
            self._let_go(worker)
            if not self._is_closed and not worker.is_refused:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, timeout=pause_s * (0.5 + random.random()))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_SECONDS)

    def _reach(self, worker: Worker) -> None:
        worker.line = worker.place.connect()
        said = {"model": wire.of_model(self._model), "options": wire.of_options(self._options)}
        for frame in self._frames(worker, "open", said):
            worker.engine = int(frame.pop("engine"))
            self._compare(worker, frame)
            with self._changed:
                if worker.trouble or worker.is_late:
                    self._on_note(f"{worker.name} {'has joined' if worker.is_late else 'is back'}.")
                worker.told, worker.trouble, worker.is_late = frame, None, False
                self._changed.notify_all()

    def _compare(self, worker: Worker, told: Said) -> None:
        """Raises EngineError where it is not what the others are."""
        with self._changed:
            if self.standard is None:
                self.standard = {"by": worker.name, **told}
                return
            mine = self.standard
        for what in ("build", "facts", "fused", "ends", "capabilities"):
            if told[what] != mine[what]:
                ours, theirs = _difference(what, mine[what], told[what])
                if mine["by"] == worker.name:
                    raise Refused(f"is not what it was: its {ours} is another, {theirs}. Start it as before")
                raise Refused(
                    f"disagrees with {mine['by']} about the {ours}, so their samples would belong to two recipes: "
                    f"{theirs}. Leave one of them out, or give both the same llamadiv and model"
                )

    def _work(self, worker: Worker) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_closed)
                if self._is_closed:
                    return
                job = self._jobs.popleft()
            if not job.is_wanted:
                continue
            try:
                self._do(worker, job)
            except (WorkerLost, *_UNMEANT):
                job.given_back()
                raise

    def _do(self, worker: Worker, job: Job) -> None:
        request = job.request()
        if request is None:
            return
        verb, said = request
        try:
            for frame in self._frames(worker, verb, {"engine": worker.engine, **said}, job):
                job.heard(frame, worker.name)
                worker.n_losses = 0
        except LlamadivError as error:
            job.done(error)
        else:
            job.done(None)

    def _frames(self, worker: Worker, verb: str, said: Said, job: Job | None = None) -> Iterator[Said]:
        """The frames of a call, as they come. Raises WorkerLost, and what the worker raises."""
        call = self._post(worker, {"do": "begin", "verb": verb, "with": said})["call"]
        moved_s, share = time.monotonic(), 0.0
        while True:
            if self._is_closed or (job is not None and not job.is_wanted):
                self._post(worker, {"do": "end", "call": call})
                return
            answer = self._post(worker, {"do": "next", "call": call, "wait_s": _WAIT_SECONDS})
            worker.share = answer["share"]
            if answer["frames"] or answer["share"] != share:
                moved_s, share = time.monotonic(), answer["share"]
            for packed in answer["frames"]:
                frame = wire.unpack(packed)
                if "error" in frame:
                    raise wire.to_error(frame["error"])
                yield frame
            if answer["is_done"]:
                self._post(worker, {"do": "end", "call": call})
                return
            if job is not None:
                job.show(answer["share"])
            if time.monotonic() - moved_s > _PATIENCE_SECONDS:
                raise WorkerLost(f"has done nothing for {_PATIENCE_SECONDS:.0f} s")
            more = job.more(answer["n_lying"]) if job is not None else ()
            if more:
                self._post(worker, {"do": "feed", "call": call, "indices": list(more)})

    def _post(self, worker: Worker, message: Mapping[str, Any], *, timeout_s: float | None = None) -> Said:
        assert worker.line is not None
        try:
            packed = wire.pack({"version": wire.VERSION, **message})
            answer = wire.unpack(worker.line.post(packed, timeout_s=timeout_s or _ANSWER_SECONDS))
        except wire.Malformed as error:
            raise WorkerLost(f"answers what cannot be read: {error}") from error
        if "error" in answer:
            raise WorkerLost(f"refuses: {answer['error']['words']}")
        return answer

    def _lose(self, worker: Worker, why: WorkerLost) -> None:
        with self._changed:
            was_there, worker.told, worker.trouble = worker.told is not None, None, str(why)
            worker.n_losses += was_there or worker.place.is_ours
            worker.engine = 0
            is_hopeless = worker.n_losses >= (_MOST_LOSSES if worker.place.is_ours else _MOST_LOSSES_ELSEWHERE)
            worker.is_refused = is_hopeless or isinstance(why, WorkerGone)
            self._changed.notify_all()
        if was_there and not self._is_closed:
            self._on_note(f"{worker.name} {why}. What it had in hand goes to the others.")

    def _refuse(self, worker: Worker, error: LlamadivError) -> None:
        """It is not asked again. While all are waited for, whoever waits says so."""
        with self._changed:
            is_late = bool(self.ready)
            worker.told, worker.error, worker.is_refused = None, error, True
            worker.trouble = str(error) if isinstance(error, Refused) else f"says: {error}".removesuffix(".")
            self._changed.notify_all()
        if is_late and not self._is_closed:
            self._on_note(str(worker.refusal))

    def _let_go(self, worker: Worker) -> None:
        with self._changed:
            worker.told = None
        if worker.line is None:
            return
        if worker.engine and not worker.place.is_ours:  # it stays, and may give the memory to another driver
            with contextlib.suppress(WorkerLost, LlamadivError):
                self._post(worker, {"do": "leave", "engine": worker.engine}, timeout_s=_LEAVE_SECONDS)
        worker.line.close()
        worker.line, worker.engine = None, 0


def _difference(what: str, ours: Any, theirs: Any) -> tuple[str, str]:
    """What differs, and how."""
    if isinstance(ours, dict):
        name = next((name for name in ours if ours[name] != theirs.get(name)), what)
        return name, f"{ours.get(name)!r} there, {theirs.get(name)!r} here"
    return what, f"{ours!r} there, {theirs!r} here"
