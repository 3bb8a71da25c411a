"""One command for a model that is not here: asked on a terminal, refused elsewhere, told by hand without a network.

The real client of the hub asks a server on 127.0.0.1; a terminal is a pseudo-terminal.
"""

from __future__ import annotations

import hashlib
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, FakeHub, Machine

from llama_diversity import browser, registry

pytestmark = pytest.mark.model

DATA = Path(registry.__file__).parent / "data"
FILES = {"base": DATA / "tiny-base.gguf", "aligned": DATA / "tiny-aligned.gguf"}
SHA256 = {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in FILES.items()}
SIZES = [path.stat().st_size / 1e6 for path in FILES.values()]  # two digits are shown of them, and of their sum
BASE_MB, ALIGNED_MB, BOTH_MB = (f"{size:.{1 if size < 9.95 else 0}f} MB" for size in (*SIZES, sum(SIZES)))
STUDY = ("syntactic", "--pair", "duo", "-n", "2", "--max-tokens", "4", "--json")


@pytest.fixture
def server():
    fake = FakeHub()
    for role, path in FILES.items():
        fake.add(f"org/{role}", f"{role}.gguf", path.read_bytes())
    yield fake
    fake.close()


class Shell(Machine):
    """A machine on which any command is run, also on a terminal."""

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llama_diversity", *arguments],
            env=self.environment | variables,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def on_terminal(self, typed: str, *arguments: str) -> tuple[int, str]:
        """The exit code, and all that stood on the terminal while `typed` was typed there."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.root)
            arguments = (sys.executable, "-m", "llama_diversity", *arguments)
            os.execve(sys.executable, arguments, self.environment | {"TERM": "dumb", "COLUMNS": "200"})
        seen = b""
        os.write(terminal, typed.encode())
        while True:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # Linux says so at the end
                break
            if not data:
                break
            seen += data
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode().replace("\r\n", "\n")


@pytest.fixture
def shell(tmp_path: Path, server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A machine whose models.toml names a pair of files that are on the hub alone."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    fresh = Shell(tmp_path, server.url)
    for role, path in FILES.items():
        fresh.name(
            f"duo-{role}",
            repo=f"org/{role}",
            file=f"{role}.gguf",
            role=role,
            revision=COMMIT,
            sha256=SHA256[role],
            size_bytes=path.stat().st_size,
            licence="cc-by-sa-3.0",
            template="none" if role == "base" else "gguf",
        )
    with fresh.registry.open("a") as file:
        file.write('[pairs.duo]\nbase = "duo-base"\naligned = "duo-aligned"\n')
    return fresh


def test_without_a_terminal_it_is_refused_with_the_commands_to_type(shell, server):
    refused = shell.command(*STUDY)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"llamadiv: duo is not on this machine. Fetch it with: llamadiv models pull duo ({BOTH_MB}), "
        "or add --yes to this command\n"
    )
    single = shell.command("score", "-m", "duo-base", "She was")
    assert f"duo-base is not on this machine. Fetch it with: llamadiv models pull duo-base ({BASE_MB})" in single.stderr
    assert server.state.requests == []


@pytest.mark.parametrize("variables", [{}, {"LLAMADIV_YES": "1"}], ids=["flag", "variable"])
def test_yes_fetches_and_goes_on(shell, server, variables):
    done = shell.command(*STUDY, *([] if variables else ["--yes"]), **variables)
    assert done.returncode == 0, done.stderr
    assert '"duo-base"' in done.stdout
    assert len(server.state.gets()) == 2
    server.state.requests.clear()
    assert shell.command(*STUDY).returncode == 0  # here now, and nothing is asked
    assert server.state.requests == []


def test_on_a_terminal_it_asks_once_and_says_what_and_from_where(shell, server):
    code, seen = shell.on_terminal("n\n", *STUDY)
    assert code == 1
    assert f"duo is not on this machine. From {server.url}:" in seen
    assert f"  {BASE_MB}, cc-by-sa-3.0: base.gguf of org/base\n" in seen
    assert seen.count("[y/N]") == 1
    assert re.search(rf"Fetch {BOTH_MB} into ~/hf/hub, where \d+.* are free\? \[y/N\]", seen)
    assert "--yes" not in seen
    assert server.state.requests == []

    code, seen = shell.on_terminal("y\n", *STUDY)
    assert code == 0, seen
    assert len(server.state.gets()) == 2
    code, seen = shell.on_terminal("", *STUDY)
    assert (code, "[y/N]" in seen) == (0, False)


def test_what_was_begun_is_continued_and_only_the_rest_is_asked_for(shell, server):
    server.state.get_statuses = [0, 503]  # the second file fails
    failed = shell.command(*STUDY, "--yes")
    assert failed.returncode == 1
    assert "status 503" in failed.stderr
    assert "duo-aligned: 1 file" in failed.stderr  # how to bring it here by hand
    assert "duo-base: 1 file" not in failed.stderr
    assert f"Fetch it with: llamadiv models pull duo ({ALIGNED_MB})" in shell.command(*STUDY).stderr
    server.state.requests.clear()
    assert shell.command(*STUDY, "--yes").returncode == 0
    assert [request.path for request in server.state.gets()] == [f"/org/aligned/resolve/{COMMIT}/aligned.gguf"]


def test_a_file_that_is_not_the_promised_one_is_refused(shell, server):
    server.state.files["org/base", "base.gguf"].stated_sha256 = "0" * 64
    refused = shell.command(*STUDY, "--yes")
    assert refused.returncode == 1
    assert f"models.toml pins {SHA256['base']}" in refused.stderr


@pytest.mark.parametrize("off", ["--offline", "HF_HUB_OFFLINE", "LLAMADIV_OFFLINE", "no network"])
def test_without_a_network_it_says_what_to_copy_where_and_that_works(shell, server, off):
    arguments, variables = list(STUDY), {}
    if off == "no network":
        arguments, variables = [*STUDY, "--yes"], {"HF_ENDPOINT": "http://127.0.0.1:9"}
    elif off == "--offline":
        arguments = [*STUDY, "--offline"]
    else:
        variables = {off: "1"}
    refused = shell.command(*arguments, **variables)
    assert refused.returncode == 1
    for role, path in FILES.items():
        assert f"  duo-{role}: 1 file, {path.stat().st_size:,} bytes, sha256 {SHA256[role]}\n" in refused.stderr
        endpoint = variables.get("HF_ENDPOINT", server.url)
        assert f"    from {endpoint}/org/{role}/resolve/{COMMIT}/{role}.gguf\n" in refused.stderr
    places = re.findall(r"^    to   ~/(.*)$", refused.stderr, re.MULTILINE)
    for place, path in zip(places, FILES.values(), strict=True):
        target = shell.root / place
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    server.state.requests.clear()
    assert shell.command(*arguments, **variables).returncode == 0
    assert server.state.requests == []


def test_names_of_ones_own_are_told_exactly_and_work(shell):
    refused = shell.command(*STUDY, "--offline")
    commands = re.findall(r"^  (llamadiv models add .*)$", refused.stderr, re.MULTILINE)
    for command, path in zip(commands, FILES.values(), strict=True):
        shutil.copy(path, shell.root / shlex.split(command)[4])
        added = shell.command(*shlex.split(command)[1:])
        assert added.returncode == 0, added.stderr
    [named] = re.findall(r"^and name them so: (.*)$", refused.stderr, re.MULTILINE)
    done = shell.command("syntactic", *shlex.split(named), *STUDY[3:], "--offline")
    assert done.returncode == 0, done.stderr
    assert '"duo-base-here"' in done.stdout


def test_a_file_that_lm_studio_has_is_used_without_a_question(shell, server):
    for role, path in FILES.items():
        target = shell.root / ".lmstudio/models/org" / role / f"{role}.gguf"
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    done = shell.command(*STUDY)
    assert done.returncode == 0, done.stderr
    assert "duo-base is in LM Studio already, with the sha256 that models.toml states" in done.stderr
    assert server.state.requests == []
    assert not (shell.root / "hf" / "hub").exists()


def test_a_ladder_and_several_names_are_asked_for_together(shell, server):
    with shell.registry.open("a") as file:
        file.write('[ladders.steps]\nrungs = ["duo-base", "tiny-sft", "duo-aligned"]\n')
    refused = shell.command("syntactic", "--ladder", "steps", *STUDY[3:])
    assert f"steps is not on this machine. Fetch it with: llamadiv models pull steps ({BOTH_MB})" in refused.stderr
    refused = shell.command("syntactic", "--base", "duo-base", "--aligned", "duo-aligned", *STUDY[3:])
    assert "duo-base, duo-aligned are not on this machine." in refused.stderr
    assert f"Fetch it with: llamadiv models pull duo-base duo-aligned ({BOTH_MB})" in refused.stderr
    assert server.state.requests == []


def test_python_never_fetches(shell, server, monkeypatch):
    script = "import llama_diversity as ld; ld.model('duo-base')"
    asked = subprocess.run([sys.executable, "-c", script], env=shell.environment, capture_output=True, text=True)
    assert "Fetch it with: llamadiv models pull duo-base" in asked.stderr
    assert "--yes" not in asked.stderr
    assert server.state.requests == []


# --- The page is shown where somebody looks -------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A browser that writes down what it is shown."""
    log = tmp_path / "shown"
    program = tmp_path / "look"
    program.write_text(f'#!/bin/sh\necho "$1" >> {shlex.quote(str(log))}\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    return log


def test_a_report_is_opened_when_asked_and_not_unasked_in_a_pipe(run, shown, tmp_path, monkeypatch):
    store = tmp_path / "s.sqlite"
    run("syntactic", "--base", "scripted:base", "--aligned", "scripted:aligned", "-n", 4, "--store", store)
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.chdir(tmp_path)
    code, _, _ = run("report", "last", "--store", store, "--out", "r1")  # no terminal
    assert (code, shown.exists()) == (0, False)
    code, _, _ = run("report", "last", "--store", store, "--out", "r2", "--open")
    assert (code, shown.read_text()) == (0, f"{(tmp_path / 'r2' / 'index.html').as_uri()}\n")
    code, _, _ = run("report", "last", "--store", store, "--out", "r3", "--no-open")
    assert len(shown.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "system", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
        ({"SSH_TTY": "/dev/pts/1", "DISPLAY": "localhost:10"}, "linux", True),  # it comes back over the line
    ],
)
def test_where_there_is_a_screen(monkeypatch, variables, system, expected):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert browser.has_screen() is expected
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert browser.has_screen() is False
