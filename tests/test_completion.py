"""What a Tab offers, asked as the shells ask: through the environment of a new process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import click
import pytest

from llama_diversity.cli import COMMANDS
from llama_diversity.cli.complete import complete_model, complete_pair, complete_run
from llama_diversity.cli.completion import LINES
from llama_diversity.store import Store

LLAMADIV = [sys.executable, "-m", "llama_diversity"]


def ask(instruction, *words):
    """What the completion of `words` (the last one unfinished) prints."""
    environment = {
        **os.environ,
        "_LLAMADIV_COMPLETE": instruction,
        "COMP_WORDS": " ".join(["llamadiv", *words]),
        "COMP_CWORD": str(len(words)),
        "COMP_LINE": " ".join(["llamadiv", *words]),
    }
    result = subprocess.run(LLAMADIV, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def offered(callback, incomplete="", **parameters):
    """The values that a callback offers."""
    context = click.Context(click.Command("x"))
    context.params.update(parameters)
    return [item.value for item in callback(context, click.Argument(["x"]), incomplete)]


@pytest.mark.parametrize("shell", LINES)
def test_line_to_add(shell):
    result = subprocess.run([*LLAMADIV, "completion", shell], capture_output=True, text=True, check=True)
    assert result.stdout == f"{LINES[shell][1]}\n"
    assert f"_LLAMADIV_COMPLETE={shell}_source llamadiv" in result.stdout


def test_shells_are_those_click_knows():
    assert set(LINES) == {"bash", "zsh", "fish"}
    for shell in LINES:
        assert "llamadiv" in ask(f"{shell}_source")


def test_every_command_is_offered():
    assert ask("bash_complete", "").splitlines() == [f"plain,{name}" for name in COMMANDS]
    assert ask("bash_complete", "do") == "plain,doctor\n"


def test_commands_come_with_their_line():
    assert f"sample\n{COMMANDS['sample'][1]}\n" in ask("zsh_complete", "")


def test_options_and_choices_are_offered():
    assert "plain,--json" in ask("bash_complete", "doctor", "--").splitlines()
    assert ask("bash_complete", "completion", "z") == "plain,zsh\n"
    assert "plain,--version" in ask("bash_complete", "--").splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="asks bash itself")
def test_bash_accepts_its_script():
    script = subprocess.run(["bash", "-n"], input=ask("bash_source"), text=True, capture_output=True)
    assert (script.returncode, script.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="asks bash itself; what our side offers is tested below")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sample -m scripted:", "base"),  # bash replaces what follows the colon, so the rest alone is offered
        ("sample -m scripted:ali", "aligned"),
        ("sample -m tiny-b", "tiny-base"),
        ("syntactic --pair=tin", "tiny"),
        ("syntactic --pair tin", "tiny"),
    ],
)
def test_bash_completes_words_with_colons(tmp_path, line, offered):
    command = tmp_path / "llamadiv"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llama_diversity "$@"\n')
    command.chmod(0o755)
    (tmp_path / "script").write_text(ask("bash_source"))
    asked = (
        "COMP_WORDBREAKS=$' \t\n\"\\'><=;|&(:'; . ./script; COMP_LINE=\"llamadiv $1\"; COMP_POINT=${#COMP_LINE}; "
        '_llamadiv_completion ./llamadiv; printf "%s\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", asked, "bash", line], cwd=tmp_path, capture_output=True, text=True)
    assert result.stderr == ""
    assert offered in result.stdout.split()


@pytest.fixture
def own_table(own_folders):
    (own_folders / "llamadiv").mkdir()
    (own_folders / "llamadiv/models.toml").write_text(
        "[models.zz-base]\npath = 'b.gguf'\nrole = 'base'\n"
        "[models.zz-chat]\npath = 'c.gguf'\n"
        "[pairs.zz]\nbase = 'zz-base'\naligned = 'zz-chat'\n"
    )


@pytest.mark.usefixtures("own_table")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sample", "-m", "zz-b"], "plain,zz-base\n"),
        (["score", "--model", "zz"], "plain,zz-base\nplain,zz-chat\n"),
        (["syntactic", "--pair", "z"], "plain,zz\n"),
        (["syntactic", "--aligned", "zz-c"], "plain,zz-chat\n"),
        (["models", "pull", "zz-c"], "plain,zz-chat\n"),
        (["sample", "-m", "./x"], "file,./x\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tab(words, expected):
    assert ask("bash_complete", *words) == expected


@pytest.mark.usefixtures("own_table")
def test_models_and_pairs_of_the_table():
    assert offered(complete_model, "zz") == ["zz-base", "zz-chat"]
    assert offered(complete_pair, "z") == ["zz"]
    assert "zz-base" in offered(complete_model)


def test_path_is_left_to_the_shell():
    [item] = complete_model(click.Context(click.Command("x")), click.Argument(["x"]), "./mod")
    assert (item.value, item.type) == ("./mod", "file")


def test_runs_of_the_named_store(tmp_path):
    path = tmp_path / "store.sqlite"
    with Store.open(path) as store:
        first = store.start_run(command=["llamadiv", "sample"], about={})
        second = store.start_run(command=["llamadiv", "sample"], about={})
    assert sorted(offered(complete_run, store=path)) == sorted([first, second, "last"])
    assert offered(complete_run, first, store=path) == [first]


@pytest.mark.parametrize("content", [None, b"", b"no table = [", b"\xff"])
def test_what_cannot_be_read_offers_nothing(own_folders, tmp_path, capfd, content):
    if content is not None:
        (own_folders / "llamadiv").mkdir()
        (own_folders / "llamadiv/models.toml").write_bytes(content or b"x")
        (tmp_path / "store.sqlite").write_bytes(content)
        assert offered(complete_model) == []
        assert offered(complete_pair) == []
    assert offered(complete_run, store=tmp_path / "store.sqlite") == []
    assert capfd.readouterr() == ("", "")
