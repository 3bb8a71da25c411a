"""What is asked of each server once, before anything is drawn: whether all are the same, and mean what we mean."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_diversity.engines.vllm.client import Busy, Cluster, Refused, Server
from llama_diversity.errors import EngineError, NoPlugin
from llama_diversity.records import ModelRef
from llama_diversity.served import Served

PLUGIN = 1
"""Changes with what is drawn inside a server, or with what is said on the wire."""

HANDSHAKE, ROWS, GENERATE = "/v1/llamadiv/handshake", "/v1/llamadiv/rows", "/inference/v1/generate"
_SAME = ("plugin", "vllm", "digest", "dtype", "n_vocab", "weights_in_memory", "settings", "max_model_len")
_WORDS = {
    "plugin": "the plugin's version",
    "vllm": "the version of vLLM",
    "digest": "the digest of the weights",
    "n_vocab": "the size of the vocabulary",
    "weights_in_memory": "the weights in memory",
    "max_model_len": "the longest context (--max-model-len)",
}
_PROBED = 1e-3  # natural units that two readings of one logprob may differ by
_COARSE = {"bfloat16": "0.03 bits", "float16": "0.003 bits"}


@dataclass(frozen=True)
class Hands:
    """What the servers of a model say of it, all alike; `boots` tells their processes."""

    facts: Mapping[str, Any]
    boots: dict[str, str]  # by URL

    @property
    def build(self) -> str:
        """Whatever may change a number."""
        stated = {name: self.facts[name] for name in ("settings", "weights_in_memory")}
        rest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:12]
        return f"vllm {self.facts['vllm']} {self.facts['dtype']} plugin {self.facts['plugin']} {rest}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What changes the meaning of numbers, a sentence each."""
        coarse = _COARSE.get(self.facts["dtype"])
        if coarse is None:
            return ()
        return (
            f"the server computes in {self.facts['dtype']}: surprisals carry rounding of about {coarse}, and many "
            "tokens are equally likely that would not be. `--dtype float32` there is exact",
        )


def shake(cluster: Cluster, model: ModelRef, served: Served, n_vocab: int) -> Hands:
    """Ask every server, and compare. Raises EngineError where two differ, or one is not what was asked for."""
    told = {server.url: ask(server, cluster) for server in cluster.live}
    require_alike(served.name, {url: {name: facts[name] for name in _SAME} for url, facts in told.items()})
    hands = Hands(next(iter(told.values())), {url: facts["boot"] for url, facts in told.items()})
    _require_meant(hands.facts, model, n_vocab)
    for server in cluster.live:
        cluster.do(functools.partial(probe, name=served.name), only=server)
    return hands


def ask(server: Server, cluster: Cluster) -> dict[str, Any]:
    """What one server says of itself."""
    try:
        facts = cluster.do(lambda one: one.call(HANDSHAKE), only=server)
    except Refused as refused:
        if refused.status != 404:
            raise
        raise NoPlugin(server.url) from refused
    missing = [name for name in (*_SAME, "boot", "max_num_seqs") if name not in facts]
    if missing or facts["plugin"] != PLUGIN:
        raise EngineError(
            f"{server.url} runs version {facts.get('plugin')} of the plugin; this llamadiv needs {PLUGIN}. Install the "
            "same llamadiv on both sides, then start the server again."
        )
    return facts


def require_alike(name: str, told: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse servers that differ in anything of what they told. Raises EngineError, which names it."""
    (first, facts), *others = told.items()
    for url, other in others:
        for fact in facts:
            if facts[fact] != other.get(fact):
                a, b = _differing(facts[fact], other.get(fact))
                raise EngineError(
                    f"{first} and {url} serve two models as {name}: {_WORDS.get(fact, fact)} is {a} at the "
                    f"first and {b} at the second. Name servers of one model, one version and one kind of machine."
                )


def _differing(one: Any, other: Any) -> tuple[str, str]:
    """Two values, or of two objects the entries that differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = [name for name in one if one[name] != other.get(name)]
        return tuple(", ".join(f"{name} {of.get(name)}" for name in names) for of in (one, other))  # type: ignore[return-value]
    return str(one), str(other)


def _require_meant(facts: Mapping[str, Any], model: ModelRef, n_vocab: int) -> None:
    if model.digest and model.digest != facts["digest"]:
        raise EngineError(
            f"{model.reference}: the server's weights have digest {facts['digest']}, but models.toml states "
            f"{model.digest}. Correct the one or the other."
        )
    if facts["n_vocab"] != n_vocab:
        raise EngineError(
            f"{model.reference}: the server's vocabulary has {facts['n_vocab']} tokens, the tokenizer's {n_vocab}. "
            "Name the tokenizer of this very model."
        )


def probe(server: Server, name: str) -> None:
    """Whether the server's own logprobs are raw, as they are compared with ours. Raises EngineError, Busy."""
    hot, cold = (_likeliest(server, name, temperature) for temperature in (1.0, 0.5))
    if math.fsum(math.exp(one) for one in hot.values()) > 1 + _PROBED:
        raise EngineError(f"{server.url}: probabilities add up to more than 1. Is --logprobs-mode changed there?")
    shared = [token for token in hot if token in cold]
    if not shared or max(abs(hot[token] - cold[token]) for token in shared) > _PROBED:
        raise EngineError(
            f"{server.url} tells log probabilities behind its sampler. Start it with --logprobs-mode raw_logprobs."
        )


def _likeliest(server: Server, name: str, temperature: float) -> dict[int, float]:
    """The logprobs of the likeliest tokens behind a fixed id, as drawn at a temperature by the server itself."""
    asked = sampling(1, (), temperature=temperature, seed=1, logprobs=5)
    answer = server.call(GENERATE, {"model": name, "token_ids": [1], "sampling_params": asked, "stream": False})
    try:
        [row] = answer["choices"][0]["logprobs"]["content"]
        return {int(one["token_id"]): float(one["logprob"]) for one in row["top_logprobs"]}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Busy("an answer without log probabilities") from error


def sampling(max_tokens: int, ends: Sequence[int], **given: Any) -> dict[str, Any]:
    """Every sampling field: what is left out would come from the model's generation_config.json."""
    return {
        "n": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "watermarking": False,
        "seed": None,
        "stop": [],
        "stop_token_ids": list(ends),
        "ignore_eos": True,  # of ends we know more than one, and send them all
        "max_tokens": max_tokens,
        "min_tokens": 0,
        "logprobs": None,
        "prompt_logprobs": None,
        "logit_bias": None,
        "allowed_token_ids": None,
        "bad_words": [],
        "detokenize": False,
        **given,
    }
