"""Writing what a stage has so far: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_whole(path: Path, state: Mapping[str, Any]) -> None:
    """Keep `state` at `path`; an interruption leaves what was there before."""
    unfinished = path.with_suffix(".part")
    torch.save(dict(state), unfinished)
    unfinished.replace(path)
