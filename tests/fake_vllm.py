"""A vLLM server over a scripted chain, in the shapes that vLLM 0.32.0 answers, which misbehaves on demand.

Both ways are spoken: /v1/completions as any server has it, which draws with a generator of its own, and what llamadiv's
plugin adds, whose rows are those of the scripted engine. The chain's vocabulary lies beside as a tokenizer.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from llama_diversity.engines.draws import Reducer, uniforms
from llama_diversity.engines.laws import law
from llama_diversity.engines.scripted import TEMPLATE, transition, vocabulary
from llama_diversity.records import TOKEN_DTYPE, Sampler

FINGERPRINT = "vllm-0.32.0-e5539b05"  # as one was recorded
COMPLETIONS, GENERATE = "/v1/completions", "/inference/v1/generate"
HANDSHAKE, ROWS = "/v1/llamadiv/handshake", "/v1/llamadiv/rows"
DRAWS = (COMPLETIONS, GENERATE)


def write_words(chain: str, folder: Path) -> Path:
    """The vocabulary of a chain as tokenizer.json: the words it knows, else bytes."""
    pieces = vocabulary(chain)
    names = [one.control or one.bytes.decode("latin-1").replace(" ", "\u2581") for one in pieces]
    first_byte = next(at for at, one in enumerate(pieces) if one.bytes == b"\0")
    rows = [
        [f"<0x{at - first_byte:02X}>", -20.0] if first_byte <= at < first_byte + 256 else [name, -1.0]
        for at, name in enumerate(names)
    ]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": at, "content": one.control, "special": True} | flags for at, one in enumerate(pieces) if one.control
    ]
    folder.mkdir(parents=True, exist_ok=True)
    stated = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "ByteFallback"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": rows, "byte_fallback": True},
    }
    (folder / "tokenizer.json").write_text(json.dumps(stated, ensure_ascii=False), "utf-8")
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


Answer = dict[str, Any]


@dataclasses.dataclass
class Trouble:
    """What goes wrong, and how often: with requests that draw, from number `after` on, `times` of them.

    `status` is answered in place of 200; `cut` closes the connection in the middle of the answer; `error` is one within
    a 200; `spoil` changes an answer; `before` is called as a request arrives.
    """

    times: int = 10**9
    after: int = 0
    status: int | None = None
    cut: bool = False
    error: bool = False
    spoil: Callable[[Answer], None] | None = None
    before: Callable[[], None] | None = None
    paths: tuple[str, ...] = DRAWS


class _ManyAtOnce(ThreadingHTTPServer):
    request_queue_size = 512  # else those who come together are turned away
    daemon_threads = True


class FakeVllm:
    """The server; its address is `url`, and `reference(name)` what is typed for its model.

    `heat` multiplies the temperature it draws at, and `lowers` what its weights say of token 2: both without a word.
    """

    def __init__(
        self,
        folder: Path,
        chain: str = "base",
        *,
        name: str = "scripted",
        plugin: bool = True,
        n_ctx: int = 512,
        version: str = "0.32.0",
        dtype: str = "float32",
        digest: str = "",
        fingerprint: str | None = FINGERPRINT,
        heat: float = 1.0,
        lowers: float = 0.0,
        key: str | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.words = write_words(chain, folder / f"words-{chain}")
        self.name, self.plugin, self.n_ctx, self.version = name, plugin, n_ctx, version
        self.dtype, self.digest, self.fingerprint, self.heat, self.key = dtype, digest, fingerprint, heat, key
        self.trouble = trouble
        self.boot = "b" * 16
        self.most_logprobs = 20
        self.is_processed = self.is_seedless = False
        self.clamp: int | None = None
        self.asked: list[tuple[str, Answer]] = []  # every POST
        self.headers: list[dict[str, str]] = []
        with np.errstate(divide="ignore"):
            self.log_p = np.log(transition(chain))
        if lowers:
            self.log_p = self.log_p.copy()
            self.log_p[:, 2] -= lowers
            self.log_p -= np.log(np.exp(self.log_p).sum(axis=1, keepdims=True))
        self.pieces = vocabulary(chain)
        self._reducer = Reducer(len(self.pieces))
        self._rows: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._n_draws = 0
        self._server = _ManyAtOnce(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def reference(self) -> str:
        """What is typed for its model."""
        return f"vllm:{self.url}/{self.name}@{self.words}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def restart(self) -> None:
        """Forget all that was drawn, as another process would."""
        with self._lock:
            self.boot = hashlib.sha256(self.boot.encode()).hexdigest()[:16]
            self._rows.clear()

    # ---- HTTP

    def _handler(fake) -> type[BaseHTTPRequestHandler]:  # noqa: C901, N805  the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Answer | None) -> None:
                fake.headers.append(dict(self.headers.items()))
                if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                    self._send(401, {"error": "Unauthorized"})
                    return
                trouble = fake._trouble_for(self.path, body)
                if trouble and trouble.before:
                    trouble.before()
                if trouble and trouble.status:
                    self._send(trouble.status, {"error": {"message": "overloaded", "code": trouble.status}})
                elif trouble and trouble.error:
                    self._send(200, {"error": {"message": "the engine died", "type": "InternalServerError"}})
                else:
                    status, answer = fake._answered(self.path, body)
                    if trouble and trouble.spoil and status == 200 and isinstance(answer, dict):
                        trouble.spoil(answer)
                    self._send(status, answer, is_cut=bool(trouble and trouble.cut))

            def _send(self, status: int, answer: Answer | bytes, *, is_cut: bool = False) -> None:
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):  # whoever asked may have gone
                    self.wfile.write(data[: len(data) // 2] if is_cut else data)
                self.close_connection = is_cut or self.close_connection

        return Handler

    def _trouble_for(self, path: str, body: Answer | None) -> Trouble | None:
        if body is not None:
            self.asked.append((path, body))
        is_probe = path in DRAWS and body is not None and not _draws(path, body)
        if self.trouble is None or path not in self.trouble.paths or is_probe:
            return None
        with self._lock:
            number = self._n_draws
            self._n_draws += 1
        return self.trouble if self.trouble.after <= number < self.trouble.after + self.trouble.times else None

    def _answered(self, path: str, body: Answer | None) -> tuple[int, Answer | bytes]:
        if path == "/version":
            return 200, {"version": self.version}
        if path == "/v1/models":
            return 200, {"object": "list", "data": [self._entry()]}
        if path == HANDSHAKE and self.plugin:
            return 200, self._handshake()
        if body is not None and path in DRAWS and body["model"] != self.name:
            return 404, _error(f"The model `{body['model']}` does not exist.", 404)
        if path == COMPLETIONS and body is not None:
            return self._completed(body)
        if path == GENERATE and self.plugin and body is not None:
            return 200, self._generated(body)
        if path == ROWS and self.plugin and body is not None:
            return self._rows_of(body)
        return 404, {"detail": "Not Found"}

    def _entry(self) -> Answer:
        return {"id": self.name, "object": "model", "root": f"models/{self.name}", "max_model_len": self.n_ctx}

    def _handshake(self) -> Answer:
        weights = hashlib.sha256(self.log_p.tobytes()).hexdigest()
        return {
            "plugin": 1,
            "vllm": self.version,
            "boot": self.boot,
            "dtype": self.dtype,
            "max_model_len": self.n_ctx,
            "n_vocab": len(self.pieces),
            "max_num_seqs": 8,
            "n_params": self.log_p.size,
            "architecture": "markov",
            "digest": self.digest or weights,
            "weights_in_memory": weights[:16],
            "settings": {"device": "cpu"},
        }

    # ---- stock

    def _completed(self, body: Answer) -> tuple[int, Answer]:
        prompt, k = body["prompt"], body["logprobs"]
        refusal = self._refusal(prompt, body)
        if refusal is not None:
            return 400, refusal
        n = min(body["max_tokens"], self.n_ctx - len(prompt), self.clamp or body["max_tokens"])
        ids, reason = self._drawn(prompt, body, n)
        before = [prompt[-1], *ids[:-1]]
        told = [self._told(last, token, k or 0, body) for last, token in zip(before, ids, strict=True)]
        logprobs = {
            "text_offset": [0] * len(ids),
            "tokens": [f"token_id:{token}" for token in ids],
            "token_logprobs": [row[token] for row, token in zip(told, ids, strict=True)],
            "top_logprobs": [{f"token_id:{token}": one for token, one in row.items()} for row in told],
        }
        choice = {
            "index": 0,
            "text": b"".join(self.pieces[token].bytes for token in ids).decode("utf-8", "replace"),
            "logprobs": None if k is None else logprobs,
            "finish_reason": reason,
            "stop_reason": ids[-1] if reason == "stop" else None,
            "token_ids": ids,
            "prompt_logprobs": self._prompt_logprobs(prompt, body),
            "prompt_token_ids": prompt,
        }
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids), "total_tokens": len(prompt) + len(ids)}
        whole = {"id": "cmpl-0", "object": "text_completion", "created": 0, "model": self.name, "choices": [choice]}
        return 200, whole | {"system_fingerprint": self.fingerprint, "usage": usage}

    def _refusal(self, prompt: list[int], body: Answer) -> Answer | None:
        if any(token >= len(self.pieces) for token in prompt):
            return _error(f"Token id {max(prompt)} is out of vocabulary", 400)
        if (body["logprobs"] or 0) > self.most_logprobs:
            asked = f"Requested sample logprobs of {body['logprobs']}"
            return _error(f"{asked}, which is greater than max allowed: {self.most_logprobs}", 400)
        if len(prompt) + 1 > self.n_ctx:
            return _error(f"This model's maximum context length is {self.n_ctx} tokens.", 400)
        return None

    def _drawn(self, prompt: list[int], body: Answer, n: int) -> tuple[list[int], str]:
        rng = np.random.default_rng(None if self.is_seedless else body["seed"])
        cuts = {name: body[name] for name in ("top_k", "top_p", "min_p")}
        ids: list[int] = []
        last = prompt[-1]
        while len(ids) < n:
            if body["temperature"] == 0:
                last = int(self.log_p[last].argmax())
            else:
                heated = Sampler(temperature=body["temperature"] * self.heat, **cuts)
                allowed, masses = law(self.log_p[last], heated)
                last = int(rng.choice(allowed, p=masses / masses.sum()))
            ids.append(last)
            if last in body["stop_token_ids"]:
                return ids, "stop"
        return ids, "length"

    def _told(self, last: int, token: int, k: int, body: Answer) -> dict[int, float]:
        """Log probabilities of a token and of the k likeliest, in vLLM's order, in single precision."""
        row = self.log_p[last]
        if self.is_processed and body["temperature"]:
            row = row / body["temperature"]
            row = row - np.log(np.exp(row).sum())
        row = np.maximum(row, -9999.0).astype(np.float32)
        likeliest = np.argsort(-row, kind="stable")[:k].tolist()
        return {one: float(row[one]) for one in dict.fromkeys([token, *likeliest])}

    def _prompt_logprobs(self, prompt: list[int], body: Answer) -> list[Answer | None] | None:
        k = body.get("prompt_logprobs")
        if k is None:
            return None
        rows: list[Answer | None] = [None]
        for last, token in zip(prompt, prompt[1:], strict=False):
            told = self._told(last, token, k, {"temperature": 0})
            row = np.maximum(self.log_p[last], -9999.0).astype(np.float32)
            rows.append(
                {
                    str(one): {"logprob": value, "rank": int((row >= row[one]).sum()), "decoded_token": self._text(one)}
                    for one, value in told.items()
                }
            )
        return rows

    def _text(self, token: int) -> str:
        piece = self.pieces[token]
        return piece.control or piece.bytes.decode("utf-8", "replace")

    # ---- with the plugin

    def _generated(self, body: Answer) -> Answer:
        asked = body["sampling_params"]
        ours = (asked.get("extra_args") or {}).get("llamadiv")
        if ours is None:  # the probe of raw log probabilities
            [last] = body["token_ids"][-1:]
            row = self.log_p[last]
            if self.is_processed:
                row = row / asked["temperature"]
                row = row - np.log(np.exp(row).sum())
            top = np.argsort(-row)[: asked["logprobs"]].tolist()
            content = [
                {
                    "token_id": top[0],
                    "logprob": float(row[top[0]]),
                    "top_logprobs": [{"token_id": one, "logprob": float(row[one])} for one in top],
                }
            ]
            return self._choice([top[0]], "length", content)
        rows = self._rows_drawn(body["token_ids"], asked, ours)
        with self._lock:
            self._rows[ours["request"]] = rows
        ids = rows["id"].tolist()
        is_end = ids[-1] in asked["stop_token_ids"]
        content = [
            {"token_id": token, "logprob": float(-bits * np.log(2.0)), "top_logprobs": []}
            for token, bits in zip(ids, rows["surprisal_bits"].tolist(), strict=True)
        ]
        return self._choice(ids, "stop" if is_end else "length", content)

    def _choice(self, ids: list[int], reason: str, content: list[Answer]) -> Answer:
        choice = {"index": 0, "token_ids": ids, "finish_reason": reason, "logprobs": {"content": content}}
        return {"request_id": "generate-0", "choices": [choice]}

    def _rows_drawn(self, prompt: list[int], asked: Answer, ours: Answer) -> Any:
        """The same rows as the scripted engine's."""
        last, rows = prompt[-1], []
        forced = ours.get("forced")
        n = min(asked["max_tokens"], self.clamp or asked["max_tokens"])
        numbers = None if forced else uniforms(int(ours["seed"]), ours["index"], n)
        for at in range(n):
            row = self.log_p[last].astype(np.float32)[None]
            with self._lock:
                if forced:
                    drawn = self._reducer.score(row, np.array([forced[at]]))
                else:
                    sampler = Sampler(**ours["sampler"]).at(is_first=at == 0)
                    drawn = self._reducer.draw(row, numbers[at : at + 1], sampler)
            rows.append(drawn)
            last = int(drawn["id"][0])
            if last in asked["stop_token_ids"]:
                break
        return np.concatenate(rows) if rows else np.empty(0, TOKEN_DTYPE)

    def _rows_of(self, body: Answer) -> tuple[int, Answer | bytes]:
        if body["boot"] != self.boot:
            return 409, {"error": "boot"}
        with self._lock:
            rows = self._rows.pop(body["request"], None)
        if rows is None or len(rows) != body["n"]:
            return 409, {"error": "rows"}
        return 200, rows.tobytes()


def _draws(path: str, body: Answer) -> bool:
    """Whether it is a request for a sample: no probe, no reading of a text."""
    if path == COMPLETIONS:
        return body["seed"] not in (None, 1)
    return "seed" in ((body["sampling_params"].get("extra_args") or {}).get("llamadiv") or {})


def _error(message: str, code: int) -> Answer:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": code}}


@contextlib.contextmanager
def serving(folder: Path, *args: Any, **named: Any) -> Iterator[FakeVllm]:
    """A fake server while it is needed."""
    fake = FakeVllm(folder, *args, **named)
    try:
        yield fake
    finally:
        fake.close()
