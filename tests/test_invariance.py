"""What --exact rests on: the rows of a file have the same bits in every batch, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_diversity.engines.layout import EXACT_PARALLEL, Work, choose
from llama_diversity.engines.llamacpp import invariance
from llama_diversity.engines.llamacpp.invariance import Kernels, kernels_for
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.lab.random_gguf import SHAPES, write_model

pytestmark = [pytest.mark.model, pytest.mark.own_cache]
DIGEST = "0" * 64


def answering(monkeypatch: pytest.MonkeyPatch, *answers: tuple[bool, bool, int, str, bool]) -> None:
    """The child answers so: first for the library's own layout of the weights, then for the plain one."""
    by_plain = dict(enumerate(answers))
    monkeypatch.setattr(invariance, "_known", {})
    monkeypatch.setattr(invariance, "_answer", lambda *about, plain: invariance._Answer(*by_plain[plain]))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # No layout of its own: one answer tells, and bits have no other name.
        ([(True, False, 64, "a", False)], Kernels(False, "", 256, 64)),
        ([(True, True, 28, "a", False)], Kernels(False, "", 0, 28)),
        # The fast layout holds: it serves, under another name where its bits are others.
        ([(True, False, 64, "a", True), (True, True, 64, "a", False)], Kernels(True, "", 256, 64)),
        ([(True, False, 64, "a", True), (True, True, 64, "b", False)], Kernels(True, "laid out anew", 256, 64)),
        # It does not: the plain one serves, and keeps the key it always had.
        ([(False, True, 64, "a", True), (True, False, 64, "b", False)], Kernels(False, "", 256, 64)),
    ],
)
def test_which_kernels_serve(
    answers: list, expected: Kernels, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, *answers)
    assert kernels_for(tiny_model, DIGEST, "f16", n_threads=1) == expected


def test_where_none_holds_it_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, (False, True, 64, "a", True), (False, True, 64, "b", False))
    with pytest.raises(EngineError, match=r"--exact cannot be promised here.*Leave out --exact"):
        kernels_for(tiny_model, DIGEST, "f16", n_threads=1)


def test_a_file_is_asked_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By digest, build, processor and type of the cache; a failure is not remembered."""
    asked: list[str] = []

    def answer(path: Path, digest: str, kv_type: str, n_threads: int, *, plain: bool) -> invariance._Answer:
        asked.append(kv_type)
        if len(asked) == 1:
            raise invariance._NoAnswer
        return invariance._Answer(True, False, 64, "a", False)

    monkeypatch.setattr(invariance, "_answer", answer)
    monkeypatch.setattr(invariance, "_known", {})
    assert kernels_for(tiny_model, DIGEST, "f16", n_threads=1) == Kernels()
    for _ in range(2):
        monkeypatch.setattr(invariance, "_known", {})  # as another process: the folder remembers
        assert kernels_for(tiny_model, DIGEST, "f16", n_threads=1).lone_cells == 256
    assert asked == ["f16", "f16"]
    kernels_for(tiny_model, DIGEST, "q8_0", n_threads=1)
    assert asked[2:] == ["q8_0"]


def test_the_test_tells_files_apart(tmp_path: Path) -> None:
    """Half precision has another kernel for a lone row than for several, 8 bits have one for all."""
    found = {}
    for quantization in ("F16", "Q8_0"):
        path = tmp_path / f"{quantization}.gguf"
        write_model(path, SHAPES["tiny"], n_vocab=300, quantization=quantization)
        found[quantization] = invariance._answer(path, DIGEST, "f16", 2, plain=True)
        assert found[quantization].holds
        assert found[quantization].n_rows == EXACT_PARALLEL
    assert found["F16"].digest != found["Q8_0"].digest
    assert (found["F16"].needs_twin, found["Q8_0"].needs_twin) == (True, False)


def test_no_more_rows_than_were_tested() -> None:
    work = Work(
        n_prompt=8,
        max_tokens=8,
        n_samples=200,
        n_ctx_model=64,
        kv_bytes_per_token=1.0,
        n_vocab=10,
        exact=True,
        most_parallel=64,
    )
    assert choose(work, parallel=None, budget_bytes=1e9, ceiling_bytes=1e9).parallel == 64
    with pytest.raises(BadValue, match="between 1 and 64, as many as --exact was tested with"):
        choose(work, parallel=65, budget_bytes=1e9, ceiling_bytes=1e9)
