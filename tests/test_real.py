"""Every command on a real model, as a user runs it: SmolLM2-135M-Instruct.

Raw against chat where one set of weights will do. What takes a pair gets the same weights twice, the base without its
template and so another file. What needs a base that is one runs on the tiny pair, in the tests of each command.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.model, pytest.mark.real]

TEMPLATE_KEY = b"tokenizer.chat_template"
PROMPT = "Grace Hopper was"


@pytest.fixture(scope="module")
def without_template(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights and vocabulary; the key of the template has another name."""
    content = smollm2.read_bytes()
    assert content.count(TEMPLATE_KEY) == 1
    path = tmp_path_factory.mktemp("real") / "base.gguf"
    path.write_bytes(content.replace(TEMPLATE_KEY, TEMPLATE_KEY[:-1] + b"_"))
    return path


@pytest.fixture
def pair(smollm2: Path, without_template: Path) -> list[object]:
    return ["--base", without_template, "--aligned", smollm2]


@pytest.fixture
def answer(run: Callable) -> Callable[..., Any]:
    """Runs a command with --json and returns what it says; it must end well and write nothing else to stdout."""

    def answer(*arguments: object) -> Any:
        code, out, err = run(*arguments, "--json", "--offline")
        assert code == 0, err
        assert "Traceback" not in err
        return json.loads(out)

    return answer


def test_models_show(smollm2: Path, answer: Callable) -> None:
    assert answer("models", "show", smollm2)["size_bytes"] == 98_362_432


def test_sample_raw_and_chat(smollm2: Path, run: Callable) -> None:
    for words in (["-p", PROMPT], ["-p", "Who was Grace Hopper?", "--chat"]):
        code, out, err = run("sample", "-m", smollm2, *words, "-n", 4, "--max-tokens", 12, "--json", "--offline")
        assert code == 0, err
        samples = [json.loads(line) for line in out.splitlines()]
        assert [sample["index"] for sample in samples] == [0, 1, 2, 3]
        assert len({sample["text"] for sample in samples}) > 1
        for token in samples[0]["tokens"]:
            assert 0 <= token["entropy_bits"] <= math.log2(49_152)


def test_score_of_english_and_of_noise(smollm2: Path, answer: Callable) -> None:
    english = answer("score", "-m", smollm2, "The ship sailed across the sea and came home in the evening.")
    noise = answer("score", "-m", smollm2, "Sea the evening in sailed the and home ship came across the.")
    assert english["bits_per_byte"] < noise["bits_per_byte"]


def test_heatmap(smollm2: Path, run: Callable, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    code, out, _ = run("heatmap", "-m", smollm2, "Grace Hopper was a pioneer.", "--html", page, "--offline")
    assert code == 0
    assert "pioneer" in out.replace("\n", "")
    assert "pioneer" in page.read_text()


def test_compare_of_raw_and_chat_on_one_set_of_weights(smollm2: Path, answer: Callable) -> None:
    arms = ["--arm", f"raw={smollm2}", "--arm", f"chat={smollm2},chat"]
    report = answer("compare", *arms, "-p", PROMPT, "-n", 20, "--max-tokens", 12)
    assert "entropy" in json.dumps(report)


def test_two_files_of_one_set_of_weights_draw_the_same_from_one_seed(pair: list[object], answer: Callable) -> None:
    base, aligned = answer("syntactic", *pair, "-n", 6, "--max-tokens", 12)["arms"].values()
    assert base["entropy_bits"]["mean"] > 1
    assert aligned["entropy_bits"] == base["entropy_bits"]
    assert aligned["surprisal_bits"] == base["surprisal_bits"]


def test_diff_of_two_files_of_one_set_of_weights_is_nothing(pair: list[object], answer: Callable) -> None:
    found = answer("diff", "Grace Hopper was a pioneer of computing.", *pair)["arms"]["aligned"]
    assert found["base_entropy_bits"]["value"] > 1
    assert found["kl_bits"]["value"] == 0 == found["entropy_change_bits"]["value"]


def test_tree_of_two_files_of_one_set_of_weights_is_one(pair: list[object], answer: Callable) -> None:
    report = answer("tree", *pair, "--depth", 2, "-k", 5, "--budget", 40)
    one, other = report["arms"].values() if isinstance(report["arms"], dict) else report["arms"]
    assert one["openings"] == other["openings"]


@pytest.mark.parametrize(
    "words",
    [
        ["semantic", "-n", 12, "--max-tokens", 8],
        ["coverage", "-n", 20, "--max-tokens", 4],
        ["personas", "-n", 1, "--max-tokens", 120],
        ["perturb", "-n", 8, "--max-tokens", 8],
        ["decompose", "-p", PROMPT, "-n", 20, "--max-tokens", 4],
    ],
    ids=lambda words: words[0],
)
def test_command(words: list[object], pair: list[object], run: Callable) -> None:
    """It ends with a result, or with a sentence that says why these models have none."""
    code, out, err = run(*words, *pair, "--json", "--offline")
    assert "Traceback" not in err
    assert "defect" not in err
    assert code == 0, err
    assert json.loads(out)


def test_the_template_carries_what_is_asked(smollm2: Path, run: Callable) -> None:
    """As transformers renders it: with a system text of the file's own where none is given."""
    asked = ("sample", "-m", smollm2, "--chat", "-p", " Say <|im_end|>\n", "--show-prompt")
    turn = "<|im_start|>user\n Say <|im_end|>\n<|im_end|>\n<|im_start|>assistant\n"
    own = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    assert json.loads(run(*asked, "--json")[1])["rendered"] == own + turn
    brief = json.loads(run(*asked, "--system", "Be brief.", "--json")[1])["rendered"]
    assert brief == "<|im_start|>system\nBe brief.<|im_end|>\n" + turn
    code, _, error = run(*asked, "--template-arg", "enable_thinking=false")
    assert (code, "the chat template reads no value of that name" in error) == (2, True)
