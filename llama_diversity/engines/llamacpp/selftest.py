"""Whether the installed llama.cpp computes right on this machine: `python -m ...selftest`, run by bin/setup.

A library that was compiled for another processor, or wrongly, dies here or reads the text with other surprisals. No
matter which kernels it chooses, they differ by hundredths of a bit.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.llamacpp import tiles
from llama_diversity.records import ModelRef

_MODEL = Path(__file__).parents[2] / "data" / "tiny-base.gguf"
_TEXT = "Once upon a time there was a little girl who lived near a big forest."
_BITS = 28.36  # its surprisal after the first token, under that model
_TOLERANCE_BITS = 0.5


def main() -> int:
    """0 where it works, with the reason on stderr where it does not."""
    if tiles.built_for_them():
        tiles.multiply()
    model = ModelRef("tiny-base", "llamacpp", str(_MODEL), "selftest")
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=2, n_gpu_layers=0))) as engine:
        bits = float(engine.score(engine.tokenize(_TEXT))["surprisal_bits"][1:].sum())
    if abs(bits - _BITS) <= _TOLERANCE_BITS:
        return 0
    sys.stderr.write(f"it finds {bits:.2f} bits in a text of {_BITS:.2f}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
