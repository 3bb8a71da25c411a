"""What a worker says of itself, of a model, and of a message that is wrong."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from llama_diversity import __version__
from llama_diversity.engines import Engine
from llama_diversity.engines.cores import physical_cores
from llama_diversity.engines.fanout import wire
from llama_diversity.engines.layout import physical_memory_bytes
from llama_diversity.errors import EngineError, LlamadivError

Frame = dict[str, Any]


def described(engine: Engine) -> Frame:
    """What workers must agree on, and what is told of this one."""
    return {
        "facts": asdict(engine.facts),
        "build": engine.build,
        "fused": engine.fused,
        "ends": sorted(engine.ends),
        "capabilities": asdict(engine.capabilities),
        **_machine(),
    }


def looked(n_gpu_layers: int | None = None) -> Frame:
    """What is told of a worker before it opens a model: the machine, the program, and the build of its numbers."""
    from llama_diversity.engines.llamacpp import build_here

    versions = {"llamadiv": __version__, "python": platform.python_version()}
    return {**_machine(), **versions, "build": build_here(n_gpu_layers)}


def _machine() -> Frame:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "n_cores": physical_cores(),
        "memory_bytes": physical_memory_bytes(),
    }


def error_in_words(answer: Callable[[], Frame]) -> bytes:
    """The message that answers, or says what is wrong."""
    try:
        return wire.pack(answer())
    except wire.Malformed as error:
        words = f"The message is malformed: {error}."
    except LlamadivError as error:
        return wire.pack({"error": wire.of_error(error)})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        words = f"The message cannot be meant: {type(error).__name__}: {error}."
    return wire.pack({"error": wire.of_error(EngineError(words))})


def other_version(given: Any) -> EngineError:
    """That driver and worker do not understand each other."""
    return EngineError(
        f"The driver speaks version {given!r} of the workers' messages, this worker {wire.VERSION}. "
        "Install one version of llamadiv on all machines."
    )
