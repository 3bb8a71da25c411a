"""A script of this folder in the environment that bin/setup makes, whichever Python it was started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def enter() -> None:
    """Start the script anew with that environment's Python, which is set up where it is not; nothing if it is its."""
    environment = ROOT / ".venv"
    if Path(sys.prefix).resolve() == environment.resolve():
        return
    if code := subprocess.run([str(ROOT / "bin" / "setup"), "-q"], stdout=sys.stderr).returncode:
        sys.exit(code)
    python = str(environment / "bin" / "python")
    os.execv(python, [python, *sys.argv])
