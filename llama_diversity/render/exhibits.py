"""What a reader gets of an experiment: tables, figures, coloured texts and sentences, in order, each with its caption.

One description feeds the terminal (`in_terminal`), the files (folder.py) and the HTML report (report.py). It knows
ready numbers and how to lay them out, not where they come from.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from llama_diversity.decimals import decimals
from llama_diversity.render.branches import Grown
from llama_diversity.render.heatmap import TokenPicture
from llama_diversity.render.safe import visible
from llama_diversity.render.word_table import WordTable

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart
    from llama_diversity.render.drawing import Spec


class Between(NamedTuple):
    """A 95 % interval; nan where it is undefined."""

    low: float
    high: float


class Share(NamedTuple):
    """A proportion, 0 to 1, shown in percent."""

    value: float


class ShareBetween(Between):
    """The interval of a proportion, shown in percent as the proportion beside it."""

    __slots__ = ()


_ROUNDING = 1e-12  # below 0 no more than this is a 0 that was computed

Value = str | int | float | Between | Share | None  # None is undefined


@dataclass(frozen=True)
class Table:
    """Rows of values under headings. `name` is the file's name and the anchor, "table-2-sentences".

    On a page one `is_folded` away opens when it is asked for, and each row of one `is_prose` is a block where the page
    is narrow.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""
    in_terminal: bool = True
    is_prose: bool = False
    is_folded: bool = False


@dataclass(frozen=True)
class Figure:
    """Charts by their headings, shown side by side where there is room; drawn when they are needed.

    `terminal` is what stands for them where there are no pictures. Where there is nothing to draw it is left out.
    """

    name: str
    title: str
    draw: Callable[[], Mapping[str, Chart]]
    note: str = ""
    terminal: RenderableType | None = None

    @functools.cached_property
    def panels(self) -> Mapping[str, Spec]:
        """The charts as Vega-Lite, drawn once for files and page."""
        from llama_diversity.render.charts import specs_of  # Altair is heavy, and only needed for files

        return specs_of(self.draw)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled are the charts, not what draws them."""
        charts: Callable[[], Mapping[str, Chart]] = functools.partial(dict, self.draw())
        return Figure, (self.name, self.title, charts, self.note, self.terminal)


@dataclass(frozen=True)
class Tokens:
    """A text whose tokens are coloured."""

    name: str
    title: str
    picture: TokenPicture
    note: str = ""


class Reading(NamedTuple):
    """What belongs to one point of a figure, by the point's name: a sentence, and texts, each with what it answers."""

    name: str
    told: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Readings:
    """Texts to read beside the figure named `figure`: a list that opens, and on a page what is pointed at there.

    A page's only: in a terminal and as files there is nothing of it.
    """

    name: str
    title: str
    figure: str
    entries: tuple[Reading, ...]
    note: str = ""


@dataclass(frozen=True)
class Remark:
    """A sentence between the exhibits: a headline, a warning, a limit."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Branching:
    """Trees of text that open and close, one beside the other. A page's only: a terminal has those of a figure."""

    name: str
    title: str
    trees: tuple[Grown, ...]
    note: str = ""


Exhibit = Table | Figure | Tokens | Remark | Readings | Branching

Tells = Literal["a difference", "no difference", "another difference", "nothing", "the scope"]
TELLING: tuple[Tells, ...] = (  # what is said first
    "a difference", "no difference", "another difference", "nothing", "the scope",
)  # fmt: skip


class Sentence(NamedTuple):
    """What was found of one thing, for a reader without statistics, and what it tells.

    "another difference" is one that is not of variety; "nothing": it cannot be told.

    `term` says what a word in it means, in a sentence of its own; `picture` shows its numbers.
    """

    text: str
    tells: Tells
    term: str = ""
    picture: Figure | None = None


@dataclass(frozen=True)
class Plain:
    """What was found in plain sentences, the most telling first, at most MOST_PLAIN; `who` is compared, and a note.

    Differences of variety come first, then what was shown to be alike or showed no difference, then other differences,
    then what cannot be told, and last how far all that holds; among equals they stay as they were given. What is left
    over is left out from behind, but never the scope.
    """

    sentences: tuple[Sentence, ...] = ()
    who: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        ordered = sorted(self.sentences, key=lambda one: TELLING.index(one.tells))
        scope = [one for one in ordered if one.tells == "the scope"]
        room = MOST_PLAIN - len(scope)
        object.__setattr__(self, "sentences", (*ordered[: len(ordered) - len(scope)][:room], *scope))

    @property
    def texts(self) -> tuple[str, ...]:
        """The sentences alone."""
        return tuple(one.text for one in self.sentences)

    @property
    def picture(self) -> Figure | None:
        """That of the first sentence which has one; what cannot be told has none, it would look as if it could."""
        return next((one.picture for one in self.sentences if one.picture is not None and one.tells != "nothing"), None)

    @property
    def legend(self) -> str:
        """How to read them: what their words mean, each once, and the note."""
        terms = dict.fromkeys(one.term for one in self.sentences)
        return " ".join(filter(None, (*terms, self.note)))


MOST_PLAIN = 6  # sentences that are read before one looks away


@dataclass(frozen=True)
class Section:
    """One experiment: `about` says in a sentence or two what was done; `command` makes it again.

    `plain` says what was found, for who reads no further. A table without rows is left out, in the terminal, the files
    and the page alike.
    """

    name: str
    title: str
    about: str
    command: str
    exhibits: tuple[Exhibit, ...]
    plain: Plain = Plain()

    def __post_init__(self) -> None:
        full = tuple(one for one in self.exhibits if not isinstance(one, Table) or one.rows)
        object.__setattr__(self, "exhibits", full)

    @property
    def every(self) -> tuple[Exhibit, ...]:
        """All exhibits, the picture of the plain sentences first."""
        return self.exhibits if self.plain.picture is None else (self.plain.picture, *self.exhibits)


# ---- in the terminal


def in_terminal(section: Section) -> RenderableType:
    """The section for a terminal: sentences, tables, coloured texts, and of figures what stands for them."""
    return Group(*_lines(section))


def _lines(section: Section) -> Iterator[RenderableType]:
    yield Text(visible(section.title), style="bold")
    yield from plain_in_terminal(section.plain)
    yield Text(visible(section.about))
    for exhibit in section.exhibits:
        shown = _shown(exhibit)
        if shown is not None:
            yield Text()
            yield shown
    yield Text()


def plain_in_terminal(plain: Plain) -> Iterator[RenderableType]:
    """Its sentences, each behind a dash, and what stands for the picture; between empty lines where there is any."""
    if not plain.sentences:
        return
    if plain.who:
        yield Text(visible(plain.who), style="dim")
    yield Text()
    for text in plain.texts:
        told = Grid.grid(padding=(0, 1))
        told.add_row(Text("-"), Text(visible(text)))
        yield told
    if plain.picture is not None and plain.picture.terminal is not None:
        yield Text()
        yield Text(visible(plain.picture.title))
        yield plain.picture.terminal
    if plain.legend:
        yield Text(visible(plain.legend), style="dim")
    yield Text()


def _shown(exhibit: Exhibit) -> RenderableType | None:
    if isinstance(exhibit, Remark):
        return Text(visible(exhibit.text), style="yellow" if exhibit.is_warning else "")
    if isinstance(exhibit, Tokens):
        return exhibit.picture
    if isinstance(exhibit, Table):
        return word_table(exhibit) if exhibit.in_terminal else None
    if isinstance(exhibit, Figure):
        return exhibit.terminal
    return None


def word_table(table: Table) -> RenderableType:
    """A table for a terminal, with its note."""
    shown = WordTable(
        visible(table.title),
        [visible(heading) for heading in table.headings],
        [[visible(written(value)) for value in row] for row in table.rows],
        [any(isinstance(row[at], str) for row in table.rows) for at in range(len(table.headings))],
    )
    return Group(shown, Text(visible(table.note), style="dim")) if table.note else shown


def written(value: Value) -> str:
    """A value as a reader sees it: three decimals, powers of ten below that, percent for shares, a dash for none.

    >>> written(0.12345), written(12), written(Share(0.5)), written(Between(0.1, 0.25)), written(None)
    ('0.123', '12', '50 %', '0.100 to 0.250', '–')
    >>> written(ShareBetween(0.0, 0.2785)), written(ShareBetween(0.7221, 1.0))
    ('0 to 27.9 %', '72.2 to 100 %')
    >>> written(0.0002), written(0.0), written(-0.0), written(-2.8e-16)
    ('2.0e-04', '0.000', '0.000', '0.000')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Share):
        return "–" if math.isnan(value.value) else f"{percent(value.value, 3)} %"
    if isinstance(value, ShareBetween) and not math.isnan(value.low):
        return f"{percent(value.low, 3)} to {percent(value.high, 3)} %"
    if isinstance(value, Between):
        return "–" if math.isnan(value.low) else f"{_number(value.low)} to {_number(value.high)}"
    return _number(value) if isinstance(value, float) else str(value)


def percent(share: float, digits: int = 0) -> str:
    """A share in percent, rounded, but with as many digits as it takes not to say 100 where it is less.

    >>> percent(0.78), percent(0.996), percent(0.99996), percent(1.0)
    ('78', '99.6', '99.996', '100')
    >>> percent(0.078, 3), percent(0.9996, 3)
    ('7.8', '99.96')
    """
    shown = f"{100 * share:.{digits}g}" if digits else f"{100 * share:.0f}"
    if shown != "100" or share > 1 - 1e-9:  # a sum of all probabilities is 1 but for rounding
        return shown
    return next(text for n in range(3, 17) if (text := f"{100 * share:.{n}g}") != "100")


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if -_ROUNDING < value < 0:
        return "0.000"
    if 0 < abs(value) < 0.0005:  # three decimals would say 0
        return f"{value:.1e}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 10 else decimals(value, ".3f")
