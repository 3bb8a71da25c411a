"""What runs inside a vLLM server: our own draw, and the statistics of each token, fetched over HTTP.

The server loads three classes by its public flags (`llamadiv vllm-args` prints them): `Draw` is a logits processor for
both of vLLM's model runners, each of which refuses the other's class; `Worker` adds what a worker is asked for;
`Doors` adds two paths to the HTTP server, behind its own `/v1` and so behind its own key. Requests of others pass
untouched. Where `Draw` has drawn, the token is the only one left, whatever the server's sampler would have taken.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import json
import math
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llama_diversity.engines.vllm.handshake import HANDSHAKE, PLUGIN, ROWS
from llama_diversity.engines.vllm.rows import Drawn, Place, Request

FLAGS = {  # the server's, with their values; None for those that have none
    "--logits-processors": f"{__name__}:Draw",
    "--worker-extension-cls": f"{__name__}.Worker",
    "--middleware": f"{__name__}.Doors",
    "--enable-scale-out": None,
}
_INTERFACES = ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth")  # the first of which there are any
_MOST_THREADS = 8
_SAMPLED = 4096  # values of each tensor in memory that tell it from another

_BOOT = secrets.token_hex(8)  # tells this process from the one that a server had before it was started anew
_drawn = Drawn()  # of this process: what draws and what is fetched meet here


def _bases() -> tuple[type, ...]:
    """The base classes of both model runners; none where there is no vLLM, as on the client's side."""
    try:
        return tuple(importlib.import_module(name).LogitsProcessor for name in _INTERFACES)
    except ImportError:
        return ()


class Draw(*_bases()):  # type: ignore[misc]
    """Draws the tokens of our requests from the raw logits, and leaves each its token alone."""

    def __init__(self, vllm_config: Any, state: Any, is_pin_memory: bool | None = None) -> None:  # noqa: FBT001
        self._seats: dict[int, tuple[Request, Sequence[int]]] = {}  # by row, or by slot of the second runner
        self._state = state  # of the second runner: where its sequences stand; of the first one its device
        if not str(getattr(state, "device", state)).startswith("cpu"):  # there the model leaves the cores to us
            _drawn.n_threads = min(_MOST_THREADS, os.cpu_count() or 1)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a malformed request where it comes in. Raises ValueError."""
        Request.of(sampling_params.extra_args)

    # ---- the first model runner: rows are places in its batch

    def is_argmax_invariant(self) -> bool:
        """It is not: what is likeliest is seldom what was drawn."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow requests that leave the batch, enter it and change places in it."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._seats.pop(row, None)
        for row, params, _, output_ids in batch_update.added:
            self._sit(row, params, output_ids)
        for a, b, direction in batch_update.moved:
            one, other = self._seats.pop(a, None), self._seats.pop(b, None)
            if one is not None:
                self._seats[b] = one
            if other is not None and direction.name == "SWAP":
                self._seats[a] = other

    # ---- the second: rows are told by slots

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Take a request into a slot; whether it is ours."""
        return self._sit(req_idx, sampling_params, ())

    def apply_staged_writes(self) -> None:
        """Nothing is staged."""

    # ---- both

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """Draw, and leave each row of ours its one token."""
        if self._seats:
            rows, places = self._places() if ctx is None else self._places_by_slot(ctx)
            if rows:
                _draw_in(logits, rows, places)
        return logits

    def _sit(self, seat: int, params: Any, output_ids: Sequence[int]) -> bool:
        self._seats.pop(seat, None)
        request = Request.of(params.extra_args)
        if request is not None:
            self._seats[seat] = _drawn.enter(request), output_ids
        return request is not None

    def _places(self) -> tuple[list[int], list[Place]]:
        """Where the next token of each request lies: behind all that it has, known or still on its way."""
        rows = sorted(self._seats)
        return rows, [(request, len(output_ids)) for request, output_ids in map(self._seats.__getitem__, rows)]

    def _places_by_slot(self, ctx: Any) -> tuple[list[int], list[Place]]:
        rows, places = [], []
        for row, (slot, length) in enumerate(zip(ctx.idx_mapping_np, ctx.seq_lens_upper_bound_np, strict=False)):
            position = int(length) - int(self._state.prompt_len.np[slot])
            if slot in self._seats and position >= 0:  # below 0 its prompt is still being read
                rows.append(row)
                places.append((self._seats[slot][0], position))
        return rows, places


def _draw_in(logits: Any, rows: list[int], places: list[Place]) -> None:
    """Draw from those rows of a tensor, shape (.., n_vocab), float32, on any device."""
    is_whole = rows == list(range(logits.shape[0]))
    own = logits if is_whole else logits[rows]
    ids = _drawn.draw(np.ascontiguousarray(own.detach().cpu().numpy()), places)
    drawn = [(row, token) for row, token in zip(rows, ids.tolist(), strict=True) if token >= 0]
    those, tokens = [row for row, _ in drawn], [token for _, token in drawn]
    if len(those) == logits.shape[0]:
        logits.fill_(-np.inf)
    else:
        logits[those] = -np.inf
    logits[those, tokens] = 0.0


class Worker:
    """What each worker is asked for, beside vLLM's own methods."""

    def llamadiv_rows(self, name: str, n: int, boot: str) -> bytes | str:
        """`Drawn.take`; "rows" where another try may have them, "boot" where another process was meant."""
        return (_drawn.take(name, n) or "rows") if boot == _BOOT else "boot"

    def llamadiv_facts(self) -> str:
        """What may change a number, of this worker's part of the model, as JSON."""
        config: Any = self.vllm_config  # type: ignore[attr-defined]
        model: Any = self.get_model()  # type: ignore[attr-defined]
        facts = {
            "boot": _BOOT,
            "architecture": str(config.model_config.architecture),
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "max_model_len": int(config.model_config.max_model_len),
            "n_vocab": int(config.model_config.get_vocab_size()),
            "max_num_seqs": int(config.scheduler_config.max_num_seqs),
            "weights_in_memory": _fingerprint(model),
            "settings": {
                "quantization": str(config.model_config.quantization),
                "hf_overrides": str(config.model_config.hf_overrides),
                "cache_dtype": str(config.cache_config.cache_dtype),
                "tensor_parallel": int(config.parallel_config.tensor_parallel_size),
                "pipeline_parallel": int(config.parallel_config.pipeline_parallel_size),
                "enforce_eager": bool(config.model_config.enforce_eager),
                **_device(),
            },
        }
        return json.dumps(facts)


def _device() -> dict[str, str]:
    import torch

    has_gpu = torch.cuda.is_available()
    return {
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name() if has_gpu else f"CPU {torch.backends.cpu.get_cpu_capability()}",
        "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0"),
    }


def _fingerprint(model: Any) -> str:
    """sha256 over the names, shapes, types and some values of all parameters, as the server holds them."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // _SAMPLED)].contiguous().cpu()
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(some.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


# ---- the doors


class Doors:
    """An ASGI middleware that does one thing: before the first request it adds our two paths to the application.

    A middleware named by a flag stands before the check of the key; the paths do not, as they begin with /v1.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._are_open = False

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        if not self._are_open and scope["type"] == "http":
            scope["app"].add_route(HANDSHAKE, _handshake, methods=["GET"])
            scope["app"].add_route(ROWS, _rows, methods=["POST"])
            self._are_open = True
        await self._app(scope, receive, send)


async def _handshake(request: Any) -> Any:
    from starlette.responses import JSONResponse

    client = request.app.state.engine_client
    facts = [json.loads(one) for one in await client.collective_rpc("llamadiv_facts")]
    config = client.model_config
    read = await asyncio.to_thread(read_weights, str(config.model), config.revision)
    version = importlib.import_module("vllm").__version__
    return JSONResponse({**_joined(facts), **read, "plugin": PLUGIN, "vllm": version})


def _joined(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all workers say alike, and of their parts of the weights one fingerprint."""
    parts = "".join(one["weights_in_memory"] for one in facts)
    return {**facts[0], "weights_in_memory": hashlib.sha256(parts.encode()).hexdigest()[:16]}


async def _rows(request: Any) -> Any:
    from starlette.responses import JSONResponse, Response

    try:
        asked = json.loads(await request.body())
        name, n, boot = str(asked["request"]), int(asked["n"]), str(asked["boot"])
    except (KeyError, TypeError, ValueError):
        return JSONResponse({"error": "it must be a JSON object with request, n and boot"}, 400)
    found = await request.app.state.engine_client.collective_rpc("llamadiv_rows", args=(name, n, boot))
    rows = next((one for one in found if isinstance(one, bytes)), None)
    if rows is None:
        return JSONResponse({"error": found[0]}, 409 if found[0] in ("rows", "boot") else 422)
    return Response(rows, media_type="application/octet-stream")


@functools.cache
def read_weights(model: str, revision: str | None = None) -> dict[str, Any]:
    """Of a model's files, in a folder or the hub's cache: a digest of weights and configuration, and how many weights.

    The digest is sha256 over names and sha256s, a line each.
    """
    folder = Path(model) if Path(model).exists() else _in_cache(model, revision or "main")
    if folder.is_file():
        found = [folder]
    else:
        found = next((some for name in _WEIGHTS if (some := sorted(folder.glob(name)))), [])
    files = [*found, *folder.glob("config.json")]
    digest = hashlib.sha256("".join(f"{file.name} {_sha256(file)}\n" for file in files).encode()).hexdigest()
    return {"digest": digest, "n_params": sum(map(_n_weights, found))}


def _in_cache(repo: str, revision: str) -> Path:
    """Where the hub's cache keeps a repository, from which the server has read it."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    kept = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{repo.replace('/', '--')}"
    named = kept / "refs" / revision
    return kept / "snapshots" / (named.read_text().strip() if named.is_file() else revision)


def _n_weights(file: Path) -> int:
    """As the header of a safetensors file says; 0 for any other."""
    if file.suffix != ".safetensors":
        return 0
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        found = hashlib.sha256()
        while block := opened.read(1 << 20):
            found.update(block)
    return found.hexdigest()
