"""The C library itself: its start, its log and its devices."""

from __future__ import annotations

import collections
import ctypes
import functools
import re
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as C

# Kept for error messages, never printed.
log: collections.deque[str] = collections.deque(maxlen=60)
_complaints: collections.deque[str] = collections.deque(maxlen=5)
_warnings: collections.deque[str] = collections.deque(maxlen=1000)
_WARNING, _ERROR = 3, 4  # ggml_log_level
# No function tells what became of "where the device supports it", only the log of a new context.
_ATTENTION = re.compile(r"flash_attn +=? *(?P<asked>enabled|disabled)|Flash Attention (?P<found>enabled|not supported)")
_attention: list[bool] = []


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _remember(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    log.append(text.decode("utf-8", "replace"))
    if level == _ERROR:
        _complaints.append(log[-1].strip())
    elif level == _WARNING:
        _warnings.append(log[-1])
    said = _ATTENTION.search(log[-1])
    if said:
        _attention[:] = [(said["asked"] or said["found"]) == "enabled"]


# A collected callback would be called all the same: the module keeps it. After the import, which installs its own.
C.llama_log_set(_remember, ctypes.c_void_p(0))


def complaint() -> str:
    """The last error the library reported, in its own words."""
    telling = [line for line in _complaints if not line.endswith("failed to load model")]
    return telling[-1].rstrip(".") if telling else "it did not say why"


def fuses_attention() -> bool | None:
    """Whether the context made last computes flash attention; None if the library did not say."""
    return _attention[-1] if _attention else None


def warned() -> list[str]:
    """The lines of warning since `forget_complaints`."""
    return list(_warnings)


def forget_complaints() -> None:
    """Begin an attempt whose errors and warnings are its own."""
    log.clear()
    _complaints.clear()
    _attention.clear()
    _warnings.clear()


@functools.cache
def initialise() -> None:
    """Start the library once."""
    C.llama_backend_init()


def system_report() -> dict[str, Any]:
    """What the installed library can do: version, kernels, offload, devices."""
    initialise()
    return {
        "version": llama_cpp.__version__,
        "system_info": C.llama_print_system_info().decode(),
        "supports_gpu_offload": bool(C.llama_supports_gpu_offload()),
        "devices": devices(),
    }


def devices() -> list[dict[str, Any]]:
    """Every device the library computes on: name, description, is_gpu, free and total bytes."""
    from llama_cpp._ggml import libggml

    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    for name in ("ggml_backend_dev_name", "ggml_backend_dev_description"):
        getattr(libggml, name).restype = ctypes.c_char_p
        getattr(libggml, name).argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(ctypes.c_size_t)] * 2
    libggml.ggml_backend_dev_memory.restype = None
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    found = []
    for position in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(position)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        found.append(
            {
                "name": libggml.ggml_backend_dev_name(device).decode(),
                "description": libggml.ggml_backend_dev_description(device).decode(),
                "is_gpu": libggml.ggml_backend_dev_type(device) in (1, 2),
                "free_bytes": free.value,
                "total_bytes": total.value,
            }
        )
    return found
