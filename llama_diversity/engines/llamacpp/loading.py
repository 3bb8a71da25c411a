"""From a path to a loaded model, or to the reason why not."""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import llama_cpp
import llama_cpp.llama_cpp as C

from llama_diversity.cache import kept
from llama_diversity.engines import EngineOptions
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.engines.llamacpp import tiles, trial
from llama_diversity.engines.llamacpp.kinds import check_kind, check_tokens, why_refused
from llama_diversity.engines.llamacpp.library import complaint, forget_complaints, log
from llama_diversity.errors import EngineError, ModelFileError
from llama_diversity.gguf import read_header, shards

_PACKAGED = Path(__file__).parents[2] / "data"  # models of our own
_SHA256 = re.compile("[0-9a-f]{64}")
_known: dict[tuple[str, ...], trial.Cost | None] = {}  # what this process has opened, also where no cache can be kept

_tiled_kernels_chosen = False


def make_exact(*, computes: bool) -> None:
    """Switch off the matrix kernel that is chosen by the number of rows; llama.cpp reads this once, at first use.

    Where only a vocabulary is wanted (`computes` is false), as beside workers, it makes no difference which was chosen.
    """
    if _tiled_kernels_chosen:
        if not computes:
            return
        raise EngineError("--exact has to be chosen before the first model is used in a process. Start a new one.")
    os.environ["GGML_CPU_TILED_MM"] = "0"


class Loaded(NamedTuple):
    """A model in memory, and what its sequences cost where that is known from its first opening."""

    model: Any
    cost: trial.Cost | None


def load(
    path: Path,
    digest: str,
    options: EngineOptions,
    *,
    n_gpu_layers: int,
    on_load: Callable[[float], None] | None,
    plain: bool = False,
) -> Loaded:
    """The loaded model; `digest` is the SHA-256 of its bytes, as far as known.

    With `plain` the library may not lay weights out anew for its fastest kernels. Raises ModelFileError, or what
    `on_load` raised.
    """
    global _tiled_kernels_chosen
    cost = check(path, digest)
    raised: list[BaseException] = []

    @C.llama_progress_callback  # type: ignore[untyped-decorator]
    def progress(share: float, user_data: ctypes.c_void_p) -> bool:
        try:
            if on_load is not None:
                on_load(share)
        except BaseException as error:  # noqa: BLE001  nothing may escape through C: it is raised below
            raised.append(error)
        return not raised

    params = C.llama_model_default_params()
    params.n_gpu_layers = n_gpu_layers
    params.progress_callback = progress
    params.use_extra_bufts = not plain and tiles.usable()
    params.vocab_only = options.vocabulary_only
    forget_complaints()
    model = tiles.apart(C.llama_model_load_from_file, os.fsencode(path), params, on_interrupt=raised.append)
    if raised:
        if model:
            C.llama_model_free(model)
        raise raised[0]
    if not model:
        _explain_refusal(path)
    _check_loaded(path, model)
    _tiled_kernels_chosen = _tiled_kernels_chosen or os.environ.get("GGML_CPU_TILED_MM") != "0"
    return Loaded(model, cost)


def _check_loaded(path: Path, model: Any) -> None:
    """Refuse what the library knows to be no such model, where the header's words were new. Raises ModelFileError."""
    is_other = (
        C.llama_model_has_encoder(model)
        or C.llama_model_is_diffusion(model)
        or C.llama_vocab_type(C.llama_model_get_vocab(model)) == C.LLAMA_VOCAB_TYPE_NONE
    )
    if is_other:
        C.llama_model_free(model)
        reason = "it does not continue text token after token"
        raise ModelFileError(path, reason, next_step="Choose a text-generation model.")


# ---- before llama.cpp sees a file


def check(path: Path, digest: str) -> trial.Cost | None:
    """Refuse what cannot work, from the header and, once for each file and build, by opening it in another process.

    What sequences cost, where that was measured. Raises ModelFileError.
    """
    if path.parent == _PACKAGED:
        return None
    parts = ("opened", *known_by(path, digest))
    if parts not in _known:
        try:
            _known[parts] = kept(parts, lambda: _tried(path))
        except _Refused:
            _hear_why(path)
            return None  # nothing to remember
    return _known[parts]


def _hear_why(path: Path) -> None:
    """What llama.cpp refused in another process it refuses here, though a vocabulary alone it might have opened.

    Raises ModelFileError, but not where the other process only could not be run.
    """
    params = C.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    forget_complaints()
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        _explain_refusal(path)
    C.llama_model_free(model)


def known_by(path: Path, digest: str) -> tuple[str, ...]:
    """What tells a file and the library from others: the digest of all its bytes, or else its place and times."""
    if _SHA256.fullmatch(digest):
        return digest, *_library()
    return *(str(part) for file in shards(path) for part in (file.resolve(), *_stamp(file))), *_library()


def _stamp(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns


@functools.cache
def _library() -> tuple[str, ...]:
    """The library that opens files: its version and the file it is in."""
    file = Path(C._lib._name)
    return llama_cpp.__version__, str(file), *map(str, _stamp(file))


class _Refused(Exception):
    """llama.cpp refused the file in an orderly way, or it could not be asked."""


def _tried(path: Path) -> trial.Cost | None:
    files = shards(path)
    headers = [read_header(file) for file in files]
    check_kind(headers)
    check_tokens(headers[0])
    n_bytes = sum(header.size_bytes for header in headers)
    try:
        outcome = trial.attempt(path, n_bytes=n_bytes, decodes=n_bytes < physical_memory_bytes() / 2)
    except trial.Died as death:
        raise ModelFileError(
            path,
            f"llama.cpp did not survive opening it ({death})",
            next_step="It is damaged, or no text-generation model, or of another version of llama.cpp: choose another.",
        ) from death
    if not outcome.passed:
        raise _Refused
    return outcome.cost


def _explain_refusal(path: Path) -> NoReturn:
    reason = why_refused([read_header(file) for file in shards(path)], "".join(log), complaint())
    raise ModelFileError(path, reason.reason, next_step=reason.next_step)
