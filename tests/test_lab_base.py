"""From text files to a model that llama.cpp loads, in one call and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from small_world import SMALL

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.errors import BadValue
from llama_diversity.lab.base import MODEL_FILE, REPORT_FILE, grow
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.records import ModelRef

pytestmark = pytest.mark.usefixtures("few_cards")


@pytest.mark.model
def test_a_grown_model_predicts_better_than_a_new_one_and_samples(small_world: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    new = grow(small_world, tmp_path / "new", schedule=Schedule(1, rows_a_step=4), architecture=SMALL)
    grown = grow(
        small_world,
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
    written = path.stat().st_mtime_ns
    schedule = Schedule(256 * 4 * 150, rows_a_step=4)
    assert grow(small_world, tmp_path / "grown", schedule=schedule, architecture=SMALL) == grown
    assert path.stat().st_mtime_ns == written  # what is there is not grown again
    assert read_gguf(path)[1]["corpus_sha256"] == grown["corpus_sha256"]
    engine = open_engine(ModelRef("grown", "llamacpp", str(path), "digest"), EngineOptions())
    try:
        bits = engine.score(engine.tokenize("Mary Paul was a writer who had a garden."))["surprisal_bits"]
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
    run: Callable[..., tuple[int, str, str]], small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_diversity.lab.base.Architecture", lambda: SMALL)
    code, out, _ = run("lab", "base", "--corpus", small_world, "--out", tmp_path, "--tokens", 1, "--json", "-q")
    assert code == 0
    assert json.loads(out)["n_params"] == 600 * 32 + 3 * 32 + 4 * 32 * 32 + 3 * 32 * 64
    code, out, _ = run("lab", "base", "--corpus", small_world, "--out", tmp_path, "--tokens", 1, "-q")
    assert f"Written: {tmp_path / MODEL_FILE}" in out
    written = (tmp_path / MODEL_FILE).stat().st_mtime_ns
    run("lab", "base", "--corpus", small_world, "--out", tmp_path, "--tokens", 1, "--seed", 2, "-q")
    assert (tmp_path / MODEL_FILE).stat().st_mtime_ns != written  # of another recipe it is
