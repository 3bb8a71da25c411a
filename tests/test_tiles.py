"""AMX tiles: a library that dies multiplying in them is used without; the one that bin/setup builds does not die."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from test_llamacpp import opened

from llama_diversity.engines.llamacpp import selftest, tiles
from llama_diversity.engines.llamacpp.engine import C

pytestmark = [pytest.mark.model, pytest.mark.own_cache]
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.fixture(autouse=True)
def asks_anew() -> Iterator[None]:
    usable = tiles.usable
    usable.cache_clear()
    yield
    usable.cache_clear()


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
