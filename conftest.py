"""What every test and every doctest gets: folders of its own, none of the caller's settings, and the run's cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

collect_ignore = ["tests/standin"]  # packages that stand in for others, in the tests that ask for them

SETTINGS = ("LLAMADIV_", "_LLAMADIV_", "XDG_", "HF_", "HUGGINGFACE_", "OLLAMA_", "LMSTUDIO_", "LLAMA_CACHE")
TERMINAL = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM", "COLUMNS", "LINES", "PYTHONUTF8", "PYTHONIOENCODING")


@pytest.fixture(autouse=True)
def own_folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Settings, data and model files lie in a fresh folder, which is returned; so they do for subprocesses.

    The cache is one for all tests of this run and its processes: what pictures, vectors and analyses depend on is in
    their keys, and the code is the same. A test that changes code (`monkeypatch`) or looks into the cache (`own_cache`)
    has one of its own.
    """
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name in TERMINAL:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache" if has_own_cache(request) else of_run(tmp_path_factory)))
    return home


def has_own_cache(request: pytest.FixtureRequest) -> bool:
    """Whether the test, or a fixture that it asks for, patches something, or it is marked so."""
    found = getattr(request.node, "_fixtureinfo", None)
    if found is None or request.node.get_closest_marker("own_cache"):
        return True
    fixtures = [some[-1] for name, some in found.name2fixturedefs.items() if name != "own_folders"]
    return "monkeypatch" in {*found.argnames, *(name for one in fixtures for name in one.argnames)}


def of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache-of-run"
