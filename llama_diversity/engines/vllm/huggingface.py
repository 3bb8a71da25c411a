"""The vocabulary of a model by its tokenizer.json, read by the library that vLLM reads it with.

Beside that file lie others, each of which may be missing: tokenizer_config.json names the special tokens and may hold
the chat template, chat_template.jinja is it, generation_config.json and config.json say what ends a sequence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llama_diversity.engines import text_bytes
from llama_diversity.engines.letters import Ids, Letters, texts_digest
from llama_diversity.engines.start import DOCUMENT_ENDS, Stated
from llama_diversity.errors import BadValue, ModelFileError
from llama_diversity.records import Piece

_CONFIG = "tokenizer_config.json"
_TURN_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|eom_id|>", "<EOT>", "_<EOT>",
    "[EOT]", "<end_of_utterance>",
)  # fmt: skip
_FILE_ENDS = (
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
    "<reponame>", "<|file_sep|>",
)  # fmt: skip
"""With DOCUMENT_ENDS, control tokens that end a sequence by their very names, as llama.cpp has it too."""
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_BLANK = "\u2581"  # stands for a space in SentencePiece's vocabularies


class HuggingFace(Letters):
    """The vocabulary in `path`. Raises ModelFileError for one that is damaged, or of a kind whose bytes nobody states.

    `template`: the model's own, "" for none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stated = _read(path)
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise _damaged(path, str(error)) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = _read(path.with_name(_CONFIG), is_needed=False)
        added = self._tokenizer.get_added_tokens_decoder()
        special = {token for token, one in added.items() if one.special}
        unknown = stated["model"].get("unk_token")
        silent = special | ({self._tokenizer.token_to_id(unknown)} if isinstance(unknown, str) else set())
        spelled = self._texts(stated, {token: one.content for token, one in added.items()})
        self._control = frozenset(special)
        self._names = {added[token].content for token in special}
        bos, eos = self._named(config.get("bos_token")), self._named(config.get("eos_token"))
        self.ends = frozenset(self._ends(eos))
        adds_no_text = [text is None or token in silent or token in self.ends for token, text in enumerate(spelled)]
        texts = [b"" if text is None else text for text in spelled]
        self.pieces = [
            Piece(b"", text.decode("utf-8", "replace") or f"<unused {token}>") if is_silent else Piece(text)
            for token, (text, is_silent) in enumerate(zip(texts, adds_no_text, strict=True))
        ]
        self.digest = texts_digest(texts, adds_no_text)
        names = [token for token in range(len(texts)) if adds_no_text[token] or token in (bos, eos)]
        controls = {texts[token].decode("utf-8", "replace"): token for token in reversed(names) if texts[token]}
        self.stated = Stated(self._adds_bos(config, bos), bos, eos, controls)
        self.template = _template(path, config)

    # ---- tokens

    def _texts(self, stated: Mapping[str, Any], added: Mapping[int, str]) -> list[bytes | None]:
        """What each token adds to a text; None where an id has none."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        kinds = {part["type"] for name in ("decoder", "pre_tokenizer") for part in _parts(stated.get(name))}
        is_by_bytes = "ByteLevel" in kinds
        if not is_by_bytes and not kinds & {"ByteFallback", "Metaspace"}:
            reason = "it does not say which bytes its tokens stand for"
            raise ModelFileError(self._path, reason, next_step="Name a GGUF of the same vocabulary instead.")
        found: list[bytes | None] = [None] * (1 + max(vocabulary.values(), default=-1))
        for text, token in vocabulary.items():
            if token in added:
                found[token] = added[token].encode()
            elif is_by_bytes:
                found[token] = bytes(_BYTE_OF.get(letter, 0x3F) for letter in text)
            elif (byte := _BYTE.fullmatch(text)) is not None and stated["model"].get("byte_fallback", True):
                found[token] = bytes([int(byte[1], 16)])
            else:
                found[token] = text.replace(_BLANK, " ").encode()
        return found

    def _named(self, stated: Any) -> int | None:
        """A special token as tokenizer_config.json names it: by its text, or with what else there is to say of it."""
        name = stated.get("content") if isinstance(stated, dict) else stated
        return self._tokenizer.token_to_id(name) if isinstance(name, str) else None

    def _ends(self, eos: int | None) -> Iterator[int]:
        if eos is not None:
            yield eos
        for name in ("generation_config.json", "config.json"):
            stated = _read(self._path.with_name(name), is_needed=False).get("eos_token_id")
            yield from (one for one in (stated if isinstance(stated, list) else [stated]) if isinstance(one, int))
        by_name = (self._tokenizer.token_to_id(name) for name in (*DOCUMENT_ENDS, *_TURN_ENDS, *_FILE_ENDS))
        yield from (token for token in by_name if token in self._control)

    def _adds_bos(self, config: Mapping[str, Any], bos: int | None) -> bool:
        """Whether a text begins with a BOS: as the configuration says, else as the tokenizer itself does."""
        if bos is None or isinstance(config.get("add_bos_token"), bool):
            return bos is not None and bool(config["add_bos_token"])
        return bool(self._tokenizer.encode("a", add_special_tokens=True).ids[:1] == [bos])

    # ---- text

    def _tokenize(self, text: str, *, parse_special: bool) -> Ids:
        self._check(text)
        self._tokenizer.encode_special_tokens = not parse_special
        try:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # the library raises nothing more precise
            raise BadValue("the text", text, f"the model's tokenizer cannot spell it ({error})") from error

    def _check(self, text: str) -> None:
        try:
            text_bytes(text).decode("utf-8")
        except UnicodeDecodeError as error:
            reason = "a tokenizer.json reads UTF-8 alone; name a GGUF of the same vocabulary as @TOKENIZER"
            raise BadValue("the text", error.object[error.start : error.end], reason) from error


# ---- files


def _read(path: Path, *, is_needed: bool = True) -> dict[str, Any]:
    """A JSON object; without the file an empty one, unless it is needed. Raises ModelFileError."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if not is_needed:
            return {}
        raise ModelFileError(path, "there is no such file", next_step="Name another tokenizer.") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict) or (is_needed and not isinstance(found.get("model"), dict)):
        raise _damaged(path, "it holds no tokenizer")
    return found


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError(path, f"it cannot be read ({why.rstrip('.')})", next_step="Fetch it anew, or name a GGUF.")


def _template(path: Path, config: Mapping[str, Any]) -> str:
    """The chat template: a file of its own, or of those in the configuration the one called default."""
    beside = path.with_name("chat_template.jinja")
    if beside.is_file():
        return beside.read_text(encoding="utf-8", errors="replace")
    stated = config.get("chat_template")
    if isinstance(stated, list):
        stated = {one.get("name"): one.get("template") for one in stated if isinstance(one, dict)}.get("default")
    return stated if isinstance(stated, str) else ""


def _parts(stated: Any) -> Iterator[Mapping[str, Any]]:
    """A step of a tokenizer, or those of a sequence of steps."""
    if isinstance(stated, dict) and "type" in stated:
        yield stated
        for name in ("decoders", "pretokenizers"):
            for one in stated.get(name, ()):
                yield from _parts(one)


def _letters_of_bytes() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for what lies above 255, in order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTE_OF = _letters_of_bytes()
