"""What a model would take here, from little: its bytes, its weights, its memory, and the time of a run.

How sure each number is. *Bytes*: those of the files here, or that models.toml states; else of a sibling of the same
quantisation, or by the number of weights in the name. *Weights*: counted where the header is here; else bytes by what
the quantisation in the file's name takes, or the number in its name, which publishers round (a 0.6B of theirs has
0.75). *Memory*: bytes of the file and the keys and values of one sequence of 512 tokens, which the header tells;
without it at most 0.2 thousandths of the file's bytes a token, which is the most of the models looked at. *Time*: of as
many tokens as the run may have at most, at the speed measured with another model; a token of a larger one takes longer
by the power 0.75 of the number of weights, since larger matrices keep a processor busier.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SEQUENCE_TOKENS = 512  # of the one sequence that must fit
KV_SHARE = 2e-4  # bytes of keys and values a token, for each byte of a file, at most
USABLE_SHARE = 0.9  # of the memory, as engines take it
FIXED_S = 60.0  # of a run whatever the model: analyses, embeddings, figures
# Of models of 3.4 to 1,100 million weights on a CPU, many sequences at once: within a factor of 1.5 (docs/lab-log.md).
WORK_EXPONENT = 0.75
FACTOR = 2.0  # within which to take a time

BITS_PER_WEIGHT = {  # with their scales, as llama.cpp's quantize tool lists them for a model of 8 billion weights
    "F32": 32.0, "BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.70, "Q5_K_S": 5.57, "Q5_0": 5.54,
    "Q4_K_M": 4.89, "Q4_K_S": 4.67, "Q4_1": 5.0, "Q4_0": 4.66, "Q3_K_M": 4.0, "Q2_K": 3.16,
}  # fmt: skip
_QUANTISATION = re.compile("|".join(sorted(map(re.escape, BITS_PER_WEIGHT), key=len, reverse=True)), re.IGNORECASE)
_IN_NAME = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z])", re.IGNORECASE)


class Taken(NamedTuple):
    """What one model takes: bytes of its files and in memory, and its weights; `estimated` names what is guessed."""

    size_bytes: float
    memory_bytes: float
    n_params: float
    estimated: tuple[str, ...]


class Speed(NamedTuple):
    """Tokens a second as they were measured, on a model of so many weights."""

    tokens_per_second: float
    n_params: float


@dataclass(frozen=True)
class Machine:
    """What there is to fit into: memory that the system lets one take, and the disk of the cache."""

    memory_bytes: float
    usable_bytes: float
    disk_free_bytes: int
    cache: str


@dataclass(frozen=True)
class Bench:
    """What was measured, and on which model."""

    model: str
    tokens_per_second: float
    n_params: int
    seconds: float


@dataclass(frozen=True)
class Suggestion:
    """A pair or ladder: what it takes, why it does not fit, if so, and what to type for it."""

    name: str
    kind: str  # "pair" or "ladder"
    command: str
    is_here: bool
    fetch_bytes: float
    memory_bytes: float
    seconds: float | None
    estimated: tuple[str, ...]
    lacks: str | None


@dataclass(frozen=True)
class Suggestions:
    """All pairs and ladders, the smallest first, and those of which nothing tells how large they are."""

    machine: Machine
    bench: Bench | None
    found: tuple[Suggestion, ...]
    unknown: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON has them."""
        return asdict(self)


def taken(
    file: str,
    size_bytes: int | None,
    metadata: dict[str, Any] | None,
    n_params: int | None,
    *,
    sibling_bytes: int | None = None,
) -> Taken | None:
    """What the model in `file` takes; None where neither its bytes nor its name tell how large it is.

    `metadata` is its header and `n_params` the weights counted in it, where it is here; `sibling_bytes` the size of a
    model of its shape and quantisation.

    Q8_0 has 8.5 bits a weight, so 85 MB are 80 million weights:

    >>> taken("m.Q8_0.gguf", 85_000_000, None, None).n_params
    80000000.0
    >>> taken("My-2B.Q8_0.gguf", None, None, None).size_bytes
    2125000000.0
    >>> taken("m.gguf", None, None, None) is None
    True
    """
    bits = bits_per_weight(file)
    named = weights_in_name(file)
    estimated = []
    size: float | None = size_bytes
    if size is None:
        if sibling_bytes is None and (named is None or bits is None):
            return None
        size, estimated = sibling_bytes or (named or 0) * (bits or 0) / 8, ["size"]
    weights: float | None = n_params
    if weights is None:
        weights = 8 * size / bits if bits else named
        estimated.append("weights")
    if weights is None:  # neither is said: as of the commonest quantisation
        weights = 8 * size / BITS_PER_WEIGHT["Q4_K_M"]
    per_token = kv_bytes_per_token(metadata) if metadata else None
    if per_token is None:
        per_token = KV_SHARE * size
        estimated.append("memory")
    return Taken(size, size + SEQUENCE_TOKENS * per_token, weights, tuple(estimated))


def bits_per_weight(file: str) -> float | None:
    """By the quantisation that a file's name says, None where it says none.

    >>> bits_per_weight("m-q4_k_m.gguf"), bits_per_weight("m.gguf")
    (4.89, None)
    """
    found = _QUANTISATION.search(file)
    return BITS_PER_WEIGHT[found[0].upper()] if found else None


def weights_in_name(file: str) -> float | None:
    """The number of weights that a file's name says.

    >>> weights_in_name("SmolLM2-135M-Instruct.gguf"), weights_in_name("Qwen3.5-0.8B.gguf"), weights_in_name("m.gguf")
    (135000000.0, 800000000.0, None)
    """
    found = _IN_NAME.search(file)
    return float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6) if found else None


def kv_bytes_per_token(metadata: dict[str, Any]) -> float | None:
    """Bytes of keys and values at 16 bits, of all layers; None where the header does not say the shape plainly.

    Two layers of 4 heads of 8 numbers, keys and values, of 2 bytes each:

    >>> shape = {"block_count": 2, "attention.head_count": 8, "attention.head_count_kv": 4, "embedding_length": 64}
    >>> kv_bytes_per_token({"general.architecture": "x", **{f"x.{key}": value for key, value in shape.items()}})
    256.0
    """
    name = metadata.get("general.architecture")
    keys = ("block_count", "attention.head_count", "embedding_length")
    stated = [metadata.get(f"{name}.{key}") for key in keys]
    shape = [one for one in stated if isinstance(one, int) and one > 0]
    if len(shape) < len(keys):
        return None
    n_layers, n_heads, width = shape
    n_kv = metadata.get(f"{name}.attention.head_count_kv", n_heads)
    if not isinstance(n_kv, int):  # as of models whose layers differ
        return None
    key_length = metadata.get(f"{name}.attention.key_length", width // n_heads)
    value_length = metadata.get(f"{name}.attention.value_length", width // n_heads)
    return float(n_layers * n_kv * (key_length + value_length) * 2)


def seconds(n_tokens: int, n_params: float, speed: Speed) -> float:
    """Of drawing so many tokens with a model of so many weights.

    1000 tokens at 100 a second take 10 s, with a model sixteen times as large 16 ** 0.75 = 8 times as long:

    >>> seconds(1000, 16e8, Speed(100.0, 1e8))
    80.0
    """
    longer = float((n_params / speed.n_params) ** WORK_EXPONENT)
    return n_tokens / speed.tokens_per_second * longer
