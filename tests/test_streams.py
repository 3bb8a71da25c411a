"""Standard streams and folders as they are in the world: other encodings, closed streams, no home, no room."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_diversity import paths
from llama_diversity.errors import NoHome

LLAMADIV = [sys.executable, "-m", "llama_diversity"]
TOLD = "Ada “née” — café: 北京, naïve…"  # what the scripted model says back


def asked(*arguments: object, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*LLAMADIV, *map(str, arguments)], env={**os.environ, **settings}, input=stdin, capture_output=True
    )


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("cp1252", "Ada “née” — café: <U+5317><U+4EAC>, naïve…"),
        ("cp437", 'Ada "née" - café: <U+5317><U+4EAC>, naïve...'),
        ("ascii", 'Ada "n<U+00E9>e" - caf<U+00E9>: <U+5317><U+4EAC>, na<U+00EF>ve...'),
        ("utf-16", TOLD),
        ("ascii:replace", "Ada ?n?e? ? caf?: ??, na?ve?"),  # an error handler that the user chose stays
    ],
)
def test_a_stream_that_lacks_characters_gets_them_spelled(encoding: str, shown: str) -> None:
    program = f"from llama_diversity.render.streams import prepare; prepare(); prepare(); print({TOLD!r}, end='')"
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode(encoding.partition(":")[0]) == shown


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_sentences_and_texts_reach_a_stream_that_is_not_utf8(encoding: str) -> None:
    failed = asked("sample", "-m", "“no such model”", "-p", "x", PYTHONIOENCODING=encoding)
    assert failed.returncode == 2
    assert failed.stderr.decode(encoding).startswith("llamadiv: There is no model called")
    shown = asked("sample", "-m", "tiny-base", "-p", TOLD, "--show-prompt", "--offline", PYTHONIOENCODING=encoding)
    assert shown.returncode == 0, shown.stderr
    assert "<U+5317>" in shown.stdout.decode(encoding)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(closed: str, tmp_path: Path) -> None:
    command = f'exec "$@" {closed}'
    store = tmp_path / "store.sqlite"
    words = ["sample", "-m", "scripted:base", "-p", "She", "-n", "3", "--store", str(store)]
    result = subprocess.run(["bash", "-c", command, "bash", *LLAMADIV, *words], capture_output=True)
    assert result.returncode == 0, result.stderr
    with sqlite3.connect(store) as connection:  # nothing was printed into the file that took the stream's number
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (3,)


def test_reading_a_closed_standard_input_is_said() -> None:
    result = subprocess.run(
        ["bash", "-c", 'exec "$@" <&-', "bash", *LLAMADIV, "sample", "-m", "scripted:base", "-p", "-"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "standard input" in result.stderr
    assert "closed" in result.stderr


def test_a_pipe_gets_the_lines_of_the_model_unbroken(run: Callable) -> None:
    code, out, _ = run("sample", "-m", "scripted:coin", "-p", "h", "-n", 1, "--max-tokens", 300)
    head, *lines = out.splitlines()
    assert (code, len(lines)) == (0, 1)
    assert len(lines[0].split()) == 300


@pytest.mark.parametrize(
    ("typed", "prompt"), [(b"She\n", "She"), (b"She\r\n", "She"), (b"She\n\n", "She\n"), (b"She", "She")]
)
def test_one_line_break_at_the_end_of_standard_input_is_dropped(typed: bytes, prompt: str) -> None:
    shown = asked("sample", "-m", "scripted:base", "-p", "-", "--show-prompt", stdin=typed)
    assert shown.stdout.decode() == f"{prompt}\n"


# ---- folders


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home, and nothing that says where files go."""
    for name in ("LLAMADIV_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_only_what_must_be_kept_needs_a_folder(run: Callable, tmp_path: Path) -> None:
    assert run("models", "ls")[0] == 0
    code, _, err = run("sample", "-m", "scripted:base", "-p", "She", "-n", 1)
    assert (code, err) == (1, f"llamadiv: {NoHome('samples')}\n")
    assert "export LLAMADIV_HOME=" in err
    assert run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "--store", tmp_path / "s.sqlite")[0] == 0
    assert paths.cache_dir() == paths.cache_dir() != Path()
    code, _, err = run("models", "add", "mine", "scripted:base")
    assert code != 0
    assert "Traceback" not in err


# ---- the cache of sentence embeddings

LIKENESS = ["semantic", "--base", "scripted:base", "--aligned", "scripted:aligned", "-n", 12, "--json"]


def broken_cache(how: str) -> sqlite3.Connection | None:
    path = paths.cache_dir() / "embeddings.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "a folder":
        path.mkdir()
    elif how == "damaged":
        path.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    elif how == "locked":
        connection = sqlite3.connect(path)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (text_sha256 BLOB PRIMARY KEY, vector BLOB, cut INTEGER)"
        )
        connection.execute("BEGIN EXCLUSIVE")
        return connection
    elif how == "full":
        connection = sqlite3.connect(path)
        connection.execute(
            "CREATE TABLE vectors (text_sha256 BLOB PRIMARY KEY, vector BLOB NOT NULL, cut INTEGER NOT NULL)"
        )
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON vectors BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        connection.commit()
        connection.close()
    return None


@pytest.mark.model
@pytest.mark.parametrize("how", ["a folder", "damaged", "locked", "full"])
def test_a_cache_that_cannot_be_used_is_done_without_and_said_once(
    how: str, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_diversity.embed._SHORT_WAIT_S", 0.01)
    held = broken_cache(how)
    code, out, err = run(*LIKENESS)
    assert code == 0, err
    assert err.count("Sentence embeddings are computed anew each time") == 1
    assert err.index("computed anew") < (err.index("sampling") if "sampling" in err else len(err))
    if held is not None:
        held.close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(os.environ["XDG_CACHE_HOME"]) / "other"))
    again = run(*LIKENESS)
    assert again[0] == 0
    assert "computed anew" not in again[2]
    assert numbers(again[1]) == numbers(out)


def numbers(report: str) -> object:
    """A report without what names the run."""
    return {name: value for name, value in json.loads(report).items() if name not in ("run", "store")}
