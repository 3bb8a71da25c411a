"""Tables on their way to Arrow and pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_diversity.render.exhibits import Between, Share, Value
from llama_diversity.render.exhibits import Table as Exhibited

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType


_WIDTH = 100  # columns of `print(found)`


def to_pandas(table: Any) -> Any:
    """A pyarrow table as a pandas.DataFrame. Raises ImportError with the next step where pandas is not installed."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ImportError("pandas is not installed: `pip install pandas`. to_arrow() does without it.") from None
    return table.to_pandas()


def printed(shown: RenderableType) -> str:
    """What `print` shows of a result: plain text."""
    from rich.console import Console

    console = Console(width=_WIDTH, color_system=None, markup=False, highlight=False, emoji=False, force_terminal=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().rstrip()


class Table:
    """A table of a result: unrounded numbers under headings, an interval as two columns, None for what is undefined.

    `name`, `title` and `note` say what it is. Shares are between 0 and 1; headings name the units.

    >>> import llama_diversity as ld
    >>> table = ld.collapse(runs=20, steps=10).tables["table-1-mode-collapse"]
    >>> list(table.to_dict())[:3]
    ['t', 'response a', 'R']
    """

    def __init__(self, table: Exhibited) -> None:
        self._table = table

    @property
    def name(self) -> str:
        """The name of its file, without the suffix."""
        return self._table.name

    @property
    def title(self) -> str:
        """Its heading."""
        return self._table.title

    @property
    def note(self) -> str:
        """What a reader has to know of it."""
        return self._table.note

    def to_dict(self) -> dict[str, list[str | int | float | None]]:
        """Columns by heading."""
        found: dict[str, list[str | int | float | None]] = {}
        for at, heading in enumerate(self._table.headings):
            column = [row[at] for row in self._table.rows]
            if any(isinstance(one, Between) for one in column):
                ends = [one if isinstance(one, Between) else (None, None) for one in column]
                found[f"{heading}, low"] = [_plain(low) for low, _ in ends]
                found[f"{heading}, high"] = [_plain(high) for _, high in ends]
            else:
                found[heading] = [_plain(one) for one in column]
        return found

    def to_arrow(self) -> pa.Table:
        """A pyarrow table; a column of words and numbers is one of words."""
        import pyarrow as pa

        return pa.table({heading: pa.array(_alike(column)) for heading, column in self.to_dict().items()})

    def to_pandas(self) -> Any:
        """A pandas.DataFrame. Raises ImportError where pandas is not installed."""
        return to_pandas(self.to_arrow())

    def __len__(self) -> int:
        return len(self._table.rows)

    def _repr_html_(self) -> str:
        from llama_diversity.render.notebook import of_exhibit

        return of_exhibit(self._table)

    def __rich__(self) -> RenderableType:
        from llama_diversity.render.exhibits import word_table

        return word_table(self._table)

    def __str__(self) -> str:
        return printed(self.__rich__())

    def __repr__(self) -> str:
        return f"<Table {self.name}: {self.title}, {len(self)} rows>"


def _plain(value: Value) -> str | int | float | None:
    if isinstance(value, Share):
        value = value.value
    assert not isinstance(value, Between)
    return None if isinstance(value, float) and math.isnan(value) else value


def _alike(column: Sequence[str | int | float | None]) -> Sequence[str | int | float | None]:
    """Values of one type, as Arrow wants them."""
    if not any(isinstance(one, str) for one in column) or all(one is None or isinstance(one, str) for one in column):
        return [float(one) for one in column] if _mixes(column) else column  # type: ignore[arg-type]
    return [None if one is None else str(one) for one in column]


def _mixes(column: Sequence[object]) -> bool:
    """Whether whole numbers and others stand together, without gaps."""
    return {type(one) for one in column} == {int, float}
