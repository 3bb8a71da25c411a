"""Where llamadiv keeps its own files: XDG folders on every platform, `LLAMADIV_HOME` over them.

Model files are not here: they live in the shared Hugging Face cache (see hub).
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

from llama_diversity.errors import NoHome


def _base(variable: str, default: str, purpose: str) -> Path:
    # Not Path.expanduser or Path.home, which raise where the user, or one that is named, has no home.
    home = os.environ.get("LLAMADIV_HOME")
    if home:
        return Path(os.path.expanduser(home))
    configured = os.environ.get(variable)
    if configured:
        return Path(configured) / "llamadiv"
    own = os.path.expanduser("~")
    if not os.path.isabs(own):  # no HOME, and no such user on this machine
        raise NoHome(purpose)
    return Path(own) / default / "llamadiv"


def config_dir() -> Path:
    """Folder of the user's settings: `$LLAMADIV_HOME`, else `$XDG_CONFIG_HOME/llamadiv`. Raises NoHome."""
    return _base("XDG_CONFIG_HOME", ".config", "your models.toml")


def data_dir() -> Path:
    """Folder of what the user keeps: `$LLAMADIV_HOME`, else `$XDG_DATA_HOME/llamadiv`. Raises NoHome."""
    return _base("XDG_DATA_HOME", ".local/share", "samples")


def cache_dir() -> Path:
    """Folder of what may be deleted at any time: `$LLAMADIV_HOME/cache`, else `$XDG_CACHE_HOME/llamadiv`.

    Without a home directory one of this process alone.
    """
    try:
        folder = _base("XDG_CACHE_HOME", ".cache", "the cache")
    except NoHome:
        return Path(_passing_folder().name)
    return folder / "cache" if os.environ.get("LLAMADIV_HOME") else folder


@functools.cache
def _passing_folder() -> tempfile.TemporaryDirectory[str]:
    """Not a fixed name in the folder for temporary files, where anybody could have put something before."""
    return tempfile.TemporaryDirectory(prefix="llamadiv-")


def default_store() -> Path:
    """The sample store used without `--store`. Raises NoHome."""
    return data_dir() / "store.sqlite"


def user_registry() -> Path:
    """The user's own models.toml, laid over the packaged one. Raises NoHome."""
    return config_dir() / "models.toml"
