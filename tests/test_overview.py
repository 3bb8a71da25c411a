"""`llamadiv` alone: what it says of what is there, that it is quick, and that nothing makes it fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from test_weight import NEVER_FOR_HELP, imported_by

from llama_diversity import registry
from llama_diversity.overview import at_a_glance
from llama_diversity.render.overview_pages import of_overview
from llama_diversity.store import Store
from llama_diversity.storefile import FORMAT_VERSION, open_file

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has nothing."""
    for name in ("HF_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    return tmp_path


def lines(store: Path | None = None) -> list[str]:
    return list(of_overview(at_a_glance(store), NOW))


def steps(said: list[str]) -> list[str]:
    """The three commands."""
    return [line.strip().split("  ")[0] for line in said[-3:]]


def a_run(store: Path, *command: str, is_finished: bool = True) -> str:
    with Store.open(store) as opened:
        run = opened.start_run(command=command, about={})
        if is_finished:
            opened.finish_run(run)
    return run


def test_a_new_user_is_told_where_to_begin(home, run, monkeypatch):
    monkeypatch.setenv("PATH", str(home))
    (home / "llamadiv").write_text("#!/bin/sh\n")
    (home / "llamadiv").chmod(0o755)
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "llamadiv 0.1.0: what post-training costs a language model in diversity",
        "No runs yet.",
        "The pair tiny ships with it.",
        "Type next (llamadiv --help lists all commands):",
        "  llamadiv demo                           what post-training costs, in a minute",
        "  llamadiv reproduce --pair smollm2-135m  on a real pair (290 MB, asks first)",
        "  llamadiv models suggest                 which other pairs fit this machine",
    ]
    assert [one.name for one in home.iterdir()] == ["llamadiv"]  # it only looks


def test_a_shell_that_does_not_know_the_command_is_told(home, monkeypatch):
    folder = home / "env" / "bin"
    folder.mkdir(parents=True)
    (folder / "llamadiv").write_text("")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    [line] = [line for line in lines() if "PATH" in line]
    assert line == f'  export PATH="{folder}:$PATH"  # so that your shell finds llamadiv'
    monkeypatch.setenv("PATH", str(folder))
    (folder / "llamadiv").chmod(0o755)
    assert [line for line in lines() if "PATH" in line] == []


def test_runs_so_far_are_named_the_newest_first(home):
    store = home / "s.sqlite"
    for number in range(4):
        a_run(store, "llamadiv", "sample", "-n", str(number))
    with Store.open(store) as opened:
        newest = [one.id for one in reversed(opened.runs())][:3]
    said = lines(store)
    assert said[1] == "4 runs so far, the newest:"
    assert [line.split()[0] for line in said[2:5]] == newest
    assert steps(said)[0] == "llamadiv view last"
    assert len(said) <= 11


def test_a_run_that_is_not_finished_is_gone_on_with(home):
    store = home / "s.sqlite"
    a_run(store, "llamadiv", "compare", "-p", "two words", is_finished=False)
    said = lines(store)
    assert "(not finished) llamadiv compare" in said[2]
    assert steps(said)[0] == "llamadiv compare -p 'two words'"
    a_run(store, "python", is_finished=False)  # which nobody can type again
    assert steps(lines(store))[0] == "llamadiv view last"


def test_looking_at_a_run_is_no_work_to_go_on_with(home):
    store = home / "s.sqlite"
    a_run(store, "llamadiv", "view", "20260504-old", is_finished=False)
    assert steps(lines(store))[0] == "llamadiv view last"


def put_in_cache(home: Path, pair: str) -> None:
    """Empty files where the hub's client keeps those of a pair."""
    known = registry.load()
    for name in (known.pairs[pair].base, known.pairs[pair].aligned):
        entry = known.find(name)
        folder = home / ".cache/huggingface/hub" / f"models--{entry.repo.replace('/', '--')}"
        path = folder / "snapshots" / entry.revision / entry.file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")


def test_a_real_pair_that_is_here_comes_first(home):
    put_in_cache(home, "qwen3-0.6b")
    said = lines()
    assert said[2] == "The pair tiny ships with it; here too: qwen3-0.6b."
    assert steps(said)[1] == "llamadiv reproduce --pair qwen3-0.6b"
    store = home / "s.sqlite"
    a_run(store, "llamadiv", "reproduce", "--pair", "qwen3-0.6b")
    assert steps(lines(store))[1] == "llamadiv compare --pair qwen3-0.6b"


def test_models_of_other_programs_are_counted(home):
    folder = home / ".lmstudio/models/org/r"
    folder.mkdir(parents=True)
    for name in ("a.gguf", "b.gguf", "mmproj-b.gguf"):
        (folder / name).write_bytes(b"GGUF")
    assert "Models in LM Studio: 2 (llamadiv models ls --found)" in lines()


def test_json_says_the_same(home, run, monkeypatch):
    store = home / "s.sqlite"
    run_id = a_run(store, "llamadiv", "demo")
    monkeypatch.setenv("LLAMADIV_STORE", str(store))
    found = json.loads(run("--json")[1])
    assert (found["n_runs"], found["newest_runs"][0]["id"]) == (1, run_id)
    assert found["newest_runs"][0]["command"] == ["llamadiv", "demo"]
    assert [one["command"].split()[0] for one in found["next"]] == ["llamadiv"] * 3


def test_json_before_a_command_says_where_it_stands(run):
    code, out, err = run("--json", "demo")
    assert (code, out, err) == (2, "", "llamadiv: --json stands behind the command: llamadiv demo --json\n")


def _damaged(store: Path) -> None:
    a_run(store, "llamadiv", "demo")
    with open(store, "r+b") as file:
        file.seek(1024)
        file.write(b"\xff" * 4096)


def _newer(store: Path) -> None:
    a_run(store, "llamadiv", "demo")
    connection = open_file(store, read_only=False, timeout_s=1)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()


def _foreign(store: Path) -> None:
    store.write_text("no store at all, but long enough to be read as one" * 20)


def _folder(store: Path) -> None:
    store.mkdir()


def _bad_command(store: Path) -> None:
    a_run(store, "llamadiv", "demo")
    connection = open_file(store, read_only=False, timeout_s=1)
    connection.execute("UPDATE runs SET command = '{'")
    connection.close()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (_damaged, "this sample store is damaged"),
        (_newer, "a newer llamadiv wrote this sample store"),
        (_foreign, "not a sample store of llamadiv"),
        (_folder, "this is a folder"),
        (_bad_command, "cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read_is_a_sentence(home, breaks, says):
    store = home / "s.sqlite"
    breaks(store)
    said = lines(store)
    assert says in " ".join(line.strip() for line in said)
    assert said[1] == "No runs that can be read."
    assert steps(said)[0] == "llamadiv demo"


def test_a_models_toml_with_a_mistake_is_a_sentence(home):
    own = home / ".config/llamadiv/models.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[models.x]\nnonsense = 1\n")
    said = " ".join(line.strip() for line in lines())
    assert "line 2: models have no field 'nonsense'" in said


@pytest.mark.parametrize(
    "variables", [{"HOME": None}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_nothing_makes_it_fail(home, variables):
    environment = {**os.environ, **{name: value for name, value in variables.items() if value}}
    environment["LLAMADIV_STORE"] = str(home / "none")  # without HOME the system's list of users knows one
    for name in [name for name, value in variables.items() if value is None]:
        del environment[name]
    result = subprocess.run([sys.executable, "-m", "llama_diversity"], env=environment, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"\x1b" not in result.stdout
    assert b"  llamadiv " in result.stdout
    long = [line for line in result.stdout.splitlines() if len(line) > 80]
    assert [line for line in long if b"export PATH" not in line] == []  # which cannot be broken


def test_without_a_home_it_says_what_to_name(home, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user without an entry
    said = " ".join(line.strip() for line in lines())
    assert "There is no home directory for samples." in said
    assert "The pair tiny ships with it." in said


def test_hostile_words_of_a_run_are_made_safe(home):
    store = home / "s.sqlite"
    a_run(store, "llamadiv", "sample", "-p", "\x1b[2J\u202e")
    [line] = [line for line in lines(store) if "sample" in line]
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_it_loads_nothing_heavy():
    """Quick by what it leaves out: numpy alone takes as long as all of it."""
    names = imported_by("-m", "llama_diversity")
    assert "sqlite3" in names
    assert names & (NEVER_FOR_HELP | {"numpy", "rich"}) == set()


def test_help_is_as_it_was(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "Usage: llamadiv [OPTIONS] COMMAND [ARGS]..." in out
    assert "--json" not in out
