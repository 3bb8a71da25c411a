"""What fits a machine: sizes from little, memory, disk, times from one speed; and the command over all of it."""

from __future__ import annotations

import json
import shutil

import pytest

from llama_diversity import registry
from llama_diversity.lab.random_gguf import SHAPES, write_model
from llama_diversity.studies.paper.study import most_tokens
from llama_diversity.studies.session import Session
from llama_diversity.studies.suggest import study
from llama_diversity.studies.suggest.analysis import (
    FIXED_S,
    Bench,
    Machine,
    Speed,
    Suggestion,
    Suggestions,
    kv_bytes_per_token,
    seconds,
    taken,
)
from llama_diversity.studies.suggest.exhibits import duration, lines

GB = 10**9


def test_bytes_and_weights_from_a_name():
    # 7e9 weights of 4.89 bits: 7e9 * 4.89 / 8 = 4.27875e9 bytes
    by_name = taken("llama-2-7b.Q4_K_M.gguf", None, None, None)
    assert (by_name.size_bytes, by_name.n_params) == (pytest.approx(4.27875e9), pytest.approx(7e9))
    assert by_name.estimated == ("size", "weights", "memory")
    stated = taken("llama-2-7b.Q4_K_M.gguf", 4_081_004_224, None, None)
    assert stated.size_bytes == 4_081_004_224
    assert stated.n_params == pytest.approx(6.738e9, rel=0.02)  # Llama 2 7B has 6.74e9
    assert stated.estimated == ("weights", "memory")
    sibling = taken("x.Q8_0.gguf", None, None, None, sibling_bytes=85)
    assert (sibling.size_bytes, sibling.n_params, sibling.estimated[0]) == (85, 80, "size")
    assert taken("x.gguf", None, None, None) is None


@pytest.mark.parametrize("model", ["tiny-base", "tiny-aligned"])
def test_a_file_that_is_here_is_counted(model):
    entry = registry.load().find(model)
    found = study._taken(entry, [entry])
    assert found.size_bytes == entry.path.stat().st_size
    assert found.n_params == pytest.approx(3.5e6, rel=0.05)
    assert found.estimated == ()


def test_keys_and_values_are_what_llama_cpp_takes(tmp_path):
    """Two layers, as many heads for keys as the shape says, two bytes a number; and none where layers differ."""
    from llama_diversity import gguf

    path = tmp_path / "m.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    metadata = dict(gguf.read_header(path).metadata)
    name = metadata["general.architecture"]
    n_layers, n_heads = metadata[f"{name}.block_count"], metadata[f"{name}.attention.head_count"]
    n_kv, width = metadata[f"{name}.attention.head_count_kv"], metadata[f"{name}.embedding_length"]
    assert kv_bytes_per_token(metadata) == n_layers * n_kv * (width // n_heads) * 2 * 2
    assert kv_bytes_per_token({**metadata, f"{name}.attention.head_count_kv": [1, 2]}) is None
    assert kv_bytes_per_token({}) is None


def test_time_grows_with_tokens_and_weights():
    speed = Speed(50.0, 2e6)
    assert seconds(100, 2e6, speed) == 2.0
    assert seconds(100, 32e6, speed) == 16.0  # 16 ** 0.75 = 8 times as long


def test_tokens_of_the_paper_are_those_of_its_experiments():
    # personas 2 * 100 * 400, semantic 2 * 200 * 128, syntactic 2 * 100 * 64; of perturb 12 * 8 completions of 32, and
    # (2 arms + the base at a low temperature) * (as it is, changed) * 96 continuations of 64.
    assert most_tokens(2) == 80_000 + 51_200 + 12_800 + 3_072 + 3 * 2 * 96 * 64
    assert most_tokens(3) > 1.4 * most_tokens(2)


def suggestion(name: str, *, lacks: str | None = None, fetch: float = 0.0, memory: float = 1e8) -> Suggestion:
    return Suggestion(name, "pair", f"llamadiv reproduce --pair {name}", not fetch, fetch, memory, 90.0, (), lacks)


def shown(*found: Suggestion, bench: Bench | None = None, unknown: tuple[str, ...] = ()) -> list[str]:
    return list(lines(Suggestions(Machine(8 * GB, 7.2 * GB, 5 * GB, "/cache"), bench, found, unknown)))


def test_what_fits_is_a_table_and_what_does_not_says_why():
    said = shown(
        suggestion("small"),
        suggestion("middle", fetch=3 * GB, memory=2 * GB),
        suggestion("huge", fetch=60 * GB, memory=40 * GB, lacks="memory"),
        suggestion("wide", fetch=6 * GB, memory=2 * GB, lacks="disk"),
        bench=Bench("tiny-aligned", 3000.0, 3_500_000, 8.0),
        unknown=("mystery",),
    )
    assert max(map(len, said)) <= 80
    table = [line.split() for line in said if "llamadiv reproduce" in line]
    assert table == [
        ["here", "100", "MB", "2", "min", "llamadiv", "reproduce", "--pair", "small"],
        ["3.0", "GB", "2.0", "GB", "2", "min", "llamadiv", "reproduce", "--pair", "middle"],
    ]
    assert "huge does not fit: it needs 40 GB of memory." in said
    assert "wide does not fit: it takes 6.0 GB of disk, and 5.0 GB are free." in said
    assert said[-1].endswith("mystery")


def test_durations_are_rounded():
    assert [duration(one) for one in (1, 3599, 3600, 71 * 3600, 73 * 3600)] == [
        "1 min",
        "60 min",
        "1.0 h",
        "71 h",
        "3 days",
    ]


def test_what_does_not_fit_is_found_out(tmp_path):
    machine = Machine(1e9, 0.9e9, 10**8, str(tmp_path))
    assert study._lacks(0, 0.95e9, machine) == "memory"
    assert study._lacks(2e8, 0.5e9, machine) == "disk"
    assert study._lacks(0.5e8, 0.5e9, machine) is None


def test_every_pair_and_ladder_of_files_is_there(run):
    code, out, err = run("models", "suggest", "--no-bench", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    known = registry.load()
    named = {(one["kind"], one["name"]) for one in found["found"]}
    assert named == {("pair", name) for name in known.pairs if name != "scripted"} | {
        ("ladder", name) for name in known.ladders
    }
    tiny = next(one for one in found["found"] if one["name"] == "tiny")
    assert (tiny["is_here"], tiny["fetch_bytes"], tiny["seconds"], tiny["lacks"]) == (True, 0, None, None)
    paper = next(one for one in found["found"] if one["name"] == "llama-2-7b")
    assert paper["fetch_bytes"] == 2 * 4_081_004_224
    assert found["bench"] is None
    assert "tiny" in run("models", "suggest", "--no-bench", "-q")[1].split()


def test_a_pair_of_ones_own_whose_file_is_gone_is_left_out(own_folders, tmp_path, run):
    (own_folders / "llamadiv").mkdir()
    (own_folders / "llamadiv/models.toml").write_text(
        f'[models.a]\npath = "{tmp_path}/gone.gguf"\n[models.b]\nrepo = "org/b"\nfile = "b.gguf"\n'
        '[pairs.mine]\nbase = "a"\naligned = "b"\n'
    )
    code, out, _ = run("models", "suggest", "--no-bench")
    assert code == 0
    assert "Of unknown size" in out
    assert "mine" in out


@pytest.mark.model
def test_without_a_model_that_opens_there_are_no_times(monkeypatch, run):
    monkeypatch.setattr(study, "SHIPPED", "nothing")
    monkeypatch.setattr(study, "LARGEST_BENCHED_BYTES", 0)
    code, out, err = run("models", "suggest")
    assert code == 0
    assert err.startswith("No times, as nothing could be measured: There is no model called 'nothing'.")
    assert "llamadiv reproduce --pair tiny" in out


@pytest.mark.model
def test_the_bench_measures_a_model_that_is_here(tmp_path):
    found = study.suggest(Session(named_store=tmp_path / "s"), with_bench=True)
    bench = found.bench
    assert registry.load().find(bench.model).is_packaged
    assert bench.tokens_per_second > 0
    assert bench.seconds < 30
    tiny = next(one for one in found.found if (one.kind, one.name) == ("pair", "tiny"))
    assert tiny.seconds == pytest.approx(FIXED_S + most_tokens(2) / bench.tokens_per_second, rel=0.02)
    assert not (tmp_path / "s").exists()  # nothing is stored
    assert shutil.disk_usage(tmp_path).free == pytest.approx(found.machine.disk_free_bytes, rel=0.5)
