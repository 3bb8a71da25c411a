"""Samples and scores from servers with the plugin: one request a sample, its rows fetched, both checked.

Only ids travel. Stop strings are found here, as in every engine, so a sample's ids and rows are cut where it ends.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from llama_diversity.engines import Step
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.together import Together
from llama_diversity.engines.vllm.client import Busy, Cluster, Refused, Server
from llama_diversity.engines.vllm.handshake import GENERATE, ROWS, sampling
from llama_diversity.errors import EngineError
from llama_diversity.records import TOKEN_DTYPE, Piece, Recipe, Sample, TokenStats

T = TypeVar("T")
_TICK_S = 0.5  # how long nothing may be heard before whoever waits is asked whether to go on
_AGREED_BITS = 1e-3  # between our surprisal and the server's
_CHUNK = 16  # tokens of a text that one request reads


class Line(NamedTuple):
    """What requests go through: servers of a model by its name there, and what tells their processes."""

    cluster: Cluster
    name: str
    boots: dict[str, str]
    reshake: Callable[[Server], None]  # where a process turns out to be another


def run_many(cluster: Cluster, jobs: Iterable[Callable[[], T]], *, n_threads: int) -> Iterator[list[T]]:
    """What jobs return, as they finish and so many at once; an empty list now and then where nothing is heard.

    It raises what a job raises, after what others finished; then, and where its consumer goes away, no more is begun
    and servers are told to give up what is under way.
    """
    waiting, lock = iter(jobs), threading.Lock()
    finished: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    break
                finished.put(("found", job()))
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            finished.put(("error", error))
        finished.put(("end", None))

    cluster.start()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        yield from _heard(finished, n_threads)
    finally:
        stopped.set()
        cluster.stop()
        for thread in threads:
            thread.join(timeout=5)
        cluster.close()
        cluster.start()


def _heard(finished: queue.SimpleQueue[tuple[str, Any]], n_open: int) -> Iterator[list[Any]]:
    while n_open:
        events: list[tuple[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            events.append(finished.get(timeout=_TICK_S))
            while True:
                events.append(finished.get_nowait())
        n_open -= sum(kind == "end" for kind, _ in events)
        found = [one for kind, one in events if kind == "found"]
        if found or not events:
            yield found
        for kind, one in events:
            if kind == "error":
                raise one


def draw(
    line: Line, together: Together, *, piece: Callable[[int], Piece], ends: frozenset[int], n_threads: int
) -> Iterator[Step]:
    """A Step for all samples that are heard of together."""

    def job(recipe: Recipe, index: int) -> Callable[[], Sample]:
        ours = {"seed": str(recipe.seed), "index": index, "sampler": recipe.sampler.to_dict()}

        def ask(server: Server) -> Sample:
            ids, rows = asked(line, server, recipe.prompt.ids, ours, max_tokens=recipe.max_tokens, ends=sorted(ends))
            return _sample(Completion(recipe, index, piece=piece, ends=ends.__contains__), ids, rows)

        return lambda: line.cluster.do(ask)

    jobs = (job(recipe, index) for recipe, indices in together.works for index in indices)
    for samples in run_many(line.cluster, jobs, n_threads=n_threads):
        yield Step(sum(len(sample.tokens) for sample in samples), samples)


def _sample(completion: Completion, ids: Sequence[int], rows: TokenStats) -> Sample:
    """The sample of those ids, up to its end. Raises Busy where they end before."""
    for n, token in enumerate(ids, start=1):
        if completion.add(token):
            completion.describe(rows[:n])
            return completion.to_sample()
    raise Busy(f"a sample that ends after {len(ids)} tokens for no reason")


def read(line: Line, texts: Sequence[tuple[int, ...]], *, n_threads: int) -> Iterator[tuple[int, int, TokenStats]]:
    """Teacher-forced rows of all tokens of `texts` but the first ones, in pieces: of which text, from where, its rows.

    The server reads what precedes a piece as a prompt and is then given its tokens one by one.
    """

    def job(number: int, start: int) -> Callable[[], tuple[int, int, TokenStats]]:
        before, piece = texts[number][:start], texts[number][start : start + _CHUNK]

        def ask(server: Server) -> tuple[int, int, TokenStats]:
            told, rows = asked(line, server, before, {"forced": list(piece)}, max_tokens=len(piece), ends=())
            if tuple(told) != piece:
                raise Busy("other tokens than the ones it was given")
            return number, start, rows

        return lambda: line.cluster.do(ask)

    jobs = (job(number, start) for number, ids in enumerate(texts) for start in range(1, len(ids), _CHUNK))
    for pieces in run_many(line.cluster, jobs, n_threads=n_threads):
        yield from pieces


def asked(
    line: Line, server: Server, prompt: Sequence[int], ours: Mapping[str, Any], *, max_tokens: int, ends: Sequence[int]
) -> tuple[list[int], TokenStats]:
    """The ids that one request got, and their rows; both from the same process. Raises Busy, EngineError."""
    name = secrets.token_hex(16)
    extra = {"llamadiv": {"request": name, **ours}}
    body = {
        "request_id": name,
        "model": line.name,
        "token_ids": list(prompt),
        "sampling_params": sampling(max_tokens, ends, logprobs=0, extra_args=extra),
        "stream": False,
    }
    ids, logprobs = _choice(server.call(GENERATE, body))
    rows = _rows(line, server, name, len(ids))
    _check(ids, logprobs, rows)
    return ids, rows


def _choice(answer: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """The ids of the only choice, and the server's own logprobs of them."""
    try:
        [choice] = answer["choices"]
        if choice["finish_reason"] not in ("stop", "length"):
            raise Busy(f"a sample that ended as {choice['finish_reason']!r}")
        ids = [int(token) for token in choice["token_ids"]]
        told = choice["logprobs"]["content"]
        if [one["token_id"] for one in told] != ids:
            raise Busy("log probabilities of other tokens than it drew")
        return ids, [float(one["logprob"]) for one in told]
    except (KeyError, TypeError, ValueError) as error:
        raise Busy("an answer in another form than vLLM's") from error


def _rows(line: Line, server: Server, name: str, n: int) -> TokenStats:
    try:
        data = server.fetch(ROWS, {"request": name, "n": n, "boot": line.boots[server.url]})
    except Refused as refused:
        if refused.status != 409:
            raise
        if refused.words == "boot":
            line.reshake(server)
            raise Busy("it was started anew") from refused
        raise Busy("rows are missing") from refused
    if len(data) != n * TOKEN_DTYPE.itemsize:
        raise Busy(f"{len(data)} bytes for {n} rows")
    return np.frombuffer(data, TOKEN_DTYPE)


def _check(ids: Sequence[int], logprobs: Sequence[float], rows: TokenStats) -> None:
    """Whether the rows are of these tokens, and say of them what the server says. Raises Busy, EngineError."""
    if rows["id"].tolist() != list(ids):
        raise Busy("rows of other tokens than it drew")
    told = -np.array(logprobs) / np.log(2.0)
    if len(told) and not np.abs(told - rows["surprisal_bits"]).max() <= _AGREED_BITS:
        at = int(np.abs(told - rows["surprisal_bits"]).argmax())
        raise EngineError(
            f"The server says {told[at]:.4f} bits of token {ids[at]}, the plugin within it "
            f"{rows['surprisal_bits'][at]:.4f}: something changes its logits before they are drawn from. Start it with "
            "the flags that `llamadiv vllm-args` prints and no other logits processors."
        )
