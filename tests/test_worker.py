"""Workers over HTTP: the numbers of one engine, and what a stranger, a broken driver or a broken worker can do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from test_fanout import LocalLine, drawn, recipe_of

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.fanout.hold import Hold
from llama_diversity.engines.fanout.http import HttpPlace
from llama_diversity.engines.fanout.places import parse_workers
from llama_diversity.engines.fanout.secret import VARIABLE
from llama_diversity.engines.fanout.server import WorkerServer
from llama_diversity.errors import BadValue
from llama_diversity.resolve import resolve_model

TOKEN = "a-token-of-the-tests"  # noqa: S105
Start = Callable[..., WorkerServer]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts workers whose models are in this process."""
    monkeypatch.setenv(VARIABLE, TOKEN)
    servers: list[WorkerServer] = []

    def begin(*references: str, port: int = 0, notes: list[str] | None = None, **options: Any) -> WorkerServer:
        models = [resolve_model(reference) for reference in references or ("scripted:base",)]
        heard = [] if notes is None else notes
        options = {"start": lambda n: LocalLine(), **options}
        hold = Hold(models, EngineOptions(), on_note=heard.append, **options)
        server = WorkerServer("127.0.0.1", port, token=TOKEN, hold=hold)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()
        server.hold.close()


def over(*servers: WorkerServer | str, reference: str = "scripted:base", notes: list[str] | None = None) -> Any:
    urls = ",".join(one if isinstance(one, str) else one.url for one in servers)
    on_note = None if notes is None else notes.append
    return closing(open_engine(resolve_model(reference), EngineOptions(workers=urls), on_note=on_note))


# ---- addresses


def test_addresses_are_places() -> None:
    assert [place.name for place in parse_workers("http://a,https://b:9,http://[::1]:1/")] == [
        "http://a:8765", "https://b:9", "http://[::1]:1",
    ]  # fmt: skip
    assert [place.name for place in parse_workers("http://a,2")] == ["http://a:8765", "worker 1", "worker 2"]


@pytest.mark.parametrize(
    "typed",
    [
        "http://", "http://a,", ",http://a", "http://a:0", "http://a:99999", "http://a:x", "http://a/path", "http://a?q=1",
        "http://a#f", "ftp://a", "a:8765", "http://a, http://b", "http://a\\b", "http://\u00e4", "2,2", "http://[::1",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_meant_are_refused(typed: str) -> None:
    with pytest.raises(BadValue, match="--workers"):
        EngineOptions(workers=typed)


def test_one_worker_twice_is_refused() -> None:
    with pytest.raises(BadValue, match="it names http://a:8765 twice"):
        parse_workers("http://a,http://b,http://A:8765")


@pytest.mark.parametrize("typed", ["http://me:geheim@host", "http://geheim@host:1", "https://me:geheim@[::1"])
def test_a_password_in_an_address_is_refused_and_not_shown(typed: str) -> None:
    with pytest.raises(BadValue) as refused:
        EngineOptions(workers=typed)
    assert "geheim" not in str(refused.value)
    assert "without a path, a query, a name or a password" in str(refused.value)


def test_of_a_way_that_others_can_read_it_is_said() -> None:
    assert [
        HttpPlace.of(url).caution for url in ("https://gpu", "http://localhost", "http://127.0.0.9", "http://[::1]")
    ] == [None] * 4
    assert "ssh -L 8765:localhost:8765 gpu" in str(HttpPlace.of("http://gpu").caution)


# ---- work


def test_workers_draw_what_one_engine_does(start: Start) -> None:
    model, notes = resolve_model("scripted:base"), list[str]()
    with closing(open_engine(model, EngineOptions())) as alone, over(start(notes=notes), start()) as engine:
        recipe = recipe_of(alone, model)
        assert drawn(engine, [(recipe, range(150))]) == drawn(alone, [(recipe, range(150))])
        text = alone.tokenize("She was a poet.")
        assert engine.score(text).tobytes() == alone.score(text).tobytes()
    assert [note.partition(" ")[2] for note in notes] == [
        "scripted:base: a driver at 127.0.0.1 is here for it.",
        "scripted:base: a driver at 127.0.0.1 has left it.",
    ]
