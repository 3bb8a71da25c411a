"""CPU seconds of opening a model with a large vocabulary: llamadiv the first and the second time, and llama.cpp alone.

Each contestant runs in a process of its own and counts from the call that opens the model to its return. llama.cpp
reads the vocabulary for us too; what is ours is the difference.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from llama_diversity.lab.random_gguf import SHAPES, write_model

N_VOCAB = 262_144
_LIBRARY = """
import os, sys, time
import llama_cpp.llama_cpp as C
C.llama_backend_init()
params = C.llama_model_default_params()
params.vocab_only = True
before = time.process_time()
assert C.llama_model_load_from_file(os.fsencode(sys.argv[1]), params)
print(time.process_time() - before)
"""
_OURS = """
import sys, time
import llama_diversity.engines.llamacpp
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import ModelRef
before = time.process_time()
open_engine(ModelRef("bench", "llamacpp", sys.argv[1], sys.argv[2]), EngineOptions(vocabulary_only=True))
print(time.process_time() - before)
"""


def cpu_seconds(rounds: int) -> dict[str, float]:
    """Medians over `rounds`: `llama_cpp`, `first`, `second`, and `second_own`, which is `second` less `llama_cpp`."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "wide.gguf"
        write_model(model, SHAPES["tiny"], n_vocab=N_VOCAB, quantization="F16")
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        taken = [_round(model, digest, Path(folder) / str(number)) for number in range(rounds)]
    return {name: statistics.median(one[name] for one in taken) for name in taken[0]}


def _round(model: Path, digest: str, home: Path) -> dict[str, float]:
    library = _seconds(_LIBRARY, model, digest, home)
    first, second = (_seconds(_OURS, model, digest, home) for _ in range(2))
    return {"llama_cpp": library, "first": first, "second": second, "second_own": second - library}


def _seconds(script: str, model: Path, digest: str, home: Path) -> float:
    command = [sys.executable, "-c", script, str(model), digest]
    done = subprocess.run(
        command, env={**os.environ, "LLAMADIV_HOME": str(home)}, check=True, capture_output=True, text=True
    )
    return float(done.stdout)
