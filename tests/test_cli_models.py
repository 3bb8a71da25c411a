"""`llamadiv models` as a user meets it: what goes to stdout, what to stderr, and how it ends."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import click
import pytest
from hub_server import COMMIT, FakeHub, HubFile, Machine

from llama_diversity import hub, registry
from llama_diversity.cli.listening import TerminalListener
from llama_diversity.cli.models import models
from llama_diversity.cli.output import Output
from llama_diversity.errors import ChecksumMismatch, ModelFileError, NotDownloaded, UnknownName
from llama_diversity.records import ModelRef
from llama_diversity.render import model_pages
from llama_diversity.resolve import require_files, resolve_model
from llama_diversity.studies.arms import resolve_pair

BASE, ALIGNED = b"base" * 20_000, b"aligned" * 20_000
SHA256 = {"base": hashlib.sha256(BASE).hexdigest(), "aligned": hashlib.sha256(ALIGNED).hexdigest()}
QUIET = Output(json=False, quiet=True, color="never")


@pytest.fixture
def server():
    """A hub with the two files of a pair."""
    fake = FakeHub()
    fake.add("org/base", "b.gguf", BASE)
    fake.add("org/aligned", "a.gguf", ALIGNED)
    yield fake
    fake.close()


@pytest.fixture
def machine(tmp_path: Path, server: FakeHub) -> Machine:
    """A machine whose user has named the pair `duo`; its base is called `duo` too."""
    fresh = Machine(tmp_path, server.url)
    fresh.name("duo", repo="org/base", file="b.gguf", role="base", family="duet", size_bytes=80_000)
    fresh.name("duo-chat", repo="org/aligned", file="a.gguf", role="aligned", family="duet", sha256=SHA256["aligned"])
    with fresh.registry.open("a") as file:
        file.write('[pairs.duo]\nbase = "duo"\naligned = "duo-chat"\n')
    return fresh


def path_of(machine: Machine, role: str) -> Path:
    return machine.cache / f"models--org--{role}/snapshots/{COMMIT}/{role[0]}.gguf"


def ok(machine: Machine, *arguments: str) -> str:
    """The stdout of a command that must succeed."""
    result = machine.run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def fails(machine: Machine, *arguments: str, code: int) -> str:
    """The stderr of a command that must fail, with no result on stdout."""
    result = machine.run(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    return result.stderr


# --- A pair, from the list to the removal ----------------------------------------------------------------------------


def test_the_life_of_a_pair(machine, server):
    # 1. It is known but not here.
    listed = json.loads(ok(machine, "ls", "--pair", "duo", "--json"))["models"]
    assert [(one["model"], one["here"], one["path"]) for one in listed] == [
        ("duo", False, None),
        ("duo-chat", False, None),
    ]
    assert fails(machine, "path", "duo-chat", code=1) == (
        "llamadiv: duo-chat is not on this machine. Fetch it with: llamadiv models pull duo-chat\n"
    )
    assert "Fetch it with: llamadiv models pull duo --single (80 kB)" in fails(machine, "path", "duo", code=1)

    # 2. Its name fetches both files; paths alone with -q.
    pulled = machine.run("pull", "duo", "-q")
    assert pulled.stdout.split() == [str(path_of(machine, "base")), str(path_of(machine, "aligned"))]
    assert pulled.stderr == ""
    assert len(server.state.gets()) == 2

    # 3. It is here, and every byte is right.
    assert ok(machine, "path", "duo") == f"{path_of(machine, 'base')}\n"
    shown = json.loads(ok(machine, "show", "duo-chat", "--json"))
    assert (shown["here"], shown["commit"], shown["pairs"]) == (True, COMMIT, ["duo"])
    verified = json.loads(ok(machine, "verify", "--json"))["files"]
    assert {one["state"] for one in verified if one["model"].startswith("tiny-")} == {"ok"}  # part of llamadiv
    assert [(one["model"], one["state"], one["sha256"]) for one in verified if "tiny" not in one["model"]] == [
        ("duo", "ok", SHA256["base"]),
        ("duo-chat", "ok", SHA256["aligned"]),
    ]

    # 4. Damage on the disk is found, although the digest has been remembered.
    damaged = path_of(machine, "aligned").resolve()
    damaged.write_bytes(ALIGNED[:-1] + b"!")
    verified_again = machine.run("verify")
    assert verified_again.returncode == 1
    lines = [line.split()[:2] for line in verified_again.stdout.splitlines()[1:]]
    assert [line for line in lines if not line[0].startswith("tiny-")] == [
        ["duo", "ok"],
        ["duo-chat", "mismatch"],
    ]
    assert f"models.toml states {SHA256['aligned']}" in verified_again.stderr
    assert "Remove it with `llamadiv models rm duo-chat`" in verified_again.stderr
    assert damaged.exists()

    # 5. The advice works, and the base was not touched by it.
    assert json.loads(ok(machine, "rm", "duo-chat", "--yes", "--json")) == {
        "removed": [{"model": "duo-chat", "freed_bytes": len(ALIGNED)}]
    }
    server.state.requests.clear()
    ok(machine, "pull", "duo")
    assert [request.path for request in server.state.gets()] == [f"/org/aligned/resolve/{COMMIT}/a.gguf"]
    assert path_of(machine, "aligned").read_bytes() == ALIGNED


def test_single_fetches_the_model_that_shares_its_name_with_a_pair(machine, server):
    output = ok(machine, "pull", "duo", "--single")
    assert output == f"duo: 80 kB, sha256 as the hub states\n  {path_of(machine, 'base')}\n"
    assert len(server.state.gets()) == 1


def test_a_dry_run_of_a_pair_is_a_table(machine, server):
    lines = ok(machine, "pull", "duo", "--dry-run").splitlines()
    assert [line.split() for line in lines] == [
        ["MODEL", "SIZE", "TO", "FETCH", "FROM"],
        ["duo", "80", "kB", "80", "kB", "hf:org/base:b.gguf"],
        ["duo-chat", "140", "kB", "140", "kB", "hf:org/aligned:a.gguf"],
    ]
    assert server.state.gets() == []


def test_pull_says_on_stderr_that_it_uses_the_network(machine):
    result = machine.run("pull", "duo-chat")
    assert result.stderr == "Fetching duo-chat from the hub: a.gguf of org/aligned\n"


def test_verify_of_a_named_file_that_is_not_here(machine):
    result = machine.run("verify", "duo")
    assert result.returncode == 1
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["duo", "missing"],
        ["duo-chat", "missing"],
    ]
    assert result.stderr.startswith("llamadiv: duo is not on this machine. Fetch it with: llamadiv models pull duo")
    assert result.stderr.endswith("1 more did not verify either.\n")


# --- ls and show -----------------------------------------------------------------------------------------------------


def test_ls_fits_80_columns_and_names_everything(tmp_path):
    untouched = Machine(tmp_path, "http://127.0.0.1:1")
    output = ok(untouched, "ls")
    assert max(map(len, output.splitlines())) <= 80
    assert "llama-2-7b-chat" in output
    assert "scripted:aligned" in output
    assert "PAIR" in output
    assert "LADDER" in output


def test_ls_shows_how_much_of_a_file_is_here(machine, server):
    server.state.cut_after_bytes = 20_000
    server.state.get_statuses = [0, 503]
    assert machine.run("pull", "duo", "--single").returncode == 1
    row = ok(machine, "ls", "--family", "duet").splitlines()[1]
    assert row.split() == ["duo", "base", "duet", "80", "kB", "25", "%"]
    assert "partial_bytes  20000" in ok(machine, "show", "duo")


def test_quiet_ls_is_a_list_of_names(machine):
    assert ok(machine, "ls", "--pair", "duo", "-q") == "duo\nduo-chat\n"


def test_unknown_names_and_families(machine):
    assert "Did you mean duo-chat" in fails(machine, "show", "duo-cat", code=2)
    assert "There is no family called 'duett'. Did you mean duet?" in fails(machine, "ls", "--family", "duett", code=2)
    assert "There is no pair called 'dou'" in fails(machine, "ls", "--pair", "dou", code=2)


def test_text_from_outside_cannot_write_to_the_terminal(machine):
    with machine.registry.open("a") as file:
        file.write('[models.evil]\nrepo = "o/r"\nfile = "f.gguf"\nlicence = "\\u001b[2J\\u202e"\n')
    for arguments in (["ls"], ["show", "evil"]):
        output = ok(machine, *arguments)
        assert "\x1b" not in output
        assert "\u202e" not in output
        assert "⟨U+001B⟩" in output


def test_a_malformed_table_ends_every_command_with_its_line(machine):
    with machine.registry.open("a") as file:
        file.write("[models.bad]\nrepo = 3\n")
    line = machine.registry.read_text().count("\n")
    assert f"models.toml, line {line}: repo is 3" in fails(machine, "ls", code=2)


# --- add and rm ------------------------------------------------------------------------------------------------------


def test_add_names_a_path_and_a_hub_file(machine, tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(BASE)
    before = machine.registry.read_text()
    assert ok(machine, "add", "mine", "own.gguf", "--role", "base", "--family", "duet").startswith(
        "mine is now own.gguf"
    )
    assert ok(machine, "add", "theirs", "hf:org/base:b.gguf@main", "-q") == "theirs\n"
    assert machine.registry.read_text().startswith(before)
    assert ok(machine, "path", "mine") == f"{own}\n"
    assert json.loads(ok(machine, "show", "theirs", "--json"))["revision"] == "main"
    assert "has it already" in fails(machine, "add", "mine", "own.gguf", code=2)
    assert "that is a name already" in fails(machine, "add", "other", "duo", code=2)
    assert "its file is yours" in fails(machine, "rm", "mine", "--yes", code=2)
    own.unlink()
    assert "own.gguf: there is no such file. Correct the path of mine in " in fails(machine, "path", "mine", code=1)


def test_rm_without_a_terminal_wants_yes(machine):
    ok(machine, "pull", "duo-chat", "-q")
    assert "Give --yes to remove." in fails(machine, "rm", "duo-chat", code=2)
    assert path_of(machine, "aligned").exists()


def test_a_scripted_model_has_no_file(machine):
    assert "built in" in ok(machine, "pull", "scripted")
    assert "it is built in and has no file" in fails(machine, "path", "scripted:base", code=2)


@pytest.mark.parametrize("name", models.commands)
def test_every_command_has_help_for_itself_and_its_options(name):
    command = models.commands[name]
    assert command.help
    assert command.get_short_help_str(60).endswith(".")
    assert not command.get_short_help_str(60).endswith("...")
    undescribed = [one.name for one in command.params if isinstance(one, click.Option) and not one.help]
    assert undescribed == []


# --- What other commands use -----------------------------------------------------------------------------------------


def test_resolve_a_path(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(BASE)
    calls: list[tuple[int, int]] = []
    found = resolve_model(str(path), on_progress=lambda done, total: calls.append((done, total)))
    assert found == ModelRef(str(path), "llamacpp", str(path), SHA256["base"])
    assert calls == [(80_000, 80_000)]


def test_resolve_a_scripted_model_and_a_pair():
    assert resolve_model("scripted:base") == ModelRef("scripted:base", "scripted", "base", "")
    assert resolve_pair("scripted") == ("scripted:base", "scripted:aligned")
    with pytest.raises(UnknownName, match="Did you mean scripted"):
        resolve_pair("scriptd")


def test_resolve_refuses_what_is_not_here_or_not_the_pinned_file(own_folders, tmp_path):
    table = own_folders / "llamadiv" / "models.toml"
    table.parent.mkdir()
    (tmp_path / "m.gguf").write_bytes(BASE)
    source = f'path = "{tmp_path.as_posix()}/m.gguf"'
    table.write_text(
        f'[models.right]\n{source}\nsha256 = "{SHA256["base"]}"\n[models.wrong]\n{source}\nsha256 = "{"0" * 64}"\n'
    )
    assert resolve_model("right").digest == SHA256["base"]
    with pytest.raises(ChecksumMismatch, match="wrong: the bytes of .* have sha256"):
        resolve_model("wrong")
    with pytest.raises(ModelFileError, match="there is no such file"):
        resolve_model("gone.gguf")


def test_resolve_says_how_to_fetch(machine):
    # In a process of its own: where model files lie is read once per process.
    result = machine.run("path", "smollm2-135m-base")
    assert result.stderr == (
        "llamadiv: smollm2-135m-base is not on this machine. "
        "Fetch it with: llamadiv models pull smollm2-135m-base (145 MB)\n"
    )
    assert str(NotDownloaded("m", "m", None)).endswith("llamadiv models pull m")


def test_progress_without_a_terminal_is_quiet_at_first(capsys):
    with TerminalListener(Output(json=False, quiet=False, color="auto")).moving_bytes() as progress:
        on_bytes = progress("Fetching m")
        assert on_bytes is not None
        on_bytes(1, 2)
    with TerminalListener(QUIET).moving_bytes() as progress:
        assert progress("Fetching m") is None
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_begins_with_the_first_bytes(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with TerminalListener(Output(json=False, quiet=False, color="auto")).moving_bytes() as progress:
        on_bytes = progress("Fetching m")
        assert capsys.readouterr() == ("", "")  # of a model that is known nothing is read
        on_bytes(1, 2)
        on_bytes(2, 2)
        progress("Fetching n")(1, 2)
    assert "Fetching n" in capsys.readouterr().err


def test_a_hub_file_of_other_bytes_is_never_used(machine, server):
    server.state.files["org/base", "b.gguf"] = HubFile(BASE[::-1], stated_sha256=SHA256["base"])
    assert machine.run("pull", "duo", "--single").returncode == 1
    assert "duo is not on this machine" in fails(machine, "path", "duo", code=1)


def test_a_ladder_that_is_wider_than_a_terminal_goes_on_below():
    rungs = [f"a-rather-long-name-{number}" for number in range(5)]
    groups = {"pairs": [], "ladders": [{"name": "short", "rungs": ["a", "b"]}, {"name": "long", "rungs": rungs}]}
    lines = list(model_pages.of_models([], groups))
    assert max(map(len, lines)) <= 80
    assert lines[-3:] == [
        "short   a > b",
        "long    a-rather-long-name-0 > a-rather-long-name-1 > a-rather-long-name-2 >",
        "        a-rather-long-name-3 > a-rather-long-name-4",
    ]


# ---- what ships


def test_what_ships_is_read_and_held_against_its_sha256(machine: Machine) -> None:
    """It is not fetched, and `pull` says who vouches for it all the same."""
    result = machine.run("pull", "tiny-dpo", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    [found] = json.loads(result.stdout)["files"]
    assert (found["stated_by"], found["transferred_bytes"]) == ("models.toml", 0)


def test_what_ships_is_neither_removed_nor_pulled_where_it_is_damaged() -> None:
    entry = registry.load().find("tiny-dpo")
    with pytest.raises(ChecksumMismatch, match="It is part of llamadiv: install that again") as damaged:
        hub.check_sha256("tiny-dpo", [entry.path], ["0" * 64], pinned=entry.sha256, is_packaged=entry.is_packaged)
    assert "models rm" not in str(damaged.value)
    gone = dataclasses.replace(entry, path=entry.path.with_name("gone.gguf"))
    with pytest.raises(ModelFileError, match="there is no such file. It is part of llamadiv: install that again"):
        require_files(gone)


@pytest.mark.parametrize(("name", "kind"), [("tiny", "pair"), ("tiny-recipes", "ladder")])
def test_a_pair_or_a_ladder_is_no_model_to_show(machine: Machine, name: str, kind: str) -> None:
    result = machine.run("show", name)
    assert result.returncode == 2
    assert f"{name} is a {kind}, not a model. Name one of its models: tiny-base, tiny-" in result.stderr
    assert machine.run("show", "duo").returncode == 0  # a pair, but a model as well
