"""Models in several files, as gguf-split writes them: the first holds the metadata alone."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from llama_diversity.lab.random_gguf import SHAPES, write_model


def write_split(folder: Path, name: str, *, seed: int = 0, tensors: int = 9, each: int = 4) -> tuple[Path, ...]:
    """A few tensors over several files, no model that could be opened; the files in order."""
    writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama", split_max_tensors=each, small_first_shard=True)
    generator = np.random.default_rng(seed)
    for number in range(tensors):
        writer.add_tensor(f"t{number}", generator.standard_normal(8, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tuple(sorted(folder.glob(f"{name}-*.gguf")))


def write_split_llama(folder: Path, name: str, *, seed: int) -> tuple[Path, ...]:
    """A Llama of random weights in files of twenty tensors; the files in order."""
    write_model(
        folder / f"{name}.gguf", SHAPES["tiny"], n_vocab=400, quantization="F16", seed=seed, spread=3.0, max_tensors=20
    )
    return tuple(sorted(folder.glob(f"{name}-*.gguf")))
