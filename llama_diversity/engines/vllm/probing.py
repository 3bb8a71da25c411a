"""What is asked of a stock server before anything is drawn: whether all are alike, and what their answers mean."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from llama_diversity.cache import kept
from llama_diversity.engines import STOCK
from llama_diversity.engines.vllm.client import Busy, Cluster, Refused, Server
from llama_diversity.engines.vllm.handshake import require_alike, sampling
from llama_diversity.engines.vllm.tokenizer import ServedWords
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import N_TOP, ModelRef, Piece
from llama_diversity.served import Served

COMPLETIONS = "/v1/completions"
_PROBE = 'She was born in 1984. The river, they said, didn\'t (always) reach the sea: why? "Look," he wrote, und ging.'
_PROBE_TOKENS = 8  # drawn behind it
_ALIKE = 0.1  # natural units by which two readings of one log probability differ at most, in half precision
_NO_DIGEST = (
    "no plugin states a digest of its weights, so they are told from others by what they make of a fixed text; an "
    "entry of models.toml could state one"
)
_SLACK = 1e-3  # of a sum of probabilities


class Line(NamedTuple):
    """How requests are made: of the model by its name there."""

    name: str
    words: ServedWords

    def body(self, ids: Sequence[int], max_tokens: int, **given: Any) -> dict[str, Any]:
        """A request of ids, every sampling field given: what is left out would come from generation_config.json."""
        fields = sampling(max_tokens, sorted(self.words.ends))
        del fields["detokenize"]  # of the other protocol
        return {
            "model": self.name,
            "prompt": list(ids),
            **fields,
            "temperature": 1.0,
            "echo": False,
            "stream": False,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            **given,
        }


class _Reading(NamedTuple):
    """What a server made of the probe: its own word for its settings, and log probabilities, in order."""

    settings: str | None
    logprobs: tuple[float, ...]


def shake(
    cluster: Cluster, model: ModelRef, served: Served, words: ServedWords, bounds: int | None
) -> tuple[str, dict[str, Any]]:
    """Ask every server, and compare: the build, and what `ServedWords.facts` wants to know.

    Raises EngineError where two servers differ, or one is not what was asked for.
    """
    told = {server.url: _ask(server, cluster, served.name) for server in cluster.live}
    require_alike(served.name, told)
    facts = next(iter(told.values()))
    n_ctx = facts["max_model_len"] - 1
    ids = words.tokenize(_PROBE)[: max(2, n_ctx - _PROBE_TOKENS)]
    readings = {}
    for server in cluster.live:
        ask = functools.partial(_probed, name=served.name, words=words, ids=ids, bounds=bounds)
        readings[server.url] = cluster.do(ask, only=server)
    require_alike(served.name, {url: {"settings": one.settings} for url, one in readings.items()})
    first = next(iter(readings.values()))
    _require_same_weights(served.name, readings)
    settings = f" {first.settings}" if first.settings else ""
    about = {
        "digest": model.digest or _told_by(served.name, first, words),
        "description": f"{served.name} on {len(told)} vLLM server(s), without llamadiv's plugin",
        "architecture": "unknown",
        "n_params": 0,
        "n_ctx_train": n_ctx,
        "notes": () if model.digest else (_NO_DIGEST,),
    }
    top = f" top {bounds}" if bounds else ""
    return f"vllm {facts['vllm']} {STOCK}{top}{settings}", about


def _ask(server: Server, cluster: Cluster, name: str) -> dict[str, Any]:
    """What one server says of itself."""
    version = cluster.do(lambda one: one.call("/version"), only=server).get("version")
    listed = cluster.do(lambda one: one.call("/v1/models"), only=server).get("data", [])
    entry = next((one for one in listed if one.get("id") == name), None)
    if entry is None or not isinstance(entry.get("max_model_len"), int):
        names = ", ".join(str(one.get("id")) for one in listed) or "nothing"
        raise EngineError(f"{server.url} serves no model called {name}, but {names}. Name that.")
    return {"vllm": version, "max_model_len": entry["max_model_len"]}


def _probed(server: Server, *, name: str, words: ServedWords, ids: Sequence[int], bounds: int | None) -> _Reading:
    """Whether seeds count, log probabilities are raw, and ids mean what they mean here. Raises EngineError, Busy."""
    asked = Line(name, words).body(ids, _PROBE_TOKENS, seed=1, logprobs=bounds or N_TOP, prompt_logprobs=N_TOP)
    try:
        one, same = (server.call(COMPLETIONS, asked) for _ in range(2))
    except Refused as refused:
        if "max allowed" not in str(refused):
            raise
        raise BadValue("--bounds", bounds, f"{refused} Start the server with --max-logprobs {bounds}") from refused
    cold = server.call(COMPLETIONS, {**asked, "temperature": 0.5})
    hot, again, sharp = (only_choice(answer, ids) for answer in (one, same, cold))
    try:
        if hot["token_ids"] != again["token_ids"]:
            raise EngineError(
                f"{server.url} draws others with the same seed: it ignores seeds, so no sample could be drawn again. "
                "Start it anew with vLLM's usual sampler, or with llamadiv's plugin."
            )
        rows = [choice["logprobs"]["top_logprobs"][0] for choice in (hot, sharp)]
        read = [{int(t): one for t, one in row.items()} for row in hot["prompt_logprobs"][1:]]
        settings = one.get("system_fingerprint")
        logprobs = tuple(float(row[token]["logprob"]) for token, row in zip(ids[1:], read, strict=True))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Busy("an answer without its log probabilities") from error
    require_raw(rows)
    if max(abs(rows[0][token] - rows[1][token]) for token in rows[0].keys() & rows[1].keys()) > _SLACK:
        raise EngineError(
            f"{server.url} tells log probabilities behind its sampler. Start it with --logprobs-mode raw_logprobs."
        )
    decoded = {token: said.get("decoded_token") for row in read for token, said in row.items()}
    _require_same_words(server.url, words, decoded)
    return _Reading(settings, logprobs)


def _require_same_words(url: str, words: ServedWords, decoded: Mapping[int, str | None]) -> None:
    """Whether tokens are the same texts there and here, but for blanks around them. Raises EngineError."""
    differ, n = [], 0
    for token, there in decoded.items():
        here = words.piece(token) if token < words.n_vocab else Piece(b"?")
        text = here.bytes.decode("utf-8", "replace")
        if there is None or here.control is not None or "\ufffd" in text + there:
            continue
        n += 1
        if text.strip() != there.strip():
            differ.append(f"{token} is {there!r} there and {text!r} here")
    if 2 * len(differ) > n:
        raise EngineError(
            f"{url} has another vocabulary than the tokenizer: token {differ[0]}. "
            "Name the tokenizer of this very model."
        )


def _require_same_weights(name: str, readings: Mapping[str, _Reading]) -> None:
    """Whether all servers read the probe alike, but for rounding. Raises EngineError."""
    (first, one), *others = readings.items()
    for url, other in others:
        apart = _apart(one, other)
        if apart > _ALIKE:
            raise EngineError(
                f"{first} and {url} serve two models as {name}: their log probabilities of one text differ by "
                f"{apart:.3f}. Name servers of one model, one version and one kind of machine."
            )


def _apart(one: _Reading, other: _Reading) -> float:
    both = zip(one.logprobs, other.logprobs, strict=True)
    return max(abs(a - b) for a, b in both) if len(one.logprobs) == len(other.logprobs) else np.inf


def _told_by(name: str, reading: _Reading, words: ServedWords) -> str:
    """A digest in place of that of the weights: of what they made of the probe when this machine first saw them.

    What is read again differs by rounding, so the first reading is kept; another one is other weights.
    """
    parts = ("stock", name, str(reading.settings), words.facts().vocab_digest, *map(str, range(len(reading.logprobs))))
    kept_ones = kept(parts, lambda: reading)
    if _apart(kept_ones, reading) <= _ALIKE:
        reading = kept_ones
    return hashlib.sha256(json.dumps(["stock", name, reading.logprobs]).encode()).hexdigest()


# ---- what an answer tells


def only_choice(answer: Mapping[str, Any], prompt: Sequence[int]) -> dict[str, Any]:
    """The only choice of an answer to `prompt`. Raises Busy, EngineError where the server read another prompt."""
    try:
        [choice] = answer["choices"]
        read = choice["prompt_token_ids"]
        reason = choice["finish_reason"]
    except (KeyError, TypeError, ValueError) as error:
        raise Busy("an answer in another form than vLLM's") from error
    if reason not in ("stop", "length"):
        raise Busy(f"a sample that ended as {reason!r}")
    if read != list(prompt):
        raise EngineError(
            f"The server read {len(read or ())} tokens of the prompt's {len(prompt)}, or others: something between it "
            "and llamadiv changes what is asked. Name the server itself."
        )
    return dict(choice)


def require_raw(tops: Iterable[Mapping[Any, float]]) -> None:
    """Whether log probabilities can be some of a distribution's. Raises EngineError."""
    largest = max(float(np.exp(np.fromiter(row.values(), float)).sum()) for row in tops)
    if not largest <= 1 + _SLACK:
        raise EngineError(
            f"The server's probabilities of single tokens add up to {largest:.3f}, more than 1. "
            "Start it with --logprobs-mode raw_logprobs."
        )
