"""The browser of whoever sits before this machine, where somebody does.

It knows the variables by which systems say that there is a screen, and nothing of what is shown.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def has_screen() -> bool:
    """Whether a window could be opened: somebody looks at this terminal, and it is not the far end of a line."""
    if not sys.stdout.isatty():
        return False
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    is_desktop = sys.platform in ("darwin", "win32")
    return is_desktop and not (os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))


def open_page(page: Path) -> bool:
    """Show a page in the browser; whether one was found."""
    return webbrowser.open(page.absolute().as_uri())
