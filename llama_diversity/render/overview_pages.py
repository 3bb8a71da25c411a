"""What is here at a glance, in some ten lines of 80 columns. It knows what the overview says, and no disk."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from llama_diversity import __version__
from llama_diversity.overview import SHIPPED, Overview
from llama_diversity.render.safe import visible
from llama_diversity.storefile import Headline

WIDTH = 80


def of_overview(overview: Overview, now: datetime) -> Iterator[str]:
    """The lines, safe for a terminal; `now` as the clock of this place says."""
    yield f"llamadiv {__version__}: what post-training costs a language model in diversity"
    yield from _runs(overview, now)
    yield from _models(overview.pairs, overview.beside)
    for remark in overview.remarks:
        yield from _wrapped(visible(remark))
    yield "Type next (llamadiv --help lists all commands):"
    if overview.to_path:
        folder = visible(overview.to_path)
        yield f'  export PATH="{folder}:$PATH"  # so that your shell finds llamadiv'
    width = max(len(one.command) for one in overview.steps) + 2
    for one in overview.steps:
        words = one.words if width + len(one.words) + 2 <= WIDTH else ""
        yield f"  {visible(one.command):<{width}}{words}".rstrip()


def _runs(overview: Overview, now: datetime) -> Iterator[str]:
    n_runs, newest = overview.runs
    if not newest:
        yield "No runs yet." if not overview.remarks else "No runs that can be read."
        return
    yield f"{n_runs:,} run{'' if n_runs == 1 else 's'} so far{', the newest' if n_runs > len(newest) else ''}:"
    for one in newest:
        yield _cut(f"  {visible(one.id)}  {_when(one.started, now):<12}  {_words(one)}")


def _words(one: Headline) -> str:
    typed = visible(shlex.join(one.command))
    if one.command == ("python",):
        typed = visible(f"in Python: {', '.join(one.models) or 'no models'}")
    return typed if one.finished else f"(not finished) {typed}"


def _when(started: str, now: datetime) -> str:
    try:
        then = datetime.fromisoformat(started).astimezone(now.tzinfo)
    except ValueError:
        return "?"
    if then.date() == now.date():
        return f"{then:%H:%M}"
    if then.date() == (now - timedelta(days=1)).date():
        return f"{then:%H:%M} before"
    return f"{then:%Y-%m-%d}"


def _models(pairs: Sequence[str], beside: Mapping[str, int]) -> Iterator[str]:
    others = [visible(name) for name in pairs if name != SHIPPED]
    more = f"; here too: {', '.join(others[:4])}{f' and {len(others) - 4} more' if len(others) > 4 else ''}"
    yield from _wrapped(f"The pair {SHIPPED} ships with it{more if others else ''}.")
    if beside:
        counts = ", ".join(f"{program}: {n:,}" for program, n in beside.items())
        yield from _wrapped(f"Models in {counts} (llamadiv models ls --found)")


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
