"""The tokenizer.json of a GGUF as publishers write it: byte-level BPE by its merges, SentencePiece by its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llama_diversity.gguf import read_header

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4


def write_tokenizer(gguf: str | Path, folder: Path, **config: Any) -> Path:
    """tokenizer.json, tokenizer_config.json and, where the file has one, chat_template.jinja."""
    stated = {key: getattr(value, "values", lambda value=value: value)() for key, value in _metadata(gguf).items()}
    tokens = [token.decode() if isinstance(token, bytes) else token for token in stated["tokenizer.ggml.tokens"]]
    kinds = stated["tokenizer.ggml.token_type"]
    added = [
        {"id": at, "content": tokens[at], "special": kind != USER_DEFINED, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for at, kind in enumerate(kinds)
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    kind = _by_bytes if stated["tokenizer.ggml.model"] == "gpt2" else _by_scores
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "post_processor": None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(whole | kind(tokens, stated), ensure_ascii=False), "utf-8")
    names = {f"{name}_token": tokens[stated[f"tokenizer.ggml.{name}_token_id"]] for name in ("bos", "eos")}
    adds = {"add_bos_token": bool(stated.get("tokenizer.ggml.add_bos_token", False))}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | adds | config))
    template = stated.get("tokenizer.chat_template")
    if template:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def _metadata(gguf: str | Path) -> dict[str, Any]:
    return dict(read_header(Path(gguf)).metadata)


def _by_bytes(tokens: list[str], stated: dict[str, Any]) -> dict[str, Any]:
    merges = [one.decode() if isinstance(one, bytes) else one for one in stated["tokenizer.ggml.merges"]]
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, by_bytes]},
        "decoder": by_bytes,
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges},
    }


def _by_scores(tokens: list[str], stated: dict[str, Any]) -> dict[str, Any]:
    scores = dict(zip(tokens, stated["tokenizer.ggml.scores"], strict=True))
    ids = {token: at for at, token in enumerate(tokens)}
    pairs = [
        (scores[token], ids[token[:at]], ids[token[at:]], token[:at], token[at:])
        for token in tokens
        for at in range(1, len(token))
        if token[:at] in ids and token[at:] in ids
    ]
    merges = [[left, right] for _, _, _, left, right in sorted(pairs, key=lambda one: (-one[0], one[1], one[2]))]
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, blank]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "vocab": ids, "merges": merges, "byte_fallback": True, "fuse_unk": True},
    }
