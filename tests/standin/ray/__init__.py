"""Stands in for ray where a test says what a cluster does: the few functions that the gateway uses.

STANDIN_RAY names a JSON file, read anew at each call. `nodes`: what `nodes()` gives. `init`: the class and words of
what `init()` raises. `dies` and `hangs`: after how many messages the first actor of a node does. `lacks`: of a node,
what its actors raise as they begin. What was asked for is written beside the file.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["STANDIN_RAY"])
_been: set[str] = set()  # nodes on which an actor has died or hung
_lock = threading.Lock()


def _said() -> dict[str, Any]:
    return json.loads(_FILE.read_text())


def _note(**what: Any) -> None:
    with _lock, _FILE.with_suffix(".log").open("a") as log:
        log.write(json.dumps(what) + "\n")


def _error(kind: str, words: str) -> Exception:
    return type(kind, (Exception,), {})(words)


def init(**settings: Any) -> None:
    os.write(1, b"Started a local Ray instance.\n")
    _note(init=settings, env={name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED")})
    if "init" in _said():
        raise _error(*_said()["init"])


def shutdown() -> None:
    _note(shutdown=True)


def nodes() -> list[dict[str, Any]]:
    return _said()["nodes"]


class _Method:
    def __init__(self, actor: _Actor, name: str) -> None:
        self._actor, self._name = actor, name

    def remote(self, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        threading.Thread(target=self._actor.call, args=(future, self._name, arguments), daemon=True).start()
        return future


class _Actor:
    def __init__(self, made: Any, node: str) -> None:
        self._made, self._node = made, node
        self._n_posts, self.is_dead = 0, False

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def call(self, future: Future[Any], name: str, arguments: tuple[Any, ...]) -> None:
        said = _said()
        self._n_posts += name == "post"
        for what in ("dies", "hangs"):
            if self._node not in _been and self._n_posts > said.get(what, {}).get(self._node, 10**9):
                _been.add(self._node)
                if what == "hangs":
                    return
                self.is_dead = True
        if self._node in said.get("lacks", {}):
            future.set_exception(_error("ActorDiedError", said["lacks"][self._node]))
        elif self.is_dead or self._node not in [node["NodeID"] for node in nodes() if node["Alive"]]:
            future.set_exception(_error("ActorDiedError", "The actor died unexpectedly before finishing this task."))
        else:
            future.set_result(getattr(self._made, name)(*arguments))


class _Kind:
    def __init__(self, kind: type) -> None:
        self._kind, self._settings = kind, dict[str, Any]()

    def options(self, **settings: Any) -> _Kind:
        self._settings = settings
        return self

    def remote(self, *arguments: Any) -> _Actor:
        node = self._settings.pop("scheduling_strategy").node_id
        _note(actor=node, **self._settings, arguments=arguments)
        return _Actor(self._kind(*arguments), node)


class _Task:
    def __init__(self, function: Any) -> None:
        self._function = function

    def options(self, **settings: Any) -> _Task:
        return self

    def remote(self, *arguments: Any) -> Future[Any]:
        _note(task=self._function.__name__)
        future: Future[Any] = Future()
        future.set_result(self._function(*arguments))
        return future


def remote(kind: Any) -> _Kind | _Task:
    return _Kind(kind) if isinstance(kind, type) else _Task(kind)


def get(future: Future[Any], timeout: float | None = None) -> Any:
    try:
        return future.result(timeout)
    except TimeoutError:
        raise _error("GetTimeoutError", "Get timed out: some object(s) not ready.") from None


def kill(actor: _Actor, *, no_restart: bool) -> None:
    assert no_restart
    actor.is_dead = True
    _note(killed=actor._node)
