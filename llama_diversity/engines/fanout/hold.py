"""The models that a machine offers to drivers elsewhere: each in a process of its own, kept open for the next driver.

A driver names a model by its digest and how numbers are to be made; where the file lies, threads, layers on the GPU,
how many samples at once and memory are this machine's own affair. Two drivers of one model share its process. When
another model is asked for, those that no driver uses make room for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.lines import Line, WorkerLost
from llama_diversity.engines.fanout.processes import ProcessLine
from llama_diversity.engines.fanout.service import LEASE_SECONDS
from llama_diversity.engines.fanout.telling import error_in_words, other_version
from llama_diversity.engines.layout import EXACT_PARALLEL
from llama_diversity.errors import EngineError, LlamadivError
from llama_diversity.records import ModelRef

_AT_ONCE = 16  # messages to one process
_ANSWER_SECONDS = 50.0  # of a process: less than the driver waits
_LONGEST_WAIT_S = 5.0
_MOST_PROCESSES = 8  # that drivers use at a time
_MOST_DRIVERS, _MOST_CALLS = 256, 4096
_FORGET_SECONDS = 24 * 3600.0  # a driver that says nothing for so long has to open its model again

Said = dict[str, Any]
OnNote = Callable[[str], None]
Key = tuple[ModelRef, EngineOptions]


@dataclass
class _Held:
    """A process, and the model in it as soon as that is open."""

    key: Key
    line: Line
    check: Callable[[ModelRef], None]
    told: Said | None = None
    engine: int = 0
    share: float = 0.0
    error: Said | None = None  # why there will be none
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_light(self) -> bool:
        return self.key[1].vocabulary_only

    def open(self) -> None:
        """Open the model; takes its time."""
        model, options = self.key
        try:
            said = {"model": wire.of_model(model), "options": wire.of_options(options)}
            call = self.ask({"do": "begin", "verb": "open", "with": said})["call"]
            while not self.told:
                answer = self.ask({"do": "next", "call": call, "wait_s": 1.0})
                with self.changed:
                    self.share = answer["share"]
                for frame in map(wire.unpack, answer["frames"]):
                    if "error" in frame:
                        raise wire.to_error(frame["error"])
                    self.check(model)
                    self.engine = frame.pop("engine")
                    with self.changed:
                        self.told = frame
        except (WorkerLost, LlamadivError) as error:
            self.told = None
            words = error if isinstance(error, LlamadivError) else EngineError(f"Its process {error}.")
            self.error = wire.of_error(words)
        with self.changed:
            self.changed.notify_all()

    def ask(self, message: Mapping[str, Any]) -> Said:
        """What the process answers. Raises WorkerLost, and what the answer says is wrong."""
        return _ask(self.line, message)


@dataclass
class _Driver:
    """Somebody who has asked for a model: where from, and when last heard of."""

    held: _Held
    by: str
    heard_s: float = field(default_factory=time.monotonic)
    is_quiet: bool = False


class Hold:
    """Answers drivers; thread-safe. `models` is all that it opens, laid out as `layout` says.

    `check` raises LlamadivError where a model's file is no longer what its digest was taken of.
    """

    def __init__(
        self,
        models: Sequence[ModelRef],
        layout: EngineOptions,
        *,
        on_note: OnNote,
        check: Callable[[ModelRef], None] = lambda model: None,
        start: Callable[[int], Line] = ProcessLine,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._models, self._layout = models, layout
        self._on_note, self._check, self._start, self._lease_seconds = on_note, check, start, lease_seconds
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._held: dict[Key, _Held] = {}
        self._drivers: dict[int, _Driver] = {}
        self._calls: dict[int, tuple[int, int | Said]] = {}  # of which driver, and its number there or its failure
        self._looked: Said | None = None

    def answer(self, message: bytes, by: str) -> bytes:
        """The answer to a message of a driver at `by`; what is wrong with it is said in the answer."""
        return error_in_words(lambda: self._answer(wire.unpack(message), by))

    def tidy(self) -> None:
        """Say who has not been heard of, and forget who never will be. To be called now and then."""
        now_s = time.monotonic()
        with self._lock:
            drivers = list(self._drivers.items())
        for number, driver in drivers:
            if not driver.is_quiet and now_s - driver.heard_s > self._lease_seconds:
                driver.is_quiet = True
                self._note(driver, f"has not been heard of for {self._lease_seconds:.0f} s")
            if now_s - driver.heard_s > _FORGET_SECONDS:
                self._forget(number)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            held = list(self._held.values())
            self._held.clear()
        for one in held:
            one.line.close()

    # ---- messages

    def _answer(self, asked: Mapping[str, Any], by: str) -> Said:
        try:
            return self._answered(asked, by)
        except WorkerLost as lost:
            raise EngineError(f"The model's process {lost}.") from None

    def _answered(self, asked: Mapping[str, Any], by: str) -> Said:
        if asked.get("version") != wire.VERSION:
            raise other_version(asked.get("version"))
        match asked["do"]:
            case "look":
                return self._look()
            case "begin" if asked["verb"] == "open":
                return {"call": self._open(asked["with"], by)}
            case "begin":
                return {"call": self._begin(str(asked["verb"]), asked["with"])}
            case "next" | "feed" | "end":
                return self._pass_on(asked)
            case "leave":
                self._leave(asked["engine"])
                return {}
            case other:
                raise EngineError(f"A worker does not know how to {other!r}.")

    def _look(self) -> Said:
        if self._looked is None:
            with contextlib.closing(self._start(1)) as line:
                self._looked = _ask(line, {"do": "look"})
        names = [model.reference for model in self._models]
        return {**self._looked, "models": names, "n_drivers": self._n_at_work()}

    def _n_at_work(self) -> int:
        with self._lock:
            return sum(not driver.is_quiet for driver in self._drivers.values())

    def _open(self, said: Mapping[str, Any], by: str) -> int:
        """A call that ends when the model is open. Raises EngineError where too many are."""
        try:
            key = self._mine(wire.to_model(said["model"])), self._mine_of(wire.to_options(said["options"]))
        except LlamadivError as error:
            with self._lock:
                return self._new_call(0, {"error": wire.of_error(error)})
        with self._lock:
            if len(self._drivers) >= _MOST_DRIVERS:
                raise EngineError(f"The worker has {_MOST_DRIVERS} drivers. It is tried again.")
            held, unused = self._found_or_begun(key)
            number = next(self._numbers)
            self._drivers[number] = driver = _Driver(held, by)
            call = self._new_call(number, 0)
        for one in unused:
            one.line.close()
        self._note(driver, "is here for it")
        return call

    def _found_or_begun(self, key: Key) -> tuple[_Held, list[_Held]]:
        """What holds the model, and the processes that must make room for it."""
        model, options = key
        for fit in (key, (model, dataclasses.replace(options, vocabulary_only=False))):
            if fit in self._held:
                return self._held[fit], []
        in_use = [id(driver.held) for driver in self._drivers.values() if not driver.is_quiet]
        unused = [
            one for one in self._held.values() if id(one) not in in_use and one.is_light >= options.vocabulary_only
        ]
        if len(self._held) - len(unused) >= _MOST_PROCESSES:
            raise EngineError(f"The worker has {_MOST_PROCESSES} models in use. It is tried again.")
        for one in unused:
            self._drop(one)
        held = self._held[key] = _Held(key, self._start(_AT_ONCE), self._check)
        threading.Thread(target=held.open, daemon=True).start()
        return held, unused

    def _begin(self, verb: str, said: Mapping[str, Any]) -> int:
        number = int(said["engine"])
        driver = self._driver(number)
        answer = self._of(driver, {"do": "begin", "verb": verb, "with": {**said, "engine": driver.held.engine}})
        with self._lock:
            return self._new_call(number, int(answer["call"]))

    def _pass_on(self, asked: Mapping[str, Any]) -> Said:
        with self._lock:
            number, there = self._calls.get(asked["call"], (0, 0))
            if asked["do"] == "end":
                self._calls.pop(asked["call"], None)
        if isinstance(there, dict):
            return _ended(there)
        if not number:
            raise EngineError("The worker knows nothing of that call: it was ended, or the worker started anew.")
        driver = self._driver(number)
        if there:
            return self._of(driver, {**asked, "call": there})
        return self._opening(number, driver, min(float(asked.get("wait_s", 0)), _LONGEST_WAIT_S))

    def _opening(self, number: int, driver: _Driver, wait_s: float) -> Said:
        held = driver.held
        with held.changed:
            held.changed.wait_for(lambda: held.told or held.error, timeout=wait_s)
        if held.told:
            return _ended({"engine": number, **held.told})
        if held.error is None:
            return {"frames": [], "is_done": False, "n_lying": 0, "share": held.share}
        self._lose(held)
        return _ended({"error": held.error})

    def _leave(self, number: int) -> None:
        driver = self._drivers.get(number)
        if driver is not None:
            self._note(driver, "has left it")
            self._forget(number)

    # ---- who and what there is

    def _mine(self, model: ModelRef) -> ModelRef:
        """The model where it lies here. Raises EngineError."""
        if model.parts:
            return dataclasses.replace(model, parts=tuple(map(self._mine, model.parts)))
        for one in self._models:
            if (one.engine, one.weights) == (model.engine, model.weights):
                return dataclasses.replace(model, location=one.location)
        names = ", ".join(one.reference for one in self._models)
        digest = f" (sha256 {model.digest[:12]}...)" if model.digest else ""
        raise EngineError(
            f"The worker has no {model.reference}{digest}; it has {names}. Start it with -m {model.reference} as well."
        )

    def _mine_of(self, options: EngineOptions) -> EngineOptions:
        """Of a driver's options what is of a recipe, of this machine's all else."""
        mine, parallel = self._layout, self._layout.parallel
        return dataclasses.replace(
            options,
            n_threads=mine.n_threads,
            n_gpu_layers=None if options.exact else mine.n_gpu_layers,
            parallel=min(parallel, EXACT_PARALLEL) if parallel and options.exact else parallel,
            memory_budget_bytes=mine.memory_budget_bytes,
            workers=None,
        )

    def _driver(self, number: int) -> _Driver:
        with self._lock:
            driver = self._drivers.get(number)
            if driver is None:
                raise EngineError("The worker has no such model open.")
            driver.heard_s, driver.is_quiet = time.monotonic(), False
            return driver

    def _of(self, driver: _Driver, message: Mapping[str, Any]) -> Said:
        """What the driver's process answers; one that is lost is given up."""
        try:
            return driver.held.ask(message)
        except WorkerLost as lost:
            self._note(driver, f"has lost it: the process {lost}")
            self._lose(driver.held)
            raise

    def _lose(self, held: _Held) -> None:
        with self._lock:
            self._drop(held)
        held.line.close()

    def _drop(self, held: _Held) -> None:
        """It is nobody's any more."""
        if self._held.get(held.key) is held:
            del self._held[held.key]
        for number in [number for number, driver in self._drivers.items() if driver.held is held]:
            self._forget_now(number)

    def _forget(self, number: int) -> None:
        with self._lock:
            self._forget_now(number)

    def _forget_now(self, number: int) -> None:
        self._drivers.pop(number, None)
        for call in [call for call, (of, _) in self._calls.items() if of == number]:
            del self._calls[call]

    def _new_call(self, number: int, there: int | Said) -> int:
        if len(self._calls) >= _MOST_CALLS:
            raise EngineError(f"The worker has {_MOST_CALLS} calls in hand. It is tried again.")
        call = next(self._numbers)
        self._calls[call] = number, there
        return call

    def _note(self, driver: _Driver, words: str) -> None:
        """Nothing that a driver says is in it."""
        model, options = driver.held.key
        if not options.vocabulary_only:
            mine = [one.reference for one in self._models if one.location in _locations(model)]
            now = time.strftime("%H:%M:%S")
            with contextlib.suppress(OSError):  # nobody may read it
                self._on_note(f"{now} {' and '.join(mine)}: a driver at {driver.by} {words}.")


def _ask(line: Line, message: Mapping[str, Any]) -> Said:
    answer = wire.unpack(line.post(wire.pack({"version": wire.VERSION, **message}), timeout_s=_ANSWER_SECONDS))
    if "error" in answer:
        raise wire.to_error(answer["error"])
    return answer


def _locations(model: ModelRef) -> list[str]:
    return [place for part in model.parts for place in _locations(part)] if model.parts else [model.location]


def _ended(frame: Said) -> Said:
    """The answer to `next` that brings the one frame of a call."""
    return {"frames": [wire.pack(frame)], "is_done": True, "n_lying": 0, "share": 1.0}
