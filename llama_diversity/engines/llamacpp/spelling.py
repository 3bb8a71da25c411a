"""Whether a vocabulary can spell a text: over what a SentencePiece vocabulary cannot, llama.cpp ends the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import llama_cpp.llama_cpp as C

from llama_diversity.errors import BadValue

_LENGTHS = (1,) * 12 + (2, 2, 3, 4)  # of a symbol in bytes, by the upper half of its first
_BLANK = "\u2581".encode()  # stands for a space in such vocabularies


class Spelling:
    """What the tokens of a vocabulary spell. Kinds other than SentencePiece have ways of their own for the rest."""

    def __init__(self, vocab: Any) -> None:
        self._names: set[bytes] = set()
        self._missing: dict[bytes, int] = {}  # the name of its token by byte, of those that have none
        if C.llama_vocab_type(vocab) == C.LLAMA_VOCAB_TYPE_SPM:
            names = (C.llama_vocab_get_text(vocab, token) for token in range(C.llama_vocab_n_tokens(vocab)))
            self._missing = {b"<0x%02X>" % byte: byte for byte in range(256)}
            for name in names:
                self._names.add(name)
                self._missing.pop(name, None)
                if not self._missing:  # nearly all have them all at their beginning
                    break
        self._bytes = {byte for byte in self._missing.values() if bytes([byte]) not in self._names}

    def check(self, text: bytes) -> None:
        """Raises BadValue for a text with a symbol that is no token, one byte of which is none either.

        A symbol that only occurs within longer tokens is refused too.
        """
        if not self._bytes:
            return
        for symbol in _symbols(text.replace(b" ", _BLANK)):
            if symbol not in self._names and not self._bytes.isdisjoint(symbol):
                shown = symbol.decode("utf-8", "backslashreplace")
                raise BadValue("the text", shown, "the model's vocabulary has no token for this, nor for its bytes")


def _symbols(text: bytes) -> Iterator[bytes]:
    """The parts that llama.cpp starts from: characters, and of what is no UTF-8 as many bytes as the first announces.

    >>> list(_symbols("aé漢".encode()))
    [b'a', b'\\xc3\\xa9', b'\\xe6\\xbc\\xa2']
    """
    at = 0
    while at < len(text):
        length = _LENGTHS[text[at] >> 4]
        yield text[at : at + length]
        at += length
