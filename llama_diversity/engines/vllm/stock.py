"""A vLLM server as it is, without our plugin: its own draws, and what its log probabilities tell of them.

One request is one sample, with n = 1 and a seed of its own: vLLM gives child j of a request the seed s + j, so that
neighbouring seeds would share nearly all of their samples. Surprisals and the likeliest five come with the draw. A rank
beyond the tokens that are told is read off a second reading of the whole sample, as a prompt. Entropies never come; the
likeliest K tokens put them between bounds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.engines import Step
from llama_diversity.engines.bounds import entropy_bounds
from llama_diversity.engines.completion import Completion
from llama_diversity.engines.draws import unscored
from llama_diversity.engines.together import Together
from llama_diversity.engines.vllm.client import Busy, Cluster
from llama_diversity.engines.vllm.drawing import run_many
from llama_diversity.engines.vllm.engine import VllmEngine
from llama_diversity.engines.vllm.probing import COMPLETIONS, Line, only_choice, require_raw, shake
from llama_diversity.engines.vllm.tokenizer import ServedWords
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import BOUNDS_DTYPE, N_TOP, ModelRef, Recipe, Sample, Sampler, TokenStats

_LOWEST = -9999.0  # what vLLM says of a probability of 0
_COLDEST, _HOTTEST = 0.01, 2.0  # what vLLM draws as it is asked to, beside 0
_AT_ONCE = 64  # samples that a server is asked for at once, where it does not say how many it takes
_BITS = 1 / np.log(2.0)


class StockEngine(VllmEngine):
    """A model on vLLM servers that nobody may change."""

    def _shaken(self, model: ModelRef) -> tuple[str, dict[str, Any]]:
        bounds = self._options.bounds
        build, known = shake(self.cluster, model, self.served, self.words, bounds)
        line = Line(self.served.name, self.words)
        self._stock = Stock(self.cluster, line, self.words, bounds, known["n_ctx_train"])
        return build, known

    def _drawn(self, together: Together, n_threads: int) -> Iterator[Step]:
        return draw(self._stock, together, n_threads=n_threads)

    def _read(self, texts: Sequence[tuple[int, ...]], on_progress: Callable[[float], None] | None) -> list[TokenStats]:
        stats = []
        for number, ids in enumerate(texts, start=1):
            self._check_length(ids)
            stats.append(score(self._stock, ids))
            if on_progress is not None:
                on_progress(number / len(texts))
        return stats

    def _refuse_recipe(self, recipe: Recipe) -> None:
        refuse(recipe)

    @property
    def _at_once(self) -> int:
        return _AT_ONCE

    @property
    def _device(self) -> str:
        return "unknown"


class Stock(NamedTuple):
    """Servers that are asked as they are; `n_ctx`: tokens of prompt and completion together, one less than theirs,
    as the second reading draws a token too."""

    cluster: Cluster
    line: Line
    words: ServedWords
    bounds: int | None
    n_ctx: int

    @property
    def k(self) -> int:
        """How many likeliest tokens are told."""
        return min(self.bounds or N_TOP, self.words.n_vocab)


# ---- samples


def draw(stock: Stock, together: Together, *, n_threads: int) -> Iterator[Step]:
    """A Step for all samples that are heard of together."""

    def job(recipe: Recipe, index: int) -> Callable[[], Sample]:
        return lambda: _sample(stock, recipe, index)

    jobs = (job(recipe, index) for recipe, indices in together.works for index in indices)
    for samples in run_many(stock.cluster, jobs, n_threads=n_threads):
        yield Step(sum(len(sample.tokens) for sample in samples), samples)


def seed_of(recipe: Recipe, index: int) -> int:
    """The seed of one request: 63 bits of the recipe's key and the sample's index, as vLLM takes no more."""
    digest = hashlib.sha256(f"{recipe.key} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def refuse(recipe: Recipe) -> None:
    """What a stock server draws otherwise than it is asked, or not at all. Raises BadValue."""
    sampler = recipe.sampler
    reason = "a vLLM server without llamadiv's plugin has no such sampler (--stock); leave it out, or add the plugin"
    for option, value, off in (
        ("--first-temperature", sampler.first_temperature, None),
        ("--dynatemp-range", sampler.dynatemp_range, 0.0),
        ("--top-n-sigma", sampler.top_n_sigma, 0.0),
        ("--xtc-probability", sampler.xtc_probability, 0.0),
        ("--grammar", recipe.grammar and "given", None),
        ("--arithmetic", recipe.arithmetic, None),
    ):
        if value != off:
            raise BadValue(option, value, reason)
    heat = sampler.temperature
    if heat and not _COLDEST <= heat <= _HOTTEST:
        how = f"as at {_COLDEST}" if heat < _COLDEST else "not at all"
        raise BadValue(
            "--temperature", heat, f"vLLM draws it {how} (--stock): choose 0, or from {_COLDEST:g} to {_HOTTEST:g}"
        )
    if sampler.min_p and (sampler.top_k or sampler.top_p < 1):
        raise BadValue(
            "--min-p",
            sampler.min_p,
            "vLLM cuts by it before top-k and top-p, llamadiv behind them (--stock)",
        )


def _sample(stock: Stock, recipe: Recipe, index: int) -> Sample:
    k = stock.k
    body = stock.line.body(recipe.prompt.ids, recipe.max_tokens, seed=seed_of(recipe, index), logprobs=k)
    body |= _drawn_with(recipe.sampler)
    told = stock.cluster.do(lambda server: _told(server.call(COMPLETIONS, body), stock, recipe))
    rows = told.rows
    _know_sampler(rows, recipe)
    if (rows["rank"] == 0).any():
        unknown = np.flatnonzero(rows["rank"] == 0)
        ranks = _ranks(stock, recipe.prompt.ids, rows["id"][: unknown[-1] + 1].tolist())
        rows["rank"][unknown] = np.maximum(ranks[unknown], k + 1)
    completion = Completion(recipe, index, piece=stock.words.piece, ends=stock.words.ends.__contains__)
    n = next(n for n, token in enumerate(rows["id"].tolist(), start=1) if completion.add(token))  # at the last of them
    completion.describe(rows[:n])
    sample = completion.to_sample()
    return sample if stock.bounds is None else dataclasses.replace(sample, bounds=told.bounds[:n])


def _drawn_with(sampler: Sampler) -> dict[str, Any]:
    return {name: getattr(sampler, name) for name in ("temperature", "top_k", "top_p", "min_p")}


# ---- what an answer tells


class Told(NamedTuple):
    """Statistics of the tokens of an answer, of which `rank` 0 is not known, and the bounds of their entropies."""

    rows: TokenStats
    bounds: npt.NDArray[Any]


def _told(answer: Mapping[str, Any], stock: Stock, recipe: Recipe) -> Told:
    """One sample as it was answered. Raises Busy where that is not whole, EngineError where it is something else."""
    choice = only_choice(answer, recipe.prompt.ids)
    try:
        ids = [int(token) for token in choice["token_ids"]]
        told = choice["logprobs"]
        named = [_id_of(token) for token in told["tokens"]]
        chosen = [float(one) for one in told["token_logprobs"]]
        tops = [{_id_of(token): float(one) for token, one in row.items()} for row in told["top_logprobs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Busy("an answer without its log probabilities") from error
    if not len(ids) == len(chosen) == len(tops) or not ids:
        raise Busy(f"log probabilities of {len(chosen)} tokens beside {len(ids)}")
    if named != ids or [row.get(token) for token, row in zip(ids, tops, strict=True)] != chosen:
        raise Busy("log probabilities of other tokens than it drew")
    _require_whole(ids, choice["finish_reason"], stock, recipe)
    _require_drawn(ids, chosen)
    require_raw(tops)
    k = stock.k
    if any(len(row) < min(k, stock.words.n_vocab) for row in tops):
        raise Busy(f"fewer than the {k} likeliest tokens")
    bounds = entropy_bounds(tops, k=k, n_vocab=stock.words.n_vocab) if stock.bounds else np.empty(0, BOUNDS_DTYPE)
    return Told(_rows(ids, tops, k), bounds)


def _id_of(token: str) -> int:
    """The id in `token_id:123`."""
    return int(token.removeprefix("token_id:"))


def _require_whole(ids: Sequence[int], reason: str, stock: Stock, recipe: Recipe) -> None:
    """Whether a sample ends where it should. Raises EngineError."""
    if reason == "length" and len(ids) < recipe.max_tokens:
        raise EngineError(
            f"The server cut a sample at {len(ids)} of {recipe.max_tokens} tokens without a word. Lower --max-tokens, "
            "or start it with a larger --max-model-len."
        )
    if reason == "stop" and ids[-1] not in stock.words.ends:
        raise EngineError(
            f"The server ended a sample at token {ids[-1]}, which ends none by its tokenizer here "
            f"({sorted(stock.words.ends)}). Start it with --generation-config vllm, or name its own tokenizer."
        )
    if min(ids) < 0 or max(ids) >= stock.words.n_vocab:
        raise EngineError(
            f"The server drew token {max(ids)}, and the tokenizer here has {stock.words.n_vocab}. "
            "Name the tokenizer of this very model."
        )


def _require_drawn(ids: Sequence[int], chosen: Sequence[float]) -> None:
    """Whether tokens can have been drawn with these log probabilities. Raises EngineError."""
    if min(chosen) <= _LOWEST:
        at = int(np.argmin(chosen))
        raise EngineError(
            f"The server drew token {ids[at]} and says that its probability is 0: what it tells is not what it draws "
            "from. Start it with --logprobs-mode raw_logprobs and without other logits processors."
        )


def _rows(ids: Sequence[int], tops: Sequence[Mapping[int, float]], k: int) -> TokenStats:
    """Surprisals, ranks and likeliest tokens; a rank of 0 where `tops`, whose k likeliest are all, do not tell it."""
    rows = unscored(ids)
    for row, token, top in zip(rows, ids, tops, strict=True):
        likeliest = sorted(top.items(), key=lambda one: (-one[1], one[0]))
        bits = [np.inf if one <= _LOWEST else max(0.0, -one * _BITS) for _, one in likeliest[:N_TOP]]
        row["surprisal_bits"] = np.inf if top[token] <= _LOWEST else max(0.0, -top[token] * _BITS)
        row["top_ids"][: len(bits)] = [one for one, _ in likeliest[:N_TOP]]
        row["top_surprisals_bits"][: len(bits)] = bits
        is_told = len(top) <= k or top[token] >= likeliest[k - 1][1]
        row["rank"] = 1 + sum(one > top[token] for one in top.values()) if is_told else 0
    return rows


def _know_sampler(rows: TokenStats, recipe: Recipe) -> None:
    """What is known of the distribution that tokens were drawn from: where that is the raw one, or a single token."""
    if recipe.is_neutral:
        rows["sampler_surprisal_bits"] = rows["surprisal_bits"]
    elif recipe.sampler.is_greedy:
        rows["sampler_surprisal_bits"] = rows["sampler_entropy_bits"] = 0.0


# ---- texts


def _read(stock: Stock, ids: Sequence[int], k: int) -> list[Mapping[int, tuple[float, int]]]:
    """Log probabilities and ranks of all `ids` but the first, and of the k likeliest at each place."""
    body = stock.line.body(ids, 1, temperature=0.0, prompt_logprobs=k)

    def told(answer: Mapping[str, Any]) -> list[Mapping[int, tuple[float, int]]]:
        try:
            first, *rest = only_choice(answer, ids)["prompt_logprobs"]
            read: list[Mapping[int, tuple[float, int]]] = [
                {int(t): (float(one["logprob"]), int(one["rank"])) for t, one in row.items()} for row in rest
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Busy("an answer without the prompt's log probabilities") from error
        if first is not None or len(read) != len(ids) - 1:
            raise Busy(f"log probabilities of {len(read)} tokens of a prompt of {len(ids)}")
        if any(token not in row for token, row in zip(ids[1:], read, strict=True)):
            raise Busy("log probabilities of other tokens than the prompt's")
        return read

    return stock.cluster.do(lambda server: told(server.call(COMPLETIONS, body)))


def _ranks(stock: Stock, prompt: Sequence[int], drawn: Sequence[int]) -> npt.NDArray[np.int64]:
    """Ranks of drawn tokens by a reading of all of them as a prompt; tokens that are equally likely all count."""
    read = _read(stock, [*prompt, *drawn], 0)[len(prompt) - 1 :]
    return np.array([row[token][1] for token, row in zip(drawn, read, strict=True)])


def score(stock: Stock, ids: Sequence[int]) -> TokenStats:
    """Statistics of `ids`, each given those before it, by the server's reading of them as a prompt. No entropies."""
    rows = unscored(ids)
    if len(ids) < 2:
        return rows
    read = _read(stock, ids, N_TOP)
    tops = [{token: one for token, (one, _) in row.items()} for row in read]
    require_raw(tops)
    rows[1:] = _rows(ids[1:], tops, N_TOP)
    ranks = np.array([row[token][1] for token, row in zip(ids[1:], read, strict=True)])
    rows["rank"][1:] = np.where(rows["rank"][1:] == 0, np.maximum(ranks, N_TOP + 1), rows["rank"][1:])
    return rows
