"""Every bad input a new user may try: one clear sentence, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import odd_models
import pytest

import llama_diversity
from llama_diversity import paths

pytestmark = pytest.mark.model
SAMPLE = ("-p", "Once", "-n", "2", "--max-tokens", "4")


def assert_one_sentence(error: str, *words: str) -> None:
    lines = [line for line in error.splitlines() if line]
    assert len(lines) == 1, error
    assert lines[0].startswith("llamadiv: ")
    assert "Traceback" not in error
    assert "defect" not in error
    assert lines[0].isprintable()
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (odd_models.missing, "odd.gguf: there is no such file"),
        (odd_models.folder, "folder"),
        (odd_models.empty, "the file is empty"),
        (odd_models.not_gguf, "this is not a GGUF file"),
        (odd_models.truncated, "the file is truncated"),
        (odd_models.cut_in_header, "its header"),
        (odd_models.unknown_architecture, "does not know its architecture"),
        (odd_models.vocabulary_only, "weights are missing; it may hold a vocabulary only"),
        (odd_models.no_tokenizer, "it holds no tokenizer"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_model_files(make: Callable[[Path], None], reason: str, tmp_path: Path, run: Callable) -> None:
    path = tmp_path / "odd.gguf"
    make(path)
    code, out, error = run("sample", "-m", path, *SAMPLE)
    assert (code, out) == (1, "")
    assert_one_sentence(error, reason)


def test_an_encoder_is_no_text_model(tmp_path: Path, run: Callable) -> None:
    odd_models.encoder(tmp_path / "t5.gguf")
    code, _, error = run("sample", "-m", tmp_path / "t5.gguf", *SAMPLE, "--show-prompt")
    assert code == 1
    assert_one_sentence(error, "t5 has an encoder that reads the whole text first, and does not continue it")


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "-m", "odd", *SAMPLE),
        ("score", "-m", "odd", "some text"),
        ("heatmap", "-m", "odd", "some text"),
        ("tree", "--base", "odd", "--aligned", "base", "-p", "some text"),
        ("diff", "some text", "--base", "base", "--aligned", "odd"),
        ("diff", "some text", "--base", "odd", "--aligned", "base"),
    ],
    ids=" ".join,
)
def test_logits_that_are_not_numbers(command: tuple[str, ...], tmp_path: Path, run: Callable) -> None:
    odd_models.without_numbers(tmp_path / "odd")
    odd_models.with_template(None)(tmp_path / "base")
    paths_of = {name: tmp_path / name for name in ("odd", "base")}
    code, out, error = run(*(paths_of.get(word, word) for word in command))
    assert (code, out) == (1, "")
    assert_one_sentence(error, "logits that are not numbers", "llamadiv models verify")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-n", "0"), ("-n is 0", "ask for 1 to")),
        (("-n", "-3"), ("-n is -3",)),
        (("-n", "99999999999999"), ("ask for 1 to 10,000,000 samples",)),
        (("--max-tokens", "0"), ("--max-tokens is 0", "at least 1")),
        (("--max-tokens", "-1"), ("--max-tokens is -1",)),
        (("--max-tokens", "5000"), ("do not fit the model's context of 1024", "lower --max-tokens")),
        (("-p", "word " * 2000), ("prompt tokens", "do not fit the model's context", "Shorten the prompt")),
        (("-t", "-0.5"), ("--temperature is -0.5", "0 (greedy) or a number from")),
        (("-t", "nan"), ("--temperature is nan",)),
        (("-t", "inf"), ("--temperature is inf",)),
        (("-t", "1e30"), ("--temperature is 1e+30",)),
        (("-t", "1e-320"), ("--temperature is 1e-320",)),
        (("--top-k", "-1"), ("--top-k is -1",)),
        (("--top-p", "0"), ("--top-p is 0.0",)),
        (("--top-p", "1.5"), ("--top-p is 1.5",)),
        (("--top-p", "nan"), ("--top-p is nan",)),
        (("--min-p", "2"), ("--min-p is 2.0",)),
        (("-t", "0", "--top-k", "5"), ("--top-k is 5", "at temperature 0")),
        (("-t", "0", "--top-p", "0.9"), ("--top-p is 0.9", "at temperature 0")),
        (("-t", "0", "--min-p", "0.1"), ("--min-p is 0.1", "at temperature 0")),
        (("--exact", "--no-flash-attention"), ("--flash-attention is 'off'", "--exact has its own")),
        (("--exact", "--flash-attention"), ("--flash-attention is 'on'", "--exact has its own")),
        (("--exact", "--kv-type", "f32"), ("--kv-type is 'f32'", "--exact reads the cache in half precision")),
        (
            ("--flash-attention", "--kv-type", "f32"),
            ("--kv-type is 'f32'", "--flash-attention reads the cache in half"),
        ),
        (("--exact", "--gpu-layers", "3"), ("--gpu-layers is 3", "--exact computes on the CPU alone")),
        (("--seed", "-1"), ("--seed is -1",)),
        (("--parallel", "0"), ("--parallel is 0", "between 1 and 254")),
        (("--parallel", "300"), ("--parallel is 300",)),
        (("--stop", ""), ("a stop string must not be empty",)),
        (("--system", "Be brief."), ("a raw prompt has no system message; add --chat",)),
    ],
    ids=lambda value: " ".join(value)[:24] if isinstance(value, tuple) else None,
)
def test_values(options: tuple[str, ...], words: tuple[str, ...], tiny_model: Path, run: Callable) -> None:
    code, out, error = run("sample", "-m", tiny_model, *SAMPLE, *options)
    assert (code, out) == (2, "")
    assert_one_sentence(error, *words)


def test_layers_on_a_processor_that_is_not_there(
    tiny_model: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 is no wish for one; a recipe does not hold the number, so only the user would be misled."""
    monkeypatch.setattr("llama_diversity.engines.llamacpp.engine.devices", list)
    code, out, error = run("sample", "-m", tiny_model, *SAMPLE, "--gpu-layers", "5")
    assert (code, out) == (2, "")
    assert_one_sentence(error, "--gpu-layers is 5; llama.cpp finds no graphics processor")
    assert run("sample", "-m", tiny_model, *SAMPLE, "--gpu-layers", "0")[0] == 0


@pytest.mark.parametrize(
    "options", [("--exact",), ("--kv-type", "f32"), ("--no-flash-attention",), ("--gpu-layers", "1")], ids=" ".join
)
def test_arithmetic_that_a_scripted_model_does_not_have(options: tuple[str, ...], run: Callable) -> None:
    code, out, error = run("sample", "-m", "scripted:base", *SAMPLE, *options)
    assert (code, out) == (2, "")
    assert_one_sentence(error, options[0].replace("--no-", "--"), "scripted:base is a scripted model", "leave it out")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("personas", "to 100,000 personas"),
        ("semantic", "2 to 100,000 completions"),
        ("syntactic", "to 100,000 samples"),
        ("perturb", "to 100,000 continuations"),
        ("diff", "1 to 100,000 completions"),
        ("compare", "2 to 100,000 generations"),
        ("decompose", "2 to 100,000 generations"),
        ("coverage", "2 to 100,000 completions"),
        ("reproduce", "to 100,000 samples"),
    ],
)
def test_more_than_can_be_analysed_is_refused(command: str, words: str, run: Callable) -> None:
    code, out, error = run(command, "--pair", "scripted", "-n", 10**9)
    assert (code, out) == (2, "")
    assert_one_sentence(error, "-n is 1000000000; ask for ", words)


def test_many_prompts_may_make_too_many_of_a_good_n(run: Callable) -> None:
    code, out, error = run("compare", "--pair", "scripted", "-n", 50_001, "-p", "She", "-p", "He")
    assert (code, out) == (2, "")
    assert_one_sentence(error, "-n is 50001; with 2 prompts that makes 100,002 samples of base, and at most 100,000")
    assert json.loads(run("runs", "ls", "--json")[1]) == []


@pytest.mark.parametrize(("command", "most"), [("compare", 5000), ("decompose", 2500), ("coverage", 5000)])
def test_more_pairs_than_memory_holds_are_refused(command: str, most: int, run: Callable) -> None:
    code, out, error = run(command, "--pair", "scripted", "-p", "She", "-n", most + 1)
    assert (code, out) == (2, "")
    assert_one_sentence(error, f"-n is {most + 1}; ", f"ask for 2 to {most:,}")
    assert json.loads(run("runs", "ls", "--json")[1]) == []


@pytest.mark.parametrize("command", ["compare", "coverage"])
def test_more_tokens_than_the_context_are_refused(command: str, run: Callable) -> None:
    code, out, error = run(command, "--pair", "scripted", "-p", "She", "-n", 2, "--max-tokens", 10**6)
    assert (code, out) == (2, "")
    assert_one_sentence(error, "new ones do not fit the model's context", "lower --max-tokens")


@pytest.mark.parametrize("option", [("--seed", "seven"), ("--parallel", "many"), ("-n", "ten"), ("--top-k", "a")])
def test_words_for_numbers(option: tuple[str, str], run: Callable) -> None:
    code, out, error = run("sample", "-m", "scripted:base", *SAMPLE, *option)
    assert (code, out) == (2, "")
    assert option[1] in error
    assert "Traceback" not in error


def test_an_unknown_model_has_near_matches(run: Callable) -> None:
    code, _, error = run("sample", "-m", "llama-2-7b-chta", *SAMPLE)
    assert code == 2
    assert_one_sentence(error, "Did you mean llama-2-7b-chat", "llamadiv models ls")


def test_a_model_that_is_not_here_says_how_to_fetch_it(run: Callable) -> None:
    code, _, error = run("syntactic", "--pair", "llama-2-7b")
    assert code == 1
    assert_one_sentence(error, "not on this machine", "llamadiv models pull llama-2-7b")


def test_a_malformed_table_names_its_line(run: Callable) -> None:
    table = paths.user_registry()
    table.parent.mkdir(parents=True)
    table.write_text('[models.mine]\nrepo = "a/b"\nfile = 7\n')
    code, _, error = run("sample", "-m", "mine", *SAMPLE)
    assert code == 2
    assert_one_sentence(error, "models.toml", "line 3", "file")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "has no chat template"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ raise_exception('\x1b[2J go away') }}", "go away"),
    ],
    ids=["missing", "broken", "hostile", "says no"],
)
def test_chat_templates(template: str | None, words: str, tmp_path: Path, run: Callable) -> None:
    odd_models.with_template(template)(tmp_path / "chat.gguf")
    code, out, error = run("sample", "-m", tmp_path / "chat.gguf", *SAMPLE, "--chat")
    assert (code, out) == (1, "")
    assert_one_sentence(error, words)


@pytest.mark.parametrize(
    "command",
    [
        "personas",
        "semantic",
        "syntactic",
        "perturb",
        "tree",
        "diff",
        "compare",
        "decompose",
        "coverage",
        "reproduce",
        "reframe",
        "decan",
    ],
)
def test_one_model_is_not_two_arms(command: str, run: Callable) -> None:
    same = Path(llama_diversity.__file__).parent / "data" / "tiny-base.gguf"
    code, out, error = run(command, "--base", "tiny-base", "--aligned", same)
    assert (code, out) == (1, "")
    assert_one_sentence(error, "Both arms are one model (tiny-base and ", "Name two models that differ")
    assert run("runs", "ls", "--json")[1] in ("", "[]\n")


def test_one_model_is_not_two_maps(run: Callable) -> None:
    code, out, error = run("heatmap", "-m", "scripted:base", "-m", "scripted:base", "some words")
    assert (code, out) == (1, "")
    assert_one_sentence(error, "Both arms are one model (scripted:base)")


def test_two_vocabularies_do_not_compare(tiny_model: Path, tmp_path: Path, run: Callable) -> None:
    odd_models.with_template(None)(tmp_path / "other.gguf")
    code, out, error = run("syntactic", "--base", tmp_path / "other.gguf", "--aligned", tiny_model, "-n", 2)
    assert (code, out) == (1, "")
    assert_one_sentence(error, "Token-level comparison refused", "different vocabularies")
    code, out, error = run("heatmap", "-m", tmp_path / "other.gguf", "-m", tiny_model, "some words")
    assert (code, out) == (2, "")
    assert_one_sentence(error, "must split the text into the same tokens")


def test_models_are_named_one_way_or_the_other(run: Callable) -> None:
    for names in (("--base", "scripted:base"), ("--pair", "scripted", "--base", "scripted:base")):
        code, _, error = run("syntactic", *names)
        assert code == 2
        assert "either --pair NAME, or --base MODEL --aligned MODEL" in error
    code, _, error = run("heatmap", "-m", "scripted:base")
    assert code == 2
    assert "-m MODEL TEXT" in error


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("heatmap -m scripted:base hi --sample 3", "--sample, --arm and --sampler are for a stored run"),
        ("heatmap -m scripted:base hi --arm base", "--sample, --arm and --sampler are for a stored run"),
        ("heatmap -m scripted:base hi --sampler", "--sample, --arm and --sampler are for a stored run"),
        ("heatmap -m scripted:base hi --maximum-difference 3", "--maximum-difference is for two models"),
        ("doctor --start bos", "name a MODEL"),
        ("doctor --control-tokens", "name a MODEL"),
        ("collapse --eps 0.3", "--eps is 0.3; the rule table does not read it"),
        ("collapse --rule reinforce --epochs 2", "--epochs is 2; the rule reinforce does not read it"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run: Callable, command: str, words: str) -> None:
    code, out, error = run(*command.split())
    assert (code, out) == (2, "")
    assert_one_sentence(error, words)


def test_what_the_environment_says_of_all_commands_is_no_mistake(run: Callable, monkeypatch) -> None:
    monkeypatch.setenv("LLAMADIV_START", "bos")
    assert "name a MODEL" not in run("doctor", "--json")[2]


HOSTILE = "a\x1b[2J\x1b]0;title\x07 \u202egnol\u202c \x9b31m \x00 b\u200b \ufeff e\u0301 👩‍👩‍👧 你好 <s>"


def test_hostile_text_is_shown_safely_and_kept_exactly(tiny_model: Path, run: Callable, monkeypatch) -> None:
    for command in (
        ("sample", "-m", tiny_model, "-p", HOSTILE, "-n", 2, "--max-tokens", 8, "--color", "always"),
        ("sample", "-m", tiny_model, "-p", HOSTILE, "--show-prompt"),
        ("score", "-m", tiny_model, HOSTILE),
        ("heatmap", "-m", tiny_model, HOSTILE),
        ("runs", "show", "last"),
        ("runs", "ls"),
    ):
        code, out, error = run(*command)
        assert code == 0, error
        for line in (out + error).splitlines():
            bare = line.replace("\x1b[1m", "").replace("\x1b[0m", "")
            assert all(character.isprintable() or character == "\u200d" for character in bare), ascii(line)
    code, out, _ = run("sample", "-m", tiny_model, "-p", HOSTILE, "-n", 2, "--max-tokens", 8, "--show-prompt", "--json")
    assert json.loads(out)["rendered"] == HOSTILE
    code, out, _ = run("score", "-m", tiny_model, HOSTILE, "--json")
    assert b"".join(bytes.fromhex(token["bytes"]) for token in json.loads(out)["tokens"]) == b" " + HOSTILE.encode()


def test_bytes_that_are_not_text_arrive_on_standard_input(tiny_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llama_diversity", "score", "-m", str(tiny_model), "-", "--json"],
        input=b"caf\xc3\xa9 \xff\x00 end",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tokens"]) > 5


def test_nothing_to_score(tiny_model: Path, run: Callable) -> None:
    code, out, error = run("score", "-m", tiny_model, "")
    assert (code, out) == (2, "")
    assert_one_sentence(error, "nothing to score")


def test_a_kv_cache_that_fits_nowhere_says_what_would(tmp_path: Path, run: Callable) -> None:
    odd_models.endless_context(tmp_path / "long.gguf")
    work = ("-p", "Once", "-n", "254", "--max-tokens", "1000000")
    code, out, error = run("sample", "-m", tmp_path / "long.gguf", *work, "--parallel", "254")
    assert (code, out) == (1, "")
    assert_one_sentence(error, "GB for the KV cache", "would fit")


def test_memory_that_the_system_refuses(tmp_path: Path) -> None:
    odd_models.endless_context(tmp_path / "long.gguf")
    command = ["sample", "-m", str(tmp_path / "long.gguf"), "-p", "Once", "-n", "8", "--max-tokens", "1000000"]
    done = subprocess.run(
        [sys.executable, "-m", "llama_diversity", *command, "--parallel", "8"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stderr
    assert_one_sentence(done.stderr, "GB for the KV cache")


@pytest.mark.parametrize("place", ["/proc/nowhere/store.sqlite", "/dev/null/store.sqlite"])
def test_a_store_that_cannot_be_written(place: str, run: Callable) -> None:
    code, out, error = run("sample", "-m", "scripted:base", *SAMPLE, "--store", place)
    assert (code, out) == (1, "")
    assert_one_sentence(error, "--store")


def test_a_store_that_is_none(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 200)
    code, out, error = run("sample", "-m", "scripted:base", *SAMPLE, "--store", tmp_path / "notes.txt")
    assert (code, out) == (1, "")
    assert_one_sentence(error, "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_figures_that_cannot_be_written_are_refused_before_any_sampling(run: Callable) -> None:
    arguments = ("syntactic", "--pair", "scripted", "-n", 3, "--max-tokens", 5)
    code, out, error = run(*arguments, "--out", "/dev/null/figures")
    assert (code, out) == (2, "")
    assert_one_sentence(error, "cannot be written")
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_a_run_or_sample_that_is_not_there(run: Callable) -> None:
    code, out, _ = run("sample", "-m", "scripted:base", *SAMPLE, "-q")
    assert code == 0
    code, _, error = run("heatmap", "--run", out.strip()[:-1] + "x")
    assert code == 2
    assert_one_sentence(error, "Did you mean", out.strip())
    code, _, error = run("heatmap", "--run", "last", "--sample", 7)
    assert code == 2
    assert_one_sentence(error, "--sample is 7; this run has samples 0 to 1")
    code, _, error = run("heatmap", "--run", "last", "--arm", "sampel")
    assert code == 2
    assert_one_sentence(error, "Did you mean sample")
