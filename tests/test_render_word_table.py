"""Tables in the terminal: no word is broken while there is room for the longest, and below that rows are a list."""

from __future__ import annotations

import pytest
from rich.console import Console

from llama_diversity.render.word_table import WordTable, widths

TABLE = WordTable(
    "Every measure",
    ["measure", "verdict", "kept"],
    [["meanings, distance", "not comparable", "0.699"], ["kinds among m", "less diverse", "0.645"]],
    [True, True, False],
)
WORDS = {"measure", "verdict", "kept", "meanings,", "distance", "not", "comparable", "0.699", "kinds", "0.645"}


def printed(table: WordTable, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [24, 25, 26, 27, 28, 29, 30, 34, 40, 80])
def test_no_word_is_broken(width: int) -> None:
    lines = printed(TABLE, width)
    assert max(map(len, lines)) <= width
    assert {word.strip(":;") for line in lines for word in line.split()} >= WORDS


def test_with_room_each_row_is_a_line() -> None:
    assert [line.rstrip() for line in printed(TABLE, 80)] == [
        "Every measure",
        "measure             verdict          kept",
        "meanings, distance  not comparable  0.699",
        "kinds among m       less diverse    0.645",
    ]


def test_with_less_cells_take_several_lines() -> None:
    # Longest words 9, 10 and 5 cells with two gaps of 2: 28 are just enough.
    assert [line.rstrip() for line in printed(TABLE, 28)] == [
        "Every measure",
        "measure    verdict      kept",
        "meanings,  not         0.699",
        "distance   comparable",
        "kinds      less        0.645",
        "among m    diverse",
    ]


def test_without_room_for_a_word_rows_are_a_list() -> None:
    assert [line.rstrip() for line in printed(TABLE, 27)] == [
        "Every measure",
        "meanings, distance",
        "  verdict: not comparable;",
        "  kept: 0.699",
        "kinds among m",
        "  verdict: less diverse;",
        "  kept: 0.645",
    ]


def test_one_long_word_does_not_cost_the_table() -> None:
    lines = printed(WordTable("Files", ["file", "n"], [["/" + "x" * 60, "3"]], [True, False]), 30)
    assert lines[1].split() == ["file", "n"]
    assert "".join(line.split()[0] for line in lines[2:]) == "/" + "x" * 60


def test_the_shortest_column_grows_first() -> None:
    assert widths([3, 3], [50, 50], 20) == [10, 10]
    assert widths([2, 9], [50, 12], 20) == [10, 10]
    assert widths([2, 9], [4, 12], 99) == [4, 12]
    assert widths([], [], 10) == []


def test_cells_two_columns_wide_count_twice() -> None:
    lines = printed(WordTable("", ["a"], [["日本語"]], [True]), 6)
    assert lines[-1] == "日本語"


def test_a_list_without_rows_keeps_its_headings() -> None:
    lines = printed(WordTable("Runs", ["identifier", "when", ""], [], [True] * 3), 12)
    assert [line.rstrip() for line in lines] == ["Runs", "identifier;", "when"]


def test_empty_cells_are_left_out_of_a_list() -> None:
    table = WordTable("", ["name", "what", "n"], [["considerable", "", "3"], ["considerably", "", ""]], [True] * 3)
    assert [line.rstrip() for line in printed(table, 15)[1:]] == ["considerable", "n: 3", "considerably"]


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_no_cell_vanishes_where_there_is_hardly_room(width: int) -> None:
    told = "".join("".join(printed(TABLE, width)).split())
    assert all(word in told for word in ("verdict:", "comparable;", "kept:0.699"))
