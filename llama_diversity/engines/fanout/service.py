"""A worker's side: it holds engines and answers messages, whichever way they come.

Whatever takes time is a *call*: it is begun, its frames are fetched with `next`, and it is ended. Each call has a
thread of its own and computes ahead of what is fetched, up to a bound; the engines are used by one thread at a time. A
call that nobody asks about is ended, so that a driver which vanished costs nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.telling import Frame, described, error_in_words, looked, other_version
from llama_diversity.engines.together import Tray
from llama_diversity.errors import EngineError, LlamadivError
from llama_diversity.records import ModelRef, Recipe, Sample

_FRAME_SECONDS = 0.1  # of work in one frame of samples
_MOST_FRAMES = 16  # computed ahead
_MOST_BYTES = 128 << 20  # of these
_LONGEST_WAIT_S = 5.0
LEASE_SECONDS = 120.0  # a call that nobody asks about for so long is ended
_MOST_CALLS = 64
_MOST_PROMPTS = 2  # contexts that are kept for what may follow a prompt

Frames = Generator[Frame | None, None, None]  # None: nothing to send yet
OnLoad = Callable[[float], None]
Opener = Callable[[ModelRef, EngineOptions, OnLoad], Engine]


class Service:
    """Answers a driver; thread-safe. `opener` opens what a driver names, or raises why not."""

    def __init__(self, opener: Opener, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._opener = opener
        self._lease_seconds = lease_seconds
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._engines: dict[int, Engine] = {}
        self._following_prompts: dict[tuple[int, str], tuple[contextlib.ExitStack, Callable[[Any], Any]]] = {}
        self._computing = threading.Lock()  # engines are used by one thread at a time
        self._lock = threading.Lock()
        self._verbs: Mapping[str, Callable[[_Call, Mapping[str, Any]], Frames]] = {
            "open": self._open,
            "sample": self._sample,
            "score": self._score,
            "beside": self._beside,
            "score_each": self._score_each,
            "logits": self._logits,
            "reading": self._reading,
            "paths": self._paths,
        }

    def answer(self, message: bytes) -> bytes:
        """The answer to a message; what is wrong with it is said in the answer."""
        return error_in_words(lambda: self._answer(wire.unpack(message)))

    def close(self) -> None:
        """End what is in hand and free the engines."""
        with self._lock:
            calls, engines = list(self._calls.values()), list(self._engines.values())
            contexts = [stack for stack, _ in self._following_prompts.values()]
            for held in (self._calls, self._engines, self._following_prompts):
                held.clear()
        for call in calls:
            call.end()
        with self._computing:
            for stack in contexts:
                stack.close()
            for engine in engines:
                engine.close()

    def _answer(self, asked: Mapping[str, Any]) -> Frame:
        if asked.get("version") != wire.VERSION:
            raise other_version(asked.get("version"))
        match asked["do"]:
            case "look":
                return looked()
            case "begin":
                return {"call": self._begin(asked["verb"], asked["with"])}
            case "next":
                return self._call(asked["call"]).next(min(float(asked["wait_s"]), _LONGEST_WAIT_S))
            case "feed":
                self._call(asked["call"]).tray.put([int(index) for index in asked["indices"]])
                return {}
            case "end":
                with self._lock:
                    call = self._calls.pop(asked["call"], None)
                if call is not None:
                    call.end()
                return {}
            case "leave":
                self._leave(int(asked["engine"]))
                return {}
            case other:
                raise EngineError(f"A worker does not know how to {other!r}.")

    def _leave(self, number: int) -> None:
        """The driver needs the engine no more."""
        with self._lock:
            engine = self._engines.pop(number, None)
            names = [name for name in self._following_prompts if name[0] == number]
            contexts = [self._following_prompts.pop(name)[0] for name in names]
        with self._computing:
            for stack in contexts:
                stack.close()
            if engine is not None:
                engine.close()

    def _begin(self, verb: str, said: Mapping[str, Any]) -> int:
        work = self._verbs[verb]
        with self._lock:
            for number in [number for number, call in self._calls.items() if call.is_forgotten(self._lease_seconds)]:
                self._calls.pop(number).end()
            if len(self._calls) >= _MOST_CALLS:
                raise EngineError(f"The worker has {_MOST_CALLS} calls in hand. Wait until one has ended.")
            number = next(self._numbers)
            call = self._calls[number] = _Call(self._computing, self._lease_seconds)
        call.start(work(call, said))
        return number

    def _call(self, number: int) -> _Call:
        with self._lock:
            if number not in self._calls:
                raise EngineError("The worker knows nothing of that call: it was ended, or the worker started anew.")
            return self._calls[number]

    def _engine(self, said: Mapping[str, Any]) -> Engine:
        if said["engine"] not in self._engines:
            raise EngineError("The worker has no such model open.")
        return self._engines[said["engine"]]

    # ---- verbs: each a generator that a call runs

    def _open(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        model, options = wire.to_model(said["model"]), wire.to_options(said["options"])
        yield None
        engine = self._opener(model, options, call.show)
        with self._lock:
            number = next(self._numbers)
            self._engines[number] = engine
        yield {"engine": number, **described(engine)}

    def _sample(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        engine = self._engine(said)
        recipes = [Recipe.from_json(text) for text in said["recipes"]]
        if len(recipes) == 1:  # more may be fed while it is drawn
            call.tray = Tray(int(said["n"]), map(int, said["indices"][0]))
            works: list[tuple[Recipe, Any]] = [(recipes[0], call.tray)]
        else:
            works = list(zip(recipes, said["indices"], strict=True))
        return _sampled(engine, works, call)

    def _score(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        yield {"stats": self._engine(said).score(tuple(said["ids"]), on_progress=call.show)}

    def _beside(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        yield {"beside": self._engine(said).beside(tuple(said["ids"]))}

    def _score_each(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        texts = [tuple(ids) for ids in said["texts"]]
        yield {"surprisals": self._engine(said).score_each(texts, on_progress=call.show)}

    def _logits(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        for rows in self._engine(said).logits([tuple(ids) for ids in said["texts"]]):
            yield {"rows": wire.of_rows(rows)}

    def _reading(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        reading = self._engine(said).reading(tuple(said["ids"]), together=said["together"], fused=said["fused"])
        yield {"logits": reading}

    def _paths(self, call: _Call, said: Mapping[str, Any]) -> Frames:
        follow = self._following(said)
        yield {"log_p": follow([tuple(path) for path in said["paths"]])}

    def _following(self, said: Mapping[str, Any]) -> Callable[[Any], Any]:
        """What follows a prompt: opened when its name is first heard, and the one not asked for longest given up."""
        name = (said["engine"], str(said["name"]))
        found = self._following_prompts.pop(name, None)
        if found is None:
            while len(self._following_prompts) >= _MOST_PROMPTS:
                oldest = next(iter(self._following_prompts))
                self._following_prompts.pop(oldest)[0].close()
            stack = contextlib.ExitStack()
            after = self._engine(said).after(wire.to_prompt(said["prompt"]), longest=int(said["longest"]))
            found = stack, stack.enter_context(after)
        self._following_prompts[name] = found
        return found[1]


def _sampled(engine: Engine, works: list[tuple[Recipe, Any]], call: _Call) -> Frames:
    """Samples as they finish, some in a frame; what is fed meanwhile is drawn as well."""
    while True:
        n_tokens, finished, last_s = 0, list[Sample](), time.monotonic()
        for step in engine.sample_each(works):
            n_tokens += step.n_tokens
            finished += step.finished
            if time.monotonic() - last_s < _FRAME_SECONDS:
                yield None
                continue
            yield _frame(engine, n_tokens, finished, call)
            n_tokens, finished, last_s = 0, [], time.monotonic()
        yield _frame(engine, n_tokens, finished, call)
        if not call.tray.n_lying:
            return


def _frame(engine: Engine, n_tokens: int, finished: list[Sample], call: _Call) -> Frame:
    return {
        "n_tokens": n_tokens,
        "finished": [wire.of_sample(sample) for sample in finished],
        "layout": {**engine.layout},
        "stopwatch": asdict(engine.stopwatch),
    }


@dataclass
class _Call:
    """Work in hand, in a thread of its own: frames that wait to be fetched."""

    computing: threading.Lock
    lease_seconds: float
    tray: Tray = field(default_factory=lambda: Tray(0))
    share: float = 0.0  # of what says how far it is
    _frames: deque[bytes] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _is_done: bool = False
    _is_ended: bool = False
    _heard_s: float = field(default_factory=time.monotonic)

    def start(self, frames: Frames) -> None:
        """Begin to compute."""
        threading.Thread(target=self._compute, args=(frames,), daemon=True).start()

    def show(self, share: float) -> None:
        """How far it is."""
        self.share = share

    def next(self, wait_s: float) -> Frame:
        """The frames there are, at least one unless none comes within `wait_s`; and whether they are the last."""
        with self._changed:
            self._heard_s = time.monotonic()
            self._changed.wait_for(lambda: self._frames or self._is_done, timeout=wait_s)
            frames = list(self._frames)
            self._frames.clear()
            self._changed.notify_all()
            lying = {"n_lying": self.tray.n_lying, "share": self.share}
            return {"frames": frames, "is_done": self._is_done, **lying}

    def end(self) -> None:
        """Compute no more of it."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def is_forgotten(self, lease_seconds: float) -> bool:
        """Whether nobody has asked about it for so long."""
        return time.monotonic() - self._heard_s > lease_seconds

    def _compute(self, frames: Frames) -> None:
        try:
            while not (self._is_ended or self.is_forgotten(self.lease_seconds)):
                with self.computing:
                    frame = next(frames)
                if frame is not None:
                    self._put(frame)
        except StopIteration:
            pass
        except LlamadivError as error:
            self._put({"error": wire.of_error(error)})
        except Exception as error:  # noqa: BLE001  the driver must hear of it, whatever it is
            self._put({"error": wire.of_error(EngineError(f"The worker failed: {type(error).__name__}: {error}."))})
        finally:
            with self.computing:
                frames.close()
        with self._changed:
            self._is_done = True
            self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        """Let it wait to be fetched, once there is room for it."""
        packed = wire.pack(frame)
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(packed) or self._is_ended, timeout=self.lease_seconds)
            self._frames.append(packed)
            self._changed.notify_all()

    def _has_room(self, packed: bytes) -> bool:
        n_bytes = sum(map(len, self._frames)) + len(packed)
        return not self._frames or (len(self._frames) < _MOST_FRAMES and n_bytes < _MOST_BYTES)
