"""llama.cpp through the C API of llama-cpp-python: the only folder that knows `llama_cpp`.

The prompt is decoded once and every sample continues a copy of its KV cache. C answers with null pointers, return
codes or, to wrong input, by aborting the process: so input is checked before each call, and foreign failures become
ours here.
"""

from llama_diversity.engines.llamacpp.engine import LlamaCppEngine
from llama_diversity.engines.llamacpp.library import system_report

__all__ = ["LlamaCppEngine", "system_report"]
