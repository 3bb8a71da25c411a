"""Which chat template asks a model, and what is recorded of it: the file's own, models.toml's, values for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import odd_models
import pytest

from llama_diversity import paths
from llama_diversity.errors import BadValue
from llama_diversity.records import Prompt, Recipe, Sampler
from llama_diversity.studies.words import arg_words, template_args_of

OWN = "own: {{ messages[-1].content }}"
THINKS = "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %} no{% endif %}"


@pytest.fixture
def named(tmp_path: Path) -> Callable[[str, str | None], str]:
    """A model called `mine` whose file carries one template and whose entry names another; returns its name."""

    def write(own: str | None, entry: str | None) -> str:
        odd_models.with_template(own)(tmp_path / "mine.gguf")
        table = paths.user_registry()
        table.parent.mkdir(parents=True, exist_ok=True)
        line = "" if entry is None else f"template = {json.dumps(entry)}\n"
        table.write_text(f"[models.mine]\npath = {json.dumps(str(tmp_path / 'mine.gguf'))}\n{line}", "utf-8")
        return "mine"

    return write


def rendered(run: Callable, model: object, *more: object) -> str:
    code, out, error = run("sample", "-m", model, "-p", "Hi", "--chat", "--show-prompt", "--json", *more)
    assert code == 0, error
    prompt = json.loads(out)
    assert prompt["mode"] == "chat"
    return prompt["rendered"]


@pytest.mark.parametrize(
    ("own", "entry", "expected"),
    [
        (OWN, None, "own: Hi"),
        (OWN, "gguf", "own: Hi"),
        (OWN, "chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (None, "chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (" \n", "chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (OWN, "my.jinja", "mine: Hi"),
    ],
)
def test_the_entry_decides_over_the_file(
    own: str | None, entry: str | None, expected: str, named: Callable, run: Callable
) -> None:
    name = named(own, entry)
    (paths.user_registry().parent / "my.jinja").write_text("mine: {{ messages[-1].content }}\n", "utf-8")
    assert rendered(run, name) == expected


@pytest.mark.parametrize(("own", "entry"), [(OWN, "none"), (None, None), ("", None), (" \n ", "gguf"), ("", "none")])
def test_without_a_template_there_is_no_chat(
    own: str | None, entry: str | None, named: Callable, run: Callable
) -> None:
    code, out, error = run("sample", "-m", named(own, entry), "-p", "Hi", "--chat", "--show-prompt")
    assert (code, out) == (1, "")
    assert "mine has no chat template: it continues raw text and cannot be asked." in error


def test_a_model_is_added_with_a_template_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    odd_models.with_template(OWN)(tmp_path / "mine.gguf")
    (tmp_path / "my.jinja").write_text("mine: {{ messages[-1].content }}", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert run("models", "add", "added", "mine.gguf", "--template", "my.jinja")[0] == 0
    monkeypatch.chdir("/")
    assert rendered(run, "added") == "mine: Hi"


def test_a_prompt_that_its_template_loses_is_not_drawn(tmp_path: Path, run: Callable) -> None:
    odd_models.with_template("<user>{{ messages[0].role }}")(tmp_path / "chat.gguf")
    code, out, error = run("sample", "-m", tmp_path / "chat.gguf", "-p", "Hi", "--chat", "-n", 1)
    assert (code, out) == (1, "")
    assert "The chat template loses what is asked" in error


def test_a_system_text_that_does_not_come_out_is_refused_in_compare(tmp_path: Path, run: Callable) -> None:
    odd_models.with_template("{{ messages[-1].content }}")(tmp_path / "chat.gguf")
    arms = [f"{name}={tmp_path / 'chat.gguf'},chat{more}" for name, more in (("a", ""), ("b", ",system=Be brief."))]
    code, out, error = run("compare", "--arm", arms[0], "--arm", arms[1], "-p", "Hi", "-n", 2)
    assert (code, out) == (1, "")
    assert "The chat template has no place for a system text" in error


# ---- values for a template


def test_values_are_part_of_what_is_asked(named: Callable, run: Callable) -> None:
    name = named(THINKS, None)
    assert rendered(run, name) == "Hi"
    assert rendered(run, name, "--template-arg", "enable_thinking=false") == "Hi no"
    code, _, error = run("sample", "-m", name, "-p", "Hi", "--template-arg", "enable_thinking=false", "--show-prompt")
    assert (code, "a raw prompt has no template; add --chat" in error) == (2, True)
    code, _, error = run("sample", "-m", name, "-p", "Hi", "--chat", "--template-arg", "thinking=false")
    assert (code, "the chat template reads no value of that name" in error) == (2, True)


@pytest.mark.parametrize(
    ("typed", "args"),
    [
        ([], None),
        (["a=false"], '{"a": false}'),
        (["b=2", "a=low"], '{"a": "low", "b": 2}'),
        (["a="], '{"a": ""}'),
        (["a=x=y"], '{"a": "x=y"}'),
        (['a="2"'], '{"a": "2"}'),
        (["a=NaN"], '{"a": "NaN"}'),
        (["a=[1, null]"], '{"a": [1, null]}'),
        (["a=" + "[" * 100_000], None),
    ],
)
def test_values_are_json_or_text(typed: list[str], args: str | None) -> None:
    found = template_args_of(typed)
    assert found == args or (typed and args is None)
    assert template_args_of(arg_words(found)) == found


@pytest.mark.parametrize("typed", [["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]])
def test_values_that_cannot_be_meant(typed: list[str]) -> None:
    with pytest.raises(BadValue, match="--template-arg"):
        template_args_of(typed)


def test_recipes_from_before_there_were_values_keep_their_keys() -> None:
    prompt = Prompt("Hi", "Hi", (1,), "chat", "d", "2024-07-26")
    plain = Recipe("scripted", "1", "m", "v", prompt, Sampler(), 0, 8)
    assert "template_args" not in plain.to_json()
    with_values = Recipe("scripted", "1", "m", "v", Prompt(*(*vars(prompt).values(),)[:6], '{"a": 1}'), Sampler(), 0, 8)
    assert Recipe.from_json(with_values.to_json()) == with_values
    assert with_values.key != plain.key
