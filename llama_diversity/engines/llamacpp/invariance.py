"""Does a file's row of logits have the same bits in every batch, on this machine? Asked once, in a process of its own.

--exact rests on kernels that do not look at how many rows come together. Which kernels a file meets depends on the
types of its tensors, the library and the processor, so the promise is tested on the file itself: all batches of
`_SIZES` rows, short contexts and such of more than 512 cells, prompts in chunks of several sizes, one thread and
several. More rows than were tested are not used. Where weights that the library lays out anew for its fastest kernels
pass, these serve; where they do not, the plain ones do; where even these fail, --exact is refused for the file.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as C
import numpy as np

from llama_diversity.cache import kept
from llama_diversity.engines import EngineOptions
from llama_diversity.engines.cores import steady
from llama_diversity.engines.draws import Float32
from llama_diversity.engines.layout import EXACT_PARALLEL, Work, choose, memory_for_cache
from llama_diversity.engines.llamacpp import library, trial
from llama_diversity.engines.llamacpp.context import (
    EXACT_ROWS,
    FEWEST_SPLIT_CELLS,
    Context,
    Exactness,
    has_state,
    open_context,
)
from llama_diversity.engines.llamacpp.library import initialise
from llama_diversity.engines.llamacpp.loading import known_by, load, make_exact
from llama_diversity.errors import EngineError

_TEST = "2"  # of the questions asked here; another number asks anew
_SIZES = (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63)
_CHUNKS = (2, 3, 5, 16)
_N_PREFIX, _N_LONG = 20, FEWEST_SPLIT_CELLS + 8
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "runpy.run_module('llama_diversity.engines.llamacpp.invariance', run_name='child')"
)

_Digests = list[bytes]
_known: dict[tuple[str, ...], Kernels | None] = {}  # what this process has asked, also where no cache can be kept


class Kernels(NamedTuple):
    """How --exact computes a file: with weights laid out anew or as they are, and how many positions need no twin.

    `most_rows` were tested together. `name` distinguishes bits: empty for those of the plain kernels.
    """

    are_own: bool = False
    name: str = ""
    lone_cells: int = 0
    most_rows: int = EXACT_PARALLEL


class _Answer(NamedTuple):
    holds: bool
    needs_twin: bool
    n_rows: int
    digest: str
    has_own_layout: bool


def kernels_for(path: Path, digest: str, kv_type: str, *, n_threads: int) -> Kernels:
    """What was found of the file, or is found now. Raises EngineError where its rows depend on their batch."""
    found = _found(path, digest, kv_type, n_threads)
    if found is None:
        raise EngineError(
            f"{path}: --exact cannot be promised here: in a test, rows of logits depended on those beside them. "
            "Leave out --exact, or choose another file of the model."
        )
    return found


def _found(path: Path, digest: str, kv_type: str, n_threads: int) -> Kernels | None:
    initialise()
    processor = C.llama_print_system_info().decode()
    parts = ("invariance", _TEST, *known_by(path, digest), processor, kv_type)
    if parts not in _known:
        try:
            _known[parts] = kept(parts, lambda: _tested(path, digest, kv_type, n_threads))
        except _NoAnswer:  # not to be remembered: the plain kernels serve meanwhile
            return Kernels()
    return _known[parts]


class _NoAnswer(Exception):
    """The child was not to be had, or failed: opening the file will tell."""


def _tested(path: Path, digest: str, kv_type: str, n_threads: int) -> Kernels | None:
    ask = functools.partial(_answer, path, digest, kv_type, n_threads)
    own = ask(plain=False)
    if own.holds and not own.has_own_layout:
        return _kernels(own, name="")
    plain = ask(plain=True)
    if own.holds:
        return _kernels(own, name="" if own.digest == plain.digest else "laid out anew")
    return _kernels(plain, name="") if plain.holds else None


def _kernels(answer: _Answer, *, name: str) -> Kernels:
    lone_cells = 0 if answer.needs_twin else FEWEST_SPLIT_CELLS // 2  # cells are rounded up to 256 at a time
    return Kernels(answer.has_own_layout, name, lone_cells, answer.n_rows)


def _answer(path: Path, digest: str, kv_type: str, n_threads: int, *, plain: bool) -> _Answer:
    question = json.dumps([os.fspath(path), digest, kv_type, n_threads, plain])
    limit_s = trial.LIMIT_S + path.stat().st_size / 1e6
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START, json.dumps(sys.path), question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _NoAnswer from error
    if done.returncode:
        raise _NoAnswer(done.stderr[-2000:])
    return _Answer(*json.loads(done.stdout))


# ---- the child


def _child(path: str, digest: str, kv_type: str, n_threads: int, plain: bool) -> _Answer:  # noqa: FBT001  from JSON
    make_exact(computes=True)
    initialise()
    options = EngineOptions(exact=True, kv_type=kv_type)
    said: collections.deque[str] = collections.deque()
    library.log = said  # all of it: the parent keeps the end only, and dots of progress fill that
    model, _ = load(Path(path), digest, options, n_gpu_layers=0, on_load=None, plain=plain)
    buffers = re.findall(r"load_tensors: +(\S+) model buffer size", "".join(said))
    has_own_layout = any(name not in ("CPU", "CPU_Mapped") for name in buffers)
    test = _Test(model, kv_type, n_threads)
    holds = test.short() and test.long()
    return _Answer(holds, test.needs_twin, test.n_rows, test.digest.hexdigest(), has_own_layout)


class _Test:
    """Rows of the same tokens in every way that --exact decodes them, compared by their bytes."""

    def __init__(self, model: Any, kv_type: str, n_threads: int) -> None:
        self._model = model
        self._kv_type = kv_type
        self._n_threads = n_threads
        self._chunk_rows = 1 if has_state(model) else EXACT_ROWS
        n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model))
        n_ctx = C.llama_model_n_ctx_train(model) or 512
        self._ids = np.random.default_rng(0).integers(0, n_vocab, _N_LONG + EXACT_PARALLEL).tolist()
        self._n_prefix = min(_N_PREFIX, n_ctx // 2)
        self._n_long = min(_N_LONG, n_ctx - 2 * _CHUNKS[-1])
        self.n_rows = EXACT_PARALLEL
        self.needs_twin = True
        self.digest = hashlib.sha256()

    def short(self) -> bool:
        """A short context: batches of all sizes, a lone row, chunks of a prompt, one thread."""
        prefix, tokens = self._ids[: self._n_prefix], self._ids[self._n_prefix : self._n_prefix + EXACT_PARALLEL]
        with self._context(len(prefix), most=EXACT_PARALLEL) as (context, n_rows):
            self.n_rows = n_rows
            first = context.prefill(prefix)
            expected = self._rows(context, tokens[:n_rows], len(prefix))
            sizes = [1, *(size for size in _SIZES if size < n_rows)]
            if not self._agree(context, tokens, len(prefix), expected, sizes):
                return False
            self.needs_twin = not self._lone_agrees(context, tokens[0], len(prefix), expected[0])
            context.forget()
            text = [*prefix, tokens[0]]
            scored = self._scored(context, text)
            self._keep([*expected, *scored])
            if scored[-2:] != [_digest(first), expected[0]]:
                return False
            if self._chunk_rows > 1 and not self._same_in_chunks(context, text, scored):
                return False
            context.use_threads(1)
            context.forget()
            context.prefill(prefix)
            return self._agree(context, tokens, len(prefix), expected, (1, 2, n_rows))

    def long(self) -> bool:
        """More than 512 cells, where attention has other kernels for a lone row and for many of one sequence."""
        text, more = self._ids[: self._n_long], self._ids[self._n_long : self._n_long + 4]
        with self._context(len(text), most=4) as (context, n_rows):
            scored = self._scored(context, text)
            self._keep(scored)
            context.forget()
            if _digest(context.prefill(text)) != scored[-1]:
                return False
            expected = self._rows(context, more[:n_rows], len(text))
            self._keep(expected)
            if not self._agree(context, more, len(text), expected, range(1, n_rows)):
                return False
            context.use_threads(1)
            return self._agree(context, more, len(text), expected, range(1, n_rows))

    def _same_in_chunks(self, context: Context, text: Sequence[int], scored: _Digests) -> bool:
        for rows in _CHUNKS:
            context.forget()
            if self._scored(context, text, rows) != scored:
                return False
        return True

    def _agree(
        self, context: Context, tokens: Sequence[int], position: int, expected: _Digests, sizes: Sequence[int]
    ) -> bool:
        return all(self._rows(context, tokens[:size], position) == expected[:size] for size in sizes)

    def _lone_agrees(self, context: Context, token: int, position: int, expected: bytes) -> bool:
        context.exactness = Exactness(self._chunk_rows, lone_cells=position + 1)
        found = self._rows(context, [token], position)
        context.exactness = Exactness(self._chunk_rows)
        return found == [expected]

    def _rows(self, context: Context, tokens: Sequence[int], position: int) -> _Digests:
        """Each token in a slot of its own behind the prompt."""
        for slot in range(len(tokens)):
            context.fork(slot)
        return [_digest(row) for row in context.decode(tokens, [position] * len(tokens))]

    def _scored(self, context: Context, ids: Sequence[int], rows: int = EXACT_ROWS) -> _Digests:
        return [_digest(row) for _, piece in context.score_rows(ids, rows) for row in piece]

    def _keep(self, digests: _Digests) -> None:
        self.digest.update(b"".join(digests))

    @contextlib.contextmanager
    def _context(self, n_prompt: int, *, most: int) -> Iterator[tuple[Context, int]]:
        """A context behind whose prompt `most` slots are free, or as many as there is memory for."""
        cost = trial.measured(self._model, C) or trial.Cost(0.0, 0.0)
        work = Work(
            n_prompt=n_prompt,
            max_tokens=2,
            n_samples=most,
            n_ctx_model=n_prompt + 2,
            kv_bytes_per_token=cost.token_bytes,
            state_bytes=cost.sequence_bytes,
            n_vocab=C.llama_vocab_n_tokens(C.llama_model_get_vocab(self._model)),
            exact=True,
        )
        budget, ceiling = memory_for_cache(C.llama_model_size(self._model))
        layout = choose(work, parallel=None, budget_bytes=budget, ceiling_bytes=ceiling)
        context = open_context(
            self._model,
            layout,
            kv_type=self._kv_type,
            fused=True,
            threads=steady(self._n_threads),
            exact=Exactness(self._chunk_rows),
            copies_cells=not has_state(self._model),
        )
        with contextlib.closing(context):
            yield context, layout.parallel


def _digest(row: Float32) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


if __name__ == "child":
    sys.stdout.write(json.dumps(_child(*json.loads(sys.argv[2]))))
    sys.stdout.flush()
    os._exit(0)
