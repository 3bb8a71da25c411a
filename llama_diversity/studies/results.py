"""What a study gives: a section for a reader, the same as JSON, and its own numbers; and how it becomes files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_diversity.answers import Endings
from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Estimate, limits_of
from llama_diversity.render.exhibits import Figure, Plain, Section, Table
from llama_diversity.render.files import write_whole
from llama_diversity.render.jsonl import to_json
from llama_diversity.render.print_form import ON_SCREEN, PrintForm
from llama_diversity.studies.words import start_words

if TYPE_CHECKING:
    from llama_diversity.render.folder import Written


@dataclass(frozen=True)
class Result:
    """A study's result: for a reader, as JSON, and as the study's own type; and the run that its samples are of."""

    section: Section
    report: Mapping[str, Any]
    found: Any
    run: str | None = None

    @property
    def name(self) -> str:
        """Of the study."""
        return self.section.name

    @property
    def command(self) -> str:
        """The command line that makes the same again."""
        return self.section.command

    @property
    def tables(self) -> dict[str, Table]:
        """By name, in the order of the section."""
        return {one.name: one for one in self.section.exhibits if isinstance(one, Table)}

    @property
    def figures(self) -> dict[str, Figure]:
        """By name, in the order of the section."""
        return {one.name: one for one in self.section.every if isinstance(one, Figure)}

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON has them, with the command line that makes them again and the run's id.

        `plain` are the sentences of the first screen, where there are any.
        """
        plain = plain_as_json(self.section.plain)
        return {**plain, **self.report, "command": self.command, **({"run": self.run} if self.run else {})}

    def save(self, folder: Path, form: PrintForm = ON_SCREEN) -> Written:
        """Figures, tables, `index.html` and NAME.json into `folder`; which files, and what no font could draw.

        Raises BadValue.
        """
        from llama_diversity.render.folder import write_report  # loads what draws pictures

        written = write_report(self.section, folder, form)
        write_json(self.to_dict(), folder / f"{self.name}.json")
        return written

    def __repr__(self) -> str:
        return f"<{self.section.title} `{self.command}`>"


def plain_as_json(plain: Plain) -> dict[str, Any]:
    """The field `plain`: of each sentence its text, and what it tells."""
    sentences = [{"text": one.text, "tells": one.tells} for one in plain.sentences]
    return {"plain": sentences} if sentences else {}


def with_starts(result: Result, starts: Mapping[str, Sequence[str]]) -> Result:
    """`result` with what the raw prompts of each model began with; as it is where none was raw."""
    if not starts:
        return result
    said = {model: " or ".join(map(start_words, some)) for model, some in starts.items()}
    alike = len(set(said.values())) == 1
    words = next(iter(said.values())) if alike else "; ".join(f"{one} ({model})" for model, one in said.items())
    section = dataclasses.replace(result.section, about=f"{result.section.about} Raw prompts begin with {words}.")
    return dataclasses.replace(result, section=section, report={**result.report, "starts": dict(starts)})


def make_folder(out: Path | None) -> None:
    """Make the folder for results before hours of work, not after. Raises BadValue."""
    if out is None:
        return
    _check_writable(out, "--out", out)


def check_file(path: Path, option: str) -> None:
    """The same of a file. Raises BadValue."""
    if path.is_dir():
        raise BadValue(option, str(path), "it is a folder; name a file")
    if path.exists() and not path.is_file():  # a pipe or a device
        return
    _check_writable(path.parent, option, path)


def _check_writable(folder: Path, option: str, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadValue(option, str(named), f"it cannot be written ({error.strerror}); name another place") from error


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """The numbers as a file that a person can read too. Raises BadValue."""
    write_whole(path, to_json(report, indent=1) + "\n")


def endings_as_json(endings: Endings) -> dict[str, Any]:
    """How many outputs --max-tokens cut off, and why how many are not valid."""
    return {"cut_off": endings.n_cut_off, "not_valid": dict(endings.reasons)}


def with_limits(estimate: Estimate) -> dict[str, Any]:
    """An estimate with the ends of its 95 % interval, None where it has none."""
    low, high = limits_of(estimate) or (None, None)
    return {**estimate._asdict(), "low": low, "high": high}
