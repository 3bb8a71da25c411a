"""What is known of a vocabulary is kept by the file's digest: the same the second time, in a fraction of the time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_cpp as C
import pytest

from llama_diversity import paths
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.llamacpp.vocabulary import Pieces, read_vocabulary
from llama_diversity.lab.random_gguf import SHAPES, write_model
from llama_diversity.records import ModelRef, Piece

pytestmark = [pytest.mark.model, pytest.mark.own_cache]


@contextlib.contextmanager
def opened(path: Path, digest: str | None = None) -> Iterator[Engine]:
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    options = EngineOptions(vocabulary_only=True)
    with contextlib.closing(open_engine(ModelRef("test", "llamacpp", str(path), digest), options)) as engine:
        yield engine


def facts(path: Path) -> tuple:
    """All that an engine says of its vocabulary."""
    with opened(path) as engine:
        pieces = [engine.piece(token) for token in range(engine.facts.n_vocab)]
        return pieces, engine.ends, engine.facts, engine.tokenize("Once </s> upon"), engine.start()


def entries() -> list[Path]:
    return sorted((paths.cache_dir() / "results").glob("*.pickle"))


def test_the_second_opening_says_what_the_first_did(tiny_model: Path) -> None:
    first = facts(tiny_model)
    kept = {path: path.stat().st_mtime_ns for path in entries()}
    assert facts(tiny_model) == first
    assert set(entries()) == set(kept)
    assert first[0][:4] == [Piece(b"", "<unk>"), Piece(b"", "<s>"), Piece(b"", "</s>"), Piece(b"\x00")]


@pytest.mark.parametrize("harm", ["damaged", "cut", "of another kind", "none can be written"])
def test_without_a_cache_the_same_is_said(tiny_model: Path, harm: str) -> None:
    first = facts(tiny_model)
    for path in entries():
        content = path.read_bytes()
        if harm == "damaged":  # a letter of a piece: it could be read
            path.write_bytes(content.replace(b"<0x41>", b"<0x42>").replace(b"</s>", b"</t>"))
        elif harm == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif harm == "of another kind":
            path.write_bytes(b"\x80\x04K\x01.")  # a pickled 1
        else:
            path.unlink()
    if harm == "none can be written":
        (paths.cache_dir() / "results").rmdir()
        (paths.cache_dir() / "results").write_text("a file where the folder should be")
    assert facts(tiny_model) == first


def test_other_bytes_are_another_vocabulary(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny_model.read_bytes().replace(b"</s>", b"</t>"))
    with opened(tiny_model) as one, opened(other) as another:
        assert one.piece(2) == Piece(b"", "</s>")
        assert another.piece(2) == Piece(b"", "</t>")


def test_a_vocabulary_of_262144_tokens_costs_no_time_the_second_time(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=262_144, quantization="F16")
    params = C.llama_model_default_params()
    params.vocab_only = True
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    seconds = []
    for _ in range(2):
        before = time.process_time()
        read = read_vocabulary(C.llama_model_get_vocab(model), lambda key: None, ("its digest", "the build"))
        seconds.append(time.process_time() - before)
        assert Pieces(read)[262_143].bytes
    C.llama_model_free(model)
    assert seconds[1] < min(0.3, seconds[0] / 3)  # 1 s and 0.01 s on a laptop
