"""What a GGUF file is, by its header: a model that continues text, or else why it cannot be used as one.

Some of what is refused here llama.cpp would open and answer with numbers that mean nothing, and some would end the
process; the rest it refuses itself, in words for its developers. Only the header is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llama_diversity.errors import ModelFileError
from llama_diversity.gguf import Array, Header

_MODEL = "Choose a text-generation model."
_ITS_MODEL = "Choose the file of that model."
_UPGRADE = "Upgrade llama-cpp-python."


class Reason(NamedTuple):
    """Why a file cannot be used, and what to do."""

    reason: str
    next_step: str


_PROJECTOR = Reason(
    "it holds a projector, which turns images or sound into the input of another model",
    "Choose the file of the language model that it came with.",
)
_ADAPTER = Reason(
    "it holds an adapter (LoRA), which changes another model and is none itself",
    "Merge it into its model with llama.cpp's llama-export-lora, and name the file that this writes.",
)
_DRAFT = Reason("it holds a draft head, which guesses ahead for another model and is none itself", _ITS_MODEL)
_OF_TYPE = {
    "adapter": _ADAPTER,
    "mmproj": _PROJECTOR,
    "imatrix": Reason("it holds an importance matrix, made for quantising a model, and no weights", _ITS_MODEL),
}
_OF_ARCHITECTURE = {
    **dict.fromkeys(("clip", "mmproj"), _PROJECTOR),
    **dict.fromkeys(("eagle3", "dflash", "gemma4-assistant"), _DRAFT),
    "controlvector": Reason("it holds a control vector, which steers another model and is none itself", _ITS_MODEL),
}
_WHAT_IT_DOES = {
    **dict.fromkeys(
        (
            "bert",
            "modern-bert",
            "nomic-bert",
            "nomic-bert-moe",
            "neo-bert",
            "jina-bert-v2",
            "jina-bert-v3",
            "eurobert",
            "gemma-embedding",
            "llama-embed",
            "t5encoder",
        ),
        "encodes text and does not continue it",
    ),
    "t5": "has an encoder that reads the whole text first, and does not continue it",
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "writes by diffusion, not token after token"),
    **dict.fromkeys(("wavtokenizer-dec", "pockettts", "qwen3tts"), "makes sound and not text"),
}
_POOLS = {
    **dict.fromkeys((1, 2, 3), "it is an embedding model, which makes one vector of a text and does not continue it"),
    4: "it is a reranking model, which makes one number of a text and does not continue it",
}


def check_kind(headers: Sequence[Header]) -> None:
    """Refuse what is no model that continues text; `headers` are those of all its files. Raises ModelFileError."""
    reason = _by_name(headers[0]) or _by_attention(headers[0]) or _by_parts(headers)
    if reason is not None:
        raise ModelFileError(headers[0].path, reason.reason, next_step=reason.next_step)


def _by_name(header: Header) -> Reason | None:
    architecture = _text(header, "general.architecture")
    reason = _OF_TYPE.get(_text(header, "general.type")) or _OF_ARCHITECTURE.get(architecture)
    if reason is None and architecture in _WHAT_IT_DOES:
        return Reason(f"a model of the architecture {architecture} {_WHAT_IT_DOES[architecture]}", _MODEL)
    return reason


def _by_attention(header: Header) -> Reason | None:
    architecture = _text(header, "general.architecture")
    if header.metadata.get(f"{architecture}.attention.causal") is False:
        return Reason("every token sees the whole text in it, so it encodes text and does not continue it", _MODEL)
    pooling = header.metadata.get(f"{architecture}.pooling_type")
    return Reason(_POOLS[pooling], _MODEL) if isinstance(pooling, int) and pooling in _POOLS else None


def _by_parts(headers: Sequence[Header]) -> Reason | None:
    """What is missing: a tokenizer, or the body of the model."""
    header = headers[0]
    architecture = _text(header, "general.architecture")
    if _text(header, "tokenizer.ggml.model") in ("none", "no_vocab"):
        return Reason("it holds no tokenizer, so text cannot be turned into tokens", _MODEL)
    n_layers, n_ahead = (
        header.metadata.get(f"{architecture}.{name}") for name in ("block_count", "nextn_predict_layers")
    )
    names = [tensor.name for one in headers for tensor in one.tensors]
    if isinstance(n_layers, int) and isinstance(n_ahead, int) and 0 < n_layers <= n_ahead:
        return _DRAFT
    if any(".nextn." in name for name in names) and not any(name.startswith("blk.0.") for name in names):
        return _DRAFT
    return None


def check_tokens(header: Header) -> None:
    """Refuse a vocabulary that holds a token twice, over which llama.cpp ends the process. Raises ModelFileError.

    It reads every token; once for each file is enough.
    """
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Array) or tokens.element != "string":
        return  # llama.cpp says so itself
    ids: dict[bytes, int] = {}
    for number, token in enumerate(tokens.values()):
        first = ids.setdefault(token, number)
        if token and first != number:  # llama.cpp numbers those without a name itself
            spelled = token.decode("utf-8", "replace")
            raise ModelFileError(
                header.path,
                f"its vocabulary holds the token {spelled!r} twice, as {first} and as {number}",
                next_step="Choose another file of the model.",
            )


def why_refused(headers: Sequence[Header], said: str, complaint: str) -> Reason:
    """The reason of llama.cpp's refusal: what the header shows, else what it `said`, in plain words where known."""
    return (
        _by_tensor_types(headers)
        or _by_length(headers)
        or _by_vocabulary(headers)
        or _by_its_words(headers[0], said)
        or Reason(
            f"llama.cpp cannot load it ({complaint})", "Choose another file of the model, or upgrade llama-cpp-python."
        )
    )


def _by_tensor_types(headers: Sequence[Header]) -> Reason | None:
    for tensor in (tensor for header in headers for tensor in header.tensors):
        if tensor.type is None:
            kind = f"a type that this version of llama.cpp does not know (number {tensor.type_number})"
            return Reason(f"its weights {tensor.name} are stored in {kind}", _UPGRADE)
        if not tensor.type.n_values:
            kind = f"{tensor.type.name}, which llama.cpp no longer reads"
            instead = "Q4_0" if tensor.type.name.startswith("Q4_0") else "IQ4_NL or Q4_0"
            return Reason(
                f"its weights {tensor.name} are stored in {kind}", f"Choose a file of the model in {instead}."
            )
    return None


def _by_length(headers: Sequence[Header]) -> Reason | None:
    for header in headers:
        needed = header.needed_bytes
        if needed is not None and needed > header.size_bytes:
            amounts = f"{header.size_bytes:,} of {needed:,} bytes are there"
            name = "the file" if len(headers) == 1 else header.path.name
            return Reason(f"{name} is truncated: {amounts}", "Download it again.")
    return None


def _by_vocabulary(headers: Sequence[Header]) -> Reason | None:
    tokens = headers[0].metadata.get("tokenizer.ggml.tokens")
    embeddings = next((t for header in headers for t in header.tensors if t.name == "token_embd.weight"), None)
    if not isinstance(tokens, Array) or embeddings is None or len(embeddings.shape) != 2:
        return None
    n_rows = embeddings.shape[1]
    if n_rows == len(tokens):
        return None
    return Reason(
        f"its vocabulary has {len(tokens):,} tokens and its weights are made for {n_rows:,}",
        "Convert the model again with the tokenizer that it came with.",
    )


def _by_its_words(header: Header, said: str) -> Reason | None:
    architecture = _text(header, "general.architecture")
    pre_tokenizer = _text(header, "tokenizer.ggml.pre")
    known = (
        (
            "unknown model architecture",
            f"this version of llama.cpp does not know its architecture ({architecture or 'not stated'})",
            "Upgrade llama-cpp-python, or choose another model.",
        ),
        (
            "unknown pre-tokenizer",
            f"this version of llama.cpp does not know how it cuts text for its tokens ({pre_tokenizer})",
            _UPGRADE,
        ),
        ("not within the file bounds", "the file is truncated", "Download it again."),
        ("' not found", "weights are missing; it may hold a vocabulary only", "Choose a file that holds the model."),
        ("key not found in model: tokenizer", "it holds no tokenizer", "Choose a file that holds one."),
        ("unknown tokenizer", "its tokenizer is not known to this version of llama.cpp", _UPGRADE),
        (
            "unable to allocate",
            "there is not enough memory for its weights",
            "Choose a smaller quantisation, or lower --gpu-layers.",
        ),
    )
    return next((Reason(reason, next_step) for sign, reason, next_step in known if sign in said), None)


def _text(header: Header, key: str) -> str:
    """The text under `key`, empty where there is none."""
    value: Any = header.metadata.get(key)
    return value if isinstance(value, str) else ""
