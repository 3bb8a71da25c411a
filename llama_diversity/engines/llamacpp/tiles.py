"""AMX tiles: whether the library survives a multiplication in them, and a thread where nobody else uses them.

The first is tried in a process of its own. GCC 12 compiles llama.cpp's tile code into one that dies ("Illegal
instruction"): its `_tile_loadconfig` says that it reads 8 bytes of the 64 that shape the tiles, so the others are never
written. `bin/setup` builds around it; somebody else's build may not. The second: llama.cpp shapes the tiles of a thread
once, at its first product there. Torch, whose products of bfloat16 shape them anew and let them go, must not have the
same thread in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import llama_cpp.llama_cpp as C

_Q4_0, _F32, _CPU = 2, 0, 0
_LOOK_S = 0.5  # an interrupt that comes just before a thread waits does not wake it
_MULTIPLY = """import json, runpy, sys
sys.path[:] = json.loads(sys.argv[1])
runpy.run_path(sys.argv[2])["_bindings"]()
runpy.run_path(sys.argv[3])["multiply"]()"""  # without the package, whose import takes most of the time


@functools.cache
def usable() -> bool:
    """Whether weights may be laid out for tiles, which is tried once a build; true of a library without them."""
    if not built_for_them():
        return True
    from llama_diversity import cache

    library = os.stat(C._lib._name)
    build = f"{C._lib._name} {library.st_size} {library.st_mtime_ns} {library.st_ino}"
    return cache.kept(("tiles", build), _survives)


@functools.cache
def built_for_them() -> bool:
    """Whether the library has code for AMX tiles, and this processor has the tiles."""
    return b"AMX_INT8 = 1" in C.llama_print_system_info()


def _survives() -> bool:
    here = Path(__file__)
    arguments = [json.dumps(sys.path), str(here.with_name("trial.py")), str(here)]
    try:
        done = subprocess.run([sys.executable, "-c", _MULTIPLY, *arguments], capture_output=True, timeout=60)
        return done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


_accompanied = threading.local()


def apart(
    function: Callable[..., Any], *arguments: Any, on_interrupt: Callable[[BaseException], None] | None = None
) -> Any:
    """What the call returns, made on the one thread that accompanies this one; called directly where no tiles are.

    An interrupt is raised when the call is over: until then the library reads what it was given. With `on_interrupt`
    it goes there at once instead, for a call that can be told to end.

    Loading belongs here too, since it multiplies and lays out with all threads: what two threads of a process call has
    two teams of OpenMP's, which are more than the cores, and then each lets go of its core after 100 looks.
    """
    if not built_for_them():
        return function(*arguments)
    if not hasattr(_accompanied, "by"):
        _accompanied.by = _Companion()
    return _accompanied.by.call(functools.partial(function, *arguments), on_interrupt)


class _Companion:
    """A thread that makes calls for another, and ends with it. The way there and back takes microseconds."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._answered: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=_serve, args=(self._asked, self._answered), name="llama.cpp", daemon=True).start()

    def call(self, function: Callable[[], Any], on_interrupt: Callable[[BaseException], None] | None) -> Any:
        work: Future[Any] = Future()
        interrupts: list[BaseException] = []
        self._asked.put(functools.partial(_settle, work, function))
        while not work.done():
            try:
                self._wait_for(work)
            except BaseException as error:  # noqa: BLE001  raised below
                (on_interrupt or interrupts.append)(error)
        if interrupts:
            raise interrupts[-1]
        return work.result()

    def _wait_for(self, work: Future[Any]) -> None:
        while not work.done():
            with contextlib.suppress(Empty):
                self._answered.get(timeout=_LOOK_S)

    def __del__(self) -> None:
        self._asked.put(None)


def _serve(asked: SimpleQueue[Callable[[], None] | None], answered: SimpleQueue[None]) -> None:
    while (call := asked.get()) is not None:
        call()
        answered.put(None)


def _settle(work: Future[Any], function: Callable[[], Any]) -> None:
    try:
        work.set_result(function())
    except BaseException as error:  # noqa: BLE001  raised where it was asked for
        work.set_exception(error)


class _Room(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def multiply() -> None:
    """Multiply 32 x 64 quantised weights, laid out for tiles, by four rows; nothing where there is no such layout."""
    ggml = C._lib  # symbols are looked for in the libraries that it stands on, too
    for name in (
        "init", "new_tensor_2d", "mul_mat", "new_graph", "backend_dev_by_type", "backend_dev_backend_reg",
        "backend_reg_get_proc_address", "backend_alloc_ctx_tensors_from_buft", "backend_cpu_buffer_type",
        "backend_dev_init",
    ):  # fmt: skip
        getattr(ggml, f"ggml_{name}").restype = ctypes.c_void_p
    ggml.ggml_backend_buft_name.restype = ctypes.c_char_p
    ggml.ggml_nbytes.restype = ctypes.c_size_t
    pointer = ctypes.c_void_p
    C.llama_backend_init()
    device = pointer(ggml.ggml_backend_dev_by_type(_CPU))
    layout = _tile_layout(ggml, device)
    if layout is None:
        return
    stored, computed = (pointer(ggml.ggml_init(_Room(1 << 20, None, True))) for _ in range(2))
    shape = (ctypes.c_int64(64), ctypes.c_int64(32))
    weights = pointer(ggml.ggml_new_tensor_2d(stored, _Q4_0, *shape))
    ggml.ggml_backend_alloc_ctx_tensors_from_buft(stored, layout)
    n_bytes = ctypes.c_size_t(ggml.ggml_nbytes(weights))
    ggml.ggml_backend_tensor_set(weights, bytes(n_bytes.value), ctypes.c_size_t(0), n_bytes)
    rows = pointer(ggml.ggml_new_tensor_2d(computed, _F32, shape[0], ctypes.c_int64(4)))
    graph = pointer(ggml.ggml_new_graph(computed))
    ggml.ggml_build_forward_expand(graph, pointer(ggml.ggml_mul_mat(computed, weights, rows)))
    ggml.ggml_backend_alloc_ctx_tensors_from_buft(computed, pointer(ggml.ggml_backend_cpu_buffer_type()))
    ggml.ggml_backend_graph_compute(pointer(ggml.ggml_backend_dev_init(device, None)), graph)


def _tile_layout(ggml: Any, device: ctypes.c_void_p) -> ctypes.c_void_p | None:
    """The kind of buffer that lays weights out for tiles."""
    registry = ctypes.c_void_p(ggml.ggml_backend_dev_backend_reg(device))
    found = ggml.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    kinds = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(found)(device)
    at = 0
    while kinds[at]:
        kind = ctypes.c_void_p(kinds[at])
        if ggml.ggml_backend_buft_name(kind) == b"AMX":
            return kind
        at += 1
    return None
