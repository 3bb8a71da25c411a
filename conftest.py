"""What every test and every doctest gets: folders of its own, and none of the caller's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SETTINGS = ("LLAMADIV_", "_LLAMADIV_", "XDG_", "HF_", "HUGGINGFACE_")
TERMINAL = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM", "COLUMNS", "LINES", "PYTHONUTF8", "PYTHONIOENCODING")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, data, caches and model files lie in a fresh folder, which is returned; so they do for subprocesses."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name in TERMINAL:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LLAMADIV_HOME", str(home / "llamadiv"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    return home
