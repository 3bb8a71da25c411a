"""bin/bench: how it reads options and others' output, ratios beside an earlier tree, words on given numbers."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import gguf
import pytest

BIN = Path(__file__).parent.parent / "bin"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BIN))
    return importlib.import_module("bench")


@pytest.fixture
def earlier(bench: ModuleType) -> ModuleType:
    return importlib.import_module("bench_earlier")


def tree(folder: Path, script: str = "", *, exit_code: int = 0, answer: str = "", said: str = "") -> Path:
    """A repository with a bin/setup, and a package that answers as `llamadiv` does."""
    package = folder / "llama_diversity"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        f"import sys\nprint({answer!r})\nprint({said!r}, file=sys.stderr)\nsys.exit({exit_code})\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin/setup").write_text(f"#!/bin/sh\nset -e\n{script}\n")
    (folder / "bin/setup").chmod(0o755)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    return folder


# ---- options and others' output


def test_numbers_and_parts_are_read(bench: ModuleType) -> None:
    assert bench.numbers("1,8,64") == [1, 8, 64]
    assert bench.parts("sampling,exact") == ["sampling", "exact"]
    with pytest.raises(argparse.ArgumentTypeError, match="speed is none of sampling, diff"):
        bench.parts("speed,diff")


def test_the_one_line_that_is_asked_for_is_read(bench: ModuleType) -> None:
    said = "import sys; print('loading'); print('{\"speed_tg\": 12.5}', file=sys.stderr)"
    assert json.loads(bench.output([sys.executable, "-c", said], line="{"))["speed_tg"] == 12.5
    with pytest.raises(SystemExit, match="no such file"):
        bench.output([sys.executable, "-c", "raise SystemExit('no such file')"])


def test_the_peer_is_asked_for_as_many_sequences_and_tokens(bench: ModuleType, tmp_path: Path) -> None:
    program = tmp_path / "peer"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "value = lambda name: int(sys.argv[sys.argv.index(name) + 1])\n"
        "assert value('-c') == 2048 and value('-t') == 2 and '-pps' in sys.argv\n"
        "print(json.dumps({'speed_tg': 1000 * value('-npl') + value('-ntg')}))\n"
    )
    program.chmod(0o755)
    settings = argparse.Namespace(max_tokens=64, threads=2)
    assert bench.reference(str(program), Path("m.gguf"), 8, settings) == 8064


def test_ratios_are_medians_over_the_rounds(bench: ModuleType) -> None:
    rounds = [
        {"parallel": 1, "llamadiv": 90.0, "batched_bench": 100.0, "naive": 9.0},
        {"parallel": 1, "llamadiv": 50.0, "batched_bench": 50.0, "naive": 10.0},
        {"parallel": 1, "llamadiv": 80.0, "batched_bench": 100.0, "naive": 10.0},
        {"parallel": 8, "llamadiv": 1.0, "batched_bench": 9.0, "naive": 1.0},
    ]
    found = bench.summary(1, rounds)
    assert found["ratio_to_batched_bench"] == 0.9
    assert found["ratio_to_naive"] == 8.0
    assert found["llamadiv_tokens_per_second"] == 80.0


# ---- beside an earlier tree


def test_speed_is_what_the_program_answers(earlier: ModuleType, tmp_path: Path) -> None:
    code = tree(tmp_path / "now", answer='{"tokens_per_second": 17.5}')
    assert earlier.speed_of(earlier.started(earlier.sampling(code, Path("m.gguf")), code)) == 17.5
    failing = tree(tmp_path / "failing", exit_code=3, said="no room")
    with pytest.raises(SystemExit, match="(?s)failed:.*no room"):
        earlier.speed_of(earlier.started(earlier.sampling(failing, Path("m.gguf")), failing))


def test_many_prompts_are_held_against_one_and_against_earlier(bench: ModuleType) -> None:
    prompts = importlib.import_module("bench_prompts")
    names = ("each_drawn", "each_through", "one_drawn", "one_through", "earlier_drawn", "earlier_through")
    rounds = [dict(zip(names, row, strict=True)) for row in ((90, 190, 150, 200, 30, 90), (80, 180, 150, 200, 20, 60))]
    of_cpu = [{f"{name}_cpu": value / 2 for name, value in row.items()} for row in rounds]
    of_cpu[0]["earlier_drawn_cpu"] = 10  # of 45; and 10 of 40
    found = prompts.summary([{**row, **more} for row, more in zip(rounds, of_cpu, strict=True)])
    assert found["ratio_to_earlier"] == 3.5  # of 3 and 4
    assert found["ratio_to_one"] == 0.925  # of 0.95 and 0.9
    assert found["ratio_to_earlier_cpu"] == 4.25  # of 4.5 and 4
    assert found["each_drawn_tokens_per_second"] == 85
    assert "ratio 3.5" in prompts.table(found)[1]
    assert prompts.table(found)[2] == "by seconds of the processor: 4.2 and 0.93"


def test_a_program_that_stands_still_has_no_speed(earlier: ModuleType, tmp_path: Path) -> None:
    code = tree(tmp_path / "still")
    (code / "llama_diversity/__main__.py").write_text("import time\ntime.sleep(60)\n")
    assert earlier.speed_of(earlier.started(earlier.sampling(code, Path("m")), code), limit_s=0.5) == 0


def test_exact_is_a_share_of_the_default_wherever_it_is_promised(
    earlier: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = tree(tmp_path / "now")
    (now / "llama_diversity/__main__.py").write_text(
        "import sys\nprint('{\"tokens_per_second\": %d}' % (19 if '--exact' in sys.argv else 20))\n"
    )
    refusing = tree(tmp_path / "then", exit_code=1, said="m: --exact cannot be promised here: in a test, ...")
    monkeypatch.setattr(earlier, "ROOT", now)
    assert earlier.exact([Path("a.gguf")], refusing, 2) == {
        "a.gguf": {
            "holds_now": True,
            "exact_to_default_now": 0.95,
            "holds_earlier": False,
            "exact_to_default_earlier": None,
        }
    }
    with pytest.raises(SystemExit, match="(?s)failed:.*out of memory"):
        earlier.exact([Path("a.gguf")], tree(tmp_path / "broken", exit_code=1, said="out of memory"), 1)


def test_exact_models_are_of_the_types_they_are_named_for(earlier: ModuleType, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    models = earlier.exact_models(tmp_path / "models", "tiny", 300, own)
    assert models[-1] == own
    found = {
        path.name: {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors if "norm" not in tensor.name}
        for path in models[:-1]
    }
    assert found == {f"tiny-300-{kind.lower()}.gguf": {kind} for kind in ("Q4_1", "Q5_1", "Q8_0", "F16")}
    written = [path.stat().st_mtime_ns for path in models[:-1]]
    earlier.exact_models(tmp_path / "models", "tiny", 300, None)
    assert [path.stat().st_mtime_ns for path in models[:-1]] == written


def test_setup_runs_from_nothing_and_is_a_ratio_of_processor_time(
    earlier: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two scripts that compute for 0.4 and 0.8 seconds, in a child of theirs, and find no cache of the other's."""
    compute = "import os, time\nwhile time.process_time() < %s: pass"
    script = f"""
test ! -e "$PIP_CACHE_DIR" && mkdir "$PIP_CACHE_DIR"
test ! -e .venv && test -f bin/setup && test "$LLAMADIV_WHEELS" = none
"$LLAMADIV_PYTHON" -I -S -c '{compute}'
"""
    now, then = (tree(tmp_path / name, script % seconds) for name, seconds in (("now", 0.4), ("then", 0.8)))
    monkeypatch.setattr(earlier, "ROOT", now)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path))
    found = earlier.setup(then)
    assert found["now_cpu_seconds"] == pytest.approx(0.4, abs=0.15)
    assert found["earlier_cpu_seconds"] == pytest.approx(0.8, abs=0.15)
    assert found["to_earlier"] == found["now_cpu_seconds"] / found["earlier_cpu_seconds"]
    assert not (now / ".venv").exists()


def test_a_setup_that_fails_is_no_figure(earlier: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "ROOT", tree(tmp_path / "now", "echo no compiler >&2; exit 1"))
    with pytest.raises(SystemExit, match="(?s)setup failed:.*no compiler"):
        earlier.setup(tree(tmp_path / "then"))


def test_a_checkout_is_of_the_commit_and_goes_again(
    earlier: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tree(tmp_path / "now", "echo first")
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", "-C", str(code), "commit", "-qm", "one"], check=True, env={**os.environ, **who})
    (code / "bin/setup").write_text("echo second")
    monkeypatch.setattr(earlier, "ROOT", code)
    with earlier.checkout("HEAD") as folder:
        assert "echo first" in (folder / "bin/setup").read_text()
    assert not folder.exists()
    with pytest.raises(SystemExit, match="git worktree failed"), earlier.checkout("no-such-commit"):
        pass
    with earlier.checkout(str(code)) as folder:
        assert folder == code.resolve()


def test_means_are_compared_to_three_digits(earlier: ModuleType) -> None:
    one, near, far = (earlier._three_digits({"h": {"base": {"mean": mean}}}) for mean in (1.2341, 1.2344, 1.2361))
    assert one == near != far


def report_tree(folder: Path, files: str, work: int) -> Path:
    """A repository whose package writes empty files into the folder named by --out, after so much counting."""
    made = tree(folder)
    (made / "llama_diversity/__main__.py").write_text(
        "import pathlib, sys\n"
        f"sum(range({work}))\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "out.mkdir()\n"
        f"[(out / name).touch() for name in {files.split()!r}]\n"
    )
    return made


def test_reproduce_takes_cpu_time_and_names_the_files_that_are_lost(
    earlier: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = report_tree(tmp_path / "now", "index.html new.csv", 10)
    before = report_tree(tmp_path / "before", "index.html old.csv", 30_000_000)
    monkeypatch.setattr(earlier, "ROOT", now)
    found = earlier.reproduce(before, 1)
    assert found["lacking_files"] == ["old.csv"]
    assert 0 < found["now_cpu_seconds"] < found["earlier_cpu_seconds"]
    assert found["to_earlier"] == found["now_cpu_seconds"] / found["earlier_cpu_seconds"]


# ---- words


def test_table_of_given_numbers(bench: ModuleType) -> None:
    report = {
        "model": "m.gguf",
        "max_tokens": 64,
        "help_cpu_seconds": 0.25,
        "parallel": [
            {
                "parallel": 8,
                "llamadiv_tokens_per_second": 380.0,
                "batched_bench_tokens_per_second": 400.0,
                "ratio_to_batched_bench": 0.95,
                "naive_tokens_per_second": 20.0,
                "ratio_to_naive": 19.0,
            }
        ],
        "opening": {"llama_cpp": 0.60, "first": 1.50, "second": 0.61, "second_own": 0.01},
        "exact": {
            "q8.gguf": {"holds_now": True, "exact_to_default_now": 0.97, "exact_to_default_earlier": None},
        },
        "setup": {"now_cpu_seconds": 377.0, "earlier_cpu_seconds": 1092.0, "to_earlier": 377 / 1092},
        "demo": {"now_cpu_seconds": 9.0, "earlier_cpu_seconds": 18.0, "to_earlier": 0.5, "same_numbers": False},
        "reproduce": {
            "now_cpu_seconds": 60.0,
            "earlier_cpu_seconds": 80.0,
            "to_earlier": 0.75,
            "lacking_files": ["a.csv"],
        },
    }
    words = bench.table(report)
    assert "       8         380.0              400.0    0.95       20.0    19.0" in words
    assert "first 1.50 s, then 0.61 s; llama.cpp alone 0.60 s, beyond it 0.01 s" in words
    assert [line.split() for line in words.splitlines() if "q8.gguf" in line] == [["q8.gguf", "0.97", "-"]]
    assert "setup: 377 s of CPU, earlier 1092, ratio 0.35" in words
    assert "demo: 9 s of CPU, earlier 18, ratio 0.50\nother numbers than earlier" in words
    assert "reproduce: 60 s of CPU, earlier 80, ratio 0.75\nfiles that the earlier report had alone: a.csv" in words
    assert words.endswith("llamadiv --help: 0.25 s of CPU")


def test_ratios_of_known_sets_are_medians_of_the_rounds(bench: ModuleType) -> None:
    """Scores take 20, 30 and 10 s, the tree 2, 2 and 2: ratios 10, 15 and 5; of usual spellings alone 20, 30 and 10."""
    valid = importlib.import_module("bench_valid")
    rows = [
        {"n_prompt": 11, "tree": took(72, 2), "usual": took(56, 1), "scores": took(50, seconds)}
        for seconds in (20.0, 30.0, 10.0)
    ]
    found = valid.summary(rows)
    assert (found["ratio"], found["ratio_usual"], found["ratio_cpu"]) == (10, 20, 10)
    [_, words] = valid.table({"raw": found})
    assert words.startswith(
        "valid, 50 US states, raw prompt of 11 tokens: one tree of 72 beginnings 2.00 s, each scored"
    )
    assert "20.00 s, ratio 10.0, of the usual spellings alone 20.0 (10.0 and 20.0 by the processor)" in words


def took(n: int, seconds: float) -> dict[str, float]:
    return {"n": n, "seconds": seconds, "cpu": seconds}


def test_table_of_a_busy_machine(earlier: ModuleType) -> None:
    found = {"now_quiet": 400.0, "now_busy": 300.0, "now_two": 440.0, "earlier_quiet": 390.0, "busy_to_peer": None}
    lines = earlier.table({"busy": {**found, "busy_to_quiet": 0.75}})
    assert "     now      400      300      440" in lines
    assert " earlier      390        -        -" in lines
    assert "busy_to_quiet: 0.75" in lines
    assert "busy_to_peer: -" in lines


def test_vllm_stands_beside_llama_cpp(bench):
    row = {"plain": 80.0, "plugin": 78.0, "plugin_to_plain": 0.975, "float32": 240.0, "llama_cpp_to_vllm": 3.08}
    row |= {"q4_1": 700.0, "llama_cpp_q4_1_to_vllm": 8.97}
    found = {"model": "m.gguf", "n": 64, "max_tokens": 64}
    found["threads"] = {1: row | {"all": 2.0, "plugin_to_all": 39.0}, 2: row}
    words, heads, one, two = bench.bench_vllm.table(found)[1:]
    assert words == "vLLM on this CPU, m.gguf, 64 completions of 64 tokens, t/s"
    assert one.split() == ["1", "80.0", "78.0", "0.97", "2.0", "39", "240.0", "3.1", "700", "9.0"]
    assert two.split() == ["2", "80.0", "78.0", "0.97", "-", "-", "240.0", "3.1", "700", "9.0"]
    assert len(heads) == len(one) == len(two)
    assert bench.bench_vllm.ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2


def test_training_is_a_ratio_to_the_earlier_tree(bench: ModuleType) -> None:
    def row(now: float, earlier: float) -> dict[str, dict[str, float]]:
        more = {"tokens": 75.0, "entropy_bits": 4.0}
        return {"now": {"seconds": now, **more}, "earlier": {"seconds": earlier, **more}}

    ppo = bench.bench_training.summary([row(3, 6), row(4, 10), row(3, 4)], "seconds")
    assert (ppo["now_seconds"], ppo["earlier_seconds"], ppo["to_earlier"]) == (3, 6, 0.5)
    pretraining = {
        "now_tokens_per_second": 9000.0, "earlier_tokens_per_second": 5000.0, "to_earlier": 1.8,
        "now_bits_per_token": 9.8761, "earlier_bits_per_token": 9.8764,
    }  # fmt: skip
    lines = bench.bench_training.table({"pretraining": pretraining, "ppo": ppo})
    assert lines[1].startswith("pretraining with --fuse: 9000 tokens/s, earlier 5000, ratio 1.80; after 16 steps 9.876")
    assert lines[2].startswith("PPO: 3.00 s an iteration, earlier 6.00, ratio 0.50; answers of 75 and 75 tokens")


@pytest.mark.model
def test_any_commit_reads_the_work_for_training(bench: ModuleType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    bench.bench_training.write_work(tmp_path / "sft.pt")
    kept = torch.load(tmp_path / "sft.pt", weights_only=True)
    assert kept["weights"]["token_embd.weight"].shape == (kept["architecture"]["n_vocab"], 192)
    assert len(kept["prompts"]) == 63
    assert all(2 < token < 4096 for prompt in kept["prompts"] for token in prompt)
