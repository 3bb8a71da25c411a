"""sample, score, heatmap and bench on the command line: what scripts rely on."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.engines.draws import Reducer
from llama_diversity.engines.scripted import transition
from llama_diversity.errors import EngineError
from llama_diversity.records import TOKEN_DTYPE, Piece
from llama_diversity.studies.scored import n_bytes_judged

DOCS = Path(__file__).parent.parent / "docs"
TOKEN_KEYS = {"id", "bytes", "surprisal_bits", "entropy_bits", "varentropy_bits2", "rank", "top"}


def objects(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


# ---- sample


@pytest.mark.model
def test_sample_json_on_a_real_model(tiny_model: Path, run: Callable) -> None:
    arguments = ("sample", "-m", tiny_model, "-p", "Once", "-n", 30, "--max-tokens", 20, "--parallel", 7, "--json")
    code, out, _ = run(*arguments)
    assert code == 0
    samples = objects(out)
    assert [sample["index"] for sample in samples] == list(range(30))
    for sample in samples:
        assert sample["finish_reason"] in ("length", "stop")
        joined = b"".join(bytes.fromhex(token["bytes"]) for token in sample["tokens"])
        assert joined == bytes.fromhex(sample.get("text_hex", sample["text"].encode().hex()))
        for token in sample["tokens"]:
            assert set(token) - {"control"} == TOKEN_KEYS
            assert len(token["top"]) == 5
            assert sum(one["p"] for one in token["top"]) <= 1 + 1e-6
            ps = [one["p"] for one in token["top"]]
            assert ps == sorted(ps, reverse=True)
            if token["rank"] <= 5:
                p = 2.0 ** -token["surprisal_bits"]
                assert p == pytest.approx(ps[token["rank"] - 1], rel=1e-4)


def test_more_samples_begin_with_the_same_ones(run: Callable) -> None:
    few = run("sample", "-m", "scripted:base", "-p", "She", "-n", 5, "--json")[1].splitlines()
    many = run("sample", "-m", "scripted:base", "-p", "She", "-n", 12, "--json", "--parallel", 3)[1].splitlines()
    assert many[:5] == few
    assert len(many) == 12


def test_seeds(run: Callable) -> None:
    arguments = ("sample", "-m", "scripted:base", "-p", "She", "-n", 3, "--json")
    zero, one, again = (run(*arguments, "--seed", seed)[1] for seed in (0, 1, 1))
    assert zero != one == again
    code, out, error = run("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "--seed", "random")
    assert code == 0
    seed = error.split("seed ")[1].split(",")[0]
    assert run("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "--seed", seed)[1] == out


def test_environment_twins(run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = run("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "--json", "--seed", 5)[1]
    monkeypatch.setenv("LLAMADIV_MODEL", "scripted:base")
    monkeypatch.setenv("LLAMADIV_SEED", "5")
    monkeypatch.setenv("LLAMADIV_STORE", str(tmp_path / "here.sqlite"))
    assert run("sample", "-p", "She", "-n", 2, "--json")[1] == plain
    assert (tmp_path / "here.sqlite").exists()


def test_sampler_numbers_appear_where_they_say_something(run: Callable) -> None:
    cold = objects(run("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "-t", 0.5, "--json")[1])
    token = cold[0]["tokens"][0]
    assert set(token) - {"control"} == TOKEN_KEYS | {"sampler_surprisal_bits", "sampler_entropy_bits"}
    assert token["sampler_entropy_bits"] < token["entropy_bits"]


def test_stop_strings(run: Callable) -> None:
    arguments = ("sample", "-m", "scripted:coin", "-p", "heads", "-n", 20, "--max-tokens", 8, "--json")
    for sample in objects(run(*arguments, "--stop", "tails", "--stop", "s h")[1]):
        assert "tails" not in sample["text"]
        assert "s h" not in sample["text"]


def test_quiet_prints_the_run_and_people_read_text(run: Callable) -> None:
    code, out, error = run("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "-q")
    assert (code, error) == (0, "")
    assert run("runs", "show", out.strip())[0] == 0
    code, out, error = run("sample", "-m", "scripted:base", "-p", "She", "-n", 2)
    assert out.count("#") == 2
    assert "seed 0, run " in error


def test_prompt_from_standard_input() -> None:
    command = [sys.executable, "-m", "llama_diversity", "sample", "-m", "scripted:base", "-p", "-", "--show-prompt"]
    done = subprocess.run([*command, "--json"], input=b"She was\n", capture_output=True, check=True)
    assert json.loads(done.stdout)["rendered"] == "She was"


def test_chat_is_rendered_by_the_model_s_template(run: Callable) -> None:
    arguments = ("sample", "-m", "scripted:aligned", "-p", "Who?", "--chat", "--system", "Be brief.", "--show-prompt")
    code, out, _ = run(*arguments, "--json")
    assert (code, json.loads(out)["rendered"]) == (0, "[INST] Be brief.\n\nWho? [/INST]")
    assert run(*arguments)[1] == "[INST] Be brief.\n\nWho? [/INST]\n"


def test_a_closed_pipe_is_no_failure() -> None:
    command = f"{sys.executable} -m llama_diversity sample -m scripted:base -p She -n 300 --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
    assert json.loads(done.stdout)["index"] == 0


def peak_bytes(n: int, store: Path) -> int:
    script = (
        "import resource, sys; from llama_diversity.cli import _run; "
        "code = _run(sys.argv[1:], debug=True); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    arguments = ["sample", "-m", "scripted:base", "-p", "She", "-n", str(n), "--max-tokens", "12", "--json", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--store", str(store)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stderr.split()[-1]) * unit


def test_thousands_of_samples_take_the_memory_of_a_hundred(tmp_path: Path) -> None:
    """3,000 more take 1.1 MB; were the samples kept it would be 4.4, twelve tokens with their statistics each."""
    assert peak_bytes(3100, tmp_path / "many") - peak_bytes(100, tmp_path / "few") < 2_500_000


# ---- score


def test_score_is_the_chain_s_own_arithmetic(run: Callable) -> None:
    code, out, _ = run("score", "-m", "scripted:base", "She was", "--json")
    assert code == 0
    report = json.loads(out)
    matrix = transition("base")
    she, was = (token["id"] for token in report["tokens"])
    bits = -math.log2(matrix[0, she]) - math.log2(matrix[she, was])
    assert report["total_bits"] == pytest.approx(bits, abs=1e-5)
    assert report["bits_per_byte"] == pytest.approx(bits / 7, abs=1e-6)
    assert report["n_bytes"] == 7
    assert report["tokens"][0]["bytes"] == b"She".hex()


@pytest.mark.parametrize(
    ("text", "pieces", "has_start", "n_bytes"),
    [
        ("Hello world", [b" Hello", b" world"], False, 6),  # SentencePiece's blank belongs to the token not judged
        ("Hello world", [b" Hello", b" world"], True, 11),  # and to no text
        (" Hello", [b"  Hello"], True, 6),
        ("Hello world", [b"Hello", b" world"], False, 6),
        ("a\r\nb", [b"a", b"\n", b"b"], True, 3),  # dropped by the tokenizer: judged by nobody
        ("a\u2603b", [b"a", b"", b"b"], True, 2),  # an unknown token adds nothing
        ("a", [b"a"], False, 0),
    ],
)
def test_bytes_are_those_of_the_tokens_judged(text: str, pieces: list[bytes], has_start: bool, n_bytes: int) -> None:
    tokens = np.zeros(len(pieces), TOKEN_DTYPE)
    tokens["id"] = range(len(pieces))
    tokens["surprisal_bits"][0] = 1.0 if has_start else np.nan
    assert n_bytes_judged(tokens, dict(enumerate(map(Piece, pieces))), text) == n_bytes


def test_score_for_people(run: Callable) -> None:
    code, out, _ = run("score", "-m", "scripted:base", "She was\x1b[2J")
    assert code == 0
    assert "bits per byte" in out
    assert "\x1b" not in out


# ---- heatmap


def test_heatmap_of_a_stored_sample_needs_no_model(run: Callable, tmp_path: Path) -> None:
    run("sample", "-m", "scripted:base", "-p", "She", "-n", 3)
    files = ("--svg", tmp_path / "a.svg", "--html", tmp_path / "a.html")
    code, out, _ = run("heatmap", "--run", "last", "--sample", 2, "--by", "entropy", *files)
    assert code == 0
    assert "model scripted:base" in out
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert "<!doctype html>" in (tmp_path / "a.html").read_text().lower()
    code, out, _ = run("heatmap", "--run", "last", "--json", "--svg", tmp_path / "b.svg")
    assert (code, json.loads(out)["model"]) == (0, "scripted:base")
    assert (tmp_path / "b.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("by", ["surprisal", "entropy", "rank", "probability"])
def test_heatmap_by_each_quantity(by: str, run: Callable) -> None:
    code, out, _ = run("heatmap", "-m", "scripted:base", "She was a nurse. 🙂", "--by", by, "--width", 60)
    assert code == 0
    assert "🙂" in out
    assert max(map(len, out.splitlines())) <= 60


def test_heatmap_of_two_models_shows_the_difference(run: Callable) -> None:
    arguments = ("heatmap", "-m", "scripted:base", "-m", "scripted:aligned", "She was a nurse.")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "A is scripted:base, B is scripted:aligned" in out
    report = json.loads(run(*arguments, "--json")[1])
    first, second = (model["tokens"] for model in report["models"])
    assert report["difference_bits"][0] == pytest.approx(second[0]["surprisal_bits"] - first[0]["surprisal_bits"])


# ---- bench


def test_bench_counts_every_token(run: Callable) -> None:
    code, out, _ = run("bench", "-m", "scripted:coin", "-n", 50, "--max-tokens", 20, "--parallel", 8, "--json")
    assert code == 0
    report = json.loads(out)
    keys = {"parallel", "generated_tokens", "seconds", "tokens_per_second", "decode_share", "sampling_share"}
    assert keys <= set(report)
    assert (report["parallel"], report["generated_tokens"]) == (8, 1000)
    assert report["tokens_per_second"] == pytest.approx(1000 / report["seconds"])
    assert 0 < report["decode_share"] + report["sampling_share"] <= 1


# ---- found by review


def test_a_forbidden_text_costs_infinite_bits_which_json_calls_null(run: Callable) -> None:
    code, out, _ = run("score", "-m", "scripted:coin", "abc", "--json")
    assert code == 0
    report = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert report["total_bits"] is None
    assert report["bits_per_byte"] is None
    assert [token["rank"] for token in report["tokens"]] == [3, 3, 3]  # two are possible, all others tie
    assert [len(token["top"]) for token in report["tokens"]] == [5, 5, 5]


def test_text_for_people_into_a_closed_pipe_is_no_failure() -> None:
    command = f"{sys.executable} -m llama_diversity sample -m scripted:base -p She -n 3000 --max-tokens 5 | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_drawn_seed_is_said_beside_json_too(run: Callable) -> None:
    _, out, error = run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "--seed", "random", "--json")
    seed = error.split("seed ")[1].split(",")[0]
    assert run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "--seed", seed, "--json")[1] == out


def test_other_kernels_are_another_recipe_and_the_same_ones_are_not(tiny_model: Path, run: Callable) -> None:
    """A CPU fuses attention by itself; a cache in single precision is of use to the other kernels only."""
    recipes = []
    for options in ((), ("--flash-attention",), ("--no-flash-attention",), ("--kv-type", "f32")):
        arguments = ("sample", "-m", tiny_model, "-p", "Once upon", "-n", 1, "-q", *options, "--gpu-layers", 0)
        assert run(*arguments)[0] == 0
        [*_, newest] = json.loads(run("runs", "ls", "--json")[1])
        recipes.append(newest["cells"][0]["recipe"])
    assert recipes[0] == recipes[1]
    assert len(set(recipes)) == 3
    both = ("--kv-type", "f32", "--no-flash-attention")
    assert run("sample", "-m", tiny_model, "-p", "Once upon", "-n", 1, "-q", *both, "--gpu-layers", 0)[0] == 0
    assert json.loads(run("runs", "ls", "--json")[1])[-1]["cells"][0]["recipe"] == recipes[3]


NEEDED = {
    "sample": ("-m", "tiny-base", "-p", "She"),
    "score": ("-m", "tiny-base", "She"),
    "bench": ("-m", "tiny-base"),
    "diff": ("She",),
    "heatmap": ("She",),
    "population": ("target.toml",),
    "view": ("last",),
}


def test_every_command_with_a_layout_refuses_a_quantised_cache_without_flash_attention(run: Callable) -> None:
    pages = re.split(r"^## llamadiv ", DOCS.joinpath("cli.md").read_text("utf-8"), flags=re.MULTILINE)
    commands = [page.split("\n")[0] for page in pages if "--kv-type" in page]
    assert len(commands) >= 15
    for command in commands:
        code, out, error = run(command, *NEEDED.get(command, ()), "--no-flash-attention", "--kv-type", "q8_0")
        assert (code, out) == (2, "")
        assert "--kv-type is 'q8_0'; llama.cpp reads a quantised cache by flash attention alone" in error
        assert "leave out --no-flash-attention, or take --kv-type f16 or f32." in error


def test_a_model_path_with_a_blank_comes_through_the_environment(run: Callable, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAMADIV_MODEL", str(tmp_path / "no such.gguf"))
    code, _, error = run("heatmap", "hi")
    assert code == 1
    assert "no such.gguf" in error


def test_samples_before_an_engine_failure_make_a_partial_run(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("sample", "-m", "scripted:base", "-p", "She", "-n", 40, "--max-tokens", 9, "--parallel", 4)
    look = Reducer.look
    calls = iter(range(1000))

    def fails_later(self: Reducer, *args: object, **named: object) -> object:
        if next(calls) == 30:
            raise EngineError("The device went away.")
        return look(self, *args, **named)

    with monkeypatch.context() as patched:  # not undo(), which would give back the user's own store
        patched.setattr(Reducer, "look", fails_later)
        code, _, error = run(*arguments)
    assert code == 3
    assert "The device went away." in error
    assert "of 40 samples are kept; the same command continues." in error
    assert run(*arguments, "--json")[0] == 0


def test_a_single_token_behind_nothing_has_no_bits_per_byte(run: Callable) -> None:
    code, out, _ = run("score", "-m", "tiny-base", "--start", "none", "a")
    assert (code, out.splitlines()[-1]) == (0, "0.00 bits, of no token: the first has no context")


def test_greedy_samples_of_two_seeds_are_of_one_recipe(run: Callable) -> None:
    asked = ("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "--max-tokens", 4)
    for seed in (0, 5):
        code, _, error = run(*asked, "-t", 0, "--seed", seed)
        assert (code, "2 samples of scripted:base" in error) == (0, True)
        assert "the likeliest token each time, so all are alike, run" in error
    greedy = [cell["recipe"] for one in json.loads(run("runs", "ls", "--json")[1]) for cell in one["cells"]]
    assert len(greedy) == 2
    assert greedy[0] == greedy[1]
    for seed in (0, 5):
        assert f", seed {seed}, run" in run(*asked, "--seed", seed)[2]
    drawn = [cell["recipe"] for one in json.loads(run("runs", "ls", "--json")[1]) for cell in one["cells"]][2:]
    assert len(set(drawn) | set(greedy)) == 3
    code, _, error = run(*asked, "-t", 0, "--seed", -1)
    assert (code, "--seed is -1" in error) == (2, True)


def test_what_draws_nothing_takes_no_parallel(run: Callable) -> None:
    for command in (("score", "-m", "scripted:base", "She"), ("heatmap", "-m", "scripted:base", "She"), ("tree",)):
        code, _, error = run(*command, "--parallel", 2)
        assert (code, "No such option '--parallel'" in error) == (2, True)
    code, _, error = run("diff", "--pair", "scripted", "--parallel", 2, "She was")
    assert (code, "--parallel is for the base model's own completions, and of a TEXT" in error) == (2, True)
    assert run("diff", "--pair", "scripted", "--parallel", 2, "-n", 2, "--max-tokens", 2)[0] == 0
