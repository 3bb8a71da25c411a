"""The session that calls work in: where samples are kept, how engines are laid out, who hears of progress.

It is a context variable, so that sessions nest and threads do not disturb each other. What no session says the
environment does (LLAMADIV_STORE and its like), as it does for the command line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.interface.arguments import public
from llama_diversity.interface.wording import in_python
from llama_diversity.studies.pace import Standing
from llama_diversity.studies.session import Listener, Session

if TYPE_CHECKING:
    from llama_diversity.studies.session import OnBytes, Show

Heard = Callable[[str, float], object]
"""Hears what is being done, in words, and which share of it is, 0 to 1."""

_LOG = logging.getLogger("llama_diversity")
_LOG.addHandler(logging.NullHandler())  # else Python would print warnings that nobody asked for

_now: ContextVar[Session | None] = ContextVar("llama_diversity_session", default=None)
_entered: ContextVar[tuple[Token[Session | None], ...]] = ContextVar("llama_diversity_entered", default=())


def current(called: str = "") -> Session:
    """The session of this context; `called` is the function at work, for the record of its run."""
    session = _now.get() or _of_environment()
    return dataclasses.replace(session, command=("python", f"llama_diversity.{called}")) if called else session


@public
def session(
    *,
    store: str | Path | None = None,
    offline: bool | None = None,
    progress: Heard | Literal["bar", "none"] | None = None,
    parallel: int | None = None,
    threads: int | None = None,
    gpu_layers: int | None = None,
    flash_attention: bool | None = None,
    kv_type: Literal["f16", "f32", "q8_0", "q4_0"] | None = None,
    exact: bool | None = None,
    workers: int | str | None = None,
    stock: bool | None = None,
    bounds: int | None = None,
) -> Within:
    """Within it all calls use these settings; None leaves one as it is where it is made. Gives the store's path.

    It may be kept, and entered again.

    `store`: the file that keeps samples, made when the first are drawn. `offline`: never touch the network.
    `progress`: a function that is called as progress(what, share), with words and a share from 0 to 1; "bar" for a
    line on standard error; "none" for silence, which is the default. Remarks go to the logger `llama_diversity`.
    The others lay out the work as the options of the same name do: `parallel` sequences decoded together, CPU
    `threads`, `gpu_layers`, `flash_attention`, `kv_type` (precision of the KV cache), `exact` (CPU only: a sample is
    bit for bit the same in any batch), and `workers` (so many processes, or where others are).
    `stock` says of models on servers that these lack llamadiv's plugin, and `bounds` from how many likeliest tokens
    entropies are bounded there.

    Raises BadValue for settings that exclude each other, and NoHome where nobody says where to keep samples.

    >>> import llama_diversity as ld
    >>> with ld.session(store="study.sqlite") as store:
    ...     with ld.session(threads=2):
    ...         print(store)
    study.sqlite
    """
    around = current()
    layout: dict[str, Any] = {
        "parallel": parallel,
        "n_threads": threads,
        "n_gpu_layers": gpu_layers,
        "flash_attention": flash_attention,
        "kv_type": kv_type,
        "exact": exact,
        "workers": None if workers is None else str(workers),
        "stock": stock,
        "bounds": bounds,
    }
    changed = dataclasses.replace(
        around,
        named_store=around.named_store if store is None else Path(store),
        offline=around.offline if offline is None else offline,
        layout=dataclasses.replace(around.layout, **{name: one for name, one in layout.items() if one is not None}),
        listener=around.listener if progress is None else _listener(progress),
    )
    return Within(changed)


class Within(contextlib.ContextDecorator, AbstractContextManager[Path]):
    """A session, as often as it is entered, also inside itself; around a function as its decorator."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Path:
        with in_python():
            store = self._session.store
        _entered.set((*_entered.get(), _now.set(self._session)))
        return store

    def __exit__(self, *error: object) -> None:
        *others, token = _entered.get()
        _entered.set(tuple(others))
        _now.reset(token)


# ---- the environment


def _of_environment() -> Session:
    """The session where none is set. Raises BadValue for a variable that cannot be meant."""
    layout = {
        "parallel": _set("LLAMADIV_PARALLEL", _number_or_auto),
        "n_threads": _set("LLAMADIV_THREADS", int),
        "n_gpu_layers": _set("LLAMADIV_GPU_LAYERS", int),
        "flash_attention": _set("LLAMADIV_FLASH_ATTENTION", _is_on),
        "kv_type": _set("LLAMADIV_KV_TYPE", str),
        "exact": _set("LLAMADIV_EXACT", _is_on),
        "workers": _set("LLAMADIV_WORKERS", str),
        "stock": _set("LLAMADIV_STOCK", _is_on),
        "bounds": _set("LLAMADIV_BOUNDS", int),
    }
    is_offline = _set("LLAMADIV_OFFLINE", _is_on) or os.environ.get("HF_HUB_OFFLINE", "").upper() in _ON
    return Session(
        named_store=_set("LLAMADIV_STORE", Path),
        offline=bool(is_offline),
        layout=EngineOptions(**{name: one for name, one in layout.items() if one is not None}),
        listener=Remarks(),
    )


_ON, _OFF = {"1", "ON", "YES", "Y", "TRUE", "T"}, {"0", "OFF", "NO", "N", "FALSE", "F"}


def _set(variable: str, read: Callable[[str], Any]) -> Any:
    value = os.environ.get(variable, "")
    if not value:
        return None
    try:
        return read(value)
    except ValueError as error:
        raise BadValue(variable, value, "the environment sets it to what it cannot be; unset it") from error


def _is_on(value: str) -> bool:
    if value.upper() not in _ON | _OFF:
        raise ValueError
    return value.upper() in _ON


def _number_or_auto(value: str) -> int | None:
    return None if value == "auto" else int(value)


# ---- listeners


class Remarks(Listener):
    """Silent but for the log."""

    def say(self, words: str) -> None:
        _LOG.warning(words)

    def note(self, words: str) -> None:
        _LOG.info(words)


class _Telling(Remarks):
    """Tells a function of every step."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Show]:
        yield lambda share, words=None: _ignored(self._heard(title, share))

    @contextlib.contextmanager
    def sampling(self, title: str) -> Iterator[Callable[[Standing], None]]:
        yield lambda standing: _ignored(self._heard(title, standing.n_done / standing.n_total))

    @contextlib.contextmanager
    def moving_bytes(self) -> Iterator[OnBytes]:
        yield lambda label: lambda done, total: _ignored(self._heard(label, done / total if total else 1.0))


def _ignored(answer: object) -> None:
    """What a listener returns is its own affair."""


class _Bar(_Telling):
    """Shows each piece of work as a line on standard error, gone when it is done."""

    def __init__(self) -> None:
        super().__init__(lambda what, share: None)
        self._is_sampling = False

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Show]:
        if self._is_sampling:  # whose line stands already
            yield lambda share, words=None: None
            return
        with _line(title) as show:
            yield lambda share, words=None: show(share)

    @contextlib.contextmanager
    def sampling(self, title: str) -> Iterator[Callable[[Standing], None]]:
        with _line(title) as show:
            self._is_sampling = True
            try:
                yield lambda standing: show(standing.n_done / standing.n_total)
            finally:
                self._is_sampling = False


def _line(title: str) -> AbstractContextManager[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import Progress as Display

    from llama_diversity.render.safe import visible

    @contextlib.contextmanager
    def shown() -> Iterator[Callable[[float], None]]:
        with Display(console=Console(stderr=True, markup=False), transient=True) as display:
            task = display.add_task(visible(title), total=1.0)
            yield lambda share: display.update(task, completed=share)

    return shown()


def _listener(progress: Heard | Literal["bar", "none"]) -> Listener:
    if progress == "bar":
        return _Bar()
    if progress == "none":
        return Remarks()
    if callable(progress):
        return _Telling(progress)
    raise BadValue("progress", progress, 'give a function of (what, share), "bar" or "none"')
