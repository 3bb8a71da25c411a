"""Options that several commands share, each with its `LLAMADIV_*` twin, and the terminal they imply."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from llama_diversity import paths

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Common:
    """What every command knows: the output form, the store, the network, the colours."""

    json: bool
    quiet: bool
    store: Path
    offline: bool
    color: str

    @property
    def shows_progress(self) -> bool:
        """Progress goes to stderr unless `-q`."""
        return not self.quiet


_COMMON = [
    click.option("--json", "json", is_flag=True, help="Print the result as JSON, numbers unrounded."),
    click.option("-q", "--quiet", is_flag=True, envvar="LLAMADIV_QUIET", help="No progress; only ids or paths."),
    click.option(
        "--store",
        type=click.Path(path_type=Path, dir_okay=False),
        default=paths.default_store,
        envvar="LLAMADIV_STORE",
        help="The file that keeps samples.  [env: LLAMADIV_STORE]",
    ),
    click.option(
        "--offline",
        is_flag=True,
        envvar="LLAMADIV_OFFLINE",
        help="Never touch the network.  [env: LLAMADIV_OFFLINE]",
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        envvar="LLAMADIV_COLOR",
        help="When to colour (NO_COLOR and FORCE_COLOR count under auto).  [env: LLAMADIV_COLOR]",
    ),
    click.option("--debug", is_flag=True, expose_value=False, envvar="LLAMADIV_DEBUG", help="Show a traceback on failure."),
]


def common_options(command: Command) -> Command:
    """Add the shared options; the command receives them as one argument `common`."""

    @functools.wraps(command)
    def with_common(*args: Any, json: bool, quiet: bool, store: Path, offline: bool, color: str, **kwargs: Any) -> Any:
        common = Common(json=json, quiet=quiet, store=store, offline=offline or _hub_is_offline(), color=color)
        return command(*args, common=common, **kwargs)

    decorated: Any = with_common
    for option in reversed(_COMMON):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _hub_is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def read_text(argument: str) -> str:
    """The text itself, or standard input for `-`; bytes that are not UTF-8 survive as lone surrogates."""
    if argument != "-":
        return argument
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
