"""Results that show themselves: in a notebook, in a terminal, as tables, figures and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llama_diversity.errors import UnknownName
from llama_diversity.interface.arguments import public
from llama_diversity.interface.sessions import current
from llama_diversity.interface.tables import Table, printed
from llama_diversity.render import glyphs
from llama_diversity.render.exhibits import Figure, in_terminal
from llama_diversity.render.folder import Written
from llama_diversity.render.print_form import PrintForm, points_of
from llama_diversity.render.safe import visible
from llama_diversity.studies.paper.study import LEDGER
from llama_diversity.studies.paper.study import Report as Made
from llama_diversity.studies.results import Result, make_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Found", "Report", "Table"]

Part = TypeVar("Part")
_LONGEST = 100  # characters of a command in a repr


class NotThere(UnknownName, KeyError):
    """A result has no table or figure of that name."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it in quotes


@dataclass(frozen=True)
class Found:
    """What a study found; it shows itself in a notebook and, by rich's protocol or `print`, in a terminal.

    `tables` and `figures` are by name, as their files are called, with the study's name before it or without. `found`
    is the study's own result, whose fields its module defines.

    >>> import llama_diversity as ld
    >>> found = ld.collapse(runs=20, steps=10)
    >>> found
    <Found collapse: Section 5.2: why rewarding narrows `llamadiv collapse --steps 10 --runs 20 --seed 0`>
    >>> list(found.tables)[0], list(found.figures)
    ('table-1-mode-collapse', ['collapse-paths'])
    """

    _result: Result

    @property
    def name(self) -> str:
        """Of the study."""
        return self._result.name

    @property
    def title(self) -> str:
        """The question that it answers."""
        return self._result.section.title

    @property
    def command(self) -> str:
        """The command line that makes the same again."""
        return self._result.command

    @property
    def run(self) -> str | None:
        """The id of its run in the store, for `report`; None where nothing was drawn."""
        return self._result.run

    @property
    def plain(self) -> tuple[str, ...]:
        """What was found in plain sentences, the most telling first; of studies without any empty."""
        return self._result.section.plain.texts

    @property
    def found(self) -> Any:
        """The study's own result."""
        return self._result.found

    @property
    def tables(self) -> Mapping[str, Table]:
        """Tables by name; a name that is not there raises a KeyError that says which are."""
        return _Parts("table", self.name, {name: Table(one) for name, one in self._result.tables.items()})

    @property
    def figures(self) -> Mapping[str, Any]:
        """Figures by name: an altair.Chart, or of several panels a dict of charts by heading."""
        return _Charts("figure", self.name, self._result.figures)

    @property
    def verdicts(self) -> tuple[Any, ...]:
        """Of `compare` and of a ledger every line with its `verdict` and `reason`; of other studies empty."""
        return _verdicts(self._result)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, unrounded, as --json prints them."""
        return self._result.to_dict()

    @public
    def save(
        self,
        folder: str | Path,
        *,
        width: str | None = None,
        font_size: float | None = None,
        no_caption: bool = False,
    ) -> None:
        """Figures, tables, `index.html` and NAME.json into `folder`, as --out writes them.

        `width` of figures on paper, like "84mm"; `font_size` of their text in points, 7 with a width; `no_caption`
        leaves title and caption out. Raises BadValue.
        """
        make_folder(Path(folder))
        _say_undrawn(self._result.save(Path(folder), _form(width, font_size, has_caption=not no_caption)))

    def _repr_html_(self) -> str:
        from llama_diversity.render.notebook import of_sections

        return of_sections([self._result.section])

    def __rich__(self) -> RenderableType:
        return in_terminal(self._result.section)

    def __str__(self) -> str:
        return printed(in_terminal(self._result.section))

    def __repr__(self) -> str:
        return f"<Found {self.name}: {self.title} `{_cut(self.command)}`>"


@dataclass(frozen=True)
class Report(Mapping[str, Found]):
    """The results of a run by study, the ledger first where there is one; it shows itself as they do.

    >>> import llama_diversity as ld
    >>> base, aligned = ld.model("scripted:base"), ld.model("scripted:aligned")
    >>> found = ld.syntactic(base=base, aligned=aligned, n=4, max_tokens=8)
    >>> list(ld.report(found.run))
    ['syntactic']
    """

    _made: Made

    @property
    def run(self) -> str:
        """The id of the run in the store."""
        return self._made.run

    @property
    def command(self) -> str:
        """The command line that makes the first of them again: of a ledger's run, all."""
        return self._made.results[0].command

    @property
    def plain(self) -> tuple[str, ...]:
        """The sentences of the first screen: the ledger's, of a single study its own, of several their first ones."""
        return self._made.plain.texts

    @property
    def verdicts(self) -> tuple[Any, ...]:
        """Every line of the ledger with its `verdict` and `reason`; empty where there is no ledger."""
        return _verdicts(self._made.results[0]) if self._made.has_ledger else ()

    def to_dict(self) -> dict[str, Any]:
        """All numbers, unrounded, as --json prints them."""
        return self._made.to_dict()

    @public
    def save(
        self,
        folder: str | Path,
        *,
        width: str | None = None,
        font_size: float | None = None,
        no_caption: bool = False,
    ) -> None:
        """One page, and every figure and table, into `folder`; as `Found.save`. Raises BadValue."""
        make_folder(Path(folder))
        _say_undrawn(self._made.save(Path(folder), _form(width, font_size, has_caption=not no_caption)))

    def __getitem__(self, name: str) -> Found:
        for one in self._made.results:
            if one.name == name:
                return Found(one)
        raise NotThere("study", str(name), self, list_command="list(report)")

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self._made.results)

    def __len__(self) -> int:
        return len(self._made.results)

    def _repr_html_(self) -> str:
        from llama_diversity.render.notebook import of_sections

        return of_sections([one.section for one in self._made.results])

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        return Group(*(in_terminal(one.section) for one in self._made.results))

    def __str__(self) -> str:
        return printed(self.__rich__())

    def __repr__(self) -> str:
        return f"<Report {self.run}: {', '.join(self)}>"


class _Parts(Mapping[str, Part], Generic[Part]):
    """Parts of a result by name, with or without the study's name before it."""

    def __init__(self, kind: str, study: str, parts: Mapping[str, Part]) -> None:
        self._kind, self._study, self._parts = kind, study, parts

    def __getitem__(self, name: str) -> Part:
        for one in (name, f"{self._study}-{name}"):
            if one in self._parts:
                return self._parts[one]
        raise NotThere(self._kind, str(name), self._parts, list_command=f"list(found.{self._kind}s)")

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"<{self._kind}s {', '.join(self) or 'none'}>"


class _Charts(Mapping[str, Any]):
    """Figures by name, drawn when they are asked for."""

    def __init__(self, kind: str, study: str, figures: Mapping[str, Figure]) -> None:
        self._figures = _Parts(kind, study, {name: one for name, one in figures.items()})

    def __getitem__(self, name: str) -> Any:
        panels = dict(self._figures[name].draw())
        return next(iter(panels.values())) if len(panels) == 1 else panels

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def __repr__(self) -> str:
        return repr(self._figures)


def _form(width: str | None, font_size: float | None, *, has_caption: bool) -> PrintForm:
    return PrintForm(None if width is None else points_of(width, "width"), font_size, has_caption=has_caption)


def _say_undrawn(written: Written) -> None:
    """To the log, where characters are boxes in a figure."""
    if written.undrawn:
        current().listener.say(glyphs.sentence(written.undrawn))


def _verdicts(result: Result) -> tuple[Any, ...]:
    if result.found is None:
        return ()
    lines: Sequence[Any] = result.found.lines if result.name == "compare" else ()
    return tuple(result.found if result.name == LEDGER else lines)


def _cut(command: str) -> str:
    shown = visible(command)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
