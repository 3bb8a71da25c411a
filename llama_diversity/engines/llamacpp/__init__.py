"""llama.cpp through the C API of llama-cpp-python: the only folder that knows `llama_cpp`.

The prompt is decoded once and every sample continues a copy of its KV cache. C answers with null pointers, return
codes or, to wrong input, by aborting the process: so input is checked before each call, and foreign failures become
ours here.
"""

import os

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a dying library would start a debugger; read when it is loaded
# Threads wait for each other for microseconds. GNU's OpenMP spins for milliseconds meanwhile, on cores that the other
# thread, or another program, is waiting for; so for some tenths of one, then asleep. Read when it is loaded, too, and
# taken back then: it is not for programs that we start. Torch in this process shares the library, hence not shorter.
if "OMP_WAIT_POLICY" not in os.environ:
    _said = os.environ.get("GOMP_SPINCOUNT")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from llama_diversity.engines.llamacpp.build import build_here
from llama_diversity.engines.llamacpp.engine import LlamaCppEngine
from llama_diversity.engines.llamacpp.library import system_report

if "OMP_WAIT_POLICY" not in os.environ and _said is None:
    del os.environ["GOMP_SPINCOUNT"]

__all__ = ["LlamaCppEngine", "build_here", "system_report"]
