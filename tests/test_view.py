"""`llamadiv view`, driven by keys: what stands on the screen, and where the cursor is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from scripted_work import cell_of, open_scripted, realistic_stats, recipe_without_engine
from textual.pilot import Pilot

from llama_diversity import embed
from llama_diversity.records import Asking, Cell, Piece, Sample
from llama_diversity.render.cells import Marks
from llama_diversity.render.heatmap import Looks
from llama_diversity.runner import run as draw
from llama_diversity.store import Store
from llama_diversity.studies import meanings
from llama_diversity.studies.browsing import StoredRun
from llama_diversity.studies.session import Session
from llama_diversity.studies.sources import scored_source, stored_source
from llama_diversity.studies.viewed import Abreast
from llama_diversity.view.app import ViewApp
from llama_diversity.view.columns import Columns
from llama_diversity.view.detail import Detail
from llama_diversity.view.ink import Ink
from llama_diversity.view.keys import KEYS
from llama_diversity.view.mapping import MeaningMap

Script = Callable[[Pilot[None]], Awaitable[None]]


def ink(depth: str = "truecolor", **looks: object) -> Ink:
    return Ink(Looks(**looks), depth, Marks(ascii=bool(looks.get("ascii")), dots=depth != "none"))


def play(source, script: Script, *, size: tuple[int, int] = (80, 24), drawn: Ink | None = None) -> None:
    """Open a source, and do what a script says."""

    async def playing() -> None:
        app = ViewApp(source, drawn or ink())
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(pilot)

    asyncio.run(playing())


def screen(pilot: Pilot[None]) -> list[str]:
    """The lines of the screen, as text."""
    strips = pilot.app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


@pytest.fixture
def session(own_folders: Path) -> Session:
    return Session(named_store=own_folders / "store.sqlite")


@pytest.fixture
def stored(run, session: Session) -> Session:
    """A session whose last run has five samples of one model."""
    words = ["-m", "scripted:base", "-p", "She was", "-n", 5, "--max-tokens", 12, "--store", session.store]
    assert run("sample", *words)[0] == 0
    return session


def test_a_run_is_walked_through_by_keys(stored):
    async def script(pilot):
        columns = pilot.app.screen.query_one(Columns)
        assert "1 of 5" in screen(pilot)[0]
        assert columns.at == 0
        await pilot.press("right", "right", "left")
        assert columns.at == 1
        await pilot.press("s")
        assert "2 of 5" in screen(pilot)[0]
        assert columns.at == 0
        await pilot.press("G")
        assert columns.at == len(columns.abreast.texts[0]) - 1
        assert f"token {columns.at + 1} of {columns.at + 1}" in "\n".join(screen(pilot))

    with stored_source("last", stored) as source:
        play(source, script)


def test_up_and_down_are_lines_unless_an_alternative_is_chosen(stored):
    async def script(pilot):
        columns = pilot.app.screen.query_one(Columns)
        for keys in ((), ("l", "escape"), ("a", "escape")):
            await pilot.press(*keys)
            await pilot.pause()
            await pilot.press("down")
            assert columns.at > 0, keys
            await pilot.press("up")
            assert columns.at == 0, keys

    with stored_source("last", stored) as source:
        play(source, script, size=(40, 24))


def test_a_text_under_two_models_is_coloured_by_their_difference(session):
    async def script(pilot):
        columns = pilot.app.screen.query_one(Columns)
        assert [text.arm for text in columns.abreast.texts] == ["scripted:base", "scripted:aligned"]
        assert columns.abreast.parting is None
        for _ in range(columns.abreast.quantities.index("difference")):
            await pilot.press("c")
        shown = "\n".join(screen(pilot))
        assert "difference in surprisal, B - A" in shown
        assert "A is scripted:base, B is scripted:aligned" in shown

    models = [session.model(name) for name in ("scripted:base", "scripted:aligned")]
    with scored_source(models, "She was a nurse.", Asking(), session) as source:
        play(source, script, size=(100, 30))


def test_help_has_every_key_on_a_small_screen(stored):
    async def script(pilot):
        await pilot.press("question_mark")
        shown = "\n".join(screen(pilot))
        for some in KEYS.values():
            for one in some:
                assert one.words in shown, one
        await pilot.press("x")
        assert "1 of 5" in screen(pilot)[0]

    with stored_source("last", stored) as source:
        play(source, script)


def test_an_alternative_can_be_chosen_where_a_model_is_open(stored):
    async def script(pilot):
        await pilot.press("a", "down", "enter")
        await pilot.pause()
        assert "Only a model that is open can go on" in screen(pilot)[-1]
        await pilot.press("escape", "right")
        assert pilot.app.screen.query_one(Columns).at == 1

    with stored_source("last", stored) as source:
        play(source, script)


def test_a_key_draws_only_the_lines_that_it_changes(stored, monkeypatch):
    drawn: list[int] = []
    render_line = Columns.render_line
    monkeypatch.setattr(Columns, "render_line", lambda self, y: drawn.append(y) or render_line(self, y))

    async def script(pilot):
        for key in ["right"] * 5 + ["down", "up", "G", "g", "n", "c", "s", "tab"]:
            drawn.clear()
            await pilot.press(key)
            await pilot.pause()
            if key == "right":
                assert len(drawn) <= 2
            strips = [list(strip) for strip in pilot.app.screen._compositor.render_strips()]
            pilot.app.screen.query_one(Columns).refresh()
            await pilot.pause()
            assert strips == [list(strip) for strip in pilot.app.screen._compositor.render_strips()], key

    with stored_source("last", stored) as source:
        play(source, script, size=(24, 40))


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_leaving(stored, key, code):
    async def leaving() -> int:
        app = ViewApp(source, ink())
        async with app.run_test() as pilot:
            await pilot.press(key)
        return app.return_code

    with stored_source("last", stored) as source:
        assert asyncio.run(leaving()) == code


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (120, 30), (240, 60)])
@pytest.mark.parametrize("depth", ["truecolor", "256", "16", "none"])
def test_every_size_and_depth_draws_within_its_columns(stored, size, depth):
    async def script(pilot):
        assert {cell_len(line) for line in screen(pilot)} == {size[0]}
        await pilot.resize_terminal(size[0] + 13, size[1] + 3)
        await pilot.pause()
        assert {cell_len(line) for line in screen(pilot)} == {size[0] + 13}

    with stored_source("last", stored) as source:
        play(source, script, size=size, drawn=ink(depth))


async def settled(pilot) -> None:
    """All that is worked out in the background is there."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def rows_of_list(pilot) -> list[list[str]]:
    """Number, bits, bits a token and tokens of each sample in the list."""
    lines = [line.split()[:4] for line in screen(pilot)]
    return [words for words in lines if len(words) == 4 and all(re.fullmatch(r"[\d,.]+", word) for word in words)]


def test_samples_are_listed_in_any_order(stored):
    async def script(pilot):
        await pilot.press("l")
        await pilot.pause()
        plain = rows_of_list(pilot)
        assert [row[0] for row in plain] == ["0", "1", "2", "3", "4"]
        for place, name in ((1, "likeliest first"), (2, "likeliest per token first")):
            await pilot.press("o")
            await settled(pilot)
            shown = rows_of_list(pilot)
            assert sorted(shown) == sorted(plain)
            assert [float(row[place]) for row in shown] == sorted(float(row[place]) for row in plain)
            assert name in "\n".join(screen(pilot))
        await pilot.press("O")
        await settled(pilot)
        assert rows_of_list(pilot) == shown[::-1]
        await pilot.press("home")
        assert "1 of 5" in screen(pilot)[0]
        await pilot.press("s")  # the keys of the texts follow the order of the list
        assert pilot.app.screen.row == int(shown[-2][0])

    with stored_source("last", stored) as source:
        play(source, script, size=(110, 30))


def test_only_samples_with_some_words_are_listed(stored):
    async def script(pilot):
        texts = [row.text for row in pilot.app.screen.source.listed(0, 0, range(5))]
        words = next(text.split()[0] for text in texts if text.split())
        await pilot.press("l", "slash", *words, "enter")
        await settled(pilot)
        found = [str(at) for at, text in enumerate(texts) if words.casefold() in text.casefold()]
        assert [row[0] for row in rows_of_list(pilot)] == found
        await pilot.press("slash", *["backspace"] * len(words), "enter")
        await settled(pilot)
        assert len(rows_of_list(pilot)) == 5
        await pilot.press("slash", *"no such words", "enter")
        await settled(pilot)
        assert "No sample has “no such words”." in screen(pilot)[-1]

    with stored_source("last", stored) as source:
        play(source, script, size=(110, 30))


def test_the_sample_in_view_has_the_bar_of_the_list(stored):
    def bars(pilot) -> list[str]:
        strips = pilot.app.screen._compositor.render_strips()
        segments = (segment for strip in strips for segment in strip)
        return [one.text.split()[0] for one in segments if one.style and one.style.reverse and len(one.text) > 40]

    async def script(pilot):
        await pilot.press("l")
        await pilot.pause()
        assert bars(pilot) == ["0"]
        await pilot.press("down", "down")
        assert bars(pilot) == ["2"]

    with stored_source("last", stored) as source:
        play(source, script, size=(130, 30))


@pytest.fixture
def paired(session: Session) -> Session:
    """A session whose last run has 40 samples of each of two arms."""
    base, aligned = open_scripted("base"), open_scripted("aligned")
    with Store.open(session.store) as store:
        run_id = store.start_run(command=["llamadiv", "sample"], about={})
        for name, engine in (("base", base), ("aligned", aligned)):
            for _ in draw(cell_of(engine, 40, arm=name), engine, store, run_id):
                pass
    return session


def test_samples_stand_beside_those_that_begin_like_them(paired):
    def beside(pilot) -> tuple[str, int | None]:
        abreast = pilot.app.screen.query_one(Columns).abreast
        return abreast.texts[1].heading, abreast.parting

    async def script(pilot):
        source = pilot.app.screen.source
        texts = [[source.text(0, arm, row) for row in range(40)] for arm in (0, 1)]
        shared = [[Abreast([mine, other]).shared(0, 1) for other in texts[1]] for mine in texts[0]]
        row = next(at for at, some in enumerate(shared) if some[at] < max(some))
        most = max(shared[row])
        await pilot.press(*"s" * row)
        assert beside(pilot) == (f"sample {row}", shared[row][row])
        await pilot.press("x")
        await settled(pilot)
        heading, parting = beside(pilot)
        assert re.fullmatch(rf"sample \d+, {most} tokens? shared", heading)
        assert parting == most
        assert "aligned by shared beginning" in screen(pilot)[0]
        assert f"{most} token" in screen(pilot)[1]
        await pilot.press("tab")  # to that very sample
        assert heading.startswith(f"sample {pilot.app.screen.row},")
        await pilot.press("shift+tab", "s")
        await settled(pilot)
        assert "shared" in beside(pilot)[0]
        await pilot.press("x")
        await settled(pilot)
        assert beside(pilot)[0] == f"sample {pilot.app.screen.row}"
        assert "aligned by" not in screen(pilot)[0]

    with stored_source("last", paired) as source:
        play(source, script, size=(160, 30))


def test_one_arm_has_nothing_beside_it(stored):
    async def script(pilot):
        await pilot.press("x")
        assert "Only a stored run of several arms" in screen(pilot)[-1]

    with stored_source("last", stored) as source:
        play(source, script)


def test_samples_are_found_on_the_map_of_their_meanings(paired):
    async def script(pilot):
        await pilot.press("m")
        await settled(pilot)
        panel = pilot.app.screen.query_one(MeaningMap)
        assert {one.arm for one in panel.points} == {0, 1}
        shown = screen(pilot)
        assert "A base  B aligned" in shown[1]
        assert "Distances are only roughly kept" in " ".join(" ".join(line[:72].split()) for line in shown)
        drawn = Counter("".join(line[:72] for line in shown[2:-8]))
        assert drawn["@"] == 1
        assert drawn["A"] > 1
        assert drawn["B"] > 1
        assert panel.points[panel.at][:2] == (0, 0)  # the sample in view
        places = set(panel._cells)
        for key in ["right", "left", "up", "down"] * 3:
            before = panel._cells[panel.at]
            await pilot.press(key)
            x, y = (after - one for after, one in zip(panel._cells[panel.at], before, strict=True))
            assert (x, y) == (0, 0) or {"right": x > 0, "left": x < 0, "up": y < 0, "down": y > 0}[key]
        if panel._cells[panel.at] == panel._cells[0]:
            await pilot.press("right")
        assert len(places) > 4
        wanted = panel.points[panel.at]
        await pilot.press("enter")
        await pilot.pause()
        assert (pilot.app.screen.columns.arm, pilot.app.screen.row) == wanted[:2]
        await pilot.press("m")
        assert not pilot.app.screen.query(MeaningMap)

    with stored_source("last", paired) as source:
        play(source, script, size=(180, 40), drawn=ink("none"))


def test_without_the_encoder_a_sentence_stands_for_the_map(paired, monkeypatch):
    def without(task, told):
        with Store.open(task.store, read_only=True) as store:
            return meanings.by_text(StoredRun(store, task.run), task.question, told)

    monkeypatch.setattr(meanings, "apart", without)
    monkeypatch.setattr(embed, "find", lambda: None)

    async def script(pilot):
        await pilot.press("m")
        await settled(pilot)
        assert "There is no map of these samples" in "\n".join(screen(pilot))
        await pilot.press("escape", "right")
        assert pilot.app.screen.query_one(Columns).at == 1

    with stored_source("last", paired) as source:
        play(source, script, size=(100, 30))


HOSTILE = [
    b"\x1b[2J", b"\x1b]0;pwned\x07", "\u202eevil".encode(), b"[/b]", b"[bold red]", "\u009b2J".encode(), b"\xf0\x9f",
    "你好".encode(), b"\t", b"\n", b"", "⟨≠⟩".encode(), "\u2028".encode(), b":smile:", b"\xff\xfe",
]  # fmt: skip


def run_of(store_path: Path, pieces: list[bytes], *, n_stored: int = 1) -> None:
    """A run of one arm whose samples are these pieces."""
    tokens = realistic_stats(len(pieces), np.random.default_rng(0))
    tokens["id"] = np.arange(len(pieces)) % 50_000
    tokens["top_ids"] = tokens["id"][:, None]
    cell = Cell("base", "m\x1b[2J", recipe_without_engine(0), 3)
    with Store.open(store_path) as store:
        run_id = store.start_run(command=["llamadiv", "sample"], about={})
        store.add_cells(run_id, [(cell, {})])
        store.put_pieces(cell.recipe.vocab_digest, {at: Piece(piece) for at, piece in enumerate(pieces)})
        text = b"".join(pieces)
        store.add([Sample(cell.recipe.key, at, "length", text, tokens) for at in range(n_stored)], run_id)


@pytest.mark.parametrize("is_ascii", [False, True])
def test_hostile_text_reaches_no_terminal(session, is_ascii):
    run_of(session.store, HOSTILE)

    async def script(pilot):
        for keys in (["l"], ["escape", *["right"] * len(HOSTILE)], ["c"], ["question_mark", "x"]):
            await pilot.press(*keys)
            await pilot.pause()
            shown = "".join(screen(pilot))
            assert shown.isprintable()
            assert not {"\x1b", "\u202e", "\u009b"} & set(shown)
            assert {cell_len(line) for line in screen(pilot)} == {100}
        assert "[/b]" in shown
        if is_ascii:
            assert {one for one in shown if ord(one) > 127} <= set("你好⟨≠⟩")  # the text's own

    with stored_source("last", session) as source:
        play(source, script, size=(100, 30), drawn=ink(ascii=is_ascii))


def test_a_run_without_samples_waits_for_them(session):
    run_of(session.store, [b" a", b" b"], n_stored=0)

    async def script(pilot):
        assert "no samples yet" in screen(pilot)[0]
        await pilot.press("right", "s", "tab", "l", "o", "n", "c", "a", "enter", "p")
        await settled(pilot)

    with stored_source("last", session) as source:
        play(source, script)


def test_a_damaged_sample_costs_itself_alone(session):
    run_of(session.store, [b" a", b" b"], n_stored=3)
    with sqlite3.connect(session.store) as connection:
        connection.execute("UPDATE samples SET statistics = x'09' WHERE idx = 1")

    async def script(pilot):
        await pilot.press("s")
        assert "this sample store is damaged" in screen(pilot)[-1] + "".join(screen(pilot))
        await pilot.press("s")
        assert len(pilot.app.screen.query_one(Columns).abreast.texts[0]) == 2

    with stored_source("last", session) as source:
        play(source, script, size=(160, 30))


def test_a_sample_of_8000_tokens_is_set_as_far_as_it_is_looked_at(session):
    run_of(session.store, [b" word"] * 8000)

    async def script(pilot):
        columns = pilot.app.screen.query_one(Columns)
        assert columns._columns[0].typeset.n_lines < 200
        await pilot.press("G")
        assert columns.at == 7999
        assert "token 8000 of 8000" in "\n".join(screen(pilot))

    with stored_source("last", session) as source:
        play(source, script)


def text_of_sample(pilot) -> tuple[int, int]:
    """Lines of the screen that the texts have, and the most of anything else."""
    heights = {type(one).__name__: one.size.height for one in pilot.app.screen.query("*") if one.display}
    return heights["Columns"] - 1, max(heights.get(name, 0) for name in ("Detail", "Legend"))


@pytest.mark.parametrize("size", [(40, 10), (60, 15), (70, 18), (80, 22), (80, 24)])
def test_on_a_small_screen_the_text_has_the_most_lines(stored, size):
    async def script(pilot):
        text, other = text_of_sample(pilot)
        assert text > other
        await pilot.press("l")
        await settled(pilot)
        assert "-open" in pilot.app.screen.classes
        assert sum(line.split()[:1] == [str(n)] for n, line in enumerate(screen(pilot)[2:])) >= 3
        await pilot.press("escape", "a")
        await pilot.pause()
        assert pilot.app.screen.query_one(Detail).size.height >= 6

    with stored_source("last", stored) as source:
        play(source, script, size=size)


def test_help_is_scrolled_where_it_does_not_fit(stored):
    async def script(pilot):
        await pilot.press("question_mark")
        assert "leave" not in "\n".join(screen(pilot))
        seen = ""
        for _ in range(10):
            await pilot.press("pagedown")
            seen += "\n".join(screen(pilot))
        assert "close what is open" in seen
        await pilot.press("x")
        assert "of 5" in screen(pilot)[0]

    with stored_source("last", stored) as source:
        play(source, script, size=(40, 10))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "scripted:base", "-p", "She was"), "`view` fills a terminal"),
        (("-m", "scripted:base", "She was"), "`view` fills a terminal"),
        (("-m", "scripted:base", "-p", "She was", "She"), "Name one text"),
        (("-p", "She was"), "add -m MODEL"),
        ((), "Name what to look at"),
        (("nothing",), "no run called 'nothing'"),
        (("-m", "nothing", "She"), "no model called 'nothing'"),
        (("-m", "tiny", "She"), "tiny is a pair, not a model"),
    ],
)
def test_what_is_named_is_looked_for_before_the_terminal(run, stored, options, said):
    code, out, error = run("view", *options, "--store", stored.store)
    assert (code, out) == (2, "")
    assert said in error


BROKEN = """
import sys
from llama_diversity import cli
from llama_diversity.view.beside import Beside
from llama_diversity.view.columns import Columns
def broken(*given):
    raise RuntimeError("it\x1b[2J broke")
Columns.go_line = Beside.work = broken
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize("is_debugging", [False, True])
@pytest.mark.parametrize("key", ["j", "x"])  # in the app's thread, and in another
def test_a_defect_ends_in_one_sentence_and_gives_the_terminal_back(paired, key, is_debugging):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = ["view", "last", "--store", str(paired.store), *(["--debug"] if is_debugging else [])]
    child = subprocess.Popen(
        [sys.executable, "-c", BROKEN, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    shown = b""
    while b"help" not in shown:
        assert select.select([ours], [], [], 60)[0], shown
        shown += os.read(ours, 1 << 16)
    os.write(ours, {"j": b"\x1b[B", "x": b"x"}[key])
    until = time.monotonic() + 60
    while (child.poll() is None and time.monotonic() < until) or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 1 << 16)
    child.kill()  # of no matter to one that has ended
    after = termios.tcgetattr(theirs)
    os.close(ours)
    os.close(theirs)
    _, _, said = shown.rpartition(b"\x1b[?1049l")  # the screen of before is there again
    assert child.returncode == 1
    assert b"\x1b[?1049h" not in said
    assert re.search(rb"llamadiv: RuntimeError: it.* broke. This is a defect of llamadiv; `--debug` shows where.", said)
    assert b"\x1b[2J" not in said.splitlines()[-1]
    assert (b"Traceback" in said) == is_debugging
    assert after == before


def test_a_filter_that_moves_the_view_or_finds_nothing_says_so(stored):
    async def script(pilot):
        texts = [row.text for row in pilot.app.screen.source.listed(0, 0, range(5))]
        words = next(word for text in texts for word in text.split() if word.casefold() not in texts[0].casefold())
        await pilot.press("slash", *words, "enter")
        await settled(pilot)
        await pilot.pause()
        assert f"The first sample here that has “{words}”." in screen(pilot)[-1]
        await pilot.press("slash", *["backspace"] * len(words), *"no such words", "enter")
        await settled(pilot)
        assert "none of 5 has “no such words”, this one neither" in screen(pilot)[0]
        await pilot.press("escape")
        assert "none of 5" in screen(pilot)[0]

    with stored_source("last", stored) as source:
        play(source, script, size=(110, 30))
