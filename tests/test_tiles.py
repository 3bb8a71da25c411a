"""AMX tiles: a library that dies multiplying in them is used without; the one that bin/setup builds does not die.

And it has a thread of its own for them, which an interrupt does not reach.
"""

from __future__ import annotations

import _thread
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_llamacpp import opened

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.llamacpp import selftest, tiles
from llama_diversity.engines.llamacpp.engine import C
from llama_diversity.lab.random_gguf import SHAPES, write_model
from llama_diversity.records import ModelRef

pytestmark = [pytest.mark.model, pytest.mark.own_cache]
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.fixture(autouse=True)
def asks_anew() -> Iterator[None]:
    asked = tiles.usable, tiles.built_for_them
    for question in asked:
        question.cache_clear()
    yield
    for question in asked:
        question.cache_clear()


def test_a_library_that_dies_is_used_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(C, "llama_print_system_info", lambda: b"AVX512 = 1 | AMX_INT8 = 1 | ")
    monkeypatch.setattr(tiles, "_MULTIPLY", DIES)
    assert not tiles.usable()
    tiles.usable.cache_clear()
    monkeypatch.setattr(tiles, "_MULTIPLY", "raise SystemExit('is not asked a second time')")
    assert not tiles.usable()
    monkeypatch.setattr(tiles, "_MULTIPLY", "pass")
    assert tiles._survives()


def test_a_library_without_tiles_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(C, "llama_print_system_info", lambda: b"AVX2 = 1 | ")
    monkeypatch.setattr(tiles, "_MULTIPLY", DIES)
    assert tiles.usable()


def test_the_layout_is_asked_for_by_what_was_found(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    asked = []
    real = C.llama_model_load_from_file
    monkeypatch.setattr(
        C, "llama_model_load_from_file", lambda path, params: asked.append(params.use_extra_bufts) or real(path, params)
    )
    for usable in (True, False):
        monkeypatch.setattr(tiles, "usable", lambda usable=usable: usable)
        with opened(tiny_model):
            pass
    assert asked == [True, False]


@pytest.mark.parametrize("has_tiles", [True, False])
def test_who_calls_computes_on_another_thread_where_there_are_tiles(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, *, has_tiles: bool
) -> None:
    """On the same one each time, to load and to decode, which is its own: two callers have two."""
    monkeypatch.setattr(tiles, "built_for_them", lambda: has_tiles)
    monkeypatch.setattr(tiles, "usable", lambda: False)
    threads: dict[int, set[int]] = {}
    called = []

    def watch(name: str) -> None:
        real = getattr(C, name)

        def watched(*arguments: object) -> object:
            threads.setdefault(caller_id, set()).add(threading.get_ident())
            called.append(name)
            return real(*arguments)

        monkeypatch.setattr(C, name, watched)

    watch("llama_decode")
    watch("llama_model_load_from_file")

    def score() -> None:
        nonlocal caller_id
        caller_id = threading.get_ident()
        with opened(tiny_model) as engine:
            engine.score(engine.tokenize("ab cd"))
            engine.score(engine.tokenize("ef"))

    caller_id = 0
    score()
    other = threading.Thread(target=score)
    other.start()
    other.join()
    assert len(threads) == 2
    assert called.count("llama_model_load_from_file") == 2 < called.count("llama_decode")
    (first,), (second,) = threads.values()
    assert first != second
    assert (({first}, {second}) == tuple({caller} for caller in threads)) is not has_tiles


def test_products_of_torch_in_between_do_no_harm(tmp_path: Path) -> None:
    """Where bfloat16 is multiplied in tiles, they are shaped anew and let go on the thread that does it."""
    torch = pytest.importorskip("torch")
    quantised = tmp_path / "quantised.gguf"
    write_model(quantised, SHAPES["tiny"], n_vocab=704, quantization="Q8_0", spread=3.0)
    found = []
    with opened(quantised, n_threads=1) as engine:
        for _ in range(2):
            found.append(engine.score(engine.tokenize("The little girl went home."))["surprisal_bits"][1:])
            half = torch.ones(64, 64, dtype=torch.bfloat16)
            assert (half @ half == 64).all()
    np.testing.assert_array_equal(*found)


def test_an_interrupt_is_raised_when_the_call_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "built_for_them", lambda: True)
    began, over = threading.Event(), threading.Event()

    def compute() -> None:
        began.set()
        while not interrupted.is_set():
            time.sleep(0.001)
        over.set()

    interrupted = threading.Event()

    def interrupt_twice() -> None:
        began.wait()
        _thread.interrupt_main()
        _thread.interrupt_main()
        interrupted.set()

    beside = threading.Thread(target=interrupt_twice)
    beside.start()
    with pytest.raises(KeyboardInterrupt):
        tiles.apart(compute)
    assert over.is_set()
    beside.join()
    assert tiles.apart(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        tiles.apart(lambda: 1 / 0)


@pytest.mark.parametrize("has_tiles", [True, False])
def test_loading_ends_at_an_interrupt(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, *, has_tiles: bool) -> None:
    """Of a large file too: it is not waited for. What was loaded by then is freed."""
    monkeypatch.setattr(tiles, "built_for_them", lambda: has_tiles)
    monkeypatch.setattr(tiles, "usable", lambda: False)
    freed = []
    monkeypatch.setattr(C, "llama_model_free", freed.append)

    def load(path: bytes, params: Any) -> int:
        """What takes 20 s unless it is told to stop, and gives a model at address 8, or 7 where it was waited for."""
        until = time.monotonic() + 20
        while params.progress_callback(0.5, None):
            if time.monotonic() > until:
                return 7
            time.sleep(0.001)
        return 8

    def interrupt(share: float) -> None:
        if not interrupted:
            interrupted.append(share)
            os.kill(os.getpid(), signal.SIGINT)

    interrupted: list[float] = []

    monkeypatch.setattr(C, "llama_model_load_from_file", load)
    with pytest.raises(KeyboardInterrupt):
        open_engine(ModelRef("test", "llamacpp", str(tiny_model), "d"), EngineOptions(), on_load=interrupt)
    assert freed == [8]


def test_the_installed_library_computes_right(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As bin/setup asks it; multiplying in tiles included, where it has them."""
    assert tiles.usable()
    assert selftest.main() == 0
    right = selftest._BITS
    monkeypatch.setattr(selftest, "_BITS", right + 1)
    assert selftest.main() == 1
    told = re.fullmatch(rf"it finds ([\d.]+) bits in a text of {right + 1:.2f}\n", capfd.readouterr().err)
    assert told
    assert float(told[1]) == pytest.approx(right, abs=selftest._TOLERANCE_BITS)


def test_what_the_library_is_held_against_is_what_torch_computes(refresh: ModuleType) -> None:
    """From the weights of the file, without llama.cpp; `bin/refresh selftest` writes it where another pair ships."""
    pytest.importorskip("torch")
    assert selftest._BITS == pytest.approx(refresh.bits_by_torch(), abs=0.006)
    assert selftest._BITS > 10  # so that a tolerance of half a bit tells a right library from a wrong one
