"""From what a user typed to a model that can be opened, and the progress of bytes on the way.

Nothing here touches the network: a file that is not on this machine is an error that says how to fetch it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from llama_diversity import digests, gguf, hub, registry
from llama_diversity.cli.options import Common
from llama_diversity.errors import ModelFileError, NotDownloaded
from llama_diversity.records import ModelRef

DEFAULT_PAIR = "tiny"  # ships with llamadiv
HEARTBEAT_S = 15.0  # between two lines of progress where stderr is no terminal


def resolve_model(reference: str, *, common: Common, on_progress: digests.OnBytes | None = None) -> ModelRef:
    """The model that `reference` means, with the digest of its bytes; hashing reports to `on_progress` or shows a bar.

    Raises UnknownName, BadValue, RegistryError, ModelFileError, and DownloadError where the file is not here or is not
    the one that models.toml pins.
    """
    entry = registry.load().find(reference)
    if entry.chain is not None:
        return ModelRef(reference, "scripted", entry.chain, "")
    files = require_files(entry)
    with byte_progress(common) as progress:
        read = digests.digests(files, on_progress or progress(f"Reading {reference}"))
    hub.check_sha256(reference, files, read, pinned=entry.sha256)
    return ModelRef(
        reference, "llamacpp", str(files[0]), digests.model_digest(read), entry.chat_template(), entry.start
    )


def resolve_pair(name: str) -> tuple[str, str]:
    """The references of base and aligned. Raises UnknownName, RegistryError."""
    pair = registry.load().pair(name)
    return pair.base, pair.aligned


def typed_pair(pair: str | None, *others: object) -> str | None:
    """`pair`, but none where it is the environment's and `others` name models too: what is typed beats it."""
    context = click.get_current_context(silent=True)
    is_set = context is not None and context.get_parameter_source("pair") == ParameterSource.ENVIRONMENT
    return None if is_set and any(others) else pair


def resolve_arms(pair: str | None, base: str | None, aligned: str | None) -> tuple[str, str]:
    """The references of base and aligned, of DEFAULT_PAIR where none is named. Raises UsageError, UnknownName."""
    if base is None and aligned is None:
        return resolve_pair(pair or DEFAULT_PAIR)
    if pair is None and base is not None and aligned is not None:
        return base, aligned
    raise click.UsageError("Name the models: either --pair NAME, or --base MODEL --aligned MODEL.")


def find_files(entry: registry.ModelEntry) -> list[Path | None]:
    """Where the files of `entry` are on this machine, in order, None for those that are not; a scripted model has none.

    A split model has several, as the name of its first one says.
    """
    if entry.path is not None:
        files = [entry.path.with_name(name) for name in gguf.shard_names(entry.path.name)]
        return [file if os.path.isfile(file) else None for file in files]
    if entry.repo is None or entry.file is None:
        return []
    return hub.find(entry.repo, entry.file, entry.revision)


def find_file(entry: registry.ModelEntry) -> Path | None:
    """Where the first file of `entry` is on this machine, None if not all are here (or there is none)."""
    files = find_files(entry)
    return files[0] if files and all(files) else None


def require_files(entry: registry.ModelEntry) -> tuple[Path, ...]:
    """The files of `entry`, in order.

    Raises NotDownloaded, or ModelFileError for a path that no longer leads anywhere or lacks others beside it.
    """
    files = find_files(entry)
    if files[0] is not None and (all(files) or entry.path is not None):
        return hub.model_files(files[0])
    if entry.path is not None:
        next_step = f"Correct the path of {entry.reference} in {entry.defined_in}."
        raise ModelFileError(entry.path, "there is no such file", next_step=next_step)
    raise not_downloaded(entry)


def not_downloaded(entry: registry.ModelEntry) -> NotDownloaded:
    """That a model of the hub is not on this machine, or some of its files, and how to fetch what lacks."""
    size = hub.readable_bytes(entry.size_bytes) if entry.size_bytes else None
    files = find_files(entry)
    missing = (files.count(None), len(files)) if any(files) else None
    return NotDownloaded(entry.reference, _pull_arguments(entry.reference), size, missing=missing)


def _pull_arguments(reference: str) -> str:
    # A name that a model and a pair share means the pair to `pull`.
    return shlex.quote(reference) + (" --single" if reference in registry.load().pairs else "")


@contextlib.contextmanager
def byte_progress(common: Common) -> Iterator[Callable[[str], digests.OnBytes | None]]:
    """A maker of progress by label: a bar on a terminal, a line now and then elsewhere, nothing with -q.

    Until bytes come, nothing is shown.
    """
    if not common.shows_progress:
        yield lambda label: None
    elif not sys.stderr.isatty():
        yield _Heartbeat
    else:
        with _bars(common) as progress:
            yield progress


class _Heartbeat:
    """One plain line every `HEARTBEAT_S`, for logs."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._next_s = time.monotonic() + HEARTBEAT_S

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + HEARTBEAT_S
            from llama_diversity.render.safe import visible

            amounts = f"{hub.readable_bytes(done)} of {hub.readable_bytes(total)}"
            click.echo(f"{visible(self._label)}: {amounts}", err=True)


@contextlib.contextmanager
def _bars(common: Common) -> Iterator[Callable[[str], digests.OnBytes]]:
    from rich import progress as rich_progress
    from rich.console import Console

    from llama_diversity.render.safe import visible

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=None),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True, no_color=True if common.color == "never" else None)
    with rich_progress.Progress(
        *columns,
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=sys.stdout.isatty(),  # a pipe keeps its results
    ) as bars:

        def progress(label: str) -> digests.OnBytes:
            task: rich_progress.TaskID | None = None

            def on_bytes(done: int, total: int) -> None:
                nonlocal task
                if task is None:  # a continued download does not start at 0, and its speed must not pretend so
                    task = bars.add_task(visible(label), total=total, completed=done)
                bars.update(task, completed=done, visible=done < total)

            return on_bytes

        yield progress
