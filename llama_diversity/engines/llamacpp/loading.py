"""From a path to a loaded model, or to the reason why not."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import llama_cpp.llama_cpp as C

from llama_diversity.engines import EngineOptions
from llama_diversity.engines.llamacpp.library import built_for_amx, complaint, forget_complaints, log
from llama_diversity.errors import EngineError, ModelFileError

_tiled_kernels_chosen = False


def make_exact() -> None:
    """Switch off the matrix kernel that is chosen by the number of rows; llama.cpp reads this once, at first use."""
    if _tiled_kernels_chosen:
        raise EngineError("--exact has to be chosen before the first model is used in a process. Start a new one.")
    os.environ["GGML_CPU_TILED_MM"] = "0"


def load(path: Path, options: EngineOptions, *, n_gpu_layers: int, on_load: Callable[[float], None] | None) -> Any:
    """The loaded model. Raises ModelFileError, or what `on_load` raised."""
    global _tiled_kernels_chosen
    _check_file(path)
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
    params.use_extra_bufts = not (options.exact or built_for_amx())
    params.vocab_only = options.vocabulary_only
    forget_complaints()
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if raised:
        if model:
            C.llama_model_free(model)
        raise raised[0]
    if not model:
        _explain_refusal(path)
    _tiled_kernels_chosen = _tiled_kernels_chosen or os.environ.get("GGML_CPU_TILED_MM") != "0"
    return model


def _check_file(path: Path) -> None:
    again = "Download it again."
    if not path.exists():
        raise ModelFileError(path, "there is no such file", next_step="Check the path, or see `llamadiv models ls`.")
    if not path.is_file():
        raise ModelFileError(path, "this is not a file", next_step="Name the .gguf file itself.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelFileError(
            path, f"it cannot be read ({error.strerror})", next_step="Check its permissions."
        ) from error
    if not magic:
        raise ModelFileError(path, "the file is empty", next_step=again)
    if magic != b"GGUF":
        raise ModelFileError(
            path, "this is not a GGUF file", next_step="Convert the model with llama.cpp's convert_hf_to_gguf.py."
        )


def _explain_refusal(path: Path) -> NoReturn:
    said = "".join(log)
    again = "Download it again."
    known = [
        (
            "unknown model architecture",
            "this version of llama.cpp does not know its architecture",
            "Upgrade llama-cpp-python, or choose another model.",
        ),
        ("not within the file bounds", "the file is truncated", again),
        ("failed to read", "the file is truncated or damaged", again),
        ("' not found", "weights are missing; it may hold a vocabulary only", "Choose a file that holds the model."),
        ("key not found in model: tokenizer", "it holds no tokenizer", "Choose a file that holds one."),
        ("unknown tokenizer", "its tokenizer is not known to this version of llama.cpp", "Upgrade llama-cpp-python."),
        (
            "unable to allocate",
            "there is not enough memory for its weights",
            "Choose a smaller quantisation, or lower --gpu-layers.",
        ),
    ]
    for sign, reason, next_step in known:
        if sign in said:
            raise ModelFileError(path, reason, next_step=next_step)
    raise ModelFileError(path, f"llama.cpp cannot load it ({complaint()})", next_step=again)
