"""The one place where an exception becomes an exit code and a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types

import click
import pytest

from llama_diversity import __version__, cli, errors
from llama_diversity.cli import main

LLAMADIV = [sys.executable, "-m", "llama_diversity"]


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments, raises=None):
        if raises is not None:
            install(monkeypatch, raises)
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        return exit_.value.code, *capfd.readouterr()

    return run


def install(monkeypatch, raises):
    """A command `trial` that does what `raises` does."""

    @click.command
    @click.option("--debug", is_flag=True)
    def trial(debug):
        raises()

    module = types.ModuleType("trial")
    module.trial = trial
    monkeypatch.setitem(sys.modules, "trial", module)
    monkeypatch.setitem(cli.COMMANDS, "trial", ("trial:trial", "Fails as the test wants."))


def throw(error):
    def raises():
        raise error

    return raises


def test_version(run):
    assert run("--version") == (0, f"llamadiv, version {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_and_the_exit_codes(run, flag):
    code, out, err = run(flag)
    assert (code, err) == (0, "")
    for name, (_, line) in cli.COMMANDS.items():
        assert f"  {name}" in out
        assert line in out
    assert "3 partial run" in out


def test_unknown_command_names_the_near_one(run):
    code, out, err = run("smaple")
    assert (code, out) == (2, "")
    assert err.startswith("llamadiv: There is no command called 'smaple'. Did you mean sample")
    assert err.endswith("`llamadiv --help` lists them.\n")


def test_unknown_command_cannot_steer_the_terminal(run):
    code, _, err = run("\x1b[2Jx")
    assert code == 2
    assert "\x1b" not in err


@pytest.mark.parametrize(
    "arguments", [["--colour"], ["completion", "--colour"], ["completion"], ["completion", "tcsh"]]
)
def test_wrong_usage_is_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: llamadiv")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LlamadivError("Words."), 1),
        (errors.BadValue("-n", 0, "ask for at least 1 sample"), 2),
        (errors.PartialRun("2 of 4 cells failed."), 3),
        (errors.Interrupted("Stopped."), 130),
    ],
)
def test_own_error_brings_its_code_and_sentence(run, error, code):
    assert run("trial", raises=throw(error)) == (code, "", f"llamadiv: {error}\n")


def test_every_error_class_has_a_documented_code():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert {error.exit_code for error in classes} == {1, 2, 3, 130}


def test_code_of_a_command_that_exits(run):
    assert run("trial", raises=lambda: click.get_current_context().exit(3)) == (3, "", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_is_130_and_one_sentence(run, error):
    code, out, err = run("trial", raises=throw(error))
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("llamadiv: Interrupted.")


def test_defect_is_one_sentence(run):
    code, out, err = run("trial", raises=throw(ZeroDivisionError("x\x1b[2J")))
    assert (code, out) == (1, "")
    assert err.startswith("llamadiv: ZeroDivisionError: x")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_file_error_names_the_file(run):
    _, _, err = run("trial", raises=throw(PermissionError(13, "Permission denied", "/a/b")))
    assert err == (
        "llamadiv: /a/b: Permission denied. Check the path and its permissions, then run the command again.\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError(), errors.BadValue("-n", 0, "ask for more")])
def test_debug_shows_the_traceback_and_keeps_the_code(run, monkeypatch, error):
    code = getattr(error, "exit_code", 1)
    for arguments in (["trial", "--debug"], ["trial"]):
        got, _, err = run(*arguments, raises=throw(error))
        assert got == code
        assert err.startswith("Traceback")
        assert type(error).__name__ in err
        monkeypatch.setenv("LLAMADIV_DEBUG", "1")  # the second time by the environment


def test_reader_that_goes_away_is_no_failure():
    result = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" --help | head -n 1', "bash", *LLAMADIV], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage")


def test_closed_pipe_is_no_failure():
    read, write = os.pipe()
    os.close(read)  # nobody will ever read: the first write fails
    result = subprocess.run([*LLAMADIV, "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")
def test_full_disk_is_a_sentence():
    with open("/dev/full", "w") as full:
        result = subprocess.run([*LLAMADIV, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "llamadiv: No space left on device. Free some space where the command writes (`df -h` shows how much there "
        "is), then run it again.\n"
    )


def test_ctrl_c_from_the_terminal(tmp_path):
    """The signal itself: a process that waits for its input gets SIGINT."""
    (tmp_path / "waiting.py").write_text(
        "import sys, click\n"
        "from llama_diversity import cli\n"
        "@click.command\n"
        "def wait():\n"
        "    click.echo('ready')\n"
        "    sys.stdin.read()\n"
        "cli.COMMANDS['wait'] = ('waiting:wait', '')\n"
        "if __name__ == '__main__':\n"
        "    sys.modules['waiting'] = sys.modules['__main__']\n"
        "    cli.main(['wait'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "waiting.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.startswith("llamadiv: Interrupted.")
