"""HTTP to vLLM servers: what is tried again and for how long, what is said, what is never said. Clocks of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llama_diversity.engines.vllm.client import Busy, Cluster, Refused, Server
from llama_diversity.engines.vllm.drawing import run_many
from llama_diversity.errors import EngineError

KEY = "sk-very-secret"


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


def cluster_of(*urls: str, said: list[str] | None = None, patience_s: float = 600) -> tuple[Cluster, Clock]:
    clock = Clock()
    say = None if said is None else said.append
    cluster = Cluster(
        [Server(url) for url in urls],
        clock=clock,
        sleep=clock.sleep,
        jitter=lambda: 0.5,
        say=say,
        patience_s=patience_s,
    )
    return cluster, clock


def failing(n: int, words: str = "it broke off") -> Callable[[Server], str]:
    """A job that fails so often before it answers with the server's address."""
    left = iter(range(n))

    def job(server: Server) -> str:
        if next(left, None) is not None:
            raise Busy(words)
        return server.url

    return job


def test_waits_double_up_to_half_a_minute():
    """With jitter 0.5 the factor 0.75 + 0.5 j is 1: 0.5, 1, 2, 4, 8, 16, 30, 30."""
    cluster, clock = cluster_of("http://a:1")
    assert cluster.do(failing(8)) == "http://a:1"
    assert clock.slept == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert cluster.do(failing(1)) == "http://a:1"  # it has answered since: from the beginning
    assert clock.slept[8:] == [0.5]


def test_jitter_spreads_waits_by_a_quarter():
    for jitter, wait in ((0.0, 0.375), (1.0, 0.625)):
        clock = Clock()
        cluster = Cluster([Server("http://a:1")], clock=clock, sleep=clock.sleep, jitter=lambda given=jitter: given)
        cluster.do(failing(1))
        assert clock.slept == [wait]


def test_another_server_is_asked_at_once():
    cluster, clock = cluster_of("http://a:1", "http://b:1")
    assert cluster.do(failing(1)) == "http://b:1"
    assert clock.slept == []


def test_silent_server_is_dropped_after_ten_minutes_and_the_others_go_on():
    said: list[str] = []
    cluster, clock = cluster_of("http://a:1", "http://b:1", said=said)
    [a, b] = cluster.live

    def job(server: Server) -> str:
        if server is a:
            raise Busy("it refuses connections")
        clock.now += 20  # what b needs for a sample
        return server.url

    while a in cluster.live:
        assert cluster.do(job) == b.url
    assert 600 < clock.now <= 660
    assert said == [
        "http://a:1: it refuses connections; tried again for 10 minutes",
        "http://a:1 is dropped: it refuses connections; its samples go to the other 1",
    ]
    assert cluster.do(failing(0)) == b.url


def test_last_server_ends_with_a_sentence_and_the_words_of_all():
    cluster, clock = cluster_of("http://a:1", "http://b:1")
    with pytest.raises(EngineError, match=r"No vLLM server is left \(http://a:1: gone; http://b:1: gone\)\. Start one"):
        cluster.do(failing(10**9, "gone"))
    assert clock.now < 1300


def test_job_that_no_server_can_do_ends_though_others_are_done():
    cluster, clock = cluster_of("http://a:1")

    def job(server: Server) -> str:
        cluster.do(failing(0))  # somebody else's
        raise Busy("rows are missing")

    with pytest.raises(EngineError, match=r"no usable answer for 10 minutes: rows are missing\. See to the server"):
        cluster.do(job)
    assert 660 < clock.now < 700


def test_server_that_answers_again_is_said_once():
    said: list[str] = []
    cluster, _ = cluster_of("http://a:1", said=said)
    cluster.do(failing(3, "HTTP 503: loading"))
    assert said == ["http://a:1: HTTP 503: loading; tried again for 10 minutes", "http://a:1 answers again"]


def test_check_of_an_answer_counts_as_the_server(monkeypatch):
    monkeypatch.setattr(Server, "call", lambda self, path, body=None: {"from": self.url})
    cluster, clock = cluster_of("http://a:1")
    answers = iter([True, False])

    def check(answer: dict[str, str]) -> None:
        if next(answers):
            raise Busy("clamped")

    assert cluster.call("/x", check=check) == {"from": "http://a:1"}
    assert clock.slept == [0.5]


# ---- HTTP


class Handler(BaseHTTPRequestHandler):
    """Answers with what stands in the server's list: status, body, promised length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        status, body, length = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def http() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers, server.seen = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(http: ThreadingHTTPServer) -> Iterator[Server]:
    one = Server(f"http://127.0.0.1:{http.server_port}/below", KEY)
    yield one
    one.hang_up()


def test_answer_and_what_was_asked(http, server):
    http.answers += [(200, b'{"a": 1}', None), (200, b"\x00\xff", None)]
    assert server.call("/x") == {"a": 1}
    assert server.fetch("/y", {"b": 2}) == b"\x00\xff"
    assert http.seen == [("GET", "/below/x", f"Bearer {KEY}"), ("POST", "/below/y", f"Bearer {KEY}")]


@pytest.mark.parametrize(
    ("status", "body", "length", "words"),
    [
        (503, b'{"error": {"message": "loading"}}', None, "HTTP 503: loading"),
        (500, b"<html>oh</html>", None, "HTTP 500: <html>oh</html>"),
        (429, b"", None, "HTTP 429: nothing"),
        (408, b"", None, "HTTP 408: nothing"),
        (425, b"", None, "HTTP 425: nothing"),
        (200, b'{"error": {"message": "engine died"}}', None, "engine died"),
        (200, b'{"a": ', None, "no JSON"),
        (200, b"[1]", None, "no JSON object"),
        (200, b'{"a"', 100, "it broke off"),
    ],
)
def test_what_is_tried_again(http, server, status, body, length, words):
    http.answers.append((status, body, length))
    with pytest.raises(Busy, match=words):
        server.call("/x", {})


def test_refusal_is_an_error_at_once_in_the_servers_words(http, server):
    http.answers.append((400, b'{"error": {"message": "max_tokens must be at least 1"}}', None))
    with pytest.raises(Refused, match=r"refuses /x \(HTTP 400\): max_tokens must be at least 1"):
        server.call("/x", {})


@pytest.mark.parametrize("status", [401, 403])
def test_key_is_in_no_sentence(http, server, status):
    http.answers.append((status, json.dumps({"error": "Unauthorized"}).encode(), None))
    with pytest.raises(EngineError, match="LLAMADIV_VLLM_KEY") as refused:
        server.call("/x", {})
    assert KEY not in str(refused.value)


def test_nobody_there_can_be_tried_again(http):
    port = http.server_port
    with pytest.raises(Busy, match="it refuses connections"):
        Server(f"http://127.0.0.1:{port + 1 if port < 65535 else port - 1}").call("/x")


def test_jobs_come_back_as_they_finish_and_errors_after_what_is_done():
    cluster, _ = cluster_of("http://a:1")
    assert sorted(sum(run_many(cluster, [lambda at=at: at for at in range(50)], n_threads=8), [])) == list(range(50))

    def bad() -> int:
        raise EngineError("no")

    many, found = run_many(cluster, [lambda: 1, lambda: 2, bad], n_threads=1), []
    while len(found) < 2:
        found += next(many)
    with pytest.raises(EngineError, match="no"):
        next(many)
    assert found == [1, 2]


def test_consumer_that_goes_away_ends_what_waits():
    cluster = Cluster([Server("http://127.0.0.1:9")])
    begun = threading.Event()

    def waits() -> str:
        begun.set()
        return cluster.do(failing(10**9))

    many = run_many(cluster, [lambda: "one", waits], n_threads=2)
    found: list[str] = []
    while not found:
        found += next(many)
    begun.wait(timeout=30)
    many.close()
    assert threading.active_count() < 5


def test_connection_that_a_server_closed_meanwhile_is_made_anew_without_a_word(http, server):
    """Servers close a connection that was silent for some seconds; the next request on it finds nobody."""
    http.answers += [(200, b'{"a": 1}', None), (200, b'{"a": 2}', None)]
    assert server.call("/x") == {"a": 1}
    server._local.connection.sock.shutdown(2)
    assert server.call("/x") == {"a": 2}
