"""`bin/refresh`: what the pages quote is found and written, and what is quoted is what the commands give."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def test_all_that_is_quoted_and_claimed_stands_on_its_page_once(refresh: ModuleType) -> None:
    for one in (*refresh.QUOTES, *refresh.CLAIMS):
        match = refresh.place(text_of(one.page), one.words)
        assert match.re.groups == one.words.count("{}")
    for table in refresh.TABLES:
        assert text_of(table.page).count(f"\n{table.heading}\n|---") == 1
    assert len({(one.page, one.words) for one in refresh.CLAIMS}) == len(refresh.CLAIMS)


@pytest.mark.parametrize("page", ["docs/curious.md", "docs/winning.md", "docs/gallery.md"])
def test_a_command_behind_a_number_is_the_one_on_the_page(refresh: ModuleType, page: str) -> None:
    """But for the table of known answers, whose arms the page describes: word by word, the folder for files aside."""
    text = " ".join(text_of(page).split())
    commands = {one.command for one in (*refresh.QUOTES, *refresh.TABLES) if one.page == page}
    typed = {one for one in commands if one.startswith("llamadiv ") and "--arm dial0" not in one}
    assert typed or page == "docs/gallery.md"
    assert [one for one in typed if one not in text] == []


def test_a_number_is_written_where_it_stands_and_nothing_else_changes(refresh: ModuleType) -> None:
    page = "It has 79 % (71 to\n85), of 12 kinds.\n\n| a | 1 | b |\n"
    quote = refresh.Quote("p", "of {} kinds.", "c", lambda told: [str(told)])
    assert refresh.with_numbers(page, quote, 7) == page.replace("12", "7")
    both = refresh.Quote("p", "It has {} (71 to {}), of", "c", lambda told: ["3 %", "9"])
    assert refresh.with_numbers(page, both, None) == page.replace("79 %", "3 %").replace("85", "9")
    row = refresh.Quote("p", "| a | {} | b |", "c", lambda told: [told["x"]])
    assert refresh.with_numbers(page, row, {"x": "2 (1 to 3)"}) == page.replace("| 1 |", "| 2 (1 to 3) |")
    for told, words, says in (
        ({}, "| a | {} | b |", "no number"),
        ({"x": "1"}, "| c | {} | b |", "0 times on the page"),
        ({"x": "1"}, "{} (71 to {})", "1 numbers"),
    ):
        with pytest.raises(refresh.NotThere, match=says):
            refresh.with_numbers(page, row._replace(words=words), told)
    with pytest.raises(refresh.NotThere, match="2 times"):
        refresh.place("one two one two", "one")


def test_the_rows_of_a_table_are_written_below_its_heading(refresh: ModuleType) -> None:
    page = "Before.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | |\n\nBehind | it.\n"
    table = refresh.Table("p", "| a | b |", "c", lambda told: told)
    assert refresh.with_rows(page, table, [("5", "6"), ("", "7"), ("8", "")]) == (
        "Before.\n\n| a | b |\n|---|---|\n| 5 | 6 |\n| | 7 |\n| 8 | |\n\nBehind | it.\n"
    )
    for told, says in (([], "rows of other"), ([("1",)], "rows of other than 2 cells"), (None, "no rows")):
        with pytest.raises(refresh.NotThere, match=says):
            refresh.with_rows(page, table, told)
    with pytest.raises(refresh.NotThere, match="not once"):
        refresh.with_rows(page, table._replace(heading="| a | c |"), [("1", "2")])


def test_numbers_are_read_out_of_what_commands_tell(refresh: ModuleType, run: Run) -> None:
    """The commands of the page with chains in place of the models; the page's rows have as many cells as these."""

    def told(command: str, **models: str) -> Any:
        for name, chain in models.items():
            command = command.replace(f"tiny-{name}", chain)
        words = shlex.split(command)[1:]
        prompts = [word for one in "She He Someone The was is met a not old".split() for word in ("-p", one)]
        code, out, error = run(*words, *prompts, "-n", 4, "--max-tokens", 8, "--json", "-q")
        assert code == 0, error
        return json.loads(out)

    chains = {"base": "scripted:base", "aligned": "scripted:aligned", "sft": "scripted:attractor"}
    dial, _, four = refresh.TABLES
    rows = list(dial.rows(told(dial.command, **chains)))
    assert [row[0] for row in rows] == [
        "-0.5",
        "-0.25",
        "0",
        "0.25",
        "0.5",
        "0.75",
        "1",
        "1.25",
        "1.5",
        "tiny-aligned alone",
    ]
    assert {len(row) for row in rows} == {7}
    rows = list(four.rows(told(four.command, **chains)))
    assert [row[0].partition(":")[0] for row in rows] == ["heat", "dial", "random", "confident"]
    assert {len(row) for row in rows} == {6}


@pytest.mark.model
def test_what_is_quoted_of_the_pair_is_what_its_files_and_commands_say(refresh: ModuleType, run: Run) -> None:
    """Of what is quick and says the same on every machine: headers, and probabilities without draws."""
    checked = 0
    for quote in refresh.QUOTES:
        if quote.command.startswith("header "):
            told = refresh.header(quote.command.split()[1])
        elif quote.command.startswith("llamadiv valid "):
            told = json.loads(run(*shlex.split(quote.command)[1:], "--json")[1])
        else:
            continue
        page = text_of(quote.page)
        assert refresh.with_numbers(page, quote, told) == page, "bin/refresh quotes writes it"
        checked += 1
    assert checked >= 5


def test_a_result_is_asked_for_once(refresh: ModuleType, tmp_path: Path) -> None:
    tell = refresh.Told(tmp_path)
    first = tell('llamadiv score -m scripted:base "She was"')
    [kept] = tmp_path.rglob("*.json")
    kept.write_text(json.dumps({"kept": first}), "utf-8")
    assert tell('llamadiv score -m scripted:base "She was"') == {"kept": first}


def test_what_is_to_be_read_is_listed_by_command_with_its_line(refresh: ModuleType, capsys) -> None:
    assert refresh.main(["--claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[1] for line in lines if line.startswith("  read ")]
    assert len(listed) == len(refresh.CLAIMS)
    page, line = listed[0].split(":")[:2]
    assert refresh.CLAIMS[0].words.split()[0] in text_of(page).splitlines()[int(line) - 1]


def test_what_a_result_contradicts_is_said(refresh: ModuleType) -> None:
    claim = next(one for one in refresh.CLAIMS if one.holds)
    for holds, verdict in ((True, "holds"), (False, "NO LONGER")):
        [_, line] = refresh.to_read([claim._replace(holds=lambda told, holds=holds: holds)], lambda command: {})
        assert line.startswith(f"  {verdict}")


def test_quotes_of_one_page_alone_are_written(refresh: ModuleType, monkeypatch) -> None:
    """With a command that is cheap in place of the others; what it does not tell is a fault, and the rest goes on."""
    asked = []
    monkeypatch.setattr(refresh, "QUOTES", [one for one in refresh.QUOTES if one.page == "docs/gallery.md"])
    monkeypatch.setattr(refresh, "TABLES", ())
    quotes = list(refresh.QUOTES)
    for page, told, changed, faults in (
        ("gallery", {"n_params": 9_900_000}, 1, 0),
        ("gallery", {}, 0, 1),
        ("curious", {}, 0, 0),
    ):
        pages = refresh.Pages(is_kept=True, page=page)
        refresh.quotes(pages, lambda command, told=told: asked.append(command) or told)
        assert (len(pages.changed), len(pages.faults)) == (changed, faults)
    assert asked == 2 * [one.command for one in quotes]


def test_a_step_that_is_none_is_refused(refresh: ModuleType, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        refresh.main(["quots"])
    assert stopped.value.code == 2
    assert "there is no step quots" in capsys.readouterr().err
