"""A file's first opening, in a process of its own: llama.cpp ends the process over some files.

`attempt` starts the child and turns its death into a ModelFileError. Run as a script this file is the child: it loads
the model on the CPU, looks at every token, reads some text and decodes two tokens, and prints what a sequence costs.
As the child it imports llama_cpp alone, without this package, so that it costs little.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

LIMIT_S = 60.0  # for a file of any size; long ones get more
_BYTES_A_SECOND = 10e6  # of a slow disk
_TEXTS = ("Hello, world! 12 + 3", "\n\n\t x", "é ñ 漢字 🙂 \u0301 عربى", "a\x00b\x7f", "<s> [INST] <|im_start|>")
_OWN_FAULT = 1  # exit code of a Python that raised: nothing is known of the file
_REFUSED = 3  # exit code: llama.cpp refused the file in an orderly way, so this process will hear it as well
_START = "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='child')"


class Cost(NamedTuple):
    """Bytes of memory that a sequence takes: for each token with 16 bits a value, and once."""

    token_bytes: float
    sequence_bytes: float


class Outcome(NamedTuple):
    """How the child ended: `passed` unless llama.cpp refused the file or there could be no child; the cost if known."""

    passed: bool
    cost: Cost | None


class Died(Exception):
    """The child came to no end of its own; the text says how."""


def attempt(path: Path, *, n_bytes: int, decodes: bool) -> Outcome:
    """Open the model of `n_bytes` in a child. Raises Died. `decodes` reads the weights, which must fit into memory."""
    arguments = [json.dumps(sys.path), __file__, os.fspath(path), "decode" if decodes else "look"]
    limit_s = LIMIT_S + n_bytes / _BYTES_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            # The CPU alone is asked: a GPU's memory may be taken, and starting one takes seconds.
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"},
        )
    except subprocess.TimeoutExpired:
        raise Died(f"it did not come to an end within {limit_s:.0f} s") from None
    except OSError:
        return Outcome(False, None)  # no processes can be started here
    if done.returncode == 0:
        answer = json.loads(done.stdout)
        return Outcome(True, Cost(*answer) if answer else None)
    if done.returncode in (_OWN_FAULT, _REFUSED):
        return Outcome(False, None)
    raise Died(_last_words(done.returncode, done.stderr.decode("utf-8", "replace")))


def _last_words(code: int, said: str) -> str:
    """What is known of the child's death, in one line.

    >>> _last_words(-6, "/src/llama-vocab.cpp:2544: GGML_ASSERT(a == b) failed")
    'SIGABRT, llama-vocab.cpp:2544: GGML_ASSERT(a == b) failed'
    """
    name = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
    found = re.findall(r"([\w.-]+:\d+: .+)|what\(\): +(.+)", said)
    return ", ".join([name, *(" ".join(" ".join(found[-1]).split()) for _ in found[-1:])])


# ---- what a sequence costs


def measured(model: Any, C: Any) -> Cost | None:
    """What sequences of `model` cost, from the state of one of a token and of two; None where no context is to be had.

    It holds for every kind of memory: attention over all or some layers, windows, recurrent states.
    """
    context = _small_context(model, C)
    if not context:
        return None
    try:
        if not C.llama_get_memory(context):
            return None
        sizes = []
        for position in range(2):
            if not _decoded(context, C, position):
                return None
            sizes.append(C.llama_state_seq_get_size(context, 0))
    finally:
        C.llama_free(context)
    return Cost(float(sizes[1] - sizes[0]), float(max(0, 2 * sizes[0] - sizes[1])))


def _small_context(model: Any, C: Any) -> Any:
    params = C.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = 256, 1, 32, 32
    params.n_threads = params.n_threads_batch = 1
    return C.llama_init_from_model(model, params)


def _decoded(context: Any, C: Any, position: int) -> bool:
    token, pos, n_seq, seq, wanted = (
        (C.llama_token * 1)(0),
        (C.llama_pos * 1)(position),
        (ctypes.c_int32 * 1)(1),
        (C.llama_seq_id * 1)(0),
        (ctypes.c_int8 * 1)(1),
    )
    sequences = (ctypes.POINTER(C.llama_seq_id) * 1)(ctypes.cast(seq, ctypes.POINTER(C.llama_seq_id)))
    return bool(C.llama_decode(context, C.llama_batch(1, token, None, pos, n_seq, sequences, wanted)) == 0)


# ---- the child


def _child(path: str, *, decodes: bool) -> int:
    with contextlib.suppress(OSError):  # where memory runs out, this process and no other shall go
        Path("/proc/self/oom_score_adj").write_text("1000")
    C = _bindings()
    silent = C.llama_log_callback(lambda level, text, user_data: None)
    C.llama_log_set(silent, ctypes.c_void_p(0))
    C.llama_backend_init()
    params = C.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False  # would copy the weights
    params.no_alloc = not decodes
    params.load_mode = C.LLAMA_LOAD_MODE_MMAP if decodes else C.LLAMA_LOAD_MODE_NONE
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        return _REFUSED
    _read_some(C.llama_model_get_vocab(model), C)
    if decodes:
        cost = measured(model, C)
    else:
        _small_context(model, C)
        cost = None
    sys.stdout.write(json.dumps(cost))
    sys.stdout.flush()
    return 0


def _bindings() -> Any:
    """The functions of the library, without the package around them, whose import takes most of the time."""
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(importlib.util.find_spec("llama_cpp").submodule_search_locations)  # type: ignore[union-attr, arg-type]
    sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


def _read_some(vocab: Any, C: Any) -> None:
    """Look at every token, and tokenise what the vocabulary can spell."""
    n_tokens = C.llama_vocab_n_tokens(vocab)
    kind = C.llama_vocab_type(vocab)
    if kind == C.LLAMA_VOCAB_TYPE_NONE:
        return
    buffer = ctypes.create_string_buffer(256)
    names = set()
    for token in range(n_tokens):
        names.add(C.llama_vocab_get_text(vocab, token))
        C.llama_vocab_get_attr(vocab, token)
        C.llama_vocab_is_eog(vocab, token)
        C.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
    if kind == C.LLAMA_VOCAB_TYPE_SPM and any(b"<0x%02X>" % byte not in names for byte in range(256)):
        return  # spelling is checked before such a vocabulary is asked (engine)
    ids = (C.llama_token * 256)()
    for text in _TEXTS:
        for special in (False, True):
            C.llama_tokenize(vocab, text.encode(), len(text.encode()), ids, len(ids), False, special)


if __name__ == "child":
    os._exit(_child(sys.argv[3], decodes=sys.argv[4] == "decode"))
