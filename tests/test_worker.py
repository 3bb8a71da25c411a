"""Workers over HTTP: the numbers of one engine, and what a stranger, a broken driver or a broken worker can do."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import itertools
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import responses
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from test_fanout import CHAIN, LocalLine, as_bytes, drawn, recipe_of

from llama_diversity import __version__
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.fanout import crew as crews
from llama_diversity.engines.fanout import server as servers
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.fanout.hold import Hold
from llama_diversity.engines.fanout.http import MOST_ASKED_BYTES, PATH, HttpLine, HttpPlace
from llama_diversity.engines.fanout.places import parse_workers
from llama_diversity.engines.fanout.secret import VARIABLE
from llama_diversity.engines.fanout.server import WorkerServer
from llama_diversity.engines.fanout.service import Service
from llama_diversity.errors import BadUsage, BadValue, EngineError, ModelFileError
from llama_diversity.records import ModelRef
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


def test_it_is_said_when_the_work_begins(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.engines.fanout.http._is_here", lambda host: False)
    notes, server = list[str](), start()
    with over(server, notes=notes):
        assert len(notes) == 1
        assert notes[0].startswith(f"{server.url}: token and texts go there unencrypted.")


def test_a_name_that_cannot_be_one_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)
    with pytest.raises(EngineError, match="No worker can be had: http://a.*:8765 cannot be reached: "):
        over(f"http://{'a' * 70}")


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


def test_a_token_costs_some_eighty_bytes_on_the_wire(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[int] = []
    posted = HttpLine.post

    def post(self: HttpLine, message: bytes, *, timeout_s: float) -> bytes:
        answer = posted(self, message, timeout_s=timeout_s)
        answered.append(len(answer))
        return answer

    monkeypatch.setattr(HttpLine, "post", post)
    with over(start()) as engine:
        recipe = recipe_of(engine, resolve_model(CHAIN), max_tokens=64)
        answered.clear()
        n_tokens = sum(step.n_tokens for step in engine.sample(recipe, range(150)))
    assert 68 < sum(answered) / n_tokens < 110


def test_a_mixture_is_made_of_models_that_are_served(start: Start) -> None:
    reference = "mix:scripted:base,scripted:aligned,lambda=0.5"
    model = resolve_model(reference)
    with (
        closing(open_engine(model, EngineOptions())) as alone,
        over(start("scripted:base", "scripted:aligned"), reference=reference) as engine,
    ):
        recipe = recipe_of(alone, model)
        assert drawn(engine, [(recipe, range(20))]) == drawn(alone, [(recipe, range(20))])
    with pytest.raises(
        EngineError, match=r"The worker has no scripted:aligned; it has scripted:base\. Start it with -m"
    ):
        over(start("scripted:base"), reference=reference)


def test_a_worker_opens_its_own_file_and_lays_the_work_out_itself() -> None:
    mine = ModelRef("mine", "llamacpp", "/mine/model.gguf", "d" * 64)
    layout = EngineOptions(parallel=100, n_threads=3, n_gpu_layers=7, memory_budget_bytes=9)
    opened: list[tuple[ModelRef, EngineOptions]] = []

    class Noted(LocalLine):
        def __init__(self) -> None:
            super().__init__()
            self.service = Service(self.open)

        def open(self, model: ModelRef, options: EngineOptions, on_load: Any) -> Any:
            opened.append((model, options))
            return open_engine(resolve_model(CHAIN), EngineOptions())

    hold = Hold([mine], layout, on_note=lambda words: None, start=lambda n: Noted())
    named = ModelRef("theirs", "llamacpp", "/etc/passwd", "d" * 64, chat_template="{{ 1 }}")
    for options in (
        EngineOptions(n_threads=64, n_gpu_layers=1, parallel=2, kv_type="q8_0", flash_attention=True),
        EngineOptions(exact=True, memory_budget_bytes=1),
    ):
        assert "engine" in opened_by(hold, named, options)
    assert opened == [
        (
            dataclasses.replace(named, location=mine.location),
            dataclasses.replace(layout, kv_type="q8_0", flash_attention=True),
        ),
        (
            dataclasses.replace(named, location=mine.location),
            dataclasses.replace(layout, exact=True, n_gpu_layers=None, parallel=64),
        ),
    ]
    hold.close()
    for other in (dataclasses.replace(named, digest="e" * 64), dataclasses.replace(named, digest="")):
        assert "The worker has no theirs" in opened_by(hold, other, EngineOptions())["error"]["words"]


def test_a_model_stays_open_until_another_needs_the_room() -> None:
    lines: list[Kept] = []

    class Kept(LocalLine):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True
            super().close()

    def start(n: int) -> Kept:
        lines.append(Kept())
        return lines[-1]

    base, aligned, other = (resolve_model(f"scripted:{name}") for name in ("base", "aligned", "attractor"))
    hold = Hold([base, aligned, other], EngineOptions(), on_note=lambda words: None, start=start)
    first, second = (opened_by(hold, base, EngineOptions())["engine"] for _ in range(2))
    assert (len(lines), first != second) == (1, True)  # two drivers share it
    light = opened_by(hold, base, EngineOptions(vocabulary_only=True))["engine"]
    assert len(lines) == 1  # which has the vocabulary as well
    third = opened_by(hold, aligned, EngineOptions())["engine"]
    assert [line.is_closed for line in lines] == [False, False]  # both are in use, as for a diff
    for engine in (first, second, light, third):
        asked(hold, {"do": "leave", "engine": engine})
    assert "no such model open" in asked(hold, score(first))["error"]["words"]
    opened_by(hold, aligned, EngineOptions())
    assert [line.is_closed for line in lines] == [False, False]
    opened_by(hold, other, EngineOptions())
    assert [line.is_closed for line in lines] == [True, False, False]
    hold.close()
    assert all(line.is_closed for line in lines)


def test_a_driver_that_vanished_gives_its_model_up_when_another_needs_the_room() -> None:
    notes: list[str] = []
    base, aligned = resolve_model("scripted:base"), resolve_model("scripted:aligned")
    started = itertools.count()
    hold = Hold(
        [base, aligned], EngineOptions(), on_note=notes.append, lease_seconds=-1,
        start=lambda n: (next(started), LocalLine())[1],
    )  # fmt: skip
    gone = opened_by(hold, base, EngineOptions())["engine"]
    hold.tidy()
    assert notes[-1].endswith("scripted:base: a driver at nowhere has not been heard of for -1 s.")
    assert "call" in asked(hold, score(gone))  # it was only silent
    hold.tidy()
    opened_by(hold, aligned, EngineOptions())
    assert "no such model open" in asked(hold, score(gone))["error"]["words"]
    assert next(started) == 2
    hold.close()


def test_a_file_that_changed_is_not_served() -> None:
    def changed(model: ModelRef) -> None:
        raise ModelFileError("a.gguf", "it changed", next_step="Start the worker again.")

    model = resolve_model(CHAIN)
    hold = Hold([model], EngineOptions(), on_note=lambda words: None, check=changed, start=lambda n: LocalLine())
    error = opened_by(hold, model, EngineOptions())["error"]
    assert error == {"kind": "ModelFileError", "words": "a.gguf: it changed. Start the worker again."}


def test_a_process_that_dies_is_said_and_started_anew_for_the_next() -> None:
    notes: list[str] = []
    model = resolve_model(CHAIN)
    hold = Hold([model], EngineOptions(), on_note=notes.append, start=lambda n: LocalLine(3))
    engine = opened_by(hold, model, EngineOptions())["engine"]
    while "error" not in (answer := asked(hold, score(engine))):
        pass
    assert answer["error"]["words"] == "The model's process was lost."
    assert notes[-1].endswith("a driver at nowhere has lost it: the process was lost.")
    assert opened_by(hold, model, EngineOptions())["engine"] != engine


def score(engine: int) -> dict[str, Any]:
    return {"do": "begin", "verb": "score", "with": {"engine": engine, "ids": [1, 2]}}


def asked(hold: Hold, message: dict[str, Any]) -> dict[str, Any]:
    return wire.unpack(hold.answer(wire.pack({"version": wire.VERSION, **message}), "nowhere"))


def opened_by(hold: Hold, model: ModelRef, options: EngineOptions) -> dict[str, Any]:
    """What opening it says in the end."""
    said = {"model": wire.of_model(model), "options": wire.of_options(options)}
    call = asked(hold, {"do": "begin", "verb": "open", "with": said})["call"]
    while not (answer := asked(hold, {"do": "next", "call": call, "wait_s": 1}))["is_done"]:
        pass
    asked(hold, {"do": "end", "call": call})
    [frame] = map(wire.unpack, answer["frames"])
    return frame


# ---- strangers


def raw(server: WorkerServer, data: bytes) -> bytes:
    """What a connection that says this hears until it is closed."""
    with socket.create_connection(server.server_address[:2], timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = bytearray()
        while some := connection.recv(1 << 16):
            found += some
    return bytes(found)


def request(*lines: str, body: bytes = b"", token: str | None = TOKEN, method: str = "POST", path: str = PATH) -> bytes:
    shown = [] if token is None else [f"Authorization: Bearer {token}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *shown, *lines, "", ""]).encode() + body


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that wait for hardly anything."""
    for name in ("_HEAD_SECONDS", "_BODY_SECONDS", "_WRONG_TOKEN_SECONDS", "_DRAIN_SECONDS"):
        monkeypatch.setattr(servers, name, 0.2)


@pytest.mark.usefixtures("hurried")
def test_what_strangers_and_broken_drivers_hear(start: Start) -> None:
    server = start()
    sized = f"Content-Length: {MOST_ASKED_BYTES + 1}"
    for said, status in (
        (request("Content-Length: 1", body=b"x", token=None), 401),
        (request("Content-Length: 1", body=b"x", token="another-token-of-tests"), 401),  # noqa: S106
        (request("Content-Length: 1", body=b"x", token=TOKEN + "x"), 401),
        (request("Content-Length: 1", body=b"x", token=None, path="/models"), 401),
        (request("Content-Length: 1", "Authorization: Basic eDp5", body=b"x", token=None), 401),
        (request("Content-Length: 1", body=b"x", path="/models"), 404),
        (request(sized), 413),
        (request(sized, token=None), 401),
        (request("Content-Length: -1"), 411),
        (request("Content-Length: 1e3"), 411),
        (request("Content-Length: " + "9" * 5000), 411),
        (request("Content-Length: 1", "Content-Length: 2"), 411),
        (request("Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n"), 411),
        (request("Content-Length: 1", "Transfer-Encoding: chunked"), 411),
        (request(), 411),
        (request(method="GET", path="/llamadiv"), 404),
        (request("Content-Length: 1", method="GET", path="/health", body=b"x"), 404),
        (request(method="PUT"), 501),
        (request(method="DELETE"), 501),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414),
        (request(*[f"X-{n}: 1" for n in range(200)]), 431),
    ):
        heard = raw(server, said)
        assert (
            heard == f"HTTP/1.1 {status} {responses[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
    heard = raw(server, request("Connection: close", method="GET", path="/health", token=None))
    assert json.loads(heard.partition(b"\r\n\r\n")[2]) == {"llamadiv": __version__}
    assert b"scripted" not in heard


@pytest.mark.usefixtures("hurried")
def test_a_slow_client_is_not_waited_for(start: Start) -> None:
    server = start()
    head = request("Content-Length: 100")
    for said in (b"", b"P", head[:40], head, head + b"x" * 50):
        with socket.create_connection(server.server_address[:2], timeout=20) as connection:
            connection.sendall(said)
            assert connection.recv(1) == b""  # it is closed, though nothing was ended here


@pytest.mark.usefixtures("hurried")
def test_a_trickle_ends_as_well(start: Start) -> None:
    with socket.create_connection(start().server_address[:2], timeout=0.02) as connection:
        heard: bytes | None = None
        while heard is None:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"a")
                heard = connection.recv(1)
        assert heard == b""


@pytest.mark.usefixtures("hurried")
def test_a_wrong_token_takes_its_time_and_is_compared_in_constant_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append((a, b)), digest(a, b))[1])
    waited: list[float] = []
    monkeypatch.setattr(servers.time, "sleep", waited.append)
    raw(start(), request("Content-Length: 1", body=b"x", token="a-token-of-the-testr"))  # noqa: S106
    assert (len(compared), waited) == (1, [servers._WRONG_TOKEN_SECONDS])


def test_too_many_connections_are_sent_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOST_CONNECTIONS", 2)
    server = start()
    with contextlib.ExitStack() as held:
        for _ in range(2):
            one = held.enter_context(socket.create_connection(server.server_address[:2], timeout=20))
            one.sendall(request(method="GET", path="/health"))
            assert one.recv(1) == b"H"
        assert raw(server, b"").startswith(b"HTTP/1.1 503")
        with pytest.raises(EngineError, match=f"No worker can be had: {server.url} "):
            over(server)


def test_garbage_in_a_message_is_answered_in_words(start: Start) -> None:
    with closing(HttpPlace.of(start().url).connect()) as line:
        for message, words in (
            (b"nonsense", "The message is malformed"),
            (b"", "The message is malformed"),
            (wire.pack({}), "speaks version None"),
            (wire.pack({"version": wire.VERSION}), "cannot be meant"),
            (wire.pack({"version": wire.VERSION, "do": "next", "call": [], "wait_s": 0}), "cannot be meant"),
            (wire.pack({"version": wire.VERSION, "do": "next", "call": 7, "wait_s": 0}), "knows nothing of that call"),
            (
                wire.pack({"version": wire.VERSION, "do": "begin", "verb": "open", "with": {"model": 1}}),
                "cannot be meant",
            ),
            (wire.pack({"version": wire.VERSION, "do": "begin", "verb": "x", "with": {"engine": 1}}), "no such model"),
            (wire.pack({"version": wire.VERSION, "do": "dance"}), "does not know how to 'dance'"),
        ):
            assert words in wire.unpack(line.post(message, timeout_s=20))["error"]["words"]


# ---- a driver's side


def test_without_a_token_or_with_another_nothing_begins(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_WRONG_TOKEN_SECONDS", 0.0)
    server = start()
    monkeypatch.setenv(VARIABLE, "another-token-of-the-tests")
    with pytest.raises(EngineError, match=rf"^{server.url} does not know the token; {VARIABLE} must be the same here"):
        over(server)
    for wrong, words in (
        (None, "is not set. Make one"),
        ("short", "must have 16 to 200"),
        ("with a blank in it", "visible"),
    ):
        if wrong is None:
            monkeypatch.delenv(VARIABLE)
        else:
            monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(BadUsage, match=words) as refused:
            over(server)
        assert wrong is None or wrong not in str(refused.value)


def test_what_answers_but_is_no_worker_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *said: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(VARIABLE, TOKEN)
        with pytest.raises(EngineError, match=f"No worker can be had: {url} answers with HTTP status 501"):
            over(url)
        server.shutdown()


def test_a_message_that_is_too_long_is_not_sent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.engines.fanout.http.MOST_ASKED_BYTES", 2000)
    with over(start()) as engine:
        text = engine.tokenize("She was a poet. " * 200)
        with pytest.raises(EngineError, match="A worker takes 0 MB at a time"):
            engine.score(text)
        assert len(engine.score(engine.tokenize("She was"))) == 3


def test_a_worker_that_hangs_is_left_to_the_others(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.01)
    model, notes, hangs = resolve_model(CHAIN), list[str](), threading.Event()

    class Hanging(LocalLine):
        def post(self, message: bytes, *, timeout_s: float) -> bytes:
            answer = super().post(message, timeout_s=timeout_s)
            if b"finished" in answer:
                hangs.wait(20)
            return answer

    hung = start(start=lambda n: Hanging())
    with closing(open_engine(model, EngineOptions())) as alone, over(hung, start(), notes=notes) as engine:
        recipe = recipe_of(alone, model, max_tokens=60)
        assert drawn(engine, [(recipe, range(600))]) == drawn(alone, [(recipe, range(600))])
        hangs.set()
    assert any(note.startswith(f"{hung.url} has not answered for ") for note in notes)


def test_two_drivers_at_once_have_each_their_own(start: Start) -> None:
    server, model = start(), resolve_model(CHAIN)
    with closing(open_engine(model, EngineOptions())) as alone:
        recipes = [recipe_of(alone, model, seed=seed, max_tokens=60) for seed in (1, 2)]
        expected = [drawn(alone, [(recipe, range(300))]) for recipe in recipes]
    found: dict[int, Any] = {}

    def drive(number: int) -> None:
        with over(server) as engine:
            found[number] = drawn(engine, [(recipes[number], range(300))])

    threads = [threading.Thread(target=drive, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[0], found[1]] == expected


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_worker_that_is_down_is_tried_again_as_the_work_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.01)
    model, notes, port, is_back = resolve_model(CHAIN), list[str](), free_port(), threading.Event()
    late = f"http://127.0.0.1:{port}"

    class Waiting(LocalLine):
        def post(self, message: bytes, *, timeout_s: float) -> bytes:
            answer = super().post(message, timeout_s=timeout_s)
            if b"finished" in answer:
                is_back.wait(20)
            return answer

    def note(words: str) -> None:
        notes.append(words)
        if words == f"{late} is back.":
            is_back.set()

    first = start(start=lambda n: Waiting())
    options = EngineOptions(workers=f"{first.url},{late}")
    with (
        closing(open_engine(model, EngineOptions())) as alone,
        closing(open_engine(model, options, on_note=note)) as engine,
    ):
        assert notes == [f"{late} cannot be reached: Connection refused; it is tried again as the work goes on."]
        recipe = recipe_of(alone, model)
        steps = engine.sample(recipe, range(300))
        found = list(next(steps).finished)
        start(port=port)
        for step in steps:
            found += step.finished
        assert as_bytes(found) == drawn(alone, [(recipe, range(300))])
    assert is_back.is_set()


def test_a_worker_that_comes_back_as_another_is_refused_by_name(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.01)

    def rebuilt(answer: bytes) -> bytes:
        said = wire.unpack(answer)
        frames = [wire.unpack(frame) for frame in said.get("frames", [])]
        changed = [
            wire.pack({**frame, "build": "another"}) if "build" in frame else wire.pack(frame) for frame in frames
        ]
        return wire.pack({**said, "frames": changed})

    model, lines = resolve_model(CHAIN), iter([LocalLine(9), LocalLine(change=rebuilt)])
    server = start(start=lambda n: next(lines))
    with over(server) as engine:
        recipe = recipe_of(engine, model, max_tokens=60)
        with pytest.raises(
            EngineError, match=f"{server.url} is not what it was: its build is another, .* 'another' here"
        ):
            drawn(engine, [(recipe, range(1000))])


def test_over_https_the_certificate_must_be_valid(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy."""
    authority, pem, server = trustme.CA(), tmp_path / "ca.pem", start()
    authority.cert_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.shutdown()
    with context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False) as server.socket:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://localhost:{server.server_address[1]}"
        with pytest.raises(EngineError, match=f"{url} shows a certificate that is not valid: "):
            over(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with over(url) as engine:
            assert len(engine.score(engine.tokenize("She was"))) == 3
        with pytest.raises(EngineError, match=r"http://localhost:\d+ was lost|cannot be reached"):
            over(url.replace("https", "http"))


def test_doctor_says_what_workers_are(start: Start, run: Any) -> None:
    server = start("scripted:base", "scripted:aligned")
    code, out, _ = run("doctor", "--workers", server.url, "--json")
    [found] = json.loads(out)["workers"]
    assert (code, found["name"], found["trouble"]) == (0, server.url, None)
    assert (found["models"], found["n_drivers"]) == (["scripted:base", "scripted:aligned"], 0)
    assert found["build"].startswith("llama-cpp-python ")
    code, out, _ = run("doctor", "--workers", "http://127.0.0.1:1", "--color", "never")
    assert "http://127.0.0.1:1 cannot be reached: Connection refused.\n    llamadiv worker -m MODEL  # there" in out
    assert run("doctor", "scripted:base", "--workers", "1")[0] == 2


# ---- what must not be


def test_nothing_that_could_run_is_read_from_the_network() -> None:
    folder = Path(wire.__file__).parent
    texts = {path.name: path.read_text("utf-8") for path in folder.glob("*.py")}
    assert {"wire.py", "http.py", "server.py", "hold.py", "service.py"} <= set(texts)
    banned = re.compile(r"\b(pickle|marshal|shelve|dill|eval|exec|allow_pickle|yaml|np\.load|numpy\.load|__reduce__)\b")
    assert {name: banned.findall(text) for name, text in texts.items() if banned.search(text)} == {}
