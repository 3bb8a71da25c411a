"""Text to ids and back, as llama.cpp does it, but for control tokens in a text.

`letters` says what becomes of control tokens that a user wrote.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as C

from llama_diversity.engines import text_bytes
from llama_diversity.engines.letters import Ids, Letters
from llama_diversity.engines.llamacpp.spelling import Spelling
from llama_diversity.engines.llamacpp.vocabulary import Meta, Pieces, read_vocabulary
from llama_diversity.engines.start import Stated


class Tokenizer(Letters):
    """The vocabulary of a loaded model; `meta` and `known_by` as `read_vocabulary` wants them."""

    def __init__(self, vocab: Any, meta: Meta, known_by: Sequence[str]) -> None:
        self._vocab = vocab
        read = read_vocabulary(vocab, meta, known_by)
        self.pieces = Pieces(read)
        self.ends = read.ends
        self.digest = read.digest
        self.stated = Stated(read.adds_bos, read.bos, read.eos, read.controls)
        self._control = read.control
        self._names = {read.spellings.of(token).decode("utf-8", "replace") for token in read.control}

    def _tokenize(self, text: str, *, parse_special: bool) -> Ids:
        data = text_bytes(text)
        self._spelling.check(data)
        n_needed = -C.llama_tokenize(self._vocab, data, len(data), None, 0, False, parse_special)
        if n_needed <= 0:
            return ()
        buffer = (C.llama_token * n_needed)()
        n_written = C.llama_tokenize(self._vocab, data, len(data), buffer, n_needed, False, parse_special)
        return tuple(buffer[:n_written])

    @functools.cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self._vocab)

    def _check(self, text: str) -> None:
        self._spelling.check(text_bytes(text))
