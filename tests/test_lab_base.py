"""From text files to a model that llama.cpp loads, in one call and from the command line."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.errors import BadValue
from llama_diversity.lab import corpus
from llama_diversity.lab.base import MODEL_FILE, REPORT_FILE, grow
from llama_diversity.lab.corpus import SOURCES
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.lab.transformer import Architecture
from llama_diversity.records import ModelRef

NAMES = ("John", "Mary", "Peter", "Anna", "Paul", "Lisa")
WORDS = "house garden river street school hill dog cat horse bird book letter song story friend day night road".split()
SMALL = Architecture(n_vocab=600, n_embd=32, n_layer=1, n_head=2, n_ff=64, n_ctx=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world: sentences over few words, some for each source of the corpus."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)

    def sentence(name: str) -> str:
        return f"{name} was in the {rng.choice(WORDS)} with a {rng.choice(WORDS)} and saw the {rng.choice(WORDS)}."

    for source in SOURCES:
        blocks = []
        for _ in range(60):
            name = str(rng.choice(NAMES))
            he = "She had her" if name in ("Mary", "Anna", "Lisa") else "He had his"
            text = f"{sentence(f'{name} {rng.choice(NAMES)}')} {he} {rng.choice(WORDS)}. {he} {rng.choice(WORDS)}."
            blocks.append(f"Product: Book. Review: {text}" if source.kind == "review" else text)
        (folder / source.file).write_bytes(lzma.compress("\n\n".join(blocks).encode()))
    return folder


@pytest.fixture(autouse=True)
def few_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CARD_BYTES", 30_000)


@pytest.mark.model
def test_a_grown_model_predicts_better_than_a_new_one_and_samples(folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    new = grow(folder, tmp_path / "new", schedule=Schedule(1, rows_a_step=4), architecture=SMALL)
    grown = grow(
        folder,
        tmp_path / "grown",
        schedule=Schedule(256 * 4 * 150, rows_a_step=4),
        architecture=SMALL,
        on_stage=stages.append,
    )
    assert grown["held_out"]["all"]["bits_per_byte"] < 0.6 * new["held_out"]["all"]["bits_per_byte"]
    assert grown["held_out"]["all"]["n_documents"] == sum(
        q["n_documents"] for kind, q in grown["held_out"].items() if kind != "all"
    )
    assert 0 < grown["held_out_baselines_bits_per_byte"]["kneser_ney_5"] < 8
    assert json.loads((tmp_path / "grown" / REPORT_FILE).read_text()) == grown
    assert len(stages) == 4
    path = tmp_path / "grown" / MODEL_FILE
    assert read_gguf(path)[1]["corpus_sha256"] == grown["corpus_sha256"]
    engine = open_engine(ModelRef("grown", "llamacpp", str(path), "digest"), EngineOptions())
    try:
        bits = engine.score(engine.tokenize("Mary was in the garden with a dog and saw the house."))["surprisal_bits"]
        assert np.nanmean(bits) < 6  # a choice among 600 would cost 9.2
    finally:
        engine.close()


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="there is no such file"):
        grow(tmp_path, tmp_path / "out", schedule=Schedule(1))


def test_the_command_line_says_what_is_missing(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = run("lab", "base", "--corpus", tmp_path, "--out", tmp_path / "out", "-q")
    assert (code, out) == (2, "")
    assert "wiki_bios_trim1500.txt.xz" in err
    assert "Traceback" not in err


@pytest.mark.model
def test_the_command_line_grows_a_model(
    run: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_diversity.lab.base.Architecture", lambda: SMALL)
    code, out, _ = run("lab", "base", "--corpus", folder, "--out", tmp_path, "--tokens", 1, "--json", "-q")
    assert code == 0
    assert json.loads(out)["n_params"] == 600 * 32 + 3 * 32 + 4 * 32 * 32 + 3 * 32 * 64
    code, out, _ = run("lab", "base", "--corpus", folder, "--out", tmp_path, "--tokens", 1, "-q")
    assert f"Written: {tmp_path / MODEL_FILE}" in out
