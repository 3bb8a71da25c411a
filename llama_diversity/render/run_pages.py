"""Stored runs for a reader: a table of many, a page of one. It knows what a run is as JSON has it, and no store."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from llama_diversity.decimals import counted
from llama_diversity.mixtures import digests_in
from llama_diversity.records import Recipe, without_number
from llama_diversity.render.safe import visible
from llama_diversity.render.samplers import cut_words, sampler_words

_SHA256_DIGITS = 64
_PROMPT_SHOWN = 300  # characters of a prompt in `runs show`; --json has all of it


def table_of_runs(described: Sequence[dict[str, Any]], *, with_commands: bool) -> Table:
    """A row for each cell, runs in the order given; of cells that are numbered asks of one arm a row for all."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("models", overflow="fold")
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    if with_commands:
        table.add_column("command")
    for run in described:
        origin = [run["id"], _local(run["started"])]
        command = visible(shlex.join(run["command"]))
        cells: list[dict[str, Any] | None] = [*_together(run["cells"])]
        for cell in cells or [None]:  # a row a cell; the first one names the run
            work = ["", "", ""] if cell is None else _work(cell)
            texts = [Text(part) for part in [*origin, *work]]
            if with_commands:
                texts.append(Text(command, no_wrap=True, overflow="ellipsis"))
            table.add_row(*texts)
            origin, command = ["", ""], ""
    return table


def _together(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells; numbered asks of one arm are added up in the first of them, which says how many they are."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for at, cell in enumerate(cells):
        name = without_number(cell["arm"])
        key = (name, cell["model"]) if name != cell["arm"] else ("", str(at))
        first = found.setdefault(key, {**cell, "arm": name, "n_asks": 0, "n": 0, "n_stored": 0, "n_tokens": 0})
        first["n_asks"] += 1
        for number in ("n", "n_stored", "n_tokens"):
            first[number] += cell[number]
    return [*found.values()]


def _work(cell: dict[str, Any]) -> list[str]:
    model = visible(f"{cell['arm']}: {cell['model']}")
    return [model, f"{cell['n_stored']}/{cell['n']}", f"{cell['n_tokens']:,}"]


def _local(timestamp: str) -> str:
    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"


def page_of_run(described: dict[str, Any], recipes: dict[str, Recipe]) -> Iterator[str]:
    """The lines of one run, with its recipes by key."""
    finished = described["finished"]
    yield f"run       {described['id']}"
    yield f"command   {visible(shlex.join(described['command']))}"
    yield f"started   {_local(described['started'])}"
    yield f"finished  {_local(finished) if finished else 'no; the same command continues'}"
    yield from _facts({**described["about"], **_commands(described["about"])}, indent="")
    for one in described["prompts"]:
        yield ""
        yield from _prompt_lines(one)
    for cell in _together(described["cells"]):
        yield ""
        yield from _cell_lines(cell, recipes[cell["recipe"]])


def _commands(about: dict[str, Any]) -> dict[str, Any]:
    """Of each study the command alone: its settings are in it, and in JSON."""
    found = [one["command"] for one in about.get("experiments", [])]
    return {"experiments": "; ".join(found)} if found else {}


def _prompt_lines(prompts: dict[str, Any]) -> Iterator[str]:
    source, texts = prompts["source"], prompts["texts"]
    where = f", from {source['file']}, sha256 {source['sha256']}" if "file" in source else ""
    where += f", the set {source['set']} of llamadiv" if "set" in source else ""
    of = f" of {prompts['study']}" if prompts["study"] else ""
    yield visible(f"{counted(len(texts), 'prompt')}{of}{where}:")
    for number, text in enumerate(texts, start=1):
        more = f" ... ({len(text):,} characters)" if len(text) > _PROMPT_SHOWN else ""
        yield f"  {number:<7} {visible(text[:_PROMPT_SHOWN])}{more}"


def page_of_sample(described: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    """The lines of one sample, with its recipe: how it was drawn, and all that it says."""
    yield f"sample    {described['sample']}"
    yield f"run       {described['run']}"
    yield f"{visible(described['arm'])}: {visible(described['model'])}"
    yield from _recipe_lines(recipe)
    yield f"  tokens    {len(described['tokens'])}, {described['finish_reason']}"
    yield ""
    yield from visible(described["text"], newline="keep").split("\n")


def _cell_lines(cell: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    yield f"{visible(cell['arm'])}: {visible(cell['model'])}"
    yield f"  stored    {cell['n_stored']} of {cell['n']} samples, {counted(cell['n_tokens'], 'token')}"
    if cell["n_asks"] > 1:
        yield f"  asks      {cell['n_asks']:,}, each with a prompt of its own; below the first, --json has all"
    yield from _recipe_lines(recipe)
    layout = cell["about"].get("layout", {})
    yield from _facts({name: value for name, value in layout.items() if name != "mixes"}, indent="  ")
    for number, one in enumerate(layout.get("mixes", ()), start=1):
        own = {name: value for name, value in one.items() if value != layout.get(name)}
        yield from _facts({f"of model {number}, {name}": value for name, value in own.items()}, indent="  ")


def _recipe_lines(recipe: Recipe) -> Iterator[str]:
    sampler, cuts = sampler_words(recipe.sampler, heat="temperature"), cut_words(recipe.sampler)
    for number, one in enumerate(recipe.prompt.readings, start=1):
        more = f" ... ({len(one.rendered):,} characters)" if len(one.rendered) > _PROMPT_SHOWN else ""
        name = f"prompt {number}" if recipe.prompt.others else "prompt"
        shown = f"{visible(one.rendered[:_PROMPT_SHOWN])}{more}"
        yield f"  {name:<9} {one.mode}, {counted(len(one.ids), 'token')}: {shown}"
    yield f"  sampler   {sampler}{'' if cuts else ', nothing cut off'}"
    if recipe.grammar is not None:
        yield f"  grammar   {visible(recipe.grammar[:_PROMPT_SHOWN])}"
    if recipe.arithmetic is not None:
        yield f"  set       of {recipe.arithmetic:,}, by arithmetic codes: no estimate of the model's diversity"
    stops = "".join(f", stop {visible(repr(s))}" for s in recipe.stop)
    yield f"  limits    at most {counted(recipe.max_tokens, 'token')}{stops}"
    yield f"  seed      {recipe.seed}"
    yield f"  recipe    {recipe.key}"
    yield f"  weights   sha256 {recipe.model_digest}"
    for number, digest in enumerate(digests_in(recipe.mixture), start=1):
        yield f"  model {number}   {'sha256 ' if len(digest) == _SHA256_DIGITS else ''}{digest}"  # else a chain's name
    yield f"  engine    {visible(recipe.engine)}, {visible(recipe.engine_build)}"


def _facts(facts: dict[str, Any], *, indent: str) -> Iterator[str]:
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"{indent}{visible(name):<9} {visible(shown)}"
