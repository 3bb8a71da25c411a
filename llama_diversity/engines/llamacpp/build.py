"""What of this installation may change a number: the library's version, its kernels and the device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as C

from llama_diversity.engines.llamacpp import tiles
from llama_diversity.engines.llamacpp.library import devices, initialise


def plain_build(gpus: Sequence[Mapping[str, Any]], n_gpu_layers: int | None) -> str:
    """What a recipe says of the library on these devices; --exact may add to it what a file needs."""
    device = "+".join(gpu["name"] for gpu in gpus) or "CPU"
    if gpus and n_gpu_layers is not None:
        device += f" {n_gpu_layers} layers"
    unused = b"" if tiles.usable() else b"without tiles"
    kernels = hashlib.sha256(C.llama_print_system_info() + unused).hexdigest()[:12]
    return f"llama-cpp-python {llama_cpp.__version__} {device} {kernels}"


def build_here(n_gpu_layers: int | None = None) -> str:
    """The same of this process, where so many layers are to be on the GPU."""
    initialise()
    gpus = [] if n_gpu_layers == 0 else [device for device in devices() if device["is_gpu"]]
    return plain_build(gpus, n_gpu_layers)
