"""Where llamadiv keeps its own files: XDG folders on every platform, `LLAMADIV_HOME` over them.

Model files are not here: they live in the shared Hugging Face cache (see hub).
"""

from __future__ import annotations

import os
from pathlib import Path


def _base(variable: str, default: str) -> Path:
    home = os.environ.get("LLAMADIV_HOME")
    if home:
        return Path(home).expanduser()
    configured = os.environ.get(variable)
    return (Path(configured) if configured else Path.home() / default) / "llamadiv"


def config_dir() -> Path:
    """Folder of the user's settings: `$LLAMADIV_HOME`, else `$XDG_CONFIG_HOME/llamadiv`."""
    return _base("XDG_CONFIG_HOME", ".config")


def data_dir() -> Path:
    """Folder of what the user keeps: `$LLAMADIV_HOME`, else `$XDG_DATA_HOME/llamadiv`."""
    return _base("XDG_DATA_HOME", ".local/share")


def cache_dir() -> Path:
    """Folder of what may be deleted at any time: `$LLAMADIV_HOME/cache`, else `$XDG_CACHE_HOME/llamadiv`."""
    if os.environ.get("LLAMADIV_HOME"):
        return _base("XDG_CACHE_HOME", ".cache") / "cache"
    return _base("XDG_CACHE_HOME", ".cache")


def default_store() -> Path:
    """The sample store used without `--store`."""
    return data_dir() / "store.sqlite"


def user_registry() -> Path:
    """The user's own models.toml, laid over the packaged one."""
    return config_dir() / "models.toml"
