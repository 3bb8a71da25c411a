"""Branches by hand in the viewer, driven by keys: from a run to a branch to a saved run."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from test_view import ink, screen

from llama_diversity.errors import BadValue
from llama_diversity.records import Asking
from llama_diversity.store import Store
from llama_diversity.studies.session import Session
from llama_diversity.studies.sources import scored_source, stored_source
from llama_diversity.view.app import ViewApp, farewell
from llama_diversity.view.branching import BranchScreen
from llama_diversity.view.columns import Columns
from llama_diversity.view.viewer import Viewer
from llama_diversity.view.whole import WholeScreen


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(named_store=tmp_path / "store.sqlite", command=("llamadiv", "view"))


def play(source, session, script, *, size=(80, 24), drawn=None):
    async def playing():
        app = ViewApp(source, drawn or ink(), session)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(pilot)

    asyncio.run(playing())


async def until(pilot, is_so, n=2000):
    """Let the app and the models work until something is so."""
    for _ in range(n):
        if is_so():
            return
        await pilot.pause(0.01)
    raise AssertionError("\n".join(screen(pilot)))


def is_idle(pilot):
    return pilot.app.models.n_waiting == 0


async def branched(pilot, *keys):
    """From the texts to all that may follow, with some keys there, to the ways; until all has grown."""
    await pilot.press("B")
    await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))


def shown(pilot):
    return "\n".join(screen(pilot))


def sample(run, session, model, *options):
    words = ["-m", model, "-p", "Grace Hopper was", "-n", 3, "--max-tokens", 8, *options, "--store", session.store]
    assert run("sample", *words)[0] == 0


def from_a_run_to_a_saved_one(run, session, model):
    async def script(pilot):
        await pilot.press("right", "right")
        await branched(pilot, "down", "enter")
        ways = pilot.app.screen.ways
        assert [one.n for one in ways.found] == [16]
        assert [len(one.way.stem) for one in ways.found] == [2]
        assert ways.found[0].way.said is not None
        await pilot.press("tab", "right", "b")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        await pilot.press("full_stop")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        assert [one.n for one in ways.found] == [16, 16]
        assert ways.found[1].above == 0
        await pilot.press("s")
        await until(pilot, lambda: "kept as run" in shown(pilot))
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, Viewer)

    with stored_source("last", session) as source:
        play(source, session, script, size=(100, 30))
    code, out, _ = run("report", "last", "--out", session.store.parent / "page", "--store", session.store)
    assert code == 0
    with Store.open(session.store, read_only=True) as store:
        saved = store.run("last")
        assert saved.finished is not None
        assert [one.n for one in saved.cells] == [16, 16]
        assert sum(store.counted([(one.recipe_key, one.n) for one in saved.cells])) == 32
        [study] = saved.about["experiments"]
    assert study["command"].startswith("llamadiv branch --run")


def test_from_a_run_to_a_branch_to_a_saved_run(run, session):
    sample(run, session, "scripted:base")
    from_a_run_to_a_saved_one(run, session, "scripted:base")


@pytest.mark.model
def test_the_same_on_the_tiny_pair(run, session):
    sample(run, session, "tiny-aligned")
    from_a_run_to_a_saved_one(run, session, "tiny-aligned")


@pytest.mark.real
def test_the_same_on_a_real_model(run, session, smollm2):
    sample(run, session, smollm2)
    from_a_run_to_a_saved_one(run, session, smollm2)


def test_where_is_a_token_under_each_of_two_models(session):
    async def script(pilot):
        await pilot.press("right", "right", "B")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        await until(pilot, lambda: "290 tokens" in shown(pilot))
        await pilot.press("slash", *"nurs", "enter")
        whole = pilot.app.screen.whole
        assert len(whole.shown) == 1
        await pilot.press("m")
        await until(pilot, lambda: len(whole.judges) == 2)
        await pilot.pause()
        row = next(line for line in screen(pilot)[3:] if "·nurse" in line)
        token = int(whole.shown[0])
        for judge in whole.judges:
            assert f"{judge.distribution.rank(token)}" in row
        await pilot.press("o", "slash", "escape")
        assert len(whole.shown) == 290
        await pilot.press("t", *" brave", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        [one] = pilot.app.screen.ways.found
        assert one.way.taken[0].text == " brave"

    models = [session.model(name) for name in ("scripted:base", "scripted:aligned")]
    with scored_source(models, "She was a nurse.", Asking(), session) as source:
        play(source, session, script, size=(100, 30))


def test_pause_and_stop_lose_nothing(run, session):
    """The models' thread is held until the key was pressed, so that growth is paused from its first step on."""
    sample(run, session, "scripted:base")

    async def script(pilot):
        held = threading.Event()
        await pilot.press("B")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        pilot.app.models.ask(lambda sitting: held.wait(60), lambda found: None, pytest.fail)
        await pilot.press("full_stop")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen))
        await pilot.press("space")
        assert "paused" in shown(pilot)
        held.set()
        branches = pilot.app.screen
        await until(pilot, lambda: len(branches.samples.numbers) > 0)
        assert {len(tokens) for tokens, _ in branches.samples._tokens.values()} == {1}
        await pilot.press("x")
        await until(pilot, lambda: is_idle(pilot))
        assert "Stopped. Finished samples are kept" in shown(pilot)
        assert branches.ways.found[0].n < 16
        await pilot.press("g")
        await until(pilot, lambda: is_idle(pilot))
        assert [one.n for one in branches.ways.found] == [16]

    with stored_source("last", session) as source:
        play(source, session, script)


def test_a_model_that_is_gone_is_one_sentence(run, session, monkeypatch):
    sample(run, session, "scripted:base")

    async def script(pilot):
        def gone(self, name):
            raise BadValue("-m", name, "it is not here")

        monkeypatch.setattr(Session, "model", gone)
        await pilot.press("B")
        await until(pilot, lambda: "it is not here" in shown(pilot))
        assert pilot.app.screen.query_one(Columns).abreast is not None

    with stored_source("last", session) as source:
        play(source, session, script)


def test_hostile_tokens_stay_on_their_lines(session):
    async def script(pilot):
        await pilot.press("B")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        await pilot.press("slash", *"[2J", "enter")
        await until(pilot, lambda: "U+001B" in shown(pilot))
        assert "\x1b" not in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        assert "\x1b" not in shown(pilot)

    with scored_source([session.model("scripted:base")], "She was", Asking(), session) as source:
        play(source, session, script)


def left(source, session, script):
    """Play to an end that the script makes; how the app ended, and what is said of the trees."""

    async def playing():
        app = ViewApp(source, ink(), session)
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            await script(pilot)
        return app

    app = asyncio.run(playing())
    return app.return_code, app.models.kept


def test_a_tree_that_is_left_is_said_to_be_kept_and_is_a_finished_run(run, session):
    sample(run, session, "scripted:base")

    async def script(pilot):
        await branched(pilot, "full_stop")
        await pilot.press("escape")
        await until(pilot, lambda: "The tree is kept as run" in shown(pilot))
        await pilot.press("q")

    with stored_source("last", session) as source:
        code, [kept] = left(source, session, script)
    assert code == 0
    assert (kept.n_ways, kept.n_samples, kept.n_wanted) == (1, 16, 16)
    assert f"llamadiv runs rm {kept.run}" in " ".join(farewell([kept]))
    with Store.open(session.store, read_only=True) as store:
        found = store.run(kept.run)
    assert found.finished is not None
    assert found.command[:2] == ("llamadiv", "branch")
    code, out, error = run(*found.command[1:], "--store", session.store, "--json", "-q")
    assert code == 0, error
    assert json.loads(out)["ways"][0]["n"] == 16


def test_a_tree_that_is_interrupted_says_what_is_kept_and_how_to_go_on(run, session):
    sample(run, session, "scripted:base")

    async def script(pilot):
        await pilot.press("B")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        held = threading.Event()
        pilot.app.models.ask(lambda sitting: held.wait(60), lambda found: None, pytest.fail)
        await pilot.press("full_stop")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen))
        await pilot.press("space")
        held.set()
        await until(pilot, lambda: len(pilot.app.screen.samples.numbers) > 0)
        await pilot.press("ctrl+c")

    with stored_source("last", session) as source:
        code, [kept] = left(source, session, script)
    assert code == 130
    assert kept.n_samples < kept.n_wanted == 16
    said = " ".join(farewell([kept]))
    assert f"{kept.n_samples} of 16 samples" in said
    assert kept.command.startswith("llamadiv branch --run")
    assert kept.command in said
    with Store.open(session.store, read_only=True) as store:
        assert store.run(kept.run).finished is None


@pytest.mark.parametrize("size", [(40, 10), (60, 15)])
def test_on_a_small_screen_ways_and_what_followed_are_seen(session, size):
    async def script(pilot):
        await pilot.press("right")
        await branched(pilot, "t", *" nurse", "enter")
        assert "─ ·nurse" in shown(pilot) or "─  nurse" in shown(pilot)
        assert pilot.app.screen.samples.size.height >= 4

    with scored_source([session.model("scripted:base")], "She was", Asking(), session) as source:
        play(source, session, script, size=size)


def test_how_often_is_chosen_before_an_alternative_is_taken(session):
    async def script(pilot):
        await pilot.press("right", "a")
        assert "enter take  esc back" in screen(pilot)[-1]
        assert "it goes on 16 times" in screen(pilot)[-1]
        await pilot.press("minus", "minus")
        await until(pilot, lambda: "goes on 4 times" in screen(pilot)[-1])
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        [one] = pilot.app.screen.ways.found
        assert one.n == 4
        await pilot.press("b")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        await pilot.press("plus", "full_stop")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        await pilot.press("escape", "escape")
        assert "enter take" not in screen(pilot)[-1]

    with scored_source([session.model("scripted:base")], "She was a nurse.", Asking(), session) as source:
        play(source, session, script, size=(100, 30))


def test_another_model_is_put_away_and_q_leaves(session):
    async def script(pilot):
        await pilot.press("right", "right", "B")
        await until(pilot, lambda: isinstance(pilot.app.screen, WholeScreen))
        whole = pilot.app.screen.whole
        await pilot.press("m")
        await until(pilot, lambda: len(whole.judges) == 2)
        await pilot.press("o", "m")
        assert (len(whole.judges), whole.order) == (1, 0)
        await pilot.press("full_stop")
        await until(pilot, lambda: isinstance(pilot.app.screen, BranchScreen) and is_idle(pilot))
        await pilot.press("q")

    models = [session.model(name) for name in ("scripted:base", "scripted:aligned")]
    with scored_source(models, "She was a nurse.", Asking(), session) as source:
        code, [kept] = left(source, session, script)
    assert (code, kept.n_samples) == (0, 16)


def test_a_long_remark_is_read_to_its_end(run, session):
    sample(run, session, "scripted:base")

    async def script(pilot):
        await branched(pilot, "full_stop")
        await pilot.press("s")
        await until(pilot, lambda: "goes on with it." in shown(pilot))

    with stored_source("last", session) as source:
        play(source, session, script, size=(60, 24))
