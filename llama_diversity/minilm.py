"""all-MiniLM-L6-v2 in numpy: word pieces through six BERT layers to one vector of length 1 a text.

The same arithmetic as sentence-transformers does with these weights, in float32, whose library takes longer to import
than a few hundred sentences take to encode; a test holds the two together. BERT: Devlin et al. 2019; the pooling is the
mean over all pieces, [CLS] and [SEP] included: Reimers and Gurevych 2019.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_WORD_PIECES = 256
_ROWS = 1024  # word pieces computed together: what the layers hold of them stays small
_GELU_ROWS = 64  # rows whose hidden values stay in a core's cache

Float32 = npt.NDArray[np.float32]


def word_pieces(folder: Path) -> Any:
    """The encoder's tokenizer, of whole texts: the 128 pieces that its file cuts and pads to are not the model's."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class MiniLM:
    """The encoder whose files lie in `folder`. Raises OSError, and ValueError where the weights are damaged."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self._n_layers, self._n_heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._epsilon = config["layer_norm_eps"]
        self._weights: dict[str, Float32] = _mapped(folder / "model.safetensors")
        self._tokenizer = word_pieces(folder)

    def encode(self, texts: Sequence[str]) -> list[tuple[Float32, bool]]:
        """Of each text its vector, shape (384,), and whether it was longer than the encoder reads."""
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(clean)]
        read = [ids if len(ids) <= MAX_WORD_PIECES else [*ids[: MAX_WORD_PIECES - 1], ids[-1]] for ids in pieces]
        groups = _groups([len(ids) for ids in read])
        vectors = [vector for some in self._on_all_cores([read[group] for group in groups]) for vector in some]
        return [(vector, len(ids) > MAX_WORD_PIECES) for vector, ids in zip(vectors, pieces, strict=True)]

    def _on_all_cores(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[Float32]:
        """The vectors of each group, a core a group: the threads of a BLAS wait for each other by spinning."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(_n_cores()) as pool:
            return list(pool.map(self._vectors, groups))

    def _vectors(self, texts: Sequence[Sequence[int]]) -> Float32:
        """Vectors of length 1, shape (texts, 384). The rows of all texts stand below each other, without padding."""
        lengths = [len(ids) for ids in texts]
        ends = np.cumsum(lengths)
        places = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][np.concatenate(texts)]
        x += np.concatenate([w["embeddings.position_embeddings.weight"][:length] for length in lengths])
        x += w["embeddings.token_type_embeddings.weight"][0]
        x = self._normed(x, "embeddings.LayerNorm")
        for layer in range(self._n_layers):
            x = self._layer(x, places, f"encoder.layer.{layer}")
        means = np.stack([x[place].mean(axis=0) for place in places])
        return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))

    def _layer(self, x: Float32, places: Sequence[slice], name: str) -> Float32:
        query, key, value = (self._linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        attended = np.empty_like(x)
        for place in places:
            attended[place] = self._attention(query[place], key[place], value[place])
        x = x + self._linear(attended, f"{name}.attention.output.dense")
        x = self._normed(x, f"{name}.attention.output.LayerNorm")
        hidden = self._linear(x, f"{name}.intermediate.dense")
        _gelu(hidden)
        return self._normed(x + self._linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attention(self, query: Float32, key: Float32, value: Float32) -> Float32:
        """Of one text, shape (pieces, 384), each head for itself."""
        q, k, v = (part.reshape(len(part), self._n_heads, -1).transpose(1, 0, 2) for part in (query, key, value))
        scores = q @ k.transpose(0, 2, 1)
        scores *= np.float32(q.shape[2] ** -0.5)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        return np.asarray((scores @ v).transpose(1, 0, 2).reshape(query.shape))

    def _linear(self, x: Float32, name: str) -> Float32:
        product: Float32 = x @ self._weights[f"{name}.weight"].T
        product += self._weights[f"{name}.bias"]
        return product

    def _normed(self, x: Float32, name: str) -> Float32:
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt(np.mean(x * x, axis=1, keepdims=True) + np.float32(self._epsilon))
        x *= self._weights[f"{name}.weight"]
        x += self._weights[f"{name}.bias"]
        return x


def _mapped(path: Path) -> dict[str, Float32]:
    """The float32 arrays of a safetensors file, mapped: in memory is what was read of them.

    Half of the file is a vector for each of 30,000 word pieces, of which texts have a few thousand; the library reads
    all of it, twice over. The file begins with the length of a JSON text, which tells type, shape and place of each.
    """
    content = np.asarray(np.memmap(path, np.uint8, "r"))
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    arrays = json.loads(content[8:start].tobytes())
    return {
        name: content[start:][slice(*array["data_offsets"])].view("<f4").reshape(array["shape"])
        for name, array in arrays.items()
        if array.get("dtype") == "F32"
    }


def _groups(lengths: Sequence[int]) -> list[slice]:
    """Neighbouring texts that are computed together: at most `_ROWS` word pieces, one text at least."""
    groups, start, rows = [], 0, 0
    for at, length in enumerate(lengths):
        if rows + length > _ROWS and at > start:
            groups.append(slice(start, at))
            start, rows = at, 0
        rows += length
    return [*groups, slice(start, len(lengths))] if lengths else []


def _n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gelu(x: Float32) -> None:
    """x Phi(x) in place, Phi the normal distribution function, within 4e-7 (Abramowitz and Stegun 1964, 7.1.26).

    As max(x, 0) - |x| (1 - Phi(|x|)), in few passes over arrays that are there already.
    """
    buffers = np.empty((3, _GELU_ROWS, x.shape[1]), np.float32)
    for start in range(0, len(x), _GELU_ROWS):
        rows = x[start : start + _GELU_ROWS]
        size, t, tail = buffers[:, : len(rows)]
        np.abs(rows, out=size)
        np.multiply(size, np.float32(0.3275911 * 0.5**0.5), out=t)
        t += np.float32(1)
        np.reciprocal(t, out=t)
        np.multiply(t, np.float32(1.061405429 / 2), out=tail)
        for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            tail += np.float32(coefficient / 2)
            tail *= t
        tail *= size
        np.square(size, out=size)
        size *= np.float32(-0.5)
        tail *= np.exp(size, out=size)  # |x| (1 - Phi(|x|))
        np.maximum(rows, 0, out=rows)
        rows -= tail
