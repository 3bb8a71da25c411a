"""What a study gives: a section for a reader, the same as JSON, and its own numbers; and how it becomes files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity.answers import Endings
from llama_diversity.errors import BadValue
from llama_diversity.render.exhibits import Section
from llama_diversity.render.files import write_whole
from llama_diversity.render.jsonl import to_json
from llama_diversity.studies.words import start_words


class Result(NamedTuple):
    """An experiment's result: for a reader, as JSON, and as the experiment's own type."""

    section: Section
    report: Mapping[str, Any]
    found: Any


def with_starts(result: Result, starts: Mapping[str, Sequence[str]]) -> Result:
    """`result` with what the raw prompts of each model began with; as it is where none was raw."""
    if not starts:
        return result
    said = {model: " or ".join(map(start_words, some)) for model, some in starts.items()}
    alike = len(set(said.values())) == 1
    words = next(iter(said.values())) if alike else "; ".join(f"{one} ({model})" for model, one in said.items())
    section = dataclasses.replace(result.section, about=f"{result.section.about} Raw prompts begin with {words}.")
    return result._replace(section=section, report={**result.report, "starts": dict(starts)})


def make_folder(out: Path | None) -> None:
    """Make the folder for results before hours of work, not after. Raises BadValue."""
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadValue("--out", str(out), f"it cannot be written ({error.strerror}); name another place") from error


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """The numbers as a file that a person can read too. Raises BadValue."""
    write_whole(path, to_json(report, indent=1) + "\n")


def endings_as_json(endings: Endings) -> dict[str, Any]:
    """How many outputs --max-tokens cut off, and why how many are not valid."""
    return {"cut_off": endings.n_cut_off, "not_valid": dict(endings.reasons)}
